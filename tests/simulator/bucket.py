"""The bucket as its server sees it: what is stored, and who is told of each change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from rxmps3.runtime.clock import Random
from rxmps3.storage.base import (
    Found,
    ListedVersion,
    Matches,
    Missing,
    NotModified,
    Page,
    Precondition,
    Stored,
    VersionPage,
)
from rxmps3.storage.memory import MemoryStorage
from rxmps3.testing.virtual import EPOCH, VirtualLoop
from tests.simulator.plan import Weather

__all__ = ["MANIFEST", "ServerClock", "SimBucket", "Witness", "at_once"]

T = TypeVar("T")

MANIFEST = "main"
"""The manifest that everybody opens."""
_CONCURRENT = 2.0
"""Versions that were stored so many seconds apart at most may be listed in another order."""


class ServerClock:
    """The server's clock: whole seconds, and each request may meet a front end that is some seconds off."""

    def __init__(self, loop: VirtualLoop, frontends: int) -> None:
        self.rng = Random(0)
        self._loop = loop
        self._frontends = frontends
        self._asked = 0

    def monotonic(self) -> float:
        return self._loop.time()

    def now(self) -> datetime:
        self._asked += 1
        off = self._asked * 7 % (self._frontends + 1)
        return EPOCH + timedelta(seconds=int(self._loop.time()) + off)

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def new_id(self, characters: int = 12) -> str:
        raise NotImplementedError


class Witness(Protocol):
    """Sees every change of the bucket at the moment it happens."""

    def stored(self, name: str, body: bytes, who: str, version: str | None) -> None:
        """An object was written."""
        ...

    def deleted(self, name: str, who: str, version: str | None) -> None:
        """An object was removed, or one version of it."""
        ...

    def read(self, name: str) -> None:
        """An object is being given out."""
        ...


@dataclass(frozen=True)
class _Placed:
    """Where a version of the manifest stands in the server's order, and from when on it is listed."""

    key: float
    id: str
    shown_at: float


class SimBucket:
    """One bucket, exact about preconditions and listings; every verb happens at once.

    With versions, those of the manifest may come to light late and out of order, as `plan.Weather` has it.

    Args:
        loop: whose time it is.
        seed: decides which versions come late.
        weather: says how.
        versioning: whether it keeps every version of an object.
        witness: is told of each change.
    """

    def __init__(self, loop: VirtualLoop, seed: int, weather: Weather, witness: Witness, *, versioning: bool) -> None:
        self._objects = MemoryStorage(clock=ServerClock(loop, weather.frontends), versioning=versioning)
        self._versioning = versioning
        self._loop = loop
        self._rng = Random(f"bucket {seed}")
        self._weather = weather
        self._witness = witness
        self._placed: list[_Placed] = []
        self._etags: dict[str, str] = {}  # the MD5 behind each ETag that clients have seen

    def get(
        self, name: str, unless: str | None, version: str | None, limit: int | None
    ) -> Found | Missing | NotModified:
        if self._versioning and name == MANIFEST and version is None:
            version = self._newest()
        known = None if unless is None else self._real(unless)
        answer = at_once(self._objects.get(name, unless=known, version=version, limit=limit))
        if isinstance(answer, Found):
            self._witness.read(name)
            return replace(answer, etag=self._shown(answer.etag))
        return answer

    def put(self, name: str, body: bytes, when: Precondition | None, sha256: bytes | None, who: str) -> Stored:
        if isinstance(when, Matches):
            when = Matches(self._real(when.etag))
        stored = at_once(self._objects.put(name, body, when=when, sha256=sha256))
        if name == MANIFEST and stored.version is not None:
            self._place(stored.version)
        self._witness.stored(name, body, who, stored.version)
        return replace(stored, etag=self._shown(stored.etag))

    def _shown(self, etag: str) -> str:
        """The ETag as clients see it."""
        if not self._weather.opaque:
            return etag
        shown = f'"{hashlib.sha256(etag.encode()).hexdigest()[:32]}"'
        self._etags[shown] = etag
        return shown

    def _real(self, shown: str) -> str:
        return self._etags.get(shown, shown)

    def list(self, prefix: str, after: str, cursor: str | None, limit: int) -> Page:
        page = at_once(self._objects.list(prefix, after=after, cursor=cursor, limit=limit))
        if not self._weather.opaque:
            return page
        return replace(page, objects=[replace(one, etag=self._shown(one.etag)) for one in page.objects])

    def delete(self, name: str, version: str | None, who: str) -> None:
        at_once(self._objects.delete(name, version=version))
        self._witness.deleted(name, who, version)

    # -- behind everybody's back -----------------------------------------------------------------------------

    def copy(self) -> dict[str, bytes]:
        """All that is stored; without versions only."""
        page = at_once(self._objects.list(""))
        found = [(one.name, at_once(self._objects.get(one.name))) for one in page.objects]
        return {name: answer.body for name, answer in found if isinstance(answer, Found)}

    def put_back(self, copied: dict[str, bytes]) -> None:
        """Let this be all that is stored."""
        for name, body in self.copy().items():
            if copied.get(name) != body:
                at_once(self._objects.delete(name))
        for name, body in copied.items():
            if self.read(name) != body:
                at_once(self._objects.put(name, body))

    # -- versions of the manifest ----------------------------------------------------------------------------

    @property
    def last_shown_at(self) -> float:
        """When the last hidden version comes to light."""
        return max((one.shown_at for one in self._placed), default=0.0)

    def shown_at(self, id: str) -> float:
        """From when on a version of the manifest is listed."""
        return next(one.shown_at for one in self._placed if one.id == id)

    @property
    def shown(self) -> list[str]:
        """The manifest's versions that are listed by now, oldest first; also those that were deleted since."""
        return [one.id for one in self._placed if one.shown_at <= self._loop.time()]

    @property
    def order(self) -> list[str]:
        """All versions that the manifest ever had, in the server's order."""
        return [one.id for one in self._placed]

    def _place(self, id: str) -> None:
        now, weather = self._loop.time(), self._weather
        chance, longest = weather.hiding
        calm = now >= weather.clear_at
        earlier = 0.0 if calm else self._rng.random() * min(weather.disorder, _CONCURRENT)
        shown_at = now if calm or self._rng.random() >= chance else now + self._rng.random() * longest
        shown_at = now + dict(weather.hidden).get(len(self._placed) + 1, shown_at - now)
        self._placed.append(_Placed(now - earlier, id, shown_at))
        self._placed.sort(key=lambda one: one.key)

    def _newest(self) -> str | None:
        present = {line.version for line in self._lines(MANIFEST) if line.name == MANIFEST}
        return next((id for id in reversed(self.shown) if id in present), "hidden" if present else None)

    def _lines(self, prefix: str) -> list[ListedVersion]:
        lines: list[ListedVersion] = []
        cursor: str | None = None
        while True:
            page = at_once(self._objects.list_versions(prefix, cursor=cursor))
            lines += page.versions
            cursor = page.cursor
            if cursor is None:
                return lines

    def list_versions(self, prefix: str, cursor: str | None, limit: int) -> VersionPage:
        """One page; of the manifest's versions those that have come to light, in the server's order."""
        date = at_once(self._objects.list(prefix, limit=1)).date
        lines = self._lines(prefix)
        manifest = {line.version: line for line in lines if line.name == MANIFEST}
        shown = [manifest[id] for id in reversed(self.shown) if id in manifest]
        for place, line in enumerate(shown):
            if line.is_latest is not (place == 0):
                shown[place] = replace(line, is_latest=place == 0)
        others = [line for line in lines if line.name != MANIFEST]
        lines = sorted([*shown, *others], key=lambda line: line.name)  # stable: newest first within a name
        if cursor is not None:
            lines = self._lines_after(lines, *json.loads(cursor))
        page = lines[:limit]
        return VersionPage(page, json.dumps([page[-1].name, page[-1].version]) if len(lines) > limit else None, date)

    def _lines_after(self, lines: list[ListedVersion], name: str, version: str) -> list[ListedVersion]:
        if name == MANIFEST:
            order = self.order
            below = set(order[: order.index(version)])
        else:
            ids = [line.version for line in lines if line.name == name]
            below = set(ids[ids.index(version) + 1 :] if version in ids else [])
        return [line for line in lines if line.name > name or (line.name == name and line.version in below)]

    # -- for oracles -----------------------------------------------------------------------------------------

    def read(self, name: str, version: str | None = None) -> bytes | None:
        """The bytes of an object, or of a version of it."""
        found = at_once(self._objects.get(name, version=version))
        return found.body if isinstance(found, Found) else None

    def modified(self, name: str) -> datetime | None:
        """When an object was stored."""
        found = at_once(self._objects.get(name))
        return found.modified if isinstance(found, Found) else None


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")
