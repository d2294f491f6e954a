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
    """A clock that is never far behind the server's, whatever the local one says.

    Answers move it forward only, since a ``Date`` has whole seconds and is old by the time it arrives; `set` moves it
    both ways, after an operation turned out to be too far off.
    """

    def __init__(self) -> None:
        self.offset = 0.0

    def time(self, now: datetime) -> float:
        """Milliseconds since the epoch, as operations tell it; ``now`` is the local time."""
        return milliseconds(now) + self.offset

    def heard(self, date: datetime, now: datetime, latency: float) -> None:
        """An answer came in that the server had dated; ``latency`` is how many seconds it took."""
        behind = milliseconds(date) - latency * 1000 - self.time(now)
        if behind > 0:
            self.offset += behind

    def set(self, date: datetime, now: datetime, latency: float) -> None:
        """Take the server's time as it is."""
        self.offset = milliseconds(date) - milliseconds(now) + latency * 1000
