"""Background workers: woken when there is work, and retrying after failures.

`Retries` waits after a failure, longer each time. `persist` repeats one action until it succeeds. A `Worker` is a task
that works whenever it is woken, and again after a failure.
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
    """Counts consecutive failures, and waits after each.

    Args:
        clock: time and randomness.
        backoff: how long to wait.
        failed: called with each failure, before the wait.
    """

    def __init__(self, clock: Clock, backoff: Backoff, failed: Failed) -> None:
        self._clock = clock
        self._backoff = backoff
        self._failed = failed
        self.failures = 0

    def start_over(self) -> None:
        """Reset the count after a success or progress: the next failure counts as the first."""
        self.failures = 0

    async def wait(self, problem: Exception) -> None:
        """Report a failure, then wait until the next attempt is due."""
        error = unforeseen(problem)
        self.failures += 1
        seconds = self._backoff.wait(self.failures, error, self._clock.rng)
        self._failed(error, seconds)
        await self._clock.sleep(seconds)


async def persist(work: Callable[[], Awaitable[T]], retries: Retries) -> T:
    """Repeat an action, waiting after each failure, until it succeeds."""
    while True:
        try:
            return await work()
        except Exception as problem:
            await retries.wait(problem)


class Worker:
    """Runs its work each time it is woken, one run at a time; if woken during a run, it runs once more.

    Args:
        work: the function to run.
        retries: how long to wait after an error.
        again: whether to run again after an error; else it waits to be woken.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], retries: Retries, *, again: bool = True) -> None:
        self._work = work
        self._retries = retries
        self._again = again
        self._wanted = asyncio.Event()

    @property
    def is_wanted(self) -> bool:
        """Whether it was woken since the current run began."""
        return self._wanted.is_set()

    def wake(self) -> None:
        """Wake the worker. On the loop's thread."""
        self._wanted.set()

    async def run(self) -> None:
        """Run until the task is cancelled."""
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
