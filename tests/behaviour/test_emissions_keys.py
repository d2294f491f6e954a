"""The emission contract, about keys as two-way streams: what they emit, and what they write."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import reactivex
from reactivex import Subject
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler, TimeoutScheduler

import rxmps3
from rxmps3 import MISSING, Database, InvalidKey, NotLoaded
from rxmps3.storage import MemoryStorage
from tests.behaviour.facades import home_thread
from tests.behaviour.helpers import LARGE, Gate, eventually, looks, offline, players, trace
from tests.behaviour.test_emissions_threads import on_a_thread


@pytest.fixture
async def db() -> AsyncIterator[Database]:
    async with players(MemoryStorage(), "a") as (database,):
        yield database


@pytest.mark.parametrize("default", [None, 0, MISSING, {"a": []}], ids=repr)
async def test_a_key_emits_what_observe_emits(db: Database, default: Any) -> None:
    observed, key = trace(db.observe("k", default)), trace(db.key("k", default=default))
    for value in (default, 1, 1.0, True, True, None, -0.0, {"b": 1, "a": 2}, {"a": 2, "b": 1}, default):
        await db.put("k", value)
    await db.delete("k")
    await db.put("k", 0)
    await db.delete("k")
    assert list(map(repr, key)) == list(map(repr, observed))
    assert repr(observed[0]) == repr(observed[-1]) == repr(default)


async def test_values_and_defaults_of_a_key_are_the_reader_s_own(db: Database) -> None:
    key = db.key("k", default=[])
    first, second = trace(key), trace(key)
    first[0].append(1)
    key.value.append(2)
    assert (second, key.value) == ([[]], [])
    await key.put({"list": []})
    first[1]["list"].append(1)
    key.value["list"].append(2)
    assert (second[1], key.value) == ({"list": []}, {"list": []})


async def test_the_value_of_a_key_is_the_view_s_before_anything_is_delivered(db: Database) -> None:
    key = db.key("k")
    inside: list[tuple[Any, Any]] = []

    def react(value: Any) -> None:
        if value == 1:
            key.put(2)
        inside.append((value, key.value))

    key.subscribe(react)
    key.put(1)
    assert inside == [(None, None), (1, 2), (2, 2)]


@pytest.mark.async_only("the loop that stands still here is another thread's there")
async def test_the_value_of_a_key_is_the_view_s_before_a_thread_s_put_is_delivered(db: Database) -> None:
    key = db.key("k")
    seen = trace(key)
    on_a_thread(lambda: key.put(3))
    assert (key.value, seen) == (3, [None])


async def test_a_large_value_is_not_there_before_it_is_read() -> None:
    gate = Gate()
    async with players(gate.inner, "a") as (a,), players(gate, "b") as (b,):
        await a.put("k", LARGE)
        await looks(b)
        key = b.key("k")
        with pytest.raises(NotLoaded, match="observe it"):
            _ = key.value
        seen = trace(key)
        (await gate.held()).let_go()
        await eventually(lambda: seen)
        assert seen == [LARGE]
        assert key.value == LARGE


async def test_a_source_on_any_thread_writes_to_a_key(db: Database) -> None:
    here, key = home_thread(), db.key("k")
    seen: list[tuple[Any, bool]] = []
    key.subscribe(lambda value: seen.append((value, threading.get_ident() == here)))
    reactivex.from_iterable([1, 2, 3], scheduler=NewThreadScheduler()).subscribe(key)
    await eventually(lambda: len(seen) == 4)
    reactivex.timer(0.001, scheduler=TimeoutScheduler.singleton()).subscribe(key)
    await eventually(lambda: len(seen) == 5)
    assert seen == [(None, True), (1, True), (2, True), (3, True), (0, True)]
    await eventually(lambda: not db.pending.value)
    assert await db.get("k") == 0


async def test_two_keys_bound_to_each_other_come_to_rest(db: Database) -> None:
    left, right = db.key("left"), db.key("right")
    seen = trace(db.observe_many("left", "right"))
    left.subscribe(right)
    right.subscribe(left)
    left.subscribe(left)
    left.put(1)
    right.put(2)
    assert (left.value, right.value) == (2, 2)
    assert seen[-1] == {"left": 2, "right": 2}
    await eventually(lambda: not db.pending.value)


async def test_what_is_there_already_is_told_by_its_text(db: Database) -> None:
    key = db.key("k")
    versions: list[str] = []
    for value in (1, 1, 1.0, 1.0, True, {"a": 1, "b": 2}, {"b": 2, "a": 1}, None, None):
        key.on_next(value)
        versions.append(db.states.value["k"].version)
    changed = [one != other for one, other in pairwise(versions)]
    assert changed == [False, True, False, True, True, False, True, False]


async def test_bad_values_from_a_source_are_reported_and_the_source_goes_on(db: Database) -> None:
    key, source, errors = db.key("k"), Subject[Any](), trace(db.errors)
    source.subscribe(key)
    for value in (1, float("nan"), object(), 2):
        source.on_next(value)
    source.on_error(LookupError("the source broke"))
    key.on_next(3)
    assert key.value == 3
    assert [type(failure.error).__name__ for failure in errors] == ["InvalidValue", "InvalidValue", "LookupError"]
    assert {failure.object for failure in errors} == {"key 'k'"}


async def test_a_closed_database_reports_what_a_source_still_sends() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        key, source = a.key("k"), Subject[Any]()
        source.subscribe(key)
        seen = trace(key)
        await a.close()
        source.on_next(1)
        assert seen == [None, "completed"]
        with pytest.raises(rxmps3.Closed):
            key.put(1)


async def test_keys_refuse_what_streams_refuse(db: Database) -> None:
    async def handler(value: Any) -> None:
        raise AssertionError(value)

    with pytest.raises(TypeError, match=r"db\.iterate"):
        db.key("k").subscribe(handler)  # pyright: ignore
    with pytest.raises(TypeError, match=r"await db\.get\(key\)"):
        await db.key("k")
    with pytest.raises(InvalidKey):
        db.key("")


async def test_no_stream_is_iterated_over_without_end(db: Database) -> None:
    rows = db.collection()
    streams: list[Any] = [db.key("k"), db.observe("k"), db.changes(), db.status, rows, rows.observe(), rows.count()]
    for stream in streams:
        with pytest.raises(TypeError, match="not iterable"):  # Python's own words
            _ = 1 in stream
        with pytest.raises(TypeError, match=r"cannot be iterated over.*db\.iterate"):
            list(stream)


async def test_an_observer_of_a_key_that_raises_is_detached_alone(db: Database) -> None:
    key, errors = db.key("k"), trace(db.errors)
    calls: list[Any] = []

    def fragile(value: Any) -> None:
        calls.append(value)
        raise LookupError

    key.subscribe(fragile)
    fine = trace(key)
    key.put(1)
    assert (calls, fine, len(errors)) == ([None], [None, 1], 1)


# -- entries -----------------------------------------------------------------------------------------------------


async def test_entries_alone_tell_of_the_confirmation(db: Database) -> None:
    key = db.key("k")
    values, entries = trace(key), trace(key.entries())
    version = await key.put(1)
    assert values == [None, 1]
    assert [(entry.value, entry.version, entry.pending) for entry in entries] == [
        (None, "", False),
        (1, version, True),
        (1, version, False),
    ]
    again = await key.put(1)
    assert values == [None, 1]
    assert [(entry.value, entry.version, entry.pending) for entry in entries[3:]] == [
        (1, again, True),
        (1, again, False),
    ]


async def test_entries_go_to_the_newest_while_a_download_is_under_way() -> None:
    gate = Gate()
    async with players(gate.inner, "a") as (a,), players(gate, "b") as (b,):
        await a.put("k", 0)
        await looks(b)
        entries = trace(b.key("k").entries())
        await a.put("k", LARGE)
        await looks(b)
        held = await gate.held()
        b.put("k", "mine")
        assert [(entry.value, entry.pending) for entry in entries] == [(0, False), ("mine", True)]
        held.let_go()
        await eventually(lambda: len(entries) == 3)
        assert (entries[2].value, entries[2].pending, entries[2].cause) == ("mine", False, "own")


def large(number: int) -> str:
    return f"{LARGE}{number}"


async def test_entries_wait_for_a_value_tell_it_and_then_go_to_the_newest() -> None:
    gate = Gate()
    async with players(gate.inner, "a") as (a,), players(gate, "b") as (b,):
        await a.put("k", 0)
        await looks(b)
        entries = trace(b.key("k").entries())
        for number in (1, 2, 3):
            await a.put("k", large(number))
            await looks(b)
        for _ in range(2):
            (await gate.held()).let_go()
        await eventually(lambda: len(entries) == 3)
        assert [entry.value for entry in entries] == [0, large(1), large(3)]
        await a.put("k", large(4))
        await looks(b)
        await a.put("k", 5)
        await looks(b)
        (await gate.held()).let_go()
        await eventually(lambda: len(entries) == 5)
        assert [entry.value for entry in entries[3:]] == [large(4), 5]


async def test_entries_pass_over_what_cannot_be_read_once_there_is_something_newer() -> None:
    gate = Gate()
    async with players(gate.inner, "a") as (a,), players(gate, "b") as (b,):
        entries, errors = trace(b.key("k").entries()), trace(b.errors)
        await a.put("k", large(1))
        await looks(b)
        held = await gate.held()
        await a.put("k", 2)
        await looks(b)
        assert [entry.value for entry in entries] == [None]
        held.fail(offline())
        await eventually(lambda: len(entries) == 2)
        assert entries[1].value == 2
        await a.put("k", large(3))
        await looks(b)
        (await gate.held()).fail(offline())
        await eventually(lambda: len(errors) == 2)
        await a.put("k", 4)
        await looks(b)
        await eventually(lambda: len(entries) == 3)
        assert entries[2].value == 4


async def test_entries_that_are_disposed_while_they_are_told_wait_for_nothing_more() -> None:
    gate = Gate()
    async with players(gate.inner, "a") as (a,), players(gate, "b") as (b,):
        await a.put("k", 0)
        await looks(b)
        seen: list[Any] = []
        b.key("k").entries().pipe(ops.take(2)).subscribe(lambda entry: seen.append(entry.value))
        for number in (1, 2):
            await a.put("k", large(number))
            await looks(b)
        (await gate.held()).let_go()
        await eventually(lambda: seen == [0, large(1)])
        await b.put("other", 1)
        assert gate.holding == 0


async def test_timed_operators_between_two_keys_stay_on_the_loop(db: Database) -> None:
    source, target = db.key("source"), db.key("target")
    source.pipe(ops.filter(lambda value: value is not None), ops.debounce(0.001, scheduler=db.scheduler)).subscribe(
        target
    )
    for number in range(5):
        source.put(number)
    await eventually(lambda: target.value == 4)
