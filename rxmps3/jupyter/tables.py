"""A table of keys: sorted, filtered, searched and edited. Only the visible rows are sent."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import traitlets
from reactivex import Observable
from reactivex.subject import BehaviorSubject

from rxmps3.errors import Error, InvalidOption, Unsupported
from rxmps3.jupyter.entry_rows import EntryRows, Large, has_fields, is_small
from rxmps3.jupyter.frames import DEFAULT_FPS, checked_fps, kernel_loop
from rxmps3.jupyter.ordering import KEY, Ask, Order
from rxmps3.jupyter.sources import VALUE, follow, if_rejected, is_database, row_of
from rxmps3.jupyter.text import to_text
from rxmps3.jupyter.values import visible
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget
from rxmps3.model.entries import ContentObject

__all__ = ["Edit", "TableModel", "TableView", "field_writer", "table"]

MOST_COLUMNS = 60
MOST_CHARACTERS = 300
"""Of a cell; the rest is cut off, and such a cell is not edited in place."""
MOST_IN_A_WINDOW = 400
MOST_SELECTED = 10_000

Edit = Callable[[str, str, Any], Any]
"""Writes a cell: the key, the column and the new value. A receipt that it returns tells whether that went well."""


@dataclass
class _Page:
    """The state of one page.

    Attributes:
        sent: the stamp of each row that it has received.
        keys: the rows of its window, in order.
    """

    ask: Ask
    start: int = 0
    count: int = 0
    total: int = -1
    keys: list[str] = field(default_factory=lambda: list[str]())
    sent: dict[str, int] = field(default_factory=lambda: dict[str, int]())


class TableModel(ViewModel):
    """The rows of a source, and the window of each page.

    States: ``columns``, a list of ``[name, is numeric]``; ``rows``, their number; ``selected``, keys; ``editable``;
    ``title``; ``loaded``; ``ended``; ``signed``, whether it is known who wrote rows.

    A page requests ``rows`` with ``start``, ``count``, ``sort``, ``down``, ``search`` and ``filters``. It receives
    ``rows`` with ``start``, ``total``, ``keys`` (omitted while unchanged) and ``changed``: for each row that the page
    does not have in its current form, the cells, the writer, the time, and whether it is pending. By ``look``, with
    ``key`` and ``version``, it asks for a large value.
    """

    view = "table"

    def __init__(
        self, source: Any, prefix: str, columns: Sequence[str] | None, edit: Edit | None, title: str, fps: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        super().__init__(
            loop, fps, columns=[[name, False] for name in columns or ()], rows=0, selected=[],
            editable=edit is not None, title=title, loaded=False, ended=False, prefix=prefix,
            signed=is_database(source),
        )  # fmt: skip
        self.selection: BehaviorSubject[tuple[str, ...]] = BehaviorSubject(())
        self._edit = edit
        self._fixed = columns is not None
        self._columns: dict[str, bool] = dict.fromkeys(columns or (), False)
        self._cells: dict[str, dict[str, Any]] = {}
        self._stamps: dict[str, int] = {}
        self._next = count(1)
        self._orders: dict[Ask, Order] = {}
        self._shown: dict[str, _Page] = {}
        if is_database(source):
            fields = any(name != VALUE for name in columns or ())

            def needs(content: ContentObject) -> bool:
                return is_small(content) or (fields and has_fields(content))

            self._source = rows = EntryRows(source, prefix, self, needs)
            self.owns(rows.follow())
        else:
            self._source, subscription = follow(source, prefix, self, "table")
            self.owns(subscription)
        self.flush()

    # -- the rows --------------------------------------------------------------------------------------------

    @property
    def values(self) -> Mapping[str, Any]:
        """The current values of the source."""
        return self._source.values

    def take(self) -> None:
        for key in sorted(self._source.take()):  # so that columns are in the same order each time
            self._stamps[key] = next(self._next)
            if key in self._source.values:
                row = {name: _cell(value) for name, value in row_of(self._source.values[key]).items()}
                self._cells[key] = row
                self._note_columns(row)
            else:
                row = None
                self._cells.pop(key, None)
                del self._stamps[key]
            for order in self._orders.values():
                order.change(key, row)

    def _note_columns(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in self._columns:
                if self._fixed or len(self._columns) == MOST_COLUMNS:
                    continue
                self._columns[name] = _is_number(value)
            elif _is_number(value):
                self._columns[name] = True

    def show(self) -> None:
        self.set("columns", [[name, number] for name, number in self._columns.items()])
        self.set("rows", len(self._cells))
        self.set("loaded", self._source.loaded)
        self.set("signed", self.state["signed"] or bool(self._source.marks))
        if self._source.ended:
            self.set("ended", True)
            if self._source.ended not in ("closed", "completed"):
                self.set("problem", self._source.ended)
        for page in list(self._shown):
            self._bring_up_to_date(page)

    def _bring_up_to_date(self, name: str) -> None:
        page = self._shown[name]
        order = self._order(page.ask)
        keys = order.window(page.start, page.count)
        changed = [key for key in keys if page.sent.get(key) != self._stamps[key]]
        moved = keys != page.keys
        if not (changed or moved or len(order) != page.total):
            return
        message: dict[str, Any] = {"kind": "rows", "view": name, "start": page.start, "total": len(order)}
        if moved:
            message["keys"] = keys
        message["changed"] = {key: self._row(key) for key in changed}
        page.keys, page.total = keys, len(order)
        page.sent = {key: self._stamps[key] for key in keys}
        self.send(message)

    def _row(self, key: str) -> list[Any]:
        mark = self._source.mark(key)
        cells = self._cells[key]
        shown = {name: cells[name] for name in self._columns if name in cells}
        return [shown, mark.by, mark.at, key in self._source.pending]

    def _order(self, ask: Ask) -> Order:
        if ask not in self._orders:
            self._orders[ask] = Order(ask, self._cells)
        return self._orders[ask]

    def _drop_orders(self) -> None:
        used = {page.ask for page in self._shown.values()}
        self._orders = {ask: order for ask, order in self._orders.items() if ask in used}

    # -- pages -----------------------------------------------------------------------------------------------

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        if kind == "rows":
            self._ask_rows(page, message)
        elif kind == "select":
            keys = self._keys_in(page, message)
            if len(keys) > MOST_SELECTED:
                raise InvalidOption(
                    f"{len(keys):,} rows are more than the {MOST_SELECTED:,} that can be selected", operation="select"
                )
            if keys != self.state["selected"]:
                self.set("selected", keys)
                self.selection.on_next(tuple(keys))
        elif kind == "look" and isinstance(self._source, EntryRows):
            self._source.look(str(message.get("key")), str(message.get("version")))
        elif kind == "edit":
            self._write(page, str(message.get("key")), str(message.get("column")), str(message.get("text")))

    def _keys_in(self, page: str, message: dict[str, Any]) -> list[str]:
        """The keys that a page names; or those between two positions, of which it may not have all."""
        if "from" not in message or page not in self._shown:
            return [str(key) for key in message.get("keys", ())]
        first = max(0, int(message["from"]))
        return self._order(self._shown[page].ask).window(first, int(message["to"]) - first + 1)

    def left(self, page: str) -> None:
        self._shown.pop(page, None)
        self._drop_orders()

    def _ask_rows(self, name: str, message: dict[str, Any]) -> None:
        filters = cast("dict[Any, Any]", message.get("filters") or {})
        ask = Ask(
            str(message.get("sort") or KEY),
            bool(message.get("down")),
            str(message.get("search") or ""),
            tuple(sorted((str(column), str(condition)) for column, condition in filters.items() if condition)),
        )
        page = self._shown.setdefault(name, _Page(ask))
        if message.get("anew"):
            page.sent, page.keys, page.total = {}, [], -1
        page.ask = ask
        page.start = max(0, int(message.get("start") or 0))
        page.count = min(max(0, int(message.get("count") or 0)), MOST_IN_A_WINDOW)
        self._drop_orders()
        self._bring_up_to_date(name)

    def _write(self, page: str, key: str, column: str, text: str) -> None:
        """Write what a user has typed into a cell."""

        def refuse(reason: str) -> None:
            self.send({"kind": "refused", "view": page, "key": key, "column": column, "reason": reason})

        if self._edit is None:
            return refuse("this cannot be edited")
        if key not in self._source.values:
            return refuse("this row is not there any more")
        if isinstance(self._source.values[key], Large):
            return refuse("it is too large to be edited here")
        try:
            value = typed_like(row_of(self._source.values[key]).get(column), text)
            done = self._edit(key, column, value)
        except (Error, ValueError, TypeError) as error:
            return refuse(str(error))

        if_rejected(done, lambda reason: self.call(lambda: refuse(reason)))
        return None


def typed_like(present: Any, text: str) -> Any:
    """Parse a text typed over a value: as the value's own type if possible.

    Raises:
        ValueError: it cannot be parsed.
    """
    if isinstance(present, str):
        return text
    if isinstance(present, bool) and text.strip().casefold() in ("true", "yes", "on", "false", "no", "off"):
        return text.strip().casefold() in ("true", "yes", "on")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if present is None:
        return value
    number = isinstance(present, (int, float)) and not isinstance(present, bool)
    kinds: Any = (int, float) if number else cast("type[Any]", type(present))
    if value is not None and (not isinstance(value, kinds) or (number and isinstance(value, bool))):
        wanted = (
            "a number"
            if number
            else {bool: "true or false", list: "a JSON array", dict: "a JSON object"}.get(
                cast("type[Any]", type(present)), "JSON"
            )
        )
        raise ValueError(f"{text!r} is not {wanted}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{text!r} is not a JSON number")
    return value


def _cell(value: Any) -> Any:
    """A value as sent to a page: numbers, bools, None and short texts as they are.

    Any other value is sent as a list with its JSON text, and True as a second element if the text is truncated. Of a
    value that is not here, the list has its size, True and the version to ask for.
    """
    if isinstance(value, Large):
        return [value.text, True, value.version]
    if value is None or isinstance(value, (bool, int)):
        return value if not isinstance(value, int) or abs(value) < 2**53 else [str(value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else [str(value)]
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARACTERS else [value[:MOST_CHARACTERS] + "…", True]
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = to_text(value)
    return [text[:MOST_CHARACTERS] + "…", True] if len(text) > MOST_CHARACTERS else [text]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class TableView(Widget[TableModel]):
    """A table widget. Created by `table`."""

    columns = traitlets.Any().tag(sync=True)
    rows = traitlets.Any().tag(sync=True)
    selected = traitlets.Any().tag(sync=True)
    editable = traitlets.Any().tag(sync=True)
    title = traitlets.Any().tag(sync=True)
    loaded = traitlets.Any().tag(sync=True)
    ended = traitlets.Any().tag(sync=True)
    prefix = traitlets.Any().tag(sync=True)
    signed = traitlets.Any().tag(sync=True)

    @property
    def selection(self) -> Observable[tuple[str, ...]]:
        """The selected keys, now and whenever they change."""
        return self.model.selection

    def __repr__(self) -> str:
        return to_text(dict(sorted(self.model.values.items()))) if self.model.values else visible("no rows")


def table(
    source: Any,
    prefix: str = "",
    *,
    columns: Sequence[str] | None = None,
    edit: Edit | bool = True,
    title: str = "",
    fps: float = DEFAULT_FPS,
) -> TableView:
    """Show the keys under a prefix, or the rows that an Observable emits, and keep them current.

    A row is a key; its columns are the fields of its value, or ``value`` if it has none. A page holds only its visible
    rows and receives only those that change, so 100,000 rows are fine. Click a heading to sort; type below it to filter
    (``>3``, ``!=done``, or a part of the text); double-click or press Enter to edit; click rows to select them. Of a
    value of more than 256 KiB in an object of its own a table of a database shows the size, until a double-click or
    Enter downloads it; if ``columns`` names fields, all but bytes is read for them. The table lives as long as a view
    of `live` does.

    Args:
        source: a database; or an Observable of mappings from keys to values, of lists of records, of data frames, or of
            changes (such as a collection's deltas).
        prefix: the keys of the database to show.
        columns: the fields to show, in this order; by default all.
        edit: whether cells of a database can be edited: input is written at once as a patch of that field, and rolled
            back visibly if it is rejected. For other sources, a function of key, column and value that writes.
        title: the heading.
        fps: the maximum number of updates a second.

    Raises:
        WrongLoop: no event loop is running in this thread.
        InvalidOption: an argument is invalid.
    """
    database = is_database(source)
    if edit is True and database:
        edit = field_writer(source)
    if not callable(edit):
        edit = False
    if isinstance(columns, str):
        raise InvalidOption("columns is a list of names, not one name", operation="table")
    writes = edit if callable(edit) else None
    model = TableModel(source, prefix, columns, writes, title or prefix, checked_fps(fps), kernel_loop())
    if database:
        model.follow_status(source.status)
    return TableView(model)


def field_writer(db: Any) -> Edit:
    """A function of key, column and value that writes one field, as a patch if the protocol supports it."""

    def write(key: str, column: str, value: Any) -> Any:
        entry = db.key(key)
        present = entry.value
        if not isinstance(present, dict):
            if column != VALUE:
                raise InvalidOption(f"there is no field {column!r} now", operation="edit", object=f"key {key!r}")
            return db.put(key, value)
        whole = cast("dict[str, Any]", present) | {column: value}
        if value is None or isinstance(value, dict):
            return db.put(key, whole)  # in a patch, null deletes and an object merges
        try:
            return db.patch(key, {column: value})
        except Unsupported:
            return db.put(key, whole)

    return write
