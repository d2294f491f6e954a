"""What the checker of causality is told of a run."""

from __future__ import annotations

import pytest

from rxmps3.errors import Error, OutcomeUnknown, Rejected
from tests.simulator.causal import check_causality
from tests.simulator.chronicle import Chronicle, Mps3Chronicle
from tests.simulator.ledger import LoggedWrite
from tests.simulator.plan import ClientPlan, Plan, Step
from tests.simulator.plans import EVEN, client
from tests.simulator.recorder import Observation, Observer, Recorder, SessionRecord
from tests.simulator.running import play


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


@pytest.mark.parametrize("is_pending", [True, False])
def test_what_is_pending_shows_on_top_wherever_the_log_has_it(is_pending: bool):
    recorder = Recorder(lambda: 0.0)
    ann, bob, cid = (SessionRecord(name, name) for name in ("ann", "bob", "cid"))
    recorder.sessions.extend((ann, bob, cid))
    for session, keys in ((bob, "a"), (ann, "ab")):  # bob's write is in the log before ann's, and listed after it
        write = recorder.new_write(session, {key: {"id": len(recorder.writes) + 1} for key in keys}, reentrant=False)
        write.version = f"{session.name}-1"
        write.settled, write.settled_at = True, 10.0 if is_pending and session is bob else 1.0
        recorder.by_version[write.version] = write

    observer = Observer("bob get", bob)
    observer.observations.append(Observation(2.0, 1, 1, 0, 0, {"a": 1, "b": 2}))
    bob.observers.append(observer)
    reader = Observer("cid get", cid)
    for values in ({"a": 1}, {"a": 2, "b": 2}):
        reader.observations.append(Observation(3.0, 0, 0, 0, 0, values))
    cid.observers.append(reader)
    ann.observers.append(Observer("ann get", ann))
    check_causality(_Empty(recorder), recorder)
    assert bool(recorder.violations) is not is_pending


@pytest.mark.parametrize("who", ["bob.0", "bob.1"])
def test_what_was_taken_back_may_come_from_a_later_process_alone(who: str):
    recorder = Recorder(lambda: 0.0)
    write = recorder.new_write(SessionRecord("bob.0", "bob"), {"a": {"id": 1}}, reentrant=False)
    recorder.by_version["bob-1"] = write
    write.error = Rejected("taken back before it was sent")
    recorder.arrived("bob-1", who)
    assert write.resurrected is (who == "bob.1")


def test_what_was_taken_back_right_before_a_death_is_found_on_the_disk():
    bob = ClientPlan(
        "bob", poll=100.0, local=True, steps=(Step("cancel", 50, ("key/1",), follow=True), Step("crash", 0.0))
    )
    report = play(Plan(1, (client("ann", Step("put", 1, ("key/0",))), bob), EVEN, faults=()))
    assert report.ok, report.explain()
    assert any("key/1=" in line and " sees " in line for line in report.lines)


@pytest.mark.parametrize("error", [None, Rejected("taken back"), OutcomeUnknown("collected")])
def test_an_operation_without_a_write_that_is_not_sent_holds_the_next_one(error: Error | None):
    recorder = Recorder(lambda: 0.0)
    chronicle = Mps3Chronicle(recorder, versioning=False)
    session = SessionRecord("bob.1", "bob")
    recorder.sessions.append(session)
    for number, key in enumerate("ab", 1):
        write = recorder.new_write(session, {key: {"id": number}}, reentrant=False)
        write.version = f"bob-{number}"
        recorder.by_version[write.version] = write
    session.writes[0].error = error
    session.writes[0].resurrected = isinstance(error, OutcomeUnknown)
    held = chronicle._explained("bob.1", {"b": 2})
    assert [write.version for write in held] == ([] if error is None else ["bob-2"])
    assert bool(recorder.violations) is (error is None)
