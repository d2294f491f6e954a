"""The content of a row: a value that is decoded on access, a new object for each reader. Pure."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol, cast

from rxmps3.model.missing import MISSING, MissingType

__all__ = ["NOTHING", "Cell", "Pair", "Text", "Value", "own", "same_cell", "same_value"]


class Cell(Protocol):
    """The value of a row. Immutable."""

    def own(self) -> Any:
        """The value as a new object that the reader may change."""
        ...


class Text:
    """JSON text, and the function that decodes it."""

    __slots__ = ("load", "text")

    def __init__(self, text: str, load: Callable[[str], Any]) -> None:
        self.text = text
        self.load = load

    def own(self) -> Any:
        return self.load(self.text)


class Value:
    """Any object, such as the result of a user's function."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def own(self) -> Any:
        return own(self.value)


NOTHING = Value(MISSING)
"""Stands for the row that a left join did not find."""


class Pair:
    """The values of two rows that belong together."""

    __slots__ = ("left", "right")

    def __init__(self, left: Cell, right: Cell) -> None:
        self.left = left
        self.right = right

    def own(self) -> tuple[Any, Any]:
        return self.left.own(), self.right.own()


_ATOMS = frozenset({type(None), bool, int, float, str, bytes, MissingType})


def own(value: Any) -> Any:
    """A deep copy; an object that cannot be copied is returned itself."""
    kind = value.__class__
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {key: own(part) for key, part in cast("dict[Any, Any]", value).items()}
    if kind is list:
        return [own(part) for part in cast("list[Any]", value)]
    if kind is tuple:
        return tuple([own(part) for part in cast("tuple[Any, ...]", value)])
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def same_cell(left: Cell | None, right: Cell | None) -> bool:
    """Whether a reader could not tell the two apart."""
    if left is right:
        return True
    if left is None or right is None:
        return False
    if isinstance(left, Text) and isinstance(right, Text) and left.load == right.load:
        return left.text == right.text
    if isinstance(left, Pair) and isinstance(right, Pair):
        return same_cell(left.left, right.left) and same_cell(left.right, right.right)
    return same_value(_peek(left), _peek(right))


def _peek(cell: Cell) -> Any:
    return cell.value if isinstance(cell, Value) else cell.own()


def same_value(left: Any, right: Any) -> bool:
    """Whether two values are of the same types and equal: 1, 1.0 and True are three values, as in JSON."""
    if left is right:
        return True
    kind = left.__class__
    if kind is not right.__class__:
        return False
    if kind is float:
        return repr(left) == repr(right)
    if kind is dict:
        return left.keys() == right.keys() and all(same_value(part, right[key]) for key, part in left.items())
    if kind is list or kind is tuple:
        return len(left) == len(right) and all(map(same_value, left, right))
    try:
        return bool(left == right)
    except Exception:
        return False  # they cannot be compared
