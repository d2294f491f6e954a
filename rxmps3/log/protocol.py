"""The interfaces that a log protocol implements: the log, the placing of its values, and its compaction.

Three protocols implement them: sequenced, versioned and mps3. Each provides a `Kit` for one manifest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

from reactivex import Observable

from rxmps3.errors import Error, InvalidInput
from rxmps3.log.archive import Archive
from rxmps3.model.prefixes import Prefixes
from rxmps3.model.state import Committed, ContentObject, Entry, Loaded, Refused, Replayed, State, Write, WriteId
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Storage, Stored

__all__ = [
    "Collector",
    "Context",
    "EntryRefused",
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
"""What a log emits: new versions, a whole state, or pending writes that it will never report."""


class EntryRefused(Error):
    """The storage refuses for good the object that a commit makes: its size, or what is in it. Nothing was stored.

    Attributes:
        refusal: what the storage said.
        size: of the object, in bytes.
    """

    def __init__(self, refusal: InvalidInput, size: int) -> None:
        super().__init__(f"{refusal.what} ({size:,} bytes)", operation="commit", object=refusal.object)
        self.refusal = refusal
        self.size = size


@dataclass(frozen=True)
class ResumePoint:
    """A client's position in a log, from which it can resume later.

    Attributes:
        protocol: the log's protocol.
        version: the id of the last version that the state there holds.
        members: what else the log needs to resume, as JSON values.
        beside: other positions and their hashes that have to be in the log, too.
    """

    protocol: str
    version: str
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])
    beside: Mapping[str, str] = field(default_factory=dict[str, str])


class Log(Protocol):
    """The ordered versions of one manifest.

    `read` and `commit` may run at the same time; whichever learns a version first emits it, once. Neither
    overwrites anything: a log that cannot be read is left untouched.
    """

    @property
    def versions(self) -> Observable[LogEvent]:
        """Everything the log learns from the subscription on. Each version comes exactly once and in order, except that
        `Replayed` inserts versions before ones already emitted.

        An observer may raise `Corrupt`. The log then does not advance, the call that read the version raises the error,
        and the next call reads it again.
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

        It also changes after a read that failed but got further than the one before.
        """
        ...

    @property
    def place(self) -> ResumePoint | None:
        """This client's position: that of the state it emitted last. None before anything was read."""
        ...

    @property
    def date(self) -> datetime | None:
        """The storage's time as last seen."""
        ...

    @property
    def upkeep_is_due(self) -> bool:
        """Whether the log has grown enough to be compacted."""
        ...

    def resume(self, place: ResumePoint) -> None:
        """Start from an earlier position whose state is known. Call it before `open`.

        A log that cannot resume there emits `Loaded` when it opens, as if this had not been called.
        """
        ...

    async def open(self) -> None:
        """Emit the newest state (`Loaded`), or the versions after a resumed position. Writes nothing; later calls do
        nothing.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
            Corrupt: a stored object is malformed or contradicts another one.
            Gone, Replaced: the log that was read is not there any more.
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

    def is_confirmed(self, position: str) -> bool:
        """Whether the log was seen to be still there after it held this position: see `confirm`."""
        ...

    async def confirm(self) -> None:
        """Check that the log in the bucket is still the one that was read.

        Raises:
            Gone: it was deleted.
            Replaced: another one, or an earlier state of it, is in its place.
            as `read`.
        """
        ...

    async def ensure_dated(self) -> None:
        """Refresh ``date`` from the storage if it is old; new entries are dated by it. Raises as `read`."""
        ...

    async def server_time(self) -> datetime:
        """Request the storage's current time. Raises as `read`."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Try once to append one entry with these writes, oldest first, as many as fit.

        When it returns, the outcome is known and has been emitted; the view shows which writes were committed. When it
        raises `Unavailable`, the outcome is unknown; call it again with whatever is still pending.

        Raises:
            EntryRefused: the storage takes no entry with these writes.
        """
        ...


ProtocolName = Literal["sequenced", "versioned", "mps3"]

Progress = Callable[[str, int, int], None]
"""Told what is going on, how much of it is done, and how much there is."""


class Held(NamedTuple):
    """A value to upload before its write is committed.

    Attributes:
        content: its object.
        text: its canonical JSON text.
        body: the bytes of the object where they differ from what `Placing.body` returns for the text; else None.
    """

    content: ContentObject
    text: str
    body: bytes | None = None


class Planned(NamedTuple):
    """The update that a call's values become, and the values to upload first."""

    update: dict[str, Entry | None]
    contents: list[Held]


class Placing(Protocol):
    """Where a protocol stores values, and in what form. Pure."""

    @property
    def key_limit(self) -> int:
        """The longest key in bytes, once escaped."""
        ...

    @property
    def in_order(self) -> bool:
        """Whether the values of one key have to be uploaded in call order."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether a committed value can be stored again under the same name."""
        ...

    def check_key(self, key: object) -> str:
        """Return the key if it is valid. Raises `InvalidKey`."""
        ...

    def normal(self, text: str) -> str:
        """The canonical text that readers get after a put of this text."""
        ...

    def plan(self, id: WriteId, values: Mapping[str, Any], inline_limit: int) -> Planned:
        """Plan a call's write; `MISSING` deletes a key. Raises `InvalidKey`, `InvalidValue`."""
        ...

    def again(self, write: Write, chance: str, *, noted: bool = True) -> Write:
        """The same write, with its values to be uploaded again.

        Args:
            write: the write.
            chance: what other names are made of.
            noted: whether the names that it has are on disk or may be in the log, where a protocol that knows writes by
                the names of their values looks for them.
        """
        ...

    def object_name(self, content: ContentObject) -> str:
        """The object of a value, below the storage's prefix."""
        ...

    def body(self, text: str) -> bytes:
        """The bytes of a value's object, from its canonical text."""
        ...

    def uploaded(self, content: ContentObject, stored: Stored) -> ContentObject:
        """What the log records about a value once it is stored."""
        ...

    def text(self, content: ContentObject, body: bytes) -> str:
        """The canonical text in a value's object. Raises `Corrupt` if it does not match what the log records."""
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
        waiting_until: when the entries below the floor may be deleted, if it is still too early.
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
    """Compacts a manifest that this client has open."""

    async def checkpoint(self) -> int | str | None:
        """Write a checkpoint of the current state and return its number or id. None if the protocol has no checkpoints
        or one of this state exists."""
        ...

    async def collect(self, *, dry_run: bool = False, progress: Progress | None = None) -> Report:
        """Delete what is no longer needed and old enough.

        Raises:
            Corrupt: stored objects contradict each other; deletion stops.
            Unavailable, AccessDenied: interrupted; the next call continues.
        """
        ...


@dataclass(frozen=True)
class Context:
    """What a protocol needs to follow and extend one manifest.

    Attributes:
        storage: where it is.
        manifest: its name.
        clock: time, ids and randomness.
        writer: this client's writer id for this manifest.
        by: the name its user gave, unverified.
        state: returns the state that was emitted last.
        retention: how far back the log reaches at least.
        versioning: mps3 only: values as versions of one object per key.
        kept: the keys that this client keeps, if not all. A protocol may read the others all the same.
    """

    storage: Storage
    manifest: str
    clock: Clock
    writer: str
    by: str
    state: Callable[[], State]
    retention: timedelta
    versioning: bool = False
    kept: Prefixes | None = None


class Kit(NamedTuple):
    """One manifest in one protocol.

    Attributes:
        protocol: which.
        log: its versions.
        placing: where its values go.
        collector: keeps it small.
        linear: whether the position of a commit in the log is known before it is sent, so that writes can have
            conditions.
        suspect: for a log that does not record who wrote what, so that resending a write would apply it twice: call it
            with a write of an earlier process that may be in the log after the given position; "" is the start of the
            log.
        archive: access to past states; None where the protocol does not guarantee any.
        probe: examines the storage before the protocol is chosen for want of a better one, where the log does not do so
            by itself. Raises `Unsupported`, and as `Log.prepare`.
    """

    protocol: ProtocolName
    log: Log
    placing: Placing
    collector: Collector
    linear: bool = False
    suspect: Callable[[Write, str], None] | None = None
    archive: Archive | None = None
    probe: Callable[[], Awaitable[None]] | None = None
