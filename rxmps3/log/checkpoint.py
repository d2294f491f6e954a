"""Checkpoints: the whole state after one entry, so that no client replays the log from its start.

The object is gzipped canonical JSON. The head holds the SHA-256 and the size of that JSON, so a replaced object or a
decompression bomb is rejected here.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from dataclasses import replace

from rxmps3.errors import Corrupt
from rxmps3.log import codec
from rxmps3.model.names import Layout
from rxmps3.model.prefixes import Prefixes
from rxmps3.model.state import State
from rxmps3.storage.base import Found, Get, Put

__all__ = ["MAX_CHECKPOINT_BYTES", "is_due", "load", "load_at", "store", "store_at"]

MAX_CHECKPOINT_BYTES = 1 << 30
LINE_ENTRIES = 200
LINE_BYTES = 256 << 10
_GZIP = 31
"""zlib's ``wbits`` for gzip with the largest window."""
REQUEST_WEIGHT = 4 << 10
"""Replaying an entry costs a request; it counts like so many bytes."""


def is_due(entries: int, size: int, last: int) -> bool:
    """Whether a checkpoint is due.

    Args:
        entries: log entries since the last one.
        size: their bytes.
        last: the size of the last checkpoint. The entries since must be as large before a new one is due, which keeps
            the cost of checkpoints within a constant factor of the cost of the log, however large the state.
    """
    return (entries >= LINE_ENTRIES or size >= LINE_BYTES) and size + entries * REQUEST_WEIGHT >= last


async def store(
    storage: Put, layout: Layout, incarnation: str, state: State, chain: str, nonce: str
) -> codec.CheckpointRef:
    """Write a checkpoint of a state, not yet referenced by anything. Raises as `Storage.put`."""
    seq = int(state.version)
    ref = await store_at(storage, layout.checkpoint(incarnation, seq, nonce), incarnation, seq, state, chain)
    return replace(ref, name=ref.name.removeprefix(layout.root))


async def store_at(
    storage: Put, name: str, incarnation: str, seq: int, state: State, chain: str
) -> codec.CheckpointRef:
    """As `store`, under a name that the caller chooses and that the reference will hold."""

    def encode() -> tuple[bytes, str, int]:
        pack, digest, size = zlib.compressobj(6, wbits=_GZIP), hashlib.sha256(), 0
        packed: list[bytes] = []
        for part in codec.state_parts(state, incarnation, seq, chain):
            digest.update(part)
            packed.append(pack.compress(part))
            size += len(part)
        return b"".join((*packed, pack.flush())), digest.hexdigest(), size

    packed, sha256, size = await asyncio.to_thread(encode)
    await storage.put(name, packed, sha256=hashlib.sha256(packed).digest(), content_type="application/gzip")
    return codec.CheckpointRef(seq, name, sha256, size)


async def load(
    storage: Get, layout: Layout, incarnation: str, ref: codec.CheckpointRef, kept: Prefixes | None = None
) -> codec.Checkpoint | None:
    """Read a checkpoint, or its entries of some keys; None if the object is gone.

    Raises:
        Corrupt: it does not match the reference in the head.
    """
    return await load_at(storage, layout.root + ref.name, incarnation, ref, codec.sequenced_names, kept)


async def load_at(
    storage: Get,
    name: str,
    incarnation: str,
    ref: codec.CheckpointRef,
    names: codec.Names,
    kept: Prefixes | None = None,
) -> codec.Checkpoint | None:
    """As `load`, from the given name; ``names`` checks the object names of values."""
    what = f"checkpoint {name!r}"
    if not 0 < ref.size <= MAX_CHECKPOINT_BYTES:
        raise Corrupt(f"claims {ref.size:,} bytes", object=what)
    answer = await storage.get(name, limit=ref.size + (1 << 16))
    if not isinstance(answer, Found):
        return None
    packed = answer.body
    checkpoint = await asyncio.to_thread(lambda: codec.decode_state(_unpack(packed, ref, what), name, names, kept))
    if (checkpoint.incarnation, checkpoint.seq) != (incarnation, ref.seq):
        raise Corrupt(f"belongs to entry {checkpoint.seq} of log {checkpoint.incarnation}", object=what)
    return checkpoint


def _unpack(packed: bytes, ref: codec.CheckpointRef, what: str) -> bytes:
    reader = zlib.decompressobj(wbits=_GZIP)
    try:
        body = reader.decompress(packed, ref.size + 1)
    except zlib.error as error:
        raise Corrupt(f"not gzip: {error}", object=what) from None
    if len(body) != ref.size or codec.digest(body) != ref.sha256:
        raise Corrupt("its content does not match the head's reference", object=what)
    if not reader.eof or reader.unused_data:
        raise Corrupt("truncated, or followed by other data", object=what)
    return body
