"""Garbage collection for the mps3 format. The JavaScript client deletes nothing.

* Operations of this manifest that are older than the retention and outside the window of the newest one.
* In the layout without versions, values older than a day that no remaining operation of any manifest of the bucket
  names. Values are shared between manifests, so all manifests are read. An object counts as a value only if its name
  ends in a UUID. Values are listed before operations, so that a value stored meanwhile is not deleted.

Before anything is deleted the storage's clock is checked (`certain_time`), and a second listing has to show what the
first one has shown.

In the layout with versions a value cannot be told from any other object, so values are not deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from rxmps3.errors import Corrupt
from rxmps3.log.mps3 import operation as codec
from rxmps3.log.mps3.log import Mps3Log
from rxmps3.log.mps3.names import is_content_name, manifest_of, namespace_of, parse_stamp
from rxmps3.log.mps3.operation import MAX_OPERATION_BYTES, WINDOW
from rxmps3.log.protocol import Context, Progress, Report
from rxmps3.log.server_clock import certain_time
from rxmps3.model.names import probe as probe_name
from rxmps3.runtime.gather import together
from rxmps3.storage.base import Found, Listed, list_all
from rxmps3.storage.patient import PatientStorage

__all__ = ["Mps3Collector"]

VALUE_AGE = timedelta(days=1)
"""No value younger than this is deleted."""
_READS_AT_ONCE = 16


class Mps3Collector:
    """See `rxmps3.log.protocol.Collector`."""

    def __init__(self, context: Context, log: Mps3Log) -> None:
        self._storage = PatientStorage(context.storage, context.clock)
        self._clock = context.clock
        self._manifest = context.manifest
        self._home = namespace_of(context.storage.url)
        self._retention = context.retention
        self._versioning = context.versioning
        self._log = log
        self._witness = ""

    async def checkpoint(self) -> None:
        """None: this format has no checkpoints, since each operation holds the whole state."""

    async def collect(self, *, dry_run: bool = False, progress: Progress | None = None) -> Report:
        report = Report()
        await self._log.read()
        now = await self._log.server_time()
        everything = await list_all(self._storage, "") if not self._versioning else []
        values = [one for one in everything if is_content_name(one.name) and _age(one, now) >= VALUE_AGE]
        operations = await list_all(self._storage, f"{self._manifest}@")
        if not dry_run and (values or self._expired(operations, now)):
            self._witness = self._witness or probe_name(f"clock-{self._clock.new_id()}")
            now = await certain_time(self._storage, self._witness, self._log.dated, self._manifest)
            values = [one for one in values if _age(one, now) >= VALUE_AGE]
        if values:
            live = await self._named()
            unused = [one for one in values if one.name not in live]
            await self._delete(await self._still(unused, ""), "values", report, dry_run, progress)
        expired = await self._still(self._expired(operations, now), f"{self._manifest}@")
        await self._delete(expired, "entries", report, dry_run, progress)
        return report

    async def _still(self, doomed: Sequence[Listed], prefix: str) -> list[Listed]:
        """Those that a second listing shows alike: one wrong answer is not to delete anything."""
        again = {(one.name, one.modified) for one in await list_all(self._storage, prefix)} if doomed else set[Any]()
        return [one for one in doomed if (one.name, one.modified) in again]

    def _expired(self, operations: Sequence[Listed], now: datetime) -> list[Listed]:
        """Operations that nobody replays or reads back any more; oldest first, so that deletion leaves no gap."""
        stamps = [(stamp, one) for one in operations if (stamp := parse_stamp(self._stamp_of(one.name))) is not None]
        newest = max((stamp.time for stamp, one in stamps if codec.is_valid(stamp, _stored(one))), default=None)
        if newest is None:
            return []
        aged = [one for stamp, one in stamps if stamp.time < newest - WINDOW and _age(one, now) >= self._retention]
        return sorted(aged, key=lambda one: one.name, reverse=True)

    def _stamp_of(self, name: str) -> str:
        return name[len(self._manifest) + 1 :]

    async def _named(self) -> set[str]:
        """The values that any operation of any manifest names, valid or not."""
        names = [one.name for one in await list_all(self._storage, "") if manifest_of(one.name) is not None]
        live: set[str] = set()
        for start in range(0, len(names), _READS_AT_ONCE):
            for part in await together(self._named_by(name) for name in names[start : start + _READS_AT_ONCE]):
                live |= part
        return live

    async def _named_by(self, name: str) -> set[str]:
        stamp = parse_stamp(name.rpartition("@")[2])
        answer = await self._storage.get(name, limit=MAX_OPERATION_BYTES)
        if stamp is None or not isinstance(answer, Found):
            raise Corrupt("changed while it was being read", object=f"operation {name!r}", remedy="nothing was deleted")
        operation = codec.decode(answer.body, stamp, name)
        return {
            f"{key}@{file['version']}"
            for files in (operation.files, operation.update)
            for path, file in files.items()
            if file is not None and (key := self._home.key_of(path)) is not None
        }

    async def _delete(
        self, doomed: Sequence[Listed], what: str, report: Report, dry_run: bool, progress: Progress | None
    ) -> None:
        for done, one in enumerate(doomed):
            if not dry_run:
                await self._storage.delete(one.name)
            report.bytes += one.size
            if progress is not None:
                progress(what, done + 1, len(doomed))
        setattr(report, what, getattr(report, what) + len(doomed))


def _age(one: Listed, now: datetime) -> timedelta:
    return now - one.modified if one.modified is not None else timedelta(0)


def _stored(one: Listed) -> float | None:
    return None if one.modified is None else one.modified.timestamp() * 1000
