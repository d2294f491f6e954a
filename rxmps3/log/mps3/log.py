"""The mps3 log: operations named by time, replayed on the base state in the newest operation.

It only needs a storage whose listings show what was stored, so it guarantees less than the other logs: operations
    stored at the same time are ordered by their names, an operation may appear before known ones, and it is certain to
    be seen only while it is young. ``docs/protocol-mps3.md`` has the argument.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from reactivex import Subject

from rxmps3.errors import AccessDenied, Corrupt, Error, Gone, InvalidInput, OutcomeUnknown, Replaced, Unavailable
from rxmps3.log.mps3 import operation as codec
from rxmps3.log.mps3.names import OPERATIONS_PER_SESSION, Stamp, namespace_of, new_session, parse_stamp, stamp_after
from rxmps3.log.mps3.operation import LAG, MAX_OPERATION_BYTES, WINDOW, File, Files, Operation
from rxmps3.log.mps3.recovering import Recovery, stored_at
from rxmps3.log.mps3.ticking import ServerClock, milliseconds, moment
from rxmps3.log.protocol import Context, EntryRefused, LogEvent, ResumePoint
from rxmps3.log.server_clock import ServerDate
from rxmps3.model.state import (
    ContentObject,
    Entry,
    Inline,
    Loaded,
    ManifestVersion,
    Refused,
    Replayed,
    State,
    Write,
    WriteId,
)
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Found, Page, Stored

__all__ = ["Mps3Log"]

T = TypeVar("T", Page, Stored, Found)

MARGIN = 1500
"""Milliseconds by which an operation's time has to be nearer to the ``Date`` of its answer than `LAG`: both that and
the stored time are cut to whole seconds."""
BASE_AGE = WINDOW - LAG - 1000
"""Milliseconds from the read that gave an operation its base to the operation's own time, at most: then what was
stored after that read, and so is not in the base, is within the window of the operation."""
_FUTURE = 10_000
"""Operations whose names are this many milliseconds ahead are not listed."""
_SUSPENDED = timedelta(hours=6)
"""A commit that has made no progress for this long is given up. Uploads are trusted for as long (`TRUST_UPLOADS_FOR`),
and both together are less than the age of the youngest value that is collected (`VALUE_AGE`)."""
_NAMED_TOO_LATE = 600_000
"""Milliseconds: an operation whose time is this far ahead, since an answer was dated wrong, does not count, and no
network delivers it once more when it would."""
_TRIES = 8
_READS_AT_ONCE = 16
_OWN_KNOWN = 100_000
_VALUES_ASKED_FOR = 3
"""How many values are asked for when only they can tell whether the bucket was emptied."""
_MOST_MISSED = 200
"""A client that missed more operations than this gets only the state that the newest one has."""


class _Listed(NamedTuple):
    """A valid operation as the listing shows it, or one that was valid when this client saw it first (`_restore`)."""

    stamp: Stamp
    name: str
    counts: bool = True
    vanished: bool = False


@dataclass(frozen=True)
class _Attempt:
    """An operation whose outcome is unknown, and the log's position before it."""

    stamp: Stamp
    after: str


class _Vanished(Exception):
    """A listed operation no longer exists."""


class Mps3Log:
    """One manifest in the mps3 format, as one client follows and extends it. See `rxmps3.log.protocol.Log`."""

    def __init__(self, context: Context) -> None:
        self.versions: Subject[LogEvent] = Subject()
        self._storage = context.storage
        self._manifest = context.manifest
        self._home = namespace_of(context.storage.url)
        self._clock = context.clock
        self._writer = context.writer
        self._by = context.by
        self._versioning = context.versioning
        self._server = ServerClock()
        self._dated = ServerDate(context.clock)
        self._session = new_session(self._clock)
        self._count = 0
        self._fetched: dict[str, Operation] = {}  # fetched before another request failed
        self._window: list[Operation] = []
        self._seen: dict[str, int] = {}
        self._files: Files = {}
        self._listed_at = 0.0  # the server's time when the newest listing began, in milliseconds
        self._read_at = 0.0  # and when the listing behind the current state began
        self._state = State()
        self._own_entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._own_operations: dict[str, tuple[Write, ...]] = {}
        self._attempt: _Attempt | None = None
        self._recovery = Recovery(self._storage, self._manifest, self._home, versioning=self._versioning)
        self._opened_at: float | None = None
        self._opened = False
        self._turning = asyncio.Lock()
        self._uncounted: dict[str, int] = {}  # the times of operations that counted, but not for who looks now
        self._uncounted_since: float | None = None
        self._left_values: set[str] = set()
        self._names_read: set[str] = set()  # the operations on the pages that the newest listing has read
        self._rests_on: Stamp | None = None  # the newest operation before an own one that no look has followed yet
        self._has_written = False
        self._storing = asyncio.Lock()

    # -- what is known ---------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return bool(self._window)

    @property
    def position(self) -> str:
        return self._state.version

    @property
    def reached(self) -> tuple[str, int]:
        return self.position, len(self._fetched)

    @property
    def place(self) -> ResumePoint | None:
        return ResumePoint("mps3", self.position) if self._opened else None

    @property
    def date(self) -> datetime | None:
        return self._dated.last

    @property
    def dated(self) -> ServerDate:
        """What is known of the server's time."""
        return self._dated

    @property
    def upkeep_is_due(self) -> bool:
        return False  # the bucket is shared with clients that never collect, so compact only on request

    def resume(self, place: ResumePoint) -> None:
        """Does nothing: each operation holds the whole state."""

    def suspect(self, write: Write, after: str) -> None:
        """See `rxmps3.log.protocol.Kit`."""
        self._recovery.suspect(write, after)

    @property
    def _newest(self) -> int:
        """The time of the newest known operation; 0 without one."""
        return self._window[0].stamp.time if self._window else 0

    # -- reading ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        if not self._opened:
            await self._refresh()

    async def read(self) -> None:
        await self._refresh()
        await self._restore()

    def is_confirmed(self, position: str) -> bool:
        return True  # each listing shows it

    async def confirm(self) -> None:
        await self.read()

    async def ensure_dated(self) -> None:
        if self._dated.is_old:
            await self.server_time()

    async def server_time(self) -> datetime:
        await self._timed(self._storage.list(f"{self._manifest}@", limit=1))
        return self.date or self._clock.now()

    async def _refresh(self) -> None:
        """List the operations, fetch the new ones and emit them.

        That the manifest is another one is believed if a second look says the same: what the first one has listed may
        have been collected before it was asked for, and an answer may be wrong.
        """
        doubt: Error | None = None
        async with self._turning:
            for _ in range(_TRIES):
                uncounted = self._uncounted
                listed = await self._list()
                try:
                    window = await self._fetch(listed)
                    await self._check_successor(listed)
                    await self._check_vanished(listed)
                    await self._check_values(listed, window)
                    self._check_existence(window)
                except _Vanished:
                    self._dismiss(uncounted)
                    continue
                except (Gone, Replaced) as error:
                    if doubt is not None and doubt.what == error.what:
                        raise
                    doubt = error
                    self._dismiss(uncounted)
                    continue
                self._take(window)
                self._read_at = self._listed_at
                self._note_uncounted()
                return
        raise Unavailable(
            "its operations disappear between being listed and being read",
            operation="read",
            object=f"manifest {self._manifest!r}",
        )

    async def _check_successor(self, listed: Sequence[_Listed]) -> None:
        """Check that the newest known operation is listed, unless it may have been collected.

        Only operations older than the window are collected, oldest first.

        Raises:
            Replaced: it is gone all the same.
        """
        if not self._window or not listed:
            return
        known = self._window[0].stamp
        stamps = [one.stamp for one in listed]
        if known in stamps or (stamps[0].time - known.time > WINDOW and stamps[-1].time > known.time):
            return
        answer = await self._storage.get(f"{self._manifest}@{known.text}", limit=MAX_OPERATION_BYTES)
        if not isinstance(answer, Found):
            raise Replaced(
                f"operation {known.text!r}, the newest that was read, is gone: the bucket was put back to an earlier "
                "copy, or the manifest made anew",
                object=f"manifest {self._manifest!r}",
                remedy="close the database and open it anew; nothing is written to it from here",
            )

    async def _check_vanished(self, listed: Sequence[_Listed]) -> None:
        """Check that the operations that are gone have left their values.

        A client that deletes an operation which seems to have come too late leaves them; a bucket that was put back to
        an earlier copy has neither.

        Raises:
            Replaced: a value is gone, too.
        """
        vanished = {one.stamp.text for one in listed if one.vanished} - self._left_values
        for operation in self._window:
            if operation.stamp.text not in vanished:
                continue
            for name, file in operation.update.items():
                key = self._home.key_of(name)
                content = None if key is None or file is None else self._entry(key, file["version"]).content
                if not isinstance(content, ContentObject):
                    continue
                answer = await self._storage.get(content.name, version=content.version)
                if not isinstance(answer, Found):
                    raise Replaced(
                        f"operation {operation.stamp.text!r} is gone, and so is its value {content.name!r}: the bucket "
                        "was put back to an earlier copy",
                        object=f"manifest {self._manifest!r}",
                        remedy="close the database and open it anew; nothing is written to it from here",
                    )
            self._left_values.add(operation.stamp.text)

    async def _check_values(self, listed: Sequence[_Listed], window: Sequence[Operation]) -> None:
        """Check that the state was not brought into an emptied bucket without its values.

        Each operation has the whole state. So one that arrives after a bucket was emptied looks like one before which
        everything was collected; only what it names tells, since no value is collected that the newest state names.

        Raises:
            Replaced: the operation that an own one followed, or the newest one that was known, is not there any more,
                and nothing of some values that the state had before and still has.
        """
        base, known = self._rests_on, self._window[0].stamp if self._window else None
        doubted = [stamp for stamp in (base, known) if stamp is not None and stamp.text not in self._names_read]
        if listed and self._opened and doubted:
            files = codec.resolve(self._standing(window))
            own: Mapping[str, File | None] = self._window[0].update if base is not None else {}
            kept = [
                (name, file)
                for name, file in self._files.items()
                if name not in own and _version(files, name) == file["version"]
            ]
            if kept and not await self._is_one_there(kept[-_VALUES_ASKED_FOR:]):
                raise Replaced(
                    f"operation {doubted[0].text!r} is gone, and so are values that are named since, such as that of "
                    f"{kept[-1][0]!r}, {kept[-1][1]['version']}: the bucket was emptied, and what a client wrote just "
                    "then has brought the state back without its values",
                    object=f"manifest {self._manifest!r}",
                    remedy="open it anew; restore the bucket, or put the keys again whose values are gone",
                )
        self._rests_on = None

    def _check_existence(self, window: Sequence[Operation]) -> None:
        """Raises `Gone` if there are no operations any more."""
        if not window and self._window:
            raise Gone(
                "deleted: all its operations are gone",
                object=f"manifest {self._manifest!r}",
                remedy="close the database and open it anew, or restore the bucket",
            )

    async def _is_one_there(self, files: Sequence[tuple[str, File]]) -> bool:
        """Whether one of these values is there, as far as its key is one of this database."""
        asked = 0
        for name, file in files:
            key = self._home.key_of(name)
            content = None if key is None else self._entry(key, file["version"]).content
            if not isinstance(content, ContentObject):
                continue
            asked += 1
            try:
                answer = await self._storage.get(content.name, version=content.version, limit=MAX_OPERATION_BYTES)
            except Corrupt:
                return True  # larger than that, or damaged
            if isinstance(answer, Found):
                return True
        return not asked

    async def _timed(self, request: Awaitable[T]) -> T:
        """Make a request and set the clock by its answer."""
        began = self._dated.asking()
        answer = await request
        if answer.date is not None:
            self._dated.heard(answer.date, began)
            self._server.heard(answer.date, self._clock.now(), self._clock.monotonic() - began.monotonic)
        return answer

    async def _list(self) -> list[_Listed]:
        """The valid operations in the window and those missed before it, newest first."""
        last = round(max(self._server.time(self._clock.now()), self._newest)) + _FUTURE
        for _ in range(_TRIES):
            listed = await self._list_up_to(last)
            if self._listed_at + _FUTURE / 2 <= last:
                return listed
            # this computer's clock is behind, or the request was carried out late: the newest may be left out
            last = round(max(self._listed_at, self._server.time(self._clock.now()))) + _FUTURE
        raise Unavailable(
            "each listing was answered too late to show the newest operations",
            operation="read",
            object=f"manifest {self._manifest!r}",
        )

    async def _list_up_to(self, last: int) -> list[_Listed]:
        """As `_list`, of the operations named up to that time, in milliseconds since the epoch."""
        prefix = f"{self._manifest}@"
        listed: list[_Listed] = []
        names: set[str] = set()
        cursor: str | None = None
        after = prefix + stamp_after(last)
        while True:
            asked_at = self._server.time(self._clock.now())
            page = await self._timed(self._storage.list(prefix, after=after, cursor=cursor))
            if cursor is None:
                self._listed_at = milliseconds(page.date) if page.date is not None else asked_at
            oldest: int | None = None
            for one in page.objects:
                stamp = parse_stamp(one.name[len(prefix) :])
                if stamp is None:
                    continue
                oldest = stamp.time
                names.add(stamp.text)
                if codec.is_valid(stamp, stored_at(one)):
                    listed.append(_Listed(stamp, one.name))
                elif stamp.text in self._seen:
                    listed.append(_Listed(stamp, one.name, counts=False))
            cursor = page.cursor
            if cursor is None or (listed and oldest is not None and oldest < self._reach(listed)):
                break
        self._names_read = names
        return self._with_vanished([one for one in listed if one.stamp.time >= self._reach(listed)])

    def _with_vanished(self, listed: list[_Listed]) -> list[_Listed]:
        """Add the known operations of the newest ones' time that the listing does not show any more.

        A client that takes such an operation for one that never counted deletes it. If nothing that was known is left,
        the bucket may have been replaced, and only what this client has written itself is added.
        """
        names = {one.stamp.text for one in listed}
        same = any(operation.stamp.text in names for operation in self._window)
        vanished = [
            _Listed(operation.stamp, f"{self._manifest}@{operation.stamp.text}", counts=False, vanished=True)
            for operation in self._window
            if operation.stamp.text not in names and (same or operation.stamp.text in self._own_operations)
        ]
        if listed and vanished:
            newest = min(listed[0].stamp.text, vanished[0].stamp.text)
            known = {operation.stamp.text: operation.stamp.time for operation in self._window}
            oldest = min(known.get(newest, listed[0].stamp.time) - WINDOW, self._kept_from())
            listed = [*listed, *(one for one in vanished if one.stamp.time >= oldest)]
            listed.sort(key=lambda one: one.stamp.text)
        self._uncounted = {one.stamp.text: one.stamp.time for one in listed if not one.counts}
        return listed

    def _dismiss(self, uncounted: dict[str, int]) -> None:
        """A listing that is not taken over may have begun long ago: it does not tell which operations count."""
        self._uncounted = uncounted

    def _kept_from(self) -> float:
        """From when on operations are replayed, however old: to the oldest that counted and does not any more."""
        return min(self._uncounted.values(), default=float("inf"))

    def _standing(self, window: Sequence[Operation]) -> list[Operation]:
        """Those of these operations, newest first, that are replayed on the base of the newest one.

        Older ones are in that base. Were they replayed, they would undo what is in it and does not count any more.
        """
        oldest = min(window[0].stamp.time - WINDOW, self._kept_from()) if window else 0
        return [one for one in window if one.stamp.time >= oldest]

    def _reach(self, listed: Sequence[_Listed]) -> float:
        """How far back a read goes: to where the last one ended, unless too much was missed since."""
        newest = listed[0].stamp.time
        if self._opened and len(listed) <= _MOST_MISSED:
            newest = min(newest, self._window[0].stamp.time) if self._window else 0
            return min(newest - WINDOW, self._kept_from())
        return newest - WINDOW

    async def _fetch(self, listed: Sequence[_Listed]) -> list[Operation]:
        known = {**self._fetched, **{operation.stamp.text: operation for operation in self._window}}
        lacking = [one for one in listed if one.stamp.text not in known]
        for start in range(0, len(lacking), _READS_AT_ONCE):
            await all_of(self._get(one) for one in lacking[start : start + _READS_AT_ONCE])
        known.update(self._fetched)
        return [known[one.stamp.text] for one in listed]

    async def _get(self, listed: _Listed) -> None:
        answer = await self._storage.get(listed.name, limit=MAX_OPERATION_BYTES)
        if not isinstance(answer, Found):
            raise _Vanished
        self._fetched[listed.stamp.text] = codec.decode(answer.body, listed.stamp, listed.name)

    # -- emitting -------------------------------------------------------------------------------------------

    def _take(self, window: list[Operation]) -> None:
        """Take over the current operations, newest first: those in the window of the newest one, perhaps preceded by
        older ones."""
        standing = self._standing(window)
        files = codec.resolve(standing)
        version = window[0].stamp.text if window else ""
        changed = [name for name in {**self._files, **files} if _version(self._files, name) != _version(files, name)]
        new = [operation for operation in reversed(window) if operation.stamp.text not in self._seen]
        on_top = not self._window or all(operation.stamp.text < self._window[0].stamp.text for operation in new)
        followed = self._is_followed_by(window)
        before, seen = self._state, self._seen
        self._fetched.clear()
        self._window = standing
        self._files = files
        self._seen = {operation.stamp.text: operation.stamp.time for operation in window}
        for text in seen.keys() - self._seen.keys():
            self._own_operations.pop(text, None)
            self._left_values.discard(text)
        after = replace(self._changed(before, {name: files.get(name) for name in changed}), version=version)
        if not self._opened:
            self.versions.on_next(Loaded(self._remember(after)))
            self._opened = True
            self._opened_at = self._clock.monotonic()
        elif new or changed:
            try:
                if followed:
                    self._tell(before, after, new, changed, one_by_one=on_top)
                else:
                    self._emit_loaded(after, new)
            except Corrupt:
                self._seen = seen
                raise

    def _tell(self, before: State, after: State, new: list[Operation], changed: list[str], *, one_by_one: bool) -> None:
        """Emit operations, oldest first: one by one if they follow the known ones, else all at once."""
        keys = self._keys(changed)
        if one_by_one:
            *earlier, last = [[one] for one in new] or [[]]
            for (operation,) in earlier:
                before = replace(self._changed(before, operation.update), version=operation.stamp.text)
                touched = self._keys(operation.update)
                keys |= touched
                self.versions.on_next(Replayed(self._remember(before), (self._version(operation),), touched))
            new = last
        for operation in new:
            keys |= self._keys(operation.update)
        self.versions.on_next(Replayed(self._remember(after), tuple(map(self._version, new)), keys))

    def _is_followed_by(self, window: Sequence[Operation]) -> bool:
        """Whether these operations follow the known ones without a gap."""
        if self._window:
            return self._window[0].stamp.text in {operation.stamp.text for operation in window}
        return not window or not window[-1].files

    def _emit_loaded(self, after: State, new: list[Operation]) -> None:
        """Emit the state as `Loaded`, since some versions before it were missed, and report own writes that it
        contains: versions are not told one by one after a state that has them."""
        self.versions.on_next(Loaded(self._remember(after)))
        own = [operation for operation in new if operation.stamp.text in self._own_operations]
        if own:
            self._tell_own(*own)

    def _tell_own(self, *operations: Operation) -> None:
        """Report own operations that the state contains already: only that their writes are committed is news."""
        self.versions.on_next(Replayed(self._state, tuple(map(self._version, operations)), frozenset(), told=True))

    def _remember(self, state: State) -> State:
        self._state = state
        return state

    def _keys(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(key for name in names if (key := self._home.key_of(name)) is not None)

    def _changed(self, state: State, update: Mapping[str, File | None]) -> State:
        patch: dict[str, Entry | None] = {}
        for name, file in update.items():
            key = self._home.key_of(name)
            if key is None:
                continue
            patch[key] = None if file is None else self._entry(key, file["version"])
        return replace(state, entries=state.entries.patched(patch))

    def _entry(self, key: str, version: str) -> Entry:
        """The entry for a value: complete for an own value, only the object's name for anyone else's."""
        own = self._own_entries.get((key, version))
        if own is not None:
            return own
        if self._versioning:
            return Entry(version, ContentObject(key, "", 0, version))
        return Entry(version, ContentObject(f"{key}@{version}", "", 0))

    def _version(self, operation: Operation) -> ManifestVersion:
        stamp = operation.stamp
        writes = self._own_operations.get(stamp.text)
        writer = self._writer if writes is not None else stamp.session
        if writes is None:
            update = {
                key: None if file is None else self._entry(key, file["version"])
                for name, file in operation.update.items()
                if (key := self._home.key_of(name)) is not None
            }
            writes = (Write(WriteId(stamp.session, stamp.number + 1), stamp.text, update),) if update else ()
        by = self._by if writer == self._writer else ""  # the format does not record it
        return ManifestVersion(stamp.text, writer, by, moment(stamp.time), writes)

    # -- writing ---------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Does nothing: the first operation creates the manifest."""
        await self.open()

    async def commit(self, writes: Sequence[Write]) -> None:
        await self.open()
        async with self._storing:
            await self._commit(writes)

    async def _commit(self, writes: Sequence[Write]) -> None:
        if self._attempt is not None:
            await self._resolve_attempt(self._attempt)
            return
        if await self._recover(writes):
            return
        update: dict[str, File | None] = {}
        for write in writes:
            for key, entry in write.update.items():
                name = self._home.file_of(key)
                update.pop(name, None)
                update[name] = None if entry is None else codec.file_of(self._version_of(key, entry))
        if self._versioning:
            gone = [key for name, file in update.items() if file is None and (key := self._home.key_of(name))]
            await all_of(self._storage.delete(key) for key in gone)
        began = self.date
        for _ in range(_TRIES):
            await self._refresh()
            if began is not None and self.date is not None and self.date - began > _SUSPENDED:
                return  # the values may have been collected meanwhile, so whoever called looks at their age again
            if await self._put(update, tuple(writes)):
                await self._touch()
                return
        raise Unavailable(
            "the dates of its answers do not agree with the times of its operations, or with this computer's clock",
            operation="commit",
            object=f"manifest {self._manifest!r}",
        )

    def _version_of(self, key: str, entry: Entry) -> str:
        """The version string by which an operation names a value; the entry is remembered under it."""
        content = entry.content
        if isinstance(content, Inline) or (self._versioning and content.version is None):
            raise RuntimeError(f"the value of key {key!r} was not uploaded before its commit")
        version = content.version or content.name.rpartition("@")[2]
        self._own_entries[(key, version)] = entry
        while len(self._own_entries) > _OWN_KNOWN:
            self._own_entries.popitem(last=False)
        return version

    async def _put(self, update: dict[str, File | None], writes: tuple[Write, ...]) -> bool:
        """Store one operation, newer than every known one; False if its timestamp is too far off to be valid."""
        if not await self._wait_out_clock_ahead():
            return False
        stamp = self._new_stamp()
        if stamp.time - self._read_at > BASE_AGE:
            return False  # this process was suspended since its last read
        self._has_written = True
        after = self.position
        operation = Operation(stamp, dict(self._files), update)
        self._own_operations[stamp.text] = writes
        name = f"{self._manifest}@{stamp.text}"
        began = self._clock.monotonic()
        body = codec.encode(operation.files, update)
        self._attempt = _Attempt(stamp, after)  # also if it is refused: that may be the answer to a PUT that was resent
        try:
            stored = await self._storage.put(name, body)
        except InvalidInput as error:
            await self._refresh()
            self._attempt = None
            if self._was_seen(stamp):
                return True
            del self._own_operations[stamp.text]
            raise EntryRefused(error, len(body)) from error
        self._attempt = None
        latency = self._clock.monotonic() - began
        if stored.date is None or abs(stamp.time - milliseconds(stored.date)) < LAG - MARGIN:
            if stored.date is not None:
                self._dated.heard(stored.date)
                self._server.heard(stored.date, self._clock.now(), latency)
            async with self._turning:
                if self._was_seen(stamp):
                    return True
                if self._window and stamp.time < self._window[0].stamp.time - WINDOW:
                    # this process was suspended: what it has read since rests on this operation, or on later ones
                    self._tell_own(operation)
                    del self._own_operations[stamp.text]
                    return True
                self._rests_on = self._window[0].stamp if self._window else None
                self._take(self._window_with(operation))
            return True
        self._dated.heard(stored.date)
        self._attempt = _Attempt(stamp, after)  # if one of these requests fails, the outcome is determined later
        await self._refresh()
        near = self._was_seen(stamp)  # enough after all
        if not near:
            self._server.set(stored.date, self._clock.now(), latency)
            await self._storage.delete(name)  # every client ignores it
            del self._own_operations[stamp.text]
        self._attempt = None
        return near

    def _was_seen(self, stamp: Stamp) -> bool:
        """Whether an own operation was seen, if only while it was in the window."""
        return stamp.text in self._seen or stamp.text not in self._own_operations

    def _window_with(self, operation: Operation) -> list[Operation]:
        """The window with this operation added."""
        return sorted([operation, *self._window], key=lambda one: one.stamp.text)

    def _new_stamp(self) -> Stamp:
        if self._count == OPERATIONS_PER_SESSION:
            known = self._session
            while self._session == known:
                self._session = new_session(self._clock)
            self._count = 0
        now = round(self._server.time(self._clock.now()))
        stamp = Stamp.of(max(now, self._newest + 1), self._session, self._count)
        self._count += 1
        return stamp

    async def _wait_out_clock_ahead(self) -> bool:
        """If the newest operation's clock is ahead, wait until a later operation would be valid.

        It was less than `LAG` ahead when it was stored: if it seems to be more, the date of the last answer is wrong,
        and this returns False.
        """
        if self._window and self.date is not None:
            ahead = self._newest + 1 - milliseconds(self.date) - (LAG - MARGIN)
            if ahead > LAG:
                await self._clock.sleep(1.0)  # the next one may be right again
                return False
            if ahead > 0:
                await self._clock.sleep(ahead / 1000)
        return True

    async def _touch(self) -> None:
        """Rewrite the manifest's own object for clients that poll it; the log itself does not depend on it."""
        try:
            await self._storage.put(self._manifest, b'""')
        except (Unavailable, InvalidInput):
            pass

    # -- operations that were stored twice -------------------------------------------------------------------

    def _note_uncounted(self) -> None:
        """Note whether somebody who looks for the first time now would miss operations that counted here."""
        counting = [operation for operation in self._window if operation.stamp.text not in self._uncounted]
        if not self._uncounted or _versions(codec.resolve(counting)) == _versions(self._files):
            self._uncounted, self._uncounted_since = {}, None
        elif self._uncounted_since is None:
            self._uncounted_since = self._clock.monotonic()

    async def _restore(self) -> None:
        """Write the state again if operations that counted here do not count any more.

        A network may deliver the PUT of an operation a second time, minutes later. The storage then forgets when it
        was stored first, so that whoever has not seen it before takes it for one that came too late. The new operation
        changes nothing itself: its base is the state, on which everybody replays what is being written meanwhile.

        The operation's own writer does this at once, and other clients that write a moment later if it does not.
        """
        if self._uncounted_since is None or not self._has_written or self._storing.locked():
            return
        if not any(text in self._own_operations for text in self._uncounted):
            since = self._clock.monotonic() - self._uncounted_since
            if since * 1000 < LAG * (1 + self._clock.rng.random()):
                return
        async with self._storing:
            if self._attempt is not None:
                return
            try:
                stored = await self._put({}, ())
            except (Unavailable, AccessDenied, EntryRefused):
                self._attempt = None  # whether it was stored or not makes no difference: the next look tells
                return
            if stored:
                await self._touch()

    # -- unknown outcomes -----------------------------------------------------------------------------------

    async def _resolve_attempt(self, attempt: _Attempt) -> None:
        """Determine the outcome of an operation whose answer was lost: it is seen while it is young, or is never valid.

        If this process was suspended so long that the operation may have been collected, search as after a restart.
        """
        stamp = attempt.stamp
        while True:
            await self._refresh()
            if self._was_seen(stamp):
                break
            now = milliseconds(self.date) if self.date is not None else self._server.time(self._clock.now())
            left = stamp.time + LAG + MARGIN - now
            if left > _NAMED_TOO_LATE and not self._dated.doubt and not await self._is_in_the_log(stamp):
                await self._storage.delete(f"{self._manifest}@{stamp.text}")  # every client ignores it
                del self._own_operations[stamp.text]
                break
            if left < 0:
                there = await self._is_in_the_log(stamp)
                if there:
                    self._tell_own(Operation(stamp, {}, {}))
                elif there is None:
                    for write in self._own_operations[stamp.text]:
                        self._recovery.suspect(write, attempt.after)
                del self._own_operations[stamp.text]
                break
            await self._clock.sleep(min(left / 1000 + 0.1, 1.0))
        self._attempt = None

    async def _is_in_the_log(self, stamp: Stamp) -> bool | None:
        """Whether an operation that may be older than the window is valid; None if no valid ones that old remain."""
        prefix = f"{self._manifest}@"
        cursor: str | None = None
        while True:
            page = await self._timed(self._storage.list(prefix, after=prefix + stamp.text[:-1], cursor=cursor))
            for one in page.objects:
                other = parse_stamp(one.name[len(prefix) :])
                valid = other is not None and codec.is_valid(other, stored_at(one))
                if valid or other == stamp:
                    return valid and other == stamp
            cursor = page.cursor
            if cursor is None:
                return None

    async def _recover(self, writes: Sequence[Write]) -> bool:
        """Determine and emit the outcome of writes of an earlier process; True if any was determined.

        Usually they are found at once, or were never sent. Otherwise that process's last attempt may still be in
        flight, so wait as long as it would be valid.
        """
        if not self._recovery.doubts(writes) or self._opened_at is None:
            return False
        lacking = self._recovery.lacking()
        began, found = await self._search(lacking)
        if not found:
            left = (2 * LAG + MARGIN) / 1000 - (began - self._opened_at)
            if left > 0:
                await self._clock.sleep(left)
                _, found = await self._search(lacking)
        if not found:
            lost = self._recovery.out_of_reach()
            self._recovery.known(lost or lacking)  # without those before them, later ones may be found
            for write in lost:
                self.versions.on_next(Refused(write.id, _unknown(write)))
            return bool(lost)
        for stamp, held in found:
            self._recovery.known(held)
            version = ManifestVersion(stamp.text, held[0].id.writer, "", moment(stamp.time), tuple(held))
            self.versions.on_next(Replayed(self._state, (version,), frozenset(), told=True))
        return True

    async def _search(self, lacking: Sequence[Write]) -> tuple[float, list[tuple[Stamp, list[Write]]]]:
        """When a search for these writes began, by the monotonic clock, and what it found: nothing stored since."""
        began = self._clock.monotonic()
        return began, await self._recovery.search(lacking)


def _unknown(write: Write) -> OutcomeUnknown:
    return OutcomeUnknown(
        "it was sent long ago, and the operations of that time have been collected: it is not sent again",
        operation="commit",
        object=f"write {write.id.version}",
        remedy="compare the keys' values and put them again if need be",
    )


def _versions(files: Files) -> dict[str, str]:
    return {name: file["version"] for name, file in files.items()}


def _version(files: Files, name: str) -> str | None:
    file = files.get(name)
    return None if file is None else file["version"]
