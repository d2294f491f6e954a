"""A key as a two-way stream: an Observable of its values, an Observer that writes, and a current value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from functools import partial
from inspect import isawaitable
from typing import Any, Generic, Protocol, TypeVar, cast

from reactivex import abc
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable

from rxmps3.errors import Corrupt, Error, Failure, InvalidOption, InvalidValue, NotLoaded
from rxmps3.model import jsontext, valuetext
from rxmps3.model.derivations import MergePatch
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.state import Cause, Entry, EntryChange, Inline, View
from rxmps3.replica import Replica
from rxmps3.replica.pending import Shown
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.router import Turn
from rxmps3.streams.stream import Live, Sender, Stream
from rxmps3.streams.texts import Action, TextWait
from rxmps3.streams.typed import Codec
from rxmps3.streams.views import Streams

__all__ = ["ABSENT", "Key", "KeyEntry"]

T = TypeVar("T")
R = TypeVar("R")


class Writes(Protocol):
    """The writing methods of a database handle."""

    def put(self, key: str, value: Any, *, if_version: str | MissingType | None = None) -> Receipt: ...

    def delete(self, key: str, *, if_version: str | MissingType | None = None) -> Receipt: ...

    def patch(self, key: str, patch: Any) -> Receipt: ...

    async def update(
        self, key: str, fn: Callable[[Any], Awaitable[R] | R], default: Any = None, attempts: int = 10
    ) -> R: ...


@dataclass(frozen=True)
class KeyEntry(Generic[T]):
    """The current entry of a key.

    Attributes:
        value: its value, or the default if it has none or one that does not fit the type.
        version: the version id of the write that set it; "" if it has no value.
        pending: whether that write is waiting for its commit.
        by: the name of its writer, unverified; "" if another client wrote it before the subscription.
        cause: ``"own"``, ``"remote"``, or ``"rollback"`` of an own write.
        from_cache: whether it was restored from disk and the bucket has not been read since.
        error: why the stored value does not fit the type; None if it does.
    """

    value: T
    version: str
    pending: bool
    by: str
    cause: Cause
    from_cache: bool
    error: InvalidValue | None = None


class Key(Live[T], abc.ObserverBase[T]):
    """One key of a database.

    Subscribe to it for its values, or subscribe it to a source (``source.subscribe(key)``) to write the source's items.
    A stored value that does not fit its type is reported on ``db.errors`` and skipped; ``value`` raises
    `InvalidValue` for it.

    A default that is not a value of the type, such as None with ``int``, stands for "no value": writing it deletes the
    key, which then reads as the default. `MISSING` always deletes.

    Args:
        replica: the view.
        streams: makes the streams of the handle.
        writes: writes for the handle.
        name: the key.
        codec: between values and JSON.
        default: the value if the key does not exist.
        put_unless_shown: puts a value unless the view already shows it; see `Replica.write_unless_shown`.
    """

    def __init__(
        self,
        replica: Replica,
        streams: Streams,
        writes: Writes,
        name: str,
        codec: Codec[T],
        default: T,
        put_unless_shown: Callable[[str, Any, Shown], object],
    ) -> None:
        self.name = name
        self._replica = replica
        self._streams = streams
        self._writes = writes
        self._codec = codec
        self._default = default
        self._put_unless_shown = put_unless_shown
        self._default_text = _text_of_default(codec, default)
        self._default_deletes = self._default_text is None
        self._default_is_shared = self._default_deletes and type(default) not in (dict, list, set, bytearray)
        if self._default_text is not None:
            self._default = codec.load(codec.dump(default))
        elif default is None:
            self._default_text = "null"  # a default of None hides null, whatever the type
        equal_to = MISSING if self._default_text is None else valuetext.decode(self._default_text)
        source = streams.observe(name, ABSENT, equal_to)

        def attach(sender: Sender[T]) -> DisposableBase:
            replica.check_loaded((name,), "observe")
            return source.subscribe(_ValueSink(self, sender).send, on_completed=sender.complete)

        super().__init__(replica, f"key {name!r}", attach, self._present)

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, value: T, *, if_version: str | MissingType | None = None) -> Receipt:
        """Set the key, even to the same value. Raises `InvalidValue` if the value does not fit the type; else as
        ``db.put``."""
        return self._writes.put(self.name, self.dumped(value), if_version=if_version)

    def delete(self, *, if_version: str | MissingType | None = None) -> Receipt:
        """Delete the key, as ``db.delete``."""
        return self._writes.delete(self.name, if_version=if_version)

    def patch(self, patch: Any) -> Receipt:
        """Change part of the stored value by a JSON merge patch, as ``db.patch``.

        Raises:
            InvalidValue: the patched value does not fit the type. If others write the key before the commit, the patch
                is applied to their value without this check.
            NotLoaded, Unsupported, Closed, Overloaded: as ``db.patch``.
        """
        entry = self._replica.view.look_up(self.name)
        text = None if entry is None else self._replica.values.peek(entry)
        if entry is None or text is not None:
            made = MergePatch(jsontext.encode(patch, f"patch of key {self.name!r}")).apply(text, f"key {self.name!r}")
            self.loaded(jsontext.decode(made, f"value of key {self.name!r}"))
        return self._writes.patch(self.name, patch)

    async def update(self, fn: Callable[[T], Awaitable[T] | T], attempts: int = 10) -> T:
        """Set the key to ``fn`` of its value, and return the new value, as ``db.update``.

        ``fn`` gets the default if there is no value. Its result is written as by `put`.

        Raises:
            InvalidValue: the stored value or the result does not fit the type.
            Conflict, Unsupported, and the rest: as ``db.update``.
        """

        if not callable(fn):  # pyright: ignore[reportUnnecessaryComparison]
            raise InvalidOption(f"give a function, not {fn!r:.80}", operation="update", object=f"key {self.name!r}")
        values: list[T] = []

        async def change(stored: Any) -> Any:
            result = fn(self.loaded(stored))
            values.append(await cast("Awaitable[T]", result) if isawaitable(result) else cast("T", result))
            return self.dumped(values[-1])

        await self._writes.update(self.name, change, ABSENT, attempts)
        return values[-1]

    def on_next(self, value: T) -> None:
        """Set the key unless the view already shows this value. From any thread; errors go to ``db.errors``.

        If the value shown is not committed yet and its write is cancelled or refused, this value is put after all.
        """
        try:
            dumped = self.dumped(value)
            self._put_unless_shown(self.name, dumped, lambda view: self._shows(view, value, dumped))
        except Error as error:
            self._report("put", error, "the value was not written")

    def on_error(self, error: Exception) -> None:
        """A source failed: the error is reported; the key stays usable."""
        self._report("observe", error, "the source of its values failed")

    def on_completed(self) -> None:
        """A source completed: the key stays usable."""

    def dumped(self, value: T) -> Any:
        """The JSON value to put; `MISSING` to delete."""
        if value is MISSING or (self._default_deletes and self._is_default(value)):
            return MISSING
        return self._codec.dump(value)

    def _is_default(self, value: Any) -> bool:
        if self._default_is_shared:
            return value is self._default
        return type(value) is type(self._default) and value == self._default

    def _own_default(self) -> T:
        """The default for one reader: a copy, unless it is a sentinel."""
        return self._default if self._default_is_shared else deepcopy(self._default)

    def _shows(self, view: View, value: T, dumped: Any) -> bool:
        """Whether a reader of this key sees this value in a view, considering the default."""
        entry = view.look_up(self.name)
        if entry is None and not view.loaded and not view.is_pending(self.name):
            return False
        if dumped is MISSING:
            hidden = entry is not None and self._default is None and self._replica.values.peek(entry) == "null"
            return entry is None or (hidden and value is None)
        text = valuetext.encode(dumped, f"value of key {self.name!r}")
        if entry is None:
            return self._default_text is not None and self._same_text(text, self._default_text)
        text = self._replica.placing.normal(text)
        if entry.same_value(Entry("", Inline(text))):
            return True
        shown = self._replica.values.peek(entry)
        return shown is not None and self._same_text(text, shown)

    def _same_text(self, text: str, shown: str) -> bool:
        """Whether a stored value reads the same as a dumped one."""
        if text == shown:
            return True
        try:
            again = self._replica.placing.normal(self._codec.again(shown))
        except (InvalidValue, Corrupt):
            return False
        return text == again or self._codec.same(text, again)

    # -- reading ---------------------------------------------------------------------------------------------

    def entries(self) -> Stream[KeyEntry[T]]:
        """The key's value with its version, whether it is pending, who wrote it and why it changed.

        It emits whenever the stream of values does; also when a version is confirmed or replaced by an equal value,
        when the bucket has been read for the first time, and for a value that does not fit the type (see ``error``).
        """
        replica = self._replica

        def attach(sender: Sender[KeyEntry[T]]) -> DisposableBase:
            replica.check_loaded((self.name,), "entries")
            sink = _EntrySink(replica, self, sender)
            route = replica.router.add_keys((self.name,), sink)
            loaded = self._streams.once_loaded(sink.start)
            return CompositeDisposable(route, loaded, replica.demand(), Disposable(sink.stop))

        return self._streams.stream(f"entries of {self.name!r}", attach)

    def entry_of(self, change: EntryChange, text: str | None) -> KeyEntry[T]:
        """The entry after a change, given the JSON text of the value; None if it has no value."""
        found = self.decode(ABSENT if text is None else valuetext.decode(text, f"key {self.name!r}"))
        error = found if isinstance(found, InvalidValue) else None
        value = self._own_default() if isinstance(found, InvalidValue) else found[0]
        version = change.after.version if change.after is not None else ""
        return KeyEntry(
            value, version, change.pending, change.by, change.cause, from_cache=self._replica.from_cache, error=error
        )

    def decode(self, value: Any) -> tuple[T] | InvalidValue:
        """Decode a JSON value, or `ABSENT`, into a boxed value of the type; an error is returned and reported."""
        try:
            return (self.loaded(value),)
        except InvalidValue as error:
            self._report("observe", error, "the value was skipped")
            return error

    def text_of(self, value: Any) -> str | None:
        """The text by which readers compare a JSON value, or `ABSENT`."""
        return self._default_text if value is ABSENT else valuetext.encode(value)

    def loaded(self, value: Any) -> T:
        """Convert a JSON value, or `ABSENT`, to the type. Raises `InvalidValue`."""
        if value is ABSENT or (value is None and self._default is None):
            return self._own_default()
        return self._codec.load(value)

    def _present(self) -> T:
        self._replica.check_loaded((self.name,), "value")
        view = self._replica.view
        entry = view.look_up(self.name)
        if entry is None:
            if not view.loaded and not view.is_pending(self.name):
                raise NotLoaded("the state is not loaded yet", object=f"key {self.name!r}", remedy="await db.get first")
            return self._own_default()
        text = self._replica.values.peek(entry)
        if text is None:
            raise NotLoaded(
                "its value is not in memory", object=f"key {self.name!r}", remedy="observe it, or await db.get first"
            )
        return self.loaded(valuetext.decode(text, f"key {self.name!r}"))

    def _report(self, operation: str, error: Exception, note: str) -> None:
        failure = Failure(operation, f"key {self.name!r}", error, note)
        self._replica.on_loop(lambda: self._replica.report(failure))


def _text_of_default(codec: Codec[T], default: T) -> str | None:
    """The JSON text of a default, if it is a value of its type."""
    try:
        return valuetext.encode(codec.dump(default))
    except InvalidValue:
        return None


class _ValueSink(Generic[T]):
    """One subscription to the values of a key: skips values that do not fit, and repetitions of the last emitted
    value."""

    __slots__ = ("_key", "_sender", "_shown", "_skipped")

    def __init__(self, key: Key[T], sender: Sender[T]) -> None:
        self._key = key
        self._sender = sender
        self._shown: Any = _NOTHING
        self._skipped = False

    def send(self, value: Any) -> None:
        decoded = self._key.decode(value)
        if isinstance(decoded, InvalidValue):
            self._skipped = True
            return
        back = self._skipped and self._shown is not _NOTHING and self._same(value)
        self._skipped, self._shown = False, value
        if not back:
            self._sender.send(decoded[0])

    def _same(self, value: Any) -> bool:
        return self._key.text_of(value) == self._key.text_of(self._shown)


class _EntrySink(Generic[T]):
    """One subscription to the entries of a key.

    If a value is not loaded, it waits for it, emits that entry, then continues with the newest. An own put is emitted
    at once and ends the wait, as does a newer entry after a failed download.
    """

    def __init__(self, replica: Replica, key: Key[T], sender: Sender[KeyEntry[T]]) -> None:
        self._replica = replica
        self._key = key
        self._sender = sender
        self._since: int | None = None
        self._target: EntryChange | None = None
        self._newer: EntryChange | None = None
        self._wait = TextWait(replica, "this stream waits for it; others do not")
        self._first_read = SerialDisposable()
        self._sent: tuple[EntryChange, str | None] | None = None

    def start(self) -> None:
        """Emit the current entry."""
        self._since, view = self._replica.latest()
        entry, pending = view.look_up(self._key.name), view.is_pending(self._key.name)
        own = pending or (entry is not None and self._replica.made(entry))
        cause: Cause = "own" if own else "remote"
        waiting = view.pending_on(self._key.name)
        found = None if waiting is None else waiting.write.by
        by = (self._replica.options.by if found is None else found) if own else ""
        if self._replica.from_cache:
            self._first_read.disposable = self._replica.statuses.subscribe(lambda _: self._read_at_last())
        self._go_to(EntryChange(self._key.name, None, entry, changed=True, pending=pending, by=by, cause=cause))

    def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
        if self._since is None or turn.number <= self._since:
            return
        change = changes[-1]
        if self._target is not None and change.cause == "remote" and not self._wait.has_failed:
            self._newer = change
        else:
            self._go_to(change)

    def stop(self) -> None:
        self._since = None
        self._stop_waiting()
        self._first_read.dispose()

    def _stop_waiting(self) -> None:
        self._target = self._newer = None
        self._wait.stop()

    def _read_at_last(self) -> None:
        """On a status change: once the bucket has been read, emit an entry restored from disk again."""
        if not self._replica.from_cache:
            self._first_read.dispose()
            sent, self._sent = self._sent, None
            if sent is not None and self._target is None:
                self._send(*sent)

    def _go_to(self, change: EntryChange) -> None:
        """Emit a change now, or wait for its value."""
        self._stop_waiting()
        text = self._replica.values.peek(change.after) if change.after is not None else None
        if change.after is None or text is not None:
            self._send(change, text)
        else:
            self._target = change
            self._wait.start(
                partial(self._replica.values.fetch, change.after), partial(self._reach_target, change), self._overtaken
            )

    def _send(self, change: EntryChange, text: str | None) -> None:
        try:
            entry = self._key.entry_of(change, text)
        except Corrupt as error:
            self._replica.report(Failure("observe", error.object, error, "the change is skipped"))
            return
        self._sent = (change, text) if entry.from_cache else None
        self._sender.send(entry)

    def _overtaken(self) -> Action | None:
        return None if self._newer is None else partial(self._go_to, self._newer)

    def _reach_target(self, target: EntryChange, text: str) -> None:
        if target is not self._target:
            return
        newer = self._newer
        self._stop_waiting()
        self._send(target, text)
        if newer is not None and self._since is not None:
            self._go_to(newer)


class _Sign(Enum):
    ABSENT = "absent"
    NOTHING = "nothing"


ABSENT: Any = _Sign.ABSENT
"""Stands for a missing value where the default may be anything."""
_NOTHING: Any = _Sign.NOTHING
"""Stands for "nothing shown yet"."""
