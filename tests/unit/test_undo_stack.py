"""The stacks of undo and redo, against a model that knows by tokens whether a key is as one of its own writes left it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rxmps3.database.undo_stack import Side, UndoStack, UndoStep, _runs  # pyright: ignore[reportPrivateUsage]
from rxmps3.model.state import Entry, Inline

KEYS = ["a", "b", "c"]
DEPTH = 4
Tokens = dict[str, "str | None"]


@dataclass
class Run:
    """Writes that are undone together: the tokens of the keys of each, before and after."""

    action: str | None
    writes: list[tuple[Tokens, Tokens]]

    def is_continued_by(self, action: str | None) -> bool:
        return action is not None and action == self.action

    def sides(self) -> tuple[Tokens, Tokens]:
        """Before and after all of them; what others wrote in between is what was there before."""
        before: Tokens = {}
        after: Tokens = {}
        for found, made in self.writes:
            before |= {key: token for key, token in found.items() if key not in after or after[key] != token}
            after |= made
        return before, after


updates = st.dictionaries(st.sampled_from(KEYS), st.booleans(), min_size=1)


class Model(RuleBasedStateMachine):
    """A log of single writes. A token stays with what a write made of a key through undo and redo; versions do not.

    The model's own stacks are lists of runs of writes of one action.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = UndoStack(DEPTH)
        self.numbers = count(1)
        self.there: dict[str, Entry] = {}
        self.tokens: dict[str, str] = {}
        self.log: dict[str, Entry] = {}
        self.unsent: list[tuple[str, Side]] = []
        self.done: list[Run] = []
        self.undone: list[Run] = []

    # -- what happens ----------------------------------------------------------------------------------------

    @rule(update=updates, action=st.sampled_from([None, None, "drag", "drag", "other drag"]))
    def write(self, update: dict[str, bool], action: str | None) -> None:
        before = {key: self.tokens.get(key) for key in update}
        version, entries = self._new(update)
        self.steps.did(version, entries, action)
        self._make(version, entries)
        self._is_done(Run(action, [(before, {key: self.tokens.get(key) for key in update})]))
        self.undone.clear()

    def _is_done(self, run: Run) -> None:
        if self.done and self.done[-1].is_continued_by(run.action):
            self.done[-1].writes += run.writes
        else:
            self.done.append(run)
            del self.done[:-DEPTH]

    def _is_undone(self, run: Run) -> None:
        if self.undone and self.undone[-1].is_continued_by(run.action):
            self.undone[-1].writes = run.writes + self.undone[-1].writes
        else:
            self.undone.append(run)
            del self.undone[:-DEPTH]

    @rule(update=updates)
    def somebody_else_writes(self, update: dict[str, bool]) -> None:
        self.commit_all()
        version, entries = self._new(update)
        self._show(entries)
        self._put_into(self.log, entries)
        assert version not in self.steps

    @precondition(lambda self: self.unsent)
    @rule()
    def commit(self) -> None:
        version, entries = self.unsent.pop(0)
        before = {key: self.log.get(key) for key in entries}
        self._put_into(self.log, entries)
        self.steps.committed(version, before, {k: e and Entry(e.version, e.content) for k, e in entries.items()}, "1")

    def commit_all(self) -> None:
        while self.unsent:
            self.commit()

    @rule(times=st.integers(1, DEPTH))
    def undo(self, times: int) -> None:
        for _ in range(times):
            self._undo()

    def _undo(self) -> None:
        step = self.steps.newest_done
        assert (step is None) == (not self.done)
        if step is None:
            return
        if len(self._newest_run()) > 1 or step.before is None:
            self.commit_all()
        assert step.before is not None
        run = self.done.pop()
        if self._again(step, step.before, step.after, *run.sides(), undo=True):
            self._is_undone(Run(run.action, [run.sides()]))

    def _newest_run(self) -> list[UndoStep]:
        """The steps that are undone together."""
        steps = list(self.steps._done.values())  # pyright: ignore[reportPrivateUsage]
        run = steps[-1:]
        while len(run) < len(steps) and steps[-len(run) - 1].continues(run[0]):
            run.insert(0, steps[-len(run) - 1])
        return run

    @rule(times=st.integers(1, DEPTH))
    def redo(self, times: int) -> None:
        for _ in range(times):
            self._redo()

    def _redo(self) -> None:
        step = self.steps.newest_undone
        assert (step is None) == (not self.undone)
        if step is None:
            return
        assert step.before is not None
        run = self.undone.pop()
        before, after = run.sides()
        if self._again(step, step.after, step.before, after, before, undo=False):
            self._is_done(Run(run.action, [run.sides()]))

    @precondition(lambda self: self.unsent and self.steps.newest_done is not None)
    @rule()
    def take_back_the_newest(self) -> None:
        """What an undo does with the writes of a run that were not sent; those before them are a run of their own then."""
        steps = [step for step in self._newest_run() if step.before is None]
        if len(steps) != len(self._newest_run()) or [v for v, _ in self.unsent[-len(steps) :]] != [
            s.version for s in steps
        ]:
            return
        run = self.done.pop()
        for step in reversed(steps):
            version, entries = self.unsent.pop()
            self.there = dict(self.log)
            self._show({})
            for _, waiting in self.unsent:
                self._show(waiting)
            self.steps.refused(version)
            self.steps.took_back(step, {key: self.there.get(key) for key in entries}, entries, self.steps.made)
        self._is_undone(Run(run.action, [run.sides()]))

    # -- what holds ------------------------------------------------------------------------------------------

    @invariant()
    def the_stacks_are_as_high(self) -> None:
        steps = list(self.steps._done.values())  # pyright: ignore[reportPrivateUsage]
        assert len(_runs(steps)) == len(self.done)
        assert len(self.steps._undone) == len(self.undone)  # pyright: ignore[reportPrivateUsage]

    # -- means -----------------------------------------------------------------------------------------------

    def _again(
        self,
        step: UndoStep,
        wanted: Side,
        present: Side,
        tokens: dict[str, str | None],
        expected: dict[str, str | None],
        *,
        undo: bool,
    ) -> bool:
        """What a handle does with a step: whether nobody has written its keys since."""
        fits = all(
            (there := self.there.get(key)) is entry is None
            or (there is not None and entry is not None and there.version == entry.version)
            for key, entry in present.items()
        )
        assert fits == ({key: self.tokens.get(key) for key in expected} == expected)
        if not fits:
            self.steps.drop(step)
            return False
        texts = {key: None if entry is None else _text(entry) for key, entry in wanted.items()}
        assert texts == tokens
        version, entries = self._entries(texts)
        (self.steps.undid if undo else self.steps.redid)(step, version, entries)
        self._make(version, entries)
        return True

    def _new(self, update: dict[str, bool]) -> tuple[str, dict[str, Entry | None]]:
        return self._entries({key: f"t{next(self.numbers)}" if full else None for key, full in update.items()})

    def _entries(self, tokens: dict[str, str | None]) -> tuple[str, dict[str, Entry | None]]:
        version = f"v-{next(self.numbers)}"
        return version, {key: None if text is None else Entry(version, Inline(text)) for key, text in tokens.items()}

    def _make(self, version: str, entries: Side) -> None:
        self._show(entries)
        self.unsent.append((version, entries))

    def _show(self, entries: Side) -> None:
        self._put_into(self.there, entries)
        self.tokens = {key: _text(entry) for key, entry in self.there.items()}

    def _put_into(self, state: dict[str, Entry], entries: Side) -> None:
        for key, entry in entries.items():
            if entry is None:
                state.pop(key, None)
            else:
                state[key] = entry


def _text(entry: Entry) -> str:
    assert isinstance(entry.content, Inline)
    return entry.content.text


TestModel = Model.TestCase
TestModel.settings = settings(stateful_step_count=30)


def test_a_commit_does_not_set_a_step_back_that_went_on_before_it() -> None:
    """Write, delete, undo both and redo one, all of it before the undos are committed; then redo the other."""
    steps = UndoStack()
    steps.did("v-1", _side("v-1", "a"))
    steps.committed("v-1", {"a": None}, _side("v-1", "a"), "0")
    steps.did("v-2", {"a": None})
    steps.committed("v-2", _side("v-1", "a"), {"a": None}, "1")
    deleted = steps.newest_done
    assert deleted is not None
    steps.undid(deleted, "v-3", _side("v-3", "a"))
    first = steps.newest_done
    assert first is not None
    steps.undid(first, "v-4", {"a": None})
    steps.redid(first, "v-5", _side("v-5", "a"))
    steps.committed("v-3", {"a": None}, _side("v-3", "a"), "2")
    assert deleted.before == _side("v-5", "a")
    assert deleted.place == "2"


def test_a_first_commit_does_not_set_a_step_back_either() -> None:
    """A write that waits; a deletion after it is cancelled, redone and undone again before either is committed."""
    steps = UndoStack()
    steps.did("v-1", _side("v-1", "a"))
    written = steps.newest_done
    steps.did("v-2", {"a": None})
    deleted = steps.newest_done
    assert written is not None
    assert deleted is not None
    steps.took_back(deleted, _side("v-1", "a"), {"a": None}, steps.made)
    steps.redid(deleted, "v-3", {"a": None})
    steps.undid(deleted, "v-4", _side("v-4", "a"))
    steps.committed("v-1", {"a": None}, _side("v-1", "a"), "0")
    assert (written.before, written.after) == ({"a": None}, _side("v-4", "a"))


def _side(version: str, *keys: str) -> Side:
    return {key: Entry(version, Inline("1")) for key in keys}


def test_what_is_refused_leaves_the_stacks() -> None:
    steps = UndoStack()
    steps.did("v-1", _side("v-1", "a"))
    steps.did("v-2", _side("v-2", "b"))
    steps.refused("v-2")
    step = steps.newest_done
    assert step is not None
    assert step.version == "v-1"
    steps.committed("v-1", {"a": None}, step.after, "0")
    steps.undid(step, "v-3", {"a": None})
    assert "v-3" in steps
    steps.refused("v-3")
    assert (steps.newest_done, steps.newest_undone) == (None, None)


def test_what_was_read_whole_is_lost_unless_it_is_known_already() -> None:
    steps = UndoStack()
    steps.did("v-1", _side("v-1", "a"))
    steps.did("v-2", _side("v-2", "a"))
    steps.read_whole("v-2")
    newest = steps.newest_done
    assert newest is not None
    assert newest.lost
    steps.drop(newest)
    older = steps.newest_done
    assert older is not None
    steps.committed("v-1", {"a": None}, older.after, "0")
    steps.read_whole("v-1")
    assert not older.lost


def test_a_write_between_taking_back_and_its_note_ends_the_step() -> None:
    steps = UndoStack()
    steps.did("v-1", _side("v-1", "a"))
    step = steps.newest_done
    assert step is not None
    made = steps.made
    steps.did("v-2", _side("v-2", "a"))
    steps.took_back(step, {"a": None}, step.after, made)
    assert steps.newest_undone is None
