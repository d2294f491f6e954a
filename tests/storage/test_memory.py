"""What is particular about the storage in memory."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from rxmps3.errors import InvalidKey, InvalidOption, PreconditionFailed, Unsupported
from rxmps3.storage import ABSENT, Found, MemoryStorage
from rxmps3.testing import ManualClock


async def test_time_is_the_clocks() -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    stored = await storage.put("a", b"1")
    await clock.advance(90)
    answer = await storage.get("a")
    assert isinstance(answer, Found)
    assert stored.date == answer.modified
    assert answer.date == clock.now()
    assert answer.date - answer.modified == timedelta(seconds=90)


async def test_version_ids_do_not_sort_by_age() -> None:
    storage = MemoryStorage(versioning=True)
    ids = [(await storage.put("a", b"")).version or "" for _ in range(20)]
    assert ids != sorted(ids)
    assert ids != sorted(ids, reverse=True)


async def test_versions_that_appear_between_pages_do_not_disturb_them() -> None:
    storage = MemoryStorage(versioning=True)
    ids = [(await storage.put("a", b"")).version or "" for _ in range(4)]
    page = await storage.list_versions("a", limit=2)
    await storage.put("a", b"")
    await storage.delete("a", version=ids[2])
    rest = await storage.list_versions("a", cursor=page.cursor)
    assert [one.version for one in (*page.versions, *rest.versions)] == ids[::-1]


async def test_without_versioning_versions_are_refused() -> None:
    storage = MemoryStorage()
    assert (await storage.put("a", b"")).version is None
    for verb in (storage.list_versions(""), storage.get("a", version="1"), storage.delete("a", version="1")):
        with pytest.raises(Unsupported, match="versioning=True"):
            await verb


async def test_one_name_from_several_threads() -> None:
    async def create() -> int:
        storage = MemoryStorage(name="test-memory-threads")
        won = 0
        for number in range(200):
            try:
                await storage.put(str(number), b"", when=ABSENT)
                won += 1
            except PreconditionFailed:
                pass
        return won

    won = await asyncio.gather(*(asyncio.to_thread(asyncio.run, create()) for _ in range(4)))
    assert sum(won) == 200


@pytest.mark.parametrize("name", ["", "x" * 1025, "ü" * 513, "\ud800", "a\0b"])
async def test_names_that_no_storage_could_hold(name: str) -> None:
    storage = MemoryStorage()
    for verb in (storage.get(name), storage.put(name, b""), storage.delete(name)):
        with pytest.raises(InvalidKey):
            await verb


async def test_a_page_has_at_least_one_line() -> None:
    with pytest.raises(InvalidOption):
        await MemoryStorage().list("", limit=0)
