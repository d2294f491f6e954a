"""From any thread to one event loop, at most so often, always ending on the latest."""

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
    """The loop that the cells of a notebook run on.

    Raises:
        WrongLoop: called where none is running.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoop("no event loop is running here", operation="live", remedy="call it from a cell") from None


def checked_fps(fps: float) -> float:
    """It, if there can be so many updates a second.

    Raises:
        InvalidOption: it is not above 0, or infinite.
    """
    if not (fps > 0 and math.isfinite(fps)):
        raise InvalidOption(f"fps={fps!r} is not above 0", remedy="give the most updates a second, such as 30")
    return fps


class Frames(Generic[T]):
    """Keeps the latest item and shows it on the loop: the first at once, later ones at the pace of the frames.

    However fast items come, the loop gets one call per frame; an item that another replaced is never shown. Where
    showing takes long, the loop is free for as long as a frame before the next.

    Args:
        loop: where ``show`` is called.
        fps: at most so many calls a second.
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
        """Whether an item waits to be shown."""
        return bool(self._latest)

    def push(self, item: T) -> None:
        """A new latest item; from any thread. After the loop has closed it goes nowhere."""
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
        """Show nothing any more. On the loop's thread."""
        self._stopped = True
        self._latest = []
        if self._timer is not None:
            self._timer.cancel()

    def flush(self) -> None:
        """Show now what waits. On the loop's thread."""
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
