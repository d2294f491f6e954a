"""What a log is to the replica that feeds on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from rxmps3.state import Committed, Loaded, Refused, Replayed, Write

__all__ = ["Deliver", "Log", "Place"]

Deliver = Callable[[Committed | Replayed | Loaded | Refused], None]
"""Receives what the log learns, each version exactly once, and of which writes it never will tell; it must not raise
unless it is `Corrupt`.

In order, except that `Replayed` brings versions that belong below known ones.
"""


@dataclass(frozen=True)
class Place:
    """Where a client is in a log, for going on there later.

    Attributes:
        protocol: the log's.
        version: the id of the last version that the state there holds.
        members: what else the log needs to go on, as JSON values.
    """

    protocol: str
    version: str
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Log(Protocol):
    """The ordered versions of one manifest.

    `read` and `commit` may run at the same time; whichever learns a version first delivers it, once. Neither
    overwrites anything: a log that cannot be understood stays as it is.
    """

    @property
    def exists(self) -> bool:
        """Whether the manifest has been found or created."""
        ...

    @property
    def position(self) -> str:
        """The id of the last version that was delivered, "" before the first."""
        ...

    @property
    def reached(self) -> tuple[str, int]:
        """How far reading has come: the position, and how much was fetched beyond it.

        It has changed after a read that failed but got further than the one before.
        """
        ...

    @property
    def place(self) -> Place | None:
        """Where this client is: the state it delivered last is the one there. None before anything was read."""
        ...

    @property
    def date(self) -> datetime | None:
        """The storage's time as last seen."""
        ...

    @property
    def upkeep_is_due(self) -> bool:
        """Whether the log has grown so much that it should be made small."""
        ...

    def resume(self, place: Place) -> None:
        """Begin at a place that was reached earlier, whose state is known; call it before `open`.

        A log that cannot go on there delivers `Loaded` when it opens, as if it had not been called.
        """
        ...

    async def open(self) -> None:
        """Deliver the newest state (`Loaded`), or what follows a resumed one. Writes nothing; once is enough.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
            Corrupt: what is stored is not what it claims to be.
            Unsupported: written by a newer version of this package, or in another protocol.
        """
        ...

    async def read(self) -> None:
        """Deliver every version that was in the log when this was called; opens first. Raises as `open`."""
        ...

    async def prepare(self) -> None:
        """Make the log ready for a first commit and for uploads: create the manifest if there is none.

        Raises:
            Rejected: the storage lacks what the log needs; the message says which condition it breaks.
        """
        ...

    async def ensure_dated(self) -> None:
        """Ask what time it is if ``date`` was heard long ago: what is sent is dated by it. Raises as `read`."""
        ...

    async def server_time(self) -> datetime:
        """Ask the storage what time it is. Raises as `read`."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Try once to append one entry with these writes, oldest first, as many as fit.

        When it returns, the outcome of the attempt is known and delivered: look at the view to see which writes
        it committed. When it raises `Unavailable`, the outcome is not known; call it again with what is pending.
        """
        ...
