"""What `live` makes of values of other libraries, which the extra ``charts`` has."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

pytest.importorskip("anywidget")

from IPython.display import HTML, Image, Markdown
from pydantic import BaseModel

from rxmps3.database.presence import Participant
from rxmps3.jupyter.drawing import Scripted, library
from rxmps3.jupyter.html import drawn, to_html
from rxmps3.jupyter.text import to_text

MOMENT = datetime.datetime(2026, 11, 29, 10, 0, tzinfo=datetime.UTC)


@dataclasses.dataclass
class Job:
    state: str
    cost: float


class Model(BaseModel):
    state: str
    cost: float


class Pair(NamedTuple):
    state: str
    cost: float


def cells(html: str) -> list[list[str]]:
    """A table's texts, row by row."""
    import re
    from html import unescape

    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [[unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


@pytest.mark.parametrize("kind", [lambda s, c: {"state": s, "cost": c}, Job, lambda s, c: Model(state=s, cost=c), Pair])
def test_records_are_columns(kind: Any) -> None:
    records = {"job/1": kind("<b>", 1.5), "job/2": kind("done", 2)}
    assert cells(to_html(records)) == [
        ["", "state", "cost"],
        ["job/1", "<b>", "1.5"],
        ["job/2", "done", "2.0" if "Model" in repr(kind("", 0)) else "2"],
    ]
    assert cells(to_html(list(records.values())))[0] == ["state", "cost"]


def test_records_of_different_fields_have_all_of_them() -> None:
    assert cells(to_html([{"a": 1}, {"b": {"c": None}}])) == [["a", "b"], ["1", ""], ["", "{'c': None}"]]


def test_who_is_here_is_a_table() -> None:
    people = {"k1": Participant("k1", {"name": "ana"}, "ana", MOMENT, MOMENT)}
    assert cells(to_html(people))[1] == ["k1", "k1", "{'name': 'ana'}", "ana", *["2026-11-29 10:00:00+00:00"] * 2]


def test_one_record_is_a_table_of_its_fields() -> None:
    one = Participant("k1", {"name": "ana"}, "ana", MOMENT, MOMENT)
    assert cells(to_html(one))[:3] == [["id", "k1"], ["me", "{'name': 'ana'}"], ["by", "ana"]]


def test_of_many_rows_no_more_are_read_than_are_shown() -> None:
    """Each frame of a live view draws them."""
    read: list[str] = []

    class Rows(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            read.append(key)
            return {"n": key}

        def __iter__(self) -> Iterator[str]:
            return map(str, range(len(self)))

        def __len__(self) -> int:
            return 100_000

    for draw, rest in ((to_html, "and 99,800 more"), (to_text, "and 99,800 more")):
        assert rest in draw(Rows())
        assert len(read) <= 202
        read.clear()


def test_what_is_no_record_is_as_it_was() -> None:
    assert cells(to_html({"a": 1, "b": {"c": 2}})) == [["a", "1"], ["b", "{'c': 2}"]]
    assert to_html([1, {"a": 2}]).startswith("<pre>")
    assert to_html([]) == "<pre>[]</pre>"


def test_control_characters_are_seen() -> None:
    evil = "a\u202eb\x1b[31m\x00\u200b"
    for text in (to_html(evil), to_html({evil: evil}), to_html([{evil: evil}]), to_text(evil), to_text({evil: evil})):
        assert not {"\u202e", "\x1b", "\x00", "\u200b"} & set(text)
        assert "a\\u202eb\\x1b[31m\\x00\\u200b" in text
    assert to_text("line\nline\ttab") == "line\nline\ttab"


def test_markdown_is_read_and_html_in_it_is_text() -> None:
    html = to_html(Markdown("# Hi\n*there* <img src=x onerror=alert(1)> [x](javascript:alert(1))"))
    assert "<h1>Hi</h1>" in html
    assert "<em>there</em>" in html
    assert "<img" not in html
    assert "<a" not in html


def test_what_ipython_has_is_drawn() -> None:
    assert to_html(HTML("<i>x</i>")) == "<i>x</i>"
    assert to_html(Image(data=b"\x89PNG\r\n\x1a\n", format="png")).startswith('<img src="data:image/png;base64,')


def test_a_figure_is_drawn_by_itself_by_its_axes_and_by_what_is_in_them() -> None:
    figures = pytest.importorskip("matplotlib.figure")
    figure = figures.Figure()
    axes = figure.subplots()
    bars = axes.bar([1, 2], [3, 4])
    for value in (figure, axes, axes.plot([1, 2]), bars):
        assert to_html(value).startswith('<img src="data:image/png;base64,iVBOR'), value
        assert 'class="rxmps3-sharp"' in to_html(value)


def test_seaborn_is_drawn() -> None:
    seaborn = pytest.importorskip("seaborn")
    pandas = pytest.importorskip("pandas")
    import matplotlib.pyplot as plt

    data = pandas.DataFrame({"x": [1, 2], "y": [1, 2]})
    try:
        for value in (seaborn.lineplot(data, x="x", y="y"), seaborn.relplot(data, x="x", y="y")):
            assert to_html(value).startswith('<img src="data:image/png')
    finally:
        plt.close("all")


def test_data_frames_are_drawn() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    tables = pytest.importorskip("great_tables")
    data = pandas.DataFrame({"x": [1, 2]})
    for value in (data, polars.DataFrame({"x": [1]}), tables.GT(data)):
        assert "<table" in to_html(value)


def test_altair_is_a_picture() -> None:
    altair, pandas = pytest.importorskip("altair"), pytest.importorskip("pandas")
    pytest.importorskip("vl_convert")
    chart = altair.Chart(pandas.DataFrame({"x": [1, 2], "y": [3, 4]})).mark_bar().encode(x="x", y="y")
    assert "<svg" in to_html(chart)
    assert "<script" not in to_html(chart)


def test_altair_that_cannot_draw_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    altair = pytest.importorskip("altair")

    def save(*_: Any, **__: Any) -> None:
        raise ValueError("vl-convert is needed")

    chart = altair.Chart().mark_bar()
    monkeypatch.setattr(type(chart), "save", save)
    assert "pip install vl-convert-python" in to_html(chart)


def test_plotly_is_drawn_by_its_own_script() -> None:
    express = pytest.importorskip("plotly.graph_objects")
    made = drawn(express.Figure(express.Scatter(y=[1, 3, 2])))
    assert isinstance(made, Scripted)
    assert made.library == "plotly"
    assert json.loads(made.data)["data"][0]["type"] == "scatter"
    assert len(library("plotly")[0]) > 1_000_000


def test_bokeh_is_drawn_by_its_own_script() -> None:
    plotting = pytest.importorskip("bokeh.plotting")
    figure = plotting.figure(width=300, height=200)
    figure.line([1, 2], [3, 4])
    made = drawn(figure)
    assert isinstance(made, Scripted)
    assert json.loads(made.data)["doc"]
    assert len(library("bokeh")) >= 1


def test_no_library_is_sent_that_was_not_asked_for() -> None:
    assert library("../../etc/passwd") == []


def test_a_widget_says_why_it_is_not_drawn() -> None:
    class Widget:  # an ipywidget wants a kernel
        comm = None

        def open(self) -> None: ...

        def has_trait(self, name: str) -> bool:
            return True

    assert "display it" in to_html(Widget())
