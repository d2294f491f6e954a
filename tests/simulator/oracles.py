"""What must hold of a run as a whole, checked at its end against the log that the ledger kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rxmps3.errors import Closed, NotSent, OutcomeUnknown
from rxmps3.model import jsontext
from rxmps3.model.missing import MISSING
from rxmps3.model.state import Inline
from tests.simulator.chronicle import Chronicle
from tests.simulator.ledger import Ledger
from tests.simulator.recorder import Observation, Observer, Recorder, WriteRecord

__all__ = ["UNDECIDED", "check_log", "check_observers", "final_ids", "is_refused"]

UNDECIDED = (NotSent, Closed, OutcomeUnknown)
"""Errors that leave open whether the write is committed in the end."""


def is_refused(write: WriteRecord) -> bool:
    """Whether the write was rolled back where it was made."""
    return write.error is not None and not isinstance(write.error, (NotSent, Closed))


def final_ids(ledger: Ledger | Chronicle, recorder: Recorder) -> dict[str, int]:
    """The state at the end: by key the id of the write."""
    ids: dict[str, int] = {}
    for key, item in ledger.final_items().items():
        record = recorder.by_version.get(item.version)
        ids[key] = 0 if record is None else record.id
    return ids


def check_log(ledger: Ledger | Chronicle, recorder: Recorder) -> None:
    """Every write of the log was made, as it was made; every acknowledged write is in it; no refused one is."""
    logged = [write for writes in ledger.writes for write in writes]
    for write in logged:
        record = recorder.by_version.get(write.version)
        if record is None:
            recorder.complain("nothing is invented", f"nobody made {write.version}")
            continue
        for key in sorted({*write.update, *record.values}):
            item, value = write.update.get(key), record.values.get(key)
            wanted = None if value is MISSING else Inline(jsontext.encode(value)).sha256
            if key not in write.update or key not in record.values or (item.sha256 if item else None) != wanted:
                recorder.complain("nothing is invented", f"{write.version} says {item} of {key!r}, not {value!r}")
    for record in recorder.writes:
        if not record.settled:
            continue
        present = ledger.covers(record)
        if record.error is None and not present:
            recorder.complain("what is acknowledged is in the log", f"{record.version} is not, at the end")
        present = record.version in ledger.places
        may_come = record.copied or record.resurrected or isinstance(record.error, UNDECIDED)
        if record.error is not None and present and not may_come:
            recorder.complain("what is refused stays out", f"{record.version} is in the log: {record.error}")
    for record in recorder.writes:
        if record.stored and record.error is None and not record.forgettable and not ledger.covers(record):
            recorder.complain("what is stored survives", f"{record.version} never came into the log")
    places = ledger.final_places()
    for client in dict.fromkeys(session.client for session in recorder.sessions):
        _check_order(ledger, places, recorder, client)


def _check_order(ledger: Ledger | Chronicle, places: Mapping[str, int], recorder: Recorder, client: str) -> None:
    """The writes of a process come in their order, none left out before one that came; so do those of a client.

    In a log that is no line, a request whose process has died or closed may still be carried out when others have
    taken over.
    """
    late = isinstance(ledger, Chronicle)
    made = [write for write in recorder.writes if write.session.client == client]
    if any(write.copied or write.resurrected for write in made):
        return  # a copy or a backup may send later ones before an earlier one is sent after all
    sure = [write for write in made if not (isinstance(ledger, Chronicle) and ledger.could_be_elsewhere(write))]
    known = [write for write in sure if not late or (write.settled and write.error is None)]
    placed = [(places[write.version], write.index) for write in known if write.version in places]
    if placed != sorted(placed):
        recorder.complain("a session's writes keep their order", f"{client}: {placed}")
    for session in recorder.sessions:
        if session.client != client:
            continue
        own = [write for write in made if write.session is session]
        placed = [(places[write.version], write.index) for write in sure if write in own and write.version in places]
        if late and placed != sorted(placed):
            recorder.complain("a session's writes keep their order", f"{session.name}: {placed}")
        last = max((write.index for write in own if write.version in places), default=0)
        for write in own:
            if write.index < last and not is_refused(write) and not ledger.covers(write):
                recorder.complain("a session's writes keep their order", f"{session.name}: {write.version} is left out")


def check_observers(ledger: Ledger, recorder: Recorder) -> None:
    """Whatever anybody saw is a prefix of the log with their own pending writes on top; prefixes never shrink."""
    history = _History(ledger, recorder)
    for session in recorder.sessions:
        if any(write.resurrected for write in session.writes):
            continue  # when it was seen and when not cannot be told from its record
        places = [ledger.places.get(write.version) for write in session.writes]
        for observer in session.observers:
            history.check(observer, session.writes, places)


class _History:
    """The log in ids."""

    def __init__(self, ledger: Ledger, recorder: Recorder) -> None:
        self._recorder = recorder
        self._steps: list[list[tuple[str, int | None]]] = []
        for writes in ledger.writes:
            step: list[tuple[str, int | None]] = []
            for write in writes:
                record = recorder.by_version.get(write.version)
                if record is not None:
                    step += [(key, None if item is None else record.id) for key, item in write.update.items()]
            self._steps.append(step)

    def check(self, observer: Observer, writes: list[WriteRecord], places: list[int | None]) -> None:
        """Walk along the log with what one observer saw."""
        state: dict[str, int] = {}
        seq = 0
        for observation in observer.observations:
            while True:
                fits = seq >= observation.least and self._fits(observation, state, seq, writes, places)
                if fits or seq >= observation.length:
                    break
                seq += 1
                for key, id in self._steps[seq]:
                    if id is None:
                        state.pop(key, None)
                    else:
                        state[key] = id
            if not fits:
                self._recorder.complain(
                    "a view is a prefix of the log and own writes",
                    f"{observer.name} at {observation.at:.3f} s sees {dict(observation.values)}, "
                    f"which is no state from its last one to entry {observation.length}",
                )
                return

    def _fits(
        self,
        observation: Observation,
        state: Mapping[str, int],
        seq: int,
        writes: list[WriteRecord],
        places: list[int | None],
    ) -> bool:
        """Whether the state after an entry, with the own writes that it lacks on top, is what was seen."""
        return any(
            self._fits_with(made, gone, observation, state, seq, writes, places)
            for made in range(observation.own, observation.own_shown - 1, -1)
            for gone in self._rolled_back(observation, writes)
        )

    def _rolled_back(self, observation: Observation, writes: list[WriteRecord]) -> Iterator[set[int]]:
        """Which writes had been rolled back by then; of those during the asking, or at that very moment, ever more."""
        since = observation.at if observation.asked_at is None else observation.asked_at
        refused = sorted((write for write in writes if is_refused(write)), key=lambda write: write.settled_at)
        gone = {write.id for write in refused if write.settled_at < since}
        yield gone
        for write in refused:
            if since <= write.settled_at <= observation.at:
                gone = {*gone, write.id}
                yield gone

    def _fits_with(
        self,
        made: int,
        gone: set[int],
        observation: Observation,
        state: Mapping[str, int],
        seq: int,
        writes: list[WriteRecord],
        places: list[int | None],
    ) -> bool:
        own: dict[str, int | None] = {}
        for index in range(made - 1, -1, -1):
            place = places[index]
            write = writes[index]
            if place is not None and place <= seq:
                break  # a session's writes are committed in order
            if write.id in gone:
                continue
            for key in write.values:
                own.setdefault(key, write.id_of(key))
        seen = observation.values
        if observation.scope is None:
            return all((own[key] if key in own else state.get(key)) == id for key, id in seen.items())
        view = {key: id for key, id in {**state, **own}.items() if id is not None}
        selected = observation.scope.select(view)
        return list(seen.items()) == [(key, view[key]) for key in selected]
