"""A process that stands still between what it asks of the bucket and what it makes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest

from rxmps3 import Reset, Unavailable
from rxmps3.storage import Page, Storage
from rxmps3.testing import Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import trace
from tests.mps3.test_repeats import MANIFEST, Bucket

T = TypeVar("T")


class Suspended(StorageWrapper):
    """The way to a bucket of a computer that falls asleep once it has stored an operation, and begun to list.

    Attributes:
        drowsy: whether the next operation sends it to sleep.
        asleep: whether it sleeps.
        awake: set when it wakes.
        loses: whether the answer about that operation is lost.
    """

    def __init__(self, inner: Storage, *, loses: bool = False) -> None:
        super().__init__(inner)
        self.loses = loses
        self.drowsy = False
        self.asleep = asyncio.Event()
        self.awake = asyncio.Event()

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if request.verb == "list" and self.asleep.is_set():
            await self.awake.wait()
        answer = await proceed()
        if request.verb == "put" and request.name.startswith(f"{MANIFEST}@") and self.drowsy:
            self.drowsy = False
            self.asleep.set()
            await self.awake.wait()
            await SimClock("wire").sleep(0.1)  # the listing is answered first
            if self.loses:
                raise Unavailable("no answer")
        return answer


def test_an_operation_whose_answer_came_late_undoes_nothing_that_was_read_meanwhile() -> None:
    async def scenario() -> None:
        bucket = Bucket()
        way = Suspended(bucket.storage)
        async with (
            bucket.open("ann", live=False, storage=way) as ann,
            bucket.open("bob", retention=timedelta(0)) as bob,
        ):
            await ann.put("k", 1)
            shown = trace(ann.observe("k"))
            versions = trace(ann.versions)
            way.drowsy = True
            sent = ann.put("k", 2)
            await way.asleep.wait()
            looking = asyncio.ensure_future(ann.refresh())
            for key in ("k", "other", "other"):
                await bucket.clock.sleep(30)
                await bob.put(key, 3)
            await bob.compact()
            way.awake.set()
            await looking
            await sent
            await bucket.clock.sleep(0.01)  # before it looks again
            assert shown == [1, 2, 3]
            assert [type(one) for one in versions] == [Reset]  # it is older than what was read
            await bucket.clock.sleep(10)
            assert shown == [1, 2, 3]
            assert await bucket.sees("k") == 3

    run_virtually(scenario())


@pytest.mark.parametrize("loses", [False, True], ids=["late", "lost"])
def test_an_own_version_is_not_told_after_a_state_that_was_read_in_one_go(loses: bool) -> None:
    async def scenario() -> None:
        bucket = Bucket()
        way = Suspended(bucket.storage, loses=loses)
        async with bucket.open("ann", live=False, storage=way) as ann, bucket.open("bob") as bob:
            await ann.put("k", 1)
            versions, changes = trace(ann.versions), trace(ann.changes())
            way.drowsy = True
            sent = ann.put("k", 2)
            await way.asleep.wait()
            looking = asyncio.ensure_future(ann.refresh())
            for number in range(210):
                await bucket.clock.sleep(0.2)
                await bob.put("other", number)
            way.awake.set()
            await looking
            await sent
            await bucket.clock.sleep(10)
            assert [type(one) for one in versions] == [Reset]
            assert [(one.key, one.after) for one in changes] == [("k", 2), ("other", 209)]
            assert (await ann.get("k"), await ann.get("other")) == (2, 209)

    run_virtually(scenario())


class Dozing(StorageWrapper):
    """The way to a bucket of a computer that falls asleep before it asks for the value of a key."""

    def __init__(self, inner: Storage, key: str) -> None:
        super().__init__(inner)
        self.drowsy = False
        self.asleep = asyncio.Event()
        self.awake = asyncio.Event()
        self._value = f"{key}@"

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if self.drowsy and request.verb == "get" and request.name.startswith(self._value):
            self.asleep.set()
            await self.awake.wait()
        return await proceed()


def test_a_value_that_was_collected_after_a_look_had_listed_it_does_not_tell_of_another_bucket() -> None:
    async def scenario() -> None:
        bucket = Bucket()
        way = Dozing(bucket.storage, "k")
        async with (
            bucket.open("ann", live=False, retention=timedelta(0)) as ann,
            bucket.open("bob", live=False, storage=way, cache_bytes=0) as bob,
        ):
            await ann.put("k", 1)
            await bob.refresh()
            assert await bob.get("k") == 1
            for _ in range(2):
                await bucket.clock.sleep(30)
                await ann.put("other", 1)
            await ann.compact()  # what Bob knows is gone; its value is not, since the state has it
            troubles = trace(bob.errors)
            way.drowsy = True
            looking = asyncio.ensure_future(bob.refresh())
            await way.asleep.wait()
            await ann.put("k", 2)
            await bucket.clock.sleep(2 * 86400)
            await ann.put("other", 2)
            await ann.compact()  # the operations that name it
            await ann.compact()
            way.awake.set()
            await looking
            assert (troubles, await bob.get("k")) == ([], 2)

    run_virtually(scenario())


class Emptyish(StorageWrapper):
    """One listing comes back empty."""

    lies = 0

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        page = await super().list(prefix, after=after, cursor=cursor, limit=limit)
        self.lies -= 1
        return Page([], None, page.date) if self.lies >= 0 else page


def test_one_empty_listing_does_not_tell_that_all_is_gone() -> None:
    async def scenario() -> None:
        bucket = Bucket()
        way = Emptyish(bucket.storage)
        async with bucket.open("ann", live=False, storage=way) as ann, bucket.open("bob", live=False) as bob:
            await bob.put("k", 1)
            await ann.refresh()
            way.lies = 1
            await ann.refresh()
            assert await ann.get("k") == 1

    run_virtually(scenario())
