"""Virtual time: an event loop that jumps to its next timer instead of waiting, and a clock for it.

Hours pass in milliseconds, and nothing depends on the machine: no sockets, no threads, no real clock. Tasks hash by the
order of their creation, so that even sets of tasks are iterated in the same order in every run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Protocol, TypeVar, cast

from rxmps3.runtime.clock import ID_ALPHABET, Random

__all__ = ["EPOCH", "Deadlock", "Livelock", "SimClock", "VirtualLoop", "run_virtually"]

T = TypeVar("T")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""What the wall clock shows at virtual time 0."""
DEFAULT_TURNS = 5_000_000
_MOST_CANCELLATIONS = 10
_TURNS_TO_END = 10_000


class Deadlock(RuntimeError):
    """No callback is ready and no timer is set, but the main coroutine has not ended."""


class Livelock(RuntimeError):
    """The loop ran more iterations than allowed."""


class _Task(asyncio.Task[T]):
    """A task whose hash does not depend on its address."""

    number: int

    def __hash__(self) -> int:
        return self.number


_RESOLUTION = 1e-7
"""Seconds: well above the distance of two floats after a year, well below any latency."""


class _Jump:
    """Replaces an event loop's selector: waiting advances the time."""

    def __init__(self, loop: VirtualLoop, turns: int) -> None:
        self._loop = loop
        self.left = turns

    def select(self, timeout: float | None) -> tuple[()]:
        self.left -= 1
        if self.left < 0:
            raise Livelock(f"still running at {self._loop.time():.3f} s of virtual time")
        if timeout is None:
            raise Deadlock(describe_tasks(self._loop))
        if timeout > 0:
            self._loop.advance(timeout)
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time, starting at 0.

    Args:
        turns: the number of iterations after which it raises `Livelock`.

    Raises (out of ``run_until_complete``):
        Deadlock: nothing can ever happen any more; the message names what every task waits for.
        Livelock: time stands still, or does not end.
    """

    def __init__(self, turns: int = DEFAULT_TURNS) -> None:
        super().__init__()
        self._clock_resolution = _RESOLUTION  # how far ahead of its time a timer is due
        self._now = 0.0
        self._selector = _Jump(self, turns)
        self._numbers = count(1)
        self._unfinished: dict[int, asyncio.Task[Any]] = {}
        self.set_debug(False)
        self.set_task_factory(cast(Any, _make_task))

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass; due timers run in the next iteration."""
        self._now += seconds

    def allow(self, turns: int) -> None:
        """Set how many more iterations it may run."""
        self._selector.left = turns

    def adopt(self, task: _Task[Any]) -> None:
        """Number a new task, and keep a reference until it has ended, so that a stuck one is not collected."""
        task.number = next(self._numbers)
        self._unfinished[task.number] = task

    def forget(self, task: asyncio.Task[Any]) -> None:
        """A task has ended."""
        del self._unfinished[hash(task)]

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended, in the order of their creation."""
        return list(self._unfinished.values())

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Call it immediately: there are no threads."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _process_events(self, event_list: Any) -> None:
        """There are no events from outside."""

    def _write_to_self(self) -> None:
        """Nobody waits in another thread's select."""


def _make_task(
    loop: VirtualLoop, coroutine: Generator[Any, None, T] | Coroutine[Any, Any, T], context: Context | None = None
) -> asyncio.Task[T]:
    # the hash is asked for while the task is being made, so the number is there before
    task = cast("_Task[T]", _Task.__new__(cast(Any, _Task)))
    loop.adopt(task)
    task.__init__(cast(Any, coroutine), loop=loop, context=context)
    task.add_done_callback(loop.forget)
    return task


def describe_tasks(loop: VirtualLoop) -> str:
    """What every unfinished task of a loop waits for."""
    lines = [f"{task.get_name()} at {_where(task.get_coro())}" for task in loop.unfinished()]
    return "nothing is ready and no timer is set; waiting: " + "; ".join(lines)


def _where(coroutine: Any) -> str:
    """The innermost frame in which a coroutine is suspended."""
    where = "?"
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            where = f"{coroutine.__qualname__}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return where


def run_virtually(main: Coroutine[Any, Any, T], *, turns: int = DEFAULT_TURNS) -> T:
    """Run a coroutine on a new virtual loop, as ``asyncio.run`` does on a real one."""
    loop = VirtualLoop(turns)
    try:
        return loop.run_until_complete(main)
    finally:
        end_loop(loop)


def end_loop(loop: VirtualLoop) -> None:
    """Cancel the remaining tasks of a loop, let them end, and close it."""
    try:
        for _ in range(_MOST_CANCELLATIONS):
            loop.allow(_TURNS_TO_END)
            left = loop.unfinished()
            for task in left:
                task.cancel()
            if left:
                try:
                    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
                except (Deadlock, Livelock):
                    pass  # a task waits for the dead in its ``finally``: cancel it once more
    finally:
        loop.close()


class Machine(Protocol):
    """The machine a clock is part of: it may pause, or stop for good."""

    @property
    def dead(self) -> bool:
        """Whether it has stopped for good."""
        ...

    def awake(self, moment: float) -> float:
        """The first time, from the given one on, at which it runs."""
        ...


class _Sound:
    """A machine that never pauses."""

    dead = False

    def awake(self, moment: float) -> float:
        return moment


class SimClock:
    """A `rxmps3.runtime.clock.Clock` on the running virtual loop; its randomness and ids come from a seed.

    Args:
        seed: decides every number and id.
        skew: the error of the wall clock, in seconds.
        machine: where it runs; a sleep ends only while that is awake, and never if it has died.
    """

    def __init__(self, seed: str, *, skew: float = 0.0, machine: Machine | None = None) -> None:
        self.rng = Random(seed)
        self._ids = Random(f"{seed} ids")
        self._loop = asyncio.get_running_loop()
        self._skew = timedelta(seconds=skew)
        self._machine = machine or _Sound()

    def monotonic(self) -> float:
        return self._loop.time()

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time()) + self._skew

    async def sleep(self, seconds: float) -> None:
        slept: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_at(self._machine.awake(self._loop.time() + max(0.0, seconds)), self._wake, slept)
        try:
            await slept
        finally:
            timer.cancel()

    def _wake(self, slept: asyncio.Future[None]) -> None:
        if not (slept.done() or self._machine.dead):
            slept.set_result(None)

    def new_id(self, characters: int = 12) -> str:
        bits = self._ids.getrandbits(5 * characters)
        return "".join([ID_ALPHABET[(bits >> (5 * place)) & 31] for place in range(characters)])
