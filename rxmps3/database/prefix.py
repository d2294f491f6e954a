"""`PrefixRead`, what ``get_prefix`` returns: all values at once, or page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from itertools import islice
from typing import Any, cast

from rxmps3.errors import InvalidOption
from rxmps3.model.snapshot import Snapshot
from rxmps3.model.state import Entries, Entry, View

__all__ = ["PAGE", "PrefixRead", "check_entries", "paged", "under"]

PAGE = 1000
"""How many keys a page has."""


def under(view: View, prefix: str, first: int | None, last: int | None) -> Entries:
    """The entries of a view under a prefix: all, or the ``first`` n, or the ``last`` n of them. No I/O."""
    cells = view.under(prefix).cells
    start, stop = (0, first) if last is None else (max(0, len(cells) - last), None)
    return Entries(cells.slice(start, len(cells) if stop is None else stop))


def check_entries(entries: object) -> None:
    """Raise `InvalidOption` for what is no mapping of entries."""
    is_mapping = isinstance(entries, Mapping)
    if not is_mapping or not all(isinstance(entry, Entry) for entry in cast("Mapping[Any, Any]", entries).values()):
        raise InvalidOption(
            f"the texts of entries are read, not of {entries!r:.80}",
            operation="read_texts",
            remedy="give a mapping of keys to some entries of db.states.value",
        )


def paged(entries: Mapping[str, Entry], size: int) -> Iterator[dict[str, Entry]]:
    """So many entries at a time."""
    items = iter(entries.items())
    while page := dict(islice(items, size)):
        yield page


class PrefixRead:
    """The values of the keys under a prefix: await it for all of them, or take pages of 1,000 with ``async for``.

    Nothing is read before. All pages are of one moment, that of the first; the values of a page are downloaded when
    it is asked for, so that no more than one page need be in memory.
    """

    def __init__(
        self,
        read: Callable[[], Coroutine[Any, Any, dict[str, Any]]],
        pages: Callable[[], AsyncIterator[Snapshot[str, Any]]],
    ) -> None:
        self._read = read
        self._pages = pages

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        return self._read().__await__()

    def __aiter__(self) -> AsyncIterator[Snapshot[str, Any]]:
        return self._pages()
