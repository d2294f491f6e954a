"""How long to wait before a retry. Pure: randomness is an argument.

Exponential back-off with full jitter: before attempt n + 1 wait a random time of at most ``base * 2**n`` seconds,
never more than ``cap``, and never less than the server asked for, up to `MOST_ASKED`. Source: M. Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

from rxmps3.errors import Error, Throttled, Unavailable
from rxmps3.runtime.clock import Random

__all__ = ["MOST_ASKED", "Backoff", "full_jitter"]

_MAX_DOUBLINGS = 16
MOST_ASKED = 60.0
"""Seconds. A server that asks for a longer wait is asked again after these: a page that says it is down for maintenance
may name a day, and be gone after a minute."""


def full_jitter(failures: int, base: float, cap: float, rng: Random) -> float:
    """Seconds to wait after this many consecutive failures (1 or more)."""
    return rng.uniform(0, min(cap, base * 2 ** min(failures - 1, _MAX_DOUBLINGS)))


@dataclass(frozen=True)
class Backoff:
    """A retry policy.

    Attributes:
        base: the first wait is at most this many seconds.
        cap: no wait is longer, in seconds, unless the server asks for it.
        throttled_cap: the cap after a `Throttled` answer, in seconds.
        patience: the wait after an error that is not retriable, in seconds; the cause has to be fixed first.
    """

    base: float = 0.1
    cap: float = 5.0
    throttled_cap: float = 30.0
    patience: float = 30.0

    def wait(self, failures: int, error: Error, rng: Random) -> float:
        """Seconds to wait after this many consecutive failures (1 or more), the last being ``error``."""
        asked = (error.retry_after if isinstance(error, Unavailable) else None) or 0.0
        return max(self.unasked(failures, error, rng), min(asked, MOST_ASKED) if asked > 0 else 0.0)

    def unasked(self, failures: int, error: Error, rng: Random) -> float:
        """As `wait`, whatever the server asked for."""
        cap = self.throttled_cap if isinstance(error, Throttled) else self.cap if error.retriable else self.patience
        return full_jitter(failures, self.base, cap, rng)
