"""Reducers scanned over what a database tells come to what the database shows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map
from reactivex import operators as ops

from rxmps3 import MISSING, Change, InvalidOption, NotKept, NotLoaded, Reset, reducers
from rxmps3.model.state import Entry, Inline, ManifestVersion, State, Write, WriteId, fold
from rxmps3.storage import MemoryStorage
from tests.behaviour.helpers import LARGE, eventually, looks, players, trace
from tests.conftest import Place

ONLY = pytest.mark.sequenced_only("no other log keeps a past")
WRITES: list[dict[str, Any]] = [
    {"a": 1},
    {"a": 2, "b": [1.0, None]},
    {"big": LARGE},
    {"a": MISSING},
    {"a": MISSING, "c": {"n": None}},
    {"big": LARGE + "!", "b": MISSING},
    {"a": None, "c": {"n": None}},
]


def change(key: str, after: Any) -> Change:
    return Change(key, MISSING, after, "ana", "w-1", False, "remote")


def version(seq: int, *updates: dict[str, Any], first: int | None = None) -> ManifestVersion:
    """One whose writes have ascending numbers; values are JSON texts, None deletes."""
    number = seq * 10 if first is None else first
    writes = tuple(
        Write(
            WriteId("w", number + place),
            f"n{number + place}",
            {key: None if text is None else Entry(f"w-{number + place}", Inline(text)) for key, text in update.items()},
        )
        for place, update in enumerate(updates)
    )
    return ManifestVersion(str(seq), "w", "ana", None, writes)


@ONLY
async def test_a_replay_scanned_from_the_start_is_what_at_shows_at_every_version(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        for write in WRITES:
            await ana.put_all(write)
        states: list[Any] = []
        done: list[None] = []
        bob.replay(0, speed=None).pipe(ops.scan(reducers.merge_patch, {})).subscribe(
            states.append, on_completed=lambda: done.append(None)
        )
        await eventually(lambda: done)
        assert len(states) == len(WRITES)
        for number, state in enumerate(states, 1):
            assert state == await (await bob.at(number)).get_prefix()


async def test_versions_scanned_are_the_entries_that_the_database_shows(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        await ana.put("before", 1)
        await looks(bob)
        states: list[Any] = []
        then = dict(bob.states.value.confirmed)
        bob.versions.pipe(ops.scan(reducers.merge_patch, then)).subscribe(states.append)
        for write in WRITES:
            await ana.put_all(write)
            await looks(bob)
        await eventually(lambda: states and states[-1] == dict(bob.states.value.confirmed))


async def test_changes_scanned_are_the_values_that_the_database_shows(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        await looks(bob)
        states = trace(bob.changes().pipe(ops.scan(reducers.merge_patch, {})))
        for write in WRITES:
            await ana.put_all(write)
            await looks(bob)
        shown = await bob.get_prefix()
        await eventually(lambda: states and states[-1] == shown)


async def test_a_reducer_of_ones_own_is_a_function_of_the_same_form() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        for write in WRITES:
            await ana.put_all(write)
        counts = trace(ana.replay(0, speed=None).pipe(ops.scan(lambda count, changes: count + len(changes), 0)))
        await eventually(lambda: "completed" in counts)
        assert counts == [1, 3, 4, 5, 6, 8, 9, "completed"]


updates = st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, "1", "2", "null", '{"x":1}']), max_size=3)


@given(st.lists(st.lists(updates, max_size=3), max_size=6))
def test_the_fold_of_the_state_is_merge_patch(groups: list[list[dict[str, Any]]]) -> None:
    state, scanned = State(), {}
    entries: dict[str, Any] = {}
    for seq, group in enumerate(groups, 1):
        item = version(seq, *group)
        before = copy.deepcopy(dict(scanned))
        after = reducers.merge_patch(scanned, item)
        assert dict(scanned) == before
        state, scanned = fold(state, item), after
        for update in group:
            entries.update(update)
        assert scanned == state == {key: scanned[key] for key, text in entries.items() if text is not None}


def test_a_write_that_is_in_the_log_twice_counts_once() -> None:
    once, other = version(1, {"k": "1"}), version(2, {"k": "2"})
    again = version(3, {"k": "1"}, first=10)
    for reducer in (reducers.merge_patch, reducers.json_merge()):
        state: Any = {}
        for item in (once, other, again):
            state = reducer(state, item)
        assert state["k"].content == Inline("2")


def test_null_is_a_value_and_missing_is_none() -> None:
    for reducer in (reducers.merge_patch, reducers.json_merge()):
        assert reducer({"a": 1}, change("a", None)) == {"a": None}
        assert reducer({"a": 1, "b": 2}, change("a", MISSING)) == {"b": 2}
        assert reducer({}, [change("a", MISSING), change("b", 1)]) == {"b": 1}
        assert reducer({"a": 1}, ()) == {"a": 1}


def test_json_merge_merges_objects_and_follows_the_schema() -> None:
    plain = reducers.json_merge()
    assert plain({"a": {"x": 1, "y": 2}}, change("a", {"x": None, "z": 3})) == {"a": {"y": 2, "z": 3}}
    appending = reducers.json_merge({"properties": {"log": {"mergeStrategy": "append"}}})
    state: Any = {"log": ["a"], "rest": ["a"]}
    for item in (change("log", ["b"]), (change("log", ["c"]), change("rest", ["b"]))):
        state = appending(state, item)
    assert state == {"log": ["a", "b", "c"], "rest": ["b"]}
    entries: Any = {}
    for item in (version(1, {"log": '["a"]'}), version(2, {"log": '["b"]'}, {"log": '["c"]'}), version(3, {"x": "1"})):
        entries = appending(entries, item)
    assert entries["log"] == Entry("w-21", Inline('["a","b","c"]'))
    assert appending(entries, version(4, {"log": None})).keys() == {"x"}


def test_what_a_reducer_cannot_do_it_says() -> None:
    for reducer in (reducers.merge_patch, reducers.json_merge()):
        with pytest.raises(NotKept, match="begin again"):
            reducer({}, Reset("7"))
        for wrong in (5, "k", {"k": 1}, [1]):
            with pytest.raises(InvalidOption, match="item is neither a version nor a change"):
                reducer({}, wrong)  # type: ignore[call-overload]
        for wrong in (5, None, "k", [[]], [("k", 1)]):
            for item in (change("k", 1), version(1, {"k": "1"})):
                with pytest.raises(InvalidOption, match="state is a mapping of keys, not"):
                    reducer(wrong, item)  # type: ignore[call-overload]
        with pytest.raises(
            InvalidOption, match="key 'k': the state that versions change maps keys to entries, not to 1"
        ):
            reducer({"k": 1}, version(1, {"k": "1"}))  # type: ignore[call-overload]
    with pytest.raises(InvalidOption):
        reducers.json_merge({"$ref": "http://127.0.0.1/schema"})
    with pytest.raises(InvalidOption):
        reducers.json_merge([])  # type: ignore[arg-type]


async def test_json_merge_of_versions_reads_no_object() -> None:
    async with players(MemoryStorage(), "ana", "bob") as (ana, bob):
        await looks(bob)
        versions: list[Any] = []
        bob.versions.subscribe(versions.append)
        await ana.put("big", LARGE)
        await looks(bob)
        with pytest.raises(NotLoaded, match="big"):
            reducers.json_merge()({}, versions[0])
        assert reducers.merge_patch(Map(), versions[0]).keys() == {"big"}
