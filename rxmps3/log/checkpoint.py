"""Checkpoints: the whole state after one entry, so that no client replays the log from its start.

The object is gzipped canonical JSON. The head holds the SHA-256 and the size of that JSON, so a replaced object or a
decompression bomb is rejected here.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Iterable

from rxmps3.errors import Corrupt
from rxmps3.log import checkpoint_codec, codec
from rxmps3.log.checkpoint_codec import Checkpoint
from rxmps3.model.prefixes import Prefixes
from rxmps3.model.state import State
from rxmps3.storage.base import Found, Get, Put

__all__ = ["MAX_CHECKPOINT_BYTES", "is_due", "load_at", "pack", "store_at", "unpack"]

MAX_CHECKPOINT_BYTES = 1 << 30
LINE_ENTRIES = 200
LINE_BYTES = 256 << 10
_GZIP = 31
"""zlib's ``wbits`` for gzip with the largest window."""
REQUEST_WEIGHT = 4 << 10
"""The bytes that the request for an entry counts as, when it is replayed."""


def is_due(entries: int, size: int, last: int) -> bool:
    """Whether a checkpoint is due.

    Args:
        entries: log entries since the last one.
        size: their bytes.
        last: the size of the last checkpoint. The entries since must be as large before a new one is due, which keeps
            the cost of checkpoints within a constant factor of the cost of the log, however large the state.
    """
    return (entries >= LINE_ENTRIES or size >= LINE_BYTES) and size + entries * REQUEST_WEIGHT >= last


async def store_at(
    storage: Put, name: str, incarnation: str, seq: int, state: State, chain: str
) -> codec.CheckpointRef:
    """Write a checkpoint of a state as one object, not yet referenced by anything.

    Args:
        storage: where.
        name: of the object; the reference will hold it.
        incarnation: of the log.
        seq: the number of the state's last version.
        state: the state.
        chain: the hash of that version.

    Raises:
        as `Storage.put`.
    """
    packed, sha256, size = await asyncio.to_thread(
        lambda: pack(checkpoint_codec.state_parts(state, incarnation, seq, chain))
    )
    await storage.put(name, packed, sha256=hashlib.sha256(packed).digest(), content_type="application/gzip")
    return codec.CheckpointRef(seq, name, sha256, size)


def pack(parts: Iterable[bytes]) -> tuple[bytes, str, int]:
    """JSON as it is stored, with the hex SHA-256 and the size of the JSON itself."""
    packer, digest, size = zlib.compressobj(6, wbits=_GZIP), hashlib.sha256(), 0
    packed: list[bytes] = []
    for part in parts:
        digest.update(part)
        packed.append(packer.compress(part))
        size += len(part)
    return b"".join((*packed, packer.flush())), digest.hexdigest(), size


async def load_at(
    storage: Get,
    name: str,
    incarnation: str,
    ref: codec.CheckpointRef,
    names: codec.Names,
    kept: Prefixes | None = None,
    *,
    in_chunks: bool = False,
) -> Checkpoint | None:
    """Read a checkpoint, or its entries of some keys; None if the object is gone.

    Args:
        storage: where.
        name: of the object.
        incarnation: of the log.
        ref: what is known of it.
        names: checks the object names of values.
        kept: the keys whose entries are wanted, if not all.
        in_chunks: whether its entries are in chunks; they are left out then.

    Raises:
        Corrupt: it does not match the reference.
    """
    what = f"checkpoint {name!r}"
    if not 0 < ref.size <= MAX_CHECKPOINT_BYTES:
        raise Corrupt(f"claims {ref.size:,} bytes", object=what)
    answer = await storage.get(name, limit=ref.size + (1 << 16))
    if not isinstance(answer, Found):
        return None
    packed = answer.body

    def decode() -> Checkpoint:
        body = unpack(packed, ref.sha256, ref.size, what)
        return checkpoint_codec.decode_state(body, name, names, kept, in_chunks=in_chunks)

    checkpoint = await asyncio.to_thread(decode)
    if (checkpoint.incarnation, checkpoint.seq) != (incarnation, ref.seq):
        raise Corrupt(f"belongs to entry {checkpoint.seq} of log {checkpoint.incarnation}", object=what)
    return checkpoint


def unpack(packed: bytes, sha256: str, size: int, what: str) -> bytes:
    """The JSON of what `pack` made. Raises `Corrupt` naming ``what``."""
    reader = zlib.decompressobj(wbits=_GZIP)
    try:
        body = reader.decompress(packed, size + 1)
    except zlib.error as error:
        raise Corrupt(f"not gzip: {error}", object=what) from None
    if len(body) != size or codec.digest(body) != sha256:
        raise Corrupt("its content does not match the reference to it", object=what)
    if not reader.eof or reader.unused_data:
        raise Corrupt("truncated, or followed by other data", object=what)
    return body
