"""Listing the versions of the manifest object, and fetching their bodies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rxmps3.errors import Corrupt, Throttled, Unavailable, Unsupported
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.log.versioned.body import Body, decode_body
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Found, Get, ListedVersion, Storage, versions_of

__all__ = [
    "NULL_VERSION",
    "SETTLED_AFTER",
    "Listing",
    "VersionGone",
    "fetch_bodies",
    "is_version_id",
    "list_versions",
    "read_versions",
]

NULL_VERSION = "null"
"""What S3 calls a version that was written while versioning was not enabled."""
SETTLED_AFTER = timedelta(minutes=20)
"""Below a version of this age by the storage's clock no other one comes to light any more."""
_FIRST_PAGE = 100
"""How many lines are asked for first when a part of the listing may do."""
_READS_AT_ONCE = 16
_PAGE = 1000
_TRIES = 3
"""How often each page after the first is asked for, unless the storage asks for less of that."""


class VersionGone(Exception):
    """A listed version does not exist: it was collected meanwhile, or the storage is damaged."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


@dataclass(frozen=True)
class Listing:
    """The versions of the manifest object, from one pass over the listing.

    Attributes:
        lines: newest first, without the one it stopped at.
        stopped_at: the version at which the pass stopped, None if it reached the end.
        partial: whether it stopped before either of these.
        date: the storage's time when it began.
        pages: the number of pages. Later pages may show changes made since the first one.
    """

    lines: Sequence[ListedVersion]
    stopped_at: str | None
    date: datetime
    partial: bool = False
    pages: int = 1

    @property
    def ids(self) -> list[str]:
        """Oldest first."""
        return [line.version for line in reversed(self.lines)]

    @property
    def modified(self) -> dict[str, datetime]:
        """When each version was written, where the storage reports it."""
        return {line.version: line.modified for line in self.lines if line.modified is not None}


def is_version_id(id: str | None) -> bool:
    """Whether this version id shows that the storage keeps versions."""
    return bool(id) and id != NULL_VERSION


async def list_versions(
    storage: Storage, names: VersionedNames, until: Collection[str] = (), enough: Collection[str] = ()
) -> Listing:
    """List the versions of the manifest object, newest first, down to one of ``until`` or to the oldest.

    A page that contains one of ``enough`` is the last one read; if ``enough`` is not empty, the first page is small.

    Objects whose names start with the manifest's are listed too, usually after it, on some servers interleaved.

    Raises:
        Corrupt: the manifest was deleted.
        Unsupported: a version was written while versioning was suspended, or responses have no ``Date``.
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    inner = versions_of(storage)
    lines: list[ListedVersion] = []
    cursor: str | None = None
    date: datetime | None = None
    seen, pages, refused, limit = False, 0, 0, _FIRST_PAGE if enough else _PAGE
    while True:
        try:
            page = await inner.list_versions(names.object, cursor=cursor, limit=limit)
        except Unavailable as error:
            refused += 1
            if cursor is None or refused == _TRIES or isinstance(error, Throttled):
                raise
            continue  # not from the beginning: one of many pages fails now and then
        pages, refused = pages + 1, 0
        date = date or page.date
        if date is None:
            raise Unsupported(
                "responses have no Date header, which is needed to tell how old a version is", object=storage.url
            )
        here = [one for one in page.versions if one.name == names.object]
        for one in here:
            if one.is_delete_marker:
                _check_marker(one, names)
            elif one.version in until:
                return Listing(lines, one.version, date, pages=pages)
            else:
                _check_id(one.version, names)
                lines.append(one)
        if page.cursor is None or (seen and not here):
            return Listing(lines, None, date, pages=pages)
        if any(one.version in enough for one in here):
            return Listing(lines, None, date, partial=True, pages=pages)
        seen = seen or bool(here)
        cursor, limit = page.cursor, _PAGE


def _check_marker(marker: ListedVersion, names: VersionedNames) -> None:
    if marker.is_latest:
        raise Corrupt(
            f"deleted: its newest version, {marker.version!r}, is a delete marker",
            object=f"manifest {names.object!r}",
            remedy="remove that delete marker to have it back",
        )


def _check_id(id: str, names: VersionedNames) -> None:
    if not is_version_id(id):
        raise Unsupported(
            f"has version {id!r}: it was written while the bucket's versioning was not enabled",
            object=f"manifest {names.object!r}",
            remedy="enable versioning and delete that version; who wrote it still has its writes",
        )


async def fetch_bodies(
    storage: Get, names: VersionedNames, ids: Sequence[str], known: dict[str, Body] | None = None
) -> dict[str, Body]:
    """Fetch the bodies of these versions.

    Args:
    storage: where the objects are.
        names: of the manifest.
        ids: of the versions.
        known: bodies that need not be fetched; fetched ones are added, even if others fail.

    Raises:
        VersionGone: one of them does not exist.
        Corrupt, Unsupported: as `decode_body`.
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """

    known = {} if known is None else known

    async def fetch(id: str) -> None:
        answer = await storage.get(names.object, version=id, limit=MAX_ENTRY_BYTES)
        if not isinstance(answer, Found):
            raise VersionGone(id)
        known[id] = decode_body(answer.body, id, names)

    lacking = [id for id in ids if id not in known]
    for start in range(0, len(lacking), _READS_AT_ONCE):
        await all_of(map(fetch, lacking[start : start + _READS_AT_ONCE]))
    return {id: known[id] for id in ids}


async def read_versions(
    storage: Storage,
    names: VersionedNames,
    until: Collection[str] = (),
    enough: Collection[str] = (),
    *,
    known: Collection[str] = (),
    seen: Mapping[str, Body] | None = None,
    fetched: dict[str, Body] | None = None,
    whole_until: datetime | None = None,
) -> tuple[Listing, dict[str, Body]]:
    """List versions and fetch the new ones; do both again if a new version follows one that was not listed.

    That version may have been left out of a partial listing, or have appeared on a page already read. Either way a full
    listing started now contains it. If it does not, the version is below the base or was collected.

    Args:
        storage, names, until, enough: as `list_versions`.
        known: versions that need not be fetched.
        seen: bodies of new versions that need not be fetched either.
        fetched: as ``known`` of `fetch_bodies`.
        whole_until: from this moment on, by the storage's clock, a partial listing does not suffice.

    Returns:
        The listing, and the bodies of the unknown versions in it.

    Raises:
        as `list_versions` and `fetch_bodies`.
    """
    looked_for: set[str] = set()
    while True:
        listing = await list_versions(storage, names, until, enough)
        bodies = {id: body for id, body in (seen or {}).items() if id in listing.ids and id not in known}
        lacking = [id for id in listing.ids if id not in known and id not in bodies]
        bodies |= await fetch_bodies(storage, names, lacking, fetched)
        present = {*known, *listing.ids, *until}
        followed = {id for body in bodies.values() for id in body.follows} - present - looked_for
        old = listing.partial and (whole_until is None or listing.date >= whole_until)
        if not old and (not followed or (listing.pages == 1 and not listing.partial)):
            return listing, bodies
        looked_for |= followed
        enough = ()
