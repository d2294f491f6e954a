"""A bucket as a capture of the JavaScript client left it, and one whose times are those of a real server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from rxmps3.runtime.clock import Clock
from rxmps3.storage import Found, Listed, MemoryStorage, Page, Storage, Stored
from rxmps3.testing import Request, StorageWrapper

T = TypeVar("T")
CAPTURES = ("default", "nolistmin", "versioned")


def capture(name: str) -> dict[str, Any]:
    """A recorded run: its steps, all objects at its end, and what a fresh client then read."""
    return cast("dict[str, Any]", json.loads((Path(__file__).parent / "golden" / f"{name}.json").read_text()))


class Recorded(StorageWrapper):
    """Shows objects with the times at which they were stored when the capture was made."""

    def __init__(self, inner: Storage, objects: dict[str, Any]) -> None:
        super().__init__(inner)
        self._stored = {
            name: datetime.fromisoformat(one["last_modified_list"])
            for name, one in objects.items()
            if one["last_modified_list"]
        }

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        answer = await proceed()
        if isinstance(answer, Page):
            objects = [self._dated(one) for one in answer.objects]
            return cast("T", replace(answer, objects=objects))
        return answer

    def _dated(self, one: Listed) -> Listed:
        return replace(one, modified=self._stored.get(one.name, one.modified))


class WholeSeconds(StorageWrapper):
    """A server that tells times in whole seconds, cut, as most do."""

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        answer = await proceed()
        if isinstance(answer, Page):
            objects = [replace(one, modified=_cut(one.modified)) for one in answer.objects]
            return cast("T", replace(answer, objects=objects, date=_cut(answer.date)))
        if isinstance(answer, Found):
            return cast("T", replace(answer, modified=_cut(answer.modified), date=_cut(answer.date)))
        if isinstance(answer, Stored):
            return cast("T", replace(answer, date=_cut(answer.date)))
        return answer


def _cut(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(microsecond=0)


async def replayed(recorded: dict[str, Any], clock: Clock | None = None) -> Storage:
    """A bucket that holds what a capture found at its end, under its times and version ids."""
    versioned = recorded["versions"] is not None
    storage = MemoryStorage(clock=clock, name="", versioning=versioned)
    ids: dict[str, str] = {}
    for name, one in recorded["objects"].items():
        stored = await storage.put(name, one["body"].encode())
        known = one["headers"].get("x-amz-version-id")
        if known is not None and stored.version is not None:
            ids[known] = stored.version
    return Recorded(Renamed(storage, f"memory:{recorded['config']['defaultBucket']}", ids), recorded["objects"])


class Renamed(StorageWrapper):
    """Answers to another URL and to version ids that were given elsewhere."""

    def __init__(self, inner: Storage, url: str, ids: dict[str, str]) -> None:
        super().__init__(inner)
        self._url = url
        self._ids = ids

    @property
    def url(self) -> str:
        return self._url

    async def get(self, name: str, *, version: str | None = None, **options: Any) -> Any:
        return await super().get(name, version=self._ids.get(version or "", version), **options)


class InBucket(StorageWrapper):
    """A memory storage that calls itself a bucket."""

    def __init__(self, inner: Storage, url: str) -> None:
        super().__init__(inner)
        self._url = url

    @property
    def url(self) -> str:
        return self._url
