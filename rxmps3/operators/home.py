"""The event loop of a subscription, on which an operator's timers and tasks run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from reactivex.abc import SchedulerBase
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.errors import InvalidOption, WrongLoop
from rxmps3.runtime.event_loop import runs_here

__all__ = [
    "Inbox",
    "check_callable",
    "check_scheduler",
    "is_count",
    "is_seconds",
    "on_loop",
    "running_loop",
    "timers_of",
]

T = TypeVar("T")


def is_count(value: object, least: int) -> bool:
    """Whether an option is an integer of at least this value."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_seconds(value: object) -> bool:
    """Whether an option is a number of seconds, 0 or more."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def check_callable(option: object, name: str, operation: str) -> None:
    """Raise `InvalidOption` for an option, named ``name``, that is to be called and cannot be."""
    if not callable(option):
        raise InvalidOption(f"{name} is a function, not {option!r:.80}", operation=operation)


def check_scheduler(scheduler: object, operation: str) -> None:
    """Raise `InvalidOption` for an option ``scheduler`` that is neither one of reactivex nor None."""
    if scheduler is not None and not isinstance(scheduler, SchedulerBase):
        raise InvalidOption(f"scheduler is one of reactivex's, not {scheduler!r:.80}", operation=operation)


def running_loop(operation: str) -> asyncio.AbstractEventLoop:
    """The event loop that runs on this thread. Raises `WrongLoop` if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoop(
            "no event loop is running on the subscribing thread",
            operation=operation,
            remedy="subscribe on the loop's thread",
        ) from None


def timers_of(operation: str, *given: SchedulerBase | None) -> SchedulerBase:
    """The first scheduler given, else one for the running loop."""
    for scheduler in given:
        if scheduler is not None:
            return scheduler
    return AsyncIOThreadSafeScheduler(running_loop(operation))


def on_loop(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    """Run on the loop's thread: at once if called there, else soon. Does nothing once the loop is closed."""
    if runs_here(loop):
        action()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(action)


class Inbox(Generic[T]):
    """Passes items from any thread to the loop's thread: at once if already there, else soon, in batches.

    Args:
        loop: the loop.
        take: called on its thread with each item.
        most: how many items may wait for the loop; further ones are dropped. None: only the latest waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[T], None], most: int | None) -> None:
        self._loop = loop
        self._take = take
        self._most = most
        self._items: deque[T] = deque(maxlen=1 if most is None else None)
        self._lock = Lock()
        self._called = False

    def put(self, item: T) -> None:
        """Pass an item. Callable from any thread."""
        with self._lock:
            if self._most is None or len(self._items) < self._most:
                self._items.append(item)
            called, self._called = self._called, True
        if not called or runs_here(self._loop):
            on_loop(self._loop, self._empty)

    def _empty(self) -> None:
        with self._lock:
            items, self._called = list(self._items), False
            self._items.clear()
        for item in items:
            self._take(item)
