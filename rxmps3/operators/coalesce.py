"""Rate limiting that never loses the last item."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import Lock
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxmps3.errors import InvalidOption
from rxmps3.operators.home import check_scheduler, is_seconds, timers_of
from rxmps3.operators.serial import Serial

__all__ = ["coalesce"]

T = TypeVar("T")


def coalesce(
    seconds: float | None = None, *, fps: float | None = None, scheduler: SchedulerBase | None = None
) -> Callable[[Observable[T]], Observable[T]]:
    """Limit the rate of items; of those in between only the latest is emitted, and it is never lost.

    The first item passes at once, unlike with ``debounce``; the latest one is not lost, unlike with
    ``throttle_first``; and no timer runs while no items arrive, unlike with ``sample``. When the source completes or
    fails, a pending item is emitted first. An observer that raises is detached, and the error goes to the emitter, or
    to the loop's exception handler.

    ::

        source  a-b-c-----d-|
        coalesce(seconds=4)
        result  a---c-----d-|

        source  a-b-|
        coalesce(seconds=6)
        result  a---(b|)

        source  a-b-#
        coalesce(fps=1/6)
        result  a---(b#)

    Args:
        seconds: the least time between two items, counted from when the observer has handled the first.
        fps: the same as items (frames) per second; give one of the two.
        scheduler: for the timers; by default that of the subscription, else the running event loop.

    Raises:
        InvalidOption: not exactly one of ``seconds`` and ``fps`` is given, or it is not a positive number; or
            ``scheduler`` is none of reactivex's.
    """
    rate: Any = fps if seconds is None else seconds
    if (seconds is None) == (fps is None):
        raise InvalidOption("give either seconds or fps", operation="coalesce")
    if not is_seconds(rate) or not 0 < rate < inf:
        raise InvalidOption(f"the rate is a positive number, not {rate!r}", operation="coalesce")
    check_scheduler(scheduler, "coalesce")
    least = 1 / rate if seconds is None else rate

    def coalesced(source: Observable[T]) -> Observable[T]:
        def subscribe(observer: ObserverBase[T], scheduler_: SchedulerBase | None = None) -> DisposableBase:
            timers = timers_of("coalesce", scheduler, scheduler_)
            serial = Serial()
            timer = SerialDisposable()
            subscription = CompositeDisposable(timer)
            lock = Lock()
            arrived: list[T] = []
            held: list[T] = []
            closed = False

            def arrive(item: T) -> None:
                with lock:
                    asked = bool(arrived)
                    arrived[:] = [item]
                if not asked:
                    serial.run(take)

            def take() -> None:
                with lock:
                    item = arrived.pop()
                if closed:
                    held[:] = [item]
                else:
                    emit(item)

            def emit(item: T) -> None:
                nonlocal closed
                closed = True
                try:
                    observer.on_next(item)
                except BaseException:
                    subscription.dispose()
                    raise
                timer.disposable = timers.schedule_relative(least, elapsed)

            def elapsed(*_: Any) -> None:
                serial.run(reopen)

            def reopen() -> None:
                nonlocal closed
                if held:
                    emit(held.pop())
                else:
                    closed = False

            def end(how: Callable[[], None]) -> None:
                if held:
                    observer.on_next(held.pop())
                how()

            upstream = source.subscribe(
                arrive,
                lambda error: serial.run(lambda: end(lambda: observer.on_error(error))),
                lambda: serial.run(lambda: end(observer.on_completed)),
                scheduler=scheduler_,
            )
            subscription.add(upstream)
            return subscription

        return Observable(subscribe)

    return coalesced
