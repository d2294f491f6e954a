"""Reading back what a log still holds, while collectors work on it or somebody has damaged it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeVar

import pytest

import rxmps3
from rxmps3.errors import Corrupt, Unsupported
from rxmps3.log import codec
from rxmps3.log.sequenced.history import read_entries
from rxmps3.model.names import Layout
from rxmps3.model.state import Entry, Inline, Write, WriteId
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, MemoryStorage
from rxmps3.testing import Request, StorageWrapper
from tests.forging import resealed

T = TypeVar("T")
LAYOUT = Layout("main")
LOG = "inc0"


async def put_head(storage: MemoryStorage, floor: int = 0, checkpoint: int | None = None) -> None:
    seq = floor if checkpoint is None else checkpoint
    name = f"{LOG}/checkpoint/{seq:020d}-n"
    ref = codec.CheckpointRef(seq, name, "0" * 64, 1) if seq else None
    await storage.put(LAYOUT.head, codec.encode_head(codec.Head(LOG, "n", ref, floor=floor)))


async def put_log(last: int) -> MemoryStorage:
    """A log of so many entries."""
    storage = MemoryStorage(clock=SystemClock())
    await put_head(storage)
    chain = codec.genesis(LOG)
    for seq in range(1, last + 1):
        write = Write(WriteId("w", seq), f"n{seq}", {"k": Entry(f"w-{seq}", Inline(str(seq)))})
        text = codec.encode_write(write, "w")
        body = codec.encode_entry(seq, chain, "w", "", datetime(2026, 1, 1, tzinfo=UTC), [text])
        await storage.put(LAYOUT.entry(LOG, seq), body)
        chain = codec.digest(body)
    return storage


async def collect(storage: MemoryStorage, numbers: Iterable[int]) -> None:
    for seq in numbers:
        await storage.delete(LAYOUT.entry(LOG, seq))


async def read(storage: MemoryStorage | StorageWrapper, *, after: int = 0, last: int | None = None) -> list[int]:
    return [entry.seq async for entry in read_entries(storage, LAYOUT, after=after, last=last)]


async def test_a_manifest_that_does_not_exist_has_no_history() -> None:
    assert await read(MemoryStorage(clock=SystemClock())) == []
    assert await read(await put_log(0), last=3) == []


async def test_a_log_of_more_than_a_page_is_read_in_order() -> None:
    storage = await put_log(1100)
    assert await read(storage) == list(range(1, 1101))
    assert await read(storage, after=1000) == list(range(1001, 1101))
    assert await read(storage, last=30) == list(range(1071, 1101))
    assert await read(storage, last=2000, after=1090) == list(range(1091, 1101))
    assert await read(storage, last=0) == []
    assert await read(storage, after=1100) == []


async def test_it_is_what_the_database_wrote() -> None:
    storage = MemoryStorage(clock=SystemClock())
    async with rxmps3.connect(storage, by="alice") as db:
        told: list[object] = []
        db.versions.subscribe(told.append)
        for number in range(5):
            await db.put("k", number)
        assert [entry.version async for entry in read_entries(storage, LAYOUT)] == told


@pytest.mark.parametrize("gone", [range(1, 11), [3, 10, 1], [7], []], ids=str)
async def test_it_starts_at_the_unbroken_end_while_old_entries_are_deleted(gone: Iterable[int]) -> None:
    storage = await put_log(20)
    await put_head(storage, floor=10)
    await collect(storage, gone)
    first = 11  # what is left up to the floor is on its way out
    assert await read(storage) == list(range(first, 21))
    assert await read(storage, last=5) == list(range(16, 21))
    assert await read(storage, after=4) == list(range(max(first, 5), 21))


async def test_a_checkpoint_spares_listing_what_lies_far_before_the_end() -> None:
    class Listings(StorageWrapper):
        listed = 0

        async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
            answer = await proceed()
            if request.verb == "list":
                self.listed += len(answer.objects)  # type: ignore[attr-defined]
            return answer

    storage = await put_log(300)
    await put_head(storage, checkpoint=290)
    listings = Listings(storage)
    assert await read(listings, last=15) == list(range(286, 301))
    assert listings.listed == 25


async def test_few_entries_are_read_at_a_time_and_no_more_than_are_wanted() -> None:
    class Reads(StorageWrapper):
        now = most = total = 0

        async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
            self.now, self.total = self.now + 1, self.total + 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            try:
                return await proceed()
            finally:
                self.now -= 1

    reads = Reads(await put_log(200))
    async with aclosing(read_entries(reads, LAYOUT)) as entries:
        async for entry in entries:
            if entry.seq == 40:
                break
    assert 2 <= reads.most <= 16
    assert reads.total < 60


@pytest.mark.parametrize("gone", [[1], range(1, 9), [5]], ids=str)
async def test_entries_that_are_collected_meanwhile_are_left_out(gone: Iterable[int]) -> None:
    class CollectedWhileRead(StorageWrapper):
        listed = False

        async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
            answer = await proceed()
            if request.verb == "list" and not self.listed:
                self.listed = True
                await put_head(storage, floor=8)
                await collect(storage, gone)
            return answer

    storage = await put_log(12)
    assert await read(CollectedWhileRead(storage)) == [seq for seq in range(1, 13) if seq not in gone]


# -- damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("floor", "gone"), [(0, 1), (0, 7), (5, 7), (5, 6)])
async def test_an_entry_that_is_missing_above_the_floor_is_corruption(floor: int, gone: int) -> None:
    storage = await put_log(9)
    await put_head(storage, floor=floor)
    await collect(storage, [gone])
    with pytest.raises(Corrupt, match=f"log entry '{LAYOUT.entry(LOG, gone)}': missing"):
        await read(storage)


async def test_an_entry_that_was_replaced_is_corruption() -> None:
    storage = await put_log(4)
    found = await storage.get(LAYOUT.entry(LOG, 2))
    assert isinstance(found, Found)
    await storage.put(LAYOUT.entry(LOG, 2), resealed(found.body.replace(b'"writer":"w"', b'"writer":"v"')))
    with pytest.raises(Corrupt, match="does not follow entry 2"):
        await read(storage)
    assert await read(storage, after=2) == [3, 4]
    await storage.put(LAYOUT.entry(LOG, 3), found.body)
    with pytest.raises(Corrupt, match="claims to be number 2"):
        await read(storage, after=2)


async def test_the_first_entry_belongs_to_its_log() -> None:
    storage = await put_log(1)
    found = await storage.get(LAYOUT.entry(LOG, 1))
    assert isinstance(found, Found)
    other = codec.genesis("another").encode()
    forged = resealed(found.body.replace(codec.genesis(LOG).encode(), other))
    await storage.put(LAYOUT.entry(LOG, 1), forged)
    with pytest.raises(Corrupt, match="hash chain differs"):
        await read(storage)


async def test_a_newer_format_is_refused() -> None:
    storage = await put_log(1)
    await storage.put(LAYOUT.head, b'{"format":2}')
    with pytest.raises(Unsupported, match="format 2 is newer"):
        await read(storage)
