"""The clock that stands still."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

import rxmps3
from rxmps3.runtime.clock import ID_ALPHABET, Clock
from rxmps3.storage import MemoryStorage
from rxmps3.testing import ManualClock


async def test_sleepers_wake_in_order_and_finish_before_the_next() -> None:
    clock = ManualClock()
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            seen.append((name, clock.monotonic()))
            for _ in range(20):
                await asyncio.sleep(0)
            seen.append((name + " done", clock.monotonic()))

    tasks = [asyncio.ensure_future(sleeper(*args)) for args in [("b", 2, 1), ("a", 1, 2), ("c", 3), ("late", 10)]]
    await clock.advance(0.5)
    assert seen == []
    await clock.advance(4.5)
    assert [name for name, _ in seen] == [name for one in ("a", "b", "c", "a", "b") for name in (one, one + " done")]
    assert [moment for _, moment in seen[::2]] == [1, 2, 3, 3, 3]
    assert clock.monotonic() == 5
    assert clock.sleeping == 1
    await clock.advance(5)
    await asyncio.gather(*tasks)


async def test_time_is_told_three_ways() -> None:
    clock: Clock = (manual := ManualClock())
    start = clock.now()
    await manual.advance(1.5)
    assert clock.now() - start == timedelta(seconds=1.5)
    assert clock.monotonic() == 1.5
    assert start.tzinfo is not None


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.ensure_future(clock.sleep(1))
    await clock.advance()
    assert clock.sleeping == 1
    task.cancel()
    await clock.advance()
    assert clock.sleeping == 0
    await clock.advance(2)


async def test_sleeping_for_no_time_lets_others_run() -> None:
    clock = ManualClock()
    await asyncio.wait_for(clock.sleep(0), 1)
    await asyncio.wait_for(clock.sleep(-1), 1)


async def test_run_skips_the_waiting() -> None:
    clock = ManualClock()

    async def work() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(clock.sleep(86_400))
            group.create_task(clock.sleep(3_600))
        return "done"

    assert await clock.run(work()) == "done"
    assert clock.monotonic() == 86_400


async def test_run_passes_errors_on() -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await ManualClock().run(fail())


async def test_run_notices_a_deadlock() -> None:
    with pytest.raises(RuntimeError, match="nothing is sleeping"):
        await ManualClock().run(asyncio.Event().wait())


async def test_a_busy_loop_is_noticed() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    clock = ManualClock()
    task = asyncio.ensure_future(spin())
    with pytest.raises(RuntimeError, match="never becomes idle"):
        await clock.advance(1)
    task.cancel()


def test_the_seed_decides_chance_and_ids() -> None:
    one, same, other = ManualClock(7), ManualClock(7), ManualClock(8)
    ids = [one.new_id(20) for _ in range(3)]
    assert ids == [same.new_id(20) for _ in range(3)] != [other.new_id(20) for _ in range(3)]
    assert one.rng.random() == same.rng.random() != other.rng.random()
    assert len(set(ids)) == 3
    assert set("".join(ids)) <= set(ID_ALPHABET)


async def test_work_in_a_thread_takes_no_time() -> None:
    clock = ManualClock()

    def work() -> str:
        time.sleep(0.05)
        return "done"

    async def both() -> str:
        done = await asyncio.to_thread(work)
        await clock.sleep(1)
        return done + await asyncio.to_thread(work)

    sleeper = asyncio.ensure_future(clock.sleep(3600))
    assert await clock.run(both()) == "donedone"
    assert clock.monotonic() == 1
    sleeper.cancel()
    assert await clock.run(asyncio.to_thread(work)) == "done"
    with pytest.raises(RuntimeError, match="nothing is sleeping"):
        await clock.run(asyncio.Event().wait())


async def test_a_database_is_compacted_in_the_time_of_a_clock() -> None:
    clock = ManualClock()
    db = await clock.run(rxmps3.connect(MemoryStorage(clock=clock), clock=clock, shared=False, retention=timedelta(1)))
    for day in range(3):
        await clock.run(db.put("k", day))
        await clock.run(db.compact())
        await clock.advance(86400)
    assert (await clock.run(db.compact())).raised
    await clock.advance(3700)
    assert (await clock.run(db.compact())).entries > 0
    await clock.run(db.close())
