"""Does this storage keep the promises that the sequenced log rests on? Asked before the first write.

Some stores accept conditional headers and ignore them, or race on them. The probe writes a few objects under
`layout.PROBE_PREFIX`, outside every manifest, removes them, and remembers a good verdict per endpoint and bucket
for as long as the process lives.
"""

from __future__ import annotations

from rxmps3.errors import AccessDenied, Error, PreconditionFailed, Unavailable, Unsupported
from rxmps3.log.probing import place_of
from rxmps3.model.names import probe as probe_name
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import ABSENT, Found, Matches, Missing, NotModified, Precondition, Storage
from rxmps3.storage.patient import PatientStorage

__all__ = ["ensure_conditional_writes"]

_CONTENDERS = 3
_REPLACED = b'"replaced"'
_STALE = b'"stale"'
_TRIES = 5
_BACKOFF = Backoff(base=0.2, cap=2.0)
_passed: set[str] = set()


async def ensure_conditional_writes(storage: Storage, clock: Clock) -> None:
    """Return if the storage creates an object at most once, compares before it replaces and answers conditionally.

    Raises:
        Unsupported: names the condition that the storage breaks.
        Unavailable, AccessDenied: the probe could not be carried out; nothing is known.
    """
    place = place_of(storage.url)
    if place in _passed:
        return
    await _probe(_Probed(storage, clock, _BACKOFF), probe_name(clock.new_id(16)))
    if place != "memory:":
        _passed.add(place)


class _Probed(PatientStorage):
    """A storage under probe: it has to get through where some requests fail."""

    async def try_put(self, name: str, body: bytes, when: Precondition) -> bool | None:
        """Whether a conditional put took effect.

        Returns:
            None if that is not known, since a try got no answer: a refusal after it may be for its success, and it may
            still take effect later.

        Raises:
            Unavailable: no try got an answer.
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
        return  # a client that may not delete leaves the probe's object behind, and works all the same
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
    """Several creates of one name at once: exactly one body is kept, and nobody else hears that theirs was.

    Returns:
        Whether every create got a definite answer; a server may answer a loser 409 or 503, and apply it later.
    """

    async def create(contender: int) -> bool | None:
        try:
            return await storage.try_put(name, f'"{contender}"'.encode(), ABSENT)
        except Unavailable as error:
            if error.date is None:
                raise
            return None

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


async def _check_replace(storage: _Probed, name: str) -> str:
    kept = await storage.get(name)
    if not isinstance(kept, Found):
        raise _broken(storage, "an object vanished")
    # refused perhaps for its own success: what is there decides
    await storage.try_put(name, _REPLACED, Matches(kept.etag))
    replaced = await storage.get(name)
    if not isinstance(replaced, Found) or replaced.body != _REPLACED:
        raise _broken(storage, "If-Match with the current ETag was refused")
    accepted = await storage.try_put(name, _STALE, Matches(kept.etag))
    if accepted is None:
        left = await storage.get(name)
        accepted = not isinstance(left, Found) or left.body != _REPLACED
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
        pass  # a left-over of some bytes outside every manifest; nobody ever reads it
