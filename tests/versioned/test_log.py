"""The versioned log in memory: what is committed is there, once, in one order, for everyone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from rxmps3.errors import Corrupt, InvalidKey, Rejected, Unavailable, Unsupported
from rxmps3.log.protocol import ResumePoint
from rxmps3.log.versioned import is_there
from rxmps3.log.versioned.body import Body
from rxmps3.log.versioned.probe import ensure_versions
from rxmps3.model.state import Committed, Loaded, ManifestVersion, Replayed
from rxmps3.runtime.clock import Random, SystemClock
from rxmps3.storage import DirectoryStorage, MemoryStorage, Missing
from rxmps3.storage.base import Stored
from rxmps3.testing import (
    CountingStorage,
    FaultyStorage,
    ManualClock,
    Request,
    StorageWrapper,
    lose_answers,
    resend,
)
from tests.versioned.helpers import MISSING, Client, HidesVersions, OneByOne, bodies, versions

T = TypeVar("T")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock("versioned")


@pytest.fixture
def storage(clock: ManualClock) -> MemoryStorage:
    return MemoryStorage(clock=clock, versioning=True)


async def test_what_one_client_writes_another_reads(storage: MemoryStorage, clock: ManualClock):
    a, b = Client(storage, clock), Client(storage, clock)
    await a.put(k=1, l={"x": [None]})
    assert await b.read() == await a.values() == {"k": 1, "l": {"x": [None]}}
    await b.put(k=MISSING, m="ü")
    assert await a.read() == {"l": {"x": [None]}, "m": "ü"}
    assert a.state.version == b.state.version == (await versions(storage))[-1] == a.log.position


async def test_opening_writes_nothing_and_an_empty_place_is_empty(storage: MemoryStorage, clock: ManualClock):
    counting = CountingStorage(storage)
    a = Client(counting, clock)
    await a.log.open()
    await a.log.read()
    assert not a.log.exists
    assert a.log.place is None
    assert a.log.position == ""
    assert not counting.counts["put"]
    assert isinstance(a.events[0], Loaded)
    assert not await is_there(storage, "main")


async def test_any_tool_sees_values_at_their_keys(storage: MemoryStorage, clock: ManualClock):
    a = Client(storage, clock)
    await a.write({"todo/1": {"title": "milk"}, "a b": 1})
    await a.commit()
    read = await storage.get("todo/1")
    assert not isinstance(read, Missing)
    assert read.body == b'{"title":"milk"}'  # type: ignore[union-attr]
    await a.write({"todo/1": MISSING})
    await a.commit()
    assert isinstance(await storage.get("todo/1"), Missing)
    assert not isinstance(await storage.get("a%20b"), Missing)


async def test_a_delete_marker_is_not_put_over_a_newer_write(storage: MemoryStorage, clock: ManualClock):
    a = Client(storage, clock)
    await a.put(k=1)
    await a.write({"k": MISSING})
    await a.write({"k": 2})
    await a.commit()
    assert not isinstance(await storage.get("k"), Missing)


async def test_two_pairs_that_collide_in_a_row_keep_all_four_writes(storage: MemoryStorage, clock: ManualClock):
    a, b, c, d = (Client(storage, clock) for _ in range(4))
    await a.put(zero=0)
    for client in (b, c, d):
        await client.log.read()
    await a.put(one=1)
    await b.put(two=2)
    for client in (c, d):
        await client.log.read()
    await c.put(three=3)
    await d.put(four=4)
    v0, v1, v2, _, _ = await versions(storage)
    assert [one["previous"] for one in await bodies(storage)] == ["", v0, v0, v2, v2]
    for client in (a, b, c, d, Client(storage, clock)):
        assert await client.read() == {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4}


class TakesTurns(StorageWrapper):
    """Lets others in before and after each request, by chance."""

    rng = Random("turns")

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        answer = await proceed()
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        return answer


async def test_forty_writers_at_once_lose_nothing():
    clock = SystemClock()
    storage = TakesTurns(MemoryStorage(versioning=True))
    clients = [Client(storage, clock) for _ in range(40)]

    async def play(number: int, client: Client) -> None:
        for turn in range(3):
            await client.put(**{f"key-{number}-{turn}": turn, "shared": number})

    await asyncio.gather(*(play(number, client) for number, client in enumerate(clients)))
    latecomer = Client(storage, clock)
    expected = await latecomer.read()
    assert len(expected) == 40 * 3 + 1
    ids = await versions(storage)
    for client in clients:
        await client.log.read()
        assert client.state.entries == latecomer.state.entries
        assert client.state.version == ids[-1]
        told = [one.id for one in client.learned]
        assert len(told) == len(set(told))
        assert set(told) <= set(ids)


async def test_a_late_version_below_a_known_one_takes_its_place(storage: MemoryStorage, clock: ManualClock):
    hiding = HidesVersions(storage)
    a, b, c = Client(storage, clock), Client(hiding, clock), Client(hiding, clock)
    await a.put(k="zero")
    for client in (b, c):
        await client.log.read()
    await a.put(k="late", only="late")
    hiding.hidden = {(await versions(storage))[-1]}
    await b.put(k="known")
    assert await b.values() == {"k": "known"}
    await c.log.read()
    hiding.hidden = ()
    await clock.advance(30)
    assert await b.read() == await c.read() == await a.read() == {"k": "known", "only": "late"}
    replayed = b.events[-1]
    assert isinstance(replayed, Replayed)
    assert [one.writer for one in replayed.versions] == [a.writer]
    assert replayed.keys == {"k", "only"}
    assert b.state.entries == a.state.entries


async def test_a_commit_counts_once_it_is_listed(storage: MemoryStorage, clock: ManualClock):
    hiding = HidesVersions(storage)
    a = Client(hiding, clock)
    await a.put(k=1)
    first = await versions(storage)
    hiding.hidden = lambda one: one.name == "main" and one.version not in first
    write = await a.write({"k": 2})
    with pytest.raises(Unavailable, match="does not show"):
        await clock.run(a.commit())
    assert write.id in a.view.pending
    hiding.hidden = ()
    await a.commit()  # looks first, and so makes no second version
    assert write.id not in a.view.pending
    assert len(await versions(storage)) == 2
    assert await a.values() == {"k": 2}


async def test_pages_of_one(storage: MemoryStorage, clock: ManualClock):
    a, b = Client(OneByOne(storage), clock), Client(OneByOne(storage), clock)
    for number in range(8):
        await storage.put(f"main{number}", b"a name that begins like the manifest's")
        await (a, b)[number % 2].put(**{f"k{number}": number})
    expected = {f"k{number}": number for number in range(8)}
    assert await a.read() == await b.read() == await Client(OneByOne(storage), clock).read() == expected


@pytest.mark.parametrize("seed", range(6))
async def test_lost_answers_and_requests_sent_twice_change_nothing(
    storage: MemoryStorage, clock: ManualClock, seed: int
):
    faulty = FaultyStorage(storage, [lose_answers(one_in=3), resend(one_in=3)], Random(f"faults {seed}"), clock=clock)
    clients = [Client(faulty, clock) for _ in range(3)]
    expected: dict[str, Any] = {}

    async def insist(client: Client) -> None:
        while client.view.pending:
            try:
                await client.commit()
            except Unavailable:
                await clock.sleep(1)

    async def play() -> None:
        for turn in range(6):
            for number, client in enumerate(clients):
                values = {f"k{number}": turn, "shared": [number, turn]}
                await client.write(values)
                await insist(client)
                expected.update(values)

    await clock.run(play())
    faulty.plan = ()
    fresh = Client(storage, clock)
    assert await fresh.read() == expected
    for client in clients:
        await client.log.read()
        assert client.state.entries == fresh.state.entries
        assert client.state.writers == fresh.state.writers


async def test_after_a_lost_answer_the_whole_listing_is_looked_at(storage: MemoryStorage, clock: ManualClock):
    """The version came to light below known ones, and on a page that is not read as a rule."""
    hiding = HidesVersions(storage)
    faulty = FaultyStorage(OneByOne(hiding, 3), clock=clock)
    a, b = Client(faulty, clock), Client(hiding, clock)
    await a.put(k=0)
    await b.log.read()
    await a.write({"k": 1})
    known = await versions(storage)
    hiding.hidden = lambda one: one.name == "main" and one.version not in known
    faulty.plan = (lose_answers(one_in=1),)
    with pytest.raises(Unavailable):
        await clock.run(a.commit())
    faulty.plan = ()
    late = (await versions(storage))[-1]
    hiding.hidden = {late}
    for number in range(6):
        await b.put(other=number)
    await a.log.read()
    hiding.hidden = ()
    await a.commit()
    assert not a.view.pending
    assert len(await versions(storage)) == 1 + 1 + 6


async def test_a_duplicate_counts_once(storage: MemoryStorage, clock: ManualClock):
    a, b = Client(FaultyStorage(storage, resend(one_in=1), clock=clock), clock), Client(storage, clock)
    await b.log.open()
    await a.put(k=1)
    assert len(await versions(storage)) == 2
    await b.put(k=2)
    stored = await storage.get("main", version=(await versions(storage))[0])
    await storage.put("main", stored.body)  # type: ignore[union-attr]  # the request of `a` arrives once more
    await clock.advance(2)  # its ETag is the one that `a` knows, so that only a listing tells `a` of it
    assert await b.read() == await a.read() == await Client(storage, clock).read() == {"k": 2}


async def test_a_long_listing_is_gone_through_rarely_and_yet_shows_what_came_late(
    storage: MemoryStorage, clock: ManualClock
):
    hiding = HidesVersions(storage)
    counting = CountingStorage(hiding)
    a, b = Client(OneByOne(counting, 3), clock), Client(storage, clock)
    for number in range(30):
        await b.put(k=number)
    await b.put(late="late")
    late = (await versions(storage))[-1]
    hiding.hidden = {late}
    for number in range(9):
        await b.put(k=-number)
    await a.log.open()
    counting.reset()
    for number in range(5):
        await a.put(mine=number)
        await b.put(theirs=number)
        await a.log.read()
    assert counting.counts["list_versions"] == 10
    hiding.hidden = ()
    assert "late" not in await a.read()
    await clock.advance(2)
    assert await a.read() == await b.read() == {"k": -8, "late": "late", "mine": 4, "theirs": 4}
    assert [type(event) for event in a.events].count(Replayed) == 1
    await clock.advance(1200)
    await a.log.read()
    await clock.advance(1200)
    await a.log.read()
    assert a.log.base.id == (await versions(storage))[-1]
    assert a.log.base.count == 50


async def test_a_commit_on_a_long_log_reads_the_newest_hundred_lines(storage: MemoryStorage, clock: ManualClock):
    class Counts(StorageWrapper):
        lines: tuple[int, ...] = ()

        async def list_versions(self, prefix: str, **options: Any) -> Any:
            page = await super().list_versions(prefix, **options)
            self.lines = (*self.lines, len(page.versions))
            return page

    counting = Counts(storage)
    a, b = Client(counting, clock), Client(storage, clock)
    for number in range(150):
        await b.put(k=number)
    await a.log.open()
    await a.put(mine=1)
    assert counting.lines == (150, 100)
    for number in range(120):
        await b.put(k=-number)
    await a.put(mine=2)
    assert counting.lines == (150, 100, 100, 172), "nothing is known among the newest hundred"
    await clock.advance(3)
    assert await a.read() == await b.read() == {"k": -119, "mine": 2}
    assert counting.lines[4:] == (272,)


class TestRequests:
    """What an up-to-date client asks for."""

    async def test_commit_poll_and_hit(self, storage: MemoryStorage, clock: ManualClock):
        ours, theirs = CountingStorage(storage), CountingStorage(storage)
        a, b = Client(ours, clock), Client(theirs, clock)
        await a.put(k=1)
        await b.log.read()
        ours.reset()
        await a.put(k=2)
        assert [(one.verb, one.name) for one in ours.requests] == [
            ("put", "k"),
            ("put", "main"),
            ("list_versions", "main"),
        ]
        theirs.reset()
        await b.log.read()
        assert [one.verb for one in theirs.requests] == ["get", "list_versions"]
        theirs.reset()
        await b.log.read()
        assert [(one.verb, one.outcome) for one in theirs.requests] == [("get", "NotModified")]

    async def test_it_lists_on_after_a_change_ever_more_rarely_and_then_no_more(
        self, storage: MemoryStorage, clock: ManualClock
    ):
        counting = CountingStorage(storage)
        a, b = Client(storage, clock), Client(counting, clock)
        await a.put(k=1)
        await b.log.read()
        counting.reset()
        listed: list[float] = []
        for _ in range(1500):
            await clock.advance(1)
            before = counting.counts["list_versions"]
            await b.log.read()
            if counting.counts["list_versions"] > before:
                listed.append(clock.monotonic())
        assert listed == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1200]
        assert counting.counts["get"] == 1500

    async def test_opening_an_old_manifest_lists_no_more(self, storage: MemoryStorage, clock: ManualClock):
        await Client(storage, clock).put(k=1)
        await clock.advance(1201)
        counting = CountingStorage(storage)
        b = Client(counting, clock)
        await b.log.read()
        assert counting.counts["list_versions"] == 1
        for _ in range(100):
            await clock.advance(60)
            await b.log.read()
        assert counting.counts["list_versions"] == 1

    async def test_deleting_does_not_wait_for_its_markers_to_succeed(self, storage: MemoryStorage, clock: ManualClock):
        faulty = FaultyStorage(storage, lose_answers(one_in=1, verbs=["delete"]), clock=clock)
        a = Client(faulty, clock)
        await a.put(k=1)
        await a.put(k=MISSING)
        assert await a.values() == {}


class TestCheckpoints:
    """A fresh client does not replay the log from its start."""

    async def grown(self, storage: MemoryStorage, clock: ManualClock, count: int = 210) -> Client:
        a = Client(storage, clock)
        for number in range(count):
            await a.put(**{f"k{number % 7}": number})
        assert not a.log.upkeep_is_due  # nothing of it is settled
        await clock.advance(1300)
        await a.log.read()
        return a

    async def test_one_is_made_of_what_is_settled_and_named_by_the_next_version(
        self, storage: MemoryStorage, clock: ManualClock
    ):
        a = await self.grown(storage, clock)
        assert a.log.upkeep_is_due
        assert await a.collector.checkpoint() == (await versions(storage))[-1]
        assert not a.log.upkeep_is_due
        assert await a.collector.checkpoint() is None
        await a.put(last=True)
        counting = CountingStorage(storage)
        fresh = Client(counting, clock)
        await fresh.log.read()
        assert fresh.state.entries == a.state.entries
        assert fresh.state.writers == a.state.writers
        assert fresh.log.base.chain == a.log.base.chain
        assert counting.counts == {"get": 2, "list_versions": 1}
        await fresh.put(more=1)
        assert await a.read() == await fresh.values()

    async def test_a_client_that_knows_an_older_one_or_none_hides_nothing(
        self, storage: MemoryStorage, clock: ManualClock
    ):
        a, asleep = await self.grown(storage, clock, 5), Client(storage, clock)
        await asleep.log.open()
        await a.collector.checkpoint()
        await a.put(named=1)
        await asleep.put(unnamed=2)
        assert [one["checkpoint"] is None for one in await bodies(storage)][-2:] == [False, True]
        assert await Client(storage, clock).read() == await a.read()

    async def test_without_its_object_another_way_is_found_or_it_says_so(
        self, storage: MemoryStorage, clock: ManualClock
    ):
        a = await self.grown(storage, clock, 5)
        await a.collector.checkpoint()
        await a.put(named=1)
        [name] = [one.name for one in (await storage.list(".rxmps3/")).objects]
        await storage.delete(name)
        with pytest.raises(Corrupt, match="checkpoint"):
            await Client(storage, clock).read()

    async def test_a_client_that_slept_through_a_collection_loads_anew(
        self, storage: MemoryStorage, clock: ManualClock
    ):
        a, asleep = await self.grown(storage, clock, 5), Client(storage, clock)
        await asleep.log.read()
        for _ in range(3):
            await clock.advance(timedelta(days=1).total_seconds())
            await a.put(today=clock.monotonic())
            await a.log.list_again()
            await clock.advance(1300)
            await a.log.read()
            await a.collector.checkpoint()
            await a.put(named=clock.monotonic())
            await clock.advance(1300)
            await a.log.read()
            await a.collector.collect()
        assert asleep.log.base.id not in await versions(storage)
        assert await asleep.read() == await a.values()
        assert isinstance(asleep.events[-1], Loaded)
        await asleep.put(awake=True)
        assert await a.read() == await asleep.values()


class TestRefusals:
    """What it cannot do it says, and overwrites nothing."""

    async def test_a_storage_without_versioning(self, clock: ManualClock, tmp_path: Any):
        for storage in (MemoryStorage(clock=clock), DirectoryStorage(tmp_path, clock=clock)):
            a = Client(storage, clock)
            await a.log.open()
            with pytest.raises(Rejected, match="versioning is not enabled"):
                await a.log.prepare()
            assert not (await storage.list("")).objects

    async def test_a_put_without_a_version_id(self, storage: MemoryStorage, clock: ManualClock):
        a = Client(storage, clock)
        content = next(iter(a.kit.placing.plan((await a.write({"k": 1})).id, {"k": 1}, 0).contents)).content
        for id in (None, "null"):
            with pytest.raises(Rejected, match="versioning is not enabled"):
                a.kit.placing.uploaded(content, Stored('"e"', None, id))

    async def test_a_probe_whose_put_comes_once_more_breaks_nothing(self, storage: MemoryStorage, clock: ManualClock):
        """The network may deliver it minutes later."""

        class Repeating(StorageWrapper):
            body = b""

            async def put(self, name: str, body: bytes, **options: Any) -> Stored:
                self.body = self.body or body
                return await super().put(name, body, **options)

            async def get(self, name: str, *, unless: str | None = None, **options: Any) -> Any:
                if unless is not None and self.body:
                    await super().put(name, self.body)
                    self.body = b""
                return await super().get(name, unless=unless, **options)

        await ensure_versions(Repeating(storage), clock)

    @pytest.mark.parametrize("odd", ["lists oldest first", "one id for all", "forgets versions", "knows no conditions"])
    async def test_the_probe_says_what_a_storage_breaks(self, storage: MemoryStorage, clock: ManualClock, odd: str):
        class Odd(StorageWrapper):
            async def list_versions(self, prefix: str, **options: Any) -> Any:
                page = await super().list_versions(prefix, **options)
                return type(page)(page.versions[::-1], None, page.date) if odd == "lists oldest first" else page

            async def put(self, name: str, body: bytes, **options: Any) -> Stored:
                stored = await super().put(name, body, **options)
                return Stored(stored.etag, stored.date, "same") if odd == "one id for all" else stored

            async def get(self, name: str, *, version: str | None = None, **options: Any) -> Any:
                if odd == "forgets versions":
                    version = None
                if odd == "knows no conditions":
                    options.pop("unless", None)
                return await super().get(name, version=version, **options)

        a = Client(Odd(storage), clock)
        with pytest.raises(Rejected, match="versioned log needs"):
            await a.log.prepare()
        assert not await versions(storage)

    @pytest.mark.parametrize("key", ["main", ".rxmps3", ".rxmps3/x", ".rxmps3-probe/1", ""])
    async def test_keys_that_are_taken(self, storage: MemoryStorage, clock: ManualClock, key: str):
        with pytest.raises(InvalidKey):
            Client(storage, clock).kit.placing.check_key(key)

    async def test_keys_that_look_taken(self, storage: MemoryStorage, clock: ManualClock):
        placing = Client(storage, clock, "a/b").kit.placing
        for key in ("main", "a/b", "a", "a%2Fb", "x.rxmps3", "main/head", "."):
            assert placing.check_key(key) == key

    @pytest.mark.parametrize(
        ("there", "looks_like"),
        [(b'""', "mps3"), (b'{"title":"milk"}', "foreign"), (b"", "mps3"), (b"\xff\xfe", "foreign")],
    )
    async def test_another_s_object_in_the_manifest_s_place(
        self, storage: MemoryStorage, clock: ManualClock, there: bytes, looks_like: str
    ):
        await storage.put("main", there)
        a = Client(storage, clock)
        with pytest.raises(Corrupt, match=looks_like):
            await a.log.open()
        assert not await is_there(storage, "main")
        with pytest.raises(Corrupt):
            await a.log.commit([])
        assert len(await versions(storage)) == 1

    async def test_a_manifest_under_a_delete_marker(self, storage: MemoryStorage, clock: ManualClock):
        a = Client(storage, clock)
        await a.put(k=1)
        await storage.delete("main")
        for client in (a, Client(storage, clock)):
            with pytest.raises(Corrupt, match=r"gone|delete marker"):
                await client.log.read()
        resumed = Client(MemoryStorage(clock=clock, versioning=True), clock)
        resumed.log.resume(ResumePoint("versioned", "somewhere"))
        with pytest.raises(Corrupt, match="gone"):
            await resumed.log.open()

    async def test_a_version_written_while_versioning_was_suspended(self, storage: MemoryStorage, clock: ManualClock):
        class Suspended(StorageWrapper):
            async def put(self, name: str, body: bytes, **options: Any) -> Stored:
                stored = await super().put(name, body, **options)
                return Stored(stored.etag, stored.date, "null") if name == "main" else stored

        a = Client(storage, clock)
        await a.put(k=1)
        b = Client(Suspended(storage), clock)
        with pytest.raises(Unsupported, match="versioning is not enabled"):
            await b.put(k=2)


async def test_manifests_below_one_prefix_share_names_but_no_values(storage: MemoryStorage, clock: ManualClock):
    a, b = Client(storage, clock), Client(storage, clock, "other")
    await a.put(k="of main")
    await b.put(k="of other")
    await a.put(k=MISSING)
    assert await b.read() == {"k": "of other"}
    assert await a.read() == {}
    assert await is_there(storage, "main")
    assert await is_there(storage, "other")
    assert not await is_there(storage, "k")


async def test_a_group_is_one_version(storage: MemoryStorage, clock: ManualClock):
    a = Client(storage, clock)
    for number in range(50):
        await a.write({f"k{number}": number})
    await a.commit()
    assert not a.view.pending
    assert len(await versions(storage)) == 1
    assert [type(event) for event in a.events] == [Loaded, Committed]


class StandsStill(StorageWrapper):
    """Its process stands still for an hour after each page of a listing, if it is to."""

    def __init__(self, inner: MemoryStorage, clock: ManualClock) -> None:
        super().__init__(inner)
        self._clock = clock
        self.still = False

    async def list_versions(self, prefix: str, **options: Any) -> Any:
        page = await super().list_versions(prefix, **options)
        if self.still:
            await self._clock.advance(3600)
        return page


async def test_a_process_that_stood_still_in_a_listing_settles_nothing_by_it(
    storage: MemoryStorage, clock: ManualClock
):
    """What came to light meanwhile is not in the listing."""
    standing = StandsStill(storage, clock)
    a, b = Client(standing, clock), Client(storage, clock)
    await a.put(k=1)
    await a.log.read()
    await b.put(k=2)
    standing.still = True
    await a.log.read()
    assert a.log.base.count == 0
    standing.still = False
    await b.put(k=3)
    await a.log.read()
    assert a.log.base.count == 2


class FailsInside(StorageWrapper):
    """Every other page of a listing after the first is answered with 503."""

    def __init__(self, inner: StorageWrapper) -> None:
        super().__init__(inner)
        self.pages = 0

    async def list_versions(self, prefix: str, **options: Any) -> Any:
        self.pages += 1
        if options.get("cursor") is not None and self.pages % 2:
            raise Unavailable("503")
        return await super().list_versions(prefix, **options)


async def test_a_page_that_fails_does_not_begin_the_listing_anew(storage: MemoryStorage, clock: ManualClock):
    a = Client(storage, clock)
    for number in range(9):
        await a.put(k=number)
    failing = FailsInside(OneByOne(storage))
    assert await Client(failing, clock).read() == {"k": 8}
    assert failing.pages < 40


class WrongOnce(HidesVersions):
    """The next get of the manifest finds nothing."""

    lies = 0

    async def get(self, name: str, **options: Any) -> Any:
        answer = await super().get(name, **options)
        if name == "main" and self.lies:
            self.lies -= 1
            return Missing(answer.date)
        return answer


async def test_one_answer_that_finds_nothing_does_not_tell_that_the_manifest_is_gone(
    storage: MemoryStorage, clock: ManualClock
):
    wrong = WrongOnce(storage)
    a, b = Client(wrong, clock), Client(storage, clock)
    await a.put(k=1)
    await b.put(k=2)
    wrong.lies = 1
    assert await a.read() == {"k": 2}
    assert wrong.lies == 0


async def test_one_answer_that_finds_nothing_does_not_tell_that_the_newest_version_is_gone(
    storage: MemoryStorage, clock: ManualClock
):
    wrong = WrongOnce(storage)
    a, b = Client(wrong, clock), Client(storage, clock)
    await a.put(k=1)
    known = a.state.version
    await b.put(k=2)
    newest = (await versions(storage))[-1]
    wrong.hidden = lambda one: one.version == known  # a listing may leave one out for a while
    get = wrong.get

    async def once_wrong(name: str, **options: Any) -> Any:
        wrong.lies = int(options.get("version") == known and not told)
        told.extend([known] * wrong.lies)
        return await get(name, **options)

    told: list[str] = []
    wrong.get = once_wrong  # type: ignore[method-assign]
    await clock.run(a.log.read())
    assert (a.log.position, told) == (newest, [known])


async def test_a_version_has_settled_once_all_its_writes_count(storage: MemoryStorage, clock: ManualClock):
    """An earlier attempt may have held the first of them alone."""
    a = Client(storage, clock)
    first, second = await a.put(k=1), await a.write({"l": 2})
    [version] = a.learned
    both = ManifestVersion("an id that is not known", a.writer, "test", version.date, (first, second))
    settled = a.log._has_settled  # pyright: ignore[reportPrivateUsage]
    assert settled(Body(replace(both, writes=(first,)), "", "", None, 0))
    assert not settled(Body(both, "", "", None, 0))
    assert not settled(Body(replace(both, writes=()), "", "", None, 0))
