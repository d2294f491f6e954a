"""The laws of a write's life, over any order of events; what the table lacks is refused by name."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rxmps3.model.conditions import Conditions
from rxmps3.model.state import ContentObject, Entry, Inline, Write, WriteId
from rxmps3.replica.pending import (
    TRANSITIONS,
    Basis,
    InvalidTransition,
    Moment,
    PendingWrite,
    PendingWrites,
    Sending,
    Storing,
    Upload,
    Uploading,
    What,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UPLOAD = Upload(NOW, Moment(NOW, 0.0))
OBJECT = ContentObject("values/k@w-1", "0" * 64, 5000)
ENDS = {Sending.COMMITTED, Sending.REJECTED, Sending.CANCELLED}


def a_write(number: int, *, resting: bool = False) -> Write:
    return Write(
        WriteId("w", number),
        "n",
        {"k": Entry(f"w-{number}", Inline("1"))},
        Conditions({"k": None}) if resting else None,
    )


def ways(one: PendingWrite[str]) -> dict[type, object]:
    return {type(way): way for way in (one.sending, one.uploading, one.storing, one.basis)}


@pytest.mark.parametrize("what", What)
def test_each_event_concerns_one_way(what: What) -> None:
    states = {type(state) for step in TRANSITIONS[what].items() for state in step}
    assert len(states) == 1


@pytest.mark.parametrize("kind", [Sending, Uploading, Storing, Basis])
def test_each_state_can_be_reached(kind: type[Sending | Uploading | Storing | Basis]) -> None:
    first = {Sending.MADE, Uploading.DUE, Storing.UNKEPT, Storing.DUE, Storing.KEPT, Basis.HOLDS, Basis.UNSEEN}
    reached = first | {after for table in TRANSITIONS.values() for after in table.values()}
    assert set(kind) <= reached


@pytest.mark.parametrize("end", sorted(ENDS, key=lambda end: end.name))
def test_an_end_is_for_good(end: Sending) -> None:
    assert all(end not in table for table in TRANSITIONS.values())


@given(st.lists(st.sampled_from(What), max_size=30))
def test_what_the_table_lacks_is_refused_by_name_and_changes_nothing(events: list[What]) -> None:
    one = PendingWrite(1, a_write(1), "receipt", (OBJECT,), {})
    for what in events:
        before = ways(one)
        (kind,) = {type(state) for state in TRANSITIONS[what]}
        after = TRANSITIONS[what].get(before[kind])  # pyright: ignore[reportCallIssue, reportArgumentType]
        if after is None:
            with pytest.raises(InvalidTransition, match=f"write w-1 cannot be {what.value}"):
                one.happened(what)
            assert ways(one) == before
        else:
            one.happened(what)
            assert ways(one) == before | {kind: after}


def test_a_write_is_not_sent_before_its_objects_are_stored() -> None:
    writes: PendingWrites[str] = PendingWrites()
    one = writes.add(a_write(1), "receipt", (OBJECT,), {})
    writes.upload_begun(one)
    with pytest.raises(InvalidTransition, match="cannot be sent before its objects are stored"):
        writes.sent(one.write, NOW)
    writes.uploaded(one, UPLOAD)
    writes.sent(one.write, NOW)
    assert writes.was_sent(one.id)


class _Disk:
    """What the calls of an outbox have made of it."""

    def __init__(self) -> None:
        self.has: Counter[WriteId] = Counter()
        self.refused: set[WriteId] = set()


class LifeOfWrites(RuleBasedStateMachine):
    """A client that makes, sends, cancels and ends writes while a disk fails now and then and states are saved."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: PendingWrites[str] = PendingWrites()
        self.writes.kept = True
        self.number = 0
        self.disk = _Disk()
        self.batch: list[PendingWrite[str]] = []
        self.ended: dict[WriteId, bool] = {}
        self.saved: set[WriteId] = set()

    @rule(large=st.booleans(), resting=st.booleans())
    def make(self, large: bool, resting: bool) -> None:
        self.number += 1
        self.writes.add(a_write(self.number, resting=resting), "receipt", (OBJECT,) if large else (), {"t": "x"})

    @precondition(lambda self: self.writes.open)
    @rule(data=st.data())
    def send_or_upload(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(list(self.writes.open.values())))
        if one.is_uploaded:
            if one.sending is not Sending.CANCELLED:
                self.writes.sent(one.write, NOW)
        elif one.uploading is Uploading.UNDER_WAY:
            data.draw(st.sampled_from([self.writes.upload_ended, lambda one: self.writes.uploaded(one, UPLOAD)]))(one)
        else:
            self.writes.upload_begun(one)

    @precondition(lambda self: self.writes.open)
    @rule(data=st.data())
    def plan_anew(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(list(self.writes.open.values())))
        self.writes.replanned(one, (OBJECT,))
        assert not one.is_uploaded

    @precondition(lambda self: self.writes.open)
    @rule(data=st.data(), committed=st.booleans())
    def end(self, data: st.DataObject, committed: bool) -> None:
        one = data.draw(st.sampled_from(list(self.writes.open.values())))
        if one.sending is Sending.MADE and data.draw(st.booleans()):
            one.happened(What.CANCELLED)
        committed = committed and one.sending is not Sending.CANCELLED
        assert self.writes.end(one.id, committed=committed) is one
        assert self.writes.end(one.id, committed=committed) is None
        self.ended[one.id] = committed

    @precondition(lambda self: not self.batch)
    @rule()
    def begin_to_store(self) -> None:
        self.batch = self.writes.to_store()
        assert [one.order for one in self.batch] == sorted(one.order for one in self.batch)
        self.writes.store_begun(self.batch)

    @precondition(lambda self: self.batch)
    @rule(failed=st.booleans(), arrived=st.booleans())
    def end_to_store(self, failed: bool, arrived: bool) -> None:
        """A failed attempt may have reached the disk all the same."""
        batch, self.batch = self.batch, []
        if arrived or not failed:
            self.disk.has.update(one.id for one in batch)
        if not failed:
            for one in batch:
                if self.writes.stored(one):
                    assert self.ended.get(one.id, True), "what was refused is called kept"

    @rule()
    def tidy(self) -> None:
        refused, over = self.writes.to_refuse(), self.writes.to_remove()
        assert all(self.ended[one.id] is False or one.id in self.saved for one in refused)
        assert all(one.id in self.saved for one in over), "it leaves the disk though no state there has it"
        for one in (*refused, *over):
            self.disk.has.pop(one.id, None)
        self.disk.refused.update(one.id for one in refused)
        self.writes.removed([*refused, *over])

    @rule()
    def save(self) -> None:
        unsaved = self.writes.unsaved()
        self.saved.update(one.id for one in unsaved)
        self.writes.saved(unsaved)

    @invariant()
    def counts_agree(self) -> None:
        under_way = [one for one in self.writes.open.values() if one.uploading is Uploading.UNDER_WAY]
        assert self.writes.uploading >= len(under_way)
        assert set(self.writes.resting) == {
            id for id, one in self.writes.open.items() if one.write.conditions is not None
        }

    @invariant()
    def what_is_kept_is_on_disk(self) -> None:
        for one in self.writes.open.values():
            assert one.storing is not Storing.KEPT or self.disk.has[one.id]

    def teardown(self) -> None:
        """Once the disk works again and all have ended, it has nothing more."""
        self.batch = []
        for id in list(self.writes.open):
            self.writes.end(id, committed=False)
            self.ended[id] = False
        for _ in range(2):
            self.save()
            self.begin_to_store()
            self.end_to_store(failed=False, arrived=True)
            self.tidy()
        assert not +self.disk.has
        assert not self.writes.to_store()


TestLifeOfWrites = LifeOfWrites.TestCase


@pytest.mark.parametrize(
    ("sent", "days", "writer", "forgotten"),
    [
        (True, 29, "later", True),
        (True, 28, "later", False),
        (True, None, "later", True),
        (True, 29, "w", False),
        (False, 29, "later", False),
    ],
    ids=["long ago", "lately", "nobody knows when", "by this process", "never sent"],
)
def test_what_the_log_may_have_forgotten(sent: bool, days: int | None, writer: str, forgotten: bool) -> None:
    """A write of an earlier process that was sent so long ago that its writer may have expired."""
    pending: PendingWrites[str] = PendingWrites()
    at = None if days is None else NOW - timedelta(days=days)
    one = pending.restore(a_write(1), "", (), sent=sent, at=at)
    assert one.may_be_forgotten(writer, NOW) is forgotten
    assert one.may_be_forgotten(writer, None) is (sent and writer != "w")
