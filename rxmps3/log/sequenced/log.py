"""The sequenced log: one object per version, created if absent, numbered without gaps.

It needs a storage with conditional creates (`ABSENT`), conditional replaces (`Matches`) and a ``Date`` in each
answer. The argument in short (in full in ``docs/protocol.md``):

* at most one body per number ever exists, since entries are created if absent and never replaced;
* the cursor moves to number n only once entry n has been read, and a commit always tries cursor + 1. So no new number
  is tried while the outcome of another is unknown: whatever an answer claimed, the next attempt finds what was really
  stored;
* an answer about a number is believed only under a lease on the head; `KnownHead` keeps the head and the lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import NamedTuple

from reactivex import Subject

from rxmps3.errors import Corrupt, Error, PreconditionFailed, Rejected, Unavailable, Unsupported
from rxmps3.log import codec
from rxmps3.log.batching import MAX_ENTRY_BYTES, MAX_GROUP_BYTES, Tail
from rxmps3.log.checkpoint import load as load_checkpoint
from rxmps3.log.protocol import LogEvent, ResumePoint
from rxmps3.log.sequenced.fence import Lease
from rxmps3.log.sequenced.head import KnownHead, Outdated
from rxmps3.log.sequenced.probe import ensure_conditional_writes
from rxmps3.log.server_clock import ServerDate
from rxmps3.model.names import Layout
from rxmps3.model.state import Committed, Loaded, State, Write, fold
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import ABSENT, Found, Missing, NotModified, Storage, pages

__all__ = ["Cursor", "SequencedLog"]

_READS_AT_ONCE = 16
_KEPT_FOR = timedelta(minutes=1)
"""An entry that came in longer ago beside one that did not is read again: its date is taken for the present time."""
_HITS_BEFORE_LISTING = 4
_RESUME_WITHIN = 500
"""A checkpoint further ahead of a resumed place than so many entries is read instead of the entries."""


class Cursor(NamedTuple):
    """A position in one log: after entry ``seq``, whose chain hash is ``chain``."""

    incarnation: str
    seq: int
    chain: str


class SequencedLog:
    """One manifest's sequenced log, as one client follows and extends it.

    Args:
        storage: needs conditional creates and replaces.
        layout: the manifest's names.
        clock: time for entries' informative ``time``, ids for nonces.
        writer: this client's writer id for this manifest.
        by: recorded in each entry, unverified.
    """

    def __init__(self, storage: Storage, layout: Layout, clock: Clock, *, writer: str, by: str) -> None:
        self.versions: Subject[LogEvent] = Subject()
        self._storage = storage
        self._layout = layout
        self._clock = clock
        self._writer = writer
        self._by = by
        self._dated = ServerDate(clock)
        self._known = KnownHead(storage, layout, self._follow, self._dated)
        self._seq = 0
        self._chain: str = ""
        self._losing = False
        self._stride = 1  # so many entries are read at once after a lost race
        self._opened = False
        self._opening_once = asyncio.Lock()
        self._resumed: Cursor | None = None
        self._opening: State | None = None  # what has been read so far of the log being opened
        self._tail = Tail()
        self._ahead: dict[str, Found] = {}  # fetched before another read failed

    @property
    def exists(self) -> bool:
        return self._known.seen is not None

    @property
    def position(self) -> str:
        return str(self._seq) if self._seq else ""

    @property
    def reached(self) -> tuple[str, int]:
        return self.position, len(self._ahead)

    @property
    def place(self) -> ResumePoint | None:
        if not self.exists:
            return None
        members = {"incarnation": self.head.incarnation, "seq": self._seq, "chain": self._chain}
        return ResumePoint("sequenced", self.position, members)

    @property
    def cursor(self) -> Cursor:
        """This client's position: the state it emitted last is the one after this entry."""
        return Cursor(self.head.incarnation, self._seq, self._chain)

    @property
    def head(self) -> codec.Head:
        """The head as last seen. Raises RuntimeError if there is none yet."""
        return self._known.head

    @property
    def lease(self) -> Lease:
        """The lease from the last read of the head. Raises RuntimeError before the first one."""
        return self._known.lease

    @property
    def raised_at(self) -> datetime | None:
        """When the floor was last raised, by the server's clock."""
        return self._known.raised_at

    @property
    def date(self) -> datetime | None:
        """The server's time as last seen."""
        return self._dated.last

    @property
    def upkeep_is_due(self) -> bool:
        last = self._known.seen.checkpoint if self._known.seen is not None else None
        return self._tail.is_due(last.size if last is not None else 0)

    # -- reading ---------------------------------------------------------------------------------------------

    def resume(self, place: ResumePoint) -> None:
        self._resumed = Cursor(**place.members)
        self._known.expected = True

    async def open(self) -> None:
        if self._opened:
            return
        async with self._opening_once:
            if self._opened:
                return
            if self._opening is None and self._resumed is None:
                self._opening = State()
            try:
                if await self._known.look():
                    began = self._seq
                    await self._catch_up()
                    if self._seq == began:
                        await self._read_past_listing(self.date)
                    if not self._seq:
                        await self._check_no_other_log()
            except Corrupt:
                self._discard_opening()
                raise
            if self._opening is not None:
                state, self._opening = self._opening, None
                self.versions.on_next(Loaded(state))
            self._opened = True

    def _discard_opening(self) -> None:
        """Forget what was read of a log that could not be opened; none of it was emitted."""
        if self._opening is not None:
            self._opening = State()
            self._known.forget()
            self._seq, self._chain = 0, ""
            self._tail = Tail()

    async def _check_no_other_log(self) -> None:
        """Check that there are no entries of another log beside an empty one: then its head was altered."""
        before = await self._storage.list(self._layout.root)
        past_values = self._layout.values.replace("/values/", "/values0")
        after = await self._storage.list(self._layout.root, after=past_values) if before.cursor else before
        for listed in (*before.objects, *after.objects):
            owner, _, rest = listed.name.removeprefix(self._layout.root).partition("/")
            if owner != self.head.incarnation and rest.startswith(("log/", "checkpoint/")):
                raise Corrupt(
                    f"names the empty log {self.head.incarnation}, but {listed.name!r} exists",
                    object=f"head {self._layout.head!r}",
                    remedy="restore the head object from a backup; nothing is overwritten",
                )

    async def read(self) -> None:
        await self._read()

    async def _read(self, most: int | None = None) -> None:
        """Read to the end of the log, or so many entries at most."""
        if not self._opened:
            await self.open()
            return
        if not self.exists and not await self._known.look():
            return
        self._known.disbelieved = hits = 0
        began: datetime | None = None
        while hits != most:
            head, seq = self.head, self._seq + 1
            if self._losing and most is None:
                await self._read_ahead()
                return
            if hits == _HITS_BEFORE_LISTING:
                known = self._seq
                await self._catch_up()
                if self._seq == known:  # otherwise the next look or create finds out
                    await self._read_past_listing(began)
                return
            answer = await self._read_entry(head.incarnation, seq)
            began = began or answer.date
            if not await self._known.counts(seq, answer.date):
                continue
            if not isinstance(answer, Found):
                return
            self._apply(seq, answer.body)
            hits += 1

    async def _read_ahead(self) -> None:
        """Read to the end in one round trip, as many entries at once as are likely to be there: after a listing, who
        lost a race to a faster writer would be too late again."""
        while True:
            head, first = self.head, self._seq + 1
            answers, failed = await self._read_entries(head.incarnation, range(first, first + self._stride))
            for seq, answer in answers.items():
                if not await self._known.counts(seq, answer.date):
                    break
                if not isinstance(answer, Found):
                    self._stride = seq - first + 1
                    return
                self._apply(seq, answer.body)
            else:
                if failed is not None:
                    raise failed
                self._stride = min(2 * self._stride, _READS_AT_ONCE)

    async def _catch_up(self) -> None:
        """Read to the end of a log that is several entries ahead: one listing, then the entries in parallel."""
        head, first = self.head, self._seq + 1
        after = self._layout.entry(head.incarnation, self._seq)
        last = self._seq
        async for page in pages(self._storage, self._layout.log(head.incarnation), after=after):
            if not await self._known.counts(first, page.date):
                await self._catch_up()
                return
            numbers = (self._layout.seq_of(head.incarnation, one.name) for one in page.objects)
            last = max([last, *(number for number in numbers if number is not None)])
        for start in range(first, last + 1, _READS_AT_ONCE):
            batch = range(start, min(start + _READS_AT_ONCE, last + 1))
            answers, failed = await self._read_entries(head.incarnation, batch)
            for seq, answer in answers.items():
                if not await self._known.counts(seq, answer.date):
                    await self._catch_up()
                    return
                if not isinstance(answer, Found):
                    raise Corrupt(
                        f"missing, though entry {last} exists",
                        operation="read",
                        object=f"log entry {self._layout.entry(head.incarnation, seq)!r}",
                        remedy="restore the object; nothing is overwritten",
                    )
                self._apply(seq, answer.body)
            if failed is not None:
                raise failed

    async def _read_past_listing(self, began: datetime | None) -> None:
        """Read on by name until an entry is missing: a listing may lag or omit names, a get does not.

        An entry stored after ``began``, by the server's clock, is the last: a slow client beside a fast writer would
        never see the end otherwise.
        """
        while True:
            head, seq = self.head, self._seq + 1
            answer = await self._read_entry(head.incarnation, seq)
            if not await self._known.counts(seq, answer.date):
                continue
            if not isinstance(answer, Found):
                return
            self._apply(seq, answer.body)
            if began is None or answer.modified is None or answer.modified > began:
                return

    async def _read_entries(
        self, incarnation: str, numbers: Sequence[int]
    ) -> tuple[dict[int, Found | NotModified | Missing], Error | None]:
        """Read these entries, in order, up to the first that failed, and return its error; later ones that were read
        are kept."""
        answers: dict[int, Found | NotModified | Missing] = {}
        now = self._known.dated(self.date)
        known = {name: one for name, one in self._ahead.items() if one.date is None or now - one.date < _KEPT_FOR}
        self._ahead = {}

        async def read(seq: int) -> None:
            name = self._layout.entry(incarnation, seq)
            answers[seq] = known.get(name) or await self._read_entry(incarnation, seq)

        failed: Error | None = None
        try:
            await all_of(map(read, numbers))
        except Error as error:
            failed = error
            found = {seq: answer for seq, answer in answers.items() if isinstance(answer, Found)}
            self._ahead = {self._layout.entry(incarnation, seq): answer for seq, answer in found.items()}
        return {seq: answers[seq] for seq in takewhile(answers.__contains__, numbers)}, failed

    async def _read_entry(self, incarnation: str, seq: int) -> Found | NotModified | Missing:
        return await self._storage.get(self._layout.entry(incarnation, seq), limit=MAX_ENTRY_BYTES)

    def _apply(self, seq: int, body: bytes) -> None:
        """Apply entry ``seq`` and move the cursor to it; does nothing if the cursor is already there."""
        if seq != self._seq + 1:
            return
        name = self._layout.entry(self.head.incarnation, seq)
        entry = codec.decode_entry(body, name)
        if entry.seq != seq:
            raise Corrupt(f"claims to be number {entry.seq}", object=f"log entry {name!r}")
        if entry.previous != self._chain:
            raise Corrupt(
                f"does not follow entry {seq - 1}: its hash chain differs",
                object=f"log entry {name!r}",
                remedy="an entry was replaced, or two histories were mixed in one bucket",
            )
        before: tuple[int, str] = (self._seq, self._chain)
        self._seq, self._chain = seq, codec.digest(body)
        self._tail.grew(seq, len(body))
        try:
            if self._opening is None:
                self.versions.on_next(Committed(entry.version))
            else:
                self._opening = fold(self._opening, entry.version)
        except Corrupt as error:
            self._seq, self._chain = before
            raise Corrupt(f"{error.object}: {error.what}", object=f"log entry {name!r}") from error

    # -- following the head ----------------------------------------------------------------------------------

    async def _follow(self, head: codec.Head, lease: Lease) -> bool:
        """Move to a position that this head does not let be collected; False if its checkpoint is gone meanwhile."""
        if not await self._reposition(head, lease):
            return False
        self._tail.checkpointed(head.checkpoint.seq if head.checkpoint is not None else 0)
        return True

    async def _reposition(self, head: codec.Head, lease: Lease) -> bool:
        known, ref = self._known.seen, head.checkpoint
        resumed = self._resumed
        if known is None and resumed is not None:
            if resumed.incarnation != head.incarnation:
                raise Corrupt(
                    f"names another log ({head.incarnation}) than the local copy ({resumed.incarnation})",
                    object=f"head {self._layout.head!r}",
                    remedy="the database was replaced: use another local directory",
                )
            if await self._can_resume(resumed, head, lease):
                self._seq, self._chain = resumed.seq, resumed.chain
                return True
        if ref is None:
            if head.floor:
                raise Corrupt("has a floor, but no checkpoint", object=f"head {self._layout.head!r}")
            if known is None:
                self._chain = codec.genesis(head.incarnation)
                self._jump(State())
            return True
        if known is not None and self._seq >= head.floor:
            return True
        checkpoint = await load_checkpoint(self._storage, self._layout, head.incarnation, ref)
        if checkpoint is None:
            return False
        if checkpoint.seq > self._seq or known is None:
            self._jump(checkpoint.state)
            self._seq, self._chain = checkpoint.seq, checkpoint.chain
        return True

    async def _can_resume(self, cursor: Cursor, head: codec.Head, lease: Lease) -> bool:
        """Whether to resume from a known position: not if entries there may be collected, or if a checkpoint is far
        ahead.

        Raises:
            Corrupt: this is not the log that was known.
        """
        ahead = head.checkpoint.seq - cursor.seq if head.checkpoint is not None else 0
        if cursor.seq <= head.floor or ahead > _RESUME_WITHIN:
            return cursor.seq == 0 and head.checkpoint is None
        name = self._layout.entry(cursor.incarnation, cursor.seq)
        answer = await self._read_entry(cursor.incarnation, cursor.seq)
        if not lease.covers(cursor.seq, self._known.dated(answer.date)):
            raise Outdated
        if not isinstance(answer, Found) or codec.digest(answer.body) != cursor.chain:
            raise Corrupt(
                "missing" if isinstance(answer, Missing) else "not the entry that the local copy has read",
                object=f"log entry {name!r}",
                remedy="the bucket was rolled back or holds another history; use another local directory",
            )
        return True

    def _jump(self, state: State) -> None:
        if self._opening is None:
            self.versions.on_next(Loaded(state))
        else:
            self._opening = state

    # -- writing ---------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        if self.exists or await self._known.look():
            return
        try:
            await ensure_conditional_writes(self._storage, self._clock)
        except Unsupported as broken:
            raise Rejected(f"refused and rolled back: {broken}", operation="commit") from broken
        await self._known.create(codec.Head(incarnation=self._clock.new_id(), nonce=self._clock.new_id()))

    async def rewrite_head(self, change: Callable[[codec.Head, datetime | None], codec.Head | None]) -> bool:
        """Replace the head; see `KnownHead.rewrite`."""
        return await self._known.rewrite(change)

    async def look(self) -> tuple[codec.Head, Lease] | None:
        """Read the head; returns it with its lease. None if there is no manifest.

        Raises as `read`. The log has to be open.
        """
        return (self.head, self.lease) if await self._known.look() else None

    async def ensure_dated(self) -> None:
        if self._dated.is_old:
            await self.server_time()

    async def server_time(self) -> datetime:
        await self._known.look()
        return self._known.dated(self.date)

    async def commit(self, writes: Sequence[Write]) -> None:
        await self.open()
        await self.prepare()
        seq = self._seq + 1  # if open and prepared, nothing was awaited, so these writes are not in the log yet
        await self._append(seq, self._pack(seq, writes))

    async def _append(self, seq: int, body: bytes) -> None:
        name = self._layout.entry(self.head.incarnation, seq)
        try:
            stored = await self._storage.put(name, body, when=ABSENT)
        except (PreconditionFailed, Unavailable) as error:
            # Unknown: another writer won, the HTTP client resent our own create, or there was no answer.
            self._losing = isinstance(error, PreconditionFailed)
            if self._seq < seq:
                await self._read(most=1)  # the rest is read before the next attempt
            if self._seq < seq:
                raise self._not_found_error(name, error) from error
        else:
            self._losing = False
            if await self._known.counts(seq, stored.date):
                self._apply(seq, body)
            else:
                await self.read()

    def _not_found_error(self, name: str, cause: PreconditionFailed | Unavailable) -> Unavailable:
        if isinstance(cause, Unavailable):
            return cause
        return Unavailable("refused as existing, but not found", operation="commit", object=f"log entry {name!r}")

    def _pack(self, seq: int, writes: Sequence[Write]) -> bytes:
        """An entry with the oldest of these writes, at least one and at most as many as fit into a group."""
        texts: list[str] = []
        size = 0
        for write in writes:
            text = codec.encode_write(write, self._writer)
            size += len(text.encode())
            if texts and size > MAX_GROUP_BYTES:
                break
            texts.append(text)
        return self._entry(seq, texts)

    def _entry(self, seq: int, writes: Sequence[str], expired: Sequence[str] = ()) -> bytes:
        return codec.encode_entry(
            seq,
            self._chain,
            self._writer,
            self._by,
            self._clock.now(),
            writes,
            date=self.date,
            expired=expired,
        )

    async def commit_expiry(self, writers: Sequence[str]) -> None:
        """Try once to append an entry that forgets the numbers of these writers. Raises as `commit`."""
        seq = self._seq + 1
        await self._append(seq, self._entry(seq, (), writers))
