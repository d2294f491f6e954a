"""Reading the past of a sequenced log: the state after an earlier entry, and the entries since, as far as they are
kept.

The kept past begins at the head's ``floor``, which is the number of a kept checkpoint. From there on every entry
exists, and every value named by a state from there on. Reads are subject to the usual fence, and each entry has to
continue the hash chain.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from rxmps3.errors import Corrupt, InvalidOption, NotKept, Unavailable, Unsupported
from rxmps3.log import codec
from rxmps3.log.archive import Logged, Point
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.log.sequenced.checkpoints import Vanished, load
from rxmps3.log.sequenced.fence import Lease
from rxmps3.log.sequenced.head import rewritten
from rxmps3.log.sequenced.log import SequencedLog
from rxmps3.log.server_clock import MARGIN
from rxmps3.model.names import Layout
from rxmps3.model.state import State, WriteId
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import together
from rxmps3.storage.base import Found, Missing, NotModified, Storage, pages
from rxmps3.storage.patient import PatientStorage

__all__ = ["MOST_TAGS", "SequencedArchive"]

MOST_TAGS = 256
"""The most tags of a manifest: each pins a checkpoint, which every collection reads."""
_READS_AT_ONCE = 16
_TRIES = 5


class _HeadView(NamedTuple):
    """A recently read head, and its lease."""

    head: codec.Head
    lease: Lease

    @property
    def refs(self) -> list[codec.CheckpointRef]:
        """The checkpoints from which every later state can be computed, oldest first."""
        return [ref for ref in self.head.refs if ref.seq >= self.head.floor]

    def before(self, seq: int) -> codec.CheckpointRef | None:
        """The newest checkpoint from which the state after entry ``seq`` can be computed; that of a tag only if it is
        exactly there."""
        tagged = [ref for ref in self.head.tags.values() if ref.seq == seq]
        return max((ref for ref in (*self.refs, *tagged) if ref.seq <= seq), key=lambda ref: ref.seq, default=None)


class _Gone(Exception):
    """The head no longer names this checkpoint."""


class SequencedArchive:
    """The kept past of one manifest's log. See `rxmps3.log.archive.Archive`.

    Args:
        storage: where it is; failed reads are retried a few times.
        layout: the manifest's names.
        log: the client's own log, open.
        clock: for the waits between retries.
    """

    def __init__(self, storage: Storage, layout: Layout, log: SequencedLog, clock: Clock) -> None:
        self._storage = PatientStorage(storage, clock)
        self._layout = layout
        self._log = log
        self._clock = clock

    async def point(self, seq: int | None) -> Point:
        """The state after entry ``seq``, which must have existed; None gives the oldest state kept.

        Raises:
            NotKept: it is older than the oldest state kept.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        return await self._point(seq, await self._look())

    async def _point(self, number: int | None, sight: _HeadView | None) -> Point:
        for _ in range(_TRIES):
            if sight is None:
                return _beginning("")
            seq = sight.head.floor if number is None else number
            ref = sight.before(seq)
            if ref is None and sight.head.floor:
                raise self._not_kept(sight, f"log version {seq} is")
            try:
                point = _beginning(sight.head.incarnation) if ref is None else await self._load(sight, ref)
                async for logged in self._entries(sight, point, seq):
                    point = point.after(logged)
            except (_Gone, NotKept):  # the floor was raised meanwhile: use a newer checkpoint, or find this is too old
                sight = await self._look()
            else:
                return await self._described(sight, point) if ref is not None and ref.seq == seq else point
        raise self._head_changes_too_often()

    async def since(self, point: Point, last: int) -> AsyncGenerator[Logged, None]:
        """The entries after a point, up to number ``last``, in order; only a few are in memory at a time.

        Raises:
            NotKept: the next entry has been collected meanwhile.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        sight = _HeadView(self._log.head, self._log.lease)  # read again once it is old
        async with aclosing(self._entries(sight, point, last)) as entries:
            async for logged in entries:
                yield logged

    async def point_at(self, moment: datetime) -> Point:
        """The state after the last entry stored at or before a moment (an aware datetime), by the storage's clock.

        A moment in whole seconds includes that second, since many storages report whole seconds only.

        Raises:
            NotKept: the moment is before the oldest state kept.
            InvalidOption: the moment is in the future.
            Corrupt, Unsupported, Unavailable, AccessDenied: as `Log.read`.
        """
        for _ in range(_TRIES):
            sight = await self._look()
            if sight is None:
                return _beginning("")
            head, lease = sight
            if moment > lease.seen + MARGIN:
                raise InvalidOption(
                    f"{moment.isoformat()} is in the future",
                    operation="at",
                    object=f"manifest {self._layout.manifest!r}",
                )
            found = head.floor
            after = self._layout.entry(head.incarnation, head.floor) if head.floor else ""
            async for page in pages(self._storage, self._layout.log(head.incarnation), after=after):
                if not lease.covers(head.floor + 1, self._dated(page.date), self._clock.monotonic()):
                    break
                for listed in page.objects:
                    seq = self._layout.seq_of(head.incarnation, listed.name)
                    if seq is not None and _not_after(listed.modified, moment):
                        found = max(found, seq)
            else:
                if found == head.floor and head.floor and not await self._is_kept_since(sight, moment):
                    raise self._not_kept(sight, f"the state at {moment.isoformat()} is")
                return await self._point(found, sight)
        raise self._head_changes_too_often()

    async def find(self, version: str, last: int) -> Point | None:
        """The state after the entry, up to number ``last``, whose writes include the one of this version id.

        If several entries hold the write, the first one counts.

        Returns:
            None if there is none.

        Raises:
            NotKept: the entry has been collected; the oldest state kept already includes the write.
        """
        writer, _, number = version.rpartition("-")
        id = WriteId(writer, int(number))
        for _ in range(_TRIES):
            sight = await self._look()
            if sight is None:
                return None
            try:
                point = await self._before(sight, id)
            except _Gone:
                continue
            if point is None:
                raise self._not_kept(sight, f"the log entry of version {version!r} is")
            async with aclosing(self._entries(sight, point, last)) as entries:
                async for logged in entries:
                    point = point.after(logged)
                    if any(write.id == id for write in logged.version.writes):
                        return point
            return None
        raise self._head_changes_too_often()

    async def check_kept(self, seq: int) -> None:
        """Raise `NotKept` if the values of the state after entry ``seq`` are no longer kept."""
        sight = await self._look()
        if sight is not None and seq < sight.head.floor and sight.before(seq) is None:
            raise self._not_kept(sight, f"log version {seq} is")

    # -- tags ------------------------------------------------------------------------------------------------

    async def tags(self) -> dict[str, int]:
        """The tags and the numbers of their entries, oldest first."""
        sight = await self._look()
        tags = {} if sight is None else {name: ref.seq for name, ref in sight.head.tags.items()}
        return dict(sorted(tags.items(), key=lambda tag: (tag[1], tag[0])))

    async def point_of(self, tag: str) -> Point | None:
        """The state of a tag; None if there is no such tag. Raises as `point`."""
        sight = await self._look()
        ref = None if sight is None else sight.head.tags.get(tag)
        return None if ref is None else await self._point(ref.seq, sight)

    async def tag(self, name: str, seq: int) -> bool:
        """Tag the state after entry ``seq``, if the head names its checkpoint.

        Raises:
            InvalidOption: the tag exists for another state, or there are too many tags.
            Unavailable, AccessDenied: the outcome is unknown; trying again is safe.
        """
        done = False

        def name_it(head: codec.Head, modified: datetime | None) -> codec.Head | None:
            nonlocal done
            known = head.tags.get(name)
            if known is not None and known.seq != seq:
                raise InvalidOption(f"already tags log version {known.seq}", operation="tag", object=f"{name!r}")
            done = known is not None
            ref = next((ref for ref in head.refs if ref.seq == seq), None)
            if done or ref is None:
                return None
            if len(head.tags) >= MOST_TAGS:
                raise InvalidOption(f"there are already {MOST_TAGS} tags", operation="tag", remedy="remove some")
            return rewritten(head, modified, self._clock.new_id(), tags={**head.tags, name: ref})

        return await self._log.rewrite_head(name_it) or done

    async def untag(self, name: str) -> None:
        """Remove a tag. Raises `Unavailable`, `AccessDenied` as `tag`."""
        if await self._look() is None:
            return

        def remove(head: codec.Head, modified: datetime | None) -> codec.Head | None:
            if name not in head.tags:
                return None
            left = {tag: ref for tag, ref in head.tags.items() if tag != name}
            return rewritten(head, modified, self._clock.new_id(), tags=left)

        await self._log.rewrite_head(remove)

    # -- the parts -------------------------------------------------------------------------------------------

    async def _look(self) -> _HeadView | None:
        seen = await self._log.look()
        return None if seen is None else _HeadView(*seen)

    async def _load(self, sight: _HeadView, ref: codec.CheckpointRef) -> Point:
        """The state of a checkpoint. Raises `_Gone` if the head names it no longer, `Corrupt` if it does."""
        try:
            checkpoint = await load(self._storage, self._layout, sight.head.incarnation, ref)
        except Vanished as gone:
            newer = await self._look()
            if newer is not None and ref in newer.head.refs:
                by = "the head" if gone.name == self._layout.root + ref.name else f"{ref.name!r}"
                raise self._missing(f"checkpoint {gone.name!r}", f"{by} names it") from None
            raise _Gone from None
        return Point(checkpoint.seq, checkpoint.chain, checkpoint.state)

    async def _described(self, sight: _HeadView, point: Point) -> Point:
        """The point of a checkpoint, with the metadata of its entry if that is still in the log."""
        if point.seq <= sight.head.floor:
            return point
        try:
            logged = await self._logged(sight, point.seq, await self._read(sight, point.seq))
        except NotKept:
            return point
        if logged.chain != point.chain:
            raise self._broken_chain(point.seq)
        return replace(point, by=logged.version.by, time=logged.version.time, date=logged.date)

    async def _before(self, sight: _HeadView, id: WriteId) -> Point | None:
        """The newest checkpoint's state without this write; None if even the oldest has it."""
        refs = sight.refs
        latest = None if sight.head.floor else _beginning(sight.head.incarnation)
        low, high = 0, len(refs)
        while low < high:
            middle = (low + high) // 2
            point = await self._load(sight, refs[middle])
            mark = point.state.writers.get(id.writer)
            if mark is not None and mark.has(id.number):
                high = middle
            else:
                low, latest = middle + 1, point
        return latest

    async def _entries(self, sight: _HeadView, point: Point, last: int) -> AsyncGenerator[Logged, None]:
        chain = point.chain
        for start in range(point.seq + 1, last + 1, _READS_AT_ONCE):
            batch = range(start, min(start + _READS_AT_ONCE, last + 1))
            for seq, answer in zip(batch, await together(self._read(sight, seq) for seq in batch), strict=True):
                if not sight.lease.covers(seq, self._dated(answer.date), self._clock.monotonic()):
                    newer = await self._look()
                    sight = sight if newer is None else newer
                logged = await self._logged(sight, seq, answer, chain)
                chain = logged.chain
                yield logged

    async def _read(self, sight: _HeadView, seq: int) -> Found | Missing | NotModified:
        return await self._storage.get(self._layout.entry(sight.head.incarnation, seq), limit=MAX_ENTRY_BYTES)

    async def _logged(
        self, sight: _HeadView, seq: int, answer: Found | Missing | NotModified, chain: str = ""
    ) -> Logged:
        """Decode an entry, if the answer may be believed."""
        name = self._layout.entry(sight.head.incarnation, seq)
        if not isinstance(answer, Found):
            newer = await self._look()
            sight = sight if newer is None else newer
        if seq <= sight.head.floor:
            raise self._not_kept(sight, f"log version {seq} is")
        if not isinstance(answer, Found):
            raise self._missing(f"log entry {name!r}", "later ones exist")
        entry = codec.decode_entry(answer.body, name)
        if entry.seq != seq:
            raise Corrupt(f"claims to be number {entry.seq}", object=f"log entry {name!r}")
        digest, cursor = codec.digest(answer.body), self._log.cursor
        if (chain and entry.previous != chain) or (seq == cursor.seq and digest != cursor.chain):
            raise self._broken_chain(seq)
        return Logged(seq, digest, entry.version, answer.modified)

    async def _is_kept_since(self, sight: _HeadView, moment: datetime) -> bool:
        """Whether the checkpoint at the floor, which is younger than its entry, already existed at this moment."""
        floor = next((ref for ref in sight.refs if ref.seq == sight.head.floor), None)
        if floor is None:
            return False
        page = await self._storage.list(self._layout.root + floor.name, limit=1)
        return any(_not_after(listed.modified, moment) for listed in page.objects)

    def _dated(self, date: datetime | None) -> datetime:
        if date is None:
            raise Unsupported("answers carry no Date header", object=self._storage.url)
        return date

    def _not_kept(self, sight: _HeadView, what: str) -> NotKept:
        oldest = str(sight.head.floor)
        return NotKept(
            f"{what} older than what is kept",
            oldest=oldest,
            object=f"manifest {self._layout.manifest!r}",
            remedy=f"the oldest that can be had is log version {oldest}",
        )

    def _head_changes_too_often(self) -> Unavailable:
        return Unavailable("compacted by other clients at each attempt", object=f"head {self._layout.head!r}")

    def _missing(self, what: str, though: str) -> Corrupt:
        return Corrupt(f"missing, though {though}", object=what, remedy="restore the object; nothing is overwritten")

    def _broken_chain(self, seq: int) -> Corrupt:
        return Corrupt(
            "its hash chain differs from what it follows",
            object=f"log entry {seq} of manifest {self._layout.manifest!r}",
            remedy="an entry was replaced, or two histories were mixed in one bucket",
        )


def _beginning(incarnation: str) -> Point:
    return Point(0, codec.genesis(incarnation), State())


def _not_after(modified: datetime | None, moment: datetime) -> bool:
    if modified is not None and not moment.microsecond:
        modified = modified.replace(microsecond=0)
    return modified is not None and modified <= moment
