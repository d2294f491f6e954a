"""The emission contract, about when a database looks: ticks of one's own, the timer, and who makes it look at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import reactivex
from reactivex import Observable, Subject
from reactivex.abc import ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxmps3 import Database, InvalidOption
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.facades import ManualClock, connect, settle, turn
from tests.behaviour.helpers import Gate, eventually, looks, player, players, trace


class CountedTicks:
    """A source of ticks that knows how many listen."""

    def __init__(self) -> None:
        self.listening = 0
        self.subscriptions = 0
        self.subject: Subject[None] = Subject()
        self.observable: Observable[None] = Observable(self._subscribe)

    def _subscribe(self, observer: ObserverBase[None], scheduler: SchedulerBase | None) -> Disposable:
        self.listening += 1
        self.subscriptions += 1
        inner = self.subject.subscribe(observer)

        def stop() -> None:
            self.listening -= 1
            inner.dispose()

        return Disposable(stop)

    def tick(self) -> None:
        self.subject.on_next(None)


class Rig(NamedTuple):
    """A database whose ticks, time and requests are in the test's hand."""

    db: Database
    ticks: CountedTicks
    counting: CountingStorage


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    ticks, counting = CountedTicks(), CountingStorage(MemoryStorage())
    async with player(counting, poll=ticks.observable) as db:
        await db.put("k", 0)
        await settle()
        counting.reset()
        yield Rig(db, ticks, counting)


VALUE_STREAMS: dict[str, Callable[[Database], Observable[Any]]] = {
    "observe": lambda db: db.observe("k"),
    "observe_many": lambda db: db.observe_many("k"),
    "observe_prefix": lambda db: db.observe_prefix(),
    "changes": lambda db: db.changes(),
    "versions": lambda db: db.versions,
    "states": lambda db: db.states,
}


@pytest.mark.parametrize("make", VALUE_STREAMS.values(), ids=VALUE_STREAMS)
async def test_a_stream_about_the_log_makes_a_poller_run_while_it_is_subscribed(
    rig: Rig, make: Callable[[Database], Observable[Any]]
) -> None:
    stream = make(rig.db)
    assert rig.ticks.listening == 0
    subscription = stream.subscribe()
    assert rig.ticks.listening == 1
    await settle()
    rig.counting.reset()
    rig.ticks.tick()
    await settle()
    assert [request.verb for request in rig.counting.requests] == ["get"]
    subscription.dispose()
    await turn()
    assert rig.ticks.listening == 0
    rig.ticks.tick()
    await settle()
    assert len(rig.counting.requests) == 1


async def test_the_first_subscription_looks_at_once(rig: Rig) -> None:
    async with player(rig.counting.inner, by="other") as other:
        await other.put("k", 1)
    seen = trace(rig.db.observe("k"))
    await eventually(lambda: seen == [0, 1])


@pytest.mark.parametrize("word", ["status", "pending", "errors"])
async def test_streams_about_the_client_itself_make_no_poller(rig: Rig, word: str) -> None:
    trace(getattr(rig.db, word))
    await settle()
    assert rig.ticks.listening == 0
    assert rig.counting.requests == []


async def test_reading_values_of_lives_makes_no_request(rig: Rig) -> None:
    assert rig.db.states.value["k"].content.text == "0"
    assert rig.db.pending.value == ()
    assert rig.db.status.value.loaded
    assert (len(rig.db), "k" in rig.db, rig.db.keys()) == (1, True, ["k"])
    await settle()
    assert rig.counting.requests == []


async def test_there_is_one_poller_however_many_observe(rig: Rig) -> None:
    subscriptions = [make(rig.db).subscribe() for make in VALUE_STREAMS.values() for _ in range(20)]
    await settle()
    rig.counting.reset()
    assert (rig.ticks.listening, rig.ticks.subscriptions) == (1, 1)
    for count in range(1, 4):
        rig.ticks.tick()
        await settle()
        assert len(rig.counting.requests) == count
    for subscription in subscriptions[1:]:
        subscription.dispose()
    await turn()
    assert rig.ticks.listening == 1
    subscriptions[0].dispose()
    await turn()
    assert rig.ticks.listening == 0
    rig.db.observe("k").subscribe()
    assert (rig.ticks.listening, rig.ticks.subscriptions) == (1, 2)


async def test_a_stream_that_ends_early_stops_its_poller(rig: Rig) -> None:
    trace(rig.db.observe("k").pipe(reactivex.operators.first()))
    await turn()
    assert rig.ticks.listening == 0


async def test_an_observer_that_raised_makes_no_poller_any_more(rig: Rig) -> None:
    def raises(_: Any) -> None:
        raise LookupError

    rig.db.observe("k").subscribe(raises)
    assert rig.ticks.listening == 0


async def test_live_keeps_a_poller_without_observers() -> None:
    ticks, counting = CountedTicks(), CountingStorage(MemoryStorage())
    async with player(counting, poll=ticks.observable, live=True) as db:
        await db.put("k", 1)
        assert ticks.listening == 1
        db.observe("k").subscribe().dispose()
        await turn()
        assert (ticks.listening, ticks.subscriptions) == (1, 1)
        async with players(counting.inner, "other") as (other,):
            await other.put("k", 2)
        ticks.tick()
        await eventually(lambda: db.states.value["k"].content.text == "2")
    assert ticks.listening == 0


async def test_closing_stops_the_poller(rig: Rig) -> None:
    trace(rig.db.observe("k"))
    await rig.db.close()
    assert rig.ticks.listening == 0


async def test_ticks_during_a_look_make_one_more_look() -> None:
    ticks, gate = CountedTicks(), Gate(part="/log/", shut=False)
    async with player(gate, poll=ticks.observable) as db:
        await db.put("k", 0)
        trace(db.observe("k"))
        await settle()
        gate.shut = True
        ticks.tick()
        first = await gate.held()
        for _ in range(10):
            ticks.tick()
        await settle()
        assert gate.holding == 0
        first.let_go()
        second = await gate.held()
        second.let_go()
        await settle()
        assert gate.holding == 0
        gate.open()


@pytest.mark.parametrize("end", ["completes", "fails"])
async def test_a_tick_source_that_ends_falls_back_to_the_timer_and_says_so(end: str) -> None:
    clock, ticks, counting = ManualClock(), Subject[None](), CountingStorage(MemoryStorage())
    async with player(counting, poll=ticks, clock=clock) as db:
        await db.put("k", 0)
        errors, seen = trace(db.errors), trace(db.observe("k"))
        await settle()
        if end == "completes":
            ticks.on_completed()
        else:
            ticks.on_error(LookupError("the button broke"))
        await settle()
        assert [(failure.operation, "timer" in str(failure)) for failure in errors] == [("poll", True)]
        assert end == "completes" or isinstance(errors[0].error, LookupError)
        async with players(counting.inner, "other") as (other,):
            await other.put("k", 1)
        await clock.advance(5)
        assert seen == [0, 1]


async def test_a_tick_source_that_ends_at_once_falls_back_too() -> None:
    clock, counting = ManualClock(), CountingStorage(MemoryStorage())
    async with player(counting, poll=reactivex.empty(), clock=clock) as db:
        await db.put("k", 0)
        seen = trace(db.observe("k"))
        async with players(counting.inner, "other") as (other,):
            await other.put("k", 1)
        await clock.advance(5)
        assert seen == [0, 1]


async def test_a_tick_may_be_any_item(rig: Rig) -> None:
    subject: Subject[Any] = Subject()
    async with player(rig.counting, poll=subject) as db:
        trace(db.observe("k"))
        await settle()
        for tick in (None, 0, False, "bucket notification", object()):
            rig.counting.reset()
            subject.on_next(tick)
            await settle()
            assert len(rig.counting.requests) == 1


@pytest.mark.parametrize("poll", [0, -1, float("nan")])
async def test_poll_is_positive(poll: float) -> None:
    with pytest.raises(InvalidOption, match="poll"):
        await connect(MemoryStorage(), poll=poll)


# -- the timer ---------------------------------------------------------------------------------------------------


async def test_the_timer_looks_at_least_once_per_interval_and_stops_with_the_last_observer() -> None:
    clock, counting = ManualClock(), CountingStorage(MemoryStorage())
    async with player(counting, poll=2.0, clock=clock) as db:
        await db.put("k", 0)
        first, second = db.observe("k").subscribe(), db.observe("k").subscribe()
        await clock.advance(60)
        counting.reset()
        await clock.advance(60)
        idle = len(counting.requests)
        assert 30 <= idle <= 52  # every ten seconds it also asks whether the log is still there
        first.dispose()
        counting.reset()
        await clock.advance(60)
        assert 30 <= len(counting.requests) <= 52
        second.dispose()
        await turn()
        counting.reset()
        await clock.advance(600)
        assert counting.requests == []


async def test_the_timer_looks_sooner_after_activity() -> None:
    clock, counting = ManualClock(), CountingStorage(MemoryStorage())
    async with player(counting, poll=10.0, clock=clock) as db, players(counting.inner, "other") as (other,):
        await db.put("k", 0)
        seen = trace(db.observe("k"))
        await clock.advance(60)
        await other.put("k", 1)
        await clock.advance(10)
        assert seen == [0, 1]
        await other.put("k", 2)
        await clock.advance(5)
        assert seen == [0, 1, 2]


async def test_a_get_looks_only_if_the_last_look_is_older_than_poll() -> None:
    clock, counting = ManualClock(), CountingStorage(MemoryStorage())
    async with player(counting, poll=2.0, clock=clock) as db, players(counting.inner, "other") as (other,):
        await db.put("k", 0)
        await looks(db)
        await other.put("k", 1)
        counting.reset()
        assert await db.get("k") == 0
        assert counting.requests == []
        await clock.advance(2.0)
        assert await db.get("k") == 1
        assert await db.get("k") == 1


async def test_handles_of_one_process_share_one_poller() -> None:
    ticks, counting = CountedTicks(), CountingStorage(MemoryStorage())
    async with (
        connect(counting, poll=ticks.observable) as first,
        connect(counting, poll=ticks.observable) as second,
    ):
        await first.put("k", 0)
        trace(first.observe("k"))
        trace(second.observe("k"))
        await settle()
        assert ticks.subscriptions == 1
        counting.reset()
        ticks.tick()
        await settle()
        assert len(counting.requests) == 1
