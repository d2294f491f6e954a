"""Trying again: an action, and a storage whose reads and deletes are tried again a few times before they fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from rxmps3.errors import Unavailable
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
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

__all__ = ["PatientStorage", "patiently"]

T = TypeVar("T")

_ATTEMPTS = 6


async def patiently(action: Callable[[], Awaitable[T]], clock: Clock, backoff: Backoff, attempts: int = _ATTEMPTS) -> T:
    """Do it, again if there is no answer, so often at most. It must do no harm when it is done twice."""
    for failures in range(1, attempts):
        try:
            return await action()
        except Unavailable as error:
            await clock.sleep(backoff.wait(failures, error, clock.rng))
    return await action()


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
        return await patiently(action, self._clock, self._backoff)

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
