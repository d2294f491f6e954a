"""A storage that keeps count of its requests and bytes."""

from __future__ import annotations

from dataclasses import dataclass

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

__all__ = ["Meter", "MeteredStorage"]


@dataclass
class Meter:
    """Requests made and bytes of bodies moved so far."""

    requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


class MeteredStorage:
    """Passes every verb on and counts it, answered or not."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.meter = Meter()

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def name_limit(self) -> int:
        return self._inner.name_limit

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        self.meter.requests += 1
        answer = await self._inner.get(name, unless=unless, version=version, limit=limit)
        if isinstance(answer, Found):
            self.meter.bytes_down += len(answer.body)
        return answer

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        self.meter.requests += 1
        self.meter.bytes_up += len(body)
        return await self._inner.put(name, body, when=when, sha256=sha256, content_type=content_type)

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        self.meter.requests += 1
        return await self._inner.list(prefix, after=after, cursor=cursor, limit=limit)

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        self.meter.requests += 1
        return await versions_of(self._inner).list_versions(prefix, cursor=cursor, limit=limit)

    async def delete(self, name: str, *, version: str | None = None) -> None:
        self.meter.requests += 1
        await self._inner.delete(name, version=version)

    async def close(self) -> None:
        await self._inner.close()
