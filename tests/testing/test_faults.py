"""Storages that fail on purpose do it as announced."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from rxmps3.errors import AccessDenied, Error, PreconditionFailed, Throttled, Unavailable, Unsupported
from rxmps3.storage import ABSENT, Found, MemoryStorage, Missing, Stored
from rxmps3.storage.directory import DirectoryStorage
from rxmps3.testing import (
    CountingStorage,
    FaultyStorage,
    LatencyStorage,
    ManualClock,
    Plan,
    deny,
    drop_requests,
    fail_on,
    late,
    lose_answers,
    offline,
    resend,
    settle,
    throttle,
)


def faulty(plan: Plan, clock: ManualClock | None = None) -> tuple[FaultyStorage, MemoryStorage]:
    clock = clock or ManualClock()
    inner = MemoryStorage(clock=clock, versioning=True)
    return FaultyStorage(inner, plan, clock=clock), inner


async def test_lost_answers() -> None:
    storage, inner = faulty(lose_answers(one_in=1))
    with pytest.raises(Unavailable):
        await storage.put("a", b"1", when=ABSENT)
    assert isinstance(await storage.get("a"), Found)
    with pytest.raises(Unavailable):
        await storage.put("a", b"2", when=ABSENT)
    with pytest.raises(Unavailable):
        await storage.delete("a")
    assert isinstance(await inner.get("a"), Missing)


async def test_resent_creates_are_told_they_failed() -> None:
    storage, inner = faulty(resend(one_in=1))
    with pytest.raises(PreconditionFailed):
        await storage.put("a", b"1", when=ABSENT)
    assert isinstance(await inner.get("a"), Found)
    await storage.put("b", b"1")
    assert len((await inner.list_versions("b")).versions) == 2


async def test_dropped_requests_never_arrive() -> None:
    storage, inner = faulty(offline())
    for verb in (storage.put("a", b"1"), storage.get("a"), storage.list(""), storage.list_versions("")):
        with pytest.raises(Unavailable):
            await verb
    assert not (await inner.list("")).objects


async def test_late_requests_arrive_late() -> None:
    clock = ManualClock()
    storage, inner = faulty(late(one_in=1, seconds=60), clock)
    with pytest.raises(Unavailable):
        await storage.put("a", b"1", when=ABSENT)
    await clock.advance(59)
    assert storage.late == 1
    assert isinstance(await inner.get("a"), Missing)
    await clock.advance(1)
    assert isinstance(await inner.get("a"), Found)
    await storage.arrived()
    with pytest.raises(Unavailable):
        await storage.put("a", b"2", when=ABSENT)  # refused then, and nobody hears of it
    await clock.advance(60)
    assert storage.late == 0
    with pytest.raises(Unavailable):
        await storage.put("b", b"1")
    await storage.close()
    await clock.advance(60)
    assert isinstance(await inner.get("b"), Missing)


async def test_refusals() -> None:
    storage, inner = faulty(throttle(one_in=1, retry_after=3.0))
    with pytest.raises(Throttled) as caught:
        await storage.put("a", b"1")
    assert caught.value.retry_after == 3
    storage.plan = deny()
    with pytest.raises(AccessDenied):
        await storage.get("a")
    storage.plan = deny(verbs=["put"])
    assert isinstance(await storage.get("a"), Missing)
    storage.plan = fail_on(lambda request: request.name.startswith("b"), lambda: Unsupported("no b"))
    await storage.put("a", b"1")
    with pytest.raises(Unsupported):
        await storage.put("b", b"1")
    storage.plan = ()
    await storage.put("b", b"1")
    assert len((await inner.list("")).objects) == 2


async def test_plans_combine_and_strike_as_often_as_they_say() -> None:
    storage, _ = faulty([throttle(one_in=4), lose_answers(one_in=4), resend(one_in=4)])
    outcomes: Counter[str] = Counter()
    for number in range(1000):
        try:
            outcomes[type(await storage.put(str(number), b"", when=ABSENT)).__name__] += 1
        except Error as error:
            outcomes[type(error).__name__] += 1
    assert set(outcomes) == {"Stored", "Throttled", "Unavailable", "PreconditionFailed"}
    assert 200 < outcomes["Throttled"] < 300
    assert 150 < outcomes["Unavailable"] < 230
    assert 100 < outcomes["PreconditionFailed"] < 180


async def test_the_same_chance_spoils_the_same_requests() -> None:
    async def run(seed: int) -> list[bool]:
        storage = FaultyStorage(MemoryStorage(), drop_requests(one_in=2), Random(seed))
        outcomes: list[bool] = []
        for _ in range(50):
            try:
                await storage.get("a")
                outcomes.append(True)
            except Unavailable:
                outcomes.append(False)
        return outcomes

    assert await run(1) == await run(1) != await run(2)


async def test_requests_are_counted() -> None:
    storage = CountingStorage(FaultyStorage(MemoryStorage(versioning=True)))
    await storage.put("a", b"12345", when=ABSENT)
    await storage.get("a")
    await storage.get("b")
    await storage.list("")
    await storage.list_versions("")
    await storage.delete("a")
    with pytest.raises(Unavailable):
        await storage.put("a", b"x", sha256=b"wrong")
    assert [(one.verb, one.name, one.outcome) for one in storage.requests] == [
        ("put", "a", "Stored"),
        ("get", "a", "Found"),
        ("get", "b", "Missing"),
        ("list", "", "Page"),
        ("list_versions", "", "VersionPage"),
        ("delete", "a", "None"),
        ("put", "a", "Unavailable"),
    ]
    assert storage.requests[0].when == ABSENT
    assert (storage.bytes_up, storage.bytes_down) == (6, 5)
    assert storage.counts == {"put": 2, "get": 2, "list": 1, "list_versions": 1, "delete": 1}
    storage.reset()
    assert not storage.counts


async def test_latency_passes_before_and_after() -> None:
    clock = ManualClock()
    inner = MemoryStorage(clock=clock)
    storage = LatencyStorage(inner, clock, 2.0, bandwidth=10)
    put = asyncio.ensure_future(storage.put("a", b"x" * 30))
    await clock.advance(3.9)
    assert isinstance(await inner.get("a"), Missing)
    await clock.advance(0.2)
    assert isinstance(await inner.get("a"), Found)
    assert not put.done()
    await clock.advance(0.9)
    assert isinstance(await put, Stored)
    start = clock.monotonic()
    assert isinstance(await clock.run(storage.get("a")), Found)
    assert clock.monotonic() - start == pytest.approx(5)
    storage.seconds = iter([1.0]).__next__
    start = clock.monotonic()
    with pytest.raises(PreconditionFailed):
        await clock.run(storage.put("a", b"", when=ABSENT))
    assert clock.monotonic() - start == pytest.approx(1)
    await settle()


async def test_versions_of_a_storage_without_them(tmp_path: object) -> None:
    storage = CountingStorage(DirectoryStorage(str(tmp_path), ManualClock()))
    assert storage.url.startswith("file:")
    with pytest.raises(Unsupported):
        await storage.list_versions("")


def test_nothing_but_s3_needs_aioboto3_and_nothing_needs_pytest() -> None:
    code = "import sys, rxmps3.testing, rxmps3.storage; print({'pytest', 'aioboto3', 'botocore'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
