"""`Snapshot`, the item of streams of several keys: an immutable mapping that decodes values on access. Pure."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Protocol, TypeVar

from rxmps3.model.sortedmap import SortedMap

__all__ = ["Asked", "ByRank", "Keyed", "Rows", "Snapshot"]

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)
_NO_CELL = object()


class Rows(Protocol):
    """Cells by key, in some order; the reader defines what a cell is."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]:
        """The keys, in order."""
        ...

    def __reversed__(self) -> Iterator[Any]: ...

    def get(self, key: Any, default: Any = None) -> Any:
        """The key's cell, or the default. The key may be any object."""
        ...

    def items(self) -> Iterator[tuple[Any, Any]]:
        """The keys and their cells, in order."""
        ...


class Keyed:
    """Rows whose keys are text, sorted by code point."""

    __slots__ = ("_cells",)

    def __init__(self, cells: SortedMap[Any]) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._cells)

    def get(self, key: Any, default: Any = None) -> Any:
        return self._cells.get(key, default) if isinstance(key, str) else default

    def items(self) -> Iterator[tuple[str, Any]]:
        return self._cells.items()


class Asked:
    """Rows of the requested keys, in that order, present or not."""

    __slots__ = ("_cells", "_keys", "_missing")

    def __init__(self, keys: Mapping[str, object], cells: SortedMap[Any], missing: Any) -> None:
        self._keys = keys
        self._cells = cells
        self._missing = missing

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def get(self, key: Any, default: Any = None) -> Any:
        return self._cells.get(key, self._missing) if isinstance(key, str) and key in self._keys else default

    def items(self) -> Iterator[tuple[str, Any]]:
        return ((key, self._cells.get(key, self._missing)) for key in self._keys)


class ByRank:
    """Rows in the order of a rank.

    Args:
        rows: each key and its cell, by rank.
        rank_of: the rank of a key; raises `LookupError` or `TypeError` for an object that cannot be a key.
    """

    __slots__ = ("_rank_of", "_rows")

    def __init__(self, rows: SortedMap[tuple[Any, Any]], rank_of: Callable[[Any], Any]) -> None:
        self._rows = rows
        self._rank_of = rank_of

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return (key for _, (key, _) in self._rows.items())

    def __reversed__(self) -> Iterator[Any]:
        return (self._rows[rank][0] for rank in reversed(self._rows))

    def get(self, key: Any, default: Any = None) -> Any:
        try:
            found = self._rows.get(self._rank_of(key))
        except (LookupError, TypeError):
            return default
        return default if found is None else found[1]

    def items(self) -> Iterator[tuple[Any, Any]]:
        return (row for _, row in self._rows.items())


class Snapshot(Mapping[K, V_co]):
    """The values of several keys at one moment: an immutable mapping.

    It shares structure with the previous snapshot and decodes a value on access: a look-up costs O(log n), and
    iterating over the keys decodes nothing. Each access returns a new object, so changing one has no effect elsewhere.
    A snapshot equals a `dict` with the same content, has its repr, and pickles to one. Use `to_dict` for `json.dumps`
    and other code that requires a dict.
    """

    __slots__ = ("_read", "_rows")

    def __init__(self, rows: Rows, read: Callable[[Any, Any], Any]) -> None:
        self._rows = rows
        self._read = read

    def __getitem__(self, key: K) -> V_co:
        cell = self._rows.get(key, _NO_CELL)
        if cell is _NO_CELL:
            raise KeyError(key)
        return self._read(key, cell)

    def __contains__(self, key: object) -> bool:
        return self._rows.get(key, _NO_CELL) is not _NO_CELL

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def items(self) -> ItemsView[K, V_co]:
        return _Items(self)

    def values(self) -> ValuesView[V_co]:
        return _Values(self)

    def decoded(self) -> Iterator[tuple[K, V_co]]:
        """Each key with its value, decoded one at a time."""
        read = self._read
        return ((key, read(key, cell)) for key, cell in self._rows.items())

    def to_dict(self) -> dict[K, V_co]:
        """A new dict of all keys and values, in this order."""
        return dict(self.decoded())

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Mapping):
            return NotImplemented
        return len(self) == len(other) and self.to_dict() == dict(other)  # pyright: ignore[reportUnknownArgumentType]

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # as a dict's

    def __or__(self, other: Any) -> dict[Any, Any]:
        return {**self, **other} if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return {**other, **self} if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return repr(self.to_dict())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.to_dict(),)


class _Items(ItemsView[K, V_co]):
    """Items of a snapshot, without a look-up per key."""

    def __init__(self, snapshot: Snapshot[K, V_co]) -> None:
        super().__init__(snapshot)
        self._snapshot = snapshot

    def __iter__(self) -> Iterator[tuple[K, V_co]]:
        return self._snapshot.decoded()

    def __reversed__(self) -> Iterator[tuple[K, V_co]]:
        return ((key, self._snapshot[key]) for key in reversed(self._snapshot))


class _Values(ValuesView[V_co]):
    def __init__(self, snapshot: Snapshot[Any, V_co]) -> None:
        super().__init__(snapshot)
        self._snapshot = snapshot

    def __iter__(self) -> Iterator[V_co]:
        return (value for _, value in self._snapshot.decoded())

    def __reversed__(self) -> Iterator[V_co]:
        return (self._snapshot[key] for key in reversed(self._snapshot))
