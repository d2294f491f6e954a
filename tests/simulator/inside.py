"""What a replica says of itself, compared with what an onlooker at the bucket knows.

`Exact` is for a log in which a number says how far a client has come, `Loose` for one that may grow below its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rxmps3.model.state import State, View
from tests.simulator.chronicle import Chronicle
from tests.simulator.ledger import Fold, Ledger
from tests.simulator.recorder import Recorder, SessionRecord, WriteRecord

__all__ = ["Exact", "Inside", "Loose"]


class Inside(Protocol):
    """Follows one process. ``at`` is where it is, for the trace."""

    def opened(self, state: State, makers: Sequence[SessionRecord]) -> None:
        """The database is open, with this confirmed state, and with pending writes that these processes made."""
        ...

    def lost(self, record: WriteRecord) -> str:
        """Which rule it breaks that a write of an earlier process is not pending here any more; "" if none."""
        ...

    def look(self, view: View) -> None:
        """Compare a view with the log."""
        ...

    def end_of_log(self) -> str:
        """The id of the version that a refresh which begins now must reach; "" if there is none."""
        ...

    def refreshed(self, view: View, reach: str) -> None:
        """A refresh has ended that had to reach this version."""
        ...


class Exact:
    """Of the sequenced log: every state is the fold of the log up to an entry, whose number it tells.

    Args:
        ledger: what the log says.
        recorder: hears of what is wrong.
        record: of the process.
    """

    def __init__(self, ledger: Ledger, recorder: Recorder, record: SessionRecord) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._record = record
        self._position = 0
        self._opened_at = 0
        self._stood: set[str] = set()

    def opened(self, state: State, makers: Sequence[SessionRecord]) -> None:
        self._opened_at = position = _position(state)
        earlier = [one for one in self._recorder.sessions if one.client == self._record.client]
        if any(position < one.position for one in (*earlier, *makers)):
            self._recorder.counts["opened behind"] += 1

    def lost(self, record: WriteRecord) -> str:
        if self._ledger.places.get(record.version, 1 << 60) <= self._opened_at:
            return ""
        return "a restart sees own writes" if record.settled else "what is stored survives"

    def look(self, view: View) -> None:
        ledger, complain, name = self._ledger, self._recorder.complain, self._record.name
        position = _position(view.confirmed)
        if position < self._position:
            complain("replicas never go back", f"{name} went from {self._position} to {position}")
        if position > ledger.length:
            complain("replicas follow the log", f"{name} is at {position}, the log at {ledger.length}")
            return
        if position != self._position:
            self._position = self._record.position = position
            self._record.read_at = self._recorder.now()
            self._compare_state(position, view.confirmed, ledger.folds[position])
        self._compare_pending(position, view, ledger.folds[position])
        self._check_standing(position, view, ledger.folds[position])

    def _compare_state(self, position: int, state: State, fold: Fold) -> None:
        mine = {key: (entry.version, entry.content.sha256) for key, entry in state.entries.items()}
        theirs = {key: item[:2] for key, item in fold.items.items() if state.kept is None or state.kept.has(key)}
        if mine != theirs:
            keys = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
            detail = ", ".join(f"{key}: {mine.get(key)} instead of {theirs.get(key)}" for key in keys)
            self._recorder.complain("the state is the log's fold", f"{self._record.name} at {position}: {detail}")
        if {writer: mark[:2] for writer, mark in state.writers.items()} != fold.marks:
            where = f"{self._record.name} at {position}"
            self._recorder.complain("the state is the log's fold", f"{where}: other writers' marks")

    def _compare_pending(self, position: int, view: View, fold: Fold) -> None:
        places, record = self._ledger.places, self._record
        versions = [write.version for write in record.writes if write.version not in ("", *record.settled)]
        expected = {version for version in versions if places.get(version, position + 1) > position}
        waiting = {id.version for id in view.pending}
        # a writer that the log has forgotten cannot tell whether its write is in it: it stays until that is decided
        forgotten = {
            id.version
            for id in view.pending
            if id.writer not in fold.marks and places.get(id.version, position + 1) <= position
        }
        unnamed = sum(not write.version for write in record.writes)
        if not expected <= waiting or len(waiting - forgotten) > len(expected - forgotten) + unnamed:
            self._recorder.complain(
                "pending is what the log lacks",
                f"{record.name} at {position}: pending {sorted(waiting)}, of own writes {sorted(expected)}",
            )

    def _check_standing(self, position: int, view: View, fold: Fold) -> None:
        """What a pending write rests on, once it was there, is there for as long as the write is shown."""
        ahead: dict[str, str] = {}
        for write in view.queue():
            record = self._recorder.by_version.get(write.id.version)
            if record is not None and record.rests_on is not None:
                key, wanted = record.rests_on
                item = fold.items.get(key)
                found = ahead.get(key, "" if item is None else item[0])
                if found == wanted:
                    self._stood.add(record.version)
                elif record.version in self._stood:
                    detail = f"{self._record.name} at {position}: {record.version} rests on {wanted!r}, not {found!r}"
                    self._recorder.complain("what is shown stands", detail)
            ahead |= {key: "" if entry is None else entry.version for key, entry in write.update.items()}

    def end_of_log(self) -> str:
        return str(self._ledger.length or "")

    def refreshed(self, view: View, reach: str) -> None:
        if _position(view.confirmed) < int(reach or 0):
            self._recorder.complain("refresh reads to the end", f"{self._record.name} is not at {reach}")


def _position(state: State) -> int:
    return int(state.version or 0)


class Loose:
    """Of the other logs: a state is the fold of what it says it knows; the rest shows at the end.

    Args:
        chronicle: what the log says.
        recorder: hears of what is wrong.
        record: of the process.
    """

    def __init__(self, chronicle: Chronicle, recorder: Recorder, record: SessionRecord) -> None:
        self._chronicle = chronicle
        self._recorder = recorder
        self._record = record
        self._last: State | None = None

    def opened(self, state: State, makers: Sequence[SessionRecord]) -> None:
        self._recorder.counts["opened"] += 1

    def lost(self, record: WriteRecord) -> str:
        return "" if self._chronicle.covers(record) else "what is stored survives"

    def look(self, view: View) -> None:
        if view.confirmed is not self._last:
            self._last = view.confirmed
            wrong = self._chronicle.contradiction(view.confirmed)
            if wrong:
                self._recorder.complain("the state is the log's fold", f"{self._record.name}: {wrong}")
        record = self._record
        own = {write.version for write in record.writes}
        expected = {
            write.version
            for write in record.writes
            if write.version not in ("", *record.settled) and write.version not in self._chronicle.places
        }
        waiting = {id.version for id in view.pending}
        unnamed = sum(not write.version for write in record.writes)
        if not expected <= waiting or len(waiting - own) > unnamed:
            self._recorder.complain(
                "pending is what the log lacks",
                f"{record.name}: pending {sorted(waiting)}, of own writes {sorted(expected)}",
            )

    def end_of_log(self) -> str:
        return self._chronicle.newest()

    def refreshed(self, view: View, reach: str) -> None:
        if reach and not self._chronicle.reaches(view.confirmed, reach):
            self._recorder.complain("refresh reads to the end", f"{self._record.name} does not know {reach!r}")
