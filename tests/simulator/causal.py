"""The run as a `tests.causality.History`, for checkers that know nothing of logs and replicas."""

from __future__ import annotations

from typing import NamedTuple

from tests.causality import (
    History,
    LoggedWrite,
    Operation,
    Session,
    check_atomic,
    check_ccv,
    check_exactly_once,
    check_prefixes,
)
from tests.simulator.chronicle import Chronicle
from tests.simulator.ledger import Ledger
from tests.simulator.oracles import is_refused
from tests.simulator.recorder import Observation, Observer, Recorder, SessionRecord, WriteRecord

__all__ = ["check_causality"]


class _LeftOut(NamedTuple):
    """What the checkers are not told of.

    Attributes:
        writes: the ids of writes.
        deleted: keys that some of these delete, so that nothing would explain why they are missing.
    """

    writes: frozenset[int]
    deleted: frozenset[str]


def check_causality(ledger: Ledger | Chronicle, recorder: Recorder, *, calm: bool = False) -> None:
    """Run the checkers over what everybody wrote and saw.

    Unless it was ``calm``, a write may move that a client has sent again after a lost answer, and is left out then.
    """
    log = [
        [
            LoggedWrite(write.version, {key: _text(record, key) for key in record.values})
            for write in writes
            if (record := recorder.by_version.get(write.version)) is not None
        ]
        for writes in ledger.log
    ]
    # a stream shows the pending writes of the process it is in, which to these checkers is another session: they are
    # told of streams where only the history counts, and of the processes alone where the log does
    moved = ledger.moved if isinstance(ledger, Chronicle) and not calm else set[str]()
    seen, made = _history(ledger, recorder, moved, streams=True), _history(ledger, recorder, moved, streams=False)
    repeats = check_exactly_once(log, made) if not any(write.copied for write in recorder.writes) else []
    if isinstance(ledger, Chronicle):  # no client need have seen a prefix of it, and a version may be in it twice
        violations = [*check_ccv(seen), *check_atomic(seen)]
    else:
        violations = [*check_ccv(seen), *check_atomic(seen), *check_prefixes(log, made), *repeats]
    for violation in dict.fromkeys(violations):
        recorder.complain(f"causality: {violation.pattern.value}", str(violation))


def _text(record: WriteRecord, key: str) -> str | None:
    id = record.id_of(key)
    return None if id is None else str(id)


def _history(ledger: Ledger | Chronicle, recorder: Recorder, moved: set[str], *, streams: bool) -> History:
    history = History()
    operations: dict[str, Operation] = {}
    every_key = sorted({key for record in recorder.writes for key in record.values})
    refused = [write for write in recorder.writes if is_refused(write) and write.version not in ledger.places]
    restless = [write for write in recorder.writes if write.version in moved]
    left_out = _LeftOut(
        frozenset([_UNKNOWN, *(record.id for record in (*refused, *restless))]),
        frozenset([key for record in restless for key in record.values if record.id_of(key) is None]),
    )
    placed: dict[int | None, int] | None = None  # what a chronicle shows says nothing of what else it knows
    if not isinstance(ledger, Chronicle):
        placed = {write.id: ledger.places[write.version] for write in recorder.writes if write.version in ledger.places}
    for record in recorder.sessions:
        taken_up = [write for write in record.writes if write.session is not record]
        inherited = [operations[write.version] for write in taken_up if write.version in operations]
        session = history.session(record.name, inherited=inherited)
        reads, *watching = record.observers
        _play(history, session, record, len(taken_up), reads, operations, every_key, left_out, placed)
        for write in record.writes:
            if write.settled and write.error is None and write.version in operations:
                history.acknowledge(operations[write.version])
        for stream in watching if streams else ():
            _watch(history, stream, record, every_key, left_out)
    return history


def _play(
    history: History,
    session: Session,
    record: SessionRecord,
    made: int,
    reads: Observer,
    operations: dict[str, Operation],
    every_key: list[str],
    left_out: _LeftOut,
    placed: dict[int | None, int] | None,
) -> None:
    """The writes and the gets of a process, in its order; ``placed`` is each write's place in the log, if that is known.

    Where it is not, nothing says whether a get answered before or after those of the process's writes that were
    made meanwhile and that it does not show: it is a session of its own then, after those made before it.
    """

    def write_up_to(count: int) -> None:
        nonlocal made
        while made < count:
            write = record.writes[made]
            made += 1
            if write.version and write.id not in left_out.writes:
                update = {key: _text(write, key) for key in write.values}
                operations[write.version] = session.write(update, id=write.version)

    own, places = {write.id for write in record.writes}, placed or {}
    for number, observation in enumerate(reads.observations):
        seen = set(observation.values.values())
        # a get takes time: of the writes made meanwhile it comes after those that the log had before what it shows; of
        # its process's own it may show some before they are in the log
        reach = max((places[id] for id in seen - own if id in places), default=-1)
        shown = [
            made
            for made, write in enumerate(record.writes[: observation.own], 1)
            if write.id in seen or places.get(write.id, reach + 1) <= reach
        ]
        write_up_to(max([observation.own_shown, *shown]))
        reader = session
        if placed is None and made < observation.own:
            before = [operations[write.version] for write in record.writes[:made] if write.version in operations]
            reader = history.session(f"{record.name} get#{number}", inherited=before)
        seen_now = _seen(observation, every_key, left_out)
        if placed is None:  # what is pending shows on top of what others wrote since, wherever the log has it
            pending = [
                write
                for write in record.writes[: observation.own]
                if write.settled_at > observation.at or not write.settled
            ]
            for key in {key for write in pending for key in write.values}:
                seen_now.pop(key, None)
        reader.read(seen_now)
    write_up_to(len(record.writes))


def _watch(history: History, stream: Observer, record: SessionRecord, every_key: list[str], left_out: _LeftOut) -> None:
    """A stream may lag behind the gets beside it: it is a session of its own, which only reads.

    Its process's own writes it shows on top, however far it lags; keys that have such are left to the other checks.
    """
    session = history.session(stream.name)
    for observation in stream.observations:
        own = {key for write in record.writes[: observation.own] for key in write.values}
        others = [key for key in every_key if key not in own]
        seen = _seen(observation, others, left_out)
        session.read({key: value for key, value in seen.items() if key not in own})


def _seen(observation: Observation, every_key: list[str], left_out: _LeftOut) -> dict[str, str | None]:
    values: dict[str, str | None] = {
        key: None if id is None else str(id)
        for key, id in observation.values.items()
        if id not in left_out.writes and (id is not None or key not in left_out.deleted)
    }
    scope = observation.scope
    if scope is not None and scope.size == 0:
        for key in every_key:
            if key.startswith(scope.prefix) and key not in observation.values and key not in left_out.deleted:
                values.setdefault(key, None)
    return values


_UNKNOWN = -1
"""Stands for a value that nobody wrote, which is a violation of its own."""
