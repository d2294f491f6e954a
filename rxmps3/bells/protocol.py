"""The interface of bells, which say that there is news and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from reactivex import Observable

__all__ = ["Bell", "HeldBell", "Rung", "topic_of"]


@runtime_checkable
class Bell(Protocol):
    """Tells the readers of a database that there is news. What the news is, they read from the bucket.

    A bell may ring for nothing, not ring, ring twice or fail: that costs time and requests, and nothing else. Bells
    that compare equal are one and the same to `rxmps3.connect`.

    A bell may have a ``name``, a string: what its topics are made of in place of the database's URL, for clients that
    reach one database by different URLs.
    """

    def ring(self, topic: str) -> Awaitable[None] | None:
        """Tell everyone who listens to a topic. Called after each commit, or once after several.

        Called on the database's event loop; what it returns is awaited there. If that raises, it is called again after
        a while.
        """
        ...

    def rings(self, topic: str) -> Observable[Any]:
        """What tells of news: each item, whatever it is, means "look now". Items may come from any thread.

        The first item, which may come as soon as it listens, shows that the bell works. If the observable fails or
        completes, the bell counts as down and this is called again after a while.
        """
        ...


class HeldBell(Protocol):
    """A bell that holds something open while it is in use, such as a connection."""

    def retain(self) -> None:
        """One more user on the running event loop."""
        ...

    async def release(self) -> None:
        """One user less; the last one closes what is open. It returns when what was disposed of has ended."""
        ...


@dataclass(frozen=True)
class Rung:
    """An item of a bell that may know which version it announces.

    Attributes:
        version: the id of a version of the log; readers that have it need not look. Empty if not known.
    """

    version: str = ""


def topic_of(place: str, manifest: str) -> str:
    """The topic of a manifest: 32 hexadecimal digits, from which the place cannot be read.

    Args:
        place: the storage's URL without options, or the name that a bell has for it.
        manifest: its name.
    """
    return hashlib.sha256(f"rxmps3 bell\n{place}\n{manifest}".encode()).hexdigest()[:32]
