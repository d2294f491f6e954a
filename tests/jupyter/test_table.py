"""What a table sends to its pages, without a kernel and without a page."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anywidget")

from hypothesis import given
from hypothesis import strategies as st
from reactivex import Subject

import rxmps3
import rxmps3.blocking
from rxmps3.jupyter import viewmodel
from rxmps3.jupyter.ordering import KEY, Ask, Order
from rxmps3.jupyter.tables import TableModel, field_writer, table, typed_like
from rxmps3.jupyter.text import to_text
from rxmps3.jupyter.viewmodel import Message
from rxmps3.model.entries import ContentObject
from rxmps3.model.valuetext import Blob
from rxmps3.storage import MemoryStorage
from rxmps3.testing import FaultyStorage, offline
from tests.mutating import Mutant


class Page:
    """A carrier that keeps what it is given, and a page that puts its rows together from it."""

    def __init__(self, model: TableModel, name: str = "one") -> None:
        self.model, self.name = model, name
        self.messages: list[dict[str, Any]] = []
        self.rows: dict[str, Any] = {}
        self.keys: list[str] = []
        model.attach(self)

    def set_states(self, states: Mapping[str, Any], *, again: bool = False) -> None:
        pass

    def send(self, message: Message) -> None:
        said = dict(message)
        self.messages.append(said)
        if said["kind"] == "rows" and said["view"] == self.name:
            self.keys = said.get("keys", self.keys)
            self.rows |= said["changed"]

    def ask(self, **asked: Any) -> None:
        self.model.receive({"kind": "rows", "view": self.name, "start": 0, "count": 100} | asked)

    def shown(self, column: str) -> list[Any]:
        return [self.rows[key][0].get(column) for key in self.keys]


def model_of(source: Any, prefix: str = "", edit: Any = None) -> TableModel:
    return TableModel(source, prefix, None, edit, "", 1000, asyncio.get_running_loop())


async def frame() -> None:
    await asyncio.sleep(0.02)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


VALUES = st.one_of(
    st.none(), st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["a", "B", "ab", ""]), st.booleans()
)
ROWS = st.dictionaries(st.sampled_from([f"k{n}" for n in range(12)]), st.dictionaries(st.sampled_from("xy"), VALUES))
ASKS = st.builds(
    Ask,
    st.sampled_from([KEY, "x", "y"]),
    st.booleans(),
    st.sampled_from(["", "a", "k1"]),
    st.sampled_from([(), (("x", ">1"),), (("y", "!=a"),), (("x", "b"), ("y", "<=2"))]),
)


@given(st.lists(ROWS, min_size=1, max_size=6), ASKS)
def test_an_order_that_was_changed_is_one_that_was_made_anew(states: list[dict[str, dict[str, Any]]], ask: Ask) -> None:
    order = Order(ask, states[0])
    for before, after in itertools.pairwise(states):
        for key in {*before, *after}:
            order.change(key, after.get(key))
        assert list(order) == list(Order(ask, after))
        assert order.window(2, 3) == list(order)[2:5]


def test_what_is_not_there_is_last_both_ways() -> None:
    rows = {"a": {"x": 2}, "b": {}, "c": {"x": 1}, "d": {"x": None}}
    assert list(Order(Ask("x"), rows))[:2] == ["c", "a"]
    assert list(Order(Ask("x", down=True), rows))[:2] == ["a", "c"]


def test_keys_that_are_numbers_are_in_their_order() -> None:
    """As of a list of records, whose keys are its positions."""
    rows: dict[str, dict[str, Any]] = {str(number): {} for number in range(120)} | {"a": {}, "9" * 30: {}, "07": {}}
    numbers = [str(number) for number in range(120)]
    assert list(Order(Ask(), rows)) == [*numbers[:7], "07", *numbers[7:], "9" * 30, "a"]


@pytest.mark.parametrize(
    ("present", "text", "value"),
    [("a", "12", "12"), (1, "2.5", 2.5), (True, "no", False), (None, "x y", "x y"), (None, "[1]", [1]), ([1], "[2]", [2]), (1, "null", None)],
)  # fmt: skip
def test_what_is_typed_becomes_what_was_there(present: Any, text: str, value: Any) -> None:
    assert typed_like(present, text) == value
    assert type(typed_like(present, text)) is type(value)


@pytest.mark.parametrize(
    ("present", "text"), [(1, "abc"), (1, "true"), (True, "2"), ([1], "3"), (1.5, "NaN"), (1, "1e999")]
)
def test_what_does_not_fit_is_refused(present: Any, text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        typed_like(present, text)


async def test_a_page_gets_the_rows_that_it_shows_and_then_only_those_that_change() -> None:
    source: Subject[Any] = Subject()
    page = Page(model_of(source))
    rows = {f"k{n:05}": {"n": n} for n in range(20_000)}
    source.on_next(rows)
    await frame()
    page.ask(sort="n", down=True)
    assert page.shown("n") == list(range(19_999, 19_899, -1))
    page.messages.clear()
    source.on_next(rows | {"k00003": {"n": 3.5}})
    await frame()
    assert page.messages == [], "a row beyond the window is nothing to this page"
    source.on_next(rows | {"k19950": {"n": 19_950.5}})
    await frame()
    [message] = page.messages
    assert "keys" not in message
    assert list(message["changed"]) == ["k19950"]
    source.on_next(rows | {"k00001": {"n": 10**6}})
    await frame()
    assert page.keys[0] == "k00001"
    assert set(page.messages[-1]["changed"]) == {"k00001", "k19950"}, "the new one, and the one that is as it was again"


async def test_two_pages_have_windows_of_their_own_and_one_that_left_gets_nothing() -> None:
    source: Subject[Any] = Subject()
    one = Page(model_of(source))
    source.on_next([{"a": n} for n in range(10)])
    await frame()
    one.ask(count=2)
    one.ask(view="two", start=5, count=2)
    assert [len(message["keys"]) for message in one.messages] == [2, 2]
    one.model.receive({"kind": "bye", "view": "two"})
    one.messages.clear()
    source.on_next([{"a": n + 1} for n in range(10)])
    await frame()
    assert [message["view"] for message in one.messages] == ["one"]


async def test_while_nobody_looks_nothing_is_sent_and_whoever_comes_back_is_brought_up_to_date(
    mutant: Mutant,
) -> None:
    source: Subject[Any] = Subject()
    page = Page(model_of(source))
    source.on_next({"a": 1})
    await frame()
    page.ask()
    mutant.replace(viewmodel.AWAY_AFTER, 0.0, within=viewmodel)
    page.messages.clear()
    for n in range(20):
        source.on_next({"a": n})
        await frame()
    assert page.messages == []
    mutant.undo()
    page.model.receive({"kind": "here", "view": "one"})
    page.ask(anew=True)
    await frame()
    assert page.shown("value") == [19]


async def test_a_prefix_says_who_wrote_when_and_what_is_pending() -> None:
    async with (
        rxmps3.connect("memory:table-marks", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:table-marks", by="bob", poll=0.05, shared=False) as other,
    ):
        await db.put_all({"t/1": {"x": 1}, "t/2": {"x": 2}, "u": 3})
        page = Page(model_of(db, "t/"))
        await frame()
        page.ask()
        assert page.keys == ["t/1", "t/2"]
        await other.patch("t/2", {"x": 5})
        await db.refresh()
        await frame()
        assert page.rows["t/2"][0] == {"x": 5}
        assert page.rows["t/2"][1] == "bob"
        assert page.rows["t/2"][2] > 1e9
        receipt = db.put("t/3", {"x": 9})
        page.model.flush()
        assert page.rows["t/3"][1:] == ["ana", 0, True], "as soon as it is shown"
        await receipt
        await frame()
        assert page.rows["t/3"][1::2] == ["ana", False]
        taken_back = db.patch("t/2", {"x": 6})
        page.model.flush()
        assert page.rows["t/2"][1:] == ["ana", 0, True]
        taken_back.cancel()
        await frame()
        assert page.rows["t/2"][::3] == [{"x": 5}, False]
        assert page.rows["t/2"][1] == "bob"
        await db.delete("t/1")
        await frame()
        assert page.keys == ["t/2", "t/3"]
        page.model.dispose()


async def test_a_write_that_an_earlier_process_left_is_of_who_made_it(tmp_path: Path) -> None:
    storage = FaultyStorage(MemoryStorage())
    local = tmp_path / "local"
    async with rxmps3.connect(storage, by="ana", poll=0.05, local=local) as db:
        await db.put("t/1", 1)
        storage.plan = [offline()]
        db.put("t/2", 2)
        await db.put("t/3", 3).stored
    async with rxmps3.connect(storage, by="bob", poll=0.05, local=local) as db:
        page = Page(model_of(db, "t/"))
        await frame()
        page.ask()
        assert db.by == "bob"
        assert page.rows["t/2"][1:] == ["ana", 0, True]
        storage.plan = ()
        await until(lambda: page.rows["t/2"][2] > 0)
        assert page.rows["t/2"][1::2] == ["ana", False]
        page.model.dispose()


async def test_a_large_value_is_its_size_until_somebody_looks_at_it() -> None:
    book = {"title": "a", "text": "b" * 1_000_000}
    async with (
        rxmps3.connect("memory:table-large", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:table-large", by="bob", poll=0.05, shared=False) as other,
    ):
        small = {f"t/{n:04}": {"x": n, "y": "y" * 150} for n in range(3000)}
        await other.put_all(small)
        await other.put_all({"t/book": book, "t/film": Blob(b"f" * 400_000, "video/mp4")})
        await db.refresh()
        assert any(isinstance(entry.content, ContentObject) for key, entry in db.states.value.items() if key in small)
        before = db.status.value.bytes_down
        page = Page(model_of(db, "t/", field_writer(db)))
        await until(lambda: page.model.state["loaded"])
        page.ask(count=3)
        assert [page.rows[key][0]["x"] for key in page.keys] == [0, 1, 2], (
            "values of one write are read, wherever they are"
        )
        page.ask(down=True, count=2)
        assert page.keys == ["t/film", "t/book"]
        version = db.states.value["t/book"].version
        assert page.rows["t/book"][0] == {"value": ["1.0 MB", True, version]}
        assert page.rows["t/film"][0] == {"value": ["400 kB of video/mp4", True, ""]}
        assert db.status.value.bytes_down - before < 900_000
        page.model.receive({"kind": "edit", "view": "one", "key": "t/book", "column": "value", "text": "1"})
        assert page.messages[-1]["reason"] == "it is too large to be edited here"

        page.model.receive({"kind": "look", "view": "one", "key": "t/book", "version": "another"})
        page.model.receive({"kind": "look", "view": "one", "key": "t/book", "version": version})
        await until(lambda: "title" in page.rows["t/book"][0])
        assert page.rows["t/book"][0]["title"] == "a"
        assert db.status.value.bytes_down - before > 1_000_000
        await other.put("t/book", book | {"title": "c"})
        await until(lambda: page.rows["t/book"][0].get("value", [""])[0] == "1.0 MB")

        await db.put("t/mine", book)
        page.ask(down=True, count=2)
        before, version = db.status.value.bytes_down, db.states.value["t/mine"].version
        assert page.rows["t/mine"][0] == {"value": ["1.0 MB", True, version]}, "as everywhere"
        page.model.receive({"kind": "look", "view": "one", "key": "t/mine", "version": version})
        await until(lambda: "title" in page.rows["t/mine"][0])
        assert db.status.value.bytes_down - before < 500_000, "what was written here need not be downloaded"
        await db.delete("t/mine")
        await other.put("t/mine", {"title": 1})
        await until(lambda: page.rows["t/mine"][0] == {"title": 1})
        page.model.dispose()


async def test_named_columns_are_read_of_values_of_any_size() -> None:
    async with (
        rxmps3.connect("memory:table-named", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:table-named", by="bob", poll=0.05, shared=False) as other,
    ):
        for n in range(3):
            await other.put(f"t/{n}", {"title": f"book {n}", "text": "b" * 400_000})
        await other.put("t/film", Blob(b"f" * 400_000, "video/mp4"))
        await db.refresh()
        for columns, asked in ((None, 0), (["value"], 0), (["title", "value"], 3)):
            before = db.cost.value.rooms["values"].gets
            model = TableModel(db, "t/", columns, None, "", 1000, asyncio.get_running_loop())
            page = Page(model)
            await until(lambda model=model: model.state["loaded"])
            page.ask()
            assert page.keys == ["t/0", "t/1", "t/2", "t/film"]
            assert db.cost.value.rooms["values"].gets - before == asked
            assert page.shown("title") == (["book 0", "book 1", "book 2", None] if asked else [None] * 4)
            assert page.shown("value")[3] == ["400 kB of video/mp4", True, ""]
            model.dispose()


async def test_a_value_that_is_gone_keeps_no_other_from_the_table(tmp_path: Path) -> None:
    async with rxmps3.connect(f"file:{tmp_path}/db", by="ana", poll=0.05) as db:
        await db.put("t/gone", ["a" * 300_000, 1])
        await db.put_all({"t/here": "b" * 200_000, "t/too": "c" * 200_000})
        await db.put("t/two", 2)
    objects = [one for one in (tmp_path / "db/main/values").rglob("*") if one.is_file()]
    assert len(objects) == 2
    async with rxmps3.connect(f"file:{tmp_path}/db", read_only=True, poll=0.05) as db:
        for one in objects:
            one.unlink()
        page = Page(model_of(db, "t/"))
        await until(lambda: page.model.state["loaded"])
        page.ask()
        assert page.keys == ["t/gone", "t/here", "t/too", "t/two"]
        shown = [page.rows[key][0]["value"] for key in page.keys]
        assert [cell[0] for cell in shown[:-1]] == ["300 kB", "200 kB", "200 kB"]
        assert shown[-1] == 2, "the one in the log"
        page.model.set("problem", "")
        version = page.rows["t/gone"][0]["value"][2]
        page.messages.clear()
        page.model.receive({"kind": "look", "view": "one", "key": "t/gone", "version": version})
        await until(lambda: "t/gone" in page.model.state["problem"])
        await until(lambda: bool(page.messages))
        assert page.rows["t/gone"][0]["value"] == ["300 kB", True, version]
        page.model.dispose()


async def test_an_edit_is_a_patch_and_what_is_refused_is_told() -> None:
    async with rxmps3.connect("memory:table-edit", by="ana", poll=0.05) as db:
        await db.put_all({"a": {"n": 1, "m": 1}, "b": 2})
        page = Page(model_of(db, "", field_writer(db)))
        await frame()
        page.ask()

        def edit(**asked: Any) -> None:
            page.model.receive({"kind": "edit", "view": "one"} | asked)

        edit(key="a", column="n", text="7")
        edit(key="b", column="value", text="3")
        assert await db.get_prefix() == {"a": {"n": 7, "m": 1}, "b": 3}
        page.messages.clear()
        edit(key="a", column="n", text="seven")
        edit(key="gone", column="n", text="1")
        assert [message["reason"] for message in page.messages] == [
            "'seven' is not a number",
            "this row is not there any more",
        ]
        page.model.dispose()


async def test_a_write_that_is_rolled_back_is_told() -> None:
    async with rxmps3.connect("memory:table-back", by="ana", poll=0.05) as db:
        await db.put("a", {"n": 1})
        page = Page(
            model_of(db, "", lambda key, column, value: db.put(key, {column: value}, if_version="000000000000-9"))
        )
        await frame()
        page.ask()
        page.model.receive({"kind": "edit", "view": "one", "key": "a", "column": "n", "text": "2"})
        await asyncio.sleep(0.2)
        assert any(message["kind"] == "refused" and message["key"] == "a" for message in page.messages)
        assert page.shown("n") == [1]
        page.model.dispose()


async def test_a_blocking_database_will_do_as_well() -> None:
    with rxmps3.blocking.connect("memory:table-blocking", by="ana") as db:
        receipt = db.put_all({"a": {"n": 1}, "b": {"n": 2}})
        await asyncio.to_thread(receipt.wait, 10)
        page = Page(model_of(db, "", field_writer(db)))
        await asyncio.sleep(0.1)
        page.ask(sort="n", down=True)
        assert page.shown("n") == [2, 1]
        page.model.receive({"kind": "edit", "view": "one", "key": "a", "column": "n", "text": "5"})
        await asyncio.sleep(0.1)
        assert page.shown("n") == [5, 2]
        page.model.dispose()
        await asyncio.to_thread(db.close)


async def test_a_collection_is_a_table_that_changes_row_by_row() -> None:
    async with rxmps3.connect("memory:table-collection") as db:
        await db.put_all({f"t/{n}": {"n": n, "even": n % 2 == 0} for n in range(6)})
        jobs = db.collection("t/")
        page = Page(model_of(jobs.filter(lambda key, job: job["n"] > 2)))
        await frame()
        page.ask(sort="n")
        assert page.keys == ["t/3", "t/4", "t/5"]
        page.messages.clear()
        await db.put("t/4", {"n": 9, "even": False})
        await frame()
        assert page.keys == ["t/3", "t/5", "t/4"]
        assert list(page.messages[-1]["changed"]) == ["t/4"]
        await db.put("t/3", {"n": 0})
        await frame()
        assert page.keys == ["t/5", "t/4"]
        page.model.dispose()
        counts = Page(model_of(jobs.group_by(lambda key, job: job.get("even")).count()))
        await frame()
        counts.ask()
        assert dict(zip(counts.keys, counts.shown("value"), strict=True)) == {"True": 2, "False": 3, "None": 1}
        counts.model.dispose()


async def test_a_selection_is_an_observable() -> None:
    source: Subject[Any] = Subject()
    model = model_of(source)
    chosen: list[Any] = []
    model.selection.subscribe(chosen.append)
    model.receive({"kind": "select", "view": "one", "keys": ["a", "b"]})
    model.receive({"kind": "select", "view": "one", "keys": ["a", "b"]})
    assert chosen == [(), ("a", "b")]
    assert model.state["selected"] == ["a", "b"]


@pytest.mark.parametrize("source", ["todo/", 3, [{"a": 1}]])
async def test_what_is_no_source_is_refused(source: Any) -> None:
    with pytest.raises(rxmps3.InvalidOption, match="neither a database nor an Observable"):
        table(source)


async def test_changes_of_single_rows_keep_every_order_right() -> None:
    """A collection's deltas, and what a page has put together in the end is what a new page would get."""
    source: Subject[Any] = Subject()
    page = Page(model_of(source))
    chance, rows = random.Random(3), {}
    page.ask(sort="n", filters={"n": ">20"})
    for _ in range(50):
        deltas: list[rxmps3.Change] = []
        for _ in range(chance.randrange(1, 20)):
            key, value = f"k{chance.randrange(60)}", {"n": chance.randrange(100)}
            after: Any = rxmps3.MISSING if chance.random() < 0.3 else value
            deltas.append(rxmps3.Change(key, rxmps3.MISSING, after, "", "", False, "remote"))
            rows.pop(key, None)
            if after is not rxmps3.MISSING:
                rows[key] = value
        source.on_next(tuple(deltas))
        if chance.random() < 0.5:
            await asyncio.sleep(0.003)
    await frame()
    wanted = sorted((row["n"], key) for key, row in rows.items() if row["n"] > 20)
    assert [(page.rows[key][0]["n"], key) for key in page.keys] == wanted[:100]


async def test_what_numpy_and_pandas_have_is_in_cells() -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    source: Subject[Any] = Subject()
    page = Page(model_of(source, "", None))
    page.ask()
    for _ in range(2):  # arrays are compared with those before
        source.on_next(
            {"a": {"n": numpy.int64(3), "x": numpy.float32(0.5), "w": numpy.array([1, 2])}, "b": numpy.int8(1)}
        )
        await frame()
    assert page.model.state["problem"] == ""
    assert page.model.state["columns"] == [["n", True], ["x", True], ["w", False], ["value", True]]
    [rows] = [message["changed"] for message in page.messages if message["kind"] == "rows"][-1:]
    assert rows["a"][0] == {"n": 3, "x": 0.5, "w": ["array([1, 2])"]}
    source.on_next(pandas.DataFrame({"n": [1, 2]}))
    await frame()
    assert page.model.values == {"0": {"n": 1}, "1": {"n": 2}}
    source.on_next(pandas.DataFrame([[1, 2]], columns=["n", "n"]))
    await frame()
    assert list(page.model.values) == ["value"]
    assert to_text({"n": numpy.float64(0.5)}) == "n  0.5"
    page.model.dispose()
