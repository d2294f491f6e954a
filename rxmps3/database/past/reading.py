"""Finite streams of stored data: each subscription reads from the start and completes at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing
from typing import Any, TypeVar

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxmps3.errors import Closed, unforeseen
from rxmps3.replica import Replica
from rxmps3.streams.stream import Sender, Stream

__all__ = ["Reads", "Recorded"]

T_co = TypeVar("T_co", covariant=True)


class Reads:
    """The active reads of one handle; they end when it is closed."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self._running: set[asyncio.Task[None]] = set()
        self._pauses: set[asyncio.Task[None]] = set()
        self._closed = False

    def check_open(self, operation: str) -> None:
        """Raise `Closed` if the handle is."""
        if self._closed:
            what = f"manifest {self.replica.manifest!r}"
            raise Closed("the database is closed", operation=operation, object=what, remedy="open another")
        self.replica.check_open(operation)
        self.replica.check_loop()

    def start(self, read: Callable[[], AsyncGenerator[Any, None]], sender: Sender[Any]) -> DisposableBase:
        """Read everything into an observer. On the loop's thread."""
        try:
            self.check_open("observe")
        except Closed as error:
            sender.fail(error)
            return Disposable()
        task = self.replica.spawn(self._read(read, sender), "read")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

        def cancel() -> None:
            task.cancel()

        return Disposable(cancel)

    async def _read(self, read: Callable[[], AsyncGenerator[Any, None]], sender: Sender[Any]) -> None:
        try:
            async with aclosing(read()) as items:
                async for item in items:
                    sender.send(item)
        except asyncio.CancelledError:
            what = f"manifest {self.replica.manifest!r}"
            sender.fail(Closed("the database was closed before the end was read", object=what))
            raise
        except Exception as error:
            sender.fail(unforeseen(error))
        else:
            sender.complete()

    async def pause(self, seconds: float) -> None:
        """Wait this many seconds. Raises `Closed` as soon as the handle is closed."""
        pause = self.replica.spawn(self.replica.clock.sleep(seconds), "pause")
        self._pauses.add(pause)
        try:
            await asyncio.wait((pause,))
        finally:
            self._pauses.discard(pause)
            pause.cancel()
        self.check_open("read")

    def close(self) -> None:
        """End them with `Closed`. On the loop's thread."""
        self._closed = True
        for task in (*self._running, *self._pauses):
            task.cancel()


class Recorded(Stream[T_co]):
    """An Observable of stored data. Each subscription reads it from the start, on the event loop, and completes.

    It is also an async iterable, which reads only as fast as it is consumed, and can be awaited for the list of all
    items. Both raise `Closed` once the handle is closed.

    Args:
        reads: of the handle.
        name: what it is, for reports.
        read: reads the data once.
    """

    def __init__(self, reads: Reads, name: str, read: Callable[[], AsyncGenerator[T_co, None]]) -> None:
        super().__init__(reads.replica, name, lambda sender: reads.start(read, sender))
        self._read = read

    def __aiter__(self) -> AsyncIterator[T_co]:
        return self._read()

    def __await__(self) -> Generator[Any, None, list[T_co]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._list().__await__()

    async def _list(self) -> list[T_co]:
        async with aclosing(self._read()) as items:
            return [item async for item in items]
