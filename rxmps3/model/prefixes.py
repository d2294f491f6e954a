"""`Prefixes`: which keys a partial replica keeps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from rxmps3.errors import InvalidOption, NotLoaded
from rxmps3.model.conditions import Conditions
from rxmps3.model.entries import Entries, Entry, after
from rxmps3.model.sortedkeys import check_prefix

__all__ = ["Prefixes"]


@dataclass(frozen=True)
class Prefixes:
    """The keys that start with one of some strings.

    Attributes:
        all: the strings, sorted; none starts with another one.
    """

    all: tuple[str, ...]

    @staticmethod
    def of(prefixes: Iterable[str]) -> Prefixes:
        """Raises `InvalidOption` unless it is a list of strings, at least one."""
        if isinstance(prefixes, str):
            raise InvalidOption("prefixes is a list of prefixes, not one prefix", operation="connect")
        try:
            given = iter(prefixes)
        except TypeError:
            raise InvalidOption(f"prefixes is a list of prefixes, not {prefixes!r:.80}", operation="connect") from None
        kept: list[str] = []
        for prefix in sorted(map(check_prefix, given)):
            if not kept or not prefix.startswith(kept[-1]):
                kept.append(prefix)
        if not kept:
            raise InvalidOption("prefixes is empty", operation="connect", remedy="leave it out to keep all keys")
        return Prefixes(tuple(kept))

    def has(self, key: str) -> bool:
        """Whether a key is kept; for a prefix, whether every key under it is."""
        return key.startswith(self.all)

    def meets(self, start: str, stop: str | None) -> bool:
        """Whether some key from ``start`` to before ``stop``, or to the end if that is None, may be kept."""
        return any((end is None or start < end) and (stop is None or prefix < stop) for prefix, end in self._ranges)

    @property
    def _ranges(self) -> Iterable[tuple[str, str | None]]:
        return ((prefix, after(prefix)) for prefix in self.all)

    def within(self, entries: Entries) -> Entries:
        """Those of some entries that are kept. O(log n + their number)."""
        if len(self.all) == 1:
            return entries.under(self.all[0])
        return Entries.of({key: entry for prefix in self.all for key, entry in entries.under(prefix).items()})

    def patch(self, patch: Mapping[str, Entry | None]) -> Mapping[str, Entry | None]:
        """The part of a flat merge patch that concerns kept keys."""
        return {key: entry for key, entry in patch.items() if key.startswith(self.all)}

    def check(self, keys: Iterable[str], operation: str) -> None:
        """Raise `NotLoaded` if a key is not kept."""
        for key in keys:
            if not self.has(key):
                self._refuse(f"key {key!r:.80}", operation)

    def check_under(self, prefixes: Iterable[str], operation: str) -> None:
        """Raise `NotLoaded` if some key under a prefix may not be kept."""
        for prefix in prefixes:
            if not self.has(prefix):
                self._refuse(f"prefix {prefix!r:.80}" if prefix else "all keys", operation)

    def _refuse(self, what: str, operation: str) -> NoReturn:
        raise NotLoaded(
            f"not under the prefixes that are loaded: {', '.join(map(repr, self.all))}",
            operation=operation,
            object=what,
            remedy="open the database with prefixes= that cover it, or without",
        )

    def check_conditions(self, conditions: Conditions | None, operation: str) -> None:
        """Raise `NotLoaded` if conditions concern keys that are not kept: whether they hold is not known here."""
        if conditions is not None:
            self.check(conditions.keys, operation)
            self.check_under((one.prefix for one in conditions.ranges), operation)
