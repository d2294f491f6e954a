"""The life of each write that was made here, from its call to its end, in one table. Pure.

A write is on four ways at once::

    sending         MADE ──▶ SENT ──▶ COMMITTED | REJECTED;  MADE ──▶ CANCELLED
    uploading       DUE ──▶ UNDER_WAY ──▶ DONE, and back when they have aged or its values are others
    storing         DUE ──▶ ADDING ──▶ KEPT ──▶ to be dropped ──▶ GONE, or UNKEPT where there is none
    basis           HOLDS, or UNSEEN until the log has been read, or UNKNOWN until a value has been fetched

`TRANSITIONS` has what may happen and what comes of it; whatever else happens raises `InvalidTransition`. Who acts on
a write asks here how far it is, and says here what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from rxmps3.model.state import ContentObject, View, Write, WriteId

__all__ = [
    "TRANSITIONS",
    "Basis",
    "Behind",
    "InvalidTransition",
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

R = TypeVar("R")


class Sending(Enum):
    """The way to the log."""

    MADE = "made"
    SENT = "sent"
    """It may be in the log: it can no longer be taken back."""
    COMMITTED = "committed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class Uploading(Enum):
    """The upload of the values that have objects; a write without any stays at the first."""

    DUE = "due"
    UNDER_WAY = "under way"
    DONE = "done"


class Storing(Enum):
    """The way into the outbox and out of it."""

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
    """Whether what it rests on is there. A write without conditions rests on nothing, and that holds."""

    HOLDS = "holds"
    UNSEEN = "unseen"
    """Not as far as the log was read when it was made: that is for the next look to decide."""
    UNKNOWN = "unknown"
    """It is to be made of a value that is not at hand: it shows what is beneath it until that is fetched."""


State = Sending | Uploading | Storing | Basis


class What(Enum):
    """What happens to a write."""

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
    SAVED = "saved"
    """A state that has it is on disk."""
    REMOVED = "removed"

    HELD = "found to hold"
    BASE_MISSING = "made of what is not at hand"


TRANSITIONS: Mapping[What, Mapping[State, State]] = {
    What.SENT: {Sending.MADE: Sending.SENT, Sending.SENT: Sending.SENT},
    # another copy of an outbox may have sent it: it is found in the log without having been sent here
    What.COMMITTED: {Sending.MADE: Sending.COMMITTED, Sending.SENT: Sending.COMMITTED},
    What.REJECTED: {Sending.MADE: Sending.REJECTED, Sending.SENT: Sending.REJECTED},
    What.CANCELLED: {Sending.MADE: Sending.CANCELLED},
    What.UPLOAD_BEGUN: {Uploading.DUE: Uploading.UNDER_WAY},
    What.UPLOADED: {Uploading.UNDER_WAY: Uploading.DONE},
    What.UPLOAD_ENDED: {Uploading.UNDER_WAY: Uploading.DUE},
    What.UPLOAD_AGED: {Uploading.DONE: Uploading.DUE},
    What.REPLANNED: {
        Uploading.DUE: Uploading.DUE,
        Uploading.UNDER_WAY: Uploading.UNDER_WAY,  # who uploads sees that at the end, and it ends without success
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
    """Something was said to happen to a write that cannot happen to it: a fault in rxmps3 itself."""


class Upload(NamedTuple):
    """When a write's values were stored: by the server's clock and by both local ones."""

    date: datetime | None
    wall: datetime
    monotonic: float


class SentUnkept(NamedTuple):
    """The storage's date when a write was sent that the disk had refused, and where the log was."""

    date: datetime | None
    position: str


Shown = Callable[[View], bool]
"""Whether a view shows what a write would make of its key."""


class Behind(NamedTuple):
    """A write that was not made, since a pending one shows the same of its key.

    Attributes:
        key: its key.
        after: the ordinals of the pending writes that were made before it are below this one.
        shown: whether a view shows the same.
        draft: what is to be made of it should the pending one not be committed.
    """

    key: str
    after: int
    shown: Shown
    draft: Any

    def is_like(self, other: Behind) -> bool:
        """Whether nothing was made between the two that one origin would have made of one key."""
        return self[:2] == other[:2] and self.draft.origin is other.draft.origin


class SharedUpload(Protocol):
    """Objects that one call puts into several manifests: whoever comes first uploads them."""

    async def upload(self, upload: Any) -> Any:
        """As `rxmps3.replica.shared_values.SharedValues.upload`."""
        ...


class PendingWrite(Generic[R]):
    """One write and how far it is.

    Attributes:
        id: which.
        order: its place in the order of the calls.
        receipt: what its caller holds.
        write: as it was made, for the disk.
        texts: the texts of its objects then, by name.
        contents: its objects, whose texts are held until it ends.
        shared: what uploads the same objects for several manifests, if there is one.
        sent_at: the storage's date when it was first sent, as far as it was known.
        upload: when its objects were stored; None while they are not.
        committing: as it was last sent, where it has objects.
        sent_unkept: if it was sent while the disk refused it.
        behind: writes that were not made since this one shows the same.
    """

    shared: SharedUpload | None = None
    sent_at: datetime | None = None
    upload: Upload | None = None
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
        """Whether all its objects are stored, or it has none."""
        return not self.contents or self.uploading is Uploading.DONE

    def happened(self, what: What) -> None:
        """Take the step that the table has for it. Raises `InvalidTransition` if it has none."""
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
    """Every write that was made here and is not over yet, or that the disk still has.

    Attributes:
        open: those that have not been told their end, oldest first, by id.
        resting: those of them that rest on something.
        followed: those that others were not made behind.
        kept: whether there is a disk that is to have them.
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
        """A write was made. On any thread, one at a time."""
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
        """A write of an earlier process is pending again: the disk has it, and it may have been sent.

        Whether what it rests on is there is not known.
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
        """A write is not made since this one shows the same. Once is enough, while that is so."""
        one = self.followed[id] = self.open[id]
        behind_now = one.behind or []
        if not any(behind.is_like(known) for known in behind_now):
            one.behind = [*behind_now, behind]

    def take_behind(self, ids: Iterable[WriteId]) -> list[Behind]:
        """What was not made since these writes showed the same, which they do no more, or for good; newest first."""
        found: list[Behind] = []
        for id in ids:
            one = self.followed.pop(id, None)
            if one is not None and one.behind is not None:
                found += one.behind
                one.behind = None
        return sorted(found, key=lambda behind: behind.after, reverse=True)

    # -- to the log ------------------------------------------------------------------------------------------

    def sent(self, write: Write, date: datetime | None) -> None:
        """A write is about to be sent; from now on it cannot be cancelled. Raises `InvalidTransition`."""
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
        """Whether the write was given to the storage, so that it may be in the log already."""
        one = self.open.get(id)
        return one is not None and one.sending is Sending.SENT

    def all_sent(self) -> list[PendingWrite[R]]:
        """Those that may be in the log, and have not ended."""
        return [one for one in list(self.open.values()) if one.sending is Sending.SENT]

    def end(self, id: WriteId, *, committed: bool) -> PendingWrite[R] | None:
        """A write has met its end, which its receipt is to be told of; None if it was told before."""
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
            self._happened_on_disk(one, What.DROPPED)
        return one

    # -- its objects -----------------------------------------------------------------------------------------

    @property
    def uploading(self) -> int:
        """How many writes have objects under way."""
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
        """Its upload came to an end without success: it was given up, or its values are others by now."""
        one.happened(What.UPLOAD_ENDED)
        self._uploading -= 1

    def replanned(self, one: PendingWrite[R], contents: tuple[ContentObject, ...]) -> None:
        """It has other objects now. On any thread, one at a time."""
        one.happened(What.REPLANNED)
        one.contents, one.upload = contents, None

    def upload_aged(self, one: PendingWrite[R]) -> None:
        """A collector may have found its objects unused by now: they are to be stored once more."""
        one.happened(What.UPLOAD_AGED)
        one.upload = None

    # -- to the disk -----------------------------------------------------------------------------------------

    def to_store(self) -> list[PendingWrite[R]]:
        """What is to be added to the outbox, oldest first."""
        due = [
            one for way in (Storing.WITHDRAWN, Storing.ADDING, Storing.DUE) for one in list(self._on_disk[way].values())
        ]
        return sorted(due, key=lambda one: one.order)

    def store_begun(self, some: Iterable[PendingWrite[R]]) -> None:
        """These are about to be added: the disk may have them from now on."""
        for one in some:
            self._happened_on_disk(one, What.STORE_BEGUN)

    def stored(self, one: PendingWrite[R]) -> bool:
        """The disk has it; False if it is to be removed at once, since it was dropped meanwhile."""
        self._happened_on_disk(one, What.STORED)
        one.texts, one.sent_unkept = {}, None
        return one.storing is Storing.KEPT

    def to_refuse(self) -> list[PendingWrite[R]]:
        """What is to be noted on disk as refused, and removed."""
        return list(self._on_disk[Storing.REFUSED].values())

    def to_remove(self) -> list[PendingWrite[R]]:
        """What is to be removed from the disk, since a state there has it."""
        return list(self._on_disk[Storing.OVER].values())

    def removed(self, some: Iterable[PendingWrite[R]]) -> None:
        """The disk has them no more."""
        for one in some:
            self._happened_on_disk(one, What.REMOVED)

    def unsaved(self) -> list[PendingWrite[R]]:
        """The committed writes that no state on disk has yet. Pass them to `saved` once one does."""
        return list(self._unsaved.values())

    def saved(self, some: Iterable[PendingWrite[R]]) -> None:
        """A state that has these is on disk."""
        for one in some:
            del self._unsaved[one.id]
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
