"""The storage interface: one small protocol per operation.

Preconditions are values (`ABSENT`, `Matches`), and so are answers: a missing object is `Missing`, not an exception,
because its `date` is needed. Every answer has the *server's* time as `date` (the HTTP ``Date`` header, with a
resolution of one second on many servers); the log protocols measure time by it, never by a client's clock.

Errors raised by every verb: `Unavailable` (no answer or a temporary refusal: the outcome of a put or delete is
then unknown), `Throttled`, `AccessDenied`, `BucketNotFound`. `put` and `delete` also raise `PreconditionFailed`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol, cast

from rxmps3.errors import Unsupported

__all__ = [
    "ABSENT",
    "Absent",
    "Found",
    "Get",
    "GetRange",
    "List",
    "ListVersions",
    "Listed",
    "ListedVersion",
    "Matches",
    "Missing",
    "NotModified",
    "Page",
    "Precondition",
    "Put",
    "Storage",
    "Stored",
    "Uploads",
    "VersionPage",
    "VersionedStorage",
    "list_all",
    "pages",
    "read_range",
    "uploads_of",
    "versions_of",
]


@dataclass(frozen=True, slots=True)
class Absent:
    """Precondition: the object does not exist (``If-None-Match: *``)."""


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Matches:
    """Precondition: the object exists with this ETag (``If-Match``)."""

    etag: str


Precondition = Absent | Matches


@dataclass(frozen=True, slots=True)
class Found:
    """A complete object."""

    body: bytes
    etag: str
    modified: datetime | None
    date: datetime | None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such object (or its newest version is a delete marker)."""

    date: datetime | None


@dataclass(frozen=True, slots=True)
class NotModified:
    """The object still has the ETag that the caller knows (304)."""

    date: datetime | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A put that succeeded."""

    etag: str
    date: datetime | None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a listing."""

    name: str
    size: int
    modified: datetime | None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing. ``cursor`` asks for the next page and is None on the last one."""

    objects: Sequence[Listed]
    cursor: str | None
    date: datetime | None


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """One version of one object, or one delete marker."""

    name: str
    version: str
    size: int
    modified: datetime | None
    etag: str
    is_latest: bool
    is_delete_marker: bool = False


@dataclass(frozen=True, slots=True)
class VersionPage:
    """One page of a version listing: names ascending, versions of one name newest first."""

    versions: Sequence[ListedVersion]
    cursor: str | None
    date: datetime | None


class Get(Protocol):
    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        """Read one object.

        Args:
            name: the object's name, below the storage's prefix.
            unless: an ETag; if the object still has it, the answer is `NotModified` without a body.
            version: the version to read; None reads the newest.
            limit: refuse with `Corrupt`, without reading it whole, a body of more than this many bytes.
        """
        ...


class GetRange(Protocol):
    async def get_range(self, name: str, start: int, stop: int, *, version: str | None = None) -> Found | Missing:
        """Read a part of one object.

        Args:
            name: the object's name, below the storage's prefix.
            start: the first byte.
            stop: the byte after the last. A part beyond the object's end is left out, whatever there is of it.
            version: the version to read; None reads the newest.
        """
        ...


class Put(Protocol):
    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        """Write a complete object.

        Args:
            name: the object's name, below the storage's prefix.
            body: its bytes.
            when: the precondition of the write; None writes unconditionally.
            sha256: the 32-byte digest of the body, for the server to verify.
            content_type: the media type stored with it.

        Raises:
            PreconditionFailed: the precondition does not hold, or an earlier attempt of this same put succeeded.
        """
        ...


class Uploads(Protocol):
    """Writing one object in parts, so that nobody has to hold it whole. It appears when the upload is finished."""

    async def begin_upload(self, name: str, *, content_type: str) -> str:
        """Begin to write an object; returns the id of the upload."""
        ...

    async def put_part(self, name: str, upload: str, number: int, body: bytes, *, start: int) -> str:
        """Write one part; several may be under way, and one that failed may be written again.

        Args:
            name: the object's name.
            upload: the upload.
            number: of the part, from 1 on.
            body: its bytes. All parts but the last have the same size, of 5 MiB at least.
            start: the place of its first byte in the object.

        Returns:
            The ETag of the part.
        """
        ...

    async def finish_upload(self, name: str, upload: str, parts: Sequence[str]) -> Stored:
        """Let the object appear. ``parts`` are the ETags of all parts, in order."""
        ...

    async def abort_upload(self, name: str, upload: str) -> None:
        """Drop what was written of an object. Not an error if this upload no longer exists."""
        ...


class List(Protocol):
    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        """One page of the objects whose names start with ``prefix``, ascending.

        Args:
            prefix: a plain string prefix, below the storage's prefix.
            after: leave out names up to and including this one.
            cursor: the previous page's ``cursor``.
            limit: the most objects on a page, 1,000 at most.
        """
        ...


class Delete(Protocol):
    async def delete(self, name: str, *, version: str | None = None) -> None:
        """Remove one object, or one version of it. Removing a missing object is not an error."""
        ...


class ListVersions(Protocol):
    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        """One page of the versions of the objects whose names start with ``prefix``."""
        ...


class Storage(Get, Put, List, Delete, Protocol):
    """The operations of every storage."""

    @property
    def url(self) -> str:
        """The location of this storage, for messages; never contains a secret."""
        ...

    @property
    def name_limit(self) -> int:
        """The longest name in bytes, below the storage's prefix (S3: 1,024 with the prefix)."""
        ...

    async def close(self) -> None:
        """Release sockets and files. Closing twice is harmless."""
        ...


class VersionedStorage(Storage, ListVersions, Protocol):
    """A storage that keeps every version of an object."""


def versions_of(storage: Storage) -> ListVersions:
    """The storage, if it can list versions.

    Raises:
        Unsupported: it keeps no versions.
    """
    if not hasattr(storage, "list_versions"):
        raise Unsupported("this storage keeps no versions", operation="list versions", object=storage.url)
    return cast(ListVersions, storage)


def uploads_of(storage: Put) -> Uploads | None:
    """The storage, if it can write objects in parts."""
    innermost: object = storage
    while hasattr(innermost, "inner"):  # a wrapper can what the storage can that it wraps
        innermost = cast(Any, innermost).inner
    return cast(Uploads, storage) if all(hasattr(one, "begin_upload") for one in (storage, innermost)) else None


async def read_range(storage: Get, name: str, start: int, stop: int, *, version: str | None = None) -> Found | Missing:
    """A part of one object, as `GetRange.get_range`; a storage without it is asked for the whole object.

    Raises: as `Get.get`.
    """
    if hasattr(storage, "get_range"):
        return await cast(GetRange, storage).get_range(name, start, stop, version=version)
    answer = await storage.get(name, version=version)
    if isinstance(answer, Found):
        return replace(answer, body=answer.body[start:stop])
    return Missing(answer.date)


async def pages(storage: List, prefix: str, *, after: str = "") -> AsyncIterator[Page]:
    """Every page of a listing, in order."""
    cursor: str | None = None
    while True:
        page = await storage.list(prefix, after=after, cursor=cursor)
        yield page
        if page.cursor is None:
            return
        cursor = page.cursor


async def list_all(storage: List, prefix: str, *, after: str = "") -> list[Listed]:
    """Every object under ``prefix`` after the name ``after``, over as many pages as it takes."""
    return [listed async for page in pages(storage, prefix, after=after) for listed in page.objects]
