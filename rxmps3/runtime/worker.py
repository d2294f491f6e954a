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
from rxmps3.runtime.clock import Clock, spawn

__all__ = ["Failed", "OnEvent", "Retries", "Worker", "persist", "sleep_until"]

T = TypeVar("T")

Failed = Callable[[Error, float], None]
"""Called with a failure and the seconds until the next try."""
OnEvent = Callable[[Callable[[], None]], Callable[[], None]]
"""Arranges a call each time something happens; returns a function that ends this."""


class Retries:
    """Counts consecutive failures, and waits after each.

    A wait ends early when something else succeeds: what failed here may have failed for the same reason. If it then
    fails again, later waits last at least as long as the back-off alone asks for.

    Args:
        clock: time and randomness.
        backoff: how long to wait.
        failed: called with each failure, before the wait.
        on_success: emits when other requests succeed, if given.
    """

    def __init__(self, clock: Clock, backoff: Backoff, failed: Failed, on_success: OnEvent | None = None) -> None:
        self._clock = clock
        self._backoff = backoff
        self._failed = failed
        self._on_success = on_success
        self._cut_short = False
        self.failures = 0

    def start_over(self) -> None:
        """Reset the count after a success or progress: the next failure counts as the first."""
        self.failures = 0
        self._cut_short = False

    async def wait(self, problem: Exception) -> None:
        """Report a failure, then wait until the next attempt is due."""
        error = unforeseen(problem)
        self.failures += 1
        seconds = self._backoff.wait(self.failures, error, self._clock.rng)
        self._failed(error, seconds)
        if self._on_success is None:
            await self._clock.sleep(seconds)
            return
        least = min(seconds, self._backoff.unasked(self.failures, error, self._clock.rng)) if self._cut_short else 0.0
        self._cut_short = await sleep_until(self._clock, seconds, self._on_success, least) or self._cut_short


async def sleep_until(clock: Clock, seconds: float, on_event: OnEvent, least: float = 0.0) -> bool:
    """Wait so many seconds, or until an event, but no less than ``least``; returns whether the event ended it."""
    happened = asyncio.Event()
    forget = on_event(happened.set)
    try:
        if least > 0:
            await clock.sleep(least)
        sleeping = spawn(clock.sleep(seconds - least), "rxmps3 wait")
        waking = spawn(_until(happened), "rxmps3 wait for an event")
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, waking):
                task.cancel()
            await asyncio.gather(sleeping, waking, return_exceptions=True)
    finally:
        forget()
    return happened.is_set()


async def _until(happened: asyncio.Event) -> None:
    await happened.wait()


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
