"""When to read the log: an adaptive timer, or the user's own ticks, as Observables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable, SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.runtime.clock import Clock, Random
from rxmps3.runtime.event_loop import EventLoop

__all__ = ["PollPace", "followed_by", "timer"]

_FASTEST = 0.2
_SLOWING = 1.5
_JITTER = 0.2


class PollPace:
    """The wait until the next read: short after activity, then longer and longer, up to the interval.

    No I/O; randomness is an argument.

    Args:
        interval: the longest wait, in seconds.
        idle: returns a longer interval while something else announces news, else 0.
    """

    def __init__(self, interval: float, idle: Callable[[], float] = lambda: 0.0) -> None:
        self.interval = interval
        self._idle = idle
        self._wait = interval

    def active(self) -> None:
        """Note a change: read again soon."""
        self._wait = self.interval if self._idle() else self.interval * _FASTEST

    def next_wait(self, rng: Random) -> float:
        """Seconds until the next read, reduced at random by up to a fifth so that many clients spread out."""
        longest = max(self.interval, self._idle())
        wait = min(self._wait, longest)
        self._wait = min(self._wait * _SLOWING, longest)
        return wait * (1 - rng.uniform(0, _JITTER))


def timer(
    clock: Clock,
    pace: PollPace,
    spawn: Callable[..., asyncio.Task[None]],
    *,
    at_once: bool,
    hold: Callable[[], float],
    wait_to_look: Callable[[], Awaitable[None]],
) -> Observable[None]:
    """Ticks at an adaptive pace, on the loop, for as long as it is subscribed to.

    Args:
        clock: sleeps.
        pace: decides how long.
        spawn: starts the sleeping task.
        at_once: whether the first tick comes immediately.
        hold: returns the seconds for which the storage asked not to be called, else 0.
        wait_to_look: waits until the budget allows another read.
    """

    def subscribe(observer: ObserverBase[None], _: SchedulerBase | None) -> DisposableBase:
        async def tick() -> None:
            if at_once:
                observer.on_next(None)
            while True:
                await clock.sleep(pace.next_wait(clock.rng))
                while (seconds := hold()) > 0:
                    await clock.sleep(seconds)
                await wait_to_look()
                observer.on_next(None)

        task = spawn(tick(), "ticks")

        def stop() -> None:
            task.cancel()

        return Disposable(stop)

    return Observable(subscribe)


def followed_by(
    source: Observable[Any], loop: EventLoop, instead: Callable[[Exception | None], Observable[Any]]
) -> Observable[Any]:
    """A source of ticks, followed by the observable from ``instead`` when it ends. The end may come on any thread; the
    switch is made on the loop.

    The source is subscribed to with the loop's scheduler, so that its timers start no threads.

    Args:
        instead: called with the error that ended the source; None if it completed.
    """

    def subscribe(observer: ObserverBase[Any], _: SchedulerBase | None) -> DisposableBase:
        ticking, first = SerialDisposable(), SingleAssignmentDisposable()
        ticking.disposable = first

        def follow(error: Exception | None) -> None:
            if not ticking.is_disposed:
                ticking.disposable = instead(error).subscribe(observer)

        first.disposable = source.subscribe(
            observer.on_next,
            lambda error: loop.on_loop(lambda: follow(error)),
            lambda: loop.on_loop(lambda: follow(None)),
            scheduler=AsyncIOThreadSafeScheduler(loop.loop),
        )
        return ticking

    return Observable(subscribe)
