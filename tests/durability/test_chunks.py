"""Checkpoints in chunks: what they cost, that they are read, and that no chunk in use is ever deleted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import rxmps3
from rxmps3.errors import Corrupt, NotLoaded, PreconditionFailed, Unavailable, Unsupported
from rxmps3.log import chunks, codec
from rxmps3.log.checkpoint_codec import Checkpoint
from rxmps3.log.sequenced import checkpoints
from rxmps3.log.sequenced.collector import SequencedCollector
from rxmps3.log.sequenced.log import SequencedLog
from rxmps3.log.sequenced.repair import carry_out, examine
from rxmps3.log.sequenced.verify import verify
from rxmps3.model.entries import Cell, Entries
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import Committed, Loaded, State, fold
from rxmps3.storage import Found, MemoryStorage, Storage
from rxmps3.testing import CountingStorage, Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.conftest import Place
from tests.durability.helpers import LARGE, on
from tests.durability.upkeep import HOUR, LAYOUT, check, contents, head_of, kind_of
from tests.mutating import Mutant
from tests.processes.reading import with_storage

KEYS = 400
VALUES = {f"k/{n:03}": {"n": n} for n in range(KEYS)}


@pytest.fixture
def small(mutant: Mutant) -> None:
    """Chunks of about 25 keys, from a hundred on."""
    mutant.replace(chunks.CUT, 1000, within=chunks)
    mutant.replace(chunks.LARGE, 4000, within=chunks)


def in_chunks(storage: CountingStorage, verb: str) -> Counter[str]:
    """How many requests there were for each kind of object, chunks apart from what names them."""
    return Counter(
        "chunk" if "/checkpoint/" in one.name and "." in one.name else kind_of(one.name)
        for one in storage.requests
        if one.verb == verb
    )


async def names_of_chunks(bucket: Storage) -> set[str]:
    return {name for name in await contents(bucket) if "/checkpoint/" in name and "." in name}


async def root_of(bucket: Storage) -> Checkpoint:
    head = await head_of(bucket)
    assert head.checkpoint is not None
    return await checkpoints.load_root(bucket, LAYOUT, head.incarnation, head.checkpoint)


# -- cost ----------------------------------------------------------------------------------------------------------


async def with_state(bucket: Storage, cells: SortedMap[Cell]) -> None:
    """A manifest that begins with a checkpoint of this state after its first entry, in one object."""
    state = State(Entries(cells), version="1")
    ref = await checkpoints.store(bucket, LAYOUT, "inc", state, "0" * 64, "n")
    await bucket.put(LAYOUT.head, codec.encode_head(codec.Head("inc", "n", ref, floor=1)))


async def test_one_changed_key_of_100_000_costs_a_chunk_and_the_list_of_chunks() -> None:
    bucket = CountingStorage(MemoryStorage())
    keys = [f"todo/{n:06}" for n in range(100_000)]
    title = "one of the many items of a long list, as it might be"
    cells = SortedMap[Any].of(keys, [f'w-1\n{{"done":false,"n":{n},"title":"{title}"}}' for n in range(100_000)])
    await with_state(bucket, cells)
    async with on(bucket) as db:
        await db.put("todo/050000", "changed")
        bucket.reset()
        await db.compact()
        number = len((await root_of(bucket.inner)).chunks)
        assert in_chunks(bucket, "put") == {"chunk": number, "checkpoint": 1, "head": 1}
        whole = sum(one.bytes_up for one in bucket.requests if "/checkpoint/" in one.name)
        weight = sum(chunks.weight_of(key, cell) for key, cell in cells.items())
        assert number == pytest.approx(weight / chunks.CUT, rel=0.6), "by chance"
        for key in ("todo/012345", "todo/000000", "todo/099999"):
            await db.put(key, "changed")
            bucket.reset()
            await db.compact()
            assert in_chunks(bucket, "put") == {"chunk": 1, "checkpoint": 1, "head": 1}
            assert sum(one.bytes_up for one in bucket.requests if "/checkpoint/" in one.name) < whole / 4
            assert "chunk" not in in_chunks(bucket, "get")
    bucket.reset()
    async with on(bucket, read_only=True) as db:
        assert in_chunks(bucket, "get") == {"head": 1, "checkpoint": 1, "chunk": number, "log": 1}
        assert bucket.counts["list"] == 1
        assert len(db) == 100_000
    bucket.reset()
    async with on(bucket, read_only=True, prefixes=["todo/05000"]) as db:
        assert in_chunks(bucket, "get") == {"head": 1, "checkpoint": 1, "chunk": 1, "log": 1}
        assert len(db) == 10
        with pytest.raises(NotLoaded):
            await db.get("todo/000000")


async def test_a_state_that_is_not_large_is_one_object_as_ever() -> None:
    bucket = CountingStorage(MemoryStorage())
    async with on(bucket) as db:
        await db.put_all(VALUES)
        bucket.reset()
        await db.compact()
        assert in_chunks(bucket, "put") == {"checkpoint": 1, "head": 1}
    head = await head_of(bucket)
    assert head.checkpoint is not None
    assert not head.checkpoint.state
    found = await bucket.get(LAYOUT.head)
    assert isinstance(found, Found)
    assert b'"requires":[]' in found.body
    bucket.reset()
    async with on(bucket, read_only=True) as db:
        assert bucket.counts == {"get": 3, "list": 1}


def test_checkpoints_are_made_more_often_where_little_changes(small: None) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = CountingStorage(MemoryStorage(clock=clock))
        async with on(bucket, clock=clock) as db:
            text = "x" * 10_000
            await db.put_all({f"text/{n:04}": text for n in range(1000)})
            await db.compact()
            await db.put("counter", 0)
            await db.compact()  # which finds out that little has changed
            bucket.reset()
            for n in range(1000):
                await db.put("counter", n)
            assert in_chunks(bucket, "put")["head"] == 4, "each 200 entries, not each ten megabytes"
        await check(bucket)

    run_virtually(main())


@pytest.mark.sequenced_only("the other logs have no chunks")
async def test_they_are_written_and_read_on_each_storage(small: None, place: Place) -> None:
    def opened(**options: Any) -> rxmps3.Connecting:
        return rxmps3.connect(place.url, poll=3600, shared=False, **place.options, **options)

    async with opened() as db:
        await db.put_all(VALUES)
        await db.compact()
        await db.put("k/200", "changed")
        before = db.cost.value.total.puts
        await db.compact()
        assert db.cost.value.total.puts == before + 3, "a chunk, the list of chunks, and the head"
    async with opened(read_only=True) as db:
        assert await db.get_prefix("") == VALUES | {"k/200": "changed"}
        found = await asyncio.to_thread(with_storage, place, lambda storage: verify(storage, "main"))
        assert (found.problems, found.checkpoints, found.keys) == ([], 2, KEYS)
    async with opened(read_only=True, prefixes=["k/20"]) as db:
        assert len(db) == 10
        assert await db.get("k/200") == "changed"


def test_what_was_read_before_another_read_failed_is_not_read_again(small: None) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        await changed(bucket, clock)
        parts = (await root_of(bucket)).chunks

        class Fails(CountingStorage):
            left = 5

            async def around(self, request: Request, proceed: Callable[[], Any]) -> Any:
                if request.name.endswith(parts[-1].name) and self.left:
                    self.left -= 1
                    raise Unavailable("no route to host")
                return await super().around(request, proceed)

        failing = Fails(bucket)
        log = SequencedLog(failing, LAYOUT, clock, writer="w", by="")
        for _ in range(5):
            with pytest.raises(Unavailable):
                await log.open()
        await log.open()
        assert log.base is not None
        assert len(parts) > 10
        assert in_chunks(failing, "get")["chunk"] <= len(parts) + 8, "at most what was under way once more"

    run_virtually(main())


# -- reading -------------------------------------------------------------------------------------------------------


async def changed(bucket: Storage, clock: SimClock) -> None:
    """Three checkpoints in chunks, the first one tagged."""
    async with on(bucket, clock=clock) as db:
        await db.put_all(VALUES)
        await db.tag("first")
        await db.put("k/200", LARGE)
        await db.delete("k/201")
        await db.compact()
        await db.put_all({"a": 1, "k/000": 2, "z": 3})
        await db.compact()


def test_the_past_and_tags_are_read_from_chunks(small: None) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = CountingStorage(MemoryStorage(clock=clock))
        await changed(bucket, clock)
        assert all(ref.state for ref in (await head_of(bucket)).refs)
        async with on(bucket, clock=clock, read_only=True) as db:
            assert len(db) == KEYS + 1
            assert await db.get("k/200") == LARGE
            then = await db.at("first")
            assert dict(await then.get_prefix("")) == VALUES
            then = await db.at("3")
            assert await then.get("k/201") is None
            assert await then.get("k/000") == {"n": 0}
        found = await verify(bucket, "main")
        assert (found.problems, found.checkpoints, found.keys) == ([], 3, KEYS + 1)
        await check(bucket)

    run_virtually(main())


def test_a_release_that_does_not_know_chunks_says_so_and_changes_nothing(small: None, mutant: Mutant) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        await changed(bucket, clock)
        before = await contents(bucket)
        mutant.replace(codec.KNOWN_FEATURES, frozenset({codec.TAGS, codec.PACKS}), within=codec)
        with pytest.raises(Unsupported, match="requires chunks"):
            await on(bucket, clock=clock)
        assert await contents(bucket) == before

    run_virtually(main())


def lost(body: bytes) -> bytes | None:
    return None


def flipped(body: bytes) -> bytes:
    return body[:-20] + bytes([body[-20] ^ 1]) + body[-19:]


def cut_off(body: bytes) -> bytes:
    return body[:-10]


def extended(body: bytes) -> bytes:
    return body + body


@pytest.mark.parametrize("harm", [lost, flipped, cut_off, extended])
def test_a_chunk_that_is_missing_or_damaged_is_named(small: None, harm: Callable[[bytes], bytes | None]) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        await changed(bucket, clock)
        root = await root_of(bucket)
        name = LAYOUT.root + root.chunks[3].name
        body = harm((await contents(bucket))[name])
        await bucket.delete(name)
        if body is not None:
            await bucket.put(name, body)
        with pytest.raises(Corrupt) as raised:
            await on(bucket, clock=clock)
        assert name in str(raised.value)
        problems = (await verify(bucket, "main")).problems
        assert problems
        assert all(name in f"{one.object} {one.what}" for one in problems)
        head = await head_of(bucket)
        repair = await examine(bucket, "main", nonce="n")
        assert repair.is_needed, "its checkpoint cannot be read"
        await carry_out(bucket, repair, "aside")
        assert (await head_of(bucket)).nonce != head.nonce
        async with on(bucket, clock=clock) as db:
            assert len(db) == KEYS + 1, "from the log, or from a checkpoint before"

    run_virtually(main())


def test_a_lost_head_is_made_anew_from_checkpoints_in_chunks(small: None) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        await changed(bucket, clock)
        before = await head_of(bucket)
        await bucket.delete(LAYOUT.head)
        repair = await examine(bucket, "main", nonce="n")
        assert repair.strays == repair.rest == ()
        await carry_out(bucket, repair, "aside")
        after = await head_of(bucket)
        assert (after.checkpoint, after.kept) == (before.checkpoint, before.kept)
        assert not (await examine(bucket, "main", nonce="m")).is_needed
        assert (await verify(bucket, "main")).ok
        await check(bucket)

    run_virtually(main())


# -- collection ----------------------------------------------------------------------------------------------------


def test_chunks_that_nothing_names_are_deleted_and_no_others(small: None) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        async with on(bucket, clock=clock, retention=timedelta(hours=5)) as db:
            await db.put_all(VALUES)
            await db.tag("first")
            tagged = {LAYOUT.root + chunk.name for chunk in (await root_of(bucket)).chunks}
            for n in range(12):
                await db.put_all({f"k/{n:03}": n, f"new/{n}": n})
                await db.compact()
                await check(bucket)
                await clock.sleep(HOUR)
            head = await head_of(bucket)
            assert head.floor > 4
            named: set[str] = set()
            for ref in head.refs:
                root = await checkpoints.load_root(bucket, LAYOUT, head.incarnation, ref)
                named |= {LAYOUT.root + chunk.name for chunk in root.chunks}
            assert tagged <= named
            there = await names_of_chunks(bucket)
            assert named <= there
            young = max(2, head.floor - 8)
            assert len(there - named) <= 3 * (head.checkpoint.seq - young if head.checkpoint else 0)
            await db.untag("first")
            for _ in range(4):
                await clock.sleep(3 * HOUR)
                await db.put("tick", clock.monotonic())
                await db.compact()
            assert not tagged <= await names_of_chunks(bucket)
            assert (await verify(bucket, "main")).ok
        await check(bucket)

    run_virtually(main())


class Client:
    """A client's log and collector alone, so that a test decides when each does what."""

    def __init__(self, bucket: Storage, clock: SimClock, name: str, hold: Storage | None = None) -> None:
        self.state = State()
        self.log = SequencedLog(bucket, LAYOUT, clock, writer=name, by=name)
        self.log.versions.subscribe(self._follow)
        self.collector = SequencedCollector(hold or bucket, LAYOUT, self.log, lambda: self.state, clock, timedelta(0))

    def _follow(self, event: Any) -> None:
        if isinstance(event, Loaded):
            self.state = event.state
        elif isinstance(event, Committed):
            self.state = fold(self.state, event.version)


class Meanwhile(StorageWrapper):
    """Lets something happen once, after a checkpoint in chunks was stored and before the head names it."""

    def __init__(self, inner: Storage, then: Callable[[], Any]) -> None:
        super().__init__(inner)
        self.then = then
        self.done = False

    async def around(self, request: Request, proceed: Callable[[], Any]) -> Any:
        answer = await proceed()
        is_root = "/checkpoint/" in request.name and "." not in request.name
        if request.verb == "put" and is_root and not self.done:
            self.done = True
            await self.then()
        return answer


def test_a_chunk_is_not_named_again_if_the_head_has_let_go_of_it_meanwhile(small: None) -> None:
    """Kim names a checkpoint in which a chunk has changed, and collects the old one; Ann, whose state has that chunk as
    it was before and after, was about to name it again."""

    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        async with on(bucket, clock=clock) as db:
            await db.put_all(VALUES)
            await db.compact()
            first = {chunk.name for chunk in (await root_of(bucket)).chunks}
            await db.put("k/200x", 1)
        kim = Client(bucket, clock, "kim")
        await kim.log.open()
        async with on(bucket, clock=clock) as db:
            await db.delete("k/200x")

        async def kim_collects() -> None:
            kims = {LAYOUT.root + name for name in first}
            assert await kim.collector.checkpoint() == 2, "she has not read on"
            await kim.collector.collect()
            assert (await head_of(bucket)).floor == 2
            for _ in range(3):
                await clock.sleep(3 * HOUR)
                await kim.collector.collect()
            assert not kims <= await names_of_chunks(bucket)

        ann = Client(bucket, clock, "ann", Meanwhile(bucket, kim_collects))
        await ann.log.open()
        assert await ann.collector.checkpoint() == 3
        assert (await verify(bucket, "main")).ok
        assert await check(bucket)
        async with on(bucket, clock=clock) as db:
            assert dict(await db.get_prefix("")) == VALUES

    run_virtually(main())


def test_what_a_failed_attempt_has_written_may_be_in_use_and_stays(small: None) -> None:
    """The answer to Ann's naming is lost; Kim's next checkpoint names Ann's chunks again and lets go of her checkpoint.
    Ann then finds that hers is not named, and must not take its chunks away."""

    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        async with on(bucket, clock=clock) as db:
            await db.put_all(VALUES)

        class LosesOne(StorageWrapper):
            lost = False

            async def around(self, request: Request, proceed: Callable[[], Any]) -> Any:
                answer = await proceed()
                if request.verb == "put" and request.name == LAYOUT.head and not self.lost:
                    self.lost = True
                    async with on(bucket, clock=clock) as db:
                        await db.put("k/000", 1)
                    kim = Client(bucket, clock, "kim")
                    await kim.log.open()
                    assert await kim.collector.checkpoint() == 2
                    await kim.collector.collect()  # and the floor is above Ann's checkpoint
                    raise PreconditionFailed("lost, and sent again", object=request.name)
                return answer

        ann = Client(LosesOne(bucket), clock, "ann")
        await ann.log.open()
        assert await ann.collector.checkpoint() is None
        await check(bucket)
        assert (await verify(bucket, "main")).ok
        root = await root_of(bucket)
        assert sum("/00000000000000000001-" in chunk.name for chunk in root.chunks) == len(root.chunks) - 1

    run_virtually(main())
