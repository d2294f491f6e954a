"""Reading the past of a database."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from rxmps3.database.past.past import Past
from rxmps3.database.past.reading import Reads, Recorded
from rxmps3.database.transaction import Transaction, Transactions
from rxmps3.errors import Corrupt, InvalidOption, InvalidValue, Unavailable, Unsupported
from rxmps3.log.archive import Archive, Logged, Point
from rxmps3.model import valuetext
from rxmps3.model.missing import MISSING
from rxmps3.model.sortedkeys import check_prefix
from rxmps3.model.state import Committed, Entry, EntryChange, ManifestVersion, View, fold, step
from rxmps3.replica import Replica
from rxmps3.runtime.gather import all_of
from rxmps3.storage.patient import patiently
from rxmps3.streams.events import Change

__all__ = ["Difference", "History", "KeyVersion", "When"]

When = str | int | datetime
"""A version id as a write gives it, the id of a log version, a tag, or an aware datetime."""

_WRITERS_VERSION = re.compile(r"[0-9a-v]{12}-[0-9]{1,18}")
"""Names that no tag may have."""
_VERSION = re.compile(r"[0-9A-Za-z]+-[0-9]{1,18}")
_LONGEST_TAG = 100
_TRIES = 5
_RESTORES = 10
_SEQ = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class KeyVersion:
    """One version of a key.

    Attributes:
        value: the value set; `MISSING` if it was deleted.
        version: the version id of the write.
        id: the id of the log version that committed it.
        by: the name of the committer, unverified; "" if no longer known.
        time: when it was committed, by the writer's clock, informative only; None if no longer known.
        date: when the log version was stored, by the storage's clock; None if no longer known.
    """

    value: Any
    version: str
    id: str
    by: str
    time: datetime | None
    date: datetime | None


class Difference(NamedTuple):
    """The values of one key at two versions; `MISSING` if there was none."""

    before: Any
    after: Any


class History:
    """The methods of one handle that read the past.

    Args:
        replica: the manifest.
        transactions: those of the handle.
    """

    def __init__(self, replica: Replica, transactions: Transactions) -> None:
        self._replica = replica
        self._transactions = transactions
        self._reads = Reads(replica)

    def close(self) -> None:
        """End the reads in progress. On the loop's thread."""
        self._reads.close()

    async def at(self, when: When) -> Past:
        """See `Database.at`."""
        archive = await self._ready("at")
        return Past(self._replica, archive, await self._point(archive, when))

    def history(self, key: str) -> Recorded[KeyVersion]:
        """See `Database.history`."""
        self._replica.placing.check_key(key)
        return Recorded(self._reads, f"history of {key!r}", lambda: self._history(key))

    async def diff(self, a: When | Past, b: When | Past) -> dict[str, Difference]:
        """See `Database.diff`."""
        before = a if isinstance(a, Past) else await self.at(a)
        after = b if isinstance(b, Past) else await self.at(b)
        keys = [
            key
            for key in sorted({*before.entries, *after.entries})
            if differ(before.entries.get(key), after.entries.get(key))
        ]
        old, new = await before.get_many(keys, MISSING), await after.get_many(keys, MISSING)
        return {key: Difference(old[key], new[key]) for key in keys}

    def replay(self, start: When, stop: When | None, speed: float | None) -> Recorded[tuple[Change, ...]]:
        """See `Database.replay`."""
        _check_speed(speed)
        return Recorded(self._reads, f"replay from {start!r}", lambda: self._replay(start, stop, speed))

    def logged(self, most: int) -> Recorded[ManifestVersion]:
        """The last versions of the log as they are stored, at most so many and as far as they are kept."""
        return Recorded(self._reads, "the log", lambda: self._logged(most))

    async def restore(self, when: When | Past, prefix: str) -> str:
        """See `Database.restore`."""
        self._replica.check_loaded_under((check_prefix(prefix),), "restore")
        await self._ready("restore")
        past = when if isinstance(when, Past) else await self.at(when)

        async def bring_back(transaction: Transaction) -> Transaction:
            there = transaction.entries(prefix)
            keys = sorted({*past.keys(prefix), *there})
            different = [key for key in keys if differ(past.entries.get(key), there.get(key))]
            transaction.put_all(await past.get_many(different, MISSING))
            return transaction

        try:
            return (await self._transactions.run(bring_back, _RESTORES, "restore")).version
        except InvalidValue as error:
            raise too_large(error, prefix) from error

    async def tag(self, name: str) -> str:
        """See `Database.tag`."""
        _check_tag(name)
        self._replica.check_loaded_under(("",), "tag")  # it makes a checkpoint
        archive = await self._ready("tag")
        for _ in range(_TRIES):
            await self._replica.look()
            if not self._end:
                raise InvalidOption("nothing has been written yet", operation="tag", object=f"{name!r}")
            known = (await archive.tags()).get(name)
            made = None if known is not None else await self._replica.collector.checkpoint()
            seq = self._end if made is None else int(made)
            if await archive.tag(name, seq):
                return str(seq)
        raise Unavailable(
            "other clients keep writing faster than it can be tagged", operation="tag", object=f"{name!r}"
        )

    async def untag(self, name: str) -> None:
        """See `Database.untag`."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption("the name of a tag is text", operation="untag", object=f"{name!r:.80}")
        await (await self._ready("untag")).untag(name)

    async def tags(self) -> dict[str, str]:
        """See `Database.tags`."""
        archive = await self._ready("tags")
        return {name: str(seq) for name, seq in (await archive.tags()).items()}

    # -- finding a version -------------------------------------------------------------------------------------

    async def _ready(self, operation: str) -> Archive:
        """The log's archive, after reading the log, since a state restored from disk does not suffice."""
        self._reads.check_open(operation)
        replica = self._replica
        if not replica.view.loaded or replica.from_cache:
            await replica.look()
        archive = replica.archive
        if archive is None:
            raise Unsupported(
                f"protocol {replica.protocol!r} keeps no past",
                operation=operation,
                object=self._name,
                remedy="the protocol 'sequenced' does",
            )
        if not replica.options.online:
            raise Unavailable("opened with online=False", operation=operation, object=self._name)
        return archive

    async def _point(self, archive: Archive, when: When) -> Point:
        if isinstance(when, datetime):
            if when.utcoffset() is None:
                raise InvalidOption(
                    f"{when.isoformat()} has no time zone",
                    operation="at",
                    object=self._name,
                    remedy="use an aware datetime, such as moment.astimezone()",
                )
            return await archive.point_at(when)
        if isinstance(when, str) and _WRITERS_VERSION.fullmatch(when):
            return await self._find(archive, when)
        if isinstance(when, str) and not _SEQ.fullmatch(when):
            tagged = await archive.point_of(when)
            if tagged is not None:
                return tagged
            if _VERSION.fullmatch(when):
                return await self._find(archive, when)
        return await archive.point(await self._seq(when))

    async def _number(self, archive: Archive, when: When) -> int:
        """The number of the log version alone."""
        if isinstance(when, int) or (isinstance(when, str) and _SEQ.fullmatch(when)):
            return await self._seq(when)
        return (await self._point(archive, when)).seq

    async def _seq(self, when: str | int) -> int:
        """The number of an existing log version. Reads the log if the number is beyond the last known one."""
        number = isinstance(when, int) and not isinstance(when, bool) and 0 <= when < 10**18
        if not number and not (isinstance(when, str) and _SEQ.fullmatch(when)):
            raise InvalidOption(
                f"{when!r:.80} is neither a version id, nor that of a log version, nor a tag, nor a datetime",
                operation="at",
                object=self._name,
            )
        seq = int(when)
        if seq > self._end:
            await self._replica.look()
        if seq > self._end:
            raise InvalidOption(
                f"there is no log version {seq} yet: the last one is {self._end}", operation="at", object=self._name
            )
        return seq

    @property
    def _name(self) -> str:
        return f"manifest {self._replica.manifest!r}"

    @property
    def _end(self) -> int:
        """The number of the last log version known here."""
        return int(self._replica.view.confirmed.version or 0)

    async def _find(self, archive: Archive, version: str) -> Point:
        writer, _, number = version.rpartition("-")
        mark = self._replica.view.confirmed.writers.get(writer)
        if mark is None or mark.number < int(number):
            await self._replica.look()
        point = await archive.find(version, self._end)
        if point is None:
            raise InvalidOption(
                f"version {version!r} is not in the log, as far as that is kept", operation="at", object=self._name
            )
        return point

    # -- reading ---------------------------------------------------------------------------------------------

    async def _history(self, key: str) -> AsyncGenerator[KeyVersion, None]:
        archive = await self._ready("history")
        await self._replica.look_if_stale()
        last = self._end
        point = await archive.point(None)
        if not last:
            return
        known = point.state.get(key)
        if known is not None:
            yield await self._key_version(archive, key, known, known.version, point, "")
        state = point.state
        async with aclosing(archive.since(point, last)) as entries:
            async for logged in entries:
                version = logged.version
                folded = state
                for write in version.writes:
                    counts = not folded.has_committed(write)
                    had = key in folded
                    folded = fold(folded, replace(version, writes=(write,), expired=()))
                    if counts and key in write.update and (had or key in folded):
                        entry = write.update[key]
                        by = version.by if write.by is None else write.by
                        yield await self._key_version(archive, key, entry, write.id.version, logged, by)
                state = fold(state, version)

    async def _key_version(
        self, archive: Archive, key: str, entry: Entry | None, version: str, place: Point | Logged, by: str
    ) -> KeyVersion:
        value = MISSING if entry is None else await self._value(archive, place.seq, key, entry)
        if isinstance(place, Point):  # of the checkpoint, not of the entry that wrote the key
            return KeyVersion(value, version, str(place.seq), "", None, None)
        return KeyVersion(value, version, str(place.seq), by, place.version.time, place.date)

    async def _value(self, archive: Archive, seq: int, key: str, entry: Entry) -> Any:
        """The value of an entry of the state after ``seq``; a failed download is retried a few times."""

        async def fetch() -> str:
            self._reads.check_open("get")
            return await self._replica.values.fetch(entry)

        try:
            text = await patiently(fetch, self._replica.clock, self._replica.backoff)
        except Corrupt:
            await archive.check_kept(seq)
            raise
        return valuetext.decode(text, f"key {key!r}")

    async def _logged(self, most: int) -> AsyncGenerator[ManifestVersion, None]:
        archive = await self._ready("log")
        last, oldest = self._end, await archive.point(None)
        if not last:
            return
        point = oldest if oldest.seq >= last - most else await archive.point(last - most)
        async with aclosing(archive.since(point, last)) as entries:
            async for logged in entries:
                yield logged.version

    async def _replay(
        self, start: When, stop: When | None, speed: float | None
    ) -> AsyncGenerator[tuple[Change, ...], None]:
        archive = await self._ready("replay")
        clock = self._replica.clock
        point = await self._point(archive, start)
        if stop is None:
            await self._replica.look()
            last = self._end
        else:
            last = await self._number(archive, stop)
        if last < point.seq:
            raise InvalidOption(
                f"it would stop at {last}, before its start at {point.seq}", operation="replay", object=self._name
            )
        if not last:
            return
        view = View(point.state, loaded=True)
        first, began = point.date, clock.monotonic()
        async with aclosing(archive.since(point, last)) as entries:
            async for logged in entries:
                moved = step(view, Committed(logged.version))
                view = moved.view
                changes = [change for change in moved.changes if change.changed]
                shown = await all_of(self._change(archive, logged, change) for change in changes)
                if speed is not None and logged.date is not None:
                    first = first or logged.date
                    due = began + (logged.date - first).total_seconds() / speed
                    if (wait := due - clock.monotonic()) > 0:
                        await self._reads.pause(wait)
                yield tuple(shown)

    async def _change(self, archive: Archive, logged: Logged, change: EntryChange) -> Change:
        key, after = change.key, change.after
        old = MISSING if change.before is None else await self._value(archive, logged.seq - 1, key, change.before)
        new = MISSING if after is None else await self._value(archive, logged.seq, key, after)
        return Change(key, old, new, change.by, "" if after is None else after.version, False, "remote")


def _check_speed(speed: object) -> None:
    """Raise `InvalidOption` unless ``speed`` is valid."""
    if speed is not None and not (isinstance(speed, int | float) and 0 < speed <= sys.float_info.max):
        raise InvalidOption(f"speed is a positive number or None, not {speed!r:.80}", operation="replay")


def _check_tag(name: object) -> None:
    """Raise `InvalidOption` unless this is a valid tag name."""
    what = f"{name!r:.100}"
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_TAG or not name.isprintable():
        raise InvalidOption(f"a tag is printable text of 1 to {_LONGEST_TAG} characters", operation="tag", object=what)
    try:
        datetime.fromisoformat(name)
        is_time = True
    except ValueError:
        is_time = False
    if is_time or _SEQ.fullmatch(name) or _WRITERS_VERSION.fullmatch(name):
        raise InvalidOption("it reads like a version or a time", operation="tag", object=what)


def changed_keys(before: Past, after: Past, prefix: str = "") -> list[str]:
    """The keys under a prefix whose JSON texts differ, in order. O(changes · log n) for states of one log."""
    old, new = before.point.state.entries, after.point.state.entries
    return [
        key for key in old.cells.differing(new.cells) if key.startswith(prefix) and differ(old.get(key), new.get(key))
    ]


def differ(one: Entry | None, other: Entry | None) -> bool:
    """Whether two entries have different JSON texts."""
    return (one is not other) if one is None or other is None else not one.same_value(other)


def too_large(error: InvalidValue, prefix: str) -> InvalidValue:
    """The error for a restore that does not fit into one atomic write."""
    return InvalidValue(
        f"what differs does not fit one atomic write ({error.what})",
        operation="restore",
        object=f"prefix {prefix!r}",
        remedy="restore by longer prefixes",
    )
