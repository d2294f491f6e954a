"""`Delta`, one change of one row of a collection."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from rxmps3.model.collections.cells import Cell, Value
from rxmps3.model.missing import MISSING, MissingType

__all__ = ["Delta"]

K = TypeVar("K")
V = TypeVar("V")


class Delta(Generic[K, V]):
    """One change of one row: its key, and its value before and after; `MISSING` for a row that was or is absent.

    Values are decoded on access, and each access returns a new object.
    """

    __slots__ = ("_after", "_before", "key")
    __match_args__ = ("key", "before", "after")

    key: K

    def __init__(self, key: K, before: V | MissingType, after: V | MissingType) -> None:
        self.key = key
        self._before: Cell | None = None if isinstance(before, MissingType) else Value(before)
        self._after: Cell | None = None if isinstance(after, MissingType) else Value(after)

    @classmethod
    def of(cls, key: K, before: Cell | None, after: Cell | None) -> Delta[K, V]:
        """The change from one cell to another."""
        made = cls(key, MISSING, MISSING)
        made._before = before
        made._after = after
        return made

    @property
    def before(self) -> V | MissingType:
        """The value before."""
        return MISSING if self._before is None else self._before.own()

    @property
    def after(self) -> V | MissingType:
        """The value after."""
        return MISSING if self._after is None else self._after.own()

    @property
    def kind(self) -> Literal["added", "changed", "removed"]:
        """Whether the row was added, changed or removed."""
        return "removed" if self._after is None else "added" if self._before is None else "changed"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Delta):
            return NotImplemented
        mine, theirs = (self.key, self.before, self.after), (other.key, other.before, other.after)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return bool(mine == theirs)

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # its values may be mutable

    def __repr__(self) -> str:
        return f"Delta({self.key!r}, {self.before!r}, {self.after!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Delta, (self.key, self.before, self.after)
