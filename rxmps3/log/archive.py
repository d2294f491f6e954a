"""The seam between a log that keeps its past and those who look back: a place in it, an entry of it."""

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
        version: what it says.
        date: when it was stored, by the storage's clock; None where that does not say.
    """

    seq: int
    chain: str
    version: ManifestVersion
    date: datetime | None


@dataclass(frozen=True)
class Point:
    """A place in the log, and the state there.

    Attributes:
        seq: the state is the one after this entry; 0 is before the first.
        chain: the hash of that entry.
        state: what the log says up to there.
        by: who committed the entry, unverified; "" where it is no longer in the log.
        time: the committer's own clock then; None where that is not known.
        date: when the entry was stored, by the storage's clock; None where that is not known.
    """

    seq: int
    chain: str
    state: State
    by: str = ""
    time: datetime | None = None
    date: datetime | None = None

    def after(self, logged: Logged) -> Point:
        """The place after one more entry. Raises `Corrupt` as `fold`."""
        version = logged.version
        try:
            state = fold(self.state, version)
        except Corrupt as error:
            raise Corrupt(f"{error.object}: {error.what}", object=f"log entry {logged.seq}") from error
        return Point(logged.seq, logged.chain, state, version.by, version.time, logged.date)


class Archive(Protocol):
    """What a manifest's log still has of its past."""

    async def point(self, seq: int | None) -> Point:
        """The state after entry ``seq``, which the log is known to have had; None is the oldest that can be had.

        Raises:
            NotKept: it is older than what is kept.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        ...

    def since(self, point: Point, last: int) -> AsyncGenerator[Logged, None]:
        """The entries after a point up to number ``last``, in order; a few are in memory at a time.

        Raises:
            NotKept: the log has been collected beyond the next one meanwhile.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        ...

    async def point_at(self, moment: datetime) -> Point:
        """The state after the last entry that was stored no later than an aware moment, by the storage's clock.

        Raises:
            NotKept: that was before what is kept.
            InvalidOption: it is still to come.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        ...

    async def find(self, version: str, last: int) -> Point | None:
        """The state after the first entry, up to number ``last``, that holds this version id; None if none does.

        Raises:
            NotKept: it has been collected; the oldest state that can be had covers it.
        """
        ...

    async def check_kept(self, seq: int) -> None:
        """Raise `NotKept` if the values of the state after entry ``seq`` are kept no longer."""
        ...

    async def tags(self) -> dict[str, int]:
        """The names under which states are kept, and the numbers of their entries, oldest first."""
        ...

    async def point_of(self, tag: str) -> Point | None:
        """The state that is kept under a name; None if there is none. Raises as `point`."""
        ...

    async def tag(self, name: str, seq: int) -> bool:
        """Keep the state after entry ``seq`` under a name, if the head names its checkpoint.

        Raises:
            InvalidOption: another state has this name, or there are too many.
            Unavailable, AccessDenied: it may have been done or not; trying again is safe.
        """
        ...

    async def untag(self, name: str) -> None:
        """Keep nothing under this name any more. Raises `Unavailable`, `AccessDenied` as `tag`."""
        ...
