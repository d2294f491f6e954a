"""The checkers by mutation: right histories pass; each wrong put into them is found, and by its name."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.causality import (
    INIT,
    Deleted,
    History,
    Log,
    LoggedWrite,
    Observed,
    Operation,
    Pattern,
    Session,
    Violation,
    check_atomic,
    check_ccv,
    check_exactly_once,
    check_history,
    check_prefixes,
)

SEEDS = range(16)


def patterns(violations: list[Violation]) -> set[Pattern]:
    return {violation.pattern for violation in violations}


@dataclass(eq=False)
class Replica:
    """One session of the simulated database."""

    session: Session
    prefix: int = 0
    pending: list[Operation] = field(default_factory=list[Operation])


class Simulation:
    """Replicas of one log: they write, commit in groups, poll, and look; seeded.

    Args:
        seed: of everything.
        sessions, operations: how many, about.
        bug: what is wrong with it, if anything.
        exact: record which delete a missing value is due to, which a real reader cannot know.
    """

    def __init__(
        self, seed: int, *, sessions: int = 4, operations: int = 120, bug: str = "", exact: bool = False
    ) -> None:
        self.chance = random.Random(seed)
        self.keys = [f"k{number}" for number in range(5)]
        self.bug = bug
        self.exact = exact
        self.history = History()
        self.log: list[list[LoggedWrite]] = []
        self.replicas = [Replica(self.history.session(f"s{number}")) for number in range(sessions)]
        self._made = 0
        self._reached: dict[Replica, tuple[int, dict[str, Observed]]] = {}
        for _ in range(operations):
            self._act(self.chance.choice(self.replicas))

    def _act(self, replica: Replica) -> None:
        match self.chance.choices(["look", "write", "commit", "poll", "transact"], [40, 25, 20, 14, 1])[0]:
            case "look":
                replica.session.read(self.look(replica), prefix=self.chance.choice([None, replica.prefix]))
            case "write":
                replica.pending.append(replica.session.write(self.update()))
            case "commit" if replica.pending:
                self._commit(replica)
            case "poll":
                self._poll(replica)
            case "transact":
                replica.pending.append(replica.session.transact(self.look(replica), self.update()))
            case _:
                pass

    def some_keys(self) -> list[str]:
        return self.chance.sample(self.keys, self.chance.choice([1, 1, 2, 3]))

    def update(self) -> dict[str, str | None]:
        self._made += 1
        return {key: None if self.chance.random() < 0.15 else f"v{self._made}" for key in self.some_keys()}

    def look(self, replica: Replica, keys: list[str] | None = None) -> dict[str, Observed]:
        state = self._state(replica)
        for write in replica.pending if self.bug != "no own writes" else []:
            state.update(write.writes)
        seen = {key: state.get(key, INIT) for key in keys or self.some_keys()}
        if not self.exact:
            seen = {key: None if isinstance(value, Deleted) or value is INIT else value for key, value in seen.items()}
        return seen

    def _state(self, replica: Replica) -> dict[str, Observed]:
        start, state = (0, {}) if self.bug else self._reached.get(replica, (0, {}))
        log = self.log[start : replica.prefix]
        if self.bug == "diverging" and replica is self.replicas[0]:
            log = log[:-2] + log[:-3:-1]
        for version in log:
            for write in version:
                update = {key: Deleted(write.id) if value is None else value for key, value in write.update.items()}
                if self.bug == "half a write" and version is log[-1]:
                    update = dict(list(update.items())[:1])
                state.update(update)
        self._reached[replica] = (replica.prefix, state)
        return dict(state)

    def _poll(self, replica: Replica) -> None:
        shortest = 0 if self.bug == "going back" else replica.prefix
        self._read_to(replica, self.chance.randint(shortest, len(self.log)))

    def _read_to(self, replica: Replica, prefix: int) -> None:
        known = {write.id for version in self.log[replica.prefix : prefix] for write in version}
        replica.prefix = prefix
        replica.pending = [write for write in replica.pending if write.id not in known]

    def _commit(self, replica: Replica) -> None:
        self._read_to(replica, len(self.log))
        group = replica.pending[: self.chance.randint(1, 3)]
        version = [LoggedWrite(write.id, plain(write)) for write in group]
        if self.bug == "losing" and self.chance.random() < 0.1:
            version = version[1:]
        self.log.append(version)
        if self.bug == "twice" and self.chance.random() < 0.1:
            self.log.append(version)
        if self.bug == "misplacing" and self.chance.random() < 0.2 and len(self.log) > 1:
            self.log[-2:] = reversed(self.log[-2:])
        self._read_to(replica, len(self.log))
        for write in group:
            self.history.acknowledge(write)
            if write in replica.pending:
                replica.pending.remove(write)


def plain(write: Operation) -> dict[str, str | None]:
    return {key: None if isinstance(value, Deleted) else value for key, value in write.writes.items()}


# Right histories.


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_found_in_what_a_right_database_did(seed: int, exact: bool) -> None:
    run = Simulation(seed, exact=exact)
    assert check_history(run.history, run.log) == []


def test_nothing_is_found_where_nothing_happened() -> None:
    assert check_history(History(), []) == []


def test_ten_thousand_operations() -> None:
    run = Simulation(1, sessions=16, operations=16_000)
    assert len(list(run.history.operations)) >= 10_000
    assert check_history(run.history, run.log) == []
    reader = run.history.session("a reader of old news")
    first, second = next(iter(run.history.writes.values())), run.history.session("a writer")
    key = next(iter(first.writes))
    reader.read({key: first.writes[key]})
    second.read({key: first.writes[key]})
    reader.read({key: second.write({key: "newest"}).writes[key]})
    reader.read({key: first.writes[key]})
    assert Pattern.WRITE_CO_READ in patterns(check_ccv(run.history))


# Patterns, each put into right histories.


def put_thin_air_read(run: Simulation) -> None:
    run.replicas[0].session.read({"k0": "nobody's"})


def put_cyclic_co(run: Simulation) -> None:
    a, b = run.history.session("a"), run.history.session("b")
    a.read({"p": "b-1"})
    a.write({"p": "a-1"})
    b.read({"p": "a-1"})
    b.write({"p": "b-1"})


def put_write_co_init_read(run: Simulation) -> None:
    run.replicas[0].session.write({"p": "first"})
    run.replicas[0].session.write({"q": "second"})
    a, b = run.history.session("a"), run.history.session("b")
    a.read({"q": "second"})
    a.write({"r": "after that"})
    b.read({"r": "after that"})
    b.read({"p": INIT if run.exact else None, "q": "second"})


def put_write_co_read(run: Simulation) -> None:
    a, b = run.replicas[0].session, run.replicas[1].session
    a.write({"p": "old"})
    b.read({"p": "old"})
    b.write({"p": "new"})
    c = run.history.session("c")
    c.read({"p": "new"})
    c.read({"p": "old"})


def put_cyclic_cf(run: Simulation) -> None:
    run.replicas[0].session.write({"p": "a-1"})
    run.replicas[1].session.write({"p": "b-1"})
    for name, seen in {"c": ["a-1", "b-1"], "d": ["b-1", "a-1"]}.items():
        session = run.history.session(name)
        for value in seen:
            session.read({"p": value})


def put_fractured_read(run: Simulation) -> None:
    run.replicas[0].session.write({"p": "whole", "q": "whole"})
    run.history.session("c").read({"p": "whole", "q": None})


def put_mutually_fractured_read(run: Simulation) -> None:
    run.replicas[0].session.write({"p": "a-1", "q": "a-1"})
    run.replicas[1].session.write({"p": "b-1", "q": "b-1"})
    run.history.session("c").read({"p": "a-1", "q": "b-1"})


def put_mutually_fractured_read_of_many_keys(run: Simulation) -> None:
    run.replicas[0].session.write({"p": "a-1", "q": "a-1", "s": "a-1"})
    run.replicas[1].session.write({"q": "b-1", "r": "b-1", "s": "b-1"})
    run.history.session("c").read({"p": "a-1", "q": "a-1", "r": "b-1", "s": "b-1"})


def put_half_a_write_step_by_step(run: Simulation) -> None:
    run.replicas[0].session.write({"p": "whole", "q": "whole"})
    c = run.history.session("c")
    c.read({"p": "whole"})
    c.read({"q": None})


def put_cyclic_atomic(run: Simulation) -> None:
    run.replicas[0].session.write({"p": "a-1", "q": "a-1"})
    run.replicas[1].session.write({"p": "b-1", "q": "b-1"})
    c, d = run.history.session("c"), run.history.session("d")
    for value in ("a-1", "b-1"):
        c.read({"p": value})
    for value in ("b-1", "a-1"):
        d.read({"q": value})


CCV: dict[Callable[[Simulation], None], set[Pattern]] = {
    put_thin_air_read: {Pattern.THIN_AIR_READ},
    put_cyclic_co: {Pattern.CYCLIC_CO},
    put_write_co_init_read: {Pattern.WRITE_CO_INIT_READ},
    put_write_co_read: {Pattern.WRITE_CO_READ, Pattern.CYCLIC_CF},  # which the former implies
    put_cyclic_cf: {Pattern.CYCLIC_CF},
    put_fractured_read: set(),
    put_mutually_fractured_read: set(),
    put_mutually_fractured_read_of_many_keys: set(),
    put_half_a_write_step_by_step: set(),
    put_cyclic_atomic: set(),
}
ATOMIC: dict[Callable[[Simulation], None], set[Pattern]] = {
    put_thin_air_read: {Pattern.THIN_AIR_READ},
    put_cyclic_co: {Pattern.CYCLIC_CO},
    put_write_co_init_read: {Pattern.CYCLIC_ATOMIC},
    put_write_co_read: {Pattern.CYCLIC_ATOMIC},
    put_cyclic_cf: {Pattern.CYCLIC_ATOMIC},
    put_fractured_read: {Pattern.FRACTURED_READ, Pattern.CYCLIC_ATOMIC},
    put_mutually_fractured_read: {Pattern.FRACTURED_READ, Pattern.CYCLIC_ATOMIC},
    put_mutually_fractured_read_of_many_keys: {Pattern.FRACTURED_READ, Pattern.CYCLIC_ATOMIC},
    put_half_a_write_step_by_step: {Pattern.CYCLIC_ATOMIC},
    put_cyclic_atomic: {Pattern.CYCLIC_ATOMIC},
}


@pytest.mark.parametrize("put", CCV, ids=lambda put: put.__name__)
def test_a_pattern_put_into_a_right_history_is_found_and_named(put: Callable[[Simulation], None]) -> None:
    for seed in SEEDS:
        run = Simulation(seed, exact=seed % 2 == 0)
        put(run)
        assert patterns(check_ccv(run.history)) == CCV[put], seed
        assert patterns(check_atomic(run.history)) == ATOMIC[put], seed


def test_a_read_that_is_replaced_by_an_older_state_is_found() -> None:
    found = Counter[Pattern]()
    for seed in range(60):
        run = Simulation(seed, operations=200, exact=True)
        stale = run.chance.choice(run.replicas)
        newest = {key: value for key, value in run.look(stale, run.keys).items() if value is not INIT}
        stale.session.read(newest)
        key = run.chance.choice(sorted(newest))
        older = [w.writes[key] for w in stale.session.operations if key in w.writes and w.writes[key] != newest[key]]
        if older:
            stale.session.read({key: older[0]})
            found.update(patterns(check_ccv(run.history)))
    assert found[Pattern.WRITE_CO_READ] > 20


# Wrong databases.


@pytest.mark.parametrize(
    ("bug", "check", "names"),
    [
        ("diverging", check_ccv, {Pattern.CYCLIC_CF}),
        ("half a write", check_atomic, {Pattern.FRACTURED_READ, Pattern.CYCLIC_ATOMIC}),
        ("no own writes", check_ccv, {Pattern.WRITE_CO_INIT_READ, Pattern.WRITE_CO_READ}),
        ("going back", check_ccv, {Pattern.WRITE_CO_READ}),
    ],
)
def test_wrong_databases_are_found_by_what_they_show(
    bug: str, check: Callable[[History], list[Violation]], names: set[Pattern]
) -> None:
    found = Counter[Pattern]()
    for seed in SEEDS:
        run = Simulation(seed, operations=250, bug=bug)
        by_itself = patterns(check(run.history))
        found.update(by_itself)
        assert not by_itself or check_prefixes(run.log, run.history), f"seed {seed}: the log explains it"
    assert all(found[name] > len(SEEDS) // 2 for name in names), found


@pytest.mark.parametrize(
    ("bug", "check", "name"),
    [
        ("diverging", check_prefixes, Pattern.NOT_A_PREFIX),
        ("half a write", check_prefixes, Pattern.NOT_A_PREFIX),
        ("no own writes", check_prefixes, Pattern.NOT_A_PREFIX),
        ("going back", check_prefixes, Pattern.PREFIX_SHRANK),
        ("losing", check_prefixes, Pattern.REORDERED_WRITES),
        ("losing", check_exactly_once, Pattern.LOST_WRITE),
        ("twice", check_exactly_once, Pattern.DUPLICATE_WRITE),
        ("misplacing", check_prefixes, Pattern.NOT_A_PREFIX),
    ],
)
def test_wrong_databases_are_found_by_their_log(
    bug: str, check: Callable[[Log, History], list[Violation]], name: Pattern
) -> None:
    runs = [Simulation(seed, operations=250, bug=bug) for seed in SEEDS]
    found = sum(name in patterns(check(run.log, run.history)) for run in runs)
    assert found > len(SEEDS) * 3 // 4


# Recording and reporting.


def test_what_is_written_must_be_unique() -> None:
    history = History()
    a = history.session("a")
    a.write({"x": "1"}, id="w")
    with pytest.raises(ValueError, match="written twice"):
        history.session("b").write({"x": "1"})
    with pytest.raises(ValueError, match="'w' already"):
        a.write({"x": "2"}, id="w")
    with pytest.raises(ValueError, match="'a' already"):
        history.session("a")
    a.write({"x": None, "y": "1"})
    a.write({"x": None})
    assert len(a.operations) == len(history.writes) == 3
    assert check_history(history) == []


def test_a_missing_value_is_explained_by_elimination() -> None:
    def history_with(*ends: str | None) -> History:
        history = History()
        a, b = history.session("a"), history.session("b")
        a.write({"x": "1"})
        for number, end in enumerate(ends):
            a.write({"x": end, "y": f"{number}"})
            b.read({"y": f"{number}"})
        b.read({"x": None, "y": f"{len(ends) - 1}"})
        return history

    assert check_history(history_with(None)) == []
    assert check_history(history_with("2", None)) == []
    assert Pattern.WRITE_CO_INIT_READ in patterns(check_history(history_with("2")))
    assert Pattern.FRACTURED_READ in patterns(check_history(history_with(None, "2")))


def test_a_delete_that_others_have_overwritten_explains_nothing() -> None:
    history = History()
    a, b, c = (history.session(name) for name in "abc")
    for number in "12":
        a.write({"x": None})
        a.write({"y": number})
        b.read({"y": number})
        b.write({"x": number})
        b.write({"z": number})
        a.read({"z": number})
    c.read({"z": "2"})
    assert check_ccv(history) == []
    c.read({"x": None, "z": "2"})
    assert patterns(check_ccv(history)) == {Pattern.WRITE_CO_INIT_READ}


def test_a_delete_that_was_seen_brings_its_causes_with_it() -> None:
    history = History()
    a, c = history.session("a"), history.session("c")
    a.write({"y": "1"})
    a.write({"z": None})
    a.write({"z": "1"})
    a.write({"x": None})
    c.write({"x": "1"})
    c.read({"y": None, "z": None})
    c.read({"x": None})  # nothing but the delete by a explains this
    assert check_history(history) == []
    c.read({"y": "1"})
    c.read({"z": None})
    (found,) = check_ccv(history)
    assert (found.pattern, found.operations[1]) == (Pattern.WRITE_CO_INIT_READ, c.operations[-1])


def test_an_explanation_tells_who_saw_what() -> None:
    history = History()
    alice, bob = history.session("alice"), history.session("bob")
    write = alice.write({"x": "a-1", "y": "a-2"})
    read = bob.read({"x": "a-1", "y": None})
    (fractured, cyclic) = check_atomic(history)
    assert fractured.operations == cyclic.operations == (write, read)
    assert str(fractured) == (
        "FracturedRead: bob#0 sees x='a-1' (by alice#0) of the write 'alice#0', but y as it was before"
    )
    update = alice.write({"x": "a-3", "y": "a-4"})
    old = bob.read({"x": "a-1", "y": "a-4"})
    assert check_atomic(history)[1].operations == (update, write, old)
    assert "y='a-4' (by alice#1) of the write 'alice#1', but x as it was before" in str(check_atomic(history)[1])
    bob.read({"x": "never"})
    (thin_air,) = check_ccv(history)
    assert str(thin_air) == "ThinAirRead: bob#2 reads x='never', which nobody wrote"


def test_a_cycle_is_told_step_by_step() -> None:
    run = Simulation(0, operations=0)
    put_cyclic_cf(run)
    (violation,) = check_ccv(run.history)
    first, second = "s0#0 writes p='a-1'", "s1#0 writes p='b-1'"
    assert [str(operation) for operation in violation.operations] == [second, first]
    assert str(violation) == (
        f"CyclicCF: {second} – must precede (by p in: d#1 reads p='a-1') "
        f"{first} – must precede (by p in: c#1 reads p='b-1') {second}"
    )
    run = Simulation(0, operations=0)
    put_cyclic_co(run)
    (violation,) = check_ccv(run.history)
    told = str(violation).removeprefix("CyclicCO: ")
    assert "b#1 writes p='b-1' – whose p is read by a#0 reads p='b-1' – then, in its session, a#1" in f"{told} – {told}"
