"""What Ctrl-C does not break in the middle."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["uninterrupted"]

T = TypeVar("T")


def uninterrupted(call: Callable[[], T]) -> T:
    """Call it; a Ctrl-C that comes meanwhile is heard right after it. For what takes microseconds.

    Only the main thread hears of Ctrl-C, between any two steps of what it does; so only there it has to wait.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    handler: Any = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # it is ignored, ends the process, or is no business of Python's
        return call()
    came: list[tuple[Any, ...]] = []

    def wait(*signal_and_frame: Any) -> None:
        came.append(signal_and_frame)

    signal.signal(signal.SIGINT, wait)
    try:
        return call()
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])
