"""Writes with conditions: which may be sent, and what happens to those whose conditions no longer hold.

The view is the state of the log with the pending writes on top, each computed from what is beneath it. So when
something beneath a write changes, the write is recomputed or refused in the same step, even offline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from rxmps3.errors import Conflict, Corrupt, InvalidInput, Rejected
from rxmps3.log.protocol import Log
from rxmps3.model.conditions import Conditions, broken, seen
from rxmps3.model.state import Amended, Entry, Event, Refused, Remade, Step, View, Write, WriteId, Wrote, chained, step
from rxmps3.replica.dataflow import Dataflow
from rxmps3.replica.pending import Basis, PendingWrite, PendingWrites, What
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.values import Values

__all__ = ["ConditionChecker", "Derived"]

_LOOKS = 2
"""So often the end of the log is looked for at most while news keep coming."""

There = Mapping[str, Entry | None]
"""What the keys are at that a write is made of; None where there is nothing."""


class Derived(NamedTuple):
    """A derived write's new values, as canonical texts by key (None for no value), and its new conditions."""

    texts: Mapping[str, str | None]
    conditions: Conditions


class _Writer(Protocol):
    """Plans writes, for a caller that holds the lock of the view."""

    writer: str

    def remake(self, one: PendingWrite[Receipt], write: Write, derived: Derived) -> Remade: ...

    def hide(self, one: PendingWrite[Receipt]) -> None: ...

    def make(self, draft: Any) -> Wrote: ...


class ConditionChecker:
    """Decides on the pending writes that have conditions.

    Args:
        writer: plans writes.
    """

    def __init__(
        self,
        log: Log,
        dataflow: Dataflow,
        values: Values,
        pending: PendingWrites[Receipt],
        writer: _Writer,
    ) -> None:
        self._log = log
        self._dataflow = dataflow
        self._values = values
        self._pending = pending
        self._writer = writer
        self._read_since = 0  # pending writes with a lower ordinal were made before the last read of the log began

    # -- in the step of a change --------------------------------------------------------------------------

    def step(self, view: View, event: Event) -> Step:
        """As `rxmps3.model.state.step`; writes that depend on the change are recomputed or refused in the same step.

        So are writes made that were skipped because a pending write showed the same value, if it no longer does.
        """
        first = step(view, event)
        if isinstance(event, (Wrote, Amended)):
            return first
        steps = [first]
        if self._pending.resting and first.view.loaded:
            steps += self._consequences(first.view)
        if self._pending.followed:
            steps += self._released_writes(steps)
        return chained(view, steps)

    def _released_writes(self, steps: Sequence[Step]) -> Iterator[Step]:
        """The skipped writes behind pending ones that have been refused or recomputed."""
        settled = {effect.id: effect.error for one in steps for effect in one.effects}
        remade = {one.event.write.id for one in steps if isinstance(one.event, Remade)}
        view = steps[-1].view
        self._pending.take_behind([id for id, error in settled.items() if error is None])  # what they hold is there
        for behind in self._pending.take_behind([*settled, *remade]):
            top = view.pending_on(behind.key)
            if top is not None and (top.ordinal >= behind.after or behind.shown(view)):
                self._pending.put_behind(top.write.id, behind)
            elif not behind.shown(view):
                moved = step(view, self._writer.make(behind.draft))
                view = moved.view
                yield moved

    def _consequences(self, view: View) -> list[Step]:
        steps: list[Step] = []
        confirmed = view.confirmed.entries
        ahead: dict[str, Entry | None] = {}
        for write in view.queue():
            one = self._pending.resting.get(write.id)
            event = None if one is None else self._judge(one, write, confirmed, ahead)
            if event is not None:
                steps.append(step(view, event))
                view = steps[-1].view
            if not isinstance(event, Refused):
                ahead.update(write.update if event is None else event.write.update)
        return steps

    def _judge(
        self, one: PendingWrite[Receipt], write: Write, confirmed: Mapping[str, Entry], ahead: There
    ) -> Remade | Refused | None:
        """The event for a write given what is beneath it now; None if it stays unchanged."""
        conditions = write.conditions
        if conditions is None:
            return None
        what = broken(conditions, confirmed, ahead)
        if not what and one.basis is not Basis.UNKNOWN:
            one.happened(What.HELD)
            return None
        if not conditions.derived:  # conditions that were never seen to hold are decided after the next read
            forgotten = one.may_be_forgotten(self._writer.writer, self._log.date)
            decided = one.basis is Basis.HOLDS and not forgotten
            return Refused(write.id, _conflict(write.id, what)) if decided else None
        there = _there(conditions, confirmed, ahead)
        texts = {key: self._values.peek(entry) for key, entry in there.items() if entry is not None}
        known = {key: text for key, text in texts.items() if text is not None}
        if len(known) < len(texts):
            return self._hide_until_loaded(one, write, there)
        try:
            return self._writer.remake(one, write, _derive(conditions, there, known))
        except (Corrupt, InvalidInput) as error:
            return Refused(write.id, _unmade(error))

    def _hide_until_loaded(self, one: PendingWrite[Receipt], write: Write, there: There) -> Remade | None:
        """Show what is beneath a write until a value that it is computed from has been loaded."""
        self._writer.hide(one)
        one.happened(What.BASE_MISSING)
        update = {key: there.get(key) for key in write.update}
        if all(update[key] is entry for key, entry in write.update.items()):
            return None
        return Remade(replace(write, update=update), cause="remote")

    # -- before a commit -------------------------------------------------------------------------------------

    def standing(self, ready: Sequence[Write]) -> list[Write]:
        """The oldest pending writes, up to the first whose conditions do not hold in the log as known here."""
        if all(write.conditions is None for write in ready):
            return list(ready)
        confirmed = self._dataflow.view.confirmed.entries
        ahead: dict[str, Entry | None] = {}
        for index, write in enumerate(ready):
            if write.conditions is not None and (
                broken(write.conditions, confirmed, ahead) or self._is_unknown(write.id)
            ):
                return list(ready[:index])
            ahead.update(write.update)
        return list(ready)

    def _is_unknown(self, id: WriteId) -> bool:
        one = self._pending.resting.get(id)
        return one is not None and one.basis is Basis.UNKNOWN

    async def reconsider(self) -> None:
        """Decide on the pending writes that could not be decided at once, reading the log as needed.

        A write is decided by a state that includes everything committed before it was made; one that needs a newer read
        is left for the next call. Values that a write is computed from are fetched.

        Raises:
            Unavailable, AccessDenied, BucketNotFound: not all could be decided.
        """
        if self._needs_a_look():
            self._read_since = await self._look()
        view = self._dataflow.view
        confirmed = view.confirmed
        ahead: dict[str, Entry | None] = {}
        for id in [write.id for write in view.queue()]:
            pending, now = self._dataflow.view.pending.get(id), self._dataflow.view.confirmed
            if now is not confirmed or (pending is not None and pending.ordinal >= self._read_since):
                break
            if pending is None:
                continue
            conditions = pending.write.conditions
            if conditions is not None:
                what = broken(conditions, confirmed.entries, ahead)
                if what or self._is_unknown(id):
                    await self._mend(pending.write, conditions, what, ahead)
            pending = self._dataflow.view.pending.get(id)
            if pending is not None:
                ahead.update(pending.write.update)

    async def _look(self) -> int:
        """Read to the end of the log; returns the ordinal from which on writes were made after the read began."""
        newest = self._dataflow.view.next_ordinal
        for _ in range(_LOOKS):
            before = self._log.reached
            await self._log.read()
            if self._log.reached == before:
                break  # during a long read more may have been committed, and a write computed now would come too late
        return newest

    def _needs_a_look(self) -> bool:
        """Whether an undecided write was made since the last read began."""
        view = self._dataflow.view
        queue = view.queue()
        standing = len(self.standing(queue))
        return standing < len(queue) and view.pending[queue[standing].id].ordinal >= self._read_since

    async def _mend(self, write: Write, conditions: Conditions, what: str, ahead: There) -> None:
        """Refuse or recompute a write whose conditions do not hold."""
        if not conditions.derived:
            self._dataflow.refusals.on_next(Refused(write.id, _conflict(write.id, what)))
            return
        there = _there(conditions, self._dataflow.view.confirmed.entries, ahead)
        try:
            texts = {key: await self._values.fetch(entry) for key, entry in there.items() if entry is not None}
            derived = _derive(conditions, there, texts)
            with self._dataflow.lock:
                pending, one = self._dataflow.view.pending.get(write.id), self._pending.open.get(write.id)
                if pending is not None and one is not None:
                    self._dataflow.writes.on_next(self._writer.remake(one, pending.write, derived))
        except (Corrupt, InvalidInput) as error:
            self._dataflow.refusals.on_next(Refused(write.id, _unmade(error)))


def _there(conditions: Conditions, confirmed: Mapping[str, Entry], ahead: There) -> dict[str, Entry | None]:
    return {key: ahead[key] if key in ahead else confirmed.get(key) for key in conditions.keys}


def _derive(conditions: Conditions, there: There, before: Mapping[str, str]) -> Derived:
    """Compute a derived write from these texts. Raises `Corrupt`, `InvalidInput`."""
    texts = {
        key: derivation.apply(before.get(key), f"key {key!r:.80}") for key, derivation in conditions.derived.items()
    }
    return Derived(texts, Conditions({key: seen(entry) for key, entry in there.items()}, derived=conditions.derived))


def _conflict(id: WriteId, what: str) -> Conflict:
    remedy = "read again and decide again"
    return Conflict(what, operation="commit", object=f"write {id.version}", remedy=remedy)


def _unmade(error: Corrupt | InvalidInput) -> Rejected:
    rejected = Rejected(f"cannot be made of what is there now: {error}", operation="commit")
    rejected.__cause__ = error
    return rejected
