"""The rules that make collection harmless, switched off one at a time: the fence, the head, checkpoints, values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from immutables import Map

from rxmps3.errors import PreconditionFailed, Unavailable
from rxmps3.log import checkpoint_codec, codec
from rxmps3.log.checkpoint_codec import ChunkRef
from rxmps3.log.sequenced import collector as compact
from rxmps3.log.sequenced import head
from rxmps3.log.sequenced.fence import Lease
from rxmps3.log.sequenced.head import KnownHead
from rxmps3.log.sequenced.identity import Sighting
from rxmps3.log.sequenced.log import SequencedLog
from rxmps3.model import state
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import ContentObject, Entry
from rxmps3.replica import committer as committing
from rxmps3.replica.committer import Committer
from rxmps3.storage.base import ABSENT, Found
from tests.mutating import Mutant
from tests.simulator import draw_plan, play
from tests.simulator.mutations import LONG, Mutations
from tests.simulator.plans import (
    CHUNK_COME_BACK,
    DOUBLED_SLEEPER,
    LATECOMER,
    SLEEPER,
    SLEEPING_PAIR,
    SLEEPING_READER,
    SLOW_NOTERS,
    TWO_FIRSTS,
    UNCOMMITTED,
    drowsy_collector,
    offsets,
    sleeping_lister,
    sleeping_opener,
    two_keepers,
)

MUTATIONS = Mutations()
mutation = MUTATIONS.add

SLEEPING_LISTERS = [sleeping_lister(after) for after in offsets(0.02, 0.9, 0.04)]
SLEEPING_OPENERS = [sleeping_opener(after) for after in offsets(0.02, 0.4, 0.02)]
DROWSY_COLLECTORS = [drowsy_collector(after) for after in offsets(0.05, 1.95, 0.1)]
TWO_KEEPERS = [two_keepers(after) for after in offsets(0.05, 1.95, 0.1)]
SLOW_KEEPERS = [two_keepers(after, 3 * 3600.0) for after in offsets(0.05, 1.95, 0.1)]

IN_CHUNKS = [plan for plan in map(draw_plan, LONG) if plan.chunk and plan.checkpoint_every <= 10]

# -- the fence -----------------------------------------------------------------------------------------------

Believing = Callable[[], Any]


def without_looks(mutant: Mutant) -> None:
    """Whoever looks whether its log is there every ten seconds hears of a higher floor as well: see `test_simulator_strikes`."""
    mutant.replace(Sighting.is_old, lambda self, answered=None: False)


def belief(mutant: Mutant) -> Believing:
    """Within the context that is returned every answer counts, however old the look at the head."""
    believing: ContextVar[bool] = ContextVar("believing", default=False)
    counts = KnownHead.counts

    async def believe(self: KnownHead, seq: int, answered: datetime | None) -> bool:
        return believing.get() or await counts(self, seq, answered)

    @asynccontextmanager
    async def within() -> AsyncGenerator[None]:
        token = believing.set(True)
        try:
            yield
        finally:
            believing.reset(token)

    mutant.replace(KnownHead.counts, believe)
    return within


@mutation("what is acknowledged is in the log", SLEEPER)
def a_lease_never_ends(mutant: Mutant) -> None:
    """A writer that slept through a collection believes in the number that it created again."""
    without_looks(mutant)
    mutant.replace(Lease.covers, lambda self, seq, answered, now: True)
    mutant.replace(Lease.wants_renewal, lambda self, answered: False)


@mutation("what is acknowledged is in the log", SLEEPER)
def what_was_created_counts_without_a_lease(mutant: Mutant) -> None:
    without_looks(mutant)

    async def append(self: Any, seq: int, body: bytes, entry: codec.LogEntry) -> None:
        name = self._layout.entry(self.head.incarnation, seq)
        try:
            stored = await self._storage.put(name, body, when=ABSENT)
        except (PreconditionFailed, Unavailable) as error:
            await self.read()
            if self._seq < seq:
                raise self._not_found_error(name, error) from error
        else:
            self._apply(seq, body, stored, entry)

    mutant.replace(SequencedLog._append, append)


@mutation("what is acknowledged is in the log", DOUBLED_SLEEPER)
def what_is_found_after_a_refusal_counts_without_a_lease(mutant: Mutant) -> None:
    without_looks(mutant)
    believing = belief(mutant)

    async def append(self: Any, seq: int, body: bytes, entry: codec.LogEntry) -> None:
        name = self._layout.entry(self.head.incarnation, seq)
        try:
            stored = await self._storage.put(name, body, when=ABSENT)
        except (PreconditionFailed, Unavailable) as error:
            async with believing():
                await self.read()
            if self._seq < seq:
                raise self._not_found_error(name, error) from error
        else:
            if await self._known.counts(seq, stored.date):
                self._apply(seq, body, stored, entry)
            else:
                await self.read()

    mutant.replace(SequencedLog._append, append)


def reading_first(mutant: Mutant, apply: Callable[[Any, int, object], bool]) -> None:
    """Before each look one more, whose answer is taken as it comes; True ends the look there."""
    read = SequencedLog.read

    async def hasty(self: Any) -> None:
        if self._opened and self.exists:
            seq = self._seq + 1
            if apply(self, seq, await self._read_entry(self.head.incarnation, seq)):
                return
        await read(self)

    mutant.replace(SequencedLog.read, hasty)


@mutation("refresh reads to the end", SLEEPING_READER)
def nothing_there_counts_without_a_lease(mutant: Mutant) -> None:
    """A reader that slept through a collection takes what was collected for the end of the log."""
    without_looks(mutant)
    reading_first(mutant, lambda self, seq, answer: not isinstance(answer, Found))


@mutation("the state is the log's fold", SLEEPING_PAIR)
def what_is_found_counts_without_a_lease(mutant: Mutant) -> None:
    """A reader that slept through a collection takes what another sleeper created again for an entry."""
    without_looks(mutant)

    def apply(self: Any, seq: int, answer: object) -> bool:
        if isinstance(answer, Found):
            self._apply(
                seq,
                answer.body,
                answer,
                codec.decode_entry(answer.body, self._layout.entry(self.head.incarnation, seq)),
            )
        return False

    reading_first(mutant, apply)


@mutation("nothing unexpected fails", *SLEEPING_LISTERS, saying="missing, though entry")
def what_is_listed_counts_without_a_lease(mutant: Mutant) -> None:
    """A reader that slept while it caught up takes the holes that a collection made for damage, and looks only once."""
    without_looks(mutant)
    believing, catch_up = belief(mutant), SequencedLog._catch_up  # pyright: ignore[reportPrivateUsage]

    async def catch_up_at_once(self: Any, **options: Any) -> None:
        async with believing():
            await catch_up(self, again=True)

    mutant.replace(SequencedLog._catch_up, catch_up_at_once)


class Endless(Lease):
    """Covers everything."""

    def covers(self, seq: int, answered: datetime, now: float) -> bool:
        return True


@mutation("nothing unexpected fails", *SLEEPING_OPENERS, saying="missing: the bucket was put back")
def a_local_copy_goes_on_without_a_lease(mutant: Mutant) -> None:
    """Whoever slept while it compared its local copy with the log takes a collected entry for damage."""
    can_resume = SequencedLog._can_resume  # pyright: ignore[reportPrivateUsage]

    async def at_once(self: Any, cursor: Any, head: codec.Head, lease: Lease) -> bool:
        return await can_resume(self, cursor, head, Endless(lease.floor, lease.seen, lease.taken))

    mutant.replace(SequencedLog._can_resume, at_once)


# -- the head ------------------------------------------------------------------------------------------------


@mutation("the head keeps its log", TWO_FIRSTS)
def a_first_head_replaces_another(mutant: Mutant) -> None:
    mutant.replace(head.ABSENT, None, within=head)


@mutation("floor and head only rise", *TWO_KEEPERS)
def the_head_is_rewritten_whatever_it_is_by_then(mutant: Mutant) -> None:
    """No If-Match: whoever slept between reading and writing it takes it back to what it was."""
    mutant.replace(head.Matches, lambda etag: None, within=head)


def replacing(mutant: Mutant, change: Callable[[codec.Head, dict[str, Any]], None]) -> None:
    """Let a raise of the floor change the head differently."""

    def replace_(head: codec.Head, **changes: Any) -> codec.Head:
        if "floor" in changes:
            change(head, changes)
        return replace(head, **changes)

    mutant.replace(compact.replace, replace_, within=compact)


@mutation("the floor is a kept checkpoint", *LONG)
def the_floor_rises_beyond_the_checkpoint(mutant: Mutant) -> None:
    replacing(mutant, lambda head, changes: changes.update(floor=changes["floor"] + 1))


@mutation("the floor is a kept checkpoint", *LONG)
def the_checkpoint_at_the_floor_is_not_kept(mutant: Mutant) -> None:
    mutant.replace(compact._thinned, lambda refs: refs[-1:])


# -- checkpoints ---------------------------------------------------------------------------------------------


@mutation("a checkpoint is the log's fold", *LONG)
def a_checkpoint_leaves_out_the_writers(mutant: Mutant) -> None:
    encode = checkpoint_codec.state_parts

    def without(before: state.State, *args: Any) -> Any:
        return encode(state.State(before.entries, Map(), before.version), *args)

    mutant.replace(checkpoint_codec.state_parts, without)


@mutation("a checkpoint is the log's fold", *LONG)
def a_checkpoint_is_named_before_it_is_stored(mutant: Mutant) -> None:
    store = compact.store

    async def later(storage: Any, *args: Any) -> codec.CheckpointRef:
        async def put(name: str, body: bytes, **options: Any) -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(5.0, lambda: loop.create_task(storage.put(name, body, **options)))

        return await store(cast(Any, SimpleNamespace(put=put)), *args)

    mutant.replace(compact.store, later, within=compact)


@mutation("floor and head only rise", *TWO_KEEPERS)
def an_older_checkpoint_replaces_a_newer(mutant: Mutant) -> None:
    async def checkpoint(self: Any) -> int | None:
        cursor, before = self._log.cursor, self._state()
        if not cursor.seq:
            return None
        nonce = self._clock.new_id()
        ref = await compact.store(self._storage, self._layout, cursor.incarnation, before, cursor.chain, nonce)

        def name_it(head: codec.Head, modified: datetime | None) -> codec.Head:
            known = (head.checkpoint,) if head.checkpoint is not None else ()
            return self._rewritten(head, modified, checkpoint=ref, kept=(*head.kept, *known))

        return ref.seq if await self._log.rewrite_head(name_it) else None

    mutant.replace(compact.SequencedCollector.checkpoint, checkpoint)


@mutation("what is named is not deleted", *SLOW_KEEPERS)
def checkpoints_above_the_one_in_the_head_are_deleted(mutant: Mutant) -> None:
    """A collector that slept takes the checkpoint that was made meanwhile for one that nobody names."""
    mutant.replace(compact._checkpoint_seq, lambda name: -1)


@mutation("a checkpoint is the log's fold", CHUNK_COME_BACK)
def chunks_of_an_earlier_checkpoint_are_named_again(mutant: Mutant) -> None:
    """Whoever has what a chunk holds in a checkpoint of its own names it, though the head's checkpoint does not."""

    async def there(self: Any) -> tuple[None, dict[str, ChunkRef]]:
        base = self._log.base
        return None, {} if base is None else {chunk.sha256: chunk for chunk in base.chunks}

    mutant.replace(compact.SequencedCollector._chunks_there, there)


@mutation("what is named is not deleted", *IN_CHUNKS)
def chunks_of_older_checkpoints_are_deleted(mutant: Mutant) -> None:
    """A collector looks only at the newest checkpoint for chunks that are in use."""
    without = compact.SequencedCollector._without_named_chunks  # pyright: ignore[reportPrivateUsage]

    async def of_the_newest(self: Any, head: codec.Head, unnamed: list[Any]) -> list[Any]:
        return await without(self, replace(head, kept=()), unnamed)

    mutant.replace(compact.SequencedCollector._without_named_chunks, of_the_newest)


@mutation("a checkpoint is the log's fold", *IN_CHUNKS)
def a_chunk_stays_though_an_entry_in_it_has_changed(mutant: Mutant) -> None:
    """Only keys that came or went are looked for when a state is divided like an earlier one."""
    differing = SortedMap[Any].differing

    def come_or_gone(self: Any, other: Any) -> list[Any]:
        return [key for key in differing(self, other) if (key in self) != (key in other)]

    mutant.replace(SortedMap[Any].differing, come_or_gone)


# -- collection ----------------------------------------------------------------------------------------------


@mutation("the grace is kept", *LONG)
def entries_are_deleted_at_once(mutant: Mutant) -> None:
    mutant.replace(compact.fence, SimpleNamespace(GRACE=timedelta(0)), within=compact)


@mutation("the grace is kept", *LONG)
def the_grace_counts_from_the_raise_before(mutant: Mutant) -> None:
    replacing(mutant, lambda head, changes: changes.update(raised_at=head.raised_at))


@mutation("only what is below the floor is deleted", *LONG)
def entries_are_deleted_up_to_the_checkpoint(mutant: Mutant) -> None:
    def is_below(self: Any, listed: Any, head: codec.Head) -> bool:
        seq = self._layout.seq_of(head.incarnation, listed.name)
        return seq is not None and head.checkpoint is not None and seq <= head.checkpoint.seq

    mutant.replace(compact.SequencedCollector._is_below, is_below)


@mutation("what is named is not deleted", *LONG)
def values_of_the_present_state_alone_are_live(mutant: Mutant) -> None:
    async def live(self: Any, floor: int, tell: Any) -> set[str]:
        return set()

    mutant.replace(compact.SequencedCollector._live_values, live)
    mutant.replace(compact._named, lambda state: set[str]())


@mutation("what is named is not deleted", *LONG)
def a_pack_is_taken_for_the_values_of_one_key(mutant: Mutant) -> None:
    """It goes as soon as the key that is first in it is written again or deleted."""
    object_of = compact._object_of  # pyright: ignore[reportPrivateUsage]

    def of_the_first(entry: Entry | None) -> str | None:
        is_later = entry is not None and isinstance(entry.content, ContentObject) and entry.content.offset
        return None if is_later else object_of(entry)

    mutant.replace(compact._object_of, of_the_first)


@mutation("what is named is not deleted", *DROWSY_COLLECTORS)
def values_are_listed_after_the_log_was_read(mutant: Mutant) -> None:
    """Whoever sleeps between the two finds a value that came and was committed meanwhile old, and not named."""
    sweep = compact.SequencedCollector._sweep_values  # pyright: ignore[reportPrivateUsage]
    live_values = compact.SequencedCollector._live_values  # pyright: ignore[reportPrivateUsage]

    async def read_then_list(self: Any, floor: int, report: Any, dry_run: bool, tell: Any) -> None:
        live = await live_values(self, floor, tell)

        async def known(floor: int, tell: Any) -> set[str]:
            return live

        self._live_values = known
        await sweep(self, floor, report, dry_run, tell)

    mutant.replace(compact.SequencedCollector._sweep_values, read_then_list)


@mutation("what the log names is there", UNCOMMITTED)
def young_values_are_deleted(mutant: Mutant) -> None:
    mutant.replace(compact.VALUE_AGE, timedelta(0), within=compact)


@mutation("what the log names is there", *SLOW_NOTERS)
def a_turn_that_stood_still_goes_on(mutant: Mutant) -> None:
    """How old the uploads are was looked at before."""
    mutant.replace(Committer._has_stood_still, lambda *_: False)  # pyright: ignore[reportPrivateUsage]


@mutation("what the log names is there", LATECOMER)
def uploads_are_trusted_for_ever(mutant: Mutant) -> None:
    mutant.replace(committing.TRUST_UPLOADS_FOR, timedelta(days=10_000), within=committing)


# -- what becomes of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_switched_off_is_caught(name: str, monkeypatch: pytest.MonkeyPatch):
    MUTATIONS.check(name, monkeypatch)


def test_with_all_rules_in_force_the_plans_made_by_hand_are_clean():
    for plan in MUTATIONS.plans_by_hand():
        report = play(plan)
        assert report.ok, report.explain()
