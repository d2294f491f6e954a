"""What the bells over a network share: one line for each bell and event loop, open while somebody uses it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxmps3.bells.protocol import Rung
from rxmps3.errors import Error, InvalidOption, Unavailable
from rxmps3.runtime.clock import SystemClock, spawn

__all__ = ["HANDSHAKE", "SILENCE", "Line", "LineBell", "Tell", "needs", "new_id"]

Tell = Callable[[Rung], None]

HANDSHAKE = 5.0
"""Seconds within which a server has to accept a connection."""
SILENCE = 20.0
"""Seconds without a sign of life after which a server is asked for one; after as many again it counts as gone."""


class Line(ABC):
    """The connection of one bell on one event loop. Nothing is opened before it is used, and nothing opened again
    by itself: who listens or rings again opens it again."""

    @abstractmethod
    async def listen(self, topic: str, tell: Tell) -> None:
        """Yield each ring until the connection is lost, and once as soon as it is made. Several may listen at once.

        Raises:
            Unavailable, AccessDenied: it could not be made, or was lost.
        """

    @abstractmethod
    async def ring(self, topic: str) -> None:
        """Ring. Others hear it, this line does not. Raises as `listen`."""

    @abstractmethod
    async def close(self) -> None:
        """Close what is open."""


class _Open:
    """A line and who uses it."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.users = 0
        self.listening: set[asyncio.Task[None]] = set()


_open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[LineBell, _Open]] = WeakKeyDictionary()


class LineBell(ABC):
    """A bell that keeps one `Line` on each event loop while it is in use there. Subclasses are frozen dataclasses."""

    @abstractmethod
    def _new_line(self) -> Line:
        """A line that is not connected yet."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the bell is, for messages; holds no secret."""

    def __str__(self) -> str:
        return f"the bell at {self.place}"

    async def ring(self, topic: str) -> None:
        """See `Bell.ring`."""
        async with self._held() as line:
            try:
                async with asyncio.timeout(HANDSHAKE):
                    await line.ring(topic)
            except Exception as problem:
                raise self._translated(problem, "ring") from problem

    def rings(self, topic: str) -> Observable[Any]:
        """See `Bell.rings`. It is subscribed to on a thread that runs an event loop, and emits there."""

        def subscribe(observer: ObserverBase[Any], _: SchedulerBase | None) -> DisposableBase:
            task = spawn(self._listen(topic, observer), f"rxmps3 listens to {self.place}")
            listening = self._opened().listening
            listening.add(task)
            task.add_done_callback(listening.discard)

            def stop() -> None:
                if task is not asyncio.current_task():
                    task.cancel()

            return Disposable(stop)

        return Observable(subscribe)

    def retain(self) -> None:
        """See `HeldBell.retain`."""
        self._opened().users += 1

    async def release(self) -> None:
        """See `HeldBell.release`."""
        ended = [task for task in self._opened().listening if task.cancelling()]
        if ended:
            await asyncio.wait(ended)
        await self._let_go()

    def _opened(self) -> _Open:
        lines = _open.setdefault(asyncio.get_running_loop(), {})
        opened = lines.get(self)
        if opened is None:
            opened = lines[self] = _Open(self._new_line())
        return opened

    async def _let_go(self) -> None:
        opened = self._opened()
        opened.users -= 1
        if opened.users == 0:
            del _open[asyncio.get_running_loop()][self]
            with suppress(Exception):
                await opened.line.close()

    @asynccontextmanager
    async def _held(self) -> AsyncGenerator[Line]:
        self.retain()
        try:
            yield self._opened().line
        finally:
            await self._let_go()

    async def _listen(self, topic: str, observer: ObserverBase[Any]) -> None:
        error: Error = Unavailable("the connection has ended", operation="listen", object=str(self))
        async with self._held() as line:
            try:
                await line.listen(topic, observer.on_next)
            except Exception as problem:
                error = self._translated(problem, "listen")
        observer.on_error(error)

    def _translated(self, problem: Exception, operation: str) -> Error:
        if isinstance(problem, Error):
            return problem
        error = Unavailable(
            f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__,
            operation=operation,
            object=str(self),
        )
        error.__cause__ = problem
        return error


def needs(package: str, extra: str) -> None:
    """Import a package that comes with an extra.

    Raises:
        InvalidOption: it is not installed.
    """
    try:
        import_module(package)
    except ImportError as error:
        raise InvalidOption(
            f"this bell needs the package {package}",
            operation="connect",
            remedy=f"pip install 'rxmps3[{extra}]'",
        ) from error


def new_id() -> str:
    """An id by which a line knows its own rings."""
    return SystemClock().new_id()
