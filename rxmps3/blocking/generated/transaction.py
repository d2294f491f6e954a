"""`rxmps3.database.transaction.Transaction` without ``await``, as far as that only delegates.

Written by ``python -m tests.generate_blocking``: change the async class and run it again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from rxmps3.blocking.portal import Portal
from rxmps3.database.transaction import Transaction
from rxmps3.model.sortedkeys import several

__all__ = ["TransactionDelegation"]


class TransactionDelegation:
    """What a blocking `Transaction` hands on to the async one."""

    _portal: Portal

    @property
    @abstractmethod
    def inner(self) -> Transaction:
        """The async one."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, as this transaction sees it; ``default`` if there is none.

        Raises:
            InvalidKey: no storage could hold such a key.
            Unavailable, AccessDenied: the value could not be fetched.
            Closed: the transaction is over.
        """
        return self._portal.call("transact", lambda: self.inner.get(key, default))

    def get_many(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        """The values of several keys, in the order asked for. Otherwise as `get`."""
        keys = tuple(several(keys, "get_many"))  # here: a generator may block
        return self._portal.call("transact", lambda: self.inner.get_many(keys, default))

    def get_prefix(self, prefix: str = "", *, first: int | None = None, last: int | None = None) -> dict[str, Any]:
        """The values of the keys under a prefix, sorted; only the first or last n if asked. Otherwise as `get`."""
        return self._portal.call("transact", lambda: self.inner.get_prefix(prefix, first=first, last=last))

    def put(self, key: str, value: Any) -> None:
        """Set a key; `MISSING` deletes. Raises `InvalidKey`, `InvalidValue`, `Closed`."""
        self.inner.put(key, value)

    def put_all(self, values: Mapping[str, Any]) -> None:
        """Set and delete several keys. Otherwise as `put`."""
        self.inner.put_all(values)

    def delete(self, key: str) -> None:
        """Delete a key; deleting a missing key is allowed."""
        self.inner.delete(key)
