"""What one client knows of a manifest in the mps3 format, and what it tells of it: decided here, without a request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from reactivex import Subject

from rxmps3.errors import Corrupt
from rxmps3.log.mps3 import operation as codec
from rxmps3.log.mps3.names import Namespace, Stamp
from rxmps3.log.mps3.operation import WINDOW, File, Files, Operation
from rxmps3.log.mps3.ticking import moment
from rxmps3.log.protocol import LogEvent
from rxmps3.model.state import ContentObject, Entry, Inline, Loaded, ManifestVersion, Replayed, State, Write, WriteId

__all__ = ["Known", "ListedOperation", "version_in"]

_OWN_KNOWN = 100_000
_MOST_MISSED = 200
"""A client that missed more operations than this gets only the state that the newest one has."""


class ListedOperation(NamedTuple):
    """A valid operation as the listing shows it, or one that was valid when this client saw it first."""

    stamp: Stamp
    name: str
    counts: bool = True
    vanished: bool = False


class Known:
    """The operations that a client has read, the state they result in, and its own writes.

    Args:
        versions: what becomes known is emitted here.
        manifest: its name.
        home: the namespace of its keys.
        writer: who writes here.
        by: the name that is shown for it.
        versioning: values are versions of one object per key.
    """

    def __init__(
        self, versions: Subject[LogEvent], manifest: str, home: Namespace, *, writer: str, by: str, versioning: bool
    ) -> None:
        self.window: list[Operation] = []
        """The operations that are replayed on the base of the newest one, newest first."""
        self.seen: dict[str, int] = {}
        """The times of the operations of the last look, by stamp: those of the window, and those missed before it."""
        self.files: Files = {}
        self.state = State()
        self.uncounted: dict[str, int] = {}
        """The times of operations that counted, but not for who looks now."""
        self.own_operations: dict[str, tuple[Write, ...]] = {}
        """What they hold, by stamp."""
        self.opened = False
        self._versions = versions
        self._prefix = f"{manifest}@"
        self._home = home
        self._writer = writer
        self._by = by
        self._versioning = versioning
        self._own_entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()

    @property
    def newest(self) -> Stamp | None:
        """The newest known operation."""
        return self.window[0].stamp if self.window else None

    @property
    def newest_time(self) -> int:
        """The time of the newest known operation; 0 without one."""
        return self.window[0].stamp.time if self.window else 0

    def was_seen(self, stamp: Stamp) -> bool:
        """Whether an own operation was seen, if only while it was in the window."""
        return stamp.text in self.seen or stamp.text not in self.own_operations

    def lacks_for_others(self) -> bool:
        """Whether somebody who looks for the first time now would miss operations that counted here.

        If not, operations that do not count any more are forgotten.
        """
        counting = [operation for operation in self.window if operation.stamp.text not in self.uncounted]
        if not self.uncounted or _versions(codec.resolve(counting)) == _versions(self.files):
            self.uncounted = {}
            return False
        return True

    # -- which operations a look takes ------------------------------------------------------------------------

    def taken(self, listed: Sequence[ListedOperation]) -> list[ListedOperation]:
        """Those of the listed operations, newest first, that a look takes, and those that it has to have missed."""
        reach = self.reach(listed)
        return self._with_vanished([one for one in listed if one.stamp.time >= reach])

    def reach(self, listed: Sequence[ListedOperation]) -> float:
        """How far back a read goes: to where the last one ended, unless too much was missed since."""
        if not listed:
            return 0
        newest = listed[0].stamp.time
        if self.opened and len(listed) <= _MOST_MISSED:
            newest = min(newest, self.newest_time)
            return min(newest - WINDOW, self._kept_from())
        return newest - WINDOW

    def _with_vanished(self, listed: list[ListedOperation]) -> list[ListedOperation]:
        """Add the known operations of the newest ones' time that the listing does not show any more.

        A client that takes such an operation for one that never counted deletes it. If nothing that was known is left,
        the bucket may have been replaced, and only what this client has written itself is added.
        """
        names = {one.stamp.text for one in listed}
        same = any(operation.stamp.text in names for operation in self.window)
        vanished = [
            ListedOperation(operation.stamp, f"{self._prefix}{operation.stamp.text}", counts=False, vanished=True)
            for operation in self.window
            if operation.stamp.text not in names and (same or operation.stamp.text in self.own_operations)
        ]
        if listed and vanished:
            newest = min(listed[0].stamp.text, vanished[0].stamp.text)
            known = {operation.stamp.text: operation.stamp.time for operation in self.window}
            oldest = min(known.get(newest, listed[0].stamp.time) - WINDOW, self._kept_from())
            listed = [*listed, *(one for one in vanished if one.stamp.time >= oldest)]
            listed.sort(key=lambda one: one.stamp.text)
        self.uncounted = {one.stamp.text: one.stamp.time for one in listed if not one.counts}
        return listed

    def _kept_from(self) -> float:
        """From when on operations are replayed, however old: to the oldest that counted and does not any more."""
        return min(self.uncounted.values(), default=float("inf"))

    def standing(self, window: Sequence[Operation]) -> list[Operation]:
        """Those of these operations, newest first, that are replayed on the base of the newest one.

        Older ones are in that base. Were they replayed, they would undo what is in it and does not count any more.
        """
        oldest = min(window[0].stamp.time - WINDOW, self._kept_from()) if window else 0
        return [one for one in window if one.stamp.time >= oldest]

    def with_own(self, operation: Operation) -> list[Operation]:
        """The window with this operation added."""
        return sorted([operation, *self.window], key=lambda one: one.stamp.text)

    # -- what is told ------------------------------------------------------------------------------------------

    def take(self, window: Sequence[Operation]) -> None:
        """Take over the current operations, newest first: those in the window of the newest one, perhaps preceded by
        older ones."""
        standing = self.standing(window)
        files = codec.resolve(standing)
        version = window[0].stamp.text if window else ""
        changed = [name for name in {**self.files, **files} if version_in(self.files, name) != version_in(files, name)]
        new = [operation for operation in reversed(window) if operation.stamp.text not in self.seen]
        on_top = not self.window or all(operation.stamp.text < self.window[0].stamp.text for operation in new)
        followed = self._is_followed_by(window)
        before, seen = self.state, self.seen
        self.window = standing
        self.files = files
        self.seen = {operation.stamp.text: operation.stamp.time for operation in window}
        for text in seen.keys() - self.seen.keys():
            self.own_operations.pop(text, None)
        after = replace(self._changed(before, {name: files.get(name) for name in changed}), version=version)
        if not self.opened:
            self._versions.on_next(Loaded(self._remember(after)))
            self.opened = True
        elif new or changed:
            try:
                if followed:
                    self._tell(before, after, new, changed, one_by_one=on_top)
                else:
                    self._emit_loaded(after, new)
            except Corrupt:
                self.seen = seen
                raise

    def _tell(self, before: State, after: State, new: list[Operation], changed: list[str], *, one_by_one: bool) -> None:
        """Emit operations, oldest first: one by one if they follow the known ones, else all at once."""
        keys = self._keys(changed)
        if one_by_one:
            *earlier, last = [[one] for one in new] or [[]]
            for (operation,) in earlier:
                before = replace(self._changed(before, operation.update), version=operation.stamp.text)
                touched = self._keys(operation.update)
                keys |= touched
                self._versions.on_next(Replayed(self._remember(before), (self._version(operation),), touched))
            new = last
        for operation in new:
            keys |= self._keys(operation.update)
        self._versions.on_next(Replayed(self._remember(after), tuple(map(self._version, new)), keys))

    def _is_followed_by(self, window: Sequence[Operation]) -> bool:
        """Whether these operations follow the known ones without a gap."""
        if self.window:
            return self.window[0].stamp.text in {operation.stamp.text for operation in window}
        return not window or not window[-1].files

    def _emit_loaded(self, after: State, new: list[Operation]) -> None:
        """Emit the state as `Loaded`, since some versions before it were missed, and report own writes that it
        contains: versions are not told one by one after a state that has them."""
        self._versions.on_next(Loaded(self._remember(after)))
        own = [operation for operation in new if operation.stamp.text in self.own_operations]
        if own:
            self.tell_own(*own)

    def tell_own(self, *operations: Operation) -> None:
        """Report own operations that the state contains already: only that their writes are committed is news."""
        self._versions.on_next(Replayed(self.state, tuple(map(self._version, operations)), frozenset(), told=True))

    def _remember(self, state: State) -> State:
        self.state = state
        return state

    # -- keys and entries --------------------------------------------------------------------------------------

    def update_of(self, writes: Sequence[Write]) -> dict[str, File | None]:
        """What an operation with these writes changes; their entries are remembered."""
        update: dict[str, File | None] = {}
        for write in writes:
            for key, entry in write.update.items():
                name = self._home.file_of(key)
                update.pop(name, None)
                update[name] = None if entry is None else codec.file_of(self._version_of(key, entry))
        return update

    def deleted_by(self, update: Mapping[str, File | None]) -> list[str]:
        """The keys of this database that an operation deletes."""
        return [key for name, file in update.items() if file is None and (key := self._home.key_of(name))]

    def content_of(self, name: str, file: File) -> ContentObject | None:
        """The object of a value; None if its key is none of this database."""
        key = self._home.key_of(name)
        content = None if key is None else self._entry(key, file["version"]).content
        return content if isinstance(content, ContentObject) else None

    def _version_of(self, key: str, entry: Entry) -> str:
        """The version string by which an operation names a value; the entry is remembered under it."""
        content = entry.content
        if isinstance(content, Inline) or (self._versioning and content.version is None):
            raise RuntimeError(f"the value of key {key!r} was not uploaded before its commit")
        version = content.version or content.name.rpartition("@")[2]
        self._own_entries[(key, version)] = entry
        while len(self._own_entries) > _OWN_KNOWN:
            self._own_entries.popitem(last=False)
        return version

    def _entry(self, key: str, version: str) -> Entry:
        """The entry for a value: complete for an own value, only the object's name for anyone else's."""
        own = self._own_entries.get((key, version))
        if own is not None:
            return own
        if self._versioning:
            return Entry(version, ContentObject(key, "", 0, version))
        return Entry(version, ContentObject(f"{key}@{version}", "", 0))

    def _keys(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(key for name in names if (key := self._home.key_of(name)) is not None)

    def _changed(self, state: State, update: Mapping[str, File | None]) -> State:
        return replace(state, entries=state.entries.patched(self._patch(update)))

    def _patch(self, update: Mapping[str, File | None]) -> dict[str, Entry | None]:
        """What an operation changes, by key of this database."""
        return {
            key: None if file is None else self._entry(key, file["version"])
            for name, file in update.items()
            if (key := self._home.key_of(name)) is not None
        }

    def _version(self, operation: Operation) -> ManifestVersion:
        stamp = operation.stamp
        writes = self.own_operations.get(stamp.text)
        writer = self._writer if writes is not None else stamp.session
        if writes is None:
            update = self._patch(operation.update)
            writes = (Write(WriteId(stamp.session, stamp.number + 1), stamp.text, update),) if update else ()
        by = self._by if writer == self._writer else ""  # the format does not record it
        return ManifestVersion(stamp.text, writer, by, moment(stamp.time), writes)


def version_in(files: Files, name: str) -> str | None:
    """The version of a value in a state; None without one."""
    file = files.get(name)
    return None if file is None else file["version"]


def _versions(files: Files) -> dict[str, str]:
    return {name: file["version"] for name, file in files.items()}
