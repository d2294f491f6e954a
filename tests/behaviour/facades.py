"""Both faces of a database for tests that are written once.

The tests are written for the async face, `rxmps3.Database`. On the blocking one they hold a `Beside`: each of its words
calls the same word of a `rxmps3.blocking.Database`, in a thread of its own where that word blocks.

Three things differ between the faces, and are levelled here:

- What has been delivered when a write or a subscription returns on the event loop is handed over to the thread
  ``rxmps3 blocking`` from elsewhere. So each word of `Beside` ends with one turn of that thread, and where a test
  disposes or uses an Observable by itself it says `turn`.
- Between two awaits of a test nothing is requested on its own event loop, but much could be in another thread. So
  requests wait until the test waits (`_InStep`).
- What a test does to the loop of its databases (`ManualClock.advance`, `settle`) is done on that loop.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import pytest
from reactivex import Observable
from reactivex.abc import DisposableBase

import rxmps3
import rxmps3.blocking
import rxmps3.database.connection
import rxmps3.testing
from rxmps3.blocking.iteration import BlockingIteration
from rxmps3.blocking.portal import portal
from rxmps3.storage import Storage, open_storage
from rxmps3.testing import Request, StorageWrapper
from tests.mutating import Mutant

__all__ = [
    "Beside",
    "ManualClock",
    "close_within",
    "connect",
    "home_tasks",
    "home_thread",
    "is_blocking",
    "on_face",
    "settle",
    "turn",
]

T = TypeVar("T")
FACES = ("async", "blocking")
HOME = "rxmps3 blocking"
"""The documented name of the thread that observers run on."""

_blocking = False
_under_way: dict[Future[Any], threading.Thread] = {}
"""The calls of this test that have not ended, each with its thread."""
_calls = 0
"""How many calls of `Beside` are under way."""
_awaited = 0
"""For how many things the test waits but receipts, whose refusals are told to somebody else if they come first."""
_test_loop: asyncio.AbstractEventLoop | None = None
_out_of_step = 0
"""How many requests wait for the test to wait."""


@contextmanager
def on_face(face: str, ends_within: float = 30.0) -> Generator[None, None, None]:
    """Inside, `connect` opens databases with this face.

    A call that was left under way, and does not end within so many seconds, is an error.
    """
    global _blocking
    if face == "async":
        yield
        return
    _blocking = True
    try:
        with pytest.MonkeyPatch.context() as patch:
            Mutant(patch).replace(
                open_storage,
                lambda *what, **how: _InStep(open_storage(*what, **how)),
                within=rxmps3.database.connection,
            )
            yield
    finally:
        _blocking = False
        stuck = wait(list(_under_way), timeout=ends_within).not_done
        _under_way.clear()  # what is stuck is told once, and its thread is a daemon
        assert not stuck, f"{len(stuck)} calls never end"


def is_blocking() -> bool:
    """Whether the blocking face is the one under test."""
    return _blocking


def connect(url: str | Storage, **options: Any) -> Any:
    """``rxmps3.connect`` on the face under test: to be awaited or entered."""
    if not is_blocking():
        return rxmps3.connect(url, **options)
    global _test_loop
    _test_loop = asyncio.get_running_loop()
    where = url if isinstance(url, str) else _in_step.setdefault(url, _InStep(url))
    return _Connecting(partial(rxmps3.blocking.connect, where, **options))


class _InStep(StorageWrapper):
    """Carries requests out while the test waits."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self._test = _test_loop

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        global _out_of_step
        if not _awaited and self._test is not None and not self._test.is_closed():
            _out_of_step += 1
            try:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_nothing(), self._test))
            finally:
                _out_of_step -= 1
        return await proceed()


_in_step: WeakKeyDictionary[Storage, _InStep] = WeakKeyDictionary()
"""What is opened twice is still one storage."""


def own_memory(name: str) -> str:
    """The URL of a memory by a name of the face's own: what has one name in a process is one memory."""
    return f"memory:{name}-{FACES[is_blocking()]}"


def close_within(database: Any, seconds: float) -> None:
    """Let leaving the database's block give pending writes no more time than that."""
    database = database.blocking if is_blocking() else database
    database.close = partial(database.close, timeout=seconds)


# -- the loop of the databases -----------------------------------------------------------------------------------


def home_thread() -> int:
    """The thread that observers run on."""
    if not is_blocking():
        return threading.get_ident()
    return next(thread.ident or 0 for thread in threading.enumerate() if thread.name == HOME)


def home_tasks() -> set[asyncio.Task[Any]]:
    """What runs on the event loop of the databases."""
    return asyncio.all_tasks(portal().loop if is_blocking() else None)


async def turn() -> None:
    """Go on once what was handed over to the thread of the observers is done; on the async face that is so already."""
    if is_blocking():
        await _there(_nothing)


async def settle() -> None:
    """Return when every other task, of the databases and of the test, waits for time or another task."""
    if is_blocking():
        calls = _calls
        await _there(rxmps3.testing.settle)
        while _out_of_step or await _some_returned(calls):
            calls = _calls
            await _there(rxmps3.testing.settle)
    await rxmps3.testing.settle()


async def _some_returned(calls: int) -> bool:
    """Give the threads of calls under way a moment; say whether some have come back, or are at work."""
    if calls:
        await asyncio.sleep(0.004)
    return _calls < calls or any(_is_at_work(thread) for thread in list(_under_way.values()))


def _is_at_work(thread: threading.Thread) -> bool:
    """Whether the thread of a call will go on by itself: it does not wait for what has not happened yet."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or frame.f_code is not threading.Condition.wait.__code__:
        return True
    while frame is not None:
        code, of = frame.f_code, frame.f_locals.get("self")
        if code is Future.result.__code__:
            return of.done()
        if code is BlockingIteration.__next__.__code__:
            return bool(of._items or of._ended)
        if code is Beside._served.__code__:
            return True
        frame = frame.f_back
    return False


async def _nothing() -> None: ...


async def _there(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with _waiting():
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), portal().loop))


@contextmanager
def _waiting() -> Generator[None, None, None]:
    global _awaited
    _awaited += 1
    try:
        yield
    finally:
        _awaited -= 1


class ManualClock(rxmps3.testing.ManualClock):
    """The clock of databases with the face under test, moved by the test."""

    async def advance(self, seconds: float = 0.0) -> None:
        await settle()
        move = partial(super().advance, seconds)
        await (_there(move) if is_blocking() else move())
        await settle()


# -- a blocking database with an async face ----------------------------------------------------------------------


class _Connecting:
    """A database about to be opened, or what closes when it is left."""

    def __init__(self, open_database: Callable[[], rxmps3.blocking.Database]) -> None:
        self._open = open_database
        self._beside: Beside | None = None

    def __await__(self) -> Generator[Any, None, Beside]:
        return self._opened().__await__()

    async def _opened(self) -> Beside:
        with _waiting():
            return Beside(await _in_a_thread(self._open))

    async def __aenter__(self) -> Beside:
        self._beside = await self
        return self._beside

    async def __aexit__(self, *error: Any) -> None:
        assert self._beside is not None
        await self._beside.__aexit__(*error)


async def _in_a_thread(call: Callable[[], T]) -> T:
    global _calls
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    thread = threading.Thread(target=run, name="beside", daemon=True)
    _calls += 1
    try:
        _under_way[future] = thread
        future.add_done_callback(lambda _: _under_way.pop(future, None))
        thread.start()
        return await asyncio.wrap_future(future)
    finally:
        _calls -= 1


class Beside:
    """A blocking database with the words of an async one."""

    def __init__(self, database: rxmps3.blocking.Database) -> None:
        self.blocking = database

    def _served(self, result: T) -> T:
        """Let the thread of the observers have its turn, unless this is that thread."""
        if threading.current_thread().name != HOME:
            done = threading.Event()
            self.blocking.scheduler.schedule(lambda *_: done.set())
            assert done.wait(30), "the thread of the observers is stuck"
        return result

    async def _in_turn(self, call: Callable[[], T]) -> T:
        def and_turn() -> T:
            try:
                return call()
            finally:
                self._served(None)

        return await _in_a_thread(and_turn)

    async def _blocked(self, call: Callable[[], T]) -> T:
        with _waiting():
            return await self._in_turn(call)

    def _awaitable(self, written: Any) -> Any:
        return self._served(_Waited(written, self._in_turn))

    def put(self, key: str, value: Any, **where: Any) -> Any:
        return self._awaitable(self.blocking.put(key, value, **where))

    def put_all(self, values: Mapping[str, Any], **where: Any) -> Any:
        return self._awaitable(self.blocking.put_all(values, **where))

    def put_file(self, key: str, path: Any, **how: Any) -> Any:
        return self._awaitable(self.blocking.put_file(key, path, **how))

    async def get_file(self, key: str, path: Any) -> Any:
        return await self._blocked(lambda: self.blocking.get_file(key, path))

    def delete(self, key: str, **where: Any) -> Any:
        return self._awaitable(self.blocking.delete(key, **where))

    def create(self, key: str, value: Any) -> Any:
        return self._awaitable(self.blocking.create(key, value))

    def patch(self, key: str, patch: Any) -> Any:
        return self._awaitable(self.blocking.patch(key, patch))

    def merge(self, key: str, value: Any, schema: Any = None) -> Any:
        return self._awaitable(self.blocking.merge(key, value, schema))

    async def transact(self, fn: Callable[[Any], Any], *attempts: int, **options: int) -> Any:
        plain = _plain(lambda tx: fn(_Transacting(tx)))
        return await self._blocked(lambda: self.blocking.transact(plain, *attempts, **options))

    async def update(self, key: str, fn: Callable[[Any], Any], *default: Any, **options: Any) -> Any:
        plain = _plain(fn)
        return await self._blocked(lambda: self.blocking.update(key, plain, *default, **options))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[_Transacting]:
        inner = self.blocking.transaction()
        tx = await self._blocked(inner.__enter__)
        try:
            yield _Transacting(tx)
        except BaseException as error:
            left = (type(error), error, error.__traceback__)
            if not await self._blocked(lambda: inner.__exit__(*left)):
                raise
        else:
            await self._blocked(lambda: inner.__exit__(None, None, None))

    async def undo(self) -> str:
        return await self._blocked(self.blocking.undo)

    async def redo(self) -> str:
        return await self._blocked(self.blocking.redo)

    def new_key(self, prefix: str = "") -> str:
        return self.blocking.new_key(prefix)

    async def get(self, key: str, default: Any = None) -> Any:
        return await self._blocked(lambda: self.blocking.get(key, default))

    async def get_many(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        return await self._blocked(lambda: self.blocking.get_many(keys, default))

    async def get_prefix(self, prefix: str = "", **window: Any) -> dict[str, Any]:
        return await self._blocked(lambda: self.blocking.get_prefix(prefix, **window))

    async def refresh(self) -> None:
        await self._blocked(self.blocking.refresh)

    async def read_texts(self, entries: Mapping[str, rxmps3.Entry]) -> dict[str, str]:
        return await self._blocked(lambda: self.blocking.read_texts(entries))

    async def compact(self, **options: Any) -> Any:
        return await self._blocked(lambda: self.blocking.compact(**options))

    def keys(self, prefix: str = "") -> list[str]:
        return self.blocking.keys(prefix)

    def __contains__(self, key: object) -> bool:
        return key in self.blocking

    def __len__(self) -> int:
        return len(self.blocking)

    def observe(self, key: str, default: Any = None) -> Observable[Any]:
        return self.blocking.observe(key, default)

    def observe_many(self, *keys: str, default: Any = None) -> Observable[Mapping[str, Any]]:
        return self.blocking.observe_many(*keys, default=default)

    def observe_prefix(self, prefix: str = "", **window: Any) -> Observable[Mapping[str, Any]]:
        return self.blocking.observe_prefix(prefix, **window)

    def collection(self, *sources: Any, T: Any = None) -> rxmps3.Collection[Any, Any]:
        return self.blocking.collection(*sources, T=T)

    def subscribe(self, key: str, on_next: Callable[[Any], None], default: Any = None) -> DisposableBase:
        return self.blocking.subscribe(key, on_next, default)

    def changes(self, prefix: str = "") -> Observable[rxmps3.Change]:
        return self.blocking.changes(prefix)

    def key(self, key: str, *type_and_default: Any, **options: Any) -> rxmps3.Key[Any]:
        """The key itself; what writes to it ends with a turn, too."""
        found = self.blocking.key(key, *type_and_default, **options)
        for word in ("put", "delete", "patch", "on_next", "on_error"):
            setattr(found, word, self._writes(getattr(found, word)))
        found.update = self._updates(found.update)
        return found

    def _updates(self, update: Callable[..., Any]) -> Any:
        def updated(fn: Callable[[Any], Any], **options: Any) -> Any:
            plain = _plain(fn)
            return self._blocked(lambda: update(plain, **options))

        return updated

    def _writes(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any, **options: Any) -> Any:
            receipt = self._served(write(*arguments, **options))
            return receipt and _Waited(receipt, self._in_turn)

        return written

    def iterate(self, observable: Observable[T], keep: int | Literal["all"] = 1) -> Any:
        return _Iterated(self.blocking.iterate(observable, keep))

    async def at(self, when: Any) -> BesidePast:
        return BesidePast(self, await self._blocked(lambda: self.blocking.at(when)))

    def history(self, key: str) -> Any:
        return _Read(self.blocking.history(key), self._blocked)

    async def diff(self, a: Any, b: Any) -> Any:
        return await self._blocked(lambda: self.blocking.diff(_past_of(a), _past_of(b)))

    def replay(self, *span: Any, **options: Any) -> Any:
        return _Read(self.blocking.replay(*span, **options), self._blocked)

    async def restore(self, when: Any, *prefix: str, **options: str) -> str:
        return await self._blocked(lambda: self.blocking.restore(_past_of(when), *prefix, **options))

    async def tag(self, name: str) -> str:
        return await self._blocked(lambda: self.blocking.tag(name))

    async def untag(self, name: str) -> None:
        await self._blocked(lambda: self.blocking.untag(name))

    async def tags(self) -> dict[str, str]:
        return await self._blocked(self.blocking.tags)

    def presence(self, me: Any = None, **options: Any) -> rxmps3.Presence:
        return self.blocking.presence(me, **options)

    versions = property(lambda self: self.blocking.versions)
    errors = property(lambda self: self.blocking.errors)
    states = property(lambda self: self.blocking.states)
    pending = property(lambda self: self.blocking.pending)
    status = property(lambda self: self.blocking.status)
    scheduler = property(lambda self: self.blocking.scheduler)
    key_limit = property(lambda self: self.blocking.key_limit)
    name = property(lambda self: self.blocking.name)
    by = property(lambda self: self.blocking.by)
    protocol = property(lambda self: self.blocking.protocol)

    def manifest(self, name: str) -> Beside:
        return Beside(self.blocking.manifest(name))

    async def close(self, *timeout: float, **options: float) -> None:
        await self._blocked(lambda: self.blocking.close(*timeout, **options))

    async def __aenter__(self) -> Beside:
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._blocked(lambda: self.blocking.__exit__(*error))

    def __repr__(self) -> str:
        return repr(self.blocking)


class BesidePast:
    """A blocking past with the words of an async one."""

    def __init__(self, database: Beside, past: Any) -> None:
        self._database = database
        self.past = past

    async def get(self, key: str, default: Any = None) -> Any:
        return await self._database._blocked(lambda: self.past.get(key, default))

    async def get_many(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        return await self._database._blocked(lambda: self.past.get_many(keys, default))

    async def get_prefix(self, prefix: str = "", **window: Any) -> dict[str, Any]:
        return await self._database._blocked(lambda: self.past.get_prefix(prefix, **window))

    async def read_texts(self, entries: Mapping[str, rxmps3.Entry]) -> dict[str, str]:
        return await self._database._blocked(lambda: self.past.read_texts(entries))

    def __contains__(self, key: object) -> bool:
        return key in self.past

    def __len__(self) -> int:
        return len(self.past)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.past, name)


def _past_of(when: Any) -> Any:
    return when.past if isinstance(when, BesidePast) else when


class _Read:
    """A `rxmps3.blocking.BlockingRecorded`, which is awaited and iterated asynchronously."""

    def __init__(self, recorded: Any, blocked: Callable[[Callable[[], Any]], Coroutine[Any, Any, Any]]) -> None:
        self._recorded = recorded
        self._blocked = blocked

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._blocked(lambda: list(self._recorded)).__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        items, end = iter(self._recorded), object()
        while (item := await self._blocked(lambda: next(items, end))) is not end:
            yield item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorded, name)


def _plain(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that blocks until what another one returns is done, on the loop of the test."""
    loop = asyncio.get_running_loop()

    def call(argument: Any) -> Any:
        result = fn(argument)
        return asyncio.run_coroutine_threadsafe(result, loop).result() if asyncio.iscoroutine(result) else result

    return call


class _Transacting:
    """A `rxmps3.blocking.Transaction` whose reads are awaited."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def get(self, key: str, default: Any = None) -> Any:
        return await _in_a_thread(lambda: self._inner.get(key, default))

    async def get_many(self, keys: Iterable[str], default: Any = None) -> Any:
        return await _in_a_thread(lambda: self._inner.get_many(keys, default))

    async def get_prefix(self, prefix: str = "", **window: Any) -> Any:
        return await _in_a_thread(lambda: self._inner.get_prefix(prefix, **window))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Waited:
    """A receipt, or one of its milestones, whose ``wait`` is awaited."""

    def __init__(self, receipt: Any, in_turn: Callable[[Callable[[], Any]], Coroutine[Any, Any, Any]]) -> None:
        self._receipt = receipt
        self._in_turn = in_turn

    def __await__(self) -> Generator[Any, None, str]:
        return self._in_turn(self._receipt.wait).__await__()

    @property
    def stored(self) -> _Waited:
        return _Waited(self._receipt.stored, self._in_turn)

    def __getitem__(self, manifest: str) -> _Waited:
        return _Waited(self._receipt[manifest], self._in_turn)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receipt, name)

    def __eq__(self, other: object) -> bool:
        return self._receipt is (other._receipt if isinstance(other, _Waited) else other)

    def __hash__(self) -> int:
        return hash(self._receipt)


class _Iterated:
    """A `rxmps3.blocking.BlockingIteration`, asynchronously; one that is cancelled waits on until it is left."""

    def __init__(self, iteration: Any) -> None:
        self._iteration = iteration

    async def __aenter__(self) -> AsyncIterator[Any]:
        self._items = self._iteration.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await _in_a_thread(lambda: self._iteration.__exit__(*error))

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        end = object()
        item = await _in_a_thread(lambda: next(self._items, end))
        if item is end:
            raise StopAsyncIteration
        return item
