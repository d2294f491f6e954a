"""Compaction of a sequenced manifest: checkpoints, the floor, and collection.

The order of the steps matters. Each may be interrupted at any point, even for good, and continued by any client:

1. A checkpoint is written, then named by the head.
2. The floor, always the number of a kept checkpoint older than the retention, is raised in the head.
3. `fence.GRACE` after that, by the head's own time, the entries up to the floor are deleted.
4. Values: list them, *then* read the log to its end, then delete what no kept checkpoint and no entry above
   the floor names and what is older than a day, four times the age at which a writer stops trusting its upload.

All ages are by the storage's clock: ``LastModified`` against ``Date``. Before the floor is raised and before anything
is deleted, that clock is checked (`certain_time`), and a second listing has to show what the first one has shown: a
single wrong answer is not to delete anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from rxmps3.errors import Corrupt, Unavailable
from rxmps3.log import codec
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.log.checkpoint_codec import ChunkRef
from rxmps3.log.chunks import Base
from rxmps3.log.protocol import Progress, Report
from rxmps3.log.sequenced import fence
from rxmps3.log.sequenced.checkpoints import Vanished, divided, load_chunk, load_root, store, store_in_chunks
from rxmps3.log.sequenced.head import rewritten
from rxmps3.log.sequenced.log import SequencedLog
from rxmps3.log.server_clock import certain_time
from rxmps3.model.names import Layout, foreign_folders, is_chunk_name
from rxmps3.model.state import ContentObject, Entries, Entry, State
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import together
from rxmps3.storage.base import Found, Listed, Storage, pages
from rxmps3.storage.patient import PatientStorage

__all__ = ["DEFAULT_RETENTION", "SequencedCollector"]

DEFAULT_RETENTION = timedelta(days=1)
"""How far back the log reaches at least."""
VALUE_AGE = timedelta(days=1)
"""No value younger than this is deleted."""
WRITER_SILENCE = timedelta(days=30)
"""The number of a writer that has been silent for this long is forgotten."""
READS_AT_ONCE = 16
_TRIES = 5
MOST_KEPT = 64
"""The most older checkpoints that are kept; beyond that every other one goes."""


class _Outdated(Exception):
    """The head names another checkpoint by now."""


class SequencedCollector:
    """Compacts one manifest that this client has open.

    Args:
        storage: where it is.
        layout: its names.
        log: the client's own log, open.
        state: the state that the log emitted last.
        clock: ids for nonces.
        retention: how far back the log is to reach at least.
    """

    def __init__(
        self,
        storage: Storage,
        layout: Layout,
        log: SequencedLog,
        state: Callable[[], State],
        clock: Clock,
        retention: timedelta = DEFAULT_RETENTION,
    ) -> None:
        self._storage = PatientStorage(storage, clock)
        self._layout = layout
        self._log = log
        self._state = state
        self._clock = clock
        self._retention = retention
        self._now: datetime | None = None
        self._witness = ""
        self._chunks_of: dict[str, frozenset[str]] = {}  # by the name of a checkpoint

    async def checkpoint(self) -> int | None:
        """Write a checkpoint of the current state and name it in the head; None if the head already has a newer one.

        Raises:
            Corrupt: a different checkpoint of the same number exists.
            Unavailable, AccessDenied: the outcome is unknown; trying again is safe.
        """
        for _ in range(_TRIES):
            if not self._log.exists or not self._log.cursor.seq:
                return None
            try:
                return await self._checkpoint()
            except _Outdated:
                continue
        return None  # others make checkpoints all the time

    async def _checkpoint(self) -> int | None:
        """Raises `_Outdated` if the head names another checkpoint than the one whose chunks were to be named again."""
        cursor, state, nonce = self._log.cursor, self._state(), self._clock.new_id()
        parts = await divided(state, self._log.base)
        base: Base | None = None
        reused: codec.CheckpointRef | None = None
        if parts is None:
            ref = await store(self._storage, self._layout, cursor.incarnation, state, cursor.chain, nonce)
        else:
            last, there = await self._chunks_there()
            base, reuses = await store_in_chunks(
                self._storage,
                self._layout,
                cursor.incarnation,
                state,
                cursor.chain,
                nonce,
                parts,
                there,
                self._clock,
            )
            ref, reused = base.ref, last if reuses else None
        is_outdated = False

        def name_it(head: codec.Head, modified: datetime | None) -> codec.Head | None:
            nonlocal is_outdated
            known = head.checkpoint
            is_outdated = False
            if known is not None and known.seq >= ref.seq:
                if known.contradicts(ref):
                    raise Corrupt(
                        f"differs from the state that this client computed after entry {ref.seq}",
                        object=f"checkpoint {known.name!r}",
                        remedy="run 'rxmps3 verify' before writing again",
                    )
                return None
            if reused is not None and known != reused:
                is_outdated = True  # what it names again may be collected by now
                return None
            kept = _thinned((*head.kept, known) if known is not None else head.kept)
            return self._rewritten(head, modified, checkpoint=ref, kept=kept)

        await self._log.confirm()  # or it would name a checkpoint of entries that the bucket does not have any more
        if await self._log.rewrite_head(name_it) or ref in self._log.head.refs:
            # in the second case the answer was lost, and another client has rewritten the head since
            self._log.base = base
            return ref.seq
        await self._storage.delete(self._layout.root + ref.name)  # its chunks may be named by others if it ever was
        if is_outdated:
            raise _Outdated
        return None

    async def _chunks_there(self) -> tuple[codec.CheckpointRef | None, dict[str, ChunkRef]]:
        """The head's checkpoint, and its chunks by the SHA-256 of what they hold: those may be named again by the next
        checkpoint, if that comes right after it."""
        for _ in range(_TRIES):
            head, base = self._log.head, self._log.base
            ref = head.checkpoint
            if ref is None or not ref.state:
                return ref, {}
            try:
                chunks = (
                    base.chunks
                    if base is not None and base.ref == ref
                    else (await load_root(self._storage, self._layout, head.incarnation, ref)).chunks
                )
            except Vanished as gone:
                await self._log.server_time()
                if self._log.head == head:
                    raise Corrupt("missing, although the head names it", object=f"checkpoint {gone.name!r}") from None
            else:
                return ref, {chunk.sha256: chunk for chunk in chunks}
        raise Unavailable("compacted by other clients at each attempt", object=f"head {self._layout.head!r}")

    async def collect(self, *, dry_run: bool = False, progress: Progress | None = None) -> Report:
        """Carry out steps 2 to 4 as far as they are due.

        Args:
            dry_run: change nothing; the report says what would be deleted or raised.
            progress: called after each batch.

        Raises:
            Corrupt: stored objects contradict each other; deletion stops.
            Unavailable, AccessDenied: interrupted; the next call continues.
        """
        tell = progress or _ignore_progress
        report = Report()
        self._now = None
        await self._log.read()
        if not self._log.exists:
            return report
        await self._log.confirm()
        await self._sweep_entries(report, dry_run, tell)
        if report.waiting_until is None:
            floor = await self._raise_floor(report, dry_run)
            await self._sweep_values(floor, report, dry_run, tell)
            await self._expire_writers(report, dry_run)
        report.floor = self._log.head.floor
        return report

    # -- the floor -------------------------------------------------------------------------------------------

    async def _raise_floor(self, report: Report, dry_run: bool) -> int:
        """Raise the floor if that is due. Returns the new floor; in a dry run, what it would be."""
        head = self._log.head
        aged = await self._aged_checkpoint(head)
        if aged is None or aged.seq <= head.floor:
            return head.floor
        if not dry_run:
            aged = await self._aged_checkpoint(head, await self._certain_time())
            if aged is None or aged.seq <= head.floor:
                return head.floor
        report.raised = True
        if dry_run:
            return aged.seq

        def raise_it(head: codec.Head, modified: datetime | None) -> codec.Head | None:
            refs = (*head.kept, head.checkpoint) if head.checkpoint is not None else head.kept
            if aged not in refs or aged.seq <= head.floor:
                return None
            return replace(
                head,
                nonce=self._clock.new_id(),
                floor=aged.seq,
                kept=tuple(ref for ref in head.kept if ref.seq >= aged.seq),
                raised_at=None,
            )

        report.raised = await self._log.rewrite_head(raise_it)
        return self._log.head.floor

    async def _aged_checkpoint(self, head: codec.Head, now: datetime | None = None) -> codec.CheckpointRef | None:
        """The newest kept checkpoint that is older than the retention, now or by the date of the answer."""
        refs = {ref.name: ref for ref in (*head.kept, head.checkpoint) if ref is not None}
        folder = self._layout.root + head.incarnation + "/checkpoint/"
        aged: codec.CheckpointRef | None = None
        async for page in pages(self._storage, folder):
            for listed in page.objects:
                ref = refs.get(listed.name.removeprefix(self._layout.root))
                if (
                    ref is not None
                    and _age(listed, now or page.date) >= self._retention
                    and (not aged or ref.seq > aged.seq)
                ):
                    aged = ref
        return aged

    def _rewritten(
        self,
        head: codec.Head,
        modified: datetime | None,
        checkpoint: codec.CheckpointRef,
        kept: tuple[codec.CheckpointRef, ...],
    ) -> codec.Head:
        """A changed head that keeps the floor and the time at which it was raised."""
        return rewritten(head, modified, self._clock.new_id(), checkpoint=checkpoint, kept=kept)

    # -- deleting --------------------------------------------------------------------------------------------

    async def _sweep_entries(self, report: Report, dry_run: bool, tell: Progress) -> None:
        """Delete the entries up to the floor, if it was raised long enough ago, and unreferenced checkpoints."""
        head, raised_at = self._log.head, self._log.raised_at
        folder = self._layout.log(head.incarnation)
        doomed: list[Listed] = []
        now: datetime | None = None
        if head.floor:
            async for page in pages(self._storage, folder):
                now = page.date
                below = [one for one in page.objects if self._is_below(one, head)]
                doomed.extend(below)
                if not below and page.objects:
                    break
        if doomed:
            if now is None or raised_at is None or now - raised_at < fence.GRACE:
                report.waiting_until = None if raised_at is None else raised_at + fence.GRACE
                if raised_at is None:
                    raise Corrupt("does not tell when its floor was raised", object=f"head {self._layout.head!r}")
                return
            if not dry_run:
                raised_at = await self._certainly_raised(head, raised_at)
                if await self._certain_time() - raised_at < fence.GRACE:
                    report.waiting_until = raised_at + fence.GRACE
                    return
            report.entries += await self._delete(doomed, "entries", report, dry_run, tell)
        named = {ref.name for ref in head.refs}
        newest = head.checkpoint.seq if head.checkpoint is not None else 0
        unnamed: list[Listed] = []
        async for page in pages(self._storage, f"{self._layout.root}{head.incarnation}/checkpoint/"):
            unnamed.extend(
                one
                for one in page.objects
                if one.name.removeprefix(self._layout.root) not in named
                and _checkpoint_seq(one.name) < newest
                and _age(one, page.date) >= 2 * fence.GRACE
            )
        unnamed = await self._without_named_chunks(head, unnamed)
        if not dry_run:
            unnamed = await self._certainly(
                unnamed, 2 * fence.GRACE, f"{self._layout.root}{head.incarnation}/checkpoint/"
            )
        report.checkpoints += await self._delete(unnamed, "checkpoints", report, dry_run, tell)

    async def _without_named_chunks(self, head: codec.Head, unnamed: list[Listed]) -> list[Listed]:
        """Those of some objects that no checkpoint which a head names has for a chunk; of chunks none, if one of these
        checkpoints has gone since."""
        if not any(is_chunk_name(one.name) for one in unnamed):
            return unnamed
        in_chunks = [ref for ref in head.refs if ref.state]
        self._chunks_of = {ref.name: known for ref in in_chunks if (known := self._chunks_of.get(ref.name)) is not None}
        try:
            for ref in in_chunks:
                if ref.name not in self._chunks_of:
                    root = await load_root(self._storage, self._layout, head.incarnation, ref)
                    self._chunks_of[ref.name] = frozenset(chunk.name for chunk in root.chunks)
        except Vanished as gone:
            await self._log.server_time()
            if self._log.head == head:
                raise Corrupt(
                    "missing, although the head names it",
                    object=f"checkpoint {gone.name!r}",
                    remedy="no chunk was deleted",
                ) from None
            return [one for one in unnamed if not is_chunk_name(one.name)]
        named = frozenset[str]().union(*self._chunks_of.values())
        return [one for one in unnamed if one.name.removeprefix(self._layout.root) not in named]

    def _is_below(self, listed: Listed, head: codec.Head) -> bool:
        seq = self._layout.seq_of(head.incarnation, listed.name)
        return seq is not None and seq <= head.floor

    async def _sweep_values(self, floor: int, report: Report, dry_run: bool, tell: Progress) -> None:
        """Delete the values that no state from this floor on names; nothing where something else is, such as another
        database that was opened at an address in this folder."""
        old: list[Listed] = []
        names: list[str] = []
        async for page in pages(self._storage, self._layout.values):
            names += [one.name.removeprefix(self._layout.root) for one in page.objects]
            old.extend(one for one in page.objects if _age(one, page.date) >= VALUE_AGE)
        foreign = tuple(self._layout.root + folder for folder in foreign_folders(names))
        old = [one for one in old if not one.name.startswith(foreign)]
        if not dry_run:
            old = await self._certainly(old, VALUE_AGE, self._layout.values)
        if not old:
            return
        live = await self._live_values(floor, tell)
        named = [one for one in old if one.name.removeprefix(self._layout.root) in live]
        doomed = [one for one in old if one.name.removeprefix(self._layout.root) not in live]
        if doomed and not live and _named(self._state()):
            raise Corrupt(
                "no value appears to be in use, although the state names some",
                object=self._layout.values,
                remedy="nothing was deleted",
            )
        tell("values kept", len(named), len(old))
        report.values += await self._delete(doomed, "values", report, dry_run, tell)

    async def _live_values(self, floor: int, tell: Progress) -> set[str]:
        """The values named by any kept checkpoint, or by any entry above the floor up to the end of the log."""
        for _ in range(_TRIES):
            await self._log.read()
            head = self._log.head
            try:
                return await self._named_within_reach(head, max(floor, head.floor), tell)
            except Corrupt:
                await self._log.server_time()
                if self._log.head == head:
                    raise
        raise Unavailable("compacted by other clients at each attempt", object=f"head {self._layout.head!r}")

    async def _named_within_reach(self, head: codec.Head, floor: int, tell: Progress) -> set[str]:
        live = await asyncio.to_thread(_named, self._state())
        seen: set[str] = set()
        tagged = {ref.name for ref in head.tags.values()}
        refs = [ref for ref in head.refs if ref.seq >= floor or ref.name in tagged]
        for done, ref in enumerate(refs):
            tell("checkpoints read", done, len(refs))
            try:
                live |= await self._named_by_checkpoint(head.incarnation, ref, seen)
            except Vanished as gone:
                raise Corrupt("missing, although the head names it", object=f"checkpoint {gone.name!r}") from None
        first = floor + 1
        last = self._log.cursor.seq
        for start in range(first, last + 1, READS_AT_ONCE):
            tell("entries read", start - first, last + 1 - first)
            batch = range(start, min(start + READS_AT_ONCE, last + 1))
            for names in await together(self._named_by_entry(head.incarnation, seq) for seq in batch):
                live |= names
        return live

    async def _named_by_checkpoint(self, incarnation: str, ref: codec.CheckpointRef, seen: set[str]) -> set[str]:
        """The values that a checkpoint names, but for those in chunks that were seen before."""
        root = await load_root(self._storage, self._layout, incarnation, ref)
        live = await asyncio.to_thread(_named, root.state)
        new = [chunk for chunk in root.chunks if chunk.sha256 not in seen]
        seen.update(chunk.sha256 for chunk in new)
        turn = asyncio.Lock()
        for start in range(0, len(new), READS_AT_ONCE):
            some = new[start : start + READS_AT_ONCE]
            for cells in await together(load_chunk(self._storage, self._layout, chunk, turn=turn) for chunk in some):
                live |= _named(State(Entries(cells)))
        return live

    async def _named_by_entry(self, incarnation: str, seq: int) -> set[str]:
        name = self._layout.entry(incarnation, seq)
        answer = await self._storage.get(name, limit=MAX_ENTRY_BYTES)
        if not isinstance(answer, Found):
            raise Corrupt("missing", object=f"log entry {name!r}", remedy="nothing was deleted")
        writes = codec.decode_entry(answer.body, name).version.writes
        return {one for write in writes for entry in write.update.values() if (one := _object_of(entry)) is not None}

    async def _certain_time(self) -> datetime:
        """The storage's time, checked; once for each collection."""
        if self._now is None:
            self._witness = self._witness or f"{self._layout.root}clock/{self._clock.new_id()}"
            self._now = await certain_time(self._storage, self._witness, self._log.dated, self._layout.manifest)
        return self._now

    async def _certainly_raised(self, head: codec.Head, raised_at: datetime) -> datetime:
        """When the floor was raised; where one header of one answer says so, the listing has its say as well."""
        if head.raised_at is not None:
            return raised_at
        page = await self._storage.list(self._layout.head, limit=1)
        listed = [one.modified for one in page.objects if one.name == self._layout.head and one.modified is not None]
        return max([raised_at, *listed])

    async def _certainly(self, old: list[Listed], age: timedelta, prefix: str) -> list[Listed]:
        """Those of so many old objects that a second listing shows alike, and that are old by a checked time, too."""
        if not old:
            return []
        now = await self._certain_time()
        again = {(one.name, one.modified) async for page in pages(self._storage, prefix) for one in page.objects}
        return [one for one in old if (one.name, one.modified) in again and _age(one, now) >= age]

    async def _delete(self, doomed: list[Listed], what: str, report: Report, dry_run: bool, tell: Progress) -> int:
        for done, listed in enumerate(doomed):
            if not dry_run:
                await self._storage.delete(listed.name)
            report.bytes += listed.size
            tell(what, done + 1, len(doomed))
        return len(doomed)

    # -- writers ---------------------------------------------------------------------------------------------

    async def _expire_writers(self, report: Report, dry_run: bool) -> None:
        """Forget the numbers of long inactive writers, by appending an ordinary log entry."""
        silent = self._silent(self._log.date)
        if silent and not dry_run:
            silent = self._silent(await self._certain_time())
        if not silent:
            return
        report.expired = tuple(sorted(silent))
        if not dry_run:
            await self._log.commit_expiry(report.expired)

    def _silent(self, now: datetime | None) -> list[str]:
        return [
            writer
            for writer, mark in self._state().writers.items()
            if now is not None and mark.date is not None and now - mark.date > WRITER_SILENCE
        ]


def _ignore_progress(what: str, done: int, total: int) -> None:
    pass


def _thinned(refs: tuple[codec.CheckpointRef, ...]) -> tuple[codec.CheckpointRef, ...]:
    """Keep at most `MOST_KEPT` of them, always including the oldest, whose number is the floor."""
    return refs if len(refs) <= MOST_KEPT else (refs[0], *refs[2::2])


def _age(listed: Listed, now: datetime | None) -> timedelta:
    """The age of an object by the storage's clock; 0 if unknown."""
    return timedelta(0) if now is None or listed.modified is None else now - listed.modified


def _checkpoint_seq(name: str) -> int:
    digits = name.rpartition("/")[2].partition("-")[0]
    return int(digits) if digits.isdigit() else 0


def _object_of(entry: Entry | None) -> str | None:
    return entry.content.name if entry is not None and isinstance(entry.content, ContentObject) else None


def _named(state: State) -> set[str]:
    cells = (cell for _, cell in state.entries.cells.items())
    return {name for cell in cells if not isinstance(cell, str) and (name := _object_of(cell)) is not None}
