"""What everything costs, in requests: exact counts, on a warm manifest, with time standing still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from rxmps3 import Database
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.facades import ManualClock, settle
from tests.behaviour.helpers import LARGE, eventually, looks, players, soon, trace


class Rig(NamedTuple):
    """A writer and a reader on one warm manifest; the requests of each are counted."""

    writer: Database
    reader: Database
    written: CountingStorage
    read: CountingStorage
    clock: ManualClock


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    written, read = CountingStorage(storage), CountingStorage(storage)
    async with players(written, "writer", clock=clock) as (writer,), players(read, "reader", clock=clock) as (reader,):
        await writer.put("warm", 0)
        await looks(reader)
        written.reset()
        read.reset()
        yield Rig(writer, reader, written, read, clock)


def verbs(counting: CountingStorage) -> list[str]:
    return [request.verb for request in counting.requests]


async def test_a_small_put_is_one_request_of_less_than_a_kilobyte(rig: Rig) -> None:
    for number in range(5):
        rig.written.reset()
        await rig.writer.put("k", {"title": "milk", "done": False, "number": number})
        assert verbs(rig.written) == ["put"]
        assert rig.written.bytes_up < 1024


async def test_a_small_put_is_still_one_small_request_at_ten_thousand_keys(rig: Rig) -> None:
    await rig.writer.put_all({f"key/{number:05}": {"number": number} for number in range(10_000)})
    await rig.writer.put("another", 1)

    def checkpointed() -> bool:  # off the path of the put that crossed the line: it must not be counted below
        return any(request.name == "main/head" and request.verb == "put" for request in rig.written.requests)

    await eventually(checkpointed)
    await rig.clock.advance(120)
    await rig.writer.put("after a pause", 1)
    for number in range(3):
        rig.written.reset()
        await rig.writer.put("key/05000", {"number": number})
        await rig.clock.advance(3)
        assert verbs(rig.written) == ["put"]
        assert rig.written.bytes_up < 1024
    assert len(rig.writer) == 10_003


async def test_a_put_all_of_ten_small_values_is_one_request(rig: Rig) -> None:
    await rig.writer.put_all({f"k{number}": number for number in range(10)})
    assert verbs(rig.written) == ["put"]


async def test_a_delete_is_one_request(rig: Rig) -> None:
    await rig.writer.delete("warm")
    assert verbs(rig.written) == ["put"]


async def test_a_burst_of_200_puts_is_at_most_three_commits(rig: Rig) -> None:
    for number in range(200):
        last = rig.writer.put(f"k{number}", number)
    await last
    assert verbs(rig.written) == ["put"] * len(rig.written.requests)
    assert 1 <= len(rig.written.requests) <= 3


async def test_a_large_put_is_one_upload_and_one_small_commit(rig: Rig) -> None:
    await rig.writer.put("big", LARGE)
    assert verbs(rig.written) == ["put", "put"]
    upload, commit = rig.written.requests
    assert ("/values/" in upload.name, "/log/" in commit.name) == (True, True)
    assert (upload.bytes_up, commit.bytes_up < 1024) == (len(LARGE) + 2, True)


async def test_a_put_all_uploads_its_large_values_together(rig: Rig) -> None:
    await rig.writer.put_all({"a": LARGE + "a", "b": LARGE + "b", "c": 1})
    upload, commit = rig.written.requests
    assert ("/values/" in upload.name, "/log/" in commit.name) == (True, True)
    assert upload.bytes_up == 2 * (len(LARGE) + 3)


async def test_a_very_large_value_is_uploaded_by_itself(rig: Rig) -> None:
    await rig.writer.put_all({"a": LARGE * 250, "b": LARGE + "b", "c": LARGE + "c"})
    assert len([request for request in rig.written.requests if "/values/" in request.name]) == 2


@pytest.mark.parametrize(("count", "size"), [(10_000, 98), (20_000, 19)])
async def test_a_put_all_of_many_small_values_is_three_requests_at_most(rig: Rig, count: int, size: int) -> None:
    values = {f"item/{number:05}": f"{number:0{size}}" for number in range(count)}
    await rig.writer.put_all(values)
    writing = [
        request
        for request in rig.written.requests
        if request.name.startswith("main/") and "/checkpoint" not in request.name and request.name != "main/head"
    ]
    assert len(writing) <= 3
    assert verbs(rig.written)[: len(writing)] == ["put"] * len(writing)
    assert rig.written.requests[-1].bytes_up < 2_500_000
    await looks(rig.reader)
    assert await soon(rig.clock, rig.reader.get_prefix("item/")) == values
    assert len(rig.read.requests) <= 3
    assert verbs(rig.read) == ["get"] * len(rig.read.requests)


async def test_an_idle_look_is_one_get(rig: Rig) -> None:
    for _ in range(3):
        rig.read.reset()
        await rig.reader.refresh()
        assert verbs(rig.read) == ["get"]
        assert rig.read.bytes_down == 0


async def test_an_observer_gets_a_small_value_with_the_look_that_finds_it(rig: Rig) -> None:
    seen, prefix = trace(rig.reader.observe("k")), trace(rig.reader.observe_prefix("k"))
    await settle()
    await rig.writer.put("k", {"small": True})
    rig.read.reset()
    await rig.reader.refresh()
    # the entry, and the look behind it that finds nothing more
    assert [request.outcome for request in rig.read.requests] == ["Found", "Missing"]
    assert (seen, prefix) == ([None, {"small": True}], [{}, {"k": {"small": True}}])
    assert await rig.reader.get("k") == {"small": True}
    assert len(rig.read.requests) == 2


async def test_a_reader_far_behind_lists_and_fetches_in_parallel(rig: Rig) -> None:
    for number in range(50):
        await rig.writer.put("k", number)
    await rig.reader.refresh()
    assert await rig.reader.get("k") == 49
    assert rig.read.counts["list"] == 1
    assert rig.read.counts["get"] <= 50 + 3


async def test_a_commit_tells_the_writer_about_itself_without_a_request(rig: Rig) -> None:
    seen = trace(rig.writer.versions)
    await settle()
    rig.written.reset()
    await rig.writer.put("k", 1)
    assert [version.id for version in seen] == ["2"]
    assert verbs(rig.written) == ["put"]


async def test_an_own_large_value_is_never_downloaded(rig: Rig) -> None:
    seen, changes = trace(rig.writer.observe("big")), trace(rig.writer.changes())
    await rig.writer.put("big", LARGE)
    await rig.writer.put("copy", LARGE)
    assert await rig.writer.get("big") == await rig.writer.get("copy") == LARGE
    assert trace(rig.writer.observe_many("big", "copy")) == [{"big": LARGE, "copy": LARGE}]
    assert (seen, len(changes)) == ([None, LARGE], 2)
    assert not [request for request in rig.written.requests if request.verb == "get" and "/values/" in request.name]


async def test_a_known_large_value_is_not_downloaded_again(rig: Rig) -> None:
    await rig.writer.put("big", LARGE)
    await looks(rig.reader)
    assert await rig.reader.get("big") == LARGE
    rig.read.reset()
    assert await rig.reader.get("big") == LARGE
    assert await rig.reader.get_prefix() == {"big": LARGE, "warm": 0}
    assert trace(rig.reader.observe("big")) == [LARGE]
    await settle()
    assert "/values/" not in "".join(request.name for request in rig.read.requests)
    await rig.writer.put_all({"copy": LARGE, "big": 1})
    await looks(rig.reader)
    assert await rig.reader.get("copy") == LARGE
    assert "/values/" not in "".join(request.name for request in rig.read.requests)


async def test_nobody_downloads_a_large_value_that_nobody_asks_for(rig: Rig) -> None:
    seen = trace(rig.reader.observe("warm"))
    await rig.writer.put("big", LARGE)
    await looks(rig.reader)
    assert rig.reader.keys() == ["big", "warm"]
    assert seen == [0]
    assert "/values/" not in "".join(request.name for request in rig.read.requests)


async def test_a_value_of_a_pack_is_read_alone_and_the_next_with_all_the_rest(rig: Rig) -> None:
    await rig.writer.put_all({f"big/{number:02}": f"{number}{LARGE}" for number in range(99)})
    await looks(rig.reader)
    rig.read.reset()
    assert await rig.reader.get("big/70") == f"70{LARGE}"
    assert rig.read.bytes_down == len(LARGE) + 4
    for number in range(99):
        assert await rig.reader.get(f"big/{number:02}") == f"{number}{LARGE}"
    assert len([request for request in rig.read.requests if "/values/" in request.name]) == 2


async def test_some_values_of_a_pack_are_read_by_one_request_that_spans_them(rig: Rig) -> None:
    await rig.writer.put_all({f"big/{number:02}": f"{number}{LARGE}" for number in range(99)})
    await looks(rig.reader)
    rig.read.reset()
    some = await soon(rig.clock, rig.reader.get_many(["big/70", "big/72", "big/71"]))
    assert some == {f"big/{number}": f"{number}{LARGE}" for number in (70, 72, 71)}
    assert [request.bytes_down for request in rig.read.requests if "/values/" in request.name] == [3 * (len(LARGE) + 4)]


async def test_many_values_are_fetched_once_each(rig: Rig) -> None:
    for number in range(20):
        await rig.writer.put(f"big/{number}", f"{number}{LARGE}")
    await looks(rig.reader)
    rig.read.reset()
    many = trace(rig.reader.observe_prefix("big/"))
    read = await soon(rig.clock, rig.reader.get_prefix("big/"))
    await settle()
    assert many == [read]
    fetched = [request.name for request in rig.read.requests if "/values/" in request.name]
    assert len(fetched) == len(set(fetched)) == 20


async def test_opening_costs_the_head_a_listing_and_the_entries(rig: Rig) -> None:
    for number in range(5):
        await rig.writer.put("k", number)
    counting = CountingStorage(rig.written.inner)
    async with players(counting, "late", clock=rig.clock) as (late,):
        assert await late.get("k") == 4
    assert verbs(counting)[:2] == ["get", "list"]
    assert counting.counts == {"get": 7, "list": 1}


async def test_opening_an_empty_place_asks_twice_and_once_or_twice_for_each_other_protocol() -> None:
    counting = CountingStorage(MemoryStorage())
    async with players(counting, "a") as (a,):
        assert await a.get("k") is None
    assert verbs(counting) == ["get", "list", *["get"], *["get", "list"]]


async def test_a_loser_of_a_race_pays_for_the_entry_that_won(rig: Rig) -> None:
    await rig.writer.put("k", 1)
    rig.read.reset()
    await soon(rig.clock, _awaited(rig.reader.put("k", 2)))
    outcomes = [(request.verb, request.outcome) for request in rig.read.requests]
    assert outcomes[0] in (("put", "PreconditionFailed"), ("get", "Found"))
    assert outcomes.count(("put", "Stored")) == 1
    assert len(outcomes) <= 4


async def _awaited(receipt: Any) -> str:
    return await receipt


async def test_after_ten_seconds_a_poll_asks_for_what_it_knows_with_two_requests_without_a_body(rig: Rig) -> None:
    for _ in range(3):
        await rig.clock.advance(11)
        rig.read.reset()
        await rig.reader.refresh()
        assert [(request.verb, request.outcome) for request in rig.read.requests] == [
            ("get", "Missing"),
            ("get", "NotModified"),
            ("get", "NotModified"),
        ]
        for _ in range(3):
            await rig.clock.advance(3)
            rig.read.reset()
            await rig.reader.refresh()
            assert verbs(rig.read) == ["get"]


async def test_after_ten_seconds_a_put_asks_first_for_what_it_knows(rig: Rig) -> None:
    for _ in range(3):
        await rig.clock.advance(11)
        rig.written.reset()
        await rig.writer.put("k", 1)
        *asked, last = [(request.verb, request.outcome) for request in rig.written.requests]
        assert last == ("put", "Stored")
        assert 2 <= len(asked) <= 4
        assert set(asked) == {("get", "NotModified")}
        for number in range(3):
            await rig.clock.advance(3)
            rig.written.reset()
            await rig.writer.put("k", number)
            assert verbs(rig.written) == ["put"]


async def test_a_client_that_slept_for_hours_asks_before_it_believes(rig: Rig) -> None:
    await rig.writer.put("k", 1)
    await rig.clock.advance(5 * 3600)
    rig.read.reset()
    await rig.reader.refresh()
    assert await rig.reader.get("k") == 1
    assert "NotModified" in [request.outcome for request in rig.read.requests]
    assert len(rig.read.requests) <= 5
