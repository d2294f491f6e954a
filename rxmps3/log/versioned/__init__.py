"""The versioned log: for storages that keep every version of an object and have no conditional writes."""

from __future__ import annotations

from rxmps3.errors import Corrupt
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.log.protocol import Context, Kit
from rxmps3.log.versioned.body import is_ours
from rxmps3.log.versioned.collector import VersionedCollector
from rxmps3.log.versioned.log import VersionedLog
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.log.versioned.placing import VersionedPlacing
from rxmps3.log.versioned.probe import ensure_versions
from rxmps3.storage.base import Found, Storage

__all__ = ["is_there", "open_kit", "probe"]


def open_kit(context: Context) -> Kit:
    """The versioned log of a manifest.

    Raises:
        InvalidOption: no manifest can have this name.
    """
    names = VersionedNames(context.manifest, context.storage.name_limit)
    log = VersionedLog(context, names)
    collector = VersionedCollector(context, names, log)
    return Kit("versioned", log, VersionedPlacing(names, context.storage.url), collector)


probe = ensure_versions


async def is_there(storage: Storage, manifest: str) -> bool:
    """Whether there is a versioned manifest of this name, intact or not. Writes nothing.

    Raises:
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    name = VersionedNames(manifest, storage.name_limit).object
    try:
        answer = await storage.get(name, limit=MAX_ENTRY_BYTES)
    except Corrupt:
        return False  # larger than any version of a manifest
    return isinstance(answer, Found) and is_ours(answer.body)
