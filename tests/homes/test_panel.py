"""Expressions and widgets of Panel that follow a database, with the documents of sessions but without a server."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Annotated, Any

import pytest

pytest.importorskip("panel", reason="needs the extra 'panel'")

import panel as pn
import reactivex as rx
from bokeh.document import Document
from panel.io.document import _cleanup_doc  # pyright: ignore
from panel.io.state import set_curdoc
from pydantic import BaseModel, Field, StringConstraints
from reactivex import Subject
from reactivex import operators as ops

import rxmps3
from rxmps3.blocking import Database, connect
from rxmps3.homes.panel import bind, reactive, show

Short = Annotated[str, Field(max_length=3)]


@pytest.fixture
def db() -> Iterator[Database]:
    with connect("memory:", live=True) as db:
        yield db


@pytest.fixture
def document() -> Iterator[Document]:
    document = Document()
    with set_curdoc(document):
        yield document
    _cleanup_doc(document)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what observers do on another thread."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def tick(document: Document) -> int:
    """Do what waits for the next tick of the session's loop; how much that was."""
    waiting = list(document.session_callbacks)
    for one in waiting:
        document.remove_next_tick_callback(one)
        one.callback()
    return len(waiting)


class TestReactive:
    def test_the_first_value_is_there_at_once(self, db: Database, document: Document) -> None:
        db.put("title", "milk")
        assert reactive(db.observe("title")).rx.value == "milk"
        shown = pn.bind(lambda status: status.online, reactive(db.status))
        assert shown() is True

    def test_values_that_are_equal_in_python_alone_are_told_apart(self, db: Database) -> None:
        shown: list[Any] = []
        value = reactive(db.observe("x", 0))
        value.rx.watch(shown.append)
        for number, one in enumerate((1, True, 1.0, {"a": 1}, {"a": True}, None, b"\0")):
            db.put("x", one).wait()
            until(lambda number=number: len(shown) > number)
        assert list(map(repr, shown)) == [
            *("1", "True", "1.0", "{'a': 1}", "{'a': True}", "None"),
            "<Blob of 1 bytes, application/octet-stream>",
        ]

    def test_what_comes_faster_than_the_page_is_drawn_is_one_update(self, document: Document) -> None:
        source: Subject[int] = Subject()
        value = reactive(source, initial=-1)
        assert value.rx.value == -1
        threads = [threading.Thread(target=lambda: [source.on_next(number) for number in range(100)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert value.rx.value == -1
        assert tick(document) == 1
        assert value.rx.value == 99

    def test_a_session_that_ends_lets_go_of_its_sources(self, db: Database) -> None:
        sources: list[Subject[int]] = []
        for _ in range(20):
            document = Document()
            source: Subject[int] = Subject()
            sources.append(source)
            with set_curdoc(document):
                reactive(source)
                bind(pn.widgets.FloatSlider(), db.key("rate", default=0.5))
            assert len(source.observers) == 1
            for ended in document.session_destroyed_callbacks:
                ended(None)  # type: ignore[arg-type]
            source.on_next(1)  # nobody hears it
            assert len(source.observers) == 0
            assert tick(document) == 0

    def test_a_source_that_fails_is_reported_and_keeps_its_last_value(self, caplog: pytest.LogCaptureFixture) -> None:
        value = reactive(rx.of(1, 0).pipe(ops.map(lambda n: 1 // n)))
        assert value.rx.value == 1
        assert "ZeroDivisionError" in caplog.text


async def test_a_view_ends_with_the_session() -> None:
    table = pytest.importorskip("rxmps3.jupyter").table
    document = Document()
    async with rxmps3.connect("memory:") as db:
        with set_curdoc(document):
            view = table(db, "todo/")
        assert not view.model.disposed
        for ended in document.session_destroyed_callbacks:
            ended(None)  # type: ignore[arg-type]
        assert view.model.disposed


async def test_fifty_sessions_leave_no_view_in_memory() -> None:
    """Although Panel keeps their documents: those of pages with notifications, for as long as its server runs."""
    pytest.importorskip("rxmps3.jupyter")
    from rxmps3.jupyter import chart, controls, inspector, live, presence, table, timeline
    from rxmps3.jupyter.viewmodel import ViewModel
    from rxmps3.jupyter.widget import Widget

    class Settings(BaseModel):
        rate: float = 0.5

    documents: list[Document] = []
    async with rxmps3.connect("memory:", by="ana") as db:
        await db.put_all({"todo/1": {"title": "milk"}, "x": 1})

        def session() -> None:
            """What runs for a page, and then is over."""
            document = Document()
            documents.append(document)
            with set_curdoc(document):
                views = [
                    *(table(db, "todo/"), chart(db.observe("x")), timeline(db), presence(db), inspector(db)),
                    *(live(db.observe("x")), controls(Settings, db.key("settings"))),
                ]
                shown = [show(view) for view in views]
                pn.Column(*shown, reactive(db.observe("x"))).server_doc(document)
            for one in shown:
                one._handle_msg({"state": True})

        before = _alive(ViewModel, Widget)
        for number in range(50):
            session()
            await asyncio.sleep(0)
            for ended in documents[-1].session_destroyed_callbacks:
                ended(SimpleNamespace(id=f"session {number}", _document=documents[-1]))  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            while (left := _alive(ViewModel, Widget) - before) > 0:
                await asyncio.sleep(0.1)
        assert left == 0


def _alive(*kinds: type) -> int:
    gc.collect()
    return sum(isinstance(one, kinds) for one in gc.get_objects())


class TestBind:
    def test_both_ways_and_no_echo(self, db: Database) -> None:
        written: list[Any] = []
        one, two = (bind(pn.widgets.FloatSlider(start=0, end=1), db.key("rate", default=0.5)) for _ in range(2))
        db.changes().subscribe(lambda change: written.append(change.after))
        assert one.value == two.value == 0.5
        one.value = 0.75
        until(lambda: two.value == 0.75)
        assert db.get("rate") == 0.75
        db.put("rate", 0.25).wait()
        until(lambda: (one.value, two.value) == (0.25, 0.25))
        assert written == [0.75, 0.25]

    def test_a_range_is_a_tuple_here_and_a_list_there(self, db: Database) -> None:
        slider = bind(pn.widgets.RangeSlider(start=0, end=10), db.key("range", default=[1, 2]))
        assert slider.value == (1, 2)
        slider.value = (3, 4)
        assert db.get("range") == [3, 4]
        db.put("range", [5, 6]).wait()
        until(lambda: slider.value == (5, 6))

    def test_what_the_key_refuses_goes_back(self, db: Database, caplog: pytest.LogCaptureFixture) -> None:
        db.put("short", "abc").wait()
        text = bind(pn.widgets.TextInput(), db.key("short", Short))
        failures: list[Any] = []
        db.errors.subscribe(failures.append)
        text.value = "too long"
        assert (text.value, db.get("short")) == ("abc", "abc")
        assert "'too long' was not written to key 'short'" in caplog.text
        assert len(failures) == 1
        text.value = "de"
        assert db.get("short") == "de"

    def test_what_the_type_makes_of_a_value_is_not_refused(
        self, db: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        number = bind(pn.widgets.FloatInput(value=0.5), db.key("n", float, default=0.5))
        number.value = 3
        assert db.get("n") in (3, 3.0)
        stripped = bind(
            pn.widgets.TextInput(), db.key("s", Annotated[str, StringConstraints(strip_whitespace=True)], default="")
        )
        stripped.value = " milk "
        until(lambda: stripped.value == db.get("s"))
        assert "not written" not in caplog.text

    def test_what_is_refused_later_goes_back(self, db: Database) -> None:
        db.put("rate", 0.5).wait()
        slider = bind(pn.widgets.FloatSlider(start=0, end=1), db.key("rate", default=0.0))
        with pytest.raises(rxmps3.Rejected):
            db.put("rate", 0.9, if_version="0123456789ab-1").wait()
        until(lambda: slider.value == 0.5)

    def test_what_the_widget_refuses_is_left_out(self, db: Database, caplog: pytest.LogCaptureFixture) -> None:
        slider = bind(pn.widgets.IntSlider(start=0, end=10), db.key("n", default=1))
        db.put("n", "two").wait()
        until(lambda: "IntSlider does not show the value of key 'n'" in caplog.text)
        assert slider.value == 1
        assert db.get("n") == "two"
        slider.value = 3
        assert db.get("n") == 3

    def test_a_closed_database_keeps_what_is_shown(self, db: Database) -> None:
        slider = bind(pn.widgets.IntSlider(start=0, end=10), db.key("n", default=1))
        db.put("n", 4).wait()
        until(lambda: slider.value == 4)
        db.close()
        slider.value = 5
        assert slider.value == 4

    def test_arguments_are_checked(self, db: Database) -> None:
        with pytest.raises(rxmps3.InvalidOption, match="IntSlider has no parameter 'colour'"):
            bind(pn.widgets.IntSlider(), db.key("n", default=1), "colour")
        with pytest.raises(rxmps3.InvalidOption, match="is not a key"):
            bind(pn.widgets.IntSlider(), "n")  # type: ignore[arg-type]
