"""Storages that break one promise each; what `tests.behaviour.test_probe` has is not repeated."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rxmps3.errors import PreconditionFailed, Unsupported
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import (
    ABSENT,
    Found,
    Listed,
    Matches,
    MemoryStorage,
    Missing,
    NotModified,
    Page,
    Stored,
    VersionPage,
)


class Timeless(MemoryStorage):
    """Answers gets without a date."""

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        return replace(await super().get(name, **options), date=None)


class _Ahead(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(minutes=10)


class ClockAhead(MemoryStorage):
    """Has a clock that is ten minutes ahead."""

    def __init__(self) -> None:
        super().__init__(clock=_Ahead())


class OneClockAhead(MemoryStorage):
    """Puts are answered by a server whose clock is ten minutes ahead of the others'."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        return _later(await super().put(name, body, **options))


def _later(answer: Any) -> Any:
    return replace(answer, date=answer.date + timedelta(minutes=10))


class Shuffled(MemoryStorage):
    """Lists in the order of a hash, whole, and in pages."""

    def order(self, listed: Listed) -> Any:
        return hashlib.sha256(listed.name.rpartition("/")[2].encode()).digest()

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        whole = await super().list(prefix, after=after)
        ordered = sorted(whole.objects, key=self.order)
        start = int(cursor or 0)
        end = start + limit
        return Page(ordered[start:end], str(end) if end < len(ordered) else None, whole.date)


class Folders(Shuffled):
    """Lists folder by folder, as file systems do."""

    def order(self, listed: Listed) -> Any:
        return listed.name.split("/")


class LosesBetweenPages(MemoryStorage):
    """Leaves out the first object of every page but the first."""

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        page = await super().list(prefix, after=after, cursor=cursor, limit=limit + 1 if cursor else limit)
        return Page(page.objects[1:], page.cursor, page.date) if cursor else page


class IgnoresAfter(MemoryStorage):
    """Lists from the beginning, whatever name it should start after."""

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        return await super().list(prefix, cursor=cursor, limit=limit)


class OldestFirst(MemoryStorage):
    """Lists versions oldest first."""

    def __init__(self) -> None:
        super().__init__(versioning=True)

    async def list_versions(self, prefix: str, **options: Any) -> VersionPage:
        page = await super().list_versions(prefix, **options)
        return replace(page, versions=page.versions[::-1])


class TakesAnyChecksum(MemoryStorage):
    """Does not compare a body with its sha256."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        return await super().put(name, body, **{**options, "sha256": None})


class NoConditions(MemoryStorage):
    """Says honestly that it knows no preconditions."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        if options.get("when") is not None:
            raise Unsupported("501 NotImplemented", operation="put", object=name)
        return await super().put(name, body, **options)


class ReadsLate(MemoryStorage):
    """Answers a get with what was there at the last put but one."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Found] = {}

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        now = await super().get(name)
        if isinstance(now, Found):
            self.before[name] = now
        return await super().put(name, body, **options)

    async def get(self, name: str, **options: Any) -> Found | Missing | NotModified:
        answer = await super().get(name, **options)
        return self.before.get(name, answer) if isinstance(answer, Found) else answer


class ListsLate(MemoryStorage):
    """A listing does not have the newest object."""

    newest = ""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        stored = await super().put(name, body, **options)
        self.newest = name
        return stored

    async def list(self, prefix: str, **options: Any) -> Page:
        page = await super().list(prefix, **options)
        newest, self.newest = self.newest, ""
        return replace(page, objects=[one for one in page.objects if one.name != newest])


class RacesOnCreate(MemoryStorage):
    """Looks first and writes a moment later: two creates at once both succeed."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        if options.get("when") == ABSENT:
            self._check(name, ABSENT, self._clock.now())
            await asyncio.sleep(0)
            options["when"] = None
        return await super().put(name, body, **options)


class KeepsTheLoser(MemoryStorage):
    """Refuses to create what exists, and replaces it all the same."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        try:
            return await super().put(name, body, **options)
        except PreconditionFailed:
            if options.get("when") == ABSENT:
                await super().put(name, body)
            raise


class RacesOnMatch(MemoryStorage):
    """Compares first and replaces a moment later: of two at once both succeed."""

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        when = options.get("when")
        if isinstance(when, Matches):
            self._check(name, when, self._clock.now())
            await asyncio.sleep(0)
            options["when"] = None
        return await super().put(name, body, **options)


class RacesSeldom(MemoryStorage):
    """Races on one create in many, as a busy server does."""

    created = 0

    async def put(self, name: str, body: bytes, **options: Any) -> Stored:
        if options.get("when") == ABSENT:
            self.created += 1
            if self.created % 23 == 0:
                options["when"] = None
        return await super().put(name, body, **options)
