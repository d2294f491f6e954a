"""Transactions for blocking code: `fn` runs on the caller's thread, its reads on the database's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

from rxmps3.blocking.generated.transaction import TransactionDelegation
from rxmps3.blocking.portal import Portal
from rxmps3.database import transaction
from rxmps3.database.transaction import Transactions, check_function
from rxmps3.errors import InvalidOption

__all__ = ["Transaction", "one", "run", "update"]

T = TypeVar("T")


class Transaction(TransactionDelegation):
    """As `rxmps3.Transaction`, without ``await``."""

    def __init__(self, home: Portal, inner: transaction.Transaction) -> None:
        self._portal = home
        self._inner = inner

    @property
    def inner(self) -> transaction.Transaction:
        """The async transaction."""
        return self._inner

    @property
    def version(self) -> str:
        """The version id that it committed; "" before that, and if it changed nothing."""
        return self.inner.version


@contextmanager
def one(home: Portal, transactions: Transactions) -> Generator[Transaction]:
    """As `rxmps3.Database.transaction`."""
    begun = Transaction(home, home.call("transaction", lambda: transactions.begin("transaction")))
    try:
        with begun.inner.running():
            yield begun
    except BaseException:
        begun.inner.abandon()
        raise
    home.call("transaction", lambda: transactions.commit(begun.inner))


def run(
    home: Portal,
    transactions: Transactions,
    fn: Callable[[Transaction], T],
    attempts: int,
    operation: str = "transact",
) -> T:
    """As `rxmps3.Database.transact`."""
    check_function(fn, operation)
    trying = transactions.attempts(attempts, operation)
    while True:
        begun = Transaction(home, home.call(operation, trying.begin))
        try:
            with begun.inner.running():
                result = _called(fn, begun, operation)
        except BaseException:
            begun.inner.abandon()
            raise
        if home.call(operation, partial(trying.commit, begun.inner)):
            return result


def _called(fn: Callable[[Transaction], T], begun: Transaction, operation: str) -> T:
    result = fn(begun)
    if inspect.iscoroutine(result):
        result.close()
        raise InvalidOption("an async function cannot be run here", operation=operation, remedy="give a plain function")
    return result


def update(
    home: Portal, transactions: Transactions, key: str, fn: Callable[[Any], T], default: Any, attempts: int
) -> T:
    """As `rxmps3.Database.update`."""
    check_function(fn, "update")

    def change(begun: Transaction) -> T:
        value = fn(begun.get(key, deepcopy(default)))  # a function may change what it gets in place
        if not inspect.iscoroutine(value):
            begun.put(key, value)
        return value

    return run(home, transactions, change, attempts, "update")
