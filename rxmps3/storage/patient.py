"""Retries: for one action, and for a storage whose reads and deletes are retried a few times."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from rxmps3.errors import Unavailable
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.storage.base import Storage
from rxmps3.storage.wrapper import Request, StorageWrapper

__all__ = ["PatientStorage", "patiently"]

T = TypeVar("T")

_ATTEMPTS = 6


async def patiently(action: Callable[[], Awaitable[T]], clock: Clock, backoff: Backoff, attempts: int = _ATTEMPTS) -> T:
    """Run an action, retrying up to a limit if there is no answer. The action has to be idempotent."""
    for failures in range(1, attempts):
        try:
            return await action()
        except Unavailable as error:
            await clock.sleep(backoff.wait(failures, error, clock.rng))
    return await action()


class PatientStorage(StorageWrapper):
    """Tries idempotent requests up to six times.

    Puts are not retried: the caller has to read back their outcome.

    Args:
        inner: the storage.
        clock: for the waits.
        backoff: the length of the waits.
    """

    def __init__(self, inner: Storage, clock: Clock, backoff: Backoff | None = None) -> None:
        super().__init__(inner)
        self._clock = clock
        self._backoff = backoff or Backoff()

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if request.verb == "put":
            return await proceed()
        return await patiently(proceed, self._clock, self._backoff)
