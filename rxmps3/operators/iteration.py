"""From an Observable to ``async for``, with bounded memory."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Generic, Literal, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxmps3.errors import InvalidOption, Overloaded
from rxmps3.runtime.event_loop import runs_here

__all__ = ["MOST_BEHIND", "Iteration", "check_iteration"]

T = TypeVar("T")
MOST_BEHIND = 10_000
"""With ``keep="all"`` a consumer may be this many items behind before it gets an error."""


def check_iteration(source: object, keep: object) -> None:
    """Raise `InvalidOption` if these make no sense."""
    if not isinstance(source, Observable):
        raise InvalidOption(
            f"it goes over an Observable, not {source!r:.80}", operation="iterate", remedy="such as db.observe(key)"
        )
    if keep != "all" and (type(keep) is not int or not 0 < keep <= sys.maxsize):
        raise InvalidOption(f"keep is a positive number or 'all', not {keep!r:.80}", operation="iterate")


class Iteration(Generic[T]):
    """An async context manager that subscribes and gives an async iterator of the items.

    Args:
        source: any Observable, which may emit on any thread.
        keep: how many of the latest items are buffered for a slow consumer; ``"all"`` buffers up to 10,000 and raises
            `Overloaded` in the consumer beyond that.
    """

    def __init__(self, source: Observable[T], keep: int | Literal["all"] = 1) -> None:
        check_iteration(source, keep)
        self._source = source
        self._all = keep == "all"
        self._items: deque[T] = deque(maxlen=None if keep == "all" else keep)
        self._end: Exception | None = None
        self._ended = False
        self._lock = threading.Lock()
        self._waking = False
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscription: DisposableBase | None = None

    async def __aenter__(self) -> AsyncIterator[T]:
        if self._loop is not None:
            raise TypeError("it can be entered only once; make another one")
        self._loop = asyncio.get_running_loop()
        self._subscription = self._source.subscribe(self._take, self._finish, lambda: self._finish(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._subscription is not None:
            self._subscription.dispose()
        self._finish(None)

    def __aiter__(self) -> AsyncIterator[T]:
        if self._subscription is None:
            raise TypeError("enter it first: 'async with db.iterate(observable) as items: async for item in items'")
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._ended:
                if self._end is not None:
                    raise self._end
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()

    def _take(self, item: T) -> None:
        """Receive an item, on any thread; the buffer is bounded here, however long the loop is busy."""
        with self._lock:
            if self._ended:
                return
            if not self._all or len(self._items) < MOST_BEHIND:
                self._items.append(item)
            else:
                self._ended = True
                self._end = Overloaded(f"the consumer is {MOST_BEHIND:,} items behind", operation="iterate")
        self._wake()

    def _finish(self, error: Exception | None) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended, self._end = True, error
        self._wake()

    def _wake(self) -> None:
        """Wake the consumer; from other threads with a single message to the loop for all items that arrive
        meanwhile."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if runs_here(loop):
            self._arrived.set()
            return
        with self._lock:
            if self._waking:
                return
            self._waking = True
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        with self._lock:
            self._waking = False
        self._arrived.set()
