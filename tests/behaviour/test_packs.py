"""Packs: many values of one write in one object, and everything that reads, keeps, moves or deletes them."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from rxmps3 import Corrupt, Unavailable
from rxmps3.cli.transfer import export_to, import_from
from rxmps3.log.sequenced.verify import verify
from rxmps3.storage import Found, MemoryStorage, Storage, list_all
from rxmps3.testing import CountingStorage, Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import LARGE, eventually, looks, players, trace
from tests.conftest import Place
from tests.durability.helpers import Disk, on
from tests.durability.upkeep import DAY, HOUR, check

SOME = {f"k/{number:02}": f"{number:02}{LARGE}" for number in range(20)}
EACH = len(LARGE) + 4


async def packs_in(storage: Storage) -> list[str]:
    return [one.name for one in await list_all(storage, "main/values/@")]


async def damaged(storage: Storage, at: int) -> None:
    """One bit of the only pack differs."""
    (name,) = await packs_in(storage)
    found = await storage.get(name)
    assert isinstance(found, Found)
    body = bytearray(found.body)
    body[at] ^= 1
    await storage.put(name, bytes(body))


async def test_a_pack_is_written_and_read_on_every_storage(place: Place) -> None:
    async with players(place, "writer", "reader") as (writer, reader):
        await writer.put_all({**SOME, "k/00": "é" * 3000})
        await looks(reader)
        assert await reader.get("k/07") == SOME["k/07"]
        assert await reader.get("k/01") == SOME["k/01"]
        seen = trace(reader.observe_prefix("k/"))
        await eventually(lambda: seen)
        assert seen == [{**SOME, "k/00": "é" * 3000}]


async def test_what_a_pack_lacks_is_corrupt_and_the_other_values_are_not() -> None:
    storage = MemoryStorage()
    async with players(storage, "writer") as (writer,):
        await writer.put_all(SOME)
    await damaged(storage, 3 * EACH + 10)
    async with players(storage, "reader") as (reader,):
        with pytest.raises(Corrupt, match="SHA-256"):
            await reader.get("k/03")
        assert await reader.get("k/04") == SOME["k/04"]
    found = await verify(storage, "main")
    assert [f"its {EACH:,} bytes from {3 * EACH:,}" in problem.what for problem in found.problems] == [True]
    assert found.values == 19


async def test_an_answer_that_is_damaged_on_its_way_is_read_again() -> None:
    class Damaging(StorageWrapper):
        left = 1

        async def around(self, request: Request, proceed: Callable[[], Awaitable[Any]]) -> Any:
            answer = await proceed()
            if "/values/" in request.name and self.left:
                self.left -= 1
                return replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 1]))
            return answer

    damaging = Damaging(MemoryStorage())
    async with players(damaging.inner, "writer") as (writer,), players(damaging, "reader") as (reader,):
        await writer.put_all(SOME)
        await looks(reader)
        assert await reader.get("k/19") == SOME["k/19"]
        assert dict(await reader.get_prefix("k/")) == SOME
    assert not damaging.left


async def test_a_pack_that_is_too_short_or_gone_is_said_to_be() -> None:
    storage = MemoryStorage()
    async with players(storage, "writer") as (writer,):
        await writer.put_all(SOME)
    (name,) = await packs_in(storage)
    found = await storage.get(name)
    assert isinstance(found, Found)
    await storage.put(name, found.body[: EACH * 4 + 7])
    async with players(storage, "reader") as (reader,):
        assert await reader.get("k/03") == SOME["k/03"]
        with pytest.raises(Corrupt, match="too short"):
            await reader.get("k/04")
    assert len((await verify(storage, "main")).problems) == 16
    await storage.delete(name)
    async with players(storage, "reader") as (reader,):
        with pytest.raises(Corrupt, match="missing"):
            await reader.get("k/03")
    assert {problem.object for problem in (await verify(storage, "main")).problems} == {name}


async def test_a_storage_without_ranges_is_read_whole() -> None:
    class Plain:
        """The interface as it was before there were ranges."""

        def __init__(self, inner: Storage) -> None:
            for verb in ("get", "put", "list", "delete", "close", "url", "name_limit"):
                setattr(self, verb, getattr(inner, verb))

    plain: Any = Plain(MemoryStorage())
    async with players(plain, "writer", "reader") as (writer, reader):
        await writer.put_all(SOME)
        await looks(reader)
        assert await reader.get("k/03") == SOME["k/03"]
        assert dict(await reader.get_prefix("k/")) == SOME


async def test_a_failed_download_of_a_pack_fails_for_all_who_wait_and_is_tried_again() -> None:
    class Failing(CountingStorage):
        left = 2

        async def around(self, request: Any, proceed: Any) -> Any:
            if "/values/" in request.name and self.left:
                self.left -= 1
                self.requests.append(request)
                raise Unavailable("no", operation="get", object=request.name)
            return await super().around(request, proceed)

    failing = Failing(MemoryStorage())
    async with players(failing.inner, "writer") as (writer,), players(failing, "reader") as (reader,):
        await writer.put_all(SOME)
        await looks(reader)
        with pytest.raises(Unavailable):
            await reader.get_prefix("k/")
        assert len([one for one in failing.requests if "/values/" in one.name]) == 1
        seen = trace(reader.observe_prefix("k/"))
        await eventually(lambda: seen)
        assert seen == [SOME]


async def test_the_past_has_packs() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        await db.put_all(SOME)
        then = db.states.value.confirmed.version
        await db.tag("whole")
        await db.put_all({key: text[::-1] for key, text in SOME.items()})
        past = await db.at(int(then))
        assert await past.get_prefix("k/") == SOME
        assert await (await db.at("whole")).get("k/05") == SOME["k/05"]
        assert [one.value async for one in db.history("k/05")] == [SOME["k/05"], SOME["k/05"][::-1]]
        await db.restore(int(then))
        assert dict(await db.get_prefix("k/")) == SOME
        await db.undo()
        assert await db.get("k/05") == SOME["k/05"][::-1]


async def test_packs_are_exported_and_imported() -> None:
    file = io.StringIO()
    async with players(MemoryStorage(), "a") as (db,):
        await db.put_all(SOME)
        await export_to(db, file)
    file.seek(0)
    async with players(MemoryStorage(), "b") as (db,):
        await import_from(db, file)
        assert dict(await db.get_prefix("k/")) == SOME


def test_a_pack_lives_as_long_as_one_of_its_values() -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)

        async def grow_old(days: float) -> None:
            until = clock.monotonic() + days * DAY
            async with on(bucket, clock=clock) as db:
                while clock.monotonic() < until:
                    await db.put("days", clock.monotonic())
                    await db.compact()
                    await check(bucket)
                    await clock.sleep(10 * HOUR)

        async with on(bucket, clock=clock) as db:
            await db.put_all(SOME)
            for key in list(SOME)[1:]:
                await db.delete(key)
        await grow_old(4)
        assert len(await packs_in(bucket)) == 1
        async with on(bucket, clock=clock) as db:
            assert await db.get("k/00") == SOME["k/00"]
            await db.delete("k/00")
        await grow_old(4)
        assert await packs_in(bucket) == []

    run_virtually(main())


def test_a_pack_that_waited_too_long_is_uploaded_again_under_another_name() -> None:
    async def main() -> None:
        clock = SimClock("a")
        bucket = MemoryStorage(clock=clock)
        disk = Disk()
        async with on(bucket, disk, clock=clock, online=False) as db:
            db.put_all(SOME)
            await clock.sleep(1)
        async with on(bucket, disk, clock=clock) as db:
            while db.pending.value:
                await clock.sleep(1)
        async with on(bucket, clock=clock) as db:
            assert dict(await db.get_prefix("k/")) == SOME
        (name,) = await packs_in(bucket)
        assert name.count(".") == 2  # restored: the name of an upload that may have failed is not used again
        assert (await verify(bucket, "main")).problems == []

    run_virtually(main())


async def test_packs_are_known_offline() -> None:
    storage = MemoryStorage()
    mine, other = Disk(), Disk()
    async with on(storage, mine) as db:
        await db.put_all(SOME)
    async with on(storage, other) as db:
        assert await db.get("k/03") == SOME["k/03"]
    for disk in (mine, other):
        async with on(storage, disk, online=False) as db:
            assert dict(await db.get_prefix("k/")) == SOME


async def test_an_outbox_with_a_pack_is_taken_up_by_any_log() -> None:
    disk = Disk()
    async with on(MemoryStorage(), disk, online=False) as db:
        receipt = db.put_all(SOME)
        await eventually(lambda: receipt.stage == "stored")
    bucket = MemoryStorage()
    async with on(bucket, await disk.copy(), protocol="mps3", manifest="main") as db:
        await eventually(lambda: not db.pending.value)
        assert dict(await db.get_prefix("k/")) == SOME


async def test_references_cost_few_bytes() -> None:
    counting = CountingStorage(MemoryStorage())
    async with players(counting, "a") as (db,):
        await db.put("first", 0)
        counting.reset()
        await db.put_all({f"{number:05}": f"{number:0100}" for number in range(10_000)})
    (entry,) = [one for one in counting.requests if "/log/" in one.name]
    inline = 256 << 10
    assert entry.bytes_up < inline + 10_000 * 80


async def test_a_write_of_many_megabytes_is_as_many_packs_as_it_takes() -> None:
    counting = CountingStorage(MemoryStorage())
    values = {f"{number:03}": f"{number:0500000}" for number in range(40)}
    async with players(counting, "writer") as (writer,), players(counting.inner, "reader") as (reader,):
        await writer.put("first", 0)
        counting.reset()
        await writer.put_all(values)
        assert [one.verb for one in counting.requests] == ["put"] * 4  # 20 MB are three packs; and the entry
        await looks(reader)
        assert dict(await reader.get_prefix("0")) == values
