"""What happened in a run, and what of it was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rxmps3.errors import Error, Rejected
from rxmps3.model.missing import MISSING

__all__ = ["Observation", "Observer", "Recorder", "Scope", "SessionRecord", "Violation", "WriteRecord"]

_MOST_VIOLATIONS = 20


class Violation(NamedTuple):
    """Something that must never happen: the rule it breaks, and how."""

    rule: str
    detail: str
    at: float

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail} (at {self.at:.3f} s)"


@dataclass(eq=False)
class WriteRecord:
    """One call of put, put_all or delete.

    Attributes:
        session: who made it.
        index: its place among the client's writes, over all its processes, from 1.
        id: unique in the run; every value of the write carries it.
        values: what each key was set to; `MISSING` where it was deleted.
        called_at: when.
        version: its version id, "" until the call has returned.
        rests_on: the key and the version of it, "" for none, that it asks for where it is committed, if it does.
        reentrant: made by an observer.
        cancelled: it was taken back in time.
        forgettable: the disk has gone back to a time when it may not have been stored.
        resurrected: it was taken back so shortly before its process died that the disk still had it.
        found_again: a later process took it up as pending although the log had it.
        copied: it was pending when a disk was copied, so that several processes may send it.
        stored: whether its receipt has said that it survives the process.
        settled: whether its receipt has met its end.
        error: how it failed, if it did.
        settled_at: when.
    """

    session: SessionRecord
    index: int
    id: int
    values: Mapping[str, Any]
    called_at: float
    version: str = ""
    rests_on: tuple[str, str] | None = None
    reentrant: bool = False
    forgettable: bool = False
    copied: bool = False
    resurrected: bool = False
    found_again: bool = False
    cancelled: bool = False
    stored: bool = False
    settled: bool = False
    error: Error | None = None
    settled_at: float = 0.0

    def id_of(self, key: str) -> int | None:
        """What a reader of the key sees of this write: its id, or None where it deletes."""
        return None if self.values[key] is MISSING else self.id


class Scope(NamedTuple):
    """The keys under a prefix: the last n if ``size`` is positive, the first n if negative, all if 0."""

    prefix: str
    size: int

    def select(self, present: Iterable[str]) -> list[str]:
        """Those of these keys that are in it, sorted."""
        keys = sorted(key for key in present if key.startswith(self.prefix))
        return keys[-self.size :] if self.size > 0 else keys[: -self.size] if self.size < 0 else keys

    def window(self) -> dict[str, Any]:
        """As arguments of ``get_prefix`` and ``observe_prefix``."""
        return {"last": self.size} if self.size > 0 else {"first": -self.size} if self.size < 0 else {}


class Observation(NamedTuple):
    """What was seen in one moment: by key the id of the write, or None.

    Attributes:
        at: when.
        own: how many writes the session had made by then.
        own_shown: how many of these it must reflect: a write made by an observer during a delivery is in the view at
            once, but the streams show it after what they are being served.
        length: how many entries the log had by then.
        least: how many entries of the log it must reflect at the least.
        values: id by key.
        scope: for what was asked by prefix: the prefix and its window; every key under it counts, seen or not.
        asked_at: when; it shows one moment between this and ``at``. None where that was the same moment.
    """

    at: float
    own: int
    own_shown: int
    length: int
    least: int
    values: Mapping[str, int | None]
    scope: Scope | None = None
    asked_at: float | None = None


@dataclass(eq=False)
class Observer:
    """Somebody who looks: a stream, or the caller of get. What it sees must never go back."""

    name: str
    session: SessionRecord
    observations: list[Observation] = field(default_factory=list[Observation])


@dataclass(eq=False)
class SessionRecord:
    """One process of a client, from connect to its end.

    Attributes:
        name: of the process.
        client: whose process it is.
        writes: in order; first those that it found in its outbox.
        settled: the version ids of those that have met their end in it.
        observers: who looked.
        position: how far along the log it has come.
        read_at: when that was.
    """

    name: str
    client: str
    writes: list[WriteRecord] = field(default_factory=list[WriteRecord])
    settled: set[str] = field(default_factory=set[str])
    observers: list[Observer] = field(default_factory=list[Observer])
    position: int = 0
    read_at: float = 0.0

    def shown(self, now: float) -> int:
        """How many of the writes made so far a stream must show by now."""
        shown = index = len(self.writes)
        while index and self.writes[index - 1].called_at == now:
            index -= 1
            if self.writes[index].reentrant:
                shown = index
        return shown


class Recorder:
    """The trace of a run, its counts and its violations.

    Args:
        now: the virtual time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.trace: list[tuple[Any, ...]] = []
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.sessions: list[SessionRecord] = []
        self.writes: list[WriteRecord] = []
        self.by_version: dict[str, WriteRecord] = {}
        self._last_index: dict[str, int] = {}

    def note(self, *words: Any) -> None:
        """One line for the trace; every word prints the same in every run."""
        self.trace.append((self.now(), *words))

    def complain(self, rule: str, detail: str) -> None:
        """Something is wrong."""
        if len(self.violations) < _MOST_VIOLATIONS:
            self.violations.append(Violation(rule, detail, self.now()))
            self.note("VIOLATION", rule, detail)

    def arrived(self, version: str, who: str) -> None:
        """A process brings a write into the log. If an earlier one had taken it back, the disk still had it."""
        write = self.by_version.get(version)
        if write is not None and isinstance(write.error, Rejected) and write.session.name != who:
            write.resurrected = True

    def new_write(self, session: SessionRecord, values: Mapping[str, Any], *, reentrant: bool) -> WriteRecord:
        """A write is about to be made."""
        index = self._last_index[session.client] = self._last_index.get(session.client, 0) + 1
        write = WriteRecord(session, index, len(self.writes) + 1, values, self.now(), reentrant=reentrant)
        session.writes.append(write)
        self.writes.append(write)
        return write
