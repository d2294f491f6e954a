"""The state of a manifest and its transitions, all of which are here. Pure and synchronous.

`State` is the result of the log; `View` is the state with this replica's own pending writes on top. One function
changes a view::

    step(view, event) -> Step(view, changes, effects)

Invariants, for every sequence of events:

* a write counts once: a state skips a write that it holds already, by its writer and number, and calls the highest
  number of a writer with another nonce `Corrupt`;
* the overlay holds exactly the keys of the pending writes, each with the newest of them;
* a pending write leaves the view once: seen in the log (`Committed`, `Loaded`) or refused (`Refused`);
* the confirmation of a write changes no value unless another writer came between.

The maps are immutable: older views stay valid for whoever holds them, and keeping one costs memory in proportion to
what has changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, Literal, NamedTuple, overload

from immutables import Map

from rxmps3.errors import Corrupt, Error
from rxmps3.model.conditions import Conditions
from rxmps3.model.entries import ContentObject, Entries, Entry, Inline, entry_of
from rxmps3.model.merge_patch import compose
from rxmps3.model.prefixes import Prefixes
from rxmps3.runtime.rich_repr import bundle

__all__ = [
    "Amended",
    "Cause",
    "Changes",
    "Committed",
    "ContentObject",
    "Entries",
    "Entry",
    "EntryChange",
    "Event",
    "Inline",
    "Loaded",
    "ManifestVersion",
    "Mark",
    "Pending",
    "Refused",
    "Remade",
    "Replayed",
    "Settled",
    "State",
    "Step",
    "View",
    "Write",
    "WriteId",
    "Wrote",
    "chained",
    "fold",
    "new_writes",
    "step",
]


Update = Mapping[str, Entry | None]
"""A flat merge patch: each key's new entry, None where the key is deleted."""


class WriteId(NamedTuple):
    """Who wrote, and which of their writes it is. Numbers of one writer ascend in the order of its calls."""

    writer: str
    number: int

    @property
    def version(self) -> str:
        """The version id of all entries of this write."""
        return f"{self.writer}-{self.number}"

    @classmethod
    def of(cls, version: str) -> WriteId:
        """The write that has this version id. Raises ValueError if it is not a version id."""
        writer, _, number = version.rpartition("-")
        return cls(writer, int(number))


@dataclass(frozen=True)
class Write:
    """One call of put, put_all or delete: atomic. The nonce tells it from another write of the same number.

    Its conditions, if it has any, have to hold when it is committed; the log does not keep them. ``by`` is the user's
    name, unverified, if it is not that of the committer, as for a write that an earlier process left. ``based`` is the
    log version that its writer had read when it was made, "" for an empty log; None if that is not known. Entries leave
    it out where it is the one before, so None may stand for that. The state does not depend on it.
    """

    id: WriteId
    nonce: str
    update: Update
    conditions: Conditions | None = None
    by: str | None = None
    based: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ManifestVersion:
    """One entry of a manifest's log.

    Attributes:
        id: names it within its log: the sequence number as text in the sequenced log.
        writer: the writer id of the replica that committed it.
        by: the name its user gave, unverified.
        time: the committer's own clock, informative only.
        writes: the writes it commits, in order.
        date: the storage's own clock as the committer last saw it, before it committed.
        expired: writer ids that have been silent for so long that their numbers are forgotten.
    """

    id: str
    writer: str
    by: str
    time: datetime | None
    writes: tuple[Write, ...]
    date: datetime | None = None
    expired: tuple[str, ...] = ()


class Mark(NamedTuple):
    """How far a writer has come.

    Attributes:
        number: its highest committed number.
        nonce: of that write.
        date: of the last version that has a write of its.
        gaps: first and last of each run of lower numbers that are not committed: writes taken back, or writes that a
            torn copy of an outbox lacked and the original may still send.
    """

    number: int
    nonce: str
    date: datetime | None = None
    gaps: tuple[tuple[int, int], ...] = ()

    def has(self, number: int) -> bool:
        """Whether the write of this number is committed."""
        return number <= self.number and not any(first <= number <= last for first, last in self.gaps)


@dataclass(frozen=True, eq=False)
class State(Mapping[str, Entry]):
    """What the log says up to one version: a mapping of key to `Entry`.

    Attributes:
        entries: the mapping itself.
        writers: per writer id its highest committed number and nonce.
        version: the id of the last version folded in; "" before the first.
        kept: the keys whose entries it has, if not all; it knows the writers of all writes nevertheless.
    """

    entries: Entries = field(default_factory=Entries)
    writers: Map[str, Mark] = field(default_factory=lambda: Map[str, Mark]())
    version: str = ""
    kept: Prefixes | None = None

    def within(self, kept: Prefixes | None) -> State:
        """The state with the entries of these keys alone."""
        if kept is None or self.kept == kept:
            return self
        return State(kept.within(self.entries), self.writers, self.version, kept)

    def is_same(self, other: State) -> bool:
        """Whether both have the same entries, and have heard of the same writes."""
        return self.writers == other.writers and not self.entries.cells.differing(other.entries.cells)

    def __getitem__(self, key: str) -> Entry:
        return self.entries[key]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def has_committed(self, write: Write) -> bool:
        """Whether this write is in the state's past.

        Raises:
            Corrupt: its number is taken by another write of the same writer id.
        """
        return _reached(self.writers.get(write.id.writer), write)


MOST_GAPS = 256
"""How many runs of missing numbers are remembered per writer; older ones count as committed."""


def _reached(mark: Mark | None, write: Write) -> bool:
    number = write.id.number
    if mark is not None and number == mark.number and write.nonce != mark.nonce:
        raise Corrupt("two different writes carry this number", object=f"write {write.id.version}")
    return mark is not None and mark.has(number)


def _advanced(mark: Mark | None, write: Write, date: datetime | None) -> Mark:
    """The mark of a writer after one more write of its, which it had not reached."""
    number = write.id.number
    known, nonce, _, gaps = mark or Mark(0, "")
    if number > known:
        skipped = ((known + 1, number - 1),) if number > known + 1 else ()
        return Mark(number, write.nonce, date, (gaps + skipped)[-MOST_GAPS:])
    left: list[tuple[int, int]] = []
    for first, last in gaps:
        parts = ((first, number - 1), (number + 1, last)) if first <= number <= last else ((first, last),)
        left.extend(part for part in parts if part[0] <= part[1])
    return Mark(known, nonce, date, tuple(left[-MOST_GAPS:]))


def fold(state: State, version: ManifestVersion) -> State:
    """The state after one more version: the flat merge patch of its writes, each counted once.

    Raises:
        Corrupt: a write carries a number that another write of the same writer has taken.
    """
    new, writers = _counted(state.writers, version)
    patch = compose(*(write.update for write in new))
    kept = patch if state.kept is None else state.kept.patch(patch)
    return State(state.entries.patched(kept), writers, version.id, state.kept)


def new_writes(state: State, version: ManifestVersion) -> list[Write]:
    """The writes of a version that are not in the state yet. Raises `Corrupt` as `fold`."""
    return _counted(state.writers, version)[0]


def _counted(writers: Map[str, Mark], version: ManifestVersion) -> tuple[list[Write], Map[str, Mark]]:
    """The writes of a version that were in none before it, and how far each writer has come after it."""
    marks: dict[str, Mark] = {}
    new: list[Write] = []
    for write in version.writes:
        writer = write.id.writer
        mark = marks.get(writer) or writers.get(writer)
        if not _reached(mark, write):
            marks[writer] = _advanced(mark, write, version.date)
            new.append(write)
    after = writers.update(marks)
    for writer in version.expired:
        if writer in after and writer not in marks:
            after = after.delete(writer)
    return new, after


class Pending(NamedTuple):
    """A write that was made here and not yet seen in the log; ``ordinal`` is its place in the queue."""

    ordinal: int
    write: Write


class _Top(NamedTuple):
    """The newest pending write to a key."""

    ordinal: int
    entry: Entry | None


_new: Callable[..., Any] = tuple.__new__  # pyright: ignore
"""Makes a named tuple in half the time."""


@dataclass(frozen=True, eq=False)
class View(Mapping[str, Entry]):
    """The confirmed state with the pending writes on top: a mapping of key to `Entry`.

    Attributes:
        confirmed: what the log says.
        pending: the writes made here and not yet seen in the log, by id.
        loaded: False until the log has been read once; an unloaded view knows only its own pending writes.
    """

    confirmed: State = field(default_factory=State)
    pending: Map[WriteId, Pending] = field(default_factory=lambda: Map[WriteId, Pending]())
    loaded: bool = False
    overlay: Map[str, _Top] = field(default_factory=lambda: Map[str, _Top](), repr=False)
    next_ordinal: int = field(default=0, repr=False)

    def look_up(self, key: str) -> Entry | None:
        """The key's entry as seen here, or None."""
        top = self.overlay.get(key)
        return self.confirmed.entries.get(key) if top is None else top.entry

    def is_pending(self, key: str) -> bool:
        """Whether what is seen of the key waits for its commit."""
        return key in self.overlay

    def pending_on(self, key: str) -> Pending | None:
        """The pending write that is seen of the key, if what is seen of it is pending."""
        top = self.overlay.get(key)
        if top is None:
            return None
        if top.entry is not None:
            writer, _, number = top.entry.version.rpartition("-")
            found = self.pending.get(WriteId(writer, int(number))) if number.isdecimal() else None
            if found is not None and found.ordinal == top.ordinal:
                return found
        return next(one for one in self.pending.values() if one.ordinal == top.ordinal)

    def keys_under(self, prefix: str) -> list[str]:
        """The keys that start with ``prefix``, sorted by code point."""
        confirmed = self.confirmed.entries
        keys = list(confirmed.under(prefix))
        own = {key: top.entry is not None for key, top in self.overlay.items() if key.startswith(prefix)}
        if gone := {key for key, there in own.items() if not there}:
            keys = [key for key in keys if key not in gone]
        if come := [key for key, there in own.items() if there and key not in confirmed]:
            keys = sorted([*keys, *come])
        return keys

    def under(self, prefix: str) -> Entries:
        """The entries whose keys start with ``prefix``. O(log n + pending writes)."""
        own = {key: top.entry for key, top in self.overlay.items() if key.startswith(prefix)}
        return self.confirmed.entries.under(prefix).patched(own)

    def queue(self) -> list[Write]:
        """The pending writes, oldest first."""
        return [pending.write for pending in sorted(self.pending.values())]

    def __getitem__(self, key: str) -> Entry:
        entry = self.look_up(key)
        if entry is None:
            raise KeyError(key)
        return entry

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.look_up(key) is not None

    def __iter__(self) -> Iterator[str]:
        if not self.overlay:
            return iter(self.confirmed.entries)
        kept = (key for key in self.confirmed.entries if key not in self.overlay)
        return merge(kept, sorted(key for key, top in self.overlay.items() if top.entry is not None))

    def __len__(self) -> int:
        confirmed = self.confirmed.entries
        gained = sum((top.entry is not None) - (key in confirmed) for key, top in self.overlay.items())
        return len(confirmed) + gained

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """For notebooks: how much there is, and some of the keys."""
        some = list(islice(self, 20))
        facts = {
            "version": self.confirmed.version or "none",
            "keys": len(self),
            "pending writes": len(self.pending),
            "among the keys": ", ".join(map(repr, some)) or "none",
        }
        text = f"<View of version {facts['version']}: {len(self)} keys, {len(self.pending)} pending writes>"
        return bundle(text, "view", facts)


Cause = Literal["own", "remote", "rollback"]


class Wrote(NamedTuple):
    """A write made here.

    Attributes:
        write: the write.
        by: the name that it is shown under.
        origin: whoever asked for it: observers know their own writes by it. It means nothing to the state.
    """

    write: Write
    by: str = ""
    origin: object = None


@dataclass(frozen=True)
class Amended:
    """A pending write names other objects for the same values."""

    write: Write


@dataclass(frozen=True)
class Remade:
    """A pending write was recomputed: it has other values for the same keys.

    While the values it is computed from are not loaded, the write has the entries beneath it, and ``cause`` is
    "remote".
    """

    write: Write
    by: str = ""
    cause: Cause = "own"


@dataclass(frozen=True)
class Committed:
    """The log has one more version."""

    version: ManifestVersion


@dataclass(frozen=True)
class Replayed:
    """Versions appeared that belong below known ones; the state was recomputed with them in place.

    Attributes:
        state: the new state of the log.
        versions: those that were not known before, oldest first.
        keys: every key whose entry may differ from before.
        told: whether they were known after all, and only that they hold pending writes was not.
    """

    state: State
    versions: tuple[ManifestVersion, ...]
    keys: frozenset[str]
    told: bool = False


@dataclass(frozen=True)
class Loaded:
    """The whole state was read, for the first time or because the log before it is gone."""

    state: State


@dataclass(frozen=True)
class Refused:
    """A pending write will never be committed, and why."""

    id: WriteId
    error: Error


Event = Wrote | Amended | Remade | Committed | Replayed | Loaded | Refused


class EntryChange(NamedTuple):
    """What one step did to one key.

    Attributes:
        before, after: its entry in the view before and after the step, None where it has none.
        changed: whether the value differs; False where only ``pending`` or the version does.
        pending: whether ``after`` waits for its commit.
        by: the name of who wrote it, unverified.
        cause: a write made here, one from the log, or the roll-back of one made here.
    """

    key: str
    before: Entry | None
    after: Entry | None
    changed: bool
    pending: bool
    by: str
    cause: Cause


class Changes(Sequence[EntryChange]):
    """What differs between two views at some keys: another entry, or the same one no longer pending.

    Computed when it is read, and then for the keys that are asked for: most steps concern nobody. So it costs the same
    to make for any number of keys.

    Args:
        before, after: the two views.
        causes: returns the keys that may differ, in the order of the changes, with the cause of each.
        by: who wrote them.
        versions: those of the log that wrote them, whose writes may have other names.
    """

    __slots__ = ("_after", "_all", "_before", "_by", "_causes", "_keys", "_names", "_versions")

    def __init__(
        self,
        before: View,
        after: View,
        causes: Callable[[], Mapping[str, Cause]],
        by: str,
        versions: Sequence[ManifestVersion] = (),
    ) -> None:
        self._before = before
        self._after = after
        self._causes = causes
        self._by = by
        self._versions = versions
        self._keys: Mapping[str, Cause] | None = None
        self._names: Mapping[str, str] | None = None
        self._all: tuple[EntryChange, ...] | None = None

    @property
    def keys(self) -> Mapping[str, Cause]:
        """The keys that may differ, with their causes."""
        if self._keys is None:
            self._keys = self._causes()
        return self._keys

    def at(self, keys: Iterable[str]) -> Sequence[EntryChange]:
        """The changes of some of the keys, in the order asked for."""
        causes, names = self.keys, self._named()
        return _changes(self._before, self._after, {key: causes[key] for key in keys}, self._by, names)

    def _named(self) -> Mapping[str, str]:
        if self._names is None:
            self._names = _names(self._versions)
        return self._names

    def _made(self) -> tuple[EntryChange, ...]:
        if self._all is None:
            self._all = _changes(self._before, self._after, self.keys, self._by, self._named())
        return self._all

    def __len__(self) -> int:
        return len(self._made())

    def __iter__(self) -> Iterator[EntryChange]:
        return iter(self._made())

    @overload
    def __getitem__(self, index: int) -> EntryChange: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[EntryChange]: ...

    def __getitem__(self, index: int | slice) -> EntryChange | Sequence[EntryChange]:
        return self._made()[index]

    def __repr__(self) -> str:
        return repr(self._made())


class Settled(NamedTuple):
    """Effect: a pending write has ended; ``error`` is None if it is committed."""

    id: WriteId
    error: Error | None


class Step(NamedTuple):
    """One move of the view.

    Attributes:
        view: the view after it.
        event: what happened.
        changes: what that did to the keys.
        effects: what is to be done.
        then: what happened by that and is part of the same move: see `chained`.
    """

    view: View
    event: Event | None = None
    changes: Sequence[EntryChange] = ()
    effects: tuple[Settled, ...] = ()
    then: tuple[Event, ...] = ()


def step(view: View, event: Event) -> Step:
    """The view after an event, what that changed, and what is to be done.

    Raises:
        Corrupt: as `fold`; the view stays as it was.
    """
    match event:
        case Wrote(write, by):
            after = _push(view, write)
            return Step(after, event, Changes(view, after, lambda: dict.fromkeys(write.update, "own"), by))
        case Amended(write):
            return Step(_amend(view, write), event)
        case Remade(write, by, cause):
            after = _amend(view, write)
            return Step(after, event, Changes(view, after, lambda: dict.fromkeys(write.update, cause), by))
        case Committed(version):
            settled = _found(view, version.writes)
            after = _settle(view, settled, fold(view.confirmed, version))

            def of_writes() -> Mapping[str, Cause]:
                own = frozenset(settled)
                causes: dict[str, Cause] = {
                    key: "own" if write.id in own else "remote" for write in version.writes for key in write.update
                }
                return causes

            changes = Changes(view, after, of_writes, version.by, (version,))
            return Step(after, event, changes, tuple(Settled(id, None) for id in settled))
        case Replayed(state, versions, keys, _):
            writes = tuple(write for version in versions for write in version.writes)
            settled = _found(view, writes)
            after = _settle(replace(view, confirmed=state), settled)

            def of_keys() -> dict[str, Cause]:
                own = frozenset(settled)
                causes: dict[str, Cause] = dict.fromkeys(sorted(keys), "remote")
                causes |= {key: "own" for write in writes if write.id in own for key in write.update}
                return causes

            changes = Changes(view, after, of_keys, versions[-1].by if versions else "", versions)
            return Step(after, event, changes, tuple(Settled(id, None) for id in settled))
        case Loaded(state):
            settled = [write.id for write in view.queue() if state.has_committed(write)]
            after = _settle(replace(view, confirmed=state, loaded=True), settled)
            changes: Sequence[EntryChange] = ()
            if view.loaded:  # nobody has seen anything before that

                def of_all() -> dict[str, Cause]:
                    keys = {*state.entries.differing(view.confirmed.entries), *view.overlay}
                    return dict.fromkeys(sorted(keys), "remote")

                changes = Changes(view, after, of_all, "")
            return Step(after, event, changes, tuple(Settled(id, None) for id in settled))
        case Refused(id, error):
            if id not in view.pending:
                return Step(view, event)
            write = view.pending[id].write
            after = _settle(view, [id])
            changes = Changes(view, after, lambda: dict.fromkeys(write.update, "rollback"), "")
            return Step(after, event, changes, (Settled(id, error),))


def chained(view: View, steps: Sequence[Step]) -> Step:
    """Several steps, one after the other from this view, as one: nobody sees the views in between.

    A key's change is the one that came last, from the entry that the key had before all of them.
    """
    first, last = steps[0], steps[-1]
    if first is last:
        return first
    changes: dict[str, EntryChange] = {}
    for change in (change for one in steps for change in one.changes):
        changes.pop(change.key, None)
        changes |= {one.key: one for one in _changes(view, last.view, {change.key: change.cause}, change.by)}
    return Step(
        last.view,
        first.event,
        tuple(changes.values()),
        tuple(effect for one in steps for effect in one.effects),
        tuple(one.event for one in steps[1:] if one.event is not None),
    )


def _push(view: View, write: Write) -> View:
    ordinal = view.next_ordinal
    tops = {key: _new(_Top, (ordinal, entry)) for key, entry in write.update.items()}
    pending = view.pending.set(write.id, Pending(ordinal, write))
    return View(view.confirmed, pending, view.loaded, view.overlay.update(tops), ordinal + 1)


def _amend(view: View, write: Write) -> View:
    known = view.pending.get(write.id)
    if known is None:
        return view
    tops = {
        key: _Top(known.ordinal, entry)
        for key, entry in write.update.items()
        if view.overlay[key].ordinal == known.ordinal
    }
    pending = view.pending.set(write.id, Pending(known.ordinal, write))
    return replace(view, pending=pending, overlay=view.overlay.update(tops))


def _found(view: View, writes: tuple[Write, ...]) -> list[WriteId]:
    """The pending writes among those of some versions, of which two may hold the same one."""
    pending = view.pending
    found = [w.id for w in writes if (mine := pending.get(w.id)) is not None and mine.write.nonce == w.nonce]
    return list(dict.fromkeys(found))


def _settle(view: View, ids: list[WriteId], confirmed: State | None = None) -> View:
    """The view without these pending writes; a key's next newest pending word comes back on top.

    Args:
        ids: the pending writes.
        confirmed: the confirmed state, if it is another one.
    """
    if confirmed is None:
        confirmed = view.confirmed
    if not ids:
        return view if confirmed is view.confirmed else replace(view, confirmed=confirmed)
    if len(ids) == len(view.pending):
        return View(confirmed, _NO_PENDING, view.loaded, _NO_OVERLAY, view.next_ordinal)
    gone = [view.pending[id] for id in ids]
    pending = view.pending.mutate()
    for id in ids:
        del pending[id]
    remaining = pending.finish()
    overlay = view.overlay.mutate()
    bare: set[str] = set()
    for ordinal, write in gone:
        for key in write.update:
            if key in overlay and overlay[key].ordinal == ordinal:
                del overlay[key]
                bare.add(key)
    if bare:
        newest_gone = max(ordinal for ordinal, _ in gone)
        for ordinal, write in sorted(older for older in remaining.values() if older.ordinal < newest_gone):
            for key in write.update.keys() & bare:
                overlay[key] = _Top(ordinal, write.update[key])
    return View(confirmed, remaining, view.loaded, overlay.finish(), view.next_ordinal)


_NO_PENDING: Map[WriteId, Pending] = Map()
_NO_OVERLAY: Map[str, _Top] = Map()


def _names(versions: Sequence[ManifestVersion]) -> dict[str, str]:
    """Who wrote each key of some versions."""
    return {
        key: version.by if write.by is None else write.by
        for version in versions
        for write in version.writes
        for key in write.update
    }


_NOBODY: Mapping[str, str] = {}


def _changes(
    before: View, after: View, causes: Mapping[str, Cause], by: str, names: Mapping[str, str] = _NOBODY
) -> tuple[EntryChange, ...]:
    """What differs between two views at these keys: another entry, or the same one no longer pending.

    ``names`` has who wrote a key where that is not ``by``.
    """
    changes: list[EntryChange] = []
    old_overlay, new_overlay = before.overlay.get, after.overlay.get
    beneath = [key for key in causes if old_overlay(key) is None or new_overlay(key) is None]
    old_cells = before.confirmed.entries.cells.get_all(beneath)
    new_cells = (
        old_cells
        if after.confirmed.entries is before.confirmed.entries
        else after.confirmed.entries.cells.get_all(beneath)
    )
    for key, cause in causes.items():
        old_top, new_top = old_overlay(key), new_overlay(key)
        pending = new_top is not None
        if old_top is not None:
            old = old_top.entry
        else:
            cell = old_cells.get(key)
            if new_top is None and cell == new_cells.get(key):
                continue
            old = None if cell is None else entry_of(cell)
        if new_top is not None:
            new = new_top.entry
        else:
            cell = new_cells.get(key)
            new = None if cell is None else entry_of(cell)
        if pending == (old_top is not None) and (old is new or old == new):
            continue
        changed = (old is not None) if new is None else not new.same_value(old)
        changes.append(_new(EntryChange, (key, old, new, changed, pending, names.get(key, by), cause)))
    return tuple(changes)
