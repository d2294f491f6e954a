"""The blocking face of a database."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack, overload

from reactivex import Observable

from rxmps3.blocking import transaction
from rxmps3.blocking.generated.database import DatabaseDelegation
from rxmps3.blocking.iteration import BlockingIteration
from rxmps3.blocking.key import BlockingKey
from rxmps3.blocking.key_list import KeyList
from rxmps3.blocking.mapping import KeyMapping
from rxmps3.blocking.portal import Portal, at_exit, portal
from rxmps3.blocking.transaction import Transaction
from rxmps3.database import connect as opening
from rxmps3.database import database as client
from rxmps3.database.receipts import Receipts
from rxmps3.database.transaction import check_alone, names_of, of_one_key
from rxmps3.errors import InvalidKey, NotSent
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.replica.receipt import Receipt
from rxmps3.runtime.clock import spawn
from rxmps3.runtime.timeouts import checked_timeout
from rxmps3.storage.base import Storage

__all__ = ["Database", "connect"]

logger = logging.getLogger("rxmps3")

T = TypeVar("T")

_CLOSE_WITHIN = 10.0
_GRACE = 5.0
"""The end of the interpreter is held up no longer than this beyond the time for pending writes."""
_open: set[client.Database] = set()
"""What is to be closed at the end of the interpreter."""
_closings: dict[client.Database, asyncio.Task[None]] = {}
"""What is being closed, and what was closed without anybody having read the result."""


@opening.with_options
def connect(url: str | Storage, **options: Unpack[opening.ConnectOptions]) -> Database:
    """Open a database and block until its state is loaded; the options and errors are those of `rxmps3.connect`.

    It runs on an event loop in a thread shared by all blocking databases of the process. What is pending at interpreter
    exit is sent first, for at most ten seconds.

    Raises:
        WrongLoop: called by an observer, on that very thread.
    """
    connecting = opening.connect(url, **options)
    home = portal()

    async def open_database() -> client.Database:
        return await connecting

    return Database(home, home.call("connect", open_database), root=True)


class Database(DatabaseDelegation, KeyMapping):
    """One handle on one manifest, for blocking code. Created by `connect`.

    Writes return at once with a `rxmps3.Receipt`: ``receipt.wait(timeout)`` blocks until it is committed,
    ``receipt.stored.wait()`` until it survives the process. Reads block until they are done. Everything may be called
    from any thread except the one that observers run on, where a call that would block raises `WrongLoop` at once.

    It is also a mapping: ``db[key]``, ``key in db``, ``len(db)``, ``for key in db``, ``dict(db.items())``. ``in``,
    ``len`` and ``keys`` use the state of the last look and do no I/O; the others look first, as `get` does.

    Observers run on the thread ``rxmps3 blocking``; move on with ``ops.observe_on`` of any scheduler, or with a
    `rxmps3.blocking.UiQueue`.
    """

    def __init__(self, home: Portal, database: client.Database, *, root: bool) -> None:
        self._portal = home
        self._handle = database
        if root:
            _open.add(database)

    @property
    def _database(self) -> client.Database:
        """The async handle. Raises `Closed` in a forked child, where it cannot be used."""
        self._portal.check_process("use")
        return self._handle

    # -- writing ---------------------------------------------------------------------------------------------

    @overload
    def put(self, key: str, value: Any, *, if_version: str | MissingType | None = None) -> Receipt: ...

    @overload
    def put(self, key: str, value: Any, *, manifests: Iterable[str]) -> Receipts: ...

    def put(
        self,
        key: str,
        value: Any,
        *,
        if_version: str | MissingType | None = None,
        manifests: Iterable[str] | None = None,
    ) -> Receipt | Receipts:
        """Set a key, as `rxmps3.Database.put`."""
        if manifests is None:
            return self._database.put(key, value, if_version=if_version)
        check_alone(if_version)
        return self.put_all(of_one_key(key, value), manifests=manifests)

    @overload
    def put_all(self, values: Mapping[str, Any]) -> Receipt: ...

    @overload
    def put_all(self, values: Mapping[str, Any], *, manifests: Iterable[str]) -> Receipts: ...

    def put_all(self, values: Mapping[str, Any], *, manifests: Iterable[str] | None = None) -> Receipt | Receipts:
        """Set and delete several keys in one atomic write, as `rxmps3.Database.put_all`."""
        if manifests is None:
            return self._database.put_all(values)
        if self._portal.is_here:
            return self._database.put_all(values, manifests=manifests)
        names = names_of(manifests, "put_all")

        async def write() -> Receipts:
            return self._database.put_all(values, manifests=names)

        return self._portal.call("put", write)

    @overload
    def delete(self, key: str, *, if_version: str | MissingType | None = None) -> Receipt: ...

    @overload
    def delete(self, key: str, *, manifests: Iterable[str]) -> Receipts: ...

    def delete(
        self, key: str, *, if_version: str | MissingType | None = None, manifests: Iterable[str] | None = None
    ) -> Receipt | Receipts:
        """Delete a key, as `rxmps3.Database.delete`."""
        if manifests is None:
            return self._database.delete(key, if_version=if_version)
        check_alone(if_version)
        return self.put(key, MISSING, manifests=manifests)

    # -- changing what is there ------------------------------------------------------------------------------

    def transact(self, fn: Callable[[Transaction], T], attempts: int = 10) -> T:
        """Read and change several keys as one transaction, as `rxmps3.Database.transact`.

        ``fn`` is a plain function; it runs on this thread, and its argument is used without ``await``.
        """
        return transaction.run(self._portal, client.transactions_of(self._database), fn, attempts)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One attempt of `transact`, for ``with``, as `rxmps3.Database.transaction`."""
        return transaction.one(self._portal, client.transactions_of(self._database))

    def update(self, key: str, fn: Callable[[Any], T], default: Any = None, attempts: int = 10) -> T:
        """Set a key to the result of a plain function of its value, as `rxmps3.Database.update`."""
        return transaction.update(self._portal, client.transactions_of(self._database), key, fn, default, attempts)

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None, *, timeout: float | None = None) -> Any:
        """The value of a key, as `rxmps3.Database.get`; as in a mapping, ``default`` also for what cannot be a key.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        with suppress(InvalidKey):
            return self._portal.call("get", lambda: self._database.get(key, default), timeout)
        return default

    def get_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """The values of the keys under a prefix at one moment, as awaiting `rxmps3.Database.get_prefix` gives them.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("get", lambda: self._database.get_prefix(prefix, first=first, last=last), timeout)

    def keys(self, prefix: str = "") -> KeyList:
        """The keys under a prefix as of the last look, sorted by code point; also a set. No I/O."""
        return KeyList(self._database.keys(prefix))

    def __contains__(self, key: object) -> bool:
        return key in self._database

    def __len__(self) -> int:
        return len(self._database)

    # -- observing -------------------------------------------------------------------------------------------

    @overload
    def key(self, key: str, *, default: Any = None) -> BlockingKey[Any]: ...

    @overload
    def key(self, key: str, type: type[T], default: None = None) -> BlockingKey[T | None]: ...

    @overload
    def key(self, key: str, type: type[T], default: MissingType) -> BlockingKey[T | MissingType]: ...

    @overload
    def key(self, key: str, type: type[T], default: T) -> BlockingKey[T]: ...

    @overload
    def key(self, key: str, type: Any, default: Any = None) -> BlockingKey[Any]: ...

    def key(self, key: str, type: Any = Any, default: Any = None) -> BlockingKey[Any]:
        """A key as a two-way stream, as `rxmps3.Database.key`; its `update` blocks."""
        make = partial(BlockingKey[Any], self._portal, client.transactions_of(self._database))
        return client.make_key(self._database, make, key, type, default)

    def iterate(
        self, observable: Observable[T], keep: int | Literal["all"] = 1, *, timeout: float | None = None
    ) -> BlockingIteration[T]:
        """Iterate over the items of an Observable with ``for``; it is subscribed to immediately.

        Args:
            observable: of this database, or any other.
            keep: how many of the latest items are buffered for a slow consumer; ``"all"`` raises `Overloaded` at
                10,000.
            timeout: seconds to wait for each item before TimeoutError; None waits forever.
        """
        self._portal.check("iterate")
        return BlockingIteration(observable, keep, timeout, lambda: self._portal.check("iterate"))

    # -- upkeep and life -------------------------------------------------------------------------------------

    def manifest(self, name: str) -> Database:
        """A handle on another manifest of the same database; it closes with this one."""

        async def open_manifest() -> client.Database:
            return self._database.manifest(name)

        return Database(self._portal, self._portal.call("manifest", open_manifest), root=False)

    def close(self, timeout: float | None = _CLOSE_WITHIN) -> None:
        """Send what is pending, for at most ``timeout`` seconds, and close. Raises as `rxmps3.Database.close`.

        If the wait is interrupted, closing continues; another ``close``, and the end of the interpreter, wait for it.
        Closing a closed database does nothing.
        """
        if self._portal.in_its_process and self._portal.ended:
            return
        checked_timeout(timeout, "close")
        self._portal.call("close", lambda: _closed(self._database, timeout))

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._portal.in_its_process:  # a forked child leaves the block: there is nothing of its own to close
            return
        try:
            self.close()
        except NotSent as not_sent:
            if error is None:
                raise
            logger.error("%s", not_sent)  # the error on its way out matters more, and is not to be hidden

    def __repr__(self) -> str:
        return f"<blocking {self._handle!r}>"


async def _closed(database: client.Database, timeout: float | None) -> None:
    """Close it, or wait for the closing that is under way."""
    closing = _closings.get(database)
    if closing is None:
        closing = _closings[database] = spawn(database.close(timeout), "rxmps3 close")
    try:
        await asyncio.shield(closing)
    finally:
        if closing.done():
            _closings.pop(database, None)
            _open.discard(database)


def _close_all() -> None:
    """At interpreter exit: send what is pending, of all databases at once."""
    left = list(_open)
    if not left:
        return

    async def close() -> list[BaseException | None]:
        return await asyncio.gather(*(_closed(database, _CLOSE_WITHIN) for database in left), return_exceptions=True)

    try:
        errors = portal().call("close", close, _CLOSE_WITHIN + _GRACE)
    except TimeoutError as error:
        errors = [error]
    except KeyboardInterrupt:
        errors = [_interrupted(database) for database in left if database.pending.value]
    _open.clear()
    for error in errors:
        if error is not None:
            logger.error("%s", error)


def _interrupted(database: client.Database) -> NotSent:
    pending = database.pending.value
    return NotSent(
        f"interrupted with {len(pending)} writes that may not be committed",
        keys=sorted({key for receipt in pending for key in receipt.keys}),
        object=f"manifest {database.name!r}",
    )


def _forget_all() -> None:
    """In a forked child: the databases belong to the parent."""
    _open.clear()
    _closings.clear()


at_exit(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
