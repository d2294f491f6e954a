"""Does this storage keep the promises that the sequenced log rests on? Asked before the first write.

Some stores accept conditional headers and ignore them, or race on them. The probe writes a few objects under
`layout.PROBE_PREFIX`, outside every manifest, removes them, and remembers a good verdict per endpoint and bucket
for as long as the process lives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from rxmps3.clock import Clock
from rxmps3.errors import AccessDenied, Error, PreconditionFailed, Unavailable, Unsupported
from rxmps3.layout import probe as probe_name
from rxmps3.retry import Backoff
from rxmps3.storage.base import ABSENT, Found, Matches, Missing, NotModified, Precondition, Storage, Stored
from rxmps3.together import all_of

__all__ = ["ensure_conditional_writes", "place_of"]

_CONTENDERS = 3
_REPLACED = b'"replaced"'
_TRIES = 5
_BACKOFF = Backoff(base=0.2, cap=2.0)
_passed: set[str] = set()
T = TypeVar("T")


async def ensure_conditional_writes(storage: Storage, clock: Clock) -> None:
    """Return if the storage creates an object at most once, compares before it replaces and answers conditionally.

    Raises:
        Unsupported: names the condition that the storage breaks.
        Unavailable, AccessDenied: the probe could not be carried out; nothing is known.
    """
    place = place_of(storage.url)
    if place in _passed:
        return
    await _probe(_Insistent(storage, clock), probe_name(clock.new_id(16)))
    if place != "memory:":
        _passed.add(place)


class _Insistent:
    """A storage that is asked again when it does not answer: a probe has to get through where some requests fail.

    What the probe asks may be asked twice. A create that is refused for its own success loses nothing: whose body was
    kept decides.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self.url = storage.url
        self._storage = storage
        self._clock = clock

    async def get(self, name: str, *, unless: str | None = None) -> Found | Missing | NotModified:
        return await self._insist(lambda: self._storage.get(name, unless=unless))

    async def put(self, name: str, body: bytes, *, when: Precondition) -> Stored:
        return await self._insist(lambda: self._storage.put(name, body, when=when))

    async def delete(self, name: str) -> None:
        await self._insist(lambda: self._storage.delete(name))

    async def _insist(self, request: Callable[[], Awaitable[T]]) -> T:
        for failures in range(1, _TRIES):
            try:
                return await request()
            except Unavailable as error:
                await self._clock.sleep(_BACKOFF.wait(failures, error, self._clock.rng))
        return await request()


async def _probe(storage: _Insistent, name: str) -> None:
    try:
        certain = await _check_create(storage, name)
        etag = await _check_replace(storage, name)
        await _check_get(storage, name, etag)
    except BaseException:
        await _try_to_remove(storage, name)
        raise
    try:
        await storage.delete(name)
    except AccessDenied:
        return  # a client that may not delete leaves the probe's object behind, and works all the same
    if certain and not isinstance(await storage.get(name), Missing):
        raise _broken(storage, "a deleted object is still there")


def place_of(url: str) -> str:
    """What a verdict holds for: an endpoint and bucket, whatever the prefix."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="")) if parts.scheme == "s3" else url


def _broken(storage: _Insistent, condition: str) -> Unsupported:
    return Unsupported(
        f"the storage does not keep a promise that the sequenced log needs: {condition}",
        operation="probe",
        object=storage.url,
        remedy="use a storage with conditional writes; nothing was written to the manifest",
    )


async def _check_create(storage: _Insistent, name: str) -> bool:
    """Several creates of one name at once: exactly one body is kept, and nobody else hears that theirs was.

    Returns:
        Whether every create got a definite answer; a server may answer a loser 409 or 503, and apply it later.
    """

    async def create(contender: int) -> bool | None:
        try:
            await storage.put(name, f'"{contender}"'.encode(), when=ABSENT)
        except PreconditionFailed:
            return False
        except Unavailable as error:
            if error.date is None:
                raise
            return None
        return True

    created = await all_of(map(create, range(_CONTENDERS)))
    if created.count(True) > 1:
        raise _broken(storage, "several concurrent If-None-Match: * creates of one name succeeded")
    kept = await storage.get(name)
    if not isinstance(kept, Found):
        if True not in created and None in created:
            raise Unavailable("every create was turned away", operation="probe", object=storage.url)
        raise _broken(storage, "an object is not readable right after it was created")
    winner = int(kept.body.strip(b'"'))
    if any(claims and contender != winner for contender, claims in enumerate(created)):
        raise _broken(storage, "a create reported success, but another body was kept")
    return None not in created


async def _check_replace(storage: _Insistent, name: str) -> str:
    kept = await storage.get(name)
    if not isinstance(kept, Found):
        raise _broken(storage, "an object vanished")
    try:
        await storage.put(name, _REPLACED, when=Matches(kept.etag))
    except PreconditionFailed:
        pass  # perhaps for its own success, resent by the HTTP client: what is there decides
    replaced = await storage.get(name)
    if not isinstance(replaced, Found) or replaced.body != _REPLACED:
        raise _broken(storage, "If-Match with the current ETag was refused")
    try:
        await storage.put(name, b'"stale"', when=Matches(kept.etag))
    except PreconditionFailed:
        return replaced.etag
    raise _broken(storage, "If-Match with a stale ETag was accepted")


async def _check_get(storage: _Insistent, name: str, etag: str) -> None:
    if not isinstance(await storage.get(name, unless=etag), NotModified):
        raise _broken(storage, "If-None-Match with the current ETag returned the object again")
    missing = await storage.get(name + "-missing")
    if not isinstance(missing, Missing):
        raise _broken(storage, "an object that was never written exists")
    if missing.date is None:
        raise _broken(storage, "answers carry no Date header")


async def _try_to_remove(storage: _Insistent, name: str) -> None:
    try:
        await storage.delete(name)
    except Error:
        pass  # a left-over of some bytes outside every manifest; nobody ever reads it
