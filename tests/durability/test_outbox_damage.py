"""Damaged files of an outbox on a real disk: set aside, named, and losing only what they held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reactivex import Subject

import rxmps3
from rxmps3.storage import MemoryStorage
from tests.behaviour.helpers import eventually, trace
from tests.processes.reading import entries, puts_in

Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "torn": lambda body: body[: len(body) // 2],
    "empty": lambda body: b"",
    "one bit": lambda body: body[:-20] + bytes([body[-20] ^ 1]) + body[-19:],
    "zeros": lambda body: bytes(len(body)),
    "something else": lambda body: b"hello\n",
    "not UTF-8": lambda body: body[:70] + b"\xff\xfe" + body[72:],
    "longer": lambda body: body + body,
}


def on(storage: MemoryStorage, local: Path, **options: Any) -> rxmps3.Connecting:
    return rxmps3.connect(storage, local=local, shared=False, poll=Subject(), **options)


def batches(local: Path) -> list[Path]:
    """The files of an outbox that hold writes, oldest first."""
    return sorted(path for path in local.rglob("outbox/writes/*") if path.is_file())


async def three_batches(storage: MemoryStorage, local: Path) -> list[Path]:
    """An outbox with ``k = 1``, ``k = 2`` and ``k = 3``, each in a file of its own."""
    async with on(storage, local, online=False) as db:
        for number in (1, 2, 3):
            await db.put("k", number).stored
    files = batches(local)
    assert len(files) == 3
    return files


async def all_committed(db: rxmps3.Database) -> None:
    await asyncio.gather(*(_end_of(receipt) for receipt in db.pending.value))


async def _end_of(receipt: rxmps3.Receipt) -> None:
    await receipt


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_damaged_file_is_set_aside_and_named_and_loses_only_what_it_held(
    damage: Damage, which: int, tmp_path: Path
) -> None:
    storage = MemoryStorage()
    files = await three_batches(storage, tmp_path)
    damaged = damage(files[which].read_bytes())
    files[which].write_bytes(damaged)
    kept = [number for number in (1, 2, 3) if number != which + 1]
    async with on(storage, tmp_path) as db:
        errors = trace(db.errors)
        await all_committed(db)
        await eventually(lambda: errors, what="the damage is reported")
        assert await db.get("k") == kept[-1]
        await db.put("later", True)
        assert [failure.operation for failure in errors] == ["restore"]
        assert files[which].name in str(errors[0])
    aside = [path for path in tmp_path.rglob("outbox/aside/*") if path.is_file()]
    assert [path.read_bytes() for path in aside] == [damaged], "it is there to be looked at"
    assert puts_in(await entries(storage)) == [*(("k", number) for number in kept), ("later", True)]
    async with on(storage, tmp_path) as db:
        errors = trace(db.errors)
        await asyncio.sleep(0.05)
        assert errors == [], "it is told once"
        assert db.pending.value == ()


async def test_damage_is_told_in_the_log_as_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = MemoryStorage()
    files = await three_batches(storage, tmp_path)
    files[0].write_bytes(b"")
    async with on(storage, tmp_path):
        pass
    assert any(files[0].name in message for message in caplog.messages)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_note_of_what_was_sent_doubles_nothing(damage: Damage, tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with on(storage, tmp_path) as db:
        await db.put("k", 0)
        await db.put("k", 1)
    async with on(storage, tmp_path, online=False) as db:
        await db.put("k", 2).stored
    notes = list(tmp_path.rglob("outbox/sent*"))
    assert len(notes) == 2
    for note in notes:
        note.write_bytes(damage(note.read_bytes()))
    async with on(storage, tmp_path) as db:
        await all_committed(db)
        await db.put("k", 3)
    assert puts_in(await entries(storage)) == [("k", number) for number in range(4)]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_last_known_state_costs_a_download(damage: Damage, tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with on(storage, tmp_path) as db:
        await db.put("k", 1)
    (state,) = tmp_path.rglob("known/state")
    state.write_bytes(damage(state.read_bytes()))
    async with on(storage, tmp_path) as db:
        assert await db.get("k") == 1
        await db.put("k", 2)
    assert puts_in(await entries(storage)) == [("k", 1), ("k", 2)]


async def test_a_damaged_known_value_is_downloaded_again(tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with on(storage, tmp_path, cache_bytes=1) as db:
        await db.put("large", "L" * 9000)
    values = [path for path in tmp_path.rglob("known/values/*") if path.is_file()]
    assert len(values) == 1
    values[0].write_bytes(b'"something else"')
    async with on(storage, tmp_path) as db:
        assert await db.get("large") == "L" * 9000


async def test_files_that_are_not_the_outbox_s_own_disturb_nothing(tmp_path: Path) -> None:
    """An editor's backup, a file manager's litter, a directory."""
    storage = MemoryStorage()
    files = await three_batches(storage, tmp_path)
    (files[0].parent / ".DS_Store").write_bytes(b"litter")
    (files[0].parent / (files[0].name + "~")).write_bytes(files[0].read_bytes())
    (files[0].parent / "notes.txt").write_bytes(b"hello")
    async with on(storage, tmp_path) as db:
        await all_committed(db)
    assert puts_in(await entries(storage)) == [("k", 1), ("k", 2), ("k", 3)]


async def test_a_local_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("hello")
    with pytest.raises(rxmps3.Error):
        async with on(MemoryStorage(), path) as db:
            await db.put("k", 1)
