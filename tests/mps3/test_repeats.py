"""A PUT that the network delivers once more, minutes later: the storage forgets when an operation was stored first."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import rxmps3
from rxmps3.database.database import Database
from rxmps3.log.mps3.names import Stamp, parse_stamp
from rxmps3.log.mps3.operation import encode
from rxmps3.log.mps3.ticking import milliseconds
from rxmps3.storage import Found, MemoryStorage, Storage, list_all
from rxmps3.testing import CountingStorage
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import trace

MANIFEST = "manifest.json"


class Bucket:
    """A bucket in virtual time, and who opens it; everybody is a replica of its own."""

    def __init__(self) -> None:
        self.clock = SimClock("bucket")
        self.storage: Storage = MemoryStorage(clock=self.clock)

    @asynccontextmanager
    async def open(
        self, name: str, *, live: bool = True, storage: Storage | None = None, **options: Any
    ) -> AsyncGenerator[Database]:
        db = await rxmps3.connect(
            storage or self.storage,
            protocol="mps3",
            clock=SimClock(name),
            live=live,
            poll=1.0,
            by=name,
            shared=False,
            **options,
        )
        try:
            yield db
        finally:
            await db.close()

    async def operations(self) -> list[str]:
        """The names of the operations, newest first."""
        listed = await list_all(self.storage, f"{MANIFEST}@")
        return [one.name for one in listed if parse_stamp(one.name[len(MANIFEST) + 1 :]) is not None]

    async def repeat(self, name: str) -> None:
        """The PUT of an operation arrives once more."""
        found = await self.storage.get(name)
        assert isinstance(found, Found)
        await self.storage.put(name, found.body)

    async def sees(self, key: str) -> object:
        """What somebody sees who opens it now."""
        async with self.open("fresh", live=False) as db:
            return await db.get(key)


def test_a_reader_that_missed_what_does_not_count_any_more_takes_it_from_the_state_written_anew() -> None:
    """What it had read before is in that state, and is not replayed on it."""

    async def scenario() -> None:
        bucket = Bucket()
        async with bucket.open("ann", live=False) as ann, bucket.open("bob", live=False) as bob:
            await ann.put("k", 1)
            await bob.refresh()
            await bucket.clock.sleep(2)
            await ann.put("k", 2)
            await bucket.clock.sleep(7)
            await bucket.repeat((await bucket.operations())[0])
            await bucket.clock.sleep(15)
            await ann.refresh()  # which writes the state anew
            await bob.refresh()
            assert (await bob.get("k"), await bucket.sees("k")) == (2, 2)
            await bob.put("other", 1)
            await ann.refresh()
            assert (await ann.get("k"), await bucket.sees("k")) == (2, 2)

    run_virtually(scenario())


def test_a_repeated_put_does_not_turn_an_acknowledged_write_back() -> None:
    async def scenario() -> None:
        bucket = Bucket()
        async with bucket.open("ann") as ann, bucket.open("bob") as bob:
            await ann.put("k", 1)
            await ann.put("k", 2)
            seen = trace(bob.observe("k"))
            shown = trace(ann.observe("k"))
            await bucket.clock.sleep(180)
            await bucket.repeat((await bucket.operations())[0])
            await bucket.clock.sleep(5)
            assert await bucket.sees("k") == 2
            await bucket.clock.sleep(60)
            assert await bucket.sees("k") == 2
            assert (seen[-2:], shown) == ([1, 2], [2])
            assert len(await bucket.operations()) == 3  # it was written once more, and no more than that

    run_virtually(scenario())


def test_another_writer_restores_it_if_its_own_is_gone() -> None:
    async def scenario() -> None:
        bucket = Bucket()
        async with bucket.open("bob") as bob:
            await bob.put("other", "bob's")
            async with bucket.open("ann") as ann:
                await ann.put("k", 1)
            await bucket.clock.sleep(180)
            assert await bob.get("k") == 1
            await bucket.repeat((await bucket.operations())[0])
            await bucket.clock.sleep(2)
            assert await bob.get("k") == 1
            await bucket.clock.sleep(20)
            assert await bucket.sees("k") == 1

    run_virtually(scenario())


def test_a_reader_keeps_what_it_has_seen_and_writes_nothing() -> None:
    async def scenario() -> None:
        bucket = Bucket()
        storage = CountingStorage(bucket.storage)
        async with bucket.open("ann", live=False) as ann, bucket.open("eve", storage=storage) as eve:
            await ann.put("k", 1)
            shown = trace(eve.observe("k"))
            await bucket.clock.sleep(180)
            await bucket.repeat((await bucket.operations())[0])
            await bucket.clock.sleep(60)
            assert shown == [None, 1]
            assert storage.counts["put"] == 0
            await ann.put("other", 2)  # who has it goes on with it
            assert await bucket.sees("k") == 1

    run_virtually(scenario())


@pytest.mark.parametrize("key", ["k", "other"])
def test_what_others_write_meanwhile_stands(key: str) -> None:
    """Somebody who could not see the operation writes before it is restored."""

    async def scenario() -> None:
        bucket = Bucket()
        async with bucket.open("bob") as bob, bucket.open("ann", live=False) as ann:
            await bob.put("first", 0)
            await ann.put("k", 1)
            await bucket.clock.sleep(180)
            await bucket.repeat((await bucket.operations())[0])
            async with bucket.open("fay", live=False) as fay:
                assert await fay.get("k") is None
                await fay.put(key, "fay's")
            await bucket.clock.sleep(30)
            expected = {"first": 0, "k": 1, key: "fay's"}
            assert await bob.get_prefix("") == expected
            async with bucket.open("zoe", live=False) as zoe:
                assert await zoe.get_prefix("") == expected

    run_virtually(scenario())


def test_an_operation_that_another_client_deletes_as_invalid_is_restored() -> None:
    """The JavaScript client removes each operation whose time is not that at which it was stored."""

    async def scenario() -> None:
        bucket = Bucket()
        async with bucket.open("ann") as ann:
            await ann.put("first", 0)
            await bucket.clock.sleep(60)
            await ann.put("k", 1)
            await bucket.clock.sleep(180)
            await bucket.storage.delete((await bucket.operations())[0])
            await bucket.clock.sleep(5)
            assert await bucket.sees("k") == 1
            assert await ann.get("k") == 1

    run_virtually(scenario())


def test_what_came_too_late_still_does_not_count() -> None:
    """An operation that nobody has seen counting is not restored by anybody."""

    async def scenario() -> None:
        bucket = Bucket()
        async with bucket.open("ann") as ann, bucket.open("bob") as bob:
            await ann.put("k", 1)
            sent = milliseconds(bucket.clock.now())
            await bucket.clock.sleep(60)
            await bob.put("k", 2)
            late = encode({}, {"memory/k": None})
            await bucket.storage.put(f"{MANIFEST}@{Stamp.of(sent, 'abc', 0).text}", late)
            before = await bucket.operations()
            await bucket.clock.sleep(60)
            assert await bucket.operations() == before
            assert await bucket.sees("k") == 2

    run_virtually(scenario())


def test_an_idle_look_stays_one_request_after_a_restoration() -> None:
    async def scenario() -> None:
        bucket = Bucket()
        storage = CountingStorage(bucket.storage)
        async with bucket.open("ann", live=False, storage=storage) as ann:
            await ann.put("k", 1)
            await bucket.clock.sleep(180)
            await bucket.repeat((await bucket.operations())[0])
            await ann.refresh()
            await bucket.clock.sleep(30)
            storage.reset()
            await ann.refresh()
            assert storage.counts == {"list": 1}

    run_virtually(scenario())
