"""Virtual time."""

from __future__ import annotations

import asyncio

import pytest

from rxmps3.testing.virtual import EPOCH, Deadlock, Livelock, SimClock, VirtualLoop, run_virtually


def test_hours_pass_at_once():
    async def scenario() -> float:
        clock = SimClock("a")
        await clock.sleep(3600)
        assert (clock.now() - EPOCH).total_seconds() == 3600
        await asyncio.sleep(0.5)
        return clock.monotonic()

    assert run_virtually(scenario()) == 3600.5


def test_timers_run_in_their_order():
    async def scenario() -> list[int]:
        clock, order = SimClock("a"), list[int]()

        async def wait(seconds: int) -> None:
            await clock.sleep(seconds)
            order.append(seconds)

        await asyncio.gather(*(wait(seconds) for seconds in (5, 3, 4, 1, 2)))
        return order

    assert run_virtually(scenario()) == [1, 2, 3, 4, 5]


def test_time_outs_are_virtual():
    async def scenario() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 60)
        return asyncio.get_running_loop().time()

    assert run_virtually(scenario()) == 60


def test_a_deadlock_is_told_and_says_who_waits():
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"Event\.wait"):
        run_virtually(wait_for_ever())


def test_a_loop_without_end_is_told():
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Livelock):
        run_virtually(spin(), turns=1000)


def test_what_is_left_is_ended():
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("linger")

    async def scenario() -> None:
        asyncio.get_running_loop().create_task(linger())
        await asyncio.sleep(0)

    run_virtually(scenario())
    assert ended == ["linger"]


def test_the_executor_is_here_and_now():
    async def scenario() -> int:
        return await asyncio.to_thread(lambda: 42)

    assert run_virtually(scenario()) == 42


def test_sets_of_tasks_have_an_order():
    async def scenario() -> list[int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        tasks = {loop.create_task(asyncio.sleep(0)) for _ in range(5)}
        hashes = [hash(task) for task in tasks]
        await asyncio.gather(*tasks)
        return hashes

    assert run_virtually(scenario()) == sorted(run_virtually(scenario()))


def test_clocks_follow_their_seeds():
    async def scenario() -> tuple[str, str, str]:
        return SimClock("a").new_id(), SimClock("a").new_id(), SimClock("b").new_id()

    one, same, other = run_virtually(scenario())
    assert one == same != other
    assert len(one) == 12
