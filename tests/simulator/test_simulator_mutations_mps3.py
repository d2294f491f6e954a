"""The rules of the mps3 log, switched off one at a time, and those of what a disk keeps for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rxmps3.errors import AccessDenied
from rxmps3.local.outbox import Outbox
from rxmps3.log.mps3 import collecting, known, recovering
from rxmps3.log.mps3 import log as mps3
from rxmps3.log.mps3.collecting import Mps3Collector
from rxmps3.log.mps3.known import Known
from rxmps3.log.mps3.listing import Listing, Vanished
from rxmps3.log.mps3.log import Mps3Log
from rxmps3.log.mps3.names import Stamp
from rxmps3.log.mps3.operation import LAG, Operation
from rxmps3.log.mps3.recovering import Recovery
from rxmps3.log.mps3.ticking import ServerClock
from rxmps3.model.state import Replayed, Write, WriteId
from rxmps3.replica.committer import Committer
from rxmps3.replica.outbox_worker import OutboxWorker
from rxmps3.storage.base import Stored
from rxmps3.testing import StorageWrapper
from tests.mutating import Mutant
from tests.simulator import Plan, draw_plan, play
from tests.simulator.drawing import harmed
from tests.simulator.mutations import Mutations
from tests.simulator.plans_mps3 import FORGOTTEN, FORGOTTEN_MEANWHILE, LAST_WORDS, MASKED, STUNNED, VANISHING

MUTATIONS = Mutations()


def drawn(*seeds: int) -> list[Plan]:
    """Plans of the mps3 log."""
    return [draw_plan(seed, protocol="mps3") for seed in seeds]


mutation = MUTATIONS.add

# -- what an operation is based on ---------------------------------------------------------------------------


@mutation("causality: WriteCORead", *drawn(155))
def the_age_of_a_base_is_not_checked(mutant: Mutant) -> None:
    """A process that stood still between reading and storing hides what others stored meanwhile."""
    mutant.replace(mps3.BASE_AGE, float("inf"), within=mps3)


@mutation("replicas converge", MASKED)
def the_window_is_no_longer_than_the_lag(mutant: Mutant) -> None:
    """As the JavaScript client has it."""
    mutant.replace(known.WINDOW, LAG, within=known)


@mutation("a session's writes keep their order", *drawn(18, 37))
def an_operation_is_not_newer_than_the_known_ones(mutant: Mutant) -> None:
    """Its time is that of its writer's clock, even if that is behind."""

    def new_stamp(self: Any) -> Stamp:
        self._count += 1
        return Stamp.of(round(self._listing.now()), self._session, self._count - 1)

    mutant.replace(Mps3Log._new_stamp, new_stamp)


@mutation("causality: WriteCOInitRead", VANISHING)
def an_operation_that_vanishes_is_read_as_empty(mutant: Mutant) -> None:
    """As the JavaScript client does."""
    get = Listing._get  # pyright: ignore[reportPrivateUsage]

    async def lenient(self: Any, listed: Any) -> None:
        try:
            await get(self, listed)
        except Vanished:
            self.fetched[listed.stamp.text] = Operation(listed.stamp, {}, {})

    mutant.replace(Listing._get, lenient)


@mutation("everything commits", *drawn(4, 6))
def the_clock_is_only_ever_put_forward(mutant: Mutant) -> None:
    """As the JavaScript client does."""
    heard = ServerClock.heard

    def forward(self: ServerClock, *args: Any) -> None:
        before = self.offset
        heard(self, *args)
        self.offset = max(self.offset, before)

    mutant.replace(ServerClock.heard, forward)


@mutation("causality: WriteCOInitRead", *drawn(5002))
def a_listing_that_came_late_is_believed(mutant: Mutant) -> None:
    """It shows nothing newer than this computer's clock, and that was too far behind to be set by so slow an answer."""
    list_up_to = Listing._list_up_to  # pyright: ignore[reportPrivateUsage]

    async def listed(self: Any) -> Any:
        return await list_up_to(self, round(self.now()) + 10_000)

    mutant.replace(Listing.list, listed)


@mutation("what the log names is there", *drawn(2063))
def a_commit_that_stood_still_goes_on(mutant: Mutant) -> None:
    """Meanwhile its values have been collected, since nothing named them."""
    mutant.replace(mps3._SUSPENDED, timedelta.max, within=mps3)  # pyright: ignore[reportPrivateUsage]


# -- what became of an operation -----------------------------------------------------------------------------


@mutation("what is acknowledged is in the log", *drawn(3019))
def the_time_of_an_answer_is_not_compared_with_that_of_the_operation(mutant: Mutant) -> None:
    """One that is too far off counts for nobody, its writer apart."""

    class Undated(StorageWrapper):
        async def put(self, *args: Any, **options: Any) -> Stored:
            return replace(await super().put(*args, **options), date=None)

    put = Mps3Log._put  # pyright: ignore[reportPrivateUsage]

    async def trusting(self: Any, update: Any, writes: Any) -> bool:
        storage, self._storage = self._storage, Undated(self._storage)
        try:
            return await put(self, update, writes)
        finally:
            self._storage = storage

    mutant.replace(Mps3Log._put, trusting)


@mutation("each write is in the log once", *drawn(2, 9))
def what_became_of_an_operation_is_not_found_out_before_the_next(mutant: Mutant) -> None:
    async def forget(self: Any, attempt: Any) -> None:
        del self._known.own_operations[attempt.stamp.text]
        self._attempt = None

    mutant.replace(Mps3Log._resolve_attempt, forget)


@mutation("each write is in the log once", *drawn(134))
def an_operation_that_is_not_seen_at_once_is_given_up(mutant: Mutant) -> None:
    """It may be on its way."""

    async def hasty(self: Any, attempt: Any) -> None:
        await self._refresh()
        if attempt.stamp.text not in self._known.seen:
            del self._known.own_operations[attempt.stamp.text]
        self._attempt = None

    mutant.replace(Mps3Log._resolve_attempt, hasty)


# -- after a restart -----------------------------------------------------------------------------------------


@mutation("each write is in the log once", *drawn(10, 33))
def what_a_dead_process_sent_is_not_looked_for(mutant: Mutant) -> None:
    async def recover(self: Any, writes: Sequence[Write]) -> bool:
        return False

    mutant.replace(Mps3Log._recover, recover)


@mutation("each write is in the log once", *map(harmed, drawn(3838, 3899, 4239)))
def only_what_is_about_to_be_sent_is_looked_for(mutant: Mutant) -> None:
    """An operation that holds more has their last words only."""
    recover, lacking = Mps3Log._recover, Recovery.lacking  # pyright: ignore[reportPrivateUsage]
    about_to_be_sent: dict[Recovery, set[WriteId]] = {}

    async def hasty(self: Any, writes: Sequence[Write]) -> bool:
        about_to_be_sent[self._recovery] = {write.id for write in writes}
        return await recover(self, writes)

    def of_those(self: Recovery) -> list[Write]:
        return [one for one in lacking(self) if self not in about_to_be_sent or one.id in about_to_be_sent[self]]

    mutant.replace(Mps3Log._recover, hasty)
    mutant.replace(Recovery.lacking, of_those)


@mutation("replicas converge", *map(harmed, drawn(43309)))
def a_listing_that_was_dismissed_is_remembered(mutant: Mutant) -> None:
    """An own operation of long ago is replayed on a state that others have changed since."""
    mutant.replace(Mps3Log._dismiss, lambda self, uncounted: None)  # pyright: ignore[reportPrivateUsage]


@mutation("each write is in the log once", *map(harmed, drawn(110368)))
def what_comes_after_a_write_that_nobody_can_tell_of_is_sent_again(mutant: Mutant) -> None:
    """It is in an operation that is still there, but was only looked for behind that write."""
    out_of_reach = Recovery.out_of_reach

    def giving_up_all(self: Recovery) -> list[Write]:
        lost = out_of_reach(self)
        self.known([one for one in self.lacking() if lost and one not in lost])
        return lost

    mutant.replace(Recovery.out_of_reach, giving_up_all)
    mutant.replace(Recovery._names, lambda self, writes: set())  # pyright: ignore[reportPrivateUsage]


@mutation("each write is in the log once", *map(harmed, drawn(206510)))
def a_refusal_is_believed(mutant: Mutant) -> None:
    """It may be the answer to a copy of the operation that the network has delivered later."""
    put = Mps3Log._put  # pyright: ignore[reportPrivateUsage]

    async def believing(self: Any, *args: Any) -> bool:
        try:
            return await put(self, *args)
        except AccessDenied:
            self._attempt = None
            raise

    mutant.replace(put, believing)


@mutation("each write is in the log once", *map(harmed, drawn(208489)))
def an_operation_that_came_too_late_tells_that_none_was_collected(mutant: Mutant) -> None:
    """It may have come after the collection."""
    mutant.replace(recovering.stored_at, lambda one: None, within=recovering)  # pyright: ignore[reportUnknownLambdaType]


@mutation("nothing unexpected fails", *map(harmed, drawn(221188)))
def an_operation_that_has_left_the_window_was_not_seen(mutant: Mutant) -> None:
    """The answer to its PUT came that late."""

    def is_seen(self: Any, stamp: Stamp) -> bool:
        return stamp.text in self.seen

    mutant.replace(Known.was_seen, is_seen)


@mutation("each write is in the log once", LAST_WORDS)
def the_last_operation_of_a_dead_process_is_not_waited_for(mutant: Mutant) -> None:
    recover = Mps3Log._recover  # pyright: ignore[reportPrivateUsage]

    async def hasty(self: Any, writes: Sequence[Write]) -> bool:
        opened_at, self._opened_at = self._opened_at, -1e9
        try:
            return await recover(self, writes)
        finally:
            self._opened_at = opened_at

    mutant.replace(Mps3Log._recover, hasty)


@mutation("each write is in the log once", *STUNNED)
def a_search_tells_of_all_until_its_end(mutant: Mutant) -> None:
    """Its process may have stood still since it listed what there is."""

    async def search(self: Any, lacking: Sequence[Write]) -> Any:
        found = await self._recovery.search(lacking)
        return self._clock.monotonic(), found

    mutant.replace(Mps3Log._search, search)  # pyright: ignore[reportPrivateUsage]


@mutation("each write is in the log once", *FORGOTTEN_MEANWHILE)
def an_operation_collected_during_a_search_counts_as_empty(mutant: Mutant) -> None:
    read = Recovery._operation  # pyright: ignore[reportPrivateUsage]

    async def lenient(self: Any, stamp: Stamp) -> Operation:
        try:
            return await read(self, stamp)
        except recovering._Collected:  # pyright: ignore[reportPrivateUsage]
            return Operation(stamp, {}, {})

    mutant.replace(Recovery._operation, lenient)


@mutation("each write is in the log once", FORGOTTEN)
def what_is_not_found_counts_as_never_sent_however_short_the_log(mutant: Mutant) -> None:
    mutant.replace(Recovery.out_of_reach, lambda *_: [])


@mutation("each write is in the log once", *drawn(975))
def the_disk_need_not_have_noted_what_is_sent(mutant: Mutant) -> None:
    init = OutboxWorker.__init__

    def careless(self: Any, *args: Any) -> None:
        init(self, *args[:-1], lambda: False)

    mutant.replace(OutboxWorker.__init__, careless)


@mutation("each write is in the log once", *drawn(481))
def what_was_sent_before_it_is_on_disk_is_not_noted(mutant: Mutant) -> None:
    async def mark_coming(self: Any, *args: Any) -> None:
        pass

    mutant.replace(Outbox.mark_coming, mark_coming)


# -- collection ----------------------------------------------------------------------------------------------


@mutation("what is named is not deleted", *drawn(1, 4))
def operations_within_the_window_are_collected(mutant: Mutant) -> None:
    mutant.replace(collecting.WINDOW, -1, within=collecting)


@mutation("the oldest versions go first", *drawn(1, 4))
def the_newest_operations_are_collected_first(mutant: Mutant) -> None:
    aged = Mps3Collector._expired  # pyright: ignore[reportPrivateUsage]

    def newest_first(self: Any, *args: Any) -> Any:
        return aged(self, *args)[::-1]

    mutant.replace(Mps3Collector._expired, newest_first)


@mutation("what is named is not deleted", *drawn(8, 35))
def values_are_collected_whether_an_operation_names_them_or_not(mutant: Mutant) -> None:
    async def named(self: Any) -> set[str]:
        return set()

    mutant.replace(Mps3Collector._named, named)


@mutation("what is named is not deleted", *drawn(4, 6))
def values_are_collected_however_young_they_are(mutant: Mutant) -> None:
    mutant.replace(collecting.VALUE_AGE, timedelta(0), within=collecting)


@mutation("what is named is not deleted", *drawn(343404))
def an_upload_goes_on_under_its_name_however_long_it_has_failed(mutant: Mutant) -> None:
    """Its first request arrived, and a collector's deletion of that object is late."""
    mutant.replace(Committer._is_doubtful, lambda *_: False)  # pyright: ignore[reportPrivateUsage]


@mutation("versions come once, in order", harmed(draw_plan(301699, protocol="mps3")))
def own_versions_are_told_after_a_state_that_has_them(mutant: Mutant) -> None:
    def untold(*parts: Any, told: bool = False) -> Replayed:
        return Replayed(*parts)

    mutant.replace(Replayed, untold, within=known)


# -- what becomes of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_switched_off_is_caught(name: str, monkeypatch: pytest.MonkeyPatch):
    MUTATIONS.check(name, monkeypatch)


def test_with_all_rules_in_force_the_plans_are_clean():
    for plan in dict.fromkeys(MUTATIONS.plans()):
        report = play(plan)
        assert report.ok, report.explain()
