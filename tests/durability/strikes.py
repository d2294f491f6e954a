"""What happens to a bucket behind the backs of its clients: emptied, made anew, put back to an earlier copy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import rxmps3
from rxmps3 import Database
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Storage, open_storage
from rxmps3.storage.base import Found, ListedVersion, list_all, versions_of
from tests.conftest import Place

__all__ = ["Bucket", "FastClock", "state"]


class FastClock(SystemClock):
    """The system's clock, which a test puts forward; while a computer sleeps, the monotonic one stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0
        self.slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead + self.slept)


class Bucket:
    """What is stored at a place, for somebody with all rights."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.clock = FastClock()
        self._keeps_versions = place.protocol == "versioned"

    @asynccontextmanager
    async def storage(self) -> AsyncIterator[Storage]:
        storage = open_storage(self.place.url, clock=SystemClock(), **self.place.options)
        try:
            yield storage
        finally:
            await storage.close()

    def connect(self, **options: Any) -> Any:
        options = {"protocol": self.place.protocol, "clock": self.clock, "shared": False, **options}
        return rxmps3.connect(self.place.url, **options, **self.place.options)

    async def names(self) -> list[str]:
        async with self.storage() as storage:
            return [one.name for one in await list_all(storage, "")]

    async def empty(self) -> None:
        """Delete everything, and every version of it."""
        async with self.storage() as storage:
            for line in await self._versions(storage):
                await storage.delete(line.name, version=line.version)
            for one in await list_all(storage, ""):
                await storage.delete(one.name)

    async def copy(self) -> dict[tuple[str, str], bytes]:
        """All that is there; versions by their ids."""
        async with self.storage() as storage:
            if self._keeps_versions:
                return {(line.name, line.version): b"" for line in await self._versions(storage)}
            copied: dict[tuple[str, str], bytes] = {}
            for one in await list_all(storage, ""):
                answer = await storage.get(one.name)
                assert isinstance(answer, Found)
                copied[one.name, ""] = answer.body
            return copied

    async def put_back(self, copied: dict[tuple[str, str], bytes]) -> None:
        """Put everything back to what it was at the time of a copy."""
        async with self.storage() as storage:
            if self._keeps_versions:
                for line in await self._versions(storage):
                    if (line.name, line.version) not in copied:
                        await storage.delete(line.name, version=line.version)
                return
            known = {name for name, _ in copied}
            for one in await list_all(storage, ""):
                if one.name not in known:
                    await storage.delete(one.name)
            for (name, _), body in copied.items():
                answer = await storage.get(name)
                if not isinstance(answer, Found) or answer.body != body:
                    await storage.put(name, body)

    async def _versions(self, storage: Storage) -> list[ListedVersion]:
        if not self._keeps_versions:
            return []
        lines: list[ListedVersion] = []
        cursor: str | None = None
        while True:
            page = await versions_of(storage).list_versions("", cursor=cursor)
            lines += page.versions
            cursor = page.cursor
            if cursor is None:
                return lines


async def state(db: Database) -> dict[str, Any]:
    """All keys and values."""
    await db.refresh()
    return dict(await db.get_prefix(""))
