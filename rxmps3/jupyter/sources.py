"""The rows behind tables and charts: a prefix of a database or an Observable of rows, as changes of single rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxmps3.errors import InvalidOption
from rxmps3.jupyter.values import fields_of, frame_rows, plain
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.model.missing import MISSING

__all__ = ["Mark", "Rows", "follow", "if_rejected", "is_database", "row_of"]

VALUE = "value"
"""The column of a value that has no fields."""
MOST_RECORDS = 100_000
"""Records that are kept of a stream of single ones; older ones are let go of."""


class Mark(NamedTuple):
    """The last writer of a row and the time; "" and 0 if it was written before the view existed."""

    by: str = ""
    at: float = 0.0
    """Seconds since 1970, by the writer's clock."""


def is_database(source: object) -> bool:
    """Whether the object has a database's methods, async or blocking."""
    return all(hasattr(source, name) for name in ("observe_prefix", "changes", "put", "status"))


def row_of(value: Any) -> dict[str, Any]:
    """The fields of a value; a value without fields is a single column."""
    fields = fields_of(value)
    return {VALUE: plain(value)} if fields is None else fields


class Rows:
    """The current rows by key; changes are collected once per frame.

    ``take`` is called on the view model's loop; items arrive on any thread and are queued for it.

    Attributes:
        moved: the keys whose values the last ``take`` has set or removed.
        trouble: why values are missing, if any are.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.marks: dict[str, Mark] = {}
        self.pending: frozenset[str] = frozenset()
        self.moved: set[str] = set()
        self.loaded = False
        self.ended = ""
        self.trouble = ""
        self._queue: deque[tuple[str, Any]] = deque()
        self._records = 0

    def take(self) -> set[str]:
        """Apply the queued items; returns the keys whose rows may look different."""
        changed: set[str] = set()
        self.moved = set()
        while self._queue:
            kind, what = self._queue.popleft()
            getattr(self, f"_take_{kind}")(what, changed)
        return changed

    def mark(self, key: str) -> Mark:
        """Who wrote what is shown of a row, and when, as far as that is known."""
        return self.marks.get(key, Mark())

    def put(self, kind: str, what: Any) -> None:
        """Queue an item. Callable from any thread."""
        self._queue.append((kind, what))

    def _take_whole(self, mapping: Mapping[str, Any], changed: set[str]) -> None:
        """An item that replaces all rows."""
        self.loaded = True
        for key in [key for key in self.values if key not in mapping]:
            self._set(key, MISSING, changed)
        for key, value in mapping.items():
            known = self.values.get(key, MISSING)
            if known is not value and not _same(known, value):
                self._set(key, value, changed)

    def _take_deltas(self, deltas: Any, changed: set[str]) -> None:
        """Changes, each with ``key`` and ``after``."""
        self.loaded = True
        for delta in deltas:
            self._set(_key_of(delta.key), delta.after, changed)
            by = getattr(delta, "by", "")
            if by:
                self.marks[_key_of(delta.key)] = Mark(by, self.marks.get(delta.key, Mark()).at)

    def _take_one(self, record: Any, changed: set[str]) -> None:
        """A record to append."""
        self.loaded = True
        self._set(str(self._records), record, changed)
        self._records += 1
        if self._records > MOST_RECORDS:
            self._set(str(self._records - MOST_RECORDS - 1), MISSING, changed)

    def _take_version(self, version: Any, changed: set[str]) -> None:
        """A version of the log: writer and time."""
        at = version.time.timestamp() if version.time is not None else 0.0
        for write in version.writes:
            mark = Mark(version.by if write.by is None else write.by, at)
            for key in write.update:
                if key in self.values:
                    self.marks[key] = mark
                    changed.add(key)

    def _take_pending(self, keys: frozenset[str], changed: set[str]) -> None:
        changed.update(self.pending ^ keys)
        self.pending = keys

    def _take_end(self, text: str, changed: set[str]) -> None:
        self.ended = text

    def _set(self, key: str, value: Any, changed: set[str]) -> None:
        changed.add(key)
        self.moved.add(key)
        if value is MISSING:
            self.values.pop(key, None)
            self.marks.pop(key, None)
        else:
            self.values[key] = value


def _same(one: Any, other: Any) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # as that of arrays, which compare item by item
        return False


def if_rejected(receipt: Any, action: Callable[[str], Any]) -> None:
    """Call an action with the reason if a write is rolled back, on any thread; nothing happens if it is no receipt."""

    def reached(stage: str) -> None:
        if stage == "rejected":
            try:
                receipt.wait(0)
            except Exception as error:
                action(str(error))
            else:
                action("rolled back")

    if hasattr(receipt, "stages"):
        receipt.stages.subscribe(reached)


def _key_of(key: Any) -> str:
    return key if isinstance(key, str) else str(key)


def follow(
    source: Any, prefix: str, model: ViewModel, operation: str, field: str | None = None
) -> tuple[Rows, DisposableBase]:
    """Follow an Observable.

    Args:
        prefix: what the caller was given as such; only a database has one.
        field: a mapping that has this field is a record, and no mapping of keys to values.

    Raises:
        InvalidOption: the source is no Observable.
    """
    rows = Rows()

    def told(kind: str, what: Any) -> None:
        rows.put(kind, what)
        model.wake()

    if prefix:
        raise InvalidOption("a prefix needs a database", operation=operation, remedy=f'{operation}(db, "{prefix}")')
    if not isinstance(source, Observable):
        raise InvalidOption(
            f"{source!r} is neither a database nor an Observable", operation=operation, remedy=f"try {operation}(db)"
        )
    return rows, _of_observable(cast("Observable[Any]", source), told, field)


def _of_observable(source: Observable[Any], told: Any, field: str | None) -> DisposableBase:
    def is_record(item: Mapping[Any, Any]) -> bool:
        return field is not None and field in item and not isinstance(item[field], Mapping)

    def on_next(item: Any) -> None:
        if (frame := frame_rows(item)) is not None:
            told("whole", frame)
        elif isinstance(item, Mapping) and is_record(cast("Mapping[Any, Any]", item)):
            told("one", dict(cast("Mapping[str, Any]", item)))
        elif isinstance(item, Mapping):
            told("whole", {str(key): value for key, value in cast("Mapping[Any, Any]", item).items()})
        elif hasattr(item, "key") and hasattr(item, "after"):
            told("deltas", (item,))
        elif isinstance(item, tuple) and all(hasattr(part, "after") for part in cast("tuple[Any, ...]", item)):
            told("deltas", item)
        elif isinstance(item, (list, tuple)):
            told("whole", {str(number): value for number, value in enumerate(cast("list[Any]", item))})
        elif fields_of(item) is not None:
            told("one", item)
        else:
            told("whole", {VALUE: item})

    return source.subscribe(
        on_next,
        on_error=lambda error: told("end", f"{type(error).__name__}: {error}"),
        on_completed=lambda: told("end", "completed"),
    )
