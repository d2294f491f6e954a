"""The result of ``keys``: a sorted list that is also a set."""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Set
from typing import Any

__all__ = ["KeyList"]


class KeyList(list[str], Set[str]):  # type: ignore[misc]  # pyright: ignore[reportIncompatibleMethodOverride]
    """A sorted list of keys that also behaves as a set, like ``dict.keys``: ``db.keys() - {"a"}``.

    It is a copy, not a live view. It equals a list with the same keys in the same order, and a set with the same keys;
    ``<=`` and the like compare it with a set as a set, and with a list as a list.
    """

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> set[Any]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # as a KeysView
        return set(it)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) if isinstance(other, list) else set(self) == other  # pyright: ignore[reportUnknownArgumentType]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __le__(self, other: Any) -> bool:
        return super().__le__(other) if _is_plain_list(other) else set(self) <= _as_set(other)

    def __lt__(self, other: Any) -> bool:
        return super().__lt__(other) if _is_plain_list(other) else set(self) < _as_set(other)

    def __ge__(self, other: Any) -> bool:
        return super().__ge__(other) if _is_plain_list(other) else set(self) >= _as_set(other)

    def __gt__(self, other: Any) -> bool:
        return super().__gt__(other) if _is_plain_list(other) else set(self) > _as_set(other)

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def _is_plain_list(other: object) -> bool:
    return isinstance(other, list) and not isinstance(other, Set)


def _as_set(other: Any) -> Any:
    return set(other) if isinstance(other, Set) else other  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


KeysView.register(KeyList)
