"""What a chart sends to its pages, without a kernel and without a page."""

from __future__ import annotations

import asyncio
import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("anywidget")

from reactivex import Subject

import rxmps3
from rxmps3.jupyter import charts
from rxmps3.jupyter.charts import ChartModel, chart
from rxmps3.jupyter.viewmodel import Message
from rxmps3.model.valuetext import Blob
from rxmps3.storage import MemoryStorage
from rxmps3.testing import FaultyStorage, offline
from tests.mutating import Mutant


class Page:
    """A carrier that puts together what a page would draw."""

    def __init__(self, model: ChartModel) -> None:
        self.model = model
        self.series: dict[str, list[list[Any]]] = {}
        self.messages: list[dict[str, Any]] = []
        model.attach(self)
        model.receive({"kind": "points", "view": "one"})

    def set_states(self, states: Mapping[str, Any], *, again: bool = False) -> None:
        pass

    def send(self, message: Message) -> None:
        said = dict(message)
        self.messages.append(said)
        if said["kind"] == "points":
            self.series = {name: [list(xs), list(ys)] for name, (xs, ys) in said["series"].items()}
        elif said["kind"] == "add":
            for name, (xs, ys) in said["series"].items():
                known = self.series.setdefault(name, [[], []])
                known[0].extend(xs)
                known[1].extend(ys)
        elif said["kind"] == "set":
            self.series |= said["series"]
            for name in said["gone"]:
                del self.series[name]


def page_of(source: Any, prefix: str = "", **options: Any) -> Page:
    wanted = {"x": None, "y": None, "kind": "line", "window": 0.0, "title": ""} | options
    loop = asyncio.get_running_loop()
    return Page(ChartModel(source, prefix, wanted["x"], wanted["y"], wanted["kind"], wanted["window"], "", 1000, loop))


async def frame() -> None:
    await asyncio.sleep(0.02)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


async def test_over_time_each_change_is_a_point_and_only_new_points_are_sent() -> None:
    source: Subject[Any] = Subject()
    page = page_of(source)
    for n in range(5):
        source.on_next({"a": n, "b": {"x": n, "y": -n}, "text": "no number", "nan": math.nan, "true": True})
        await frame()
    assert {name: ys for name, (_, ys) in page.series.items()} == {
        "a": [0, 1, 2, 3, 4],
        "b · x": [0, 1, 2, 3, 4],
        "b · y": [0, -1, -2, -3, -4],
    }
    assert [len(message["series"]["a"][0]) for message in page.messages if message["kind"] == "add"] == [1] * 5
    late = page_of(source)
    assert late.series == {}
    again = Page(page.model)
    assert again.series == page.series, "a page that comes later gets what there is"


async def test_a_chart_of_a_database_reads_what_may_be_a_number_once_and_no_bytes() -> None:
    async with (
        rxmps3.connect("memory:chart-large", by="ana", poll=0.05) as db,
        rxmps3.connect("memory:chart-large", by="bob", poll=0.05, shared=False) as other,
    ):
        await other.put_all({"t/a": 1, "t/book": {"pages": 7, "text": "b" * 400_000}})
        for n in range(4):
            await other.put(f"t/film{n}", Blob(b"f" * 100_000 * (n + 1), "video/mp4"))
        await db.refresh()
        page = page_of(db, "t/")
        await until(lambda: "book · pages" in page.series)
        assert db.cost.value.rooms["values"].gets == 1
        await other.put("t/film0", Blob(b"g" * 100_000, "video/mp4"))
        await other.put("t/book", {"pages": 8, "text": "c" * 400_000})
        await db.put("t/a", 2)
        await until(lambda: page.series["book · pages"][1] == [7.0, 8.0])
        await frame()
        assert {name: ys for name, (_, ys) in page.series.items()} == {"a": [1.0, 2.0], "book · pages": [7.0, 8.0]}
        assert db.cost.value.rooms["values"].gets == 2
        page.model.dispose()


async def test_a_chart_draws_the_rest_while_a_value_is_out_of_reach() -> None:
    storage = FaultyStorage(MemoryStorage())
    async with rxmps3.connect(storage, shared=False) as other:
        await other.put_all({"t/a": 1, "t/book": {"pages": 7, "text": "b" * 400_000}})
    async with rxmps3.connect(storage, poll=0.05) as db:
        storage.plan = [offline()]
        page = page_of(db, "t/", kind="bar")
        await until(lambda: page.model.state["problem"] != "")
        assert page.series == {"value": [["a"], [1.0]]}
        assert "t/book" in page.model.state["problem"]
        storage.plan = ()
        await until(lambda: "pages" in page.series)
        assert page.model.state["problem"] == ""
        page.model.dispose()


async def test_a_window_is_all_that_is_kept() -> None:
    source: Subject[Any] = Subject()
    page = page_of(source, window=0.1)
    for n in range(15):
        source.on_next(n)
        await frame()
    assert len(Page(page.model).series["value"][0]) < 12
    assert len(page.series["value"][0]) == 15


async def test_a_key_is_a_line_of_its_name() -> None:
    async with rxmps3.connect("memory:chart-key") as db:
        page = page_of(db.key("loss", default=0.5))
        await frame()
        db.put("loss", 0.25)
        await frame()
        assert list(page.series) == ["loss"]
        assert page.series["loss"][1] == [0.5, 0.25]
        page.model.dispose()


async def test_over_a_field_each_key_is_a_point_as_it_is_now() -> None:
    async with rxmps3.connect("memory:chart-field") as db:
        await db.put_all({f"run/{n}": {"step": 10 - n, "loss": n / 10, "acc": 1} for n in range(5)})
        page = page_of(db, "run/", x="step", y=["loss"])
        await frame()
        assert page.series == {"loss": [[6, 7, 8, 9, 10], [0.4, 0.3, 0.2, 0.1, 0.0]]}
        await db.put("run/4", {"step": 11, "loss": 2})
        await db.delete("run/0")
        await frame()
        assert page.series == {"loss": [[7, 8, 9, 11], [0.3, 0.2, 0.1, 2]]}
        await db.put_all({f"run/{n}": rxmps3.MISSING for n in range(5)})
        await frame()
        assert page.series == {}
        page.model.dispose()


async def test_bars_are_keys() -> None:
    source: Subject[Any] = Subject()
    page = page_of(source, kind="bar")
    source.on_next({"b": 2, "a": 1})
    await frame()
    assert page.series == {"value": [["a", "b"], [1, 2]]}
    assert page.model.state["axis"] == "text"


async def test_the_history_of_a_key_is_a_line_over_its_dates() -> None:
    async with rxmps3.connect("memory:chart-history") as db:
        for n in range(3):
            await db.put("k", n)
        page = page_of(db.history("k"), x="date", y=["value"])
        await asyncio.sleep(0.2)
        assert page.series["value"][1] == [0, 1, 2]
        assert page.series["value"][0][0] > datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC).timestamp()
        assert page.model.state["axis"] == "time"
        assert page.model.state["ended"]


async def test_numbers_that_no_json_has_and_too_many_series_do_no_harm(mutant: Mutant) -> None:
    mutant.replace(charts.MOST_SERIES, 3, within=charts)
    source: Subject[Any] = Subject()
    page = page_of(source)
    source.on_next({"inf": math.inf, "big": 10**400} | {f"k{n}": n for n in range(5)})
    await frame()
    assert len(page.series) == 3
    assert page.model.state["more"] == 2


@pytest.mark.parametrize("options", [{"kind": "pie"}, {"window": -1}, {"window": "x"}, {"fps": 0}])
async def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(rxmps3.InvalidOption):
        chart(Subject(), **options)


async def test_a_mapping_with_the_field_x_is_one_point_of_a_stream() -> None:
    async with rxmps3.connect("memory:", by="ana") as db:
        page = page_of(db.key("progress"), x="step", y=["loss"])
        for step, loss in enumerate((3.0, 2.0, 1.5)):
            await db.put("progress", {"step": step, "loss": loss, "note": "x"})
            await frame()
        assert page.series == {"loss": [[0, 1, 2], [3.0, 2.0, 1.5]]}
        page.model.dispose()


async def test_a_mapping_of_records_is_still_one_of_records() -> None:
    source: Subject[Any] = Subject()
    page = page_of(source, x="step")
    source.on_next({"step": {"step": 1, "loss": 2.0}, "b": {"step": 0, "loss": 3.0}})
    await frame()
    assert page.series == {"loss": [[0, 1], [3.0, 2.0]]}
    page.model.dispose()


async def test_a_stream_of_records_keeps_the_latest(mutant: Mutant) -> None:
    mutant.replace(charts.MOST_POINTS, 3, within=charts)
    source: Subject[Any] = Subject()
    page = page_of(source, x="step")
    for step in range(6):
        source.on_next({"step": step, "loss": 1.0})
    await frame()
    assert page.series == {"loss": [[3, 4, 5], [1.0, 1.0, 1.0]]}
    page.model.dispose()


async def test_a_chart_with_rows_and_nothing_to_draw_says_so() -> None:
    source: Subject[Any] = Subject()
    page = page_of(source, x="stpe", y=["loss"])
    source.on_next({"a": {"step": 1, "loss": 2.0}})
    await frame()
    assert page.model.state["problem"] == "nothing to draw: no row has a number in 'loss' and a value in 'stpe'"
    source.on_next({"a": {"stpe": 1, "loss": 2.0}})
    await frame()
    assert page.model.state["problem"] == ""
    assert page.series == {"loss": [[1], [2.0]]}
    page.model.dispose()


async def test_numbers_of_numpy_and_data_frames_are_drawn() -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    source: Subject[Any] = Subject()
    page = page_of(source)
    for n in range(3):
        source.on_next({"a": numpy.float32(n / 2), "b": numpy.int64(n), "c": numpy.bool_(True), "d": numpy.ones(2)})
        await frame()
    assert {name: ys for name, (_, ys) in page.series.items()} == {"a": [0, 0.5, 1], "b": [0, 1, 2]}

    frames: Subject[Any] = Subject()
    drawn, bars = page_of(frames, x="x"), page_of(frames, kind="bar", y=["y"])
    frames.on_next(pandas.DataFrame({"x": range(12), "y": numpy.arange(12, dtype="float32"), "name": "n"}))
    await frame()
    assert drawn.series == {"y": [list(range(12)), list(range(12))]}
    assert bars.series["y"][0] == [str(number) for number in range(12)], "in the order of the rows"
    frames.on_next(pandas.DataFrame({"x": [1, 2], "y": [5, 6]}, index=["same", "same"]))
    await frame()
    assert drawn.series == {"y": [[1, 2], [5, 6]]}
    named: Subject[Any] = Subject()
    series = page_of(named, kind="bar")
    named.on_next(pandas.Series({"b": 1, "a": 2}))
    await frame()
    assert series.series == {"value": [["a", "b"], [2, 1]]}
