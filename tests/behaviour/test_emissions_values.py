"""The emission contract, about values: what an observer sees first, what counts as a change, and in which order.

Every test compares the whole trace of what was emitted.
"""

from __future__ import annotations

from typing import Any

import pytest
from reactivex import operators as ops

from rxmps3 import MISSING
from rxmps3.model import jsontext
from rxmps3.storage import MemoryStorage
from tests.behaviour.helpers import Gate, eventually, looks, players, trace


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def texts(values: list[Any]) -> list[str]:
    return [jsontext.encode(value) for value in values]


# -- 1: the current value first ----------------------------------------------------------------------------------


async def test_a_new_observer_gets_the_current_value_first(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put("k", 1)
        await a.put("k", 2)
        seen = trace(a.observe("k"))
        assert seen == [2]
        await a.put("k", 3)
        assert seen == [2, 3]


async def test_every_kind_of_value_stream_begins_with_what_is_there(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put_all({"t/1": 1, "t/2": 2, "u": 3})
        assert trace(a.observe_many("u", "t/1", "none")) == [{"u": 3, "t/1": 1, "none": None}]
        assert trace(a.observe_prefix("t/")) == [{"t/1": 1, "t/2": 2}]
        assert trace(a.observe_prefix()) == [{"t/1": 1, "t/2": 2, "u": 3}]
        assert trace(a.observe_many()) == [{}]
        assert trace(a.observe_prefix("none/")) == [{}]


async def test_subscribe_is_the_short_form(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        seen: list[Any] = []
        subscription = a.subscribe("k", seen.append, default="none")
        a.put("k", 1)
        subscription.dispose()
        a.put("k", 2)
        assert seen == ["none", 1]


async def test_not_loaded_yet_is_never_shown_as_missing() -> None:
    gate = Gate(part="other/head", shut=False)
    async with players(gate, "a") as (a,):
        await a.manifest("other").put("k", "there")
    async with players(gate, "b") as (b,):
        gate.shut = True
        other = b.manifest("other")
        streams = [other.observe("k"), other.observe_many("k"), other.observe_prefix()]
        seen = [trace(stream) for stream in streams]
        held = await gate.held()
        assert seen == [[], [], []]
        gate.shut = False
        held.let_go()
        await eventually(lambda: all(seen))
        assert seen == [["there"], [{"k": "there"}], [{"k": "there"}]]


async def test_a_put_before_the_load_is_part_of_the_first_emission() -> None:
    gate = Gate(part="other/head", shut=False)
    async with players(gate, "a") as (a,):
        await a.manifest("other").put_all({"old": 1, "k": "theirs"})
    async with players(gate, "b") as (b,):
        gate.shut = True
        other = b.manifest("other")
        seen = trace(other.observe_prefix())
        other.put("k", "mine")
        held = await gate.held()
        assert seen == []
        gate.shut = False
        gate.open()
        held.let_go()
        await eventually(lambda: seen)
        assert seen == [{"k": "mine", "old": 1}]


# -- defaults ----------------------------------------------------------------------------------------------------


async def test_a_missing_key_shows_the_default(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        assert trace(a.observe("k")) == [None]
        assert trace(a.observe("k", default=7)) == [7]
        assert trace(a.observe("k", default=MISSING)) == [MISSING]
        assert trace(a.observe_many("k", "l", default=0)) == [{"k": 0, "l": 0}]


async def test_missing_tells_an_absent_key_from_null(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        seen = trace(a.observe("k", default=MISSING))
        many = trace(a.observe_many("k", default=MISSING))
        await a.put("k", None)
        await a.delete("k")
        assert seen == [MISSING, None, MISSING]
        assert many == [{"k": MISSING}, {"k": None}, {"k": MISSING}]


async def test_what_the_reader_could_not_tell_from_the_default_is_no_change(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        plain, zero = trace(a.observe("k")), trace(a.observe("k", default=0))
        prefix = trace(a.observe_prefix())
        await a.put("k", None)
        await a.put("k", 0)
        await a.delete("k")
        await a.delete("k")
        assert plain == [None, 0, None]
        assert zero == [0, None, 0]
        assert prefix == [{}, {"k": None}, {"k": 0}, {}]


async def test_a_default_that_is_not_json_is_handed_out_as_it_is(storage: MemoryStorage) -> None:
    marker = object()
    async with players(storage, "a") as (a,):
        seen = trace(a.observe("k", default=marker))
        await a.put("k", 1)
        await a.delete("k")
        assert seen[0] is marker
        assert seen[1:] == [1, marker]


# -- 2: changed means other JSON text ----------------------------------------------------------------------------


async def test_values_are_told_apart_by_their_json_text(storage: MemoryStorage) -> None:
    values = [1, 1.0, True, 0, 0.0, -0.0, False, "1", None, [], [1], [1.0], {}, {"a": 1}, {"a": True}, ""]
    async with players(storage, "a", "b") as (a, b):
        own, remote = trace(a.observe("k", MISSING)), trace(b.observe("k", MISSING))
        for value in values:
            await a.put("k", value)
            await looks(b)
        assert texts(own[1:]) == texts(values)
        assert texts(remote[1:]) == texts(values)


async def test_the_same_json_again_emits_nothing(storage: MemoryStorage) -> None:
    async with players(storage, "a", "b") as (a, b):
        own = [trace(a.observe("k")), trace(a.observe_many("k")), trace(a.observe_prefix()), trace(a.changes())]
        remote = [trace(b.observe("k")), trace(b.observe_many("k")), trace(b.observe_prefix()), trace(b.changes())]
        await a.put("k", {"x": 1, "y": [1.5]})
        await looks(b)
        before = [len(seen) for seen in own + remote]
        await a.put("k", {"y": [1.5], "x": 1})
        await looks(b)
        await b.put("k", {"y": [1.5], "x": 1})
        await looks(a)
        assert [len(seen) for seen in own + remote] == before == [2, 2, 2, 1, 2, 2, 2, 1]


async def test_the_confirmation_of_an_own_write_emits_nothing(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        seen = [trace(a.observe("k")), trace(a.observe_many("k")), trace(a.observe_prefix())]
        receipt = a.put("k", 1)
        assert receipt.stage == "pending"
        assert seen == [[None, 1], [{"k": None}, {"k": 1}], [{}, {"k": 1}]]
        await receipt
        await looks(a)
        assert seen == [[None, 1], [{"k": None}, {"k": 1}], [{}, {"k": 1}]]


async def test_other_keys_emit_nothing(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        seen = [trace(a.observe("k")), trace(a.observe_many("k", "l")), trace(a.observe_prefix("k"))]
        await a.put_all({"x": 1, "j": 2})
        assert [len(one) for one in seen] == [1, 1, 1]


async def test_a_prefix_is_a_plain_string(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        seen = trace(a.observe_prefix("todo"))
        await a.put("todo/1", 1)
        await a.put("todos", 2)
        await a.put("tod", 3)
        assert seen == [{}, {"todo/1": 1}, {"todo/1": 1, "todos": 2}]


async def test_a_prefix_shows_its_keys_sorted_and_one_asked_for_many_as_asked(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        prefix, many = trace(a.observe_prefix()), trace(a.observe_many("z", "a", "m"))
        for key in ("m", "a", "z", "é", "A"):
            await a.put(key, 1)
        assert [list(value) for value in prefix[-1:]] == [["A", "a", "m", "z", "é"]]
        assert [list(value) for value in many] == [["z", "a", "m"]] * 4


# -- 3: order ----------------------------------------------------------------------------------------------------


async def test_all_see_the_order_of_the_log_with_their_own_on_top(storage: MemoryStorage) -> None:
    gate = Gate(storage, part="/log/", verbs=("put",), shut=False)
    async with players(storage, "a") as (a,), players(gate, "b") as (b,):
        await a.put("k", 0)
        await looks(b)
        at_a, at_b = trace(a.observe("k")), trace(b.observe("k"))
        gate.shut = True
        mine = b.put("k", "mine")
        held = await gate.held()
        await a.put("k", 1)
        await a.put("k", 2)
        gate.open()
        held.let_go()
        await mine
        await looks(a, b)
        assert at_a == [0, 1, 2, "mine"]
        assert at_b == [0, "mine"]


async def test_a_later_foreign_write_replaces_the_own_one_once_that_is_in_the_log(storage: MemoryStorage) -> None:
    async with players(storage, "a", "b") as (a, b):
        at_a, at_b = trace(a.observe("k")), trace(b.observe("k"))
        await a.put("k", "first")
        await b.put("k", "second")
        await looks(a, b)
        assert at_a == [None, "first", "second"]
        assert at_b[-1] == "second"
        assert "first" not in at_b[at_b.index("second") :]


async def test_a_reader_skips_what_one_look_finds_overwritten_but_never_goes_back(storage: MemoryStorage) -> None:
    async with players(storage, "a", "b") as (a, b):
        seen = trace(b.observe("n", default=-1))
        for number in range(12):
            a.put("n", number)
            if number % 3 == 0:
                await looks(b)
        await a.put("n", 12)
        await looks(b)
        assert seen == sorted(set(seen))
        assert (seen[0], seen[-1]) == (-1, 12)


async def test_nobody_goes_back_while_two_write_the_same_key(storage: MemoryStorage) -> None:
    async with players(storage, "a", "b") as (a, b):
        log, at_a, at_b = trace(a.versions), trace(a.observe("k")), trace(b.observe("k"))
        for number in range(10):
            writes = [a.put("k", f"a{number}"), b.put("k", f"b{number}")]
            for write in writes:
                await write
        await looks(a, b)
        order = [entry.content.text[1:-1] for v in log for w in v.writes for entry in w.update.values()]
        assert at_a[-1] == at_b[-1] == order[-1]
        for own, seen in (("a", at_a), ("b", at_b)):
            foreign = [value for value in seen if value and not value.startswith(own)]
            mine = [value for value in seen if value and value.startswith(own)]
            assert foreign == [value for value in order if value in foreign]
            assert mine == [f"{own}{number}" for number in range(10)]


# -- 4: one write, one emission ----------------------------------------------------------------------------------


async def test_one_write_is_one_emission_of_any_one_stream(storage: MemoryStorage) -> None:
    async with players(storage, "a", "b") as (a, b):
        own = [trace(a.observe_many("x", "y")), trace(a.observe_prefix())]
        remote = [trace(b.observe_many("x", "y")), trace(b.observe_prefix())]
        await a.put_all({"x": 1, "y": 1})
        await looks(b)
        await a.put_all({"x": 2, "y": MISSING})
        await looks(b)
        for many, prefix in (own, remote):
            assert many == [{"x": None, "y": None}, {"x": 1, "y": 1}, {"x": 2, "y": None}]
            assert prefix == [{}, {"x": 1, "y": 1}, {"x": 2}]


async def test_combining_two_streams_shows_halves_which_is_why_observe_many_exists(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        halves = trace(a.observe("x").pipe(ops.combine_latest(a.observe("y"))))
        a.put_all({"x": 1, "y": 1})
        assert halves == [(None, None), (1, None), (1, 1)]


# -- windows -----------------------------------------------------------------------------------------------------


async def test_windows_follow_the_first_and_the_last_keys(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put_all({"k/2": 2, "k/4": 4})
        first, last = trace(a.observe_prefix("k/", first=2)), trace(a.observe_prefix("k/", last=2))
        await a.put("k/5", 5)
        await a.put("k/1", 1)
        await a.delete("k/4")
        await a.delete("k/1")
        assert first == [{"k/2": 2, "k/4": 4}, {"k/1": 1, "k/2": 2}, {"k/2": 2, "k/5": 5}]
        assert last == [{"k/2": 2, "k/4": 4}, {"k/4": 4, "k/5": 5}, {"k/2": 2, "k/5": 5}]
        assert trace(a.observe_prefix("k/", first=0)) == [{}]


# -- 9: values of their own --------------------------------------------------------------------------------------


async def test_put_encodes_at_the_call(storage: MemoryStorage) -> None:
    async with players(storage, "a", "b") as (a, b):
        value = {"list": [1]}
        receipt = a.put("k", value)
        value["list"].append(2)
        await receipt
        await looks(b)
        assert await a.get("k") == {"list": [1]}
        assert await b.get("k") == {"list": [1]}


async def test_every_reader_gets_a_value_of_its_own(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        await a.put("k", {"list": []})
        first, second = trace(a.observe("k")), trace(a.observe("k"))
        many, prefix = trace(a.observe_many("k")), trace(a.observe_prefix())
        readings = [first[0], second[0], many[0]["k"], prefix[0]["k"], await a.get("k"), (await a.get_many(["k"]))["k"]]
        readings.append((await a.get_prefix())["k"])
        for number, reading in enumerate(readings):
            reading["list"].append(number)
        assert [reading["list"] for reading in readings] == [[number] for number in range(len(readings))]
        assert await a.get("k") == {"list": []}


async def test_every_reader_gets_a_mutable_default_of_its_own(storage: MemoryStorage) -> None:
    default: dict[str, list[int]] = {"list": []}
    async with players(storage, "a") as (a,):
        seen = trace(a.observe("k", default))
        many = trace(a.observe_many("k", "l", default=default))
        seen[0]["list"].append(1)
        many[0]["k"]["list"].append(2)
        await a.put("k", 1)
        await a.delete("k")
        assert seen == [{"list": [1]}, 1, {"list": []}]
        assert many[0] == {"k": {"list": []}, "l": {"list": []}}  # each access gives a value of its own
        assert many[2] == {"k": {"list": []}, "l": {"list": []}}
        assert default == {"list": []}


async def test_changes_hand_out_values_of_their_own(storage: MemoryStorage) -> None:
    async with players(storage, "a") as (a,):
        first, second = trace(a.changes()), trace(a.changes())
        a.put("k", [])
        first[0].after.append(1)
        a.put("k", [2])
        assert second[0].after == []
        assert second[1].before == []
