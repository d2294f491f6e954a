"""Writes that rest on something, through a bad network: each one in the log follows the very state that it rests on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from reactivex import operators as ops

import rxmps3
from rxmps3 import MISSING, Conflict, NotLoaded, Unavailable
from rxmps3.model import conditions, jsontext
from rxmps3.model.state import Entry, Event, Step, View, step
from rxmps3.replica.conditions import ConditionChecker
from rxmps3.storage import MemoryStorage
from rxmps3.testing import FaultyStorage, LatencyStorage, Plan, drop_requests, late, lose_answers, resend, throttle
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.behaviour.helpers import players, trace
from tests.durability.helpers import LARGE
from tests.mutating import Mutant

pytestmark = pytest.mark.async_only("it runs on virtual time")

State = Mapping[str, Any]
Check = Callable[[State], bool]
"""Whether what a write rests on is so in the state before it."""

PLANS: dict[str, Plan] = {
    "nothing but distance": (),
    "answers lost": lose_answers(one_in=3),
    "resent and told 412 for own success": resend(one_in=3),
    "late": late(one_in=4, seconds=20.0),
    "everything": (
        drop_requests(one_in=8),
        lose_answers(one_in=6),
        late(one_in=9, seconds=30.0),
        resend(one_in=5),
        throttle(one_in=9),
    ),
}
ACCOUNTS = [f"account/{n}" for n in range(4)]
CHECKER = ConditionChecker
APPEND = {"mergeStrategy": "append"}


class Client:
    """One client that changes what is there, and notes of each write what it rested on."""

    def __init__(self, db: Any, name: str, chance: random.Random, notes: dict[str, Check]) -> None:
        self._db = db
        self._name = name
        self._chance = chance
        self._notes = notes
        self._made = 0
        self.refused: list[str] = []

    async def act(self) -> None:
        """One change of some kind."""
        kinds = [self._move, self._move, self._count, self._sum, self._patch, self._append, self._claim, self._replace]
        try:
            await self._chance.choice(kinds)()
        except (Conflict, Unavailable, NotLoaded):
            pass  # nothing was written; a look may fail, and so may the download of a large value

    def _unique(self) -> str:
        self._made += 1
        return f"{self._name}{self._made}"

    async def _move(self) -> None:
        """From one account to another, if it has enough."""
        source, target = self._chance.sample(ACCOUNTS, 2)
        amount = self._chance.randrange(1, 40)
        used: Any = None
        read: dict[str, Any] = {}

        async def move(tx: Any) -> None:
            nonlocal used, read
            used, read = tx, await tx.get_many([source, target])
            await asyncio.sleep(0)
            if read[source] >= amount:
                tx.put_all({source: read[source] - amount, target: read[target] + amount})

        await self._db.transact(move, attempts=30)
        if used.version:
            self._notes[used.version] = lambda before: {key: before[key] for key in (source, target)} == read

    async def _sum(self) -> None:
        """Of all accounts, which is always the same."""
        used: Any = None
        read: dict[str, Any] = {}

        async def add(tx: Any) -> None:
            nonlocal used, read
            used, read = tx, await tx.get_prefix("account/")
            tx.put("sum", sum(read.values()))

        await self._db.transact(add, attempts=30)
        self._notes[used.version] = lambda before: _under("account/", before) == read

    async def _count(self) -> None:
        old: Any = None

        def count(value: int) -> int:
            nonlocal old
            old = value
            return value + 1

        new = await self._db.update("count", count, 0, attempts=30)
        assert new == old + 1

    async def _patch(self) -> None:
        """A member of its own of a document that is large or not."""
        change = {self._unique(): LARGE if self._chance.random() < 0.2 else 1, "last": self._name}
        await self._db.get("document")  # large ones are not at hand before
        version = await self._db.patch("document", change)
        self._notes[version] = lambda before: True
        self._notes[f"{version} made"] = lambda before: before["document"].items() >= change.items()

    async def _append(self) -> None:
        """Items of its own, some of them while the one before is on its way."""
        receipts: list[rxmps3.Receipt] = []
        for item in [self._unique() for _ in range(self._chance.randrange(1, 4))]:
            receipt = self._db.merge("list", [item], APPEND)
            self._notes[receipt.version] = _is_without(item)
            receipts.append(receipt)
        await asyncio.gather(*map(_committed, receipts))

    async def _claim(self) -> None:
        """A key that others may claim, too."""
        key = f"claim/{self._chance.randrange(30)}"
        receipt = self._db.create(key, self._name)
        self._notes[receipt.version] = lambda before: key not in before
        try:
            await receipt
        except Conflict:
            self.refused.append(receipt.version)

    async def _replace(self) -> None:
        """What it has seen last, or nothing at all; often with other writes of its own before it."""
        seen = self._db.states.value.get("plain")
        if self._chance.random() < 0.5:
            await self._put_plain()
        receipt = self._db.put("plain", self._unique(), if_version=seen.version if seen is not None else MISSING)
        self._notes[receipt.version] = lambda before: before.get("plain version") == (seen.version if seen else None)
        try:
            await receipt
        except Conflict:
            self.refused.append(receipt.version)

    async def _put_plain(self) -> None:
        receipt = self._db.put("other", self._unique())
        self._notes[receipt.version] = lambda before: True


def _is_without(item: str) -> Check:
    return lambda before: item not in before.get("list", [])


async def _committed(receipt: rxmps3.Receipt) -> str:
    return await receipt


def _under(prefix: str, state: State) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key.startswith(prefix)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_each_write_in_the_log_follows_the_state_that_it_rests_on(plan: Plan, seed: int) -> None:
    _play(plan, seed)


def _made_of_others(db: Any, view: View) -> list[str]:
    """The pending writes whose values are not what is made of those beneath them, as far as these are at hand."""
    wrong: list[str] = []
    ahead: dict[str, Entry | None] = {}
    for write in view.queue():
        derived = {} if write.conditions is None else write.conditions.derived
        for key, derivation in derived.items():
            entry, base = write.update[key], ahead.get(key, view.confirmed.entries.get(key))
            text, before = (None if one is None else db._replica.values.peek(one) for one in (entry, base))
            is_hidden = entry is base
            at_hand = text is not None and (base is None or before is not None)
            if at_hand and not is_hidden and derivation.apply(before) != text:
                wrong.append(f"{write.id.version} shows {text:.60} on {before!s:.60}")
        ahead.update(write.update)
    return wrong


def _every_write(basing: ConditionChecker, ready: Sequence[rxmps3.Write]) -> list[rxmps3.Write]:
    return list(ready)


def _step_alone(checker: ConditionChecker, view: View, event: Event) -> Step:
    return step(view, event)


def _same_version(entry: Any, wanted: Any) -> bool:
    return (entry and entry.version) == (wanted and wanted.version)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param([(CHECKER.standing, _every_write), (CHECKER.step, _step_alone)], id="nothing is looked at"),
        pytest.param([(CHECKER.step, _step_alone)], id="what changes beneath a write is looked at when it is sent"),
        pytest.param([(conditions._is_at, _same_version)], id="an own write made anew is taken for the old one"),
    ],
)
def test_a_rule_that_is_switched_off_is_noticed(rules: list[tuple[Any, Any]], mutant: Mutant) -> None:
    for rule, instead in rules:
        mutant.replace(rule, instead)
    with pytest.raises(AssertionError):
        _play_many(10)


def _play_many(seeds: int) -> None:
    for seed in range(seeds):
        _play(PLANS["nothing but distance"], seed)


def _play(plan: Plan, seed: int) -> None:
    async def main() -> None:
        chance = random.Random(f"changing {seed}")
        server = SimClock(f"server {seed}")
        storage = MemoryStorage(clock=server)
        notes: dict[str, Check] = {}
        async with players(storage, "witness", clock=SimClock("witness")) as (witness,):
            await witness.put_all({**dict.fromkeys(ACCOUNTS, 100), "document": {}})
            log = trace(witness.versions)
            networks = [_network(storage, chance, f"{seed} {name}") for name in "abcd"]
            databases: list[Any] = []
            for name, network in zip("abcd", networks, strict=True):
                databases.append(await rxmps3.connect(network, shared=False, by=name, clock=SimClock(name + str(seed))))
                network.plan = plan
            wrong = [trace(db.states.pipe(ops.map(partial(_made_of_others, db)), ops.filter(bool))) for db in databases]
            clients = [
                Client(db, name, random.Random(f"{name} {seed}"), notes)
                for db, name in zip(databases, "abcd", strict=True)
            ]
            await asyncio.gather(*(_live(client) for client in clients))
            for network in networks:
                network.plan = ()
            for db in databases:
                await db.close(timeout=600)
            await witness.refresh()
            refused = {version for client in clients for version in client.refused}
            end = await _judge(witness, log, notes, refused)
            assert sum(_under("account/", end).values()) == 400
            assert end["count"] == sum(1 for write in _writes(log) if "count" in write.update)
            assert len(_writes(log)) > 60
            assert wrong == [["completed"]] * 4, (
                "a view shows a write that is made of something else than what is beneath"
            )

    run_virtually(main())


async def _live(client: Client) -> None:
    for _ in range(25):
        await client.act()


def _network(storage: MemoryStorage, chance: random.Random, name: str) -> FaultyStorage:
    clock = SimClock(f"network {name}")
    far = LatencyStorage(storage, clock, lambda: chance.uniform(0.01, 0.3))
    return FaultyStorage(far, (), random.Random(f"faults {name}"), clock=clock)


def _writes(log: list[Any]) -> list[rxmps3.Write]:
    return [write for version in log for write in version.writes]


async def _judge(witness: Any, log: list[Any], notes: dict[str, Check], refused: set[str]) -> State:
    """Fold the log and check each write against the state before it; the state at the end."""
    state: dict[str, Any] = dict.fromkeys(ACCOUNTS, 100)
    state["document"] = {}
    for write in _writes(log):
        version = write.id.version
        assert version not in refused, "in the log, though its receipt said Conflict"
        if "count" in write.update:
            value = (await _values(witness, write))["count"]
            assert value == state.get("count", 0) + 1
        else:
            assert version in notes, "in the log, though nobody was told so"
            assert notes[version](state), (version, write)
        state |= await _values(witness, write)
        if "plain" in write.update:
            state["plain version"] = version
        made = notes.get(f"{version} made")
        assert made is None or made(state)
    [writes] = [[write for write in _writes(log) if "list" in write.update]]
    assert len(state.get("list", [])) == len(writes), "an item was lost"
    members = [write for write in _writes(log) if "document" in write.update]
    assert len(state["document"]) == len(members) + bool(members), "a member was lost"
    return state


async def _values(witness: Any, write: rxmps3.Write) -> dict[str, Any]:
    entries = {key: entry for key, entry in write.update.items() if entry is not None}
    return {key: jsontext.decode(text) for key, text in (await witness.read_texts(entries)).items()}
