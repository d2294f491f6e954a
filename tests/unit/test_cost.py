"""What a database costs, over hours of virtual time: counted to the request, priced, and kept within a budget."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from rxmps3 import Budget, Cost, Database, InvalidOption, Prices, Usage, connect
from rxmps3.model.names import PRESENCE_PREFIX
from rxmps3.replica.cost import Ledger
from rxmps3.storage import MemoryStorage
from rxmps3.storage.prices import PRICES
from rxmps3.testing import CountingStorage
from rxmps3.testing.virtual import SimClock, run_virtually

HOUR = 3600.0
PROTOCOLS = ("sequenced", "versioned", "mps3")


def used(counting: CountingStorage, part: str = "") -> Usage:
    """What was asked of a storage, counted apart from the library."""
    some = [request for request in counting.requests if request.name.startswith(part)]
    verbs = Counter(request.verb for request in some)
    return Usage(
        verbs["put"],
        verbs["list"] + verbs["list_versions"],
        verbs["get"],
        verbs["delete"],
        sum(request.bytes_up for request in some),
        sum(request.bytes_down for request in some),
    )


class Bucket:
    """A bucket in virtual time."""

    def __init__(self, protocol: str = "sequenced") -> None:
        self.clock = SimClock("bucket")
        self.memory = MemoryStorage(clock=self.clock, versioning=protocol == "versioned")
        self.protocol = protocol

    def counted(self) -> CountingStorage:
        return CountingStorage(self.memory)

    def open(self, storage: Any, **options: Any) -> Any:
        return connect(storage, shared=False, clock=self.clock, protocol=self.protocol, **options)


async def busy(db: Database, clock: SimClock, seconds: float) -> None:
    """Write small and large values, read, delete and compact."""
    until = clock.monotonic() + seconds
    number = 0
    while clock.monotonic() < until:
        number += 1
        db.put(f"k{number % 50}", "L" * 6000 if number % 10 == 0 else number)
        if number % 7 == 0:
            await db.get(f"k{number % 50}")
        if number % 31 == 0:
            db.delete(f"k{number % 50}")
        if number % 60 == 0:
            await db.compact()
        await clock.sleep(clock.rng.uniform(0, 40))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_agrees_to_the_request_with_what_the_storage_was_asked(protocol: str) -> None:
    async def main() -> None:
        bucket = Bucket(protocol)
        counted, others = bucket.counted(), bucket.counted()
        async with bucket.open(counted, poll=3) as db, bucket.open(others, poll=20) as other:
            costs: list[Cost] = []
            watching = db.cost.subscribe(costs.append)
            with db.presence({"n": 1}) as here, other.presence({"n": 2}):
                seen = db.observe_prefix("").subscribe()
                child = db.manifest("child")
                await busy(db, bucket.clock, HOUR)
                child.put("a", 1)
                here.update({"n": 3})
                await bucket.clock.sleep(5.0)
                cost = db.cost.value
                assert cost.total == used(counted)
                assert child.cost.value.total == cost.total
                assert cost.rooms["presence"] == used(counted, PRESENCE_PREFIX)
                assert sum(usage.requests for usage in cost.rooms.values()) == len(counted.requests)
                assert cost.spent == PRICES["aws"].of(used(counted))
                for room in ("log", "values", "presence", "upkeep"):
                    assert cost.rooms[room].requests > 0, room
                assert cost.rooms["values"].bytes_up >= 5 * 6000
                assert cost.rooms["upkeep"].deletes + cost.rooms["upkeep"].lists > 0
                status, beside = db.status.value, child.status.value
                assert status.requests + beside.requests == len(counted.requests)
                seen.dispose()
            watching.dispose()
            assert costs[0].total.requests <= 10
            assert all(one.seconds + 0.99 <= next.seconds for one, next in pairwise(costs))
            assert 3000 < len(costs) <= HOUR + 30  # once a second, and the last write may have taken some
        await bucket.clock.sleep(1)
        assert db.cost.value.total == used(counted)

    run_virtually(main())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_pace_of_the_last_minutes_times_a_month(protocol: str) -> None:
    async def main() -> None:
        bucket = Bucket(protocol)
        counted = bucket.counted()
        async with bucket.open(counted, poll=2) as db:
            await db.put("k", 1)
            with db.observe("k").subscribe():
                await bucket.clock.sleep(2 * HOUR)
                counted.reset()
                start = db.cost.value
                await bucket.clock.sleep(600)
                cost = db.cost.value
            assert cost.seconds - start.seconds == pytest.approx(600)
            assert cost.requests_per_hour == pytest.approx(6 * len(counted.requests), rel=0.03)
            assert cost.per_month == pytest.approx(PRICES["aws"].of(used(counted)) * 6 * 730, rel=0.03)
            assert cost.per_month == pytest.approx(sum(cost.rooms_per_month.values()))
            await bucket.clock.sleep(700)
            assert db.cost.value.per_month == 0

    run_virtually(main())


def test_opening_is_no_pace() -> None:
    async def main() -> None:
        bucket = Bucket()
        async with bucket.open(bucket.memory, prices=Prices("own", get=1000, list=1000, put=1000)) as db:
            cost = db.cost.value
            assert cost.spent == cost.total.requests > 0
            assert cost.per_month == pytest.approx(cost.total.requests * 730 * 60)  # as if in a whole minute

    run_virtually(main())


@pytest.mark.parametrize("others", [0, 1, 5])
def test_presence_costs_a_tenth_of_a_listing_each_second(others: int) -> None:
    async def main() -> None:
        bucket = Bucket()
        counted = bucket.counted()
        async with bucket.open(counted) as db, bucket.open(bucket.memory) as beside:
            await db.put("k", 1)
            for number in range(others):
                beside.presence(number).subscribe()
            with db.presence({"name": "ana"}) as here:
                await bucket.clock.sleep(HOUR)
                assert len(here.value) == others + 1
                cost = db.cost.value
        # before: a listing at each look, and a sign of life each ten seconds
        looks = 3600 / 0.9
        before = PRICES["aws"].of(Usage(lists=round(looks), puts=360)) * 730
        assert 14 < before < 18
        assert cost.rooms_per_month["presence"] <= before / 10

    run_virtually(main())


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "budget", [Budget(requests_per_hour=600), Budget(requests_per_hour=240), Budget(per_month=0.5)]
)
def test_polling_and_presence_slow_down_before_the_budget_is_passed(protocol: str, budget: Budget) -> None:
    async def main() -> None:
        bucket = Bucket(protocol)
        counted = bucket.counted()
        async with bucket.open(bucket.memory) as other:
            await other.put("k", 0)
            async with bucket.open(counted, budget=budget, poll=0.5) as db:
                states: list[str] = []
                db.status.subscribe(lambda status: states.append(status.budget))
                values: list[Any] = []
                db.observe("k").subscribe(values.append)
                with db.presence({}, poll=0.5) as here:
                    for hour in range(3):
                        before = used(counted)
                        for number in range(6):
                            other.put("k", [hour, number])
                            await bucket.clock.sleep(600)
                        spent = PRICES["aws"].of(used(counted)) - PRICES["aws"].of(before)
                        requests = len(counted.requests) - before.requests
                        if budget.per_month is None:
                            assert budget.requests_per_hour is not None
                            assert requests <= budget.requests_per_hour * 1.02 + 3  # the look in which it ends
                            assert requests >= budget.requests_per_hour * 0.7
                        else:
                            assert 0.7 <= spent * 730 / budget.per_month <= 1.02
                    assert len(here.value) == 1
                    kinds = {request.name.startswith(PRESENCE_PREFIX) for request in counted.requests[-20:]}
                    assert kinds == {True, False}  # neither starves the other
                assert states[-1] == db.cost.value.state == "slowed"
                assert values[-1] == [2, 5]
                assert db.cost.value.budget == budget

    run_virtually(main())


def test_writes_go_on_when_the_budget_is_passed_and_it_is_said() -> None:
    async def main() -> None:
        bucket = Bucket()
        async with bucket.open(bucket.memory, budget=Budget(requests_per_hour=1000)) as db:
            states: list[str] = []
            db.status.subscribe(lambda status: states.append(status.budget))
            seen = db.observe("k").subscribe()
            for number in range(200):
                await db.put("k", number)
            assert db.status.value.budget == "passed"
            await db.refresh()  # what a program asks for is not held up either
            await bucket.clock.sleep(HOUR * 1.2)
            seen.dispose()
            await bucket.clock.sleep(HOUR)
            seen = db.observe("k").subscribe()
            await bucket.clock.sleep(3)
            seen.dispose()
            assert list(dict.fromkeys(states)) == ["", "passed", "slowed"]
            assert db.status.value.budget == ""

    run_virtually(main())


def test_handles_agree_on_budget_and_prices() -> None:
    async def main() -> None:
        memory, clock = MemoryStorage(), SimClock("x")
        async with (
            connect(memory, clock=clock, budget=5) as one,
            connect(memory, clock=clock) as two,
            connect(memory, clock=clock, budget=Budget(per_month=5), manifest="other", prices="r2") as three,
        ):
            assert one.cost.value.budget == two.cost.value.budget == Budget(per_month=5)
            assert one.cost.value.prices is three.cost.value.prices is PRICES["r2"]
            wrong: list[Any] = [{"budget": 6}, {"prices": "aws"}]
            for options in wrong:
                with pytest.raises(InvalidOption, match=next(iter(options))):
                    await connect(memory, clock=clock, **options)
        senseless: list[Any] = [{"budget": 0}, {"budget": "5"}, {"prices": "amazon"}, {"budget": float("nan")}]
        for options in senseless:
            with pytest.raises(InvalidOption):
                connect(memory, **options)

    run_virtually(main())


def test_its_text_says_what_matters() -> None:
    async def main() -> None:
        ledger = Ledger(SimClock("x"), PRICES["aws"])
        ledger.charge("log", Usage(puts=1, lists=2, gets=3000, deletes=4, bytes_up=5, bytes_down=6))
        assert str(ledger.cost()) == (
            "3,007 requests (1 put, 2 list, 3,000 get, 4 delete), 5 bytes up, 6 down; 53.22 USD a month at this pace"
            " (AWS S3 Standard, us-east-1)"
        )

    run_virtually(main())
