"""The storage's time as last seen, and the grace periods measured by it."""

from __future__ import annotations

from datetime import datetime, timedelta

from rxmps3.runtime.clock import Clock

__all__ = ["GRACE", "LIVE_FOR", "MARGIN", "ServerDate"]

GRACE = timedelta(hours=1)
"""What a collector waits between raising the floor and deleting."""
MARGIN = timedelta(minutes=5)
"""Left for coarse server times and for requests under way."""
LIVE_FOR = timedelta(seconds=10)
"""So long after a look that found the log in its place, by a local clock, no other one is needed before a commit."""
_FRESH = timedelta(days=1)
"""The log forgets a writer 30 days after its last entry's date, and nothing is sent again 29 days after its own: both
are taken from here, so that it matters only that neither is weeks behind."""


class ServerDate:
    """The date of the last answer that carried one. An idle client sends no requests, so it may be weeks old."""

    def __init__(self, clock: Clock) -> None:
        self.last: datetime | None = None
        self._clock = clock
        self._wall = clock.now()
        self._monotonic = clock.monotonic()

    def heard(self, date: datetime) -> None:
        """Note the date of an answer."""
        self.last, self._wall, self._monotonic = date, self._clock.now(), self._clock.monotonic()

    @property
    def is_old(self) -> bool:
        """Whether it is over a day old by either local clock; one of them stops while the computer sleeps."""
        by_wall = self._clock.now() - self._wall
        by_monotonic = timedelta(seconds=self._clock.monotonic() - self._monotonic)
        return self.last is not None and max(by_wall, by_monotonic) > _FRESH
