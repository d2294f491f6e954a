"""`Database`: the words that programs use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.database.connection import Connection
from rxmps3.database.new_key import KeyMaker
from rxmps3.database.past.history import Difference, History, KeyVersion, When
from rxmps3.database.past.past import Past
from rxmps3.database.past.reading import Recorded
from rxmps3.database.prefix import PAGE, PrefixRead
from rxmps3.database.presence.presence import CLOSE_WITHIN, DEFAULT_EVERY, DEFAULT_TTL, Presence, Presences
from rxmps3.database.receipts import Receipts
from rxmps3.database.transaction import Transaction, Transactions, basis_of, changed, check_alone
from rxmps3.database.undo import UndoActions
from rxmps3.errors import Closed, Corrupt, Failure, InvalidOption, NotSent
from rxmps3.log.protocol import Progress, ProtocolName, Report
from rxmps3.model import jsontext
from rxmps3.model.conditions import Conditions
from rxmps3.model.derivations import Derivation, MergePatch, SchemaMerge, schema_text
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.snapshot import Snapshot
from rxmps3.model.sortedkeys import check_prefix, check_window, window
from rxmps3.model.state import ContentObject, Entry, ManifestVersion, View
from rxmps3.operators.iteration import Iteration
from rxmps3.replica import Replica, SharedValues
from rxmps3.replica.options import Options, Status
from rxmps3.replica.pending import Shown
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.writer import Draft
from rxmps3.runtime.gather import all_of
from rxmps3.runtime.no_pickle import BoundToProcess
from rxmps3.runtime.rich_repr import bundle
from rxmps3.streams.collection import Collection, collection_of
from rxmps3.streams.events import Change, Reset
from rxmps3.streams.key import Key
from rxmps3.streams.stream import Live
from rxmps3.streams.typed import codec_for
from rxmps3.streams.views import Streams, read_text, snapshot_of

__all__ = ["Database", "make_key", "transactions_of"]

T = TypeVar("T")
K = TypeVar("K")
logger = logging.getLogger("rxmps3")


class Database(BoundToProcess):
    """One handle on one manifest. Made by `connect`.

    Everything that writes acts when it is called, on any thread, and returns a `Receipt`; everything that reads
    from the bucket is awaited on the event loop the database was opened on.
    """

    def __init__(
        self, connection: Connection, replica: Replica, options: Options, *, read_only: bool, root: bool
    ) -> None:
        self._connection = connection
        self._replica = replica
        self._options = options
        self._read_only = read_only
        self._root = root
        self._streams = Streams(replica)
        self._undo = UndoActions(replica)
        self._transactions = Transactions(replica, self._check_may_write, self.read_texts, self._make)
        self._past = History(replica, self._transactions)
        self._presences = Presences(replica)
        self._children: list[Database] = []
        self._new_keys = KeyMaker(replica.clock)
        self._closed = False

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
        """Set a key to a JSON value.

        The view holds it when this returns; it is sent in the background. Awaiting the receipt waits for the
        commit and gives the version id. May be called from any thread. `MISSING` as the value deletes.

        Args:
            if_version: commit it only where the key is at this version, or is not there, for `MISSING`; else the write
                is rolled back and the receipt raises `Conflict`. Own earlier writes count, committed or not.
            manifests: write into these manifests of the database instead, with one write and one receipt each. They are
                independent: nothing makes them atomic together. In the protocol mps3 they share the value's object.

        Raises:
            InvalidKey, InvalidValue, InvalidOption: at the call; nothing was changed.
            Unsupported: ``if_version`` on a manifest whose protocol has no one order of commits.
            Closed: the database is closed.
            Overloaded: more than ``max_pending`` writes wait for their commit.
        """
        return self._write("put", {key: value}, manifests, basis_of(key, if_version))

    @overload
    def put_all(self, values: Mapping[str, Any]) -> Receipt: ...

    @overload
    def put_all(self, values: Mapping[str, Any], *, manifests: Iterable[str]) -> Receipts: ...

    def put_all(self, values: Mapping[str, Any], *, manifests: Iterable[str] | None = None) -> Receipt | Receipts:
        """Set and delete several keys in one atomic write; `MISSING` deletes. Otherwise as `put`."""
        return self._write("put_all", values, manifests)

    @overload
    def delete(self, key: str, *, if_version: str | MissingType | None = None) -> Receipt: ...

    @overload
    def delete(self, key: str, *, manifests: Iterable[str]) -> Receipts: ...

    def delete(
        self, key: str, *, if_version: str | MissingType | None = None, manifests: Iterable[str] | None = None
    ) -> Receipt | Receipts:
        """Delete a key; deleting what is not there is fine. Otherwise as `put`."""
        return self._write("delete", {key: MISSING}, manifests, basis_of(key, if_version))

    def _write(
        self,
        operation: str,
        values: Mapping[str, Any],
        manifests: Iterable[str] | None,
        conditions: Conditions | None = None,
    ) -> Receipt | Receipts:
        self._check_may_write(operation)
        if conditions is not None:
            self._replica.check_linear(operation)
        if manifests is None:
            return self._replica.write_nowait(Draft(values, conditions, origin=self._undo))
        check_alone(conditions)
        if isinstance(manifests, str):
            raise InvalidOption("manifests is a list of names, not one name", operation=operation)
        replicas = {name: self._connection.replica(name, self._options) for name in manifests}
        if not replicas:
            raise InvalidOption("manifests names none", operation=operation)
        planned = {name: replica.check(values) for name, replica in replicas.items()}  # all of them, or none
        sharing = all(replica.protocol == "mps3" for replica in replicas.values())
        shared = SharedValues(next(iter(planned.values()))) if sharing else None
        receipts = {name: replica.write_nowait(Draft(values, shared=shared)) for name, replica in replicas.items()}
        return Receipts(receipts, self._replica.clock.monotonic)

    def _make(self, draft: Draft) -> Receipt:
        """Make a write of this handle, which can be undone."""
        return self._replica.write_nowait(draft._replace(origin=self._undo))

    def _put_unless_shown(self, key: str, value: Any, shown: Shown) -> None:
        self._check_may_write("put")
        self._replica.write_unless_shown(key, shown, Draft({key: value}, origin=self._undo))

    # -- changing what is there ------------------------------------------------------------------------------

    def create(self, key: str, value: Any) -> Receipt:
        """Set a key that is not there; if it is, the receipt raises `Conflict`. Short for ``if_version=MISSING``."""
        return self.put(key, value, if_version=MISSING)

    def patch(self, key: str, patch: Any) -> Receipt:
        """Change a part of a key's value by a JSON merge patch (RFC 7386): null deletes a member, arrays are replaced.

        The view holds the result when this returns. Where others write the key before this is committed, the patch is
        applied to what they wrote: no other part of the value is lost. A key that is not there counts as ``{}``.

        Raises:
            NotLoaded: the present value is not at hand, since it is large and was not read yet: await `get` first.
            Unsupported: the manifest's protocol has no one order of commits.
            InvalidKey, InvalidValue, Closed, Overloaded: as `put`.
        """
        return self._derive(key, MergePatch(jsontext.encode(patch, f"patch of key {key!r:.80}")), "patch")

    def merge(self, key: str, value: Any, schema: Mapping[str, Any] | None = None) -> Receipt:
        """Merge a value into a key's, part by part, as `patch` does where ``schema`` does not say otherwise.

        Args:
            schema: a JSON Schema whose parts may name a ``mergeStrategy`` of the package jsonmerge, such as ``append``,
                ``arrayMergeById`` or ``discard``. It may refer to itself alone.

        Raises:
            InvalidValue: the strategies cannot merge this into what is there. Found out when others wrote the key
                before this is committed, it makes the receipt raise `Rejected`.
            InvalidOption: the schema is none.
            NotLoaded, Unsupported, InvalidKey, Closed, Overloaded: as `patch`.
        """
        text = jsontext.encode(value, f"value of key {key!r:.80}")
        return self._derive(key, SchemaMerge(text, schema_text(schema)), "merge")

    def _derive(self, key: str, derivation: Derivation, operation: str) -> Receipt:
        self._check_may_write(operation)
        self._replica.check_linear(operation)
        return self._make(Draft(derived={key: derivation}))

    async def transact(self, fn: Callable[[Transaction], Awaitable[T] | T], attempts: int = 10) -> T:
        """Read and change several keys as if nobody else wrote meanwhile; returns what ``fn`` returned.

        ``fn`` gets a `Transaction` with ``get``, ``get_many``, ``get_prefix``, ``put``, ``put_all`` and ``delete``. It
        sees all that was committed before this call. Its changes are committed together, if what it read is still so
        where they are committed; else it is called again with what is there by then. So it should do nothing but that;
        what it raises is raised, and nothing is written.

        Args:
            fn: an async function, or a plain one.
            attempts: how often it is called at most.

        Raises:
            Conflict: others wrote what it read in between, each time.
            Unsupported: the manifest's protocol has no one order of commits.
            Rejected, Closed, NotSent, OutcomeUnknown: as awaiting a receipt.
            Unavailable, AccessDenied, BucketNotFound: the end of the log cannot be read, or a value.
        """
        return await self._transactions.run(fn, attempts)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """One attempt of `transact`, for ``async with``: committed at the end of the block, which may raise `Conflict`.

        An exception of the block leaves everything as it was.
        """
        return self._transactions.one()

    async def update(
        self, key: str, fn: Callable[[Any], Awaitable[T] | T], default: Any = None, attempts: int = 10
    ) -> T:
        """Set a key to what ``fn`` makes of its value; returns that. A `transact` of one key, and raises as that.

        Args:
            fn: a plain or an async function of the value; `MISSING` as its result deletes the key.
            default: what it gets where the key is not there.
        """
        return await self._transactions.run(lambda tx: changed(tx, key, fn, default), attempts, "update")

    async def undo(self) -> str:
        """Take back the newest write of this handle that is not undone yet, in one atomic write.

        Each of its keys holds again what it held just before that write in the log. That shows at once and goes out in
        the background, as any write. The last 100 writes can be undone, but none that was made with ``manifests``.

        Returns:
            The version id, once it is committed. A write that was not sent yet is cancelled instead, and one that was
            refused needs no undoing: then it is the version id of that. "" if there is nothing to undo.

        Raises:
            Conflict: somebody else has written one of the keys since. Nothing was changed, and the next undo goes on
                with the write before.
            NotKept: what was there before is no longer kept. The next undo goes on with the write before.
            Unsupported: the manifest's protocol has no one order of commits.
            Unavailable, AccessDenied: a large value is not at hand; nothing was changed.
            Rejected, Closed, NotSent, OutcomeUnknown, Overloaded: as `put` and its receipt.
        """
        self._check_may_write("undo")
        return await self._undo.undo()

    async def redo(self) -> str:
        """Do again the write that was undone last, if this handle has made no other one since. As `undo`."""
        self._check_may_write("redo")
        return await self._undo.redo()

    def _check_may_write(self, operation: str) -> None:
        self._check_open(operation)
        self._check_writable(operation)

    def new_key(self, prefix: str = "") -> str:
        """A key that nobody else makes and that sorts after those made before: time first, then chance."""
        return self._new_keys.make(prefix)

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key as seen here, own pending writes included; ``default`` if there is none.

        Looks for news first if the last look is older than ``poll``. What is loaded is good enough if that fails.

        Raises:
            InvalidKey: no storage could hold such a key.
            Unavailable, AccessDenied, BucketNotFound: nothing is loaded yet, or the value is not at hand.
            Corrupt: the value's object is not what the log says.
        """
        return (await self.get_many((key,), default))[key]

    async def get_many(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        """The values of several keys at one moment, in the order asked for. Otherwise as `get`."""
        asked = tuple(self._replica.placing.check_key(key) for key in keys)
        await self._look()
        texts = await self._read_texts(lambda view: {key: view.look_up(key) for key in asked})
        return {key: read_text(key, texts[key]) if key in texts else default for key in asked}

    def get_prefix(self, prefix: str = "", *, first: int | None = None, last: int | None = None) -> PrefixRead:
        """The values of the keys under a prefix at one moment, sorted by key: await it, or take it page by page.

        Awaited it gives a `Snapshot`, a mapping that decodes a value when it is asked for. ``async for page in
        db.get_prefix()`` gives such mappings of up to 1,000 keys each, all of one moment, and downloads the values of
        a page when it is its turn. Otherwise as `get`; a page raises `Corrupt` if its values were collected meanwhile.

        Args:
            prefix: a plain string prefix.
            first: only so many, from the start.
            last: only so many, from the end.
        """
        check_prefix(prefix)
        check_window(first, last)

        def select(view: View) -> dict[str, Entry | None]:
            return {key: view.look_up(key) for key in window(self._replica.keys(prefix), first, last)}

        async def read() -> Snapshot[str, Any]:
            await self._look()
            return snapshot_of(await self._read_texts(select))

        async def pages() -> AsyncIterator[Snapshot[str, Any]]:
            await self._look()
            entries = [(key, entry) for key, entry in select(self._replica.view).items() if entry is not None]
            for start in range(0, len(entries), PAGE):
                yield snapshot_of(await self._checked_texts(dict(entries[start : start + PAGE])))

        return PrefixRead(read, pages)

    async def refresh(self) -> None:
        """Read to the end of the log. A ``get`` right after it sees every write committed before this call.

        Raises:
            Unavailable, AccessDenied, BucketNotFound, Corrupt, Unsupported: the end could not be reached.
        """
        self._check_open("refresh")
        await self._replica.look()

    async def _look(self) -> None:
        self._check_open("get")
        self._replica.check_loop()
        await self._replica.look_if_stale()

    async def _read_texts(self, select: Callable[[View], dict[str, Entry | None]]) -> dict[str, str]:
        """The texts of the selected entries of the present view; once more of a newer one if an object has gone."""
        try:
            return await self._read_once(select)
        except Corrupt:
            await self._replica.look()
            return await self._read_once(select)

    async def _read_once(self, select: Callable[[View], dict[str, Entry | None]]) -> dict[str, str]:
        entries = {key: entry for key, entry in select(self._replica.view).items() if entry is not None}
        return await self._checked_texts(entries)

    async def _checked_texts(self, entries: Mapping[str, Entry]) -> dict[str, str]:
        """The texts of entries, of which those that came from objects are known to be JSON."""
        texts = await self.read_texts(entries)
        for key, entry in entries.items():
            if isinstance(entry.content, ContentObject):
                jsontext.decode(texts[key], f"key {key!r}")
        return texts

    async def read_texts(self, entries: Mapping[str, Entry]) -> dict[str, str]:
        """The JSON texts of entries of ``states.value``, downloaded in parallel where they are not at hand.

        Raises:
            Corrupt: a value's object is missing or not what the log says of it.
            Unavailable, AccessDenied: the storage does not answer or refuses.
        """
        values = self._replica.values
        texts = {key: values.peek(entry) for key, entry in entries.items()}
        lacking = [key for key, text in texts.items() if text is None]
        texts.update(zip(lacking, await all_of(values.fetch(entries[key]) for key in lacking), strict=True))
        return {key: text for key, text in texts.items() if text is not None}

    def keys(self, prefix: str = "") -> list[str]:
        """The keys under a prefix as of the last look, sorted by code point, own pending writes included. No I/O."""
        return self._replica.keys(prefix)

    def __contains__(self, key: object) -> bool:
        return key in self._replica.view

    def __len__(self) -> int:
        return len(self._replica.view)

    # -- observing -------------------------------------------------------------------------------------------

    def observe(self, key: str, default: Any = None) -> Observable[Any]:
        """The value of a key: the current one first, then each change; ``default`` while there is none."""
        return self._streams.observe(key, default)

    @overload
    def key(self, key: str, *, default: Any = None) -> Key[Any]: ...

    @overload
    def key(self, key: str, type: type[T], default: None = None) -> Key[T | None]: ...

    @overload
    def key(self, key: str, type: type[T], default: MissingType) -> Key[T | MissingType]: ...

    @overload
    def key(self, key: str, type: type[T], default: T) -> Key[T]: ...

    @overload
    def key(self, key: str, type: Any, default: Any = None) -> Key[Any]: ...

    def key(self, key: str, type: Any = Any, default: Any = None) -> Key[Any]:
        """A key as a two-way stream: an Observable of its values, an Observer that writes, and a ``.value``.

        Args:
            key: the key.
            type: what its values are; anything that pydantic's TypeAdapter takes, which needs the extra ``typed``.
                The default takes every JSON value as it is.
            default: what stands for a missing value.

        Raises:
            InvalidKey: no storage could hold such a key.
            InvalidOption: ``type`` is none that pydantic can check.
            Unsupported: ``type`` is given and pydantic is not installed.
        """
        return self._make_key(Key, key, type, default)

    def _make_key(self, kind: Callable[..., K], key: str, type: Any, default: Any) -> K:
        codec = codec_for(type, f"key {key!r}")
        return kind(self._replica, self._streams, self, key, codec, default, self._put_unless_shown)

    def subscribe(self, key: str, on_next: Callable[[Any], None], default: Any = None) -> DisposableBase:
        """Call back with the value of a key, now and at each change: short for ``observe(key).subscribe``."""
        return self.observe(key, default).subscribe(on_next)

    def observe_many(self, *keys: str, default: Any = None) -> Observable[Mapping[str, Any]]:
        """The values of several keys, every asked key present, in one emission per change."""
        return self._streams.observe_many(keys, default)

    def observe_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None
    ) -> Observable[Mapping[str, Any]]:
        """The values of the keys that start with a plain string, sorted; only the first or last n if asked."""
        return self._streams.observe_prefix(prefix, first, last)

    @overload
    def collection(self, *sources: str | Observable[Any], T: None = None) -> Collection[str, Any]: ...

    @overload
    def collection(self, *sources: str | Observable[Any], T: type[T]) -> Collection[str, T]: ...

    @overload
    def collection(self, *sources: str | Observable[Any], T: Any) -> Collection[str, Any]: ...

    def collection(self, *sources: str | Observable[Any], T: Any = None) -> Collection[Any, Any]:
        """A live query: the rows under prefixes, from which `filter`, `join`, `group_by` and others make new ones.

        An Observable of tuples of `Delta`, of which the first is the present content; `Collection.value` is a sorted
        mapping. A change costs what it changes, however many rows there are.

        Args:
            sources: prefixes of keys, all keys by default; or Observables of deltas (of anything that has a ``key``
                and an ``after``, or tuples of such), which are added up. Where two have a key, the first counts.
            T: what the values under the prefixes are; anything that pydantic's TypeAdapter takes, which needs the
                extra ``typed``. A value that does not fit is left out, and told on `errors`.

        Raises:
            InvalidOption: a source is neither, or ``T`` is no type that pydantic can check.
            Unsupported: ``T`` is given and pydantic is not installed.
            Closed: the database is closed.
        """
        self._check_open("collection")
        return collection_of(self._streams, sources, T)

    def iterate(self, observable: Observable[T], keep: int | Literal["all"] = 1) -> Iteration[T]:
        """An Observable as an async iterator: ``async with db.iterate(o) as items: async for item in items``.

        Args:
            observable: any Observable.
            keep: how many of the latest items wait for a slow consumer; ``"all"`` keeps up to 10,000 and then
                raises `Overloaded` in the consumer.
        """
        return Iteration(observable, keep)

    def changes(self, prefix: str = "") -> Observable[Change]:
        """Each change of a value under a prefix, from now on, own pending writes included."""
        return self._streams.changes(prefix)

    @property
    def versions(self) -> Observable[ManifestVersion | Reset]:
        """Each version of the log after the loaded one."""
        return self._streams.versions()

    @property
    def errors(self) -> Observable[Failure]:
        """Each trouble that no caller is waiting for, from now on."""
        return self._streams.errors()

    @property
    def states(self) -> Live[View]:
        """The whole view, a mapping of key to `Entry`, after each step."""
        return self._streams.states()

    @property
    def pending(self) -> Live[tuple[Receipt, ...]]:
        """The receipts of the writes that wait for their commit, oldest first."""
        return self._streams.pending()

    @property
    def status(self) -> Live[Status]:
        """How it goes: online or not, the last error, the next try, requests and bytes so far."""
        return self._streams.status()

    @property
    def scheduler(self) -> AsyncIOThreadSafeScheduler:
        """A scheduler that keeps timed Rx operators on the database's event loop."""
        return AsyncIOThreadSafeScheduler(self._replica.loop)

    @property
    def key_limit(self) -> int:
        """The longest key in bytes, once escaped, that this database takes."""
        return self._replica.placing.key_limit

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self._replica.manifest

    @property
    def protocol(self) -> ProtocolName:
        """The protocol of the manifest's log; while there is no manifest yet, the one it is expected to get."""
        return self._replica.protocol

    # -- the past --------------------------------------------------------------------------------------------

    async def at(self, when: When) -> Past:
        """What there was at an earlier version of the log, as far back as that is kept (the sequenced log alone).

        Args:
            when: a version id as an awaited write gives it; the id of a log version, as text or number; a tag; or an
                aware datetime, which means the last version that was stored no later, by the storage's clock.

        Raises:
            NotKept: it is older than what is kept; the error says what is oldest.
            InvalidOption: there is no such version, a datetime is naive or still to come.
            Unsupported: the protocol keeps no past.
            Unavailable, AccessDenied, Corrupt: as `refresh`.
        """
        return await self._past.at(when)

    def history(self, key: str) -> Recorded[KeyVersion]:
        """The versions of a key that the log still has, oldest first: an Observable that completes.

        It is an async iterable, too, and awaiting it gives the list. Nothing is read before. An error ends it; it may
        be any that `at` raises, and `Closed`. A key that was set before what the log still has begins with what it
        held in the oldest kept checkpoint.
        """
        return self._past.history(key)

    async def diff(self, a: When | Past, b: When | Past) -> dict[str, Difference]:
        """The keys whose values differ between two versions, sorted, each with both values. Raises as `at`."""
        return await self._past.diff(a, b)

    def replay(self, start: When, stop: When | None = None, speed: float | None = 10) -> Recorded[tuple[Change, ...]]:
        """What happened between two versions once more, as fast as it happened or ``speed`` times faster.

        An Observable that completes; otherwise as `history`. Each item is one version: its changes, in a tuple that is
        empty where no value changed. So nobody sees half of an atomic write, and the n-th item leads to what `at` shows
        of the n-th version after ``start``.

        Args:
            start: a version as for `at`; what came after it is replayed.
            stop: the last one; None stops at what is the last one when it begins.
            speed: how much faster, by the times at which the versions were stored; None does not wait at all.
        """
        return self._past.replay(start, stop, speed)

    async def restore(self, when: When | Past, prefix: str = "") -> str:
        """Bring every key under a prefix back to what it held at an earlier version, in one atomic write.

        Keys that have been made since are deleted. It reads to the end of the log first, and does so again if others
        write under the prefix before it is committed: right after it, the keys are as they were then.

        Returns:
            The version id, once it is committed; "" if nothing differed, and nothing was written.

        Raises:
            InvalidValue: what differs does not fit one atomic write.
            Conflict: others wrote under the prefix in between, ten times in a row.
            Rejected, Closed, Overloaded: as `put` and its receipt; the rest as `at`.
        """
        self._check_may_write("restore")
        self._replica.check_loop()
        return await self._past.restore(when, prefix)

    async def tag(self, name: str) -> str:
        """Keep the present end of the log under a name, beyond what is kept otherwise, until `untag`.

        It reads to the end of the log and makes a checkpoint. `at` takes the name. A tag that is there stays.

        Returns:
            The id of the log version.

        Raises:
            InvalidOption: nothing was written yet, another version has this name, or no tag can have it.
            Unavailable, AccessDenied: it may have been made or not: see `tags`. The rest as `at`.
        """
        self._check_writable("tag")
        return await self._past.tag(name)

    async def untag(self, name: str) -> None:
        """Remove a tag; removing what is not there is fine. Raises as `tag`."""
        self._check_writable("untag")
        await self._past.untag(name)

    async def tags(self) -> dict[str, str]:
        """The tags, each with the id of its log version, oldest first. Raises as `at`."""
        return await self._past.tags()

    # -- upkeep ----------------------------------------------------------------------------------------------

    async def compact(self, *, dry_run: bool = False, progress: Progress | None = None) -> Report:
        """Write a checkpoint and delete what is no longer needed; clients that write do so by themselves, too.

        Deleting log entries takes two calls, an hour apart at least: the first announces it.

        Args:
            dry_run: change nothing; the report says what would be done.
            progress: is called with what is going on, how much of it is done and how much there is.

        Raises:
            Corrupt: what is stored contradicts itself; nothing more is deleted.
            Unavailable, AccessDenied: interrupted; what is left is done next time.
        """
        self._check_open("compact")
        if not dry_run:
            self._check_writable("compact")
        await self._replica.look()
        made = None if dry_run else await self._replica.collector.checkpoint()
        report = await self._replica.collector.collect(dry_run=dry_run, progress=progress)
        report.checkpoint = made
        return report

    # -- others ----------------------------------------------------------------------------------------------

    def presence(
        self, me: Any = None, *, every: float = DEFAULT_EVERY, ttl: float = DEFAULT_TTL, poll: float | None = None
    ) -> Presence:
        """Who is here: a `Live` mapping of client ids to participants, and oneself among them if ``me`` is given.

        It is used while it is observed, and within ``with``; otherwise there is no request, and nobody sees one.
        It has nothing to do with the log: no write waits for it, and no version tells of it.

        Args:
            me: what others see of this client, a JSON value of up to 4,096 bytes. None only looks, and needs no right
                to write.
            every: seconds between two signs of life.
            ttl: seconds after which a client that gave none counts as gone, by the storage's clock.
            poll: seconds between two looks at most; None takes the database's, or ``every`` where an Observable says
                when to look.

        Raises:
            InvalidValue: JSON cannot express ``me``, or it is too long.
            InvalidOption: ``ttl`` is no longer than ``every``, or ``me`` is given and the database is read only.
            Closed: the database is closed.
        """
        self._check_open("presence")
        if me is not None:
            self._check_writable("presence")
        return self._presences.make(me, every, ttl, poll, read_only=self._read_only)

    def _leave(self) -> list[asyncio.Task[None]]:
        """End the presences of this handle and of those that live in it; what is given back deletes their objects."""
        return [*self._presences.close(), *(ending for child in self._children for ending in child._leave())]

    # -- life ------------------------------------------------------------------------------------------------

    def manifest(self, name: str) -> Database:
        """A handle on another manifest of the same database; it is loaded when it is first used.

        It lives as long as this handle, and closes with it.
        """
        self._check_open("manifest")
        self._replica.check_loop()
        replica = self._connection.replica(name, self._options)
        child = Database(self._connection, replica, self._options, read_only=self._read_only, root=False)
        self._children.append(child)
        return child

    async def close(self, timeout: float = 10.0) -> None:
        """Complete the streams of this handle and end what no other handle shares, once what is pending is committed.

        Where another handle of this process shares the replica, that one goes on committing, and this returns at once.

        Args:
            timeout: seconds to wait for pending writes.

        Raises:
            NotSent: writes that were not committed in time and that nothing on disk keeps; ``keys`` names them.
        """
        if self._closed:
            return
        self._replica.check_loop()
        self._closed = True
        try:
            leaving = self._leave()
            if leaving and timeout > 0:
                await asyncio.wait(leaving, timeout=min(timeout, CLOSE_WITHIN))
        finally:
            await self._end(timeout)

    async def _end(self, timeout: float) -> None:
        try:
            if self._root:
                await self._connection.release(timeout)
        finally:
            for child in self._children:
                await child.close()
            self._streams.complete()
            self._past.close()
            self._undo.close()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except NotSent as not_sent:
            if error is None:
                raise
            logger.error("%s", not_sent)  # the error on its way out matters more, and is not to be hidden

    def _check_open(self, operation: str) -> None:
        if self._closed:
            raise Closed("the database is closed", operation=operation, object=f"manifest {self._replica.manifest!r}")

    def _check_writable(self, operation: str) -> None:
        if self._read_only:
            what = f"manifest {self._replica.manifest!r}"
            raise InvalidOption("opened with read_only=True", operation=operation, object=what)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self)} keys"
        return f"<Database {self._connection.storage.url} manifest {self._replica.manifest!r}, {state}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """For notebooks: where it is, and how it goes."""
        status = self._replica.status
        facts: dict[str, Any] = {
            "manifest": self._replica.manifest,
            "protocol": self._replica.protocol,
            "keys": len(self),
            "newest version": status.head or "none",
            "pending": status.pending,
            "online": {None: "not known yet", True: "yes", False: "no"}[status.online],
        }
        if status.last_error is not None:
            facts["last trouble"] = str(status.last_error)
        return bundle(repr(self), self._connection.storage.url + (", closed" if self._closed else ""), facts)


def transactions_of(database: Database) -> Transactions:
    """Begins and commits transactions, for other faces of a database."""
    return database._transactions  # pyright: ignore[reportPrivateUsage]  # of the same module


def make_key(database: Database, kind: Callable[..., K], key: str, type: Any, default: Any) -> K:
    """As `Database.key`, with a class of its own, for other faces of a database."""
    return database._make_key(kind, key, type, default)  # pyright: ignore[reportPrivateUsage]  # of the same module
