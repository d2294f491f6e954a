"""Whether the log in the bucket is still the one that this client has read. Pure, but for the clock.

A bucket may be emptied, made anew by somebody else, or put back to an earlier copy while clients run. None of this
shows in what a client does most: a create succeeds in an empty folder, and the next entry is missing there, too. So a
client looks at the head and at entries that it has read, if it has not for `LIVE_FOR`: before a commit, and before
it believes any other answer. What it has learned since such a look may be of a log that is not there any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rxmps3.log import codec
from rxmps3.log.server_clock import LIVE_FOR
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Found, Missing, NotModified

__all__ = ["ASLEEP", "LET_GO", "OPEN_ANEW", "Place", "Sighting"]

OPEN_ANEW = "close the database and open it anew; nothing is written to it from here"
LET_GO = "`rxmps3 outbox DIR --anew` lets go of the local copy and keeps what waits to be sent"
_LIVE_FOR_SECONDS = LIVE_FOR.total_seconds()
ASLEEP = timedelta(minutes=1)
"""An answer so long after the sighting by the server's clock says that the local clocks stood still. Less may be the
difference between two servers."""


@dataclass(frozen=True)
class Place:
    """An entry, as it was read or created: its number, its hash, and its ETag if that is known."""

    seq: int = 0
    chain: str = ""
    etag: str = ""

    def is_in(self, answer: Found | NotModified | Missing) -> bool:
        """Whether the answer to a request for the entry shows it."""
        return isinstance(answer, NotModified) or (
            isinstance(answer, Found) and codec.digest(answer.body) == self.chain
        )


@dataclass(frozen=True)
class _Moment:
    """A moment by both local clocks, one of which may stop while the computer sleeps."""

    monotonic: float
    wall: datetime


class Sighting:
    """When the log was last seen to be there, and up to where.

    Whoever finds this place again, and the first one after it, has lost nothing to a copy that is older than the look:
    that ends at this place at the latest, and then lacks the other one.

    Attributes:
        place: the last entry that was seen then.
        next: the first one after it, once it was read or created.
    """

    def __init__(self, clock: Clock) -> None:
        self.place = Place()
        self.next: Place | None = None
        self._asked = Place()
        self._after_asked: Place | None = None
        self._clock = clock
        self._moment = self.begun()
        self._date: datetime | None = None

    def begun(self) -> _Moment:
        """Now: the moment at which a look begins."""
        return _Moment(self._clock.monotonic(), self._clock.now())

    def looks(self, place: Place) -> None:
        """A look begins, whose client is at this place."""
        self._asked, self._after_asked = place, None

    def applied(self, place: Place) -> None:
        """An entry was read or created."""
        self.next = self.next or place
        self._after_asked = self._after_asked or place

    def undone(self, seq: int) -> None:
        """It was not applied after all."""
        self.next = None if self.next is not None and self.next.seq == seq else self.next
        after = self._after_asked
        self._after_asked = None if after is not None and after.seq == seq else after

    def saw(self, began: _Moment, date: datetime | None) -> None:
        """The look that began then has found everything; ``date`` is the server's."""
        self.place, self.next = self._asked, self._after_asked
        self._moment, self._date = began, date

    def places(self, here: Place | None = None) -> list[Place]:
        """The entries to look at; with the last one, ``here``, which tells of copies younger than the last look."""
        return list(
            {place.seq: place for place in (self.place, self.next, here) if place is not None and place.seq}.values()
        )

    def is_after(self, moment: _Moment) -> bool:
        """Whether the look began after that moment."""
        return self._moment.monotonic > moment.monotonic

    def is_old(self, answered: datetime | None = None) -> bool:
        """Whether another look is due; ``answered`` is the server's time of an answer that is to be believed."""
        if answered is not None and self._date is not None and answered - self._date >= ASLEEP:
            return True
        if self._clock.monotonic() - self._moment.monotonic >= _LIVE_FOR_SECONDS:
            return True
        return self._clock.now() - self._moment.wall >= LIVE_FOR
