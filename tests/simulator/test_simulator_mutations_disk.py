"""The rules of what a process keeps on its disk, switched off one at a time: the outbox, and the disk itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from rxmps3.local.outbox import Outbox
from rxmps3.model.state import WriteId
from rxmps3.replica.outbox_worker import OutboxWorker
from rxmps3.replica.pending import PendingWrites
from tests.mutating import Mutant
from tests.simulator import play
from tests.simulator.disk import SimDisk
from tests.simulator.mutations import Mutations
from tests.simulator.plans import OFFLINE_WRITER, SHORT_LIVES, SHORT_MEMORY, forgetful

MUTATIONS = Mutations()
mutation = MUTATIONS.add

# -- the outbox ----------------------------------------------------------------------------------------------


@mutation("what is stored survives", OFFLINE_WRITER)
def the_outbox_forgets(mutant: Mutant) -> None:
    async def restore(self: Any) -> list[Any]:
        return []

    mutant.replace(Outbox.restore, restore)


@mutation("causality: ReorderedWrites", OFFLINE_WRITER)
def an_outbox_is_restored_newest_first(mutant: Mutant) -> None:
    restore = Outbox.restore

    async def backwards(self: Outbox) -> list[Any]:
        return (await restore(self))[::-1]

    mutant.replace(Outbox.restore, backwards)


@mutation("causality: ReorderedWrites", OFFLINE_WRITER)
def an_outbox_takes_the_newest_first(mutant: Mutant) -> None:
    add = Outbox.add

    async def backwards(self: Outbox, writes: Sequence[Any], by: str) -> None:
        await add(self, writes[::-1], by)

    mutant.replace(Outbox.add, backwards)


@mutation("a restart sees own writes", SHORT_MEMORY)
def what_is_committed_leaves_the_outbox_at_once(mutant: Mutant) -> None:
    """It is on the disk no more, and in the state that is there not yet."""
    end = PendingWrites.end

    def hasty(self: PendingWrites[Any], id: WriteId, *, committed: bool, left: bool = False) -> Any:
        ended = end(self, id, committed=committed, left=left)
        self.saved(self.unsaved())
        return ended

    mutant.replace(PendingWrites.end, hasty)


@mutation("each write is in the log once", forgetful(40))
def what_is_sent_is_not_noted(mutant: Mutant) -> None:
    """After a restart nothing says any more that the log may have forgotten the write."""

    async def mark_sent(self: Any, *args: Any) -> None:
        pass

    mutant.replace(Outbox.mark_sent, mark_sent)


@mutation("each write is in the log once", 220241)
def a_later_attempt_renews_the_dates_of_all(mutant: Mutant) -> None:
    """A write that is in the log, and whose writer it has forgotten, looks as if it had been sent of late."""
    mark_sent = Outbox.mark_sent

    async def renew(self: Outbox, ids: Sequence[WriteId], date: datetime | None, position: str) -> None:
        sent = self._sent  # pyright: ignore[reportPrivateUsage]
        attempts = tuple(one._replace(date=date) for one in sent.attempts)
        self._sent = replace(sent, attempts=attempts)  # pyright: ignore[reportPrivateUsage]
        await mark_sent(self, ids, date, position)

    mutant.replace(Outbox.mark_sent, renew)


# -- the disk ------------------------------------------------------------------------------------------------


@mutation("what is stored survives", SHORT_LIVES)
def stored_is_said_before_the_disk_says_so(mutant: Mutant) -> None:
    store = OutboxWorker._store  # pyright: ignore[reportPrivateUsage]

    async def hasty(self: Any, outbox: Outbox) -> None:
        for one in self._pending.to_store():
            if not one.is_over:
                one.receipt.mark_stored()
        await store(self, outbox)

    mutant.replace(OutboxWorker._store, hasty)


@mutation("what is stored survives", OFFLINE_WRITER)
def contents_are_not_synced(mutant: Mutant) -> None:
    mutant.replace(SimDisk.sync_content, lambda *_: None)


@mutation("what is stored survives", OFFLINE_WRITER)
def names_are_not_synced(mutant: Mutant) -> None:
    mutant.replace(SimDisk.sync_names, lambda *_: None)


# -- what becomes of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_switched_off_is_caught(name: str, monkeypatch: pytest.MonkeyPatch):
    MUTATIONS.check(name, monkeypatch)


def test_with_all_rules_in_force_the_plans_made_by_hand_are_clean():
    for plan in MUTATIONS.plans_by_hand():
        report = play(plan)
        assert report.ok, report.explain()
