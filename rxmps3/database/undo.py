"""`undo` and `redo` of one handle: records its writes as they are made, and the values each replaced when committed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from rxmps3.database.undo_stack import Side, UndoStack, UndoStep
from rxmps3.database.undo_steps import current_action
from rxmps3.errors import Conflict, Corrupt, NotKept, NotLoaded, Rejected
from rxmps3.model import valuetext
from rxmps3.model.conditions import Conditions, Seen, broken
from rxmps3.model.missing import MISSING
from rxmps3.model.state import Committed, Entry, EntryChange, Inline, Remade, WriteId, Wrote
from rxmps3.replica import Replica
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.router import Turn
from rxmps3.replica.writer import Draft

__all__ = ["UndoActions"]


class UndoActions:
    """Undo and redo of the writes of one handle: an observer of the turns, which recognises them by their origin.

    Made, used and closed on the loop's thread.

    Args:
        replica: the manifest.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._steps = UndoStack()
        self._one_at_a_time = asyncio.Lock()
        self._part = _Part(self, None)
        self._route = replica.router.add_every(self)

    def close(self) -> None:
        """Stop following the log."""
        self._route.dispose()

    @property
    def origin(self) -> object:
        """The origin of a write that is being made. On any thread."""
        action, part = current_action(), self._part
        if action is None:
            return self
        if part.action is not action:
            part = self._part = _Part(self, action)
        return part

    def _is_origin(self, origin: object) -> bool:
        return origin is self or (isinstance(origin, _Part) and origin.actions is self)

    # -- following the view ----------------------------------------------------------------------------

    def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
        """Record own writes and their outcomes."""
        for event in (turn.step.event, *turn.step.then):
            if isinstance(event, Wrote):
                self._take_note(event)
            elif isinstance(event, Remade):
                self._steps.remade(event.write.id.version, event.write.update)
        effects = turn.step.effects
        if not effects:
            return
        committed: dict[WriteId, str] = {}
        for settled in effects:
            version = settled.id.version
            if version in self._steps:
                if settled.error is not None:
                    self._steps.refused(version)
                else:
                    committed[settled.id] = version
        if committed and isinstance(turn.step.event, Committed):
            self._take_up(turn, turn.step.event, committed)
        for version in committed.values():
            self._steps.read_whole(version)

    def _take_note(self, event: Wrote) -> None:
        origin, write = event.origin, event.write
        if self._is_origin(origin):
            action = origin.action if isinstance(origin, _Part) else None
            self._steps.did(write.id.version, write.update, action)
        elif isinstance(origin, _Again) and origin.actions is self:
            note = self._steps.undid if origin.operation == "undo" else self._steps.redid
            note(origin.step, write.id.version, write.update)

    def _take_up(self, turn: Turn, event: Committed, mine: Mapping[WriteId, str]) -> None:
        """Own writes were committed: each replaced the values before this log version, as changed by the earlier
        ones."""
        ahead: dict[str, Entry | None] = {}
        counted: set[WriteId] = set()
        confirmed = turn.before.entries
        for write in event.version.writes:
            if write.id in counted or turn.before.has_committed(write):
                continue
            counted.add(write.id)
            if write.id in mine:
                before = {key: ahead[key] if key in ahead else confirmed.get(key) for key in write.update}
                self._steps.committed(mine[write.id], before, write.update, turn.before.version)
            ahead.update(write.update)

    # -- undo and redo -------------------------------------------------------------------------------------------

    async def undo(self) -> str:
        """See `Database.undo`."""
        self._replica.check_loop()
        self._replica.check_linear("undo")
        async with self._one_at_a_time:
            ended = await self._end_pending()
            step = self._steps.newest_done
            if step is None or (ended is not None and not ended.continues(step)):
                return "" if ended is None else ended.version
            if step.before is None:
                self._steps.drop(step)
                raise NotKept(
                    "what was there before is not known: the log was read anew from a later place",
                    oldest=self._replica.view.confirmed.version,
                    operation="undo",
                    object=f"write {step.version}",
                )
            try:
                receipt = await self._write("undo", step, step.before, step.after)
            except Conflict:
                if ended is None:
                    raise
                return ended.version  # somebody wrote in the course of the action: what they wrote is there again
        return await receipt

    async def redo(self) -> str:
        """See `Database.redo`."""
        self._replica.check_loop()
        self._replica.check_linear("redo")
        async with self._one_at_a_time:
            step = self._steps.newest_undone
            if step is None:
                return ""
            self._check_loaded("redo", step)
            receipt = await self._write("redo", step, step.after, step.before or {})
        return await receipt

    def _check_loaded(self, operation: str, step: UndoStep) -> None:
        """Drop a step that changes keys of which this replica does not know what they were. Raises `NotLoaded`."""
        try:
            self._replica.check_loaded(step.after, operation)
        except NotLoaded:
            self._steps.drop(step)
            raise

    async def _write(self, operation: str, step: UndoStep, wanted: Side, present: Side) -> Receipt:
        """Write one side of a step, provided that its keys are still at the other side."""
        self._check(operation, step, present)
        values = await self._values(operation, step, wanted)
        self._check(operation, step, present)
        return self._replica.write_nowait(Draft(values, _conditions(present), origin=_Again(self, operation, step)))

    def _check(self, operation: str, step: UndoStep, present: Side) -> None:
        what = broken(_conditions(present), self._replica.view, {})
        if what:
            self._steps.drop(step)
            raise Conflict(f"written since: {what}", operation=operation, remedy=f"the next {operation} leaves it out")

    async def _values(self, operation: str, step: UndoStep, side: Side) -> dict[str, Any]:
        there = {key: entry for key, entry in side.items() if entry is not None}
        try:
            texts = dict(zip(there, await self._replica.values.fetch_all(list(there.values())), strict=True))
        except Corrupt:
            self._steps.drop(step)
            if step.place and self._replica.archive is not None:
                await self._replica.archive.check_kept(int(step.place))
            raise
        return {key: valuetext.decode(texts[key], f"key {key!r}") if key in texts else MISSING for key in side}

    # -- pending writes ---------------------------------------------------------------------------

    async def _end_pending(self) -> _Ended | None:
        """End the newest step that is still pending, and those of the same action before it, without a commit.

        Returns:
            The newest one that was ended; None if none was. A step that was sent is committed now, and the newest one.
        """
        ended: _Ended | None = None
        while (step := self._steps.newest_done) is not None and (ended is None or ended.continues(step)):
            version = step.version
            self._check_loaded("undo", step)
            if not await self._ended(step, version):
                break
            ended = ended or _Ended(version, step.action)
        return ended

    async def _ended(self, step: UndoStep, version: str) -> bool:
        """Cancel a pending write, or wait for its commit; returns whether that ended it without a commit."""
        while step.before is None and not step.lost:
            self._replica.check_open("undo")
            view = self._replica.view
            receipt = next((one for one in self._replica.receipts(view) if one.version == version), None)
            pending = view.pending.get(WriteId.of(version))
            if receipt is None or pending is None:  # over; the notification is about to arrive here
                if version not in self._steps:
                    return True
                await self._replica.clock.sleep(0)
                continue
            self._check("undo", step, pending.write.update)
            if self._take_back(step, receipt, pending.write.update):
                with suppress(Rejected):  # mark the failure as seen, so that it is not reported
                    await receipt
                return True
            try:
                await receipt
            except Rejected:
                return True  # an unknown outcome is raised: it may be in the log, and cannot be undone
        return False

    def _take_back(self, step: UndoStep, receipt: Receipt, update: Side) -> bool:
        after = {key: self._kept(entry) for key, entry in update.items()}
        made = self._steps.made
        self._replica.withdraw(receipt.version, self._is_origin)  # deferred writes of its value must not bring it back
        if not receipt.cancel():
            return False
        if all(entry is None or entry.version == receipt.version for entry in update.values()):
            view = self._replica.view
            self._steps.took_back(step, {key: view.look_up(key) for key in after}, after, made)
        else:
            self._steps.drop(step)  # its values were not known yet
        return True

    def _kept(self, entry: Entry | None) -> Entry | None:
        """An entry that keeps its text and needs no object, since that may never be stored."""
        if entry is None or isinstance(entry.content, Inline):
            return entry
        return Entry(entry.version, Inline(self._replica.values.peek(entry) or "null"))


class _Part:
    """The origin of a write that is part of an action."""

    __slots__ = ("action", "actions")

    def __init__(self, actions: UndoActions, action: object) -> None:
        self.actions = actions
        self.action = action


class _Ended(NamedTuple):
    """A step that ended without a commit.

    Attributes:
        version: of its write.
        action: what that was part of.
    """

    version: str
    action: object

    def continues(self, step: UndoStep) -> bool:
        """Whether a step before it is part of the same action."""
        return self.action is not None and self.action is step.action


class _Again(NamedTuple):
    """The origin of a write that undoes or redoes a step."""

    actions: UndoActions
    operation: str
    step: UndoStep


def _conditions(present: Side) -> Conditions:
    return Conditions({key: None if entry is None else Seen(entry.version) for key, entry in present.items()})
