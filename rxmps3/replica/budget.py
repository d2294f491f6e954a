"""What may be spent, and how long to wait for it. Pure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from rxmps3.errors import InvalidOption

__all__ = ["MONTH", "Allowance", "Budget", "checked_budget"]

MONTH: Final = 730 * 3600.0
"""Seconds: AWS counts 730 hours to a month. Source: https://aws.amazon.com/calculator/calculator-assumptions/"""
_HOUR: Final = 3600.0
_AT_ONCE: Final = 0.1
"""This part of an hour's budget may be spent at once; the rest comes evenly. So no hour exceeds its budget."""
_RESERVED: Final = 0.5
"""This part of what may be spent at once is left to writes and reads that a program asks for."""
_WELL: Final = 0.75
_MOST_DEBT: Final = 1.0
"""In hours of budget. What was spent beyond that is forgiven, so that looks go on after an hour at most."""
_SHORTEST: Final = 1e-3
"""Seconds; no shorter wait is asked for."""


@dataclass(frozen=True)
class Budget:
    """How much a connection may spend: exactly one of the two.

    Attributes:
        per_month: money a month, in the currency of the prices.
        requests_per_hour: requests an hour, of any class.

    Raises:
        InvalidOption: both or none are given, or it is not a positive number.
    """

    per_month: float | None = None
    requests_per_hour: float | None = None

    def __post_init__(self) -> None:
        given = [one for one in (self.per_month, self.requests_per_hour) if one is not None]
        if len(given) != 1 or not _is_amount(given[0]):
            raise InvalidOption(
                f"a budget is one positive number, of money a month or of requests an hour, not {given}",
                operation="connect",
                remedy="Budget(per_month=5) or Budget(requests_per_hour=1000)",
            )


def _is_amount(value: object) -> bool:
    """Whether it is a positive number that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def checked_budget(budget: Budget | float | None) -> Budget | None:
    """The budget that an option means; a number is money a month. Raises `InvalidOption`."""
    if budget is None or isinstance(budget, Budget):
        return budget
    if not isinstance(budget, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"a budget is money a month or a Budget, not {budget!r}",
            operation="connect",
            remedy="budget=5.0 or budget=rxmps3.Budget(requests_per_hour=1000)",
        )
    return Budget(per_month=budget)


class Allowance:
    """A token bucket: it fills evenly, every request takes from it, and looks wait until enough is there.

    A tenth of an hour's budget is there at first and at most; nine tenths come in over each hour. What is not a look
    is never held up, and may leave a debt.

    Args:
        per_hour: what may be spent in an hour, in any unit.
        now: seconds of a monotonic clock, as in the methods.
    """

    def __init__(self, per_hour: float, now: float) -> None:
        self._rate = per_hour * (1 - _AT_ONCE) / _HOUR
        self._most = per_hour * _AT_ONCE
        self._least = -per_hour * _MOST_DEBT
        self._level = self._most
        self._at = now

    def _flow(self, now: float) -> None:
        self._level = min(self._most, self._level + self._rate * max(now - self._at, 0.0))
        self._at = max(now, self._at)

    def charge(self, amount: float, now: float) -> None:
        """Take from it."""
        self._flow(now)
        self._level = max(self._least, self._level - amount)

    def wait(self, now: float) -> float:
        """Seconds until the next look; 0 if it may be now."""
        self._flow(now)
        seconds = (self._most * _RESERVED - self._level) / self._rate
        return seconds if seconds > _SHORTEST else 0.0

    def is_well(self, now: float) -> bool:
        """Whether looks have not had to wait lately."""
        self._flow(now)
        return self._level >= self._most * _WELL

    def is_passed(self, now: float) -> bool:
        """Whether more was spent than came in, which only others than looks can do."""
        self._flow(now)
        return self._level < 0
