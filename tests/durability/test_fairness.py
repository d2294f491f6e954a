"""Several clients that write without a pause: every one of them gets its turn. In virtual time."""

from __future__ import annotations

import asyncio

import pytest

import rxmps3
from rxmps3.storage import MemoryStorage
from rxmps3.testing import LatencyStorage
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.benchmarks.virtual_contention import puts, virtually
from tests.durability.helpers import on

WARM_UP = 30.0
SECONDS = 60.0


async def _commits(latencies: list[float]) -> list[int]:
    """How many puts each client gets committed, one after the other, in a minute, some time after the start."""
    bucket = MemoryStorage(clock=SimClock("bucket"))
    counts = [0] * len(latencies)

    async def write(number: int, latency: float) -> None:
        clock = SimClock(f"client {number}")

        def jittered() -> float:
            return latency * clock.rng.uniform(0.8, 1.2)

        async with on(LatencyStorage(bucket, clock, jittered), clock=clock, poll=1.0) as db:
            while clock.monotonic() < WARM_UP + SECONDS:
                await db.put(f"client {number}", clock.monotonic())
                counts[number] += clock.monotonic() >= WARM_UP

    async with on(bucket, clock=SimClock("first")) as first:
        await first.put("first", True)
    writers = [asyncio.ensure_future(write(number, latency)) for number, latency in enumerate(latencies)]
    await asyncio.gather(*writers)
    return counts


@pytest.mark.parametrize("clients", [2, 6])
def test_clients_of_the_same_speed_get_about_the_same(clients: int) -> None:
    counts = run_virtually(_commits([0.03] * clients))
    assert min(counts) * 2 >= max(counts), counts


@pytest.mark.parametrize(("slower", "least"), [(2, 60), (5, 10)])
def test_a_slow_client_gets_its_turn_beside_a_fast_one(slower: int, least: int) -> None:
    """A connection that takes so many times as long: at least so many writes a minute."""
    counts = run_virtually(_commits([0.03, 0.03 * slower]))
    assert counts[1] >= least, counts


async def _first_commit_of_a_newcomer(number: int) -> float:
    """How long the first put of a client takes beside another that has committed without a pause for five seconds."""
    bucket, commit_takes = MemoryStorage(clock=SimClock("bucket")), 0.01

    def far(clock: SimClock) -> LatencyStorage:
        return LatencyStorage(bucket, clock, lambda: commit_takes * clock.rng.uniform(0.8, 1.2))

    old, new = SimClock(f"old {number}"), SimClock(f"new {number}")

    async def write(db: rxmps3.Database) -> None:
        while True:
            await db.put("old", old.monotonic())

    async with on(far(old), clock=old, poll=60) as first, on(far(new), clock=new, poll=60) as second:
        writing = asyncio.ensure_future(write(first))
        await new.sleep(5.0)
        began = new.monotonic()
        await second.put("new", True)
        took = new.monotonic() - began
        writing.cancel()
    return took


def test_a_newcomer_is_committed_within_two_seconds_beside_a_writer_that_leaves_no_gap() -> None:
    waits = [run_virtually(_first_commit_of_a_newcomer(number)) for number in range(5)]
    assert max(waits) < 2.0, waits


async def _moves(latencies: list[float]) -> list[list[float]]:
    """When each client has made a transaction that meets all others', one after the other, for a minute."""
    bucket = MemoryStorage(clock=SimClock("bucket"))
    moments: list[list[float]] = [[] for _ in latencies]

    async def change(number: int, latency: float) -> None:
        clock = SimClock(f"client {number}")

        def jittered() -> float:
            return latency * clock.rng.uniform(0.5, 2.0)

        async def move(tx: rxmps3.Transaction) -> None:
            await tx.get_prefix()
            tx.put(f"client {number}", clock.monotonic())

        async with on(LatencyStorage(bucket, clock, jittered), clock=clock, poll=1.0) as db:
            while clock.monotonic() < SECONDS:
                await db.transact(move, attempts=1000)
                moments[number].append(clock.monotonic())

    await asyncio.gather(*(change(number, latency) for number, latency in enumerate(latencies)))
    return moments


@pytest.mark.parametrize(
    ("latencies", "longest"), [([0.03] * 3, 6), ([0.03] * 8, 6), ([0.03, 0.15], 20)], ids=["3", "8", "a slow one"]
)
def test_transactions_that_meet_all_others_wait_for_seconds_at_most(latencies: list[float], longest: int) -> None:
    for moments in run_virtually(_moves(latencies)):
        waits = [after - before for before, after in zip([0.0, *moments], moments, strict=False)]
        assert max(waits) <= longest, (len(moments), waits)


@pytest.mark.parametrize(("clients", "most"), [(1, 1.1), (2, 2.4), (8, 9.0)])
def test_a_commit_beside_others_takes_few_requests_and_less_than_two_seconds(clients: int, most: float) -> None:
    """Whoever commits beside others reads what each of them has committed: with eight, that is seven requests."""
    run = virtually(puts, clients, 5.0)
    assert run.requests < most
    assert run.longest < 2.0
    assert min(run.commits) * 1.6 > max(run.commits), run.commits


def test_a_client_alone_is_not_held_up_much() -> None:
    """A commit takes 30 ms, so 2,000 would be the most in a minute."""
    (count,) = run_virtually(_commits([0.03]))
    assert count >= 1750


def test_everybody_s_writes_count_though_all_write_at_once() -> None:
    async def main() -> None:
        bucket = MemoryStorage(clock=SimClock("bucket"))
        databases: list[rxmps3.Database] = []
        for number in range(8):
            clock = SimClock(f"client {number}")
            databases.append(await on(LatencyStorage(bucket, clock, 0.05), clock=clock, poll=1.0))
        receipts = [db.put(f"{number}/{n}", n) for n in range(25) for number, db in enumerate(databases)]
        await asyncio.gather(*(_end_of(receipt) for receipt in receipts))
        for db in databases:
            await db.refresh()
            assert len(db) == 200
            await db.close()

    run_virtually(main())


async def _end_of(receipt: rxmps3.Receipt) -> None:
    await receipt
