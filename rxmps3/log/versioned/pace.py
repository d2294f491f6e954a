"""When the listing is gone through whole though nothing seems new, since a version may come to light below others."""

from __future__ import annotations

from datetime import datetime, timedelta

from rxmps3.log.versioned.reading import SETTLED_AFTER, Listing
from rxmps3.runtime.clock import Clock

__all__ = ["ListingPace"]

_SOONEST = timedelta(seconds=1)
_LINES_PER_SECOND = 100
"""So fast may listings be read through: one of a thousand versions is gone through every ten seconds at most."""


class ListingPace:
    """When it is due: first soon after a change, then whenever the newest version is twice as old as the last time,
    and for the last time when that is settled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_at: float | None = None
        self._whole_at: datetime | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time to go through the whole listing."""
        return self._due_at is not None and self._clock.monotonic() >= self._due_at

    @property
    def whole_until(self) -> datetime | None:
        """Before this moment by the storage's clock a part of the listing may do; None if it may not."""
        return None if self._whole_at is None else self._whole_at + SETTLED_AFTER

    def hurry(self) -> None:
        """Let it be due now."""
        self._due_at = self._clock.monotonic()

    def saw(self, listing: Listing, known: int) -> None:
        """The listing has been looked at; so many versions above the base are known."""
        if listing.partial:
            soon = self._clock.monotonic() + _fair_wait(known).total_seconds()
            self._due_at = soon if self._due_at is None else min(soon, self._due_at)
            return
        self._due_at, self._whole_at = None, listing.date
        age = listing.age()
        if age < SETTLED_AFTER:
            wait = max(_fair_wait(len(listing.lines)), min(age, SETTLED_AFTER - age))
            self._due_at = self._clock.monotonic() + wait.total_seconds()


def _fair_wait(lines: int) -> timedelta:
    return max(_SOONEST, timedelta(seconds=lines / _LINES_PER_SECOND))
