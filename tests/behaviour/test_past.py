"""Looking back: the state at an earlier version, a key's versions, what changed since, and going back there."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import pytest

import rxmps3
from rxmps3 import (
    MISSING,
    Change,
    Closed,
    Conflict,
    Database,
    InvalidKey,
    InvalidOption,
    InvalidValue,
    Rejected,
    Unsupported,
)
from rxmps3.database.past import Recorded
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.facades import ManualClock, is_blocking, settle
from tests.behaviour.helpers import LARGE, Gate, Switch, eventually, looks, offline, players, soon, trace
from tests.conftest import Place

ONLY = pytest.mark.sequenced_only("no other log keeps a past")


async def list_of(recorded: Recorded[Any]) -> list[Any]:
    """All items."""
    return await recorded


async def write_some(db: Database) -> list[str]:
    """Seven log versions; their version ids."""
    return [
        await db.put("a", 1),
        await db.put_all({"a": 2, "b": [1.0, None]}),
        await db.put("big", LARGE),
        await db.delete("a"),
        await db.put_all({"big": LARGE + "!", "b": MISSING}),
        await db.put("a", None),
        await db.put("c", {"n": 1}),
    ]


STATES: list[dict[str, Any]] = [
    {},
    {"a": 1},
    {"a": 2, "b": [1.0, None]},
    {"a": 2, "b": [1.0, None], "big": LARGE},
    {"b": [1.0, None], "big": LARGE},
    {"big": LARGE + "!"},
    {"a": None, "big": LARGE + "!"},
    {"a": None, "big": LARGE + "!", "c": {"n": 1}},
]
"""What there is after so many of these versions."""


# -- at --------------------------------------------------------------------------------------------------------------


@ONLY
@pytest.mark.parametrize("compacted", [False, True], ids=["log", "checkpoint"])
async def test_at_gives_what_there_was_at_a_version(place: Place, *, compacted: bool) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        ids = await write_some(ana)
        if compacted:
            await ana.compact()
        await looks(bob)
        for db in (ana, bob):
            for number, state in enumerate(STATES):
                past = await db.at(number)
                assert (past.id, await past.get_prefix(), len(past)) == (str(number), state, len(state))
            for number, version in enumerate(ids, 1):
                assert await (await db.at(version)).get_prefix() == STATES[number]
            assert await (await db.at("3")).get_prefix() == STATES[3]


@ONLY
async def test_a_past_reads_as_a_database_does(place: Place) -> None:
    async with players(place, "ana") as (ana,):
        await write_some(ana)
        past = await ana.at(3)
        assert past.keys() == ["a", "b", "big"]
        assert past.keys("b") == ["b", "big"]
        assert ("a" in past, "c" in past, 1 in past) == (True, False, False)
        assert await past.get("c") is None
        assert await past.get("c", default=7) == 7
        assert await past.get_many(["c", "a"], default=MISSING) == {"c": MISSING, "a": 2}
        assert await past.get_prefix("b", first=1) == {"b": [1.0, None]}
        assert await past.get_prefix("b", last=1) == {"big": LARGE}
        assert await past.read_texts({"b": past.entries["b"]}) == {"b": "[1.0,null]"}
        assert past.by == "ana"
        if is_blocking():  # a mapping, in which nothing else than a key is one
            assert await past.get("", default=7) == 7
        else:
            with pytest.raises(InvalidKey):
                await past.get("")
        with pytest.raises(InvalidOption):
            await past.get_prefix(first=1, last=1)


async def test_what_looks_back_lives_in_its_process() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        await ana.put("k", 1)
        past = await ana.at(1)
        for one in (
            past.past if is_blocking() else past,
            ana.blocking.history("k") if is_blocking() else ana.history("k"),
        ):
            with pytest.raises(TypeError, match="neither pickled nor copied"):
                pickle.dumps(one)


async def test_a_past_stays_and_every_reader_gets_a_value_of_its_own() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        await ana.put("k", [1])
        past = await ana.at(1)
        (await past.get("k")).append(2)
        await ana.put("k", "changed")
        assert await past.get("k") == [1]
        assert await past.get_prefix() == {"k": [1]}


async def test_a_date_means_the_last_version_that_was_stored_no_later() -> None:
    clock = ManualClock(start=datetime(2030, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC))
    async with players(MemoryStorage(clock=clock), "ana", clock=clock) as (ana,):
        began = clock.now()
        for number in range(1, 4):
            await clock.advance(10)
            await ana.put("n", number)
        await clock.advance(10)
        for seconds, seq in ((0, 0), (9.9, 0), (10, 1), (19.9, 1), (20, 2), (35, 3), (40, 3)):
            assert (await ana.at(began + timedelta(seconds=seconds))).id == str(seq), seconds
        elsewhere = (began + timedelta(seconds=20)).astimezone()
        past = await ana.at(elsewhere)
        assert (past.id, past.date, await past.get("n")) == ("2", elsewhere, 2)
        assert past.time == elsewhere
        assert (await ana.at((began + timedelta(seconds=10)).replace(microsecond=0))).id == "1", "the whole second"
        assert (await ana.at(datetime(2030, 1, 1, 12, 0, 9, tzinfo=UTC))).id == "0"
        with pytest.raises(InvalidOption, match="is in the future"):
            await ana.at(began + timedelta(hours=1))
        with pytest.raises(InvalidOption, match="no time zone"):
            await ana.at(began.replace(tzinfo=None))


@ONLY
async def test_the_date_that_a_past_tells_leads_back_to_its_second(place: Place) -> None:
    async with players(place, "ana") as (ana,):
        await write_some(ana)
        past = await ana.at(4)
        assert past.date is not None
        assert past.time is not None
        assert int((await ana.at(past.date)).id) >= 4
        assert (await ana.at(past.date - timedelta(days=1))).id == "0"
        assert (await ana.at(past.date + timedelta(minutes=1))).id == "7"


async def test_what_is_not_known_yet_is_looked_for_and_what_is_no_version_is_an_error() -> None:
    storage = MemoryStorage()
    async with players(storage, "ana", "bob") as (ana, bob):
        await ana.put("k", 1)
        await looks(bob)
        version = await ana.put("k", 2)
        assert await (await bob.at(version)).get("k") == 2
        await ana.put("k", 3)
        assert await (await bob.at(3)).get("k") == 3
        for when in (4, "4", version + "0", "nobody-1"):
            with pytest.raises(InvalidOption):
                await bob.at(when)
        for when in ("", "yesterday", -1, True, 1.0, "٣"):
            with pytest.raises(InvalidOption, match="neither"):
                await bob.at(when)


async def test_a_manifest_without_versions_has_its_beginning() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        assert (await ana.at(0)).id == "0"
        assert (await ana.at(datetime.now(UTC))).keys() == []
        assert await ana.history("k") == []
        assert await ana.diff(0, 0) == {}
        assert await ana.restore(0) == ""
        assert await ana.replay(0) == []
        with pytest.raises(InvalidOption):
            await ana.at(1)


async def test_another_manifest_has_a_past_of_its_own() -> None:
    storage = MemoryStorage()
    async with players(storage, "ana", "bob") as (ana, bob):
        await ana.put("k", "main")
        await ana.manifest("other").put("k", "other")
        other = bob.manifest("other")
        assert await (await other.at(1)).get("k") == "other"  # lazily opened: loaded by that
        assert [one.value for one in await bob.manifest("third").history("k")] == []


@pytest.mark.async_only("on the other face each of them is sent at once")
async def test_writes_of_one_entry_have_one_log_version() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        first, second = ana.put("k", 1), ana.put("k", 2)
        ids = [await first, await second]
        assert [(await ana.at(version)).id for version in ids] == ["1", "1"]
        found = await ana.history("k")
        assert [(one.value, one.version, one.id) for one in found] == [(1, ids[0], "1"), (2, ids[1], "1")]


@pytest.mark.parametrize("word", ["at", "diff", "restore", "history", "replay", "tag", "untag", "tags"])
async def test_another_protocol_says_which_one_has_a_past(place: Place, word: str) -> None:
    if place.protocol == "sequenced":
        pytest.skip("this one has it")
    async with players(place, "ana") as (ana,):
        await ana.put("k", 1)
        arguments: dict[str, tuple[Any, ...]] = {"diff": (0, 0), "tags": ()}
        with pytest.raises(Unsupported, match="the protocol 'sequenced' does"):
            await getattr(ana, word)(*arguments.get(word, ("k",)))


@pytest.mark.parametrize("protocol", ["versioned", "mps3"])
async def test_the_past_of_one_manifest_is_not_restored_where_a_write_rests_on_nothing(protocol: str) -> None:
    async with (
        players(MemoryStorage(), "ana") as (ana,),
        players(MemoryStorage(versioning=True), "bob", protocol=protocol, manifest="m.json") as (bob,),
    ):
        await ana.put("k", 1)
        past = await ana.at(1)
        await bob.put("k", 2)
        with pytest.raises(Unsupported, match=r"restore .*the protocol 'sequenced' does"):
            await bob.restore(past)
        assert await bob.get("k") == 2


class Named(StrEnum):
    """Names that a program gives to log versions."""

    FIRST = "1"
    TAGGED = "v1"


async def test_a_version_may_be_a_text_of_a_class_of_its_own() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        await ana.put("k", 1)
        await ana.tag(Named.TAGGED)
        assert [(await ana.at(which)).id for which in Named] == ["1", "1"]


async def test_what_at_refuses_names_the_manifest_that_it_is_no_version_of() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        await ana.put("k", 1)
        coming = datetime(2999, 1, 1, tzinfo=UTC)
        for refused in ("nothing", 9, "9", -1, True, None, "0123456789ab-1", coming, coming.replace(tzinfo=None)):
            with pytest.raises(InvalidOption, match=r"^at manifest 'main': "):
                await ana.at(refused)  # type: ignore[arg-type]


# -- history ---------------------------------------------------------------------------------------------------------


@ONLY
async def test_history_gives_each_version_of_a_key(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        ids = await write_some(ana)
        await looks(bob)
        found = await bob.history("a")
        assert [(one.value, one.id, one.version) for one in found] == [
            (1, "1", ids[0]),
            (2, "2", ids[1]),
            (MISSING, "4", ids[3]),
            (None, "6", ids[5]),
        ]
        assert {one.by for one in found} == {"ana"}
        assert all(one.time is not None and one.date is not None for one in found)
        assert [one.value for one in await bob.history("big")] == [LARGE, LARGE + "!"]
        assert await bob.history("nothing") == []


async def test_history_is_an_observable_that_completes_and_an_iterable() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        for number in range(40):
            await ana.put("n", number)
        history = ana.history("n")
        seen = trace(history)
        await eventually(lambda: seen[-1:] == ["completed"])
        assert [one.value for one in seen[:-1]] == list(range(40))
        assert seen[:-1] == [one async for one in history] == await history
        async for one in history:
            if one.value == 3:
                break  # and nothing is left behind
        again = trace(history)
        await eventually(lambda: len(again) == 41)


async def test_deleting_what_is_not_there_is_no_version_of_it() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        await ana.put("other", 1)
        await ana.delete("k")
        await ana.put("k", 1)
        await ana.delete("k")
        await ana.delete("k")
        assert [one.value for one in await ana.history("k")] == [1, MISSING]


async def test_a_disposed_history_stops_and_an_error_ends_one() -> None:
    switch = Switch()
    async with players(switch, "ana") as (ana,):
        for number in range(40):
            await ana.put("n", number)
        seen: list[Any] = []
        subscription = ana.history("n").subscribe(lambda one: (seen.append(one), subscription.dispose()))
        await eventually(lambda: seen)
        await settle()
        assert len(seen) == 1
        switch.error = lambda: Rejected("broken", operation="get")
        failed = trace(ana.history("n"))
        await eventually(lambda: failed)
        assert [type(one) for one in failed] == [Rejected]
        with pytest.raises(Rejected):
            await ana.history("n")
        switch.error = None


async def test_a_read_that_fails_is_tried_again_for_a_while() -> None:
    clock = ManualClock()
    switch = Switch(MemoryStorage(clock=clock), verbs=("get",))
    async with players(switch, "ana", clock=clock) as (ana,):
        await ana.put("n", 1)
        switch.part = "/log/"
        switch.error = offline
        reading = ana.at(1)

        async def read() -> Any:
            return await (await reading).get("n")

        task = asyncio.ensure_future(read())
        await eventually(lambda: switch.refused)
        switch.error = None
        assert await soon(clock, task) == 1


async def test_closing_ends_what_is_being_read_with_an_error() -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    async with players(storage, "ana", clock=clock) as (ana,):
        for number in range(3):
            await clock.advance(60)
            await ana.put("n", number)
        seen = trace(ana.replay(1, speed=1))
        await settle()
        assert seen == []
        await ana.close()
        await settle()
        assert [type(one).__name__ for one in seen] == ["Closed"]
        late = trace(ana.history("n"))
        await settle()
        assert [type(one).__name__ for one in late] == ["Closed"]


@pytest.mark.async_only("a blocking call in a thread of its own ends otherwise")
async def test_closing_ends_who_iterates_over_a_replay_or_awaits_it_within_a_pause() -> None:
    """Another handle keeps the replica open."""
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    async with rxmps3.connect(storage, clock=clock) as other:
        for number in range(3):
            await clock.advance(60)
            await other.put("n", number)
        ana = await rxmps3.connect(storage, clock=clock)
        taken = aiter(ana.replay(0, speed=1))
        assert [change.after for change in await anext(taken)] == [0]
        waiting = [asyncio.ensure_future(anext(taken)), asyncio.ensure_future(list_of(ana.replay(1, speed=1)))]
        still = asyncio.ensure_future(list_of(other.replay(1, speed=1)))
        await settle()
        await ana.close()
        for one in waiting:
            with pytest.raises(Closed):
                await asyncio.wait_for(one, 5)
        assert [change.after for changes in await soon(clock, still) for change in changes] == [1, 2]


# -- diff ------------------------------------------------------------------------------------------------------------


@ONLY
async def test_diff_gives_both_values_of_each_key_that_differs(place: Place) -> None:
    async with players(place, "ana") as (ana,):
        ids = await write_some(ana)
        assert await ana.diff(ids[0], 4) == {"a": (1, MISSING), "b": (MISSING, [1.0, None]), "big": (MISSING, LARGE)}
        found = await ana.diff(await ana.at(3), 7)
        assert list(found) == ["a", "b", "big", "c"]
        assert (found["a"].before, found["a"].after) == (2, None)
        assert found["big"] == (LARGE, LARGE + "!")
        assert await ana.diff(7, 3) == {key: (after, before) for key, (before, after) in found.items()}
        assert await ana.diff(5, 5) == {}


async def test_diff_compares_texts() -> None:
    async with players(MemoryStorage(), "ana", "bob") as (ana, bob):
        await ana.put_all({"same": {"a": 1, "b": 2}, "one": 1, "large": LARGE})
        await looks(bob)
        await bob.put_all({"same": {"b": 2, "a": 1}, "one": 1.0, "large": LARGE})
        assert await bob.diff(1, 2) == {"one": (1, 1.0)}


# -- replay ----------------------------------------------------------------------------------------------------------


@ONLY
async def test_a_replay_gives_the_changes_that_there_were(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        await ana.put("first", 1)
        await looks(bob)
        seen = trace(bob.changes())
        for write in ({"a": 1}, {"a": 2, "b": LARGE}, {"a": 2}, {"b": MISSING, "c": 1}):
            await ana.put_all(write)
            await looks(bob)
        await eventually(lambda: len(seen) == 5)
        a1, a2, b, gone, c = seen
        assert await bob.replay(1, speed=None) == [(a1,), (a2, b), (), (gone, c)]
        assert await bob.replay(3, 4, speed=None) == [()]
        assert a1 == Change("a", MISSING, 1, "ana", a1.version, False, "remote")


async def test_a_replay_keeps_the_pace_of_the_dates() -> None:
    clock = ManualClock()
    async with players(MemoryStorage(clock=clock), "ana", clock=clock) as (ana,):
        await ana.put("n", 0)
        for number, pause in ((1, 100), (2, 0), (3, 20), (4, 600)):
            await clock.advance(pause)
            await ana.put("n", number)
        seen: list[tuple[float, int]] = []
        began = clock.monotonic()
        done: list[str] = []
        ana.replay(1).subscribe(
            lambda changes: seen.append((clock.monotonic() - began, changes[0].after)),
            on_completed=lambda: done.append(""),
        )
        for _ in range(80):
            await clock.advance(1)
        assert [(round(moment), value) for moment, value in seen] == [(10, 1), (10, 2), (12, 3), (72, 4)]
        assert done
        stopped = ana.replay(1, 4, speed=2).subscribe(lambda changes: seen.append((0, changes[0].after)))
        await settle()
        stopped.dispose()
        await clock.advance(1000)
        assert len(seen) == 4


async def test_a_replay_that_makes_no_sense_is_refused() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        await write_some(ana)
        for speed in (0, -1, float("nan"), float("inf"), 10**400, "fast"):
            with pytest.raises(InvalidOption, match="speed"):
                ana.replay(0, speed=speed)  # type: ignore[arg-type]
        with pytest.raises(InvalidOption, match="before its start"):
            await ana.replay(3, 1)


# -- restore ---------------------------------------------------------------------------------------------------------


@ONLY
async def test_restore_brings_back_what_there_was_in_one_write(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        await write_some(ana)
        version = await bob.restore(3)
        assert await bob.get_prefix() == STATES[3]
        assert await (await bob.at(version)).get_prefix() == STATES[3]
        assert (await bob.at(version)).id == "8"
        await looks(ana)
        assert await ana.get_prefix() == STATES[3]
        assert await ana.restore(3) == ""
        assert await ana.restore(await ana.at(7), prefix="b") != ""
        assert await ana.get_prefix() == {"a": 2, "big": LARGE + "!"}


async def test_restore_sees_pending_writes_and_news() -> None:
    storage = MemoryStorage()
    async with players(storage, "ana", "bob") as (ana, bob):
        await ana.put("k", 1)
        await looks(bob)
        await ana.put_all({"k": 2, "new": 2})
        bob.put("mine", 3)
        await bob.restore(1)
        assert await bob.get_prefix() == {"k": 1}


async def test_what_others_write_meanwhile_is_taken_back_too() -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    gate = Gate(storage, "/log/", ("put",))
    async with players(storage, "ana", clock=clock) as (ana,), players(gate, "bob", clock=clock) as (bob,):
        await ana.put_all({"a/same": 1, "a/other": 1, "b": 1})
        await ana.put("a/other", 2)
        gate.shut = True
        restoring = asyncio.ensure_future(bob.restore(1, "a/"))
        await clock.advance(2)  # until it is his turn
        held = await gate.held()
        await ana.put_all({"a/same": 2, "a/new": 2, "b": 2})
        gate.shut = False
        held.let_go()
        await soon(clock, restoring)
        assert await bob.get_prefix() == {"a/other": 1, "a/same": 1, "b": 2}


async def test_a_restore_that_others_never_let_through_gives_up() -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    gate = Gate(storage, "/log/", ("put",))
    async with players(storage, "ana", clock=clock) as (ana,), players(gate, "bob", clock=clock) as (bob,):
        await ana.put("k", 1)
        await ana.put("k", 2)
        gate.shut = True
        restoring = asyncio.ensure_future(soon(clock, bob.restore(1)))
        attempts = 0
        while not restoring.done():
            await asyncio.sleep(0.002)
            if gate.holding:
                attempts += 1
                await ana.put("k", attempts + 2)
                (await gate.held()).let_go()
        with pytest.raises(Conflict, match="each of 10 attempts"):
            await restoring
        assert attempts == 10
        assert await ana.get("k") == 12
        gate.open()


async def test_what_does_not_fit_one_write_is_an_error_that_says_what_to_do() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        for start in range(0, 20_001, 10_000):
            await ana.put_all({f"{number % 2}/{number}": 1 for number in range(start, min(start + 10_000, 20_001))})
        with pytest.raises(InvalidValue, match="restore by longer prefixes"):
            await ana.restore(0)
        assert len(ana) == 20_001
        await ana.restore(0, "1/")
        await ana.restore(0, "0/")
        assert len(ana) == 0


async def test_a_restore_that_makes_no_sense_is_refused() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        await ana.put("k", 1)
        for prefix in (None, 5):
            with pytest.raises(InvalidOption, match="prefix"):
                await ana.restore(1, prefix)  # type: ignore[arg-type]


@pytest.mark.async_only("handles of one loop")
async def test_a_closed_handle_restores_nothing() -> None:
    """Another handle keeps the replica open."""
    storage = MemoryStorage()
    async with rxmps3.connect(storage) as other:
        await other.put("k", 1)
        ana = await rxmps3.connect(storage)
        past = await ana.at(0)
        await ana.close()
        with pytest.raises(Closed):
            await ana.restore(past)
        assert await other.get("k") == 1


async def test_who_may_only_read_looks_back_but_restores_nothing() -> None:
    storage = MemoryStorage()
    async with players(storage, "ana") as (ana,), players(storage, "bob", read_only=True) as (bob,):
        await write_some(ana)
        assert await (await bob.at(2)).get("a") == 2
        with pytest.raises(InvalidOption, match="read_only"):
            await bob.restore(1)


# -- what it costs ---------------------------------------------------------------------------------------------------


class Rig(NamedTuple):
    """A reader of a log of 40 entries with a checkpoint after the 30th, whose requests are counted."""

    db: Database
    counting: CountingStorage

    def asked(self) -> list[str]:
        """What was asked for since the last time, sorted: heads, checkpoints, log entries, values, listings."""
        kinds = ("head", "checkpoint", "log", "values")
        found = [
            request.verb if request.verb != "get" else next(kind for kind in kinds if kind in request.name)
            for request in self.counting.requests
        ]
        self.counting.reset()
        return sorted(found)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    counting = CountingStorage(storage)
    async with players(storage, "ana", clock=clock) as (ana,), players(counting, "bob", clock=clock) as (bob,):
        for number in range(40):
            await clock.advance(1)
            await ana.put("n", number)
            if number == 29:
                await ana.compact()
        await looks(bob)
        counting.reset()
        yield Rig(bob, counting)


async def test_looking_back_costs_the_entries_since_the_checkpoint_before(rig: Rig) -> None:
    await rig.db.at(35)
    assert rig.asked() == ["checkpoint", "head", *["log"] * 5]
    await rig.db.at(30)
    assert rig.asked() == ["checkpoint", "head", "log"]  # the entry itself, for its date and by whom it is
    await rig.db.at(20)
    assert rig.asked() == ["head", *["log"] * 20]
    past = await rig.db.at(40)
    rig.asked()
    assert await past.get("n") == 39
    assert rig.asked() == []


async def test_a_date_costs_a_listing_more_and_a_version_id_the_search(rig: Rig) -> None:
    seventh = await rig.db.at(7)
    rig.asked()
    assert seventh.date is not None
    await rig.db.at(seventh.date + timedelta(microseconds=1))
    assert rig.asked() == ["head", "list", *["log"] * 7]
    ids = [one.version for one in await rig.db.history("n")]
    assert rig.asked() == ["head", *["log"] * 40]
    await rig.db.at(ids[34])
    assert rig.asked() == ["checkpoint", "head", *["log"] * 10]  # so many at once: five would do
    await rig.db.at(ids[5])
    assert rig.asked() == ["checkpoint", "head", *["log"] * 16]


async def test_a_difference_is_two_looks_and_a_replay_reads_once(rig: Rig) -> None:
    await rig.db.diff(35, 36)
    assert rig.asked() == ["checkpoint", "checkpoint", "head", "head", *["log"] * 11]
    await rig.db.replay(35, 38, speed=None)
    assert rig.asked() == ["checkpoint", "head", *["log"] * 8]


# -- tags ------------------------------------------------------------------------------------------------------------


@ONLY
async def test_a_tag_names_the_end_of_the_log(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        await write_some(ana)
        assert await bob.tag("release 1/ü") == "7"
        await ana.put("a", "later")
        assert await bob.tag("second-8") == "8"
        await ana.put("a", "last")
        for db in (ana, bob):
            assert await db.tags() == {"release 1/ü": "7", "second-8": "8"}
            past = await db.at("release 1/ü")
            assert (past.id, past.by, await past.get_prefix()) == ("7", "ana", STATES[7])
            assert await db.diff("release 1/ü", "second-8") == {"a": (None, "later")}
            assert len(await db.replay("release 1/ü", "second-8", speed=None)) == 1
        assert await ana.restore("second-8", "a") != ""
        assert await ana.get("a") == "later"
        await ana.untag("release 1/ü")
        await ana.untag("release 1/ü")
        assert await bob.tags() == {"second-8": "8"}
        with pytest.raises(InvalidOption, match="neither"):
            await bob.at("release 1/ü")


async def test_a_tag_stays_what_it_is() -> None:
    async with players(MemoryStorage(), "ana") as (ana,):
        await ana.put("k", 1)
        assert await ana.tag("v1") == "1"
        assert await ana.tag("v1") == "1", "the same once more is fine"
        assert await ana.tag("again") == "1"
        await ana.put("k", 2)
        with pytest.raises(InvalidOption, match="already tags log version 1"):
            await ana.tag("v1")
        await ana.untag("v1")
        assert await ana.tag("v1") == "2"
        assert await ana.tags() == {"again": "1", "v1": "2"}


async def test_what_cannot_be_a_tag_is_refused() -> None:
    storage = MemoryStorage()
    async with players(storage, "ana") as (ana,), players(storage, "bob", read_only=True) as (bob,):
        assert await ana.tags() == {}
        await ana.untag("v1")
        with pytest.raises(InvalidOption, match="nothing has been written"):
            await ana.tag("v1")
        version = await ana.put("k", 1)
        await bob.refresh()
        for name in ("", "a\nb", "x" * 101, 1, None):
            with pytest.raises(InvalidOption, match=r"^tag [^ ]*: a tag is printable"):
                await ana.tag(name)  # type: ignore[arg-type]
        for name in ("12", version, "2026-11-22", "20261122T10"):
            with pytest.raises(InvalidOption, match="reads like"):
                await ana.tag(name)
        for refused in (bob.tag("v1"), bob.untag("v1")):
            with pytest.raises(InvalidOption, match="read_only"):
                await refused
        assert await bob.tags() == {}


async def test_several_may_tag_at_once() -> None:
    storage = MemoryStorage()
    async with players(storage, "ana", "bob", "cyd") as everybody:
        await everybody[0].put("k", 1)
        found = await asyncio.gather(*(db.tag(f"v{number}") for number, db in enumerate(everybody)))
        assert found == ["1", "1", "1"]
        assert await everybody[0].tags() == {"v0": "1", "v1": "1", "v2": "1"}


async def test_a_tag_costs_a_checkpoint_and_two_rewrites_of_the_head(rig: Rig) -> None:
    await rig.db.tag("v1")
    written = [request.name for request in rig.counting.requests if request.verb == "put"]
    assert ["head" if name.endswith("/head") else name.split("/")[-2] for name in written] == [
        "checkpoint",
        "head",
        "head",
    ]
    rig.counting.reset()
    await rig.db.at("v1")
    assert rig.asked() == ["checkpoint", "head", "log"]
