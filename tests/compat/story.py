"""What the databases that are kept as files were made of: `record` writes one, with the version that is installed.

Each file holds a bucket, a ``local=`` directory, both as a killed process left them, and what must be found there. Nothing
here but the public API, so that it also runs on earlier versions.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rxmps3
from rxmps3 import MISSING
from rxmps3.storage import DirectoryStorage, MemoryStorage, Storage
from tests.compat.recording import Dies, LeapingClock, Named, read_memory, read_tree

__all__ = ["as_bytes", "as_text", "record"]

DAY = 86_400
HOUR = 3_600
START = datetime(2026, 1, 1, tzinfo=UTC)
LARGE = "large " * 35
INLINE_LIMIT = 200
OTHERS = {"sequenced": ("odd/../näme %&+ *", "Main"), "versioned": ("odd/näme %&+ *",), "mps3": ("odd näme+.json",)}
FIRST = {"sequenced": "main", "versioned": "main", "mps3": "manifest.json"}
EVERY_KIND = {
    "null": None,
    "true": True,
    "one": 1,
    "one point": 1.0,
    "big": 12345678901234567890,
    "text": 'é\u2028𝄞"\\',
    "half": 0.5,
    "deep": {"a": [1, None, {"b": {}}], "": []},
    "a/../b//c.": "odd name",
    "Ünïcode/Key %20+": "odd too",
}
NOT_IN_JAVASCRIPT = {"one point", "big"}


def as_text(value: Any) -> dict[str, str]:
    """Bytes, as a file of JSON holds them."""
    assert isinstance(value, bytes)
    return {"$bytes": base64.b64encode(value).decode()}


def as_bytes(value: dict[str, Any]) -> Any:
    """The opposite, of any mapping."""
    return base64.b64decode(value["$bytes"]) if value.keys() == {"$bytes"} else value


@dataclass
class Story:
    """What is written, and what must be found.

    Attributes:
        protocol: of the log.
        versioning: of the mps3 log's values.
        bucket: the storage.
        clock: everybody's.
        more: values that are written all at once in the beginning.
        versions: the writes of the first manifest, oldest first, each with its version id and what it set and deleted.
    """

    protocol: str
    versioning: bool
    bucket: Storage
    clock: LeapingClock
    more: Mapping[str, Any]
    versions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"protocol": self.protocol, "manifest": FIRST[self.protocol]}
        return options | ({"versioning": True} if self.versioning else {})

    def opened(self, by: str, bucket: Storage | None = None, **options: Any) -> rxmps3.Connecting:
        options = {**self.options, "inline_limit": INLINE_LIMIT, "poll": 0.5, **options}
        return rxmps3.connect(bucket or self.bucket, by=by, clock=self.clock, shared=False, **options)

    async def told(self, writing: Awaitable[str], by: str, values: dict[str, Any]) -> str:
        """A write to the first manifest that must leave these values."""
        version = await writing
        self.clock.leap(60)
        self.versions.append(
            {
                "version": version,
                "by": by,
                "set": {key: value for key, value in values.items() if value is not MISSING},
                "deleted": [key for key, value in values.items() if value is MISSING],
            }
        )
        return version

    @property
    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for version in self.versions:
            values.update(version["set"])
            for key in version["deleted"]:
                values.pop(key, None)
        return dict(sorted(values.items()))


async def history(story: Story) -> dict[str, Any]:
    """Two writers write, compact and write on; what is expected."""
    linear = story.protocol == "sequenced"
    expected: dict[str, Any] = {}

    async with story.opened("ana") as ana, story.opened("ben") as ben:
        kinds = {
            key: one for key, one in EVERY_KIND.items() if story.protocol != "mps3" or key not in NOT_IN_JAVASCRIPT
        }
        await story.told(ana.put_all(kinds), "ana", kinds)
        if story.more:
            await story.told(ana.put_all(story.more), "ana", dict(story.more))
        await story.told(ben.put("large", LARGE + "1"), "ben", {"large": LARGE + "1"})
        await story.told(ana.put("gone", 1), "ana", {"gone": 1})
        await story.told(ana.put("gone large", LARGE), "ana", {"gone large": LARGE})
        await ben.refresh()
        update = {"gone": MISSING, "gone large": MISSING, "both": "ben"}
        await story.told(ben.put_all(update), "ben", update)
        for number in range(3):
            await story.told(ana.put("count", number), "ana", {"count": number})
            await story.told(ben.put(f"list/{number}", {"n": number}), "ben", {f"list/{number}": {"n": number}})
        if linear:
            await story.told(
                ana.create("doc", {"title": "t", "tags": ["a"]}), "ana", {"doc": {"title": "t", "tags": ["a"]}}
            )
            await ana.tag("first")
            expected["tags"] = {"first": len(story.versions)}
        await story.told(ana.put("large", LARGE + "2"), "ana", {"large": LARGE + "2"})

    # what is older than the retention is collected
    collected = 0
    for seconds in (0, HOUR, DAY + HOUR, 2 * HOUR, *(() if linear else (DAY + 3 * HOUR, HOUR))):
        story.clock.leap(seconds)
        async with story.opened("ben") as ben:
            await story.told(ben.put("hours", seconds), "ben", {"hours": seconds})
            report = await ben.compact()
            collected += report.entries
            await story.told(ben.put("compacted", seconds), "ben", {"compacted": seconds})  # names the checkpoint
    if linear:
        expected["oldest"] = report.floor
    assert collected, "no entry was collected"

    async with story.opened("ana") as ana, story.opened("ben") as ben:
        if linear:
            await ana.get("doc")
            changed = {"title": "new", "tags": ["a"]}
            await story.told(ana.patch("doc", {"title": "new"}), "ana", {"doc": changed})
            schema = {"properties": {"tags": {"mergeStrategy": "append"}}}
            await ben.refresh()
            changed = {"title": "new", "tags": ["a", "b"]}
            version = await story.told(ben.merge("doc", {"tags": ["b"]}, schema), "ben", {"doc": changed})
            await ana.refresh()
            changed = {"title": "newer", "tags": []}
            await story.told(ana.put("doc", changed, if_version=version), "ana", {"doc": changed})
            await ana.put_all({"update": 5})
            story.versions.append({"version": "", "by": "ana", "set": {"update": 5}, "deleted": []})
            await ana.update("update", lambda value: value + 1)
            story.versions.append({"version": "", "by": "ana", "set": {"update": 6}, "deleted": []})
        await story.told(ana.put("large", LARGE * 3), "ana", {"large": LARGE * 3})
        await ben.refresh()
        await story.told(ben.delete("list/1"), "ben", {"list/1": MISSING})
        await story.told(ana.put("contested", 0), "ana", {"contested": 0})
        if linear:
            await ana.put("undone", LARGE)
            await ana.undo()
            story.versions.append({"version": "", "by": "ana", "set": {"undone": LARGE}, "deleted": []})
            story.versions.append({"version": "", "by": "ana", "set": {}, "deleted": ["undone"]})

    expected["others"] = {}
    for number, name in enumerate(OTHERS[story.protocol]):
        async with story.opened("ana", manifest=name) as other:
            values = {"k": number, "large": [LARGE, number], "null": None}
            await other.put_all(values)
            await other.put("gone", 1)
            await other.delete("gone")
            expected["others"][name] = values
    return expected


async def killed(story: Story, local: Path, look: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
    """Two processes with outboxes in one directory die in the middle of it; what they leave and what becomes of it."""
    commits = {"sequenced": "main/", "versioned": "main", "mps3": "manifest.json@"}[story.protocol]

    def is_commit(name: str) -> bool:
        if story.protocol == "sequenced":
            return name.startswith("main/") and "/log/" in name
        return name == commits if story.protocol == "versioned" else name.startswith(commits)

    arriving = Dies(story.bucket, is_commit, arrives=True)
    losing = Dies(story.bucket, is_commit, arrives=False)
    linear = story.protocol == "sequenced"

    async with story.opened("cal", local=local) as cal:
        found = await cal.get_prefix()
        differing = {key: (found.get(key), story.values.get(key)) for key in found | story.values}
        assert found == story.values, {key: pair for key, pair in differing.items() if pair[0] != pair[1]}
        await story.told(cal.put("from cal", [LARGE]), "cal", {"from cal": [LARGE]})

    cal = await story.opened("cal", arriving, local=local)
    dee = await story.opened("dee", losing, local=local)
    here = cal.presence(me={"name": "cal"})
    here.__enter__()
    await asyncio.sleep(1)
    await cal.refresh()
    await dee.refresh()

    arriving.armed = True
    cal.put_all({"contested": "from cal", "arrived": LARGE + "arrived"})
    await arriving.dead.wait()
    story.versions.append(
        {"version": "", "by": "cal", "set": {"contested": "from cal", "arrived": LARGE + "arrived"}, "deleted": []}
    )
    async with story.opened("ben") as ben:
        await story.told(ben.put("contested", "from ben"), "ben", {"contested": "from ben"})
    await cal.put("waiting", {"n": [1, None]}).stored
    await cal.put("waiting large", LARGE + "waiting").stored
    await cal.delete("list/2").stored
    after: dict[str, Any] = {"waiting": {"n": [1, None]}, "waiting large": LARGE + "waiting"}
    if linear:
        await cal.patch("waiting", {"m": 2}).stored
        after["waiting"] = {"n": [1, None], "m": 2}
        await cal.create("both", "never").stored  # a conflict when it goes out
        await cal.create("created", "once").stored
        after["created"] = "once"
    await dee.refresh()
    losing.armed = True
    dee.put("lost", LARGE + "lost")
    await losing.dead.wait()
    await dee.put("lost too", 2).stored
    after |= {"lost": LARGE + "lost", "lost too": 2}
    await asyncio.sleep(0.3)

    left = {
        "bucket": await look(),
        "local": read_tree(local),
        "url": story.bucket.url,
        "pending": len(cal.pending.value) + len(dee.pending.value),
        "conflicts": ["both"] if linear else [],
        "set": after,
        "deleted": ["list/2"],
    }
    for db in (cal, dee):
        await db.close(timeout=0)
    return left


async def record(
    protocol: str, folder: Path, *, versioning: bool = False, more: Mapping[str, Any] | None = None
) -> None:
    """Write a database and keep it as a file.

    Args:
        protocol: of its log.
        folder: where to.
        versioning: whether the mps3 log has its values in versions of objects.
        more: values that are written all at once in the beginning.
    """
    clock = LeapingClock(f"{protocol} {versioning}", START)
    with tempfile.TemporaryDirectory() as place:
        bucket: Storage
        if protocol == "sequenced":
            bucket = DirectoryStorage(Path(place) / "bucket", clock)
        else:
            bucket = MemoryStorage(clock=clock, versioning=versioning or protocol == "versioned")

        async def look() -> Any:
            return await read_memory(bucket) if isinstance(bucket, MemoryStorage) else read_tree(Path(place) / "bucket")

        # what a process keeps in its local directory goes by the URL, and so do the values of the mps3 protocol
        named = Named(bucket, f"memory:kept-{protocol}{'-versioning' if versioning else ''}")
        story = Story(protocol, versioning, named, clock, more or {})
        expected = await history(story)
        left = await killed(story, Path(place) / "local", look)
    kept = {
        "options": story.options,
        "ended": (clock.now() + timedelta(minutes=1)).isoformat(),
        **left,
        "versions": story.versions,
        **expected,
    }
    path = folder / f"{protocol}{'-versioning' if versioning else ''}.json"
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False, default=as_text) + "\n", encoding="utf-8")
    print(path.name, path.stat().st_size, "bytes", len(left["bucket"]), "objects", left["pending"], "pending")
