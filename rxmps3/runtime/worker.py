"""What works in the background: woken when there is something to do, and patient when that fails.

`Retries` waits after a failure, longer each time; `persist` tries one thing until it is done; a `Worker` is a task
that does what there is to do whenever it is woken, and again after a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rxmps3.errors import Error, unforeseen
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock

__all__ = ["Failed", "Retries", "Worker", "persist"]

T = TypeVar("T")

Failed = Callable[[Error, float], None]
"""Is told of a failure and of the seconds until the next try."""


class Retries:
    """Failures in a row, and the waiting after each.

    Args:
        clock: time and chance.
        backoff: how long to wait.
        failed: is told of each failure before the waiting begins.
    """

    def __init__(self, clock: Clock, backoff: Backoff, failed: Failed) -> None:
        self._clock = clock
        self._backoff = backoff
        self._failed = failed
        self.failures = 0

    def start_over(self) -> None:
        """It worked, or got further than before: the next failure counts as the first."""
        self.failures = 0

    async def wait(self, problem: Exception) -> None:
        """It failed: tell of it, and wait until it is to be tried again."""
        error = unforeseen(problem)
        self.failures += 1
        seconds = self._backoff.wait(self.failures, error, self._clock.rng)
        self._failed(error, seconds)
        await self._clock.sleep(seconds)


async def persist(work: Callable[[], Awaitable[T]], retries: Retries) -> T:
    """Do it, again after each failure, until it is done."""
    while True:
        try:
            return await work()
        except Exception as problem:
            await retries.wait(problem)


class Worker:
    """Does its work each time it is woken, once at a time; woken while it works, it works once more.

    Args:
        work: what there is to do.
        retries: how long to wait after an error.
        again: whether it is then done again; else it waits to be woken.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], retries: Retries, *, again: bool = True) -> None:
        self._work = work
        self._retries = retries
        self._again = again
        self._wanted = asyncio.Event()

    @property
    def is_wanted(self) -> bool:
        """Whether it was woken since it began to work."""
        return self._wanted.is_set()

    def wake(self) -> None:
        """There is something to do. On the loop's thread."""
        self._wanted.set()

    async def run(self) -> None:
        """Work for as long as the task lives."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._work()
            except Exception as problem:
                await self._retries.wait(problem)
                if self._again:
                    self._wanted.set()
            else:
                self._retries.start_over()
