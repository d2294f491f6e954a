"""The clock that names operations: the local clock, corrected to the server's. Pure."""

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
    """A clock kept within the range that answers imply for the server's clock, whatever the local clock says.

    A ``Date`` has whole seconds and has aged by the time it arrives, so it gives a range. The JavaScript client only
    moves its clock forward; with a clock that is ahead, an operation whose answer was lost could become valid much
    later.
    """

    def __init__(self) -> None:
        self.offset = 0.0

    def time(self, now: datetime) -> float:
        """Corrected time in milliseconds since the epoch; ``now`` is the local time."""
        return milliseconds(now) + self.offset

    def heard(self, date: datetime, now: datetime, latency: float) -> None:
        """Use the date of an answer; ``latency`` is the seconds that the request took."""
        time = self.time(now)
        earliest = milliseconds(date) - latency * 1000
        latest = milliseconds(date) + 1000 + latency * 1000
        self.offset += min(max(time, earliest), latest) - time

    def set(self, date: datetime, now: datetime, latency: float) -> None:
        """Set the clock to the server's exact time."""
        self.offset = milliseconds(date) - milliseconds(now) + latency * 1000
