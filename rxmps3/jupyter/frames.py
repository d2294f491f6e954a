"""Rate-limited delivery of the latest item, from any thread to one event loop."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rxmps3.errors import InvalidOption, WrongLoop

__all__ = ["DEFAULT_FPS", "Frames", "checked_fps", "kernel_loop"]

T = TypeVar("T")

DEFAULT_FPS = 30.0
"""Updates a second: what a screen can show and an eye can follow."""


def kernel_loop() -> asyncio.AbstractEventLoop:
    """The event loop that the notebook's cells run on.

    Raises:
        WrongLoop: no event loop is running in this thread.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoop("no event loop is running here", operation="live", remedy="call it from a cell") from None


def checked_fps(fps: float) -> float:
    """Return ``fps`` if it is a valid rate.

    Raises:
        InvalidOption: it is not positive and finite.
    """
    if not (fps > 0 and math.isfinite(fps)):
        raise InvalidOption(f"fps={fps!r} is not above 0", remedy="give the most updates a second, such as 30")
    return fps


class Frames(Generic[T]):
    """Holds the latest item and shows it on the loop: the first at once, later ones at the frame rate.

    The loop is called once per frame, however fast items arrive; an item that was replaced is never shown. After a slow
    ``show`` the loop is free for one frame before the next.

    Args:
        loop: where ``show`` is called.
        fps: the maximum number of calls a second.
        show: takes the latest item.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fps: float, show: Callable[[T], None]) -> None:
        self._loop = loop
        self._interval = 1 / fps
        self._show = show
        self._lock = threading.Lock()
        self._latest: list[T] = []
        self._due = False
        self._shown_at = loop.time() - self._interval
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def waiting(self) -> bool:
        """Whether an item is waiting to be shown."""
        return bool(self._latest)

    def push(self, item: T) -> None:
        """Set the latest item. Callable from any thread; ignored once the loop is closed."""
        with self._lock:
            self._latest = [item]
            if self._due or self._stopped:
                return
            self._due = True
        try:
            self._loop.call_soon_threadsafe(self._schedule)
        except RuntimeError:
            self._stopped = True  # the kernel is shutting down

    def stop(self) -> None:
        """Show nothing more. On the loop's thread."""
        self._stopped = True
        self._latest = []
        if self._timer is not None:
            self._timer.cancel()

    def flush(self) -> None:
        """Show the waiting item now. On the loop's thread."""
        with self._lock:
            latest, self._latest = self._latest, []
            self._due = False
        if latest and not self._stopped:
            try:
                self._show(latest[0])
            finally:
                self._shown_at = self._loop.time()

    def _schedule(self) -> None:
        rest = self._shown_at + self._interval - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self.flush)
        else:
            self.flush()
