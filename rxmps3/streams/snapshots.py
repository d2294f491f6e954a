"""Snapshots of some keys with their texts: the current one first, then one for each turn that concerns them.

One subscription is a `SnapshotSink`. It shows snapshots whole: all keys that one write changed change in one
item. When a snapshot names a value that is not at hand, this sink alone waits for it, emits that snapshot, and
then goes to the newest. Own writes never wait: while a download is under way they are put on top of what was shown
last, and of what is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxmps3.errors import Error, Failure
from rxmps3.model.state import Entry, EntryChange, State
from rxmps3.replica import Replica
from rxmps3.replica.router import Turn
from rxmps3.runtime.gather import all_of
from rxmps3.streams.selection import Selection, Snapshot, same_snapshot

__all__ = ["Shown", "SnapshotSink", "Texts", "routed_to", "same_texts"]

Texts = dict[str, str]
"""JSON text by key, for the present keys of a snapshot."""


class Shown(NamedTuple):
    """A snapshot and its texts."""

    snapshot: Snapshot
    texts: Texts


def same_texts(left: Shown, right: Shown) -> bool:
    """Whether both show the same texts for the same keys, in the same order."""
    return left.texts == right.texts and [*left.snapshot] == [*right.snapshot]


def routed_to(
    add: Callable[[SnapshotSink], DisposableBase],
    once_loaded: Callable[[Callable[[], None]], DisposableBase],
    replica: Replica,
    select: Callable[[], Selection],
    default: Entry | None = None,
) -> Observable[Shown]:
    """What is shown of some keys, from the turns that a router has for them.

    Args:
        add: routes their turns to a sink.
        once_loaded: calls back when the state has been loaded.
        replica, select, default: see `SnapshotSink`.
    """

    def subscribe(observer: ObserverBase[Shown], _: SchedulerBase | None) -> DisposableBase:
        sink = SnapshotSink(replica, select, default, observer)
        return CompositeDisposable(add(sink), once_loaded(sink.start), Disposable(sink.stop))

    return Observable(subscribe)


class _Past:
    """What an older snapshot of a selection was of: needed while a newer one is waited for.

    Attributes:
        confirmed: the state under it.
        behind: of the keys that others have changed since, the entries before.
        own: what own writes and roll-backs have put on top of it since.
    """

    __slots__ = ("behind", "confirmed", "own")

    def __init__(self, confirmed: State, changes: Iterable[EntryChange] = ()) -> None:
        self.confirmed = confirmed
        self.behind: dict[str, Entry | None] = {}
        self.own: dict[str, Entry | None] = {}
        self.move_on(changes)

    def move_on(self, changes: Iterable[EntryChange]) -> None:
        """The view has changed."""
        for change in changes:
            if change.cause == "remote":
                self.behind.setdefault(change.key, change.before)
            elif change.cause == "rollback" and not change.pending:
                self.own[change.key] = self.confirmed.get(change.key)  # under it is what was there then
            else:
                self.own[change.key] = change.after


_NOTHING = _Past(State())


class _Target:
    """The snapshot that a sink waits for."""

    __slots__ = ("past", "snapshot")

    def __init__(self, snapshot: Snapshot, past: _Past) -> None:
        self.snapshot = snapshot
        self.past = past


class SnapshotSink:
    """One subscription to a selection of the view.

    Args:
        replica: the view, its values and its tasks.
        select: makes the selection from the present view.
        default: the entry that stands for a missing one when snapshots are compared.
        observer: receives each snapshot once its texts are at hand.
    """

    __slots__ = (
        "_default",
        "_failures",
        "_fetching",
        "_newest",
        "_observer",
        "_past",
        "_replica",
        "_select",
        "_selection",
        "_shown",
        "_since",
        "_target",
        "_texts",
    )

    def __init__(
        self,
        replica: Replica,
        select: Callable[[], Selection],
        default: Entry | None,
        observer: ObserverBase[Shown],
    ) -> None:
        self._replica = replica
        self._select = select
        self._default = default
        self._observer = observer
        self._since = -1
        self._selection: Selection | None = None
        self._shown: Snapshot | None = None
        self._texts: Texts = {}
        self._target: _Target | None = None
        self._past = _NOTHING
        self._newest = _NOTHING.confirmed
        self._fetching: asyncio.Task[None] | None = None
        self._failures = 0

    def start(self) -> None:
        """Begin with the current snapshot of the loaded state, and follow it from there."""
        self._since, view = self._replica.latest()
        self._selection = self._select()
        self._go_to(self._selection.snapshot(), view.confirmed, lambda: _Past(view.confirmed))

    def stop(self) -> None:
        """Drop what is being waited for."""
        self._stop_fetching()

    def receive(self, turn: Turn, changes: list[EntryChange]) -> None:
        if self._selection is None or turn.number <= self._since:
            return
        self._selection.update(changes)
        confirmed = turn.step.view.confirmed
        if self._target is None:
            self._go_to(self._selection.snapshot(), confirmed, lambda: _Past(turn.before, changes))
            return
        self._newest = confirmed
        for past in (self._past, self._target.past):
            past.move_on(changes)
        if self._given_up(self._target.snapshot):
            self._skip_target()
        else:
            self._put_on_top(changes)

    def _go_to(self, snapshot: Snapshot, confirmed: State, past: Callable[[], _Past]) -> None:
        """Show a snapshot now, or wait for the values that it lacks.

        Args:
            snapshot: of the selection.
            confirmed: the state that it is of.
            past: what is known of the snapshot that is shown now.
        """
        if same_snapshot(self._shown, snapshot, self._default):
            self._shown = snapshot
            return
        texts = self._at_hand(snapshot)
        if texts is not None:
            self._show(snapshot, texts)
        else:
            self._target, self._past, self._newest = _Target(snapshot, _Past(confirmed)), past(), confirmed
            self._fetching = self._replica.spawn(self._wait_for_target(), "fetch")

    def _put_on_top(self, changes: list[EntryChange]) -> None:
        """Show own changes while a target is awaited: on top of it if that completes it, else of what was shown."""
        target = self._target
        if self._selection is None or target is None or all(change.cause == "remote" for change in changes):
            return
        target.snapshot = self._selection.overlay(target.snapshot, target.past.own, target.past.behind)
        texts = self._at_hand(target.snapshot)
        if texts is not None:
            self._reach_target(texts)
        elif self._shown is not None:
            shown = self._selection.overlay(self._shown, self._past.own, self._past.behind)
            texts = self._at_hand(shown)
            if texts is not None and not same_snapshot(self._shown, shown, self._default):
                self._show(shown, texts)

    def _at_hand(self, snapshot: Snapshot) -> Texts | None:
        """The texts of a snapshot, or None if one is not at hand."""
        texts: Texts = {}
        for key, entry in snapshot.items():
            if entry is not None:
                text = self._peek(key, entry)
                if text is None:
                    return None
                texts[key] = text
        return texts

    def _peek(self, key: str, entry: Entry) -> str | None:
        """A value's text: what this sink shows already needs no cache."""
        shown = self._shown.get(key) if self._shown is not None else None
        if shown is not None and shown.same_value(entry) and key in self._texts:
            return self._texts[key]
        return self._replica.values.peek(entry)

    def _show(self, snapshot: Snapshot, texts: Texts) -> None:
        self._shown, self._texts = snapshot, texts
        self._observer.on_next(Shown(snapshot, texts))

    # -- waiting for values ----------------------------------------------------------------------------------

    async def _wait_for_target(self) -> None:
        while (target := self._target) is not None:
            snapshot = target.snapshot
            try:
                texts = await self._fetch(snapshot)
            except Error as error:
                self._failures += 1
                self._replica.report(Failure("fetch", error.object, error, "this stream waits for it; others do not"))
                if self._given_up(snapshot):
                    self._fetching = None
                    self._replica.take_turn(self._skip_target)
                    return
                await self._replica.clock.sleep(self._replica.backoff.wait(self._failures, error, self._replica.rng))
            else:
                if target is self._target and snapshot is target.snapshot:
                    self._fetching = None
                    self._replica.take_turn(partial(self._reach_target, texts))
                    return

    async def _fetch(self, snapshot: Snapshot) -> Texts:
        """All texts of a target's snapshot, held here even where the cache is too small for them."""

        async def text(key: str, entry: Entry) -> str:
            known = self._peek(key, entry)
            return await self._replica.values.fetch(entry) if known is None else known

        present = [(key, entry) for key, entry in snapshot.items() if entry is not None]
        texts = await all_of(text(key, entry) for key, entry in present)
        return {key: text for (key, _), text in zip(present, texts, strict=True)}

    def _given_up(self, snapshot: Snapshot) -> bool:
        """Whether fetching failed, and what failed is no longer the newest of its key."""
        if not self._failures or self._selection is None:
            return False
        newest = self._selection.snapshot()
        return any(
            entry is not None and self._peek(key, entry) is None and not entry.same_value(newest.get(key))
            for key, entry in snapshot.items()
        )

    def _skip_target(self) -> None:
        self._stop_fetching()
        self._to_newest(self._past)

    def _reach_target(self, texts: Texts) -> None:
        target = self._target
        self._stop_fetching()
        if target is None:
            return
        if not same_snapshot(self._shown, target.snapshot, self._default):
            self._show(target.snapshot, texts)
        self._to_newest(target.past)

    def _to_newest(self, past: _Past) -> None:
        self._target, self._past = None, _NOTHING
        if self._selection is not None:
            newest, self._newest = self._newest, _NOTHING.confirmed
            self._go_to(self._selection.snapshot(), newest, lambda: past)

    def _stop_fetching(self) -> None:
        fetching, self._fetching = self._fetching, None
        self._failures = 0
        if fetching is not None:
            fetching.cancel()
