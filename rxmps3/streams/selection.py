"""What a stream of values looks at: some keys, or a window of the keys under a prefix. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from rxmps3.model.sortedkeys import SortedKeys
from rxmps3.model.state import Entry, EntryChange

__all__ = ["KeySelection", "PrefixSelection", "Selection", "Snapshot", "same_snapshot"]

Snapshot = Mapping[str, Entry | None]
"""Entries by key; None where an asked key has none. Never changed once made."""


def same_snapshot(left: Snapshot | None, right: Snapshot, default: Entry | None) -> bool:
    """Whether a reader could not tell the two apart; ``default`` is what stands for a missing entry."""
    if left is None or left.keys() != right.keys():
        return False
    for key in right:
        one, other = left[key] or default, right[key] or default
        if one is not other and (one is None or not one.same_value(other)):
            return False
    return True


class Selection(Protocol):
    """Follows the view, one turn at a time."""

    def update(self, changes: Iterable[EntryChange]) -> None:
        """Take one turn's changes of the selected keys."""
        ...

    def snapshot(self) -> Snapshot:
        """What is selected now."""
        ...

    def overlay(self, snapshot: Snapshot, own: Snapshot, behind: Snapshot) -> Snapshot:
        """An older snapshot with own entries on top.

        Args:
            snapshot: the older one.
            own: what goes on top of it, of the selected keys.
            behind: where else the selected keys' entries were others then than they are now.
        """
        ...


class KeySelection:
    """Certain keys, present or not, in the order asked for."""

    def __init__(self, entries: Snapshot) -> None:
        self._entries = dict(entries)

    def update(self, changes: Iterable[EntryChange]) -> None:
        entries = dict(self._entries)
        for change in changes:
            entries[change.key] = change.after
        self._entries = entries

    def snapshot(self) -> Snapshot:
        return self._entries

    def overlay(self, snapshot: Snapshot, own: Snapshot, behind: Snapshot) -> Snapshot:
        return {**snapshot, **own}


class PrefixSelection:
    """The present keys under a prefix, sorted by code point; all, the ``first`` n or the ``last`` n of them."""

    def __init__(self, entries: Mapping[str, Entry], first: int | None, last: int | None) -> None:
        self._entries = dict(entries)
        self._keys = SortedKeys(entries)
        self._first = first
        self._last = last

    def update(self, changes: Iterable[EntryChange]) -> None:
        new: list[str] = []
        gone: list[str] = []
        for change in changes:
            if change.after is not None:
                if change.key not in self._entries:
                    new.append(change.key)
                self._entries[change.key] = change.after
            elif self._entries.pop(change.key, None) is not None:
                gone.append(change.key)
        self._keys.remove(gone)
        self._keys.add(new)

    def snapshot(self) -> Snapshot:
        return {key: self._entries[key] for key in self._keys.window(self._first, self._last)}

    def overlay(self, snapshot: Snapshot, own: Snapshot, behind: Snapshot) -> Snapshot:
        known = {**behind, **snapshot, **own}
        more = len(known)  # so many of today's keys may not have been there then
        first = None if self._first is None else self._first + more
        last = None if self._last is None else self._last + more
        then = {**{key: self._entries[key] for key in self._keys.window(first, last)}, **known}
        present = SortedKeys(key for key, entry in then.items() if entry is not None)
        return {key: then[key] for key in present.window(self._first, self._last)}
