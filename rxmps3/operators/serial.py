"""Serialising actions across threads and re-entrant calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

__all__ = ["Serial"]


class Serial:
    """Runs actions one at a time, in the order of the calls, without holding a lock meanwhile.

    An action requested from within another one, or by another thread meanwhile, runs afterwards, on the thread already
    running.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._queue: deque[Callable[[], None]] = deque()
        self._busy = False

    def run(self, action: Callable[[], None]) -> None:
        """Run an action, and those requested meanwhile. At the end, raises the first error of any of them."""
        with self._lock:
            self._queue.append(action)
            if self._busy:
                return
            self._busy = True
        first: BaseException | None = None
        while (due := self._next()) is not None:
            try:
                due()
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if not self._queue:
                self._busy = False
                return None
            return self._queue.popleft()
