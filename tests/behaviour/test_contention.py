"""Transactions that use the same keys: those of one replica queue behind each other and never conflict."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import rxmps3
from rxmps3.replica.claims import HELD_FOR
from rxmps3.storage import MemoryStorage
from rxmps3.testing import LatencyStorage
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.benchmarks.contention import by_threads, on_one_handle

pytestmark = pytest.mark.async_only("each test says which interface it is about")


def virtually(main: Callable[[rxmps3.Database], Awaitable[None]]) -> None:
    """Run with a database in memory, in virtual time."""

    async def run() -> None:
        storage = LatencyStorage(MemoryStorage(clock=SimClock("bucket")), SimClock("network"), 0.02)
        async with rxmps3.connect(storage, shared=False, poll=60, clock=SimClock("client")) as db:
            await main(db)

    run_virtually(run())


def test_1000_increments_by_64_tasks_on_one_handle_need_one_attempt_each() -> None:
    storage = MemoryStorage()
    needed = asyncio.run(on_one_handle(storage, 64, 1000))
    assert needed == {1: 1000}


def test_increments_by_16_blocking_threads_on_one_handle_need_one_attempt_each() -> None:
    needed = by_threads("memory:", {}, 16, 320)
    assert needed == {1: 320}


def test_who_thinks_for_a_while_is_waited_for() -> None:
    """Also one whose wait is longer than a claim lasts, since that counts from when it was granted."""

    async def main(db: rxmps3.Database) -> None:
        calls, thinking = 0, SimClock("thinking")

        async def slowly(tx: rxmps3.Transaction) -> None:
            nonlocal calls
            calls += 1
            number = await tx.get("n", 0)
            await thinking.sleep(0.5)
            tx.put("n", number + 1)

        await asyncio.gather(*(db.transact(slowly) for _ in range(20)))
        assert await db.get("n") == 20
        assert calls == 20

    virtually(main)


def test_transactions_on_other_keys_do_not_wait() -> None:
    async def main(db: rxmps3.Database) -> None:
        clock = SimClock("thinking")
        async with db.transaction() as tx:
            await tx.get_prefix("a/")
            began = clock.monotonic()
            await db.update("b", lambda value: 1)
            assert clock.monotonic() - began < 1
            tx.put("a/1", 1)
        assert await db.get_prefix() == {"a/1": 1, "b": 1}

    virtually(main)


async def test_single_attempts_queue_too() -> None:
    async with rxmps3.connect(MemoryStorage(), poll=60) as db:

        async def one(number: int) -> None:
            async with db.transaction() as tx:
                items = await tx.get_prefix("item/")
                await asyncio.sleep(0)
                tx.put(f"item/{number}", len(items))

        await asyncio.gather(*(one(number) for number in range(30)))
        assert sorted((await db.get_prefix("item/")).values()) == list(range(30))


async def test_a_key_that_is_written_unread_is_waited_for() -> None:
    async with rxmps3.connect(MemoryStorage(), poll=60) as db:
        calls: list[str] = []
        read = asyncio.Event()

        async def increment(tx: rxmps3.Transaction) -> None:
            calls.append("increment")
            number = await tx.get("n", 0)
            read.set()
            for _ in range(10):
                await asyncio.sleep(0)
            tx.put("n", number + 1)

        async def reset(tx: rxmps3.Transaction) -> None:
            calls.append("reset")
            tx.put("n", 100)

        first = asyncio.ensure_future(db.transact(increment))
        await read.wait()
        await db.transact(reset)
        await first
        assert calls == ["increment", "reset"]
        assert await db.get("n") == 100


async def test_keys_taken_in_opposite_orders() -> None:
    """Two that would wait for each other do not: one of them runs again."""
    async with rxmps3.connect(MemoryStorage(), poll=60) as db:

        async def move(source: str, target: str) -> None:
            async def fn(tx: rxmps3.Transaction) -> None:
                there = await tx.get(source, 0)
                await asyncio.sleep(0.001)
                here = await tx.get(target, 0)
                tx.put_all({source: there - 1, target: here + 1})

            await db.transact(fn)

        async with asyncio.timeout(HELD_FOR):
            await asyncio.gather(*(move(*pair) for _ in range(10) for pair in (("a", "b"), ("b", "a"))))
        assert await db.get_many(["a", "b"]) == {"a": 0, "b": 0}


async def test_a_transaction_begun_within_another_does_not_wait_for_it() -> None:
    async with rxmps3.connect(MemoryStorage(), poll=60) as db:
        inner_done = False

        async def outer(tx: rxmps3.Transaction) -> None:
            nonlocal inner_done
            number = await tx.get("n", 0)
            if not inner_done:
                await db.update("n", lambda value: 10)
                inner_done = True
            tx.put("n", number + 1)

        async with asyncio.timeout(HELD_FOR):
            await db.transact(outer)
        assert await db.get("n") == 11


def test_one_within_another_on_the_blocking_interface() -> None:
    with rxmps3.blocking.connect("memory:") as db:
        calls = 0

        def outer(tx: Any) -> None:
            nonlocal calls
            calls += 1
            number = tx.get("n", 0)
            if calls == 1:
                db.update("n", lambda value: 10)
            tx.put("n", number + 1)

        done = threading.Thread(target=lambda: db.transact(outer))
        done.start()
        done.join(HELD_FOR)
        assert not done.is_alive()
        assert db.get("n") == 11


def test_a_claim_that_is_held_for_long_is_passed_over() -> None:
    """Its function may be waiting for something that waits for it."""

    async def main(db: rxmps3.Database) -> None:
        clock = SimClock("thinking")
        calls, done = 0, asyncio.Event()

        async def waits_for_the_other(tx: rxmps3.Transaction) -> None:
            nonlocal calls
            calls += 1
            number = await tx.get("n", 0)
            await done.wait()
            tx.put("n", number + 1)

        first = asyncio.ensure_future(db.transact(waits_for_the_other))
        await clock.sleep(1)
        began = clock.monotonic()
        await db.update("n", lambda value: 10)
        assert HELD_FOR - 1.5 < clock.monotonic() - began < HELD_FOR + 0.5
        done.set()
        await first
        assert calls == 2
        assert await db.get("n") == 11

    virtually(main)


async def test_what_is_given_up_is_free_at_once() -> None:
    async with rxmps3.connect(MemoryStorage(), poll=60) as db:

        async def fails(tx: rxmps3.Transaction) -> None:
            await tx.get("n")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await db.transact(fails)
        reading = asyncio.Event()

        async def for_ever(tx: rxmps3.Transaction) -> None:
            await tx.get("n")
            reading.set()
            await asyncio.sleep(3600)

        cancelled = asyncio.ensure_future(db.transact(for_ever))
        await reading.wait()
        cancelled.cancel()
        async with asyncio.timeout(HELD_FOR):
            assert await db.update("n", lambda value: 1) == 1
