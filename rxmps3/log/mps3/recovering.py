"""Find the operations that hold the writes of a dead process. The format does not record who wrote what.

In the layout without versions, a value's name identifies its write. A deletion, and a value in the layout with
versions, is identified by its effect: if an operation that the dead process had not seen when it sent the write has the
same effect, the write need not be sent again.

Operations of that time may have been collected. The base of a remaining one may still show the write (of the oldest, or
of a later one, if who stored the oldest did not know of it yet); if none does, the outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile

from rxmps3.errors import Corrupt, Unavailable
from rxmps3.log.mps3 import operation as codec
from rxmps3.log.mps3.names import Namespace, Stamp, parse_stamp
from rxmps3.log.mps3.operation import MAX_OPERATION_BYTES, File, Operation
from rxmps3.log.mps3.ticking import milliseconds
from rxmps3.model import jsontext
from rxmps3.model.state import Entry, Inline, Write, WriteId
from rxmps3.runtime.gather import together
from rxmps3.storage.base import Found, Listed, Storage

__all__ = ["Recovery", "held", "stored_at"]

_READS_AT_ONCE = 16
_MOST = 5_000
"""How many operations are looked at, at most."""
_TRIES = 8
_BEGINNING = -1
"""Before every operation."""

Update = Mapping[str, File | None]
Word = tuple[WriteId, str]
"""What one write says of one key."""


class _Collected(Exception):
    """A listed operation is gone."""


class Recovery:
    """Writes, mostly of earlier processes, that may or may not be in the log.

    Args:
        storage: where the manifest is.
        manifest: its name.
        home: the namespace of its keys.
        versioning: values are versions of one object per key.
    """

    def __init__(self, storage: Storage, manifest: str, home: Namespace, *, versioning: bool) -> None:
        self._storage = storage
        self._manifest = manifest
        self._prefix = f"{manifest}@"
        self._home = home
        self._versioning = versioning
        self._suspects: dict[WriteId, Write] = {}
        self._sent_after: dict[WriteId, int] = {}
        self._operations: dict[str, Operation] = {}
        self._reach = _BEGINNING

    def suspect(self, write: Write, after: str) -> None:
        """Add a write that may be in the log, in an operation newer than this one; "" if that is unknown."""
        known = parse_stamp(after)
        self._suspects[write.id] = write
        self._sent_after[write.id] = known.time if known is not None else _BEGINNING

    def doubts(self, writes: Sequence[Write]) -> bool:
        """Whether the outcome of any of these is unknown."""
        return any(write.id in self._suspects for write in writes)

    def lacking(self) -> list[Write]:
        """All writes of unknown outcome, oldest first. An operation that holds several shows only the last value per
        key."""
        return list(self._suspects.values())

    def known(self, writes: Sequence[Write]) -> None:
        """The outcome of these is known now."""
        for write in writes:
            del self._suspects[write.id], self._sent_after[write.id]
        if not self._suspects:
            self._operations.clear()

    def out_of_reach(self) -> list[Write]:
        """Writes sent so long ago that, as of the last search, the operations of that time have been collected."""
        return [write for write in self._suspects.values() if self._sent_after[write.id] < self._reach]

    async def search(self, lacking: Sequence[Write]) -> list[tuple[Stamp, list[Write]]]:
        """The operations that hold some of these writes, oldest first, each with the writes it holds.

        Raises:
            Unavailable: operations are collected faster than they can be read; and as `Storage.get`.
        """
        for _ in range(_TRIES):
            try:
                return await self._search(lacking)
            except _Collected:
                continue
        raise Unavailable(
            "its operations are collected before they can be read",
            operation="read",
            object=f"manifest {self._manifest!r}",
        )

    async def _search(self, lacking: Sequence[Write]) -> list[tuple[Stamp, list[Write]]]:
        """Raises `_Collected` if an operation has gone since it was listed: it may have held one of them."""
        queues: dict[str, list[Write]] = {}
        for write in lacking:
            queues.setdefault(write.id.writer, []).append(write)
        stamps = await self._stamps_after(min(self._sent_after[write.id] for write in lacking))
        found: list[tuple[Stamp, list[Write]]] = []

        async def look(stamp: Stamp, update: Update) -> None:
            nonlocal queues
            writes = await self._held(queues, stamp, update)
            if writes:
                found.append((stamp, writes))
                gone = {write.id for write in writes}
                queues = {by: [one for one in queue if one.id not in gone] for by, queue in queues.items()}

        if self._reach != _BEGINNING:
            oldest = await self._operation(stamps[0])
            if oldest.update and not oldest.files:
                self._reach = _BEGINNING  # it was the first
        for start in range(0, len(stamps), _READS_AT_ONCE):
            some = stamps[start : start + _READS_AT_ONCE]
            for operation in await together(map(self._operation, some)):
                if self._reach != _BEGINNING and operation.files:  # which show what collected operations did
                    names = self._names([write for queue in queues.values() for write in queue])
                    await look(operation.stamp, {name: operation.files.get(name) for name in names})
                await look(operation.stamp, operation.update)
            if not any(queues.values()):
                break
        return found

    def _names(self, writes: Sequence[Write]) -> set[str]:
        return {self._home.file_of(key) for write in writes for key in write.update}

    async def _stamps_after(self, time: int) -> list[Stamp]:
        """The valid operations newer than this one, oldest first; also records how far back they reach."""
        stamps: list[Stamp] = []
        cursor: str | None = None
        self._reach = _BEGINNING
        while True:
            page = await self._storage.list(self._prefix, cursor=cursor)
            for one in page.objects:
                stamp = parse_stamp(one.name[len(self._prefix) :])
                if stamp is None or not codec.is_valid(stamp, stored_at(one)):
                    continue  # it may have come after those of its time had been collected
                if stamp.time <= time:
                    return stamps[::-1][:_MOST]
                stamps.append(stamp)
            cursor = page.cursor
            if cursor is None:
                if stamps:
                    self._reach = stamps[-1].time
                return stamps[::-1][:_MOST]

    async def _operation(self, stamp: Stamp) -> Operation:
        """Read an operation; an empty one if it is malformed. Raises `_Collected` if it is gone."""
        known = self._operations.get(stamp.text)
        if known is not None:
            return known
        name = self._prefix + stamp.text
        operation = Operation(stamp, {}, {})
        try:
            answer = await self._storage.get(name, limit=MAX_OPERATION_BYTES)
            if not isinstance(answer, Found):
                raise _Collected
            operation = codec.decode(answer.body, stamp, name)
        except Corrupt:
            pass  # no process of this package wrote it
        self._operations[stamp.text] = operation
        return operation

    async def _held(self, queues: Mapping[str, list[Write]], stamp: Stamp, update: Update) -> list[Write]:
        named = {key: file for name, file in update.items() if (key := self._home.key_of(name)) is not None}
        sent = {
            writer: list(takewhile(lambda write: self._sent_after[write.id] < stamp.time, queue))
            for writer, queue in queues.items()
        }
        same: set[Word] = set()
        for queue in sent.values():
            for write in queue:
                for key in write.update.keys() & named.keys():
                    if await self._sets(key, named[key], write.update[key]):
                        same.add((write.id, key))
        return held(sent, same, named.keys()) if same else []

    async def _sets(self, key: str, file: File | None, entry: Entry | None) -> bool:
        """Whether an operation sets a key to the same version as a write."""
        if file is None or entry is None:
            return file is None and entry is None
        content = entry.content
        if isinstance(content, Inline):
            return False
        if not self._versioning:
            return content.name == f"{key}@{file['version']}"
        answer = await self._storage.get(key, version=file["version"])
        try:
            text = jsontext.encode(jsontext.decode_bytes(answer.body, key)) if isinstance(answer, Found) else ""
        except Corrupt:
            return False
        return Inline(text).sha256 == content.sha256


def held(queues: Mapping[str, Sequence[Write]], same: Collection[Word], keys: Collection[str]) -> list[Write]:
    """The writes that one operation holds. Pure.

    Writers commit in order, and an operation keeps the last value per key. So it holds the first writes of a queue if,
    for each of their keys, it has the last value of these writes or of another writer's write that it also holds.

    Args:
        queues: the writes that it may hold, by writer, in order.
        same: the writes' values that it contains.
        keys: the keys that it changes.
    """
    left = {writer: list(queue) for writer, queue in queues.items()}
    taken: dict[str, list[Write]] = {writer: [] for writer in queues}
    progress = True
    while progress:
        progress = False
        for writer, queue in left.items():
            others = {key for by, writes in taken.items() if by != writer for write in writes for key in write.update}
            count = _held_first(queue, same, keys, others)
            if count:
                taken[writer] += queue[:count]
                del queue[:count]
                progress = True
    return [write for writes in taken.values() for write in writes]


def _held_first(queue: Sequence[Write], same: Collection[Word], keys: Collection[str], others: Collection[str]) -> int:
    for count in range(len(queue), 0, -1):
        if all(key in keys for key in queue[count - 1].update):
            last = {key: write.id for write in queue[:count] for key in write.update}
            if all((id, key) in same or key in others for key, id in last.items()):
                return count
    return 0


def stored_at(one: Listed) -> float | None:
    """When the server stored an object, in milliseconds since the epoch; None if unknown."""
    return None if one.modified is None else milliseconds(one.modified)
