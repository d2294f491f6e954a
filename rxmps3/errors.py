"""Every error rxmps3 raises: one base, grouped by what a caller does about it. ``db.errors`` emits `Failure`.

==================  =====================================================================
fix the call        `InvalidKey`, `InvalidValue`, `InvalidOption`, `NotLoaded`, `WrongLoop`
ask for less        `NotKept`
wait, it is retried `Unavailable` (and `Throttled`, `UnsureTime`)
fix the access      `AccessDenied`, `BucketNotFound`
look at the data    `Corrupt`, `Unsupported`
open it anew        `Replaced`, `Gone` (both are `Corrupt`)
one write is over   `Rejected` (and `Conflict`), `OutcomeUnknown`
make room           `Overloaded`
the handle is over  `Closed`, `NotSent`
==================  =====================================================================

`retriable` is a property of the class: the replica tries again by itself after a retriable error and stops,
keeping what it has, after any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

__all__ = [
    "AccessDenied",
    "BucketNotFound",
    "Closed",
    "Conflict",
    "Corrupt",
    "Error",
    "Failure",
    "Gone",
    "InvalidInput",
    "InvalidKey",
    "InvalidOption",
    "InvalidValue",
    "NotKept",
    "NotLoaded",
    "NotSent",
    "OutcomeUnknown",
    "Overloaded",
    "PreconditionFailed",
    "Rejected",
    "Replaced",
    "Throttled",
    "Unavailable",
    "Unsupported",
    "UnsureTime",
    "WrongLoop",
    "failure_of_observer",
    "unforeseen",
]


class Error(Exception):
    """The base of all errors of this package.

    Args:
        what: what happened, in words.
        operation: the operation that failed, such as ``"put"`` or ``"connect"``.
        object: what it happened to, such as ``"key 'a'"`` or ``"s3://bucket/app"``.
        remedy: the next step, for the person who reads this.
    """

    retriable: ClassVar[bool] = False

    def __init__(self, what: str, *, operation: str = "", object: str = "", remedy: str = "") -> None:
        self.what = what
        self.operation = operation
        self.object = object
        self.remedy = remedy
        where = " ".join(part for part in (operation, object) if part)
        super().__init__((f"{where.removesuffix(':')}: " if where else "") + what + (f"; {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with all its attributes: a process pool breaks on an error that it cannot make again."""
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[Error], args: tuple[Any, ...]) -> Error:
    return kind.__new__(kind, *args)


class InvalidInput(Error, ValueError):
    """The call itself is wrong. Nothing was sent and nothing was changed."""


class InvalidKey(InvalidInput):
    """A key that no storage could hold: empty, not Unicode text, or too long once escaped."""


class InvalidValue(InvalidInput):
    """A value that JSON cannot express, such as NaN, bytes within JSON, a cycle or a non-string object key."""


class InvalidOption(InvalidInput):
    """An option of `connect`, a URL or another argument that makes no sense."""


class NotLoaded(Error, LookupError):
    """The value is not in memory: observe or ``await get`` it first. Or the key is outside the loaded prefixes."""


class NotKept(Error, LookupError):
    """The past is no longer kept that far back; ``oldest`` is the id of the oldest log version available."""

    def __init__(self, what: str, *, oldest: str, operation: str = "", object: str = "", remedy: str = "") -> None:
        super().__init__(what, operation=operation, object=object, remedy=remedy)
        self.oldest = oldest


class WrongLoop(Error, RuntimeError):
    """A database was used from an event loop other than the one it was opened on."""


class Unavailable(Error):
    """No answer, or a temporary refusal. It does not tell the outcome of a write."""

    retriable: ClassVar[bool] = True

    def __init__(
        self,
        what: str,
        *,
        operation: str = "",
        object: str = "",
        remedy: str = "",
        date: datetime | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, operation=operation, object=object, remedy=remedy)
        self.date = date
        self.retry_after = retry_after


class Throttled(Unavailable):
    """The storage asked to slow down (429, 503 SlowDown); ``retry_after`` is the wait in seconds, if it named one."""


class UnsureTime(Unavailable):
    """The storage's dates contradict each other or this computer's clock, so nothing was deleted."""


class AccessDenied(Error):
    """The storage refused these credentials. Pending writes stay pending until access is restored."""

    retriable: ClassVar[bool] = True


class BucketNotFound(Error):
    """There is no such bucket at this endpoint."""

    retriable: ClassVar[bool] = True


class Corrupt(Error):
    """Stored data is not what its hash, number or format says. Nothing is overwritten."""


class _Lost(Corrupt):
    """The database that this client has read is not in the bucket any more.

    Attributes:
        unconfirmed: the version ids of the writes that were acknowledged since the database was last known to be there,
            so that they may be missing from what is there now.
    """

    unconfirmed: tuple[str, ...] = ()


class Replaced(_Lost):
    """Another database, or another history of this one, is where the one was that this client has read.

    It was made anew, or the bucket was put back to an earlier copy. Nothing more is written to it by this client.
    """


class Gone(_Lost):
    """The database that this client has read was deleted, wholly or in part. This client writes nothing more."""


class Unsupported(Error):
    """The storage, protocol or format lacks what this needs."""


class PreconditionFailed(Error):
    """A storage answered 412: the object exists already (``ABSENT``) or has another ETag (``Matches``).

    It does not say who did that: after a resent request the writer may get a 412 for its own success.
    """

    def __init__(self, what: str, *, operation: str = "", object: str = "", date: datetime | None = None) -> None:
        super().__init__(what, operation=operation, object=object)
        self.date = date


class Rejected(Error):
    """One write was refused and rolled back; other writes are not affected. ``__cause__`` says why."""


class Conflict(Rejected):
    """What the write was based on has changed in the meantime."""


class OutcomeUnknown(Error):
    """A write was sent so long ago that nobody can tell whether it was committed. It is never sent again."""


class Overloaded(Error):
    """The outbox holds as many pending writes as it may; wait for some to be committed."""


class Closed(Error):
    """The database was closed."""


class NotSent(Error):
    """The database closed with writes that are not committed and not kept on disk; ``keys`` names their keys."""

    def __init__(self, what: str, *, keys: Sequence[str], object: str = "", remedy: str = "") -> None:
        super().__init__(what, operation="close", object=object, remedy=remedy)
        self.keys = tuple(keys)


def unforeseen(error: Exception) -> Error:
    """The error itself if it is one of this package; any other, a fault of a storage or of this package, wrapped."""
    if isinstance(error, Error):
        return error
    wrapped = Error(f"{type(error).__name__}: {error}", operation="unforeseen", remedy="please report it")
    wrapped.__cause__ = error
    return wrapped


_DETACHED = "the observer raised and was detached"


@dataclass(frozen=True)
class Failure:
    """Something went wrong that no caller is waiting for.

    Attributes:
        operation: what was going on, such as ``"poll"``, ``"commit"``, ``"observe"``.
        object: what it happened to.
        error: the exception.
        note: what follows from it, in words.
    """

    operation: str
    object: str
    error: Exception
    note: str = ""

    def __str__(self) -> str:
        error = self.error
        what = f"{error}" if isinstance(error, Error) else f"{type(error).__name__}: {error}".removesuffix(": ")
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        return f"{self.operation} {self.object}: {what}{notes}" + (f" ({self.note})" if self.note else "")


def failure_of_observer(name: str, error: BaseException, *, ends_program: bool) -> Failure:
    """An observer raised, and has been detached.

    Args:
        name: of the stream.
        error: what it raised; a `asyncio.CancelledError`, say of a future that it looked at, is nobody's here.
        ends_program: whether what is to end a program, an interrupt or an exit, is going to be raised again on the
            event loop; one that has a thread of its own would end all databases there, and not the program.
    """
    if isinstance(error, Exception):
        return Failure("observe", name, error, _DETACHED)
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        if ends_program:
            what = f"{type(error).__name__} ends the program once every observer has been told: {error}"
        else:
            what = f"{type(error).__name__} does not end the program from this thread: {error}"
    wrapped = Error(what)
    wrapped.__cause__ = error
    return Failure("observe", name, wrapped, _DETACHED)
