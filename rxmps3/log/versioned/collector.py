"""Keeping a versioned manifest small: checkpoints, and deletion by version id.

Everything deleted lies below the *pivot*: the newest checkpoint that a settled version names and whose version is older
than the retention and than anything that could still appear or be in flight. The steps, in this order; each may be
interrupted at any point and continued by any client:

1. values named by a version below the pivot or by an older checkpoint, but not by the pivot or anything above it;
2. the versions of the manifest below the pivot's, oldest first, so that the rest has no gaps: a client whose base is
   still listed misses nothing above it;
3. the older checkpoints.

Before any of it, the storage's clock is checked (`certain_time`), and a second listing has to show what the first one
has shown.

Only values named by this manifest's own log are deleted, since other manifests and other programs may use the same
object names; a version id belongs to one put, hence to one log. The cost: an upload that was never committed is kept,
because it cannot be told from another manifest's value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rxmps3.errors import Corrupt, Unavailable
from rxmps3.log.protocol import Context, Progress, Report
from rxmps3.log.server_clock import GRACE, certain_time
from rxmps3.log.versioned.body import Body, Named
from rxmps3.log.versioned.checkpoints import load_base, store_base
from rxmps3.log.versioned.log import VersionedLog
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.log.versioned.reading import SETTLED_AFTER, Listing, VersionGone, fetch_bodies, list_versions
from rxmps3.model.names import escape
from rxmps3.model.state import ContentObject, Entry, State
from rxmps3.model.writing import contents_of
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import ListedVersion, versions_of
from rxmps3.storage.patient import PatientStorage

__all__ = ["VersionedCollector"]

WRITER_SILENCE = timedelta(days=30)
"""The number of a writer that has been silent for this long is forgotten."""
_DELETES_AT_ONCE = 16


class VersionedCollector:
    """Compacts one versioned manifest that is open here. See `rxmps3.log.protocol.Collector`.

    Args:
        context: where it is, and its retention.
        names: its object names.
        log: the client's own log, open.
    """

    def __init__(self, context: Context, names: VersionedNames, log: VersionedLog) -> None:
        self._storage = PatientStorage(context.storage, context.clock)
        self._state = context.state
        self._clock = context.clock
        self._retention = context.retention
        self._names = names
        self._log = log
        self._witness = ""

    async def checkpoint(self) -> str | None:
        base, known = self._log.base, self._log.checkpoint
        if not base.count or (known is not None and known.ref.seq >= base.count):
            return None
        await self._certain_time()  # what is settled is judged by it, and everybody is going to rest on this
        named = await store_base(self._storage, self._names, base, self._clock)
        self._log.name_checkpoint(named)
        return named.version

    async def collect(self, *, dry_run: bool = False, progress: Progress | None = None) -> Report:
        tell = progress or _ignore_progress
        report = Report()
        await self._log.read()
        if not self._log.exists:
            return report
        await self._log.list_again()
        listing = await list_versions(self._storage, self._names)
        ids = listing.ids
        tell("versions read", 0, len(ids))
        try:
            bodies = await fetch_bodies(self._storage, self._names, ids)
        except VersionGone as gone:
            raise Unavailable(
                "compacted by another client meanwhile", object=f"manifest {self._names.object!r}, version {gone.id!r}"
            ) from None
        tell("versions read", len(ids), len(ids))
        pivot = await self._pivot(listing, [bodies[id] for id in ids])
        if not dry_run and not self._log.dated.is_borne_out(listing.date):
            await self._certain_time()
        if pivot is not None and not dry_run:
            listing = await self._certain(listing)
            pivot = await self._pivot(listing, [bodies[id] for id in ids])
        if pivot is not None:
            await self._collect_below(pivot, listing, bodies, report, dry_run, tell)
        await self._expire_writers(report, listing.date, dry_run)
        return report

    async def _certain(self, listing: Listing) -> Listing:
        """A listing with a checked date, and the times of those versions that a second listing shows alike."""
        now = await self._certain_time()
        again = (await list_versions(self._storage, self._names)).modified
        lines = [
            line if again.get(line.version) == line.modified else replace(line, modified=None) for line in listing.lines
        ]
        return replace(listing, lines=lines, date=min(now, listing.date))

    async def _certain_time(self) -> datetime:
        self._witness = self._witness or self._names.witness(self._clock.new_id())
        return await certain_time(self._storage, self._witness, self._log.dated, self._names.manifest)

    async def _pivot(self, listing: Listing, bodies: Sequence[Body]) -> tuple[Named, State] | None:
        """The newest checkpoint below which everything may be deleted, and its state."""
        modified = listing.modified
        settled = [body for body in bodies if _age(modified, body.id, listing.date) >= SETTLED_AFTER]
        named = {body.checkpoint.ref.name: body.checkpoint for body in settled if body.checkpoint is not None}
        for one in sorted(named.values(), key=lambda one: one.ref.seq, reverse=True):
            if _age(modified, one.version, listing.date) >= self._retention + SETTLED_AFTER + GRACE:
                base = await load_base(self._storage, self._names, one)
                if base is not None:
                    return one, base.state
        return None

    async def _collect_below(
        self,
        pivot: tuple[Named, State],
        listing: Listing,
        bodies: dict[str, Body],
        report: Report,
        dry_run: bool,
        tell: Progress,
    ) -> None:
        named, state = pivot
        ids = listing.ids
        at = ids.index(named.version)
        below, above = ids[:at], ids[at:]
        older = await self._older_checkpoints(named)
        once = _named_by(bodies[id] for id in below)
        for name in sorted({one.name for one in older}):
            once |= await self._named_in(name, bodies.values())
        live = _named_by(bodies[id] for id in above) | _named_in(state) | _named_in(self._state())
        doomed = sorted(once - live, key=lambda content: (content.name, content.version or ""))
        if doomed and not live and _named_in(self._state()):
            raise Corrupt(
                "no value appears to be in use, although the state names some",
                object=f"manifest {self._names.object!r}",
                remedy="nothing was deleted",
            )
        tell("values kept", len(once) - len(doomed), len(once))
        await self._delete_values(doomed, report, dry_run, tell)
        sizes = {line.version: line.size for line in listing.lines}
        for done, id in enumerate(below, start=1):
            if not dry_run:
                await self._storage.delete(self._names.object, version=id)
            report.entries += 1
            report.bytes += sizes[id]
            tell("entries", done, len(below))
        gone = [one for one in older if _is_older(one, listing.date, GRACE)]
        for one in gone:
            if not dry_run:
                await self._storage.delete(one.name, version=one.version)
            report.checkpoints += 1
            report.bytes += one.size

    async def _older_checkpoints(self, pivot: Named) -> list[ListedVersion]:
        """The versions of all checkpoint objects that cover fewer versions than the pivot's."""
        older: list[ListedVersion] = []
        cursor: str | None = None
        while True:
            page = await versions_of(self._storage).list_versions(self._names.checkpoints, cursor=cursor)
            for one in page.versions:
                count = self._names.count_of(one.name)
                if count is not None and count < pivot.ref.seq:
                    older.append(one)
            if page.cursor is None:
                return older
            cursor = page.cursor

    async def _named_in(self, checkpoint: str, bodies: Iterable[Body]) -> set[ContentObject]:
        """The values named by an older checkpoint, if some version names that checkpoint."""
        for body in bodies:
            if body.checkpoint is not None and body.checkpoint.ref.name == checkpoint:
                base = await load_base(self._storage, self._names, body.checkpoint)
                return set() if base is None else _named_in(base.state)
        return set()

    async def _delete_values(
        self, doomed: Sequence[ContentObject], report: Report, dry_run: bool, tell: Progress
    ) -> None:
        for start in range(0, len(doomed), _DELETES_AT_ONCE):
            batch = doomed[start : start + _DELETES_AT_ONCE]
            if not dry_run:
                await all_of(self._storage.delete(one.name, version=one.version) for one in batch)
            report.values += len(batch)
            report.bytes += sum(one.size for one in batch)
            tell("values", start + len(batch), len(doomed))
        if not dry_run:
            present = {escape(key) for key in self._state()}
            bare = sorted({one.name for one in doomed} - present)
            for start in range(0, len(bare), _DELETES_AT_ONCE):
                await all_of(map(self._tidy, bare[start : start + _DELETES_AT_ONCE]))

    async def _tidy(self, name: str) -> None:
        """Remove the delete markers of an object that has no other versions left."""
        page = await versions_of(self._storage).list_versions(name)
        versions = [one for one in page.versions if one.name == name]
        if versions and page.cursor is None and all(one.is_delete_marker for one in versions):
            for one in versions:
                await self._storage.delete(name, version=one.version)

    async def _expire_writers(self, report: Report, now: datetime, dry_run: bool) -> None:
        """Forget the numbers of long inactive writers, by appending an ordinary version."""
        silent = self._silent(now)
        if silent and not dry_run:
            silent = self._silent(await self._certain_time())
        if not silent:
            return
        report.expired = tuple(sorted(silent))
        if not dry_run:
            await self._log.commit_expiry(report.expired)

    def _silent(self, now: datetime) -> list[str]:
        return [
            writer
            for writer, mark in self._state().writers.items()
            if mark.date is not None and now - mark.date > WRITER_SILENCE
        ]


def _ignore_progress(what: str, done: int, total: int) -> None:
    pass


def _age(modified: dict[str, datetime], id: str, now: datetime) -> timedelta:
    """The age of a version by the storage's clock; negative if unknown."""
    return now - modified[id] if id in modified else timedelta(-1)


def _is_older(one: ListedVersion, now: datetime, age: timedelta) -> bool:
    return one.modified is not None and now - one.modified >= age


def _contents(entries: Iterable[Entry]) -> set[ContentObject]:
    return {entry.content for entry in entries if isinstance(entry.content, ContentObject)}


def _named_in(state: State) -> set[ContentObject]:
    return _contents(state.entries.values())


def _named_by(bodies: Iterable[Body]) -> set[ContentObject]:
    return {content for body in bodies for write in body.version.writes for content in contents_of(write)}
