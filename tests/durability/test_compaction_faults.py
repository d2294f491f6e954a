"""Compaction that is interrupted anywhere, goes on elsewhere, or is done by several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

import rxmps3
from rxmps3.model.state import State
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.testing import FaultyStorage, LatencyStorage, Request
from rxmps3.testing.faults import drop_requests, late, lose_answers, resend, throttle
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.durability.helpers import LARGE, on
from tests.durability.test_compaction import fill
from tests.durability.upkeep import DAY, HOUR, Watched, check, head_of, kind_of, kinds

Stage = Literal["checkpoint", "raise", "delete"]
Interruption = Literal["dropped", "answer lost"]


async def at_stage(stage: Stage, clock: SimClock) -> MemoryStorage:
    """A bucket whose next compaction makes its first checkpoint, raises the floor, or deletes entries and values."""
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        await fill(db, 12, 3, large=3)
        if stage == "checkpoint":
            return bucket
        await db.compact()
        await clock.sleep(13 * HOUR)
        await fill(db, 6, 3, large=3, start=12)
        await db.compact()
        await clock.sleep(12 * HOUR)
        await fill(db, 3, 3, start=18)
        if stage == "raise":
            return bucket
        await db.compact()
        await clock.sleep(2 * HOUR)
    return bucket


class Interrupted(FaultyStorage):
    """The n-th request and all after it fail: the first of them carried out or not, the rest not."""

    def __init__(self, inner: Storage, clock: SimClock, n: int, way: Interruption) -> None:
        super().__init__(inner, clock=clock)
        self.left: int | None = None
        self._n = n
        self._way = way

    async def around(self, request: Request, proceed: Callable[[], Awaitable[Any]]) -> Any:
        if self.left is None:
            return await proceed()
        self.left -= 1
        if self.left < 0:
            if self.left == -1 and self._way == "answer lost":
                await proceed()
            raise rxmps3.Unavailable(f"interrupted at request {self._n}")
        return await proceed()

    def start(self) -> None:
        self.left = self._n


async def finish(bucket: Storage, clock: SimClock) -> None:
    """Compact until nothing is left to do, as later clients would."""
    for hours in (0, 2, 26, 2, 2):
        await clock.sleep(hours * HOUR)
        async with on(bucket, clock=clock) as db:
            await db.put("after", hours)
            await db.compact()
        await check(bucket)


def values_of(state: State) -> dict[str, object]:
    """Which keys hold what."""
    return {key: getattr(entry.content, "sha256", None) for key, entry in state.entries.items()}


@pytest.mark.parametrize("way", ["dropped", "answer lost"])
@pytest.mark.parametrize("stage", ["checkpoint", "raise", "delete"])
def test_interrupted_at_any_request_and_taken_up_again_the_result_is_the_same(stage: Stage, way: Interruption) -> None:
    async def main() -> None:
        clock = SimClock("a")
        reference = await at_stage(stage, clock)
        await finish(reference, clock)
        expected = values_of(await check(reference))
        left = await kinds(reference)
        interrupted = 0
        for n in range(1000):
            bucket = await at_stage(stage, clock)
            network = Interrupted(bucket, clock, n, way)
            db = await on(network, clock=clock)
            network.start()
            try:
                await db.compact()
            except rxmps3.Unavailable:
                interrupted += 1
            completed = network.left is not None and network.left >= 0
            network.left = None
            await db.close(timeout=0)
            await check(bucket)
            await finish(bucket, clock)
            assert values_of(await check(bucket)) == expected
            assert (await kinds(bucket))["log"] == left["log"], n
            assert (await kinds(bucket))["values"] == left["values"], n
            assert (await kinds(bucket))["checkpoint"] <= left["checkpoint"] + 1, n
            if completed:
                break
        assert interrupted >= {"checkpoint": 3, "raise": 10, "delete": 20}[stage]

    run_virtually(main(), turns=50_000_000)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stage", ["checkpoint", "raise", "delete"])
def test_several_collectors_at_once_do_what_one_would(stage: Stage, seed: int) -> None:
    async def main() -> None:
        clock = SimClock(f"{seed}")
        bucket = await at_stage(stage, clock)
        reference = values_of(await check(bucket))
        watched = Watched(bucket)

        async def collect(number: int) -> None:
            own = SimClock(f"collector {seed} {number}")
            slow = LatencyStorage(watched, own, lambda: own.rng.uniform(0, 0.2))
            async with on(slow, clock=own) as db:
                for _ in range(3):
                    try:
                        await db.compact()
                    except rxmps3.Unavailable:
                        pass  # somebody else was faster too often
                    await own.sleep(own.rng.uniform(0, 1))

        await asyncio.gather(*map(collect, range(4)))
        assert values_of(await check(bucket)) == reference
        await finish(watched, clock)
        assert reference.items() <= values_of(await check(bucket)).items()

    run_virtually(main())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.heavy) for seed in range(1, 20))])
def test_the_floor_and_the_checkpoint_only_rise_in_weeks_of_trouble(seed: int) -> None:
    """Writers, readers, collectors, faults, sleepers: at each rewrite of the head `Watched` looks."""

    async def main() -> None:
        clock = SimClock(f"{seed}")
        bucket = MemoryStorage(clock=clock)
        watched = Watched(bucket)
        confirmed: dict[str, int] = {}

        async def client(name: str, pause: float) -> None:
            own = SimClock(f"{seed} {name}")
            network = FaultyStorage(LatencyStorage(watched, own, lambda: own.rng.uniform(0, 0.1)), clock=own)
            async with on(network, clock=own, by=name, poll=60.0) as db:
                network.plan = [
                    throttle(one_in=20),
                    drop_requests(one_in=20),
                    lose_answers(one_in=10),
                    resend(one_in=20),
                    late(one_in=40, seconds=lambda: own.rng.uniform(1, 900), verbs=("put",)),
                ]
                number = 0
                while own.monotonic() < 12 * DAY:
                    for _ in range(own.rng.randrange(40)):
                        db.put(name, [number, LARGE] if number % 5 == 0 else number)
                        number += 1
                    try:
                        await db.compact()
                    except (rxmps3.Unavailable, rxmps3.AccessDenied):
                        pass  # the weather; anything else fails the test
                    await own.sleep(own.rng.uniform(0, pause))
                network.plan = ()
                while db.pending.value:
                    await own.sleep(1)
                confirmed[name] = number - 1
                await network.arrived()

        await asyncio.gather(client("a", 4 * HOUR), client("b", 12 * HOUR), client("c", 2 * DAY))
        await finish(watched, clock)
        state = await check(bucket)
        assert set(state) == {*confirmed, "after"}
        async with on(bucket, clock=clock) as db:
            for name, number in confirmed.items():
                value = await db.get(name)
                assert value == ([number, LARGE] if number % 5 == 0 else number)
        assert len(watched.heads) > 10
        assert (await head_of(bucket)).floor > 20
        assert (await kinds(bucket))["values"] < 10
        assert not [name for name in watched.deleted if kind_of(name) == "head"]

    run_virtually(main(), turns=50_000_000)


def test_a_collection_gets_through_although_one_request_in_a_hundred_fails() -> None:
    """Nobody calls compact; a day of the log is about two thousand entries."""

    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        network = FaultyStorage(bucket, clock=clock)
        async with on(network, clock=clock, poll=60.0) as db:
            await fill(db, 10)
            network.plan = throttle(one_in=100)
            for hour in range(3 * 24):
                await fill(db, 80, large=8, start=hour * 80)
                await clock.sleep(HOUR)
            assert (await head_of(bucket)).floor > 1500
            assert (await kinds(bucket))["log"] < 4500
            assert (await kinds(bucket))["values"] < 500
            network.plan = ()
        await check(bucket)

    run_virtually(main())


@pytest.mark.parametrize("stage", ["checkpoint", "raise", "delete"])
def test_a_reader_may_open_at_any_moment_of_a_compaction(stage: Stage) -> None:
    """Before each request that a compaction makes, somebody opens the database anew and sees the same."""

    async def main() -> None:
        clock = SimClock("a")
        bucket = await at_stage(stage, clock)
        expected = values_of(await check(bucket))
        opened = 0

        async def open_first(request: Request, proceed: Any, faults: FaultyStorage) -> Any:
            nonlocal opened
            async with on(bucket, clock=clock, read_only=True) as reader:
                assert values_of(reader.states.value.confirmed) == expected
                assert (await reader.get_prefix()).keys() == expected.keys()
            opened += 1
            return await proceed()

        network = FaultyStorage(bucket, clock=clock)
        async with on(network, clock=clock) as db:
            network.plan = open_first
            await db.compact()
            network.plan = ()
        assert opened > 5

    run_virtually(main())
