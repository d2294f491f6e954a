"""Lines, bars and sparklines of live numbers."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any, Literal, cast, get_args

import traitlets

from rxmps3.errors import InvalidOption
from rxmps3.jupyter.entry_rows import EntryRows, has_fields
from rxmps3.jupyter.frames import DEFAULT_FPS, checked_fps, kernel_loop
from rxmps3.jupyter.ordering import place_of
from rxmps3.jupyter.sources import VALUE, follow, is_database, row_of
from rxmps3.jupyter.values import plain, visible
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget
from rxmps3.runtime.clock import SystemClock
from rxmps3.streams.key import Key

__all__ = ["ChartModel", "ChartView", "Kind", "chart"]

Kind = Literal["line", "bar", "spark"]

MOST_POINTS = 5_000
"""Of one series; older ones are let go of."""
MOST_SERIES = 50
MOST_BARS = 200


class ChartModel(ViewModel):
    """The numbers of a source, over time or over a field.

    States: ``chart``, the kind; ``axis``, ``"time"``, ``"number"`` or ``"text"``; ``window``, the seconds shown, 0 for
    all; ``across``, the x field; ``sliding``, whether x is the arrival time; ``title``; ``more``, the number of series
    not shown; ``ended``.

    A page requests ``points`` and receives ``points`` with ``series``: for each name, a list of x and a list of y.
    After that every page receives ``add`` with the new points per series, if x is the arrival time, or ``set`` with the
    changed series and ``gone``, the removed ones, if x is a field.
    """

    view = "chart"

    def __init__(
        self, source: Any, prefix: str, x: str | None, y: Sequence[str] | None, kind: Kind, window: float, title: str,
        fps: float, loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        over_time = x is None and kind != "bar"
        super().__init__(
            loop, fps, chart=kind, axis="time" if over_time else "text" if x is None else "number",
            window=window, title=title, sliding=over_time, more=0, ended=False,
            across=x or ("time" if over_time else "key"),
        )  # fmt: skip
        self._clock = SystemClock()
        self._name = _name_of(source)
        self._prefix = prefix
        self._x, self._y = x, y
        self._over_time = over_time
        self._window = window
        self._series: dict[str, deque[tuple[float, float]]] = {}
        self._added: dict[str, list[tuple[float, float]]] = {}
        self._points: dict[str, dict[str, tuple[Any, float]]] = {}
        self._touched: set[str] = set()
        if is_database(source):
            self._source = rows = EntryRows(source, prefix, self, has_fields)
            self.owns(rows.follow())
        else:
            self._source, subscription = follow(source, prefix, self, "chart", x)
            self.owns(subscription)
        self.flush()

    def take(self) -> None:
        now = self._clock.now().timestamp()
        self._source.take()
        for key in sorted(self._source.moved):
            row = row_of(self._source.values[key]) if key in self._source.values else {}
            if self._over_time:
                for name, number in self._numbers(key, row).items():
                    self._append(name, now, number)
            else:
                self._place(key, row)

    def _numbers(self, key: str, row: dict[str, Any]) -> dict[str, float]:
        """The numbers of a row, by series name."""
        wanted = self._y if self._y is not None else list(row)
        numbers = {name: number for name in wanted if (number := number_of(row.get(name))) is not None}
        short = key.removeprefix(self._prefix) or key
        if len(wanted) == 1 or set(row) == {VALUE}:
            alone = key == VALUE and not self._prefix
            return dict.fromkeys([self._name or wanted[0] if alone else short], *numbers.values()) if numbers else {}
        lonely = key == VALUE and set(self._source.values) == {VALUE}
        return {name if lonely else f"{short} · {name}": number for name, number in numbers.items()}

    def _append(self, name: str, at: float, number: float) -> None:
        if name not in self._series:
            if len(self._series) >= MOST_SERIES:
                self.set("more", int(self.state["more"]) + 1)
                return
            self._series[name] = deque(maxlen=MOST_POINTS)
        points = self._series[name]
        points.append((at, number))
        while self._window and len(points) > 2 and points[1][0] < at - self._window:
            points.popleft()
        self._added.setdefault(name, []).append((at, number))

    def _place(self, key: str, row: dict[str, Any]) -> None:
        """One point per series, at the row's field ``x`` or at its key."""
        across: Any = key.removeprefix(self._prefix) or key
        if self._x is not None:
            value = row.get(self._x)
            if isinstance(value, (datetime, date)):
                self.set("axis", "time")
                moment = value if isinstance(value, datetime) else datetime.combine(value, time())
                across = moment.timestamp()
            else:
                across = number_of(value)
                if across is None:
                    across = None if value is None else str(value)
                    if across is not None:
                        self.set("axis", "text")
        fields = self._y if self._y is not None else [name for name in row if name != self._x]
        wanted = {name: number_of(row.get(name)) for name in fields}
        for name in {*self._points, *wanted}:
            points = self._points.setdefault(name, {})
            number = wanted.get(name)
            if number is None or across is None:
                if points.pop(key, None) is None:
                    continue
            else:
                points[key] = (across, number)
                if len(points) > MOST_POINTS:
                    del points[next(iter(points))]
            self._touched.add(name)

    def show(self) -> None:
        added, self._added = self._added, {}
        if added:
            self.send({"kind": "add", "series": {name: _lists(points) for name, points in added.items()}})
        touched, self._touched = self._touched, set()
        if touched:
            gone = [name for name in touched if not self._points.get(name)]
            for name in gone:
                self._points.pop(name, None)
            series = {name: self._sorted(name) for name in touched if name in self._points}
            self.send({"kind": "set", "series": series, "gone": gone})
        if self._source.ended:
            self.set("ended", True)
        failed = self._source.ended not in ("", "closed", "completed")
        self.set("problem", self._source.ended if failed else self._source.trouble or self._lack())

    def _lack(self) -> str:
        """Why there is nothing to draw although there are rows; "" otherwise."""
        if not self._source.loaded or not self._source.values or self._series or any(self._points.values()):
            return ""
        numbers = "number" if self._y is None else f"number in {' or '.join(map(repr, self._y))}"
        return f"nothing to draw: no row has a {numbers}" + (f" and a value in {self._x!r}" if self._x else "")

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        if kind == "points":
            self.show()
            series = {name: _lists(points) for name, points in self._series.items()}
            series |= {name: self._sorted(name) for name in self._points}
            self.send({"kind": "points", "view": page, "series": series, "now": self._clock.now().timestamp()})

    def _sorted(self, name: str) -> list[list[Any]]:
        points = list(self._points[name].values())
        text = any(isinstance(across, str) for across, _ in points)
        if text and self._x is not None:
            points = [(str(across), up) for across, up in points]
        points.sort(key=lambda point: place_of(point[0]) if isinstance(point[0], str) else point[0])
        return _lists(points[: MOST_BARS if text else MOST_POINTS])

    @property
    def numbers(self) -> dict[str, float]:
        """The latest number of each series."""
        if self._over_time:
            return {name: points[-1][1] for name, points in self._series.items()}
        return {name: self._sorted(name)[1][-1] for name, points in self._points.items() if points}


def _lists(points: Any) -> list[list[Any]]:
    return [[across for across, _ in points], [up for _, up in points]]


def _name_of(source: object) -> str:
    return cast("Key[Any]", source).name if isinstance(source, Key) else ""


def number_of(value: Any) -> float | None:
    """The value as a number, or None if it cannot be drawn."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = float(value) if abs(value) < 1e300 else math.inf
    return number if math.isfinite(number) else None


class ChartView(Widget[ChartModel]):
    """A chart widget. Created by `chart`."""

    chart = traitlets.Any().tag(sync=True)
    axis = traitlets.Any().tag(sync=True)
    window = traitlets.Any().tag(sync=True)
    sliding = traitlets.Any().tag(sync=True)
    title = traitlets.Any().tag(sync=True)
    more = traitlets.Any().tag(sync=True)
    across = traitlets.Any().tag(sync=True)
    ended = traitlets.Any().tag(sync=True)

    def __repr__(self) -> str:
        return "\n".join(visible(f"{name}  {number:g}") for name, number in self.model.numbers.items()) or "no numbers"


def chart(
    source: Any,
    prefix: str = "",
    *,
    x: str | None = None,
    y: str | Sequence[str] | None = None,
    kind: Kind = "line",
    window: float | None = None,
    title: str = "",
    fps: float = DEFAULT_FPS,
) -> ChartView:
    """Draw numbers as they arrive: over time, over a field, or as bars.

    Without ``x`` each number is a point at its arrival time, and each key or field is a line. With ``x`` each key is a
    point at that field's current value. ``kind="bar"`` draws one bar per key; ``kind="spark"`` a small line and the
    latest number. Click the legend to choose what is drawn; drag over the plot to zoom.

    Args:
        source: a database, a key, or an Observable of numbers, of records, or of anything `table` accepts. A mapping
            with a field ``x`` is a record, so a key that holds one draws a point for each of its values.
        prefix: the keys of the database to draw. All their values are read, whatever their size, but bytes.
        x: the field on the x axis: numbers, datetimes or texts.
        y: the fields on the y axis; by default all numeric fields.
        kind: ``"line"``, ``"bar"`` or ``"spark"``.
        window: the seconds shown of a chart over time, 60 by default; 0 for all.
        title: the heading.
        fps: the maximum number of updates a second.

    Raises:
        WrongLoop: no event loop is running in this thread.
        InvalidOption: an argument is invalid.
    """
    if kind not in get_args(Kind):
        raise InvalidOption(f"kind={kind!r} is none of {', '.join(get_args(Kind))}", operation="chart")
    if window is not None and not (isinstance(cast(object, window), (int, float)) and 0 <= window < math.inf):
        raise InvalidOption(f"window={window!r} is not a number of seconds", operation="chart")
    fields = [y] if isinstance(y, str) else y
    seconds = 60.0 if window is None and x is None else float(window or 0)
    name = title or prefix or _name_of(source)
    model = ChartModel(source, prefix, x, fields, kind, seconds, name, checked_fps(fps), kernel_loop())
    if is_database(source):
        model.follow_status(source.status)
    return ChartView(model)
