"""When to look: the adaptive timer, as an Observable of ticks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxmps3.runtime.clock import Clock, Random

__all__ = ["PollPace", "timer"]

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
