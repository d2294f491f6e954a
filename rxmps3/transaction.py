"""Changing what was read: reads of one moment, and writes that are committed only if nothing read has changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any, TypeVar, cast

from rxmps3 import jsontext
from rxmps3.basis import Basis, Range, window
from rxmps3.errors import Closed, Conflict, InvalidOption
from rxmps3.missing import MISSING
from rxmps3.replica import Replica
from rxmps3.retry import full_jitter
from rxmps3.state import Entry, View
from rxmps3.streams.views import check_window

__all__ = ["Transaction", "Transactions", "basis_of", "changed", "counted", "exhausted"]

_BASE = 0.05
"""Seconds that the third attempt waits at most; later ones twice as long each, up to `_CAP`."""
_CAP = 2.0

T = TypeVar("T")
ReadTexts = Callable[[Mapping[str, Entry]], Awaitable[Mapping[str, str]]]


class Transaction:
    """The view of one moment, and changes to it that nobody sees before they are committed together.

    It reads its own changes. What it reads it rests on: the keys, whether they were there or not, and all that there is
    under a prefix. If any of that is something else where the changes would be committed, they are not. Keys that it
    writes without reading them are no part of that.

    Attributes:
        version: the version id of what it has committed, "" before that and where it changed nothing.
    """

    def __init__(self, replica: Replica, read_texts: ReadTexts) -> None:
        self._replica = replica
        self._view = replica.view
        self._read_texts = read_texts
        self._versions: dict[str, str | None] = {}
        self._ranges: list[Range] = []
        self._changes: dict[str, str | None] = {}
        self._over = False
        self.version = ""

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, as this transaction sees it; ``default`` if there is none.

        Raises:
            InvalidKey: no storage could hold such a key.
            Unavailable, AccessDenied: the value is not at hand.
            Closed: the transaction is over.
        """
        return (await self.get_many((key,), default))[key]

    async def get_many(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        """The values of several keys, in the order asked for. Otherwise as `get`."""
        self._check_running()
        asked = tuple(self._replica.placing.check_key(key) for key in keys)
        for key in asked:
            if key not in self._changes:
                entry = self._view.look_up(key)
                self._versions.setdefault(key, None if entry is None else entry.version)
        found = await self._values(asked)
        return {key: found.get(key, default) for key in asked}

    async def get_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None
    ) -> dict[str, Any]:
        """The values of the keys under a prefix, sorted; only the first or last n if asked. Otherwise as `get`."""
        self._check_running()
        check_window(first, last)
        changed = {key: text for key, text in self._changes.items() if key.startswith(prefix)}
        there = _keys(self._replica, self._view, prefix)
        seen, bounds = (there, (None, None)) if changed else (window(there, first, last), (first, last))
        self._ranges.append(Range(prefix, *bounds, {key: self._view[key].version for key in seen}))
        present = sorted({*there, *changed} - {key for key, text in changed.items() if text is None})
        return await self._values(window(present, first, last))

    async def _values(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those of these keys that are present, in their order."""
        stored = {
            key: entry for key in keys if key not in self._changes and (entry := self._view.look_up(key)) is not None
        }
        texts: dict[str, str | None] = {**await self._read_texts(stored), **self._changes}
        return {key: jsontext.decode(text, f"key {key!r}") for key in keys if (text := texts.get(key)) is not None}

    # -- changing --------------------------------------------------------------------------------------------

    def put(self, key: str, value: Any) -> None:
        """Set a key; `MISSING` deletes. Raises `InvalidKey`, `InvalidValue`, `Closed`."""
        self.put_all({key: value})

    def put_all(self, values: Mapping[str, Any]) -> None:
        """Set and delete several keys. Otherwise as `put`."""
        self._check_running()
        texts = {
            self._replica.placing.check_key(key): None
            if value is MISSING
            else jsontext.encode(value, f"value of key {key!r:.80}")
            for key, value in values.items()
        }
        self._changes.update(texts)

    def delete(self, key: str) -> None:
        """Delete a key; deleting what is not there is fine."""
        self.put(key, MISSING)

    # -- its end ---------------------------------------------------------------------------------------------

    def end(self) -> tuple[dict[str, Any], Basis]:
        """What it changes, and what that rests on; after this it cannot be used any more."""
        self._check_running()
        self._over = True
        values = {
            key: MISSING if text is None else jsontext.decode(text, f"value of key {key!r:.80}")
            for key, text in self._changes.items()
        }
        return values, Basis(self._versions, tuple(self._ranges))

    def _check_running(self) -> None:
        if self._over:
            raise Closed("this transaction is over", operation="transact", remedy="begin another one")


class Transactions:
    """The transactions of one handle.

    Args:
        replica: where they are committed.
        prepare: checks that the handle may write, and looks for news if the last look is old.
        read_texts: the texts of entries.
    """

    def __init__(self, replica: Replica, prepare: Callable[[str], Awaitable[None]], read_texts: ReadTexts) -> None:
        self._replica = replica
        self._prepare = prepare
        self._read_texts = read_texts

    async def begin(self, operation: str = "transact") -> Transaction:
        """A transaction on what there is now.

        Raises:
            Unsupported: the manifest's protocol has no one order of commits.
            Closed, InvalidOption, Unavailable, AccessDenied, BucketNotFound: it cannot be written or read.
        """
        await self._prepare(operation)
        self._replica.check_linear(operation)
        return Transaction(self._replica, self._read_texts)

    async def begin_again(self, attempt: int, took: float) -> Transaction:
        """The transaction of the first, second or later attempt: the second begins at once, on what the first has met.

        Those after it wait for a random time whose bound doubles, as others who try the same should, and look again.
        """
        if attempt > 2:
            await self._replica.clock.sleep(full_jitter(attempt - 2, max(_BASE, took), _CAP, self._replica.rng))
            await self._replica.look()
        return await self.begin()

    async def commit(self, transaction: Transaction) -> None:
        """Commit what it changed, or raise `Conflict`. Raises as awaiting a receipt does."""
        values, basis = transaction.end()
        if values:
            transaction.version = await self._replica.write_nowait(values, basis=basis)

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[Transaction]:
        """One attempt; an exception of the body leaves everything as it was."""
        transaction = await self.begin("transaction")
        yield transaction
        await self.commit(transaction)

    async def run(self, fn: Callable[[Transaction], Awaitable[T] | T], attempts: int) -> T:
        """Call ``fn`` with a transaction and commit it, again and again until nothing came in between."""
        took = 0.0
        for attempt in counted(attempts):
            transaction = await self.begin_again(attempt, took)
            result = fn(transaction)
            done = await cast("Awaitable[T]", result) if isawaitable(result) else result
            began = self._replica.clock.monotonic()
            try:
                await self.commit(transaction)
            except Conflict as conflict:
                if attempt == attempts:
                    raise exhausted(attempts, conflict) from conflict
                took = self._replica.clock.monotonic() - began
            else:
                return cast("T", done)
        raise AssertionError("unreachable")


async def changed(transaction: Transaction, key: str, fn: Callable[[Any], Awaitable[T] | T], default: Any) -> T:
    """Set a key to what a function makes of its value; returns that."""
    result = fn(await transaction.get(key, default))
    value = await cast("Awaitable[T]", result) if isawaitable(result) else cast("T", result)
    transaction.put(key, value)
    return value


def counted(attempts: int) -> range:
    """1 to ``attempts``. Raises `InvalidOption` if there is to be none."""
    if attempts < 1:
        raise InvalidOption(f"attempts is at least 1, not {attempts!r}", operation="transact")
    return range(1, attempts + 1)


def exhausted(attempts: int, last: Conflict) -> Conflict:
    """What is raised when the last attempt has failed, too."""
    return Conflict(
        f"others wrote in between at each of {attempts} attempts; the last time {last.what}",
        operation="transact",
        object=last.object,
        remedy="try again later, allow more attempts, or read fewer keys",
    )


def basis_of(key: str, if_version: object) -> Basis | None:
    """What a write rests on that asks for one version of its key; `MISSING` asks for none to be there.

    Raises:
        InvalidOption: it is no version id.
    """
    if if_version is None:
        return None
    if if_version is MISSING:
        return Basis({key: None})
    if isinstance(if_version, str) and if_version:
        return Basis({key: if_version})
    raise InvalidOption(
        f"if_version is a version id or MISSING, not {if_version!r:.80}", operation="put", object=f"key {key!r:.80}"
    )


def _keys(replica: Replica, view: View, prefix: str) -> list[str]:
    """The keys of a view under a prefix, sorted; fast while it is the present one."""
    keys = replica.keys(prefix)
    return keys if replica.view is view else sorted(key for key in view if key.startswith(prefix))
