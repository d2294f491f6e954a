"""A disk that refuses, and the process on it dies: what is in the log is not written again."""

from __future__ import annotations

import asyncio

from rxmps3 import Unavailable
from rxmps3.storage import Storage
from rxmps3.testing import FaultyStorage
from rxmps3.testing.faults import fail_on
from tests.durability.helpers import Disk
from tests.mps3.processes import World, virtually


class Full(Disk):
    """A disk on which at times nothing can be written whose name contains one of these words."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: tuple[str, ...] = ()
        self.wrap = self._spoil

    def _spoil(self, name: str, storage: Storage) -> Storage:
        spoiled = FaultyStorage(storage)
        spoiled.plan = fail_on(
            lambda request: request.verb == "put" and any(word in f"{name}/{request.name}" for word in self.refused),
            lambda: Unavailable("disk full", operation="write"),
        )
        return spoiled


def test_a_write_on_disk_is_sent_once_the_disk_has_noted_that_and_not_before() -> None:
    async def main() -> None:
        world, disk = World(), Full()
        async with world.opened(disk=disk) as db:
            await db.put("k", 0)
            failures: list[str] = []
            db.errors.subscribe(lambda failure: failures.append(str(failure)))
            disk.refused = ("outbox/sent",)
            receipt = db.put("k", 1)
            await receipt.stored
            await asyncio.sleep(30)
            assert not receipt.done()
            assert len(await world.updates()) == 1
            assert len([failure for failure in failures if "not sent before the disk has noted that" in failure]) == 1
            disk.refused = ()
            await receipt
            assert len(await world.updates()) == 2

    virtually(main)


def test_later_writes_that_the_disk_lacks_wait_for_the_one_it_has() -> None:
    async def main() -> None:
        world, disk = World(), Full()
        async with world.opened(disk=disk) as db:
            await db.put("k", 0)
            disk.refused = ("outbox/sent",)
            first = db.put("k", 1)
            await first.stored
            disk.refused = ("outbox",)
            second = db.put("k", 2)
            await asyncio.sleep(30)
            assert not first.done()
            assert not second.done()
            disk.refused = ()
            await first
            await second
        assert await world.fresh() == {"k": 2}

    virtually(main)


def test_what_waited_for_the_disk_goes_out_once_after_a_restart() -> None:
    async def main() -> None:
        world, disk = World(), Full()
        db = await world.opened(disk=disk)
        await db.put("k", 0)
        await asyncio.sleep(5)
        disk.refused = ("outbox/sent", "known/state")
        await db.put("k", 1).stored
        await asyncio.sleep(30)
        world.disk = await disk.copy()
        await db.close(timeout=0)
        db, _ = await world.restarted()
        await db.close()
        assert await world.fresh() == {"k": 1}
        assert len(await world.updates()) == 2

    virtually(main)


def test_a_write_that_reaches_the_disk_after_it_was_sent_is_known_again() -> None:
    async def main() -> None:
        world, disk = World(), Full()
        async with world.opened() as other:
            db = await world.opened(disk=disk)
            await db.put("k", 0)
            await asyncio.sleep(5)
            disk.refused = ("outbox", "known/state")
            await db.put("k", 1)  # nothing but the log keeps it
            disk.refused = ("known/state",)
            await asyncio.sleep(60)
            world.disk = await disk.copy()
            assert await world.disk.files("manifest.json/outbox"), "the disk has it now, too"
            await db.close()
            await other.put("k", "after")
            db, _ = await world.restarted()
            await db.close()
            assert await world.fresh() == {"k": "after"}
            assert len(await world.updates()) == 3

    virtually(main)
