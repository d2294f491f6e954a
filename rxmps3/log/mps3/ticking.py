"""The clock by which operations are named: the local one, moved to the server's. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["ServerClock", "milliseconds", "moment"]


def milliseconds(time: datetime) -> int:
    """Since the epoch."""
    return round(time.timestamp() * 1000)


def moment(milliseconds: float) -> datetime:
    """The reverse of `milliseconds`."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class ServerClock:
    """A clock that stays within what answers tell of the server's, whatever the local one says.

    A ``Date`` has whole seconds and is old by the time it arrives, so it leaves a range. The JavaScript client moves
    its clock forward only; an operation of one that is ahead, whose answer is lost, could come to count much later.
    """

    def __init__(self) -> None:
        self.offset = 0.0

    def time(self, now: datetime) -> float:
        """Milliseconds since the epoch, as operations tell it; ``now`` is the local time."""
        return milliseconds(now) + self.offset

    def heard(self, date: datetime, now: datetime, latency: float) -> None:
        """An answer came in that the server had dated; ``latency`` is how many seconds it took."""
        time = self.time(now)
        earliest = milliseconds(date) - latency * 1000
        latest = milliseconds(date) + 1000 + latency * 1000
        self.offset += min(max(time, earliest), latest) - time

    def set(self, date: datetime, now: datetime, latency: float) -> None:
        """Take the server's time as it is."""
        self.offset = milliseconds(date) - milliseconds(now) + latency * 1000
