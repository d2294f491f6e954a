"""`Stream`, the Observable type of this package, and `Live`, a stream with a current value.

A stream adds to reactivex: an observer that raises is detached and reported, without affecting others; subscribing from
    another thread is handed over to the loop; ``await`` and coroutine functions, which Rx would accept but never run,
    are refused with an explanation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from reactivex import Observable, abc
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxmps3.errors import Error
from rxmps3.runtime.no_pickle import BoundToProcess
from rxmps3.runtime.rich_repr import bundle

__all__ = ["Attach", "Live", "Sender", "Stream", "StreamHost", "is_coroutine_function"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class StreamHost(Protocol):
    """The part of a replica that a stream needs."""

    def check_loop(self) -> None:
        """Raise `WrongLoop` if this thread runs an event loop other than the database's."""
        ...

    def attach_on_loop(self, action: Callable[[], None]) -> None:
        """Run on the loop's thread; on a thread that may block, wait until it is done."""
        ...

    def on_loop(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the loop's thread: at once if called there, else soon. Does nothing once the loop is
        closed."""
        ...

    def observer_raised(self, name: str, error: BaseException) -> None:
        """Report what an observer of a stream raised; re-raise it if it ends the program."""
        ...


class Sender(Protocol[T_contra]):
    """The guarded end of one subscription."""

    def send(self, item: T_contra) -> None:
        """Pass an item on. Never raises."""
        ...

    def complete(self) -> None:
        """Complete the observer. Never raises."""
        ...

    def fail(self, error: Exception) -> None:
        """End the observer with an error, for a stream whose source fails. Never raises."""
        ...


Attach = Callable[[Sender[T]], DisposableBase]
"""Connects one subscription to its source, on the loop's thread, and says how to disconnect it."""


class _Subscription(DisposableBase, Generic[T]):
    """Attached and ended on the loop's thread; disposed of on any."""

    __slots__ = ("_host", "_name", "_observer", "_source", "open")

    def __init__(self, host: StreamHost, name: str, observer: ObserverBase[T]) -> None:
        self._host = host
        self._name = name
        self._observer = observer
        self._source: DisposableBase | None = None
        self.open = True

    def attach(self, attach: Attach[T]) -> None:
        if self.open:
            self._source = attach(self)
            if not self.open:
                self._end()

    def send(self, item: T) -> None:
        if not self.open:
            return
        try:
            self._observer.on_next(item)
        except BaseException as error:
            self._detach()
            self._host.observer_raised(self._name, error)

    def complete(self) -> None:
        if not self.open:
            return
        self.open = False
        try:
            self._observer.on_completed()
        except BaseException as error:
            self._host.observer_raised(self._name, error)
        finally:
            self._end()

    def fail(self, error: Exception) -> None:
        if not self.open:
            return
        self.open = False
        try:
            self._observer.on_error(error)
        except BaseException as raised:
            self._host.observer_raised(self._name, raised)
        finally:
            self._end()

    def _detach(self) -> None:
        self.open = False
        self._end()

    def _end(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.dispose()

    def dispose(self) -> None:
        if self.open:
            self.open = False
            self._host.on_loop(self._end)


def is_coroutine_function(handler: object) -> bool:
    """Whether calling it makes a coroutine, which does nothing until it is awaited."""
    called = type(handler).__call__ if callable(handler) else None
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)


class Stream(BoundToProcess, Observable[T_co]):
    """An Observable of this package.

    Args:
        host: the replica behind it.
        name: its name for reports, such as ``"key 'a'"``.
        attach: connects one subscription.
    """

    def __init__(self, host: StreamHost, name: str, attach: Attach[T_co]) -> None:
        super().__init__()
        self._host = host
        self._name = name
        self._attach = attach

    def _subscribe_core(self, observer: ObserverBase[T_co], scheduler: SchedulerBase | None = None) -> DisposableBase:
        subscription = _Subscription(self._host, self._name, observer)
        self._host.attach_on_loop(lambda: subscription.attach(self._attach))
        return subscription

    def subscribe(
        self,
        on_next: abc.ObserverBase[T_co] | Callable[[T_co], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
        on_completed: Callable[[], None] | None = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """Subscribe an observer or callbacks, as `reactivex.Observable.subscribe` does.

        Raises:
            TypeError: ``on_next`` is a coroutine function, which Rx would call without ever awaiting it; or it cannot
                be called at all.
        """
        self._host.check_loop()
        handler = getattr(on_next, "on_next", on_next)
        if handler is not None and not callable(handler):
            raise TypeError(f"{self._name}: an observer is a function or has on_next, unlike {on_next!r:.80}")
        if is_coroutine_function(handler):
            raise TypeError(
                f"{self._name}: an observer is called, never awaited, so it cannot be a coroutine function; "
                "use 'async with db.iterate(stream) as items: async for item in items' instead"
            )
        return super().subscribe(on_next, on_error, on_completed, scheduler=scheduler)

    def __await__(self) -> Generator[Any, None, T_co]:
        raise TypeError(
            f"{self._name}: awaiting an Observable waits for its completion, and this one lasts as long "
            "as the database; "
            "use 'await db.get(key)' for a value, or stream.pipe(operators.first())"
        )

    def __iter__(self) -> NoReturn:
        """Raises TypeError: Rx would make an Observable of each index, without end, also for ``in`` and ``list``."""
        raise TypeError(
            f"{self._name}: an Observable cannot be iterated over; use its value, if it has one, "
            "or 'async with db.iterate(stream) as items: async for item in items'"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"


class Live(Stream[T_co]):
    """A stream with a current value.

    Args:
        read: returns the current value; raises `NotLoaded` if it is not loaded.
    """

    def __init__(self, host: StreamHost, name: str, attach: Attach[T_co], read: Callable[[], T_co]) -> None:
        super().__init__(host, name, attach)
        self._read = read

    @property
    def value(self) -> T_co:
        """The current value, without I/O, from any thread.

        Raises:
            NotLoaded: it is not loaded yet; observe it or await a ``get`` first.
        """
        return self._read()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The notebook display: its name and current value."""
        try:
            value: Any = self._read()
        except Error as error:
            value = str(error)
        return bundle(repr(self), self._name, {"value": value})
