"""Clear away what is left of a versioned log whose beginning is gone, so that it can be begun anew.

`examine` says which versions are left, without writing; `carry_out` copies them aside and deletes them. No value is
touched: each is at the name of its key.
"""

from __future__ import annotations

from dataclasses import dataclass

from rxmps3.errors import Corrupt
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.log.set_aside import copy_aside
from rxmps3.log.versioned.body import decode_body
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.log.versioned.opening import begin, check_beginning
from rxmps3.log.versioned.reading import VersionGone
from rxmps3.storage.base import Found, Storage

__all__ = ["LeftVersion", "carry_out", "examine"]


@dataclass(frozen=True)
class LeftVersion:
    """A version that follows nothing that is there.

    Attributes:
        id: of the version.
        why: what is wrong with the first of them.
        writes: the version ids of the writes in it.
        keys: and their keys.
    """

    id: str
    why: str
    writes: tuple[str, ...]
    keys: tuple[str, ...]


async def examine(storage: Storage, manifest: str) -> list[LeftVersion]:
    """The versions that are left, oldest first, if their beginning is gone; else none. Writes nothing.

    Raises:
        Corrupt: something else is wrong, which cannot be mended so.
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    names = VersionedNames(manifest, storage.name_limit)
    answer = await storage.get(names.object, limit=MAX_ENTRY_BYTES)
    if not isinstance(answer, Found):
        return []
    newest = decode_body(answer.body, answer.version or "", names)
    try:
        base, listing, bodies = await begin(storage, names, newest, {})
    except VersionGone as missing:
        raise Corrupt(f"version {missing.id!r} is listed, but is not there", object=f"manifest {manifest!r}") from None
    try:
        await check_beginning(storage, names, base, listing, bodies)
    except Corrupt as error:
        why = error.what
        return [
            LeftVersion(
                id,
                why,
                tuple(write.id.version for write in bodies[id].version.writes),
                tuple(sorted({key for write in bodies[id].version.writes for key in write.update})),
            )
            for id in listing.ids
        ]
    return []


async def carry_out(storage: Storage, manifest: str, versions: list[LeftVersion], folder: str) -> None:
    """Move these versions into a folder of its own below `SET_ASIDE`, newest first. May be called again."""
    names = VersionedNames(manifest, storage.name_limit)
    for one in reversed(versions):
        if await copy_aside(storage, names.object, folder, one.id):
            await storage.delete(names.object, version=one.id)
