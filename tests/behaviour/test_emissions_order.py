"""The emission contract, about observers that act: they put, raise, dispose and subscribe while being served."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from reactivex import operators as ops

import rxmps3
from rxmps3 import Database
from rxmps3.storage import MemoryStorage
from tests.behaviour.helpers import LARGE, Gate, Switch, eventually, looks, offline, players, trace

Events = list[tuple[str, Any]]


@pytest.fixture
async def db() -> AsyncIterator[Database]:
    async with players(rxmps3.storage.MemoryStorage(), "a") as (database,):
        yield database


def note(events: Events, name: str) -> Any:
    return lambda value: events.append((name, value))


# -- puts inside observers ---------------------------------------------------------------------------------------


async def test_a_put_outside_a_delivery_has_reached_everyone_when_it_returns(db: Database) -> None:
    first, second = trace(db.observe("k")), trace(db.observe_prefix())
    db.put("k", 1)
    assert (first, second) == ([None, 1], [{}, {"k": 1}])


async def test_observers_are_served_in_the_order_of_subscription(db: Database) -> None:
    events: Events = []
    db.observe("k").subscribe(note(events, "1"))
    db.observe_prefix().subscribe(note(events, "2"))
    db.changes().subscribe(lambda change: events.append(("3", change.after)))
    db.observe_many("k").subscribe(note(events, "4"))
    events.clear()
    db.put("k", 1)
    assert events == [("1", 1), ("2", {"k": 1}), ("3", 1), ("4", {"k": 1})]


async def test_a_put_inside_an_observer_steps_at_once_and_is_delivered_after_the_present_step(db: Database) -> None:
    events: Events = []

    def react(value: Any) -> None:
        events.append(("first", value))
        if value == 1:
            db.put("k", 2)
            events.append(("view inside", [len(db), "k" in db, db.keys()]))
            events.append(("states inside", db.states.value["k"].content.text))
            events.append(("pending inside", len(db.pending.value)))

    db.observe("k").subscribe(react)
    db.observe("k").subscribe(note(events, "second"))
    events.clear()
    db.put("k", 1)
    assert events == [
        ("first", 1),
        ("view inside", [1, True, ["k"]]),
        ("states inside", "2"),
        ("pending inside", 2),
        ("second", 1),
        ("first", 2),
        ("second", 2),
    ]
    assert await db.get("k") == 2


async def test_puts_from_two_observers_keep_one_order_for_all(db: Database) -> None:
    events: Events = []

    def counter(name: str, step: int, until: int) -> Any:
        def react(value: Any) -> None:
            events.append((name, value))
            if value is not None and value % step == 0 and value < until:
                db.put("k", value + 1)

        return react

    db.observe("k").subscribe(note(events, "before"))
    db.observe("k").subscribe(counter("even", 2, 6))
    db.observe("k").subscribe(counter("every", 1, 3))
    db.observe("k").subscribe(note(events, "after"))
    events.clear()
    db.put("k", 0)
    per_observer = {name: [value for who, value in events if who == name] for name, _ in events}
    assert set(per_observer) == {"before", "even", "every", "after"}
    assert len({tuple(values) for values in per_observer.values()}) == 1
    assert events == [
        (name, value) for value in per_observer["before"] for name in ("before", "even", "every", "after")
    ]
    await eventually(lambda: not db.pending.value)
    assert await db.get("k") == per_observer["before"][-1]


async def test_a_chain_of_keys_settles_in_one_order(db: Database) -> None:
    events: Events = []
    for number in range(5):

        def pass_on(value: Any, number: int = number) -> None:
            if value is not None:
                events.append((f"k{number}", value))
                db.put(f"k{number + 1}", value + 1)

        db.observe(f"k{number}").subscribe(pass_on)
    prefix = trace(db.observe_prefix())
    db.put("k0", 0)
    assert events == [(f"k{number}", number) for number in range(5)]
    assert prefix == [{f"k{i}": i for i in range(count)} for count in range(7)]


async def test_a_stream_subscribed_during_a_delivery_skips_the_steps_queued_before_it(db: Database) -> None:
    late: list[Any] = []
    late_changes: list[Any] = []

    def react(value: Any) -> None:
        if value == 1:
            db.put("k", 2)
            db.put("k", 3)
            db.observe("k").subscribe(late.append)
            db.changes().subscribe(late_changes.append)
            assert late == [3]

    early = trace(db.observe("k"))
    db.observe("k").subscribe(react)
    db.put("k", 1)
    assert (early, late, late_changes) == ([None, 1, 2, 3], [3], [])
    db.put("k", 4)
    assert (early[-1], late, [change.after for change in late_changes]) == (4, [3, 4], [4])


async def test_a_put_in_the_first_emission_of_a_subscription_is_seen_by_it(db: Database) -> None:
    seen: list[Any] = []

    def react(value: Any) -> None:
        seen.append(value)
        if value is None:
            db.put("k", 1)

    db.observe("k").subscribe(react)
    assert seen == [None, 1]


async def test_an_observer_that_puts_what_is_there_comes_to_rest(db: Database) -> None:
    seen: list[Any] = []

    def react(value: Any) -> None:
        seen.append(value)
        if len(seen) < 100:
            db.put("k", "fixed point")

    db.observe("k").subscribe(react)
    assert seen == [None, "fixed point"]


@pytest.mark.parametrize("make", ["observe", "key", "entries", "observe_many", "observe_prefix", "changes"])
async def test_a_put_by_an_observer_told_of_a_downloaded_value_is_delivered_after_it(make: str) -> None:
    gate = Gate()
    async with players(gate.inner, "a") as (a,), players(gate, "b") as (b,):
        events, stream = list[str](), b.key("k").entries() if make == "entries" else getattr(b, make)("k")

        def react(item: Any) -> None:
            large = LARGE in str(getattr(item, "after", item))
            events.append("begin large" if large else "begin")
            if large:
                b.put("k", "mine")
                assert b.key("k").value == "mine"
            events.append("end")

        stream.subscribe(react)
        events.clear()
        await a.put("k", LARGE)
        await looks(b)
        (await gate.held()).let_go()
        await eventually(lambda: len(events) >= 4)
        assert events[:4] == ["begin large", "end", "begin", "end"]


@pytest.mark.parametrize("make", ["observe", "key", "entries", "observe_many", "observe_prefix", "states"])
async def test_a_put_in_the_first_emission_is_delivered_after_it(db: Database, make: str) -> None:
    events: list[str] = []
    stream: Any = db.states if make == "states" else None
    stream = stream or (db.key("k").entries() if make == "entries" else getattr(db, make)("k"))
    db.subscribe("k", lambda value: events.append(f"other {value}"))

    def react(_: Any) -> None:
        events.append("begin")
        if len(events) == 2:
            db.put("k", 1)
        events.append("end")

    stream.subscribe(react)
    assert events[:4] in (["other None", "begin", "end", "other 1"], ["other None", "begin", "end", "begin"])


@pytest.mark.parametrize("word", ["status", "errors"])
async def test_a_put_by_an_observer_of_trouble_is_delivered_after_it(word: str) -> None:
    storage = Switch()
    async with players(storage, "a") as (db,):
        await db.put("k", 0)
        events: list[Any] = []

        def react(item: Any) -> None:
            trouble = getattr(item, "online", None) is False or isinstance(item, rxmps3.Failure)
            events.append("begin" if trouble else "other")
            if trouble and "put" not in events:
                events.append("put")
                db.put("k", 1)
            events.append("end")

        getattr(db, word).subscribe(react)
        db.subscribe("k", lambda value: events.append(value) if value else None)
        events.clear()
        storage.error = offline
        db.put("other", 1)
        await eventually(lambda: 1 in events)
        assert events[events.index("put") + 1] == "end"
        storage.error = None
        await eventually(lambda: not db.pending.value)


# -- observers that raise ----------------------------------------------------------------------------------------


async def test_an_observer_that_raises_is_detached_and_reported_and_nobody_else_notices(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []

    def fragile(value: Any) -> None:
        calls.append(value)
        if value == 1:
            raise LookupError("oops")

    before, errors = trace(db.observe("k")), trace(db.errors)
    db.observe("k").subscribe(fragile)
    after = trace(db.observe("k"))
    with caplog.at_level(logging.WARNING, logger="rxmps3"):
        await db.put("k", 1)
    await db.put("k", 2)
    assert (before, calls, after) == ([None, 1, 2], [None, 1], [None, 1, 2])
    assert [(failure.operation, failure.object, repr(failure.error)) for failure in errors] == [
        ("observe", "key 'k'", "LookupError('oops')")
    ]
    assert "oops" in caplog.text


@pytest.mark.parametrize("raises_at", ["pending", "committed"])
async def test_an_observer_of_stages_that_raises_is_detached_and_reported_and_the_write_goes_on(
    db: Database, raises_at: str
) -> None:
    def fragile(stage: str) -> None:
        if stage == raises_at or raises_at == "committed" != stage != "pending":
            raise LookupError("oops")

    errors = trace(db.errors)
    receipt = db.put("k", 1)
    receipt.stages.subscribe(fragile)
    fine = trace(receipt.stages)
    assert await receipt == receipt.version
    assert await db.put("k", 2)
    assert fine[-2:] == ["committed", "completed"]
    assert [(failure.operation, failure.object) for failure in errors] == [
        ("observe", f"stages of write {receipt.version}")
    ]


@pytest.mark.parametrize(
    "make", ["observe", "observe_many", "observe_prefix", "changes", "versions", "states", "pending"]
)
async def test_every_kind_of_stream_survives_an_observer_that_raises(db: Database, make: str) -> None:
    stream = getattr(db, make) if make in ("versions", "states", "pending") else getattr(db, make)("k")
    calls: list[Any] = []

    def fragile(value: Any) -> None:
        calls.append(value)
        raise LookupError

    errors = trace(db.errors)
    stream.subscribe(fragile)
    fine = trace(stream)
    await db.put("k", 1)
    await db.put("k", 2)
    assert len(calls) == 1
    assert len(fine) >= 2
    assert len(errors) == 1


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, pytest.fail.Exception])
@pytest.mark.parametrize("make", ["observe", "key", "entries", "changes", "versions", "status"])
async def test_whatever_an_observer_raises_is_nobody_else_s(make: str, error: type[BaseException]) -> None:
    """A look of the database's own brings the change, and must survive what would end a task."""

    def fragile(item: Any) -> None:
        raise error

    async with players(rxmps3.storage.MemoryStorage(), "a", "b", poll=0.01) as (a, b):
        errors, seen = trace(b.errors), trace(b.observe("k"))
        await a.put("k", 1)
        await eventually(lambda: seen == [None, 1])
        stream: Any = {"entries": lambda key: b.key(key).entries(), "versions": lambda key: b.versions}.get(make)
        stream = b.status if make == "status" else (stream or getattr(b, make))("k")
        stream.subscribe(fragile)
        after = trace(b.observe("k"))
        await a.put("k", 2)
        await eventually(lambda: seen[-1] == after[-1] == 2)
        await a.put("k", 3)
        await eventually(lambda: seen[-1] == after[-1] == 3)
        await b.put("k", 4)
        assert [type(failure.error) for failure in errors] == [rxmps3.Error]
        assert error.__name__ in str(errors[0])
        assert type(errors[0].error.__cause__) is error


async def test_an_observer_that_raises_at_its_first_value_is_detached_too(db: Database) -> None:
    calls: list[Any] = []

    def fragile(value: Any) -> None:
        calls.append(value)
        raise LookupError

    errors = trace(db.errors)
    db.observe("k").subscribe(fragile)
    db.put("k", 1)
    assert (calls, len(errors)) == ([None], 1)


async def test_an_observer_of_errors_that_raises_does_not_set_off_an_avalanche(db: Database) -> None:
    calls: list[Any] = []

    def fragile(failure: Any) -> None:
        calls.append(failure)
        raise LookupError("errors observer")

    def raises(_: Any) -> None:
        raise LookupError("value observer")

    db.errors.subscribe(fragile)
    errors = trace(db.errors)
    db.observe("k").subscribe(raises)
    assert len(calls) == 1
    assert sorted(str(failure.error) for failure in errors) == ["errors observer", "value observer"]


async def test_an_observer_of_status_that_raises_leaves_the_others_alone(db: Database) -> None:
    def raises(_: Any) -> None:
        raise LookupError

    db.status.subscribe(raises)
    fine = trace(db.status)
    await db.put("k", 1)
    assert fine[-1].pending == 0
    assert fine[-1].head == "1"


async def test_an_observer_that_raises_when_it_completes_does_not_disturb_the_close(db: Database) -> None:
    def raises() -> None:
        raise LookupError("at the end")

    db.observe("k").subscribe(on_completed=raises)
    seen = trace(db.observe("k"))
    await db.close()
    assert seen == [None, "completed"]


async def test_a_mapper_that_raises_ends_only_its_own_pipe(db: Database) -> None:
    heard = trace(db.observe("k", default=1).pipe(ops.map(lambda value: 1 / value)))
    unheard: list[Any] = []
    db.observe("k", default=1).pipe(ops.map(lambda value: 1 / value)).subscribe(unheard.append)
    plain, errors = trace(db.observe("k", default=1)), trace(db.errors)
    await db.put("k", 0)
    await db.put("k", 2)
    assert plain == [1, 0, 2]
    assert unheard == [1.0]
    assert heard[0] == 1.0
    assert isinstance(heard[1], ZeroDivisionError)
    assert len(heard) == 2
    assert [type(failure.error) for failure in errors] == [ZeroDivisionError]


async def test_a_shared_pipe_ends_for_its_own_observers_only(db: Database) -> None:
    shared = db.observe("k", default=1).pipe(ops.map(lambda value: 1 / value), ops.share())
    first, second, other = trace(shared), trace(shared), trace(db.observe("k", default=1))
    await db.put("k", 0)
    await db.put("k", 3)
    assert [type(event) for event in first] == [float, ZeroDivisionError]
    assert [type(event) for event in second] == [ZeroDivisionError]
    assert other == [1, 0, 3]


# -- disposing ---------------------------------------------------------------------------------------------------


async def test_disposing_ends_the_emissions_at_once(db: Database) -> None:
    seen: list[Any] = []
    subscription = db.observe("k").subscribe(seen.append)
    subscription.dispose()
    subscription.dispose()
    db.put("k", 1)
    assert seen == [None]


async def test_a_version_is_told_before_what_it_changes() -> None:
    order: list[Any] = []
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await looks(a)
        a.observe("k").subscribe(lambda value: order.append(("value", value)))
        a.versions.subscribe(lambda version: order.append(("version", version.id)))
        await b.put("k", 1)
        await looks(a)
        assert order == [("value", None), ("version", "1"), ("value", 1)]


async def test_an_observer_may_dispose_itself_and_others_during_a_delivery(db: Database) -> None:
    events: Events = []

    def react(value: Any) -> None:
        events.append(("first", value))
        if value == 1:
            own.dispose()
            other.dispose()

    own = db.observe("k").subscribe(react)
    other = db.observe("k").subscribe(note(events, "other"))
    db.observe("k").subscribe(note(events, "third"))
    events.clear()
    db.put("k", 1)
    db.put("k", 2)
    assert events == [("first", 1), ("third", 1), ("third", 2)]


async def test_operators_that_stop_early_leave_nothing_behind(db: Database) -> None:
    first, some = trace(db.observe("k").pipe(ops.first())), trace(db.observe("k").pipe(ops.take(2)))
    for number in range(3):
        db.put("k", number)
    assert first == [None, "completed"]
    assert some == [None, 0, "completed"]


async def test_one_stream_serves_many_subscriptions_independently(db: Database) -> None:
    stream = db.observe("k")
    first = trace(stream)
    await db.put("k", 1)
    second = trace(stream)
    await db.put("k", 2)
    await looks(db)
    assert (first, second) == ([None, 1, 2], [1, 2])


@pytest.mark.async_only("a loop in a thread of its own ends no program")
@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_observer_that_ends_the_program_leaves_the_others_their_change(end: type[BaseException]) -> None:
    """`put` returns, everybody is told, and then the event loop ends as if it had been interrupted."""
    seen: list[tuple[str, Any]] = []
    failures: list[rxmps3.Failure] = []

    def leave(value: Any) -> None:
        if value == 1:
            raise end("enough")

    async def program() -> None:
        async with rxmps3.connect(MemoryStorage()) as db:
            db.errors.subscribe(failures.append)
            for observe in (
                lambda value: seen.append(("before", value)),
                leave,
                lambda value: seen.append(("after", value)),
            ):
                db.observe("k").subscribe(observe)
            seen.clear()
            db.put("k", 1)
            seen.append(("returned", db.observe("k") is not None))
            await asyncio.sleep(60)

    began = time.monotonic()
    with pytest.raises(end, match="enough"):
        asyncio.run(program())
    assert time.monotonic() - began < 8, "close does not wait for what cannot be sent any more"
    assert seen == [("before", 1), ("after", 1), ("returned", True)]
    assert [type(failure.error.__cause__) for failure in failures] == [end]
