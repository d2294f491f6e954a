"""``map`` with a coroutine function."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxmps3.errors import Error, InvalidOption, Overloaded
from rxmps3.operators.home import Inbox, check_callable, is_count, on_loop, running_loop
from rxmps3.runtime.clock import spawn

__all__ = ["CreateTask", "Ordering", "map_async"]

T = TypeVar("T")
U = TypeVar("U")
_log = logging.getLogger("rxmps3")

Ordering = Literal["preserve", "arrival", "latest", "conflate"]


class CreateTask(Protocol):
    """Starts a coroutine as a task, as `asyncio.TaskGroup.create_task` does."""

    def __call__(self, coroutine: Coroutine[Any, Any, None], /, *, name: str) -> asyncio.Task[None]: ...


def map_async(
    fn: Callable[[T], Awaitable[U]],
    *,
    concurrency: int = 1,
    ordering: Ordering = "preserve",
    buffer: int = 10_000,
    create_task: CreateTask = spawn,
) -> Callable[[Observable[T]], Observable[U]]:
    """Map each item with a coroutine function, on the event loop of the thread that subscribes.

    ``ordering`` determines the order of the results: ``"preserve"`` keeps that of the items; ``"arrival"`` emits them
        as they are ready; ``"latest"`` emits only that of the latest item: a new item cancels the call for the one
        before, and its own call starts when that one has ended. ``"conflate"`` cancels nothing: of the items that
        arrive during a call the latest one waits, and the others are dropped.

    ``takes(a=3)`` is a coroutine function that takes 3 seconds for ``a``, 1 for others, and gives the capital letter.

    ::

        source  -a-b------|
        map_async(takes(a=3))
        result  ----AB----|

        source  -a-b------|
        map_async(takes(a=5), concurrency=2)
        result  ------(AB)|

        source  -a-b----|
        map_async(takes(a=5), concurrency=2, ordering="arrival")
        result  ----B-A-|

        source  -a-b----c-|
        map_async(takes(a=5), ordering="latest")
        result  ----B----C|

        source  -a-bc-------|
        map_async(takes(a=4), ordering="conflate")
        result  -----AC-----|

        source  -a-b-----|
        map_async(fails_at("a"))
        result  --#

    An error of ``fn``, including a cancellation from elsewhere, goes to ``on_error``, with ``"preserve"`` after the
    results of the earlier items. An error of the source goes there at once. Either cancels the running calls, as
    disposing does. The completion of the source waits for the results. An observer that raises is detached, and its
    error goes to the loop's exception handler.

    Args:
        fn: called with each item; what it returns is awaited in a task.
        concurrency: how many calls may run at once; with ``"latest"`` and ``"conflate"`` it is one.
        ordering: ``"preserve"``, ``"arrival"``, ``"latest"`` or ``"conflate"``.
        buffer: how many items may wait for their call or their turn; beyond that, `Overloaded` goes to ``on_error``.
        create_task: starts each call, with the arguments of `asyncio.TaskGroup.create_task`, for callers that track
            their tasks; by default on the running event loop.

    Raises:
        InvalidOption: ``fn`` or ``create_task`` cannot be called, or an option is none of these.
        WrongLoop: (to ``on_error``) no event loop is running on the subscribing thread. The source may emit, and the
            subscription may be disposed, on any thread.
    """
    if ordering not in get_args(Ordering):
        raise InvalidOption(f"ordering is one of {get_args(Ordering)}, not {ordering!r}", operation="map_async")
    if not callable(fn):
        raise InvalidOption(f"it takes a coroutine function, not {fn!r:.80}", operation="map_async")
    check_callable(create_task, "create_task", "map_async")
    if not is_count(concurrency, 1) or not is_count(buffer, 0):
        raise InvalidOption(
            f"concurrency is 1 or more and buffer 0 or more, not {concurrency!r} and {buffer!r}", operation="map_async"
        )
    if ordering in ("latest", "conflate") and concurrency != 1:
        raise InvalidOption(
            f"ordering={ordering!r} runs one call at a time; leave concurrency out", operation="map_async"
        )

    def mapped(source: Observable[T]) -> Observable[U]:
        def subscribe(observer: ObserverBase[U], scheduler: SchedulerBase | None = None) -> DisposableBase:
            loop = running_loop("map_async")
            subscription = CompositeDisposable()
            calls = _Calls(fn, concurrency, ordering, buffer, create_task, observer, subscription.dispose)
            subscription.add(Disposable(lambda: on_loop(loop, calls.cancel)))
            only_latest = ordering in ("latest", "conflate")
            inbox = Inbox(loop, calls.take, None if only_latest else buffer + concurrency + 1)
            upstream = source.subscribe(
                inbox.put,
                lambda error: on_loop(loop, lambda: calls.fail(error)),
                lambda: on_loop(loop, calls.source_ended),
                scheduler=scheduler,
            )
            subscription.add(upstream)
            return subscription

        return Observable(subscribe)

    return mapped


class _Call(Generic[T, U]):
    """One call of the function."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.dropped = False
        self.done = False
        self.result: list[U] = []
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    async def run(self, fn: Callable[[T], Awaitable[U]]) -> None:
        self.result.append(await fn(self.item))

    def drop(self) -> None:
        """Discard the result."""
        self.dropped = True
        if self.task is not None and not self.task.done():
            self.task.cancel()

    def settle(self, task: asyncio.Task[None]) -> None:
        """Record the task's outcome."""
        self.done = True
        error = None if task.cancelled() else task.exception()
        if self.dropped:
            if error is not None:
                _log.warning("map_async: a call that was cancelled raised %r", error, exc_info=error)
        elif task.cancelled():
            self.error = Error("the coroutine was cancelled by somebody else", operation="map_async")
        elif isinstance(error, Exception):
            self.error = error


class _Calls(Generic[T, U]):
    """The calls of one subscription. All methods are called on the loop's thread."""

    def __init__(
        self,
        fn: Callable[[T], Awaitable[U]],
        concurrency: int,
        ordering: Ordering,
        buffer: int,
        create_task: CreateTask,
        observer: ObserverBase[U],
        detach: Callable[[], None],
    ) -> None:
        self._fn = fn
        self._concurrency = concurrency
        self._ordering = ordering
        self._buffer = buffer
        self._create_task = create_task
        self._observer = observer
        self._detach = detach
        self._waiting: deque[T] = deque()
        self._started: deque[_Call[T, U]] = deque()
        self._running = 0
        self._source_ended = False
        self._open = True

    def take(self, item: T) -> None:
        if not self._open:
            return
        if self._ordering == "latest":
            self._drop_all()
        elif self._ordering == "conflate":
            self._waiting.clear()
        self._waiting.append(item)
        self._start()
        waiting = len(self._waiting) + len(self._started) - self._running
        if waiting > self._buffer and self._ordering in ("preserve", "arrival"):
            self.fail(Overloaded(f"{waiting:,} items wait, and buffer={self._buffer:,}", operation="map_async"))

    def source_ended(self) -> None:
        self._source_ended = True
        self._complete_if_done()

    def fail(self, error: Exception) -> None:
        if self._open:
            self.cancel()
            self._observer.on_error(error)

    def cancel(self) -> None:
        self._open = False
        self._drop_all()

    def _drop_all(self) -> None:
        """Drop waiting items and running calls; a running call counts until it has ended."""
        self._waiting.clear()
        started, self._started = self._started, deque()
        for call in started:
            call.drop()

    def _start(self) -> None:
        while self._waiting and self._running < self._concurrency:
            call: _Call[T, U] = _Call(self._waiting.popleft())
            coroutine = call.run(self._fn)
            try:
                call.task = self._create_task(coroutine, name="map_async")
            except Exception as error:  # a task group that has ended accepts no tasks
                coroutine.close()
                self.fail(error)
                return
            self._started.append(call)
            self._running += 1
            call.task.add_done_callback(lambda task, call=call: self._ended(call, task))

    def _ended(self, call: _Call[T, U], task: asyncio.Task[None]) -> None:
        call.settle(task)
        self._running -= 1
        while self._open and (ready := self._next_ready()) is not None:
            self._started.remove(ready)
            if ready.error is not None:
                self.fail(ready.error)
                return
            try:
                self._observer.on_next(ready.result[0])
            except BaseException:
                self._detach()
                raise
        if self._open:
            self._start()
            self._complete_if_done()

    def _next_ready(self) -> _Call[T, U] | None:
        if self._ordering == "preserve":
            return self._started[0] if self._started and self._started[0].done else None
        return next((call for call in self._started if call.done), None)

    def _complete_if_done(self) -> None:
        if self._open and self._source_ended and not self._waiting and not self._started:
            self._open = False
            self._observer.on_completed()
