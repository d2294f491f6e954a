"""Recorded runs, of the simulator and of the library itself, are runs of the model; and what no rule allows is not."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from rxmps3.errors import Error
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage.base import Storage
from rxmps3.storage.memory import MemoryStorage
from rxmps3.storage.urls import open_storage
from rxmps3.testing.faults import late, lose_answers, resend, throttle
from rxmps3.testing.wrappers import FaultyStorage
from tests.model.histories import played
from tests.model.recording import Call, RecordingStorage, Tape, Unfit
from tests.model.spin import Search
from tests.mutating import Mutant
from tests.servers import SHARED_BUCKET, SeaweedFS
from tests.simulator import Plan, draw_plan
from tests.simulator.drawing import with_bell
from tests.simulator.mutations import Mutations
from tests.simulator.plans import (
    DOUBLED_SLEEPER,
    LATECOMER,
    SLEEPER,
    SLEEPING_PAIR,
    SLEEPING_READER,
    TWO_FIRSTS,
    two_keepers,
)
from tests.simulator.test_simulator_mutations import MUTATIONS as COMMITTING
from tests.simulator.test_simulator_mutations_upkeep import MUTATIONS as UPKEEP

pytestmark = pytest.mark.timeout(180)  # the first test compiles the model

BY_HAND = [SLEEPER, DOUBLED_SLEEPER, SLEEPING_READER, SLEEPING_PAIR, LATECOMER, TWO_FIRSTS, two_keepers(0.55)]


@dataclass
class Replayer:
    """Whether a record is of a run of the model."""

    search: Search
    folder: Path

    def furthest(self, tape: Tape, copied: Iterable[str] = ()) -> str:
        """ "" if it is; else where it ceases to be one."""
        path = tape.save(self.folder / "record", copied)
        verdict = self.search.run({"RECORD": str(path)}, seconds=50)
        if verdict.error == "replayed":
            return ""
        assert verdict.complete, verdict.text
        where = next(line for line in verdict.text.splitlines() if line.startswith("furthest event"))
        return f"{where} of {len(tape.events)}, {verdict.states} states"


@pytest.fixture
def replays(replayer: Search, tmp_path: Path) -> Replayer:
    return Replayer(replayer, tmp_path)


# -- simulated histories ---------------------------------------------------------------------------------------------


def replay_all(replays: Replayer, plans: Sequence[Plan]) -> int:
    """How many of these plans the model has room for; each of those is one of its runs."""
    fit = 0
    for plan in plans:
        tape, report, copied = played(plan)
        assert report.ok, report.explain()
        try:
            where = replays.furthest(tape, copied)
        except Unfit:
            continue
        assert not where, f"seed {plan.seed}: {where}\n{report.explain()}"
        fit += 1
    return fit


@pytest.mark.parametrize("first", range(0, 20, 5))
def test_simulated_histories_are_runs_of_the_model(first: int, replays: Replayer):
    assert replay_all(replays, [draw_plan(seed) for seed in range(first, first + 5)]) >= 1


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(20, 80, 30))
def test_many_simulated_histories_are_runs_of_the_model(first: int, replays: Replayer):
    assert replay_all(replays, [draw_plan(seed) for seed in range(first, first + 30)]) >= 14


def test_histories_with_a_bell_are_runs_of_the_model(replays: Replayer):
    """In that of seed 8 a client looks whether its log is there after its lease has ended, and finds an entry again."""
    assert replay_all(replays, [with_bell(draw_plan(seed)) for seed in (8, 9, 10)]) >= 1


def test_histories_made_by_hand_are_runs_of_the_model(replays: Replayer):
    assert replay_all(replays, BY_HAND) == len(BY_HAND)


# -- real runs -------------------------------------------------------------------------------------------------------


async def play_for_real(storage: Callable[[], Storage], *, faults: bool = False, rounds: int = 8) -> Tape:
    """Three clients write and compact at the same time; later a fourth comes."""
    tape = Tape()
    networks: list[FaultyStorage] = []

    def bucket(name: str) -> Storage:
        spoilt = FaultyStorage(storage(), rng=random.Random(name))
        if faults:
            spoilt.plan = [throttle(9), lose_answers(7), resend(5), late(9, seconds=0.5)]
        networks.append(spoilt)
        return RecordingStorage(spoilt, tape, name)

    async def put(name: str, db: rxmps3.Database, key: str, value: int) -> None:
        tape.told(name, await db.put(key, value))

    async with AsyncExitStack() as open_:

        async def opened(name: str) -> rxmps3.Database:
            place = bucket(name)
            open_.push_async_callback(place.close)
            return await open_.enter_async_context(rxmps3.connect(place, shared=False, by=name, retention=timedelta(0)))

        everybody = {name: await opened(name) for name in ("ann", "bob", "cid")}
        for turn in range(rounds):
            await asyncio.gather(*(put(name, db, f"{name}/{turn}", turn) for name, db in everybody.items()))
            if turn == rounds // 2:
                try:
                    await everybody["cid"].compact()
                except Error:
                    pass  # the faults won: what it did until then is on the tape
        for network in networks:
            network.plan = ()
        faults = False
        newcomer = await opened("dot")
        await put("dot", newcomer, "dot", 1)
        for db in everybody.values():
            await db.refresh()
    return tape


@pytest.mark.parametrize("faults", [False, True], ids=["calm", "storm"])
async def test_a_run_on_a_storage_in_memory_is_a_run_of_the_model(faults: bool, replays: Replayer):
    bucket = MemoryStorage()
    tape = await play_for_real(lambda: bucket, faults=faults)
    assert not replays.furthest(tape)


@pytest.mark.seaweedfs
@pytest.mark.parametrize("faults", [False, True], ids=["calm", "storm"])
async def test_a_run_on_a_server_is_a_run_of_the_model(faults: bool, replays: Replayer, seaweedfs: SeaweedFS):
    url = f"s3://{SHARED_BUCKET}/model-{faults}"
    tape = await play_for_real(lambda: open_storage(url, clock=SystemClock(), **seaweedfs.options()), faults=faults)
    assert not replays.furthest(tape)


# -- what is no run of the model -------------------------------------------------------------------------------------


def entries(tape: Tape, verb: str, outcome: int) -> list[int]:
    return [
        n for n, call in enumerate(tape.calls) if "/log/" in call.name and (call.verb, call.outcome) == (verb, outcome)
    ]


def changed(tape: Tape, number: int, **members: Any) -> Tape:
    calls = list(tape.calls)
    calls[number] = replace(calls[number], **members)
    return replace(tape, calls=calls)


def another_number(tape: Tape) -> Tape:
    """An entry is put at the number after the one that it was put at."""
    number = entries(tape, "put", 1)[3]
    name = tape.calls[number].name
    stem, _, digits = name.rpartition("/")
    return changed(tape, number, name=f"{stem}/{int(digits) + 1:020}")


def another_content(tape: Tape) -> Tape:
    """An entry is found with the content of another attempt at it."""
    number = entries(tape, "get", 1)[2]
    body = json.loads(tape.calls[number].body or b"")
    return changed(tape, number, body=json.dumps({**body, "time": "2026-01-01T00:00:00.000Z"}).encode())


def two_winners(tape: Tape) -> Tape:
    """A create that was refused is called done."""
    number = entries(tape, "put", 0)[0]
    return changed(tape, number, outcome=1, date=tape.calls[number - 1].date)


def a_hole(tape: Tape) -> Tape:
    """An entry that is there is not found."""
    first = entries(tape, "get", 1)[0]
    return changed(tape, first, outcome=0, body=None)


def told_too_early(tape: Tape) -> Tape:
    """A commit is told of before its request was made."""
    told = next(n for n, event in enumerate(tape.events) if event[0] == "told")
    first = next(
        n for n, event in enumerate(tape.events) if event[0] == "call" and event[1] == entries(tape, "put", 1)[0]
    )
    events = list(tape.events)
    events.insert(min(first, told), events.pop(told))
    return replace(tape, events=events)


def not_what_was_read(tape: Tape) -> Tape:
    """An entry does not name the one before it."""
    number = entries(tape, "put", 1)[3]
    body = json.loads(tape.calls[number].body or b"")
    before = tape.calls[number].body
    other = json.dumps({**body, "previous": "0" * 64}).encode()
    calls = [replace(call, body=other) if call.body == before else call for call in tape.calls]
    return replace(tape, calls=calls)


def sent_again(tape: Tape) -> Tape:
    """An entry holds a write that its client has been told of."""
    mine = [n for n in entries(tape, "put", 1) if tape.calls[n].client == "cid"]
    first, later = (json.loads(tape.calls[n].body or b"") for n in (mine[0], mine[-1]))
    other = json.dumps({**later, "writes": [*later["writes"], *first["writes"]]}).encode()
    before = tape.calls[mine[-1]].body
    calls = [replace(call, body=other) if call.body == before else call for call in tape.calls]
    return replace(tape, calls=calls)


@pytest.mark.parametrize(
    "spoil",
    [another_number, another_content, two_winners, a_hole, told_too_early, not_what_was_read, sent_again],
    ids=lambda spoil: spoil.__name__,
)
async def test_a_spoilt_record_is_refused(spoil: Callable[[Tape], Tape], replays: Replayer):
    bucket = MemoryStorage()
    tape = await play_for_real(lambda: bucket)
    assert not replays.furthest(tape)
    assert replays.furthest(spoil(tape))


def deletions(tape: Tape) -> list[Call]:
    return [call for call in tape.calls if call.verb == "delete" and "/log/" in call.name]


def test_a_record_without_the_grace_is_refused(replays: Replayer):
    """The same history, of a bucket whose clock says that the floor was raised an hour later."""
    tape, _, _ = played(SLEEPER)
    assert deletions(tape)
    assert not replays.furthest(tape)
    raised = [
        replace(call, modified=call.modified + timedelta(hours=1))
        if call.name.endswith("/head") and call.modified is not None and json.loads(call.body or b"{}").get("floor")
        else call
        for call in tape.calls
    ]
    assert replays.furthest(replace(tape, calls=raised))


SWITCHED_OFF: list[tuple[Mutations, str]] = [
    (COMMITTING, "a_412_is_taken_for_a_lost_race"),
    (COMMITTING, "a_new_number_while_one_is_unknown"),
    (COMMITTING, "no_answer_is_taken_for_success"),
    (UPKEEP, "a_lease_never_ends"),
    (UPKEEP, "what_was_created_counts_without_a_lease"),
    (UPKEEP, "what_is_found_after_a_refusal_counts_without_a_lease"),
    (UPKEEP, "the_head_is_rewritten_whatever_it_is_by_then"),
    (UPKEEP, "entries_are_deleted_at_once"),
    (UPKEEP, "the_grace_counts_from_the_raise_before"),
    (UPKEEP, "entries_are_deleted_up_to_the_checkpoint"),
    (UPKEEP, "a_checkpoint_leaves_out_the_writers"),
]
SHOWN_SOON = {("a_new_number_while_one_is_unknown", 29)}
"""Plans that are played before the others, which take a minute."""


@pytest.mark.heavy
@pytest.mark.parametrize(("mutations", "name"), SWITCHED_OFF, ids=[name for _, name in SWITCHED_OFF])
def test_a_run_of_the_library_without_a_rule_is_refused(
    mutations: Mutations, name: str, replays: Replayer, monkeypatch: pytest.MonkeyPatch
):
    mutation = mutations[name]
    mutation.switch_off(Mutant(monkeypatch))
    for plan in sorted(mutation.plans, key=lambda plan: (name, plan.seed) not in SHOWN_SOON):
        tape, _, copied = played(plan)
        try:
            if replays.furthest(tape, copied):
                return
        except (Unfit, ValueError):
            continue
    pytest.fail("each of its runs is a run of the model")
