"""Aggregates of groups of rows, such as count, sum and minimum. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from rxmps3.errors import InvalidValue
from rxmps3.model.collections.cells import Cell, Value, own
from rxmps3.model.collections.operators import Changes, Fn, Timeless, combined, note_row
from rxmps3.model.collections.order import hashable, rank_of
from rxmps3.model.missing import MISSING
from rxmps3.model.sortedmap import SortedMap

__all__ = ["Aggregate", "Count", "Extreme", "Mean", "Reduce", "Sum"]


class Total(Protocol):
    """An aggregate of some items, updated incrementally."""

    def add(self, item: Any) -> None: ...

    def remove(self, item: Any) -> None: ...

    def result(self) -> Any:
        """The current result."""
        ...


class Count:
    """The number of items. O(1)."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, item: Any) -> None:
        self._count += 1

    def remove(self, item: Any) -> None:
        self._count -= 1

    def result(self) -> int:
        return self._count


_UNIT: Final = 1074
"""Every finite float is a whole number of times 2 to the minus this (IEEE 754 binary64)."""


class Sum:
    """The sum, exact for ints; with floats the float nearest to the exact sum, whatever the order. O(1).

    Floats are summed as integer multiples of 2**-1074, so nothing is rounded before the end and removed items leave no
    error. Infinities and NaN are counted separately.
    """

    def __init__(self) -> None:
        self._whole = 0
        self._units = 0
        self._floats = 0
        self._odd: dict[str, int] = {}

    def add(self, item: Any) -> None:
        self._put(item, 1)

    def remove(self, item: Any) -> None:
        self._put(item, -1)

    def _put(self, item: Any, sign: int) -> None:
        if isinstance(item, int):
            self._whole += sign * item
        elif not isinstance(item, float):
            raise InvalidValue(
                f"a sum is of numbers, not of {type(item).__name__}", object=f"{item!r:.80}", remedy="use reduce"
            )
        else:
            self._floats += sign
            if math.isfinite(item):
                numerator, denominator = item.as_integer_ratio()
                self._units += sign * (numerator << (_UNIT + 1 - denominator.bit_length()))
            else:
                self._odd[repr(item)] = self._odd.get(repr(item), 0) + sign

    def result(self) -> int | float:
        return self._whole if not self._floats else self._divided(1)

    def _divided(self, count: int) -> float:
        odd = [float(name) for name, number in self._odd.items() if number]
        if odd:
            return sum(odd)
        exact = (self._whole << _UNIT) + self._units
        try:
            return exact / (count << _UNIT)
        except OverflowError:
            return math.inf if exact > 0 else -math.inf


class Mean(Sum):
    """The arithmetic mean: the float nearest to the exact one. O(1)."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def _put(self, item: Any, sign: int) -> None:
        super()._put(item, sign)
        self._count += sign

    def result(self) -> Any:
        return self._divided(self._count) if self._count else MISSING


class Extreme:
    """The least or greatest item; of equal ones of several types, the same whatever was there before. O(log items)."""

    def __init__(self, greatest: bool) -> None:
        self._greatest = greatest
        self._items: SortedMap[tuple[Any, int]] = SortedMap()

    def add(self, item: Any) -> None:
        rank = (rank_of(item), _look_of(item))
        known, count = self._items.get(rank, (item, 0))
        self._items = self._items.set(rank, (known, count + 1))

    def remove(self, item: Any) -> None:
        rank = (rank_of(item), _look_of(item))
        known, count = self._items[rank]
        self._items = self._items.set(rank, (known, count - 1)) if count > 1 else self._items.delete(rank)

    def result(self) -> Any:
        if not len(self._items):
            return MISSING
        return self._items.at(len(self._items) - 1 if self._greatest else 0)[1][0]


def _look_of(item: Any) -> str:
    """What tells apart items of one rank, as ``1``, ``1.0`` and ``True``, or ``0.0`` and ``-0.0``."""
    return "" if item.__class__ in (int, str) else repr(item)


class Reduce:
    """A fold by two user functions: one adds an item to the total, the other removes it."""

    def __init__(self, add: Callable[[Any, Any], Any], remove: Callable[[Any, Any], Any], seed: Any) -> None:
        self._add = add
        self._remove = remove
        self._total = own(seed)

    def add(self, item: Cell) -> None:
        self._total = self._add(own(self._total), item.own())

    def remove(self, item: Cell) -> None:
        self._total = self._remove(own(self._total), item.own())

    def result(self) -> Any:
        return self._total


class Aggregate(Timeless):
    """An aggregate per group of rows, by group; of all rows, under None, if there is no ``group``.

    O(changes · cost of the total).

    Args:
        group: the group of a row.
        item: the item of a row that goes into the total; None for none of it, and `Reduce` gets the row itself.
        total: creates an empty total.
    """

    def __init__(self, group: Fn | None, item: Fn | None, total: Callable[[], Total], *, rows: bool = False) -> None:
        self._group = group
        self._item = item
        self._total = total
        self._of_rows = rows
        self._members: dict[Any, tuple[Any, Any]] = {}
        self._totals: dict[Any, tuple[Total, int]] = {}
        self._told: dict[Any, Cell] = {}

    def apply(self, inputs: Sequence[Changes], now: float) -> Changes:
        touched: dict[Any, None] = {}
        key = None
        try:
            for key, (_, after) in inputs[0].items():
                member = self._members.pop(key, None)
                if member is not None:
                    group, item = member
                    touched[group] = None
                    total, count = self._totals[group]
                    total.remove(item)
                    self._totals[group] = (total, count - 1)
                if after is not None:
                    group = None
                    if self._group is not None:
                        group = hashable(self._group(key, after.own()), "a group")
                    item = after if self._of_rows else self._item(key, after.own()) if self._item is not None else None
                    self._members[key] = (group, item)
                    if group not in self._totals:
                        rank_of(group)  # the groups are in order
                    touched[group] = None
                    total, count = self._totals.get(group) or (self._total(), 0)
                    total.add(item)
                    self._totals[group] = (total, count + 1)
        except Exception as error:
            note_row(error, key)
            raise
        befores = {group: self._told.pop(group) for group in touched if group in self._told}
        for group in touched:
            total, count = self._totals[group]
            if count:
                self._told[group] = Value(total.result())
            else:
                del self._totals[group]
        return combined(befores, {group: self._told[group] for group in touched if group in self._told})
