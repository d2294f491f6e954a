"""When a writer yields to other writers. No I/O; time and randomness are arguments.

The writer that has just committed knows the end of the log first and would win every race for the next number, and the
others would never notice a writer that never wins. So a writer waits a random time after a lost race and while it sees
other writers, and during uninterrupted commits pauses now and then even if it seems to be alone.
"""

from __future__ import annotations

from rxmps3.runtime.clock import Random

__all__ = ["Fairness"]

_SEEN_LATELY = 2.0
_COMPANY = 30.0
"""Another writer counts as present for so many seconds after its last version."""
_PAUSE_IN_COMPANY = 1.0
_PAUSE_ALONE = 4.0
"""Commits without a break go on for so many seconds between two pauses."""
_BREAK_MOMENTS = 4
_BREAK_SECONDS = 0.01
"""Without a break: so much later than a commit ended, in times that it took, that others can have read and tried. Who
looks and thinks before each commit, as transactions do, takes no break by that."""
_TYPICAL_PAUSE = 0.2
_LONGEST_PAUSE = 4.0
"""Pauses in company are mostly short and now and then long: the slower a writer, the longer the pause it needs."""


class Fairness:
    """One client's back-off towards other writers of the same log."""

    def __init__(self) -> None:
        self.contended = False
        self._took = 0.0
        self._ended_at = -_COMPANY
        self._paused_at = -_COMPANY
        self._foreign_at = -_COMPANY
        self._lost = False
        self._has_waited = False

    def foreign_seen(self, now: float) -> None:
        """Note that another writer has committed."""
        self._foreign_at = now

    def ended(self, now: float, began: float, *, won: bool) -> None:
        """Note that a commit was attempted."""
        self._lost = not won
        if won:
            self._took = now - began
            self._ended_at = now

    def passed(self) -> None:
        """The turn that was waited for was not used, so the next attempt need not wait again."""
        self._has_waited = True

    def wait(self, now: float, rng: Random) -> float:
        """Seconds to wait before the next attempt; also updates ``contended``, whether other writers are active."""
        if self._has_waited:
            self._has_waited = False
            return 0.0
        self.contended = self._lost or now - self._foreign_at < _SEEN_LATELY
        moment = min(1.0, self._took)
        if self._lost:
            return rng.uniform(0, moment)
        if now - self._ended_at > _BREAK_MOMENTS * moment + _BREAK_SECONDS:
            self._paused_at = now  # there was a pause just now
            return 0.0
        company = now - self._foreign_at < _COMPANY
        if now - self._paused_at >= (_PAUSE_IN_COMPANY if company else _PAUSE_ALONE):
            pause = min(_LONGEST_PAUSE, _TYPICAL_PAUSE / (1 - rng.random())) if company else rng.uniform(0, 1.0)
            self._paused_at = now + pause
            return pause
        return rng.uniform(0, 2 * moment) if self.contended else 0.0
