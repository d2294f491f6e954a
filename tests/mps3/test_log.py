"""Sessions, windows, lost answers, strangers' objects: what the mps3 log meets in a bucket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from reactivex import Subject

import rxmps3
from rxmps3 import MISSING, Corrupt, InvalidKey, InvalidValue, Unsupported
from rxmps3.log.mps3.names import Stamp, parse_stamp
from rxmps3.log.mps3.operation import encode, file_of
from rxmps3.log.mps3.ticking import milliseconds
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, MemoryStorage, Page, Storage, list_all
from rxmps3.testing import CountingStorage, FaultyStorage, ManualClock, Request, StorageWrapper, lose_answers
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import eventually, trace

T = TypeVar("T")
BUCKET = "memory"


def opened(storage: Storage, **options: Any) -> rxmps3.Connecting:
    options.setdefault("poll", Subject[None]())
    return rxmps3.connect(storage, protocol="mps3", shared=False, **options)


async def stamps(storage: Storage) -> list[Stamp]:
    listed = await list_all(storage, "manifest.json@")
    return [stamp for one in listed if (stamp := parse_stamp(one.name.rpartition("@")[2])) is not None]


async def put_by_hand(
    storage: Storage, key: str, value: Any, *, files: dict[str, Any], time: int, session: str = "abc"
) -> None:
    """One operation as the JavaScript client makes it."""
    version = "12345678-1234-4234-8234-123456789abc"
    update: dict[str, Any] = {f"{BUCKET}/{key}": None if value is MISSING else file_of(version)}
    if value is not MISSING:
        await storage.put(f"{key}@{version}", json.dumps(value).encode())
    await storage.put(f"manifest.json@{Stamp.of(time, session, 0).text}", encode(files, update))
    await storage.put("manifest.json", b'""')


def test_one_client_writes_1100_operations_in_two_sessions() -> None:
    """The JavaScript client writes names that nobody reads after the 1,024th."""

    async def main() -> None:
        storage = MemoryStorage(clock=SimClock("server"))
        clock = SimClock("a")
        async with opened(storage, clock=clock) as db:
            for number in range(1100):
                await db.put("k", number)
                await clock.sleep(1)
        written = await stamps(storage)
        assert len(written) == 1100
        assert len({stamp.session for stamp in written}) == 2
        assert {stamp.number for stamp in written} == set(range(1024))
        async with opened(storage, clock=SimClock("b")) as fresh:
            assert await fresh.get("k") == 1099

    run_virtually(main())


def test_1100_operations_within_the_window_are_all_replayed() -> None:
    async def main() -> None:
        storage = CountingStorage(MemoryStorage(clock=SimClock("server")))
        clock = SimClock("a")
        async with opened(storage, clock=clock) as db:
            for number in range(1100):
                await db.put(f"k/{number % 40}", number)
                await clock.sleep(0.002)
        async with opened(storage, clock=SimClock("b")) as fresh:
            storage.reset()
            await fresh.refresh()
            assert storage.counts["list"] == 2
            assert await fresh.get_prefix() == {f"k/{number % 40}": number for number in range(1060, 1100)}

    run_virtually(main())


class Pages(StorageWrapper):
    """A server whose pages hold one name."""

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        return await super().list(prefix, after=after, cursor=cursor, limit=1)


async def test_pages_of_one_name_are_all_read() -> None:
    storage = Pages(MemoryStorage())
    async with opened(storage) as a, opened(storage) as b:
        for number in range(12):
            await (a, b)[number % 2].put(f"k/{number}", number)
        async with opened(storage) as fresh:
            assert await fresh.get_prefix() == {f"k/{number}": number for number in range(12)}


@pytest.mark.parametrize("manifest", ["a&b", "a+b%2F", "a b/é", "manifest.json"])
async def test_odd_names_of_manifests_work(manifest: str) -> None:
    storage = MemoryStorage()
    async with opened(storage, manifest=manifest) as a, opened(storage, manifest=manifest) as b:
        await a.put("k", 1)
        await b.refresh()
        assert await b.get("k") == 1


async def test_an_operation_that_vanishes_between_list_and_get_is_listed_again() -> None:
    class Vanishing(StorageWrapper):
        left = 2

        async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
            if request.verb == "get" and "json@" in request.name and self.left:
                self.left -= 1
                await self.inner.delete(request.name)
            return await proceed()

    inner = MemoryStorage()
    async with opened(inner) as a:
        for number in range(4):
            await a.put("k", number)
        async with opened(Vanishing(inner)) as b:
            assert await b.get("k") in range(4)
            assert b.keys() == ["k"]
    assert len(await stamps(inner)) == 2


async def test_all_operations_gone_is_corrupt_and_nothing_is_overwritten() -> None:
    storage = MemoryStorage()
    async with opened(storage) as a:
        await a.put("k", 1)
        for one in await list_all(storage, "manifest.json@"):
            await storage.delete(one.name)
        with pytest.raises(Corrupt, match="all its operations are gone"):
            await a.refresh()


async def test_a_remote_delete_is_heard_of() -> None:
    storage = MemoryStorage()
    async with opened(storage) as a, opened(storage) as b:
        await a.put("k", 1)
        values, changes = trace(b.observe("k", MISSING)), trace(b.changes())
        await b.refresh()
        await eventually(lambda: values == [MISSING, 1] or values == [1])
        await a.delete("k")
        await b.refresh()
        await eventually(lambda: values[-1] is MISSING)
        await eventually(lambda: [(one.key, one.after) for one in changes][-1] == ("k", MISSING))


async def test_what_a_stranger_wrote_by_hand_is_read_and_kept() -> None:
    """Files of other buckets and other members of the form pass through unchanged."""
    storage = MemoryStorage()
    alien = {"elsewhere/x": {"version": "1", "replication": "somewhere"}}
    await put_by_hand(storage, "k", {"a": 1.5}, files=alien, time=milliseconds(SystemClock().now()))
    async with opened(storage) as db:
        assert await db.get("k") == {"a": 1.5}
        assert db.keys() == ["k"]
        await db.put("l", 2)
    newest = min((await stamps(storage)), key=lambda stamp: stamp.text)
    answer = await storage.get(f"manifest.json@{newest.text}")
    assert isinstance(answer, Found)
    assert json.loads(answer.body)["files"]["elsewhere/x"] == alien["elsewhere/x"]


async def test_names_that_are_no_operations_and_times_far_off_are_left_alone() -> None:
    storage = MemoryStorage()
    now = milliseconds(SystemClock().now())
    async with opened(storage) as db:
        await db.put("k", 1)
        for name in ("manifest.json@x", "manifest.json@2b_zz_0", "manifest.json@zzz_abc_vv", "manifest.json@-_a_b"):
            await storage.put(name, b"{}")
        await put_by_hand(storage, "k", "late", files={}, time=now - 60_000)
        await put_by_hand(storage, "k", "early", files={}, time=now + 9_000, session="abd")
        await db.refresh()
        assert await db.get("k") == 1
    assert len(await list_all(storage, "manifest.json@")) == 7


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"files": {}}', b'{"files": {"a": 1}, "update": {"files": {}}}'])
async def test_a_damaged_operation_is_named_and_nothing_is_overwritten(body: bytes) -> None:
    storage = MemoryStorage()
    async with opened(storage) as db:
        await db.put("k", 1)
        name = f"manifest.json@{Stamp.of(milliseconds(SystemClock().now()) + 5, 'abc', 0).text}"
        await storage.put(name, body)
        with pytest.raises(Corrupt, match="abc_vv"):
            await db.refresh()
        assert await db.get("k") == 1
        receipt = db.put("k", 2)
        await storage.delete(name)
        await receipt
        assert await db.get("k") == 2


def test_lost_answers_lose_and_double_nothing() -> None:
    async def main() -> None:
        inner = MemoryStorage(clock=SimClock("server"))
        clock = SimClock("a")
        faulty = FaultyStorage(inner, lose_answers(one_in=3), SimClock("faults").rng)
        async with opened(faulty, clock=clock) as db:
            for number in range(40):
                db.put(f"k/{number}", number)
                if number % 4 == 0:
                    await clock.sleep(3)
            await asyncio.gather(*[_done(receipt) for receipt in db.pending.value])
        async with opened(inner, clock=SimClock("b")) as fresh:
            assert await fresh.get_prefix() == {f"k/{number}": number for number in range(40)}
        names: list[str] = []
        for one in await list_all(inner, "manifest.json@"):
            answer = await inner.get(one.name)
            assert isinstance(answer, Found)
            names.extend(json.loads(answer.body)["update"]["files"])
        assert sorted(names) == sorted({*names})

    run_virtually(main())


async def _done(receipt: Any) -> None:
    await receipt


def test_a_restart_finds_what_its_dead_process_had_committed(tmp_path: Path) -> None:
    """The write stands in the log once, though its answer never came."""

    async def main() -> None:
        inner = MemoryStorage(clock=SimClock("server"))
        known = {}

        def keep(name: str) -> Storage:
            return known.setdefault(name, MemoryStorage(clock=SimClock("disk")))

        from rxmps3.local.directory import LocalMemory

        class Mute(StorageWrapper):
            """Stores operations and never says so."""

            async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
                answer = await proceed()
                if request.verb == "put" and "json@" in request.name:
                    await asyncio.Event().wait()
                return answer

        clock = SimClock("a")
        db = await opened(Mute(inner), clock=clock, local=LocalMemory(keep))
        receipt = db.put("k", 1)
        await clock.sleep(5)
        assert receipt.stage == "stored"
        await db.close(timeout=0)
        assert len(await stamps(inner)) == 1
        async with opened(inner, clock=SimClock("c")) as other:
            await other.put("k", 2)
        async with opened(inner, clock=SimClock("b"), local=LocalMemory(keep)) as again:
            assert len(again.pending.value) == 1
            await again.pending.value[0]
            assert await again.get("k") == 2
        assert len(await stamps(inner)) == 2

    run_virtually(main())


async def test_an_idle_poll_is_one_listing() -> None:
    storage = CountingStorage(MemoryStorage())
    async with opened(storage) as db:
        await db.put("k", 1)
        storage.reset()
        await db.refresh()
        assert storage.counts == {"list": 1}
        storage.reset()
        await db.put("k", 2)
        assert storage.counts == {"put": 3, "list": 1}


async def test_keys_that_collide_with_the_manifest_and_numbers_that_are_not_javascript_s_are_refused() -> None:
    async with opened(MemoryStorage()) as db:
        for key in ("manifest.json", "manifest.json@x", "", "\ud800", "x" * 1000):
            with pytest.raises(InvalidKey):
                db.put(key, 1)
        with pytest.raises(InvalidValue, match="JavaScript number"):
            db.put("k", {"id": 2**53 + 1})
        await db.put_all({"one": 1.0, "zero": -0.0, "large": 1e21, "small": 5e-324, "exact": 10**20})
        shown = await db.get_prefix()
        assert (
            json.dumps(shown)
            == '{"exact": 100000000000000000000, "large": 1e+21, "one": 1, "small": 5e-324, "zero": 0}'
        )
    assert not db.pending.value


async def test_told_another_protocol_names_both_and_writes_nothing() -> None:
    storage = MemoryStorage()
    async with opened(storage, manifest="main") as db:
        await db.put("k", 1)
    before = [one.name for one in await list_all(storage, "")]
    with pytest.raises(Unsupported, match="'mps3', not 'sequenced'"):
        async with rxmps3.connect(storage, protocol="sequenced", shared=False):
            pass
    assert [one.name for one in await list_all(storage, "")] == before
    other = MemoryStorage()
    async with rxmps3.connect(other, shared=False) as db:
        await db.put("k", 1)
    with pytest.raises(Unsupported, match="'sequenced', not 'mps3'"):
        async with opened(other, manifest="main"):
            pass
    async with rxmps3.connect(storage, shared=False) as db:
        assert db.protocol == "mps3"
        assert await db.get("k") == 1


# -- several manifests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("versioning", [False, True])
async def test_several_manifests_share_the_objects_of_a_value(versioning: bool) -> None:
    inner = MemoryStorage(versioning=versioning)
    storage = CountingStorage(inner)
    async with opened(storage, versioning=versioning) as db:
        receipts = db.put("both", "value", manifests=["one.json", "two.json"])
        versions = await receipts
        assert list(versions) == ["one.json", "two.json"]
        assert len([request for request in storage.requests if request.name.startswith("both")]) == 1
        for name in versions:
            assert await db.manifest(name).get("both") == "value"
        assert await db.get("both") is None
    async with opened(inner, versioning=versioning, manifest="two.json") as fresh:
        assert await fresh.get("both") == "value"


# -- collection --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def aged(days: int) -> AsyncIterator[tuple[MemoryStorage, ManualClock, rxmps3.Database]]:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    async with opened(storage, clock=clock) as db:
        for number in range(5):
            await db.put("k", number)
            await db.put(f"kept/{number}", number)
        await db.put("shared", 1, manifests=["other.json"])
        await clock.advance(days * 86400)
        yield storage, clock, db


async def test_collection_deletes_what_nobody_reads_any_more() -> None:
    async with aged(3) as (storage, _, db):
        await storage.put("a stranger's own", b"1")
        await db.put("new", 1)
        report = await db.compact(dry_run=True)
        assert (report.entries, report.values) == (10, 0)
        await db.compact()
        report = await db.compact()
        assert report.values == 4  # the four older values of k
        assert len(await stamps(storage)) == 1
        names = [one.name for one in await list_all(storage, "")]
        assert "a stranger's own" in names
        async with opened(storage, clock=ManualClock()) as fresh:
            assert await fresh.get_prefix("kept/") == {f"kept/{number}": number for number in range(5)}
            assert await fresh.manifest("other.json").get("shared") == 1


async def test_collection_leaves_what_is_young() -> None:
    async with aged(0) as (storage, _, db):
        before = len(await list_all(storage, ""))
        report = await db.compact()
        assert (report.entries, report.values) == (0, 0)
        assert len(await list_all(storage, "")) == before
