"""The operators on rows: each takes the changes of its inputs in one step and returns those of its output. Pure.

In the costs, n is the number of rows of an input. A user's function is called once for each row that was set, and its
result is remembered until the row changes, so it has to be a pure function of the row.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

from rxmps3.errors import InvalidValue
from rxmps3.model.collections.cells import NOTHING, Cell, Pair, Value, same_cell
from rxmps3.model.collections.order import Reversed, fingerprint, hashable, rank_of
from rxmps3.model.missing import MISSING
from rxmps3.model.sortedmap import SortedMap, slide

__all__ = [
    "Changes",
    "Distinct",
    "Filter",
    "FlatMap",
    "Fn",
    "Join",
    "Limit",
    "Map",
    "Operator",
    "Sort",
    "Union",
    "Window",
    "combined",
    "note_row",
]

Fn = Callable[[Any, Any], Any]
"""A function of a key and its value."""
Change = tuple[Cell | None, Cell | None]
"""A row's cell before and after; None where it has none."""
Changes = dict[Any, Change]
"""What one step changed, by key."""


class Operator(Protocol):
    """Maintains one query."""

    @property
    def due(self) -> float | None:
        """When the output will change by itself, on the clock of ``now``."""
        ...

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        """The changes of the output. Raises what a user's function raises; the operator is unusable afterwards."""
        ...


class Timeless:
    """An operator whose output changes only with its input."""

    due: float | None = None


def combined(befores: Mapping[Any, Cell], afters: Mapping[Any, Cell]) -> Changes:
    """The changes between two contents, without those that change nothing."""
    changes: Changes = {key: (before, afters.get(key)) for key, before in befores.items()}
    changes.update({key: (None, after) for key, after in afters.items() if key not in befores})
    return {key: change for key, change in changes.items() if not same_cell(*change)}


def note_row(error: Exception, key: Any) -> None:
    """Add the row that a user's function was called for to what came of it."""
    error.add_note(f"at the row with key {key!r:.200}")


class Filter(Timeless):
    """The rows for which the predicate is true. O(changes)."""

    def __init__(self, fn: Fn) -> None:
        self._fn = fn
        self._passed: set[Any] = set()

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        changes: Changes = {}
        key = None
        try:
            for key, (before, after) in inputs[0].items():
                passed = key in self._passed
                passes = after is not None and bool(self._fn(key, after.own()))
                if passes:
                    self._passed.add(key)
                elif passed:
                    self._passed.remove(key)
                if passed or passes:
                    changes[key] = (before if passed else None, after if passes else None)
        except Exception as error:
            note_row(error, key)
            raise
        return changes


class Map(Timeless):
    """Each row mapped by a function. O(changes)."""

    def __init__(self, fn: Fn) -> None:
        self._fn = fn
        self._made: dict[Any, Cell] = {}

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        befores: dict[Any, Cell] = {}
        afters: dict[Any, Cell] = {}
        key = None
        try:
            for key, (_, after) in inputs[0].items():
                if (made := self._made.pop(key, None)) is not None:
                    befores[key] = made
                if after is not None:
                    self._made[key] = afters[key] = Value(self._fn(key, after.own()))
        except Exception as error:
            note_row(error, key)
            raise
        return combined(befores, afters)


class FlatMap(Timeless):
    """The rows that a function makes of each row. O(changes · rows made of one)."""

    def __init__(self, fn: Fn) -> None:
        self._fn = fn
        self._made: dict[Any, dict[Any, Cell]] = {}

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        befores: dict[Any, Cell] = {}
        afters: dict[Any, Cell] = {}
        key = None
        try:
            for key, (_, after) in inputs[0].items():
                befores.update(self._made.pop(key, {}))
                if after is not None:
                    made = {(key, part): Value(value) for part, value in _parts(self._fn(key, after.own()))}
                    afters.update(made)
                    if made:
                        self._made[key] = cast("dict[Any, Cell]", made)
        except Exception as error:
            note_row(error, key)
            raise
        return combined(befores, afters)


def _parts(result: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(result, Mapping):
        for part in cast("Mapping[Any, Any]", result):
            rank_of(part)  # the rows that come of it are in the order of their keys
        return cast("Mapping[Any, Any]", result).items()
    if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        raise InvalidValue(
            f"flat_map takes a function that returns a list or a mapping, not {type(result).__name__}",
            object=f"{result!r:.80}",
        )
    return enumerate(cast("Iterable[Any]", result))


class Sort(Timeless):
    """The same rows, ordered by a function of the row, then by key. O(changes · log n).

    Attributes:
        rows: each key and its cell, by rank.
        ranks: the rank of each key, by the rank of the key itself.
        gone, come: what the last step removed from ``rows`` and inserted.
    """

    def __init__(self, fn: Fn, reverse: bool, key_rank: Callable[[Any], Any]) -> None:
        self._fn = fn
        self._reverse = reverse
        self.key_rank = key_rank
        self.rows: SortedMap[tuple[Any, Cell]] = SortedMap()
        self.ranks: SortedMap[Any] = SortedMap()
        self.gone: list[Any] = []
        self.come: list[Any] = []

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        ranks: dict[Any, Any] = {}
        come: list[Any] = []
        self.gone = []
        key = None
        try:
            for key, (before, after) in inputs[0].items():
                key_rank = self.key_rank(key)
                if before is not None:
                    rank = self.ranks[key_rank]
                    self.gone.append(rank)
                    self.rows = self.rows.delete(rank)
                ranks[key_rank] = MISSING
                if after is not None:
                    said = rank_of(self._fn(key, after.own()))
                    rank = (Reversed(said) if self._reverse else said, key_rank)
                    ranks[key_rank] = rank
                    come.append((rank, (key, after)))
        except Exception as error:
            note_row(error, key)
            raise
        self.come = [rank for rank, _ in come]
        if len(come) * 8 > len(self.rows):
            come = sorted([*self.rows.items(), *come])
            self.rows = SortedMap[Any].of([rank for rank, _ in come], [row for _, row in come])
        else:
            for rank, row in come:
                self.rows = self.rows.set(rank, row)
        self.ranks = self.ranks.update(ranks)
        return inputs[0]


class Limit(Timeless):
    """The rows of a sorted collection from one position on. O(changes · log n)."""

    def __init__(self, sort: Sort, n: int, offset: int) -> None:
        self.sort = sort
        self.rows: SortedMap[tuple[Any, Cell]] = SortedMap()
        self._start = offset
        self._stop = offset + n

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        known = self.rows
        self.rows, left, entered = slide(known, self.sort.rows, self.sort.gone, self.sort.come, self._start, self._stop)
        befores, afters = dict(map(known.__getitem__, left)), dict(map(self.rows.__getitem__, entered))
        return combined(befores, afters)


class Distinct(Timeless):
    """For rows with the same value, the one with the first key. O(changes · log n)."""

    def __init__(self, key_rank: Callable[[Any], Any]) -> None:
        self._key_rank = key_rank
        self._print_of: dict[Any, Any] = {}
        self._alike: dict[Any, SortedMap[tuple[Any, Cell]]] = {}

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        was_first: dict[Any, tuple[Any, Cell] | None] = {}

        def touch(mark: Any) -> SortedMap[tuple[Any, Cell]]:
            alike = self._alike.get(mark)
            was_first.setdefault(mark, None if alike is None else alike.at(0)[1])
            return SortedMap() if alike is None else alike

        key = None
        try:
            for key, (before, after) in inputs[0].items():
                rank = self._key_rank(key)
                if before is not None:
                    mark = self._print_of.pop(key)
                    if len(alike := touch(mark).delete(rank)):
                        self._alike[mark] = alike
                    else:
                        del self._alike[mark]
                if after is not None:
                    mark = self._print_of[key] = fingerprint(after.own())
                    self._alike[mark] = touch(mark).set(rank, (key, after))
        except Exception as error:
            note_row(error, key)
            raise
        befores = dict(row for row in was_first.values() if row is not None)
        afters = dict(self._alike[mark].at(0)[1] for mark in was_first if mark in self._alike)
        return combined(befores, afters)


class Union(Timeless):
    """The rows of two collections; if both have a key, that of the first. O(changes)."""

    def __init__(self) -> None:
        self._first: dict[Any, Cell] = {}
        self._second: dict[Any, Cell] = {}

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        first, second = inputs
        touched = dict.fromkeys([*first, *second])
        befores = self._rows(touched)
        _put(self._first, first)
        _put(self._second, second)
        return combined(befores, self._rows(touched))

    def _rows(self, keys: Iterable[Any]) -> dict[Any, Cell]:
        found = {key: self._first.get(key) or self._second.get(key) for key in keys}
        return {key: cell for key, cell in found.items() if cell is not None}


def _put(rows: dict[Any, Cell], changes: Changes) -> None:
    for key, (_, after) in changes.items():
        if after is None:
            rows.pop(key, None)
        else:
            rows[key] = after


class Window:
    """The rows set within the last seconds. O(changes), and O(rows that leave) at their time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rows: OrderedDict[Any, tuple[float, Cell]] = OrderedDict()  # by the time when they leave

    @property
    def due(self) -> float | None:
        return next(iter(self._rows.values()))[0] if self._rows else None

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        befores: dict[Any, Cell] = {}
        afters: dict[Any, Cell] = {}
        while (due := self.due) is not None and due <= now:
            key, (_, cell) = self._rows.popitem(last=False)
            befores[key] = cell
        for key, (_, after) in inputs[0].items():
            row = self._rows.pop(key, None)
            if row is not None:
                befores[key] = row[1]
            if after is not None:
                self._rows[key] = (now + self._seconds, after)
                afters[key] = after
        return combined(befores, afters)


class _Index:
    """The rows of one side of a join, by join key."""

    def __init__(self, fn: Fn | None, what: str) -> None:
        self._fn = fn
        self._what = what
        self._joined_on: dict[Any, Any] = {}
        self._rows: dict[Any, dict[Any, Cell]] = {}

    def on(self, key: Any) -> Any:
        """The join key of a row; `MISSING` if there is no such row."""
        return self._joined_on.get(key, MISSING)

    def rows(self, on: Any) -> dict[Any, Cell]:
        return _NO_ROWS if on is MISSING else self._rows.get(on, _NO_ROWS)

    def put(self, changes: Changes) -> None:
        key = None
        try:
            for key, (_, after) in changes.items():
                on = self._joined_on.pop(key, MISSING)
                if on is not MISSING:
                    rows = self._rows[on]
                    del rows[key]
                    if not rows:
                        del self._rows[on]
                if after is not None:
                    on = key if self._fn is None else hashable(self._fn(key, after.own()), self._what)
                    self._joined_on[key] = on
                    if on is not MISSING:
                        self._rows.setdefault(on, {})[key] = after
        except Exception as error:
            note_row(error, key)
            raise


_NO_ROWS: dict[Any, Cell] = {}


class Join(Timeless):
    """The pairs of rows with equal join keys; with ``outer`` also the left rows without a partner.

    O(changes · partners of a row).
    """

    def __init__(self, on: Fn | None, other_on: Fn | None, outer: bool) -> None:
        self._left = _Index(on, "what on returns")
        self._right = _Index(other_on, "what other_on returns")
        self._lone: dict[Any, Cell] = {}
        self._outer = outer

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        left, right = inputs
        befores = self._pairs(left, right, {key: before for key, (before, _) in left.items()})
        self._left.put(left)
        self._right.put(right)
        afters = self._pairs(left, right, {key: after for key, (_, after) in left.items()})
        if self._outer:
            self._set_alone(left, right, befores, afters)
        return combined(befores, afters)

    def _pairs(self, left: Changes, right: Changes, cells: Mapping[Any, Cell | None]) -> dict[Any, Cell]:
        """The pairs that contain a changed row."""
        pairs: dict[Any, Cell] = {}
        for key in left:
            if (cell := cells[key]) is not None:
                for other, partner in self._right.rows(self._left.on(key)).items():
                    pairs[key, other] = Pair(cell, partner)
        for other in right:
            on = self._right.on(other)
            if on is not MISSING:
                partner = self._right.rows(on)[other]
                for key, cell in self._left.rows(on).items():
                    pairs[key, other] = Pair(cell, partner)
        return pairs

    def _set_alone(self, left: Changes, right: Changes, befores: dict[Any, Cell], afters: dict[Any, Cell]) -> None:
        """Update the left rows without a partner, after pairs have changed."""
        touched: dict[Any, Cell | None] = {key: after for key, (_, after) in left.items()}
        for pairs in (befores, afters):
            for key, _ in pairs:
                if key not in touched:
                    on = self._left.on(key)
                    touched[key] = self._left.rows(on)[key]
        for key, cell in touched.items():
            if (lone := self._lone.pop(key, None)) is not None:
                befores[key, MISSING] = lone
            if cell is not None and not self._right.rows(self._left.on(key)):
                self._lone[key] = afters[key, MISSING] = Pair(cell, NOTHING)
