"""The database in the bucket is not the one that a client has read: emptied, made anew, put back to an earlier copy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import rxmps3
from rxmps3 import Corrupt, Failure, Gone, Replaced, Status
from rxmps3.local.unsent import find_unsent, forget_states
from rxmps3.log.set_aside import SET_ASIDE
from rxmps3.log.versioned.repair import carry_out, examine
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import MemoryStorage
from rxmps3.storage.base import list_all
from tests.conftest import Place, new_place, skip_where_not_meant
from tests.durability.strikes import Bucket, state

LONG_ENOUGH = 11.0
"""Seconds after which a client looks whether its database is still there."""


@pytest.fixture
def bucket(place: Place) -> Bucket:
    return Bucket(place)


@pytest.fixture(params=["memory", "file", "memory-versioned", "memory-mps3"])
def near(request: pytest.FixtureRequest) -> Bucket:
    """One without a server."""
    place = new_place(request.param, request)
    skip_where_not_meant(request.node, place)
    return Bucket(place)


async def test_nothing_is_acknowledged_in_an_emptied_bucket_and_it_can_be_opened_anew(bucket: Bucket) -> None:
    async with bucket.connect() as db:
        await db.put("k", 1)
        await bucket.empty()
        bucket.clock.ahead += LONG_ENOUGH
        receipt = db.put("k", 2)
        with pytest.raises(Gone, match="deleted"):
            await receipt
        with pytest.raises(Gone, match=r"put .*deleted"):
            db.put("k", 3)
        assert isinstance(db.status.value.last_error, Gone)
        assert await db.get("k") == 1
        async with bucket.connect() as anew:
            assert await state(anew) == {}
            await anew.put("other", 1)
        async with bucket.connect() as later:
            assert await state(later) == {"other": 1}


async def test_a_computer_that_has_slept_writes_nothing_into_an_emptied_bucket(near: Bucket) -> None:
    async with near.connect() as db:
        await db.put("k", 1)
        await near.empty()
        near.clock.slept += 3600
        with pytest.raises(Gone, match="deleted"):
            await db.put("k", 2)
        left = [name for name in await near.names() if "k@" not in name and name != "k"]
        assert left == []


async def test_nothing_is_acknowledged_in_a_database_that_another_has_made_anew(bucket: Bucket) -> None:
    async with bucket.connect() as db:
        await db.put("k", 1)
        await db.put("k", 2)
        await bucket.empty()
        async with bucket.connect() as anew:
            await anew.put("other", 1)
            bucket.clock.ahead += LONG_ENOUGH
            receipt = db.put("k", 3)
            with pytest.raises((Replaced, Gone)):
                await receipt
            with pytest.raises(Replaced):
                await db.refresh()
            assert await state(anew) == {"other": 1}
            await anew.put("other", 2)
        async with bucket.connect() as later:
            assert await state(later) == {"other": 2}


async def test_nothing_is_acknowledged_in_a_bucket_that_was_put_back(bucket: Bucket) -> None:
    async with bucket.connect() as db:
        await db.put("k", 1)
        copied = await bucket.copy()
        await db.put("k", 2)
        await db.put("k", 3)
        await bucket.put_back(copied)
        bucket.clock.ahead += LONG_ENOUGH
        receipt = db.put("k", 4)
        with pytest.raises(Replaced):
            await receipt
        async with bucket.connect() as anew:
            assert await state(anew) == {"k": 1}
            await anew.put("k", 5)
        async with bucket.connect() as later:
            assert await state(later) == {"k": 5}


@pytest.mark.parametrize("strike", ["emptied", "made anew", "put back"])
async def test_who_only_observes_notices_with_the_next_poll(near: Bucket, strike: str) -> None:
    async with near.connect() as writer, near.connect(poll=0.1) as db:
        await writer.put("k", 1)
        copied = await near.copy()
        await writer.put("k", 2)
        seen: list[object] = []
        statuses: list[Status] = []
        with db.observe("k").subscribe(seen.append), db.status.subscribe(statuses.append):
            async with asyncio.timeout(10):
                while seen[-1:] != [2]:
                    await asyncio.sleep(0.01)
            await (near.put_back(copied) if strike == "put back" else near.empty())
            if strike == "made anew":
                async with near.connect() as other:
                    await other.put("other", 1)
            near.clock.ahead += LONG_ENOUGH
            async with asyncio.timeout(10):
                while not isinstance(db.status.value.last_error, (Gone, Replaced)):
                    await asyncio.sleep(0.01)
        assert db.status.value.online is False
        assert seen[-1] == 2


@pytest.mark.sequenced_only("the other logs look at the log with each put")
async def test_what_was_acknowledged_since_the_last_look_is_named(near: Bucket) -> None:
    async with near.connect() as db:
        await db.put("k", 1)
        near.clock.ahead += LONG_ENOUGH
        before = await db.put("k", 2)
        await near.empty()
        told: list[Failure] = []
        with db.errors.subscribe(told.append):
            after = await db.put("l", 3)
            near.clock.ahead += LONG_ENOUGH
            with pytest.raises(Gone) as raised:
                await db.refresh()
            await asyncio.sleep(0)
        assert raised.value.unconfirmed == (before, after)
        assert [failure.note for failure in told if "perhaps lost" in failure.note]


@pytest.mark.sequenced_only("the other logs have no number that two histories can share")
async def test_who_reads_a_history_that_goes_on_elsewhere_is_told_so_at_once(near: Bucket) -> None:
    async with near.connect() as db:
        await db.put("k", 1)
        copied = await near.copy()
        await db.put("k", 2)
        await near.put_back(copied)
        async with near.connect() as anew:
            await anew.put("k", 5)
            await anew.put("k", 6)
        with pytest.raises(Replaced):
            await db.refresh()


@pytest.mark.parametrize("strike", ["emptied", "put back"])
async def test_the_outbox_is_kept(near: Bucket, strike: str, tmp_path: Path) -> None:
    local = tmp_path / "local"
    async with near.connect(local=local) as db:
        await db.put("k", 1)
        copied = await near.copy()
        await db.put("k", 2)
        await (near.empty() if strike == "emptied" else near.put_back(copied))
        near.clock.ahead += LONG_ENOUGH
        receipt = db.put("waits", 3)
        with pytest.raises(Corrupt):
            await receipt
    kept = {key for one in await find_unsent(local, SystemClock()) for key in one.keys}
    assert "waits" in kept
    if near.place.protocol == "mps3":
        return  # which keeps no place of its own, and waits long for what a dead process may have sent
    if near.place.protocol == "sequenced":
        with pytest.raises(Corrupt, match="--anew"):
            await near.connect(local=local)
    [forgotten] = await forget_states(local)
    assert not forgotten.in_use
    async with near.connect(local=local) as db:
        for receipt in db.pending.value:
            await receipt
        now = await state(db)
    assert now["waits"] == 3
    if near.place.protocol == "sequenced":
        assert now["k"] == 2, "nobody had seen since that the log was still there"


async def test_a_bucket_that_comes_back_goes_on(near: Bucket) -> None:
    if near.place.protocol == "versioned":
        pytest.skip("a version that was deleted cannot be put back")
    async with near.connect() as db:
        await db.put("k", 1)
        copied = await near.copy()
        await near.empty()
        near.clock.ahead += LONG_ENOUGH
        with pytest.raises(Gone):
            await db.put("k", 2)
        await near.put_back(copied)
        if near.place.protocol == "mps3":
            pytest.skip("an operation that is stored again is another one")
        await db.refresh()
        assert await db.put("k", 3)
        assert await db.get("k") == 3


async def test_who_has_read_more_than_is_left_of_a_versioned_log_is_told() -> None:
    """A rule of the bucket has expired all versions but the newest one."""
    storage = MemoryStorage(versioning=True)
    async with rxmps3.connect(storage, protocol="versioned", shared=False, poll=3600) as db:
        await db.put("k", 1)
        await db.put("l", 2)
        await db.put("m", 3)
        for version in (await storage.list_versions("main")).versions[1:]:
            await storage.delete("main", version=version.version)
        with pytest.raises(Replaced, match="no checkpoint has what it wrote"):
            await db.put("n", 4)
        assert db.keys()[:3] == ["k", "l", "m"]


async def test_a_versioned_log_without_its_beginning_is_not_taken_for_a_whole_one() -> None:
    storage = MemoryStorage(versioning=True)

    def connect() -> rxmps3.Connecting:
        return rxmps3.connect(storage, protocol="versioned", shared=False, poll=3600)

    async with connect() as db:
        await db.put("k", 1)
        await db.put("l", 2)
    assert await examine(storage, "main") == []
    for version in (await storage.list_versions("main")).versions[1:]:
        await storage.delete("main", version=version.version)
    with pytest.raises(Corrupt, match=r"no checkpoint has what it wrote.*rxmps3 repair memory:"):
        async with connect():
            pass
    [left] = await examine(storage, "main")
    assert left.keys == ("l",)
    await carry_out(storage, "main", [left], "then")
    assert [one.name for one in await list_all(storage, SET_ASIDE)] == [f"{SET_ASIDE}then/main@{left.id}"]
    async with connect() as db:
        assert db.keys() == []
        await db.put("m", 3)
    async with connect() as db:
        assert await db.get_prefix("") == {"m": 3}
