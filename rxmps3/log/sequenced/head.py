"""The head as one client last read it, and the lease that decides which answers about entries may be believed.

The head is the one mutable object of a sequenced log. It names the newest checkpoint and holds the floor; only
checkpoints and collection rewrite it. Reading it renews the lease (see `fence`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from rxmps3.errors import Corrupt, Gone, PreconditionFailed, Replaced, Unavailable, Unsupported
from rxmps3.log import codec
from rxmps3.log.sequenced.fence import Lease
from rxmps3.log.sequenced.identity import LET_GO, OPEN_ANEW
from rxmps3.log.server_clock import ServerDate
from rxmps3.log.set_aside import how_to_repair
from rxmps3.model.names import Layout
from rxmps3.storage.base import ABSENT, Matches, Missing, NotModified, Storage, pages

__all__ = ["KnownHead", "Outdated", "rewritten"]

_MAX_HEAD_BYTES = 1 << 20
_TRIES = 5

Follow = Callable[[codec.Head, Lease], Awaitable[str]]


def rewritten(head: codec.Head, modified: datetime | None, nonce: str, **changes: Any) -> codec.Head:
    """A changed head that keeps the floor and the time at which it was raised.

    Args:
        head: the current one.
        modified: when the current head was last modified.
        nonce: of the new head.
        changes: the members to replace.
    """
    raised_at = (head.raised_at or modified) if head.floor else None
    return replace(head, nonce=nonce, raised_at=raised_at, **changes)


def _checkpointed(head: codec.Head) -> int:
    return head.checkpoint.seq if head.checkpoint is not None else 0


class Outdated(Exception):
    """The known head is too old to judge an answer by; read it again."""


class KnownHead:
    """The head of one manifest. A head is accepted only together with a position in the log that it does not let be
    collected.

    Args:
        storage: where it is; needs conditional replaces and a ``Date`` in each answer.
        layout: the manifest's names.
        follow: called before a head is accepted, to move to such a position; returns "", or the object of the head's
            checkpoint that is gone meanwhile. May raise `Outdated`.

    Attributes:
        expected: whether a head is known from an earlier session, so that its absence is an error.
        disbelieved: how many answers in a row were not believed.
    """

    def __init__(self, storage: Storage, layout: Layout, follow: Follow, dated: ServerDate) -> None:
        self.expected = False
        self.disbelieved = 0
        self._storage = storage
        self._layout = layout
        self._follow = follow
        self._dated = dated
        self._head: codec.Head | None = None
        self._etag = ""
        self._modified: datetime | None = None
        self._lease: Lease | None = None
        self._turning = asyncio.Lock()

    @property
    def seen(self) -> codec.Head | None:
        """The head as last seen, if there was one."""
        return self._head

    @property
    def head(self) -> codec.Head:
        """The head as last seen. Raises RuntimeError if there is none yet."""
        if self._head is None:
            raise RuntimeError("the manifest has no head yet: open or prepare the log first")
        return self._head

    @property
    def lease(self) -> Lease:
        """Which answers the last look at the head makes believable. Raises RuntimeError before the first one."""
        if self._lease is None:
            raise RuntimeError("the head has not been read yet")
        return self._lease

    @property
    def raised_at(self) -> datetime | None:
        """When the floor was last raised, by the server's clock."""
        return self.head.raised_at or self._modified

    @property
    def date(self) -> datetime | None:
        """The server's time as last seen."""
        return self._dated.last

    def dated(self, date: datetime | None) -> datetime:
        """The date of an answer. Raises `Unsupported` if it has none."""
        if date is None:
            raise Unsupported(
                "responses have no Date header, which the log needs to tell how old they are", object=self._storage.url
            )
        return date

    def forget(self) -> None:
        """Forget the head and its lease."""
        self._head, self._etag, self._lease = None, "", None

    async def counts(self, seq: int, answered: datetime | None) -> bool:
        """Whether an answer about entry ``seq`` may be believed. If not, the head was read again: repeat the request.

        Raises:
            Unavailable: no answer is believable.
            Corrupt, Unsupported: as `look`.
        """
        answered = self.dated(answered)
        self._dated.heard(answered)
        lease = self._lease
        if lease is not None and lease.covers(seq, answered, self._dated.monotonic()):
            self.disbelieved = 0
            if lease.wants_renewal(answered):
                await self.look()
            return True
        await self.look()
        self.disbelieved += 1
        if self.disbelieved > _TRIES:
            self.disbelieved = 0
            raise Unavailable("the dates of its responses are too far apart", object=self._storage.url)
        return False

    async def look(self) -> bool:
        """Read the head, renew the lease, and move on if the log at the current position may be collected.

        Returns:
            False if there is no manifest yet.

        Raises:
            Gone: a known head is gone.
            Replaced: it belongs to another log, or to an earlier state of this one.
            Corrupt: there are objects of a manifest without a head.
        """
        async with self._turning:
            name = self._layout.head
            failed_etag = ""
            for _ in range(_TRIES):
                asked = self._dated.asking()
                answer = await self._storage.get(name, unless=self._etag or None, limit=_MAX_HEAD_BYTES)
                date = self.dated(answer.date)
                self._dated.heard(date, asked)
                if isinstance(answer, Missing):
                    await self._check_emptiness()
                    return False
                if isinstance(answer, NotModified):
                    self._lease = Lease(self.head.floor, date, asked.monotonic)
                    return True
                head = codec.decode_head(answer.body, name)
                self._check_successor(head)
                lease = Lease(head.floor, date, asked.monotonic)
                try:
                    gone = await self._follow(head, lease)
                except Outdated:
                    continue
                if not gone:
                    self._head, self._etag, self._modified = head, answer.etag, answer.modified
                    self._lease = lease
                    return True
                if failed_etag == answer.etag and head.checkpoint is not None:
                    by = name if gone == self._layout.root + head.checkpoint.name else head.checkpoint.name
                    raise Corrupt(
                        f"missing, though {by!r} names it",
                        object=f"checkpoint {gone!r}",
                        remedy="restore the object; nothing is overwritten",
                    )
                failed_etag = answer.etag
        raise Unavailable("its checkpoint is replaced faster than it can be read", object=f"head {self._layout.head!r}")

    def _check_successor(self, head: codec.Head) -> None:
        """Check that a head belongs to the same log as the previous one, and that it names no less.

        Raises:
            Replaced: it does not.
        """
        known = self._head
        if known is None:
            return
        if head.incarnation != known.incarnation:
            raise self._replaced(f"names another log ({head.incarnation}, not {known.incarnation}): it was made anew")
        if head.floor < known.floor:
            raise self._replaced(f"its floor fell from {known.floor} to {head.floor}: it was put back to an older copy")
        if (seq := _checkpointed(head)) < (before := _checkpointed(known)):
            raise self._replaced(f"its checkpoint fell from {before} to {seq}: it was put back to an older copy")

    def _replaced(self, what: str) -> Replaced:
        return Replaced(
            what,
            object=f"head {self._layout.head!r}",
            remedy=OPEN_ANEW,
        )

    async def _check_emptiness(self) -> None:
        """Without a head: check that the manifest never existed, rather than start over on the remains of one.

        Raises:
            Gone: it did, and this client has read it.
            Corrupt: it did.
        """
        known = self._head is not None or self.expected
        page = await self._storage.list(self._layout.root, limit=1)
        left = await self._find_leftover() if page.objects or page.cursor is not None else ""
        if not left and not known:
            return
        if not isinstance(await self._storage.get(self._layout.head, limit=_MAX_HEAD_BYTES), Missing):
            if not known:
                return
            raise Unavailable("its head is there at times, and at times not", object=f"head {self._layout.head!r}")
        root = f"manifest {self._layout.root!r} at {self._storage.url}"
        if not left:
            raise Gone(
                "deleted: nothing of it is left",
                object=root,
                remedy=LET_GO if self.expected else "close the database and open it anew, or restore the bucket",
            )
        kind, what = (Gone, "its head object is gone") if known else (Corrupt, f"no head object, but {left!r} exists")
        raise kind(
            what,
            object=root,
            remedy="restore the head object from a backup, or: "
            + how_to_repair(self._storage.url, self._layout.manifest),
        )

    async def _find_leftover(self) -> str:
        """Find an object left by a manifest of this name, not counting objects of databases with a longer prefix."""
        async for page in pages(self._storage, self._layout.root):
            for one in page.objects:
                if not self._layout.is_of_another(one.name):
                    return one.name
        return ""

    async def create(self, head: codec.Head) -> None:
        """Create the first head, or adopt an existing one.

        Raises:
            Unavailable: the outcome is unknown; calling again is safe.
        """
        try:
            await self._storage.put(self._layout.head, codec.encode_head(head), when=ABSENT)
        except PreconditionFailed:
            pass  # a head exists, perhaps this one: adopt it
        if not await self.look():
            raise Unavailable("the head that was just created cannot be read yet", object=f"head {self._layout.head!r}")

    async def rewrite(self, change: Callable[[codec.Head, datetime | None], codec.Head | None]) -> bool:
        """Replace the head under If-Match.

        Args:
            change: returns the new head, with a new nonce, given the current one and the time it was last modified;
                None declines.

        Returns:
            Whether the head is now the one that ``change`` returned.

        Raises:
            Unavailable: the outcome is unknown, or other clients won too often; calling again is safe.
        """
        for _ in range(_TRIES):
            await self.look()
            wanted = change(self.head, self._modified)
            if wanted is None:
                return False
            try:
                await self._storage.put(self._layout.head, codec.encode_head(wanted), when=Matches(self._etag))
            except (PreconditionFailed, Unavailable) as error:
                await self.look()
                if self.head.nonce == wanted.nonce:
                    return True
                if isinstance(error, Unavailable):
                    raise
            else:
                await self.look()
                return True
        raise Unavailable("rewritten by other clients at each attempt", object=f"head {self._layout.head!r}")
