"""`rxmps3.database.database.Database` without ``await``, as far as that only delegates.

Written by ``python -m tests.generate_blocking``: change the async class and run it again.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.blocking.past import BlockingPast, BlockingRecorded, past_of
from rxmps3.blocking.portal import Portal
from rxmps3.database.database import Database
from rxmps3.database.past.history import Difference, KeyVersion, When
from rxmps3.database.presence.presence import Presence
from rxmps3.errors import Failure
from rxmps3.log.protocol import Progress, ProtocolName, Report
from rxmps3.model.missing import MissingType
from rxmps3.model.sortedkeys import several
from rxmps3.model.state import Entry, ManifestVersion, View
from rxmps3.replica.cost import Cost
from rxmps3.replica.options import Status
from rxmps3.replica.receipt import Receipt
from rxmps3.streams.collection import Collection
from rxmps3.streams.events import Change, Reset
from rxmps3.streams.stream import Live

__all__ = ["DatabaseDelegation"]

T = TypeVar("T")


class DatabaseDelegation:
    """What a blocking `Database` hands on to the async one."""

    _portal: Portal

    @property
    @abstractmethod
    def _database(self) -> Database:
        """The async one."""

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
        return self._database.put_file(key, path, content_type=content_type, if_version=if_version)

    def create(self, key: str, value: Any) -> Receipt:
        """Set a key that does not exist; if it does, the receipt raises `Conflict`. Short for
        ``if_version=MISSING``.
        """
        return self._database.create(key, value)

    def patch(self, key: str, patch: Any) -> Receipt:
        """Change part of a key's value by a JSON merge patch (RFC 7386): null deletes a member, arrays are replaced.

        The result is visible here when this returns. If others write the key before this is committed, the patch is
        applied to their value, so no other part of it is lost. A missing key counts as ``{}``.

        Raises:
            NotLoaded: the current value is large and has not been loaded yet: call `get` first.
            Unsupported: the manifest's protocol does not support conditions.
            InvalidKey, InvalidValue, Closed, Overloaded: as `put`.
        """
        return self._database.patch(key, patch)

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
        return self._database.merge(key, value, schema)

    def undo(self, *, timeout: float | None = None) -> str:
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
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("undo", self._database.undo, timeout)

    def redo(self, *, timeout: float | None = None) -> str:
        """Redo the write that was undone last, unless this handle has made another write since. As `undo`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("redo", self._database.redo, timeout)

    def new_key(self, prefix: str = "") -> str:
        """A unique key that sorts after those made before: a timestamp followed by random bits."""
        return self._database.new_key(prefix)

    def get_many(self, keys: Iterable[str], default: Any = None, *, timeout: float | None = None) -> dict[str, Any]:
        """The values of several keys at one moment, in the order asked for. Otherwise as `get`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        keys = tuple(several(keys, "get_many"))  # here: a generator may block
        return self._portal.call("get_many", lambda: self._database.get_many(keys, default), timeout)

    def get_file(self, key: str, path: str | os.PathLike[str], *, timeout: float | None = None) -> str | None:
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
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("get_file", lambda: self._database.get_file(key, path), timeout)

    def refresh(self, *, timeout: float | None = None) -> None:
        """Read to the end of the log. A following ``get`` sees every write committed before this call.

        Raises:
            Unavailable, AccessDenied, BucketNotFound, Corrupt, Unsupported: the end could not be reached.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        self._portal.call("refresh", self._database.refresh, timeout)

    def read_texts(self, entries: Mapping[str, Entry], *, timeout: float | None = None) -> dict[str, str]:
        """The JSON texts of entries of ``states.value``, downloaded in parallel where not available locally.

        Raises:
            Corrupt: a value's object is missing or does not match the log.
            Unavailable, AccessDenied: the storage does not answer or refuses.
            InvalidOption: these are not entries by key.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("read_texts", lambda: self._database.read_texts(entries), timeout)

    def observe(self, key: str, default: Any = None) -> Observable[Any]:
        """The value of a key: the current one first, then each change; ``default`` while there is none."""
        return self._database.observe(key, default)

    def subscribe(self, key: str, on_next: Callable[[Any], None], default: Any = None) -> DisposableBase:
        """Call back with the current value of a key and with each change: short for ``observe(key).subscribe``."""
        return self._database.subscribe(key, on_next, default)

    def observe_many(self, *keys: str, default: Any = None) -> Observable[Mapping[str, Any]]:
        """The values of several keys, as a mapping with all of them, in one emission per change."""
        return self._database.observe_many(*keys, default=default)

    def observe_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None
    ) -> Observable[Mapping[str, Any]]:
        """The values of the keys that start with a string, sorted; optionally only the first or last n."""
        return self._database.observe_prefix(prefix, first=first, last=last)

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
        return self._database.collection(*sources, T=T)

    def changes(self, prefix: str = "") -> Observable[Change]:
        """Each change of a value under a prefix, from now on, including own pending writes."""
        return self._database.changes(prefix)

    @property
    def versions(self) -> Observable[ManifestVersion | Reset]:
        """Each version of the log after the loaded one."""
        return self._database.versions

    @property
    def errors(self) -> Observable[Failure]:
        """Each error that no caller is waiting for, from now on."""
        return self._database.errors

    @property
    def states(self) -> Live[View]:
        """The whole view, a mapping of key to `Entry`, after each step."""
        return self._database.states

    @property
    def pending(self) -> Live[tuple[Receipt, ...]]:
        """The receipts of the writes waiting for their commit, oldest first."""
        return self._database.pending

    @property
    def status(self) -> Live[Status]:
        """The status: online or not, the last error, the next retry, the budget, requests and bytes so far."""
        return self._database.status

    @property
    def cost(self) -> Live[Cost]:
        """What this connection costs: requests by class and by what they were for, bytes, and money a month.

        It counts all manifests that are open on this connection. An observer gets new figures once a second at most.
        Observing it makes no requests.
        """
        return self._database.cost

    @property
    def scheduler(self) -> AsyncIOThreadSafeScheduler:
        """A scheduler that keeps timed Rx operators on the database's event loop."""
        return self._database.scheduler

    @property
    def key_limit(self) -> int:
        """The longest key that this database accepts, in bytes after escaping."""
        return self._database.key_limit

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self._database.name

    @property
    def by(self) -> str:
        """The name that its writes are recorded with; "" if `connect` was given none."""
        return self._database.by

    @property
    def protocol(self) -> ProtocolName:
        """The protocol of the manifest's log; the expected one while the manifest does not exist."""
        return self._database.protocol

    def at(self, when: When, *, timeout: float | None = None) -> BlockingPast:
        """The state at an earlier version of the log, as far back as it is kept (sequenced protocol only).

        Args:
            when: the version id of a write; the id of a log version, as text or number; a tag; or an aware datetime,
                for the last version stored by then, by the storage's clock.

        Raises:
            NotKept: it is no longer kept; the error names the oldest version kept.
            InvalidOption: there is no such version, or a datetime is naive or in the future.
            Unsupported: the protocol keeps no past.
            Unavailable, AccessDenied, Corrupt: as `refresh`.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return BlockingPast(self._portal, self._portal.call("at", lambda: self._database.at(when), timeout))

    def history(self, key: str) -> BlockingRecorded[KeyVersion]:
        """The versions of a key that the log still has, oldest first: an Observable that completes.

        It is also an iterable. Nothing is read before. It may end with any error that `at` raises, or `Closed`. For a
        key set before the oldest kept entry, the first item is its value in the oldest kept checkpoint.
        """
        return BlockingRecorded(self._portal, self._database.history(key))

    def diff(
        self, a: When | BlockingPast, b: When | BlockingPast, *, timeout: float | None = None
    ) -> dict[str, Difference]:
        """The keys whose values differ between two versions, sorted, each with both values. Raises as `at`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("diff", lambda: self._database.diff(past_of(a), past_of(b)), timeout)

    def replay(
        self, start: When, stop: When | None = None, speed: float | None = 10
    ) -> BlockingRecorded[tuple[Change, ...]]:
        """Replay the changes between two versions, in their original timing or ``speed`` times faster.

        An Observable that completes; otherwise as `history`. Each item is the tuple of changes of one version, empty if
        no value changed. So an atomic write is never split, and the n-th item leads to the state that `at` returns for
        the n-th version after ``start``.

        Args:
            start: a version as for `at`; the versions after it are replayed.
            stop: the last version; None stops at the last one when the replay begins.
            speed: how much faster than the times at which the versions were stored; None does not wait at all.
        """
        return BlockingRecorded(self._portal, self._database.replay(start, stop, speed))

    def restore(self, when: When | BlockingPast, prefix: str = "", *, timeout: float | None = None) -> str:
        """Restore every key under a prefix to its value at an earlier version, in one atomic write.

        Keys created since are deleted. It reads to the end of the log first, and again if others write under the prefix
        before the commit, so that right after the commit the keys are as they were at that version.

        Returns:
            The version id, once it is committed; "" if nothing differed, and nothing was written.

        Raises:
            InvalidValue: the differences do not fit into one atomic write.
            Conflict: others wrote under the prefix in between, ten times in a row.
            Rejected, Closed, Overloaded: as `put` and its receipt; the rest as `at`.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("restore", lambda: self._database.restore(past_of(when), prefix), timeout)

    def tag(self, name: str, *, timeout: float | None = None) -> str:
        """Tag the current end of the log: that state is kept, whatever the retention, until `untag`.

        It reads to the end of the log and makes a checkpoint. `at` accepts the tag. An existing tag is not moved.

        Returns:
            The id of the log version.

        Raises:
            InvalidOption: nothing has been written yet, the tag exists for another version, or the name is not valid.
            Unavailable, AccessDenied: it may or may not have been made: see `tags`. The rest as `at`.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("tag", lambda: self._database.tag(name), timeout)

    def untag(self, name: str, *, timeout: float | None = None) -> None:
        """Remove a tag; removing a missing one is allowed. Raises as `tag`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        self._portal.call("untag", lambda: self._database.untag(name), timeout)

    def tags(self, *, timeout: float | None = None) -> dict[str, str]:
        """The tags, each with the id of its log version, oldest first. Raises as `at`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("tags", self._database.tags, timeout)

    def compact(
        self, *, dry_run: bool = False, progress: Progress | None = None, timeout: float | None = None
    ) -> Report:
        """Write a checkpoint and delete what is no longer needed; clients that write also do so automatically.

        Deleting log entries takes two calls, at least an hour apart: the first announces it.

        Args:
            dry_run: change nothing; the report says what would be done.
            progress: called with the current step, how much of it is done, and the total.

        Raises:
            Corrupt: stored objects contradict each other; deletion stops.
            Unavailable, AccessDenied: interrupted; the next call continues.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("compact", lambda: self._database.compact(dry_run=dry_run, progress=progress), timeout)

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
        return self._database.presence(me, every=every, ttl=ttl, poll=poll)
