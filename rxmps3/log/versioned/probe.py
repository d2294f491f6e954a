"""Probe whether a storage keeps versions as the versioned log requires. Done before the first write.

A positive verdict is cached per endpoint and bucket for the lifetime of the process.
"""

from __future__ import annotations

from rxmps3.errors import Error, Unsupported
from rxmps3.log.probing import place_of, read_damaged
from rxmps3.log.versioned.reading import is_version_id
from rxmps3.model.names import probe as probe_name
from rxmps3.model.seal import sealed
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Found, NotModified, Storage, versions_of

__all__ = ["ensure_versions", "not_enabled"]

# each carries a check of its own content, so that no damaged answer is taken for the other one
_BODIES = [sealed(f'{{"version":{number}}}'.encode()) for number in range(2)]
_passed: set[str] = set()


async def ensure_versions(storage: Storage, clock: Clock) -> None:
    """Check that every put creates a version that stays readable, and that versions are listed newest first.

    Raises:
        Unsupported: names the condition that the storage breaks.
        Unavailable, AccessDenied: the probe could not be completed.
    """
    place = place_of(storage.url)
    if place in _passed:
        return
    name = probe_name(clock.new_id(16))
    try:
        await _probe(storage, name)
    finally:
        await _try_to_remove(storage, name)
    if place != "memory:":
        _passed.add(place)


async def _probe(storage: Storage, name: str) -> None:
    ids: list[str] = []
    etag = ""
    for body in _BODIES:
        stored = await storage.put(name, body)
        if stored.version is None or not is_version_id(stored.version):
            raise not_enabled(storage.url)
        ids.append(stored.version)
        etag = stored.etag
    first, second = ids
    if first == second:
        raise _broken(storage, "two puts of one object got the same version id")
    for id, body in zip(ids, _BODIES, strict=True):
        answer = await storage.get(name, version=id)
        if isinstance(answer, Found) and answer.body not in _BODIES:
            raise read_damaged(storage)
        if not isinstance(answer, Found) or answer.body != body:
            raise _broken(storage, "a version is not readable right after it was written")
    latest = await storage.get(name, unless=etag)
    if isinstance(latest, Found) and latest.etag != etag:  # a put was sent twice, and came once more since
        latest = await storage.get(name, unless=latest.etag)
    if not isinstance(latest, NotModified):
        raise _broken(storage, "If-None-Match with the current ETag returned the object again")
    if latest.date is None:
        raise _broken(storage, "answers carry no Date header")
    listed = [id for id in await _listed(storage, name) if id in ids]  # a put sent twice makes one more
    if listed != [second, first]:
        raise _broken(storage, "the versions of an object are not listed newest first")


async def _listed(storage: Storage, name: str) -> list[str]:
    """The version ids of an object, in listing order."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await versions_of(storage).list_versions(name, cursor=cursor)
        ids += [one.version for one in page.versions if one.name == name]
        cursor = page.cursor
        if cursor is None:
            return ids


def not_enabled(url: str) -> Unsupported:
    """The error for a storage that answers a put without a version id."""
    return Unsupported(
        "versioning is not enabled: a put got no version id",
        object=url,
        remedy="enable versioning of the bucket, or use another protocol",
    )


def _broken(storage: Storage, condition: str) -> Unsupported:
    return Unsupported(
        f"the storage does not keep a promise that the versioned log needs: {condition}",
        operation="probe",
        object=storage.url,
        remedy="use another protocol; nothing was written to the manifest",
    )


async def _try_to_remove(storage: Storage, name: str) -> None:
    try:
        try:
            ids = await _listed(storage, name)
        except Unsupported:
            await storage.delete(name)
            return
        for id in ids:
            await storage.delete(name, version=id)
    except Error:
        pass  # it leaves a few bytes outside every manifest, which nothing reads
