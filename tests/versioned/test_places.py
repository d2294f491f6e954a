"""The versioned log as a database, on every storage that keeps versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, Missing, Storage, open_storage
from rxmps3.testing import CountingStorage
from tests.conftest import KINDS, Place, new_place
from tests.versioned.helpers import Client, HidesVersions, OneByOne, versions

PLACES = [
    pytest.param(kind, marks=[pytest.mark.seaweedfs] if kind == "seaweedfs" else []) for kind in KINDS if kind != "file"
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place that keeps versions, of each kind that there is."""
    return new_place(request.param, request, versioning=True)


@pytest.fixture
async def storage(place: Place) -> AsyncIterator[Storage]:
    opened = open_storage(place.url, clock=SystemClock(), **place.options)
    yield opened
    await opened.close()


def database(storage: Storage, **options: Any) -> Any:
    return rxmps3.connect(storage, protocol="versioned", shared=False, **options)


async def test_two_players(storage: Storage):
    async with database(storage) as a, database(storage) as b:
        await a.put_all({"todo/1": {"title": "milk"}, "a": 1, "a/b": 2, "a/b/c": [3.0], "ü %41": None})
        await b.refresh()
        assert await b.get_prefix("a") == {"a": 1, "a/b": 2, "a/b/c": [3.0]}
        assert await b.get("ü %41", 7) is None
        await b.put_all({"a": MISSING, "todo/1": {"title": "bread"}})
        await a.refresh()
        assert await a.get("a") is None
        assert await a.get("todo/1") == {"title": "bread"}
        assert a.protocol == "versioned"
    assert isinstance(await storage.get("a"), Missing)
    answer = await storage.get("todo/1")
    assert isinstance(answer, Found)
    assert answer.body == b'{"title":"bread"}'


async def test_everyone_ends_on_the_same_state(storage: Storage):
    players = [await database(storage) for _ in range(5)]
    try:

        async def play(number: int, db: rxmps3.Database) -> None:
            for turn in range(4):
                await db.put_all({f"key/{number}/{turn}": turn, "shared": number})

        await asyncio.gather(*(play(number, db) for number, db in enumerate(players)))
        for db in players:
            await db.refresh()
        first, *others = [await db.get_prefix("") for db in players]
        assert len(first) == 21
        assert all(other == first for other in others)
    finally:
        for db in players:
            await db.close()
    async with database(storage) as fresh:
        assert await fresh.get_prefix("") == first


async def test_names_that_begin_like_the_manifest_s(storage: Storage):
    clock = SystemClock()
    for name in ("main-", "main.", "main!", "main/x", "main0", "main_", "mai", "n"):
        await storage.put(name, b"1")
    a, b = Client(storage, clock), Client(storage, clock)
    for number in range(4):
        await (a, b)[number % 2].put(**{f"k{number}": number})
    expected = {f"k{number}": number for number in range(4)}
    assert await a.read() == await b.read() == await Client(storage, clock).read() == expected


async def test_pages_of_one(storage: Storage):
    clock = SystemClock()
    a, b = Client(OneByOne(storage), clock), Client(storage, clock)
    for number in range(4):
        await (a, b)[number % 2].put(**{f"k{number}": number})
    expected = {f"k{number}": number for number in range(4)}
    assert await a.read() == await b.read() == await Client(OneByOne(storage), clock).read() == expected
    assert a.state.version == (await versions(storage))[-1]


async def test_a_listing_that_leaves_the_manifest_out_is_not_believed(storage: Storage):
    await Client(storage, SystemClock()).put(k=1)
    fresh = Client(HidesVersions(storage, lambda one: True), SystemClock())
    with pytest.raises(rxmps3.Unavailable, match="does not show"):
        await fresh.log.open()
    assert not fresh.events


async def test_a_poll_is_one_get_and_a_put_is_two_and_a_listing(storage: Storage):
    counting = CountingStorage(storage)
    clock = SystemClock()
    a = Client(counting, clock)
    await a.put(k=1)
    counting.reset()
    await a.put(k=2)
    assert [one.verb for one in counting.requests] == ["put", "put", "list_versions"]
    counting.reset()
    await a.log._look()  # pyright: ignore[reportPrivateUsage]
    assert [(one.verb, one.outcome) for one in counting.requests] == [("get", "NotModified")]


async def test_it_is_there_again_after_all_have_closed(storage: Storage):
    async with database(storage, by="alice") as a:
        await a.put("k", {"deep": [1, None, "ü"]})
    async with rxmps3.connect(storage, shared=False) as b:  # what it is already decides
        assert b.protocol == "versioned"
        assert await b.get("k") == {"deep": [1, None, "ü"]}


async def test_the_probe_leaves_nothing_behind(storage: Storage):
    async with database(storage) as a:
        await a.put("k", 1)
    listed = (await storage.list("")).objects
    assert sorted(one.name for one in listed) == ["k", "main"]


async def test_collecting_deletes_versions(storage: Storage):
    """With servers whose clock nobody can move, only what needs no age can be seen: that nothing young goes."""
    async with database(storage) as a:
        for number in range(3):
            await a.put("k", number)
        report = await a.compact()
        assert (report.entries, report.values) == (0, 0)
        assert await a.get("k") == 2
