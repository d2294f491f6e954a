"""Probe whether a storage lists as the mps3 log needs. Done before it is chosen for want of a better protocol.

A positive verdict is cached per endpoint and bucket for the lifetime of the process.
"""

from __future__ import annotations

from rxmps3.errors import Error, Unsupported
from rxmps3.log.probing import place_of
from rxmps3.model.names import probe as probe_name
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Page, Storage, list_all

__all__ = ["ensure_ordered_listing"]

_SUFFIXES = ("-1", "-10", "-A", "-a", "-~")
"""In the order of their bytes, which is none of letters."""
_passed: set[str] = set()


async def ensure_ordered_listing(storage: Storage, clock: Clock) -> None:
    """Check that a listing shows at once what was put, by bytes, whole and in pages of one, and is dated.

    Raises:
        Unsupported: names the condition that the storage breaks.
        Unavailable, AccessDenied: the probe could not be completed.
    """
    place = place_of(storage.url)
    if place in _passed:
        return
    root = probe_name(clock.new_id(16))
    names = [root + suffix for suffix in _SUFFIXES]
    try:
        await _probe(storage, root, names)
    finally:
        await all_of(_try_to_remove(storage, name) for name in names)
    if place != "memory:":
        _passed.add(place)


async def _probe(storage: Storage, root: str, names: list[str]) -> None:
    for name in (*names[1:], names[0]):  # the last one put is the first one listed
        await storage.put(name, b'""')
    found = [one.name for one in await list_all(storage, root)]
    if sorted(found) != names:
        raise _broken(storage, "a listing lacks what was just put")
    if found != names:
        raise _broken(storage, "names are not listed in the order of their bytes")
    if (await storage.get(names[0])).date is None:
        raise _broken(storage, "answers carry no Date header")
    paged: list[str] = []
    cursor: str | None = None
    while True:
        page: Page = await storage.list(root, cursor=cursor, limit=1)
        paged += [one.name for one in page.objects]
        cursor = page.cursor
        if page.date is None:
            raise _broken(storage, "answers carry no Date header")
        if cursor is None or len(paged) > len(names):
            break
    if paged != names:
        raise _broken(storage, "pages of a listing lose names or repeat them")
    rest = await storage.list(root, after=names[2])
    if [one.name for one in rest.objects] != names[3:]:
        raise _broken(storage, "a listing does not start after the name that it was asked to start after")


def _broken(storage: Storage, condition: str) -> Unsupported:
    return Unsupported(
        f"the storage does not keep a promise that the mps3 log needs: {condition}",
        operation="probe",
        object=storage.url,
        remedy="use another storage; nothing was written to the manifest",
    )


async def _try_to_remove(storage: Storage, name: str) -> None:
    try:
        await storage.delete(name)
    except Error:
        pass  # it leaves a few bytes outside every manifest, which nothing reads
