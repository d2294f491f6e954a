"""Optimistic transactions: consistent reads, and writes that are committed only if nothing read has changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from copy import deepcopy
from inspect import isawaitable
from typing import Any, TypeVar, cast

from rxmps3.database.prefix import under
from rxmps3.errors import Closed, Conflict, Error, InvalidKey, InvalidOption, InvalidValue
from rxmps3.model import valuetext
from rxmps3.model.conditions import Conditions, Range, Seen, broken, seen
from rxmps3.model.missing import MISSING
from rxmps3.model.sortedkeys import check_prefix, check_window, several, window, with_default
from rxmps3.model.state import Entry
from rxmps3.replica import Replica
from rxmps3.replica.claims import Claim
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.writer import Draft
from rxmps3.runtime.backoff import full_jitter
from rxmps3.storage.patient import patiently

__all__ = [
    "Transaction",
    "Transactions",
    "changed",
    "check_alone",
    "check_function",
    "check_values",
    "conditions_of",
    "names_of",
    "of_one_key",
]

_FIRST_WAIT = 0.005
_LONGEST_WAIT = 0.2
"""Seconds. The third attempt waits for a random time of at most the first of these, each later one of at most twice as
much as the one before it, up to the second: a client that waits for longer misses its turn among the writers."""
_LOOKS = 2
"""So often the end of the log is looked for at most while news keep coming: somebody who commits all the time must be
competed with in the end."""
_TRIES = 5
"""How often a look is tried without an answer."""

T = TypeVar("T")
_running: ContextVar[Claim | None] = ContextVar("_running", default=None)
"""The claim of the transaction whose function is running."""
ReadTexts = Callable[[Mapping[str, Entry]], Awaitable[Mapping[str, str]]]


class Transaction:
    """A consistent snapshot, and changes to it that become visible only when committed together.

    It reads its own changes. Everything it reads becomes a condition: keys, existing or not, and the whole content of a
    prefix. If any of that has changed by the time of the commit, nothing is committed. Keys written without being read
    are not conditions.

    Attributes:
        version: the version id of its commit; "" before that, or if it changed nothing.
    """

    def __init__(self, replica: Replica, read_texts: ReadTexts, claim: Claim) -> None:
        self._replica = replica
        self._view = replica.view
        self._claim = claim
        self._read_texts = read_texts
        self._seen: dict[str, Seen | None] = {}
        self._ranges: list[Range] = []
        self._changes: dict[str, str | None] = {}
        self._over = False
        self.version = ""

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, as this transaction sees it; ``default`` if there is none.

        Raises:
            InvalidKey: no storage could hold such a key.
            Unavailable, AccessDenied: the value could not be fetched.
            Closed: the transaction is over.
        """
        return (await self.get_many((key,), default))[key]

    async def get_many(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        """The values of several keys, in the order asked for. Otherwise as `get`."""
        self._check_running()
        asked = tuple(map(self._replica.placing.check_key, several(keys, "get_many")))
        self._replica.check_loaded((key for key in asked if key not in self._changes), "get")
        await self._claim.take([key for key in asked if key not in self._changes])
        self._check_running()
        self._go_forward()
        for key in asked:
            if key not in self._changes:
                self._seen[key] = seen(self._view.look_up(key))
        found = await self._values(asked)
        return with_default(asked, found, default)

    async def get_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None
    ) -> dict[str, Any]:
        """The values of the keys under a prefix, sorted; only the first or last n if asked. Otherwise as `get`."""
        self._check_running()
        check_prefix(prefix)
        check_window(first, last)
        await self._claim.take(prefixes=[prefix])
        self._check_running()
        self._go_forward()
        changed = {key: text for key, text in self._changes.items() if key.startswith(prefix)}
        there = self._under(prefix, None, None) if changed else self._under(prefix, first, last)
        present = sorted({*there, *changed} - {key for key, text in changed.items() if text is None})
        return await self._values(window(present, first, last))

    def entries(self, prefix: str = "") -> Mapping[str, Entry]:
        """The entries under a prefix, sorted by key, without its own changes. No I/O. They become conditions, as in a
        read."""
        self._check_running()
        check_prefix(prefix)
        self._claim.ask(prefixes=[prefix])
        self._go_forward()
        return self._under(prefix, None, None)

    def _go_forward(self) -> None:
        """Read from the newest view, unless something that was read has changed."""
        view = self._replica.view
        if view is not self._view and not broken(Conditions(self._seen, tuple(self._ranges)), view, {}):
            self._view = view

    def _under(self, prefix: str, first: int | None, last: int | None) -> dict[str, Entry]:
        self._replica.check_loaded_under((prefix,), "get_prefix")
        there = dict(under(self._view, prefix, first, last))
        self._ranges.append(Range(prefix, first, last, {key: Seen.of(entry) for key, entry in there.items()}))
        return there

    async def _values(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of the given keys that exist, in order."""
        stored = {
            key: entry for key in keys if key not in self._changes and (entry := self._view.look_up(key)) is not None
        }
        texts: dict[str, str | None] = {**await self._read_texts(stored), **self._changes}
        return {key: valuetext.decode(text, f"key {key!r}") for key in keys if (text := texts.get(key)) is not None}

    # -- changing --------------------------------------------------------------------------------------------

    def put(self, key: str, value: Any) -> None:
        """Set a key; `MISSING` deletes. Raises `InvalidKey`, `InvalidValue`, `Closed`."""
        self.put_all(of_one_key(key, value))

    def put_all(self, values: Mapping[str, Any]) -> None:
        """Set and delete several keys. Otherwise as `put`."""
        self._check_running()
        check_values(values)
        texts = {
            self._replica.placing.check_key(key): None
            if value is MISSING
            else valuetext.encode(value, f"value of key {key!r:.80}")
            for key, value in values.items()
        }
        self._changes.update(texts)

    def delete(self, key: str) -> None:
        """Delete a key; deleting a missing key is allowed."""
        self.put(key, MISSING)

    # -- ending ---------------------------------------------------------------------------------------------

    async def claim_changes(self) -> None:
        """Wait for other transactions of this replica that use what this one has written without reading it."""
        self._check_running()
        await self._claim.take(self._changes)

    def end(self) -> tuple[dict[str, Any], Conditions]:
        """End the transaction; returns its changes and conditions."""
        self._check_running()
        self._over = True
        values = {
            key: MISSING if text is None else valuetext.decode(text, f"value of key {key!r:.80}")
            for key, text in self._changes.items()
        }
        return values, Conditions(self._seen, tuple(self._ranges))

    def abandon(self) -> None:
        """End the transaction, without writing anything if it has not been handed over; other transactions may use its
        keys. Callable on any thread."""
        self._over = True
        self._replica.on_loop(self._claim.release)

    @contextmanager
    def running(self) -> Generator[None]:
        """While the caller's function runs: transactions that it begins do not wait for this one."""
        outer = _running.get()
        _running.set(self._claim)
        try:
            yield
        finally:
            _running.set(outer)

    def _check_running(self) -> None:
        if self._over:
            raise Closed("this transaction is over", operation="transact", remedy="begin another one")


class Transactions:
    """The transactions of one handle.

    Args:
        replica: where they are committed.
        check: that the handle may write.
        read_texts: the texts of entries.
        write: makes a write of the handle.
    """

    def __init__(
        self,
        replica: Replica,
        check: Callable[[str], None],
        read_texts: ReadTexts,
        write: Callable[[Draft], Receipt],
    ) -> None:
        self._replica = replica
        self._check = check
        self._read_texts = read_texts
        self._write = write

    async def begin(self, operation: str = "transact", *, look: bool = True) -> Transaction:
        """Begin a transaction on everything committed before this call.

        It first waits for this client's turn among the writers of the log, so that what it reads is likely to be
        unchanged when its changes are committed.

        Args:
            look: False if the end of the log has been read since the call.

        Raises:
            Unsupported: the manifest's protocol does not support conditions.
            Closed, InvalidOption, Unavailable, AccessDenied, BucketNotFound: it cannot be written or read.
        """
        self._check(operation)
        if not await self._turn() and look:
            await self._look()
        self._replica.check_linear(operation)
        return Transaction(self._replica, self._read_texts, self._replica.claims.begin(_running.get()))

    async def _turn(self) -> bool:
        """As `Replica.turn`; a request that fails in it is repeated by the look."""
        try:
            return await self._replica.turn()
        except Error:
            return False

    async def _look(self) -> None:
        """Read to the end of the log, despite occasional lost requests and fast writers."""
        replica = self._replica
        tries = _TRIES if replica.options.online else 1
        for _ in range(_LOOKS):
            before = replica.reached
            await patiently(replica.look, replica.clock, replica.backoff, tries)
            if replica.reached == before:
                return  # during a long read more may have been committed

    def hand_over(self, transaction: Transaction) -> Receipt | None:
        """End a transaction and make a write of its changes; None if there are none.

        Raises:
            Conflict: something it read has already changed, as known here.
            Closed, InvalidValue, Overloaded: nothing was changed.
        """
        values, conditions = transaction.end()
        if not values:
            return None
        self._check("transact")
        return self._write(Draft(values, conditions, unchanged=True))

    async def commit(self, transaction: Transaction) -> None:
        """Commit what it changed, or raise `Conflict`. Raises as awaiting a receipt does."""
        try:
            await transaction.claim_changes()
            receipt = self.hand_over(transaction)
        finally:
            transaction.abandon()
        if receipt is not None:
            transaction.version = await receipt

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[Transaction]:
        """One attempt; if the body raises, nothing is written."""
        transaction = await self.begin("transaction")
        try:
            with transaction.running():
                yield transaction
        except BaseException:
            transaction.abandon()
            raise
        await self.commit(transaction)

    def attempts(self, most: int, operation: str = "transact") -> Attempts:
        """At most this many attempts. Raises `InvalidOption` if fewer than 1."""
        return Attempts(self, self._replica, most, operation)

    async def run(self, fn: Callable[[Transaction], Awaitable[T] | T], attempts: int, operation: str = "transact") -> T:
        """Call ``fn`` with a transaction and commit it, retrying on conflicts."""
        trying = self.attempts(attempts, operation)
        while True:
            transaction = await trying.begin()
            try:
                with transaction.running():
                    result = fn(transaction)
                    done = await cast("Awaitable[T]", result) if isawaitable(result) else cast("T", result)
            except BaseException:
                transaction.abandon()
                raise
            if await trying.commit(transaction):
                return done


class Attempts:
    """The attempts at one change, until one has no conflict.

    The second begins at once, on the state that the first one met. Later ones first wait for a random time whose bound
    doubles.
    """

    def __init__(self, transactions: Transactions, replica: Replica, most: int, operation: str) -> None:
        if type(most) is not int or most < 1:
            raise InvalidOption(f"attempts is a number of at least 1, not {most!r:.80}", operation=operation)
        self._operation = operation
        self._transactions = transactions
        self._replica = replica
        self._most = most
        self._made = 0

    async def begin(self) -> Transaction:
        """A transaction for the next attempt. Raises as `Transactions.begin`."""
        if self._made > 1:
            wait = full_jitter(self._made - 1, _FIRST_WAIT, _LONGEST_WAIT, self._replica.rng)
            await self._replica.clock.sleep(wait)
        self._made += 1
        look = self._made != 2  # the first attempt has read the log since the call
        return await self._transactions.begin(self._operation, look=look)

    async def commit(self, transaction: Transaction) -> bool:
        """Commit it; returns whether that succeeded. If not, try again.

        Raises:
            Conflict: that was the last attempt.
            Rejected, Closed, NotSent, OutcomeUnknown: as awaiting a receipt.
        """
        try:
            await self._transactions.commit(transaction)
        except Conflict as conflict:
            if self._made == self._most:
                raise Conflict(
                    f"others wrote in between at each of {self._most} attempts; the last time {conflict.what}",
                    operation=self._operation,
                    object=conflict.object,
                    remedy="try again later, allow more attempts, or read fewer keys",
                ) from conflict
            return False
        return True


async def changed(transaction: Transaction, key: str, fn: Callable[[Any], Awaitable[T] | T], default: Any) -> T:
    """Set a key to a function of its value, and return the new value."""
    result = fn(await transaction.get(key, deepcopy(default)))  # the function may change its argument in place
    value = await cast("Awaitable[T]", result) if isawaitable(result) else cast("T", result)
    transaction.put(key, value)
    return value


def check_values(values: object) -> None:
    """Raise `InvalidValue` for what is no mapping, such as a list of pairs."""
    if not hasattr(values, "items"):
        raise InvalidValue(
            f"the values are a mapping of keys to values, not {values!r:.80}", operation="put_all", remedy="give a dict"
        )


def check_function(fn: object, operation: str) -> None:
    """Raise `InvalidOption` for what cannot be called."""
    if not callable(fn):
        raise InvalidOption(f"give a function, not {fn!r:.80}", operation=operation)


def of_one_key(key: str, value: T) -> dict[str, T]:
    """A mapping with one key. Raises `InvalidKey` for one that no mapping takes, such as a list."""
    try:
        return {key: value}
    except TypeError:
        raise InvalidKey(f"a key is a str, not {type(key).__name__}", object=f"key {key!r:.80}") from None


def conditions_of(key: str, if_version: object, operation: str) -> Conditions | None:
    """The condition that a key is at one version; `MISSING` requires that it does not exist.

    Raises:
        InvalidOption: not a version id.
    """
    if if_version is None:
        return None
    if if_version is MISSING:
        return Conditions({key: None})
    if isinstance(if_version, str) and if_version:
        return Conditions({key: Seen(if_version)})
    raise InvalidOption(
        f"if_version is a version id or MISSING, not {if_version!r:.80}",
        operation=operation,
        object=f"key {key!r:.80}",
        remedy="MISSING requires that the key does not exist",
    )


def names_of(manifests: object, operation: str) -> list[str]:
    """The names of several manifests. Raises `InvalidOption` for a single text, and for what is no name."""
    names = list(cast("Iterable[object]", manifests)) if isinstance(manifests, Iterable) else [None]
    if isinstance(manifests, (str, bytes)) or not all(isinstance(name, str) for name in names):
        raise InvalidOption(f"manifests is a list of names, not {manifests!r:.80}", operation=operation)
    if not names:
        raise InvalidOption("manifests is empty", operation=operation)
    return cast("list[str]", names)


def check_alone(if_version: object) -> None:
    """Raise `InvalidOption` if a write into several manifests has ``if_version``."""
    if if_version is not None:
        raise InvalidOption("if_version and manifests cannot be combined", operation="put")
