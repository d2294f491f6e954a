"""The state machine of each write made here, from its call to its end. Pure.

A write has four independent states::

    sending         MADE ──▶ SENT ──▶ COMMITTED | REJECTED;  MADE ──▶ CANCELLED
    uploading       DUE ──▶ UNDER_WAY ──▶ DONE, and back when they have aged or its values are others
    storing         DUE ──▶ ADDING ──▶ KEPT ──▶ to be dropped ──▶ GONE, or UNKEPT where there is none
    basis           HOLDS, or UNSEEN until the log has been read, or UNKNOWN until a value has been fetched

`TRANSITIONS` lists the allowed events and their effects; any other event raises `InvalidTransition`. Whoever acts on a
write reads its state here, and reports here what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from rxmps3.model.state import ContentObject, View, Write, WriteId

__all__ = [
    "FORGOTTEN_AFTER",
    "TRANSITIONS",
    "Basis",
    "Behind",
    "InvalidTransition",
    "Moment",
    "PendingWrite",
    "PendingWrites",
    "Sending",
    "SentUnkept",
    "SharedUpload",
    "Shown",
    "Storing",
    "Upload",
    "Uploading",
    "What",
]

FORGOTTEN_AFTER = timedelta(days=29)
"""The log may forget a writer that is silent for 30 days."""

R = TypeVar("R")


class Sending(Enum):
    """The state of the commit."""

    MADE = "made"
    SENT = "sent"
    """It may be in the log: it can no longer be taken back."""
    COMMITTED = "committed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class Uploading(Enum):
    """The state of the upload of values that have objects; a write without any stays at the first."""

    DUE = "due"
    UNDER_WAY = "under way"
    DONE = "done"


class Storing(Enum):
    """The state in the outbox."""

    UNKEPT = "unkept"
    """There was no outbox when it was made."""
    DUE = "due"
    ADDING = "adding"
    """The disk may have it: a failed attempt counts as well."""
    KEPT = "kept"
    WITHDRAWN = "withdrawn"
    """It was dropped while the disk might have it: it is added for certain first."""
    REFUSED = "refused"
    """To be noted as refused, so that it does not come back, and removed."""
    OVER = "over"
    """To be removed."""
    GONE = "gone"


class Basis(Enum):
    """Whether its conditions hold. A write without conditions always HOLDS."""

    HOLDS = "holds"
    UNSEEN = "unseen"
    """Not as far as the log was read when it was made: that is for the next look to decide."""
    UNKNOWN = "unknown"
    """It is to be made of a value that is not at hand: it shows what is beneath it until that is fetched."""


State = Sending | Uploading | Storing | Basis


class What(Enum):
    """An event in the life of a write."""

    SENT = "sent"
    COMMITTED = "committed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"

    UPLOAD_BEGUN = "upload begun"
    UPLOADED = "uploaded"
    UPLOAD_ENDED = "upload ended without success"
    UPLOAD_AGED = "upload aged"
    REPLANNED = "planned anew"

    STORE_BEGUN = "store begun"
    STORED = "stored"
    DROPPED = "dropped"
    """It has ended and is not in the log."""
    LEFT = "left on disk"
    """Its outcome is for the next start to find out."""
    SAVED = "saved"
    """A state that has it is on disk."""
    REMOVED = "removed"

    HELD = "found to hold"
    BASE_MISSING = "made of what is not at hand"


TRANSITIONS: Mapping[What, Mapping[State, State]] = {
    What.SENT: {Sending.MADE: Sending.SENT, Sending.SENT: Sending.SENT},
    # found in the log without having been sent here: another copy of the outbox sent it
    What.COMMITTED: {Sending.MADE: Sending.COMMITTED, Sending.SENT: Sending.COMMITTED},
    What.REJECTED: {Sending.MADE: Sending.REJECTED, Sending.SENT: Sending.REJECTED},
    What.CANCELLED: {Sending.MADE: Sending.CANCELLED},
    What.UPLOAD_BEGUN: {Uploading.DUE: Uploading.UNDER_WAY},
    What.UPLOADED: {Uploading.UNDER_WAY: Uploading.DONE},
    What.UPLOAD_ENDED: {Uploading.UNDER_WAY: Uploading.DUE},
    What.UPLOAD_AGED: {Uploading.DONE: Uploading.DUE},
    What.REPLANNED: {
        Uploading.DUE: Uploading.DUE,
        Uploading.UNDER_WAY: Uploading.UNDER_WAY,  # the upload notices this when it ends, and counts as unsuccessful
        Uploading.DONE: Uploading.DUE,
    },
    What.STORE_BEGUN: {
        Storing.DUE: Storing.ADDING,
        Storing.ADDING: Storing.ADDING,
        Storing.WITHDRAWN: Storing.WITHDRAWN,
    },
    What.STORED: {Storing.ADDING: Storing.KEPT, Storing.WITHDRAWN: Storing.REFUSED},
    What.DROPPED: {
        Storing.UNKEPT: Storing.UNKEPT,
        Storing.DUE: Storing.GONE,
        Storing.ADDING: Storing.WITHDRAWN,
        Storing.KEPT: Storing.REFUSED,
    },
    What.LEFT: {
        Storing.UNKEPT: Storing.UNKEPT,
        Storing.DUE: Storing.GONE,
        Storing.ADDING: Storing.GONE,
        Storing.KEPT: Storing.GONE,
    },
    What.SAVED: {Storing.DUE: Storing.GONE, Storing.ADDING: Storing.WITHDRAWN, Storing.KEPT: Storing.OVER},
    What.REMOVED: {Storing.REFUSED: Storing.GONE, Storing.OVER: Storing.GONE},
    What.HELD: {Basis.HOLDS: Basis.HOLDS, Basis.UNSEEN: Basis.HOLDS, Basis.UNKNOWN: Basis.HOLDS},
    What.BASE_MISSING: {Basis.HOLDS: Basis.UNKNOWN, Basis.UNSEEN: Basis.UNKNOWN, Basis.UNKNOWN: Basis.UNKNOWN},
}
"""By what happens, the states that it may happen in, all of one way, and the state that comes of each."""

_WAYS: Mapping[type[State], str] = {Sending: "sending", Uploading: "uploading", Storing: "storing", Basis: "basis"}
_STEPS: Mapping[What, tuple[str, Mapping[State, State]]] = {
    what: (_WAYS[type(next(iter(table)))], table) for what, table in TRANSITIONS.items()
}
_ENDS = frozenset({Sending.COMMITTED, Sending.REJECTED, Sending.CANCELLED})


class InvalidTransition(AssertionError):
    """An event that is not allowed in a write's state: a bug in rxmps3."""


class Moment(NamedTuple):
    """A time by both local clocks."""

    wall: datetime
    monotonic: float


class Upload(NamedTuple):
    """When a write's values were stored, by the server's clock, and when their upload had begun."""

    date: datetime | None
    began: Moment


class SentUnkept(NamedTuple):
    """For a write that was sent although the disk had refused it: the storage's date then, and the log's position."""

    date: datetime | None
    position: str


Shown = Callable[[View], bool]
"""Whether a view shows what a write would make of its key."""


class Behind(NamedTuple):
    """A write that was not made, since a pending write already shows the same value for its key.

    Attributes:
        key: its key.
        after: pending writes with lower ordinals were made before it.
        shown: whether a view shows the same value.
        draft: the write to make if the pending one is not committed.
    """

    key: str
    after: int
    shown: Shown
    draft: Any

    def is_like(self, other: Behind) -> bool:
        """Whether both come from one origin for one key, with no other write made in between."""
        return self[:2] == other[:2] and self.draft.origin is other.draft.origin


class SharedUpload(Protocol):
    """Objects that one call puts into several manifests; the first to need them uploads them.

    Attributes:
        tried: when they were first sent; None until then.
    """

    tried: Moment | None

    async def upload(self, upload: Any) -> Any:
        """As `rxmps3.replica.shared_values.SharedValues.upload`."""
        ...


class PendingWrite(Generic[R]):
    """One write and its state.

    Attributes:
        id: its id.
        order: its position in call order.
        receipt: the receipt that its caller holds.
        write: the write as first made, for the outbox.
        texts: the texts of its values in objects as first made, by `ContentObject.place`.
        contents: its objects, whose texts are held until it ends.
        shared: the upload shared with other manifests, if any.
        sent_at: the storage's date when it was first sent, if known.
        upload: when its objects were stored; None until then.
        tried: when they were first sent under the names that they have; None until then.
        repeated: whether they are stored under names that earlier uploads, long before, may have had.
        committing: the write as last sent, if it has objects.
        sent_unkept: if it was sent while the disk refused it.
        behind: writes that were not made because this one shows the same value.
    """

    shared: SharedUpload | None = None
    sent_at: datetime | None = None
    upload: Upload | None = None
    tried: Moment | None = None
    repeated = False
    committing: Write | None = None
    sent_unkept: SentUnkept | None = None
    behind: list[Behind] | None = None
    sending = Sending.MADE
    uploading = Uploading.DUE
    storing = Storing.UNKEPT
    basis = Basis.HOLDS

    def __init__(
        self, order: int, write: Write, receipt: R, contents: tuple[ContentObject, ...], texts: Mapping[str, str]
    ) -> None:
        self.id = write.id
        self.order = order
        self.receipt = receipt
        self.write = write
        self.texts = texts
        self.contents = contents

    @property
    def is_over(self) -> bool:
        """Whether it is committed, rejected or cancelled."""
        return self.sending in _ENDS

    @property
    def is_uploaded(self) -> bool:
        """Whether all its objects, if any, are stored."""
        return not self.contents or self.uploading is Uploading.DONE

    def may_be_forgotten(self, writer: str, now: datetime | None) -> bool:
        """Whether the log may hold this write without telling: an earlier process sent it so long ago that its writer
        may have expired.

        Args:
            writer: the present process's writer id.
            now: the storage's date, if known.
        """
        if self.sending is not Sending.SENT or self.id.writer == writer:
            return False
        return self.sent_at is None or now is None or now - self.sent_at >= FORGOTTEN_AFTER

    def happened(self, what: What) -> None:
        """Apply an event. Raises `InvalidTransition` if it is not allowed in this state."""
        way, table = _STEPS[what]
        after = table.get(getattr(self, way))
        if after is None:
            raise InvalidTransition(f"write {self.id.version} cannot be {what.value}: {self!r}")
        setattr(self, way, after)

    def __repr__(self) -> str:
        ways = (self.sending, self.uploading, self.storing, self.basis)
        said = ", ".join(f"{type(way).__name__.lower()} {way.value}" for way in ways)
        return f"<PendingWrite {self.id.version}: {said}>"


class PendingWrites(Generic[R]):
    """Every write made here that is not over yet or is still on disk.

    Attributes:
        open: those not ended yet, oldest first, by id.
        resting: the open writes that have conditions.
        followed: the open writes that have `Behind` entries.
        kept: whether they are to be stored on disk.
    """

    def __init__(self) -> None:
        self.open: dict[WriteId, PendingWrite[R]] = {}
        self.resting: dict[WriteId, PendingWrite[R]] = {}
        self.followed: dict[WriteId, PendingWrite[R]] = {}
        self.kept = False
        self._made = 0
        self._uploading = 0
        self._on_disk: dict[Storing, dict[WriteId, PendingWrite[R]]] = {way: {} for way in Storing}
        self._unsaved: dict[WriteId, PendingWrite[R]] = {}

    def add(
        self, write: Write, receipt: R, contents: tuple[ContentObject, ...], texts: Mapping[str, str]
    ) -> PendingWrite[R]:
        """Add a new write. Callable on any thread, one call at a time."""
        self._made += 1
        one = self.open[write.id] = PendingWrite(self._made, write, receipt, contents, texts)
        if write.conditions is not None:
            self.resting[write.id] = one
        if self.kept:
            self._place(one, Storing.DUE)
        return one

    def restore(
        self, write: Write, receipt: R, contents: tuple[ContentObject, ...], *, sent: bool, at: datetime | None
    ) -> PendingWrite[R]:
        """Add a pending write of an earlier process: it is on disk and may have been sent.

        Whether its conditions hold is unknown.
        """
        self._made += 1
        one = self.open[write.id] = PendingWrite(self._made, write, receipt, contents, {})
        if write.conditions is not None:
            self.resting[write.id] = one
            one.basis = Basis.UNSEEN
        if sent:
            one.sending, one.sent_at = Sending.SENT, at
        self._place(one, Storing.KEPT)
        return one

    def put_behind(self, id: WriteId, behind: Behind) -> None:
        """Note a write that is not made because this one shows the same value. Equal ones are noted only once."""
        one = self.followed[id] = self.open[id]
        behind_now = one.behind or []
        if not any(behind.is_like(known) for known in behind_now):
            one.behind = [*behind_now, behind]

    def take_behind(self, ids: Iterable[WriteId]) -> list[Behind]:
        """Remove and return the `Behind` entries of these writes, which are over or have changed; newest first."""
        found: list[Behind] = []
        for id in ids:
            one = self.followed.pop(id, None)
            if one is not None and one.behind is not None:
                found += one.behind
                one.behind = None
        return sorted(found, key=lambda behind: behind.after, reverse=True)

    # -- to the log ------------------------------------------------------------------------------------------

    def sent(self, write: Write, date: datetime | None) -> None:
        """The write is about to be sent; from now on it cannot be cancelled. Raises `InvalidTransition`."""
        one = self.open[write.id]
        if not one.is_uploaded:
            raise InvalidTransition(f"write {one.id.version} cannot be sent before its objects are stored: {one!r}")
        if one.basis is Basis.UNKNOWN:
            raise InvalidTransition(f"write {one.id.version} cannot be sent before its values are known: {one!r}")
        if one.sending is Sending.MADE:
            one.sent_at = date
        one.happened(What.SENT)
        one.committing = write if one.contents else None

    def was_sent(self, id: WriteId) -> bool:
        """Whether the write was sent to the storage, so that it may be in the log already."""
        one = self.open.get(id)
        return one is not None and one.sending is Sending.SENT

    def all_sent(self) -> list[PendingWrite[R]]:
        """The open writes that may be in the log."""
        return [one for one in list(self.open.values()) if one.sending is Sending.SENT]

    def end(self, id: WriteId, *, committed: bool, left: bool = False) -> PendingWrite[R] | None:
        """End a write and return it, so that its receipt can be settled; None if it had ended before.

        Args:
            id: of the write.
            committed: whether it is in the log.
            left: it is not, and is to stay on disk for the next start.
        """
        one = self.open.pop(id, None)
        if one is None:
            return None
        self.resting.pop(id, None)
        if committed:
            one.happened(What.COMMITTED)
            if one.storing is not Storing.UNKEPT:
                self._unsaved[id] = one
        else:
            if one.sending is not Sending.CANCELLED:
                one.happened(What.REJECTED)
            self._happened_on_disk(one, What.LEFT if left else What.DROPPED)
        return one

    # -- its objects -----------------------------------------------------------------------------------------

    @property
    def uploading(self) -> int:
        """The number of writes whose objects are being uploaded."""
        return self._uploading

    def upload_begun(self, one: PendingWrite[R]) -> None:
        """The upload of its objects has begun."""
        one.happened(What.UPLOAD_BEGUN)
        self._uploading += 1

    def uploaded(self, one: PendingWrite[R], upload: Upload) -> None:
        """All its objects are stored."""
        one.happened(What.UPLOADED)
        self._uploading -= 1
        one.upload = upload

    def upload_ended(self, one: PendingWrite[R]) -> None:
        """The upload ended without success: it was cancelled, or the values have changed meanwhile."""
        one.happened(What.UPLOAD_ENDED)
        self._uploading -= 1

    def replanned(self, one: PendingWrite[R], contents: tuple[ContentObject, ...]) -> None:
        """The write has different objects now. Callable on any thread, one call at a time."""
        one.happened(What.REPLANNED)
        one.contents, one.upload, one.tried = contents, None, None

    def upload_aged(self, one: PendingWrite[R]) -> None:
        """Its objects have to be uploaded again, since a collector may have considered them unused."""
        one.happened(What.UPLOAD_AGED)
        one.upload = None

    # -- to the disk -----------------------------------------------------------------------------------------

    def to_store(self) -> list[PendingWrite[R]]:
        """The writes to add to the outbox, oldest first."""
        due = [
            one for way in (Storing.WITHDRAWN, Storing.ADDING, Storing.DUE) for one in list(self._on_disk[way].values())
        ]
        return sorted(due, key=lambda one: one.order)

    def store_begun(self, some: Iterable[PendingWrite[R]]) -> None:
        """These are about to be added; from now on they may be on disk."""
        for one in some:
            self._happened_on_disk(one, What.STORE_BEGUN)

    def stored(self, one: PendingWrite[R]) -> bool:
        """The write is on disk; False if it was dropped meanwhile and has to be removed at once."""
        self._happened_on_disk(one, What.STORED)
        one.texts, one.sent_unkept = {}, None
        return one.storing is Storing.KEPT

    def to_refuse(self) -> list[PendingWrite[R]]:
        """The writes to record on disk as refused, and to remove."""
        return list(self._on_disk[Storing.REFUSED].values())

    def to_remove(self) -> list[PendingWrite[R]]:
        """The writes to remove from disk, since a saved state includes them."""
        return list(self._on_disk[Storing.OVER].values())

    def removed(self, some: Iterable[PendingWrite[R]]) -> None:
        """These are no longer on disk."""
        for one in some:
            self._happened_on_disk(one, What.REMOVED)

    def unsaved(self) -> list[PendingWrite[R]]:
        """The committed writes not yet in a state on disk. Pass them to `saved` once they are."""
        return list(self._unsaved.values())

    def in_a_state(self, some: Iterable[PendingWrite[R]]) -> None:
        """A state that includes these is on disk; whether they may be dropped is still open."""
        for one in some:
            self._unsaved.pop(one.id, None)

    def saved(self, some: Iterable[PendingWrite[R]]) -> None:
        """A state that includes these is on disk."""
        for one in some:
            self._unsaved.pop(one.id, None)
            self._happened_on_disk(one, What.SAVED)

    def _happened_on_disk(self, one: PendingWrite[R], what: What) -> None:
        before = one.storing
        one.happened(what)
        self._on_disk[before].pop(one.id, None)
        self._place(one, one.storing)

    def _place(self, one: PendingWrite[R], way: Storing) -> None:
        one.storing = way
        if way not in (Storing.UNKEPT, Storing.GONE):
            self._on_disk[way][one.id] = one
