"""Keys in code point order, for prefix queries, and windows of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable

from rxmps3.errors import InvalidOption

__all__ = ["SortedKeys", "check_prefix", "check_window", "window"]


class SortedKeys:
    """Distinct strings, sorted by code point.

    A sorted list: adding one of 100,000 keys moves 400 KiB of pointers, some microseconds.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = sorted(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Collection[str]) -> None:
        """Add keys that are not there yet."""
        if len(keys) > 16:
            self._keys = sorted([*self._keys, *keys])
        else:
            for key in keys:
                insort(self._keys, key)

    def remove(self, keys: Collection[str]) -> None:
        """Remove keys that are there."""
        if len(keys) > 16:
            gone = frozenset(keys)
            self._keys = [key for key in self._keys if key not in gone]
        else:
            for key in keys:
                del self._keys[bisect_left(self._keys, key)]

    def window(self, first: int | None, last: int | None) -> list[str]:
        """All keys, or the ``first`` n, or the ``last`` n of them."""
        return window(self._keys, first, last)

    def with_prefix(self, prefix: str) -> list[str]:
        """The keys that start with ``prefix``."""
        check_prefix(prefix)
        low = bisect_left(self._keys, prefix)
        length = len(prefix)
        return self._keys[low : bisect_right(self._keys, prefix, lo=low, key=lambda key: key[:length])]


def window(keys: list[str], first: int | None, last: int | None) -> list[str]:
    """All of some sorted keys, or the ``first`` n, or the ``last`` n of them."""
    return keys[:first] if last is None else keys[max(0, len(keys) - last) :]


def check_prefix(prefix: object) -> str:
    """Return a prefix of keys if it is one. Raises `InvalidOption`."""
    if not isinstance(prefix, str):
        raise InvalidOption(f"a prefix of keys is a str, not {prefix!r:.80}")
    return prefix


def check_window(first: int | None, last: int | None) -> None:
    """Raise `InvalidOption` unless at most one of them is given, and is a number of keys."""
    if first is not None and last is not None:
        raise InvalidOption("give first or last, not both")
    for name, number in (("first", first), ("last", last)):
        if number is not None and (type(number) is not int or number < 0):
            raise InvalidOption(f"{name} is a number of keys, not {number!r:.80}")
