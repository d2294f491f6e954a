"""A storage in the memory of this process, exact about preconditions, listings and versions."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Lock
from typing import cast

from rxmps3.errors import Corrupt, InvalidOption, PreconditionFailed, Unavailable, Unsupported
from rxmps3.model.sortedkeys import SortedKeys
from rxmps3.runtime.clock import Clock, SystemClock
from rxmps3.storage._common import MAX_NAME_BYTES, check_name, check_sha256, check_size, check_text, etag_of, page_size
from rxmps3.storage.base import (
    Absent,
    Found,
    Listed,
    ListedVersion,
    Missing,
    NotModified,
    Page,
    Precondition,
    Stored,
    VersionPage,
)

__all__ = ["MemoryStorage"]


@dataclass(frozen=True, slots=True)
class _Version:
    number: int
    id: str
    body: bytes | None  # None: a delete marker
    etag: str
    modified: datetime


@dataclass(slots=True)
class _Objects:
    """The objects of one storage: the versions of each name, oldest first, at least one."""

    versioning: bool
    lock: Lock = field(default_factory=Lock)
    names: dict[str, list[_Version]] = field(default_factory=dict[str, list[_Version]])
    order: SortedKeys = field(default_factory=SortedKeys)
    count: int = 0
    uploads: int = 0
    parts: dict[tuple[str, str], dict[int, bytes]] = field(default_factory=dict[tuple[str, str], dict[int, bytes]])

    def newest(self, name: str) -> _Version | None:
        """The version a plain get sees, None if there is none or it is a delete marker."""
        versions = self.names.get(name)
        return versions[-1] if versions and versions[-1].body is not None else None

    def append(self, name: str, body: bytes | None, etag: str, now: datetime) -> _Version:
        self.count += 1
        # a digest, so that nobody can sort by ids
        id = hashlib.sha256(b"version %d" % self.count).hexdigest()[:32]
        version = _Version(self.count, id, body, etag, now)
        if name not in self.names:
            self.order.add([name])
        if self.versioning:
            self.names.setdefault(name, []).append(version)
        else:
            self.names[name] = [version]
        return version

    def from_name(self, prefix: str, first: str) -> Iterator[str]:
        """The names under a prefix from ``first`` on (inclusive), ascending."""
        names = self.order.with_prefix(prefix)
        yield from names[bisect_left(names, first) :]

    def forget(self, name: str) -> None:
        """Remove an object with all its versions, if it exists."""
        if self.names.pop(name, None) is not None:
            self.order.remove([name])


_shared: dict[str, _Objects] = {}
_shared_lock = Lock()


class MemoryStorage:
    """Objects in this process, optionally with versions. It may be used from several event loops and threads.

    Args:
        clock: the source of every ``date`` and ``modified``; None takes the machine's.
        versioning: keep every version, as a bucket with versioning enabled does. None takes what storages of this name
            do, and False for a new one.
        name: all storages of one name in this process see the same objects, for as long as the process lives;
            without a name it is private.

    Raises:
        InvalidOption: the name is not text, or in use with another ``versioning``.
    """

    def __init__(self, *, clock: Clock | None = None, versioning: bool | None = None, name: str = "") -> None:
        self._clock = SystemClock() if clock is None else clock
        check_text(name, "name", "MemoryStorage")
        self._url = f"memory:{name}"
        if not name:
            self._objects = _Objects(bool(versioning))
            return
        with _shared_lock:
            self._objects = _shared.setdefault(name, _Objects(bool(versioning)))
        if versioning is not None and self._objects.versioning != versioning:
            raise InvalidOption(
                f"it exists with versioning={self._objects.versioning} in this process", object=self._url
            )

    @property
    def place(self) -> str:
        """The same for every storage of this process on these objects."""
        return self._url if self._url != "memory:" else f"memory:?{id(self._objects)}"

    @property
    def url(self) -> str:
        """``memory:`` or ``memory:NAME``."""
        return self._url

    @property
    def name_limit(self) -> int:
        """1,024, as S3 without a prefix."""
        return MAX_NAME_BYTES

    @property
    def versioning(self) -> bool:
        """Whether every version is kept."""
        return self._objects.versioning

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        """See `rxmps3.storage.Get`."""
        check_name(name, "get")
        self._refuse_version(version, "get")
        now = self._clock.now()
        with self._objects.lock:
            if version is None:
                found = self._objects.newest(name)
            else:
                found = next((one for one in self._objects.names.get(name, ()) if one.id == version), None)
        if found is None or found.body is None:
            return Missing(now)
        if found.etag == unless:
            return NotModified(now)
        check_size(len(found.body), limit, self._where(name))
        return Found(found.body, found.etag, found.modified, now, found.id if self.versioning else None)

    async def get_range(self, name: str, start: int, stop: int, *, version: str | None = None) -> Found | Missing:
        """See `rxmps3.storage.GetRange`."""
        answer = await self.get(name, version=version)
        return replace(answer, body=answer.body[start:stop]) if isinstance(answer, Found) else Missing(answer.date)

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
        check_name(name, "put")
        check_sha256(body, sha256, self._where(name))
        body = bytes(body)
        etag = etag_of(body)
        now = self._clock.now()
        with self._objects.lock:
            if when is not None:
                self._check(name, when, now)
            stored = self._objects.append(name, body, etag, now)
        return Stored(etag, now, stored.id if self.versioning else None)

    async def begin_upload(self, name: str, *, content_type: str) -> str:
        """See `rxmps3.storage.Uploads`."""
        check_name(name, "put")
        with self._objects.lock:
            self._objects.uploads += 1
            upload = str(self._objects.uploads)
            self._objects.parts[name, upload] = {}
        return upload

    async def put_part(self, name: str, upload: str, number: int, body: bytes, *, start: int) -> str:
        """See `rxmps3.storage.Uploads`."""
        with self._objects.lock:
            self._parts(name, upload)[number] = bytes(body)
        return etag_of(body)

    async def finish_upload(self, name: str, upload: str, parts: Sequence[str]) -> Stored:
        """See `rxmps3.storage.Uploads`."""
        with self._objects.lock:
            there = self._parts(name, upload)
            bodies = [there.get(number, b"") for number in range(1, len(parts) + 1)]
            if list(map(etag_of, bodies)) != list(parts):
                raise Corrupt("its parts do not match the upload", operation="put", object=self._where(name))
            del self._objects.parts[name, upload]
        return await self.put(name, b"".join(bodies))

    async def abort_upload(self, name: str, upload: str) -> None:
        """See `rxmps3.storage.Uploads`."""
        with self._objects.lock:
            self._objects.parts.pop((name, upload), None)

    def _parts(self, name: str, upload: str) -> dict[int, bytes]:
        parts = self._objects.parts.get((name, upload))
        if parts is None:
            raise Unavailable("this upload no longer exists", operation="put", object=self._where(name))
        return parts

    def _check(self, name: str, when: Precondition, now: datetime) -> None:
        newest = self._objects.newest(name)
        if isinstance(when, Absent):
            if newest is not None:
                raise PreconditionFailed("it already exists", operation="put", object=self._where(name), date=now)
        elif newest is None or newest.etag != when.etag:
            raise PreconditionFailed(
                "its ETag differs" if newest else "it does not exist",
                operation="put",
                object=self._where(name),
                date=now,
            )

    async def delete(self, name: str, *, version: str | None = None) -> None:
        """See `rxmps3.storage.Delete`; with versioning and no ``version`` it adds a delete marker."""
        check_name(name, "delete")
        self._refuse_version(version, "delete")
        with self._objects.lock:
            if version is not None:
                kept = [one for one in self._objects.names.get(name, ()) if one.id != version]
                if kept:
                    self._objects.names[name] = kept
                else:
                    self._objects.forget(name)
            elif self.versioning:
                self._objects.append(name, None, "", self._clock.now())
            else:
                self._objects.forget(name)

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        """See `rxmps3.storage.ListVersions`.

        Raises:
            Unsupported: this storage was made without versioning.
        """
        self._refuse_version("", "list versions")
        limit = page_size(limit)
        last_name, below = cast(tuple[str, int], json.loads(cursor)) if cursor else ("", 0)
        listed: list[ListedVersion] = []
        with self._objects.lock:
            for name in self._objects.from_name(prefix, last_name):
                versions = self._objects.names[name]
                for one in reversed(versions):
                    if name == last_name and one.number >= below:
                        continue
                    if len(listed) == limit:
                        return VersionPage(listed, json.dumps([last_name, below]), self._clock.now())
                    listed.append(
                        ListedVersion(
                            name,
                            one.id,
                            len(one.body or b""),
                            one.modified,
                            one.etag,
                            is_latest=one is versions[-1],
                            is_delete_marker=one.body is None,
                        )
                    )
                    last_name, below = name, one.number
        return VersionPage(listed, None, self._clock.now())

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        """See `rxmps3.storage.List`."""
        limit = page_size(limit)
        after = max(after, cursor or "")
        listed: list[Listed] = []
        with self._objects.lock:
            for name in self._objects.from_name(prefix, after):
                newest = self._objects.newest(name)
                if name == after or newest is None:
                    continue
                if len(listed) == limit:
                    return Page(listed, listed[-1].name, self._clock.now())
                listed.append(Listed(name, len(newest.body or b""), newest.modified, newest.etag))
        return Page(listed, None, self._clock.now())

    async def close(self) -> None:
        """Does nothing: the storage stays usable and keeps its objects."""

    def _refuse_version(self, version: str | None, operation: str) -> None:
        if version is not None and not self.versioning:
            raise Unsupported(
                "this storage keeps no versions",
                operation=operation,
                object=self._url,
                remedy="make it with versioning=True",
            )

    def _where(self, name: str) -> str:
        return f"{self._url} {name}"
