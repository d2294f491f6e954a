"""What must hold whatever somebody does to a bucket, and the scenarios that are played in one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

import rxmps3
from rxmps3.errors import Corrupt, Unsupported
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage, Request
from rxmps3.testing.virtual import SimClock
from tests.hostile.samples import MAIN, OPTIONS, Objects, become, objects_of

T = TypeVar("T")
MINUTE = 60.0
REQUESTS_PER_MINUTE = 120
"""One look a second is 60; the rest is for a commit that is tried again now and then."""


class Recorder(CountingStorage):
    """Counts, and notes every object that was changed or removed after it had been there."""

    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner)
        self.unlimited: list[str] = []

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Any:
        if limit is None:
            self.unlimited.append(name)
        return await super().get(name, unless=unless, version=version, limit=limit)

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        answer = await super().around(request, proceed)
        if request.outcome == "Found":
            assert request.bytes_down < 17 << 20, f"{request.name} was read whole"
        return answer


class Place:
    """A bucket in virtual time, with what its clients say."""

    def __init__(self) -> None:
        self.clock = SimClock("place")
        self.bucket = MemoryStorage(clock=self.clock)
        self.storage = Recorder(self.bucket)
        self.failures: list[rxmps3.Failure] = []
        self._databases: list[rxmps3.Database] = []

    async def hold(self, objects: Objects) -> None:
        """Let the bucket hold just these objects."""
        await become(self.bucket, objects)

    async def objects(self) -> Objects:
        return await objects_of(self.bucket)

    async def connect(self, manifest: str = "main", **options: Any) -> rxmps3.Database:
        db = await rxmps3.connect(
            self.storage, manifest=manifest, clock=self.clock, by="reader", **{**OPTIONS, **options}
        )
        self._watch(db)
        return db

    def lazily(self, db: rxmps3.Database, manifest: str = "main") -> rxmps3.Database:
        """A handle on another manifest, which nobody has loaded yet."""
        child = db.manifest(manifest)
        child.errors.subscribe(self.failures.append)
        return child

    def _watch(self, db: rxmps3.Database) -> None:
        self._databases.append(db)
        db.errors.subscribe(self.failures.append)

    async def minutes(self, count: float) -> None:
        await self.clock.sleep(count * MINUTE)

    async def stays_calm(self, minutes: int = 2) -> None:
        """Few requests are made in the next minutes."""
        self.storage.reset()
        await self.minutes(minutes)
        made = len(self.storage.requests)
        assert made <= minutes * REQUESTS_PER_MINUTE, f"{made} requests in {minutes} min: {self.storage.counts}"

    def check_failures(self, kinds: tuple[type[Exception], ...] = (Corrupt, Unsupported)) -> None:
        """Only such errors were told of."""
        strange = [failure for failure in self.failures if not isinstance(failure.error, kinds)]
        assert not strange, strange

    async def close(self) -> None:
        for db in self._databases:
            try:
                await db.close(timeout=0)
            except rxmps3.NotSent:
                pass


def names_one_of(error: BaseException | None, names: Collection[str]) -> bool:
    """Whether an error says which object it is about."""
    return any(name in str(error) for name in names)


async def contents(db: rxmps3.Database) -> dict[str, Any]:
    """All keys and values."""
    return dict(await db.get_prefix(""))


async def failure_of(awaitable: Awaitable[Any]) -> Exception | None:
    """What it raises."""
    try:
        await awaitable
    except Exception as error:
        return error
    return None


def untouched(before: Objects, after: Objects) -> None:
    """Nothing that was there has been changed, removed or, with a manifest in that state, added."""
    assert after == before, {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }


async def settles(receipt: rxmps3.Receipt, seconds: float = 40 * MINUTE) -> str:
    """The version that a write gets, within so many virtual seconds."""
    return await asyncio.wait_for(receipt, seconds)


def suspects(sample_names: dict[str, str], role: str) -> list[str]:
    """What an error may call a tampered object: its own name or the next entry's, whose hash tells; for a head also the
    manifest's folder, or something that is not there, or not so, as the head says."""
    kind, _, number = role.partition(" ")
    found = [sample_names[role]]
    if kind == "entry" and (after := sample_names.get(f"entry {int(number) + 1}")):
        found.append(after)
    if kind == "head":
        found += [f"manifest {MAIN.root!r}", "the head names it", "the head's reference"]
    return found
