"""Probe whether a storage implements the conditions that the sequenced log needs. Done before the first write.

Some stores accept conditional headers but ignore them, or have races. The probe writes a few objects under
`layout.PROBE_PREFIX`, outside every manifest, and removes them. A positive verdict is cached per endpoint and bucket
for the lifetime of the process.
"""

from __future__ import annotations

from rxmps3.errors import AccessDenied, Error, PreconditionFailed, Unavailable, Unsupported
from rxmps3.log.probing import place_of, read_damaged
from rxmps3.model.names import probe as probe_name
from rxmps3.model.seal import sealed
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import ABSENT, Found, Matches, Missing, NotModified, Precondition, Storage
from rxmps3.storage.patient import PatientStorage

__all__ = ["ensure_conditional_writes"]

_CONTENDERS = 3
# each carries a check of its own content, so that no damaged answer is taken for another one of them
_BODIES = [sealed(f'{{"contender":{number}}}'.encode()) for number in range(_CONTENDERS)]
_REPLACED = sealed(b'{"contender":"replaced"}')
_STALE = sealed(b'{"contender":"stale"}')
_TRIES = 5
_BACKOFF = Backoff(base=0.2, cap=2.0)
_passed: set[str] = set()


async def ensure_conditional_writes(storage: Storage, clock: Clock) -> None:
    """Check that the storage creates an object at most once, compares before replacing, and honours conditional gets.

    Raises:
        Unsupported: names the condition that the storage breaks.
        Unavailable, AccessDenied: the probe could not be completed.
    """
    place = place_of(storage.url)
    if place in _passed:
        return
    await _probe(_Probed(storage, clock, _BACKOFF), probe_name(clock.new_id(16)))
    if place != "memory:":
        _passed.add(place)


class _Probed(PatientStorage):
    """The storage being probed, with retries, since some requests may fail. They have a limit, unlike a worker's: the
    commit that needs the verdict is repeated as a whole."""

    async def try_put(self, name: str, body: bytes, when: Precondition) -> bool | None:
        """Whether a conditional put took effect.

        Returns:
            None if unknown, because an attempt got no answer: a later refusal may be due to its success, and it may
                still take effect.

        Raises:
            Unavailable: no attempt got an answer.
        """
        unanswered = False
        for failures in range(1, _TRIES + 1):
            try:
                await self.put(name, body, when=when)
            except PreconditionFailed:
                return None if unanswered else False
            except Unavailable as error:
                if failures == _TRIES:
                    raise
                unanswered = True
                await self._clock.sleep(self._backoff.wait(failures, error, self._clock.rng))
            else:
                return None if unanswered else True
        raise AssertionError("unreachable")

    async def get_intact(self, name: str) -> Found | None:
        """The object, None if there is none.

        Raises:
            Unavailable: what came is nothing that was stored, which says nothing about the storage's promises.
        """
        answer = await self.get(name)
        if not isinstance(answer, Found):
            return None
        if answer.body not in (*_BODIES, _REPLACED, _STALE):
            raise read_damaged(self)
        return answer


async def _probe(storage: _Probed, name: str) -> None:
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
        return  # a client without permission to delete leaves the probe's object behind, but works
    if certain and not isinstance(await storage.get(name), Missing):
        raise _broken(storage, "a deleted object is still there")


def _broken(storage: _Probed, condition: str) -> Unsupported:
    return Unsupported(
        f"the storage does not keep a promise that the sequenced log needs: {condition}",
        operation="probe",
        object=storage.url,
        remedy="use a storage with conditional writes; nothing was written to the manifest",
    )


async def _check_create(storage: _Probed, name: str) -> bool:
    """Create one name several times at once: exactly one body is kept, and only its create reports success.

    Returns:
        Whether every create got a definite answer; a server may answer a loser with 409 or 503 and apply it later.
    """

    async def create(body: bytes) -> bool | None:
        try:
            return await storage.try_put(name, body, ABSENT)
        except Unavailable as error:
            if error.date is None:
                raise
            return None

    created = await all_of(map(create, _BODIES))
    if created.count(True) > 1:
        raise _broken(storage, "several concurrent If-None-Match: * creates of one name succeeded")
    kept = await storage.get_intact(name)
    if kept is None:
        if True not in created and None in created:
            raise Unavailable("every create was refused", operation="probe", object=storage.url)
        raise _broken(storage, "an object is not readable right after it was created")
    if any(claims and body != kept.body for body, claims in zip(_BODIES, created, strict=True)):
        raise _broken(storage, "a create reported success, but another body was kept")
    return None not in created


async def _check_replace(storage: _Probed, name: str) -> str:
    kept = await storage.get_intact(name)
    if kept is None:
        raise _broken(storage, "an object vanished")
    # perhaps refused because it had succeeded: the stored object decides
    await storage.try_put(name, _REPLACED, Matches(kept.etag))
    replaced = await storage.get_intact(name)
    if replaced is None or replaced.body != _REPLACED:
        raise _broken(storage, "If-Match with the current ETag was refused")
    accepted = await storage.try_put(name, _STALE, Matches(kept.etag))
    if accepted is None:
        left = await storage.get_intact(name)
        accepted = left is None or left.body != _REPLACED
    if accepted:
        raise _broken(storage, "If-Match with a stale ETag was accepted")
    return replaced.etag


async def _check_get(storage: _Probed, name: str, etag: str) -> None:
    if not isinstance(await storage.get(name, unless=etag), NotModified):
        raise _broken(storage, "If-None-Match with the current ETag returned the object again")
    missing = await storage.get(name + "-missing")
    if not isinstance(missing, Missing):
        raise _broken(storage, "an object that was never written exists")
    if missing.date is None:
        raise _broken(storage, "answers carry no Date header")


async def _try_to_remove(storage: _Probed, name: str) -> None:
    try:
        await storage.delete(name)
    except Error:
        pass  # it leaves a few bytes outside every manifest, which nothing reads
