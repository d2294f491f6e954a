"""`step` against a naive model: random interleavings of own writes, commits, foreign versions, refusals, reloads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rxmps3 import Corrupt, Rejected
from rxmps3.model.state import (
    Committed,
    Entry,
    Event,
    Inline,
    Loaded,
    ManifestVersion,
    Refused,
    Settled,
    State,
    Step,
    View,
    Write,
    WriteId,
    Wrote,
    fold,
    step,
)

KEYS = ["a", "b", "c", "d"]
ME = "me"
updates = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["1", "2", "1.0", None]), min_size=1, max_size=3)


def make_write(writer: str, number: int, update: dict[str, str | None], nonce: str = "") -> Write:
    id = WriteId(writer, number)
    entries = {key: None if text is None else Entry(id.version, Inline(text)) for key, text in update.items()}
    return Write(id, nonce or f"nonce-{writer}-{number}", entries)


def as_read(write: Write) -> Write:
    """The same write as a reader decodes it: equal, but made of other objects."""
    update = {key: entry and Entry(entry.version, Inline(entry.content.text)) for key, entry in write.update.items()}
    return replace(write, update=update)


class Model(RuleBasedStateMachine):
    """A list of versions, a list of pending writes, and dictionaries rebuilt from scratch at every check."""

    def __init__(self) -> None:
        super().__init__()
        self.view = View()
        self.loaded = False
        self.log: list[ManifestVersion] = []
        self.pending: list[Write] = []
        self.numbers = {ME: 0, "x": 0, "y": 0}
        self.last: Step | None = None

    # -- the naive reading

    def confirmed(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        reached: dict[str, int] = {}
        for version in self.log:
            for write in version.writes:
                if write.id.number <= reached.get(write.id.writer, 0):
                    continue
                reached[write.id.writer] = write.id.number
                for key, entry in write.update.items():
                    entries.pop(key, None)
                    if entry is not None:
                        entries[key] = entry
        return entries

    def seen(self) -> dict[str, Entry]:
        entries = self.confirmed()
        for write in self.pending:
            for key, entry in write.update.items():
                entries.pop(key, None)
                if entry is not None:
                    entries[key] = entry
        return entries

    def pending_keys(self) -> set[str]:
        return {key for write in self.pending for key in write.update}

    # -- moves

    def move(self, event: Event, cause: str, settled: list[Settled]) -> None:
        before, flags_before = dict(self.view.items()), {key: self.view.is_pending(key) for key in KEYS}
        nobody_has_seen_any = isinstance(event, Loaded) and not self.view.loaded
        self.last = step(self.view, event)
        self.view = self.last.view
        assert self.last.event is event
        assert list(self.last.effects) == settled
        after = self.seen()
        told = {change.key: change for change in self.last.changes}
        assert len(told) == len(self.last.changes)
        if nobody_has_seen_any:
            assert not told
            return
        for key in KEYS:
            old, new = before.get(key), after.get(key)
            flag = key in self.pending_keys()
            differs = (old and old.content.text) != (new and new.content.text)
            if old == new and flag == flags_before[key]:
                assert key not in told or (isinstance(event, Loaded) and not told[key].changed)
                continue
            change = told[key]
            assert (change.before, change.after, change.changed) == (old, new, differs)
            assert (change.pending, change.cause) == (flag, cause)

    @rule(update=updates)
    def write(self, update: dict[str, str | None]) -> None:
        self.numbers[ME] += 1
        write = make_write(ME, self.numbers[ME], update)
        self.pending.append(write)
        self.move(Wrote(write, "alice"), "own", [])

    def version(self, writer: str, writes: list[Write]) -> ManifestVersion:
        version = ManifestVersion(str(len(self.log) + 1), writer, f"by {writer}", None, tuple(map(as_read, writes)))
        self.log.append(version)
        return version

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.pending)))
        mine, self.pending = self.pending[:count], self.pending[count:]
        values_before = {key: entry.content.text for key, entry in self.view.items()}
        self.move(Committed(self.version(ME, mine)), "own", [Settled(write.id, None) for write in mine])
        assert {key: entry.content.text for key, entry in self.view.items()} == values_before

    @rule(writer=st.sampled_from(["x", "y"]), parts=st.lists(updates, min_size=1, max_size=3))
    def foreign(self, writer: str, parts: list[dict[str, str | None]]) -> None:
        writes: list[Write] = []
        for update in parts:
            self.numbers[writer] += 1
            writes.append(make_write(writer, self.numbers[writer], update))
        self.move(Committed(self.version(writer, writes)), "remote", [])

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def somebody_sends_an_old_version_again(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.log))
        before = dict(self.view.items())
        self.move(Committed(self.version(old.writer, list(old.writes))), "remote", [])
        assert dict(self.view.items()) == before
        assert self.last is not None
        assert not any(change.changed for change in self.last.changes)

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def two_writes_with_one_number_are_corrupt(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(sorted(self.view.confirmed.writers)))
        number = self.view.confirmed.writers[writer].number
        other = make_write(writer, number, {"a": "9"}, nonce="another")
        with pytest.raises(Corrupt, match=f"{writer}-{number}"):
            step(self.view, Committed(ManifestVersion("?", writer, "", None, (other,))))

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        write = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        error = Rejected("no")
        self.move(Refused(write.id, error), "rollback", [Settled(write.id, error)])
        again = step(self.view, Refused(write.id, error))
        assert (again.view, again.changes, again.effects) == (self.view, (), ())

    @rule(data=st.data())
    def load(self, data: st.DataObject) -> None:
        """The state is read whole; it may hold versions that were never delivered, own writes among them."""
        self.loaded = True
        count = data.draw(st.integers(0, len(self.pending)))
        mine, self.pending = self.pending[:count], self.pending[count:]
        if mine:
            self.version(ME, mine)
        state = State()
        for version in self.log:
            state = fold(state, version)
        settled = {Settled(write.id, None) for write in mine}
        before = self.view
        self.move(Loaded(state), "remote", list(step(before, Loaded(state)).effects))
        assert self.last is not None
        assert set(self.last.effects) == settled

    # -- what always holds

    @invariant()
    def the_view_is_the_log_with_the_pending_writes_on_top(self) -> None:
        assert dict(self.view.confirmed.items()) == self.confirmed()
        assert dict(self.view.items()) == self.seen()
        assert len(self.view) == len(self.seen()) == len(list(self.view))
        for key in KEYS:
            assert (key in self.view) == (key in self.seen())
            assert self.view.look_up(key) == self.seen().get(key)
            assert self.view.is_pending(key) == (key in self.pending_keys())

    @invariant()
    def the_queue_is_in_order(self) -> None:
        assert self.view.queue() == self.pending
        assert self.view.loaded == self.loaded

    @invariant()
    def the_overlay_holds_exactly_the_keys_of_pending_writes(self) -> None:
        assert set(self.view.overlay) == self.pending_keys()


TestStepAgainstModel = Model.TestCase
TestStepAgainstModel.settings = settings(stateful_step_count=25)
