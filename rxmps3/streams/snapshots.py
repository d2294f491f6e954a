"""Streams of values: the current snapshot first, then one emission per change.

Each subscription is a `SnapshotSink`. It emits whole snapshots: all keys changed by one write change in one emission.
When a snapshot needs a value that is not loaded, only this sink waits for it, emits that snapshot, and then continues
with the newest. Own writes never wait: during a download they are put on top of the snapshot emitted last, and of the
one being waited for.

A turn costs O(changes · log n), whatever the size of the selection: snapshots share structure, only changed keys are
compared, and missing values are tracked by key. The first emission costs O(n).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxmps3.errors import Corrupt, Failure
from rxmps3.model import valuetext
from rxmps3.model.entries import Cell, ContentObject, Entries, Entry, Inline, entry_of
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import EntryChange, State
from rxmps3.operators.ending import Ending
from rxmps3.replica import Replica
from rxmps3.replica.router import Sink, Turn
from rxmps3.streams.selection import Selection
from rxmps3.streams.texts import Action, TextWait

__all__ = ["Shown", "SnapshotSink", "Texts", "inline_texts", "routed_to", "same_texts"]

Texts = SortedMap[str]
"""JSON text by key, for the present keys of a snapshot."""


class Shown(NamedTuple):
    """The content of one emission.

    Attributes:
        texts: of the snapshot.
        before: those of the emission before.
        changed: the keys whose texts differ between the two.
    """

    texts: Texts
    before: Texts
    changed: Collection[str]


def same_texts(left: Shown, right: Shown) -> bool:
    """Whether an emission equals the one before it. O(1)."""
    return not right.changed


def routed_to(
    add: Callable[[Sink], DisposableBase],
    once_loaded: Callable[[Callable[[], None]], DisposableBase],
    replica: Replica,
    select: Callable[[], Selection],
    default: Entry | None = None,
    watch: Callable[[Turn, bool], None] | None = None,
) -> Observable[Shown]:
    """The snapshots of some keys, from the turns routed for them.

    Args:
        add: routes their turns to a sink.
        once_loaded: calls back when the state has been loaded.
        select: makes the selection from the current view.
        replica, default: see `SnapshotSink`.
        watch: called before each turn that concerns it, with whether values of an earlier turn are being waited for.
    """

    def subscribe(observer: ObserverBase[Shown], _: SchedulerBase | None) -> DisposableBase:
        sink = SnapshotSink(replica, default, observer)
        watched = sink if watch is None else _Watched(sink, watch)
        return Ending(add(watched), once_loaded(partial(sink.start, select)), sink.stop)

    return Observable(subscribe)


class _Watched:
    """A sink with a callback before each turn."""

    def __init__(self, sink: SnapshotSink, watch: Callable[[Turn, bool], None]) -> None:
        self._sink = sink
        self._watch = watch

    def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
        self._watch(turn, self._sink.waits)
        self._sink.receive(turn, changes)


class _Past:
    """The state behind an older snapshot of a selection, needed while a newer snapshot is waited for.

    Attributes:
        confirmed: the state under it.
        behind: the older entries of keys that others have changed since.
        own: the entries from own writes and rollbacks since.
    """

    __slots__ = ("behind", "confirmed", "own")

    def __init__(self, confirmed: State) -> None:
        self.confirmed = confirmed
        self.behind: dict[str, Entry | None] = {}
        self.own: dict[str, Entry | None] = {}

    def move_on(self, changes: Iterable[EntryChange]) -> None:
        """The view has changed."""
        for change in changes:
            if change.cause == "remote":
                self.behind.setdefault(change.key, change.before)
            elif change.cause == "rollback" and not change.pending:
                self.own[change.key] = self.confirmed.get(change.key)  # beneath it is the older entry
            else:
                self.own[change.key] = change.after


_NOTHING = _Past(State())
_NO_TEXTS: Texts = SortedMap()


class _Target:
    """The snapshot that a sink waits for.

    Attributes:
        texts: the text of each key that may differ from the last emission; None if the key does not exist.
        lacking: the entries of those keys whose texts are not loaded.
    """

    __slots__ = ("lacking", "past", "snapshot", "texts")

    def __init__(self, snapshot: Entries, past: _Past) -> None:
        self.snapshot = snapshot
        self.past = past
        self.texts: dict[str, str | None] = {}
        self.lacking: dict[str, Entry] = {}


class SnapshotSink:
    """One subscription to a selection of the view.

    Args:
        replica: the view, its values and its tasks.
        default: the entry used for a missing key when snapshots are compared.
        observer: receives each snapshot once its texts are loaded.
    """

    __slots__ = (
        "_begun",
        "_default",
        "_newest",
        "_observer",
        "_past",
        "_replica",
        "_selection",
        "_sent",
        "_shown",
        "_since",
        "_target",
        "_texts",
        "_touched",
        "_unreadable",
        "_unsent",
        "_wait",
    )

    def __init__(
        self,
        replica: Replica,
        default: Entry | None,
        observer: ObserverBase[Shown],
    ) -> None:
        self._replica = replica
        self._default = default
        self._observer = observer
        self._since = -1
        self._begun = False
        self._selection: Selection | None = None
        self._shown: Entries | None = None
        self._texts: Texts = _NO_TEXTS
        self._touched: dict[str, None] = {}
        self._sent: Texts = self._texts
        self._unsent: dict[str, None] = {}
        self._unreadable: dict[str, Corrupt] = {}
        self._target: _Target | None = None
        self._past = _NOTHING
        self._newest = _NOTHING.confirmed
        self._wait = TextWait(replica, "this stream waits for it; others do not")

    def start(self, select: Callable[[], Selection]) -> None:
        """Start with the current snapshot of the loaded state; ``select`` makes the selection from it."""
        self._since, view = self._replica.latest()
        self._selection = select()
        snapshot = self._selection.snapshot()
        if self._default is None:
            self._touched = dict.fromkeys(self._begin_with_inline(snapshot))
        else:
            self._touched = dict.fromkeys(snapshot)
        self._go_to(self._selection.snapshot(), view.confirmed, lambda: _Past(view.confirmed))

    def _begin_with_inline(self, snapshot: Entries) -> list[str]:
        """Take in every value that is in the log itself, as if it had been emitted; returns the other keys.

        All of them at once: one by one would take so long with 100,000 keys that the loop stands still.
        """
        self._texts, objects = inline_texts(snapshot)
        self._shown = Entries(snapshot.cells.update(dict.fromkeys(objects, MISSING))) if objects else snapshot
        return list(objects)

    def stop(self) -> None:
        """Stop, cancelling any download."""
        self._wait.stop()

    @property
    def waits(self) -> bool:
        """Whether it is waiting for values that are not loaded."""
        return self._target is not None

    def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
        if self._selection is None or turn.number <= self._since:
            return
        touched = self._selection.update(changes)
        self._touched |= dict.fromkeys(touched)
        confirmed = turn.step.view.confirmed
        if self._target is None:
            if self._touched:  # else what was seen before was committed
                self._go_to(self._selection.snapshot(), confirmed, lambda: _past_of(turn, changes))
            return
        self._newest = confirmed
        for past in (self._past, self._target.past):
            past.move_on(changes)
        if self._wait.has_failed and self._is_overtaken(self._target):
            self._skip_target()
        else:
            self._put_on_top(changes)

    def _go_to(self, snapshot: Entries, confirmed: State, past: Callable[[], _Past]) -> None:
        """Emit a snapshot now, or wait for its missing values.

        Args:
            snapshot: of the selection.
            confirmed: the confirmed state beneath it.
            past: the state behind the snapshot emitted last.
        """
        target = _Target(snapshot, _NOTHING)
        self._look_up(target, self._touched)
        if target.lacking:
            target.past = _Past(confirmed)
            self._target, self._past, self._newest = target, past(), confirmed
            self._fetch(target)
        else:
            self._touched = {}
            self._show(snapshot, target.texts)

    def _look_up(self, target: _Target, keys: Collection[str]) -> None:
        """For these keys, record in the target which texts differ from the last emission and which are missing."""
        cells = target.snapshot.cells.get_all(keys)
        shown_cells = {} if self._shown is None else self._shown.cells.get_all(keys)
        texts = self._texts.get_all(keys)
        for key in keys:
            target.lacking.pop(key, None)
            cell, old = cells.get(key), shown_cells.get(key)
            if isinstance(cell, str) and isinstance(old, str):
                text = cell.rpartition("\n")[2]
                target.texts[key] = texts.get(key) if old.rpartition("\n")[2] == text else text
                continue
            entry = None if cell is None else entry_of(cell)
            shown = None if old is None else entry_of(old)
            if _same(shown or self._default, entry or self._default):
                target.texts[key] = texts.get(key)
            elif entry is None:
                target.texts[key] = None
            elif (text := self._replica.values.peek(entry)) is not None:
                target.texts[key] = text
            else:
                target.texts.pop(key, None)
                target.lacking[key] = entry

    def _put_on_top(self, changes: Sequence[EntryChange]) -> None:
        """Emit own changes while waiting for a target: on top of the target if that completes it, else of the last
        emission."""
        target, selection = self._target, self._selection
        if selection is None or target is None or all(change.cause == "remote" for change in changes):
            return
        target.snapshot, touched = selection.overlay(target.snapshot, target.past.own, target.past.behind)
        self._touched |= dict.fromkeys(touched)  # the newest window may lack what is put on top of this one
        self._look_up(target, touched)
        if not target.lacking:
            self._reach_target()
        elif self._begun and self._shown is not None:
            snapshot, touched = selection.overlay(self._shown, self._past.own, self._past.behind)
            shown = _Target(snapshot, self._past)
            self._look_up(shown, touched)
            if not shown.lacking:
                self._show(snapshot, shown.texts)
                self._touched |= dict.fromkeys(touched)
                self._look_up(target, touched)

    def _show(self, snapshot: Entries, texts: dict[str, str | None]) -> None:
        """Emit a snapshot; ``texts`` has the keys that may differ from the last emission."""
        self._shown = snapshot
        updates: dict[str, str | MissingType] = {}
        known, cells = self._texts.get_all(texts), snapshot.cells.get_all(texts)
        for key, text in texts.items():
            before = known.get(key)
            if text == before:
                continue
            updates[key] = MISSING if text is None else text
            if self._differs(before, text):
                self._unsent[key] = None
                self._unreadable.pop(key, None)
                cell = cells.get(key)
                if isinstance(cell, Entry) and isinstance(cell.content, ContentObject) and text is not None:
                    self._check(key, text)
        self._texts = self._texts.update(updates)
        self._send()

    def _differs(self, before: str | None, after: str | None) -> bool:
        content = None if self._default is None else self._default.content
        default = content.text if isinstance(content, Inline) else None
        return (default if before is None else before) != (default if after is None else after)

    def _check(self, key: str, text: str) -> None:
        """Check that a downloaded text is JSON, and record the key if it is not."""
        try:
            valuetext.decode(text, f"key {key!r}")
        except Corrupt as error:
            self._unreadable[key] = error

    def _send(self) -> None:
        if self._unreadable:
            if self._unsent:
                error = next(iter(self._unreadable.values()))
                self._replica.report(Failure("observe", error.object, error, "the change is skipped"))
            return
        shown = Shown(self._texts, self._sent, self._unsent if self._begun else self._texts)
        self._begun = True
        self._sent, self._unsent = self._texts, {}
        self._observer.on_next(shown)

    # -- waiting for values ----------------------------------------------------------------------------------

    def _fetch(self, target: _Target) -> None:
        """Fetch all missing texts of a target, keeping them even if the cache is too small."""
        snapshot, lacking = target.snapshot, dict(target.lacking)

        async def fetch() -> dict[str, str]:
            texts = await self._replica.values.fetch_all(list(lacking.values()))
            return dict(zip(lacking, texts, strict=True))

        def arrived(texts: dict[str, str]) -> None:
            if target is not self._target:
                return
            if snapshot is not target.snapshot:
                self._fetch(target)  # an own put has changed what is missing
                return
            target.texts |= texts
            target.lacking.clear()
            self._reach_target()

        def overtaken() -> Action | None:
            return self._skip_target if self._is_overtaken(target) else None

        self._wait.start(fetch, arrived, overtaken)

    def _is_overtaken(self, target: _Target) -> bool:
        """Whether a missing value is no longer the newest of its key."""
        if self._selection is None:
            return False
        newest, values = self._selection.snapshot(), self._replica.values
        return any(
            values.peek(entry) is None and not entry.same_value(newest.get(key))
            for key, entry in target.lacking.items()
        )

    def _skip_target(self) -> None:
        self._wait.stop()
        self._to_newest(self._past)

    def _reach_target(self) -> None:
        target = self._target
        self._wait.stop()
        if target is None:
            return
        self._show(target.snapshot, target.texts)
        self._to_newest(target.past)

    def _to_newest(self, past: _Past) -> None:
        self._target, self._past = None, _NOTHING
        if self._selection is not None:
            newest, self._newest = self._newest, _NOTHING.confirmed
            self._go_to(self._selection.snapshot(), newest, lambda: past)


def _past_of(turn: Turn, changes: Iterable[EntryChange]) -> _Past:
    """What is behind the view before a turn."""
    past = _Past(turn.before)
    past.move_on(changes)
    return past


def inline_texts(entries: Entries) -> tuple[Texts, dict[str, Entry]]:
    """The texts of values in the log itself, and the other entries. Of the former nothing is made before it is read."""
    objects = {
        key: cell
        for keys, cells in entries.cells.parts()
        if Entry in set(map(type, cells))
        for key, cell in zip(keys, cells, strict=True)
        if isinstance(cell, Entry) and isinstance(cell.content, ContentObject)
    }
    texts = entries.cells.mapped(_inline_texts)
    return cast("Texts", texts.update(dict.fromkeys(objects, MISSING)) if objects else texts), objects


def _inline_texts(cells: tuple[Cell, ...]) -> list[str | None]:
    """The texts of cells; None where it is in an object."""
    try:
        return [cell.rpartition("\n")[2] for cell in cells]  # pyright: ignore
    except AttributeError:  # one is an entry
        return [entry.content.text if isinstance(entry.content, Inline) else None for entry in map(entry_of, cells)]


def _same(left: Entry | None, right: Entry | None) -> bool:
    return left is right or (left is not None and left.same_value(right))
