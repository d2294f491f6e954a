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

_BELIEVED_FOR = GRACE - MARGIN
_BELIEVED_FOR_SECONDS = _BELIEVED_FOR.total_seconds()
RENEW_AFTER = GRACE / 2
"""The age at which a lease is renewed before it is needed."""


@dataclass(frozen=True)
class Lease:
    """What one read of the head makes believable.

    Attributes:
        floor: the floor that it showed.
        seen: the server's time of that answer.
        taken: this client's monotonic clock then.
    """

    floor: int
    seen: datetime
    taken: float

    def covers(self, seq: int, answered: datetime, now: float) -> bool:
        """Whether an answer about ``seq`` may be believed.

        A ``Date`` that went back says nothing about how much time has passed, nor does one that stands still. So an
        answer dated well before the lease does not count, and none does once the lease is old by this client's clock.

        Args:
            seq: the number.
            answered: the server's time of the answer.
            now: this client's monotonic clock.
        """
        passed = now - self.taken
        return seq > self.floor and -MARGIN <= answered - self.seen < _BELIEVED_FOR and passed < _BELIEVED_FOR_SECONDS

    def wants_renewal(self, answered: datetime) -> bool:
        """Whether to read the head again."""
        return answered - self.seen >= RENEW_AFTER
