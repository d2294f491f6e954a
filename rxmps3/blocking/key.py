"""A key of a blocking database."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from rxmps3.blocking import transaction
from rxmps3.blocking.portal import Portal
from rxmps3.blocking.transaction import Transaction
from rxmps3.database.transaction import Transactions, check_function
from rxmps3.streams.key import ABSENT, Key

__all__ = ["BlockingKey"]

T = TypeVar("T")


class BlockingKey(Key[T]):
    """As `rxmps3.Key`, but `update` blocks.

    Args:
        home: where reads are done.
        transactions: those of the handle.
        parts: what a key is made of.
    """

    def __init__(self, home: Portal, transactions: Transactions, *parts: Any) -> None:
        super().__init__(*parts)
        self._portal = home
        self._transactions = transactions

    def update(self, fn: Callable[[T], T], attempts: int = 10) -> T:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # as elsewhere on this face
        """Set the key to the result of a plain function of its value, as `rxmps3.Key.update`."""
        check_function(fn, "update")

        def change(begun: Transaction) -> T:
            value = fn(self.loaded(begun.get(self.name, ABSENT)))
            if not inspect.iscoroutine(value):
                begun.put(self.name, self.dumped(value))
            return value

        return transaction.run(self._portal, self._transactions, change, attempts, "update")
