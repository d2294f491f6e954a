"""A bucket that is emptied while an operation is on its way gets a state without its values, and that is noticed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

import rxmps3
from rxmps3 import Corrupt, Replaced
from rxmps3.log.mps3.operation import WINDOW
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.storage.base import list_all, versions_of
from rxmps3.storage.wrapper import Request, StorageWrapper
from rxmps3.testing import CountingStorage, ManualClock

T = TypeVar("T")
LONG = WINDOW / 1000 + 5
"""Seconds after which the operations before are outside the window of the next one."""


class Emptied(StorageWrapper):
    """Is emptied just before the next operation arrives, once armed."""

    armed = False
    versioning = False

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if self.armed and request.verb == "put" and request.name.startswith("main@"):
            self.armed = False
            await empty(self.inner, self.versioning)
        return await proceed()


async def empty(storage: Storage, versioning: bool) -> None:
    for one in await list_all(storage, ""):
        if versioning:
            for version in (await versions_of(storage).list_versions(one.name)).versions:
                await storage.delete(version.name, version=version.version)
        else:
            await storage.delete(one.name)


@pytest.mark.parametrize("apart", [0.0, LONG], ids=["busy", "quiet"])
@pytest.mark.parametrize("versioning", [False, True])
async def test_the_writer_notices_at_its_next_look(versioning: bool, apart: float) -> None:
    clock = ManualClock()
    storage = Emptied(MemoryStorage(clock=clock, versioning=versioning))
    storage.versioning = versioning

    def connect() -> rxmps3.Connecting:
        return rxmps3.connect(
            storage, protocol="mps3", versioning=versioning, manifest="main", clock=clock, shared=False, poll=3600
        )

    async with connect() as db, connect() as other:
        await db.put_all({"a": 1, "b": 2})
        await db.delete("b")
        await other.refresh()
        await clock.advance(apart)
        storage.armed = True
        await db.put("c", 3)
        assert not storage.armed
        with pytest.raises(Replaced, match="gone"):
            await db.refresh()
        receipt = None
        with pytest.raises(Replaced):
            receipt = db.put("d", 4)
        assert receipt is None
        with pytest.raises(Replaced):
            await other.put("e", 5)
    async with connect() as db:
        assert db.keys() == ["a", "c"]
        with pytest.raises(Corrupt, match="'a"):
            await db.get("a")
        await db.put("a", 6)
        assert await db.get("a") == 6


async def test_a_manifest_that_was_collected_is_none_of_these() -> None:
    clock = ManualClock()
    storage = CountingStorage(MemoryStorage(clock=clock))
    async with rxmps3.connect(storage, protocol="mps3", manifest="main", clock=clock, shared=False, poll=3600) as db:
        await db.put_all({"a": 1, "b": 2})
        await clock.advance(LONG)
        before = [one.name for one in await list_all(storage, "main@")]
        await db.put("c", 3)
        for name in before:
            await storage.delete(name)
        storage.reset()
        await db.refresh()
        assert storage.counts["get"] == 1, "one value tells"
        await db.put("d", 4)
        storage.reset()
        await db.refresh()
        assert storage.counts == {"list": 1}
        assert await db.get_prefix("") == {"a": 1, "b": 2, "c": 3, "d": 4}
