"""A versioned log on its own, with the smallest client that can follow and extend it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from rxmps3 import MISSING
from rxmps3.errors import Unavailable
from rxmps3.log.protocol import Context
from rxmps3.log.versioned import open_kit
from rxmps3.log.versioned.collector import VersionedCollector
from rxmps3.log.versioned.log import VersionedLog
from rxmps3.model.state import (
    Amended,
    Committed,
    ContentObject,
    Loaded,
    ManifestVersion,
    Replayed,
    State,
    View,
    Write,
    WriteId,
    Wrote,
    step,
)
from rxmps3.model.writing import with_contents
from rxmps3.runtime.clock import Clock
from rxmps3.storage import Found, Storage
from rxmps3.storage.base import ListedVersion, VersionPage, versions_of
from rxmps3.testing import StorageWrapper

T = TypeVar("T")

__all__ = ["MISSING", "Client", "HidesVersions", "OneByOne", "bodies", "versions"]


class Client:
    """One writer: a view, and a log that moves it."""

    def __init__(
        self, storage: Storage, clock: Clock, manifest: str = "main", *, retention: timedelta = timedelta(days=1)
    ) -> None:
        self.storage = storage
        self.view = View()
        self.events: list[Committed | Replayed | Loaded] = []
        self.writer = clock.new_id()
        self.kit = open_kit(Context(storage, manifest, clock, self.writer, "test", lambda: self.state, retention))
        self.kit.log.versions.subscribe(self._learn)
        self._number = 0
        self._clock = clock

    @property
    def log(self) -> VersionedLog:
        assert isinstance(self.kit.log, VersionedLog)
        return self.kit.log

    @property
    def collector(self) -> VersionedCollector:
        assert isinstance(self.kit.collector, VersionedCollector)
        return self.kit.collector

    @property
    def state(self) -> State:
        return self.view.confirmed

    @property
    def learned(self) -> list[ManifestVersion]:
        """The versions it was told of one by one, in the order in which it was told."""
        return [
            version
            for event in self.events
            if not isinstance(event, Loaded)
            for version in ((event.version,) if isinstance(event, Committed) else event.versions)
        ]

    def _learn(self, event: Committed | Replayed | Loaded) -> None:
        assert self.log.exists or (isinstance(event, Loaded) and not event.state.version)
        self.events.append(event)
        self.view = step(self.view, event).view

    async def write(self, values: Mapping[str, Any]) -> Write:
        """A pending write with its values uploaded."""
        self._number += 1
        id = WriteId(self.writer, self._number)
        planned = self.kit.placing.plan(id, values, 4096)
        write = Write(id, self._clock.new_id(), planned.update)
        self.view = step(self.view, Wrote(write)).view
        await self._insist(self.log.prepare)
        stored: list[ContentObject] = []
        for held in planned.contents:
            name, body = held.content.name, self.kit.placing.body(held.text)
            answer = await self._insist(lambda name=name, body=body: self.storage.put(name, body))
            stored.append(self.kit.placing.uploaded(held.content, answer))
        write = with_contents(write, stored)
        self.view = step(self.view, Amended(write)).view
        return write

    async def _insist(self, action: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await action()
            except Unavailable:
                await self._clock.sleep(1)

    async def commit(self) -> None:
        """Try once to commit what is pending."""
        await self.log.commit(self.view.queue())

    async def put(self, **values: Any) -> Write:
        """Write and commit."""
        write = await self.write(values)
        await self.commit()
        assert write.id not in self.view.pending
        return write

    async def read(self) -> dict[str, Any]:
        """Read to the end of the log, and what it says then."""
        await self.log.read()
        return await self.values()

    async def values(self) -> dict[str, Any]:
        """What the confirmed state says, downloaded by version id."""
        return {key: await self._value(entry.content) for key, entry in sorted(self.state.entries.items())}

    async def _value(self, content: Any) -> Any:
        answer = await self.storage.get(content.name, version=content.version)
        assert isinstance(answer, Found), content
        return json.loads(self.kit.placing.text(content, answer.body))

    def contents(self) -> set[ContentObject]:
        """The objects that the confirmed state names."""
        return {content for entry in self.state.values() if isinstance(content := entry.content, ContentObject)}


class OneByOne(StorageWrapper):
    """Lists versions on pages of one, or of a few."""

    def __init__(self, inner: Storage, few: int = 1) -> None:
        super().__init__(inner)
        self._few = few

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        return await super().list_versions(prefix, cursor=cursor, limit=self._few)


class HidesVersions(StorageWrapper):
    """Leaves versions out of its listings for as long as ``hidden`` says so."""

    def __init__(self, inner: Storage, hidden: Collection[str] | Callable[[ListedVersion], bool] = ()) -> None:
        super().__init__(inner)
        self.hidden = hidden

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        page = await super().list_versions(prefix, cursor=cursor, limit=limit)
        hides = self.hidden if callable(self.hidden) else lambda one: one.version in self.hidden  # type: ignore[operator]
        return VersionPage([one for one in page.versions if not hides(one)], page.cursor, page.date)


async def versions(storage: Storage, name: str = "main") -> list[str]:
    """The version ids of one object, oldest first, without delete markers."""
    listed: list[str] = []
    cursor: str | None = None
    while True:
        page = await versions_of(storage).list_versions(name, cursor=cursor)
        listed += [one.version for one in page.versions if one.name == name and not one.is_delete_marker]
        if page.cursor is None:
            return listed[::-1]
        cursor = page.cursor


async def bodies(storage: Storage, name: str = "main") -> list[dict[str, Any]]:
    """What the versions of the manifest hold, oldest first."""
    read: list[dict[str, Any]] = []
    for id in await versions(storage, name):
        answer = await storage.get(name, version=id)
        assert isinstance(answer, Found)
        read.append(json.loads(answer.body))
    return read
