"""The sequenced log: one object per version, created if absent, numbered without gaps.

It needs a storage with conditional creates (`ABSENT`), conditional replaces (`Matches`) and a ``Date`` in each
answer. The argument in short (in full in ``docs/protocol.md``):

* at most one body per number ever exists, since entries are created if absent and never replaced;
* the cursor moves to number n only once entry n has been read, and a commit always tries cursor + 1. So no new number
  is tried while the outcome of another is unknown: whatever an answer claimed, the next attempt finds what was really
  stored;
* an answer about a number is believed only under a lease on the head; `KnownHead` keeps the head and the lease;
* and only within `LIVE_FOR` of a look that found the head and the entry read last where they were, or after another
  such look: a bucket may be emptied, made anew or put back, and a create in it succeeds all the same (see `identity`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import NamedTuple, NoReturn

from reactivex import Subject

from rxmps3.errors import (
    Corrupt,
    Error,
    Gone,
    InvalidInput,
    PreconditionFailed,
    Rejected,
    Replaced,
    Unavailable,
    Unsupported,
)
from rxmps3.log import codec
from rxmps3.log.batching import MAX_ENTRY_BYTES, MAX_GROUP_BYTES, Tail
from rxmps3.log.chunks import Base
from rxmps3.log.protocol import EntryRefused, LogEvent, ResumePoint
from rxmps3.log.sequenced.checkpoints import Vanished
from rxmps3.log.sequenced.checkpoints import load as load_checkpoint
from rxmps3.log.sequenced.fence import Lease
from rxmps3.log.sequenced.head import KnownHead, Outdated
from rxmps3.log.sequenced.identity import LET_GO, OPEN_ANEW, Place, Sighting
from rxmps3.log.sequenced.probe import ensure_conditional_writes
from rxmps3.log.server_clock import ServerDate
from rxmps3.log.set_aside import how_to_repair
from rxmps3.model.entries import Cell
from rxmps3.model.names import Layout
from rxmps3.model.prefixes import Prefixes
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import Committed, Loaded, State, Write, fold
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import ABSENT, Found, Missing, NotModified, Storage, Stored, pages

__all__ = ["Cursor", "SequencedLog"]

_READS_AT_ONCE = 16
_IN_THREAD_BYTES = 64 << 10
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
        kept: the keys whose entries the states that it emits have, if not all.
    """

    def __init__(
        self, storage: Storage, layout: Layout, clock: Clock, *, writer: str, by: str, kept: Prefixes | None = None
    ) -> None:
        self.versions: Subject[LogEvent] = Subject()
        self.base: Base | None = None
        """The last state whose chunks are known, while it shares much with the present one."""
        self._storage = storage
        self._layout = layout
        self._clock = clock
        self._writer = writer
        self._by = by
        self._kept = kept
        self._dated = ServerDate(clock)
        self._known = KnownHead(storage, layout, self._follow, self._dated)
        self._seq = 0
        self._chain: str = ""
        self._stored_at: datetime | None = None  # of the entry there, by the server's clock
        self._losing = False
        self._stride = 1  # so many entries are read at once after a lost race
        self._opened = False
        self._opening_once = asyncio.Lock()
        self._resumed: Cursor | None = None
        self._resumed_beside: list[Place] = []
        self._opening: State | None = None  # what has been read so far of the log being opened
        self._tail = Tail()
        self._ahead: dict[str, Found] = {}  # fetched before another read failed
        self._chunks: dict[str, SortedMap[Cell]] = {}  # likewise, by their SHA-256
        self._here: Place = Place()
        self._sighting = Sighting(clock)
        self._checking = asyncio.Lock()

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
        others = {str(place.seq): place.chain for place in self._sighting.places() if place.seq != self._seq}
        return ResumePoint("sequenced", self.position, members, others)

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
    def dated(self) -> ServerDate:
        """What is known of the server's time."""
        return self._dated

    @property
    def upkeep_is_due(self) -> bool:
        last = self._known.seen.checkpoint if self._known.seen is not None else None
        return self._tail.is_due(last.cost if last is not None else 0)

    # -- whether it is still there ---------------------------------------------------------------------------

    def is_confirmed(self, position: str) -> bool:
        return not self.exists or int(position or 0) <= self._sighting.place.seq

    async def confirm(self) -> None:
        if not self._opened or not self.exists:
            return
        began = self._sighting.begun()
        async with self._checking:
            if self._sighting.is_after(began):
                return  # somebody else asked meanwhile
            began = self._sighting.begun()
            places = self._sighting.places(self._here)
            self._sighting.looks(self._here)
            looked, answers = await asyncio.gather(
                self._known.look(), all_of(map(self._ask_for, places)), return_exceptions=True
            )
            if isinstance(looked, BaseException):
                raise looked
            if isinstance(answers, BaseException):
                raise answers
            for place, answer in zip(places, answers, strict=True):
                if place.seq <= self.head.floor or place.is_in(answer) or place.is_in(await self._ask(place)):
                    continue
                await self._known.look()  # it may have been collected since: that is told by a head that is read later
                if place.seq > self.head.floor:
                    raise Replaced(
                        "missing, or not the entry that was read there: the bucket was put back to an earlier copy, "
                        "or holds another history",
                        object=f"log entry {self._layout.entry(self.head.incarnation, place.seq)!r}",
                        remedy=OPEN_ANEW,
                    )
            self._sighting.saw(began, self.date)

    async def _ask_for(self, place: Place) -> Found | NotModified | Missing:
        """The entry of a place; only whether it is the same, where that can be told by its ETag."""
        if place.seq <= self.head.floor:
            return Missing(None)
        name = self._layout.entry(self.head.incarnation, place.seq)
        return await self._storage.get(name, unless=place.etag or None, limit=MAX_ENTRY_BYTES)

    async def _ask(self, place: Place) -> Found | NotModified | Missing:
        return await self._read_entry(self.head.incarnation, place.seq)

    async def _counts(self, seq: int, answer: Found | NotModified | Missing | Stored) -> bool:
        """Whether an answer about entry ``seq`` may be believed. If not, repeat the request.

        An entry that it shows may be lost again by the time of a look, so that it has to be seen after that.

        Raises:
            Gone, Replaced: it is of a log that is not there any more.
            as `KnownHead.counts`.
        """
        if self._opened and self._sighting.is_old(answer.date):
            await self.confirm()
            if isinstance(answer, (Found, Stored)):
                return False
        return await self._known.counts(seq, answer.date)

    async def _explain(self, error: Corrupt) -> NoReturn:
        """Raise this error, or what is behind it: that it is another log by now."""
        if not isinstance(error, (Gone, Replaced)):
            try:
                await self.confirm()
            except (Gone, Replaced) as cause:
                raise cause from error
            except Error:
                pass
        raise error

    # -- reading ---------------------------------------------------------------------------------------------

    def resume(self, place: ResumePoint) -> None:
        self._resumed = Cursor(**place.members)
        self._resumed_beside = [Place(int(seq), str(chain)) for seq, chain in place.beside.items()]
        self._known.expected = True

    async def open(self) -> None:
        if self._opened:
            return
        async with self._opening_once:
            if self._opened:
                return
            if self._opening is None and self._resumed is None:
                self._opening = State(kept=self._kept)
            try:
                if await self._known.look():
                    began = self._seq
                    await self._catch_up()
                    if self._seq == began:  # else the next look finds out whether the listing ended too soon
                        await self._read_to_end()
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
            self._opening = State(kept=self._kept)
            self._known.forget()
            self._seq, self._chain = 0, ""
            self._tail = Tail()

    async def _check_no_other_log(self) -> None:
        """Check that there are no entries of another log beside an empty one: then its head was altered."""
        before = await self._storage.list(self._layout.root)
        past_values = self._layout.values.replace("/values/", "/values0")
        after = await self._storage.list(self._layout.root, after=past_values) if before.cursor else before
        for listed in (*before.objects, *after.objects):
            owner = self._layout.log_of(listed.name)
            if owner and owner != self.head.incarnation:
                raise Corrupt(
                    f"names the empty log {self.head.incarnation}, but {listed.name!r} exists",
                    object=f"head {self._layout.head!r}",
                    remedy=f"restore the head object from a backup, or: {self._how_to_repair}",
                )

    async def read(self) -> None:
        if not self._opened:
            await self.open()
            return
        if self.exists or await self._known.look():
            try:
                await (self._read_ahead() if self._losing else self._read_to_end())
            except Corrupt as error:
                await self._explain(error)

    async def _read_to_end(self) -> None:
        """Read until an entry is missing, or everything listed has been read and the last one was stored after this
        began.

        Only a get by name tells that an entry is missing: a listing may lag or omit names. Beside a fast writer a slow
        client may never meet that; what was stored before it asked has been read all the same.
        """
        self._known.disbelieved = hits = 0
        began: datetime | None = None
        while True:
            head, seq = self.head, self._seq + 1
            answer = await self._read_entry(head.incarnation, seq)
            began = began or answer.date
            if not await self._counts(seq, answer):
                continue
            if not isinstance(answer, Found):
                return
            self._apply(seq, answer.body, answer, await self._decode(seq, answer.body))
            hits += 1
            if hits >= _HITS_BEFORE_LISTING:
                await self._catch_up()
                if began is None or self._stored_at is None or self._stored_at > began:
                    return

    async def _read_ahead(self) -> None:
        """Read to the end in one round trip, as many entries at once as are likely to be there: after a listing, who
        lost a race to a faster writer would be too late again."""
        self._known.disbelieved = 0
        while True:
            head, first = self.head, self._seq + 1
            answers, failed = await self._read_entries(head.incarnation, range(first, first + self._stride))
            for seq, answer in answers.items():
                if not await self._counts(seq, answer):
                    break
                if not isinstance(answer, Found):
                    self._stride = seq - first + 1
                    return
                self._apply(seq, answer.body, answer, await self._decode(seq, answer.body))
            else:
                if failed is not None:
                    raise failed
                self._stride = min(2 * self._stride, _READS_AT_ONCE)

    async def _catch_up(self, *, again: bool = False) -> None:
        """Read to the end of a log that is several entries ahead: one listing, then the entries in parallel.

        Args:
            again: an earlier listing has shown numbers up to one above an entry that was not there. One answer may be
                wrong, so both are asked for once more.
        """
        head, first = self.head, self._seq + 1
        after = self._layout.entry(head.incarnation, self._seq)
        last = self._seq
        async for page in pages(self._storage, self._layout.log(head.incarnation), after=after):
            if not await self._counts(first, Missing(page.date)):
                await self._catch_up()
                return
            numbers = (self._layout.seq_of(head.incarnation, one.name) for one in page.objects)
            last = max([last, *(number for number in numbers if number is not None)])
        for start in range(first, last + 1, _READS_AT_ONCE):
            batch = range(start, min(start + _READS_AT_ONCE, last + 1))
            answers, failed = await self._read_entries(head.incarnation, batch)
            for seq, answer in answers.items():
                if not await self._counts(seq, answer):
                    await self._catch_up()
                    return
                if not isinstance(answer, Found):
                    if not again:
                        await self._catch_up(again=True)
                        return
                    raise Corrupt(
                        f"missing, though entry {last} exists",
                        operation="read",
                        object=f"log entry {self._layout.entry(head.incarnation, seq)!r}",
                        remedy=f"restore the object, or: {self._how_to_repair}",
                    )
                self._apply(seq, answer.body, answer, await self._decode(seq, answer.body))
            if failed is not None:
                raise failed

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

    @property
    def _how_to_repair(self) -> str:
        return how_to_repair(self._storage.url, self._layout.manifest)

    async def _decode(self, seq: int, body: bytes) -> codec.LogEntry:
        """Decode an entry, beside the event loop if it is large."""
        name = self._layout.entry(self.head.incarnation, seq)
        if len(body) < _IN_THREAD_BYTES:
            return codec.decode_entry(body, name)
        return await asyncio.to_thread(codec.decode_entry, body, name)

    def _apply(self, seq: int, body: bytes, answer: Found | Stored, entry: codec.LogEntry) -> None:
        """Apply entry ``seq`` and move the cursor to it; does nothing if the cursor is already there."""
        if seq != self._seq + 1:
            return
        name = self._layout.entry(self.head.incarnation, seq)
        if entry.seq != seq:
            raise Corrupt(f"claims to be number {entry.seq}", object=f"log entry {name!r}")
        if entry.previous != self._chain:
            raise Corrupt(
                f"does not follow entry {seq - 1}: its hash chain differs",
                object=f"log entry {name!r}",
                remedy="an entry was replaced, or two histories were mixed, as after a bucket was put back to an "
                f"earlier copy while a client wrote: {self._how_to_repair}",
            )
        before = (self._seq, self._chain, self._here)
        self._seq, self._chain = seq, codec.digest(body)
        self._here = Place(seq, self._chain, answer.etag)
        self._sighting.applied(self._here)
        self._stored_at = answer.modified if isinstance(answer, Found) else None
        self._tail.grew(seq, len(body))
        try:
            if self._opening is None:
                self.versions.on_next(Committed(entry.version))
            else:
                self._opening = fold(self._opening, entry.version)
        except Corrupt as error:
            self._seq, self._chain, self._here = before
            self._sighting.undone(seq)
            raise Corrupt(f"{error.object}: {error.what}", object=f"log entry {name!r}") from error

    # -- following the head ----------------------------------------------------------------------------------

    async def _follow(self, head: codec.Head, lease: Lease) -> str:
        """Move to a position that this head does not let be collected. Returns "", or what is gone meanwhile of its
        checkpoint."""
        first = self._known.seen is None
        began = self._sighting.begun()
        try:
            await self._reposition(head, lease)
        except Vanished as gone:
            return gone.name
        if (self._here.seq, self._here.chain) != (self._seq, self._chain):
            self._here = Place(self._seq, self._chain)
        if first:
            self._sighting.looks(self._here)
            self._sighting.saw(began, lease.seen)
        self._tail.checkpointed(head.checkpoint.seq if head.checkpoint is not None else 0)
        if self.base is not None and head.kept and head.kept[-1].seq > self.base.ref.seq:
            self.base = None  # others make the checkpoints: it would hold ever more that is not in the state any more
        return ""

    async def _reposition(self, head: codec.Head, lease: Lease) -> None:
        """Raises `Vanished` if the head's checkpoint is gone meanwhile."""
        known, ref = self._known.seen, head.checkpoint
        resumed = self._resumed
        if known is None and resumed is not None:
            if resumed.incarnation != head.incarnation:
                raise Replaced(
                    f"names another log ({head.incarnation}) than the local copy ({resumed.incarnation})",
                    object=f"head {self._layout.head!r}",
                    remedy=LET_GO,
                )
            if await self._can_resume(resumed, head, lease):
                self._seq, self._chain = resumed.seq, resumed.chain
                return
        if ref is None:
            if head.floor:
                raise Corrupt("has a floor, but no checkpoint", object=f"head {self._layout.head!r}")
            if known is None:
                self._chain = codec.genesis(head.incarnation)
                self._jump(State(kept=self._kept))
            return
        if known is not None and self._seq >= head.floor:
            return
        checkpoint = await load_checkpoint(
            self._storage, self._layout, head.incarnation, ref, self._kept, seen=self._chunks
        )
        self._chunks = {}
        if checkpoint.chunks and self._kept is None:
            self.base = Base(ref, checkpoint.state.entries.cells, checkpoint.chunks)
        if checkpoint.seq > self._seq or known is None:
            self._jump(checkpoint.state)
            self._seq, self._chain = checkpoint.seq, checkpoint.chain

    async def _can_resume(self, cursor: Cursor, head: codec.Head, lease: Lease) -> bool:
        """Whether to resume from a known position: not if entries there may be collected, or if a checkpoint is far
        ahead.

        Raises:
            Replaced: this is not the log that was known.
        """
        ahead = head.checkpoint.seq - cursor.seq if head.checkpoint is not None else 0
        if cursor.seq <= head.floor or ahead > _RESUME_WITHIN:
            return cursor.seq == 0 and head.checkpoint is None
        for place in (Place(cursor.seq, cursor.chain), *self._resumed_beside):
            if place.seq <= head.floor:
                continue
            answer = await self._read_entry(cursor.incarnation, place.seq)
            if not lease.covers(place.seq, self._known.dated(answer.date), self._clock.monotonic()):
                raise Outdated
            if not place.is_in(answer):
                was = "missing" if isinstance(answer, Missing) else "not the entry that the local copy has read"
                raise Replaced(
                    f"{was}: the bucket was put back to an earlier copy, or holds another history",
                    object=f"log entry {self._layout.entry(cursor.incarnation, place.seq)!r}",
                    remedy=LET_GO,
                )
        return True

    def _jump(self, state: State) -> None:
        if self._opening is None:
            self.versions.on_next(Loaded(state))
        else:
            self._opening = state

    # -- writing ---------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        await self._prepare()
        if self._sighting.is_old():
            await self.confirm()

    async def _prepare(self) -> None:
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
        await self._prepare()
        seq = self._seq + 1  # if open and prepared, nothing was awaited, so these writes are not in the log yet
        await self._append(seq, *self._pack(seq, writes))

    async def _append(self, seq: int, body: bytes, entry: codec.LogEntry) -> None:
        name = self._layout.entry(self.head.incarnation, seq)
        try:
            stored = await self._storage.put(name, body, when=ABSENT)
        except (PreconditionFailed, Unavailable, InvalidInput) as error:
            # Unknown: another writer won, the HTTP client resent our own create, or there was no answer.
            # A refusal, too, may be that of a resent create.
            self._losing = isinstance(error, PreconditionFailed)
            try:
                await self._read_back(seq)  # the rest is read before the next attempt
            except Corrupt as corrupt:
                await self._explain(corrupt)
            if self._seq < seq:
                if isinstance(error, InvalidInput):
                    raise EntryRefused(error, len(body)) from error
                raise self._not_found_error(name, error) from error
        else:
            self._losing = False
            if await self._counts(seq, stored):
                self._apply(seq, body, stored, entry)
            else:
                await self.read()

    async def _read_back(self, seq: int) -> None:
        """Find out what became of entry ``seq``; whatever follows it is read before the next attempt."""
        self._known.disbelieved = 0
        while self._seq < seq:
            following = self._seq + 1
            answer = await self._read_entry(self.head.incarnation, following)
            if not await self._counts(following, answer):
                continue
            if not isinstance(answer, Found):
                return
            self._apply(following, answer.body, answer, await self._decode(following, answer.body))

    def _not_found_error(self, name: str, cause: PreconditionFailed | Unavailable) -> Unavailable:
        if isinstance(cause, Unavailable):
            return cause
        return Unavailable(
            "the create was refused as if the entry existed, but there is none",
            operation="commit",
            object=f"log entry {name!r}",
        )

    def _pack(self, seq: int, writes: Sequence[Write]) -> tuple[bytes, codec.LogEntry]:
        """An entry with the oldest of these writes, at least one and at most as many as fit into a group; also as
        whoever reads it decodes it."""
        texts: list[str] = []
        size, before = 0, str(seq - 1) if seq > 1 else ""
        for write in writes:
            text = codec.encode_write(write, self._writer, None if write.based == before else write.based)
            size += len(text.encode())
            if texts and size > MAX_GROUP_BYTES:
                break
            texts.append(text)
        return self._entry(seq, writes[: len(texts)], texts)

    def _entry(
        self, seq: int, writes: Sequence[Write], texts: Sequence[str], expired: Sequence[str] = ()
    ) -> tuple[bytes, codec.LogEntry]:
        about = (seq, self._chain, self._writer, self._by, self._clock.now())
        requires = codec.features_of(writes)
        body = codec.encode_entry(*about, texts, date=self.date, expired=expired, requires=requires)
        return body, codec.as_decoded(*about, writes, date=self.date, expired=expired)

    async def commit_expiry(self, writers: Sequence[str]) -> None:
        """Try once to append an entry that forgets the numbers of these writers. Raises as `commit`."""
        seq = self._seq + 1
        await self._append(seq, *self._entry(seq, (), (), writers))
