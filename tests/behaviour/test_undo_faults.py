"""Undo and redo through a bad network: each brings back what its write found, and overwrites nobody."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING, Conflict, NotLoaded, Unavailable
from rxmps3.database import undo, undo_stack
from rxmps3.model.conditions import Conditions
from rxmps3.storage import MemoryStorage
from rxmps3.testing import Plan
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import players
from tests.behaviour.test_changing_faults import PLANS, _network
from tests.mutating import Mutant

pytestmark = pytest.mark.async_only("it runs on virtual time")

KEYS = ["a", "b", "c", "d", "e"]


class Client:
    """One client that writes values which nobody else writes, and takes some back.

    Attributes:
        undone: what each undo that was committed gave.
        redone: the same of each redo.
    """

    def __init__(self, db: rxmps3.Database, name: str, chance: random.Random) -> None:
        self._db = db
        self._name = name
        self._chance = chance
        self._made = 0
        self.undone: list[str] = []
        self.redone: list[str] = []

    async def live(self) -> None:
        for _ in range(25):
            await asyncio.sleep(self._chance.random())
            act = self._chance.choice([self._put, self._put, self._patch, self._undo, self._undo, self._redo])
            try:
                await asyncio.gather(*(act() for _ in range(self._chance.randrange(1, 4))))
            except (Conflict, Unavailable, NotLoaded):
                pass

    async def _put(self) -> None:
        """Some are left to themselves, so that the next act finds them pending."""
        keys = self._chance.sample(KEYS, self._chance.randrange(1, 3))
        receipt = self._db.put_all({key: self._value() for key in keys})
        if self._chance.random() < 0.5:
            await receipt

    def _value(self) -> Any:
        self._made += 1
        mark = f"{self._name}{self._made}"
        return self._chance.choice([{"mark": mark}, {"mark": mark, "large": "L" * 5000}, {"mark": mark}, MISSING])

    async def _patch(self) -> None:
        self._made += 1
        await self._db.patch(self._chance.choice(KEYS), {f"{self._name}{self._made}": 1})

    async def _undo(self) -> None:
        self.undone.append(await self._db.undo())

    async def _redo(self) -> None:
        self.redone.append(await self._db.redo())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_each_undo_in_the_log_takes_back_an_own_write_that_still_stands(plan: Plan, seed: int) -> None:
    assert _play(plan, seed) > 5


def _replaced_without_the_old(side: Any, old: Any, new: Any) -> Any:
    return {**side, **{key: new[key] for key in new if key in side}}


@pytest.mark.parametrize(
    ("rule", "instead"),
    [
        pytest.param(undo._conditions, lambda present: Conditions({}), id="an undo has no conditions"),
        pytest.param(undo_stack._replaced, _replaced_without_the_old, id="a step made anew keeps its old finds"),
    ],
)
def test_a_rule_that_is_switched_off_is_noticed(rule: Any, instead: Any, mutant: Mutant) -> None:
    mutant.replace(rule, instead)
    with pytest.raises(AssertionError):
        _play_many(10)


def _play_many(seeds: int) -> None:
    for seed in range(seeds):
        _play(PLANS["nothing but distance"], seed)


def _play(plan: Plan, seed: int) -> int:
    """How many undos and redos are in the log, each of which holds."""
    judged = 0

    async def main() -> None:
        nonlocal judged
        chance = random.Random(f"undoing {seed}")
        storage = MemoryStorage(clock=SimClock(f"server {seed}"))
        networks = [_network(storage, chance, f"{seed} {name}") for name in "abc"]
        clients: list[Client] = []
        databases: list[rxmps3.Database] = []
        for name, network in zip("abc", networks, strict=True):
            databases.append(await rxmps3.connect(network, shared=False, by=name, clock=SimClock(name + str(seed))))
            clients.append(Client(databases[-1], name, random.Random(f"{name} {seed}")))
            network.plan = plan
        await asyncio.gather(*(client.live() for client in clients))
        for network in networks:
            network.plan = ()
        for db in databases:
            await db.close(timeout=600)
        async with players(storage, "witness", clock=SimClock("witness")) as (witness,):
            undone = {version for client in clients for version in client.undone}
            redone = {version for client in clients for version in client.redone}
            judged = await _judge(witness, undone, redone)

    run_virtually(main())
    return judged


async def _judge(witness: rxmps3.Database, undone: set[str], redone: set[str]) -> int:
    """Each undo finds what an earlier write of its client has made, and makes what that found; or the other way.

    But a redo of a write that was cancelled brings to the log what was never there, so redoes are judged only where
    nothing of what they write is new.
    """
    state: dict[str, Any] = {}
    earlier: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
    judged = 0
    for write, values in await _writes(witness):
        before = {key: state.get(key, MISSING) for key in values}
        known = all(
            value is not MISSING and any(value == made.get(key) for _, _, made in earlier)
            for key, value in values.items()
        )
        if write.id.version in undone or (write.id.version in redone and known):
            judged += 1
            assert (write.id.writer, values, before) in earlier, f"{write.id.version}: {before} → {values}"
        earlier.append((write.id.writer, before, values))
        state.update(values)
    return judged


async def _writes(witness: rxmps3.Database) -> list[tuple[rxmps3.Write, dict[str, Any]]]:
    """Each write in the log with its values."""
    versions = {(one.version, key): one.value for key in KEYS for one in await witness.history(key)}
    seen: list[Any] = []
    archive = witness._replica.archive  # pyright: ignore[reportPrivateUsage]
    assert archive is not None
    end = int(witness.states.value.confirmed.version)
    point = await archive.point(None)
    found: set[str] = set()
    async for logged in archive.since(point, end):
        for write in logged.version.writes:
            if write.id.version not in found:
                found.add(write.id.version)
                seen.append((write, {key: versions.get((write.id.version, key), MISSING) for key in write.update}))
    return seen
