"""Encode and decode checkpoints, whole and in chunks. Pure.

Raises as `rxmps3.log.codec` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from immutables import Map

from rxmps3.errors import Corrupt
from rxmps3.log.codec import (
    CHUNKS,
    FORMAT,
    PACKS,
    Names,
    Reader,
    check_format,
    decode_packs,
    decode_state_entry,
    digest,
    encode_state_entry,
    json_bytes,
    json_object,
    packs_in,
    sequenced_names,
    stamp,
)
from rxmps3.model import jsontext
from rxmps3.model.entries import Cell, cell_of
from rxmps3.model.prefixes import Prefixes
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import Entries, Mark, State

__all__ = [
    "Checkpoint",
    "ChunkRef",
    "chunk_parts",
    "decode_chunk",
    "decode_state",
    "digest_of_state",
    "encode_root",
    "encode_state",
    "state_parts",
]

_ENTRIES_AT_ONCE = 1000


def encode_state(state: State, incarnation: str, seq: int, chain: str) -> bytes:
    """The JSON of a checkpoint. Deterministic: equal states give equal bytes."""
    return b"".join(state_parts(state, incarnation, seq, chain))


def state_parts(state: State, incarnation: str, seq: int, chain: str) -> Iterator[bytes]:
    """`encode_state` in parts: a state of a million keys is never in memory as one text.

    The entries come last: `decode_state` reads them one by one, and they refer to the packs.
    """
    cells = state.entries.cells
    members = {
        "chain": chain,
        "format": FORMAT,
        "log": incarnation,
        "seq": seq,
        "writers": _writers_members(state.writers),
    }
    return _with_entries(members, cells)


def _writers_members(writers: Mapping[str, Mark]) -> dict[str, Any]:
    return {
        writer: {
            "number": mark.number,
            "nonce": mark.nonce,
            "date": None if mark.date is None else stamp(mark.date, "seconds"),
            **({"gaps": [list(gap) for gap in mark.gaps]} if mark.gaps else {}),
        }
        for writer, mark in writers.items()
    }


def _with_entries(members: Mapping[str, Any], cells: SortedMap[Cell]) -> Iterator[bytes]:
    """The JSON of an object with these members, and with entries and what these require, in parts."""
    packs = packs_in(cell for _, cell in cells.items() if not isinstance(cell, str))
    head = jsontext.encode(
        {**members, "requires": [PACKS] if packs else [], **({"packs": list(packs)} if packs else {})}
    )
    comma = f'{head[:-1]},"entries":{{'
    items = iter(cells.items())
    while some := [
        f"{jsontext.quote(key)}:{_encode_cell(cell, packs)}" for key, cell in islice(items, _ENTRIES_AT_ONCE)
    ]:
        yield f"{comma}{','.join(some)}".encode()
        comma = ","
    yield f"{comma if not cells else ''}}}}}".encode()


def chunk_parts(cells: SortedMap[Cell]) -> Iterator[bytes]:
    """The JSON of a chunk with these entries, in parts. Deterministic."""
    return _with_entries({"format": FORMAT}, cells)


def _encode_cell(cell: Cell, packs: Mapping[str, int]) -> str:
    if isinstance(cell, str):
        version, _, text = cell.rpartition("\n")
        return f'{{"value":{text},"version":{jsontext.quote(version)}}}'
    return encode_state_entry(cell, packs)


@dataclass(frozen=True)
class ChunkRef:
    """A reference to a chunk: an object with the entries of the keys from ``first`` on, up to the next chunk.

    Attributes:
        first: its first key.
        name: the object, relative to the manifest.
        sha256: hex, of its JSON before compression.
        size: bytes of that JSON.
        weight: of its entries; see `rxmps3.log.chunks`.
    """

    first: str
    name: str
    sha256: str
    size: int
    weight: int


@dataclass(frozen=True)
class Checkpoint:
    """A decoded checkpoint: the state after entry ``seq``, and the chain hash of that entry.

    Attributes:
        chunks: the chunks that hold its entries; none if it holds them itself.
    """

    incarnation: str
    seq: int
    chain: str
    state: State
    chunks: tuple[ChunkRef, ...] = ()


def encode_root(checkpoint: Checkpoint) -> bytes:
    """The JSON of a checkpoint in chunks, without the chunks' own."""
    return json_bytes(
        {
            "chain": checkpoint.chain,
            "chunks": [asdict(chunk) for chunk in checkpoint.chunks],
            "format": FORMAT,
            "log": checkpoint.incarnation,
            "requires": [CHUNKS],
            "seq": checkpoint.seq,
            "writers": _writers_members(checkpoint.state.writers),
        }
    )


def digest_of_state(checkpoint: Checkpoint) -> str:
    """What a reference to a checkpoint in chunks has as ``state``: hex SHA-256 of its JSON without chunks' names."""
    unnamed = tuple(replace(chunk, name="") for chunk in checkpoint.chunks)
    return digest(encode_root(replace(checkpoint, chunks=unnamed)))


def decode_state(
    body: bytes,
    name: str,
    names: Names = sequenced_names,
    kept: Prefixes | None = None,
    *,
    in_chunks: bool | None = False,
) -> Checkpoint:
    """Read the JSON of a checkpoint, or of its entries those of some keys. Raises as `decode_entry`.

    Args:
        body: the JSON.
        name: the object's name, for errors.
        names: checks the object names of values.
        kept: the keys whose entries are wanted, if not all.
        in_chunks: whether it has to be one in chunks, whose entries are left out; None: either.
    """
    what = f"checkpoint {name!r}"
    members, entries = _decode_with_entries(body, what, names, kept)
    read = Reader(members, what)
    if in_chunks is not None and in_chunks != (entries is None):
        raise Corrupt("has entries of its own" if in_chunks else "in chunks, unlike what names it", object=what)
    chunks: tuple[ChunkRef, ...] = ()
    if entries is None:
        chunks = _decode_chunk_refs(read, what)
        entries = Entries()
    writers: dict[str, Mark] = {}
    for writer, part in read.object("writers").items():
        mark = Reader(json_object(part, what), what)
        date = None if mark.members.get("date") is None else mark.time("date")
        writers[writer] = Mark(mark.number("number"), mark.text("nonce"), date, _decode_gaps(mark.members, what))
    seq = read.number("seq")
    state = State(entries, Map(writers), str(seq), kept)
    return Checkpoint(read.text("log"), seq, read.hash("chain"), state, chunks)


def decode_chunk(body: bytes, name: str, kept: Prefixes | None = None) -> SortedMap[Cell]:
    """Read the JSON of a chunk, or of its entries those of some keys. Raises as `decode_entry`."""
    what = f"chunk {name!r}"
    entries = _decode_with_entries(body, what, sequenced_names, kept)[1]
    if entries is None:
        raise Corrupt("not a chunk, which has entries", object=what)
    return entries.cells


def _decode_with_entries(
    body: bytes, what: str, names: Names, kept: Prefixes | None
) -> tuple[dict[str, Any], Entries | None]:
    """The members of an object, and its entries; None if it is in chunks."""
    found: list[Entries] = []

    def take(pairs: Iterable[tuple[str, Any]], before: dict[str, Any]) -> None:
        check_format(before, what)
        found.append(_decode_entries(pairs, what, names, kept, before))

    try:
        members = json_object(jsontext.decode_members(body, "entries", take, what), what)
    except Corrupt:
        # Or it holds a number or text that not every reader accepts: only its own key suffers from that. Or its packs
        # come after its entries.
        members = json_object(jsontext.decode_container(body, what), what)
        found.clear()
    check_format(members, what)
    if found:
        return members, found[-1]
    if "chunks" in members:
        return members, None
    return members, _decode_entries(Reader(members, what).object("entries").items(), what, names, kept, members)


_CHUNK = re.compile("[0-9A-Za-z]+/checkpoint/[0-9]{20}-[0-9A-Za-z]+[.][0-9]+")


def _decode_chunk_refs(read: Reader, what: str) -> tuple[ChunkRef, ...]:
    chunks: list[ChunkRef] = []
    for part in read.array("chunks"):
        one = Reader(json_object(part, what), what)
        chunk = ChunkRef(
            one.text("first"), one.text("name"), one.hash("sha256"), one.number("size"), one.number("weight")
        )
        if not _CHUNK.fullmatch(chunk.name):
            raise Corrupt(f"{chunk.name!r:.200} is not the name of a chunk", object=what)
        if chunks and chunk.first <= chunks[-1].first:
            raise Corrupt(f"its chunk {chunk.name!r} is out of order", object=what)
        chunks.append(chunk)
    if not chunks:
        raise Corrupt("a checkpoint in chunks has at least one", object=what)
    return tuple(chunks)


def _decode_entries(
    pairs: Iterable[tuple[str, Any]], what: str, names: Names, kept: Prefixes | None, members: dict[str, Any]
) -> Entries:
    """The entries of a checkpoint; of its ``members`` the packs are needed, if there are any."""
    packs = decode_packs(Reader(members, what), names, what)
    cells: dict[str, Cell] = {}
    last, ascending = "", True
    for key, part in pairs:
        if kept is not None and not kept.has(key):
            continue
        cells[key] = cell_of(decode_state_entry(part, key, what, names, packs))
        ascending = ascending and key > last
        last = key
    keys = list(cells) if ascending else sorted(cells)
    return Entries(SortedMap.of(keys, list(cells.values()) if ascending else [cells[key] for key in keys]))


def _decode_gaps(members: Mapping[str, Any], what: str) -> tuple[tuple[int, int], ...]:
    gaps: Any = members.get("gaps", [])
    try:
        decoded = tuple((first, last) for first, last in gaps)
    except (TypeError, ValueError):
        raise Corrupt("'gaps' is not an array of pairs", object=what) from None
    if not all(type(first) is int and type(last) is int and 0 < first <= last for first, last in decoded):
        raise Corrupt("'gaps' holds something other than pairs of first and last numbers", object=what)
    return decoded
