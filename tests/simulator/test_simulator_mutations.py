"""The simulator has teeth: switch off one rule of the protocol, and some seed breaks the rule that it protects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from rxmps3.errors import AccessDenied, PreconditionFailed, Rejected, Unavailable
from rxmps3.log import codec
from rxmps3.log.sequenced import collector as compact
from rxmps3.log.sequenced import log as sequenced
from rxmps3.log.sequenced.log import SequencedLog
from rxmps3.model import state
from rxmps3.model.state import View, Write
from rxmps3.replica import committer as committing
from rxmps3.replica.committer import Committer
from rxmps3.replica.conditions import ConditionChecker
from rxmps3.replica.polling import Poller
from rxmps3.replica.router import Router, Turn
from rxmps3.storage.base import ABSENT, Stored
from rxmps3.streams import snapshots
from rxmps3.testing.virtual import SimClock
from tests.mutating import Mutant
from tests.simulator import play, session
from tests.simulator.mutations import Mutations
from tests.simulator.plans import DENIED, MANY_REFRESHES, RESTARTER, forgetful

MUTATIONS = Mutations()
mutation = MUTATIONS.add

# -- committing ----------------------------------------------------------------------------------------------


@mutation("each write is in the log once")
def a_412_is_taken_for_a_lost_race(mutant: Mutant) -> None:
    """What is found after a refused create is taken for somebody else's, and the writes go on to the next number."""
    reading = SimpleNamespace(after_refusal=False)
    found = state._found  # pyright: ignore[reportPrivateUsage]

    async def append(self: Any, seq: int, body: bytes, entry: codec.LogEntry) -> None:
        name = self._layout.entry(self.head.incarnation, seq)
        try:
            stored = await self._storage.put(name, body, when=ABSENT)
        except (PreconditionFailed, Unavailable) as error:
            reading.after_refusal = True
            try:
                await self.read()
            finally:
                reading.after_refusal = False
            if self._seq < seq:
                raise self._not_found_error(name, error) from error
        else:
            if await self._known.counts(seq, stored.date):
                self._apply(seq, body, stored, entry)

    def find(view: View, writes: tuple[Write, ...]) -> Any:
        return [] if reading.after_refusal else found(view, writes)

    mutant.replace(SequencedLog._append, append)
    mutant.replace(state._found, find)


@mutation("one content per number")
def an_entry_replaces_another(mutant: Mutant) -> None:
    mutant.replace(sequenced.ABSENT, None, within=sequenced)


@mutation("a condition holds where it is committed")
def a_commit_does_not_look_what_it_follows(mutant: Mutant) -> None:
    """A write with a condition is sent whatever is there by then."""
    mutant.replace(ConditionChecker.standing, lambda self, ready: list(ready))


@mutation("what is shown stands")
def what_is_beneath_a_pending_write_changes_unnoticed(mutant: Mutant) -> None:
    """What rests on something else than what is there is shown until its turn to be sent comes."""
    mutant.replace(ConditionChecker.step, lambda self, view, event: state.step(view, event))


@mutation("a condition holds where it is committed", 792, 801, 858)
def a_condition_is_looked_at_only_once(mutant: Mutant) -> None:
    """When it was found to hold, it is believed to, also after a lost race."""
    judged: set[Any] = set()
    standing = ConditionChecker.standing

    def once(self: Any, ready: Sequence[Write]) -> list[Write]:
        believed = [replace(write, conditions=None) if write.id in judged else write for write in ready]
        held = ready[: len(standing(self, believed))]
        judged.update(write.id for write in held)
        return list(held)

    mutant.replace(ConditionChecker.standing, once)
    mutant.replace(ConditionChecker.step, lambda self, view, event: state.step(view, event))


@mutation("no holes", *range(40))
def a_new_number_while_one_is_unknown(mutant: Mutant) -> None:
    """After no answer the client tries the number after the one whose outcome it does not know."""

    async def commit(self: Any, writes: Sequence[Write]) -> None:
        await self.open()
        await self.prepare()
        seq = self._seq + 1 + getattr(self, "_skipped", 0)
        try:
            await self._append(seq, *self._pack(seq, writes))
        except Unavailable:
            self._skipped = getattr(self, "_skipped", 0) + 1
            raise
        self._skipped = 0

    mutant.replace(SequencedLog.commit, commit)


@mutation("what is acknowledged is in the log")
def no_answer_is_taken_for_success(mutant: Mutant) -> None:
    async def append(self: Any, seq: int, body: bytes, entry: codec.LogEntry) -> None:
        try:
            stored = await self._storage.put(self._layout.entry(self.head.incarnation, seq), body, when=ABSENT)
        except PreconditionFailed:
            await self.read()
        except Unavailable:
            self._apply(seq, body, Stored("", None), entry)
        else:
            self._apply(seq, body, stored, entry)

    mutant.replace(SequencedLog._append, append)


@mutation("what is acknowledged is in the log")
def a_write_is_acknowledged_when_it_is_sent(mutant: Mutant) -> None:
    commit = SequencedLog.commit

    async def hasty(self: Any, writes: Sequence[Write]) -> None:
        version = state.ManifestVersion("", self._writer, self._by, None, tuple(writes))
        for write in writes:
            self.versions.on_next(state.Committed(version)) if write is writes[0] else None
        await commit(self, writes)

    mutant.replace(SequencedLog.commit, hasty)


@mutation("a session's writes keep their order")
def the_newest_write_goes_first(mutant: Mutant) -> None:
    ready = Committer._ready  # pyright: ignore[reportPrivateUsage]

    def newest(self: Any) -> list[Write]:
        return ready(self)[-1:]

    mutant.replace(Committer._ready, newest)


@mutation("what the log names is there")
def a_commit_does_not_wait_for_its_uploads(mutant: Mutant) -> None:
    def ready(self: Any) -> list[Write]:
        before: list[Write] = ready_as_it_was(self)
        return before and self._dataflow.view.queue()

    ready_as_it_was = Committer._ready  # pyright: ignore[reportPrivateUsage]
    mutant.replace(Committer._ready, ready)
    mutant.replace(Committer._about_to_send, lambda self, ready: self._still_pending(ready))


@mutation("nothing unexpected fails", DENIED, saying="403 AccessDenied")
def a_403_refuses_the_writes(mutant: Mutant) -> None:
    """What concerns the client is taken for a fault of what it wrote."""
    commit = SequencedLog.commit

    async def strict(self: Any, writes: Sequence[Write]) -> None:
        try:
            await commit(self, writes)
        except AccessDenied as error:
            raise Rejected(error.what, operation="commit") from error

    mutant.replace(SequencedLog.commit, strict)


@mutation("the chain holds")
def entries_do_not_name_the_one_before(mutant: Mutant) -> None:
    encode = codec.encode_entry

    def forgetful(seq: int, previous: str, *args: Any, **options: Any) -> bytes:
        return encode(seq, "0" * 64, *args, **options)

    mutant.replace(codec.encode_entry, forgetful)


# -- reading -------------------------------------------------------------------------------------------------


@mutation("versions come once, in order")
def the_cursor_moves_without_looking_where_it_is(mutant: Mutant) -> None:
    """Whoever learns of an entry applies it, whether or not it has been applied."""

    def apply(self: Any, seq: int, body: bytes, answer: object, entry: codec.LogEntry) -> None:
        if self._opening is None:
            self.versions.on_next(state.Committed(entry.version))
        else:
            self._opening = state.fold(self._opening, entry.version)
        self._seq, self._chain = max(seq, self._seq), codec.digest(body)

    mutant.replace(SequencedLog._apply, apply)


@mutation("refresh reads to the end", MANY_REFRESHES)
def a_look_is_good_enough_if_it_is_recent(mutant: Mutant) -> None:
    look = Poller.look

    async def lazy(self: Any, patience: float | None = None) -> None:
        if self._looked_at is None or self._clock.monotonic() - self._looked_at > 1.0:
            await look(self, patience)

    mutant.replace(Poller.look, lazy)


@mutation("a view is a prefix of the log and own writes")
def own_writes_are_seen_once_they_are_committed(mutant: Mutant) -> None:
    def look_up(self: View, key: str) -> Any:
        return self.confirmed.entries.get(key)

    mutant.replace(View.look_up, look_up)


@mutation("the state is the log's fold")
def deletes_are_forgotten(mutant: Mutant) -> None:
    fold = state.fold

    def keep(before: state.State, version: state.ManifestVersion) -> state.State:
        after = fold(before, version)
        gone = {key: entry for key, entry in before.entries.items() if key not in after.entries}
        return state.State(after.entries.patched(gone), after.writers, after.version)

    mutant.replace(state.fold, keep, within=state)
    mutant.replace(sequenced.fold, keep, within=sequenced)


# -- exactly once --------------------------------------------------------------------------------------------


@mutation("each write is in the log once", forgetful(5))
def a_write_is_not_known_again(mutant: Mutant) -> None:
    """No dedupe by writer and number: what an outbox still holds after a restart is committed again."""
    mutant.replace(state._reached, lambda mark, write: False)


@mutation("each write is in the log once", forgetful(5))
def writers_are_forgotten_at_once(mutant: Mutant) -> None:
    mutant.replace(compact.WRITER_SILENCE, timedelta(hours=1), within=compact)


@mutation("each write is in the log once", forgetful(40))
def what_the_log_may_have_forgotten_is_sent_again(mutant: Mutant) -> None:
    mutant.replace(committing.FORGOTTEN_AFTER, timedelta(days=10_000), within=committing)


class OneWriterId(SimClock):
    """Gives every process of a client the same writer id, which is the first id that a process asks for."""

    def __init__(self, seed: str, **options: Any) -> None:
        super().__init__(seed, **options)
        self._next = seed.split()[-1].partition(".")[0]

    def new_id(self, characters: int = 12) -> str:
        first, self._next = self._next, ""
        return first or super().new_id(characters)


@mutation("nothing unexpected fails", RESTARTER, saying="someone else writes in its name")
def a_restart_keeps_the_writer_id(mutant: Mutant) -> None:
    """The numbers of two processes are the same, and their writes are not: the second one notices."""
    mutant.replace(session.SimClock, OneWriterId, within=session)


@mutation("nothing is invented", *range(60))
def a_restored_write_takes_the_new_writer_id(mutant: Mutant) -> None:
    encode = codec.encode_write

    def as_own(write: Write, committer: str, based: str | None = None) -> str:
        return encode(write, write.id.writer, based)

    mutant.replace(codec.encode_write, as_own)


# -- streams -------------------------------------------------------------------------------------------------


@mutation("an atomic write is seen whole")
def streams_are_served_key_by_key(mutant: Mutant) -> None:
    deliver = Router.deliver

    def one_by_one(self: Router, turn: Turn) -> None:
        for change in turn.step.changes or ():
            part = state.Step(turn.step.view, turn.step.event, (change,), turn.step.effects)
            deliver(self, Turn(turn.number, part))

    mutant.replace(Router.deliver, one_by_one)


@mutation("streams emit changes only")
def streams_repeat_themselves(mutant: Mutant) -> None:
    mutant.replace(snapshots.same_texts, lambda left, right: False)


@mutation("streams converge")
def streams_miss_what_others_write(mutant: Mutant) -> None:
    deliver = Router.deliver

    def own_only(self: Router, turn: Turn) -> None:
        changes = tuple(change for change in turn.step.changes if change.cause == "own")
        deliver(self, Turn(turn.number, state.Step(turn.step.view, turn.step.event, changes, turn.step.effects)))

    mutant.replace(Router.deliver, own_only)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_switched_off_is_caught(name: str, monkeypatch: pytest.MonkeyPatch):
    MUTATIONS.check(name, monkeypatch)


def test_with_all_rules_in_force_the_plans_made_by_hand_are_clean():
    for plan in MUTATIONS.plans_by_hand():
        report = play(plan)
        assert report.ok, report.explain()
