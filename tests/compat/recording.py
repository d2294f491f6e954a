"""Databases as files that can be kept: what is stored, with its names, times and versions, as JSON.

Nothing here but the public API, so that it also runs on the versions whose databases are kept.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rxmps3.storage import Found, MemoryStorage, Storage, list_all
from rxmps3.testing import ManualClock, Request, StorageWrapper

__all__ = ["Dies", "LeapingClock", "Named", "read_memory", "read_tree", "write_memory", "write_tree"]

_TICK = 0.005
_GAP = "gap"


class LeapingClock(ManualClock):
    """The machine's time, moved to another date, and ahead by `leap`: then who sleeps wakes that much earlier."""

    def __init__(self, seed: str, start: datetime) -> None:
        super().__init__(seed)
        self._from = start
        self._began = time.monotonic()
        self._ahead = 0.0
        self._held: datetime | None = None

    def monotonic(self) -> float:
        return time.monotonic() - self._began + self._ahead

    def now(self) -> datetime:
        return self._held or self._from + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        await asyncio.sleep(0)
        while (left := until - self.monotonic()) > 0:
            await asyncio.sleep(min(left, _TICK))

    def leap(self, seconds: float) -> None:
        """So much time is over at once."""
        self._ahead += seconds

    @contextmanager
    def held(self) -> Iterator[Callable[[datetime], None]]:
        """Within it ``now`` says what was set last."""

        def hold(moment: datetime) -> None:
            self._held = moment

        try:
            yield hold
        finally:
            self._held = None


class Named(StorageWrapper):
    """A storage with another URL, by which a ``local=`` directory knows it again."""

    def __init__(self, inner: Storage, url: str) -> None:
        super().__init__(inner)
        self._name = url

    @property
    def url(self) -> str:
        return self._name


class Dies(StorageWrapper):
    """From the first commit on, no answer comes any more: of what happens then a process only knows that it asked.

    Args:
        inner: the storage.
        is_commit: tells the object that commits by its name.
        arrives: whether that commit is carried out.
    """

    def __init__(self, inner: Storage, is_commit: Callable[[str], bool], *, arrives: bool) -> None:
        super().__init__(inner)
        self._is_commit = is_commit
        self._arrives = arrives
        self.armed = False
        self.dead = asyncio.Event()

    async def around(self, request: Request, proceed: Callable[[], Awaitable[Any]]) -> Any:
        if not self.armed:
            return await proceed()
        if not self.dead.is_set():
            if request.verb != "put" or not self._is_commit(request.name):
                return await proceed()
            if self._arrives:
                await proceed()
            self.dead.set()
        await asyncio.Event().wait()
        raise AssertionError


# -- directories ---------------------------------------------------------------------------------------------------


def read_tree(root: Path) -> dict[str, Any]:
    """All files below a directory by their paths, with contents and times in ns; the empty directories end in ``/``."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file():
            found[name] = {"modified_ns": path.stat().st_mtime_ns, **_kept(path.read_bytes())}
        elif not any(path.iterdir()):
            found[f"{name}/"] = {}
    return found


def write_tree(root: Path, tree: dict[str, Any]) -> None:
    """The opposite of `read_tree`."""
    root.mkdir(parents=True)
    for name, kept in tree.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_body(kept))
        os.utime(path, ns=(kept["modified_ns"], kept["modified_ns"]))


# -- memory --------------------------------------------------------------------------------------------------------


async def read_memory(storage: MemoryStorage) -> list[dict[str, Any]]:
    """All objects, or all their versions in the order in which they were made, with names, ids, times and contents."""
    found: list[dict[str, Any]] = []
    if not storage.versioning:
        for listed in await list_all(storage, ""):
            answer = await storage.get(listed.name)
            assert isinstance(answer, Found)
            found.append({"name": listed.name, "modified": answer.modified.isoformat(), **_kept(answer.body)})
        return found
    cursor: str | None = None
    while True:
        page = await storage.list_versions("", cursor=cursor)
        for one in page.versions:
            kept: dict[str, Any] = {"name": one.name, "version": one.version, "number": _number(one.version)}
            kept["modified"] = one.modified.isoformat()
            if not one.is_delete_marker:
                answer = await storage.get(one.name, version=one.version)
                assert isinstance(answer, Found)
                kept.update(_kept(answer.body))
            found.append(kept)
        cursor = page.cursor
        if cursor is None:
            return sorted(found, key=lambda kept: kept["number"])


async def write_memory(objects: list[dict[str, Any]], clock: LeapingClock, *, versioning: bool) -> MemoryStorage:
    """The opposite of `read_memory`: a storage with the same objects, versions, ids and times."""
    storage = MemoryStorage(clock=clock, versioning=versioning)
    number = 0
    with clock.held() as hold:
        for kept in objects:
            hold(datetime.fromisoformat(kept["modified"]))
            number += 1
            while versioning and number < kept["number"]:  # of what was deleted with its version
                gap = await storage.put(_GAP, b"")
                await storage.delete(_GAP, version=gap.version)
                number += 1
            if versioning and "text" not in kept and "base64" not in kept:
                await storage.delete(kept["name"])
            else:
                await storage.put(kept["name"], _body(kept))
    made = await read_memory(storage)
    assert made == objects, "MemoryStorage names versions in another way now: restore these another way"
    return storage


def _number(version: str) -> int:
    """The how-manieth version a `MemoryStorage` made this."""
    for number in range(1, 1_000_000):
        if hashlib.sha256(b"version %d" % number).hexdigest()[:32] == version:
            return number
    raise AssertionError(f"MemoryStorage names versions in another way: {version}")


def _kept(body: bytes) -> dict[str, str]:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _body(kept: dict[str, Any]) -> bytes:
    return kept["text"].encode() if "text" in kept else base64.b64decode(kept["base64"])
