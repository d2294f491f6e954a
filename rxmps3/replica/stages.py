"""Delivery of the stages of one write to one observer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Literal

from reactivex.abc import ObserverBase

__all__ = ["ObserverRaised", "Stage", "Teller"]

Stage = Literal["pending", "stored", "committed", "rejected"]

ObserverRaised = Callable[[str, BaseException], None]
"""Called with a stream's name and what its observer raised, after detaching it. Re-raises what ends the program."""


class Teller:
    """Emits each stage once and in order, and completes after the last.

    `tell` may be called from several threads at once, and by the observer. An observer that raises gets no further
    items; the caller that reached the stage is not affected.

    Args:
        name: of the stream, for reports.
        present: returns the current stage.
        observer: receives the stages.
        raised: called with what the observer raised.
    """

    def __init__(
        self, name: str, present: Callable[[], Stage], observer: ObserverBase[Stage], raised: ObserverRaised
    ) -> None:
        self._name = name
        self._present = present
        self._observer = observer
        self._raised = raised
        self._lock = threading.Lock()
        self._due: deque[Stage] = deque()
        self._telling = False
        self._told: Stage | None = None
        self._open = True

    def tell(self) -> None:
        """Emit the current stage, here or on the thread that is already emitting one."""
        with self._lock:
            self._due.append(self._present())
            if self._telling:
                return
            self._telling = True
        while (stage := self._next()) is not None:
            self._pass_on(stage)

    def close(self) -> None:
        """Stop emitting."""
        self._open = False

    def _next(self) -> Stage | None:
        with self._lock:
            if self._due:
                return self._due.popleft()
            self._telling = False
            return None

    def _pass_on(self, stage: Stage) -> None:
        if not self._open or stage == self._told:
            return
        self._told = stage
        try:
            self._observer.on_next(stage)
            if stage in ("committed", "rejected"):
                self._open = False
                self._observer.on_completed()
        except BaseException as error:
            self._open = False
            self._raised(self._name, error)
