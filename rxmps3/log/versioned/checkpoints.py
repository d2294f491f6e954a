"""Checkpoints of a versioned log: the state at a settled version, as an object of its own."""

from __future__ import annotations

from rxmps3.errors import Corrupt
from rxmps3.log.checkpoint import load_at, store_at
from rxmps3.log.versioned.body import PROTOCOL, Named
from rxmps3.log.versioned.names import VersionedNames, is_value_name
from rxmps3.log.versioned.order import Base
from rxmps3.model.state import State
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Get, Put

__all__ = ["load_base", "store_base"]


async def store_base(storage: Put, names: VersionedNames, base: Base, clock: Clock) -> Named:
    """Write a checkpoint of a base, not yet named by any version. Raises as `Storage.put`."""
    name = names.checkpoint(base.count, clock.new_id())
    return Named(base.id, await store_at(storage, name, PROTOCOL, base.count, base.state, base.chain))


async def load_base(storage: Get, names: VersionedNames, named: Named) -> Base | None:
    """The base that a checkpoint holds; None if the object is gone.

    Raises:
        Corrupt: it does not match the reference in the body.
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    if not named.version:
        raise Corrupt("a checkpoint of no version", object=f"manifest {names.object!r}")
    read = await load_at(storage, named.ref.name, PROTOCOL, named.ref, is_value_name)
    if read is None:
        return None
    return Base(State(read.state.entries, read.state.writers, named.version), read.seq, read.chain)
