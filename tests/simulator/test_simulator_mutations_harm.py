"""The rules against damaged answers, puts that arrive twice and wrong dates, switched off one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from rxmps3.log import codec
from rxmps3.log.mps3.known import Known
from rxmps3.log.mps3.log import Mps3Log
from rxmps3.log.sequenced import collector
from rxmps3.log.sequenced.fence import Lease
from rxmps3.log.sequenced.identity import Sighting
from rxmps3.log.server_clock import GRACE, MARGIN, ServerDate
from rxmps3.replica.committer import TRUST_UPLOADS_FOR, Committer
from rxmps3.storage import confirmed
from rxmps3.storage.confirmed import ConfirmedStorage
from tests.mutating import Mutant
from tests.simulator import Plan, draw_plan, harmed, play
from tests.simulator.mutations import Mutations
from tests.simulator.plans_harm import (
    COLLECTOR_AHEAD,
    COLLECTOR_THROWN_AHEAD,
    DAMAGED_ENTRIES,
    DAMAGED_HEADS,
    DAMAGED_OPAQUE_ENTRIES,
    DAMAGED_OPERATIONS,
    DAMAGED_VALUES,
    DAMAGED_VERSIONS,
    LATECOMERS_FROM_THE_FUTURE,
    SLEEPERS_FROM_THE_FUTURE,
    STORED_TWICE,
)

MUTATIONS = Mutations()
mutation = MUTATIONS.add

# -- damaged answers -------------------------------------------------------------------------------------------


def _believing(mutant: Mutant) -> None:
    async def get(self: Any, name: str, **options: Any) -> Any:
        return await self.inner.get(name, **options)

    mutant.replace(ConfirmedStorage.get, get)


@mutation("nothing unexpected fails", *DAMAGED_ENTRIES[:4], saying="damaged")
def a_damaged_answer_is_not_read_again(mutant: Mutant) -> None:
    """What the entry's own check says is taken for damage of what is stored."""
    _believing(mutant)


@mutation("the state is the log's fold", *DAMAGED_ENTRIES)
def what_is_read_is_believed(mutant: Mutant) -> None:
    """As it was before entries carried a check: the newest one is vouched for by nothing."""
    _believing(mutant)
    mutant.replace(codec.check_seal, lambda body, what: None, within=codec)


@mutation("the state is the log's fold", *DAMAGED_OPAQUE_ENTRIES)
def what_cannot_be_checked_is_believed(mutant: Mutant) -> None:
    """Entries carry no check, ETags are no MD5s, and yet nothing is read a second time."""
    mutant.replace(confirmed.is_intact, lambda body: None, within=confirmed)
    mutant.replace(codec.check_seal, lambda body, what: None, within=codec)
    mutant.replace(confirmed._is_md5, lambda answer: True)  # pyright: ignore[reportPrivateUsage]


@mutation("nothing unexpected fails", *DAMAGED_OPERATIONS)
def an_operation_that_cannot_be_checked_is_believed(mutant: Mutant) -> None:
    """The format of mps3 has no room for a check."""
    mutant.replace(confirmed._is_md5, lambda answer: True)  # pyright: ignore[reportPrivateUsage]


@mutation("nothing unexpected fails", *DAMAGED_VALUES, saying="SHA-256")
def a_damaged_value_is_not_read_again(mutant: Mutant) -> None:
    async def once(self: Any, name: str, verify: Any, **options: Any) -> Any:
        answer = await self.inner.get(name, **options)
        return await verify(answer.body) if hasattr(answer, "body") else None

    mutant.replace(ConfirmedStorage.get_verified, once)


@pytest.mark.parametrize(
    "plan",
    [
        *DAMAGED_ENTRIES[:6],
        *DAMAGED_OPAQUE_ENTRIES[:6],
        *DAMAGED_HEADS[:3],
        *DAMAGED_VALUES[:2],
        *DAMAGED_OPERATIONS[:6],
        *DAMAGED_VERSIONS[:12],
    ],
    ids=lambda plan: f"{plan.protocol}-{plan.faults[0].channel}-{plan.faults[0].extra:.2f}-{plan.weather.opaque}",
)
def test_each_damaged_answer_is_reported_once_and_nothing_else_comes_of_it(plan: Plan) -> None:
    report = play(plan)
    assert report.ok, report.explain()
    happened = sum(fault.kind == "damaged" for fault in report.faults)
    assert report.counts["damage reported"] == happened == 1


# -- puts that arrive once more --------------------------------------------------------------------------------


@mutation("replicas converge", STORED_TWICE)
def an_operation_that_was_stored_twice_is_not_restored(mutant: Mutant) -> None:
    """Those who know it keep it, and whoever comes later never hears of it."""

    async def leave(self: Any) -> None:
        pass

    mutant.replace(Mps3Log._restore, leave)


@mutation("replicas converge", STORED_TWICE)
def an_operation_that_was_stored_twice_stops_counting(mutant: Mutant) -> None:
    """It counts or not by when it was stored last."""
    keep = Known._with_vanished  # pyright: ignore[reportPrivateUsage]
    mutant.replace(Known._with_vanished, lambda self, listed: [one for one in keep(self, listed) if one.counts])


# -- dates that are wrong for one client -----------------------------------------------------------------------


@mutation("the grace is kept", COLLECTOR_AHEAD, COLLECTOR_THROWN_AHEAD)
def the_time_is_not_checked_before_anything_is_deleted(mutant: Mutant) -> None:
    async def believed(storage: Any, name: str, dated: ServerDate, manifest: str) -> datetime | None:
        return dated.last

    mutant.replace(collector.certain_time, believed, within=collector)


@mutation("what is acknowledged is in the log", *SLEEPERS_FROM_THE_FUTURE)
def a_lease_counts_whatever_time_it_is_from(mutant: Mutant) -> None:
    """An answer that is dated before the lease is taken for a young one, where nobody looks whether the log is there."""

    def covers(self: Lease, seq: int, answered: datetime, now: float) -> bool:
        return seq > self.floor and answered - self.seen < GRACE - MARGIN

    mutant.replace(Lease.covers, covers)
    mutant.replace(Sighting.is_old, lambda self, answered=None: False)


@mutation("what the log names is there", *LATECOMERS_FROM_THE_FUTURE)
def an_upload_from_the_future_is_young(mutant: Mutant) -> None:
    def is_old(self: Any, upload: Any, now: datetime | None) -> bool:
        return upload.date is not None and now is not None and now - upload.date >= TRUST_UPLOADS_FOR

    mutant.replace(Committer._is_old, is_old)


@mutation("the state is the log's fold", harmed(draw_plan(2, protocol="versioned")))
def versions_are_settled_by_the_date_of_an_answer_alone(mutant: Mutant) -> None:
    mutant.replace(ServerDate.is_borne_out, lambda self, date: True)


@pytest.mark.parametrize("plan", [COLLECTOR_AHEAD, COLLECTOR_THROWN_AHEAD], ids=["always", "from some moment on"])
def test_whoever_collects_by_a_wrong_time_is_stopped(plan: Plan) -> None:
    report = play(plan)
    assert report.ok, report.explain()
    assert report.counts["collection stopped"]
    assert not report.counts["collected entries"]


def test_collection_goes_on_when_the_times_agree_again() -> None:
    plan = replace(COLLECTOR_THROWN_AHEAD, shifts=(replace(COLLECTOR_THROWN_AHEAD.shifts[0], end=500.0),))
    steps = [replace(client, retention=0.0) if client.name == "kim" else client for client in plan.clients]
    kim = replace(steps[1], steps=(*steps[1].steps, *(replace(steps[1].steps[0], wait=3000.0) for _ in range(3))))
    report = play(replace(plan, clients=(steps[0], kim)))
    assert report.ok, report.explain()
    assert report.counts["collection stopped"]
    assert report.counts["collected entries"]


# -- all of them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_that_is_switched_off_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS.check(name, monkeypatch)


def _distinct(plans: Sequence[Plan]) -> list[Plan]:
    return list(dict.fromkeys(plans))


def test_the_plans_are_harmless_as_it_is() -> None:
    for plan in _distinct(MUTATIONS.plans())[::5]:
        report = play(plan)
        assert report.ok, report.explain()
