"""A computer that falls asleep between what it asks of the bucket and what it makes of the answer.

What it had sent is carried out at once, what it was about to send when it wakes. Its HTTP client notices nothing: the
clock that timeouts go by stands still, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytest

import rxmps3
from rxmps3.log.sequenced.verify import verify
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.testing import Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import trace

T = TypeVar("T")
HOUR = 3600.0


class Suspended(StorageWrapper):
    """The way to a bucket of a computer that falls asleep just before it sends the next request of a kind."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.asleep = asyncio.Event()
        self._before: Callable[[Request], bool] | None = None
        self._awake = asyncio.Event()

    def sleep_before(self, which: Callable[[Request], bool]) -> None:
        """Fall asleep when such a request is to be sent."""
        self._before = which

    def wake(self) -> None:
        self._before = None
        self._awake.set()

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if self._before is not None and (self.asleep.is_set() or self._before(request)):
            self.asleep.set()
            await self._awake.wait()
        return await proceed()


@asynccontextmanager
async def opened(storage: Storage, name: str, **options: Any) -> AsyncGenerator[rxmps3.Database]:
    options.setdefault("protocol", "sequenced")
    db = await rxmps3.connect(storage, clock=SimClock(name), poll=HOUR, by=name, shared=False, **options)
    try:
        yield db
    finally:
        await db.close()


def test_a_log_that_was_collected_while_it_was_looked_for_is_not_replaced() -> None:
    """The head was asked for before, the entry after everything up to it was collected."""

    async def scenario() -> None:
        clock = SimClock("bucket")
        storage = MemoryStorage(clock=clock)
        way = Suspended(storage)
        async with opened(way, "ann") as ann, opened(storage, "kim", retention=timedelta(0)) as kim:
            await ann.put("k", 1)
            troubles = trace(ann.errors)
            await clock.sleep(20)
            way.sleep_before(lambda request: "/log/" in request.name)
            sent = ann.put("k", 2)
            await way.asleep.wait()
            for value in range(3):
                await kim.put("other", value)
            for _ in range(3):
                await kim.compact()
                await clock.sleep(1.1 * HOUR)
            way.wake()
            await sent
            assert troubles == []
            assert await ann.get_prefix() == {"k": 2, "other": 2}

    run_virtually(scenario())


@pytest.mark.parametrize("before", ["/checkpoint/", "/log/", "/values/"])
def test_what_was_collected_while_a_manifest_was_verified_is_no_problem(before: str) -> None:
    async def scenario() -> None:
        clock = SimClock("bucket")
        storage = MemoryStorage(clock=clock)
        way = Suspended(storage)
        async with opened(storage, "kim", retention=timedelta(0), inline_limit=10) as kim:
            for value in range(5):
                await kim.put("k", f"large value {value}")
            await kim.compact()
            await kim.put("k", "the one before the last")
            way.sleep_before(lambda request: before in request.name and request.verb == "get")
            verifying = asyncio.ensure_future(verify(way, "main"))
            await way.asleep.wait()
            await clock.sleep(30 * HOUR)
            await kim.put("k", "the last large value")
            for _ in range(3):
                await kim.compact()
                await clock.sleep(1.1 * HOUR)
            way.wake()
            found = await verifying
            assert (found.problems, found.keys) == ([], 1)

    run_virtually(scenario())
