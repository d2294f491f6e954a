"""Where a new client starts: a checkpoint, and the versions listed above it."""

from __future__ import annotations

from collections.abc import Mapping

from rxmps3.errors import Corrupt, Unsupported
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.log.set_aside import how_to_repair
from rxmps3.log.versioned.body import Body, Named
from rxmps3.log.versioned.checkpoints import load_base
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.log.versioned.order import Base
from rxmps3.log.versioned.reading import Listing, read_versions
from rxmps3.storage.base import Missing, Storage, versions_of

__all__ = ["begin", "check_beginning", "check_emptiness", "gone", "manifest_at"]


def manifest_at(storage: Storage, names: VersionedNames) -> str:
    """How messages name the manifest."""
    return f"manifest {names.object!r} at {storage.url}"


def gone(storage: Storage, names: VersionedNames, what: str) -> Corrupt:
    """The error for an object that is gone although nothing may delete it."""
    return Corrupt(what, object=manifest_at(storage, names), remedy="restore it from a backup; nothing is overwritten")


async def check_emptiness(storage: Storage, names: VersionedNames) -> None:
    """Check that a manifest that is not there was never created.

    Raises:
        Corrupt: it was deleted: its newest version is a delete marker.
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    try:
        page = await versions_of(storage).list_versions(names.object, limit=1)
    except Unsupported:
        return
    if any(one.name == names.object for one in page.versions) and isinstance(
        await storage.get(names.object, limit=MAX_ENTRY_BYTES), Missing
    ):
        raise Corrupt(
            "deleted: its newest version is a delete marker",
            object=manifest_at(storage, names),
            remedy="remove that delete marker to have it back; nothing is overwritten",
        )


async def begin(
    storage: Storage, names: VersionedNames, newest: Body, fetched: dict[str, Body]
) -> tuple[Base, Listing, dict[str, Body]]:
    """The newest available base, the listing above it, and the bodies of the versions listed.

    Args:
        storage, names: of the manifest.
        newest: its newest version.
        fetched: as for `read_versions`.

    Raises:
        Corrupt: versions name checkpoints, but none of them exists.
        as `read_versions` and `load_base`.
    """
    seen = {newest.id: newest}
    if (named := newest.checkpoint) is not None:
        listing, bodies = await read_versions(storage, names, (named.version,), seen=seen, fetched=fetched)
        base = await load_base(storage, names, named) if listing.stopped_at else None
        if base is not None:
            return base, listing, bodies
    listing, bodies = await read_versions(storage, names, seen=seen, fetched=fetched)
    return *await _best_base(storage, names, listing, bodies), bodies


async def _best_base(
    storage: Storage, names: VersionedNames, listing: Listing, bodies: Mapping[str, Body]
) -> tuple[Base, Listing]:
    """The newest named checkpoint that still exists, and the listing above it."""
    ids = listing.ids
    named: dict[str, Named] = {one.ref.name: one for id in ids if (one := bodies[id].checkpoint) is not None}
    for one in sorted(named.values(), key=lambda one: one.ref.seq, reverse=True):
        if one.version in ids and (base := await load_base(storage, names, one)) is not None:
            above = len(ids) - 1 - ids.index(one.version)
            return base, Listing(listing.lines[:above], one.version, listing.date)
    if named:
        raise gone(storage, names, f"none of its {len(named)} checkpoints exists")
    return Base(), listing


async def check_beginning(
    storage: Storage, names: VersionedNames, base: Base, listing: Listing, bodies: Mapping[str, Body]
) -> None:
    """Check that the oldest version is the first one, where no checkpoint stands for others.

    A listing may leave out a version for a while, so the one that it follows is asked for.

    Raises:
        Corrupt: that is gone: the manifest was emptied, or a rule of the bucket deletes old versions.
    """
    if base.id or listing.partial or not listing.ids:
        return
    oldest = bodies[listing.ids[0]]
    if not oldest.previous or oldest.previous in bodies:
        return
    answer = await storage.get(names.object, version=oldest.previous, limit=MAX_ENTRY_BYTES)
    if isinstance(answer, Missing):
        raise Corrupt(
            f"begins with version {oldest.id!r}, which follows version {oldest.previous!r}: that is gone, and no "
            "checkpoint has what it wrote",
            object=manifest_at(storage, names),
            remedy=f"restore the versions that were deleted, or: {how_to_repair(storage.url, names.manifest)}",
        )
