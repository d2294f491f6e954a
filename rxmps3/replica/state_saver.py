"""Saving the last known state to disk, shortly after each change."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rxmps3.errors import Error
from rxmps3.local.directory import Local, SavedState
from rxmps3.log.protocol import Log
from rxmps3.model.state import State
from rxmps3.replica.pending import PendingWrite, PendingWrites
from rxmps3.replica.receipt import Receipt
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.worker import Retries, Worker

__all__ = ["StateSaver"]

logger = logging.getLogger("rxmps3")

_DELAY = 1.0
_SHARE = 20
"""Saving takes at most one part in so many of the time,"""
_LONGEST_DELAY = 60.0
"""but none is put off for longer: a process that stood still during one has not saved for long."""


class StateSaver:
    """Saves the confirmed state and its position in the log. This is only a copy: losing it costs a download.

    Args:
        over: called when the outbox may drop writes that the saved state includes, once the log that has them is
            known to be there still.
    """

    def __init__(
        self,
        clock: Clock,
        log: Log,
        state: Callable[[], State],
        local: Callable[[], Local | None],
        pending: PendingWrites[Receipt],
        backoff: Backoff,
        over: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._log = log
        self._state = state
        self._local = local
        self._pending = pending
        self._over = over
        self._unconfirmed: list[tuple[str, list[PendingWrite[Receipt]]]] = []
        self._changed = False
        self._delay = _DELAY
        self._worker = Worker(self._save, Retries(clock, backoff, lambda error, _: _could_not(error)))
        self.run = self._worker.run

    def changed(self) -> None:
        """Note a change to save."""
        self._changed = True
        self._worker.wake()

    async def _save(self) -> None:
        """Save changes, at a limited rate."""
        if not self._changed:
            return  # more changed during the save
        await self._clock.sleep(self._delay)
        began = self._clock.monotonic()
        await self.finish()
        took = self._clock.monotonic() - began
        self._delay = min(max(_DELAY, _SHARE * took), _LONGEST_DELAY)

    async def finish(self) -> None:
        """Save now if something changed."""
        local = self._local()
        if local is None or not self._changed:
            return
        self._changed = False
        state = self._state()
        place = self._log.place
        if place is not None and state.version != place.version:
            return  # in the middle of a step; the next change saves it
        if place is None and state.version:
            return  # not read since the start: the state on disk is the same
        committed = self._pending.unsaved()
        try:
            await local.save_state(SavedState(place, state))
        except Error as error:
            _could_not(error)
        else:
            self._unconfirmed.append((state.version if place is None else place.version, committed))
            self._pending.in_a_state(committed)
            self.confirmed()

    @property
    def waits_for_the_log(self) -> bool:
        """Whether the outbox still holds what a saved state includes, or will when the state has been saved."""
        return bool(self._unconfirmed or (self._changed and self._pending.unsaved()))

    def confirmed(self) -> None:
        """Let the outbox drop what is in a saved state and in a log that is known to be there still."""
        for one in [one for one in self._unconfirmed if self._log.is_confirmed(one[0])]:
            self._unconfirmed.remove(one)
            self._pending.saved(one[1])
            self._over()


def _could_not(error: Error) -> None:
    logger.warning("the last known state could not be saved: %s", error)
