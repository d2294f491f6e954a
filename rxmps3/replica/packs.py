"""Reading values out of packs: one request for all that are wanted of a pack at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

from cachetools import LRUCache

from rxmps3.model.state import ContentObject

__all__ = ["KnownPacks", "PackReader", "Span"]

_READ_WHOLE_BYTES = 128 << 10
"""A pack is read from its start where that is so near: a request takes longer than these bytes."""
_MOST_TOUCHED = 1024


class Span(NamedTuple):
    """Some of the bytes of a pack: those from ``start`` on."""

    start: int
    body: bytes

    def part(self, content: ContentObject) -> bytes:
        """The bytes of one value."""
        first = (content.offset or 0) - self.start
        return self.body[first : first + content.size]


class KnownPacks(Protocol):
    """Where known packs are kept on disk."""

    async def load_pack(self, name: str) -> bytes | None: ...

    async def save_pack(self, name: str, body: bytes) -> None: ...


class _Reading(NamedTuple):
    """A request that is about to be made."""

    wanted: list[ContentObject]
    done: asyncio.Future[Span | None]


class PackReader:
    """Reads the values of packs, and keeps some packs in memory.

    Whoever is the first to want a value of a pack lets the others that are running say what they want, and then makes
    one request that spans it all. Whoever comes back to the same pack later reads it whole, so that reading its values
    one by one takes two requests.

    Args:
        request: reads a part of a pack, by its name, or all of it from a start on if the end is None.
        limit: how many bytes of packs to keep.
    """

    def __init__(self, request: Callable[[str, int, int | None], Awaitable[bytes]], limit: int) -> None:
        most = max(1, limit)
        self._request = request
        self._whole: LRUCache[str, bytes] = LRUCache(most, getsizeof=lambda body: min(len(body), most))
        self._touched: LRUCache[str, bool] = LRUCache(_MOST_TOUCHED)
        self._gathering: dict[str, _Reading] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._doubted: set[str] = set()
        self.known: KnownPacks | None = None

    async def read(self, contents: Sequence[ContentObject]) -> list[bytes]:
        """The bytes of some values of one pack, at least one, not verified. Raises as the request."""
        span = await self._read(contents)
        return [span.part(content) for content in contents]

    def doubt(self, name: str) -> None:
        """What was read of a pack is not what it is to be: read it from the storage again, whole."""
        self._whole.pop(name, None)
        self._doubted.add(name)
        self._touched[name] = True

    async def _read(self, contents: Sequence[ContentObject]) -> Span:
        name = contents[0].name
        while True:
            whole = self._whole.get(name)
            if whole is not None:
                return Span(0, whole)
            reading = self._gathering.get(name)
            if reading is None:
                reading = self._gathering[name] = _Reading([*contents], asyncio.get_running_loop().create_future())
                return await self._lead(name, reading)
            reading.wanted.extend(contents)
            await asyncio.wait([reading.done])
            if (span := reading.done.result()) is not None:
                return span

    async def _lead(self, name: str, reading: _Reading) -> Span:
        """Make a request for everybody who wants something of a pack by then."""
        turn = self._turns.setdefault(name, asyncio.Lock())
        try:
            await _let_others_run()
            async with turn:
                self._leave(name, reading)
                span = await self._span(name, reading.wanted)
        except Exception as error:
            self._leave(name, reading)
            reading.done.set_exception(error)
            reading.done.exception()  # there may be nobody else to be told
            raise
        except BaseException:
            self._leave(name, reading)
            reading.done.set_result(None)  # given up: the others see to it themselves
            raise
        reading.done.set_result(span)
        return span

    def _leave(self, name: str, reading: _Reading) -> None:
        if self._gathering.get(name) is reading:
            del self._gathering[name]

    async def _span(self, name: str, wanted: list[ContentObject]) -> Span:
        whole = self._whole.get(name)
        if whole is None and self.known is not None and name not in self._doubted:
            whole = await self.known.load_pack(name)
        if whole is None:
            start = min(content.offset or 0 for content in wanted)
            stop = max((content.offset or 0) + content.size for content in wanted)
            if stop <= _READ_WHOLE_BYTES:
                start = 0
            if name not in self._touched and self.known is None:
                self._touched[name] = True
                return Span(start, await self._request(name, start, stop))
            whole = await self._request(name, 0, None)
            self._doubted.discard(name)
            if self.known is not None:
                await self.known.save_pack(name, whole)
        self._whole[name] = whole
        return Span(0, whole)


async def _let_others_run() -> None:
    """Return after everybody who can run now has done so."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_soon(passed.set_result, None)
    await passed
