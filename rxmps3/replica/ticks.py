"""When to look: an adaptive timer, and ticks of the user's own, as Observables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
    """How long until the next look: short after activity, then longer and longer, never more than the interval.

    Pure but for its own memory; chance is an argument.

    Args:
        interval: the longest wait, in seconds.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._wait = interval

    def active(self) -> None:
        """Something changed: look again soon."""
        self._wait = self.interval * _FASTEST

    def next_wait(self, rng: Random) -> float:
        """Seconds until the next look, up to a fifth less by chance so that many clients spread out."""
        wait = min(self._wait, self.interval)
        self._wait = min(self._wait * _SLOWING, self.interval)
        return wait * (1 - rng.uniform(0, _JITTER))


def timer(
    clock: Clock,
    pace: PollPace,
    spawn: Callable[..., asyncio.Task[None]],
    *,
    at_once: bool,
    hold: Callable[[], float],
) -> Observable[None]:
    """Ticks at an adaptive pace, on the loop, for as long as it is subscribed to.

    Args:
        clock: sleeps.
        pace: decides how long.
        spawn: starts the sleeping task.
        at_once: whether the first tick comes without a wait.
        hold: seconds that the storage wants to be left alone for now, 0 if it does not.
    """

    def subscribe(observer: ObserverBase[None], _: SchedulerBase | None) -> DisposableBase:
        async def tick() -> None:
            if at_once:
                observer.on_next(None)
            while True:
                await clock.sleep(pace.next_wait(clock.rng))
                while (seconds := hold()) > 0:
                    await clock.sleep(seconds)
                observer.on_next(None)

        task = spawn(tick(), "ticks")

        def stop() -> None:
            task.cancel()

        return Disposable(stop)

    return Observable(subscribe)


def followed_by(
    source: Observable[Any], loop: EventLoop, instead: Callable[[Exception | None], Observable[Any]]
) -> Observable[Any]:
    """A source of ticks, and when it ends on whatever thread, what ``instead`` gives, on the loop.

    It is subscribed to with a scheduler of the loop: its timers start no threads.

    Args:
        instead: is given the error that the source ended by; None if it completed.
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
