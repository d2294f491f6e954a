"""`rxmps3.database.database.Database` without ``await``, as far as that only delegates.

Written by ``python -m tests.generate_blocking``: change the async class and run it again.
"""

from __future__ import annotations

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
from rxmps3.database.presence.presence import DEFAULT_EVERY, DEFAULT_TTL, Presence
from rxmps3.errors import Failure
from rxmps3.log.protocol import Progress, ProtocolName, Report
from rxmps3.model.state import Entry, ManifestVersion, View
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

    def create(self, key: str, value: Any) -> Receipt:
        """Set a key that is not there; if it is, the receipt raises `Conflict`. Short for ``if_version=MISSING``."""
        return self._database.create(key, value)

    def patch(self, key: str, patch: Any) -> Receipt:
        """Change a part of a key's value by a JSON merge patch (RFC 7386): null deletes a member, arrays are replaced.

        The view holds the result when this returns. Where others write the key before this is committed, the patch is
        applied to what they wrote: no other part of the value is lost. A key that is not there counts as ``{}``.

        Raises:
            NotLoaded: the present value is not at hand, since it is large and was not read yet: call `get` first.
            Unsupported: the manifest's protocol has no one order of commits.
            InvalidKey, InvalidValue, Closed, Overloaded: as `put`.
        """
        return self._database.patch(key, patch)

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
        return self._database.merge(key, value, schema)

    def undo(self, *, timeout: float | None = None) -> str:
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
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("undo", self._database.undo, timeout)

    def redo(self, *, timeout: float | None = None) -> str:
        """Do again the write that was undone last, if this handle has made no other one since. As `undo`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("redo", self._database.redo, timeout)

    def new_key(self, prefix: str = "") -> str:
        """A key that nobody else makes and that sorts after those made before: time first, then chance."""
        return self._database.new_key(prefix)

    def get_many(self, keys: Iterable[str], default: Any = None, *, timeout: float | None = None) -> dict[str, Any]:
        """The values of several keys at one moment, in the order asked for. Otherwise as `get`.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        keys = tuple(keys)  # here: a generator may block
        return self._portal.call("get_many", lambda: self._database.get_many(keys, default), timeout)

    def refresh(self, *, timeout: float | None = None) -> None:
        """Read to the end of the log. A ``get`` right after it sees every write committed before this call.

        Raises:
            Unavailable, AccessDenied, BucketNotFound, Corrupt, Unsupported: the end could not be reached.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        self._portal.call("refresh", self._database.refresh, timeout)

    def read_texts(self, entries: Mapping[str, Entry], *, timeout: float | None = None) -> dict[str, str]:
        """The JSON texts of entries of ``states.value``, downloaded in parallel where they are not at hand.

        Raises:
            Corrupt: a value's object is missing or not what the log says of it.
            Unavailable, AccessDenied: the storage does not answer or refuses.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("read_texts", lambda: self._database.read_texts(entries), timeout)

    def observe(self, key: str, default: Any = None) -> Observable[Any]:
        """The value of a key: the current one first, then each change; ``default`` while there is none."""
        return self._database.observe(key, default)

    def subscribe(self, key: str, on_next: Callable[[Any], None], default: Any = None) -> DisposableBase:
        """Call back with the value of a key, now and at each change: short for ``observe(key).subscribe``."""
        return self._database.subscribe(key, on_next, default)

    def observe_many(self, *keys: str, default: Any = None) -> Observable[Mapping[str, Any]]:
        """The values of several keys, every asked key present, in one emission per change."""
        return self._database.observe_many(*keys, default=default)

    def observe_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None
    ) -> Observable[Mapping[str, Any]]:
        """The values of the keys that start with a plain string, sorted; only the first or last n if asked."""
        return self._database.observe_prefix(prefix, first=first, last=last)

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
        return self._database.collection(*sources, T=T)

    def changes(self, prefix: str = "") -> Observable[Change]:
        """Each change of a value under a prefix, from now on, own pending writes included."""
        return self._database.changes(prefix)

    @property
    def versions(self) -> Observable[ManifestVersion | Reset]:
        """Each version of the log after the loaded one."""
        return self._database.versions

    @property
    def errors(self) -> Observable[Failure]:
        """Each trouble that no caller is waiting for, from now on."""
        return self._database.errors

    @property
    def states(self) -> Live[View]:
        """The whole view, a mapping of key to `Entry`, after each step."""
        return self._database.states

    @property
    def pending(self) -> Live[tuple[Receipt, ...]]:
        """The receipts of the writes that wait for their commit, oldest first."""
        return self._database.pending

    @property
    def status(self) -> Live[Status]:
        """How it goes: online or not, the last error, the next try, requests and bytes so far."""
        return self._database.status

    @property
    def scheduler(self) -> AsyncIOThreadSafeScheduler:
        """A scheduler that keeps timed Rx operators on the database's event loop."""
        return self._database.scheduler

    @property
    def key_limit(self) -> int:
        """The longest key in bytes, once escaped, that this database takes."""
        return self._database.key_limit

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self._database.name

    @property
    def protocol(self) -> ProtocolName:
        """The protocol of the manifest's log; while there is no manifest yet, the one it is expected to get."""
        return self._database.protocol

    def at(self, when: When, *, timeout: float | None = None) -> BlockingPast:
        """What there was at an earlier version of the log, as far back as that is kept (the sequenced log alone).

        Args:
            when: a version id as a committed write gives it; the id of a log version, as text or number; a tag; or an
                aware datetime, which means the last version that was stored no later, by the storage's clock.

        Raises:
            NotKept: it is older than what is kept; the error says what is oldest.
            InvalidOption: there is no such version, a datetime is naive or still to come.
            Unsupported: the protocol keeps no past.
            Unavailable, AccessDenied, Corrupt: as `refresh`.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return BlockingPast(self._portal, self._portal.call("at", lambda: self._database.at(when), timeout))

    def history(self, key: str) -> BlockingRecorded[KeyVersion]:
        """The versions of a key that the log still has, oldest first: an Observable that completes.

        It is an iterable, too. Nothing is read before. An error ends it; it may be any that `at` raises, and `Closed`.
        A key that was set before what the log still has begins with what it held in the oldest kept checkpoint.
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
        """What happened between two versions once more, as fast as it happened or ``speed`` times faster.

        An Observable that completes; otherwise as `history`. Each item is one version: its changes, in a tuple that is
        empty where no value changed. So nobody sees half of an atomic write, and the n-th item leads to what `at` shows
        of the n-th version after ``start``.

        Args:
            start: a version as for `at`; what came after it is replayed.
            stop: the last one; None stops at what is the last one when it begins.
            speed: how much faster, by the times at which the versions were stored; None does not wait at all.
        """
        return BlockingRecorded(self._portal, self._database.replay(start, stop, speed))

    def restore(self, when: When | BlockingPast, prefix: str = "", *, timeout: float | None = None) -> str:
        """Bring every key under a prefix back to what it held at an earlier version, in one atomic write.

        Keys that have been made since are deleted. It reads to the end of the log first, and does so again if others
        write under the prefix before it is committed: right after it, the keys are as they were then.

        Returns:
            The version id, once it is committed; "" if nothing differed, and nothing was written.

        Raises:
            InvalidValue: what differs does not fit one atomic write.
            Conflict: others wrote under the prefix in between, ten times in a row.
            Rejected, Closed, Overloaded: as `put` and its receipt; the rest as `at`.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("restore", lambda: self._database.restore(past_of(when), prefix), timeout)

    def tag(self, name: str, *, timeout: float | None = None) -> str:
        """Keep the present end of the log under a name, beyond what is kept otherwise, until `untag`.

        It reads to the end of the log and makes a checkpoint. `at` takes the name. A tag that is there stays.

        Returns:
            The id of the log version.

        Raises:
            InvalidOption: nothing was written yet, another version has this name, or no tag can have it.
            Unavailable, AccessDenied: it may have been made or not: see `tags`. The rest as `at`.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("tag", lambda: self._database.tag(name), timeout)

    def untag(self, name: str, *, timeout: float | None = None) -> None:
        """Remove a tag; removing what is not there is fine. Raises as `tag`.

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
        """Write a checkpoint and delete what is no longer needed; clients that write do so by themselves, too.

        Deleting log entries takes two calls, an hour apart at least: the first announces it.

        Args:
            dry_run: change nothing; the report says what would be done.
            progress: is called with what is going on, how much of it is done and how much there is.

        Raises:
            Corrupt: what is stored contradicts itself; nothing more is deleted.
            Unavailable, AccessDenied: interrupted; what is left is done next time.
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        return self._portal.call("compact", lambda: self._database.compact(dry_run=dry_run, progress=progress), timeout)

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
        return self._database.presence(me, every=every, ttl=ttl, poll=poll)
