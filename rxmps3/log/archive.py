"""The interface for reading the past of a log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from rxmps3.errors import Corrupt
from rxmps3.model.state import ManifestVersion, State, fold

__all__ = ["Archive", "Logged", "Point"]


class Logged(NamedTuple):
    """One entry as it is stored.

    Attributes:
        seq: its number.
        chain: the hash of its bytes.
        version: its content.
        date: when it was stored, by the storage's clock; None if unknown.
    """

    seq: int
    chain: str
    version: ManifestVersion
    date: datetime | None


@dataclass(frozen=True)
class Point:
    """A position in the log, and the state there.

    Attributes:
        seq: the state is the one after this entry; 0 is before the first.
        chain: the hash of that entry.
        state: the result of the log up to there.
        by: who committed the entry, unverified; "" if the entry is no longer in the log.
        time: when it was committed, by the committer's clock; None if unknown.
        date: when the entry was stored, by the storage's clock; None if unknown.
    """

    seq: int
    chain: str
    state: State
    by: str = ""
    time: datetime | None = None
    date: datetime | None = None

    def after(self, logged: Logged) -> Point:
        """The point after one more entry. Raises `Corrupt` as `fold`."""
        version = logged.version
        try:
            state = fold(self.state, version)
        except Corrupt as error:
            raise Corrupt(f"{error.object}: {error.what}", object=f"log entry {logged.seq}") from error
        return Point(logged.seq, logged.chain, state, version.by, version.time, logged.date)


class Archive(Protocol):
    """The kept past of a manifest's log."""

    async def point(self, seq: int | None) -> Point:
        """The state after entry ``seq``, which must have existed; None gives the oldest state kept.

        Raises:
            NotKept: it is older than the oldest state kept.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        ...

    def since(self, point: Point, last: int) -> AsyncGenerator[Logged, None]:
        """The entries after a point, up to number ``last``, in order; only a few are in memory at a time.

        Raises:
            NotKept: the next entry has been collected meanwhile.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        ...

    async def point_at(self, moment: datetime) -> Point:
        """The state after the last entry stored at or before a moment (an aware datetime), by the storage's clock.

        Raises:
            NotKept: the moment is before the oldest state kept.
            InvalidOption: the moment is in the future.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        ...

    async def find(self, version: str, last: int) -> Point | None:
        """The state after the first entry, up to number ``last``, that holds this version id; None if none does.

        Raises:
            NotKept: the entry has been collected; the oldest state kept already includes the write.
        """
        ...

    async def check_kept(self, seq: int) -> None:
        """Raise `NotKept` if the values of the state after entry ``seq`` are no longer kept."""
        ...

    async def tags(self) -> dict[str, int]:
        """The tags and the numbers of their entries, oldest first."""
        ...

    async def point_of(self, tag: str) -> Point | None:
        """The state of a tag; None if there is no such tag. Raises as `point`."""
        ...

    async def tag(self, name: str, seq: int) -> bool:
        """Tag the state after entry ``seq``, if the head names its checkpoint.

        Raises:
            InvalidOption: the tag exists for another state, or there are too many tags.
            Unavailable, AccessDenied: the outcome is unknown; trying again is safe.
        """
        ...

    async def untag(self, name: str) -> None:
        """Remove a tag. Raises `Unavailable`, `AccessDenied` as `tag`."""
        ...
