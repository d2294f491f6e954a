"""The mps3 log: operations named by time, replayed on the base state in the newest operation.

It only needs a storage whose listings show what was stored, so it guarantees less than the other logs: operations
stored at the same time are ordered by their names, an operation may appear before known ones, and it is certain to be
seen only while it is young. ``docs/protocol-mps3.md`` has the argument.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reactivex import Subject

from rxmps3.errors import AccessDenied, Error, Gone, InvalidInput, OutcomeUnknown, Replaced, Unavailable
from rxmps3.log.mps3 import operation as codec
from rxmps3.log.mps3.checks import Checks
from rxmps3.log.mps3.known import Known
from rxmps3.log.mps3.listing import Listing, Vanished
from rxmps3.log.mps3.names import OPERATIONS_PER_SESSION, Stamp, namespace_of, new_session
from rxmps3.log.mps3.operation import LAG, WINDOW, File, Operation
from rxmps3.log.mps3.recovering import Recovery
from rxmps3.log.mps3.ticking import milliseconds, moment
from rxmps3.log.protocol import Context, EntryRefused, LogEvent, ResumePoint
from rxmps3.log.server_clock import ServerDate
from rxmps3.model.state import ManifestVersion, Refused, Replayed, Write
from rxmps3.runtime.gather import all_of

__all__ = ["Mps3Log"]

MARGIN = 1500
"""Milliseconds by which an operation's time has to be nearer to the ``Date`` of its answer than `LAG`: both that and
the stored time are cut to whole seconds."""
BASE_AGE = WINDOW - LAG - 1000
"""Milliseconds from the read that gave an operation its base to the operation's own time, at most: then what was
stored after that read, and so is not in the base, is within the window of the operation."""
_SUSPENDED = timedelta(hours=6)
"""A commit that has made no progress for this long is given up. Uploads are trusted for as long (`TRUST_UPLOADS_FOR`),
and both together are less than the age of the youngest value that is collected (`VALUE_AGE`)."""
_NAMED_TOO_LATE = 600_000
"""Milliseconds: an operation whose time is this far ahead, since an answer was dated wrong, does not count, and no
network delivers it once more when it would."""
_TRIES = 8


@dataclass(frozen=True)
class _Attempt:
    """An operation whose outcome is unknown, and the log's position before it."""

    stamp: Stamp
    after: str


class Mps3Log:
    """One manifest in the mps3 format, as one client follows and extends it. See `rxmps3.log.protocol.Log`."""

    def __init__(self, context: Context) -> None:
        self.versions: Subject[LogEvent] = Subject()
        home = namespace_of(context.storage.url)
        self._known = Known(
            self.versions,
            context.manifest,
            home,
            writer=context.writer,
            by=context.by,
            versioning=context.versioning,
        )
        self._listing = Listing(context.storage, context.manifest, context.clock, self._known)
        self._checks = Checks(context.storage, context.manifest, self._known)
        self._storage = context.storage
        self._manifest = context.manifest
        self._clock = context.clock
        self._versioning = context.versioning
        self._session = new_session(self._clock)
        self._count = 0
        self._read_at = 0.0  # the server's time when the listing behind the current state began, in milliseconds
        self._attempt: _Attempt | None = None
        self._recovery = Recovery(self._storage, self._manifest, home, versioning=self._versioning)
        self._opened_at: float | None = None
        self._turning = asyncio.Lock()
        self._uncounted_since: float | None = None
        self._has_written = False
        self._storing = asyncio.Lock()

    # -- what is known ---------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return bool(self._known.window)

    @property
    def position(self) -> str:
        return self._known.state.version

    @property
    def reached(self) -> tuple[str, int]:
        return self.position, len(self._listing.fetched)

    @property
    def place(self) -> ResumePoint | None:
        return ResumePoint("mps3", self.position) if self._known.opened else None

    @property
    def date(self) -> datetime | None:
        return self._listing.dated.last

    @property
    def dated(self) -> ServerDate:
        """What is known of the server's time."""
        return self._listing.dated

    @property
    def upkeep_is_due(self) -> bool:
        return False  # the bucket is shared with clients that never collect, so compact only on request

    def resume(self, place: ResumePoint) -> None:
        """Does nothing: each operation holds the whole state."""

    def suspect(self, write: Write, after: str) -> None:
        """See `rxmps3.log.protocol.Kit`."""
        self._recovery.suspect(write, after)

    # -- reading ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        if not self._known.opened:
            await self._refresh()

    async def read(self) -> None:
        await self._refresh()
        await self._restore()

    def is_confirmed(self, position: str) -> bool:
        return True  # each listing shows it

    async def confirm(self) -> None:
        await self.read()

    async def ensure_dated(self) -> None:
        if self._listing.dated.is_old:
            await self.server_time()

    async def server_time(self) -> datetime:
        await self._listing.timed(self._storage.list(f"{self._manifest}@", limit=1))
        return self.date or self._clock.now()

    async def _refresh(self) -> None:
        """List the operations, fetch the new ones and emit them.

        That the manifest is another one is believed if a second look says the same: what the first one has listed may
        have been collected before it was asked for, and an answer may be wrong.
        """
        doubt: Error | None = None
        async with self._turning:
            for _ in range(_TRIES):
                uncounted = self._known.uncounted
                listed = await self._listing.list()
                try:
                    window = await self._listing.fetch(listed)
                    await self._checks.check(listed, self._listing.names, window)
                except Vanished:
                    self._dismiss(uncounted)
                    continue
                except (Gone, Replaced) as error:
                    if doubt is not None and doubt.what == error.what:
                        raise
                    doubt = error
                    self._dismiss(uncounted)
                    continue
                self._take(window)
                self._read_at = self._listing.listed_at
                self._note_uncounted()
                return
        raise Unavailable(
            "its operations disappear between being listed and being read",
            operation="read",
            object=f"manifest {self._manifest!r}",
        )

    def _take(self, window: Sequence[Operation]) -> None:
        self._listing.fetched.clear()
        self._known.take(window)
        if self._opened_at is None:
            self._opened_at = self._clock.monotonic()

    def _dismiss(self, uncounted: dict[str, int]) -> None:
        """A listing that is not taken over may have begun long ago: it does not tell which operations count."""
        self._known.uncounted = uncounted

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
        update = self._known.update_of(writes)
        if self._versioning:
            await all_of(self._storage.delete(key) for key in self._known.deleted_by(update))
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

    async def _put(self, update: dict[str, File | None], writes: tuple[Write, ...]) -> bool:
        """Store one operation, newer than every known one; False if its timestamp is too far off to be valid."""
        if not await self._wait_out_clock_ahead():
            return False
        stamp = self._new_stamp()
        if stamp.time - self._read_at > BASE_AGE:
            return False  # this process was suspended since its last read
        self._has_written = True
        after = self.position
        operation = Operation(stamp, dict(self._known.files), update)
        self._known.own_operations[stamp.text] = writes
        name = f"{self._manifest}@{stamp.text}"
        began = self._clock.monotonic()
        body = codec.encode(operation.files, update)
        self._attempt = _Attempt(stamp, after)  # also if it is refused: that may be the answer to a PUT that was resent
        try:
            stored = await self._storage.put(name, body)
        except InvalidInput as error:
            await self._refresh()
            self._attempt = None
            if self._known.was_seen(stamp):
                return True
            del self._known.own_operations[stamp.text]
            raise EntryRefused(error, len(body)) from error
        self._attempt = None
        latency = self._clock.monotonic() - began
        if stored.date is None or abs(stamp.time - milliseconds(stored.date)) < LAG - MARGIN:
            if stored.date is not None:
                self._listing.dated.heard(stored.date)
                self._listing.server.heard(stored.date, self._clock.now(), latency)
            async with self._turning:
                if self._known.was_seen(stamp):
                    return True
                if stamp.time < self._known.newest_time - WINDOW:
                    # this process was suspended: what it has read since rests on this operation, or on later ones
                    self._known.tell_own(operation)
                    del self._known.own_operations[stamp.text]
                    return True
                self._checks.rests_on = self._known.newest
                self._take(self._known.with_own(operation))
            return True
        self._listing.dated.heard(stored.date)
        self._attempt = _Attempt(stamp, after)  # if one of these requests fails, the outcome is determined later
        await self._refresh()
        near = self._known.was_seen(stamp)  # enough after all
        if not near:
            self._listing.server.set(stored.date, self._clock.now(), latency)
            await self._storage.delete(name)  # every client ignores it
            del self._known.own_operations[stamp.text]
        self._attempt = None
        return near

    def _new_stamp(self) -> Stamp:
        if self._count == OPERATIONS_PER_SESSION:
            known = self._session
            while self._session == known:
                self._session = new_session(self._clock)
            self._count = 0
        now = round(self._listing.now())
        stamp = Stamp.of(max(now, self._known.newest_time + 1), self._session, self._count)
        self._count += 1
        return stamp

    async def _wait_out_clock_ahead(self) -> bool:
        """If the newest operation's clock is ahead, wait until a later operation would be valid.

        It was less than `LAG` ahead when it was stored: if it seems to be more, the date of the last answer is wrong,
        and this returns False.
        """
        if self._known.window and self.date is not None:
            ahead = self._known.newest_time + 1 - milliseconds(self.date) - (LAG - MARGIN)
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
        if not self._known.lacks_for_others():
            self._uncounted_since = None
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
        if not any(text in self._known.own_operations for text in self._known.uncounted):
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
            if self._known.was_seen(stamp):
                break
            now = milliseconds(self.date) if self.date is not None else self._listing.now()
            left = stamp.time + LAG + MARGIN - now
            if left > _NAMED_TOO_LATE and not self._listing.dated.doubt and not await self._listing.holds(stamp):
                await self._storage.delete(f"{self._manifest}@{stamp.text}")  # every client ignores it
                del self._known.own_operations[stamp.text]
                break
            if left < 0:
                there = await self._listing.holds(stamp)
                if there:
                    self._known.tell_own(Operation(stamp, {}, {}))
                elif there is None:
                    for write in self._known.own_operations[stamp.text]:
                        self._recovery.suspect(write, attempt.after)
                del self._known.own_operations[stamp.text]
                break
            await self._clock.sleep(min(left / 1000 + 0.1, 1.0))
        self._attempt = None

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
            self.versions.on_next(Replayed(self._known.state, (version,), frozenset(), told=True))
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
