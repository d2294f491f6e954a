"""What the checker of causality is told of a run."""

from __future__ import annotations

import pytest

from tests.simulator.causal import check_causality
from tests.simulator.chronicle import Chronicle
from tests.simulator.ledger import LoggedWrite
from tests.simulator.recorder import Observation, Observer, Recorder, SessionRecord


class _Empty(Chronicle):
    @property
    def log(self) -> list[tuple[LoggedWrite, ...]]:
        return [()]


@pytest.mark.parametrize("is_made_meanwhile", [True, False])
def test_of_a_get_and_a_write_made_meanwhile_either_may_be_first(is_made_meanwhile: bool):
    recorder = Recorder(lambda: 0.0)
    ann, bob, cid = (SessionRecord(name, name) for name in ("ann", "bob", "cid"))
    recorder.sessions.extend((ann, bob, cid))
    for session, key in ((ann, "a"), (bob, "b")):
        write = recorder.new_write(session, {key: {"id": len(recorder.writes) + 1}}, reentrant=False)
        write.version = f"{session.name}-1"
        recorder.by_version[write.version] = write

    def saw(session: SessionRecord, own: int, own_shown: int, values: dict[str, int | None]) -> None:
        observer = Observer(f"{session.name} get", session)
        observer.observations.append(Observation(0.0, own, own_shown, 0, 0, values))
        session.observers.append(observer)

    saw(ann, 1, 1, {"a": 1})
    saw(bob, 1 if is_made_meanwhile else 0, 0, {"a": 1})  # bob's write is in the log before ann's
    saw(cid, 0, 0, {"b": 2, "a": None})
    check_causality(_Empty(recorder), recorder)
    assert bool(recorder.violations) is not is_made_meanwhile
