"""Checkpoints, the floor and collection: openings stay cheap, the bucket stays small, and nothing in use is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import rxmps3
from rxmps3 import Corrupt, InvalidOption, Reset
from rxmps3.log.codec import LogEntry
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.testing import CountingStorage, FaultyStorage
from rxmps3.testing.faults import drop_requests, lose_answers, offline
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import trace
from tests.durability.helpers import LARGE, Disk, on
from tests.durability.test_outbox_time import virtually
from tests.durability.upkeep import DAY, HOUR, LAYOUT, Machine, check, contents, head_of, kind_of, kinds
from tests.processes.reading import entries, puts_in


async def fill(db: rxmps3.Database, count: int, keys: int = 10, *, large: int = 0, start: int = 0) -> None:
    """So many log entries; every ``large``-th has a value with an object of its own."""
    for number in range(start, start + count):
        value: Any = [number, LARGE] if large and number % large == 0 else number
        await db.put(f"key {number % keys}", value)


async def grow_old(bucket: Storage, clock: SimClock, days: float = 4) -> None:
    """Days pass, with a write and a compaction every ten hours: after three what was unused at first is gone."""
    until = clock.monotonic() + days * DAY
    async with on(bucket, clock=clock) as db:
        while (left := until - clock.monotonic()) > 0:
            await db.put("days", left)
            await db.compact()
            await clock.sleep(min(10 * HOUR, left))


# -- opening -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [10, 250, 1900])
def test_a_cold_open_is_four_requests_and_a_bounded_tail_whatever_the_age(age: int) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        async with on(bucket, clock=clock) as db:
            await fill(db, age)
        counting = CountingStorage(bucket)
        async with on(counting, clock=clock, read_only=True) as reader:
            requests = counting.counts
            names = [kind_of(request.name) for request in counting.requests if request.verb == "get"]
            assert names.count("head") == 1
            assert names.count("checkpoint") == (1 if age >= 250 else 0)
            assert requests["list"] == 1
            tail = names.count("log")
            assert tail <= 210
            assert requests.total() == tail + 2 + names.count("checkpoint")
            assert len(reader) == 10
        async with on(bucket, clock=clock) as db:
            await db.compact()
        counting.reset()
        async with on(counting, clock=clock, read_only=True):
            assert counting.counts == {"get": 3, "list": 1}, "head, checkpoint, and the entry that a listing may hide"
        assert (await check(bucket))["key 0"] is not None

    run_virtually(main())


@virtually
async def test_the_client_whose_commit_crosses_the_line_makes_the_checkpoint_and_others_do_not() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    writer, other = CountingStorage(bucket), CountingStorage(bucket)
    async with on(other, clock=clock, poll=1.0, live=True) as watching, on(writer, clock=clock) as db:
        await watching.put("other", True)
        await fill(db, 450)
        await clock.sleep(120)
        made = [
            request for request in writer.requests if request.verb == "put" and kind_of(request.name) == "checkpoint"
        ]
        assert len(made) == 2
        assert not [one for one in other.requests if one.verb == "put" and kind_of(one.name) == "checkpoint"]
    await check(bucket)


@virtually
async def test_a_checkpoint_costs_a_constant_share_however_large_the_state_is() -> None:
    clock = SimClock("a")
    bucket = CountingStorage(MemoryStorage(clock=clock))
    async with on(bucket, clock=clock) as db:
        for start in range(0, 4000, 1000):
            await db.put_all({f"key {number}": "x" * 100 for number in range(start, start + 1000)})
        bucket.reset()
        await fill(db, 1000)
        sizes = {
            kind: sum(one.bytes_up for one in bucket.requests if one.verb == "put" and kind_of(one.name) == kind)
            for kind in ("log", "checkpoint")
        }
        weight = sizes["log"] + 1000 * 4096
        assert sizes["checkpoint"] <= weight
    await check(bucket)


# -- collection ----------------------------------------------------------------------------------------------------


@virtually
async def test_after_the_retention_the_log_before_it_is_gone_and_the_bucket_small() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        await fill(db, 1000, large=5)
    assert (await kinds(bucket))["log"] == 1000
    assert (await kinds(bucket))["values"] == 200
    await grow_old(bucket, clock)
    left = await kinds(bucket)
    assert left["log"] < 20
    assert left["values"] == 2, "those of key 0 and key 5"
    assert left["checkpoint"] < 12
    assert left["head"] == 1
    state = await check(bucket)
    assert len(state) == 11
    async with on(bucket, clock=clock) as db:
        assert await db.get("key 5") == [995, LARGE]
        assert await db.get("key 9") == 999


@virtually
async def test_clients_that_write_collect_by_themselves() -> None:
    """Nobody ever calls compact."""
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        for day in range(8):
            await fill(db, 300, large=10, start=day * 300)
            await clock.sleep(DAY)
    assert (await kinds(bucket))["log"] <= 3 * 300
    assert (await kinds(bucket))["values"] <= 3 * 30 + 10
    assert (await head_of(bucket)).floor > 1400
    await check(bucket)


@virtually
async def test_within_the_retention_nothing_of_the_past_is_deleted() -> None:
    """Every value that any entry of the last day names is there, overwritten or not, first checkpoint or not."""
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        await db.put("large", LARGE)
        await clock.sleep(3 * DAY)
        await db.put("large", LARGE + "2")
        await clock.sleep(60)
        for _ in range(3):
            await db.compact()
            await clock.sleep(2 * HOUR)
            await check(bucket)
        assert (await kinds(bucket))["values"] == 2
        await clock.sleep(3 * DAY)
        for _ in range(8):
            await db.put("k", 1)
            await db.compact()
            await clock.sleep(10 * HOUR)
            await check(bucket)
        assert (await kinds(bucket))["values"] == 1


@virtually
async def test_the_retention_is_as_long_as_asked_for() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock, retention=timedelta(days=7)) as db:
        for number in range(4 * 14):
            await db.put("k", number)
            await db.compact()
            await clock.sleep(6 * HOUR)
        log = await entries(bucket)
        assert len(log) >= 4 * 7
        assert len(log) <= 4 * 10
    await check(bucket)


@virtually
async def test_another_database_among_the_values_is_left_alone() -> None:
    """Somebody opened an address within the folder of this manifest. All other values that nobody uses are collected."""
    clock = SimClock("a")
    bucket, apart = MemoryStorage(clock=clock), MemoryStorage(clock=clock)
    async with on(apart, clock=clock) as other:
        await other.put_all({"large": LARGE, "small": 1})
    async with on(bucket, clock=clock) as db:
        await db.put("key", LARGE)
        for name, body in (await contents(apart)).items():
            await bucket.put(f"main/values/app/{name}", body)
        await db.put("app/key", LARGE)
        await db.put_all({"key": 1, "app/key": 1})
    theirs = {name for name in await contents(bucket) if name.startswith("main/values/app/main/")}
    await grow_old(bucket, clock)
    left = {name for name in await contents(bucket) if name.startswith("main/values/")}
    assert left == theirs
    assert any("/app/main/values/large@" in name for name in left)


@virtually
async def test_an_uploaded_value_that_nobody_ever_committed_goes_after_a_day_and_not_before() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        await db.put("k", 0)
        orphan = LAYOUT.content("values/orphan@dead-1")
        await bucket.put(orphan, b'"nobody"')
        await clock.sleep(23 * HOUR)
        await db.compact()
        assert orphan in await contents(bucket)
        await clock.sleep(2 * HOUR)
        await db.compact()
        assert orphan not in await contents(bucket)
        assert await db.get("k") == 0


@virtually
async def test_deleting_entries_takes_two_calls_an_hour_apart_and_the_report_says_so() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        await fill(db, 50)
        made = await db.compact()
        assert (made.checkpoint, made.raised, made.entries) == (50, False, 0)
        await clock.sleep(25 * HOUR)
        await db.put("later", 1)
        announced = await db.compact()
        assert (announced.raised, announced.floor, announced.entries) == (True, 50, 0)
        soon = await db.compact()
        assert soon.entries == 0
        assert soon.waiting_until is not None
        assert timedelta(0) < soon.waiting_until - clock.now() <= timedelta(hours=1)
        assert (await kinds(bucket))["log"] == 51
        await clock.sleep(HOUR + 60)
        done = await db.compact()
        assert done.entries == 50
        assert done.bytes > 0
        assert (await kinds(bucket))["log"] == 1
        await check(bucket)


@virtually
async def test_a_dry_run_changes_nothing_and_says_what_the_real_one_then_does() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        await fill(db, 300, large=10)
        for hours in (0, 25, 3, 30, 2):
            await clock.sleep(hours * HOUR)
            await db.put("k", hours)
            before = await contents(bucket)
            planned = await db.compact(dry_run=True)
            assert await contents(bucket) == before
            assert planned.checkpoint is None
            done = await db.compact()
            assert (planned.raised, planned.entries, planned.values, planned.checkpoints, planned.bytes) == (
                done.raised,
                done.entries,
                done.values,
                done.checkpoints,
                done.bytes,
            )
            await check(bucket)
    async with on(bucket, clock=clock, read_only=True) as reader:
        await reader.compact(dry_run=True)
        with pytest.raises(InvalidOption):
            await reader.compact()


@virtually
async def test_compacting_an_empty_database_does_nothing_and_creates_nothing() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        report = await db.compact()
        assert (report.checkpoint, report.entries) == (None, 0)
    assert await contents(bucket) == {}


@virtually
async def test_compacting_tells_of_its_progress() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    told: list[tuple[str, int, int]] = []

    def tell(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    async with on(bucket, clock=clock) as db:
        await fill(db, 100, large=1)
        await db.compact(progress=tell)
        await clock.sleep(25 * HOUR)
        await db.put("k", 1)
        await db.compact(progress=tell)
        await clock.sleep(2 * HOUR)
        await db.compact(progress=tell)
    assert {what for what, _, _ in told} >= {"entries", "values"}
    assert all(0 <= done <= total for _, done, total in told)


# -- those who slept -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [0.02, 0.5, 1.2, 4])
def test_a_reader_that_slept_recovers_whatever_was_collected_meanwhile(days: float) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        async with on(bucket, clock=clock) as db:
            await fill(db, 20)
            await db.put("gone", 1)
            await db.put("large", LARGE)
        async with on(bucket, clock=clock) as sleeper:
            seen = trace(sleeper.observe("key 1"))
            snapshots = trace(sleeper.observe_prefix(""))
            versions, changes = trace(sleeper.versions), trace(sleeper.changes())
            async with on(bucket, clock=clock) as db:
                await fill(db, 20, start=100)
                await db.delete("gone")
                await db.put("large", LARGE + "2")
                await db.compact()
            rounds = max(1, round(days * 4))
            for number in range(rounds):
                await clock.sleep(days * DAY / rounds)
                async with on(bucket, clock=clock) as db:
                    await db.put("round", number)
                    await db.compact()
                await check(bucket)
            await sleeper.refresh()
            assert seen == [11, 101, 111] if len(seen) == 3 else seen == [11, 111]
            assert await sleeper.get("gone") is None
            assert await sleeper.get("large") == LARGE + "2"
            while snapshots[-1].get("large") != LARGE + "2":
                await clock.sleep(0.1)
            async with on(bucket, clock=clock) as fresh:
                assert snapshots[-1] == await fresh.get_prefix() == await sleeper.get_prefix()
                assert sleeper.status.value.head == fresh.status.value.head
            after = {change.key: change.after for change in changes}
            assert after["key 1"] == 111
            assert after["large"] == LARGE + "2"
            assert not after["gone"]
            resets = [version for version in versions if isinstance(version, Reset)]
            if days >= 4:
                assert len(resets) == 1
            numbers = [int(version.id) for version in versions]
            assert numbers == sorted(set(numbers))
            await sleeper.put("awake", True)
            assert (await check(bucket))["awake"] is not None

    run_virtually(main())


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("days", [0.5, 1.5, 4])
def test_a_writer_that_slept_neither_loses_nor_doubles_what_was_pending(arrived: bool, days: float) -> None:
    """It sent a write and heard nothing, has another one in mind, and sleeps; what it sent is collected meanwhile."""

    async def main() -> None:
        clock, machine = SimClock("a"), Machine()
        bucket = MemoryStorage(clock=clock)
        network = FaultyStorage(bucket, clock=clock)
        async with on(network, clock=SimClock("sleeper", machine=machine)) as sleeper:
            await sleeper.put("mine", 0)
            network.plan = (
                [lose_answers(one_in=1), drop_requests(one_in=1, verbs=("get", "list"))] if arrived else offline()
            )
            sent = sleeper.put("mine", 1)
            await clock.sleep(1)
            network.plan = offline()
            later = sleeper.put("mine", 2)
            large = sleeper.put("large", LARGE)
            machine.asleep_until = clock.monotonic() + days * DAY
            await grow_old(bucket, clock, days)
            if days == 4:
                assert (await head_of(bucket)).floor > 2, "what it sent is collected, or was never there"
            network.plan = ()
            await asyncio.gather(_end_of(sent), _end_of(later), _end_of(large))
            assert clock.monotonic() >= machine.asleep_until
            assert await sleeper.get("mine") == 2
            assert await sleeper.get("large") == LARGE
        state = await check(bucket)
        assert "mine" in state
        assert state.writers[sent.version.rpartition("-")[0]].number == 4
        mine = [value for key, value in puts_in(await inline_entries(bucket)) if key == "mine"]
        assert len(mine) == len(set(mine))
        async with on(bucket, clock=clock) as fresh:
            assert await fresh.get("mine") == 2
            assert await fresh.get("large") == LARGE

    run_virtually(main())


async def inline_entries(bucket: Storage) -> list[LogEntry]:
    """The entries without large values."""
    return [
        entry for entry in await entries(bucket) if all("large" not in write.update for write in entry.version.writes)
    ]


@virtually
async def test_a_local_copy_that_slept_opens_after_collection() -> None:
    clock = SimClock("a")
    disk, bucket = Disk(), MemoryStorage(clock=clock)
    async with on(bucket, disk, clock=clock) as db:
        await fill(db, 30)
    async with on(bucket, disk, clock=clock, online=False) as db:
        await db.put("offline", 1).stored
    async with on(bucket, clock=clock) as db:
        await fill(db, 30, start=100)
    await grow_old(bucket, clock)
    async with on(bucket, disk, clock=clock) as db:
        while db.pending.value:
            await clock.sleep(0.1)
        assert await db.get("offline") == 1
        assert await db.get("key 5") == 125
    await check(bucket)


@virtually
async def test_numbers_of_silent_writers_are_forgotten_after_a_month_and_not_before() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    for day in range(60):
        for _ in range(3):
            async with on(bucket, clock=clock) as db:
                await db.put(f"key {day % 7}", day)
        async with on(bucket, clock=clock) as db:
            await db.put("k", day)
            await db.compact()
        await clock.sleep(DAY)
    state = await check(bucket)
    assert 4 * 29 <= len(state.writers) <= 4 * 32


# -- the brake -----------------------------------------------------------------------------------------------------


async def _ready_to_collect(clock: SimClock) -> MemoryStorage:
    """A bucket in which entries and values are due to be deleted."""
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock) as db:
        await fill(db, 30, large=3)
        await db.compact()
        await clock.sleep(DAY / 2)
        await fill(db, 30, large=3, start=30)
        await db.compact()
        await clock.sleep(26 * HOUR)
        await fill(db, 5, start=60)
        await db.compact()
        await clock.sleep(2 * HOUR)
    return bucket


@pytest.mark.parametrize("victim", ["checkpoint", "entry", "the newest checkpoint", "head"])
def test_with_something_missing_nothing_is_deleted_that_could_still_tell(victim: str) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = await _ready_to_collect(clock)
        async with on(bucket, clock=clock) as db:
            await db.put("k", 1)
            head = await head_of(bucket)
            refs = [*head.kept, head.checkpoint]
            if victim == "checkpoint":
                kept = [ref for ref in refs if ref is not None and ref.seq >= head.floor]
                assert len(kept) > 1
                await bucket.delete(LAYOUT.root + kept[0].name)
            elif victim == "the newest checkpoint":
                assert head.checkpoint is not None
                await bucket.delete(LAYOUT.root + head.checkpoint.name)
            elif victim == "head":
                await bucket.delete(LAYOUT.head)
            else:
                await bucket.delete(LAYOUT.entry(head.incarnation, head.floor + 1))
            before = {name for name in await contents(bucket) if kind_of(name) == "values"}
            with pytest.raises(Corrupt):
                await db.compact()
            assert {name for name in await contents(bucket) if kind_of(name) == "values"} == before

    run_virtually(main())


@pytest.mark.parametrize("kind", ["log", "checkpoint", "head", "values"])
def test_when_it_cannot_read_what_is_in_use_no_value_is_deleted(kind: str) -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = await _ready_to_collect(clock)
        network = FaultyStorage(bucket, clock=clock)
        async with on(network, clock=clock) as db:
            before = {name for name in await contents(bucket) if kind_of(name) == "values"}

            async def unreadable(request: Any, proceed: Any, faults: FaultyStorage) -> Any:
                if (request.verb in ("get", "list") and kind_of(request.name + "/") == kind) or (
                    kind == "head" and request.name == LAYOUT.head
                ):
                    raise rxmps3.Unavailable("not now")
                return await proceed()

            network.plan = unreadable
            with pytest.raises(rxmps3.Error):
                await db.compact()
            assert {name for name in await contents(bucket) if kind_of(name) == "values"} == before
            network.plan = ()
        await check(bucket)

    run_virtually(main())


async def _end_of(receipt: rxmps3.Receipt) -> None:
    await receipt
