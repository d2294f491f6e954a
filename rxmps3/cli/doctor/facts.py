"""What was found out about a storage: values without any judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

__all__ = [
    "PERMISSIONS",
    "Checksums",
    "Conditional",
    "Consistency",
    "Dates",
    "Facts",
    "Latency",
    "Listing",
    "Races",
    "Sighting",
    "Unknown",
    "Versions",
    "latency_of",
    "skew_of",
]

PERMISSIONS = ("list", "get", "put", "delete", "list versions", "get version", "delete version")
"""The permissions that are tried one by one."""


@dataclass(frozen=True)
class Unknown:
    """A check that could not be carried out to its end.

    Attributes:
        why: what stood in its way.
        unsupported: the storage said that it does not offer this.
    """

    why: str
    unsupported: bool = False


@dataclass(frozen=True)
class Races:
    """Several requests with one precondition at once, of which at most one may succeed.

    Attributes:
        rounds: how often, each on an object of its own.
        contenders: how many at once.
        unsure: rounds in which no contender was told that it had won.
        violations: one sentence for each breach.
    """

    rounds: int
    contenders: int
    unsure: int = 0
    violations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conditional:
    """Gets with ``If-None-Match``: of what is unchanged, and of what was replaced."""

    unchanged_is_304: bool
    changed_is_sent: bool


@dataclass(frozen=True)
class Versions:
    """Whether versions are kept, and how they are listed.

    Attributes:
        ids: each put was answered with a version id of its own.
        newest_first: a listing has the versions of one object newest first, and flags the newest one.
        complete: a listing has exactly those versions, in pages of one too.
        readable: each is read by its id.
    """

    ids: bool
    newest_first: bool = False
    complete: bool = False
    readable: bool = False


@dataclass(frozen=True)
class Listing:
    """The order of listings and how they are cut.

    Attributes:
        flat_order: names without slashes ascend by their bytes.
        whole_order: so do names with slashes.
        pages: pages of one hold each name exactly once.
        after: a listing that starts after a name has what follows that name, and no more.
    """

    flat_order: bool
    whole_order: bool
    pages: bool
    after: bool


@dataclass(frozen=True)
class Checksums:
    """Bodies sent with their sha256: with the right one and with a wrong one."""

    right_is_taken: bool
    wrong_is_refused: bool


@dataclass(frozen=True)
class Consistency:
    """Whether what was written is read and listed right afterwards; one sentence for each breach."""

    rounds: int
    reads: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sighting:
    """The server's date of one answer, and the local clock when it was asked for and when it came."""

    date: datetime
    sent: datetime
    received: datetime


@dataclass(frozen=True)
class Dates:
    """The server's clock.

    Attributes:
        missing: the verbs of which an answer had no date.
        modified: objects tell when they were written.
        skew: the server's clock less the local one; None without dates.
        uncertainty: how far off `skew` may be.
        spread: how far the servers' clocks disagree at least.
    """

    missing: tuple[str, ...] = ()
    modified: bool | None = None
    skew: timedelta | None = None
    uncertainty: timedelta = timedelta(0)
    spread: timedelta = timedelta(0)


@dataclass(frozen=True)
class Latency:
    """Requests made one after the other: how many, and the seconds they took."""

    count: int
    median: float
    max: float


@dataclass(frozen=True)
class Facts:
    """Everything that was found out about a storage.

    Attributes:
        url: the storage.
        permissions: of `PERMISSIONS`; True is allowed, False refused, None not known.
        offers: whether the storage has the operation at all.
        missing: what a get of a missing object is answered with: 404, 403, 200, or None if not known.
        probes: what the probes that decide for ``protocol="auto"`` found in the way of each protocol, None if
            nothing.
        thorough: races between several processes, by what they tried; empty if they were not asked for.
        latency: by verb.
        requests: how many were made.
        seconds: how long all of it took.
        left: what could not be removed.
    """

    url: str
    permissions: Mapping[str, bool | None]
    offers: Mapping[str, bool]
    missing: int | None
    creates: Races | Unknown
    swaps: Races | Unknown
    conditional: Conditional | Unknown
    versions: Versions | Unknown
    listing: Listing | Unknown
    checksums: Checksums | Unknown
    consistency: Consistency | Unknown
    dates: Dates
    probes: Mapping[str, Unknown | None] = field(default_factory=dict[str, Unknown | None])
    thorough: Mapping[str, Races | Unknown] = field(default_factory=dict[str, Races | Unknown])
    latency: Mapping[str, Latency] = field(default_factory=dict[str, Latency])
    requests: int = 0
    seconds: float = 0.0
    left: tuple[str, ...] = ()


def skew_of(sightings: list[Sighting]) -> tuple[timedelta | None, timedelta, timedelta]:
    """Skew, uncertainty and spread of the server's clock, as of `Dates`.

    A date cut to whole seconds says that the server's clock was less than a second past it at some moment between
    asking and answer. Every answer narrows the skew down; where two exclude each other, the clocks differ.
    """
    if not sightings:
        return None, timedelta(0), timedelta(0)
    cut = all(one.date.microsecond == 0 for one in sightings)
    lows = [one.date - one.received for one in sightings]
    highs = [one.date - one.sent + timedelta(seconds=1 if cut else 0) for one in sightings]
    low, high = max(lows), min(highs)
    return (low + high) / 2, abs(high - low) / 2, max(timedelta(0), low - high)


def latency_of(seconds: Mapping[str, list[float]]) -> dict[str, Latency]:
    """Median and maximum by verb."""
    return {verb: Latency(len(each), median(each), max(each)) for verb, each in seconds.items() if each}
