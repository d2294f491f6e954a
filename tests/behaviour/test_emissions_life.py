"""The emission contract, about trouble, the end, and slow consumers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from reactivex import Subject
from reactivex import operators as ops

import rxmps3
from rxmps3 import Closed, Database, InvalidOption, Overloaded
from rxmps3.storage import MemoryStorage
from tests.behaviour.facades import connect
from tests.behaviour.helpers import Switch, eventually, looks, offline, player, players, trace


def every_stream(db: Database) -> dict[str, Any]:
    return {
        "observe": db.observe("k"),
        "observe_many": db.observe_many("k", "l"),
        "observe_prefix": db.observe_prefix(),
        "changes": db.changes(),
        "versions": db.versions,
        "errors": db.errors,
        "status": db.status,
        "pending": db.pending,
        "states": db.states,
    }


# -- 7: trouble and the end --------------------------------------------------------------------------------------


async def test_streams_do_not_end_on_trouble() -> None:
    switch, ticks = Switch(), Subject[None]()
    async with players(switch.inner, "writer") as (writer,), player(switch, by="reader", poll=ticks) as reader:
        seen = {name: trace(stream) for name, stream in every_stream(reader).items()}
        await writer.put("k", 1)
        await looks(reader)
        switch.error = offline
        ticks.on_next(None)
        await eventually(lambda: reader.status.value.online is False)
        await writer.put("k", 2)
        switch.error = None
        await looks(reader)
        await writer.put("k", 3)
        await looks(reader)
        assert seen["observe"] == [None, 1, 2, 3]
        assert [change.after for change in seen["changes"]] == [1, 2, 3]
        assert [version.id for version in seen["versions"]] == ["1", "2", "3"]
        for name, events in seen.items():
            assert not [event for event in events if event == "completed" or isinstance(event, Exception)], name


async def test_trouble_is_on_errors_once_and_on_status_until_it_is_over() -> None:
    switch, ticks = Switch(), Subject[None]()
    async with player(switch, poll=ticks) as db:
        seen, errors, status = trace(db.observe("k")), trace(db.errors), trace(db.status)
        switch.error = offline
        for _ in range(3):
            before = switch.refused
            ticks.on_next(None)
            await eventually(lambda before=before: switch.refused > before)
        await eventually(lambda: db.status.value.online is False)
        assert isinstance(db.status.value.last_error, rxmps3.Unavailable)
        assert db.status.value.next_try is not None
        switch.error = None
        await looks(db)
        assert db.status.value.online is True
        assert db.status.value.last_error is None
        assert seen == [None]
        assert len(errors) == 1
        assert [one.online for one in status if one.online is not None][-2:] == [False, True]


async def test_writes_made_in_trouble_are_shown_at_once_and_sent_when_it_is_over() -> None:
    switch = Switch()
    async with players(switch, "a") as (a,):
        seen, errors = trace(a.observe("k")), trace(a.errors)
        switch.error = offline
        receipt = a.put("k", 1)
        await eventually(lambda: errors)
        assert seen == [None, 1]
        assert receipt.stage == "pending"
        switch.error = None
        await receipt
        assert seen == [None, 1]
    async with players(switch, "b") as (b,):
        assert await b.get("k") == 1


async def test_every_stream_completes_when_the_database_closes() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        seen = {name: trace(stream) for name, stream in every_stream(a).items()}
        await a.put("k", 1)
        await a.close()
        assert {name: events[-1] for name, events in seen.items()} == dict.fromkeys(seen, "completed")
        assert {name: events.count("completed") for name, events in seen.items()} == dict.fromkeys(seen, 1)


async def test_subscribing_to_a_closed_database_completes_at_once() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        await a.put("k", 1)
        streams = every_stream(a)
        await a.close()
        assert {name: trace(stream) for name, stream in streams.items()} == {name: ["completed"] for name in streams}


async def test_writes_that_close_flushes_are_in_the_streams_before_they_complete() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        versions = trace(a.versions)
        a.put("k", 1)
        await a.close()
        assert [getattr(event, "id", event) for event in versions] == ["1", "completed"]


async def test_closing_one_handle_completes_its_streams_only() -> None:
    storage = MemoryStorage()
    first = await connect(storage)
    second = await connect(storage)
    mine, theirs = trace(first.observe("k")), trace(second.observe("k"))
    await first.close()
    await second.put("k", 1)
    assert (mine, theirs) == ([None, "completed"], [None, 1])
    await second.close()


# -- 8: slow consumers -------------------------------------------------------------------------------------------


async def take(db: Database, keep: Any, puts: int) -> list[Any]:
    """What a consumer gets that looks only after so many changes."""
    async with db.iterate(db.observe("k", default=-1), keep=keep) as items:
        for number in range(puts):
            db.put("k", number)
        await db.close()
        return [item async for item in items]


@pytest.mark.parametrize(
    ("keep", "expected"), [(1, [9]), (3, [7, 8, 9]), (100, [-1, *range(10)]), ("all", [-1, *range(10)])]
)
async def test_a_slow_consumer_keeps_what_it_asked_for(keep: Any, expected: list[int]) -> None:
    async with players(MemoryStorage(), "a") as (a,):
        assert await take(a, keep, 10) == expected


async def test_a_fast_consumer_misses_nothing() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        seen: list[Any] = []
        async with a.iterate(a.observe("k")) as items:
            async for item in items:
                seen.append(item)
                if len(seen) == 5:
                    break
                a.put("k", len(seen))
        assert seen == [None, 1, 2, 3, 4]


async def test_a_consumer_waits_for_the_next_item() -> None:
    async with players(MemoryStorage(), "a") as (a,), a.iterate(a.observe("k")) as items:
        assert await anext(items) is None
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        assert not waiting.done()
        a.put("k", 1)
        assert await waiting == 1


@pytest.mark.async_only(
    "ten thousand items by as many calls in threads take seconds; tests/blocking takes them at once"
)
async def test_with_all_a_consumer_too_far_behind_gets_what_is_kept_and_then_an_error() -> None:
    source = Subject[int]()
    async with players(MemoryStorage(), "a") as (a,), a.iterate(source, keep="all") as items:
        for number in range(10_001):
            source.on_next(number)
        assert [await anext(items) for _ in range(10_000)] == list(range(10_000))
        with pytest.raises(Overloaded, match="10,000"):
            await anext(items)


async def test_an_error_of_the_source_reaches_the_consumer_after_the_items() -> None:
    source = Subject[int]()
    async with players(MemoryStorage(), "a") as (a,), a.iterate(source, keep=5) as items:
        source.on_next(1)
        source.on_error(LookupError("end"))
        assert await anext(items) == 1
        with pytest.raises(LookupError):
            await anext(items)


async def test_leaving_the_block_ends_the_subscription() -> None:
    disposed: list[str] = []
    source = Subject[int]()
    async with players(MemoryStorage(), "a") as (a,):
        async with a.iterate(source.pipe(ops.do_action(), ops.finally_action(lambda: disposed.append("yes")))) as items:
            source.on_next(1)
            assert await anext(items) == 1
        assert disposed == ["yes"]
        assert not source.observers
        with pytest.raises(StopAsyncIteration):
            await anext(items)


@pytest.mark.async_only("a blocking iteration subscribes when it is made")
async def test_iterating_without_entering_is_refused_with_the_remedy() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        iteration = a.iterate(a.observe("k"))
        with pytest.raises(TypeError, match="async with"):
            async for _ in iteration:  # pyright: ignore
                pass


@pytest.mark.parametrize("source", [5, None, [1, 2], "k"])
async def test_what_is_no_observable_cannot_be_iterated_over_or_subscribed_to(source: Any) -> None:
    async with players(MemoryStorage(), "a") as (a,):
        with pytest.raises(InvalidOption, match="an Observable, not"):
            a.iterate(source)
        with pytest.raises(InvalidOption, match="an Observable, not"):
            a.iterate(a)
        if source is not None:
            with pytest.raises(TypeError, match="key 'k': an observer is a function or has on_next, unlike"):
                a.observe("k").subscribe(source)


@pytest.mark.parametrize("keep", [0, -1, 1.5, "some", None, True])
async def test_keep_is_a_number_or_all(keep: Any) -> None:
    async with players(MemoryStorage(), "a") as (a,):
        with pytest.raises(InvalidOption, match="keep"):
            a.iterate(a.observe("k"), keep=keep)


async def test_iterating_ends_when_the_database_closes() -> None:
    async with players(MemoryStorage(), "a") as (a,), a.iterate(a.observe("k")) as items:
        assert await anext(items) is None
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        await a.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
        with pytest.raises(Closed):
            await a.get("k")
