"""The fence: when an answer about a log entry may be believed. Pure.

Create-if-absent does not protect collected numbers: a writer suspended during a collection could create an old number
again and believe it committed, and a reader could mistake "missing" for "nothing new". So a collector raises ``floor``
in the head, waits `GRACE`, and only then deletes. Hence an answer about number ``seq`` may be believed if it came less
than `GRACE` minus `MARGIN` after an answer that showed a head with ``floor < seq``, both by the server's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rxmps3.log.server_clock import GRACE, MARGIN

__all__ = ["RENEW_AFTER", "Lease"]

RENEW_AFTER = GRACE / 2
"""The age at which a lease is renewed before it is needed."""


@dataclass(frozen=True)
class Lease:
    """The floor that one read of the head showed, and the server's time of that answer."""

    floor: int
    seen: datetime

    def covers(self, seq: int, answered: datetime) -> bool:
        """Whether an answer about ``seq``, given at the server's time ``answered``, may be believed."""
        return seq > self.floor and answered - self.seen < GRACE - MARGIN

    def wants_renewal(self, answered: datetime) -> bool:
        """Whether to read the head again."""
        return answered - self.seen >= RENEW_AFTER
