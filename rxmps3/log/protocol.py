"""The seam between a log and the rest: what a log is, where its values go, how it is kept small.

Three protocols implement it: sequenced, versioned, mps3. Each brings a `Kit` for one manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

from reactivex import Observable

from rxmps3.log.archive import Archive
from rxmps3.model.state import Committed, ContentObject, Entry, Loaded, Refused, Replayed, State, Write, WriteId
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Storage, Stored

__all__ = [
    "Collector",
    "Context",
    "Held",
    "Kit",
    "Log",
    "LogEvent",
    "Placing",
    "Planned",
    "Progress",
    "ProtocolName",
    "Report",
    "ResumePoint",
]

LogEvent = Committed | Replayed | Loaded | Refused
"""What a log learns: versions, a whole state, and which pending writes it will never tell of."""


@dataclass(frozen=True)
class ResumePoint:
    """Where a client is in a log, for going on there later.

    Attributes:
        protocol: the log's.
        version: the id of the last version that the state there holds.
        members: what else the log needs to go on, as JSON values.
    """

    protocol: str
    version: str
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Log(Protocol):
    """The ordered versions of one manifest.

    `read` and `commit` may run at the same time; whichever learns a version first emits it, once. Neither
    overwrites anything: a log that cannot be understood stays as it is.
    """

    @property
    def versions(self) -> Observable[LogEvent]:
        """What is learned, from the subscription on: each version exactly once, in order, except that `Replayed` brings
        versions that belong below known ones.

        An observer may raise `Corrupt`: then the log has not moved, the error comes out of the call that learned the
        version, and the next one learns it again.
        """
        ...

    @property
    def exists(self) -> bool:
        """Whether the manifest has been found or created."""
        ...

    @property
    def position(self) -> str:
        """The id of the last version that was emitted, "" before the first."""
        ...

    @property
    def reached(self) -> tuple[str, int]:
        """How far reading has come: the position, and how much was fetched beyond it.

        It has changed after a read that failed but got further than the one before.
        """
        ...

    @property
    def place(self) -> ResumePoint | None:
        """Where this client is: the state it emitted last is the one there. None before anything was read."""
        ...

    @property
    def date(self) -> datetime | None:
        """The storage's time as last seen."""
        ...

    @property
    def upkeep_is_due(self) -> bool:
        """Whether the log has grown so much that it should be made small."""
        ...

    def resume(self, place: ResumePoint) -> None:
        """Begin at a place that was reached earlier, whose state is known; call it before `open`.

        A log that cannot go on there emits `Loaded` when it opens, as if it had not been called.
        """
        ...

    async def open(self) -> None:
        """Emit the newest state (`Loaded`), or what follows a resumed one. Writes nothing; once is enough.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
            Corrupt: what is stored is not what it claims to be.
            Unsupported: written by a newer version of this package, or in another protocol.
        """
        ...

    async def read(self) -> None:
        """Emit every version that was in the log when this was called; opens first. Raises as `open`."""
        ...

    async def prepare(self) -> None:
        """Make the log ready for a first commit and for uploads: create the manifest if there is none.

        Raises:
            Rejected: the storage lacks what the log needs; the message says which condition it breaks.
        """
        ...

    async def ensure_dated(self) -> None:
        """Ask what time it is if ``date`` was heard long ago: what is sent is dated by it. Raises as `read`."""
        ...

    async def server_time(self) -> datetime:
        """Ask the storage what time it is. Raises as `read`."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Try once to append one entry with these writes, oldest first, as many as fit.

        When it returns, the outcome of the attempt is known and emitted: look at the view to see which writes
        it committed. When it raises `Unavailable`, the outcome is not known; call it again with what is pending.
        """
        ...


ProtocolName = Literal["sequenced", "versioned", "mps3"]

Progress = Callable[[str, int, int], None]
"""Told what is going on, how much of it is done, and how much there is."""


class Held(NamedTuple):
    """A value that is to be uploaded before its write is committed.

    Attributes:
        content: its object.
        text: its canonical JSON text.
        body: the bytes of the object, where they are not what `Placing.body` makes of the text; else None.
    """

    content: ContentObject
    text: str
    body: bytes | None = None


class Planned(NamedTuple):
    """A call's values as a write's update, and what is to be uploaded first."""

    update: dict[str, Entry | None]
    contents: list[Held]


class Placing(Protocol):
    """Where a protocol puts values, and in what form. Pure."""

    @property
    def key_limit(self) -> int:
        """The longest key in bytes, once escaped."""
        ...

    @property
    def in_order(self) -> bool:
        """Whether the values of one key are to be uploaded in the order of their calls."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether a committed value can be stored again under the name that the log has for it."""
        ...

    def check_key(self, key: object) -> str:
        """The key, if it can be one. Raises `InvalidKey`."""
        ...

    def normal(self, text: str) -> str:
        """The canonical text that everybody will read of a value put with this one."""
        ...

    def plan(self, id: WriteId, values: Mapping[str, Any], inline_limit: int) -> Planned:
        """What a call writes; `MISSING` deletes. Raises `InvalidKey`, `InvalidValue`."""
        ...

    def again(self, write: Write, chance: str) -> Write:
        """The same write, ready to have its values uploaded once more."""
        ...

    def object_name(self, content: ContentObject) -> str:
        """The object of a value, below the storage's prefix."""
        ...

    def body(self, text: str) -> bytes:
        """The bytes of a value's object, of its canonical text."""
        ...

    def uploaded(self, content: ContentObject, stored: Stored) -> ContentObject:
        """What the log is to say of a value once it is stored."""
        ...

    def text(self, content: ContentObject, body: bytes) -> str:
        """The canonical text of a value's object. Raises `Corrupt` if it is not what the log says of it."""
        ...


@dataclass
class Report:
    """What compaction did, or in a dry run would do.

    Attributes:
        checkpoint: the number or id of the checkpoint it made, None if none was due.
        floor: the floor after it, where the log has one.
        raised: whether it raised the floor.
        entries, checkpoints, values: objects or versions of objects deleted.
        bytes: their bytes.
        expired: writer ids whose numbers were forgotten.
        waiting_until: the time after which the entries below the floor may be deleted, if they wait for it.
    """

    checkpoint: int | str | None = None
    floor: int = 0
    raised: bool = False
    entries: int = 0
    checkpoints: int = 0
    values: int = 0
    bytes: int = 0
    expired: tuple[str, ...] = ()
    waiting_until: datetime | None = None


class Collector(Protocol):
    """Keeps a manifest small that is open here."""

    async def checkpoint(self) -> int | str | None:
        """Write a checkpoint of the present state, if the protocol has any and none is as new; its number or id."""
        ...

    async def collect(self, *, dry_run: bool = False, progress: Progress | None = None) -> Report:
        """Delete what is no longer needed, as far as that is due.

        Raises:
            Corrupt: what is stored contradicts itself; nothing more is deleted.
            Unavailable, AccessDenied: interrupted; what is left is done next time.
        """
        ...


@dataclass(frozen=True)
class Context:
    """What a protocol is given to follow and extend one manifest.

    Attributes:
        storage: where it is.
        manifest: its name.
        clock: time, ids and chance.
        writer: this client's writer id for this manifest.
        by: the name its user gave, unverified.
        state: the state that was emitted last.
        retention: how far back the log is to reach at least.
        versioning: mps3 only: values as versions of one object per key.
    """

    storage: Storage
    manifest: str
    clock: Clock
    writer: str
    by: str
    state: Callable[[], State]
    retention: timedelta
    versioning: bool = False


class Kit(NamedTuple):
    """One manifest in one protocol.

    Attributes:
        protocol: which.
        log: its versions.
        placing: where its values go.
        collector: keeps it small.
        linear: whether its versions have one order that is known before a commit is sent, so that a write can rest on
            what is there.
        suspect: of a log that cannot tell which writes it holds, so that one that is sent once more counts twice: is
            told of a write of an earlier process that may be in it, after this position; "" is the log's beginning.
        archive: what the log keeps of its past; None where it keeps nothing that can be promised.
    """

    protocol: ProtocolName
    log: Log
    placing: Placing
    collector: Collector
    linear: bool = False
    suspect: Callable[[Write, str], None] | None = None
    archive: Archive | None = None
