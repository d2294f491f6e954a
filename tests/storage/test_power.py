"""Whatever a put to a directory has promised is there after a loss of power, at whatever moment that comes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rxmps3.local.directory import LocalDirectory
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import directory
from rxmps3.storage.base import ABSENT, Matches
from rxmps3.storage.directory import DirectoryStorage
from tests.mutating import Mutant
from tests.storage.power import Journal, whims
from tests.unit.test_state_model import make_write

Patch = pytest.MonkeyPatch


def leftovers(journal: Journal) -> Iterator[tuple[Mapping[str, bytes], list[Any]]]:
    """What may be left of the files, by path, at each moment, and what had been noted by then; each once."""
    chance = Random(1)
    for count in range(len(journal.events) + 1):
        wreck, notes = journal.wreck_after(count)
        seen: list[Mapping[str, bytes]] = []
        for names_kept, contents_kept in whims(chance):
            left = wreck.left_over(names_kept, contents_kept)
            if left not in seen:
                seen.append(left)
                yield left, notes


async def broken_promises(root: Path, patch: Patch, *, sync_files: bool = True) -> list[str]:
    """Put, replace and delete, and look for objects that are neither what was promised nor what was on its way."""
    root.mkdir()
    journal = Journal(root, patch)
    fsync = os.fsync
    if not sync_files:
        patch.setattr(os, "fsync", lambda file: fsync(file) if stat.S_ISDIR(os.fstat(file).st_mode) else None)
    storage = DirectoryStorage(root, SystemClock())

    async def put(name: str, body: bytes, **options: Any) -> str:
        journal.note((name, body, "begins"))
        stored = await storage.put(name, body, **options)
        journal.note((name, body, "done"))
        return stored.etag

    etag = await put("main/head", b"first", when=ABSENT)
    await put("main/log/1", b"one" * 1000, when=ABSENT)
    await put("main/head", b"second", when=Matches(etag))
    await put("main/log/1", b"two" * 1000)
    journal.note(("main/log/1", None, "begins"))
    await storage.delete("main/log/1")
    journal.note(("main/log/1", None, "done"))
    await put("main/log/1", b"three" * 1000, when=ABSENT)
    patch.undo()
    broken: list[str] = []
    for left, notes in leftovers(journal):
        may_be: dict[str, list[bytes | None]] = {"main/head": [None], "main/log/1": [None]}
        for name, body, how in notes:
            may_be[name] = [body] if how == "done" else [*may_be[name], body]
        for name, bodies in may_be.items():
            found = left.get(os.path.join(journal.root, name))
            if found not in bodies:
                broken.append(f"{name}: {found and found[:9]} instead of {[one and one[:9] for one in bodies]}")
    return broken


async def test_what_was_put_is_there_after_a_loss_of_power(tmp_path: Path, monkeypatch: Patch) -> None:
    assert not await broken_promises(tmp_path / "data", monkeypatch)


async def test_without_syncing_files_it_would_be_torn(tmp_path: Path, monkeypatch: Patch) -> None:
    assert any("head: b''" in one for one in await broken_promises(tmp_path / "data", monkeypatch, sync_files=False))


async def test_without_syncing_directories_it_would_be_gone(tmp_path: Path, monkeypatch: Patch, mutant: Mutant) -> None:
    mutant.replace(directory._sync_directory, lambda path: None)
    assert any("head: None" in one for one in await broken_promises(tmp_path / "data", monkeypatch))


async def test_an_outbox_is_there_after_a_loss_of_power(tmp_path: Path, monkeypatch: Patch) -> None:
    journal = Journal(tmp_path, monkeypatch)
    local = await LocalDirectory(tmp_path / "local", "s3://bucket/app", SystemClock()).open("main")
    for number in range(1, 4):
        write = make_write("w", number, {"a": f"{number}"})
        await local.outboxes[0].add([(write, {})], "ann")
        journal.note(write)
    monkeypatch.undo()
    await local.close()
    for case, (left, notes) in enumerate(leftovers(journal)):
        copy = tmp_path / f"copy-{case}"
        for path, body in left.items():
            target = copy / os.path.relpath(path, journal.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(body)
        found = await LocalDirectory(copy / "local", "s3://bucket/app", SystemClock()).open("main")
        restored = [one.write for outbox in found.outboxes for one in await outbox.restore()]
        await found.close()
        assert restored[: len(notes)] == notes, sorted(left)
