"""What the requests of a client cost at a provider's prices, before any is made. Pure."""

from __future__ import annotations

from typing import Final

from rxmps3.database.presence.presence import DEFAULT_EVERY, DEFAULT_TTL
from rxmps3.log.protocol import ProtocolName
from rxmps3.replica.budget import MONTH
from rxmps3.storage.metered import Usage
from rxmps3.storage.prices import Prices

__all__ = ["IDLE_LOOK", "PUT", "projected"]

IDLE_LOOK: Final[dict[ProtocolName, Usage]] = {
    "sequenced": Usage(gets=1),
    "versioned": Usage(gets=1),
    "mps3": Usage(lists=1),
}
PUT: Final[dict[ProtocolName, Usage]] = {
    "sequenced": Usage(puts=1),
    "versioned": Usage(puts=2, lists=1),
    "mps3": Usage(puts=3, lists=1),
}
"""What a look that finds nothing and the put of a small value take; tests/behaviour/test_requests_of_each_log.py."""
_EARLY: Final = 0.9
"""A wait between two looks is shortened by a fifth at most, by a tenth on average."""
_QUIET_LOOKS: Final = 2.0


def projected(prices: Prices, protocol: ProtocolName, poll: float = 1.0) -> dict[str, float]:
    """The money per month for an idle client that observes, and for its presence beside another client's; and that for
    1,000 commits of one small value each.
    """
    look, put = prices.of(IDLE_LOOK[protocol]), prices.of(PUT[protocol])
    listen = prices.of(Usage(gets=1)) * MONTH / (poll * _QUIET_LOOKS * _EARLY)
    signs = prices.of(Usage(puts=1)) * MONTH / DEFAULT_EVERY + prices.of(Usage(lists=1)) * MONTH / DEFAULT_TTL
    return {
        "observing_per_month": look * MONTH / (poll * _EARLY),
        "presence_per_month": listen + signs,
        "thousand_commits": put * 1000,
    }
