"""One fault at each request of a client in turn: it neither holds up what comes after it for long nor changes the result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

import rxmps3
from rxmps3.errors import Unavailable
from rxmps3.storage import Found, MemoryStorage, Missing, Storage
from rxmps3.testing import Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import trace
from tests.mps3.helpers import WholeSeconds

T = TypeVar("T")
LARGE = "L" * 5000
HOUR = 3600.0
POLL = 30.0
FAULTS = {
    "does not arrive": 0.0,
    "is lost": 0.0,
    "is lost, and carried out later": 7.0,
    "is carried out again": 7.0,
    "is carried out again at once": 0.0,
    "is answered late": 20.0,
    "is answered an hour later": HOUR,
    "is carried out late": 700.0,
    "finds nothing": 0.0,
}
"""What becomes of one request, and how many seconds it takes."""
SOON = 60.0
"""Seconds after the fault within which everything goes on."""


class Way(StorageWrapper):
    """The way of one client to a bucket, on which one request meets a fault."""

    def __init__(self, inner: Storage, number: int, fault: str) -> None:
        super().__init__(inner)
        self._clock = SimClock("way")
        self._number = number
        self._fault = fault
        self._later: list[asyncio.Task[None]] = []
        self.requests = 0

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        number, self.requests = self.requests, self.requests + 1
        if number != self._number:
            return await proceed()
        seconds = FAULTS[self._fault]
        match self._fault:
            case "does not arrive":
                raise Unavailable("it did not arrive")
            case "is lost":
                await self._tried(proceed)
                raise Unavailable("the answer was lost")
            case "is lost, and carried out later":
                self._carry_out_later(proceed, seconds)
                raise Unavailable("the answer was lost")
            case "is carried out again" if request.verb in ("put", "delete"):
                answer = await proceed()
                self._carry_out_later(proceed, seconds)
                return answer
            case "is carried out again at once" if request.verb == "put":
                await proceed()
                return await proceed()
            case "is answered late" | "is answered an hour later":
                answer = await proceed()
                await self._clock.sleep(seconds)
                return answer
            case "is carried out late":
                await self._clock.sleep(seconds)
                return await proceed()
            case "finds nothing":
                answer = await proceed()
                return Missing(date=answer.date) if isinstance(answer, Found) else answer  # type: ignore[return-value]
            case _:
                return await proceed()

    def _carry_out_later(self, proceed: Callable[[], Awaitable[Any]], seconds: float) -> None:
        async def arrive() -> None:
            await self._clock.sleep(seconds)
            await self._tried(proceed)

        self._later.append(asyncio.ensure_future(arrive()))

    async def _tried(self, proceed: Callable[[], Awaitable[Any]]) -> None:
        try:
            await proceed()
        except rxmps3.Error:
            pass

    async def quiet(self) -> None:
        """Everything has arrived."""
        await asyncio.gather(*self._later)


def play(protocol: Any, number: int, fault: str) -> int:
    """Two clients take turns, one of them meets the fault. Returns how many requests that one made.

    Raises:
        AssertionError: something took too long, or the result is another one.
    """

    async def main() -> int:
        bucket = WholeSeconds(MemoryStorage(clock=SimClock("bucket"), versioning=protocol == "versioned"))
        way, clock = Way(bucket, number, fault), SimClock("ann")
        options: dict[str, Any] = {"protocol": protocol, "live": False, "shared": False, "poll": POLL}

        async def soon(what: str, action: Callable[[], Awaitable[Any]]) -> Any:
            began = clock.monotonic()
            try:
                done = await action()
            except Unavailable:  # who reads is told, and reads again
                done = await action()
            took = clock.monotonic() - began
            assert took <= FAULTS[fault] + SOON, f"{what}: {took:.0f} s"
            return done

        async with rxmps3.connect(bucket, clock=SimClock("bob"), **options) as bob:
            await bob.put("shared", 0)
            await bob.put("large", LARGE)
            db = await soon("connect", lambda: _opened(way, clock, options))
            async with db as ann:
                seen = trace(ann.observe("k", 0))
                assert await soon("get", lambda: ann.get("shared")) == 0
                await soon("put", lambda: ann.put("k", 1))
                await soon("a large put", lambda: ann.put("mine", LARGE))
                await bob.put("shared", 1)
                await bob.put("large", "B" + LARGE)
                await clock.sleep(2)
                for _ in range(2):  # one that finds nothing is no error
                    await soon("refresh", ann.refresh)
                assert await soon("get of a large value", lambda: ann.get("large")) == "B" + LARGE
                await soon("put_all", lambda: ann.put_all({"k": 2, "j": 2}))
                await clock.sleep(30)
                await bob.delete("large")
                await soon("put of a shared key", lambda: ann.put("shared", 2))
                await soon("delete", lambda: ann.delete("j"))
                await soon("another put", lambda: ann.put("k", 3))
                await clock.sleep(20)
                for _ in range(2):
                    await soon("refresh", ann.refresh)
                expected = {"k": 3, "mine": LARGE, "shared": 2}
                assert await ann.get_prefix() == expected
                assert ann.status.value.last_error is None
                await way.quiet()
                await clock.sleep(SOON)
                await soon("refresh", ann.refresh)
                await bob.refresh()
                assert await ann.get_prefix() == await bob.get_prefix() == expected
                assert seen == [0, 1, 2, 3]
        async with rxmps3.connect(bucket, clock=SimClock("eve"), **options) as eve:
            assert await eve.get_prefix() == expected
        return way.requests

    return run_virtually(main())


async def _opened(storage: Storage, clock: SimClock, options: dict[str, Any]) -> rxmps3.Database:
    return await rxmps3.connect(storage, clock=clock, by="ann", **options)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
def test_one_fault_changes_nothing(protocol: str, fault: str) -> None:
    number = requests = int(fault == "finds nothing")  # the first one asks whether there is a log
    while number <= requests:
        try:
            requests = play(protocol, number, fault)
        except AssertionError as error:
            raise AssertionError(f"request {number}: {error}") from error
        number += 1
    assert number > 25
