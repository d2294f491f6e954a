"""Making this client's writes: planning, numbering, receipts, and showing them on top of the view.

The committer takes over from there; it may ask for a write to be planned again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import RLock
from typing import Any, NamedTuple

from rxmps3.errors import Conflict, InvalidInput, NotLoaded, Overloaded, Rejected, Unsupported
from rxmps3.local.outbox import Restored
from rxmps3.log.protocol import Held, Kit, Planned
from rxmps3.log.registry import fits
from rxmps3.model import valuetext
from rxmps3.model.conditions import Conditions, Seen, broken, seen
from rxmps3.model.derivations import Derivation
from rxmps3.model.missing import MISSING
from rxmps3.model.state import (
    Amended,
    Committed,
    ContentObject,
    Loaded,
    Refused,
    Remade,
    Replayed,
    Write,
    WriteId,
    Wrote,
)
from rxmps3.model.writing import contents_of, values_of
from rxmps3.replica.conditions import Derived
from rxmps3.replica.dataflow import Dataflow
from rxmps3.replica.options import Options
from rxmps3.replica.pending import Basis, Behind, PendingWrite, PendingWrites, Shown, What
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.shared_values import SharedValues
from rxmps3.replica.stages import ObserverRaised
from rxmps3.replica.values import Values
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.event_loop import EventLoop

__all__ = ["Draft", "WriteMaker"]


class Draft(NamedTuple):
    """One atomic write as requested by a call.

    Attributes:
        values: the new value of each key; `MISSING` deletes it.
        conditions: the write is refused with `Conflict` if they do not hold where it is committed.
        unchanged: whether the conditions also have to hold in the current view. A write that depends on an own write
            that will be refused would be refused with it, so it is refused at once.
        derived: instead of values, how to compute them from the current ones. They are recomputed if others write these
            keys before the commit.
        shared: the same values, planned for several manifests.
        origin: the caller's mark, by which observers recognise their own writes; see `Wrote.origin`.
    """

    values: Mapping[str, Any] = {}
    conditions: Conditions | None = None
    unchanged: bool = False
    derived: Mapping[str, Derivation] = {}
    shared: SharedValues | None = None
    origin: object = None


class WriteMaker:
    """Makes the writes of one replica. Callable on any thread.

    Args:
        writer: the writer id.
        kit: returns the current protocol kit.
        pending: the table in which writes are entered.
        made: called with each new write, on the loop's thread, in call order.
        observer_raised: called when an observer of a receipt raises, on any thread.
    """

    def __init__(
        self,
        writer: str,
        name: str,
        clock: Clock,
        loop: EventLoop,
        dataflow: Dataflow,
        values: Values,
        options: Options,
        kit: Callable[[], Kit],
        pending: PendingWrites[Receipt],
        made: Callable[[], None],
        observer_raised: ObserverRaised,
    ) -> None:
        self.writer = writer
        self.number = 0
        self._name = name
        self._clock = clock
        self._loop = loop
        self._dataflow = dataflow
        self._values = values
        self._options = options
        self._kit = kit
        self._pending = pending
        self._made = made
        self._of_receipts = self._cancel, loop.check_may_block, observer_raised, RLock()  # shared by all

    def check(self, values: Mapping[str, Any]) -> Planned:
        """Plan a write of these values without making it. Raises `InvalidKey`, `InvalidValue`."""
        return self._plan(WriteId(self.writer, 0), values)

    def check_linear(self, operation: str) -> None:
        """Raise `Unsupported` if the log's protocol does not support writes with conditions."""
        if not self._kit().linear:
            raise self._unsupported(self._kit(), operation)

    def write(self, draft: Draft) -> Receipt:
        """Make one atomic write. As `Replica.write_nowait`."""
        kept = self._options.kept
        if kept is not None:
            kept.check(draft.derived, "put")
            kept.check_conditions(draft.conditions, "put")
        with self._dataflow.lock:
            if draft.derived:
                draft = self._derived(draft)
            elif draft.unchanged and draft.conditions is not None:
                what = broken(draft.conditions, self._dataflow.view, {})
                if what:
                    raise Conflict(what, operation="commit", object=self._name, remedy="read again and decide again")
            return self._write_locked(draft)

    def write_unless_shown(self, key: str, shown: Shown, draft: Draft) -> Receipt | None:
        """Make a write unless its key shows the same. As `Replica.write_unless_shown`."""
        with self._dataflow.lock:
            view = self._dataflow.view
            if shown(view):
                top = view.pending_on(key)
                if top is not None:
                    self.check(draft.values)
                    self._pending.put_behind(top.write.id, Behind(key, view.next_ordinal, shown, draft))
                return None
            return self._write_locked(draft)

    def withdraw(self, version: str, of: Callable[[object], bool]) -> None:
        """As `Replica.withdraw`."""
        with self._dataflow.lock:
            id = WriteId.of(version)
            for behind in self._pending.take_behind((id,)):
                if not of(behind.draft.origin):
                    self._pending.put_behind(id, behind)

    def _derived(self, draft: Draft) -> Draft:
        """The values computed from the current ones, and the conditions on those."""
        before = {self._kit().placing.check_key(key): self._at_hand(key) for key in draft.derived}
        texts = {
            key: derivation.apply(before[key].text, f"key {key!r:.80}") for key, derivation in draft.derived.items()
        }
        conditions = Conditions({key: one.seen for key, one in before.items()}, derived=draft.derived)
        return draft._replace(values=_decoded(texts), conditions=conditions)

    def _write_locked(self, draft: Draft) -> Receipt:
        waiting = len(self._dataflow.view.pending)
        if waiting >= self._options.max_pending:
            raise Overloaded(
                f"{waiting:,} writes wait for their commit",
                operation="put",
                object=self._name,
                remedy="await some receipts, or raise max_pending",
            )
        wrote = self.make(draft)
        self._dataflow.writes.on_next(wrote)
        self._loop.on_loop(self._made)
        return self._pending.open[wrote.write.id].receipt

    def make(self, draft: Draft) -> Wrote:
        """Make a new write as an event. The caller holds the lock of the view and steps it."""
        id = WriteId(self.writer, self.number + 1)
        planned = self._plan(id, draft.values) if draft.shared is None else draft.shared.planned_for(id)
        self.number = id.number
        view = self._dataflow.view
        based = view.confirmed.version if view.loaded else None
        write = Write(id, self._clock.new_id(), planned.update, draft.conditions, based=based)
        texts = {held.content.place: held.text for held in planned.contents}
        receipt = self._receipt(write)
        one = self._pending.add(write, receipt, self._hold(planned.contents), texts)
        one.shared = draft.shared
        if write.conditions is not None and not draft.unchanged and broken(write.conditions, self._dataflow.view, {}):
            one.basis = Basis.UNSEEN
        return Wrote(write, self._options.by, draft.origin)

    def _plan(self, id: WriteId, values: Mapping[str, Any]) -> Planned:
        return self._kit().placing.plan(id, values, self._options.inline_limit)

    def _receipt(self, write: Write) -> Receipt:
        return Receipt(
            write.id.version,
            tuple(write.update),
            *self._of_receipts,
        )

    def _hold(self, contents: Sequence[Held]) -> tuple[ContentObject, ...]:
        for held in contents:
            self._values.hold(*held)
        return tuple(held.content for held in contents)

    def _at_hand(self, key: str) -> _Known:
        view = self._dataflow.view
        entry = view.look_up(key)
        if entry is None and (view.loaded or view.is_pending(key)):
            return _Known(None, None)
        text = None if entry is None else self._values.peek(entry)
        if text is None:
            what = "the state is not loaded yet" if entry is None else "its value is not in memory"
            raise NotLoaded(what, operation="put", object=f"key {key!r}", remedy="await db.get of the key first")
        return _Known(seen(entry), text)

    def _cancel(self, version: str) -> bool:
        """Cancel a write that was never sent."""
        id = WriteId.of(version)
        with self._dataflow.lock:
            if id not in self._dataflow.view.pending or self._pending.was_sent(id):
                return False
            self._pending.open[id].happened(What.CANCELLED)
            error = Rejected("taken back before it was sent", operation="cancel", object=f"write {version}")
            self._dataflow.refusals.on_next(Refused(id, error))
        return True

    # -- planning again ---------------------------------------------------------------------------------------

    def remake(self, one: PendingWrite[Receipt], write: Write, derived: Derived) -> Remade:
        """Give a pending write new values, in objects with new names, because the values it is computed from have
        changed.

        The caller holds the lock of the view. Raises as `write`, without effect.
        """
        planned = self._plan(write.id, _decoded(derived.texts))
        planned_write = replace(write, update=planned.update, conditions=derived.conditions)
        renamed = self._kit().placing.again(planned_write, self._clock.new_id(6))
        self._replan(one, _renamed(renamed, [held.text for held in planned.contents]))
        one.happened(What.HELD)
        return Remade(renamed, self._options.by)

    def hide(self, one: PendingWrite[Receipt]) -> None:
        """Note that the values of a pending write are unknown for now. The caller holds the lock of the view."""
        self._replan(one, ())

    def plan_for(self, kit: Kit) -> None:
        """Plan the pending writes again, for another protocol than was assumed."""
        with self._dataflow.lock:
            self._values.placing = kit.placing
            for write in self._dataflow.view.queue():
                self._plan_for(kit, write)

    def _plan_for(self, kit: Kit, write: Write) -> None:
        one = self._pending.open[write.id]
        if one.basis is Basis.UNKNOWN:
            return  # it is planned once its values are known
        texts = {content.place: self._values.held_text(content) for content in one.contents}
        try:
            if write.conditions is not None and not kit.linear:
                raise self._unsupported(kit, "commit")
            planned = kit.placing.plan(write.id, values_of(write, texts), self._options.inline_limit)
        except (InvalidInput, Unsupported) as error:
            rejected = Rejected(f"protocol {kit.protocol!r} cannot hold it: {error}", operation="commit")
            rejected.__cause__ = error
            self._dataflow.refusals.on_next(Refused(write.id, rejected))
            return
        self._replan(one, planned.contents)
        self._dataflow.writes.on_next(Amended(replace(write, update=planned.update)))

    def _replan(self, one: PendingWrite[Receipt], contents: Sequence[Held]) -> None:
        for content in one.contents:
            self._values.release(content)
        self._pending.replanned(one, self._hold(contents))

    def take_up(self, restored: Restored) -> None:
        """Restore a pending write of an earlier process, under its old id; its large values are uploaded again."""
        kit, named_here = self._kit(), restored.by == self._options.by
        write = replace(restored.write, by=None if named_here else restored.by)
        if fits(kit.protocol, write):
            renamed = kit.placing.again(write, self._clock.new_id(6))
            held = _renamed(renamed, [restored.texts[content.place] for content in contents_of(write)])
            keeps_names = contents_of(renamed) == contents_of(write)
        else:
            planned = self._plan(write.id, values_of(write, restored.texts))
            renamed, held = replace(write, update=planned.update), planned.contents
            keeps_names = False
        receipt = self._receipt(renamed)
        receipt.mark_stored()
        sent = restored.after is not None or restored.sent is not None
        one = self._pending.restore(renamed, receipt, self._hold(held), sent=sent, at=restored.sent)
        one.repeated = keeps_names  # the earlier process may have uploaded them
        self._dataflow.writes.on_next(Wrote(renamed, restored.by))
        if write.conditions is not None and not kit.linear:
            rejected = Rejected("refused and rolled back", operation="commit", object=f"write {write.id.version}")
            rejected.__cause__ = self._unsupported(kit, "commit")
            self._dataflow.refusals.on_next(Refused(write.id, rejected))

    # -- checks -------------------------------------------------------------------------------

    def is_forged(self, event: Committed | Replayed | Loaded | Refused) -> bool:
        """Whether a write in the log claims to be this client's but was never made here."""
        if isinstance(event, Refused):
            return False
        if isinstance(event, Loaded):
            mark = event.state.writers.get(self.writer)
            return mark is not None and mark.number > self.number
        pending = self._dataflow.view.pending
        versions = (event.version,) if isinstance(event, Committed) else event.versions
        return any(
            write.id.writer == self.writer
            and (
                write.id.number > self.number or (write.id in pending and pending[write.id].write.nonce != write.nonce)
            )
            for version in versions
            for write in version.writes
        )

    def _unsupported(self, kit: Kit, operation: str) -> Unsupported:
        return Unsupported(
            f"protocol {kit.protocol!r} does not support writes with conditions",
            operation=operation,
            object=self._name,
            remedy="use a manifest in protocol 'sequenced', on storage with conditional writes",
        )


class _Known(NamedTuple):
    """A key's entry and its text, None if it does not exist."""

    seen: Seen | None
    text: str | None


def _decoded(texts: Mapping[str, str | None]) -> dict[str, Any]:
    return {
        key: MISSING if text is None else valuetext.decode(text, f"value of key {key!r:.80}")
        for key, text in texts.items()
    }


def _renamed(write: Write, texts: Sequence[str]) -> list[Held]:
    """A write's objects with their texts, in the order of `contents_of`."""
    return [Held(content, text) for content, text in zip(contents_of(write), texts, strict=True)]
