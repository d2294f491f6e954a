"""A replica's options and status. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict

from reactivex import Observable

from rxmps3.bells import LOCAL, Bell, Local
from rxmps3.errors import Error, InvalidOption
from rxmps3.log.detect import Choice
from rxmps3.model.prefixes import Prefixes
from rxmps3.replica.budget import Budget
from rxmps3.replica.cost import BudgetState
from rxmps3.replica.values import DEFAULT_CACHE_BYTES, DEFAULT_INLINE_LIMIT
from rxmps3.storage.prices import Prices

__all__ = ["Options", "ReplicaOptions", "Status", "merged"]

_MAY_DIFFER = ("poll", "live", "protocol", "budget", "prices")
"""The options in which handles on one replica may differ, as far as `merged` and `Ledger.use` say; all others are the
same."""


class ReplicaOptions(TypedDict, total=False):
    """The keyword arguments of `connect` that concern the replica: the fields of `Options`."""

    poll: float | Observable[Any]
    live: bool
    by: str
    inline_limit: int
    max_pending: int
    cache_bytes: int
    retention: timedelta
    online: bool
    protocol: Choice
    versioning: bool
    budget: Budget | float | None
    prices: Prices | str | None
    bell: Bell | Local | str | None
    prefixes: Iterable[str] | None


@dataclass(frozen=True)
class Options:
    """The options of a replica.

    Attributes:
        poll: the most seconds between two reads of the log while something is observed, or an Observable of ticks.
        live: keep reading even while nothing is observed.
        by: recorded in each log entry, unverified.
        inline_limit: values of more bytes get an object of their own.
        max_pending: how many writes may wait for their commit.
        cache_bytes: how much text of large values to keep in memory.
        online: False makes no request at all.
        protocol: the log's protocol, or "auto".
        versioning: mps3 only: values as versions of one object per key.
        retention: how far back the log reaches at least; older entries may be collected.
        budget: what the connection may spend; a number is money a month. None sets no limit.
        prices: how to count money; None takes those of the provider at the endpoint, or else of AWS.
        bell: what tells of news beside the timer; None is nothing.
        prefixes: only keys that start with one of these are kept; None keeps all.
    """

    poll: float | Observable[Any] = 1.0
    live: bool = False
    by: str = ""
    inline_limit: int = DEFAULT_INLINE_LIMIT
    max_pending: int = 100_000
    cache_bytes: int = DEFAULT_CACHE_BYTES
    retention: timedelta = timedelta(days=1)
    online: bool = True
    protocol: Choice = "auto"
    versioning: bool = False
    budget: Budget | float | None = None
    prices: Prices | str | None = None
    bell: Bell | Local | str | None = LOCAL
    prefixes: Iterable[str] | None = None

    def __post_init__(self) -> None:
        if self.prefixes is not None:
            object.__setattr__(self, "prefixes", Prefixes.of(self.prefixes).all)

    @property
    def kept(self) -> Prefixes | None:
        """The keys that are kept, if not all."""
        return None if self.prefixes is None else Prefixes.of(self.prefixes)

    @property
    def interval(self) -> float:
        """The age in seconds from which a read is stale; 1 if ticks come from an Observable."""
        return 1.0 if isinstance(self.poll, Observable) else self.poll


@dataclass(frozen=True)
class Status:
    """The status of a replica.

    Attributes:
        online: whether the storage answered the last request; None before the first one.
        since: when ``online`` last changed, by the local clock.
        loaded: whether the state has been loaded.
        last_error: the latest error of the storage or the log; None once it works again.
        next_try: seconds from the failure until the retry; None while there is no failure.
        pending: the number of writes waiting for their commit.
        head: the id of the newest known version.
        requests, bytes_up, bytes_down: totals so far.
        budget: whether polling is slowed to stay within the budget, or it is passed; see `Cost.state`.
        bell: whether a bell beyond this process works; None if there is none, or nobody listens to it.
    """

    online: bool | None = None
    since: datetime | None = None
    loaded: bool = False
    last_error: Error | None = None
    next_try: float | None = None
    pending: int = 0
    head: str = ""
    requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    budget: BudgetState = ""
    bell: bool | None = None

    def without_counts(self) -> Status:
        """The same status without the members that every request changes."""
        return replace(self, requests=0, bytes_up=0, bytes_down=0)


def merged(known: Options, asked: Options, what: str, protocol: str) -> Options:
    """The options of a replica after one more handle asks for it. ``protocol`` is the replica's current one.

    Raises:
        InvalidOption: they differ in more than how often to read.
    """
    differing = [
        option.name
        for option in fields(Options)
        if option.name not in _MAY_DIFFER and getattr(known, option.name) != getattr(asked, option.name)
    ]
    if asked.protocol not in ("auto", protocol):
        differing.append("protocol")
    ticks = [options.poll for options in (known, asked) if isinstance(options.poll, Observable)]
    if ticks and known.poll is not asked.poll:
        differing.append("poll")
    if differing:
        raise InvalidOption(
            f"already open in this process with a different {', '.join(differing)}",
            operation="connect",
            object=what,
            remedy="pass shared=False for a replica of its own",
        )
    poll = known.poll if ticks else min(known.interval, asked.interval)
    return replace(known, poll=poll, live=known.live or asked.live)
