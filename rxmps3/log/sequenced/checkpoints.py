"""Checkpoints of a sequenced log: one object, or, of a large state, one that names others, its chunks.

Each chunk holds the entries of a range of keys (see `rxmps3.log.chunks`). A checkpoint may name chunks that were
written for the one before, and so costs what has changed since. Which ones it may name, and which ones may be deleted,
is in ``docs/protocol.md``, 5.7 and 5.8.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from rxmps3.errors import Corrupt
from rxmps3.log import checkpoint_codec, codec
from rxmps3.log.checkpoint import MAX_CHECKPOINT_BYTES, load_at, pack, store_at, unpack
from rxmps3.log.checkpoint_codec import Checkpoint, ChunkRef
from rxmps3.log.chunks import Base, Run, divide, is_large
from rxmps3.model.entries import Cell, Entries
from rxmps3.model.names import Layout
from rxmps3.model.prefixes import Prefixes
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import State
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import together
from rxmps3.storage.base import Found, Get, Put
from rxmps3.storage.patient import patiently

__all__ = ["Vanished", "Written", "divided", "load", "load_chunk", "load_root", "store", "store_in_chunks"]

_PUTS_AT_ONCE = 4
_READS_AT_ONCE = 8


class Vanished(Exception):
    """An object of a checkpoint is not there.

    Attributes:
        name: the object.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Written(NamedTuple):
    """A checkpoint in chunks that was stored, not yet referenced by anything.

    Attributes:
        base: the reference to it, and its chunks.
        reuses: whether it names chunks that were there before.
    """

    base: Base
    reuses: bool


async def store(
    storage: Put, layout: Layout, incarnation: str, state: State, chain: str, nonce: str
) -> codec.CheckpointRef:
    """Write a checkpoint of a state as one object, not yet referenced by anything. Raises as `Storage.put`."""
    seq = int(state.version)
    ref = await store_at(storage, layout.checkpoint(incarnation, seq, nonce), incarnation, seq, state, chain)
    return replace(ref, name=ref.name.removeprefix(layout.root))


async def divided(state: State, base: Base | None) -> list[ChunkRef | Run] | None:
    """The chunks of a state; None if it is to be one object."""

    def parts() -> list[ChunkRef | Run] | None:
        cells = state.entries.cells
        return divide(cells, base) if is_large(cells) else None

    return await asyncio.to_thread(parts)


async def store_in_chunks(
    storage: Put,
    layout: Layout,
    incarnation: str,
    state: State,
    chain: str,
    nonce: str,
    parts: Sequence[ChunkRef | Run],
    there: Mapping[str, ChunkRef],
    clock: Clock,
) -> Written:
    """Write a checkpoint in chunks: those that are not there, then the object that names all.

    Args:
        storage: where.
        layout: the manifest's names.
        incarnation: of the log.
        state: the state.
        chain: the hash of its last entry.
        nonce: makes the names unique.
        parts: its chunks, from `divided`.
        there: the chunks that may be named again, by the SHA-256 of what they hold.
        clock: for the waits between attempts; what is put again is the same.

    Raises:
        as `Storage.put`.
    """
    seq, cells = int(state.version), state.entries.cells
    name = layout.checkpoint(incarnation, seq, nonce)
    room, turn = asyncio.Semaphore(_PUTS_AT_ONCE), asyncio.Lock()
    ends = [*(part.first for part in parts[1:]), None]

    async def put(name: str, packed: bytes) -> None:
        sha256 = hashlib.sha256(packed).digest()
        await patiently(
            lambda: storage.put(name, packed, sha256=sha256, content_type="application/gzip"), clock, Backoff()
        )

    async def stored(number: int, part: ChunkRef | Run, end: str | None) -> tuple[ChunkRef, bool]:
        if isinstance(part, ChunkRef) and part.sha256 in there:
            return there[part.sha256], False
        some = part.cells if isinstance(part, Run) else cells.between(part.first, end)
        own = layout.chunk(incarnation, seq, nonce, number)
        async with room:
            async with turn:  # one thread at a time, or they would keep the event loop waiting
                packed, sha256, size = await asyncio.to_thread(_encode, some, there)
            if packed is None:
                return there[sha256], False
            await put(own, packed)
        return ChunkRef(part.first, own.removeprefix(layout.root), sha256, size, part.weight), True

    done = await together(stored(number, *one) for number, one in enumerate(zip(parts, ends, strict=True)))
    chunks = tuple(chunk for chunk, _ in done)
    root = Checkpoint(incarnation, seq, chain, state, chunks)
    (packed, sha256, size), state_sha256 = await asyncio.to_thread(
        lambda: (pack([checkpoint_codec.encode_root(root)]), checkpoint_codec.digest_of_state(root))
    )
    await put(name, packed)
    written = size + sum(chunk.size for chunk, is_new in done if is_new)
    ref = codec.CheckpointRef(seq, name.removeprefix(layout.root), sha256, size, state_sha256, written)
    return Written(Base(ref, cells, chunks), reuses=not all(is_new for _, is_new in done))


def _encode(cells: SortedMap[Cell], there: Mapping[str, object]) -> tuple[bytes | None, str, int]:
    """A chunk as it is stored, None if it is there; the SHA-256 of its JSON, and the size of that."""
    parts = list(checkpoint_codec.chunk_parts(cells))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    if (sha256 := digest.hexdigest()) in there:
        return None, sha256, sum(map(len, parts))
    return pack(parts)


async def load_root(
    storage: Get, layout: Layout, incarnation: str, ref: codec.CheckpointRef, kept: Prefixes | None = None
) -> Checkpoint:
    """Read a checkpoint's own object: of one in chunks all but the entries.

    Raises:
        Vanished: it is not there.
        Corrupt: it does not match the reference in the head.
    """
    name = layout.root + ref.name
    found = await load_at(storage, name, incarnation, ref, codec.sequenced_names, kept, in_chunks=bool(ref.state))
    if found is None:
        raise Vanished(name)
    return found


async def load_chunk(
    storage: Get,
    layout: Layout,
    chunk: ChunkRef,
    kept: Prefixes | None = None,
    turn: asyncio.Lock | None = None,
) -> SortedMap[Cell]:
    """Read a chunk, or its entries of some keys.

    Raises:
        Vanished: it is not there.
        Corrupt: it does not match the reference in its checkpoint.
    """
    name = layout.root + chunk.name
    what = f"chunk {name!r}"
    if not 0 < chunk.size <= MAX_CHECKPOINT_BYTES:
        raise Corrupt(f"claims {chunk.size:,} bytes", object=what)
    answer = await storage.get(name, limit=chunk.size + (1 << 16))
    if not isinstance(answer, Found):
        raise Vanished(name)
    packed = answer.body

    def decode() -> SortedMap[Cell]:
        return checkpoint_codec.decode_chunk(unpack(packed, chunk.sha256, chunk.size, what), name, kept)

    async with turn or asyncio.Lock():
        return await asyncio.to_thread(decode)


async def load(
    storage: Get,
    layout: Layout,
    incarnation: str,
    ref: codec.CheckpointRef,
    kept: Prefixes | None = None,
    seen: dict[str, SortedMap[Cell]] | None = None,
) -> Checkpoint:
    """Read a checkpoint, or its entries of some keys, for which only the chunks with their ranges are fetched.

    Args:
        storage: where.
        layout: the manifest's names.
        incarnation: of the log.
        ref: of the checkpoint.
        kept: the keys whose entries are wanted, if not all.
        seen: what chunks hold, by its SHA-256: one that is in it is not fetched, others are added.

    Raises:
        Vanished: an object of it is not there.
        Corrupt: it does not match the reference in the head.
    """
    root = await load_root(storage, layout, incarnation, ref, kept)
    if not root.chunks:
        return root
    room, turn = asyncio.Semaphore(_READS_AT_ONCE), asyncio.Lock()
    ends = [*(chunk.first for chunk in root.chunks[1:]), None]

    async def loaded(chunk: ChunkRef, end: str | None) -> SortedMap[Cell]:
        if seen is not None and chunk.sha256 in seen:
            return seen[chunk.sha256]
        async with room:
            cells = await load_chunk(storage, layout, chunk, kept, turn)
        if len(cells) and (cells.at(0)[0] < chunk.first or (end is not None and cells.at(len(cells) - 1)[0] >= end)):
            raise Corrupt("has keys of another chunk", object=f"chunk {layout.root + chunk.name!r}")
        if seen is not None:
            seen[chunk.sha256] = cells
        return cells

    wanted = [
        (chunk, end)
        for chunk, end in zip(root.chunks, ends, strict=True)
        if kept is None or kept.meets(chunk.first, end)
    ]
    parts = await together(loaded(*one) for one in wanted)
    entries = Entries(await asyncio.to_thread(SortedMap[Cell].joined, parts))
    return replace(root, state=replace(root.state, entries=entries))
