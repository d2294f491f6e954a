"""Whether the log in the bucket is still the one that this client has read. Pure, but for the clock.

A bucket may be emptied, made anew by somebody else, or put back to an earlier copy while clients run. None of this
shows in what a client does most: a create succeeds in an empty folder, and the next entry is missing there, too. So a
client looks at the head and at the entry that it read last, if it has not for `LIVE_FOR`: before a commit, and before
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

    Attributes:
        place: the last entry that was seen then.
    """

    def __init__(self, clock: Clock) -> None:
        self.place = Place()
        self._clock = clock
        self._moment = self.begun()
        self._date: datetime | None = None

    def begun(self) -> _Moment:
        """Now: the moment at which a look begins."""
        return _Moment(self._clock.monotonic(), self._clock.now())

    def saw(self, place: Place, began: _Moment, date: datetime | None) -> None:
        """A look that began then has found everything, up to this place; ``date`` is the server's."""
        self.place, self._moment, self._date = place, began, date

    def is_after(self, moment: _Moment) -> bool:
        """Whether the look began after that moment."""
        return self._moment.monotonic > moment.monotonic

    def is_old(self, answered: datetime | None = None) -> bool:
        """Whether another look is due; ``answered`` is the server's time of an answer that is to be believed."""
        now = self.begun()
        since = max(timedelta(seconds=now.monotonic - self._moment.monotonic), now.wall - self._moment.wall)
        late = answered is not None and self._date is not None and answered - self._date >= ASLEEP
        return late or since >= LIVE_FOR
