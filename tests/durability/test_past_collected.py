"""Looking back in a log that has been compacted: as far as it is kept, and no further, and it says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import chain
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING, Conflict, Corrupt, NotKept, Unavailable
from rxmps3.log import codec
from rxmps3.log.sequenced.verify import verify
from rxmps3.model.state import ContentObject
from rxmps3.storage import Found, MemoryStorage, Storage, list_all
from rxmps3.testing import FaultyStorage, Request, StorageWrapper
from rxmps3.testing.faults import Fault, drop_requests, offline
from rxmps3.testing.virtual import SimClock
from tests.behaviour.helpers import trace
from tests.durability.helpers import LARGE, Disk, on
from tests.durability.test_outbox_time import virtually
from tests.durability.upkeep import DAY, HOUR, LAYOUT, check, head_of
from tests.forging import resealed

HOURS = 80


class Story:
    """A bucket written to once an hour for some days and compacted every ten, and what a witness knows of it.

    Attributes:
        states: what there was after each log version.
        ids: the version id of each.
        moments: when each was stored.
    """

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.bucket: Storage = MemoryStorage(clock=clock)
        self.states: list[dict[str, Any]] = [{}]
        self.ids: list[str] = [""]
        self.moments = [clock.now()]

    async def put(self, db: rxmps3.Database, values: dict[str, Any]) -> None:
        """One log version."""
        self.ids.append(await db.put_all(values))
        self.moments.append(self.clock.now())
        state = {**self.states[-1], **values}
        self.states.append({key: value for key, value in state.items() if value is not MISSING})

    async def tell(self) -> int:
        """Write and compact; the floor that this leaves."""
        async with on(self.bucket, clock=self.clock, by="ana") as db:
            await self.put(db, {"old": "first", "large": LARGE})
            for hour in range(HOURS):
                value = f"{LARGE}{hour}" if hour % 5 == 0 else hour
                await self.put(db, {f"key {hour % 3}": value, "gone": hour if hour % 2 else MISSING})
                if hour % 10 == 0:
                    await db.compact()
                await self.clock.sleep(HOUR)
        await check(self.bucket)
        floor = (await head_of(self.bucket)).floor
        assert 0 < floor < len(self.states) - 20
        return floor


@virtually
async def test_everything_from_the_floor_on_can_be_had_and_nothing_before_it() -> None:
    clock = SimClock("a")
    story = Story(clock)
    floor = await story.tell()
    async with on(story.bucket, clock=clock) as db:
        for seq in range(floor, len(story.states)):
            past = await db.at(seq)
            assert (past.id, await past.get_prefix()) == (str(seq), dict(sorted(story.states[seq].items())))
        for seq in (0, 1, floor - 1):
            with pytest.raises(NotKept, match=f"oldest that can be had is log version {floor}") as told:
                await db.at(seq)
            assert told.value.oldest == str(floor)
        at_floor, after = await db.at(floor), await db.at(floor + 1)
        assert (at_floor.by, at_floor.time, at_floor.date) == ("", None, None)
        assert (after.by, after.date) == ("ana", story.moments[floor + 1])


@virtually
async def test_version_ids_and_dates_reach_as_far() -> None:
    clock = SimClock("a")
    story = Story(clock)
    floor = await story.tell()
    async with on(story.bucket, clock=clock) as db:
        for seq in range(floor + 1, len(story.states), 7):
            assert (await db.at(story.ids[seq])).id == str(seq)
            assert (await db.at(story.moments[seq])).id == str(seq)
            assert (await db.at(story.moments[seq] + timedelta(minutes=59))).id == str(seq)
        for seq in (1, floor):
            with pytest.raises(NotKept, match=r"the log entry of version .* is older"):
                await db.at(story.ids[seq])
        with pytest.raises(NotKept):
            await db.at(story.moments[floor - 1])
        # the floor's checkpoint was made within its hour: what the clock says between, nobody can tell any more
        assert (await db.at(story.moments[floor + 1] - timedelta(seconds=1))).id == str(floor)


@virtually
async def test_an_undo_of_what_was_collected_says_so_and_the_next_one_goes_on() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock, cache_bytes=1) as db:
        await db.put("first", 1)
        await db.put("k", LARGE)
        await db.put("k", "small")
        for hour in range(60):
            async with on(bucket, clock=clock) as other:
                await other.put(f"key {hour % 3}", f"{LARGE}{hour}")
                if hour % 10 == 0:
                    await other.compact()
            await db.get_prefix("key")
            await clock.sleep(HOUR)
        floor = (await head_of(bucket)).floor
        with pytest.raises(NotKept) as told:
            await db.undo()
        assert told.value.oldest == str(floor)
        assert await db.get("k") == "small"
        with pytest.raises(Conflict, match="'k'"):
            await db.undo()
        assert await db.undo()
        assert "first" not in db


@virtually
async def test_history_begins_with_the_oldest_checkpoint() -> None:
    clock = SimClock("a")
    story = Story(clock)
    floor = await story.tell()
    async with on(story.bucket, clock=clock) as db:
        (old,) = await db.history("old")
        assert (old.value, old.version, old.id, old.by, old.time, old.date) == (
            "first",
            story.ids[1],
            str(floor),
            "",
            None,
            None,
        )
        assert [one.value for one in await db.history("large")] == [LARGE]
        for key in ("key 0", "key 1", "key 2", "gone"):
            held = [state.get(key, MISSING) for state in story.states[floor:]]
            expected = [value for before, value in zip([MISSING, *held], held, strict=False) if value != before]
            assert [one.value for one in await db.history(key)] == expected
        changes = await db.replay(floor, speed=None)
        state = dict(story.states[floor])
        for change in chain.from_iterable(changes):
            assert state.get(change.key, MISSING) == change.before
            state[change.key] = change.after
        assert {key: value for key, value in state.items() if value is not MISSING} == story.states[-1]


@virtually
async def test_what_was_collected_is_restored_from_a_past_that_is_kept() -> None:
    clock = SimClock("a")
    story = Story(clock)
    floor = await story.tell()
    async with on(story.bucket, clock=clock) as db:
        await db.restore(floor)
        assert await db.get_prefix() == dict(sorted(story.states[floor].items()))
        await clock.sleep(3 * DAY)
        for _ in range(3):
            await db.put("more", 1)
            await db.compact()
            await clock.sleep(DAY + HOUR)
        assert await db.get("large") == LARGE, "the old object may go: it was written anew"
        await check(story.bucket)


@virtually
async def test_a_past_that_is_held_for_days_loses_its_large_values_and_says_why() -> None:
    clock = SimClock("a")
    story = Story(clock)
    await story.tell()
    async with on(story.bucket, clock=clock) as db, on(story.bucket, clock=clock) as reader:
        last = len(story.states) - 1
        await story.put(db, {"large": "small now", "key 0": LARGE + "held"})
        held = await reader.at(last)
        for _ in range(5):
            await db.put("more", clock.monotonic())
            await db.compact()
            await clock.sleep(DAY)
        assert await held.get("old") == "first", "small ones are in memory"
        with pytest.raises(NotKept, match=f"log version {last} is older than what is kept"):
            await held.get("large")


class Interrupting(StorageWrapper):
    """Does something before one request whose name has a part."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.part, self.act = "", _nothing

    async def around(self, request: Request, proceed: Callable[[], Awaitable[Any]]) -> Any:
        if self.part and self.part in request.name and request.verb == "get":
            self.part, act = "", self.act
            await act()
        return await proceed()


async def _nothing() -> None: ...


async def collect_everything(story: Story) -> int:
    """Somebody compacts for days; the floor after it."""
    async with on(story.bucket, clock=story.clock, by="bob") as db:
        for _ in range(4):
            await db.put("more", story.clock.monotonic())
            await db.compact()
            await story.clock.sleep(DAY + HOUR)
        await db.compact()
    return (await head_of(story.bucket)).floor


@pytest.mark.parametrize("part", ["/log/", "/checkpoint/"])
def test_a_reader_that_slept_through_a_collection_is_told_or_reads_on_from_what_is_kept(part: str) -> None:
    @virtually
    async def main() -> None:
        clock = SimClock("a")
        story = Story(clock)
        floor = await story.tell()
        interrupting = Interrupting(story.bucket)
        async with on(interrupting, clock=clock) as db:

            async def collect() -> None:
                nonlocal floor
                floor = await collect_everything(story)

            interrupting.part, interrupting.act = part, collect
            with pytest.raises(NotKept) as told:
                await db.at(floor + 1)
            assert told.value.oldest == str(floor)
            assert floor > len(story.states) - 1
            state = await (await db.at(floor)).get_prefix()
            del state["more"]
            assert state == dict(sorted(story.states[-1].items()))

    main()


@virtually
async def test_an_entry_that_a_sleeper_put_where_one_was_collected_is_not_believed() -> None:
    clock = SimClock("a")
    story = Story(clock)
    floor = await story.tell()
    interrupting = Interrupting(story.bucket)
    async with on(interrupting, clock=clock) as db:
        incarnation = (await head_of(story.bucket)).incarnation
        name = LAYOUT.entry(incarnation, floor + 1)
        real = await story.bucket.get(name)
        assert isinstance(real, Found)

        async def collect_and_forge() -> None:
            await collect_everything(story)
            assert not isinstance(await story.bucket.get(name), Found)
            await story.bucket.put(name, resealed(real.body.replace(b'"by":"ana"', b'"by":"eve"')))

        interrupting.part, interrupting.act = "/log/", collect_and_forge
        with pytest.raises(NotKept):
            await db.at(floor + 1)


@virtually
async def test_a_long_replay_renews_its_lease_and_ends_where_the_log_was_collected() -> None:
    clock = SimClock("a")
    story = Story(clock)
    await story.tell()
    async with on(story.bucket, clock=clock) as db:
        last = len(story.states) - 1
        slow = trace(db.replay(last - 4, speed=1))
        await clock.sleep(5 * HOUR)
        assert slow[-1] == "completed"
        assert {change.after for changes in slow[:-1] for change in changes} >= {HOURS - 1, HOURS - 2}
        too_slow = trace(db.replay(last - 18, speed=0.01))
        await clock.sleep(HOUR)
        await collect_everything(story)
        await clock.sleep(100 * DAY)
        assert isinstance(too_slow[-1], NotKept)


@virtually
async def test_another_last_entry_than_this_client_has_read_is_not_believed() -> None:
    clock = SimClock("a")
    story = Story(clock)
    await story.tell()
    last = len(story.states) - 1
    async with on(story.bucket, clock=clock) as db:
        name = LAYOUT.entry((await head_of(story.bucket)).incarnation, last)
        found = await story.bucket.get(name)
        assert isinstance(found, Found)
        await story.bucket.put(name, resealed(found.body.replace(b'"by":"ana"', b'"by":"eve"')))
        with pytest.raises(Corrupt, match="hash chain"):
            await db.at(last)
        assert await db.at(last - 1)


@pytest.mark.parametrize("what", ["entry", "chain", "checkpoint"])
def test_what_is_broken_is_corrupt(what: str) -> None:
    @virtually
    async def main() -> None:
        clock = SimClock("a")
        story = Story(clock)
        floor = await story.tell()
        async with on(story.bucket, clock=clock) as db:
            head = await head_of(story.bucket)
            name = LAYOUT.entry(head.incarnation, floor + 2)
            found = await story.bucket.get(name)
            assert isinstance(found, Found)
            if what == "entry":
                await story.bucket.delete(name)
            elif what == "chain":
                await story.bucket.put(name, resealed(found.body.replace(b'"by":"ana"', b'"by":"eve"')))
            else:
                await story.bucket.delete(LAYOUT.root + head.kept[0].name)
            kept = [ref.seq for ref in (*head.kept, head.checkpoint) if ref is not None]
            assert not any(floor < seq < floor + 4 for seq in kept)
            with pytest.raises(Corrupt):
                await db.at(floor + 3)
            with pytest.raises(Corrupt):
                await db.history("old")
            with pytest.raises(Corrupt):
                await db.replay(floor, speed=None)

    main()


@virtually
async def test_a_tag_outlives_the_retention_until_it_is_removed() -> None:
    clock = SimClock("a")
    story = Story(clock)
    await story.tell()
    tagged = len(story.states) - 1
    async with on(story.bucket, clock=clock) as db:
        assert await db.tag("v1") == str(tagged)
        await story.put(db, dict.fromkeys(story.states[-1], MISSING) | {"new": 1})
    floor = await collect_everything(story)
    await check(story.bucket)
    assert floor > tagged
    async with on(story.bucket, clock=clock, by="cyd") as db:
        assert await db.tags() == {"v1": str(tagged)}
        for when in ("v1", tagged, str(tagged)):
            past = await db.at(when)
            assert (past.id, past.by, past.date) == (str(tagged), "", None)
            assert await past.get_prefix() == dict(sorted(story.states[tagged].items()))
        for gone in (tagged - 1, tagged + 1):
            with pytest.raises(NotKept):
                await db.at(gone)
        with pytest.raises(NotKept):
            await db.replay("v1", speed=None)
        assert (await db.diff("v1", floor))["large"] == (LARGE, MISSING)
        found = await verify(story.bucket, "main")
        assert not found.problems
        await db.restore("v1")
        assert await db.get("large") == LARGE
        held = await db.at("v1")
        large = held.entries["large"].content
        assert isinstance(large, ContentObject)
        async with on(story.bucket, clock=clock) as other:
            kept = await story.bucket.get(LAYOUT.content(large.name))
            assert isinstance(kept, Found)
            await story.bucket.delete(LAYOUT.content(large.name))
            with pytest.raises(Corrupt, match="restore the object"):
                await (await other.at("v1")).get("large")
            await story.bucket.put(LAYOUT.content(large.name), kept.body)
        await db.untag("v1")
        assert await db.tags() == {}
        await story.put(db, {"large": MISSING})
    await collect_everything(story)
    await check(story.bucket)
    head = await head_of(story.bucket)
    assert not head.tags
    assert await list_all(story.bucket, f"{LAYOUT.root}{head.incarnation}/checkpoint/{tagged:020}") == []
    async with on(story.bucket, clock=clock) as db:
        with pytest.raises(NotKept):
            await db.at(held.id)


@virtually
async def test_who_rewrites_the_head_keeps_its_tags_and_the_time_of_the_raise() -> None:
    clock = SimClock("a")
    story = Story(clock)
    await story.tell()
    async with on(story.bucket, clock=clock) as db:
        before = await head_of(story.bucket)
        assert before.floor
        await db.tag("v1")
        after = await head_of(story.bucket)
        assert after.raised_at is not None
        assert (after.floor, list(after.tags)) == (before.floor, ["v1"])
        await db.put("more", 1)
        await db.compact()
        assert (await head_of(story.bucket)).tags == after.tags
        await db.put("more", 2)
        await db.untag("v1")
        now = await head_of(story.bucket)
        assert (now.tags, now.floor) == ({}, after.floor) or now.floor > after.floor


@virtually
async def test_who_began_with_a_local_copy_looks_back_once_the_bucket_is_in_reach() -> None:
    clock = SimClock("a")
    story, disk = Story(clock), Disk()
    await story.tell()
    async with on(story.bucket, disk, clock=clock):
        pass
    floor = await collect_everything(story)
    async with on(story.bucket, clock=clock) as db:
        await db.put("more", "newest")
    bucket = FaultyStorage(story.bucket, clock=clock)
    bucket.plan = offline()
    async with on(bucket, disk, clock=clock) as db:
        seen = trace(db.observe("more"))
        assert await db.get("old") == "first"
        for word in (db.at(1), db.diff(0, 1), db.tags()):
            with pytest.raises(Unavailable):
                await word
        with pytest.raises(Unavailable):
            await db.history("old")
        bucket.plan = ()
        state = await (await db.at(floor)).get_prefix()
        assert state.pop("more")
        assert state == dict(sorted(story.states[-1].items()))
        assert seen[-1] == "newest", "the first look back reads the log to its end"
        with pytest.raises(NotKept):
            await db.at(floor - 1)
    async with on(story.bucket, disk, clock=clock, online=False) as db:
        with pytest.raises(Unavailable, match="online=False"):
            await db.at(floor)


def but_the_head(fault: Fault) -> Fault:
    async def strike(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
        return await (proceed() if request.name == LAYOUT.head else fault(request, proceed, faults))

    return strike


@virtually
async def test_what_is_read_for_long_survives_a_bad_network() -> None:
    clock = SimClock("a")
    story = Story(clock)
    floor = await story.tell()
    last = len(story.states) - 1
    bucket = FaultyStorage(story.bucket, clock=clock)
    async with on(bucket, clock=clock) as db:
        expected = await db.history("key 0")
        changes = await db.replay(floor, last, speed=None)
    async with on(bucket, clock=clock, cache_bytes=0) as db:
        bucket.plan = but_the_head(drop_requests(one_in=4, verbs=("get",)))
        assert await db.history("key 0") == expected
        assert await db.replay(floor, last, speed=None) == changes
        assert await (await db.at(floor + 3)).get("old") == "first"
        bucket.plan = but_the_head(drop_requests(one_in=1, verbs=("get",)))
        with pytest.raises(Unavailable):
            await db.history("large")


@virtually
async def test_a_write_that_arrived_twice_counts_where_it_came_first() -> None:
    clock = SimClock("a")
    bucket = MemoryStorage(clock=clock)
    async with on(bucket, clock=clock, by="ana") as db:
        version = await db.put_all({"k": 1, "gone": 1})
        await db.put_all({"k": 2, "gone": MISSING})
        incarnation = (await head_of(bucket)).incarnation
        first, second = [await bucket.get(LAYOUT.entry(incarnation, seq)) for seq in (1, 2)]
        assert isinstance(first, Found)
        assert isinstance(second, Found)
        (write,) = codec.decode_entry(first.body, "1").version.writes
        again = codec.encode_entry(
            3, codec.digest(second.body), "copy", "bob", clock.now(), [codec.encode_write(write, "copy")]
        )
        await bucket.put(LAYOUT.entry(incarnation, 3), again)
        await db.put("k", 3)
        assert [(one.value, one.id, one.by) for one in await db.history("k")] == [
            (1, "1", "ana"),
            (2, "2", "ana"),
            (3, "4", "ana"),
        ]
        assert [one.value for one in await db.history("gone")] == [1, MISSING]
        assert (await db.at(version)).id == "1"
        assert await (await db.at(3)).get_prefix() == {"k": 2}
        assert await db.diff(2, 3) == {}
        assert await db.replay(2, 3, speed=None) == [()]
