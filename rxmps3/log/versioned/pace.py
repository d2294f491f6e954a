"""When to read the whole listing although nothing seems new, since a version may appear below known ones."""

from __future__ import annotations

from datetime import datetime, timedelta

from rxmps3.log.versioned.reading import SETTLED_AFTER, Listing
from rxmps3.runtime.clock import Clock

__all__ = ["ListingPace"]

_SOONEST = timedelta(seconds=1)
_LINES_PER_SECOND = 100
"""So fast may listings be read through: one of a thousand versions is gone through every ten seconds at most."""


class ListingPace:
    """When a full listing is due: soon after a change, then each time the newest version has doubled in age, and once
    more when it is settled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_at: float | None = None
        self._whole_at: datetime | None = None

    @property
    def is_due(self) -> bool:
        """Whether a full listing is due."""
        return self._due_at is not None and self._clock.monotonic() >= self._due_at

    @property
    def whole_until(self) -> datetime | None:
        """The moment, by the storage's clock, until which a partial listing suffices; None if it does not."""
        return None if self._whole_at is None else self._whole_at + SETTLED_AFTER

    def hurry(self) -> None:
        """Make a full listing due now."""
        self._due_at = self._clock.monotonic()

    def saw(self, listing: Listing, known: int, age: timedelta) -> None:
        """Note that the listing was read.

        Args:
            listing: what it showed.
            known: how many versions above the base are known.
            age: of the youngest version listed; that of a settled one if none is listed.
        """
        if listing.partial:
            soon = self._clock.monotonic() + _fair_wait(known).total_seconds()
            self._due_at = soon if self._due_at is None else min(soon, self._due_at)
            return
        self._due_at, self._whole_at = None, listing.date
        if age < SETTLED_AFTER:
            wait = max(_fair_wait(len(listing.lines)), min(age, SETTLED_AFTER - age))
            self._due_at = self._clock.monotonic() + wait.total_seconds()


def _fair_wait(lines: int) -> timedelta:
    return max(_SOONEST, timedelta(seconds=lines / _LINES_PER_SECOND))
