"""An answer that is dated wrong: it neither holds up writes nor loses any, wherever it strikes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import pytest

import rxmps3
from rxmps3.errors import Unavailable
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.testing import Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.mps3.helpers import WholeSeconds

T = TypeVar("T")
SOON = 60.0
"""Seconds within which a put is committed all the same."""
REQUESTS = 14
PUTS = 4


class Misdated(StorageWrapper):
    """The way to a bucket on which some answers in a row are dated wrong, and the answer of one put is lost."""

    def __init__(self, inner: Storage, first: int, count: int, off: timedelta, lost: int | None) -> None:
        super().__init__(inner)
        self._wrong = range(first, first + count)
        self._off = off
        self._lost = lost
        self._requests = 0
        self._puts = 0
        self.on = False

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        answer: Any = await proceed()
        if not self.on:
            return answer
        number, self._requests = self._requests, self._requests + 1
        if request.verb == "put":
            self._puts += 1
            if self._puts - 1 == self._lost:
                raise Unavailable("no answer")
        if number in self._wrong and getattr(answer, "date", None) is not None:
            return cast("T", replace(answer, date=answer.date + self._off))
        return answer


def play(
    protocol: Any, off: timedelta, first: int, count: int, lost: int | None, *, known: bool
) -> tuple[float, object]:
    """How many seconds a put takes at most, and what somebody sees who opens it then.

    ``known``: there was a right date before.
    """

    async def main() -> tuple[float, object]:
        inner = MemoryStorage(clock=SimClock("bucket"), versioning=protocol == "versioned")
        way = Misdated(WholeSeconds(inner), first, count, off, lost)
        clock, took = SimClock("ann"), list[float]()
        async with rxmps3.connect(way, protocol=protocol, clock=clock, live=False, shared=False) as ann:
            if known:
                await ann.put("k", 0)
            way.on = True
            for number in (1, 2):
                began = clock.monotonic()
                await ann.put("k", number)
                took.append(clock.monotonic() - began)
            await ann.refresh()
            took.append(clock.monotonic() - began)
            assert await ann.get("k") == 2
        way.on = False
        async with rxmps3.connect(way, protocol=protocol, clock=SimClock("bob"), live=False, shared=False) as bob:
            return max(took), await bob.get("k")

    return run_virtually(main())


@pytest.mark.parametrize("off", [timedelta(days=2), timedelta(days=-2), timedelta(minutes=15), timedelta(minutes=-15)])
@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_one_wrong_date_holds_up_nothing_and_loses_nothing(protocol: str, off: timedelta, known: bool) -> None:
    for first in range(REQUESTS):
        for lost in (None, *range(PUTS)):
            took, seen = play(protocol, off, first, 1, lost, known=known)
            assert (took < SOON, seen) == (True, 2), (first, lost, took)


@pytest.mark.parametrize("off", [timedelta(days=2), timedelta(days=-2), timedelta(minutes=-15)])
@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
def test_some_wrong_dates_in_a_row_hold_up_nothing_and_lose_nothing(protocol: str, off: timedelta) -> None:
    for first in range(REQUESTS):
        for lost in (None, *range(PUTS)):
            took, seen = play(protocol, off, first, 3, lost, known=True)
            assert (took < SOON, seen) == (True, 2), (first, lost, took)
