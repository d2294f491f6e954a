"""Handles of one process: the same place is followed and extended by one replica, however many have it open."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from reactivex import Subject

import rxmps3
from rxmps3 import Closed, Database, NotSent
from rxmps3.storage import MemoryStorage
from tests.behaviour.facades import ManualClock, connect, home_tasks, own_memory
from tests.behaviour.helpers import Switch, offline, player, players, trace
from tests.conftest import Place


async def both(url: str, **options: Any) -> tuple[Database, Database]:
    return await connect(url, **options), await connect(url, **options)


async def test_the_same_url_hands_out_another_handle_on_one_replica(place: Place) -> None:
    first = await connect(place.url, by="me", protocol=place.protocol, **place.options)
    second = await connect(place.url, by="me", protocol=place.protocol, **place.options)
    receipt = first.put("k", 1)
    assert second.keys() == ["k"]
    assert second.pending.value == (receipt,)
    assert await second.get("k") == 1
    await first.close()
    with pytest.raises(Closed):
        first.put("k", 2)
    assert await second.put("k", 3)
    await second.close()
    with pytest.raises(Closed):
        second.put("k", 4)
    async with players(place, "other") as (other,):
        assert await other.get("k") == 3


async def test_the_last_handle_to_close_closes_the_replica_whatever_the_order() -> None:
    tasks = home_tasks()
    first, second = await both(own_memory("handles-order"))
    third = await connect(own_memory("handles-order"))
    await second.close()
    await first.put("k", 1)
    await first.close()
    await third.put("k", 2)
    await third.close()
    assert home_tasks() == tasks


async def test_shared_false_and_other_manifests_are_replicas_of_their_own() -> None:
    async with (
        connect(own_memory("handles-own")) as shared,
        connect(own_memory("handles-own"), shared=False) as own,
        connect(own_memory("handles-own"), manifest="other") as other,
    ):
        receipt = shared.put("k", 1)
        assert (own.keys(), other.keys()) == ([], [])
        await receipt
        await own.refresh()
        assert own.keys() == ["k"]


async def test_a_private_memory_is_never_shared() -> None:
    async with connect("memory:") as first, connect("memory:") as second:
        await first.put("k", 1)
        await second.refresh()
        assert second.keys() == []


async def test_one_storage_object_is_shared_too() -> None:
    storage = MemoryStorage()
    async with connect(storage) as first, connect(storage) as second:
        receipt = first.put("k", 1)
        assert second.pending.value == (receipt,)


async def test_another_author_on_a_shared_replica_is_an_error_with_the_remedy() -> None:
    async with connect(own_memory("handles-by"), by="alice") as alice:
        with pytest.raises(rxmps3.InvalidOption, match="by") as caught:
            await connect(own_memory("handles-by"), by="bob")
        assert "shared=False" in str(caught.value)
        await alice.put("k", 1)


async def test_other_credentials_or_another_endpoint_are_an_error(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("moto")
    options, url = server.options(), "s3://shared/handles-credentials"
    async with connect(url, **options) as db:
        with pytest.raises(rxmps3.InvalidOption, match="aws_secret_access_key"):
            await connect(url, **(options | {"aws_secret_access_key": "another"}))
        assert options["aws_secret_access_key"] not in repr(db)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
async def test_who_leaves_the_protocol_open_gets_that_of_what_is_there(protocol: str, shared: bool) -> None:
    url, manifest = own_memory(f"protocol-{protocol}-{shared}"), "main"
    first = await connect(url, protocol=protocol, manifest=manifest)
    await first.put("k", 1)
    second = await connect(url, manifest=manifest, shared=shared)
    assert (second.protocol, await second.get("k")) == (protocol, 1)
    await second.close()
    await first.close()


async def test_the_shorter_poll_wins() -> None:
    clock = ManualClock()
    storage = rxmps3.testing.CountingStorage(MemoryStorage())
    async with connect(storage, poll=60.0, clock=clock) as slow:
        await slow.put("k", 1)
        trace(slow.observe("k"))
        await clock.advance(120)
        storage.reset()
        async with connect(storage, poll=1.0, clock=clock):
            await clock.advance(60)
            assert 60 <= len(storage.requests) <= 80


async def test_children_close_with_their_parent_and_not_before(place: Place) -> None:
    async with players(place, "a") as (a,):
        child = a.manifest("other")
        again = a.manifest("other")
        seen = trace(child.observe("k"))
        await child.close()
        await again.put("k", 1)
        assert await a.manifest("other").get("k") == 1
        assert seen[-1] == "completed"


async def test_nothing_keeps_a_handle_on_another_manifest_that_is_closed() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        async with a.manifest("other") as child:
            await child.put("k", 1)
            trace(child.observe("k"))
        closed = weakref.ref(child)
        del child
        await asyncio.sleep(0.01)
        gc.collect()
        assert closed() is None


async def test_a_read_only_handle_beside_a_writing_one_refuses_for_itself_only() -> None:
    storage = MemoryStorage()
    async with connect(storage) as writes, connect(storage, read_only=True) as reads:
        await writes.put("k", 1)
        assert reads.keys() == ["k"]
        with pytest.raises(rxmps3.InvalidOption, match="read_only"):
            reads.put("k", 2)
        with pytest.raises(rxmps3.InvalidOption, match="read_only"):
            reads.key("k").put(2)
        assert await writes.get("k") == 1


async def test_a_handle_that_closes_leaves_its_pending_writes_to_the_others() -> None:
    switch = Switch()
    first, second = await connect(switch), await connect(switch)
    await first.put("k", 0)
    switch.error = offline
    receipt = first.put("k", 1)
    await first.close()
    assert (receipt.stage, second.pending.value) == ("pending", (receipt,))
    switch.error = None
    await receipt
    await second.close()
    async with players(switch, "late") as (late,):
        assert await late.get("k") == 1


async def test_unsent_writes_of_all_manifests_are_named() -> None:
    switch = Switch()
    db = await player(switch, poll=Subject[None]())
    other = db.manifest("other")
    await asyncio.gather(_awaited(db.put("k", 1)), _awaited(other.put("k", 1)))
    switch.error = offline
    db.put("in main", 1)
    other.put("in other", 1)
    with pytest.raises(NotSent) as caught:
        await db.close(timeout=0.01)
    assert set(caught.value.keys) == {"in main", "in other"}


async def _awaited(receipt: rxmps3.Receipt) -> str:
    return await receipt


# -- a loop that is gone ---------------------------------------------------------------------------------------------


@pytest.mark.async_only("a loop of the program's own")
def test_a_write_on_a_handle_whose_loop_is_gone_raises_and_what_was_pending_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leave_open() -> rxmps3.Database:
        db = await rxmps3.connect(MemoryStorage(), shared=False)
        db.put("pending", 1)
        return db

    db = asyncio.run(leave_open())
    with pytest.raises(Closed, match="event loop has ended"):
        db.put("k", 1)
    with pytest.raises(Closed, match="event loop has ended"):
        db.delete("k")
    with pytest.raises(Closed, match="event loop has ended"):
        db.key("k").put(1)
    del db
    gc.collect()
    told = [record.getMessage() for record in caplog.records if "without close()" in record.getMessage()]
    assert len(told) == 1
    assert "1 writes were not sent" in told[0]


@pytest.mark.async_only("on a thread of its own it may be sent before it is taken back")
async def test_a_write_that_is_taken_back_on_purpose_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async with rxmps3.connect(MemoryStorage(), shared=False) as db:
        failures: list[rxmps3.Failure] = []
        db.errors.subscribe(failures.append)
        assert db.put("k", 1).cancel()
        await asyncio.sleep(0.05)
        assert failures == []
    assert "nobody awaited" not in caplog.text
