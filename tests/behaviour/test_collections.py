"""Live queries on a database: what is emitted when, together with what, and for whom."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from reactivex import Observable, Subject
from reactivex import operators as ops

import rxmps3
from rxmps3 import MISSING, Closed, Delta, InvalidOption, InvalidValue, NotLoaded, Reset, reducers
from rxmps3.model.state import Loaded
from rxmps3.storage import MemoryStorage
from tests.behaviour.facades import ManualClock, is_blocking, settle
from tests.behaviour.helpers import LARGE, Gate, Switch, eventually, looks, offline, player, players, trace


@pytest.fixture
async def db() -> AsyncIterator[Any]:
    async with players(MemoryStorage(), "a") as (a,):
        yield a


def plain(traced: list[Any]) -> list[Any]:
    """Emissions of deltas as tuples."""
    return [
        [one if isinstance(one, Reset) else (one.key, one.before, one.after) for one in item]
        if isinstance(item, tuple)
        else item
        for item in traced
    ]


# -- deltas and values -------------------------------------------------------------------------------------------


async def test_the_present_content_comes_first_then_each_change(db: Any) -> None:
    await db.put_all({"t/1": 1, "t/2": [2], "u": 3})
    c = db.collection("t/")
    seen, contents = trace(c), trace(c.observe())
    await db.put_all({"t/2": MISSING, "t/0": 0, "u": 4})
    await db.put("t/1", 1)
    await db.put("t/1", 1.0)
    await db.delete("none")
    assert plain(seen) == [
        [("t/1", MISSING, 1), ("t/2", MISSING, [2])],
        [("t/0", MISSING, 0), ("t/2", [2], MISSING)],
        [("t/1", 1, 1.0)],
    ]
    assert contents == [{"t/1": 1, "t/2": [2]}, {"t/0": 0, "t/1": 1}, {"t/0": 0, "t/1": 1.0}]
    assert [list(content) for content in contents] == [["t/1", "t/2"], ["t/0", "t/1"], ["t/0", "t/1"]]
    assert c.value == contents[-1]
    assert plain(trace(c))[0] == [("t/0", MISSING, 0), ("t/1", MISSING, 1.0)]


async def test_an_empty_collection_begins_with_nothing(db: Any) -> None:
    c = db.collection("t/")
    assert trace(c) == [()]
    assert trace(c.observe()) == [{}]
    assert c.value == {}


async def test_the_value_needs_no_observer(db: Any) -> None:
    await db.put_all({"t/1": 1, "t/2": 2})
    small = db.collection("t/").filter(lambda key, value: value < 2)
    assert small.value == {"t/1": 1}
    await db.put("t/0", 0)
    assert small.value == {"t/0": 0, "t/1": 1}
    assert small.count().value == 2


async def test_every_reader_gets_values_of_its_own(db: Any) -> None:
    await db.put("t/1", {"n": [1]})
    c = db.collection("t/").map(lambda key, value: {**value, "more": [0]})
    one, other, deltas = trace(c.observe()), trace(c.observe()), trace(c)
    one[0]["t/1"]["more"].append(9)
    deltas[0][0].after["n"].append(9)
    assert one[0] == other[0] == c.value == {"t/1": {"n": [1], "more": [0]}}
    assert deltas[0][0].after == {"n": [1], "more": [0]}


async def test_own_writes_show_at_once_and_roll_back_out_of_it() -> None:
    storage = MemoryStorage()
    async with players(storage, "a", "b") as (a, b):
        await a.put("t/1", 1)
        await looks(b)
        total = b.collection("t/").sum(lambda key, value: value)
        seen = trace(total)
        deltas = trace(b.collection("t/"))
        await a.put("t/1", 2)
        receipt = b.put("t/1", 10, if_version="none")
        b.put("t/2", 5)
        assert seen[-1] == 15
        with pytest.raises(rxmps3.Conflict):
            await receipt
        await looks(b)
        assert seen[-1] == 7
        assert total.value == 7
        assert deltas[-1][0].after == 2
        assert deltas[-1][0].before == 10


async def test_the_confirmation_of_an_own_write_emits_nothing(db: Any) -> None:
    seen = trace(db.collection("t/").map(lambda key, value: value))
    await db.put("t/1", 1)
    await looks(db)
    assert len(seen) == 2


async def test_a_change_that_a_query_does_not_show_emits_nothing(db: Any) -> None:
    await db.put("t/1", {"title": "milk", "done": False})
    titles = trace(db.collection("t/").map(lambda key, value: value["title"]).observe())
    done = trace(db.collection("t/").filter(lambda key, value: value["done"]))
    count = trace(db.collection("t/").count())
    await db.put("t/1", {"title": "milk", "done": False, "more": 1})
    assert (titles, done, count) == ([{"t/1": "milk"}], [()], [1])


# -- together ----------------------------------------------------------------------------------------------------


async def test_a_join_never_shows_half_a_write() -> None:
    """Each order takes from the stock in the same write; what both say together is always the same."""
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await a.put_all({"stock/x": 10, "order/0": {"of": "x", "n": 0}})
        await looks(b)
        for who in (a, b):
            orders, stock = who.collection("order/"), who.collection("stock/")
            ordered = orders.group_by(lambda key, value: "stock/" + value["of"]).sum(lambda key, value: value["n"])
            kept = stock.join(ordered).map(lambda key, pair: sum(pair))
            pairs = orders.join(stock, on=lambda key, value: "stock/" + value["of"])
            seen, sums = trace(pairs.observe()), trace(kept)
            who.sums, who.pairs = sums, seen
        for n in range(1, 4):
            await a.put_all({f"order/{n}": {"of": "x", "n": n}, "stock/x": 10 - sum(range(n + 1))})
        await looks(b)
        for who in (a, b):
            assert plain(who.sums) == [[(("stock/x", "stock/x"), MISSING, 10)]]
            assert len(who.pairs) == 4
            for content in who.pairs:
                assert {left for _, left in content.values()} == {10 - sum(order["n"] for order, _ in content.values())}


async def test_a_diamond_changes_in_one_emission(db: Any) -> None:
    c = db.collection("t/")
    even = c.filter(lambda key, value: value % 2 == 0)
    odd = c.filter(lambda key, value: value % 2 == 1)
    seen = trace(even.union(odd).count())
    same = trace(even.union(odd))
    await db.put_all({"t/1": 1, "t/2": 2})
    await db.put_all({"t/1": 2, "t/2": 1})
    assert seen == [0, 2]
    assert plain(same)[2] == [("t/1", 1, 2), ("t/2", 2, 1)]


async def test_a_join_waits_for_a_large_value_as_one_and_others_do_not() -> None:
    storage = MemoryStorage()
    gate = Gate(storage)
    async with players(storage, "writer") as (writer,), players(gate, "reader") as (reader,):
        await writer.put_all({"order/1": "small", "stock/1": 1})
        await looks(reader)
        orders, stock = reader.collection("order/"), reader.collection("stock/")
        number = lambda key, value: key[-1]  # noqa: E731
        joined = trace(
            orders.join(stock, on=number, other_on=number).map(lambda key, pair: (len(pair[0]), pair[1])).observe()
        )
        alone = trace(stock.observe())
        await writer.put_all({"order/1": LARGE, "stock/1": 2})
        await looks(reader)
        assert alone == [{"stock/1": 1}, {"stock/1": 2}]
        assert len(joined) == 1
        reader.put("stock/1", 3)
        key = ("order/1", "stock/1")
        assert joined == [{key: (5, 1)}, {key: (5, 3)}]  # own writes never wait
        gate.open()
        await eventually(lambda: len(joined) == 3)
        assert joined[2] == {key: (len(LARGE), 3)}


async def test_two_manifests_can_be_joined(db: Any) -> None:
    other = db.manifest("other")
    if is_blocking():
        return  # the facade of the tests knows one manifest at a time
    await other.put("x", 2)
    seen = trace(db.collection().join(other.collection()).observe())
    await db.put("x", 1)
    await eventually(lambda: seen and seen[-1])
    await other.put("x", 3)
    assert seen[-1] == {("x", "x"): (1, 3)}


async def test_several_prefixes_and_overlapping_ones(db: Any) -> None:
    await db.put_all({"a/1": 1, "a/b/1": 2, "b/1": 3, "c/1": 4})
    both, within = db.collection("a/", "b/"), db.collection("a/b/", "a/")
    seen, inner = trace(both.observe()), trace(within)
    await db.put_all({"b/1": 5, "c/1": 6, "a/b/1": 7})
    assert seen == [{"a/1": 1, "a/b/1": 2, "b/1": 3}, {"a/1": 1, "a/b/1": 7, "b/1": 5}]
    assert plain(inner)[1:] == [[("a/b/1", 2, 7)]]
    assert db.collection().value == {"a/1": 1, "a/b/1": 7, "b/1": 5, "c/1": 6}
    assert both.value == seen[-1]


# -- the words ---------------------------------------------------------------------------------------------------


async def test_the_words(db: Any) -> None:
    await db.put_all(
        {
            "p/1": {"name": "ana", "team": "red", "score": 5},
            "p/2": {"name": "bo", "team": "blue", "score": 7},
            "p/3": {"name": "cy", "team": "red", "score": 9},
        }
    )
    players_ = db.collection("p/")
    score = lambda key, value: value["score"]  # noqa: E731
    teams = players_.group_by(lambda key, value: value["team"])
    top = players_.sort_by(score, reverse=True).limit(2)
    live = {
        "top": trace(top.observe()),
        "count": trace(teams.count().observe()),
        "mean": trace(players_.mean(score)),
        "max": trace(players_.max(score)),
        "min": trace(teams.min(score).observe()),
        "names": trace(players_.reduce(lambda t, v: t | {v["name"]}, lambda t, v: t - {v["name"]}, frozenset())),
        "letters": trace(players_.flat_map(lambda key, value: value["name"]).observe())[:0],
    }
    assert list(live["top"][0]) == ["p/3", "p/2"]
    await db.put_all({"p/4": {"name": "di", "team": "blue", "score": 8}, "p/3": MISSING})
    assert [list(content) for content in live["top"]] == [["p/3", "p/2"], ["p/4", "p/2"]]
    assert top.value["p/4"]["name"] == "di"
    assert live["count"] == [{"blue": 1, "red": 2}, {"blue": 2, "red": 1}]
    assert live["mean"] == [7.0, 20 / 3]
    assert live["max"] == [9, 8]
    assert live["min"] == [{"blue": 7, "red": 5}]
    assert live["names"] == [{"ana", "bo", "cy"}, {"ana", "bo", "di"}]
    assert players_.sort_by(score).limit(1, offset=1).value.keys() == {"p/2"}
    assert players_.map(lambda key, value: value["team"]).distinct().value == {"p/1": "red", "p/2": "blue"}
    assert players_.flat_map(lambda key, value: [value["name"], value["team"]]).value[("p/1", 1)] == "red"
    assert players_.flat_map(lambda key, value: {"is": value["name"]}).value[("p/1", "is")] == "ana"
    captains = db.collection("captain/")
    assert players_.left_join(captains, on=lambda key, value: "captain/" + value["team"]).value[("p/1", MISSING)] == (
        {"name": "ana", "team": "red", "score": 5},
        MISSING,
    )
    empty = db.collection("none/")
    assert (empty.count().value, empty.sum(score).value) == (0, 0)
    assert (empty.mean(score).value, empty.min(score).value, empty.max(score).value) == (MISSING,) * 3
    assert empty.reduce(lambda t, v: t, lambda t, v: t, [1]).value == [1]


async def test_a_window_of_time() -> None:
    clock = ManualClock()
    async with player(MemoryStorage(), clock=clock, poll=Subject[None]()) as db:
        recent = db.collection("t/").window(10)
        seen = trace(recent.observe())
        await db.put("t/1", 1)
        await clock.advance(6)
        await db.put("t/2", 2)
        await clock.advance(6)
        assert seen == [{}, {"t/1": 1}, {"t/1": 1, "t/2": 2}, {"t/2": 2}]
        await db.put("t/2", 3)
        await clock.advance(9)
        await db.put("t/2", 3)  # no change, so not in the window any longer for it
        assert recent.value == {"t/2": 3}
        await clock.advance(2)
        assert recent.value == {}


async def test_it_is_an_observable(db: Any) -> None:
    c = db.collection("t/")
    assert isinstance(c, Observable)
    keys = trace(c.as_observable().pipe(ops.map(lambda deltas: [delta.key for delta in deltas])))
    kinds = trace(c.pipe(ops.map(lambda deltas: [delta.kind for delta in deltas])))
    await db.put("t/1", 1)
    await db.put("t/1", 2)
    await db.delete("t/1")
    assert keys == [[], ["t/1"], ["t/1"], ["t/1"]]
    assert kinds == [[], ["added"], ["changed"], ["removed"]]
    async with db.iterate(c, keep="all") as items:
        assert await anext(aiter(items)) == ()


async def test_a_collection_of_any_observable_of_deltas(db: Any) -> None:
    source: Subject[Any] = Subject()
    await db.put("t/1", 1)
    c = db.collection("t/", source)
    seen = trace(c.observe())
    source.on_next((Delta("x", MISSING, [1]), Delta("t/1", MISSING, 7), Delta(5, MISSING, 0)))
    source.on_next(Delta("x", [1], MISSING))
    await settle()
    assert seen == [{"t/1": 1}, {5: 0, "t/1": 1, "x": [1]}, {5: 0, "t/1": 1}]
    with pytest.raises(NotLoaded, match="observe it first"):
        _ = db.collection(source).value
    again = trace(db.collection(c.as_observable()).count())
    assert again[-1] >= 1
    changes = trace(db.collection(db.changes()).observe())
    await db.put("t/3", 3)
    assert changes[-1] == {"t/3": 3}
    failing = trace(db.collection(source))
    source.on_error(ValueError("it ended"))
    await settle()
    assert str(failing[-1]) == "it ended"


class Task(BaseModel):
    title: str
    done: bool = False


@dataclass
class Pair:
    title: str
    done: list[bool]


async def test_it_can_be_typed(db: Any) -> None:
    failures = trace(db.errors)
    await db.put_all({"t/1": {"title": "milk"}, "t/2": {"title": 5}})
    tasks = db.collection("t/", T=Task)
    seen = trace(tasks.observe())
    assert seen == [{"t/1": Task(title="milk")}]
    assert len(failures) == 1
    assert "'t/2'" in str(failures[0])
    await db.put("t/2", {"title": "bread", "done": True})
    assert tasks.filter(lambda key, task: task.done).value == {"t/2": Task(title="bread", done=True)}
    await db.put("t/3", {"title": "milk", "done": False})
    assert list(tasks.distinct().value) == ["t/1", "t/2"]
    pairs = tasks.map(lambda key, task: Pair(task.title, [task.done]))
    assert list(pairs.distinct().value) == ["t/1", "t/2"]
    await db.delete("t/3")
    seen[-1]["t/2"].title = "spoilt"
    assert tasks.value["t/2"].title == "bread"


async def test_tables_of_pandas_and_arrow(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await db.put_all({"t/1": {"title": "milk", "done": True}, "t/2": {"title": "bread", "more": 1}})
    tasks = db.collection("t/")
    frame, table = tasks.to_pandas(), tasks.to_arrow()
    assert list(frame.index) == ["t/1", "t/2"]
    assert frame.loc["t/2", "title"] == "bread"
    assert table.to_pylist() == [
        {"key": "t/1", "done": True, "title": "milk", "more": None},
        {"key": "t/2", "done": None, "title": "bread", "more": 1},
    ]
    assert db.collection("t/", T=Task).to_pandas()["done"].tolist() == [True, False]
    pairs = tasks.join(tasks).map(lambda key, pair: pair[0]["title"])
    assert pairs.to_pandas()["value"].tolist() == ["milk", "bread"]
    assert list(pairs.to_pandas().index) == [("t/1", "t/1"), ("t/2", "t/2")]
    assert pairs.to_arrow().to_pylist()[0] == {"key": ["t/1", "t/1"], "value": "milk"}
    assert db.collection("none/").to_pandas().empty
    assert db.collection("none/").to_arrow().num_rows == 0
    with pytest.raises(InvalidValue, match="rename it"):
        tasks.map(lambda key, task: {"key": key}).to_arrow()
    with pytest.raises(InvalidValue, match="Arrow has no type"):
        tasks.map(lambda key, task: 1 if key == "t/1" else {"a": 1}).to_arrow()
    lone = tasks.left_join(db.collection("none/"))
    assert lone.to_arrow().column("key").to_pylist() == [["t/1", None], ["t/2", None]]
    assert [key[1] for key in lone.to_pandas().index] == [None, None]
    assert lone.map(lambda key, pair: {"other": pair[1]}).to_arrow().column("other").to_pylist() == [None, None]
    for odd, column in (({"n": 2**70}, "'n'"), ({"n": [1, "a"]}, "'n'"), ({5: 1}, "5"), ("\ud800", "'value'")):
        with pytest.raises(InvalidValue, match=f"column {column}: Arrow has no type"):
            tasks.map(lambda key, task, odd=odd: odd).to_arrow()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(rxmps3.Unsupported, match=r"rxmps3\[tables\]"):
        tasks.to_pandas()


# -- trouble, life -----------------------------------------------------------------------------------------------


async def test_a_function_that_raises_ends_its_collection_alone(db: Any) -> None:
    await db.put("t/1", 1)
    c = db.collection("t/")
    bad = trace(c.map(lambda key, value: 1 // value).observe())
    good = trace(c.observe())
    await db.put("t/2", 0)
    await db.put("t/3", 3)
    assert bad[0] == {"t/1": 1}
    assert isinstance(bad[1], ZeroDivisionError)
    assert len(bad) == 2
    assert good[-1] == {"t/1": 1, "t/2": 0, "t/3": 3}
    with pytest.raises(ZeroDivisionError):
        _ = c.map(lambda key, value: 1 // value).value


async def test_an_observer_that_raises_is_detached_and_others_go_on(db: Any) -> None:
    failures = trace(db.errors)
    c = db.collection("t/")
    seen = trace(c)

    def fail(item: Any) -> None:
        raise RuntimeError("of mine")

    c.subscribe(fail)
    after = trace(c)
    await db.put("t/1", 1)
    assert len(seen) == len(after) == 2
    assert len(failures) == 1


async def test_a_put_of_an_observer_is_delivered_after_the_step(db: Any) -> None:
    c = db.collection("t/")
    seen: list[Any] = []

    def answer(deltas: Any) -> None:
        seen.append([(delta.key, delta.after) for delta in deltas])
        if seen[-1] == [("t/1", 1)]:
            db.put("t/2", 2)
            seen.append("put")

    c.subscribe(answer)
    late = trace(c)
    await db.put("t/1", 1)
    await eventually(lambda: len(late) == 3)
    assert seen == [[], [("t/1", 1)], "put", [("t/2", 2)]]
    assert [[delta.key for delta in item] for item in late] == [[], ["t/1"], ["t/2"]]


async def test_disposed_it_costs_nothing_and_can_be_observed_again(db: Any) -> None:
    calls: list[str] = []
    c = db.collection("t/").map(lambda key, value: calls.append(key))
    first, second = c.subscribe(lambda deltas: None), c.subscribe(lambda deltas: None)
    await db.put("t/1", 1)
    assert calls == ["t/1"]
    first.dispose()
    await settle()
    await db.put("t/2", 2)
    assert calls == ["t/1", "t/2"]
    second.dispose()
    await settle()
    await db.put("t/3", 3)
    assert calls == ["t/1", "t/2"]
    assert len(trace(c.observe())[0]) == 3


async def test_it_completes_with_the_database() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        c = a.collection("t/")
        seen, counts, contents = trace(c), trace(c.count()), trace(c.observe())
    assert (seen, counts, contents) == ([(), "completed"], [0, "completed"], [{}, "completed"])
    with pytest.raises(Closed):
        a.collection("t/")


@pytest.mark.parametrize("value", [{}, [1], None])
async def test_what_a_function_raises_names_the_row(db: Any, value: Any) -> None:
    """Whether it is raised by the function, or because of what it returns."""
    await db.put_all({"t/1": 1, "t/2": value, "t/3": 3})
    c = db.collection("t/")
    for word, made in {
        "filter": c.filter(lambda key, value: value + 1),
        "map": c.map(lambda key, value: value + 1),
        "flat_map": c.flat_map(lambda key, value: range(value)),
        "sort_by": c.sort_by(lambda key, value: object() if key == "t/2" else 0),
        "distinct": c.map(lambda key, value: {1} if key == "t/2" else 0).distinct(),
        "join": c.join(c, on=lambda key, value: value + 1),
        "left_join": c.left_join(c, other_on=lambda key, value: [] if key == "t/2" else 0),
        "sum": c.sum(lambda key, value: value),
        "mean": c.mean(lambda key, value: value["n"] if key == "t/2" else 0),
        "max": c.max(lambda key, value: float("nan") if key == "t/2" else 0),
        "count": c.group_by(lambda key, value: [] if key == "t/2" else 0).count(),
        "min": c.group_by(lambda key, value: float("nan") if key == "t/2" else 0).min(lambda key, value: 0),
        "flat_map() ": c.flat_map(lambda key, value: {object() if key == "t/2" else 0: 1}),
        "reduce": c.reduce(lambda total, value: total + value, lambda total, value: total - value, 0),
    }.items():
        with pytest.raises((TypeError, KeyError, IndexError, InvalidValue)) as raised:
            _ = made.value
        row, where = raised.value.__notes__
        assert "'t/2'" in row
        assert f".{word.removesuffix('() ')}()" in where
    errors = trace(db.errors)
    c.map(lambda key, value: {}["gone"]).subscribe(print)
    assert "KeyError: 'gone'; at the row with key 't/1'; in collection 't/'.map()" in str(errors[0])


async def test_a_coroutine_function_is_refused(db: Any) -> None:
    async def fn(*_: Any) -> Any:
        raise AssertionError

    c = db.collection("t/")
    for refused in (
        lambda: c.filter(fn),
        lambda: c.map(fn),
        lambda: c.flat_map(fn),
        lambda: c.sort_by(fn),
        lambda: c.join(c, on=fn),
        lambda: c.left_join(c, other_on=fn),
        lambda: c.group_by(fn),
        lambda: c.sum(fn),
        lambda: c.group_by(len).mean(fn),
        lambda: c.reduce(fn, len, 0),
        lambda: c.reduce(len, fn, 0),
    ):
        with pytest.raises(InvalidOption, match="coroutine function"):
            refused()


async def test_bad_input_is_refused(db: Any) -> None:
    c = db.collection("t/")
    for refused in (
        lambda: db.collection(5),
        lambda: c.filter("no function"),
        lambda: c.join("t/"),
        lambda: c.join(c, on=5),
        lambda: c.sort_by(len).limit(-1),
        lambda: c.sort_by(len).limit(1.5),
        lambda: c.window(0),
        lambda: c.window("1"),
        lambda: c.window(10**400),
        lambda: c.group_by(None),
        lambda: c.sum(None),
    ):
        with pytest.raises(InvalidOption):
            refused()
    await db.put("t/1", {"tags": [1]})
    with pytest.raises(InvalidValue, match="a group is"):
        _ = c.group_by(lambda key, value: value["tags"]).count().value
    with pytest.raises(InvalidValue, match="a sum is of numbers"):
        _ = c.sum(lambda key, value: "1").value
    with pytest.raises(InvalidValue, match="flat_map"):
        _ = c.flat_map(lambda key, value: "text").value


async def test_not_loaded_yet_is_said() -> None:
    gate = Gate(part="other/head", shut=False)
    async with players(gate, "a") as (a,):
        await a.manifest("other").put("k", "there")
    async with players(gate, "b") as (b,):
        gate.shut = True
        other = b.manifest("other")
        seen = trace(other.collection().observe())
        held = await gate.held()
        assert seen == []
        with pytest.raises(NotLoaded):
            _ = other.collection().value
        gate.shut = False
        held.let_go()
        await eventually(lambda: seen)
        assert seen == [{"k": "there"}]


async def test_a_value_that_is_not_at_hand_is_said() -> None:
    storage = MemoryStorage()
    async with players(storage, "a", "b") as (a, b):
        await a.put("t/1", LARGE)
        await looks(b)
        c = b.collection("t/")
        with pytest.raises(NotLoaded, match="'t/1'"):
            _ = c.value
        seen = trace(c.observe())
        await eventually(lambda: seen)
        assert seen == [c.value] == [{"t/1": LARGE}]


async def test_failed_downloads_are_told_and_tried_again() -> None:
    storage = MemoryStorage()
    switch = Switch(storage)
    clock = ManualClock()
    async with players(storage, "a") as (a,), player(switch, clock=clock, poll=Subject[None]()) as b:
        await a.put("t/1", LARGE)
        await looks(b)
        switch.error = offline
        failures, seen = trace(b.errors), trace(b.collection("t/").count())
        await eventually(lambda: failures)
        assert seen == []
        switch.error = None
        await clock.advance(60)
        await eventually(lambda: seen)
        assert seen == [1]


async def test_a_reset_is_told_with_the_difference(db: Any) -> None:
    if is_blocking():
        return
    await db.put_all({"t/1": 1, "t/2": 2})
    seen, count = trace(db.collection("t/")), trace(db.collection("t/").count())
    scanned = trace(db.collection("t/").pipe(ops.scan(reducers.merge_patch, {})))
    state = db.states.value.confirmed
    await db.put("t/3", 3)
    db._replica._dataflow.saved.on_next(Loaded(state))
    assert plain(seen)[2] == [Reset(state.version), ("t/3", 3, MISSING)]
    assert count == [2, 3, 2]
    assert scanned == [{"t/1": 1, "t/2": 2}, {"t/1": 1, "t/2": 2, "t/3": 3}, {"t/1": 1, "t/2": 2}]


@pytest.mark.async_only
async def test_it_is_observed_and_read_from_any_thread(db: Any) -> None:
    await db.put("t/1", 1)
    c = db.collection("t/")
    seen: list[Any] = []
    threads: set[int] = set()

    def work() -> None:
        c.observe().subscribe(lambda content: (seen.append(content), threads.add(threading.get_ident())))
        db.put("t/2", 2)

    await asyncio.to_thread(work)
    await eventually(lambda: seen and len(seen[-1]) == 2)
    assert threads == {threading.get_ident()}
    assert await asyncio.to_thread(lambda: c.value) == {"t/1": 1, "t/2": 2}


# -- pages -------------------------------------------------------------------------------------------------------


@pytest.mark.async_only
async def test_a_prefix_is_read_in_pages_of_one_moment(db: Any) -> None:
    await db.put_all({f"t/{n:04}": n for n in range(2500)})
    pages: list[Any] = []
    async for page in db.get_prefix("t/"):
        pages.append(page)
        db.put("t/9999", 9)
        db.delete("t/2000")
    assert [len(page) for page in pages] == [1000, 1000, 500]
    assert [key for page in pages for key in page] == [f"t/{n:04}" for n in range(2500)]
    assert pages[2]["t/2000"] == 2000
    assert [page async for page in db.get_prefix("none/")] == []
    assert [list(page) async for page in db.get_prefix("t/", last=2)] == [["t/2499", "t/9999"]]
    whole = await db.get_prefix("t/")
    assert len(whole) == 2500
    assert whole == dict(whole)


async def test_an_item_of_a_source_that_is_no_delta_says_so(db: Any) -> None:
    for item in (5, None, (Delta("x", MISSING, 1), "y")):
        source: Subject[Any] = Subject()
        counts, errors = list[int](), list[Exception]()
        db.collection(source).count().subscribe(counts.append, errors.append)
        source.on_next(item)
        await settle()
        [error] = errors
        assert isinstance(error, InvalidValue)
        assert "a Delta or a tuple of them, not" in str(error)
        assert counts == [0]
