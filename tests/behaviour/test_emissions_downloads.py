"""The emission contract, about large values: who waits for a download, for what, and what happens when it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from reactivex import Subject

import rxmps3
from rxmps3 import Failure, Unavailable
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.helpers import Gate, eventually, looks, names, player, players, trace

OLD, BIG, BIGGER = "old" * 2000, "big" * 2000, "bigger" * 1000


class Pair(NamedTuple):
    """A writer, and a reader whose downloads of large values are in the test's hand."""

    writer: rxmps3.Database
    reader: rxmps3.Database
    gate: Gate
    storage: MemoryStorage


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    storage = MemoryStorage()
    gate = Gate(storage)
    async with players(storage, "writer") as (writer,), players(gate, "reader") as (reader,):
        yield Pair(writer, reader, gate, storage)
        gate.open()


async def test_a_stream_waits_alone_for_its_large_value(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("big", 0)
    await looks(reader)
    large, small, other = trace(reader.observe("big")), trace(reader.observe("small")), trace(reader.observe("big"))
    await writer.put("big", BIG)
    await writer.put("small", 1)
    await looks(reader)
    assert (large, small, other) == ([0], [None, 1], [0])
    gate.open()
    await eventually(lambda: len(large) == len(other) == 2)
    assert (large, small, other) == ([0, BIG], [None, 1], [0, BIG])


async def test_the_first_emission_waits_for_its_value_too(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("big", BIG)
    await looks(reader)
    seen = trace(reader.observe("big", default="nothing"))
    await gate.held()
    assert seen == []
    await writer.put("big", "small")
    await looks(reader)
    assert seen == []


async def test_one_download_serves_all_who_wait(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("big", BIG)
    await looks(reader)
    seen = [trace(reader.observe("big")) for _ in range(5)]
    held = await gate.held()
    held.let_go()
    await eventually(lambda: all(seen))
    assert seen == [[BIG]] * 5
    assert gate.holding == 0


async def test_the_values_of_many_changes_come_at_the_same_time_and_in_order(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await looks(reader)
    seen = trace(reader.changes())
    for number in range(80):
        await writer.put(f"k/{number % 70}", f"{number} {BIG}")
    await looks(reader)
    await eventually(lambda: gate.holding == 16)  # as many as one client asks for at a time
    assert seen == []
    gate.open()
    await eventually(lambda: len(seen) == 80)
    assert [change.after for change in seen] == [f"{number} {BIG}" for number in range(80)]
    assert [change.before for change in seen[70:]] == [f"{number} {BIG}" for number in range(10)]


@pytest.mark.parametrize("window", [{"first": 2}, {"last": 2}])
async def test_an_own_put_that_was_in_the_window_leaves_it(pair: Pair, window: dict[str, Any]) -> None:
    """It was in the window of the snapshot that was waited for, and is not in that of the newest one."""
    writer, reader, gate, _ = pair
    await looks(reader)
    beyond, mine = ("d", "a") if "last" in window else ("a", "d")
    echo = reader.observe("c").subscribe(lambda value: reader.put(mine, "mine") if value else None)
    seen = trace(reader.observe_prefix("", **window))
    await writer.put("c", BIG)
    await looks(reader)
    await writer.put(beyond, BIGGER)
    await looks(reader)
    gate.open()
    await eventually(lambda: seen[-1] == {"c": BIG, beyond: BIGGER})
    assert seen[0] == {}
    assert {"c": BIG, mine: "mine"} in seen
    echo.dispose()


async def test_each_value_of_a_stream_of_changes_is_fetched_once_however_small_the_cache() -> None:
    storage = MemoryStorage()
    counting = CountingStorage(storage)
    async with players(storage, "writer") as (writer,), players(counting, "reader", cache_bytes=1) as (reader,):
        await looks(reader)
        seen = trace(reader.changes())
        for number in range(40):
            await writer.put(f"k/{number}", f"{number} {BIG}")
        counting.reset()
        await looks(reader)
        await eventually(lambda: len(seen) == 40)
        assert sum(request.verb == "get" and "/values/" in request.name for request in counting.requests) == 40


async def test_a_stream_of_changes_that_ends_fetches_nothing_more(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await looks(reader)
    subscription = reader.changes().subscribe()
    for number in range(5):
        await writer.put(f"k/{number}", f"{number} {BIG}")
    await looks(reader)
    held = [await gate.held() for _ in range(5)]
    subscription.dispose()
    await eventually(lambda: all(request.given_up for request in held))


async def test_it_emits_the_snapshot_it_waited_for_and_then_the_newest(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put_all({"big": 0, "n": 0})
    await looks(reader)
    many, prefix = trace(reader.observe_many("big", "n")), trace(reader.observe_prefix())
    await writer.put_all({"big": BIG, "n": 1})
    for number in (2, 3, 4):
        await looks(reader)
        await writer.put("n", number)
    await looks(reader)
    assert many == prefix == [{"big": 0, "n": 0}]
    gate.open()
    await eventually(lambda: len(many) == len(prefix) == 3)
    assert many == prefix == [{"big": 0, "n": 0}, {"big": BIG, "n": 1}, {"big": BIG, "n": 4}]


async def test_a_write_with_a_large_value_is_never_shown_in_half(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put_all({"a": OLD, "b": 0})
    await looks(reader)
    gate.open()
    many = trace(reader.observe_many("a", "b"))
    await eventually(lambda: many)
    gate.shut = True
    for number, text in enumerate((BIG, BIGGER), start=1):
        await writer.put_all({"a": text, "b": number})
        await looks(reader)
    gate.open()
    await eventually(lambda: many[-1]["b"] == 2)
    assert many == [{"a": OLD, "b": 0}, {"a": BIG, "b": 1}, {"a": BIGGER, "b": 2}]


async def test_an_own_put_does_not_wait_behind_a_download(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("k", 0)
    await looks(reader)
    seen = trace(reader.observe("k"))
    await writer.put("k", BIG)
    await looks(reader)
    await gate.held()
    mine = reader.put("k", "mine")
    assert seen == [0, "mine"]
    await mine
    gate.open()
    await looks(reader)
    await writer.put("k", "last")
    await looks(reader)
    assert seen == [0, "mine", "last"]


async def test_an_own_put_on_another_key_of_the_stream_does_not_wait_either(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put_all({"big": 0, "n": 0})
    await looks(reader)
    seen = trace(reader.observe_many("big", "n"))
    await writer.put("big", BIG)
    await looks(reader)
    held = await gate.held()
    mine = reader.put("n", 1)
    assert seen == [{"big": 0, "n": 0}, {"big": 0, "n": 1}]
    reader.put("n", 2)
    assert seen[2:] == [{"big": 0, "n": 2}]
    held.let_go()
    await eventually(lambda: len(seen) == 4)
    assert seen[3:] == [{"big": BIG, "n": 2}]
    await mine


async def test_an_own_large_put_needs_no_download(pair: Pair) -> None:
    _, reader, gate, _ = pair
    seen = trace(reader.observe("k"))
    await reader.put("k", BIG)
    assert seen == [None, BIG]
    assert await reader.get("k") == BIG
    assert gate.holding == 0


async def test_a_failed_download_is_reported_and_tried_again(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("k", BIG)
    await looks(reader)
    errors = trace(reader.errors)
    seen = trace(reader.observe("k"))
    (await gate.held()).fail(Unavailable("lost", object="value k"))
    held = await gate.held()
    assert seen == []
    assert [type(failure.error) for failure in errors] == [Unavailable]
    assert isinstance(errors[0], Failure)
    held.let_go()
    await eventually(lambda: seen)
    assert seen == [BIG]
    assert len(errors) == 1


async def test_a_download_that_failed_and_is_superseded_is_skipped(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("k", 0)
    await looks(reader)
    seen, errors = trace(reader.observe("k")), trace(reader.errors)
    await writer.put("k", BIG)
    await looks(reader)
    (await gate.held()).fail(Unavailable("lost", object="value k"))
    await eventually(lambda: errors)
    await writer.put("k", "small")
    await looks(reader)
    assert seen == [0, "small"]


async def test_superseded_before_it_fails_it_is_skipped_when_it_fails(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("k", 0)
    await looks(reader)
    seen = trace(reader.observe("k"))
    await writer.put("k", BIG)
    await looks(reader)
    held = await gate.held()
    await writer.put("k", "small")
    await looks(reader)
    assert seen == [0]
    held.fail(Unavailable("lost"))
    await eventually(lambda: len(seen) == 2)
    assert seen == [0, "small"]


async def test_an_unreadable_object_holds_only_the_streams_that_need_it(pair: Pair) -> None:
    writer, reader, gate, storage = pair
    await writer.put_all({"k": 0, "other": 0})
    await looks(reader)
    broken, fine, errors = trace(reader.observe("k")), trace(reader.observe("other")), trace(reader.errors)
    await writer.put("k", BIG)
    (name,) = await names(storage, "main/values/")
    await storage.delete(name)
    gate.open()
    await looks(reader)
    await eventually(lambda: errors)
    assert [type(failure.error).__name__ for failure in errors] == ["Corrupt"]
    assert name in str(errors[0])
    await writer.put("other", 1)
    await looks(reader)
    assert (broken, fine) == ([0], [0, 1])
    await writer.put("k", "mended")
    await looks(reader)
    assert (broken, fine) == ([0, "mended"], [0, 1])


async def test_disposing_ends_the_wait(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("k", BIG)
    await looks(reader)
    seen: list[Any] = []
    subscription = reader.observe("k").subscribe(seen.append)
    held = await gate.held()
    subscription.dispose()
    held.let_go()
    again = trace(reader.observe("k"))
    gate.open()
    await eventually(lambda: again)
    assert (seen, again) == ([], [BIG])


async def test_closing_ends_the_wait() -> None:
    storage = MemoryStorage()
    gate = Gate(storage)
    async with players(storage, "writer") as (writer,), players(gate, "reader") as (reader,):
        await writer.put("k", BIG)
        await looks(reader)
        seen = trace(reader.observe("k"))
        await gate.held()
        await reader.close()
        assert seen == ["completed"]


@pytest.mark.parametrize(("window", "shown"), [({"first": 2}, ["k/0", "k/1"]), ({"last": 3}, ["k/7", "k/8", "k/9"])])
async def test_a_window_fetches_only_what_it_shows(window: dict[str, int], shown: list[str]) -> None:
    counting = CountingStorage(MemoryStorage())
    async with players(counting.inner, "writer") as (writer,), players(counting, "reader") as (reader,):
        for number in range(10):
            await writer.put(f"k/{number}", BIG + str(number))
        await looks(reader)
        seen = trace(reader.observe_prefix("k/", **window))
        await eventually(lambda: seen)
        assert list(seen[0]) == shown
        fetched = [one.name for one in counting.requests if one.verb == "get" and "/values/" in one.name]
        assert sorted(name.partition("values/")[2].partition("@")[0] for name in fetched) == shown
        assert list(await reader.get_prefix("k/", **window)) == shown
        assert len(fetched) == len([one for one in counting.requests if "/values/" in one.name])


async def test_a_window_stays_full_when_an_own_delete_meets_a_download(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put_all({f"k/{number}": number for number in range(1, 6)})
    await looks(reader)
    seen = trace(reader.observe_prefix("k/", first=2))
    await writer.put("k/1", BIG)
    await looks(reader)
    held = await gate.held()
    reader.delete("k/2")
    held.let_go()
    await eventually(lambda: seen[-1].get("k/1") == BIG)
    assert all(len(window) == 2 for window in seen)
    assert seen[0] == {"k/1": 1, "k/2": 2}
    assert seen[-1] == {"k/1": BIG, "k/3": 3}


async def test_several_own_writes_while_waiting_are_each_shown_once(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put_all({"big": 0, "n": 0})
    await looks(reader)
    seen = trace(reader.observe_many("big", "n"))
    await writer.put("big", BIG)
    await looks(reader)
    held = await gate.held()
    for number in (1, 2, 3):
        reader.put("n", number)
    reader.delete("n")
    assert seen == [{"big": 0, "n": number} for number in (0, 1, 2, 3, None)]
    held.let_go()
    await eventually(lambda: len(seen) == 6)
    assert seen[-1] == {"big": BIG, "n": None}


async def test_changes_keep_their_order_behind_a_large_value(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    await writer.put("k", 0)
    await looks(reader)
    seen = trace(reader.changes())
    await writer.put("k", BIG)
    await writer.put("n", 1)
    await looks(reader)
    held = await gate.held()
    reader.put("mine", 2)
    assert seen == []
    held.let_go()
    await eventually(lambda: len(seen) == 3)
    assert [(change.key, change.before, change.after) for change in seen] == [
        ("k", 0, BIG),
        ("n", rxmps3.MISSING, 1),
        ("mine", rxmps3.MISSING, 2),
    ]


async def test_changes_wait_for_a_download_that_fails_at_first(pair: Pair) -> None:
    writer, reader, gate, _ = pair
    seen, errors = trace(reader.changes()), trace(reader.errors)
    await writer.put("k", BIG)
    await looks(reader)
    (await gate.held()).fail(Unavailable("lost"))
    (await gate.held()).let_go()
    await eventually(lambda: seen)
    assert [change.after for change in seen] == [BIG]
    assert len(errors) == 1


async def test_a_tiny_cache_never_makes_a_snapshot_incomplete() -> None:
    storage = MemoryStorage()
    async with player(storage, by="writer", poll=Subject[None]()) as writer:
        await writer.put_all({"a": BIG, "b": BIGGER, "c": OLD})
    async with player(storage, cache_bytes=1, poll=Subject[None]()) as reader:
        many = trace(reader.observe_many("a", "b", "c"))
        await eventually(lambda: many)
        await reader.put("d", 1)
        assert many == [{"a": BIG, "b": BIGGER, "c": OLD}]
        assert await reader.get_prefix() == {"a": BIG, "b": BIGGER, "c": OLD, "d": 1}
