"""The Observables of one database handle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count, takewhile
from typing import Any, TypeVar, cast

from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

from rxmps3.errors import Corrupt, Failure, InvalidValue
from rxmps3.model import jsontext, valuetext
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.snapshot import Asked, Keyed, Snapshot
from rxmps3.model.sortedkeys import check_prefix, check_window
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import Entries, Entry, Inline, ManifestVersion, View
from rxmps3.operators.ending import Ending
from rxmps3.replica import Replica
from rxmps3.replica.cost import Cost
from rxmps3.replica.options import Status
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.router import Turn
from rxmps3.replica.versions import Reset
from rxmps3.runtime.garbage import collected_later
from rxmps3.streams.events import Change, ChangeSink, TurnSink
from rxmps3.streams.selection import KeySelection, PrefixSelection, Selection
from rxmps3.streams.snapshots import Shown, Texts, routed_to, same_texts
from rxmps3.streams.stream import Attach, Live, Sender, Stream

__all__ = ["Streams", "read_text", "snapshot_of"]

T = TypeVar("T")
U = TypeVar("U")
_COST_EVERY = 1.0
"""Seconds."""
_NO_JSON_TEXT = "\0"
_HUGE = 4 << 20
"""Characters of a text that is decoded without garbage collections."""


class Streams:
    """Makes the streams of one handle on a replica, and completes them when the handle closes."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._order = count()
        self._senders: dict[int, Sender[Any]] = {}
        self._closed = False

    @property
    def replica(self) -> Replica:
        """The replica behind the streams."""
        return self._replica

    def complete(self) -> None:
        """Complete every subscription. On the loop's thread."""
        self._closed = True
        for sender in list(self._senders.values()):
            sender.complete()

    # -- values ----------------------------------------------------------------------------------------

    def observe(self, key: str, default: Any, equal_to: Any = MISSING) -> Stream[Any]:
        """The value of one key, or the default, which compares equal to the JSON value ``equal_to`` if given."""
        self._replica.placing.check_key(key)
        is_usual = default is None and equal_to is MISSING
        missing = _NONE if is_usual else _Default(default, default if equal_to is MISSING else equal_to)

        def render(shown: Shown) -> Any:
            text = shown.texts.get(key)
            return missing.value() if text is None else valuetext.decode(text, f"key {key!r}")

        return self._of_keys(f"key {key!r}", (key,), render, missing)

    def observe_many(self, keys: tuple[str, ...], default: Any) -> Stream[Mapping[str, Any]]:
        """The values of several keys, with every key present, in the given order."""
        for key in keys:
            self._replica.placing.check_key(key)
        missing = _Default(default, default)
        asked = dict.fromkeys(keys)

        def read(key: str, text: str | MissingType) -> Any:
            return missing.value() if isinstance(text, MissingType) else read_text(key, text)

        def render(shown: Shown) -> Mapping[str, Any]:
            return Snapshot(Asked(asked, shown.texts, MISSING), read)

        return self._of_keys(f"keys {', '.join(map(repr, keys))}", keys, render, missing)

    def observe_prefix(self, prefix: str, first: int | None, last: int | None) -> Stream[Mapping[str, Any]]:
        """The values of the keys under a prefix, sorted, or of the first or last n of them."""
        check_prefix(prefix)
        check_window(first, last)

        def render(shown: Shown) -> Mapping[str, Any]:
            return snapshot_of(shown.texts)

        shown = self.shown_under((prefix,), first, last)
        return self._of_values(f"prefix {prefix!r}", shown, render)

    def shown_under(
        self,
        prefixes: tuple[str, ...],
        first: int | None = None,
        last: int | None = None,
        watch: Callable[[Turn, bool], None] | None = None,
    ) -> Observable[Shown]:
        """The snapshots of the keys under some prefixes together; for ``watch`` see `routed_to`."""
        replica = self._replica
        disjoint = _disjoint(prefixes)

        def select() -> Selection:
            view = replica.view
            found = [view.under(prefix) for prefix in disjoint]
            all_found = found[0] if len(found) == 1 else Entries.of({key: one[key] for one in found for key in one})
            return PrefixSelection(all_found, disjoint, first, last)

        add = partial(replica.router.add_prefix, _common(disjoint))
        shown = routed_to(add, self.once_loaded, replica, select, watch=watch)
        return shown.pipe(ops.distinct_until_changed(comparer=same_texts))

    def _of_keys(self, name: str, keys: tuple[str, ...], render: Callable[[Shown], T], missing: _Default) -> Stream[T]:
        replica = self._replica

        def select() -> Selection:
            view = replica.view
            return KeySelection({key: view.look_up(key) for key in keys})

        add = partial(replica.router.add_keys, keys)
        shown = routed_to(add, self.once_loaded, replica, select, missing.entry)
        return self._of_values(name, shown.pipe(ops.distinct_until_changed(comparer=same_texts)), render)

    def _of_values(self, name: str, shown: Observable[Shown], render: Callable[[Shown], T]) -> Stream[T]:
        """The snapshots of some keys, rendered separately for each observer."""

        def attach(sender: Sender[T]) -> DisposableBase:
            def send(shown: Shown) -> None:
                try:
                    item = render(shown)
                except Corrupt as error:
                    self._replica.report(Failure("observe", error.object, error, "the change is skipped"))
                else:
                    sender.send(item)

            return Ending(shown.subscribe(send), self._replica.demand())

        counted = cast(Attach[T], self.counted(attach))  # pyright loses T through the nested alias
        return Stream(self._replica, name, counted)

    def once_loaded(self, action: Callable[[], None]) -> DisposableBase:
        """Run an action now if the state is loaded, else in the turn that loads it, unless disposed before."""
        if self._replica.view.loaded:
            action()
            return _ENDED
        waiting = SingleAssignmentDisposable()

        def act_once_loaded(turn: Turn) -> None:
            if turn.step.view.loaded:
                waiting.dispose()
                action()

        waiting.disposable = self._replica.router.add_every(TurnSink(self._replica, act_once_loaded))
        return waiting

    def stream(self, name: str, attach: Attach[U]) -> Stream[U]:
        """A stream of this handle's, which completes when the handle closes."""
        counted = cast(Attach[U], self.counted(attach))
        return Stream(self._replica, name, counted)

    # -- events ----------------------------------------------------------------------------------------

    def changes(self, prefix: str) -> Stream[Change]:
        """Each change of a value under a prefix, from now on."""
        check_prefix(prefix)
        replica = self._replica

        def attach(sender: Sender[Change]) -> DisposableBase:
            sink = ChangeSink(replica, sender)
            route = replica.router.add_prefix(prefix, sink)
            return CompositeDisposable(route, replica.demand(), Disposable(sink.stop))

        return Stream(replica, f"changes of {prefix!r}", self.counted(attach))

    def versions(self) -> Stream[ManifestVersion | Reset]:
        """Each version of the log, from the loaded one on."""
        replica = self._replica

        def attach(sender: Sender[ManifestVersion | Reset]) -> DisposableBase:
            return CompositeDisposable(replica.versions.subscribe(sender.send), replica.demand())

        return Stream(replica, "versions", self.counted(attach))

    def errors(self) -> Stream[Failure]:
        """Each error that no caller is waiting for, from now on."""
        return Stream(
            self._replica, "errors", self.counted(lambda sender: self._replica.failures.subscribe(sender.send))
        )

    # -- the whole view -------------------------------------------------------------------------------------

    def states(self) -> Live[View]:
        """The view after each step."""
        replica = self._replica

        def attach(sender: Sender[View]) -> DisposableBase:
            def take(turn: Turn) -> None:
                if turn.step.view.loaded:
                    sender.send(turn.step.view)

            route = replica.router.add_every(TurnSink(replica, take))
            if replica.view.loaded:
                sender.send(replica.view)
            return CompositeDisposable(route, replica.demand())

        return Live(replica, "states", self.counted(attach), lambda: replica.view)

    def pending(self) -> Live[tuple[Receipt, ...]]:
        """The receipts of own writes waiting for their commit, oldest first."""
        replica = self._replica

        def attach(sender: Sender[tuple[Receipt, ...]]) -> DisposableBase:
            known = replica.view.pending

            def take(turn: Turn) -> None:
                nonlocal known
                if turn.step.view.pending is not known:
                    known = turn.step.view.pending
                    sender.send(replica.receipts(turn.step.view))

            sender.send(replica.receipts(replica.view))
            return replica.router.add_every(TurnSink(replica, take))

        return Live(replica, "pending", self.counted(attach), lambda: replica.receipts(replica.view))

    def status(self) -> Live[Status]:
        """The status, at each change."""
        replica = self._replica

        def attach(sender: Sender[Status]) -> DisposableBase:
            last = replica.status
            sender.send(last)

            def take(status: Status) -> None:
                nonlocal last
                if status.without_counts() != last.without_counts():
                    last = status
                    sender.send(status)

            return replica.statuses.subscribe(take)

        return Live(replica, "status", self.counted(attach), lambda: replica.status)

    def cost(self) -> Live[Cost]:
        """What the connection costs, once a second at most."""
        replica = self._replica
        ledger = replica.ledger

        def attach(sender: Sender[Cost]) -> DisposableBase:
            last = ledger.cost()
            sender.send(last)

            async def tell() -> None:
                nonlocal last
                while True:
                    await replica.clock.sleep(_COST_EVERY)
                    if replace(cost := ledger.cost(), seconds=last.seconds) != last:
                        last = cost
                        replica.take_turn(partial(sender.send, cost))

            task = replica.spawn(tell(), "cost")

            def stop() -> None:
                task.cancel()

            return Disposable(stop)

        return Live(replica, "cost", self.counted(attach), ledger.cost)

    def counted(self, attach: Attach[U]) -> Attach[U]:
        """``attach``, remembering the subscription so that closing the handle completes it."""

        def attach_and_remember(sender: Sender[U]) -> DisposableBase:
            if self._closed:
                sender.complete()
                return Disposable()
            order = next(self._order)
            self._senders[order] = sender
            return Ending(attach(sender), partial(self._senders.pop, order, None))

        return attach_and_remember


def read_text(key: str, text: str) -> Any:
    """Decode a key's text, to a new value at every call."""
    return valuetext.decode(text, f"key {key!r}")


async def value_of(key: str, text: str) -> Any:
    """As `read_text`, beside the event loop if it takes long."""
    if len(text) < jsontext.LARGE:
        return read_text(key, text)
    return await asyncio.to_thread(_read_huge if len(text) >= _HUGE else read_text, key, text)


def _read_huge(key: str, text: str) -> Any:
    with collected_later():
        return read_text(key, text)


def snapshot_of(texts: Texts | Mapping[str, str]) -> Snapshot[str, Any]:
    """The mapping that readers get for these texts; a plain mapping has to be sorted by key."""
    if not isinstance(texts, SortedMap):
        texts = SortedMap[Any].of(list(texts), list(texts.values()))
    return Snapshot(Keyed(texts), read_text)


def _disjoint(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """The prefixes that have no other one as a prefix, sorted; each key is under at most one of them."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return tuple(kept)


def _common(texts: tuple[str, ...]) -> str:
    """The longest common prefix of these sorted texts."""
    first, last = (texts[0], texts[-1]) if texts else ("", "")
    same = (one == other for one, other in zip(first, last, strict=False))
    return first[: sum(takewhile(bool, same))]


class _Default:
    """The default for a missing key: compared by its JSON text if it has one, copied for each reader."""

    def __init__(self, value: Any, equal_to: Any) -> None:
        self._value = value
        self._is_container = isinstance(value, (dict, list))
        try:
            self._text: str | None = valuetext.encode(equal_to)
        except InvalidValue:
            self._text = None
        self.entry = Entry("", Inline(_NO_JSON_TEXT if self._text is None else self._text))

    def value(self) -> Any:
        if self._is_container and self._text is not None:
            return valuetext.decode(self._text)
        return self._value


_NONE = _Default(None, None)
_ENDED = Ending()
