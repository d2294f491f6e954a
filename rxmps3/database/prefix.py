"""`PrefixRead`, what ``get_prefix`` returns: all values at once, or page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

from rxmps3.model.snapshot import Snapshot

__all__ = ["PAGE", "PrefixRead"]

PAGE = 1000
"""A page has so many keys."""


class PrefixRead:
    """The values of the keys under a prefix: await it for all of them, or take pages of 1,000 with ``async for``.

    Nothing is read before. All pages are of one moment, that of the first; the values of a page are downloaded when
    it is asked for, so that no more than one page need be in memory.
    """

    def __init__(
        self,
        read: Callable[[], Coroutine[Any, Any, Snapshot[str, Any]]],
        pages: Callable[[], AsyncIterator[Snapshot[str, Any]]],
    ) -> None:
        self._read = read
        self._pages = pages

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        return self._all().__await__()

    async def _all(self) -> dict[str, Any]:
        return (await self._read()).to_dict()

    def __aiter__(self) -> AsyncIterator[Snapshot[str, Any]]:
        return self._pages()
