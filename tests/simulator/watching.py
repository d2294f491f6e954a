"""Recorders of what streams emit, each with the rules that can be checked as it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxmps3.model.missing import MISSING
from rxmps3.model.state import ManifestVersion, View
from rxmps3.streams.events import Change, Reset
from tests.simulator.chronicle import Chronicle
from tests.simulator.drawing import PAIRS
from tests.simulator.ledger import Ledger
from tests.simulator.recorder import Observation, Observer, Recorder, Scope, SessionRecord

__all__ = ["ChangeWatcher", "LooseVersionWatcher", "SnapshotWatcher", "VersionWatcher", "Watcher", "read_values"]

Alive = Callable[[], bool]
Onlooker = Ledger | Chronicle


def read_values(recorder: Recorder, who: str, values: Mapping[str, Any]) -> dict[str, int | None]:
    """The ids behind values, which must be just as they were written."""
    return {key: _id_of(recorder, who, key, value) for key, value in values.items()}


def _id_of(recorder: Recorder, who: str, key: str, value: Any) -> int | None:
    if value is MISSING:
        return None
    id: Any = cast("dict[str, Any]", value).get("id") if isinstance(value, dict) else None
    if not isinstance(id, int) or not 0 < id <= len(recorder.writes):
        recorder.complain("values are what was written", f"{who} sees {value!r:.80} at {key!r}, which nobody wrote")
        return -1
    if recorder.writes[id - 1].values.get(key) != value:
        recorder.complain("values are what was written", f"{who} sees another value at {key!r} than write {id} put")
    return id


class Watcher:
    """One subscription."""

    def __init__(self, name: str, session: SessionRecord, recorder: Recorder, ledger: Onlooker, alive: Alive) -> None:
        self.name = f"{session.name} {name}"
        self.completed = False
        self.disposed = False
        self._session = session
        self._recorder = recorder
        self._ledger = ledger
        self._alive = alive
        self._subscription: DisposableBase | None = None

    def watch(self, stream: Observable[Any]) -> None:
        """Subscribe."""
        self._subscription = stream.subscribe(self._on_next, self._on_error, self._on_completed)

    def dispose(self) -> None:
        """Unsubscribe; nothing may come any more."""
        self.disposed = True
        if self._subscription is not None:
            self._subscription.dispose()

    def take(self, item: Any) -> None:
        """Record an item."""
        raise NotImplementedError

    def end(self, final: Mapping[str, int]) -> str:
        """Everything has been committed and read: what is wrong at the end; "" if nothing is."""
        return ""

    def _on_next(self, item: Any) -> None:
        if not self._alive():
            return
        if self.completed or self.disposed:
            self._recorder.complain("streams end once", f"{self.name} emits after its end")
        self._recorder.counts["emissions"] += 1
        self.take(item)

    def _on_error(self, error: Exception) -> None:
        if self._alive():
            self._recorder.complain("streams do not end on trouble", f"{self.name}: {error!r}")

    def _on_completed(self) -> None:
        if self._alive():
            if self.completed or self.disposed:
                self._recorder.complain("streams end once", f"{self.name} completes after its end")
            self.completed = True


class SnapshotWatcher(Watcher):
    """A stream of values: of one key, of several, or of those under a prefix.

    Args:
        scope: the keys of the stream, or the prefix and its window.
        react: is told of the ids of each emission, after it was recorded.
    """

    def __init__(
        self,
        name: str,
        session: SessionRecord,
        recorder: Recorder,
        ledger: Onlooker,
        alive: Alive,
        scope: tuple[str, ...] | Scope,
        react: Callable[[Mapping[str, int | None]], None] | None = None,
    ) -> None:
        super().__init__(name, session, recorder, ledger, alive)
        self._scope = scope
        self._react = react
        self._last: Mapping[str, int | None] | None = None
        self.observer = Observer(self.name, session)
        session.observers.append(self.observer)

    def take(self, item: Any) -> None:
        scope = self._scope
        alone = None if isinstance(scope, Scope) or len(scope) > 1 else "".join(scope)
        values: Mapping[str, Any] = item if alone is None else {alone: item}
        seen = read_values(self._recorder, self.name, values)
        recorder = self._recorder
        recorder.note(self.name, "emits", _brief(seen))
        if self._last is not None and list(seen.items()) == list(self._last.items()):
            recorder.complain("streams emit changes only", f"{self.name} emits {_brief(seen)} twice in a row")
        self._last = seen
        check_pairs(recorder, self.name, seen)
        self.observer.observations.append(
            Observation(
                recorder.now(),
                len(self._session.writes),
                self._session.shown(recorder.now()),
                self._ledger.length,
                0,
                seen,
                scope if isinstance(scope, Scope) else None,
            )
        )
        if self._react is not None:
            self._react(seen)

    def end(self, final: Mapping[str, int]) -> str:
        scope = self._scope
        keys = scope.select(final) if isinstance(scope, Scope) else list(scope)
        wanted = {key: final.get(key) for key in keys}
        if self._last is None:
            return "never emitted anything"
        if list(self._last.items()) != list(wanted.items()):
            return f"ends with {_brief(self._last)} instead of {_brief(wanted)}"
        return ""


def check_pairs(recorder: Recorder, who: str, seen: Mapping[str, int | None]) -> None:
    """Keys that are only written together must be seen together."""
    for left, right in PAIRS:
        if left in seen and right in seen and seen[left] != seen[right]:
            recorder.complain(
                "an atomic write is seen whole", f"{who} sees {left!r} of {seen[left]} and {right!r} of {seen[right]}"
            )


def _brief(seen: Mapping[str, int | None]) -> str:
    return " ".join(f"{key}={'-' if id is None else id}" for key, id in seen.items()) or "nothing"


class ChangeWatcher(Watcher):
    """``changes``: each starts where the one before it ended; together they make the state."""

    def __init__(
        self,
        name: str,
        session: SessionRecord,
        recorder: Recorder,
        ledger: Onlooker,
        alive: Alive,
        prefix: str,
        view: View,
    ) -> None:
        super().__init__(name, session, recorder, ledger, alive)
        self._prefix = prefix
        self._ids: dict[str, int | None] = {
            key: ledger.id_of(key, view[key]) for key in sorted(view) if key.startswith(prefix)
        }

    def _known(self, key: str) -> int | None:
        return self._ids.get(key)

    def take(self, item: Change) -> None:
        key, recorder = item.key, self._recorder
        ids = [_id_of(recorder, self.name, key, value) for value in (item.before, item.after)]
        before, after = ids
        recorder.note(self.name, "emits", key, before, after, item.cause, item.pending)
        forgotten = before is None and key in self._ledger.collected_keys
        if before == after and not forgotten:
            recorder.complain("changes change", f"{self.name}: {key!r} from {before} to {after}")
        if before != self._known(key) and not forgotten:
            recorder.complain(
                "changes follow each other",
                f"{self.name}: {key!r} was {self._known(key)}, now from {before} to {after}",
            )
        self._ids[key] = after

    def end(self, final: Mapping[str, int]) -> str:
        keys = {*self._ids, *(key for key in final if key.startswith(self._prefix))}
        wrong = [key for key in sorted(keys) if self._known(key) != final.get(key)]
        return ", ".join(f"{key!r} ends as {self._known(key)}, not {final.get(key)}" for key in wrong)


class VersionWatcher(Watcher):
    """``versions``: every entry of the log after the loaded one, once, in order."""

    def __init__(
        self, name: str, session: SessionRecord, recorder: Recorder, ledger: Ledger, alive: Alive, loaded: int
    ) -> None:
        super().__init__(name, session, recorder, ledger, alive)
        self._log = ledger
        self._seq = loaded

    def take(self, item: ManifestVersion | Reset) -> None:
        seq, recorder = int(item.id), self._recorder
        recorder.note(self.name, "emits", item.id)
        if isinstance(item, Reset):
            if seq < self._seq:
                recorder.complain("versions come once, in order", f"{self.name}: reset to {seq} after {self._seq}")
        elif seq != self._seq + 1:
            recorder.complain("versions come once, in order", f"{self.name}: {seq} after {self._seq}")
        elif seq > self._log.length:
            recorder.complain("versions are the log", f"{self.name}: {seq} is not in the log")
        elif [write.id.version for write in item.writes] != [write.version for write in self._log.writes[seq]]:
            recorder.complain("versions are the log", f"{self.name}: {seq} has other writes than the log")
        self._seq = seq

    def end(self, final: Mapping[str, int]) -> str:
        return "" if self._seq == self._log.length else f"ends at {self._seq}, the log at {self._log.length}"


class LooseVersionWatcher(Watcher):
    """``versions`` of a log that may grow below its end: every version once, none missing that came after it began."""

    def __init__(
        self, name: str, session: SessionRecord, recorder: Recorder, chronicle: Chronicle, alive: Alive
    ) -> None:
        super().__init__(name, session, recorder, chronicle, alive)
        self._chronicle = chronicle
        self._began = chronicle.length
        self._seen: set[str] = set()

    def take(self, item: ManifestVersion | Reset) -> None:
        self._recorder.note(self.name, "emits", item.id)
        if not self._chronicle.knows(item.id):
            self._recorder.complain("versions are the log", f"{self.name}: {item.id} is not in the log")
        if isinstance(item, Reset):
            self._began = self._chronicle.length
            self._seen.clear()
        elif item.id in self._seen:
            self._recorder.complain("versions come once, in order", f"{self.name}: {item.id} comes twice")
        self._seen.add(item.id)

    def end(self, final: Mapping[str, int]) -> str:
        missed = self._chronicle.ids_after(self._began) - self._seen
        return f"missed {sorted(missed)}" if missed else ""
