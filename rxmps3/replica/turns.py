"""Operators that reactivex lacks, for the pipeline that steps the view.

`folded` is ``scan`` whose accumulator may reject an item: the error reaches the producer and the pipeline goes on.
`checked` is ``do_action`` that may reject items in the same way.
`Turns` takes items from any thread and delivers the results one at a time, in order, on one thread, even for items
pushed by an observer during delivery (re-entrant items of a plain ``Subject`` overtake each other).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

__all__ = ["Turns", "checked", "folded"]

T = TypeVar("T")
S = TypeVar("S")


def folded(accumulator: Callable[[S, T], S], seed: S) -> Callable[[Observable[T]], Observable[S]]:
    """Fold each item into the accumulation, as ``scan`` does.

    If the accumulator raises, the accumulation stays unchanged and the error goes to whoever pushed the item.

    ::

        source  --a---b---!---c--
        folded  --sa--sb------sc-
    """

    def operator(source: Observable[T]) -> Observable[S]:
        def subscribe(observer: ObserverBase[S], scheduler: SchedulerBase | None) -> DisposableBase:
            last = seed

            def on_next(item: T) -> None:
                nonlocal last
                last = accumulator(last, item)
                observer.on_next(last)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


def checked(check: Callable[[T], None]) -> Callable[[Observable[T]], Observable[T]]:
    """Pass on each item for which ``check`` does not raise; the error goes to whoever pushed the item.

    ::

        source   --a---!---b--
        checked  --a-------b--
    """

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(observer: ObserverBase[T], scheduler: SchedulerBase | None) -> DisposableBase:
            def on_next(item: T) -> None:
                check(item)
                observer.on_next(item)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


class Turns:
    """A lock under which items are pushed, and a queue of the results.

    ::

        source ──▶ entered ──▶ … (under the lock, on any thread) ──▶ queued ──▶ … (on the delivering thread)

    Hold the lock (``with turns: …``) to make a decision based on the current state of the pipeline. Releasing it
    delivers the queue: synchronously on the delivering thread (or by a delivery already running there), soon afterwards
    from any other thread.

    Args:
        hand_over: schedules a function on the delivering thread; may be called from any thread.
    """

    def __init__(self, hand_over: Callable[[Callable[[], None]], None]) -> None:
        self._hand_over = hand_over
        self._thread = threading.get_ident()
        self._lock = threading.RLock()
        self._holds = 0
        self._queue: deque[tuple[ObserverBase[Any], Any]] = deque()
        self._entering: list[tuple[ObserverBase[Any], Any]] = []
        self._running = False

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holds += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holds -= 1
        last, due = not self._holds, bool(self._entering)
        if last and due:
            self._queue.extend(self._entering)
            self._entering.clear()
        self._lock.release()
        if last and due:
            self._run()

    def entered(self, source: Observable[T]) -> Observable[T]:
        """Push items under the lock; an item that is rejected downstream leaves nothing in the queue."""

        def subscribe(observer: ObserverBase[T], scheduler: SchedulerBase | None) -> DisposableBase:
            def on_next(item: T) -> None:
                with self:
                    before = len(self._entering)
                    try:
                        observer.on_next(item)
                    except BaseException:
                        del self._entering[before:]
                        raise

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    def queued(self, source: Observable[T]) -> Observable[T]:
        """Queue items that come under the lock and deliver them in turn; a subscriber gets nothing queued before it
        subscribed."""

        def subscribe(observer: ObserverBase[T], scheduler: SchedulerBase | None) -> DisposableBase:
            def on_next(item: T) -> None:
                self._entering.append((observer, item))

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    def take(self, action: Callable[[], None]) -> None:
        """Run an action as a turn, at once, on the delivering thread: items pushed meanwhile are delivered after it."""
        if self._running:
            action()
        else:
            self._deliver(action)

    def _run(self) -> None:
        if threading.get_ident() != self._thread:
            self._hand_over(self._run)
        elif not self._running:
            self._deliver(None)

    def _deliver(self, first: Callable[[], None] | None) -> None:
        self._running = True
        try:
            if first is not None:
                first()
            while self._queue:
                observer, item = self._queue.popleft()
                observer.on_next(item)
        finally:
            self._running = False
