"""Which rings are worth a look, and whether bells can be relied on. Pure: time is an argument, in seconds.

What a bell says is never taken for more than a hint. `Spacing` keeps a bell that rings without news from costing more
than the timer would; `Trust` lets the timer slow down only while whatever it finds had been told by a ring.
"""

from __future__ import annotations

__all__ = ["GRACE", "NEEDED", "Spacing", "Trust"]

GRACE = 30.0
"""Seconds that a ring may come before or after the look that finds its news: queues are slow."""
NEEDED = 5
"""How many pieces of news a bell has to ring for before it is relied on, if it was not at first; twice as many each
time that it was relied on in vain."""
_SHORTEST = 0.05


class Spacing:
    """The least time between two looks for rings: short while they find something, then longer and longer.

    Args:
        interval: the seconds between two looks without bells; the spacing grows no longer than that.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._looked_at = float("-inf")
        self._apart = self._shortest

    @property
    def _shortest(self) -> float:
        return min(self.interval, 1.0) * _SHORTEST

    def wait(self, now: float) -> float:
        """Seconds until the look for a ring that came now."""
        return max(0.0, self._looked_at + self._apart - now)

    def looks(self, now: float) -> None:
        """Note that a ring is being looked for."""
        self._looked_at = now
        self._apart = min(self._apart * 2, max(self.interval, self._shortest))

    def found(self) -> None:
        """Note that there was news."""
        self._apart = self._shortest


class Trust:
    """Whether the timer may look rarely, since rings tell of all news.

    Args:
        given: whether to rely on the bell until it proves unreliable; else it has to prove reliable first.
    """

    def __init__(self, *, given: bool) -> None:
        self._needed = NEEDED
        self._told = NEEDED if given else 0
        self._rung_at = float("-inf")
        self._found_at: float | None = None

    def rang(self, now: float) -> None:
        """Note a ring."""
        self._judge(now)
        self._rung_at = now
        if self._found_at is not None:
            self._found_at = None
            self._told += 1

    def found(self, now: float) -> None:
        """Note that a look found what others wrote."""
        self._judge(now)
        if now - self._rung_at <= GRACE:
            self._told += 1
        elif self._found_at is None:
            self._found_at = now

    def relies(self, now: float) -> bool:
        """Whether every ring that was due has come, and enough have."""
        self._judge(now)
        return self._found_at is None and self._told >= self._needed

    def _judge(self, now: float) -> None:
        if self._found_at is not None and now - self._found_at > GRACE:
            self._found_at = None
            if self._told >= self._needed:
                self._needed *= 2
            self._told = 0
