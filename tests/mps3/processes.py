"""Processes that come and go on one machine, beside a bucket in the mps3 format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Literal, TypeVar

from reactivex import Subject

import rxmps3
from rxmps3.log.detect import Choice
from rxmps3.storage import Found, MemoryStorage, Storage, list_all
from rxmps3.testing import Request, StorageWrapper
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.durability.helpers import Disk

__all__ = ["LATE", "Fate", "World", "virtually"]

T = TypeVar("T")
Fate = Literal["arrives", "arrives late", "is lost"]
LATE = 4.0
"""Seconds."""


class LastWords(StorageWrapper):
    """The answer to an operation never comes."""

    def __init__(self, inner: Storage, fate: Fate) -> None:
        super().__init__(inner)
        self._fate = fate
        self.said = asyncio.Event()
        self._late: list[asyncio.Task[Any]] = []

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if request.verb != "put" or "json@" not in request.name:
            return await proceed()
        if self._fate == "arrives":
            await proceed()
        elif self._fate == "arrives late":

            async def arrive() -> None:
                await asyncio.sleep(LATE)
                await proceed()

            self._late.append(asyncio.create_task(arrive()))
        self.said.set()
        await asyncio.Event().wait()
        raise AssertionError


class World:
    """A bucket, and the disk of a machine on which processes come and go."""

    def __init__(self, *, versioning: bool = False) -> None:
        self.versioning = versioning
        self.bucket = MemoryStorage(clock=SimClock("server"), versioning=versioning)
        self.disk = Disk()
        self._processes = 0

    def opened(
        self, storage: Storage | None = None, disk: Disk | None = None, protocol: Choice = "mps3", **options: Any
    ) -> rxmps3.Connecting:
        self._processes += 1
        return rxmps3.connect(
            storage or self.bucket,
            protocol=protocol,
            versioning=self.versioning,
            shared=False,
            poll=Subject[None](),
            clock=SimClock(f"process {self._processes}"),
            **({} if disk is None else {"local": disk.local()}),
            **options,
        )

    async def dies(self, fate: Fate, *processes: Iterable[dict[str, Any]]) -> None:
        """Processes leave these writes, and one that sends them in one operation is killed before it hears of it."""
        for calls in processes:
            async with self.opened(disk=self.disk, online=False) as db:
                for call in calls:
                    await db.put_all(call).stored
        muted = LastWords(self.bucket, fate)
        db = await self.opened(muted, self.disk)
        await muted.said.wait()
        self.disk = await self.disk.copy()
        await db.close(timeout=0)

    async def restarted(self) -> tuple[rxmps3.Database, float]:
        """The next process, and how many seconds it took until nothing was pending."""
        began = asyncio.get_running_loop().time()
        db = await self.opened(disk=self.disk)
        for receipt in db.pending.value:
            await receipt
        return db, asyncio.get_running_loop().time() - began

    async def updates(self) -> list[dict[str, bool]]:
        """What each operation sets (True) and deletes (False), oldest first."""
        updates: list[dict[str, bool]] = []
        for one in reversed(await list_all(self.bucket, "manifest.json@")):
            answer = await self.bucket.get(one.name)
            assert isinstance(answer, Found)
            files = json.loads(answer.body)["update"]["files"]
            updates.append({name.partition("/")[2]: file is not None for name, file in files.items()})
        return updates

    async def fresh(self) -> dict[str, Any]:
        async with self.opened() as db:
            return await db.get_prefix()


def virtually(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtually(main())
