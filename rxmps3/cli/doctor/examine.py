"""Trying out what a storage can do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

from rxmps3.cli.doctor.facts import (
    Checksums,
    Conditional,
    Consistency,
    Dates,
    Facts,
    Listing,
    Races,
    Unknown,
    Versions,
    latency_of,
    skew_of,
)
from rxmps3.cli.doctor.races import creates, swaps
from rxmps3.cli.doctor.under_test import StorageUnderTest
from rxmps3.errors import AccessDenied, Error, PreconditionFailed, Unsupported
from rxmps3.log.registry import examine as examine_protocols
from rxmps3.model.names import PROBE_PREFIX
from rxmps3.runtime.clock import Clock, spawn
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Found, Missing, NotModified, Page, Precondition, Stored, VersionPage

__all__ = ["ROUNDS", "examine"]

T = TypeVar("T")

ROUNDS = 24
"""Races of each kind."""
_CONSISTENCY_ROUNDS = 10
_VERSIONS = 5
_STEPS = 8
_FLAT = ("n-1", "n-10", "n-2", "n-A", "n-Z", "n-a", "n-z", "n-~")
_DEEP = ("t-b", "t.b", "t/b", "t0b")
"""The signs around the slash: - . / 0."""

Progress = Callable[[str, int, int], None]


async def examine(
    place: StorageUnderTest,
    clock: Clock,
    *,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
    thorough: Callable[[StorageUnderTest, bool], Awaitable[Races]] | None = None,
) -> Facts:
    """Try everything, remove what was written, and return what was found out.

    Whatever ends it, what it wrote is removed first; ``place.left`` names what could not be.

    Args:
        place: a new folder in the storage.
        clock: the local clock, which the server's is compared with.
        rounds: how many races of each kind.
        progress: called with what is tried, how much is done, and the total.
        thorough: lets several processes race, to create or to swap.

    Raises:
        Unavailable, BucketNotFound: there is nothing to examine.
    """
    start = clock.monotonic()
    try:
        facts = await _examine(place, rounds, progress or _silent)
        probes = await _probes(place, clock)
        raced = await _thorough(place, thorough) if thorough is not None else {}
    finally:
        await _to_its_end(place)
    skew, uncertainty, spread = skew_of(place.sightings)
    modified = facts.dates.modified
    return Facts(
        url=place.storage.url,
        permissions=dict(place.permissions),
        offers=dict(place.offers),
        missing=facts.missing,
        creates=facts.creates,
        swaps=facts.swaps,
        conditional=facts.conditional,
        versions=facts.versions,
        listing=facts.listing,
        checksums=facts.checksums,
        consistency=facts.consistency,
        dates=Dates(tuple(sorted(place.undated)), modified, skew, uncertainty, spread),
        probes=probes,
        thorough=raced,
        latency=latency_of(place.seconds),
        requests=place.requests,
        seconds=clock.monotonic() - start,
        left=place.left,
    )


async def _thorough(
    place: StorageUnderTest, race: Callable[[StorageUnderTest, bool], Awaitable[Races]]
) -> dict[str, Races | Unknown]:
    if not place.permissions["put"]:
        return dict.fromkeys(("create if absent", "compare and set"), Unknown("nothing could be written"))
    return {
        "create if absent": await _attempt(lambda: race(place, False)),
        "compare and set": await _attempt(lambda: race(place, True)),
    }


async def _probes(place: StorageUnderTest, clock: Clock) -> dict[str, Unknown | None]:
    found = await examine_protocols(_WithinPlace(place), clock)
    return {
        protocol: None if error is None else Unknown(error.what, isinstance(error, Unsupported))
        for protocol, error in found.items()
    }


class _WithinPlace:
    """The storage for probes, whose objects are below the place, so that what they leave is removed with it."""

    url = "memory:"
    """A place for which no verdict is remembered."""
    name_limit = 1024

    def __init__(self, place: StorageUnderTest) -> None:
        self._place = place

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        return await self._place.get(_short(name), unless=unless, version=version)

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        return await self._place.put(_short(name), body, when=when, sha256=sha256)

    async def delete(self, name: str, *, version: str | None = None) -> None:
        if version is None and self._place.permissions["list versions"] is False:
            raise AccessDenied("a delete marker could not be removed", operation="delete", object=name)
        await self._place.delete(_short(name), version=version)

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        page = await self._place.list(_short(prefix), after=_short(after) if after else "", cursor=cursor, limit=limit)
        return replace(page, objects=[replace(one, name=self._long(one.name)) for one in page.objects])

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        page = await self._place.list_versions(_short(prefix), cursor=cursor, limit=limit)
        return replace(page, versions=[replace(one, name=self._long(one.name)) for one in page.versions])

    async def close(self) -> None:
        """The place stays open."""

    def _long(self, name: str) -> str:
        return PROBE_PREFIX + name.removeprefix(self._place.root + _PROBES)


_PROBES = "probe-"


def _short(name: str) -> str:
    return _PROBES + name.removeprefix(PROBE_PREFIX)


def _silent(what: str, done: int, total: int) -> None:
    pass


async def _to_its_end(place: StorageUnderTest) -> None:
    """Clear the place even if the caller is cancelled meanwhile; only a second cancellation ends that too."""
    clearing = spawn(place.clear(), "clearing the probe's objects")
    try:
        await asyncio.shield(clearing)
    except asyncio.CancelledError:
        if not clearing.done():
            await clearing
        raise


async def _examine(place: StorageUnderTest, rounds: int, progress: Progress) -> Facts:
    def tell(done: int) -> None:
        progress("checks", done, _STEPS)

    tell(0)
    try:
        await place.list()
    except (AccessDenied, Unsupported):
        pass
    missing = await _missing(place)
    writable, modified = await _try_permissions(place)
    tell(1)
    not_written = Unknown("nothing could be written")

    async def attempt(number: int, work: Callable[[], Awaitable[T]]) -> T | Unknown:
        found = await _attempt(work) if writable else not_written
        tell(number)
        return found

    conditional = await attempt(2, lambda: _conditional(place))
    checksums = await attempt(3, lambda: _checksums(place))
    versions = await attempt(4, lambda: _versions(place))
    listing = await attempt(5, lambda: _listing(place))
    consistency = await attempt(6, lambda: _consistency(place))
    created = await attempt(7, lambda: creates(place, rounds))
    swapped = await attempt(8, lambda: swaps(place, rounds))
    return Facts(
        url=place.storage.url,
        permissions={},
        offers={},
        missing=missing,
        creates=created,
        swaps=swapped,
        conditional=conditional,
        versions=versions,
        listing=listing,
        checksums=checksums,
        consistency=consistency,
        dates=Dates(modified=modified),
    )


async def _attempt(work: Callable[[], Awaitable[T]]) -> T | Unknown:
    try:
        return await work()
    except Error as error:
        return Unknown(f"{error.operation}: {error.what}", isinstance(error, Unsupported))


async def _missing(place: StorageUnderTest) -> int | None:
    try:
        answer = await place.get("missing")
    except AccessDenied:
        return 403
    return 404 if isinstance(answer, Missing) else 200


async def _try_permissions(place: StorageUnderTest) -> tuple[bool, bool | None]:
    """Try each of them once. Returns whether a put was allowed, and whether an object tells when it was written."""
    modified: bool | None = None
    version: str | None = None
    writable = True
    try:
        version = (await place.put("own", b'"own"')).version
    except (AccessDenied, Unsupported):
        writable = False
    if writable:
        found = await _attempt(lambda: place.get("own"))
        modified = found.modified is not None if isinstance(found, Found) else None
    await _attempt(lambda: place.list_versions("own"))
    if version is not None:
        await _attempt(lambda: place.get("own", version=version))
        await _attempt(lambda: place.delete("own", version=version))
    listable = place.permissions["list versions"] or not place.offers["list versions"]
    if version is None or listable:  # a delete marker that nobody may list could not be removed
        await _attempt(lambda: place.delete("own"))
    return writable, modified


async def _conditional(place: StorageUnderTest) -> Conditional:
    first = await place.put("conditional", b'"1"')
    unchanged = await place.get("conditional", unless=first.etag)
    await place.put("conditional", b'"2"')
    changed = await place.get("conditional", unless=first.etag)
    return Conditional(isinstance(unchanged, NotModified), isinstance(changed, Found) and changed.body == b'"2"')


async def _checksums(place: StorageUnderTest) -> Checksums:
    body = b'"checked"'
    try:
        await place.put("right", body, sha256=sha256(body).digest())
        right = True
    except Unsupported:
        right = False
    try:
        await place.put("wrong", body, sha256=sha256(b"another body").digest())
    except (PreconditionFailed, AccessDenied):
        raise
    except Error:
        pass  # whatever it is called: what is there decides
    return Checksums(right, isinstance(await place.get("wrong"), Missing))


async def _versions(place: StorageUnderTest) -> Versions:
    bodies = [b"%d" % number for number in range(_VERSIONS)]
    ids = [(await place.put("versions", body)).version for body in bodies]
    known = [id for id in ids if id is not None and id != "null"]
    if len(set(known)) < _VERSIONS:
        return Versions(ids=False)
    listings = [await place.versions("versions", limit=limit) for limit in (1000, 1)]
    orders = [[one.version for one in listing] for listing in listings]
    flagged = all([one.is_latest for one in listing] == [True] + [False] * (len(listing) - 1) for listing in listings)
    answers = [await place.get("versions", version=id) for id in known]
    return Versions(
        ids=True,
        newest_first=flagged and all(order == [id for id in reversed(known) if id in order] for order in orders),
        complete=all(sorted(order) == sorted(known) for order in orders),
        readable=[answer.body if isinstance(answer, Found) else None for answer in answers] == bodies,
    )


async def _listing(place: StorageUnderTest) -> Listing:
    await all_of(place.put(name, b'""') for name in (*_FLAT, *_DEEP))
    flat, deep = await place.names("n-", limit=1), await place.names("t", limit=1)
    whole, under = await place.names("n-"), await place.names("n-1")
    between = "n-3"  # no object's name
    after = await place.names("n-", after=between)
    return Listing(
        flat_order=flat == sorted(flat) and whole == sorted(whole),
        whole_order=deep == sorted(deep),
        pages=sorted(flat) == sorted(whole) == list(_FLAT) and sorted(deep) == list(_DEEP),
        after=sorted(after) == [name for name in _FLAT if name > between] and sorted(under) == ["n-1", "n-10"],
    )


async def _consistency(place: StorageUnderTest) -> Consistency:
    reads: list[str] = []
    lists: list[str] = []
    may_delete = place.permissions["delete"] is True
    place.timing = True
    try:
        for number in range(_CONSISTENCY_ROUNDS):
            name = f"c-{number}"
            for body in (b'"new"', b'"replaced"'):
                await place.put(name, body)
                answer = await place.get(name)
                if not isinstance(answer, Found) or answer.body != body:
                    reads.append(f"a get right after a put did not see it ({body.decode()})")
            if name not in await place.names("c-"):
                lists.append("a listing right after a put did not have it")
            if may_delete and number % 2:
                await place.delete(name)
                if not isinstance(await place.get(name), Missing):
                    reads.append("a get right after a delete still found the object")
                if name in await place.names("c-"):
                    lists.append("a listing right after a delete still had it")
    finally:
        place.timing = False
    return Consistency(_CONSISTENCY_ROUNDS, tuple(reads), tuple(lists))
