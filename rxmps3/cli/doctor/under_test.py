"""A folder of a storage to try things in: it remembers what was asked and written, and removes all of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from rxmps3.cli.doctor.facts import PERMISSIONS, Sighting
from rxmps3.errors import AccessDenied, Error, PreconditionFailed, Unavailable, Unsupported
from rxmps3.model.names import probe
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import (
    Found,
    ListedVersion,
    ListVersions,
    Missing,
    NotModified,
    Page,
    Precondition,
    Storage,
    Stored,
    VersionPage,
)

__all__ = ["StorageUnderTest"]

T = TypeVar("T")

_ROUNDS = 3
_READS = 4
_PAUSE = 1.0
_AT_ONCE = 16


class StorageUnderTest:
    """A folder of its own, ``.rxmps3-probe/<id>/``. Names are relative to it.

    Attributes:
        storage: where it is.
        permissions: what was allowed (True wins over False), None if it was not tried.
        offers: the operations that the storage has.
        sightings: the server's dates.
        undated: the verbs of which an answer had no date.
        seconds: how long answered requests took, by verb, while `timing`.
        requests: how many there were.
        left: after `clear`, the full names that are still there or may be.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self.storage = storage
        self.root = probe(clock.new_id(16)) + "/"
        self.permissions: dict[str, bool | None] = dict.fromkeys(PERMISSIONS)
        self.offers: dict[str, bool] = dict.fromkeys(PERMISSIONS, True)
        if not hasattr(storage, "list_versions"):
            self._offers_no_versions()
        self.sightings: list[Sighting] = []
        self.undated: set[str] = set()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.timing = False
        self.requests = 0
        self.left: tuple[str, ...] = ()
        self._clock = clock
        self._written: defaultdict[str, set[str]] = defaultdict(set)
        self._bodies: dict[str, set[bytes]] = {}
        self._foreign: set[str] = set()
        self._unsure = False
        self._keeps_versions = False

    # -- requests --------------------------------------------------------------------------------------------

    async def get(self, name: str, *, unless: str | None = None, version: str | None = None) -> Any:
        """`Found`, `Missing` or `NotModified`. See `rxmps3.storage.Get`.

        A body that was never put under this name may be damaged on its way, which tells nothing of the storage: it is
        asked for again, a few times.
        """
        verb = "get" if version is None else "get version"
        reads = 0
        while True:
            answer = await self._ask(verb, lambda: self.storage.get(self.root + name, unless=unless, version=version))
            reads += 1
            bodies = None if name in self._foreign else self._bodies.get(name)
            if bodies is None or not isinstance(answer, Found) or answer.body in bodies or reads == _READS:
                return answer

    async def put(
        self, name: str, body: bytes, *, when: Precondition | None = None, sha256: bytes | None = None
    ) -> Stored:
        """See `rxmps3.storage.Put`."""
        _ = self._written[name]
        self._bodies.setdefault(name, set()).add(body)
        try:
            stored = await self._ask("put", lambda: self.storage.put(self.root + name, body, when=when, sha256=sha256))
        except (PreconditionFailed, AccessDenied, Unsupported):
            if not self.permissions["put"]:
                self._written.clear()
            raise
        except BaseException:
            self._unsure |= sha256 is None  # else it was refused as damaged
            raise
        if stored.version is not None:
            self._written[name].add(stored.version)
            self._keeps_versions |= stored.version != "null"
        return stored

    def will_be_written(self, name: str) -> None:
        """Remove this object at the end, though others write it."""
        _ = self._written[name]
        self._foreign.add(name)
        self._unsure = True

    async def delete(self, name: str, *, version: str | None = None) -> None:
        """See `rxmps3.storage.Delete`."""
        await self._ask(
            "delete" if version is None else "delete version",
            lambda: self.storage.delete(self.root + name, version=version),
        )

    async def list(self, prefix: str = "", *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        """See `rxmps3.storage.List`; the names are still those of the storage, see `relative`."""
        start = self.root + after if after else ""
        return await self._ask(
            "list", lambda: self.storage.list(self.root + prefix, after=start, cursor=cursor, limit=limit)
        )

    async def list_versions(self, prefix: str = "", *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        """See `rxmps3.storage.ListVersions`; the names are still those of the storage, see `relative`."""
        if not self.offers["list versions"]:
            raise Unsupported("this storage keeps no versions", operation="list versions", object=self.storage.url)
        storage = cast(ListVersions, self.storage)
        return await self._ask(
            "list versions", lambda: storage.list_versions(self.root + prefix, cursor=cursor, limit=limit)
        )

    async def names(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[str]:
        """The names of a whole listing in the order of its pages."""
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = await self.list(prefix, after=after, cursor=cursor, limit=limit)
            names += [self.relative(one.name) for one in page.objects]
            if page.cursor is None or page.cursor == cursor:
                return names
            cursor = page.cursor

    async def versions(self, prefix: str = "", *, limit: int = 1000) -> list[ListedVersion]:
        """The versions of a whole listing in the order of its pages."""
        versions: list[ListedVersion] = []
        cursor: str | None = None
        while True:
            page = await self.list_versions(prefix, cursor=cursor, limit=limit)
            versions += page.versions
            if page.cursor is None or page.cursor == cursor:
                return versions
            cursor = page.cursor

    def relative(self, name: str) -> str:
        """A name of the storage as one of this place."""
        return name.removeprefix(self.root)

    async def _ask(self, verb: str, perform: Callable[[], Awaitable[T]]) -> T:
        self.requests += 1
        sent, start = self._clock.now(), self._clock.monotonic()
        try:
            answer = await perform()
        except AccessDenied:
            self.permissions[verb] = bool(self.permissions[verb])
            raise
        except Unsupported:
            if verb.endswith(("version", "versions")):
                self._offers_no_versions()
            raise
        except PreconditionFailed as error:
            self.permissions[verb] = True
            self._see(verb, error.date, sent)
            raise
        except Unavailable as error:
            if error.date is not None:
                self._see(verb, error.date, sent)
            raise
        if self.timing:
            self.seconds[verb].append(self._clock.monotonic() - start)
        self.permissions[verb] = True
        if isinstance(answer, (Found, Missing, NotModified, Stored, Page, VersionPage)):
            self._see(verb, answer.date, sent)
        return answer

    def _see(self, verb: str, date: Any, sent: Any) -> None:
        if date is None:
            self.undated.add(verb)
        else:
            self.sightings.append(Sighting(date, sent, self._clock.now()))

    def _offers_no_versions(self) -> None:
        for verb in PERMISSIONS:
            if "version" in verb:
                self.offers[verb] = False

    # -- leaving ---------------------------------------------------------------------------------------------

    async def clear(self) -> None:
        """Remove everything, versions and delete markers included, and check that it is gone; `left` names what is not.

        It waits a moment before if a put went unanswered, since that may arrive late.
        """
        self.left = self._all_names()
        if not self._written and not self.permissions["delete"]:
            return
        for number in range(_ROUNDS):
            if number or self._unsure:
                await self._clock.sleep(_PAUSE)
            await self._remove()
            self.left = await self._remaining()
            if not self.left:
                return

    def _all_names(self) -> tuple[str, ...]:
        return tuple(self.root + name for name in sorted(self._written))

    async def _remove(self) -> None:
        versions = await self._or_none(self.versions())
        there = {(self.relative(one.name), one.version) for one in versions or ()}
        # a bucket that stopped keeping versions makes delete markers all the same
        self._keeps_versions |= any(one.version != "null" or one.is_delete_marker for one in versions or ())
        if self._keeps_versions:
            told = {(name, version) for name, ids in self._written.items() for version in ids}
            await self._delete_all([(name, version) for name, version in sorted(there | told)])
            return
        names = set(self._written) | set(await self._or_none(self.names()) or ())
        await self._delete_all([(name, None) for name in sorted(names)])

    async def _delete_all(self, objects: list[tuple[str, str | None]]) -> None:
        for at in range(0, len(objects), _AT_ONCE):
            some = objects[at : at + _AT_ONCE]
            await all_of(self._or_none(self.delete(name, version=version)) for name, version in some)

    async def _remaining(self) -> tuple[str, ...]:
        versions = await self._or_none(self.versions())
        if versions is not None:
            return tuple(one.name + ("" if one.version == "null" else f" (version {one.version})") for one in versions)
        listed = await self._or_none(self.names())
        if listed is not None and not self._keeps_versions:
            return tuple(self.root + name for name in sorted(listed))
        told = [(name, id) for name in sorted(self._written) for id in sorted(self._written[name]) or [None]]
        there = await all_of(self._or_none(self.get(name, version=version)) for name, version in told)
        return tuple(
            f"{self.root}{name}" + (f" (version {version})" if version else "")
            for (name, version), answer in zip(told, there, strict=True)
            if not isinstance(answer, Missing)
        )

    async def _or_none(self, asked: Any) -> Any:
        """The answer, None if it was an error."""
        try:
            return await asked
        except Error:
            return None
