"""The same for the rules of the versioned log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from rxmps3.errors import Unavailable
from rxmps3.log.versioned import collector, log, order
from rxmps3.log.versioned.body import Body
from rxmps3.log.versioned.ends import Ends
from rxmps3.log.versioned.log import VersionedLog
from rxmps3.log.versioned.order import Base
from rxmps3.log.versioned.pace import ListingPace
from rxmps3.log.versioned.reading import Listing, fetch_bodies, list_versions
from rxmps3.model import state
from rxmps3.model.state import Committed, ManifestVersion, State
from tests.mutating import Mutant
from tests.simulator import Plan, draw_plan, play
from tests.simulator.drawing import harmed
from tests.simulator.mutations import Mutations
from tests.simulator.plans import LATE_CAUSE, OVERTAKEN, UNHEARD_OF

MUTATIONS = Mutations()

FOLD = "the state is the log's fold"


def mutation(caught_by: str, *where: int | Plan, saying: str = "") -> Any:
    """As `Mutations.add`, with seeds of histories of this log."""
    plans = [draw_plan(one, protocol="versioned") if isinstance(one, int) else one for one in where]
    return MUTATIONS.add(caught_by, *plans, saying=saying)


# -- the order and what follows from it ----------------------------------------------------------------------


@mutation(FOLD, 15, 30)
def nothing_is_held_back(mutant: Mutant) -> None:
    mutant.replace(order._not_placed, lambda *_: ())


@mutation(FOLD, 0, 1)
def a_version_is_applied_to_what_its_writer_knew(mutant: Mutant) -> None:
    """The base of a version is not the state of all before it, but that after its ``previous``."""
    fold, states = order.fold, dict[str, State]()
    said = dict[str, str]()
    init = Body.__init__

    def remember(self: Body, version: ManifestVersion, previous: str, *args: Any) -> None:
        init(self, version, previous, *args)
        said[version.id] = previous

    def raw(before: State, version: ManifestVersion) -> State:
        states[version.id] = fold(states.get(said[version.id], before), version)
        return states[version.id]

    mutant.replace(Body.__init__, remember)
    mutant.replace(order.fold, raw, within=order)


@mutation(FOLD, 0, 1)
def versions_are_applied_as_they_come(mutant: Mutant) -> None:
    """No rewind: what comes to light below known versions is put on top of them."""

    def as_they_come(known: Sequence[str], listed: Sequence[str]) -> list[str]:
        return [*known, *(id for id in listed if id not in known)]

    mutant.replace(order.merged, as_they_come)


@mutation("replicas converge", 17, 39)
def a_write_counts_each_time(mutant: Mutant) -> None:
    """No dedupe by writer, number and nonce."""
    mutant.replace(state._reached, lambda mark, write: False)


@mutation("a checkpoint is the log's fold", 0, 2)
def a_base_is_not_waited_for(mutant: Mutant) -> None:
    """What is known becomes the base at once, though something may still come to light below it."""
    mutant.replace(log.SETTLED_AFTER, timedelta(0), within=log)


# -- causes --------------------------------------------------------------------------------------------------


@mutation(FOLD, LATE_CAUSE, saying="comes before that")
def what_is_beside_is_ignored(mutant: Mutant) -> None:
    mutant.replace(Body.follows, lambda self: tuple(id for id in (self.previous, self.own) if id))


@mutation(FOLD, LATE_CAUSE, saying="comes before that")
def what_is_followed_is_not_looked_for(mutant: Mutant) -> None:
    async def carefree(storage: Any, names: Any, *down_to: Any, known: Any = (), seen: Any, **_: Any) -> Any:
        listing = await list_versions(storage, names, *down_to)
        lacking = [id for id in listing.ids if id not in known and id not in seen]
        return listing, {**await fetch_bodies(storage, names, lacking), **seen}

    mutant.replace(log.read_versions, carefree, within=log)


@mutation("causality: WriteCOInitRead", LATE_CAUSE)
def nothing_is_named_beside(mutant: Mutant) -> None:
    mutant.replace(Ends.beside, lambda *_: ())


# -- committing ----------------------------------------------------------------------------------------------


@mutation("causality: CyclicCF", OVERTAKEN)
def a_stored_version_is_not_waited_for(mutant: Mutant) -> None:
    """What is stored and not listed is sent again."""
    look = VersionedLog._wait_until_listed  # pyright: ignore[reportPrivateUsage]

    async def once(self: Any, one: Any) -> bool:
        try:
            return await look(self, one)
        except Unavailable:
            self._unlisted = None
            raise

    mutant.replace(VersionedLog._wait_until_listed, once)


@mutation(FOLD, 0, 12)
def a_commit_counts_before_it_is_listed(mutant: Mutant) -> None:
    async def at_once(self: Any, one: Any) -> bool:
        self._unlisted, self._unsure = None, False
        if not self._history.knows(one.body.id):
            self._history, events = order.learn(
                self._history, [*self._history.listed, one.body.id], {one.body.id: one.body}
            )
            for event in events:
                self.versions.on_next(event)
        return True

    mutant.replace(VersionedLog._wait_until_listed, at_once)


@mutation("what is acknowledged is in the log", 3, 4)
def no_answer_is_taken_for_success(mutant: Mutant) -> None:
    async def sure(self: Any, writes: Any) -> None:
        self.versions.on_next(Committed(ManifestVersion("", self._writer, self._by, None, tuple(writes))))
        self._unsure = False

    mutant.replace(VersionedLog._look_for, sure)


# -- reading -------------------------------------------------------------------------------------------------


@mutation("replicas converge", UNHEARD_OF)
def the_listing_is_looked_at_once(mutant: Mutant) -> None:
    """A late version below the newest changes no ETag, so nobody hears of it."""
    mutant.replace(ListingPace.is_due, lambda self: False)


# -- upkeep --------------------------------------------------------------------------------------------------


@mutation("the grace is kept", 2, 19)
def the_collector_has_no_patience(mutant: Mutant) -> None:
    mutant.replace(collector.GRACE, timedelta(0), within=collector)
    mutant.replace(collector.SETTLED_AFTER, timedelta(0), within=collector)


@mutation("the oldest versions go first", 8, 9)
def the_newest_versions_go_first(mutant: Mutant) -> None:
    def from_the_end(ids: Sequence[str], start: int) -> Any:
        return enumerate(ids[::-1], start)

    mutant.replace(enumerate, from_the_end, within=collector)  # it goes through them in this loop alone


@mutation("what is named is not deleted", 8, 14)
def states_keep_no_values(mutant: Mutant) -> None:
    """What the pivot names, and no version above it, is deleted with the rest."""
    mutant.replace(collector._named_in, lambda state: set())


@mutation("a checkpoint is the log's fold", 3)
def a_checkpoint_is_of_what_is_not_settled(mutant: Mutant) -> None:
    def present(self: Any) -> Base:
        history = self._history
        return Base(history.state, history.base.count + len(history.placed), history.base.chain)

    mutant.replace(VersionedLog.base, present)


@mutation("everything commits", harmed(draw_plan(214342, protocol="versioned")))
def a_version_that_is_dated_ahead_is_waited_for_that_long(mutant: Mutant) -> None:
    """Answers were dated two days ahead when it was stored, and are not any more. It has been seen, and has settled:
    that, too, ends the wait."""

    def age(self: Any, monotonic: float, date: datetime) -> timedelta:
        return min(timedelta(seconds=monotonic - self.monotonic), date - self.date)

    mutant.replace(log._Unlisted.age, age)
    mutant.replace(VersionedLog._has_settled, lambda *_: False)


@mutation(FOLD, harmed(draw_plan(310623, protocol="versioned")))
def a_history_without_a_settled_beginning_begins_with_its_oldest_version(mutant: Mutant) -> None:
    """What came to light below that, and is collected by now, is missed."""

    def ends_before(self: Any, listing: Listing, new: Mapping[str, Body]) -> bool:
        oldest = self._history.oldest
        if not oldest:
            return any(body.checkpoint is not None for body in new.values())
        return not listing.partial and listing.stopped_at != oldest and oldest not in listing.ids

    mutant.replace(VersionedLog._is_out_of_reach, ends_before)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_switched_off_is_caught(name: str, monkeypatch: pytest.MonkeyPatch):
    MUTATIONS.check(name, monkeypatch)


def test_with_all_rules_in_force_the_same_plans_are_clean():
    plans = {plan.describe(): plan for mutation in MUTATIONS.values() for plan in mutation.plans}
    for plan in plans.values():
        report = play(plan)
        assert report.ok, report.explain()
