"""Keys in code point order, with prefix queries and windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sortedcontainers import SortedSet

from rxmps3.errors import InvalidOption
from rxmps3.model.collections.cells import own
from rxmps3.model.entries import after

__all__ = ["SortedKeys", "check_prefix", "check_window", "several", "window", "with_default"]


class SortedKeys:
    """Distinct strings, sorted by code point: a `SortedSet` with windows and prefixes."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys: SortedSet[str] = SortedSet(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Iterable[str]) -> None:
        """Add keys."""
        for key in keys:
            self._keys.add(key)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove keys; missing ones are ignored."""
        self._keys.difference_update(keys)

    def window(self, first: int | None, last: int | None) -> list[str]:
        """All keys, or the ``first`` n, or the ``last`` n of them."""
        return self._keys[_window(len(self._keys), first, last)]

    def with_prefix(self, prefix: str) -> list[str]:
        """The keys that start with ``prefix``."""
        check_prefix(prefix)
        end = after(prefix)
        return self._keys[self._keys.bisect_left(prefix) : None if end is None else self._keys.bisect_left(end)]


def window(keys: list[str], first: int | None, last: int | None) -> list[str]:
    """All of some sorted keys, or the ``first`` n, or the ``last`` n."""
    return keys[_window(len(keys), first, last)]


def _window(length: int, first: int | None, last: int | None) -> slice:
    return slice(first) if last is None else slice(max(0, length - last), None)


def several(keys: Iterable[str], operation: str) -> Iterable[str]:
    """These keys. Raises `InvalidOption` for a single text, whose characters would be taken for keys."""
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"several keys are asked for by a list of them, not by {keys!r:.80}", operation=operation, remedy="[key]"
        )
    return keys


def with_default(keys: Iterable[str], found: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """What was found of these keys, in their order; for the others the default, of a container a copy for each."""
    copied = default.__class__ in _CONTAINERS
    return {key: found[key] if key in found else own(default) if copied else default for key in keys}


_CONTAINERS = frozenset({dict, list, set, bytearray})


def check_prefix(prefix: object) -> str:
    """Return a valid prefix of keys. Raises `InvalidOption`."""
    if not isinstance(prefix, str):
        raise InvalidOption(f"a prefix of keys is a str, not {prefix!r:.80}")
    return prefix


def check_window(first: int | None, last: int | None) -> None:
    """Raise `InvalidOption` unless at most one is given, and it is a number of keys."""
    if first is not None and last is not None:
        raise InvalidOption("give first or last, not both")
    for name, number in (("first", first), ("last", last)):
        if number is not None and (type(number) is not int or number < 0):
            raise InvalidOption(f"{name} is a number of keys, not {number!r:.80}")
