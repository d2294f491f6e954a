"""Two operators that reactivex lacks, for the one pipeline that moves the view.

`folded` is ``scan`` whose accumulator may refuse an item: the error reaches the producer and the pipeline lives on.
`Turns` delivers items one at a time, in order, on one thread, however they come: from other threads, or from an
observer that is being served (re-entrant items of a plain ``Subject`` overtake each other).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

__all__ = ["Turns", "folded"]

T = TypeVar("T")
S = TypeVar("S")


def folded(accumulator: Callable[[S, T], S], seed: S) -> Callable[[Observable[T]], Observable[S]]:
    """Each item folded into what came before, as ``scan`` does.

    An accumulator that raises leaves the accumulation as it was; its error goes to whoever pushed the item.

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


class Turns(Generic[T]):
    """An operator that queues what it gets and lets `run` deliver it.

    Whoever pushed an item calls `run` afterwards, holding no lock. On the delivering thread it delivers all that is
    queued, unless a delivery is going on there already, which then takes care of it; on any other thread it asks
    the delivering thread to.

    Args:
        hand_over: runs a function on the delivering thread soon; may be called from any thread.
    """

    def __init__(self, hand_over: Callable[[Callable[[], None]], None]) -> None:
        self._hand_over = hand_over
        self._thread = threading.get_ident()
        self._queue: deque[tuple[ObserverBase[T], T]] = deque()
        self._running = False

    def __call__(self, source: Observable[T]) -> Observable[T]:
        def subscribe(observer: ObserverBase[T], scheduler: SchedulerBase | None) -> DisposableBase:
            def on_next(item: T) -> None:
                self._queue.append((observer, item))

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    def run(self) -> None:
        """Deliver what is queued, here or on the delivering thread."""
        if threading.get_ident() != self._thread:
            self._hand_over(self.run)
            return
        if not self._running:
            self._deliver(None)

    def take(self, action: Callable[[], None]) -> None:
        """Let an action have a turn, at once, on the delivering thread: what is pushed meanwhile comes after it."""
        if self._running:
            action()
        else:
            self._deliver(action)

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
