"""Away from the bucket and back, through a proxy in front of a real S3 server that is cut and healed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from rxmps3 import AccessDenied, InvalidValue, Rejected, Throttled, Unavailable
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import open_storage
from tests.behaviour.helpers import eventually, trace
from tests.conftest import Place
from tests.durability.helpers import LARGE
from tests.processes.proxy import Proxy, Seen, Verdict, deny_all, passing
from tests.processes.reading import entries, puts_in, versions_in

pytestmark = pytest.mark.seaweedfs


def on(place: Place, local: Path | None, **options: Any) -> rxmps3.Connecting:
    options.setdefault("poll", 0.2)
    return rxmps3.connect(place.url, **place.options, local=local, shared=False, **options)


async def log_of(place: Place) -> list[Any]:
    storage = open_storage(place.url, clock=SystemClock(), **place.options)
    try:
        return await entries(storage)
    finally:
        await storage.close()


async def settled(db: rxmps3.Database) -> None:
    await asyncio.gather(*(_end_of(receipt) for receipt in db.pending.value))


async def _end_of(receipt: rxmps3.Receipt) -> None:
    await receipt


@pytest.mark.parametrize("way", ["online=False", "out of reach"])
async def test_a_database_opens_without_its_bucket_and_serves_what_it_knew(
    way: str, through: Place, proxy: Proxy, tmp_path: Path
) -> None:
    known = {"a": 1, "b": {"c": [None, 1.0]}, "large": LARGE}
    async with on(through, tmp_path) as db:
        await db.put_all(known)
        assert await db.get("large") == LARGE
    proxy.cut()
    made = len(proxy.seen)
    async with on(through, tmp_path, online=way != "online=False") as db:
        assert await db.get_prefix() == known
        assert trace(db.observe("a")) == [1]
        assert trace(db.observe_prefix("b")) == [{"b": {"c": [None, 1.0]}}]
        large = trace(db.observe("large"))
        await eventually(lambda: large == [LARGE])
        seen = trace(db.observe("a"))
        db.put("a", 2)
        assert seen == [1, 2]
        await db.put("new", LARGE).stored
        assert await db.get("new") == LARGE
        assert "new" in db
        assert db.keys() == ["a", "b", "large", "new"]
        if way == "online=False":
            with pytest.raises(Unavailable):
                await db.refresh()
        else:
            await eventually(lambda: db.status.value.online is False)
        await db.close(timeout=0)
    assert len(proxy.seen) == made


async def test_large_values_that_were_only_read_are_known_as_well(
    through: Place, direct: Place, proxy: Proxy, tmp_path: Path
) -> None:
    async with on(direct, None) as author:
        await author.put("read", LARGE)
        await author.put("unread", LARGE[::-1] + "!")
    async with on(through, tmp_path) as db:
        assert await db.get("read") == LARGE
    proxy.cut()
    async with on(through, tmp_path, online=False) as db:
        assert await db.get("read") == LARGE
        with pytest.raises(Unavailable):
            await db.get("unread")


async def test_without_anything_known_a_bucket_out_of_reach_is_an_error(
    through: Place, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.cut()
    with pytest.raises(Unavailable):
        await on(through, tmp_path)


async def test_a_first_start_offline_is_empty_and_takes_writes(through: Place, direct: Place, tmp_path: Path) -> None:
    async with on(through, tmp_path, online=False) as db:
        assert len(db) == 0
        assert trace(db.observe("k")) == [None]
        await db.put("k", 1).stored
    async with on(through, tmp_path) as db:
        await settled(db)
    assert puts_in(await log_of(direct)) == [("k", 1)]


async def test_writes_taken_offline_go_out_in_order_exactly_once_when_back(
    through: Place, direct: Place, proxy: Proxy, tmp_path: Path
) -> None:
    async with on(through, tmp_path, live=True) as db:
        await db.put("k", "before")
        expected = [("k", "before")]
        online = trace(db.status)
        for round in range(3):
            proxy.cut()
            receipts = []
            for number in range(10):
                expected.append(("k", f"{round} {number}"))
                receipts.append(db.put(*expected[-1]))
            await receipts[-1].stored
            await eventually(lambda: db.status.value.online is False)
            assert len(db.pending.value) == 10
            proxy.heal()
            await asyncio.gather(*map(_end_of, receipts))
            assert {receipt.stage for receipt in receipts} == {"committed"}
            await eventually(lambda: db.status.value.online is True)
        assert db.status.value.last_error is None
        flips = [status.online for status in online]
        runs = [one for at, one in enumerate(flips) if at == 0 or flips[at - 1] != one]
        assert runs == [True, *[False, True] * 3]
    log = await log_of(direct)
    assert puts_in(log) == expected
    assert len(versions_in(log)) == len(set(versions_in(log)))


async def test_a_stream_goes_on_after_the_connection_was_gone(
    through: Place, direct: Place, proxy: Proxy, tmp_path: Path
) -> None:
    async with on(direct, None) as author, on(through, tmp_path) as db:
        seen = trace(db.observe("k"))
        await author.put("k", 1)
        await eventually(lambda: seen[-1] == 1)
        proxy.cut()
        await author.put("k", 2)
        await author.put("k", 3)
        await eventually(lambda: db.status.value.online is False)
        assert seen == [None, 1]
        proxy.heal()
        await eventually(lambda: seen[-1] == 3)
        assert seen in ([None, 1, 3], [None, 1, 2, 3])


async def test_lost_answers_double_nothing(through: Place, direct: Place, proxy: Proxy, tmp_path: Path) -> None:
    """Every second request is carried out and its answer lost."""
    requests = iter(range(1_000_000))

    def every_other(seen: Seen) -> Verdict:
        return "drop answer" if next(requests) % 2 else "pass"

    async with on(through, tmp_path) as db:
        await db.put("k", "first")
        proxy.plan = every_other
        for number in range(15):
            await db.put("k", number)
        proxy.plan = passing
    log = await log_of(direct)
    assert puts_in(log) == [("k", "first"), *(("k", number) for number in range(15))]
    assert proxy.verdicts["drop answer"] > 10


async def test_the_first_write_of_all_survives_lost_answers(through: Place, direct: Place, proxy: Proxy) -> None:
    """The one that probes the storage and creates the manifest."""
    requests = iter(range(1_000_000))

    def every_third(seen: Seen) -> Verdict:
        return ("pass", "pass", "drop answer")[next(requests) % 3]

    proxy.plan = every_third
    async with on(through, None) as db:
        await db.put("k", 1)
        proxy.plan = passing
    assert puts_in(await log_of(direct)) == [("k", 1)]


async def test_revoked_credentials_reject_nothing_and_the_status_says_why(
    through: Place, direct: Place, proxy: Proxy, tmp_path: Path
) -> None:
    async with on(through, tmp_path, live=True) as db:
        await db.put("k", 0)
        proxy.plan = deny_all
        receipts = [db.put("k", 1), db.put("large", LARGE)]
        await eventually(lambda: isinstance(db.status.value.last_error, AccessDenied))
        assert "credentials" in str(db.status.value.last_error)
        assert {receipt.stage for receipt in receipts} <= {"pending", "stored"}
        assert await db.get("k") == 1
        await db.close(timeout=0)
    async with on(through, tmp_path, live=True) as db:
        assert len(db.pending.value) == 2
        assert await db.get_prefix() == {"k": 1, "large": LARGE}
        await eventually(lambda: isinstance(db.status.value.last_error, AccessDenied))
        proxy.plan = passing
        await settled(db)
        await eventually(lambda: db.status.value.last_error is None)
    assert len(set(versions_in(await log_of(direct)))) == 3


async def test_a_read_only_identity_keeps_everything_pending(direct: Place, tmp_path: Path) -> None:
    """Real refusals of a real server; the right to write comes later."""
    from tests.servers import READER

    async with on(direct, tmp_path) as db:
        await db.put("k", 0)
    reader = replace(direct, options={**direct.options, **READER.options})
    async with on(reader, tmp_path, live=True) as db:
        receipt = db.put("k", 1)
        await eventually(lambda: isinstance(db.status.value.last_error, AccessDenied))
        assert receipt.stage in ("pending", "stored")
        await db.close(timeout=0)
    async with on(direct, tmp_path) as db:
        await settled(db)
        assert await db.get("k") == 1
    assert puts_in(await log_of(direct)) == [("k", 0), ("k", 1)]


async def test_a_value_the_server_finds_too_large_is_rejected_and_later_ones_go(
    through: Place, direct: Place, proxy: Proxy, tmp_path: Path
) -> None:
    def limited(seen: Seen) -> Verdict:
        return "too large" if seen.method == "PUT" and "/values/" in seen.path else "pass"

    proxy.plan = limited
    async with on(through, tmp_path) as db:
        await db.put("k", 0)
        large, later = db.put("k", LARGE), db.put("later", 1)
        with pytest.raises(Rejected) as rejected:
            await large
        assert isinstance(rejected.value.__cause__, InvalidValue)
        await later
        assert await db.get("k") == 0
    assert puts_in(await log_of(direct)) == [("k", 0), ("later", 1)]


async def test_slow_down_is_told_and_heeded(through: Place, direct: Place, proxy: Proxy) -> None:
    async with on(through, None) as db:
        await db.put("k", 0)
        errors = trace(db.errors)
        proxy.retry_after = "1"
        proxy.plan = lambda seen: "slow down" if seen.method == "PUT" else "pass"
        receipt = db.put("k", 1)
        await eventually(lambda: isinstance(db.status.value.last_error, Throttled))
        last = db.status.value
        assert last.next_try is not None
        assert last.next_try >= 1
        proxy.plan = passing
        await receipt
        assert [type(failure.error) for failure in errors] == [Throttled]
    assert proxy.verdicts["slow down"] == 1, "one refusal, then it waited"
