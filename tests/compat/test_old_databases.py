"""Databases that earlier versions wrote, and what their killed processes left on disk, open with this one.

Each is a file under ``tests/fixtures``; the script beside it tells how it was made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

import rxmps3
from rxmps3 import MISSING, Conflict, NotKept
from rxmps3.storage import DirectoryStorage, MemoryStorage
from tests.compat.recording import LeapingClock, Named, read_memory, read_tree, write_memory, write_tree
from tests.compat.story import as_bytes, as_text

T = TypeVar("T")
FIXTURES = Path(__file__).parents[1] / "fixtures"
ALL = sorted(path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("v*/*.json"))
DAY = 86_400.0
HOUR = 3_600.0


class Old:
    """An old database, restored to where it can be used, in the hour after it was left.

    Attributes:
        kept: what its file says.
        bucket: what is stored.
        local: the directory of its processes.
    """

    def __init__(self, file: str, folder: Path) -> None:
        self.kept: dict[str, Any] = json.loads((FIXTURES / file).read_text(encoding="utf-8"), object_hook=as_bytes)
        self.options: dict[str, Any] = self.kept["options"]
        self.clock = LeapingClock(f"after {file}", datetime.fromisoformat(self.kept["ended"]))
        self.folder = folder / "bucket"
        self.local = folder / "local"

    async def restore(self) -> None:
        objects = self.kept["bucket"]
        if self.protocol == "sequenced":
            write_tree(self.folder, objects)
            self._storage = DirectoryStorage(self.folder, self.clock)
        else:
            versioning = any("version" in one for one in objects)
            self._storage = await write_memory(objects, self.clock, versioning=versioning)
        self.bucket = Named(self._storage, self.kept["url"])
        write_tree(self.local, self.kept["local"])

    async def stored(self) -> Any:
        """Everything that is stored, byte by byte, with its names and times."""
        return read_tree(self.folder) if self.protocol == "sequenced" else await read_memory(self._memory)

    async def commits(self) -> list[str]:
        """The names of all that makes the log of the first manifest, sorted, as often as there is a version of each."""
        manifest = self.options["manifest"]
        stored = await self.stored()
        names = stored if self.protocol == "sequenced" else [one["name"] for one in stored]
        within = {"sequenced": "/log/", "versioned": "", "mps3": "@"}[self.protocol]
        return sorted(name for name in names if name.partition("/")[0].partition("@")[0] == manifest and within in name)

    async def is_untouched(self) -> bool:
        """Whether that is what was stored."""
        return await self.stored() == self.kept["bucket"]

    @property
    def _memory(self) -> MemoryStorage:
        assert isinstance(self._storage, MemoryStorage)
        return self._storage

    @property
    def protocol(self) -> str:
        return self.options["protocol"]

    def opened(self, **options: Any) -> rxmps3.Connecting:
        return rxmps3.connect(
            self.bucket, **{"clock": self.clock, "shared": False, "by": "new", **self.options, **options}
        )

    def values(self, versions: int | None = None) -> dict[str, Any]:
        """What the first manifest held after so many of its versions, or after all."""
        values: dict[str, Any] = {}
        for version in self.kept["versions"][:versions]:
            values.update(version["set"])
            for key in version["deleted"]:
                del values[key]
        return values

    def values_once_sent(self) -> dict[str, Any]:
        """The same after what its processes could not send."""
        values = self.values() | self.kept["set"]
        return {key: value for key, value in values.items() if key not in self.kept["deleted"]}

    async def passing(self, awaitable: Awaitable[T], *, speed: float = 20) -> T:
        """Await something with less patience than it takes."""
        waiting = asyncio.ensure_future(awaitable)
        while not waiting.done():
            await asyncio.wait([waiting], timeout=0.01)
            self.clock.leap(0.01 * speed)
        return await waiting


@pytest.fixture(params=ALL)
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    """Each of them."""
    old = Old(request.param, tmp_path)
    await old.restore()
    assert await old.is_untouched()
    return old


@pytest.fixture(params=[one for one in ALL if "/sequenced" in one])
async def linear(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    """Those with a past."""
    old = Old(request.param, tmp_path)
    await old.restore()
    return old


def same(found: Any, expected: Any) -> None:
    """Equal as JSON: 1, 1.0 and true are three."""
    assert text_of(found) == text_of(expected)


def text_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1, default=as_text)


def test_each_protocol_is_among_them() -> None:
    assert [
        *(f"v0_1/{name}.json" for name in ("mps3-versioning", "mps3", "sequenced", "versioned")),
        *(f"v0_2/{name}.json" for name in ("sequenced", "versioned")),
    ] == ALL


def test_checkpoints_in_chunks_and_packed_values_are_among_them() -> None:
    bucket = json.loads((FIXTURES / "v0_2/sequenced.json").read_text(encoding="utf-8"))["bucket"]
    assert len([name for name in bucket if "/checkpoint/" in name and "." in name.rpartition("-")[2]]) > 5
    assert [name for name in bucket if name.startswith("main/values/@")]


# -- the bucket ----------------------------------------------------------------------------------------------------


async def test_every_value_of_every_manifest_is_there_and_reading_changes_nothing(old: Old) -> None:
    first = old.options["manifest"]
    for manifest, values in {first: old.values(), **old.kept["others"]}.items():
        async with old.opened(manifest=manifest) as db:
            same(await db.get_prefix(), values)
            same(await db.get_many(values), values)
            assert db.keys() == sorted(values)
            assert list(await db.get_prefix(last=2)) == sorted(values)[-2:]
            await db.compact(dry_run=True)
    assert await old.is_untouched()


async def test_its_protocol_is_told_without_being_named(old: Old) -> None:
    async with old.opened(protocol="auto") as db:
        assert db.protocol == old.protocol
        same(await db.get_prefix(), old.values())
    assert await old.is_untouched()


async def test_who_was_there_is_seen(old: Old) -> None:
    async with old.opened() as db:
        with db.presence(ttl=2 * HOUR) as others:
            seen: list[Any] = []
            others.subscribe(seen.append)
            for _ in range(500):
                if not (seen and seen[-1]):
                    await asyncio.sleep(0.01)
            assert [participant.me for participant in seen[-1].values()] == [{"name": "cal"}]
    assert await old.is_untouched()


async def test_a_directory_opens_by_its_url(linear: Old) -> None:
    async with rxmps3.connect(f"file:{linear.folder}") as db:
        assert db.protocol == "sequenced"
        same(await db.get_prefix(), linear.values())
    assert await linear.is_untouched()


# -- the past ------------------------------------------------------------------------------------------------------


async def test_all_that_is_kept_of_the_past_can_be_seen(linear: Old) -> None:
    versions, oldest = linear.kept["versions"], linear.kept["oldest"]
    async with linear.opened(read_only=True) as db:
        for seq in range(oldest, len(versions) + 1):
            then = await db.at(seq)
            same(await then.get_prefix(), linear.values(seq))
            if seq > oldest:
                assert then.by == versions[seq - 1]["by"]
                if version := versions[seq - 1]["version"]:
                    assert (await db.at(version)).id == str(seq)
                assert then.date is not None
                assert (await db.at(then.date)).id == str(seq)
        with pytest.raises(NotKept):
            await db.at(oldest - 1)
    assert await linear.is_untouched()


async def test_its_tags_are_there(linear: Old) -> None:
    tags = linear.kept["tags"]
    assert tags
    async with linear.opened(read_only=True) as db:
        assert await db.tags() == {name: str(seq) for name, seq in tags.items()}
        for name, seq in tags.items():
            assert seq < linear.kept["oldest"]
            same(await (await db.at(name)).get_prefix(), linear.values(seq))
    assert await linear.is_untouched()


async def test_each_key_has_its_history(linear: Old) -> None:
    versions, oldest = linear.kept["versions"], linear.kept["oldest"]
    base = linear.values(oldest)
    keys = {key for version in versions for key in (*version["set"], *version["deleted"])}
    async with linear.opened(read_only=True) as db:
        for key in sorted(keys):
            written = [
                (str(seq), version["set"].get(key, "deleted"), version["by"])
                for seq, version in enumerate(versions, start=1)
                if seq > oldest and (key in version["set"] or key in version["deleted"])
            ]
            history = await db.history(key)
            told = [(one.id, "deleted" if one.value is MISSING else one.value, one.by) for one in history]
            if key in base:
                same(told[0][1], base[key])
                del told[0]
            same(told, written)
    assert await linear.is_untouched()


# -- what a killed process left ------------------------------------------------------------------------------------


async def test_offline_what_was_known_and_written_is_there(old: Old) -> None:
    async with old.opened(local=old.local, online=False) as db:
        assert len(db.pending.value) == old.kept["pending"]
        known = set(db.keys())
        assert known >= {"waiting", "waiting large", "lost", "lost too", "arrived", "from cal", "large"}
        assert "list/2" not in known
        expected = old.values_once_sent()
        for key in ("waiting", "waiting large", "lost", "lost too", "arrived", "from cal", "large"):
            same(await db.get(key), expected[key])
    assert await old.is_untouched()


async def test_what_was_pending_is_committed_once(old: Old) -> None:
    async with old.opened(local=old.local) as db:
        assert await _sent(old, db) == old.kept["conflicts"]
        same(await db.get_prefix(), old.values_once_sent())
    # "contested" is not in it if what arrived was sent again: somebody else wrote the key since
    async with old.opened() as db:
        same(await db.get_prefix(), old.values_once_sent())
    commits = await old.commits()
    assert len(commits) > 1
    async with old.opened(local=old.local) as db:
        assert await _sent(old, db) == []
        same(await db.get_prefix(), old.values_once_sent())
    assert await old.commits() == commits


async def test_what_was_sent_is_in_the_log_once(linear: Old) -> None:
    async with linear.opened(local=linear.local) as db:
        await _sent(linear, db)
        for key in ("arrived", "lost", "lost too", "waiting large", "created"):
            assert len(await db.history(key)) == 1, key
        assert len(await db.history("contested")) == 3
        # under the id it was sent with, by which a late arrival of it is known: the name of its value tells
        for key in ("arrived", "lost"):
            uploaded = [name.rpartition("@")[2] for name in linear.kept["bucket"] if f"/values/{key}@" in name]
            assert [one.version for one in await db.history(key)] == uploaded


# -- and on it goes ------------------------------------------------------------------------------------------------


async def test_it_is_written_to_compacted_and_read_again(old: Old) -> None:
    expected = old.values()
    deleted = 0
    large = "large " * 5000
    for number, seconds in enumerate((0.0, HOUR, DAY + HOUR, 2 * HOUR, DAY + 3 * HOUR, HOUR)):
        old.clock.leap(seconds)
        async with old.opened() as db:
            for update in (
                {"new": number, "new large": [large, number]},
                {"count": MISSING} if number == 2 else {"large": number},
            ):
                await db.put_all(update)
                expected = {key: one for key, one in (expected | update).items() if one is not MISSING}
            report = await db.compact()
            deleted += report.entries + report.values
            await db.put("compacted", number)  # what names a checkpoint in some protocols
            expected["compacted"] = number
            same(await db.get_prefix(), expected)
        async with old.opened(read_only=True) as fresh:
            same(await fresh.get_prefix(), expected)
    assert deleted
    for manifest, values in old.kept["others"].items():
        async with old.opened(manifest=manifest) as db:
            await db.put("k", "new")
            same(await db.get_prefix(), {**values, "k": "new"})


async def _sent(old: Old, db: rxmps3.Database) -> list[str]:
    """Wait until nothing is pending; the keys of what was refused."""
    refused: list[str] = []
    for receipt in db.pending.value:
        try:
            await old.passing(asyncio.wait_for(_version_of(receipt), 20))
        except Conflict:
            refused.extend(receipt.keys)
    assert db.pending.value == ()
    return refused


async def _version_of(receipt: rxmps3.Receipt) -> str:
    return await receipt
