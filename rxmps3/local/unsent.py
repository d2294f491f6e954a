"""Finding the unsent writes in a local directory, for any address, and moving them to another address."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from rxmps3.errors import InvalidOption
from rxmps3.local.directory import LocalDirectory, address_of, lock_slot
from rxmps3.local.outbox import Outbox, Restored
from rxmps3.runtime.clock import Clock
from rxmps3.storage.directory import DirectoryStorage

__all__ = ["Forgotten", "Unsent", "find_unsent", "forget_states", "move"]


@dataclass(frozen=True)
class Unsent:
    """The writes of one outbox that are not known to be in the log.

    Attributes:
        slot: the outbox's folder.
        database: the folder of its database, by its name.
        address: the URL of the database; None in a folder of an earlier version, which did not write it down.
        manifest: its name.
        writes: the oldest first.
        unreadable: files that could not be read.
        in_use: a process has it open, and sends them.
    """

    slot: Path
    database: str
    address: str | None
    manifest: str
    writes: Sequence[Restored]
    unreadable: Sequence[str]
    in_use: bool

    @property
    def keys(self) -> list[str]:
        """The keys that they change, sorted."""
        return sorted({key for one in self.writes for key in one.write.update})


async def find_unsent(directory: str | os.PathLike[str], clock: Clock) -> list[Unsent]:
    """The outboxes below a local directory that hold writes, by address and manifest. Read-only.

    Raises:
        InvalidOption: not a directory.
        Unavailable, AccessDenied: the disk refuses.
    """
    found: list[Unsent] = []
    for slot in await asyncio.to_thread(_slots_of, directory):
        locked = await asyncio.to_thread(lock_slot, slot)
        if locked is not None:
            os.close(locked[1])
        outbox = Outbox(DirectoryStorage(slot / "outbox", clock, private=True))
        try:
            writes = await outbox.restore(untouched=True)
        finally:
            await outbox.close()
        if writes or outbox.set_aside:
            database, manifest = slot.parents[2], unquote(slot.parents[1].name)
            address = address_of(database)
            aside = tuple(outbox.set_aside)
            found.append(Unsent(slot, database.name, address, manifest, writes, aside, locked is None))
    return sorted(found, key=lambda one: (one.address or "", one.manifest, one.slot))


def _slots_of(directory: str | os.PathLike[str]) -> list[Path]:
    return [outbox.parent for outbox in sorted(_root_of(directory).glob("*/*/slots/*/outbox"))]


def _root_of(directory: str | os.PathLike[str]) -> Path:
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise InvalidOption("it is not a directory", object=f"local directory {os.fspath(directory)!r}")
    return root


@dataclass(frozen=True)
class Forgotten:
    """A local copy of a manifest's state that was deleted, or that a process has open.

    Attributes:
        database: the folder of its database, by its name.
        address: the URL of the database; None in a folder of an earlier version.
        manifest: its name.
        in_use: a process has it open, so it was left alone.
    """

    database: str
    address: str | None
    manifest: str
    in_use: bool


async def forget_states(directory: str | os.PathLike[str], database: str | None = None) -> list[Forgotten]:
    """Delete the copies of what was read, so that the next opening takes the databases as they are in their buckets.

    What waits to be sent stays.

    Args:
        directory: the local directory.
        database: only that of this address or folder.

    Raises:
        InvalidOption: not a directory.
    """
    return await asyncio.to_thread(_forget_states, directory, database)


def _forget_states(directory: str | os.PathLike[str], database: str | None) -> list[Forgotten]:
    found: list[Forgotten] = []
    for state in sorted(_root_of(directory).glob("*/*/known/state")):
        folder, parent = state.parents[1], state.parents[2]
        address = address_of(parent)
        if database is not None and database not in (address, parent.name):
            continue
        locks = [lock_slot(slot) for slot in sorted((folder / "slots").glob("*"))]
        in_use = None in locks
        if not in_use:
            state.unlink(missing_ok=True)
        for lock in locks:
            if lock is not None:
                os.close(lock[1])
        found.append(Forgotten(parent.name, address, unquote(folder.name), in_use))
    return found


async def move(unsent: Unsent, directory: str | os.PathLike[str], url: str, clock: Clock) -> int:
    """Hand the writes of an outbox to the database at another address, to be sent when that opens next.

    They keep their ids: what was sent before and is in the log of that database counts once.

    Args:
        unsent: the outbox.
        directory: the local directory that both are in.
        url: the other database, as its storage says it.

    Returns:
        How many writes were moved.

    Raises:
        InvalidOption: a process has the outbox open, or it is at that address already.
        Unavailable, AccessDenied: the disk refuses; what was moved is in both, and counts once.
    """
    if unsent.address == url:
        raise InvalidOption("they already wait for this address", object=url)
    locked = await asyncio.to_thread(lock_slot, unsent.slot)
    if locked is None:
        raise InvalidOption(
            "a process has it open", object=f"outbox {str(unsent.slot)!r}", remedy="end that process first"
        )
    source = Outbox(DirectoryStorage(unsent.slot / "outbox", clock, private=True))
    try:
        writes = await source.restore()
        target = await LocalDirectory(directory, url, clock).open(unsent.manifest)
        try:
            waiting = {one.write.id for one in await target.take_over()}
            await target.outboxes[0].adopt([one for one in writes if one.write.id not in waiting])
        finally:
            await target.close()
        await source.clear()
    finally:
        await source.close()
        os.close(locked[1])
    return len(writes)
