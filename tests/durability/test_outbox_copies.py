"""Copied, restored and cloned outbox directories lose nothing and double nothing; one outbox per process."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from reactivex import Subject

import rxmps3
from rxmps3.storage import MemoryStorage
from tests.durability.test_outbox_damage import batches, on
from tests.processes.reading import entries, puts_in, versions_in


async def filled(storage: MemoryStorage, local: Path, numbers: range, key: str = "k") -> list[str]:
    """Puts made offline, each in a file of its own; their versions."""
    async with on(storage, local, online=False) as db:
        return [await db.put(key, number).stored for number in numbers]


async def settle(*databases: rxmps3.Database) -> None:
    """Everything pending is committed, and everybody has seen it."""
    for db in databases:
        await asyncio.gather(*(_end_of(receipt) for receipt in db.pending.value))
    for db in databases:
        await db.refresh()
        assert db.pending.value == ()


async def _end_of(receipt: rxmps3.Receipt) -> None:
    await receipt


async def test_a_copied_outbox_commits_nothing_twice(tmp_path: Path) -> None:
    storage = MemoryStorage()
    versions = await filled(storage, tmp_path / "one", range(5))
    for number in range(2, 6):
        shutil.copytree(tmp_path / "one", tmp_path / f"copy {number}")
    async with AsyncExitStack() as stack:
        opening = [on(storage, tmp_path / "one"), *(on(storage, tmp_path / f"copy {n}") for n in range(2, 6))]
        databases = [await stack.enter_async_context(one) for one in opening]
        await settle(*databases)
        assert [await db.get("k") for db in databases] == [4] * 5
    assert versions_in(await entries(storage)) == versions
    for path in tmp_path.iterdir():
        assert batches(path) == []


async def test_a_restored_backup_neither_doubles_nor_undoes_anything(tmp_path: Path) -> None:
    storage = MemoryStorage()
    versions = await filled(storage, tmp_path / "one", range(3))
    shutil.copytree(tmp_path / "one", tmp_path / "backup")
    async with on(storage, tmp_path / "one") as db:
        await settle(db)
        await db.put("k", "newer")
    shutil.rmtree(tmp_path / "one")
    shutil.copytree(tmp_path / "backup", tmp_path / "one")
    async with on(storage, tmp_path / "one") as db:
        await settle(db)
        assert await db.get("k") == "newer"
        await db.put("k", "newest")
    log = await entries(storage)
    assert versions_in(log)[:3] == versions
    assert puts_in(log)[3:] == [("k", "newer"), ("k", "newest")]


async def test_a_clone_taken_while_the_original_lives_on_loses_and_doubles_nothing(tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with on(storage, tmp_path / "one", online=False) as db:
        for number in range(3):
            await db.put("k", number).stored
        shutil.copytree(tmp_path / "one", tmp_path / "clone")
        for number in range(3, 6):
            await db.put("k", number).stored
    async with on(storage, tmp_path / "clone") as clone, on(storage, tmp_path / "one") as one:
        clone.put("clone", True)
        one.put("one", True)
        await settle(clone, one)
        assert await clone.get_prefix() == await one.get_prefix() == {"clone": True, "k": 5, "one": True}
    log = await entries(storage)
    assert [value for key, value in puts_in(log) if key == "k"] == list(range(6))
    assert len(set(versions_in(log))) == 8


async def test_a_copy_that_lacks_an_early_file_takes_nothing_from_the_original(tmp_path: Path) -> None:
    """``cp -r`` of a living directory is not atomic. The copy commits later writes of the same writer first."""
    storage = MemoryStorage()
    await filled(storage, tmp_path / "one", range(4))
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    batches(tmp_path / "copy")[1].unlink()
    async with on(storage, tmp_path / "copy") as copy:
        await settle(copy)
    async with on(storage, tmp_path / "one") as one:
        receipts = one.pending.value
        await settle(one)
        assert all(receipt.stage == "committed" for receipt in receipts)
    values = [value for key, value in puts_in(await entries(storage)) if key == "k"]
    assert sorted(values) == [0, 1, 2, 3], "every write that was reported committed counts, once"
    async with rxmps3.connect(storage, shared=False, poll=Subject()) as witness:
        versions: list[Any] = [value for key, value in puts_in(await entries(storage))]
        assert await witness.get("k") == versions[-1]


async def test_a_write_missing_from_a_copy_is_effective_once_the_original_commits_it(tmp_path: Path) -> None:
    """As above, on keys of their own: what the original reports as committed is in everybody's state."""
    storage = MemoryStorage()
    async with on(storage, tmp_path / "one", online=False) as db:
        for number in range(4):
            await db.put(f"key {number}", number).stored
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    batches(tmp_path / "copy")[1].unlink()
    async with on(storage, tmp_path / "copy") as copy:
        await settle(copy)
    rejected: list[str] = []
    async with on(storage, tmp_path / "one") as one:
        for receipt in one.pending.value:
            try:
                await receipt
            except rxmps3.Error:
                rejected.extend(receipt.keys)
    async with rxmps3.connect(storage, shared=False, poll=Subject()) as witness:
        there = await witness.get_prefix()
    assert sorted([*there, *rejected]) == [f"key {number}" for number in range(4)], "there, or said not to be"


async def test_a_copied_slot_in_the_same_directory_commits_nothing_twice(tmp_path: Path) -> None:
    storage = MemoryStorage()
    versions = await filled(storage, tmp_path, range(4))
    (slot,) = (path.parent for path in tmp_path.rglob("slots/*/lock"))
    shutil.copytree(slot, slot.with_name("77"))
    async with on(storage, tmp_path) as db:
        assert [receipt.version for receipt in db.pending.value] == versions
        await settle(db)
    assert versions_in(await entries(storage)) == versions
    assert batches(tmp_path) == []


async def test_two_that_live_on_one_directory_have_an_outbox_each(tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with on(storage, tmp_path, online=False) as one, on(storage, tmp_path, online=False) as two:
        await one.put("one", 1).stored
        await two.put("two", 2).stored
        assert [receipt.keys for receipt in one.pending.value] == [("one",)]
        assert [receipt.keys for receipt in two.pending.value] == [("two",)]
    assert len(list(tmp_path.rglob("slots/*/lock"))) == 2
    async with on(storage, tmp_path, online=False) as both:
        assert sorted(receipt.keys for receipt in both.pending.value) == [("one",), ("two",)]
    async with on(storage, tmp_path) as both:
        await settle(both)
        assert await both.get_prefix() == {"one": 1, "two": 2}
    assert batches(tmp_path) == []


async def test_one_directory_for_several_databases_mixes_nothing(tmp_path: Path) -> None:
    one, two = MemoryStorage(name="copies one"), MemoryStorage(name="copies two")
    await filled(one, tmp_path, range(2))
    async with on(two, tmp_path) as db:
        assert db.pending.value == ()
        assert len(db) == 0
    async with on(one, tmp_path, manifest="other") as db:
        assert db.pending.value == ()
    async with on(one, tmp_path) as db:
        await settle(db)
    assert puts_in(await entries(one)) == [("k", 0), ("k", 1)]
    assert await entries(two) == []


async def test_thousands_of_leftovers_of_a_dead_process_are_adopted_in_reasonable_time(tmp_path: Path) -> None:
    """Bounded by the time limit of the test: nothing in it grows with the square of their number."""
    storage = MemoryStorage()
    async with on(storage, tmp_path, online=False) as first, on(storage, tmp_path, online=False) as second:
        for number in range(500):
            first.put(f"first {number}", number)
            second.put(f"second {number}", number)
        await first.pending.value[-1].stored
        await second.pending.value[-1].stored
    async with on(storage, tmp_path) as db:
        assert len(db.pending.value) == 1000
        await settle(db)
        assert len(db) == 1000
    assert len(set(versions_in(await entries(storage)))) == 1000
