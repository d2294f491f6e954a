"""Receipts of a real database, and closing one."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
import warnings
from collections.abc import AsyncIterator

import pytest
from reactivex import Subject

import rxmps3
from rxmps3 import Closed, NotSent, Overloaded, Rejected
from rxmps3.storage import MemoryStorage
from tests.behaviour.facades import close_within, home_tasks
from tests.behaviour.helpers import LARGE, Gate, Switch, eventually, offline, player, players, trace
from tests.behaviour.test_emissions_events import Unconditional
from tests.conftest import Place


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """A storage that holds each commit."""
    gate = Gate(part="/log/", verbs=("put",))
    yield gate
    gate.open()


async def awaited(receipt: rxmps3.Receipt) -> str:
    return await receipt


# -- receipts ----------------------------------------------------------------------------------------------------


async def test_a_receipt_gives_the_version_that_the_entry_has(place: Place) -> None:
    async with players(place, "a") as (a,):
        receipt = a.put_all({"x": 1, "y": LARGE})
        stages = trace(receipt.stages)
        version = await receipt
        assert await receipt == await asyncio.create_task(awaited(receipt)) == await receipt.stored == version
        assert {entry.version for entry in a.states.value.values()} == {version}
        assert (receipt.keys, receipt.stage, receipt.done()) == (("x", "y"), "committed", True)
        assert [stage for stage in stages if stage != "stored"] == ["pending", "committed", "completed"]


@pytest.mark.parametrize("stage", ["pending", "committed", "completed"])
async def test_an_observer_of_stages_that_raises_is_detached_and_reported(stage: str) -> None:
    def raises_at(now: str) -> None:
        if now == stage:
            raise LookupError(now)

    async with players(MemoryStorage(), "a") as (a,):
        errors = trace(a.errors)
        receipt = a.put("k", 1)
        receipt.stages.subscribe(raises_at, on_completed=lambda: raises_at("completed"))
        stages = trace(receipt.stages)
        await receipt
        await a.put("k", 2)
        await eventually(lambda: errors)
        assert [(str(failure.error), failure.object) for failure in errors] == [
            (stage, f"stages of write {receipt.version}")
        ]
        assert stages[-2:] == ["committed", "completed"]


async def test_a_put_acts_when_it_is_called_and_needs_no_await(gate: Gate) -> None:
    async with players(gate, "a") as (a,):
        receipt = a.put("k", 1)
        assert (await a.get("k"), receipt.stage) == (1, "pending")
        (await gate.held()).let_go()
        await eventually(receipt.done)
        assert receipt.stage == "committed"
    async with players(gate, "b") as (b,):
        assert await b.get("k") == 1


async def test_several_may_wait_and_a_cancelled_wait_cancels_neither_them_nor_the_write(gate: Gate) -> None:
    async with players(gate, "a") as (a,):
        receipt = a.put("k", 1)
        waits = [asyncio.create_task(awaited(receipt)) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited(receipt), 0.001)
        waits[0].cancel()
        await asyncio.gather(waits[0], return_exceptions=True)
        assert receipt.stage == "pending"
        (await gate.held()).let_go()
        assert await asyncio.gather(*waits[1:]) == [receipt.version] * 2


async def test_without_an_outbox_stored_means_committed(gate: Gate) -> None:
    async with players(gate, "a") as (a,):
        receipt = a.put("k", 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_stored(receipt), 0.01)
        (await gate.held()).let_go()
        await receipt.stored
        assert receipt.stage == "committed"


async def _stored(receipt: rxmps3.Receipt) -> str:
    return await receipt.stored


@pytest.mark.async_only("here any thread may wait but the databases' own, which tests/blocking tries")
async def test_a_thread_waits_and_a_loop_may_not(gate: Gate) -> None:
    async with players(gate, "a") as (a,):
        receipt = a.put("k", 1)
        with pytest.raises(RuntimeError, match="await receipt"):
            receipt.wait()
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(receipt.wait, 0.001)
        waiting = asyncio.create_task(asyncio.to_thread(receipt.wait, 30))
        (await gate.held()).let_go()
        assert await waiting == receipt.version


async def test_versions_of_later_writes_differ(gate: Gate) -> None:
    gate.open()
    async with players(gate, "a", "b") as (a, b):
        versions = [await db.put("k", 1) for db in (a, a, b, b)]
        assert len(set(versions)) == 4


async def test_a_refusal_that_nobody_awaits_goes_to_errors_and_prints_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with players(Unconditional(), "a", protocol="sequenced") as (a,):
        errors = trace(a.errors)
        a.put("k", 1)
        await eventually(lambda: errors)
        gc.collect()
        await asyncio.sleep(0)
        assert [type(failure.error) for failure in errors] == [Rejected]
        assert not [record for record in caplog.records if "never retrieved" in record.getMessage()]


async def test_too_many_pending_writes_are_refused_until_some_are_committed(gate: Gate) -> None:
    async with players(gate, "a", max_pending=3) as (a,):
        receipts = [a.put("k", number) for number in range(3)]
        with pytest.raises(Overloaded, match="3"):
            a.put("k", 3)
        assert await a.get("k") == 2
        gate.open()
        await receipts[-1]
        await a.put("k", 4)
        assert await a.get("k") == 4


# -- closing -----------------------------------------------------------------------------------------------------


async def test_close_sends_what_is_pending_and_leaves_nothing_behind(place: Place) -> None:
    tasks = home_tasks()
    threads = own_threads()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with player(place, poll=0.01, live=True) as db:
            db.observe_prefix().subscribe()
            db.changes().subscribe()
            db.manifest("other").put("k", 1)
            receipts = [db.put(f"k{number}", LARGE) for number in range(5)]
        assert [receipt.stage for receipt in receipts] == ["committed"] * 5
        del db
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
    assert [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)] == []
    assert home_tasks() == tasks
    assert own_threads() <= threads
    async with players(place, "b") as (b,):
        assert len(b) == 5
        assert await b.manifest("other").get("k") == 1


def own_threads() -> set[threading.Thread]:
    """All but the pool of the loop, which keeps its threads, and those in which moto serves."""
    return {thread for thread in threading.enumerate() if not re.search("asyncio|process_request", thread.name)}


async def test_a_failed_open_leaves_nothing_behind() -> None:
    tasks = home_tasks()
    switch = Switch()
    switch.error = lambda: rxmps3.AccessDenied("no", object="s3://bucket", remedy="mend the credentials")
    with pytest.raises(rxmps3.AccessDenied, match="s3://bucket"):
        await player(switch)
    with pytest.raises(rxmps3.AccessDenied):
        async with player(switch):
            raise AssertionError
    assert home_tasks() == tasks


async def test_an_open_that_finds_no_answer_says_so_after_a_few_tries() -> None:
    switch = Switch()
    switch.error = offline
    with pytest.raises(rxmps3.Unavailable):
        await player(switch)
    assert 1 <= switch.refused <= 5
    switch.error = None
    async with player(switch) as db:
        await db.put("k", 1)


async def test_a_short_trouble_at_open_is_overcome() -> None:
    switch = Switch()

    def once() -> Exception:
        switch.error = None
        return offline()

    switch.error = once
    async with player(switch) as db:
        assert db.keys() == []


async def test_close_with_unsent_writes_names_their_keys() -> None:
    switch = Switch()
    db = await player(switch, poll=Subject[None]())
    await db.put("sent", 1)
    switch.error = offline
    lost = [db.put("z", 1), db.put_all({"a": 1, "z": 2})]
    with pytest.raises(NotSent, match="2 writes") as caught:
        await db.close(timeout=0.01)
    assert caught.value.keys == ("a", "z")
    for receipt in lost:
        assert receipt.stage == "rejected"
        with pytest.raises(NotSent):
            await receipt
    await db.close()


async def test_an_error_on_its_way_out_is_not_hidden_by_unsent_writes(caplog: pytest.LogCaptureFixture) -> None:
    switch = Switch()
    db = await player(switch, poll=Subject[None]())
    close_within(db, 0.01)

    async def fail() -> None:
        async with db:
            switch.error = offline
            db.put("k", 1)
            raise LookupError("the real trouble")

    closing = asyncio.create_task(fail())
    with pytest.raises(LookupError, match="the real trouble"), caplog.at_level(logging.ERROR, logger="rxmps3"):
        await closing
    assert "'k'" in caplog.text or "1 writes" in caplog.text


async def test_a_wait_for_a_commit_ends_when_the_database_closes() -> None:
    switch = Switch()
    db = await player(switch, poll=Subject[None]())
    switch.error = offline
    waiting = asyncio.create_task(awaited(db.put("k", 1)))
    await asyncio.sleep(0)
    with pytest.raises(NotSent):
        await db.close(timeout=0)
    with pytest.raises(NotSent):
        await waiting


async def test_a_refresh_under_way_ends_when_the_database_closes() -> None:
    gate = Gate(part="/log/", shut=False)
    db = await player(gate, poll=Subject[None]())
    await db.put("k", 1)
    gate.shut = True
    waiting = asyncio.create_task(db.refresh())
    await gate.held()
    await db.close()
    done, _ = await asyncio.wait([waiting], timeout=5)
    waiting.cancel()
    assert done, "it waits for ever"
    assert isinstance(waiting.exception(), Closed)


async def test_reads_beside_one_that_failed_end_before_the_database_is_closed() -> None:
    tasks, gate = home_tasks(), Gate(part="/log/", shut=False)
    async with players(gate.inner, "writer") as (writer,):
        db = await player(gate, poll=Subject[None]())
        for number in range(10):
            await writer.put("k", number)
        gate.shut = True
        reading = asyncio.create_task(db.refresh())
        for _ in range(5):
            (await gate.held()).let_go()  # four in a row, and then one of those that are read together
        (await gate.held()).fail(offline())
        await asyncio.wait([reading], timeout=1)
        await db.close()
    left = home_tasks() - tasks - {reading}
    gate.open()
    await asyncio.gather(reading, *left, return_exceptions=True)
    assert not left


async def test_a_storage_of_ones_own_stays_open() -> None:
    closed: list[str] = []

    class Own(MemoryStorage):
        async def close(self) -> None:
            closed.append("closed")

    storage = Own()
    async with players(storage, "a") as (a,):
        await a.put("k", 1)
    assert closed == []
