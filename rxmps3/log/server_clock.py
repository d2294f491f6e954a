"""The storage's time: as last seen, as far as it agrees with other clocks, and the grace periods measured by it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from rxmps3.errors import Error, Unavailable, UnsureTime
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Found, Storage

__all__ = ["GRACE", "LIVE_FOR", "MARGIN", "Asked", "ServerDate", "certain_time"]

GRACE = timedelta(hours=1)
"""What a collector waits between raising the floor and deleting."""
MARGIN = timedelta(minutes=5)
"""Left for coarse server times and for requests under way."""
LIVE_FOR = timedelta(seconds=10)
"""So long after a look that found the log in its place, by a local clock, no other one is needed before a commit."""
_FRESH = timedelta(days=1)
"""The log forgets a writer 30 days after its last entry's date, and nothing is sent again 29 days after its own: both
are taken from here, so that it matters only that neither is weeks behind."""
_FRESH_SECONDS = _FRESH.total_seconds()
_SOON = 60.0
"""Seconds: an answer that took longer may be dated long before it came."""
_NEW_LINE_AFTER = timedelta(days=1)
"""A time that has jumped is believed once it has run evenly for so long: by then no upload from before the jump waits
for its commit."""


class Asked(NamedTuple):
    """When a request was made, by both local clocks, one of which stops while the computer sleeps."""

    monotonic: float
    wall: datetime


class _Reading(NamedTuple):
    """The storage's time, and what the local clocks said when it arrived."""

    date: datetime
    wall: datetime
    monotonic: float


class ServerDate:
    """The date of the last answer that carried one. An idle client sends no requests, so it may be weeks old.

    Each date is compared with earlier ones: by the local clocks as much time has to have passed as by the storage's. It
    does not matter what the local clocks show, and both count, since one of them stops while the computer sleeps.
    """

    def __init__(self, clock: Clock) -> None:
        self.last: datetime | None = None
        self.doubt = ""
        """Why the last date is not to be relied upon; "" if it agrees with what was known."""
        self._clock = clock
        self._wall = clock.now()
        self._monotonic = clock.monotonic()
        self._line: _Reading | None = None
        self._other_line: _Reading | None = None

    def monotonic(self) -> float:
        """This client's monotonic clock, in seconds."""
        return self._clock.monotonic()

    def asking(self) -> Asked:
        """Note that a request is made now."""
        return Asked(self._clock.monotonic(), self._clock.now())

    def passed_since(self, asked: Asked) -> float:
        """The seconds since a request was made, by the clock by which they are more."""
        return max(self._clock.monotonic() - asked.monotonic, (self._clock.now() - asked.wall).total_seconds())

    def heard(self, date: datetime, asked: Asked | None = None) -> None:
        """Note the date of an answer.

        Args:
            date: the date.
            asked: when this client made the request. Without it, and if the answer took long, as where the process
                stood still or the computer slept meanwhile, the date tells too little to be compared with others.
        """
        self.last, self._wall, self._monotonic = date, self._clock.now(), self._clock.monotonic()
        if asked is not None and self.passed_since(asked) < _SOON:
            self._compare(_Reading(date, self._wall, self._monotonic))

    def is_borne_out(self, date: datetime) -> bool:
        """Whether a date agrees with what was known, and with this computer's own idea of the time."""
        return not self.doubt and abs(date - self._clock.now()) <= MARGIN

    @property
    def is_old(self) -> bool:
        """Whether it is over a day old by either local clock; one of them stops while the computer sleeps."""
        if self.last is None:
            return False
        return self._clock.monotonic() - self._monotonic > _FRESH_SECONDS or self._clock.now() - self._wall > _FRESH

    def _compare(self, reading: _Reading) -> None:
        line, other = self._line, self._other_line
        if line is None or not (off := _departure(line, reading)):
            self.doubt, self._other_line = "", None
            if line is None or reading.monotonic - line.monotonic >= GRACE.total_seconds():
                self._line = reading
        elif other is None or _departure(other, reading):
            self.doubt, self._other_line = _jumped(off), reading
        elif reading.monotonic - other.monotonic >= _NEW_LINE_AFTER.total_seconds():
            self.doubt, self._line, self._other_line = "", reading, None
        else:
            self.doubt = _jumped(off)


def _departure(earlier: _Reading, later: _Reading) -> timedelta:
    """By how much the storage's time has gone wrong between two readings, by the local clocks; 0 if it has not."""
    passed = timedelta(seconds=later.monotonic - earlier.monotonic)
    by_date = later.date - earlier.date
    if by_date > max(passed, later.wall - earlier.wall) + MARGIN:
        return by_date - passed
    return by_date - passed if by_date < passed - MARGIN else timedelta(0)


def _jumped(off: timedelta) -> str:
    way = "ahead" if off > timedelta(0) else "back"
    return f"the storage's time has jumped {way} by {abs(off)} against this computer's clock"


async def certain_time(storage: Storage, name: str, dated: ServerDate, manifest: str) -> datetime:
    """The storage's time, for decisions that cannot be undone.

    A small object is written, read back and removed again: the time at which the storage says that it was stored has to
    agree with the ``Date`` of both answers, and that with what this client has seen of the storage's time before.

    Args:
        storage: where the manifest is.
        name: the object's; another one for each client.
        dated: what this client has seen so far.
        manifest: the manifest's name, for the error.

    Raises:
        UnsureTime: they contradict each other.
        Unavailable, AccessDenied: the storage does not answer in time, or refuses.
    """
    began = dated.asking()
    stored = await storage.put(name, b"{}")
    try:
        asked = dated.asking()
        found = await storage.get(name, version=stored.version)
    finally:
        try:
            await storage.delete(name, version=stored.version)
        except Error:
            pass  # it leaves two bytes, which nothing reads, and which are overwritten the next time
    if dated.passed_since(began) >= _SOON:
        raise Unavailable(
            "it took too long, so the time cannot be told", operation="compact", object=f"object {name!r}"
        )
    if not isinstance(found, Found) or found.date is None:
        # removed by another collection of this client, or by a delete of its own that arrived late
        raise Unavailable("it is missing, so the time cannot be told", operation="compact", object=f"object {name!r}")
    for date in (stored.date, found.date):
        if date is not None and found.modified is not None and abs(date - found.modified) > MARGIN:
            raise _unsure(
                f"an answer is dated {date:%Y-%m-%d %H:%M:%S}, but what was written just now was stored at "
                f"{found.modified:%Y-%m-%d %H:%M:%S}",
                manifest,
            )
    dated.heard(found.date, asked)
    if dated.doubt:
        raise _unsure(dated.doubt, manifest)
    return found.date


def _unsure(what: str, manifest: str) -> UnsureTime:
    return UnsureTime(
        what,
        operation="compact",
        object=f"manifest {manifest!r}",
        remedy="nothing is deleted until the times agree again; look at the clocks of the server and of what stands "
        "between",
    )
