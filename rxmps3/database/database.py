"""`Database`: the public interface."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from math import inf
from types import TracebackType
from typing import Any, Literal, TypeVar, cast, overload

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.database.connection import Connection
from rxmps3.database.file_target import file_target, given_path
from rxmps3.database.new_key import KeyMaker
from rxmps3.database.past.history import Difference, History, KeyVersion, When
from rxmps3.database.past.past import Past
from rxmps3.database.past.reading import Recorded
from rxmps3.database.prefix import PAGE, PrefixRead, check_entries, paged, under
from rxmps3.database.presence.presence import CLOSE_WITHIN, Presence, Presences
from rxmps3.database.receipts import Receipts
from rxmps3.database.transaction import (
    Transaction,
    Transactions,
    changed,
    check_alone,
    check_function,
    check_values,
    conditions_of,
    names_of,
    of_one_key,
)
from rxmps3.database.undo import UndoActions
from rxmps3.errors import Closed, Corrupt, Error, Failure, InvalidOption, NotLoaded, NotSent
from rxmps3.log.protocol import Progress, ProtocolName, Report
from rxmps3.model import jsontext, valuetext
from rxmps3.model.conditions import Conditions
from rxmps3.model.derivations import Derivation, MergePatch, SchemaMerge, schema_text
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.snapshot import Snapshot
from rxmps3.model.sortedkeys import check_prefix, check_window, several, with_default
from rxmps3.model.state import ContentObject, Entries, Entry, Inline, ManifestVersion, View
from rxmps3.operators.iteration import Iteration
from rxmps3.replica import Replica, SharedValues
from rxmps3.replica.cost import Cost
from rxmps3.replica.files import file_ref
from rxmps3.replica.options import Options, Status
from rxmps3.replica.pending import Shown
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.writer import Draft
from rxmps3.runtime.clock import give_way
from rxmps3.runtime.garbage import collected_later
from rxmps3.runtime.no_pickle import BoundToProcess
from rxmps3.runtime.rich_repr import bundle
from rxmps3.runtime.timeouts import checked_timeout
from rxmps3.storage.metered import charged_to
from rxmps3.streams.collection import Collection, collection_of
from rxmps3.streams.events import Change, Reset
from rxmps3.streams.key import Key
from rxmps3.streams.snapshots import Texts, inline_texts
from rxmps3.streams.stream import Live
from rxmps3.streams.typed import codec_for
from rxmps3.streams.views import Streams, snapshot_of, value_of

__all__ = ["Database", "make_key", "transactions_of"]

T = TypeVar("T")
K = TypeVar("K")
logger = logging.getLogger("rxmps3")

_AT_ONCE = 250
"""How many values of up to 4 KiB are decoded before the event loop gets a turn: some milliseconds of work."""
_MANY = 1_000
"""Keys of a write that is made without garbage collections."""


class Database(BoundToProcess):
    """One handle on one manifest. Made by `connect`.

    Methods that write take effect when called, on any thread, and return a `Receipt`. Methods that read from the bucket
    are awaited on the event loop on which the database was opened.
    """

    def __init__(
        self, connection: Connection, replica: Replica, options: Options, *, read_only: bool, parent: Database | None
    ) -> None:
        self._connection = connection
        self._replica = replica
        self._options = options
        self._read_only = read_only
        self._parent = parent
        self._streams = Streams(replica)
        self._undo = UndoActions(replica)
        self._transactions = Transactions(replica, self._check_may_write, self.read_texts, self._make)
        self._past = History(replica, self._transactions)
        self._presences = Presences(replica)
        self._children: dict[Database, None] = {}
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

        The value is visible here when this returns, and is sent in the background. Awaiting the receipt waits for the
        commit and gives the version id. May be called from any thread. `MISSING` as the value deletes the key.

        Args:
            if_version: commit only if the key is at this version then, or does not exist, for `MISSING`; else the write
                is rolled back and the receipt raises `Conflict`. Own earlier writes count, committed or not.
            manifests: write into these manifests of the database instead, with one write and one receipt each. The
                writes are independent, not atomic together. In the protocol mps3 they share the value's object.

        Raises:
            InvalidKey, InvalidValue, InvalidOption: at the call; nothing was changed.
            Unsupported: ``if_version`` on a manifest whose protocol does not support conditions.
            Closed: the database is closed.
            Overloaded: more than ``max_pending`` writes wait for their commit.
        """
        return self._put("put", key, value, manifests, if_version)

    def put_file(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        content_type: str | None = None,
        if_version: str | MissingType | None = None,
    ) -> Receipt:
        """Set a key to the content of a file, as bytes. The file is read while it is uploaded, never whole into memory.

        Otherwise as `put`. The file has to stay as it is until the write is committed; with ``local=``, too, only its
        path is kept. Later writes of this process are committed after it, however long the upload takes.

        Args:
            content_type: its media type; None guesses it from the file's name.

        Raises:
            InvalidValue: it is not a file that can be read.
            InvalidKey, InvalidOption, Unsupported, Closed, Overloaded: as `put`.

        The receipt raises `Rejected` if the file is gone or has changed before it was uploaded.
        """
        file = file_ref(given_path(path, "put_file"), content_type)
        return cast("Receipt", self._put("put_file", key, file, None, if_version))

    @overload
    def put_all(self, values: Mapping[str, Any]) -> Receipt: ...

    @overload
    def put_all(self, values: Mapping[str, Any], *, manifests: Iterable[str]) -> Receipts: ...

    def put_all(self, values: Mapping[str, Any], *, manifests: Iterable[str] | None = None) -> Receipt | Receipts:
        """Set and delete several keys in one atomic write; `MISSING` deletes. Otherwise as `put`."""
        check_values(values)
        if isinstance(values, Mapping) and len(values) >= _MANY:  # pyright: ignore[reportUnnecessaryIsInstance]
            with collected_later():
                return self._write("put_all", values, manifests)
        return self._write("put_all", values, manifests)

    @overload
    def delete(self, key: str, *, if_version: str | MissingType | None = None) -> Receipt: ...

    @overload
    def delete(self, key: str, *, manifests: Iterable[str]) -> Receipts: ...

    def delete(
        self, key: str, *, if_version: str | MissingType | None = None, manifests: Iterable[str] | None = None
    ) -> Receipt | Receipts:
        """Delete a key; deleting a missing key is allowed. Otherwise as `put`."""
        return self._put("delete", key, MISSING, manifests, if_version)

    def _put(
        self,
        operation: str,
        key: str,
        value: Any,
        manifests: Iterable[str] | None,
        if_version: str | MissingType | None,
    ) -> Receipt | Receipts:
        values = of_one_key(key, value)
        return self._write(operation, values, manifests, conditions_of(key, if_version, operation))

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
            self._replica.check_loaded(conditions.keys, operation)
        if manifests is None:
            return self._replica.write_nowait(Draft(values, conditions, origin=self._undo.origin))
        check_alone(conditions)
        names = names_of(manifests, operation)
        replicas = {name: self._connection.replica(name, self._options) for name in names}
        planned = {name: replica.check(values) for name, replica in replicas.items()}  # all of them, or none
        sharing = all(replica.protocol == "mps3" for replica in replicas.values())
        shared = SharedValues(next(iter(planned.values()))) if sharing else None
        receipts = {name: replica.write_nowait(Draft(values, shared=shared)) for name, replica in replicas.items()}
        return Receipts(receipts, self._replica.clock.monotonic)

    def _make(self, draft: Draft) -> Receipt:
        """Make a write of this handle, which can be undone."""
        return self._replica.write_nowait(draft._replace(origin=self._undo.origin))

    def _put_unless_shown(self, key: str, value: Any, shown: Shown) -> None:
        self._check_may_write("put")
        self._replica.write_unless_shown(key, shown, Draft({key: value}, origin=self._undo.origin))

    # -- changing values ------------------------------------------------------------------------------

    def create(self, key: str, value: Any) -> Receipt:
        """Set a key that does not exist; if it does, the receipt raises `Conflict`. Short for
        ``if_version=MISSING``."""
        return cast("Receipt", self._put("create", key, value, None, MISSING))

    def patch(self, key: str, patch: Any) -> Receipt:
        """Change part of a key's value by a JSON merge patch (RFC 7386): null deletes a member, arrays are replaced.

        The result is visible here when this returns. If others write the key before this is committed, the patch is
        applied to their value, so no other part of it is lost. A missing key counts as ``{}``.

        Raises:
            NotLoaded: the current value is large and has not been loaded yet: await `get` first.
            Unsupported: the manifest's protocol does not support conditions.
            InvalidKey, InvalidValue, Closed, Overloaded: as `put`.
        """
        return self._derive(key, MergePatch(jsontext.encode(patch, f"patch of key {key!r:.80}")), "patch")

    def merge(self, key: str, value: Any, schema: Mapping[str, Any] | None = None) -> Receipt:
        """Merge a value into a key's value, part by part: as `patch`, unless ``schema`` specifies another strategy.

        Args:
            schema: a JSON Schema whose parts may name a ``mergeStrategy`` of the package jsonmerge, such as ``append``,
                ``arrayMergeById`` or ``discard``. It may contain references to itself only.

        Raises:
            InvalidValue: the strategies cannot merge this into the current value. If that happens with a value that
                others wrote before the commit, the receipt raises `Rejected`.
            InvalidOption: the schema is invalid.
            NotLoaded, Unsupported, InvalidKey, Closed, Overloaded: as `patch`.
        """
        text = jsontext.encode(value, f"value of key {key!r:.80}")
        return self._derive(key, SchemaMerge(text, schema_text(schema)), "merge")

    def _derive(self, key: str, derivation: Derivation, operation: str) -> Receipt:
        self._check_may_write(operation)
        self._replica.check_linear(operation)
        derived = of_one_key(key, derivation)
        self._replica.check_loaded(derived, operation)
        try:
            return self._make(Draft(derived=derived))
        except NotLoaded as error:
            raise NotLoaded(error.what, operation=operation, object=error.object, remedy=error.remedy) from None

    @overload
    async def transact(self, fn: Callable[[Transaction], Awaitable[T]], attempts: int = 10) -> T: ...

    @overload
    async def transact(self, fn: Callable[[Transaction], T], attempts: int = 10) -> T: ...

    async def transact(self, fn: Callable[[Transaction], Awaitable[T] | T], attempts: int = 10) -> T:
        """Read and change several keys in a serializable transaction; returns the result of ``fn``.

        ``fn`` gets a `Transaction` with ``get``, ``get_many``, ``get_prefix``, ``put``, ``put_all`` and ``delete``. It
        sees everything committed before this call. Its changes are committed together, provided that nothing it read
        has changed by then; otherwise it is called again on the newer state. So it should have no other side effects.
        An exception that it raises is passed on, and nothing is written.

        Args:
            fn: an async function, or a plain one.
            attempts: how often it is called at most.

        Raises:
            Conflict: in every attempt, others changed something that it had read.
            Unsupported: the manifest's protocol does not support conditions.
            Rejected, Closed, NotSent, OutcomeUnknown: as awaiting a receipt.
            Unavailable, AccessDenied, BucketNotFound: the end of the log cannot be read, or a value.
        """
        check_function(fn, "transact")
        return await self._transactions.run(fn, attempts)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A single attempt of `transact`, for ``async with``: committed at the end of the block, which may raise
        `Conflict`.

        If the block raises an exception, nothing is written.
        """
        return self._transactions.one()

    @overload
    async def update(
        self, key: str, fn: Callable[[Any], Awaitable[T]], default: Any = None, attempts: int = 10
    ) -> T: ...

    @overload
    async def update(self, key: str, fn: Callable[[Any], T], default: Any = None, attempts: int = 10) -> T: ...

    async def update(
        self, key: str, fn: Callable[[Any], Awaitable[T] | T], default: Any = None, attempts: int = 10
    ) -> T:
        """Set a key to ``fn`` of its value, and return the new value. A `transact` of one key; raises as that.

        Args:
            fn: a plain or an async function of the value; `MISSING` as its result deletes the key.
            default: the argument of ``fn`` if the key does not exist.
        """
        check_function(fn, "update")
        self._replica.check_loaded((self._replica.placing.check_key(key),), "update")
        return await self._transactions.run(lambda tx: changed(tx, key, fn, default), attempts, "update")

    async def undo(self) -> str:
        """Undo the newest write of this handle that is not yet undone, in one atomic write.

        Each of its keys gets back the value it had in the log just before that write. Like any write, this is visible
        at once and sent in the background. The last 100 writes can be undone, except those made with ``manifests``.

        Returns:
            The version id, once it is committed. If the write was not sent yet, it is cancelled instead, and if it was
            rejected there is nothing to undo; then the version id of that write. "" if no write is left to undo.

        Raises:
            Conflict: another client has written one of the keys since. Nothing was changed; the next undo continues
                with the write before.
            NotKept: the earlier values are no longer kept. The next undo continues with the write before.
            Unsupported: the manifest's protocol does not support conditions.
            Unavailable, AccessDenied: a large value could not be fetched; nothing was changed.
            Rejected, Closed, NotSent, OutcomeUnknown, Overloaded: as `put` and its receipt.
        """
        self._check_may_write("undo")
        return await self._undo.undo()

    async def redo(self) -> str:
        """Redo the write that was undone last, unless this handle has made another write since. As `undo`."""
        self._check_may_write("redo")
        return await self._undo.redo()

    def _check_may_write(self, operation: str) -> None:
        self._check_open(operation)
        self._check_writable(operation)

    def new_key(self, prefix: str = "") -> str:
        """A unique key that sorts after those made before: a timestamp followed by random bits."""
        return self._new_keys.make(prefix)

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key as visible here, including own pending writes; ``default`` if it does not exist (of a
        dict, list, set or bytearray a copy).

        Reads the log first if the last read is older than ``poll``; if that fails, the loaded state is used.

        Raises:
            InvalidKey: no storage could hold such a key.
            Unavailable, AccessDenied, BucketNotFound: the state or the value could not be loaded.
            Corrupt: the value's object does not match the log.
        """
        return (await self.get_many((key,), default))[key]

    async def get_many(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        """The values of several keys at one moment, in the order asked for. Otherwise as `get`."""
        asked = tuple(map(self._replica.placing.check_key, several(keys, "get_many")))
        self._replica.check_loaded(asked, "get")
        await self._look()
        found = await self._read(lambda view: {key: entry for key in asked if (entry := view.look_up(key)) is not None})
        return with_default(asked, found, default)

    def get_prefix(self, prefix: str = "", *, first: int | None = None, last: int | None = None) -> PrefixRead:
        """The values of the keys under a prefix at one moment, sorted by key; await it, or iterate over pages.

        Awaiting it gives a dict of your own. ``async for page in db.get_prefix()`` gives a `Snapshot` of up to 1,000
        keys at a time, a mapping that decodes values on access; all pages are of one moment, and the values of each
        are downloaded on demand. Otherwise as `get`; a page raises `Corrupt` if its values were collected meanwhile.

        Args:
            prefix: a plain string prefix.
            first: at most this many, from the start.
            last: at most this many, from the end.
        """
        check_prefix(prefix)
        check_window(first, last)
        self._replica.check_loaded_under((prefix,), "get_prefix")

        def select(view: View) -> Entries:
            return under(view, prefix, first, last)

        async def read() -> dict[str, Any]:
            await self._look()
            return await self._read(select)

        async def pages() -> AsyncIterator[Snapshot[str, Any]]:
            await self._look()
            cells = select(self._replica.view).cells
            for start in range(0, len(cells), PAGE):
                yield snapshot_of(await self._texts_of(Entries(cells.slice(start, start + PAGE))))
                await give_way()

        return PrefixRead(read, pages)

    async def get_file(self, key: str, path: str | os.PathLike[str]) -> str | None:
        """Write the value of a key to a file: bytes as they are, anything else as JSON.

        A large value is read in parts, several at a time, and never whole into memory. The file is replaced once
        everything is there and has the SHA-256 that the log says.

        Returns:
            The content type; None if there is no such key. Then the file is left alone.

        Raises:
            Corrupt: the value's object is missing or does not match the log; the file is left alone.
            Unavailable, AccessDenied: the storage does not answer or refuses.
            InvalidValue: a directory, a device or a pipe is there. A link is followed to the file that is replaced.
            OSError: the file cannot be written.
        """
        self._replica.check_loaded((self._replica.placing.check_key(key),), "get_file")
        await self._look()
        try:
            return await self._get_file(key, path)
        except Corrupt:  # the value may have been replaced and collected meanwhile
            await self._replica.look()
            return await self._get_file(key, path)

    async def _get_file(self, key: str, path: str | os.PathLike[str]) -> str | None:
        entry = self._replica.view.look_up(self._replica.placing.check_key(key))
        if entry is None:
            return None
        target = await asyncio.to_thread(file_target, path, "get_file")
        await self._replica.values.save_to(entry, target, self._replica.clock.new_id())
        content = entry.content
        media = valuetext.media_of(content.text) if isinstance(content, Inline) else content.media
        return media or "application/json"

    async def refresh(self) -> None:
        """Read to the end of the log. A following ``get`` sees every write committed before this call.

        Raises:
            Unavailable, AccessDenied, BucketNotFound, Corrupt, Unsupported: the end could not be reached.
        """
        self._check_open("refresh")
        await self._replica.look()

    async def _look(self) -> None:
        self._check_open("get")
        self._replica.check_loop()
        await self._replica.look_if_stale()

    async def _read(self, select: Callable[[View], Mapping[str, Entry]]) -> dict[str, Any]:
        """The values of the selected entries of the current view; of a newer view if an object was collected."""
        try:
            return await self._values_of(select(self._replica.view))
        except Corrupt:
            await self._replica.look()
            return await self._values_of(select(self._replica.view))

    async def _values_of(self, entries: Mapping[str, Entry]) -> dict[str, Any]:
        """The values of entries; others get the event loop in between if there are many.

        Those in objects are fetched together, since several may be in one object.
        """
        values: dict[str, Any] = {}
        away: dict[str, Entry] = {}
        for page in paged(entries, _AT_ONCE):
            if values:
                await give_way()
            for key, entry in page.items():
                if isinstance(entry.content, Inline):
                    values[key] = await value_of(key, entry.content.text)
                else:
                    values[key], away[key] = None, entry
        for key, text in (await self.read_texts(away)).items():
            values[key] = await value_of(key, text)
        return values

    async def _texts_of(self, entries: Entries) -> Texts:
        """As `_checked_texts`, without an entry made of each value that is in the log itself."""
        texts, away = inline_texts(entries)
        return texts.update(await self._checked_texts(away)) if away else texts

    async def _checked_texts(self, entries: Mapping[str, Entry]) -> dict[str, str]:
        """The texts of entries; those from objects are checked to be JSON."""
        texts = await self.read_texts(entries)
        for key, entry in entries.items():
            if isinstance(entry.content, ContentObject):
                await value_of(key, texts[key])
        return texts

    async def read_texts(self, entries: Mapping[str, Entry]) -> dict[str, str]:
        """The JSON texts of entries of ``states.value``, downloaded in parallel where not available locally.

        Raises:
            Corrupt: a value's object is missing or does not match the log.
            Unavailable, AccessDenied: the storage does not answer or refuses.
            InvalidOption: these are not entries by key.
        """
        check_entries(entries)
        texts = await self._replica.values.fetch_all(list(entries.values()))
        return dict(zip(entries, texts, strict=True))

    def keys(self, prefix: str = "") -> list[str]:
        """The keys under a prefix as of the last read, sorted by code point, including own pending writes. No I/O."""
        self._replica.check_loaded_under((check_prefix(prefix),), "keys")
        return self._replica.keys(prefix)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            self._replica.check_loaded((key,), "in")
        return key in self._replica.view

    def __len__(self) -> int:
        return len(self._replica.view)

    # -- observing -------------------------------------------------------------------------------------------

    def observe(self, key: str, default: Any = None) -> Observable[Any]:
        """The value of a key: the current one first, then each change; ``default`` while there is none."""
        self._replica.check_loaded((self._replica.placing.check_key(key),), "observe")
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
            type: the type of its values: anything that pydantic's TypeAdapter accepts (needs the extra ``typed``). By
                default, any JSON value.
            default: the value if the key does not exist.

        Raises:
            InvalidKey: no storage could hold such a key.
            InvalidOption: pydantic cannot validate ``type``.
            Unsupported: ``type`` is given and pydantic is not installed.
        """
        return self._make_key(Key, key, type, default)

    def _make_key(self, kind: Callable[..., K], key: str, type: Any, default: Any) -> K:
        codec = codec_for(type, f"key {key!r}")
        return kind(self._replica, self._streams, self, key, codec, default, self._put_unless_shown)

    def subscribe(self, key: str, on_next: Callable[[Any], None], default: Any = None) -> DisposableBase:
        """Call back with the current value of a key and with each change: short for ``observe(key).subscribe``."""
        return self.observe(key, default).subscribe(on_next)

    def observe_many(self, *keys: str, default: Any = None) -> Observable[Mapping[str, Any]]:
        """The values of several keys, as a mapping with all of them, in one emission per change."""
        self._replica.check_loaded(map(self._replica.placing.check_key, keys), "observe_many")
        return self._streams.observe_many(keys, default)

    def observe_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None
    ) -> Observable[Mapping[str, Any]]:
        """The values of the keys that start with a string, sorted; optionally only the first or last n."""
        self._replica.check_loaded_under((check_prefix(prefix),), "observe_prefix")
        return self._streams.observe_prefix(prefix, first, last)

    @overload
    def collection(self, *sources: str | Observable[Any], T: None = None) -> Collection[str, Any]: ...

    @overload
    def collection(self, *sources: str | Observable[Any], T: type[T]) -> Collection[str, T]: ...

    @overload
    def collection(self, *sources: str | Observable[Any], T: Any) -> Collection[str, Any]: ...

    def collection(self, *sources: str | Observable[Any], T: Any = None) -> Collection[Any, Any]:
        """A live query: the rows under prefixes, from which `filter`, `join`, `group_by` and others make new ones.

        An Observable of tuples of `Delta`, the first of which is the current content; `Collection.value` is a sorted
        mapping. The cost of a change depends on what it changes, not on the number of rows.

        Args:
            sources: prefixes of keys, all keys by default; or Observables of deltas (of anything that has a ``key``
                and an ``after``, or tuples of such), which are added up. Where two have a key, the first counts.
            T: the type of the values under the prefixes: anything that pydantic's TypeAdapter accepts (needs the extra
                ``typed``). A value that does not fit is left out and reported on `errors`.

        Raises:
            InvalidOption: a source is neither, or ``T`` is not a type that pydantic can check.
            Unsupported: ``T`` is given and pydantic is not installed.
            Closed: the database is closed.
        """
        self._check_open("collection")
        prefixes = [source for source in sources if isinstance(source, str)] if sources else [""]
        self._replica.check_loaded_under(prefixes, "collection")
        return collection_of(self._streams, sources, T)

    def iterate(self, observable: Observable[T], keep: int | Literal["all"] = 1) -> Iteration[T]:
        """An Observable as an async iterator: ``async with db.iterate(o) as items: async for item in items``.

        Args:
            observable: any Observable.
            keep: how many of the latest items are buffered for a slow consumer; ``"all"`` buffers up to 10,000 and then
                raises `Overloaded` in the consumer.
        """
        return Iteration(observable, keep)

    def changes(self, prefix: str = "") -> Observable[Change]:
        """Each change of a value under a prefix, from now on, including own pending writes."""
        self._replica.check_loaded_under((check_prefix(prefix),), "changes")
        return self._streams.changes(prefix)

    @property
    def versions(self) -> Observable[ManifestVersion | Reset]:
        """Each version of the log after the loaded one."""
        return self._streams.versions()

    @property
    def errors(self) -> Observable[Failure]:
        """Each error that no caller is waiting for, from now on."""
        return self._streams.errors()

    @property
    def states(self) -> Live[View]:
        """The whole view, a mapping of key to `Entry`, after each step."""
        return self._streams.states()

    @property
    def pending(self) -> Live[tuple[Receipt, ...]]:
        """The receipts of the writes waiting for their commit, oldest first."""
        return self._streams.pending()

    @property
    def status(self) -> Live[Status]:
        """The status: online or not, the last error, the next retry, the budget, requests and bytes so far."""
        return self._streams.status()

    @property
    def cost(self) -> Live[Cost]:
        """What this connection costs: requests by class and by what they were for, bytes, and money a month.

        It counts all manifests that are open on this connection. An observer gets new figures once a second at most.
        Observing it makes no requests.
        """
        return self._streams.cost()

    @property
    def scheduler(self) -> AsyncIOThreadSafeScheduler:
        """A scheduler that keeps timed Rx operators on the database's event loop."""
        return AsyncIOThreadSafeScheduler(self._replica.loop)

    @property
    def key_limit(self) -> int:
        """The longest key that this database accepts, in bytes after escaping."""
        return self._replica.placing.key_limit

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self._replica.manifest

    @property
    def by(self) -> str:
        """The name that its writes are recorded with; "" if `connect` was given none."""
        return self._replica.options.by

    @property
    def protocol(self) -> ProtocolName:
        """The protocol of the manifest's log; the expected one while the manifest does not exist."""
        return self._replica.protocol

    # -- the past --------------------------------------------------------------------------------------------

    async def at(self, when: When) -> Past:
        """The state at an earlier version of the log, as far back as it is kept (sequenced protocol only).

        Args:
            when: the version id of a write; the id of a log version, as text or number; a tag; or an aware datetime,
                for the last version stored by then, by the storage's clock.

        Raises:
            NotKept: it is no longer kept; the error names the oldest version kept.
            InvalidOption: there is no such version, or a datetime is naive or in the future.
            Unsupported: the protocol keeps no past.
            Unavailable, AccessDenied, Corrupt: as `refresh`.
        """
        return await self._past.at(when)

    def history(self, key: str) -> Recorded[KeyVersion]:
        """The versions of a key that the log still has, oldest first: an Observable that completes.

        It is also an async iterable, and awaiting it gives a list. Nothing is read before. It may end with any error
        that `at` raises, or `Closed`. For a key set before the oldest kept entry, the first item is its value in the
        oldest kept checkpoint.
        """
        return self._past.history(key)

    async def diff(self, a: When | Past, b: When | Past) -> dict[str, Difference]:
        """The keys whose values differ between two versions, sorted, each with both values. Raises as `at`."""
        return await self._past.diff(a, b)

    def replay(self, start: When, stop: When | None = None, speed: float | None = 10) -> Recorded[tuple[Change, ...]]:
        """Replay the changes between two versions, in their original timing or ``speed`` times faster.

        An Observable that completes; otherwise as `history`. Each item is the tuple of changes of one version, empty if
        no value changed. So an atomic write is never split, and the n-th item leads to the state that `at` returns for
        the n-th version after ``start``.

        Args:
            start: a version as for `at`; the versions after it are replayed.
            stop: the last version; None stops at the last one when the replay begins.
            speed: how much faster than the times at which the versions were stored; None does not wait at all.
        """
        return self._past.replay(start, stop, speed)

    async def restore(self, when: When | Past, prefix: str = "") -> str:
        """Restore every key under a prefix to its value at an earlier version, in one atomic write.

        Keys created since are deleted. It reads to the end of the log first, and again if others write under the prefix
        before the commit, so that right after the commit the keys are as they were at that version.

        Returns:
            The version id, once it is committed; "" if nothing differed, and nothing was written.

        Raises:
            InvalidValue: the differences do not fit into one atomic write.
            Conflict: others wrote under the prefix in between, ten times in a row.
            Rejected, Closed, Overloaded: as `put` and its receipt; the rest as `at`.
        """
        self._check_may_write("restore")
        self._replica.check_loop()
        return await self._past.restore(when, prefix)

    async def tag(self, name: str) -> str:
        """Tag the current end of the log: that state is kept, whatever the retention, until `untag`.

        It reads to the end of the log and makes a checkpoint. `at` accepts the tag. An existing tag is not moved.

        Returns:
            The id of the log version.

        Raises:
            InvalidOption: nothing has been written yet, the tag exists for another version, or the name is not valid.
            Unavailable, AccessDenied: it may or may not have been made: see `tags`. The rest as `at`.
        """
        self._check_writable("tag")
        return await self._past.tag(name)

    async def untag(self, name: str) -> None:
        """Remove a tag; removing a missing one is allowed. Raises as `tag`."""
        self._check_writable("untag")
        await self._past.untag(name)

    async def tags(self) -> dict[str, str]:
        """The tags, each with the id of its log version, oldest first. Raises as `at`."""
        return await self._past.tags()

    # -- upkeep ----------------------------------------------------------------------------------------------

    async def compact(self, *, dry_run: bool = False, progress: Progress | None = None) -> Report:
        """Write a checkpoint and delete what is no longer needed; clients that write also do so automatically.

        Deleting log entries takes two calls, at least an hour apart: the first announces it.

        Args:
            dry_run: change nothing; the report says what would be done.
            progress: called with the current step, how much of it is done, and the total.

        Raises:
            Corrupt: stored objects contradict each other; deletion stops.
            Unavailable, AccessDenied: interrupted; the next call continues.
        """
        self._check_open("compact")
        if not dry_run:
            self._check_writable("compact")
        await self._replica.look()
        with charged_to("upkeep"):
            made = None if dry_run else await self._replica.collector.checkpoint()
            report = await self._replica.collector.collect(dry_run=dry_run, progress=progress)
        report.checkpoint = made
        return report

    # -- presence ----------------------------------------------------------------------------------------------

    def presence(
        self, me: Any = None, *, every: float | None = None, ttl: float | None = None, poll: float | None = None
    ) -> Presence:
        """Who is here: a `Live` mapping of client ids to participants, including this client if ``me`` is given.

        It is active while it is observed, and within ``with``; otherwise it makes no requests, and this client is not
        visible. It is independent of the log: no write waits for it, and no version mentions it.

        Args:
            me: what others see of this client, a JSON value of up to 4,096 bytes. None only observes, and needs no
                permission to write.
            every: seconds between two heartbeats; by default 30, or a third of ``ttl`` if that is less.
            ttl: seconds without a heartbeat after which a client counts as gone, by the storage's clock; by default 90,
                or three times ``every`` if that is given.
            poll: the most seconds between two reads. None takes the database's ``poll``, twice that when nothing has
                changed for half a minute, and four times that while nobody else is there; or ``every`` if that is an
                Observable.

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
        """End the presences of this handle and of its sub-handles; the returned tasks delete their objects."""
        return [*self._presences.close(), *(ending for child in self._children for ending in child._leave())]

    # -- lifetime ------------------------------------------------------------------------------------------------

    def manifest(self, name: str) -> Database:
        """A handle on another manifest of the same database, loaded on first use.

        It is closed with this handle.
        """
        self._check_open("manifest")
        self._replica.check_loop()
        replica = self._connection.replica(name, self._options)
        child = Database(self._connection, replica, self._options, read_only=self._read_only, parent=self)
        self._children[child] = None
        return child

    async def close(self, timeout: float | None = 10.0) -> None:
        """Wait for pending commits, then complete the streams of this handle and stop what no other handle shares.

        If another handle of this process shares the replica, that one continues committing, and this returns at once.
        If this is cancelled, it no longer waits for commits, but ends all the same; what is lost is logged.

        Args:
            timeout: seconds to wait for pending writes; None waits as long as it takes.

        Raises:
            InvalidOption: ``timeout`` is no number; the database stays open.
            NotSent: some writes were not committed in time and are not kept on disk; ``keys`` names them.
        """
        if self._closed:
            return
        seconds = checked_timeout(timeout, "close")
        timeout = inf if seconds is None else seconds
        self._replica.check_loop()
        self._closed = True
        try:
            leaving = self._leave()
            if leaving and timeout > 0:
                await asyncio.wait(leaving, timeout=min(timeout, CLOSE_WITHIN))
        except asyncio.CancelledError:
            try:
                await self._end(0.0)
            except Error as error:  # it was cancelled, whatever else there is to say
                logger.error("%s", error)
            raise
        except BaseException:
            await self._end(timeout)
            raise
        await self._end(timeout)

    async def _end(self, timeout: float) -> None:
        try:
            if self._parent is None:
                await self._connection.release(timeout)
            else:
                self._parent._children.pop(self, None)
        finally:
            for child in [*self._children]:
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
            logger.error("%s", not_sent)  # do not hide the original error

    def _check_open(self, operation: str) -> None:
        if self._closed:
            what = f"manifest {self._replica.manifest!r}"
            raise Closed("the database is closed", operation=operation, object=what, remedy="open another")

    def _check_writable(self, operation: str) -> None:
        if self._read_only:
            what = f"manifest {self._replica.manifest!r}"
            remedy = "open it without that option to write"
            raise InvalidOption("opened with read_only=True", operation=operation, object=what, remedy=remedy)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self)} keys"
        return f"<Database {self._connection.storage.url} manifest {self._replica.manifest!r}, {state}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The notebook display: location and status."""
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
    """The transactions of a database, for the other interfaces built on it."""
    return database._transactions  # pyright: ignore[reportPrivateUsage]  # of the same module


def make_key(database: Database, kind: Callable[..., K], key: str, type: Any, default: Any) -> K:
    """As `Database.key`, with another class, for the other interfaces built on it."""
    return database._make_key(kind, key, type, default)  # pyright: ignore[reportPrivateUsage]  # of the same module


def logged(database: Database, most: int) -> Recorded[ManifestVersion]:
    """The last versions of a database's log as they are stored; see `History.logged`."""
    return database._past.logged(most)  # pyright: ignore[reportPrivateUsage]  # of the same module
