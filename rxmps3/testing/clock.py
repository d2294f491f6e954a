"""A clock that a test advances."""

from __future__ import annotations

import asyncio
import heapq
import types
from collections.abc import Awaitable, Collection, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from rxmps3.runtime.clock import ID_ALPHABET, Random

__all__ = ["ManualClock"]

T = TypeVar("T")
_MOST_STEPS = 10_000
_LOOK = 0.001
_MOST_LOOKS = 5_000


class ManualClock:
    """Time that passes only in `advance` and `run`; randomness and ids come from the seed. For one event loop.

    Args:
        seed: for `rng` and `new_id`, each a sequence of its own.
        start: the initial value of `now`.
    """

    def __init__(self, seed: int | str = 0, *, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.rng = Random(f"{seed} chance")
        self._ids = Random(f"{seed} ids")
        self._start = start
        self._elapsed = 0.0
        self._count = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def now(self) -> datetime:
        """``start`` plus the time passed since."""
        return self._start + timedelta(seconds=self._elapsed)

    def new_id(self, characters: int = 12) -> str:
        """The next id from the seed."""
        return "".join(self._ids.choices(ID_ALPHABET, k=characters))

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` or `run` has moved the clock that far."""
        if seconds <= 0:
            await _step()
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._count, wake))
        await wake

    @property
    def sleeping(self) -> int:
        """The number of sleepers."""
        return sum(not wake.done() for _, _, wake in self._sleepers)

    async def advance(self, seconds: float = 0.0) -> None:
        """Let time pass.

        Sleepers wake one by one in the order of their times, and of falling asleep; before the next one wakes,
        everything that can happen without time passing has happened.

        Raises:
            RuntimeError: some task never becomes idle.
        """
        until = self._elapsed + seconds
        await settle()
        while (moment := self._next()) is not None and moment <= until:
            await self._wake()
        self._elapsed = max(self._elapsed, until)

    async def run(self, awaitable: Awaitable[T]) -> T:
        """The result of an awaitable; whenever everything is idle, time jumps to the next sleeper.

        Work in threads, as by ``asyncio.to_thread``, takes no time: the next sleeper wakes after it. What it waits for
        more than five real seconds is not work.

        Raises:
            RuntimeError: the awaitable waits, and no sleeper is left to wake it.
        """
        task = asyncio.ensure_future(awaitable)  # noqa: TID251  # awaited below
        try:
            while True:
                await _settle_with_threads()
                if task.done():
                    return task.result()
                if self._next() is None:
                    raise RuntimeError(f"nothing is sleeping, so the clock cannot wake: {task!r}")
                await self._wake()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    def _next(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def _wake(self) -> None:
        moment, _, wake = heapq.heappop(self._sleepers)
        self._elapsed = max(self._elapsed, moment)
        if not wake.done():
            wake.set_result(None)
        await settle()


async def _settle_with_threads() -> None:
    """As `settle`, and the threads of this loop are done, too."""
    await settle()
    for _ in range(_MOST_LOOKS):
        if not _threads_at_work():
            await settle()  # what they have done by now
            if not _threads_at_work():
                return
        await asyncio.sleep(_LOOK)  # noqa: TID251  # threads take real time
        await settle()


def _threads_at_work() -> bool:
    """Whether the default executor of this loop runs anything."""
    executor = getattr(asyncio.get_running_loop(), "_default_executor", None)
    if not isinstance(executor, ThreadPoolExecutor):
        return False
    threads, idle = getattr(executor, "_threads", ()), getattr(executor, "_idle_semaphore", None)
    return len(threads) > getattr(idle, "_value", len(threads))


async def settle() -> None:
    """Return when every other task of this loop waits for time, a thread, a socket or another task."""
    ready = cast(Collection[Any] | None, getattr(asyncio.get_running_loop(), "_ready", None))
    if ready is None:  # not one of asyncio's own loops
        for _ in range(100):
            await _step()
        return
    for _ in range(_MOST_STEPS):
        await _step()
        if not ready:
            return
    raise RuntimeError("some task never becomes idle")


@types.coroutine
def _step() -> Generator[None, None, None]:
    yield
