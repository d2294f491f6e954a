"""Who is here: everybody sees everybody, whoever has gone disappears, and the log never notices."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rxmps3 import (
    AccessDenied,
    Closed,
    Database,
    InvalidKey,
    InvalidOption,
    InvalidValue,
    NotLoaded,
    Presence,
    Throttled,
)
from rxmps3.database.presence.who import Said, encode
from rxmps3.model.names import PRESENCE_PREFIX
from rxmps3.runtime.clock import Random
from rxmps3.storage import MemoryStorage, Page, Storage, list_all
from rxmps3.storage.base import versions_of
from rxmps3.testing import CountingStorage, FaultyStorage, StorageWrapper, faults
from tests.behaviour.facades import ManualClock, settle, turn
from tests.behaviour.helpers import Gate, Switch, eventually, names, offline, player, players, raw, soon, trace
from tests.conftest import Place
from tests.servers import READER

QUICK = {"every": 0.3, "ttl": 5.0, "poll": 0.1}
"""For places with a time of their own, which may be whole seconds."""
PEACE = 0.99
"""Seconds in which nobody looks or renews, after a look at ``poll=10``."""


def told(seen: Any) -> Any:
    """What one item of a trace says, without ids and times."""
    return seen if isinstance(seen, str) else [(one.by, one.me) for one in seen.values()]


def who(presence: Presence) -> list[Any]:
    """Who is here now, as `told`; empty if it is not known."""
    try:
        return told(presence.value)
    except NotLoaded:
        return []


def is_at_hand(presence: Presence) -> bool:
    try:
        return presence.value is not None
    except NotLoaded:
        return False


# -- in every place --------------------------------------------------------------------------------------------------


async def test_everybody_sees_everybody_until_they_leave(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        at_ana, at_bob = ana.presence({"n": 1}, **QUICK), bob.presence({"n": 2}, **QUICK)
        seen = at_ana.subscribe()
        await eventually(lambda: who(at_ana) == [("ana", {"n": 1})])
        heard = trace(at_bob)
        both = [("ana", {"n": 1}), ("bob", {"n": 2})]
        await eventually(lambda: sorted(who(at_ana)) == both and sorted(who(at_bob)) == both)
        assert sorted(at_ana.value) == sorted(at_bob.value) == sorted([at_ana.id, at_bob.id])
        assert at_ana.value[at_bob.id] == at_bob.value[at_bob.id]
        assert len(await names(place, PRESENCE_PREFIX)) == 3  # with the bell

        at_ana.update({"n": None, "typing": True})
        await eventually(lambda: ("ana", {"typing": True}) in who(at_bob))
        seen.dispose()
        await eventually(lambda: who(at_bob) == [("bob", {"n": 2})])
        await eventually(lambda: not is_at_hand(at_ana))
        assert sorted(told(heard[0])) in ([("bob", {"n": 2})], both)
    assert heard[-1] == "completed"
    assert await names(place, PRESENCE_PREFIX) == []


async def test_the_log_knows_nothing_of_it(place: Place) -> None:
    async with players(place, "ana", "bob") as (ana, bob):
        with ana.presence({}, **QUICK) as here:
            await eventually(lambda: is_at_hand(here))
            assert (len(ana), ana.keys()) == (0, [])
            await ana.put("k", "v")
            await ana.compact()
            await bob.refresh()
            assert (await bob.get("k"), bob.keys(), bob.protocol) == ("v", ["k"], place.protocol)
            assert len(await names(place, PRESENCE_PREFIX)) == 2  # with the bell
            async with player(place, by="cat") as cat:
                assert await cat.get_prefix() == {"k": "v"}


async def test_nothing_is_left_of_signs_of_life_in_a_bucket_with_versions(place: Place) -> None:
    if place.protocol != "versioned":
        pytest.skip("only there are versions")

    async def versions(*, bells: bool = False) -> list[str]:
        async def listed(storage: Storage) -> list[str]:
            page = await versions_of(storage).list_versions(PRESENCE_PREFIX)
            return [one.version for one in page.versions if bells or not one.name.endswith("/bell")]

        return await raw(place, listed)

    async with players(place, "ana") as (ana,):
        with ana.presence({"n": 0}, every=0.05, ttl=5, poll=0.1) as here:
            await eventually(lambda: is_at_hand(here))
            first = await versions()
            for _ in range(3):
                while len(now := await versions()) != 1 or now == first:
                    await asyncio.sleep(0.01)
                first = now
    assert await versions(bells=True) == []


# -- with time standing still ----------------------------------------------------------------------------------------


class Rig:
    """Two databases on one memory, each with its own count of requests; the bucket's clock is years ahead."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.memory = MemoryStorage(clock=Shifted(self.clock, timedelta(days=2000)))
        self.counted = [CountingStorage(self.memory) for _ in range(2)]

    def open(self, number: int, **options: Any) -> Any:
        return player(self.counted[number], by=("ana", "bob")[number], poll=10, clock=self.clock, **options)

    async def objects(self) -> list[str]:
        return [one.name for one in await list_all(self.memory, PRESENCE_PREFIX)]

    async def clients(self) -> list[str]:
        """The objects of clients."""
        return [name for name in await self.objects() if not name.endswith("/bell")]

    def requests(self, number: int) -> list[str]:
        """What was asked for since this was asked last."""
        done = [one.verb for one in self.counted[number].requests if one.name.startswith(PRESENCE_PREFIX)]
        self.counted[number].requests.clear()
        return done


class Shifted(ManualClock):
    """Another machine's clock, which goes at the same pace."""

    def __init__(self, clock: ManualClock, ahead: timedelta) -> None:
        super().__init__()
        self._clock = clock
        self._ahead = ahead

    def now(self) -> datetime:
        return self._clock.now() + self._ahead


async def test_what_it_costs() -> None:
    rig = Rig()
    async with rig.open(0) as ana, rig.open(1) as bob:
        at_ana, at_bob = ana.presence({"n": 1}, poll=1000), bob.presence(poll=1000)
        with at_ana:
            await rig.clock.advance(0)
            assert rig.requests(0) == ["get", "list", "put", "put"]  # coming: listening, looking, and telling
            await rig.clock.advance(100)
            assert rig.requests(0) == ["put"] * 3  # a sign of life each thirty seconds
            await rig.clock.advance(1)
            at_ana.update({"n": 0})
            await rig.clock.advance(0)
            for number in range(50):
                at_ana.update({"n": number})
            await rig.clock.advance(PEACE)
            assert rig.requests(0) == ["put"] * 4  # the first at once, the rest together; each with a ring
            assert who(at_ana) == [("ana", {"n": 49})]
            with at_bob:
                await rig.clock.advance(0)
                assert rig.requests(1) == ["get", "list", "get"]
                assert who(at_bob) == [("ana", {"n": 49})]
            await rig.clock.advance(0)
            assert rig.requests(1) == []  # who only looked leaves nothing
        await rig.clock.advance(0)
        assert rig.requests(0) == ["delete", "list", "delete"]  # the last one takes the bell along
        assert await rig.objects() == []


async def test_a_sign_of_life_changes_nothing_and_is_not_read() -> None:
    rig = Rig()
    async with rig.open(0) as ana, rig.open(1) as bob:
        at_bob = bob.presence(poll=5)
        heard = trace(at_bob)
        await rig.clock.advance(0)
        with ana.presence({"n": 1}):
            await rig.clock.advance(20)
            (one,) = at_bob.value.values()
            rig.requests(1)
            await rig.clock.advance(100)
            done = Counter(rig.requests(1))
            assert done["list"] == 1  # once in each ttl, for whoever does not ring
            assert done["get"] <= 25 + 2  # the bell, and that client before it would be taken for gone
            assert set(done) == {"get", "list"}
            (later,) = at_bob.value.values()
            assert (later, later.since) == (one, one.since)
            assert later.seen >= one.seen + timedelta(seconds=60)
            assert [told(seen) for seen in heard] == [[], [("ana", {"n": 1})]]
            assert one.since - rig.clock.now() > timedelta(days=1999)  # by the clock of the storage


async def test_who_dies_disappears_by_the_clock_of_the_storage() -> None:
    rig = Rig()
    async with rig.open(1) as bob:
        at_bob = bob.presence(poll=1)
        heard = trace(at_bob)
        dying = Switch(rig.memory, verbs=("put", "delete"))
        async with player(dying, by="ana", poll=10, clock=rig.clock) as ana:
            dying.part = PRESENCE_PREFIX
            with ana.presence({}):
                await rig.clock.advance(1)
                dying.error = offline
                await rig.clock.advance(88)
                assert told(heard[-1]) == [("ana", {})]
                await rig.clock.advance(4)
                assert told(heard[-1]) == []
                assert len(await rig.clients()) == 1
                dying.error = None
                await rig.clock.advance(31)
                assert told(heard[-1]) == [("ana", {})]


async def test_it_comes_in_the_order_of_arrival() -> None:
    rig = Rig()
    async with rig.open(0) as ana, rig.open(1) as bob:
        heard = trace(bob.presence({}, poll=1))
        await rig.clock.advance(1)
        ids: list[str] = []
        for number in range(4):
            one = ana.presence(number, poll=1000)
            one.subscribe()
            ids.append(one.id)
            await rig.clock.advance(2)
        assert [me for _, me in told(heard[-1])] == [{}, 0, 1, 2, 3]
        assert list(heard[-1])[1:] == ids


async def test_the_first_item_has_oneself_in_it() -> None:
    rig = Rig()
    async with rig.open(0) as ana:
        here = ana.presence("me")
        with pytest.raises(NotLoaded):
            here.value  # noqa: B018
        heard = trace(here)
        assert heard == []
        await rig.clock.advance(0)
        assert [told(seen) for seen in heard] == [[("ana", "me")]]
        assert told(trace(here)[0]) == [("ana", "me")]


async def test_every_reader_gets_values_of_its_own() -> None:
    rig = Rig()
    async with rig.open(0) as ana:
        here = ana.presence({"list": []})
        one, two = trace(here), trace(here)
        await rig.clock.advance(0)
        one[0][here.id].me["list"].append(1)
        one[0].clear()
        assert (told(two[0]), who(here), here.me) == ([("ana", {"list": []})], [("ana", {"list": []})], {"list": []})


async def test_it_comes_again() -> None:
    rig = Rig()
    async with rig.open(0) as ana:
        here = ana.presence({})
        for _ in range(3):
            seen = here.subscribe()
            await rig.clock.advance(1)
            assert who(here) == [("ana", {})]
            seen.dispose()
            seen = here.subscribe()  # before it could leave
            await rig.clock.advance(20)
            assert len(await rig.clients()) == 1
            seen.dispose()
            await rig.clock.advance(1)
            assert (who(here), await rig.objects()) == ([], [])


async def test_it_is_used_as_long_as_anybody_uses_it() -> None:
    rig = Rig()
    async with rig.open(0) as ana:
        here = ana.presence({})
        with here:
            seen = here.subscribe()
            await rig.clock.advance(1)
            seen.dispose()
            await rig.clock.advance(50)
            assert len(await rig.clients()) == 1
            seen = here.subscribe()
        await rig.clock.advance(50)
        assert len(await rig.clients()) == 1
        seen.dispose()
        await rig.clock.advance(1)
        assert await rig.objects() == []
        here.update({"n": 2})
        with here:
            await rig.clock.advance(1)
            assert who(here) == [("ana", {"n": 2})]


async def test_an_observer_may_change_what_it_observes() -> None:
    rig = Rig()
    async with rig.open(0) as ana:
        here = ana.presence(0)
        heard: list[Any] = []
        counted: list[Any] = []

        def count(seen: Any) -> None:
            me = seen[here.id].me
            counted.append(("begins", me))
            if me % 4 < 3:
                here.update(me + 1)
            counted.append(("ends", me))

        counting = here.subscribe(count)
        here.subscribe(lambda seen: heard.append(seen[here.id].me))
        await rig.clock.advance(5)
        assert heard == sorted(set(heard))
        assert heard[-1] == 3
        counting.dispose()
        here.update(4)
        await turn()
        here.subscribe(count)  # what it changes at its first item comes after that, too
        await rig.clock.advance(5)
        assert heard[-1] == 7
        assert counted == [(what, me) for me in range(8) for what in ("begins", "ends")]


async def test_an_observer_that_raises_is_detached_alone() -> None:
    rig = Rig()
    async with rig.open(0) as ana:
        errors = trace(ana.errors)
        here = ana.presence(0)
        here.subscribe(lambda seen: 1 / 0)
        heard = trace(here)
        await rig.clock.advance(1)
        here.update(1)
        await rig.clock.advance(1)
        assert [told(seen) for seen in heard] == [[("ana", 0)], [("ana", 1)]]
        assert [type(failure.error) for failure in errors] == [ZeroDivisionError]


async def test_manifests_are_apart() -> None:
    rig = Rig()
    async with rig.open(0) as ana:
        heard: dict[str, list[Any]] = {}
        for name in ("main", "a/b", "..", "ä b", "a"):
            here = ana.manifest(name).presence(name)
            heard[name] = trace(here)
            await rig.clock.advance(1)
        assert {name: [told(seen) for seen in seen] for name, seen in heard.items()} == {
            name: [[("ana", name)]] for name in heard
        }
        assert len({name.rpartition("/")[0] for name in await rig.objects()}) == 5
    assert await rig.objects() == []
    assert {seen[-1] for seen in heard.values()} == {"completed"}


# -- trouble ---------------------------------------------------------------------------------------------------------


async def test_who_may_not_write_sees_the_others_and_is_told_once() -> None:
    rig = Rig()
    switch = Switch(rig.memory, verbs=("put",))
    async with rig.open(1) as bob, player(switch, by="ana", poll=10, clock=rig.clock) as ana:
        bob.presence("bob").subscribe()
        await rig.clock.advance(1)
        switch.error = lambda: AccessDenied("no", operation="put")
        errors, here = trace(ana.errors), ana.presence("ana")
        heard = trace(here)
        await rig.clock.advance(100)
        assert [told(seen) for seen in heard] == [[("bob", "bob")]]
        assert [(one.operation, type(one.error)) for one in errors] == [("presence", AccessDenied)]
        assert switch.refused >= 5
        switch.error = None
        await rig.clock.advance(11)
        assert told(heard[-1]) == [("bob", "bob"), ("ana", "ana")]


async def test_while_the_bucket_is_out_of_reach_the_last_known_stays() -> None:
    rig = Rig()
    switch = Switch(rig.memory)
    async with rig.open(1) as bob, player(switch, by="ana", poll=1, clock=rig.clock) as ana:
        errors, heard = trace(ana.errors), trace(ana.presence())
        await rig.clock.advance(0)
        with bob.presence("bob"):
            await rig.clock.advance(2)
            switch.part, switch.error = PRESENCE_PREFIX, offline
            await rig.clock.advance(300)
            assert [told(seen) for seen in heard] == [[], [("bob", "bob")]]
            assert [one.operation for one in errors] == ["presence look"]
            assert ana.status.value.online is not False  # the log is well
        switch.error = None
        await rig.clock.advance(300)
        assert told(heard[-1]) == []


async def test_what_cannot_be_read_is_left_out_and_told_once() -> None:
    rig = Rig()
    folder = f"{PRESENCE_PREFIX}main/"
    bodies = [b"\xff", b"[]", b'{"format": 2}', b'{"format": 1, "by": 1, "since": "x", "me": 1}', b"x" * 100_000]
    for number, body in enumerate(bodies):
        await rig.memory.put(f"{folder}{number:012d}", body)
    await rig.memory.put(f"{folder}README", b"not of a client")
    async with rig.open(0) as ana:
        errors, heard = trace(ana.errors), trace(ana.presence({}))
        await rig.clock.advance(20)
        assert [told(seen) for seen in heard] == [[("ana", {})]]
        assert [one.operation for one in errors] == ["presence look"] * len(bodies)


@pytest.mark.parametrize("versioning", [False, True])
async def test_left_overs_are_removed_after_a_day(*, versioning: bool) -> None:
    rig = Rig()
    rig.memory = MemoryStorage(clock=Shifted(rig.clock, timedelta(days=2000)), versioning=versioning)
    folder = f"{PRESENCE_PREFIX}main/"
    for number in range(25):
        await rig.memory.put(f"{folder}{number:012d}", b"{}")
    await rig.memory.put(f"{folder}README", b"not of a client")
    rig.counted[0].inner = rig.memory
    await rig.clock.advance(86_300)
    async with rig.open(0) as ana:
        ana.presence(poll=10).subscribe()
        await rig.clock.advance(50)
        assert len(await rig.objects()) == 26
        await rig.clock.advance(200)
        assert await rig.objects() == [f"{folder}README"]
        if versioning:
            assert len((await rig.memory.list_versions(folder)).versions) == 1


class DatedOnce(StorageWrapper):
    """The first listing of presence objects is dated two days ahead."""

    lies = 1

    async def list(self, prefix: str, **options: Any) -> Page:
        page = await super().list(prefix, **options)
        if prefix.startswith(PRESENCE_PREFIX) and self.lies and page.date is not None:
            self.lies -= 1
            return replace(page, date=page.date + timedelta(days=2))
        return page


async def test_one_wrong_date_removes_nobody() -> None:
    rig = Rig()
    way = DatedOnce(rig.memory)
    async with rig.open(0) as ana, player(way, by="bob", poll=10, clock=rig.clock) as bob:
        with ana.presence({}, every=3000, ttl=9000):
            await rig.clock.advance(1)
            bob.presence(poll=10, ttl=9000).subscribe()
            await rig.clock.advance(100)
            assert way.lies == 0
            assert len(await rig.clients()) == 1


async def test_who_came_back_since_the_listing_is_not_removed() -> None:
    """Whoever has listed stood still in between."""
    rig = Rig()
    name = f"{PRESENCE_PREFIX}main/{0:012d}"
    gate = Gate(rig.memory, name)
    await rig.memory.put(name, b"{}")
    await rig.clock.advance(100_000)
    async with player(gate, by="bob", poll=10, clock=rig.clock) as bob:
        bob.presence(poll=10).subscribe()
        await rig.clock.advance(0)
        held = await gate.held()  # it is about to be removed
        await rig.memory.put(name, encode(Said("1", "ana", datetime(2026, 1, 1, tzinfo=UTC))))
        held.let_go()
        gate.open()
        await rig.clock.advance(1)
        assert await rig.clients() == [name]


@pytest.mark.parametrize("read_only", [False, True])
async def test_who_only_looks_needs_no_right_to_write(*, read_only: bool) -> None:
    rig = Rig()
    await rig.memory.put(f"{PRESENCE_PREFIX}main/{0:012d}", b"{}")
    await rig.clock.advance(100_000)
    switch = Switch(rig.memory, verbs=("put", "delete"))
    switch.error = lambda: AccessDenied("no", operation="put")
    async with player(switch, poll=10, clock=rig.clock, read_only=read_only) as ana:
        errors, heard = trace(ana.errors), trace(ana.presence())
        await rig.clock.advance(100)
        assert ([told(seen) for seen in heard], errors) == ([[]], [])
        assert switch.refused == (0 if read_only else 1)


@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
@pytest.mark.parametrize("seed", range(5))
async def test_it_gets_through_where_requests_and_answers_are_lost(protocol: str, seed: int) -> None:
    clock = ManualClock(seed)
    memory = MemoryStorage(clock=clock, versioning=protocol == "versioned")
    faulty = FaultyStorage(memory, (), Random(seed), clock=clock)
    async with players(faulty, "ana", "bob", clock=clock, protocol=protocol) as (ana, bob):
        faulty.plan = [faults.drop_requests(4), faults.lose_answers(4), faults.throttle(8), faults.resend(4)]
        at_ana, at_bob = ana.presence(0, poll=1), bob.presence(0, poll=1)
        heard, seen = trace(at_ana), at_bob.subscribe()
        for number in range(20):
            at_bob.update(number)
            written = ana.put("n", number)
            await clock.advance(3)
        for _ in range(100):
            if sorted(who(at_ana)) == sorted(who(at_bob)) == [("ana", 0), ("bob", 19)]:
                break
            await clock.advance(5)
        assert sorted(who(at_ana)) == sorted(who(at_bob)) == [("ana", 0), ("bob", 19)]
        numbers = [me for seen in heard for by, me in told(seen) if by == "bob"]
        assert numbers == sorted(numbers)
        seen.dispose()
        for _ in range(100):
            if who(at_ana) == [("ana", 0)]:
                break
            await clock.advance(5)
        assert who(at_ana) == [("ana", 0)]
        faulty.plan = ()
        await clock.advance(60)
        await soon(clock, written)
        await soon(clock, bob.refresh())
        assert await bob.get("n") == 19
    assert (await memory.list(PRESENCE_PREFIX)).objects == []
    if protocol == "versioned":
        assert (await memory.list_versions(PRESENCE_PREFIX)).versions == []


async def test_more_clients_than_a_listing_has_on_a_page() -> None:
    rig = Rig()
    for number in range(1_001):
        said = Said(str(number), "", datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number))
        await rig.memory.put(f"{PRESENCE_PREFIX}main/{number:012d}", encode(said))
    async with rig.open(0) as ana:
        with ana.presence(poll=1000) as here:
            await rig.clock.advance(1)
            assert [one.me for one in here.value.values()] == list(range(1_001))
        assert rig.requests(0) == ["get"] + ["list"] * 2 + ["get"] * 1_001


@pytest.mark.parametrize("verb", ["list", "put", "delete"])
async def test_closing_waits_a_bounded_time_for_the_object_to_be_deleted(verb: str) -> None:
    rig = Rig()
    gate = Gate(rig.memory, PRESENCE_PREFIX, (verb,))
    ana = await player(gate, by="ana", poll=10, clock=rig.clock)
    heard = trace(ana.presence({}))
    await rig.clock.advance(0)
    await ana.close()
    assert heard[-1] == "completed"
    assert len(await rig.clients()) == (verb == "delete")
    assert gate.holding == 1


@pytest.mark.parametrize("denied", [("delete",), ("list_versions",), ("delete", "list_versions")])
async def test_where_versions_may_not_be_deleted_that_is_told_once(denied: tuple[str, ...]) -> None:
    rig = Rig()
    memory = MemoryStorage(clock=rig.clock, versioning=True)
    switch = Switch(memory, verbs=denied)
    switch.part, switch.error = PRESENCE_PREFIX, lambda: AccessDenied("no", operation="delete")
    async with player(switch, by="ana", poll=10, clock=rig.clock, protocol="versioned") as ana:
        errors = trace(ana.errors)
        with ana.presence({}):
            await rig.clock.advance(55)
            left = len((await memory.list_versions(PRESENCE_PREFIX)).versions)
            assert left == (3 if "delete" in denied else 2)  # with the bell
        await rig.clock.advance(1)
        reported = [one.operation for one in errors]
        assert reported == (["presence cleanup", "presence leave"] if "delete" in denied else [])
        assert len((await memory.list("")).objects) == (2 if "delete" in denied else 0)


async def test_who_may_only_read_on_a_real_server_looks(place: Place) -> None:
    if place.kind != "seaweedfs":
        pytest.skip("only that server has users")
    reader = replace(place, options={**place.options, **READER.options})
    if place.protocol == "versioned":
        pytest.skip("its reader has no rights in that bucket")
    async with players(place, "ana") as (ana,):
        with ana.presence("ana", **QUICK):
            async with player(reader, by="bob", poll=10) as bob:
                errors, heard = trace(bob.errors), trace(bob.presence(**QUICK))
                await eventually(lambda: heard and told(heard[-1]) == [("ana", "ana")])
                assert errors == []
                with bob.presence("bob", **QUICK):
                    await eventually(lambda: errors)
                assert [(one.operation, type(one.error)) for one in errors] == [("presence", AccessDenied)]
                assert told(heard[-1]) == [("ana", "ana")]


async def test_a_handle_that_closes_leaves_though_another_goes_on() -> None:
    rig = Rig()
    async with rig.open(0) as ana:
        child = ana.manifest("main")
        child.presence("child").subscribe()
        ana.presence("ana").subscribe()
        await rig.clock.advance(1)
        assert len(await rig.clients()) == 2
        await child.close()
        assert len(await rig.clients()) == 1


async def test_who_comes_again_while_leaving_fails_is_here_at_once() -> None:
    rig = Rig()
    switch = Switch(rig.memory, verbs=("delete",))
    async with player(switch, by="ana", poll=10, clock=rig.clock) as ana:
        here = ana.presence({})
        with here:
            await rig.clock.advance(1)
            switch.error = lambda: Throttled("slow down", operation="delete", retry_after=100)
        await rig.clock.advance(10)
        with here:
            await rig.clock.advance(1)
            assert who(here) == [("ana", {})]
            switch.error = None
        await rig.clock.advance(1)
        assert await rig.objects() == []


async def test_leaving_is_tried_again() -> None:
    rig = Rig()
    switch = Switch(rig.memory, verbs=("delete",))
    async with player(switch, by="ana", poll=10, clock=rig.clock) as ana:
        errors = trace(ana.errors)
        seen = ana.presence({}).subscribe()
        await rig.clock.advance(1)
        switch.error = offline
        seen.dispose()
        await rig.clock.advance(5)
        switch.error = None
        await rig.clock.advance(10)
        assert await rig.objects() == []
        assert [one.operation for one in errors] == ["presence leave"]


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"every": "1"},
        {"every": 10, "ttl": 10},
        {"ttl": float("nan")},
        {"ttl": 1e300},
        {"poll": -1},
        {"poll": True},
    ],
)
async def test_options_that_make_no_sense(options: Any) -> None:
    async with player(MemoryStorage()) as ana:
        with pytest.raises(InvalidOption):
            ana.presence(**options)


async def test_what_cannot_be_said() -> None:
    async with player(MemoryStorage()) as ana:
        for me in (float("nan"), {1: 2}, object(), "x" * 4095):
            with pytest.raises(InvalidValue):
                ana.presence(me)
        here = ana.presence({"a": "x" * 4000})
        with pytest.raises(InvalidValue):
            here.update({"b": "x" * 100})
        assert here.me == {"a": "x" * 4000}
        with pytest.raises(InvalidOption):
            ana.presence().update({})
        with pytest.raises(TypeError):
            pickle.dumps(here)
    async with player(MemoryStorage(), read_only=True) as bob:
        with pytest.raises(InvalidOption):
            bob.presence({})


async def test_after_closing() -> None:
    ana: Database = await player(MemoryStorage())
    here = ana.presence({})
    await ana.close()
    with pytest.raises(Closed):
        ana.presence()
    with pytest.raises(Closed), here:
        pass
    assert trace(here) == ["completed"]
    await settle()


async def test_without_a_bucket_nothing_is_known(tmp_path: Any) -> None:
    counted = CountingStorage(MemoryStorage())
    async with player(counted, online=False, local=tmp_path) as ana:
        heard = trace(ana.presence({}))
        await settle()
        assert (heard, counted.requests) == ([], [])


async def test_its_names_are_no_keys_where_keys_are_names_of_objects() -> None:
    key = f"{PRESENCE_PREFIX}main/{0:012d}"
    async with player(MemoryStorage(versioning=True), protocol="mps3", versioning=True) as ana:
        with pytest.raises(InvalidKey):
            ana.put(key, 1)
    async with player(MemoryStorage(), protocol="mps3") as ana:
        await ana.put(key, 1)
        heard = trace(ana.presence({}))
        await eventually(lambda: heard)
        assert told(heard[0]) == [("", {})]
        assert await ana.get(key) == 1
