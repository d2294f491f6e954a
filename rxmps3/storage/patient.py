"""A storage for long jobs: reads and deletes that fail are tried again a few times before the job fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from rxmps3.clock import Clock
from rxmps3.errors import Unavailable
from rxmps3.retry import Backoff
from rxmps3.storage.base import (
    Found,
    Missing,
    NotModified,
    Page,
    Precondition,
    Storage,
    Stored,
    VersionPage,
    versions_of,
)

__all__ = ["PatientStorage"]

T = TypeVar("T")

_ATTEMPTS = 6


class PatientStorage:
    """Passes every verb on; what changes nothing when it is done twice is tried up to six times.

    A put is not among them: whoever puts has to read back what became of it.

    Args:
        inner: the storage.
        clock: for the waits.
        backoff: how long they are.
    """

    def __init__(self, inner: Storage, clock: Clock, backoff: Backoff | None = None) -> None:
        self._inner = inner
        self._clock = clock
        self._backoff = backoff or Backoff()

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def name_limit(self) -> int:
        return self._inner.name_limit

    async def _patiently(self, action: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            try:
                return await action()
            except Unavailable as error:
                failures += 1
                if failures == _ATTEMPTS:
                    raise
                await self._clock.sleep(self._backoff.wait(failures, error, self._clock.rng))

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        return await self._patiently(lambda: self._inner.get(name, unless=unless, version=version, limit=limit))

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        return await self._inner.put(name, body, when=when, sha256=sha256, content_type=content_type)

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        return await self._patiently(lambda: self._inner.list(prefix, after=after, cursor=cursor, limit=limit))

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        inner = versions_of(self._inner)
        return await self._patiently(lambda: inner.list_versions(prefix, cursor=cursor, limit=limit))

    async def delete(self, name: str, *, version: str | None = None) -> None:
        await self._patiently(lambda: self._inner.delete(name, version=version))

    async def close(self) -> None:
        await self._inner.close()
