"""A key as a two-way stream: an Observable of its values, an Observer that writes, and a present value."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from reactivex import abc
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxmps3 import jsontext
from rxmps3.errors import Corrupt, Error, InvalidValue, NotLoaded
from rxmps3.failures import Failure
from rxmps3.receipt import Receipt
from rxmps3.replica import Replica
from rxmps3.routing import Turn
from rxmps3.state import Cause, EntryChange
from rxmps3.streams.stream import Live, Sender, Stream
from rxmps3.streams.typed import Codec
from rxmps3.streams.views import Streams

__all__ = ["Key", "KeyEntry"]

T = TypeVar("T")


class Writes(Protocol):
    """The write of a database handle."""

    def put(self, key: str, value: Any) -> Receipt: ...

    def delete(self, key: str) -> Receipt: ...


@dataclass(frozen=True)
class KeyEntry(Generic[T]):
    """What is known of a key.

    Attributes:
        value: its value, or the default where it has none.
        version: the version id of the write that set it; "" where it has none.
        pending: whether that write waits for its commit.
        by: the name of who wrote it, unverified; "" where that was before the subscription.
        cause: a write made here, one from the log, or the roll-back of one made here.
        from_cache: whether it comes from the last known state, with the bucket not asked yet.
    """

    value: T
    version: str
    pending: bool
    by: str
    cause: Cause
    from_cache: bool


class Key(Live[T], abc.ObserverBase[T]):
    """One key of a database.

    Subscribe to it for its values, or let it subscribe to a source (``source.subscribe(key)``) to write what comes.
    A value that does not fit its type is reported on ``db.errors`` and skipped.

    Args:
        replica: the view.
        streams: makes the streams of the handle.
        writes: writes for the handle.
        name: the key.
        codec: between values and JSON.
        default: what stands for a missing value.
    """

    def __init__(
        self, replica: Replica, streams: Streams, writes: Writes, name: str, codec: Codec[T], default: T
    ) -> None:
        self.name = name
        self._replica = replica
        self._streams = streams
        self._writes = writes
        self._codec = codec
        self._default = default
        try:
            equal_to = codec.dump(default)
        except InvalidValue:
            equal_to = None  # None as a default of any type stands beside JSON's null
        source = streams.observe(name, _ABSENT, equal_to)

        def attach(sender: Sender[T]) -> DisposableBase:
            def send(value: Any) -> None:
                decoded = self._decode(value)
                if decoded is not None:
                    sender.send(decoded[0])

            return source.subscribe(send, on_completed=sender.complete)

        super().__init__(replica, f"key {name!r}", attach, self._present)

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, value: T) -> Receipt:
        """Set the key, always. Raises `InvalidValue` if the value does not fit the type; else as ``db.put``."""
        return self._writes.put(self.name, self._codec.dump(value))

    def delete(self) -> Receipt:
        """Delete the key."""
        return self._writes.delete(self.name)

    def on_next(self, value: T) -> None:
        """Set the key, unless the view holds this value already. From any thread; trouble goes to ``db.errors``."""
        try:
            dumped = self._codec.dump(value)
            entry = self._replica.view.look_up(self.name)
            text = self._replica.values.peek(entry) if entry is not None else None
            if text is None or text != jsontext.encode(dumped):
                self._writes.put(self.name, dumped)
        except Error as error:
            self._report("put", error, "the value was not written")

    def on_error(self, error: Exception) -> None:
        """A source has failed: reported; the key lives on."""
        self._report("observe", error, "the source of its values failed")

    def on_completed(self) -> None:
        """A source has ended: the key lives on."""

    # -- reading ---------------------------------------------------------------------------------------------

    def entries(self) -> Stream[KeyEntry[T]]:
        """The key's value with its version, whether it is pending, who wrote it and why it changed."""
        replica = self._replica

        def attach(sender: Sender[KeyEntry[T]]) -> DisposableBase:
            sink = _EntrySink(replica, self, sender)
            route = replica.router.add_keys((self.name,), sink)
            loaded = self._streams.once_loaded(sink.start)
            return CompositeDisposable(route, loaded, replica.demand(), Disposable(sink.stop))

        return self._streams.stream(f"entries of {self.name!r}", attach)

    def entry_of(self, change: EntryChange, text: str | None) -> KeyEntry[T] | None:
        """What a change makes of the key; None if its value does not fit the type."""
        decoded = self._decode(_ABSENT if text is None else jsontext.decode(text, f"key {self.name!r}"))
        if decoded is None:
            return None
        version = change.after.version if change.after is not None else ""
        from_cache = self._replica.status.online is not True
        return KeyEntry(decoded[0], version, change.pending, change.by, change.cause, from_cache)

    def _present(self) -> T:
        view = self._replica.view
        entry = view.look_up(self.name)
        if entry is None:
            if not view.loaded and not view.is_pending(self.name):
                raise NotLoaded("the state is not loaded yet", object=f"key {self.name!r}", remedy="await db.get first")
            return deepcopy(self._default)
        text = self._replica.values.peek(entry)
        if text is None:
            raise NotLoaded(
                "its value is not at hand", object=f"key {self.name!r}", remedy="observe it, or await db.get first"
            )
        return self._codec.load(jsontext.decode(text, f"key {self.name!r}"))

    def _decode(self, value: Any) -> tuple[T] | None:
        """The value, in a box; None if it does not fit the type, which is reported."""
        if value is _ABSENT:
            return (deepcopy(self._default),)
        try:
            return (self._codec.load(value),)
        except InvalidValue as error:
            self._report("observe", error, "the value was skipped")
            return None

    def _report(self, operation: str, error: Exception, note: str) -> None:
        failure = Failure(operation, f"key {self.name!r}", error, note)
        self._replica.on_loop(lambda: self._replica.report(failure))


class _EntrySink(Generic[T]):
    """One subscription to the entries of a key: goes to the newest; only the newest is waited for."""

    def __init__(self, replica: Replica, key: Key[T], sender: Sender[KeyEntry[T]]) -> None:
        self._replica = replica
        self._key = key
        self._sender = sender
        self._since: int | None = None
        self._newest: EntryChange | None = None
        self._fetching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the entry as it is."""
        self._since, view = self._replica.latest()
        entry, pending = view.look_up(self._key.name), view.is_pending(self._key.name)
        cause: Cause = "own" if pending else "remote"
        self._go_to(EntryChange(self._key.name, None, entry, changed=True, pending=pending, by="", cause=cause))

    def receive(self, turn: Turn, changes: list[EntryChange]) -> None:
        if self._since is not None and turn.number > self._since:
            self._go_to(changes[-1])

    def stop(self) -> None:
        self._newest = None
        if self._fetching is not None:
            self._fetching.cancel()

    def _go_to(self, change: EntryChange) -> None:
        self._newest = change
        text = self._replica.values.peek(change.after) if change.after is not None else None
        if change.after is None or text is not None:
            self._send(change, text)
        elif self._fetching is None or self._fetching.done():
            self._fetching = self._replica.spawn(self._fetch_newest(), "fetch")

    def _send(self, change: EntryChange, text: str | None) -> None:
        self._newest = None
        try:
            entry = self._key.entry_of(change, text)
        except Corrupt as error:
            self._replica.report(Failure("observe", error.object, error, "the change is skipped"))
            return
        if entry is not None:
            self._sender.send(entry)

    async def _fetch_newest(self) -> None:
        failures = 0
        while (change := self._newest) is not None and change.after is not None:
            try:
                text = await self._replica.values.fetch(change.after)
            except Error as error:
                failures += 1
                self._replica.report(Failure("fetch", error.object, error, "this stream waits for it"))
                await self._replica.clock.sleep(self._replica.backoff.wait(failures, error, self._replica.rng))
            else:
                if change is self._newest:
                    self._send(change, text)


class _Absent:
    """Stands for a missing value where the default may be anything."""

    def __repr__(self) -> str:
        return "absent"


_ABSENT: Any = _Absent()
