"""The sequenced log: one object per version, created if absent, numbered without holes.

It needs a storage with conditional creates (`ABSENT`), conditional replaces (`Matches`) and a ``Date`` in each
answer. The argument, in short (``docs/protocol.md`` has it whole):

* at most one body per number ever exists, since each is created if absent and never replaced;
* the cursor moves to number n only with the bytes of entry n in hand, and a commit always aims at cursor + 1, so no
  new number is tried while the outcome of another is unknown: whatever an answer claimed, the next attempt meets
  what was really stored;
* an answer about a number counts only under a `Lease` on the head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from rxmps3.clock import Clock
from rxmps3.errors import Corrupt, PreconditionFailed, Unavailable, Unsupported
from rxmps3.layout import Layout
from rxmps3.log import codec
from rxmps3.log.base import Deliver
from rxmps3.log.fence import Lease
from rxmps3.log.probe import ensure_conditional_writes
from rxmps3.state import Committed, Loaded, State, Write
from rxmps3.storage.base import ABSENT, Found, Missing, NotModified, Storage, list_all

__all__ = ["MAX_ENTRY_BYTES", "MAX_GROUP_BYTES", "SequencedLog"]

MAX_GROUP_BYTES = 1 << 20
"""Writes are grouped into one entry up to this size; a single larger write gets an entry of its own."""
MAX_ENTRY_BYTES = 16 << 20
"""No entry is larger; one that claims to be is not read."""
_MAX_HEAD_BYTES = 1 << 20
_READS_AT_ONCE = 16
_HITS_BEFORE_LISTING = 4


class SequencedLog:
    """One manifest's sequenced log, as one client follows and extends it.

    Args:
        storage: needs conditional creates and replaces.
        layout: the manifest's names.
        clock: time for entries' informative ``time``, ids for nonces.
        writer: this client's writer id for this manifest.
        by: recorded in each entry, unverified.
        deliver: receives what the log learns.
    """

    def __init__(
        self, storage: Storage, layout: Layout, clock: Clock, *, writer: str, by: str, deliver: Deliver
    ) -> None:
        self._storage = storage
        self._layout = layout
        self._clock = clock
        self._writer = writer
        self._by = by
        self._deliver = deliver
        self._head: codec.Head | None = None
        self._head_etag = ""
        self._lease: Lease | None = None
        self._seq = 0
        self._chain = ""
        self._turning = asyncio.Lock()

    @property
    def exists(self) -> bool:
        return self._head is not None

    @property
    def position(self) -> str:
        return str(self._seq) if self._seq else ""

    # -- reading ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        if await self._look_at_head():
            await self._catch_up()
        else:
            self._deliver(Loaded(State()))

    async def read(self) -> None:
        if self._head is None and not await self._look_at_head():
            return
        hits = 0
        while True:
            head, seq = self._known_head(), self._seq + 1
            if hits == _HITS_BEFORE_LISTING:
                await self._catch_up()
                return
            answer = await self._storage.get(self._layout.entry(head.incarnation, seq), limit=MAX_ENTRY_BYTES)
            if not await self._counts(seq, answer.date):
                continue
            if not isinstance(answer, Found):
                return
            self._apply(seq, answer.body)
            hits += 1

    async def _catch_up(self) -> None:
        """Read to the end of a log that is known to be some entries ahead: one listing, then entries in parallel."""
        head, first = self._known_head(), self._seq + 1
        after = self._layout.entry(head.incarnation, self._seq)
        listed = await list_all(self._storage, self._layout.log(head.incarnation), after=after)
        numbers = [self._layout.seq_of(head.incarnation, one.name) for one in listed]
        last = max((number for number in numbers if number is not None), default=self._seq)
        for start in range(first, last + 1, _READS_AT_ONCE):
            batch = range(start, min(start + _READS_AT_ONCE, last + 1))
            answers = await asyncio.gather(
                *(self._storage.get(self._layout.entry(head.incarnation, seq), limit=MAX_ENTRY_BYTES) for seq in batch)
            )
            for seq, answer in zip(batch, answers, strict=True):
                if not await self._counts(seq, answer.date):
                    return await self.read()
                if not isinstance(answer, Found):
                    raise Corrupt(
                        f"missing, though entry {last} exists",
                        operation="read",
                        object=f"log entry {self._layout.entry(head.incarnation, seq)!r}",
                        remedy="restore the object; nothing is overwritten",
                    )
                self._apply(seq, answer.body)
        return None

    def _apply(self, seq: int, body: bytes) -> None:
        """Move the cursor over entry ``seq``; a no-op if it has moved there already."""
        if seq != self._seq + 1:
            return
        name = self._layout.entry(self._known_head().incarnation, seq)
        entry = codec.decode_entry(body, name)
        if entry.seq != seq:
            raise Corrupt(f"claims to be number {entry.seq}", object=f"log entry {name!r}")
        if entry.previous != self._chain:
            raise Corrupt(
                f"does not follow entry {seq - 1}: its hash chain differs",
                object=f"log entry {name!r}",
                remedy="an entry was replaced, or two histories were mixed in one bucket",
            )
        self._deliver(Committed(entry.version))
        self._seq, self._chain = seq, codec.digest(body)

    # -- the head and its lease ------------------------------------------------------------------------------

    def _known_head(self) -> codec.Head:
        if self._head is None:
            raise RuntimeError("the manifest has no head yet: open or prepare the log first")
        return self._head

    async def _counts(self, seq: int, answered: datetime | None) -> bool:
        """Whether an answer about ``seq`` may be believed; if not, the head was read anew: ask again."""
        if answered is None:
            raise self._no_date()
        lease = self._lease
        if lease is not None and lease.covers(seq, answered):
            if lease.wants_renewal(answered):
                await self._look_at_head()
            return True
        await self._look_at_head()
        return False

    async def _look_at_head(self) -> bool:
        """Read the head, adopt it and renew the lease; False if there is no manifest yet.

        Raises:
            Corrupt: a head that was there is gone or belongs to another log, or there is none over left-overs.
        """
        async with self._turning:
            name = self._layout.head
            answer = await self._storage.get(name, unless=self._head_etag or None, limit=_MAX_HEAD_BYTES)
            if answer.date is None:
                raise self._no_date()
            if isinstance(answer, Missing):
                await self._check_emptiness()
                return False
            if isinstance(answer, NotModified):
                self._lease = Lease(self._known_head().floor, answer.date)
                return True
            self._adopt(codec.decode_head(answer.body, name), answer.etag, answer.date)
            return True

    def _adopt(self, head: codec.Head, etag: str, seen: datetime) -> None:
        known = self._head
        if known is not None and head.incarnation != known.incarnation:
            raise Corrupt(
                f"names another log ({head.incarnation}, not {known.incarnation}): the database was replaced",
                object=f"head {self._layout.head!r}",
                remedy="open it anew; nothing is written to it from here",
            )
        if head.checkpoint is not None or head.floor:
            raise Unsupported("checkpoints", object=f"head {self._layout.head!r}", remedy="upgrade rxmps3")
        if known is None:
            self._chain = codec.genesis(head.incarnation)
            self._deliver(Loaded(State()))
        self._head, self._head_etag, self._lease = head, etag, Lease(head.floor, seen)

    async def _check_emptiness(self) -> None:
        """No head: fine for a manifest that never was; never the time to start anew over what is left of one."""
        root = f"manifest {self._layout.root!r} at {self._storage.url}"
        remedy = "restore the head object from a backup; nothing is overwritten"
        if self._head is not None:
            raise Corrupt("its head object is gone", object=root, remedy=remedy)
        page = await self._storage.list(self._layout.root, limit=1)
        if page.objects and isinstance(await self._storage.get(self._layout.head), Missing):
            raise Corrupt(f"no head object, but {page.objects[0].name!r} exists", object=root, remedy=remedy)

    def _no_date(self) -> Unsupported:
        return Unsupported(
            "answers carry no Date header, which the log needs to know how old they are", object=self._storage.url
        )

    # -- writing ---------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        if self._head is not None or await self._look_at_head():
            return
        await ensure_conditional_writes(self._storage, self._clock)
        head = codec.Head(incarnation=self._clock.new_id(), nonce=self._clock.new_id())
        try:
            await self._storage.put(self._layout.head, codec.encode_head(head), when=ABSENT)
        except PreconditionFailed:
            pass  # somebody's head is there, perhaps this one: adopt it
        if not await self._look_at_head():
            raise Unavailable("the head just created is not there yet", object=f"head {self._layout.head!r}")

    async def commit(self, writes: Sequence[Write]) -> None:
        await self.prepare()
        seq = self._seq + 1
        body = self._pack(seq, writes)
        name = self._layout.entry(self._known_head().incarnation, seq)
        try:
            stored = await self._storage.put(name, body, when=ABSENT)
        except (PreconditionFailed, Unavailable) as error:
            # Not known: lost to another writer, our own create resent by the HTTP client, or simply no answer.
            await self.read()
            if self._seq < seq:
                raise self._nothing_there(name, error) from error
        else:
            if await self._counts(seq, stored.date):
                self._apply(seq, body)
            else:
                await self.read()

    def _nothing_there(self, name: str, cause: PreconditionFailed | Unavailable) -> Unavailable:
        if isinstance(cause, Unavailable):
            return cause
        return Unavailable("refused as existing, but not found", operation="commit", object=f"log entry {name!r}")

    def _pack(self, seq: int, writes: Sequence[Write]) -> bytes:
        """An entry with the oldest of these writes, as many as the size of a group allows and at least one."""
        texts: list[str] = []
        size = 0
        for write in writes:
            text = codec.encode_write(write, self._writer)
            size += len(text.encode())
            if texts and size > MAX_GROUP_BYTES:
                break
            texts.append(text)
        return codec.encode_entry(seq, self._chain, self._writer, self._by, self._clock.now(), texts)
