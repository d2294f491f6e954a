"""The bucket as its server sees it: what is stored, and who is told of each change."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from rxmps3.clock import Random
from rxmps3.storage.base import Found, Missing, NotModified, Page, Precondition, Stored
from rxmps3.storage.memory import MemoryStorage
from rxmps3.testing.virtual import EPOCH, VirtualLoop

__all__ = ["ServerClock", "SimBucket", "Witness", "at_once"]

T = TypeVar("T")


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

    def stored(self, name: str, body: bytes, who: str) -> None:
        """An object was written."""
        ...

    def deleted(self, name: str, who: str) -> None:
        """An object was removed."""
        ...


class SimBucket:
    """One bucket, exact about preconditions and listings; every verb happens at once.

    Args:
        loop: whose time it is.
        frontends: see `plan.Weather`.
        witness: is told of each change.
    """

    def __init__(self, loop: VirtualLoop, frontends: int, witness: Witness) -> None:
        self._objects = MemoryStorage(clock=ServerClock(loop, frontends))
        self._witness = witness

    def get(
        self, name: str, unless: str | None, version: str | None, limit: int | None
    ) -> Found | Missing | NotModified:
        return at_once(self._objects.get(name, unless=unless, version=version, limit=limit))

    def put(self, name: str, body: bytes, when: Precondition | None, sha256: bytes | None, who: str) -> Stored:
        stored = at_once(self._objects.put(name, body, when=when, sha256=sha256))
        self._witness.stored(name, body, who)
        return stored

    def list(self, prefix: str, after: str, cursor: str | None, limit: int) -> Page:
        return at_once(self._objects.list(prefix, after=after, cursor=cursor, limit=limit))

    def delete(self, name: str, version: str | None, who: str) -> None:
        at_once(self._objects.delete(name, version=version))
        self._witness.deleted(name, who)

    def read(self, name: str) -> bytes | None:
        """The bytes of an object, for an oracle."""
        found = at_once(self._objects.get(name))
        return found.body if isinstance(found, Found) else None

    def names(self, prefix: str = "") -> list[str]:
        """All names, for an oracle."""
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = at_once(self._objects.list(prefix, cursor=cursor))
            names += [listed.name for listed in page.objects]
            if page.cursor is None:
                return names
            cursor = page.cursor


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")
