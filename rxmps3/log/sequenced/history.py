"""Reading the entries that a sequenced log still holds, oldest first.

Collection removes old entries in no particular order, and only up to the head's ``floor``. So reading starts after the
last gap, and a missing entry is an error only if the floor has not passed it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from rxmps3.errors import Corrupt
from rxmps3.log import codec
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.model.names import Layout
from rxmps3.runtime.gather import together
from rxmps3.storage.base import Found, Get, List, Missing, NotModified, list_all

__all__ = ["read_entries"]

_READS_AT_ONCE = 16
_MAX_HEAD_BYTES = 1 << 20


class _GetList(Get, List, Protocol):
    """The storage operations used here."""


async def read_entries(
    storage: _GetList, layout: Layout, *, after: int = 0, last: int | None = None
) -> AsyncGenerator[codec.LogEntry, None]:
    """The entries of a manifest's log, in order, as of now; none if there is no such manifest.

    Only a few entries are in memory at a time, however long the log is. Values are not read.

    Args:
        storage: where the manifest is.
        layout: the manifest's names.
        after: leave out entries up to and including this number.
        last: only so many, from the end.

    Raises:
        Corrupt: the head, an entry or their chain is not what it claims to be.
        Unsupported: written by a newer version of this package.
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    head = await _read_head(storage, layout)
    if head is None or last == 0:
        return
    after = max(after, head.floor)  # entries below it are being collected, or were written by a stalled writer
    if last is not None and head.checkpoint is not None:
        after = max(after, head.checkpoint.seq - last)  # the log ends at or after its checkpoint
    listed = await list_all(
        storage, layout.log(head.incarnation), after=layout.entry(head.incarnation, after) if after else ""
    )
    found = (layout.seq_of(head.incarnation, one.name) for one in listed)
    numbers = _unbroken_end(sorted(number for number in found if number is not None))
    if numbers and numbers[0] > after + 1:
        await _check_collected(storage, layout, head, numbers[0] - 1)
    if last is not None:
        numbers = numbers[-last:]
    chain = codec.genesis(head.incarnation) if numbers and numbers[0] == 1 else ""
    for start in range(0, len(numbers), _READS_AT_ONCE):
        batch = numbers[start : start + _READS_AT_ONCE]
        for seq, body in zip(batch, await _read_bodies(storage, layout, head, batch), strict=True):
            if body is None:
                await _check_collected(storage, layout, head, seq)
                chain = ""
                continue
            entry = _decode(body, seq, chain, layout.entry(head.incarnation, seq))
            chain = codec.digest(body)
            yield entry


def _unbroken_end(numbers: Sequence[int]) -> Sequence[int]:
    """The numbers after the last gap."""
    start = len(numbers)
    while start and (start == len(numbers) or numbers[start - 1] + 1 == numbers[start]):
        start -= 1
    return numbers[start:]


async def _read_head(storage: Get, layout: Layout) -> codec.Head | None:
    answer = await storage.get(layout.head, limit=_MAX_HEAD_BYTES)
    return codec.decode_head(answer.body, layout.head) if isinstance(answer, Found) else None


async def _read_bodies(storage: Get, layout: Layout, head: codec.Head, numbers: Sequence[int]) -> list[bytes | None]:
    """Read the bodies of these entries in parallel; None for one that does not exist."""
    names = [layout.entry(head.incarnation, seq) for seq in numbers]
    answers = await together(storage.get(name, limit=MAX_ENTRY_BYTES) for name in names)
    return [None if isinstance(answer, (Missing, NotModified)) else answer.body for answer in answers]


async def _check_collected(storage: Get, layout: Layout, head: codec.Head, seq: int) -> None:
    """Raise `Corrupt` unless, by the current head, entry ``seq`` may have been collected."""
    if seq <= head.floor:
        return
    now = await _read_head(storage, layout)
    if now is None or now.incarnation != head.incarnation or seq > now.floor:
        raise Corrupt(
            "missing, though later ones exist",
            operation="read",
            object=f"log entry {layout.entry(head.incarnation, seq)!r}",
            remedy="restore the object; nothing is overwritten",
        )


def _decode(body: bytes, seq: int, chain: str, name: str) -> codec.LogEntry:
    entry = codec.decode_entry(body, name)
    if entry.seq != seq:
        raise Corrupt(f"claims to be number {entry.seq}", object=f"log entry {name!r}")
    if chain and entry.previous != chain:
        raise Corrupt(
            f"does not follow entry {seq - 1}: its hash chain differs",
            object=f"log entry {name!r}",
            remedy="an entry was replaced, or two histories were mixed in one bucket",
        )
    return entry
