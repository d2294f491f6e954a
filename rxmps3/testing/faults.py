"""Faults between a client and its storage, as plans for `FaultyStorage`::

    storage = FaultyStorage(inner, [throttle(one_in=20), lose_answers(one_in=5)], rng)
    storage.plan = offline()
    storage.plan = ()

Each fault strikes one in so many requests of its verbs, at random. In a sequence the first fault sees a request first
and passes it on to the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from rxmps3.errors import AccessDenied, Error, PreconditionFailed, Throttled, Unavailable
from rxmps3.testing.wrappers import Fault, FaultyStorage, Request

__all__ = [
    "deny",
    "drop_requests",
    "fail_on",
    "late",
    "lose_answers",
    "offline",
    "resend",
    "throttle",
]

Proceed = Callable[[], Awaitable[Any]]
WRITES = ("put", "delete")
ALL = ("get", "put", "delete", "list", "list_versions")


def lose_answers(one_in: int = 3, verbs: Collection[str] = WRITES) -> Fault:
    """The request is carried out, and its answer, good or bad, is lost: `Unavailable`."""

    async def lose(request: Request, proceed: Proceed, faults: FaultyStorage) -> Any:
        if not _strikes(one_in, verbs, request, faults):
            return await proceed()
        try:
            await proceed()
        except Error:
            pass
        raise _unavailable("the answer was lost", request)

    return lose


def resend(one_in: int = 3, verbs: Collection[str] = ("put",)) -> Fault:
    """The request is carried out twice, as HTTP clients do by themselves when a connection breaks, and the second
    answer is reported: a create gets `PreconditionFailed` for its own success.
    """

    async def again(request: Request, proceed: Proceed, faults: FaultyStorage) -> Any:
        if _strikes(one_in, verbs, request, faults):
            try:
                await proceed()
            except PreconditionFailed:
                pass
        return await proceed()

    return again


def drop_requests(one_in: int = 3, verbs: Collection[str] = ALL) -> Fault:
    """The request never arrives: `Unavailable`."""

    async def drop(request: Request, proceed: Proceed, faults: FaultyStorage) -> Any:
        if _strikes(one_in, verbs, request, faults):
            raise _unavailable("the request was dropped", request)
        return await proceed()

    return drop


def offline() -> Fault:
    """No request arrives."""
    return drop_requests(one_in=1)


def late(one_in: int = 3, seconds: float | Callable[[], float] = 60.0, verbs: Collection[str] = WRITES) -> Fault:
    """The caller gets `Unavailable` at once, and the request arrives that many seconds later."""

    async def delay(request: Request, proceed: Proceed, faults: FaultyStorage) -> Any:
        if not _strikes(one_in, verbs, request, faults):
            return await proceed()

        async def arrive() -> None:
            await faults.clock.sleep(seconds() if callable(seconds) else seconds)
            try:
                await proceed()
            except Error:
                pass

        faults.later(arrive())
        raise _unavailable("the request is late", request)

    return delay


def throttle(one_in: int = 3, retry_after: float | None = None, verbs: Collection[str] = ALL) -> Fault:
    """The request is refused: `Throttled`, with the given ``Retry-After`` in seconds."""

    async def refuse(request: Request, proceed: Proceed, faults: FaultyStorage) -> Any:
        if _strikes(one_in, verbs, request, faults):
            raise Throttled(
                "slow down",
                operation=request.verb,
                object=request.name,
                retry_after=retry_after,
                date=faults.clock.now(),
            )
        return await proceed()

    return refuse


def deny(one_in: int = 1, verbs: Collection[str] = ALL) -> Fault:
    """The request is refused: `AccessDenied`."""

    async def refuse(request: Request, proceed: Proceed, faults: FaultyStorage) -> Any:
        if _strikes(one_in, verbs, request, faults):
            raise AccessDenied("the credentials were refused", operation=request.verb, object=request.name)
        return await proceed()

    return refuse


def fail_on(predicate: Callable[[Request], bool], error: Callable[[], BaseException]) -> Fault:
    """A request selected by the predicate is not carried out; it raises the result of ``error``."""

    async def fail(request: Request, proceed: Proceed, faults: FaultyStorage) -> Any:
        if predicate(request):
            raise error()
        return await proceed()

    return fail


def _strikes(one_in: int, verbs: Collection[str], request: Request, faults: FaultyStorage) -> bool:
    return request.verb in verbs and faults.rng.randrange(one_in) == 0


def _unavailable(what: str, request: Request) -> Unavailable:
    return Unavailable(what, operation=request.verb, object=request.name)
