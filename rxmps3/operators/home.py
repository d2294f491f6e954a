"""Where the timers and tasks of an operator live: on the event loop of the subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reactivex.abc import SchedulerBase
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.errors import WrongLoop

__all__ = ["on_loop", "running_loop", "timers_of"]


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
