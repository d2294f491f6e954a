"""How a large state is divided into chunks by ranges of keys. Pure.

Where chunks begin follows from the entries alone, each judged by itself: a key starts a chunk if its hash says so, with
a chance in proportion to its entry's weight. So equal states are divided alike, whoever does it and whatever came
before, and a changed entry concerns its own chunk and at most one neighbour. Chunks have a mean weight of `CUT`; sizes
are distributed exponentially, as the gaps between chance events are.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import NamedTuple

from rxmps3.log.checkpoint_codec import ChunkRef
from rxmps3.log.codec import CheckpointRef
from rxmps3.model.entries import Cell
from rxmps3.model.sortedmap import SortedMap

__all__ = ["Base", "Run", "divide", "is_large"]

CUT = 512 << 10
"""Mean weight of a chunk. A smaller one means less to write for one changed key, but more requests to open, and a
longer list of chunks to write each time: at this size the list has a two-thousandth of what the chunks have."""
LARGE = 4 << 20
"""A state of more weight is divided. Below it, one object is quicker to write and to read than several."""
_OBJECT_WEIGHT = 200
"""Of an entry whose value is not in its cell: about the bytes of a reference to it."""


class Run(NamedTuple):
    """Entries that make a chunk.

    Attributes:
        first: the first key.
        weight: of all of them.
        cells: the entries.
    """

    first: str
    weight: int
    cells: SortedMap[Cell]


class Base(NamedTuple):
    """A state whose chunks are known.

    Attributes:
        ref: the checkpoint of that state.
        cells: its entries.
        chunks: how they were divided.
    """

    ref: CheckpointRef
    cells: SortedMap[Cell]
    chunks: tuple[ChunkRef, ...]


def weight_of(key: str, cell: Cell) -> int:
    """Roughly the bytes of an entry's JSON: the characters of the key, the version id and the value."""
    return len(key) + (len(cell) if isinstance(cell, str) else _OBJECT_WEIGHT)


def is_large(cells: SortedMap[Cell]) -> bool:
    """Whether a state is to be divided. O(n) for one that is not, and no more for a larger one."""
    weight = 0
    for key, cell in cells.items():
        weight += weight_of(key, cell)
        if weight > LARGE:
            return True
    return False


def starts_chunk(key: str, weight: int) -> bool:
    """Whether an entry begins a chunk, if it is not the first of all."""
    chance = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    return chance * CUT < weight << 32


def divide(cells: SortedMap[Cell], base: Base | None) -> list[ChunkRef | Run]:
    """The chunks of a state, in order. O(n); with a base that shares most of it, O(changes · log n + what is in the
    chunks that have changed).

    Args:
        cells: the entries.
        base: an earlier or later state; its chunks stand for themselves where nothing in them differs.
    """
    if base is None or not base.chunks:
        return list(_runs(cells, "", None))
    firsts = [chunk.first for chunk in base.chunks]
    touched: set[int] = set()
    for key in base.cells.differing(cells):
        place = max(bisect_right(firsts, key) - 1, 0)
        touched.add(place)
        if place and firsts[place] == key:
            touched.add(place - 1)  # the entry may not begin a chunk any more
    parts: list[ChunkRef | Run] = []
    place = 0
    while place < len(firsts):
        if place not in touched:
            parts.append(base.chunks[place])
            place += 1
            continue
        start = firsts[place] if place else ""
        while place in touched:
            place += 1
        parts += _runs(cells, start, firsts[place] if place < len(firsts) else None)
    return parts


def _runs(cells: SortedMap[Cell], start: str, stop: str | None) -> list[Run]:
    """The chunks of the keys from ``start``, which begins one, to before ``stop``."""
    firsts: list[str] = []
    weights: list[int] = []
    for key, cell in cells.items_from(start):
        if stop is not None and key >= stop:
            break
        weight = weight_of(key, cell)
        if not firsts or starts_chunk(key, weight):
            firsts.append(key)
            weights.append(0)
        weights[-1] += weight
    if not firsts:
        return []
    ends: list[str | None] = [*firsts[1:], stop]
    return [
        Run(first, weight, cells.between(first, end)) for first, weight, end in zip(firsts, weights, ends, strict=True)
    ]
