"""Deferring Ctrl-C during short critical sections."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["uninterrupted"]

T = TypeVar("T")


def uninterrupted(call: Callable[[], T]) -> T:
    """Call a function, deferring a Ctrl-C until it has returned. For functions that take microseconds.

    Python raises KeyboardInterrupt only on the main thread, between any two bytecodes, so only there it has to be
    deferred.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    handler: Any = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # ignored, ends the process, or not handled by Python
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
