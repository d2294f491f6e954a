"""What the tests of behaviour share: players, traces, waiting, and storages that a test holds in its hand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from reactivex import Observable, Subject

import rxmps3
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, MemoryStorage, Storage, list_all, open_storage
from rxmps3.testing import Request, StorageWrapper
from tests.behaviour.facades import ManualClock, connect, is_blocking, settle
from tests.conftest import Place

T = TypeVar("T")

LARGE = "L" * 5000
"""A value over the default inline limit."""


def trace(observable: Observable[Any]) -> list[Any]:
    """What an observable emits, in order; its end as ``"completed"`` or the error."""
    events: list[Any] = []
    observable.subscribe(events.append, events.append, lambda: events.append("completed"))
    return events


async def eventually(condition: Callable[[], Any], *, what: str = "") -> None:
    """Wait until a condition holds; the time limit of the test is the only other end."""
    try:
        while not condition():
            await asyncio.sleep(0.002)
    except asyncio.CancelledError as cancelled:
        raise AssertionError(f"never came true: {what or condition}") from cancelled


async def soon(clock: ManualClock, awaitable: Awaitable[T], hours: float = 0.5) -> T:
    """The result of something that needs the clock to move on, within so many hours of that clock."""
    task, deadline = asyncio.ensure_future(awaitable), clock.monotonic() + hours * 3600
    await settle()
    while not task.done():
        assert clock.monotonic() < deadline, f"not within {hours} h: {task}"
        await clock.advance(5)
    return task.result()


async def looks(*databases: rxmps3.Database) -> None:
    """Let each of these databases read to the end of the log."""
    for database in databases:
        await database.refresh()


@asynccontextmanager
async def players(where: Place | Storage, *names: str, **options: Any) -> AsyncIterator[tuple[rxmps3.Database, ...]]:
    """Databases of their own on one place, one per name, as different programs would have.

    Unless ``poll`` is given they look only when asked to: by ``refresh``, or by ``get`` a second after the last look.
    They share one connection to a server, which saves time; `player` opens one of its own. On the blocking face
    each has its own: a connection belongs to one event loop.
    """
    options.setdefault("poll", Subject[None]())
    if isinstance(where, Place):
        options.setdefault("protocol", where.protocol)
    async with AsyncExitStack() as stack:
        if not is_blocking():
            where = await stack.enter_async_context(_opened(where))
        yield tuple([await stack.enter_async_context(player(where, by=name, **options)) for name in names])


@asynccontextmanager
async def _opened(where: Place | Storage) -> AsyncIterator[Storage]:
    if not isinstance(where, Place):
        yield where
        return
    storage = open_storage(where.url, clock=SystemClock(), **where.options)
    try:
        yield storage
    finally:
        await storage.close()


def player(where: Place | Storage, **options: Any) -> Any:
    """One database of its own, a `rxmps3.Connecting` or what stands for it on the blocking face."""
    if isinstance(where, Place):
        options.setdefault("protocol", where.protocol)
        return connect(where.url, **where.options, shared=False, **options)
    return connect(where, shared=False, **options)


async def raw(where: Place | Storage, action: Callable[[Storage], Awaitable[T]]) -> T:
    """Do something to a place's storage itself, behind the library's back."""
    async with _opened(where) as storage:
        return await action(storage)


async def names(where: Place | Storage, prefix: str = "") -> list[str]:
    """The names of all objects."""
    return await raw(where, lambda storage: _names(storage, prefix))


async def _names(storage: Storage, prefix: str) -> list[str]:
    return sorted(listed.name for listed in await list_all(storage, prefix))


async def body(storage: Storage, name: str) -> bytes:
    """An object's bytes; it has to be there."""
    found = await storage.get(name)
    assert isinstance(found, Found), name
    return found.body


@dataclass
class Held:
    """One request that a `Gate` holds."""

    request: Request
    _verdict: asyncio.Future[Exception | None]

    def let_go(self) -> None:
        """Carry it out."""
        self._end(None)

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._verdict.cancelled()

    def fail(self, error: Exception) -> None:
        """Answer with an error instead."""
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        """May be called from any thread."""

        def end() -> None:
            if not self._verdict.done():
                self._verdict.set_result(error)

        if is_blocking():
            self._verdict.get_loop().call_soon_threadsafe(end)
        else:
            end()


class Gate(StorageWrapper):
    """A storage that holds requests until the test lets them go.

    Args:
        inner: the storage.
        part: what the name of a request to be held contains; downloads of large values by default.
        verbs: which requests.
        shut: whether it holds requests from the start.
    """

    def __init__(
        self,
        inner: Storage | None = None,
        part: str = "/values/",
        verbs: Collection[str] = ("get",),
        *,
        shut: bool = True,
    ) -> None:
        super().__init__(MemoryStorage() if inner is None else inner)
        self.part = part
        self.verbs = verbs
        self.shut = shut
        self._held: deque[Held] = deque()

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if self.shut and request.verb in self.verbs and self.part in request.name:
            verdict: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
            self._held.append(Held(request, verdict))
            error = await verdict
            if error is not None:
                raise error
        return await proceed()

    async def held(self) -> Held:
        """The next request that is held, once there is one."""
        await eventually(lambda: self._held, what="a request is held")
        return self._held.popleft()

    @property
    def holding(self) -> int:
        """How many held requests the test has not taken yet."""
        return len(self._held)

    def open(self) -> None:
        """Hold nothing any more, and let go what is held and not taken yet."""
        self.shut = False
        while self._held:
            self._held.popleft().let_go()


class Switch(StorageWrapper):
    """A storage that can be out of order: while ``error`` is set, requests of ``verbs`` raise a new one.

    Only those whose names hold ``part``.
    """

    def __init__(self, inner: Storage | None = None, verbs: Collection[str] = ("get", "put", "list", "delete")) -> None:
        super().__init__(MemoryStorage() if inner is None else inner)
        self.verbs = verbs
        self.part = ""
        self.error: Callable[[], Exception] | None = None
        self.refused = 0

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if self.error is not None and request.verb in self.verbs and self.part in request.name:
            self.refused += 1
            raise self.error()
        return await proceed()


def offline() -> Exception:
    """What a storage out of reach answers."""
    return rxmps3.Unavailable("no route to host", operation="test")
