"""`rxmps3.database.past.past.Past` without ``await``, as far as that only delegates.

Written by ``python -m tests.generate_blocking``: change the async class and run it again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rxmps3.blocking.portal import Portal
from rxmps3.database.past.past import Past
from rxmps3.model.sortedkeys import several
from rxmps3.model.state import Entry

__all__ = ["PastDelegation"]


class PastDelegation:
    """What a blocking `Past` hands on to the async one."""

    _portal: Portal

    @property
    @abstractmethod
    def past(self) -> Past:
        """The async one."""

    @property
    def id(self) -> str:
        """The log version: its number as text, "0" for the state before the first."""
        return self.past.id

    @property
    def by(self) -> str:
        """The name of its committer, unverified; "" if its entry is no longer in the log."""
        return self.past.by

    @property
    def time(self) -> datetime | None:
        """When it was committed, by the writer's clock, informative only; None if unknown."""
        return self.past.time

    @property
    def date(self) -> datetime | None:
        """When it was stored, by the storage's clock; None if its entry is no longer in the log."""
        return self.past.date

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The `Entry` of each key: the version that wrote it, and the value or its location."""
        return self.past.entries

    def get_many(self, keys: Iterable[str], default: Any = None, *, timeout: float | None = None) -> dict[str, Any]:
        """The values of several keys, in the order asked for. Otherwise as `get`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        keys = tuple(several(keys, "get_many"))  # here: a generator may block
        return self._portal.call("get_many", lambda: self.past.get_many(keys, default), timeout)

    def get_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """The values of the keys under a prefix, sorted; only the first or last n if asked. Otherwise as `get`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("get_prefix", lambda: self.past.get_prefix(prefix, first=first, last=last), timeout)

    def read_texts(self, entries: Mapping[str, Entry], *, timeout: float | None = None) -> dict[str, str]:
        """The JSON texts of some of ``entries``, downloaded where not available locally. Raises as `get`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("read_texts", lambda: self.past.read_texts(entries), timeout)
