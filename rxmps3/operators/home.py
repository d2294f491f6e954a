"""Where the timers and tasks of an operator live: on the event loop of the subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reactivex.abc import SchedulerBase
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.errors import WrongLoop

__all__ = ["is_count", "is_seconds", "on_loop", "running_loop", "timers_of"]


def is_count(value: object, least: int) -> bool:
    """Whether an option is a whole number, no less than that."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_seconds(value: object) -> bool:
    """Whether an option is a number of seconds, 0 included."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def running_loop(operation: str) -> asyncio.AbstractEventLoop:
    """The event loop that runs on this thread. Raises `WrongLoop` if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoop(
            "no event loop runs on the thread that subscribes",
            operation=operation,
            remedy="subscribe on the loop's thread",
        ) from None


def timers_of(operation: str, *given: SchedulerBase | None) -> SchedulerBase:
    """The first scheduler that was given, else one for the running loop."""
    for scheduler in given:
        if scheduler is not None:
            return scheduler
    return AsyncIOThreadSafeScheduler(running_loop(operation))


def on_loop(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    """Run it on the loop's thread: at once if called there, else soon. Nothing, once the loop is closed."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        action()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(action)
