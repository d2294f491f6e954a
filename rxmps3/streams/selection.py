"""The keys that a stream of values follows: given keys, or a window of the keys under prefixes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from rxmps3.model.entries import Cell, Entries, Entry, cell_of
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.sortedmap import slide
from rxmps3.model.state import EntryChange

__all__ = ["KeySelection", "PrefixSelection", "Selection"]


class Selection(Protocol):
    """Follows the view, one turn at a time."""

    def update(self, changes: Iterable[EntryChange]) -> Collection[str]:
        """Apply one turn's changes. Returns the selected keys that may differ. O(changes · log n)."""
        ...

    def snapshot(self) -> Entries:
        """The current selection. O(1)."""
        ...

    def overlay(
        self, snapshot: Entries, own: Mapping[str, Entry | None], behind: Mapping[str, Entry | None]
    ) -> tuple[Entries, Collection[str]]:
        """An older snapshot with own entries on top, and the keys that may differ.

        Args:
            snapshot: the older one.
            own: the own entries to put on top, of the selected keys.
            behind: the older entries of other selected keys that have changed since.
        """
        ...


class KeySelection:
    """Given keys, existing or not."""

    def __init__(self, entries: Mapping[str, Entry | None]) -> None:
        self._entries = Entries.of({key: entry for key, entry in entries.items() if entry is not None})

    def update(self, changes: Iterable[EntryChange]) -> Collection[str]:
        self._entries, touched = _laid_over(self._entries, {change.key: change.after for change in changes})
        return touched

    def snapshot(self) -> Entries:
        return self._entries

    def overlay(
        self, snapshot: Entries, own: Mapping[str, Entry | None], behind: Mapping[str, Entry | None]
    ) -> tuple[Entries, Collection[str]]:
        return _laid_over(snapshot, own)


class PrefixSelection:
    """The existing keys under some prefixes, sorted by code point: all, the ``first`` n or the ``last`` n of them."""

    def __init__(self, entries: Entries, prefixes: tuple[str, ...], first: int | None, last: int | None) -> None:
        self._all = entries
        self._prefixes = prefixes
        self._first = first
        self._last = last
        self._window = Entries(self._all.cells.slice(*self._bounds(self._all)))

    def update(self, changes: Iterable[EntryChange]) -> Collection[str]:
        changed = {change.key: change.after for change in changes if change.key.startswith(self._prefixes)}
        self._all, touched = _laid_over(self._all, changed)
        if self._first is self._last is None:
            self._window = self._all
            return touched
        come = [key for key in touched if changed[key] is not None]
        cells, left, entered = slide(self._window.cells, self._all.cells, touched, come, *self._bounds(self._all))
        self._window = Entries(cells)
        return dict.fromkeys([*left, *entered])

    def snapshot(self) -> Entries:
        return self._window

    def overlay(
        self, snapshot: Entries, own: Mapping[str, Entry | None], behind: Mapping[str, Entry | None]
    ) -> tuple[Entries, Collection[str]]:
        if self._first is self._last is None:
            return _laid_over(snapshot, own)
        known: dict[str, Entry | None] = {**behind, **dict(snapshot.items()), **own}
        more = len(known)  # this many of the current keys may not have existed then
        first = None if self._first is None else self._first + more
        last = None if self._last is None else self._last + more
        then, _ = _laid_over(Entries(self._all.cells.slice(*_bounds(len(self._all), first, last))), known)
        window = Entries(then.cells.slice(*self._bounds(then)))
        return window, dict.fromkeys([*snapshot, *window])

    def _bounds(self, entries: Entries) -> tuple[int, int]:
        return _bounds(len(entries), self._first, self._last)


def _bounds(length: int, first: int | None, last: int | None) -> tuple[int, int]:
    """The index range of the first or last n of a number of items."""
    return (0, length if first is None else first) if last is None else (max(0, length - last), length)


def _laid_over(entries: Entries, changed: Mapping[str, Entry | None]) -> tuple[Entries, list[str]]:
    """Entries with some replaced, and the keys whose entries changed."""
    changes: dict[str, Cell | MissingType] = {}
    known = entries.cells.get_all(changed)
    for key, entry in changed.items():
        cell = None if entry is None else cell_of(entry)
        if known.get(key) != cell:
            changes[key] = MISSING if cell is None else cell
    if not changes:
        return entries, []
    return Entries(entries.cells.update(changes)), list(changes)
