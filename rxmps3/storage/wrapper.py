"""The base class of storages that wrap another one to count, delay, repeat or corrupt requests. They can be stacked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rxmps3.errors import Unsupported
from rxmps3.storage.base import (
    Found,
    Missing,
    NotModified,
    Page,
    Precondition,
    Storage,
    Stored,
    Uploads,
    VersionPage,
    read_range,
    uploads_of,
    versions_of,
)

__all__ = ["Request", "StorageWrapper"]

T = TypeVar("T")


@dataclass
class Request:
    """One request to a storage.

    Attributes:
        verb: ``get``, ``put``, ``delete``, ``list``, ``list_versions``, or one of an upload in parts: ``begin_upload``,
            ``put_part``, ``finish_upload`` or ``abort_upload``.
        name: the object's name, or the prefix that was listed.
        bytes_up: the size of the body that was sent.
        bytes_down: the size of the body that came back.
        outcome: ``Found``, ``Missing``, ``NotModified``, ``Stored``, ``None`` (deleted), ``Page``, ``VersionPage``, or
            the class name of what was raised; empty while it is under way.
        when: the precondition of a put.
    """

    verb: str
    name: str
    bytes_up: int = 0
    bytes_down: int = 0
    outcome: str = ""
    when: Precondition | None = None


class StorageWrapper:
    """A storage that passes every request through `around`, which subclasses override.

    A new operation of the interface has to be wrapped only here.
    """

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        """The wrapped storage's."""
        return self.inner.url

    @property
    def name_limit(self) -> int:
        """The wrapped storage's."""
        return self.inner.name_limit

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        """Answer a request; each call of ``proceed`` carries it out once."""
        return await proceed()

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        """See `rxmps3.storage.Get`."""
        return await self.around(
            Request("get", name), lambda: self.inner.get(name, unless=unless, version=version, limit=limit)
        )

    async def get_range(self, name: str, start: int, stop: int, *, version: str | None = None) -> Found | Missing:
        """See `rxmps3.storage.GetRange`; its request is a ``get``, too."""
        return await self.around(
            Request("get", name), lambda: read_range(self.inner, name, start, stop, version=version)
        )

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        """See `rxmps3.storage.Put`."""
        return await self.around(
            Request("put", name, bytes_up=len(body), when=when),
            lambda: self.inner.put(name, body, when=when, sha256=sha256, content_type=content_type),
        )

    async def begin_upload(self, name: str, *, content_type: str) -> str:
        """See `rxmps3.storage.Uploads`."""
        inner = self._uploads()
        return await self.around(
            Request("begin_upload", name), lambda: inner.begin_upload(name, content_type=content_type)
        )

    async def put_part(self, name: str, upload: str, number: int, body: bytes, *, start: int) -> str:
        """See `rxmps3.storage.Uploads`."""
        inner = self._uploads()
        return await self.around(
            Request("put_part", name, bytes_up=len(body)),
            lambda: inner.put_part(name, upload, number, body, start=start),
        )

    async def finish_upload(self, name: str, upload: str, parts: Sequence[str]) -> Stored:
        """See `rxmps3.storage.Uploads`."""
        inner = self._uploads()
        return await self.around(Request("finish_upload", name), lambda: inner.finish_upload(name, upload, parts))

    async def abort_upload(self, name: str, upload: str) -> None:
        """See `rxmps3.storage.Uploads`."""
        inner = self._uploads()
        return await self.around(Request("abort_upload", name), lambda: inner.abort_upload(name, upload))

    def _uploads(self) -> Uploads:
        uploads = uploads_of(self.inner)
        if uploads is None:
            raise Unsupported("this storage writes objects only whole", operation="upload", object=self.url)
        return uploads

    async def delete(self, name: str, *, version: str | None = None) -> None:
        """See `rxmps3.storage.Delete`."""
        return await self.around(Request("delete", name), lambda: self.inner.delete(name, version=version))

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        """See `rxmps3.storage.List`."""
        return await self.around(
            Request("list", prefix), lambda: self.inner.list(prefix, after=after, cursor=cursor, limit=limit)
        )

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        """See `rxmps3.storage.ListVersions`.

        Raises:
            Unsupported: the wrapped storage does not list versions.
        """
        inner = versions_of(self.inner)
        return await self.around(
            Request("list_versions", prefix), lambda: inner.list_versions(prefix, cursor=cursor, limit=limit)
        )

    async def close(self) -> None:
        """Close the wrapped storage."""
        await self.inner.close()
