"""Clients whose clocks are wrong, on virtual time, in a bucket that tells times in whole seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from reactivex import Subject

import rxmps3
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.testing import FaultyStorage, LatencyStorage, Request
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.mps3.helpers import WholeSeconds


def bucket(seed: str) -> MemoryStorage:
    return MemoryStorage(clock=SimClock(f"server {seed}"))


def seen_by(inner: Storage, clock: SimClock, seed: str) -> Storage:
    rng = SimClock(seed).rng
    return LatencyStorage(WholeSeconds(inner), clock, lambda: rng.uniform(0.01, 0.2))


def client(inner: Storage, name: str, skew: float) -> rxmps3.Connecting:
    clock = SimClock(name, skew=skew)
    storage = seen_by(inner, clock, name)
    return rxmps3.connect(storage, protocol="mps3", clock=clock, by=name, poll=Subject[None](), shared=False)


@pytest.mark.parametrize("apart", [2.0, 4.0, 4.5, 10.0, 60.0, 86_400.0])
@pytest.mark.parametrize("both", [False, True], ids=["one is right", "both are wrong"])
def test_two_clients_apart_lose_nothing(apart: float, both: bool) -> None:
    """The JavaScript client loses up to 14 of these writes."""

    async def write(db: rxmps3.Database, name: str) -> None:
        for number in range(40):
            await db.put(f"{name}/{number}", number)

    async def main() -> None:
        inner = bucket(f"{apart} {both}")
        ahead, behind = (apart / 2, -apart / 2) if both else (apart, 0.0)
        async with client(inner, "ahead", ahead) as a, client(inner, "behind", behind) as b:
            await asyncio.gather(write(a, "a"), write(b, "b"))
            expected = {f"{name}/{number}": number for name in "ab" for number in range(40)}
            async with client(inner, "fresh", 0.0) as fresh:
                for db in (a, b, fresh):
                    await db.refresh()
                    assert await db.get_prefix() == expected

    run_virtually(main())


@pytest.mark.parametrize("skew", [-3600.0, -10.0, 10.0, 3600.0])
def test_a_wrong_clock_is_corrected_by_the_first_write(skew: float) -> None:
    async def main() -> None:
        inner = bucket(f"{skew}")
        async with client(inner, "wrong", skew) as db, client(inner, "right", 0.0) as right:
            await db.put("k", 1)
            await right.refresh()
            assert await right.get("k") == 1
            await right.put("k", 2)
            await db.refresh()
            assert await db.get("k") == 2
            await db.put("k", 3)
            await right.refresh()
            assert await right.get("k") == 3

    run_virtually(main())


@pytest.mark.parametrize("skew", [-86_400.0, -12.0, -8.0, 8.0, 86_400.0])
def test_a_wrong_clock_reads_everything_from_the_start(skew: float) -> None:
    async def main() -> None:
        inner = bucket(f"{skew}")
        async with client(inner, "right", 0.0) as right:
            await right.put("k", 1)
            async with client(inner, "wrong", skew) as db:
                assert await db.get("k") == 1

    run_virtually(main())


@pytest.mark.parametrize("skew", [-4.5, -2.0, 2.0, 4.5])
def test_who_has_seen_a_write_overrides_it_whatever_the_clocks(skew: float) -> None:
    """Causality: an answer is named later than what it answers."""

    async def main() -> None:
        inner = bucket(f"{skew}")
        async with client(inner, "wrong", skew) as a, client(inner, "right", 0.0) as b:
            for number in range(20):
                writer, reader = (a, b) if number % 2 else (b, a)
                await writer.put("k", number)
                await reader.refresh()
                assert await reader.get("k") == number
            async with client(inner, "fresh", 0.0) as fresh:
                assert await fresh.get("k") == 19

    run_virtually(main())


def test_an_operation_whose_answer_is_dated_too_far_off_is_not_stored_twice_because_a_request_failed() -> None:
    """Whether it counts is to be seen in the listing, which fails at first."""

    async def main() -> None:
        network = FaultyStorage(MemoryStorage(clock=SimClock("server")))
        failing = 0

        async def odd(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
            nonlocal failing
            if request.verb == "list" and failing:
                failing -= 1
                raise rxmps3.Unavailable("not now", operation="list", object=request.name)
            answer = await proceed()
            if request.verb == "put" and "json@" in request.name and not failing:
                failing = 1
                return replace(answer, date=answer.date + timedelta(seconds=4))
            return answer

        clock = SimClock("client")
        async with rxmps3.connect(network, protocol="mps3", clock=clock, poll=Subject[None](), shared=False) as db:
            network.plan = odd
            await db.put("k", 1)
            network.plan = ()
            page = await network.list("manifest.json@")
            assert len(page.objects) == 1
            assert failing == 0

    run_virtually(main())


def test_an_operation_that_counts_is_not_given_up_because_a_slow_answer_is_dated_wrong() -> None:
    """The next look comes before it, and by the date of that one it is named a quarter of an hour ahead. Sent once more,
    it would undo what others have written since they saw it."""

    async def main() -> None:
        network = FaultyStorage(MemoryStorage(clock=SimClock("server")))
        clock, way = SimClock("client"), SimClock("way")
        on_their_way: list[asyncio.Future[Any]] = []
        misdated = 0

        async def later(proceed: Callable[[], Awaitable[Any]]) -> None:
            await way.sleep(4)
            await proceed()

        async def odd(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
            nonlocal misdated
            if request.verb == "put" and "json@" in request.name and not on_their_way:
                on_their_way.append(asyncio.ensure_future(later(proceed)))
                raise rxmps3.Unavailable("no answer", operation="put", object=request.name)
            answer = await proceed()
            if request.verb == "list" and on_their_way and not on_their_way[0].done() and not misdated:
                misdated += 1
                await way.sleep(10)
                async with rxmps3.connect(network.inner, protocol="mps3", clock=SimClock("b"), shared=False) as other:
                    assert await other.get("k") == 1
                    await other.put("k", 2)
                await way.sleep(60)
                return replace(answer, date=answer.date - timedelta(minutes=15))
            return answer

        async with rxmps3.connect(network, protocol="mps3", clock=clock, poll=Subject[None](), shared=False) as db:
            await db.put("k", 0)
            network.plan = odd
            await db.put("k", 1)
            assert misdated == 1
            network.plan = ()
            await db.refresh()
            assert await db.get("k") == 2
            assert len((await network.list("manifest.json@")).objects) == 3

    run_virtually(main())
