"""Keeping the last known state on disk, a moment after it changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from rxmps3.errors import Error
from rxmps3.local.directory import Local, SavedState
from rxmps3.log.protocol import Log
from rxmps3.model.state import State
from rxmps3.replica.outbox_worker import OutboxWorker
from rxmps3.runtime.clock import Clock

__all__ = ["StateSaver"]

logger = logging.getLogger("rxmps3")

_DELAY = 1.0
_SHARE = 20
"""Saving takes at most one part in so many of the time,"""
_LONGEST_DELAY = 60.0
"""but none is put off for longer: a process that stood still during one has not saved for long."""


class StateSaver:
    """Saves the confirmed state and its place in the log; a copy, so that losing the newest one costs a download."""

    def __init__(
        self,
        clock: Clock,
        log: Log,
        state: Callable[[], State],
        local: Callable[[], Local | None],
        storer: OutboxWorker,
    ) -> None:
        self._clock = clock
        self._log = log
        self._state = state
        self._local = local
        self._outbox_worker = storer
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """There is something new to save."""
        self._changed.set()

    async def run(self) -> None:
        """Save whenever something changed, not too often."""
        delay = _DELAY
        while True:
            await self._changed.wait()
            await self._clock.sleep(delay)
            began = self._clock.monotonic()
            await self.finish()
            took = self._clock.monotonic() - began
            delay = min(max(_DELAY, _SHARE * took), _LONGEST_DELAY)

    async def finish(self) -> None:
        """Save now, if something changed."""
        local = self._local()
        if local is None or not self._changed.is_set():
            return
        self._changed.clear()
        state = self._state()
        place = self._log.place
        if place is not None and state.version != place.version:
            return  # between the two moves of one step; the next change saves it
        if place is None and state.version:
            return  # not read since the start: what is on disk is as good
        settled = self._outbox_worker.settled()
        try:
            await local.save_state(SavedState(place, state))
            self._outbox_worker.saved(settled)
        except Error as error:
            logger.warning("the last known state could not be saved: %s", error)
