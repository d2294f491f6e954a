"""Lost answers, resent and dropped requests: each write is in the log exactly once, and every receipt is true."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest

import rxmps3
from rxmps3 import Unavailable
from rxmps3.storage import MemoryStorage
from rxmps3.testing import (
    CountingStorage,
    FaultyStorage,
    LatencyStorage,
    Plan,
    Request,
    StorageWrapper,
    drop_requests,
    lose_answers,
    resend,
    throttle,
)
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.facades import ManualClock
from tests.behaviour.helpers import LARGE, names, players, soon, trace
from tests.durability.helpers import Disk

T = TypeVar("T")

PLANS: dict[str, Plan] = {
    "answers lost": lose_answers(one_in=3),
    "resent and told 412 for own success": resend(one_in=3),
    "always resent": resend(one_in=1),
    "requests dropped": drop_requests(one_in=3),
    "throttled": throttle(one_in=3, retry_after=2.0),
    "everything": (drop_requests(one_in=8), lose_answers(one_in=5), resend(one_in=4), throttle(one_in=9)),
}


async def committed(receipt: rxmps3.Receipt) -> str:
    return await receipt


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
async def test_each_write_is_in_the_log_once_and_every_receipt_is_true(plan: Plan, seed: int) -> None:
    clock, chance = ManualClock(seed), random.Random(seed)
    storage = MemoryStorage(clock=clock)
    faulty = FaultyStorage(storage, (), random.Random(f"faults {seed}"), clock=clock)
    async with (
        players(faulty, "a", "b", "c", clock=clock) as clients,
        players(storage, "witness", clock=clock) as (witness,),
    ):
        log = trace(witness.versions)
        views = [trace(client.observe("shared")) for client in clients]
        faulty.plan = plan  # from before the manifest is created
        receipts: list[rxmps3.Receipt] = []
        for number in range(12):
            for name, client in zip("abc", clients, strict=True):
                value: Any = LARGE + f"{name}{number}" if chance.random() < 0.2 else f"{name}{number}"
                receipts.append(client.put_all({f"{name}/{number}": value, "shared": f"{name}{number}"}))
                if chance.random() < 0.3:
                    await clock.advance(chance.random())
        versions = await soon(clock, asyncio.gather(*map(committed, receipts)))
        faulty.plan = ()
        for client in (witness, *clients):
            await soon(clock, client.refresh())

        counted = Counter(write.id.version for version in log for write in version.writes)
        assert set(counted) == set(versions)
        assert set(counted.values()) == {1}
        assert len(versions) == len(set(versions)) == 36
        assert [version.id for version in log] == [str(number) for number in range(1, len(log) + 1)]

        truth = await soon(clock, witness.get_prefix())
        assert len(truth) == 37
        order = [entry.content.text[1:-1] for v in log for w in v.writes if (entry := w.update["shared"]) is not None]
        assert truth["shared"] == order[-1]
        for name, client, seen in zip("abc", clients, views, strict=True):
            assert await soon(clock, client.get_prefix()) == truth
            assert client.pending.value == ()
            assert seen[-1] == order[-1]
            foreign = [order.index(value) for value in seen if value and not value.startswith(name)]
            assert foreign == sorted(foreign)


@pytest.mark.parametrize("seed", range(2))
async def test_atomic_writes_stay_whole_under_faults(seed: int) -> None:
    clock = ManualClock(seed)
    storage = MemoryStorage(clock=clock)
    faulty = FaultyStorage(storage, (), random.Random(seed), clock=clock)
    async with players(faulty, "a", "b", clock=clock) as (a, b):
        pairs = [trace(client.observe_many("x", "y")) for client in (a, b)]
        faulty.plan = PLANS["everything"]
        receipts = [
            client.put_all({"x": f"{client is a}{number}", "y": f"{client is a}{number}{LARGE}"})
            for number in range(6)
            for client in (a, b)
        ]
        await soon(clock, asyncio.gather(*map(committed, receipts)))
        faulty.plan = ()
        for client in (a, b):
            await soon(clock, client.refresh())
        await clock.advance(60)
        for seen in pairs:
            assert all(pair["x"] is None or pair["y"] == pair["x"] + LARGE for pair in seen)
        assert pairs[0][-1] == pairs[1][-1]


async def test_a_resent_commit_that_is_told_412_is_not_sent_under_another_number() -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    faulty = FaultyStorage(storage, resend(one_in=1), clock=clock)
    async with players(faulty, "a", clock=clock) as (a,):
        for number in range(5):
            await soon(clock, committed(a.put("k", number)))
        log = [name for name in await names(storage) if "/log/" in name]
        assert [int(name[-20:]) for name in log] == [1, 2, 3, 4, 5]


async def test_a_lost_upload_answer_costs_one_more_upload_and_loses_nothing() -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    faulty = FaultyStorage(storage, (), random.Random(5), clock=clock)
    async with players(faulty, "a", clock=clock) as (a,), players(storage, "b", clock=clock) as (b,):
        await soon(clock, committed(a.put("first", 1)))
        faulty.plan = lose_answers(one_in=2)
        for number in range(5):
            await soon(clock, committed(a.put(f"k{number}", f"{number}{LARGE}")))
        await soon(clock, b.refresh())
        assert await soon(clock, b.get_prefix("k")) == {f"k{number}": f"{number}{LARGE}" for number in range(5)}


async def test_a_denied_client_keeps_its_writes_until_access_is_mended() -> None:
    clock = ManualClock()
    faulty = FaultyStorage(MemoryStorage(clock=clock), (), clock=clock)
    async with players(faulty, "a", clock=clock) as (a,):
        await soon(clock, committed(a.put("k", 1)))
        errors = trace(a.errors)
        faulty.plan = rxmps3.testing.deny()
        receipts = [a.put("k", 2), a.put("big", LARGE)]
        await clock.advance(60)
        assert [receipt.stage for receipt in receipts] == ["pending", "pending"]
        assert isinstance(a.status.value.last_error, rxmps3.AccessDenied)
        assert a.status.value.online is False
        assert {type(failure.error) for failure in errors} == {rxmps3.AccessDenied}
        assert await a.get("k") == 2
        faulty.plan = ()
        await soon(clock, asyncio.gather(*map(committed, receipts)))
        assert a.status.value.online is True


@pytest.mark.async_only("it runs on virtual time")
def test_an_upload_that_failed_does_not_queue_up_behind_those_that_wait_for_it() -> None:
    """Or a client that puts faster than it can upload would never commit again after one lost request."""

    async def main() -> None:
        clock = SimClock("a")
        lost: list[str] = []

        async def lose_the_first(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
            if request.name.startswith("main/values/") and not lost:
                lost.append(request.name)
                raise Unavailable("lost", operation="put", object=request.name)
            return await proceed()

        slow = LatencyStorage(MemoryStorage(clock=SimClock("server")), clock, 0.1)
        async with players(FaultyStorage(slow, lose_the_first), "a", clock=clock) as (a,):
            await a.put("warm", 0)
            began = clock.monotonic()
            first, *_, last = [a.put(f"k/{number}", LARGE) for number in range(1000)]
            await first
            assert lost
            assert clock.monotonic() - began < 2
            await last
            assert clock.monotonic() - began > 6  # 16 at once, 0.1 s each

    run_virtually(main())


@pytest.mark.async_only("it runs on virtual time")
@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
def test_a_long_way_is_caught_up_with_though_one_request_in_six_is_lost(protocol: str) -> None:
    """What has come in is kept: a hundred and fifty requests in a row never all succeed."""

    async def main() -> None:
        inner, disk = MemoryStorage(clock=SimClock("server"), versioning=protocol == "versioned"), Disk()
        async with players(inner, "a", clock=SimClock("a"), protocol=protocol) as (a,):
            await a.put("k/0", 0)
            async with players(inner, "b", clock=SimClock("b"), protocol=protocol, local=disk.local()) as (b,):
                await b.refresh()
            for number in range(150):
                await a.put(f"k/{number}", number)
            clock = SimClock("later")
            dropping = FaultyStorage(inner, drop_requests(one_in=6), SimClock("faults").rng)
            async with players(dropping, "b", clock=clock, protocol=protocol, local=disk.local()) as (b,):
                for _ in range(60):
                    try:
                        await b.refresh()
                        break
                    except Unavailable:
                        await clock.sleep(1)
                assert len(b) == 150

    run_virtually(main())


async def test_a_refresh_after_a_failed_opening_reads_to_the_end() -> None:
    """The first look finds no manifest and cannot look for one of another protocol; by the second there is one."""

    class Stumbles(StorageWrapper):
        """Refuses to say once whether there is a manifest of another protocol."""

        stumbled = False

        async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
            if request.verb == "get" and request.name == "other" and not self.stumbled:
                self.stumbled = True
                raise Unavailable("no answer")
            return await proceed()

    storage = MemoryStorage()
    stumbling = Stumbles(storage)
    async with players(stumbling, "a") as (a,), players(storage, "b", manifest="other") as (b,):
        other = a.manifest("other")
        with pytest.raises(Unavailable):
            await other.refresh()
        assert stumbling.stumbled
        await b.put("k", 1)
        await other.refresh()
        assert await other.get("k") == 1


@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
async def test_a_long_log_is_read_to_its_end_through_a_network_that_loses_one_answer_in_four(protocol: str) -> None:
    """Each try goes on where the one before got to: reading it all at one go would hardly ever succeed."""
    clock = ManualClock(7)
    storage = MemoryStorage(clock=clock, versioning=protocol == "versioned")
    async with players(storage, "a", clock=clock, protocol=protocol) as (a,):
        for number in range(80):
            await soon(clock, committed(a.put(f"k{number}", number)))
    faulty = FaultyStorage(storage, drop_requests(one_in=4, verbs=("get",)), random.Random(7), clock=clock)

    async def opened() -> list[str]:
        async with players(faulty, "b", clock=clock, protocol=protocol) as (b,):
            return sorted(b.keys())

    assert await soon(clock, opened()) == sorted(f"k{number}" for number in range(80))


async def test_a_first_look_that_gets_no_further_fails_at_its_last_try() -> None:
    clock = ManualClock()
    counting = CountingStorage(FaultyStorage(MemoryStorage(clock=clock), drop_requests(one_in=1), clock=clock))

    async def opened() -> None:
        async with players(counting, "a", clock=clock):
            pass

    with pytest.raises(Unavailable):
        await soon(clock, opened())
    assert counting.counts["get"] == 5


@pytest.mark.async_only("it runs on virtual time")
def test_a_known_state_is_served_though_the_bucket_never_answers() -> None:
    """Opening waits for it a moment, not until the request is given up; what it says later is heard all the same."""

    class Silent(StorageWrapper):
        """Answers nothing before it is told to."""

        def __init__(self, inner: MemoryStorage) -> None:
            super().__init__(inner)
            self.may_answer = asyncio.Event()

        async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
            await self.may_answer.wait()
            return await proceed()

    async def main() -> None:
        clock, disk = SimClock("all"), Disk()
        inner = MemoryStorage(clock=clock)
        async with players(inner, "a", clock=clock, local=disk.local()) as (a,):
            await a.put("k", "known")
        async with players(inner, "b", clock=clock) as (b,):
            await b.put("k", "news")
        silent, began = Silent(inner), clock.monotonic()
        async with players(silent, "a", clock=clock, local=disk.local(), poll=1) as (a,):
            assert clock.monotonic() - began <= 2
            seen = trace(a.observe("k"))
            assert seen == ["known"]
            silent.may_answer.set()
            await clock.sleep(10)
            assert seen == ["known", "news"]

    run_virtually(main())


@pytest.mark.async_only("it runs on virtual time")
def test_what_came_in_long_ago_does_not_date_a_new_entry() -> None:
    """By an old date its writer would seem to have been silent for long, and would be forgotten."""

    async def main() -> None:
        server, clock = SimClock("server"), SimClock("b")
        inner = MemoryStorage(clock=server)
        faulty = FaultyStorage(inner, (), SimClock("faults").rng)
        stumbling = 0

        async def lose_the_seventh(
            request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage
        ) -> Any:
            nonlocal stumbling
            if request.verb == "get" and request.name.endswith("/log/00000000000000000007"):
                stumbling += 1
                raise Unavailable("lost", operation="get", object=request.name)
            return await proceed()

        async with players(inner, "a", clock=SimClock("a")) as (a,), players(faulty, "b", clock=clock) as (b,):
            log = trace(a.versions)
            for number in range(12):
                await a.put("k", number)
            faulty.plan = lose_the_seventh
            with pytest.raises(Unavailable):
                await b.refresh()
            assert stumbling
            await clock.sleep(40 * 86400)
            faulty.plan = ()
            await b.refresh()
            await b.put("k", "late")
            await a.refresh()
            assert log[-1].by == "b"
            assert server.now() - log[-1].date < timedelta(hours=1)

    run_virtually(main())


async def test_a_server_that_asks_for_a_long_wait_is_not_waited_for_by_an_open() -> None:
    clock = ManualClock()
    throttled = FaultyStorage(MemoryStorage(clock=clock), throttle(one_in=1, retry_after=60.0), clock=clock)
    counting = CountingStorage(throttled)

    async def opened() -> None:
        async with players(counting, "a", clock=clock):
            pass

    with pytest.raises(Unavailable):
        await soon(clock, opened())
    assert counting.counts["get"] == 1


@pytest.mark.async_only("it runs on virtual time")
@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
def test_a_write_after_weeks_of_silence_is_sent_until_it_is_committed(protocol: str) -> None:
    """It is dated by when it is sent, not by when the storage was last heard."""

    async def main() -> None:
        inner = MemoryStorage(clock=SimClock("server"), versioning=protocol == "versioned")
        clock = SimClock("a")
        faulty = FaultyStorage(inner, (), SimClock("faults").rng)
        lost: list[str] = []

        async def lose_the_first(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
            if request.verb == "put" and len(lost) < 2:
                lost.append(request.name)
                raise Unavailable("lost", operation="put", object=request.name)
            return await proceed()

        async with players(inner, "b", clock=SimClock("b"), protocol=protocol) as (b,):
            await b.put("k", 0)
        async with players(faulty, "a", clock=clock, protocol=protocol) as (a,):
            await clock.sleep(40 * 86400)
            faulty.plan = lose_the_first
            await a.put("k", 1)
            assert lost
        async with players(inner, "b", clock=SimClock("reader"), protocol=protocol) as (b,):
            assert await b.get("k") == 1

    run_virtually(main())
