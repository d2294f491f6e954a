"""The emission contract, about threads and event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from reactivex import Subject
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler

import rxmps3
from rxmps3 import Database, InvalidValue, WrongLoop
from rxmps3.storage import MemoryStorage
from tests.behaviour.facades import home_thread
from tests.behaviour.helpers import eventually, player, players, trace


@pytest.fixture
async def db() -> AsyncIterator[Database]:
    async with players(MemoryStorage(), "a") as (database,):
        yield database


def on_a_thread(action: Callable[[], Any]) -> Any:
    """The result of an action on another thread, while this one, and its event loop, stand still."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def on_another_loop(action: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await action()

    return on_a_thread(lambda: asyncio.run(main()))


# -- other threads -----------------------------------------------------------------------------------------------


async def test_a_put_from_a_thread_is_in_the_view_when_it_returns_and_is_handed_over_to_the_loop(db: Database) -> None:
    here = home_thread()
    seen: list[tuple[Any, bool]] = []
    db.observe("k").subscribe(lambda value: seen.append((value, threading.get_ident() == here)))

    def work() -> tuple[bool, list[str], int]:
        db.put("k", 1)
        return "k" in db, db.keys(), len(db)

    assert on_a_thread(work) == (True, ["k"], 1)
    assert await db.get("k") == 1
    await eventually(lambda: len(seen) == 2)
    assert seen == [(None, True), (1, True)]


@pytest.mark.async_only("the loop that stands still here is another thread's there")
async def test_before_the_loop_runs_nothing_is_delivered_from_a_thread(db: Database) -> None:
    seen = trace(db.observe("k"))
    on_a_thread(lambda: db.put("k", 1))
    assert seen == [None]
    assert db.states.value["k"].content.text == "1"
    db.put("k", 2)
    assert seen == [None, 1, 2]


async def test_put_all_and_delete_work_from_a_thread(db: Database) -> None:
    await db.put_all({"x": 1, "y": 1})
    on_a_thread(lambda: db.delete("x"))
    assert db.keys() == ["y"]
    receipt = on_a_thread(lambda: db.put_all({"z": 1, "y": rxmps3.MISSING}))
    assert db.keys() == ["z"]
    await receipt


async def test_a_thread_may_wait_for_the_commit(db: Database) -> None:
    version = await asyncio.to_thread(lambda: db.put("k", 1).wait(30))
    assert db.states.value["k"].version == version


async def test_a_bad_put_from_a_thread_raises_there(db: Database) -> None:
    with pytest.raises(InvalidValue):
        on_a_thread(lambda: db.put("k", float("nan")))
    assert len(db) == 0


async def test_many_threads_lose_nothing_and_keep_their_own_order(db: Database) -> None:
    seen = trace(db.changes())

    def work(name: str) -> None:
        for number in range(50):
            db.put(name, number)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
    await eventually(lambda: len(seen) == 200)
    for number in range(4):
        assert [change.after for change in seen if change.key == f"t{number}"] == list(range(50))
    await eventually(lambda: not db.pending.value)
    async with db.iterate(db.observe_prefix()) as items:
        assert await anext(items) == {f"t{number}": 49 for number in range(4)}


async def test_disposing_from_a_thread_ends_the_emissions_at_once(db: Database) -> None:
    seen: list[Any] = []
    subscription = db.observe("k").subscribe(seen.append)
    on_a_thread(subscription.dispose)
    db.put("k", 1)
    assert seen == [None]


async def test_disposing_from_a_thread_stops_the_poller() -> None:
    listening: list[int] = [0]
    source: Subject[None] = Subject()
    ticks = source.pipe(ops.do_action(), ops.finally_action(lambda: listening.__setitem__(0, listening[0] - 1)))
    async with player(MemoryStorage(), poll=ticks) as db:
        subscription = db.observe("k").subscribe()
        listening[0] += 1
        on_a_thread(subscription.dispose)
        await eventually(lambda: listening[0] == 0)


async def test_ticks_may_come_from_a_thread() -> None:
    storage, ticks = MemoryStorage(), Subject[None]()
    async with player(storage, poll=ticks) as db, players(storage, "other") as (other,):
        seen = trace(db.observe("k"))
        await db.refresh()
        await other.put("k", 1)
        on_a_thread(lambda: ticks.on_next(None))
        await eventually(lambda: seen == [None, 1])


async def test_a_tick_source_may_end_on_a_thread() -> None:
    ticks: Subject[None] = Subject()
    async with player(MemoryStorage(), poll=ticks) as db:
        here, told = home_thread(), list[bool]()
        db.errors.subscribe(lambda _: told.append(threading.get_ident() == here))
        trace(db.observe("k"))
        on_a_thread(lambda: ticks.on_error(LookupError()))
        await eventually(lambda: told)
        assert told == [True]


@pytest.mark.async_only("the loop that stands still here is another thread's there")
async def test_subscribing_from_a_thread_is_served_on_the_loop(db: Database) -> None:
    here = home_thread()
    seen: list[tuple[Any, bool]] = []
    await db.put("k", 1)
    subscription = on_a_thread(
        lambda: db.observe("k").subscribe(lambda value: seen.append((value, threading.get_ident() == here)))
    )
    assert seen == []
    await eventually(lambda: seen)
    db.put("k", 2)
    assert seen == [(1, True), (2, True)]
    subscription.dispose()


@pytest.mark.async_only("the loop that stands still here is another thread's there")
async def test_a_subscription_disposed_before_it_was_served_never_emits(db: Database) -> None:
    seen: list[Any] = []

    def work() -> None:
        db.observe("k").subscribe(seen.append).dispose()

    on_a_thread(work)
    marker = trace(db.observe("k"))
    on_a_thread(lambda: db.put("k", 1))
    await eventually(lambda: marker == [None, 1])
    assert seen == []


# -- timed operators ---------------------------------------------------------------------------------------------


async def test_the_scheduler_keeps_timed_operators_on_the_loop(db: Database) -> None:
    here = home_thread()
    idents: list[int] = []
    db.observe("k").pipe(ops.delay(0.001, scheduler=db.scheduler)).subscribe(
        lambda _: idents.append(threading.get_ident())
    )
    db.observe("k").pipe(ops.debounce(0.001, scheduler=db.scheduler)).subscribe(
        lambda _: idents.append(threading.get_ident())
    )
    await eventually(lambda: len(idents) == 2)
    on_a_thread(lambda: db.put("k", 1))
    await eventually(lambda: len(idents) == 4)
    assert set(idents) == {here}


async def test_a_put_from_a_timed_operator_on_a_thread_of_its_own_works(db: Database) -> None:
    other: list[int] = []

    def copy(value: Any) -> None:
        other.append(threading.get_ident())
        db.put("copy", value)

    seen = trace(db.observe("copy"))
    db.observe("k", default=0).pipe(ops.observe_on(NewThreadScheduler())).subscribe(copy)
    await eventually(lambda: seen == [None, 0])
    db.put("k", 1)
    await eventually(lambda: seen == [None, 0, 1])
    assert threading.get_ident() not in other


# -- other event loops -------------------------------------------------------------------------------------------


@pytest.mark.async_only("every thread may use the other face, whatever loop runs there")
@pytest.mark.parametrize(
    "use",
    [
        lambda db: db.get("k"),
        lambda db: db.get_many(["k"]),
        lambda db: db.get_prefix(),
        lambda db: db.refresh(),
        lambda db: db.close(),
    ],
    ids=["get", "get_many", "get_prefix", "refresh", "close"],
)
async def test_awaiting_on_another_event_loop_is_refused_and_says_so(
    db: Database, use: Callable[[Database], Awaitable[Any]]
) -> None:
    with pytest.raises(WrongLoop, match="event loop"):
        on_another_loop(lambda: use(db))
    await db.put("still", "works")


@pytest.mark.async_only("every thread may use the other face, whatever loop runs there")
@pytest.mark.parametrize(
    "use",
    [
        lambda db: db.observe("k").subscribe(),
        lambda db: db.subscribe("k", print),
        lambda db: db.changes().subscribe(),
        lambda db: db.status.subscribe(),
        lambda db: db.manifest("other"),
    ],
    ids=["observe", "subscribe", "changes", "status", "manifest"],
)
async def test_subscribing_on_another_event_loop_is_refused_and_says_so(
    db: Database, use: Callable[[Database], Any]
) -> None:
    async def main() -> None:
        use(db)

    with pytest.raises(WrongLoop, match="event loop"):
        on_another_loop(main)


async def test_put_works_on_another_event_loop_and_its_receipt_can_be_awaited_there(db: Database) -> None:
    async def use() -> str:
        return await db.put("k", 1)

    version = await asyncio.to_thread(lambda: asyncio.run(use()))
    assert db.states.value["k"].version == version


# -- what Rx would accept and never serve ------------------------------------------------------------------------


async def test_awaiting_an_observable_is_refused_with_the_remedy(db: Database) -> None:
    for stream in (db.observe("k"), db.observe_prefix(), db.changes(), db.status):
        with pytest.raises(TypeError, match=r"await db\.get\(key\)"):
            await stream


async def test_subscribing_a_coroutine_function_is_refused_with_the_remedy(db: Database) -> None:
    async def handler(value: Any) -> None:
        raise AssertionError(value)

    class Handler:
        async def on_next(self, value: Any) -> None:
            raise AssertionError(value)

        def on_error(self, error: Exception) -> None: ...

        def on_completed(self) -> None: ...

    class Callable:
        async def __call__(self, value: Any) -> None:
            raise AssertionError(value)

    for observer in (handler, Handler(), Callable(), partial(handler)):
        with pytest.raises(TypeError, match=r"db\.iterate"):
            db.observe("k").subscribe(observer)  # pyright: ignore
    with pytest.raises(TypeError, match=r"db\.iterate"):
        db.subscribe("k", handler)  # pyright: ignore
    db.put("k", 1)
