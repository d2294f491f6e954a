"""What can be undone and redone: a stack of own writes and one of those that were undone. Pure.

A step is one own write with the entries that its keys had before and after it. Undoing it writes the ones before again,
which gives them versions of their own; redoing does so with the ones after. Writes of one action that follow each other
are a run of steps, which become one step as soon as it is known what they replaced. Invariants, for every sequence of
calls:

* a step is in one of the stacks, or in none; each stack holds its newest step last, and `DEPTH` at most;
* ``after`` of a done step and ``before`` of an undone one are what its keys are at while nobody else has written them:
  what an undo or redo writes takes the place of the equal entries, of other versions, in all other steps;
* a new own write empties the stack of what was undone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from rxmps3.model.state import Entry

__all__ = ["DEPTH", "Side", "UndoStack", "UndoStep"]

DEPTH = 100
"""How many steps can be undone, one after the other; the writes of one action are one step."""

Side = Mapping[str, Entry | None]
"""The entries of a step's keys; None where there is none."""


@dataclass(eq=False)
class UndoStep:
    """One own write.

    Attributes:
        version: of the newest write that did, undid or redid it; "" if none did that is or will be in the log.
        after: what it makes of its keys.
        before: what they were before it; None while that is not known.
        lost: whether that will never be known.
        place: the log version just before the newest write; "" while that is not committed.
        action: what the write was part of; None if it was on its own.
    """

    version: str
    after: Side
    before: Side | None = None
    lost: bool = False
    place: str = ""
    action: object = None

    def continues(self, other: UndoStep) -> bool:
        """Whether both are parts of one action."""
        return self.action is not None and self.action is other.action


class UndoStack:
    """The two stacks.

    Args:
        depth: how many steps each may hold.
    """

    def __init__(self, depth: int = DEPTH) -> None:
        self._depth = depth
        self._done: OrderedDict[str, UndoStep] = OrderedDict()
        self._undone: list[UndoStep] = []
        self._has_actions = False  # whether some of the done steps may be part of an action
        self.made = 0  # own writes that were neither an undo nor a redo

    @property
    def newest_done(self) -> UndoStep | None:
        """What is to be undone next."""
        return next(reversed(self._done.values()), None)

    @property
    def newest_undone(self) -> UndoStep | None:
        """What is to be redone next."""
        return self._undone[-1] if self._undone else None

    def __contains__(self, version: object) -> bool:
        """Whether the newest write of a step has this version."""
        return version in self._done or any(step.version == version for step in self._undone)

    # -- what is done ----------------------------------------------------------------------------------------

    def did(self, version: str, update: Side, action: object = None) -> None:
        """A new own write was made, as part of an action or on its own."""
        self.made += 1
        self._undone.clear()
        self._push_done(UndoStep(version, update, action=action))

    def undid(self, step: UndoStep, version: str, update: Side) -> None:
        """A step whose ``before`` is known is being undone by this write."""
        self.drop(step)
        self._replace(step.before or {}, update)
        step.version, step.before, step.place = version, update, ""
        self._push_undone(step)

    def redid(self, step: UndoStep, version: str, update: Side) -> None:
        """An undone step is being redone by this write."""
        self.drop(step)
        self._replace(step.after, update)
        step.version, step.after, step.place = version, update, ""
        self._push_done(step)
        self._join_earlier(step)

    def took_back(self, step: UndoStep, before: Side, after: Side, made: int) -> None:
        """The write of a step was taken back before it was sent.

        Args:
            before: what is there now.
            after: what it would have written.
            made: what ``made`` was before that; a new own write since then ends the step.
        """
        self.drop(step)
        if made == self.made:
            step.version, step.before, step.after = "", before, after
            self._push_undone(step)

    def drop(self, step: UndoStep) -> None:
        """A step can be neither undone nor redone any more."""
        if self._done.get(step.version) is step:
            del self._done[step.version]
        self._undone = [other for other in self._undone if other is not step]

    # -- what becomes of it ----------------------------------------------------------------------------------

    def committed(self, version: str, before: Side, update: Side, place: str) -> None:
        """The newest write of a step is in the log: what it found there, what it made of it, and after which entry.

        A step that knew both sides may be ahead of that by now: later ones were undone or redone before the commit.
        """
        step = self._done.get(version)
        if step is not None and step.before is None:
            step.before, step.after = before, _replaced(step.after, update, update)
        for one in (*self._undone, *(() if step is None else (step,))):
            if one.version == version:
                one.place = place
        if step is None or self._undone:  # else nobody else knows the entries
            self._replace(before, before)
            self._replace(update, update)
        if step is not None:
            self._join_earlier(step)

    def remade(self, version: str, update: Side) -> None:
        """The newest write of a step, which is pending, makes something else of its keys now."""
        self._replace(update, update)

    def read_whole(self, version: str) -> None:
        """The newest write of a step is in the log, which was not seen entry by entry."""
        step = self._done.get(version)
        if step is not None and step.before is None:
            step.lost = True

    def refused(self, version: str) -> None:
        """The newest write of a step will never be in the log."""
        self._done.pop(version, None)
        self._undone = [step for step in self._undone if step.version != version]

    # -- within ----------------------------------------------------------------------------------------------

    def _push_done(self, step: UndoStep) -> None:
        self._done[step.version] = step
        self._has_actions = self._has_actions or step.action is not None
        if len(self._done) <= self._depth:
            return
        if not self._has_actions:
            self._done.popitem(last=False)
            return
        runs = _runs(self._done.values())
        for gone in chain.from_iterable(runs[: -self._depth]):
            del self._done[gone.version]
        self._has_actions = any(one.action is not None for one in self._done.values())

    def _push_undone(self, step: UndoStep) -> None:
        later = self._undone[-1] if self._undone else None
        if later is not None and later.continues(step) and later.before is not None and step.before is not None:
            self._undone.pop()
            step.before, step.after = _joined(step.before, step.after, later.before, later.after)
        self._undone.append(step)
        del self._undone[: -self._depth]

    def _join_earlier(self, step: UndoStep) -> None:
        """A done step takes in the one before it, if that is of the same action and both sides of both are known."""
        if step.action is None:
            return
        earlier: UndoStep | None = None
        for one in self._done.values():  # it is among the first: commits come in order
            if one is step:
                break
            earlier = one
        if earlier is None or not earlier.continues(step) or earlier.before is None or step.before is None:
            return
        del self._done[earlier.version]
        step.before, step.after = _joined(earlier.before, earlier.after, step.before, step.after)
        step.place = earlier.place

    def _replace(self, old: Side, new: Side) -> None:
        """What is at the versions of ``old`` in any step is what ``new`` says now."""
        for step in (*self._done.values(), *self._undone):
            step.after = _replaced(step.after, old, new)
            step.before = step.before and _replaced(step.before, old, new)


def _runs(steps: Iterable[UndoStep]) -> list[list[UndoStep]]:
    """Steps that are undone together."""
    runs: list[list[UndoStep]] = []
    for step in steps:
        if runs and runs[-1][-1].continues(step):
            runs[-1].append(step)
        else:
            runs.append([step])
    return runs


def _joined(before: Side, between: Side, found: Side, after: Side) -> tuple[Side, Side]:
    """Both sides of two steps as one: where somebody else wrote between them, that is what was there before.

    Args:
        before: what the first step found.
        between: what it made of it.
        found: what the second step found.
        after: what it made of it.
    """
    others = {key: entry for key, entry in found.items() if key not in between or not _is_same(entry, between[key])}
    return {**before, **others}, {**between, **after}


def _is_same(one: Entry | None, other: Entry | None) -> bool:
    return one is other if one is None or other is None else one.version == other.version


def _replaced(side: Side, old: Side, new: Side) -> Side:
    found: dict[str, Entry | None] = {}
    for key, entry in side.items():
        was = old.get(key)
        if entry is not None and was is not None and entry.version == was.version:
            found[key] = new.get(key)
    return {**side, **found} if found else side
