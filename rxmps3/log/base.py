"""What a log is to the replica that feeds on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from rxmps3.state import Committed, Loaded, Write

__all__ = ["Deliver", "Log"]

Deliver = Callable[[Committed | Loaded], None]
"""Receives what the log learns, in order, each version exactly once; it must not raise unless it is `Corrupt`."""


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
    def date(self) -> datetime | None:
        """The storage's time as last seen."""
        ...

    async def open(self) -> None:
        """Deliver the newest state (`Loaded`), or what follows a resumed one. Writes nothing; once is enough.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
            Corrupt: the head, an entry or their chain is not what it claims to be.
            Unsupported: written by a newer version of this package.
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

    async def server_time(self) -> datetime:
        """Ask the storage what time it is. Raises as `read`."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Try once to append one entry with these writes, oldest first, as many as fit.

        When it returns, the outcome of the attempt is known and delivered: look at the view to see which writes
        it committed. When it raises `Unavailable`, the outcome is not known; call it again with what is pending.
        """
        ...
