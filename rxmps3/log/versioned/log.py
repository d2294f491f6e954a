"""The versioned log: the versions of one object, in the order the storage lists them.

It needs a storage that keeps every version of an object, but no conditional writes. The argument in short (in full in
``docs/protocol-versioned.md``):

* a put never fails because of other writers, so there are no lost races: each writer appends, and the listing shows
  where;
* a version counts once it was seen in a listing, even for its own writer;
* a version may appear below known ones while they are younger than `SETTLED_AFTER`, so the listing is read again, less
  and less often, until the newest version is that old;
* a write counts once however many versions hold it, so a writer that got no answer may send it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reactivex import Subject

from rxmps3.errors import Corrupt, Error, Gone, InvalidInput, Rejected, Replaced, Unavailable, Unsupported
from rxmps3.log import codec
from rxmps3.log.batching import MAX_ENTRY_BYTES, MAX_GROUP_BYTES, Tail
from rxmps3.log.protocol import Context, EntryRefused, LogEvent, ResumePoint
from rxmps3.log.server_clock import LIVE_FOR, Asked, ServerDate
from rxmps3.log.versioned.body import PROTOCOL, Body, Named, decode_body, encode_body
from rxmps3.log.versioned.ends import Ends
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.log.versioned.opening import begin, check_beginning, check_emptiness, gone, manifest_at
from rxmps3.log.versioned.order import Base, History, learn, settle
from rxmps3.log.versioned.pace import ListingPace
from rxmps3.log.versioned.probe import ensure_versions, not_enabled
from rxmps3.log.versioned.reading import SETTLED_AFTER, Listing, VersionGone, is_version_id, read_versions
from rxmps3.model.names import escape
from rxmps3.model.state import Loaded, Write
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Found, Missing, NotModified

__all__ = ["VersionedLog"]

_TRIES = 6
_FIRST_WAIT = 0.05
"""Seconds until a listing that does not show yet what was stored is read again; then twice as many."""
_MARKERS_AT_ONCE = 16
_COARSE = timedelta(seconds=1)
"""Dates of the storage have no finer resolution."""


@dataclass(frozen=True)
class _Unlisted:
    """An own version that is stored but was not yet in the last listing."""

    body: Body
    etag: str
    date: datetime | None
    monotonic: float

    def age(self, monotonic: float, date: datetime) -> timedelta:
        """For how long it has been stored at least, by this client's clock and by the dates of the storage."""
        passed = timedelta(seconds=monotonic - self.monotonic)
        if self.date is None or date < self.date:  # it was dated ahead
            return passed
        return min(passed, date - self.date)


class _Behind(Exception):
    """The listing does not show the newest version yet."""


class VersionedLog:
    """One manifest's versioned log, as one client follows and extends it.

    Args:
        context: its storage, which keeps versions, and the client that follows it.
        names: the manifest's object names.
    """

    def __init__(self, context: Context, names: VersionedNames) -> None:
        self.versions: Subject[LogEvent] = Subject()
        self._storage = context.storage
        self._clock = context.clock
        self._writer = context.writer
        self._by = context.by
        self._names = names
        self._opened = False
        self._history = History()
        self._fetched: dict[str, Body] = {}  # fetched before another request failed
        self._etag = ""
        self._own = ""
        self._named: Named | None = None
        self._tail = Tail()
        self._dated = ServerDate(context.clock)
        self._pace = ListingPace(context.clock)
        self._ends = Ends()
        self._known_since: dict[str, float] = {}  # by this client's monotonic clock
        self._resumed = False
        self._capable = False
        self._unlisted: _Unlisted | None = None
        self._unsure = False  # whether to read the log before the next put: the outcome of the last one is unknown
        self._turning = asyncio.Lock()
        self._looked = self._dated.asking()
        self._whole: tuple[float, datetime] | None = None  # when the last whole listing began, by both clocks

    @property
    def exists(self) -> bool:
        return bool(self._history.oldest)

    @property
    def position(self) -> str:
        return self._history.state.version

    @property
    def reached(self) -> tuple[str, int]:
        return self.position, len(self._fetched)

    @property
    def place(self) -> ResumePoint | None:
        return ResumePoint(PROTOCOL, self.position) if self.exists else None

    @property
    def date(self) -> datetime | None:
        return self._dated.last

    @property
    def dated(self) -> ServerDate:
        """What is known of the storage's time."""
        return self._dated

    @property
    def base(self) -> Base:
        """The newest settled state."""
        return self._history.base

    @property
    def checkpoint(self) -> Named | None:
        """The newest known checkpoint."""
        return self._named

    @property
    def upkeep_is_due(self) -> bool:
        return self._tail.is_due(self._named.ref.size if self._named is not None else 0)

    # -- reading ---------------------------------------------------------------------------------------------

    def resume(self, place: ResumePoint) -> None:
        self._resumed = bool(place.version)

    async def open(self) -> None:
        if self._opened:
            return
        async with self._turning:
            if not self._opened:
                await self._load()
                self._opened = True

    async def read(self) -> None:
        if not self._opened:
            await self.open()
            return
        async with self._turning:
            try:
                newest = await self._look()
                if newest is not None or self._pace.is_due:
                    await self._catch_up(newest)
            except (Corrupt, Unsupported):
                self._unsure = True
                raise

    async def list_again(self) -> None:
        """Read the whole listing even if it is not due. Raises as `read`."""
        await self.open()
        async with self._turning:
            if self.exists:
                self._pace.hurry()
                await self._catch_up(None)

    async def _look(self) -> Found | None:
        """The newest version, if it has changed since the last call.

        Raises:
            Gone: a known manifest has disappeared.
            Unsupported: the object was written without versioning.
        """
        asked, answer = await self._ask()
        if isinstance(answer, Missing) and (self.exists or self._resumed):
            asked, answer = await self._ask()  # one answer may be wrong
        self._learn_date(answer.date, asked)
        self._looked = asked
        if isinstance(answer, NotModified):
            return None
        if isinstance(answer, Missing):
            if self.exists or self._resumed:
                raise Gone(
                    "deleted: its object is gone",
                    object=manifest_at(self._storage, self._names),
                    remedy="close the database and open it anew, or restore the bucket",
                )
            return None
        if not is_version_id(answer.version):
            if answer.version is None or not self.exists:
                decode_body(
                    answer.body, answer.version or "null", self._names
                )  # check that this is a versioned manifest
            raise Unsupported(
                "its newest version was written while versioning was not enabled",
                object=manifest_at(self._storage, self._names),
                remedy="enable versioning of the bucket, and delete the version 'null'",
            )
        return answer

    async def _ask(self) -> tuple[Asked, Found | NotModified | Missing]:
        asked = self._dated.asking()
        unless = self._etag or None
        return asked, await self._storage.get(self._names.object, unless=unless, limit=MAX_ENTRY_BYTES)

    def _gone(self, what: str) -> Corrupt:
        return gone(self._storage, self._names, what)

    def _not_there(self, one: VersionGone) -> Corrupt:
        return self._gone(f"version {one.id!r} is listed, but is not there")

    def _behind(self) -> Unavailable:
        return Unavailable(
            "the listing does not show the newest version yet",
            operation="list",
            object=manifest_at(self._storage, self._names),
        )

    async def _load(self) -> None:
        """Read the log from the newest checkpoint in reach and emit the state.

        Raises:
            Corrupt, Unsupported: there is no versioned log, or it is damaged or of an unknown format.
        """
        problem: Error = self._behind()
        for attempt in range(_TRIES):
            if attempt:
                await self._clock.sleep(_FIRST_WAIT * 2**attempt)
            self._etag = ""
            newest = await self._look()
            if newest is None:
                await check_emptiness(self._storage, self._names)
                self.versions.on_next(Loaded(self._history.state))
                return
            try:
                await self._load_from(newest)
                return
            except VersionGone as missing:
                problem = self._not_there(missing)
            except Replaced as error:
                if isinstance(problem, Replaced):
                    raise
                problem = error  # what it misses may have been collected since the listing began
            except _Behind:
                problem = self._behind()
        raise problem

    async def _load_from(self, newest: Found) -> None:
        """Load, starting from an already fetched newest version.

        Raises:
            VersionGone: something was collected meanwhile.
            _Behind: the listing does not show the newest version yet.
        """
        body = decode_body(newest.body, newest.version or "", self._names)
        began = self._clock.monotonic()
        base, listing, bodies = await begin(self._storage, self._names, body, self._fetched)
        if body.id != base.id and body.id not in listing.ids:
            raise _Behind
        await self._check_successor(listing, base)
        await check_beginning(self._storage, self._names, base, listing, bodies)
        history, _ = learn(History(base), listing.ids, bodies)
        self._own, self._named, self._tail, self._ends = "", None, Tail(), Ends()
        self._adopt(history, bodies, listing, began)
        self._etag = newest.etag
        self.versions.on_next(Loaded(history.state))

    async def _catch_up(self, newest: Found | None, own: Body | None = None, etag: str = "") -> None:
        """Read the listing and emit the new versions.

        Args:
            newest: the newest version, if already fetched.
            own: the version that this client has just written.
            etag: the ETag of that version.

        Raises:
            Unavailable: the listing does not show one of these two yet.
        """
        seen = {own.id: own} if own is not None else {}
        if newest is not None:
            body = decode_body(newest.body, newest.version or "", self._names)
            seen[body.id], etag = body, newest.etag
        problem: Error = self._behind()
        for attempt in range(_TRIES):
            if attempt:
                await self._clock.sleep(_FIRST_WAIT * 2**attempt)
            try:
                await self._catch_up_once(seen)
            except VersionGone as missing:
                problem = self._not_there(missing)
                continue
            except Replaced as error:
                if isinstance(problem, Replaced):
                    raise
                problem = error  # what it misses may have been collected since the listing began
                continue
            problem = self._behind()
            last = next(iter(self._history.listed[-1:]), self._history.base.id)
            if all(self._history.knows(id) for id in seen):
                self._etag = etag if seen and last == next(reversed(seen)) else self._etag
                return
        raise problem

    async def _catch_up_once(self, seen: Mapping[str, Body]) -> None:
        """Read the listing once. Raises `VersionGone` if a listed version has disappeared meanwhile."""
        before = self._history
        until = (before.base.id,) if before.base.id else ()
        known = frozenset(before.listed)
        enough = () if self._pace.is_due else known
        began = self._dated.asking()
        listing, new = await read_versions(
            self._storage,
            self._names,
            until,
            enough,
            known=known,
            seen=seen,
            fetched=self._fetched,
            whole_until=self._pace.whole_until,
        )
        self._learn_date(listing.date)
        if self._is_out_of_reach(listing, new):
            await self._load()
            return
        await self._check_successor(listing)
        self._looked = began
        history, events = learn(before, listing.ids, new)
        self._adopt(history, new, listing, began.monotonic)
        for event in events:
            self.versions.on_next(event)

    async def _check_successor(self, listing: Listing, base: Base | None = None) -> None:
        """Check that a listing continues the known history: the newest known version is in it, or below its base.

        A listing may omit a version for a while, so one that is missing is asked for.

        Raises:
            Replaced: it is gone, though nothing deletes the newest version.
        """
        known = self._history
        last = known.listed[-1] if known.listed else known.base.id
        if base is not None and last in listing.ids:
            await self._check_beginning(base.count + listing.ids.index(last) + 1, base)
            return
        if not last or last in listing.ids or last == listing.stopped_at:
            return
        if base is not None and (last == base.id or base.count >= known.base.count + len(known.listed)):
            return
        if isinstance(await self._storage.get(self._names.object, version=last, limit=MAX_ENTRY_BYTES), Missing):
            raise Replaced(
                f"version {last!r}, the newest that was read, is gone: the bucket was put back to an earlier copy, or "
                "the manifest made anew",
                object=manifest_at(self._storage, self._names),
                remedy="close the database and open it anew; nothing is written to it from here",
            )

    async def _check_beginning(self, count: int, base: Base) -> None:
        """Check that what led to the newest known version is there, if no checkpoint stands for it.

        Args:
            count: the number of versions up to the newest known one, by what is there now.
            base: where the log begins now.

        Raises:
            Replaced: the oldest known version is gone.
        """
        known = self._history
        if base.id or count >= known.base.count + len(known.listed):
            return
        answer = await self._storage.get(self._names.object, version=known.oldest, limit=MAX_ENTRY_BYTES)
        if isinstance(answer, Missing):
            raise Replaced(
                f"version {known.oldest!r} is gone, where what was read began, and no checkpoint has what it wrote: "
                "older versions were deleted, by a rule of the bucket or by hand",
                object=manifest_at(self._storage, self._names),
                remedy="restore them, or close the database and open what is left of it; nothing is written from here",
            )

    def _is_out_of_reach(self, listing: Listing, new: Mapping[str, Body]) -> bool:
        """Whether versions were collected that this client has not seen: the known history ends before the oldest
        version in the listing, or has no settled beginning, and a checkpoint counts more below it than are listed."""
        history, ids = self._history, listing.ids
        named = [body.checkpoint for body in new.values() if body.checkpoint is not None]
        if not history.oldest:
            return bool(named)
        if listing.partial:
            return False
        if listing.stopped_at != history.oldest and history.oldest not in ids:
            return True
        if history.base.id:
            return False
        named += [self._named] if self._named is not None else []
        return any(one.ref.seq > ids.index(one.version) + 1 for one in named if one.version in ids)

    def _adopt(self, history: History, new: Mapping[str, Body], listing: Listing, began: float) -> None:
        """Adopt this history; its settled part is reduced to the base.

        What is settled is told by when the listing ``began``: the process may have stood still since, and what came to
        light meanwhile is not in it.
        """
        self._fetched.clear()
        ages = self._ages(listing, began)
        self._pace.saw(listing, len(history.listed), min(ages.values(), default=SETTLED_AFTER))
        for body in history.placed:
            if body.id not in new:
                continue
            if body.version.writer == self._writer:
                self._own = body.id
            if body.checkpoint is not None:
                self.name_checkpoint(body.checkpoint)
        if listing.partial:
            self._history = history
            return
        self._whole = began, listing.date
        settled = 0
        for id in history.listed:
            if id not in ages or ages[id] < SETTLED_AFTER:
                break
            settled += 1
        self._history, below = settle(history, settled)
        self._ends.settled(below, listing.modified, self._now(listing))
        for count, body in enumerate(below, start=self._history.base.count - len(below) + 1):
            self._tail.grew(count, body.size)
        self._tail.checkpointed(self._named.ref.seq if self._named is not None else 0)

    def _now(self, listing: Listing) -> datetime:
        """The storage's time, no later than it can be: its date, if another clock agrees, else the newest version's."""
        if self._dated.is_borne_out(listing.date):
            return listing.date
        return max(listing.modified.values(), default=listing.date)

    def _ages(self, listing: Listing, began: float) -> dict[str, timedelta]:
        """How old the listed versions were at least when the listing began.

        Where only the date of the answer says how late it is now, a version counts as no older than the time for which
        this client has known it, or by which the newest one is younger.
        """
        monotonic, now, modified = self._clock.monotonic(), self._now(listing), listing.modified
        if not listing.partial:
            self._known_since = {id: self._known_since.get(id, monotonic) for id in listing.ids}
        else:
            self._known_since |= {id: self._known_since.get(id, monotonic) for id in listing.ids}
        return {id: max(now - time, timedelta(seconds=began - self._known_since[id])) for id, time in modified.items()}

    def name_checkpoint(self, named: Named) -> None:
        """Name this checkpoint in later versions, unless a newer one is known."""
        if self._named is None or named.ref.seq > self._named.ref.seq:
            self._named = named
            self._tail.checkpointed(named.ref.seq)

    # -- writing ---------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        if self.exists and self._dated.passed_since(self._looked) >= LIVE_FOR.total_seconds():
            await self.read()  # the next put would make the object anew, were it gone
        if self.exists or self._capable:
            return
        try:
            await ensure_versions(self._storage, self._clock)
        except Unsupported as broken:
            raise Rejected(f"refused and rolled back: {broken}", operation="commit") from broken
        self._capable = True

    def is_confirmed(self, position: str) -> bool:
        return True  # each listing shows it

    async def confirm(self) -> None:
        await self.read()

    async def ensure_dated(self) -> None:
        if self._dated.is_old:
            await self.server_time()

    async def server_time(self) -> datetime:
        answer = await self._storage.get(self._names.object, unless=self._etag or None, limit=MAX_ENTRY_BYTES)
        if answer.date is None:
            raise Unsupported("answers carry no Date header", object=self._storage.url)
        self._learn_date(answer.date)
        return answer.date

    def _learn_date(self, date: datetime | None, asked: Asked | None = None) -> None:
        if date is not None:
            self._dated.heard(date, asked)

    async def commit(self, writes: Sequence[Write]) -> None:
        await self.open()
        await self.prepare()
        if self._unlisted is not None and await self._wait_until_listed(self._unlisted):
            return
        if self._unsure:
            await self._look_for(writes)
            if not self._unsure:
                return
        taken, texts = self._pack(writes)
        await self._append(taken, self._encode(texts))
        await self._mark_deleted(taken)

    async def commit_expiry(self, writers: Sequence[str]) -> None:
        """Append a version that forgets the numbers of these writers. Raises as `commit`."""
        await self._append((), self._encode((), writers))

    async def _look_for(self, writes: Sequence[Write]) -> None:
        """After an attempt of unknown outcome, check whether the log holds one of its writes and thus the attempt
        succeeded."""
        async with self._turning:
            self._pace.hurry()  # it may have appeared below known versions
            await self._catch_up(await self._look())
        if any(map(self._history.state.has_committed, writes)):
            self._unsure = False

    async def _append(self, writes: Sequence[Write], body: bytes) -> None:
        self._unsure = True
        try:
            stored = await self._storage.put(self._names.object, body)
        except (Unavailable, InvalidInput) as error:
            await self._look_for(writes)
            if not self._unsure:
                return
            if isinstance(error, InvalidInput):
                self._unsure = False
                raise EntryRefused(error, len(body)) from error
            raise
        self._learn_date(stored.date)
        if not is_version_id(stored.version):
            raise not_enabled(self._storage.url)
        own = decode_body(body, stored.version or "", self._names)
        self._unlisted = _Unlisted(own, stored.etag, stored.date, self._clock.monotonic())
        await self._wait_until_listed(self._unlisted)

    async def _wait_until_listed(self, one: _Unlisted) -> bool:
        """Whether the listing shows an own version; False if it can no longer appear.

        If its writes were sent again and it then appeared after all, they would change their place in the log; so wait
        for it.

        Raises:
            Unavailable: it is not listed yet.
        """
        try:
            async with self._turning:
                if not self._has_settled(one.body):
                    await self._catch_up(None, one.body, one.etag)
        except Unavailable:
            if self._whole is None:
                raise
            if one.age(*self._whole) < SETTLED_AFTER + _COARSE:
                raise
            self._unlisted = None
            return False
        self._unlisted, self._unsure = None, False
        return True

    def _has_settled(self, own: Body) -> bool:
        """Whether an own version has been seen so long ago that its id is not remembered: its answer came that late."""
        state, writes = self._history.state, own.version.writes
        return not self._history.knows(own.id) and bool(writes) and all(map(state.has_committed, writes))

    def _pack(self, writes: Sequence[Write]) -> tuple[Sequence[Write], list[str]]:
        """The oldest of these writes, at least one and at most as many as fit into a group, and their texts."""
        texts: list[str] = []
        size = 0
        for write in writes:
            text = codec.encode_write(write, self._writer)
            size += len(text.encode())
            if texts and size > MAX_GROUP_BYTES:
                break
            texts.append(text)
        return writes[: len(texts)], texts

    def _encode(self, texts: Sequence[str], expired: Sequence[str] = ()) -> bytes:
        return encode_body(
            texts,
            previous=self.position,
            own=self._own,
            beside=self._ends.beside(self._history, (self.position, self._own)),
            writer=self._writer,
            by=self._by,
            nonce=self._clock.new_id(),
            time=self._clock.now(),
            date=self.date,
            checkpoint=self._named,
            expired=expired,
        )

    async def _mark_deleted(self, writes: Sequence[Write]) -> None:
        """Put delete markers on deleted keys for the sake of other tools; the log itself does not need them."""
        entries = self._history.state.entries
        keys = {key for write in writes for key, entry in write.update.items() if entry is None and key not in entries}
        names = sorted(map(escape, keys))
        for start in range(0, len(names), _MARKERS_AT_ONCE):
            await all_of(map(self._mark, names[start : start + _MARKERS_AT_ONCE]))

    async def _mark(self, name: str) -> None:
        try:
            await self._storage.delete(name)
        except Error:
            pass  # the value stays visible to other tools until the key is written again
