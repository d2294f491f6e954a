"""How much a bell is relied upon, in virtual time: one that lies, is silent, doubles or dies costs time and requests,
and never news."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

import rxmps3
from rxmps3 import InvalidOption, Unavailable, bells
from rxmps3.bells.attention import GRACE, NEEDED, Spacing, Trust
from rxmps3.bells.protocol import Rung, topic_of
from rxmps3.database.database import Database
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage, Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import trace
from tests.bells.toys import ToyBell

IDLE = 3600.0


class Failing(StorageWrapper):
    """Fails the next requests of a kind."""

    failed = 0

    def fail(self, times: int, verb: str) -> None:
        self._times, self._verb = times, verb

    async def around(self, request: Request, proceed: Callable[[], Awaitable[Any]]) -> Any:
        if request.verb == getattr(self, "_verb", "") and self.failed < self._times:
            self.failed += 1
            raise Unavailable("for once")
        return await proceed()


@dataclass
class Rig:
    """A writer, and a reader that observes the key ``k``."""

    bell: ToyBell
    writer: Database
    reader: Database
    requests: CountingStorage
    seen: list[Any]
    clock: SimClock
    faults: Failing

    async def news(self, value: Any, within: float) -> float:
        """Write, and return how long it took until it was seen."""
        await self.writer.put("k", value)
        began = self.clock.monotonic()
        while self.seen[-1] != value:
            await self.clock.sleep(0.01)
            assert self.clock.monotonic() - began <= within, f"{value} not seen within {within} s"
        return self.clock.monotonic() - began

    async def idle(self, seconds: float = IDLE) -> int:
        """How often the reader looks in so long a time: each look ends at an entry that is not there."""
        self.requests.reset()
        await self.clock.sleep(seconds)
        return self.looks

    @property
    def looks(self) -> int:
        return len([request for request in self.requests.requests if request.outcome == "Missing"])


def played(play: Callable[[Rig], Awaitable[None]], *, poll: float = 1.0, **options: Any) -> None:
    """Play on a virtual clock. The writer rings the bell, the reader hears it."""

    async def run() -> None:
        clock = SimClock("bells")
        memory = MemoryStorage(clock=clock)
        bell = ToyBell()
        faults = Failing(memory)
        requests = CountingStorage(faults)
        options.setdefault("bell", bell)
        with_clock: dict[str, Any] = {"clock": clock, "shared": False, "poll": poll}
        # each with a wrapper of its own, so that it is on a machine of its own
        async with (
            rxmps3.connect(_Machine(memory, "writer"), bell=bell, **with_clock) as writer,
            rxmps3.connect(_named(requests), **with_clock, **options) as reader,
        ):
            await writer.put("k", 0)
            seen = trace(reader.observe("k"))
            await clock.sleep(10)
            await play(Rig(bell, writer, reader, requests, seen, clock, faults))

    run_virtually(run())


class _Machine(CountingStorage):
    def __init__(self, inner: MemoryStorage, place: str) -> None:
        super().__init__(inner)
        self.place = place


def _named(counting: CountingStorage) -> CountingStorage:
    counting.place = "reader"  # type: ignore[attr-defined]
    return counting


def test_without_a_bell_the_timer_looks_every_second() -> None:
    async def play(rig: Rig) -> None:
        assert 3600 <= await rig.idle() <= 4500
        assert rig.reader.status.value.bell is None

    played(play, bell=None)


def test_with_a_bell_news_is_seen_at_once_and_an_idle_hour_costs_sixty_looks() -> None:
    async def play(rig: Rig) -> None:
        assert rig.reader.status.value.bell is True
        for number in range(1, 20):
            assert await rig.news(number, within=0.05) <= 0.02
            await rig.clock.sleep(3)
        await rig.clock.sleep(600)
        assert 40 <= await rig.idle() <= 60
        assert await rig.news("after an hour", within=0.05) <= 0.02
        assert rig.bell.listened == 1

    played(play)


def test_a_look_for_a_ring_takes_two_requests_however_often_it_rings() -> None:
    async def play(rig: Rig) -> None:
        await rig.clock.sleep(600)
        rig.requests.reset()
        for _ in range(50):
            rig.bell.told.on_next(None)
        await rig.writer.put("k", 1)
        for _ in range(50):
            rig.bell.told.on_next(None)
        await rig.clock.sleep(0.9)
        assert rig.seen[-1] == 1
        assert len(rig.requests.requests) <= 6

    played(play)


def test_a_silent_bell_costs_one_long_wait_and_is_then_not_relied_upon() -> None:
    async def play(rig: Rig) -> None:
        await rig.clock.sleep(600)
        rig.bell.silent = True
        await rig.news(1, within=75)
        for number in range(2, 10):
            assert await rig.news(number, within=1.1) <= 1.1
            await rig.clock.sleep(40)
        assert await rig.idle() >= 3000
        rig.bell.silent = False
        for number in range(10, 10 + 2 * NEEDED):
            assert await rig.news(number, within=0.05) <= 0.02
            await rig.clock.sleep(40)
        assert await rig.idle() <= 80, "it has told of all news for a while"

    played(play)


def test_a_bell_that_lies_all_the_time_costs_no_more_than_the_timer() -> None:
    async def play(rig: Rig) -> None:
        lying = True

        async def lie() -> None:
            while lying:
                rig.bell.told.on_next("news!")
                await rig.clock.sleep(0.01)

        liar = asyncio.get_running_loop().create_task(lie())
        await rig.clock.sleep(60)
        cost = await rig.idle(600)
        assert 500 <= cost <= 620
        for number in range(1, 5):
            await rig.news(number, within=1.1)
            await rig.clock.sleep(5)
        lying = False
        await liar

    played(play)


def test_a_bell_that_dies_is_noticed_at_once_and_tried_again() -> None:
    async def play(rig: Rig) -> None:
        await rig.clock.sleep(600)
        errors, states = trace(rig.reader.errors), trace(rig.reader.status)
        rig.bell.die()
        await rig.writer.put("k", "unheard")
        await rig.clock.sleep(1.1)
        assert rig.seen[-1] == "unheard"
        assert rig.reader.status.value.bell is False
        assert await rig.idle(60) >= 55
        rig.bell.broken = False
        await rig.clock.sleep(31)
        assert rig.reader.status.value.bell is True
        assert await rig.news("heard", within=0.05) <= 0.02
        assert errors == []
        assert next(one.bell for one in states if one.bell is not None) is True
        assert len([one for one in states if one.bell is False]) < 10

    played(play)


def test_a_ring_that_fails_is_rung_again_and_delays_no_commit() -> None:
    async def play(rig: Rig) -> None:
        errors = trace(rig.writer.errors)
        rig.bell.broken = True
        rung = len(rig.bell.rung)
        for number in range(5):
            await rig.writer.put("k", number)
        assert len(rig.bell.rung) == rung
        rig.bell.broken = False
        await rig.clock.sleep(31)
        assert len(rig.bell.rung) == rung + 1, "once for all of them"
        assert errors == []

    played(play)


def test_what_others_write_without_ringing_is_found_by_the_timer() -> None:
    async def play(rig: Rig) -> None:
        await rig.clock.sleep(600)
        async with rxmps3.connect(_Machine(rig.requests.inner, "mute"), clock=rig.clock, bell=None) as mute:  # type: ignore[arg-type]
            for number in range(5):
                await mute.put("k", number)
                await rig.clock.sleep(75)
                assert rig.seen[-1] == number
            await mute.put("k", "soon")
            await rig.clock.sleep(1.1)
            assert rig.seen[-1] == "soon"

    played(play)


def test_a_look_for_a_ring_that_fails_is_made_again_soon() -> None:
    async def play(rig: Rig) -> None:
        await rig.clock.sleep(600)
        rig.faults.fail(3, "get")
        await rig.news(1, within=4)
        assert rig.faults.failed == 3
        await rig.clock.sleep(600)
        assert await rig.idle() <= 60

    played(play)


def test_a_ring_is_not_looked_for_while_nothing_is_observed_but_the_next_get_looks() -> None:
    async def run() -> None:
        clock, bell = SimClock("bells"), ToyBell()
        memory = MemoryStorage(clock=clock)
        counting = _Machine(memory, "reader")
        async with (
            rxmps3.connect(counting, bell=bell, clock=clock, shared=False, poll=600) as reader,
            rxmps3.connect(_Machine(memory, "writer"), bell=bell, clock=clock, shared=False) as writer,
        ):
            await writer.put("k", 1)
            assert bell.listened == 0
            counting.reset()
            await clock.sleep(60)
            assert counting.requests == []
            assert await reader.get("k", default="unknown") == "unknown", "the last look is not that old"

    run_virtually(run())


def test_databases_of_one_process_tell_each_other() -> None:
    async def run() -> None:
        clock = SimClock("bells")
        options: dict[str, Any] = {"clock": clock, "shared": False, "poll": 600}
        where = "memory:tell each other"
        async with rxmps3.connect(where, **options) as writer, rxmps3.connect(where, **options) as reader:
            await writer.put("k", 0)
            assert await reader.get("k") == 0, "a get looks, since there was a ring"
            seen = trace(reader.observe("k"))
            await clock.sleep(1)
            for number in range(1, 5):
                await writer.put("k", number)
                await clock.sleep(0.06)
                assert seen[-1] == number
            async with rxmps3.connect(where, **options, bell=None) as deaf:
                heard = trace(deaf.observe("k"))
                await clock.sleep(1000)
                await writer.put("k", "unheard")
                await clock.sleep(0.1)
                assert (seen[-1], heard[-1]) == ("unheard", 4)

    run_virtually(run())


def test_other_manifests_and_other_places_do_not_ring() -> None:
    assert len({topic_of(place, manifest) for place in ("a", "b") for manifest in ("m", "n")}) == 4
    assert topic_of("s3://secret-bucket/app/", "main") == topic_of("s3://secret-bucket/app/", "main")
    assert "secret" not in topic_of("s3://secret-bucket/app/", "main")

    async def run() -> None:
        clock = SimClock("bells")
        options: dict[str, Any] = {"clock": clock, "shared": False, "poll": 600}
        private = CountingStorage(MemoryStorage())
        async with (
            rxmps3.connect("memory:", **options) as other,
            rxmps3.connect("memory:", **options) as db,
            rxmps3.connect(private, **options) as counted,
        ):
            trace(db.observe("k"))
            trace(counted.observe("k"))
            await clock.sleep(10)
            before, _ = db.status.value.requests, private.reset()
            await other.put("k", 1)
            await clock.sleep(10)
            assert db.status.value.requests == before
            assert private.requests == []

    run_virtually(run())


NOWHERE = (
    "http://",
    "https://TOKEN@",
    "nats://",
    "nats:h",
    "redis://h:99999",
    "http://h:port",
    "rediss://",
    "http://[::1",
)


@pytest.mark.parametrize("bell", [3, object(), "gong://localhost", "http:nowhere", *NOWHERE])
async def test_what_is_no_bell_is_refused(bell: Any) -> None:
    with pytest.raises(InvalidOption, match="bell"):
        await rxmps3.connect("memory:", bell=bell)


def test_bells_of_the_same_description_are_the_same() -> None:
    assert bells.nats("nats://a") == bells.from_url("nats://a") != bells.nats("nats://b")
    assert bells.http("https://TOKEN@host/") == bells.http("https://host/", token="TOKEN")
    assert bells.sqs("https://sqs.eu-west-1.amazonaws.com/1/q") == bells.from_url(
        "sqs:https://sqs.eu-west-1.amazonaws.com/1/q"
    )
    several = (bells.nats("nats://a:1,nats://b:2"), bells.nats("localhost:4222"), bells.redis("unix:///run/redis.sock"))
    assert len(set(several)) == 3
    for bell in (bells.nats("nats://u:SECRET@h"), bells.redis("redis://:SECRET@h"), bells.http("http://SECRET@h")):
        assert "SECRET" not in f"{bell!r}{bell}"


# -- the parts -----------------------------------------------------------------------------------------------


def test_trust_is_earned_and_lost() -> None:
    trust = Trust(given=False)
    for number in range(NEEDED):
        assert not trust.relies(number)
        trust.rang(number)
        trust.found(number + 0.5)
    assert trust.relies(NEEDED)
    trust.found(1000)
    assert not trust.relies(1000), "a ring may still come"
    trust.rang(1000 + GRACE)
    assert trust.relies(1000 + GRACE)
    trust.found(2000)
    assert not trust.relies(2001 + GRACE)
    for number in range(2 * NEEDED):
        assert not trust.relies(3000 + number)
        trust.rang(3000 + number)
        trust.found(3000 + number)
    assert trust.relies(3100)


def test_looks_for_rings_are_spaced() -> None:
    spacing = Spacing(1.0)
    assert spacing.wait(100) == 0
    now = 100.0
    waits: list[float] = []
    for _ in range(8):
        spacing.looks(now)
        waits.append(spacing.wait(now))
        now += waits[-1]
    assert waits == sorted(waits)
    assert waits[0] <= 0.1
    assert waits[-1] == 1.0
    spacing.found()
    assert spacing.wait(now) <= 0.05


def test_a_ring_for_a_version_that_is_known_is_no_reason_to_look() -> None:
    async def play(rig: Rig) -> None:
        await rig.clock.sleep(600)
        rig.requests.reset()
        known = rig.reader.states.value.confirmed.version
        rig.bell.told.on_next(Rung(known))
        await rig.clock.sleep(0.5)
        assert rig.requests.requests == []
        rig.bell.told.on_next(Rung(str(int(known) + 1)))
        await rig.clock.sleep(0.5)
        assert rig.looks == 1

    played(play)
