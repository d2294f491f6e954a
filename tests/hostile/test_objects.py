"""Every kind of object, tampered with in every way: what a new client, a running one and `verify` make of it.

The same text is played for every pair: nobody ever reads a wrong value, the error names the object and is of the kinds
that say "look at the data", nothing in the bucket is changed, few requests are made, and what is pending goes out once
the object is restored.
"""

from __future__ import annotations

from typing import Any

import pytest

import rxmps3
from rxmps3.errors import Corrupt, Gone, Replaced, Unsupported
from rxmps3.log.sequenced.verify import verify
from tests.hostile.samples import HUGE, MAIN, TAMPERINGS, Objects, Sample, samples, tampered, virtually, zeros
from tests.hostile.watching import (
    Place,
    contents,
    failure_of,
    names_one_of,
    settles,
    suspects,
    untouched,
)

ROLES = {
    "young": ("head", "entry 1", "entry 2", "entry 3", "value big"),
    "grown": ("head", "entry 2", "entry 5", "entry 6", "entry 7", "checkpoint 3", "checkpoint 4", "value big"),
    "collected": ("head", "entry 6", "entry 8", "entry 9", "checkpoint 4", "checkpoint 7", "value huge"),
}
READ = {
    "young": ("head", "entry 1", "entry 2", "entry 3"),
    "grown": ("head", "entry 5", "entry 6", "entry 7", "checkpoint 4"),
    "collected": ("head", "entry 8", "entry 9", "checkpoint 7"),
}
"""What a new client reads of it while it opens."""
LAST = {"young": "entry 3", "grown": "entry 7", "collected": "entry 9"}
HARMLESS = {("grown", "head", "older"), ("collected", "head", "older")}
"""An older head, all that it names being there still, is only a longer way to the same state."""
UNDETERMINED = {("grown", "head", "older")}
"""Nothing about it is wrong."""
UNNOTICEABLE = {(name, last, how) for name, last in LAST.items() for how in ("deleted", "of another client")}
"""No hash covers the newest entry until another one follows: without it the log is the one of a moment ago."""

Case = tuple[str, str, str]
CASES: list[Case] = [
    (name, role, how)
    for name, roles in ROLES.items()
    for role in roles
    for how in TAMPERINGS
    if tampered(samples()[name], role, how)[1]
]


def cases(*unless: set[Case]) -> Any:
    chosen = [case for case in CASES if not any(case in some for some in unless)]
    return pytest.mark.parametrize("case", chosen, ids=["-".join(case).replace(" ", "_") for case in chosen])


def set_up(case: Case) -> tuple[Sample, Objects, list[str]]:
    """The healthy sample, its objects after the tampering, and the names by which an error may call the culprit."""
    name, role, how = case
    sample = samples()[name]
    return sample, tampered(sample, role, how)[0], suspects(sample.names(), role)


def is_clear(error: BaseException | None, names: list[str]) -> None:
    assert isinstance(error, (Corrupt, Unsupported)), repr(error)
    assert names_one_of(error, names), error


# -- a new client --------------------------------------------------------------------------------------------------


@cases(UNNOTICEABLE)
def test_a_new_client_reads_what_is_true_or_says_what_is_wrong(case: Case) -> None:
    sample, objects, names = set_up(case)
    name, role, _ = case

    async def scenario() -> None:
        place = Place()
        await place.hold(objects)
        noticed = role in READ[name] and case not in HARMLESS
        if noticed:
            is_clear(await failure_of(place.connect()), names)
            is_clear(await failure_of(place.connect(read_only=True)), names)
        else:
            db = await place.connect()
            if role.startswith("value"):
                await one_value_is_unreadable(db, sample, role, names)
            else:
                assert await contents(db) == sample.state
        assert not place.storage.unlimited
        assert len(place.storage.requests) < 100
        untouched(objects, await place.objects())
        place.check_failures()
        await place.close()

    virtually(scenario)


async def one_value_is_unreadable(db: rxmps3.Database, sample: Sample, role: str, names: list[str]) -> None:
    key = role.partition(" ")[2]
    assert sorted(db.keys()) == sorted(sample.state)
    is_clear(await failure_of(db.get(key)), names)
    is_clear(await failure_of(db.get_prefix("")), names)
    rest = [one for one in sample.state if one != key]
    assert await db.get_many(rest) == {one: sample.state[one] for one in rest}


@cases(UNNOTICEABLE)
def test_what_a_new_client_puts_goes_out_once_the_object_is_restored(case: Case) -> None:
    sample, objects, names = set_up(case)
    name, role, _ = case

    async def scenario() -> None:
        place = Place()
        await place.hold(objects)
        db = place.lazily(await place.connect("other"))
        noticed = role in READ[name] and case not in HARMLESS
        receipt = db.put("mine", "pending")
        assert await db.get("mine") == "pending" if not noticed else await failure_of(db.get("mine")) is not None
        await place.minutes(2)
        await place.stays_calm()
        if noticed:
            assert not receipt.done()
            untouched(objects, await place.objects())
            is_clear(db.status.value.last_error, names)
        else:
            assert await receipt
            after = await place.objects()
            untouched(objects, {name: after[name] for name in objects if name in after})
        await place.hold({**await place.objects(), **restored(sample, role)})
        await settles(receipt)
        await db.refresh()
        assert await contents(db) == {**sample.state, "mine": "pending"}
        assert db.status.value.last_error is None
        place.check_failures()
        fresh = await place.connect()
        assert await contents(fresh) == {**sample.state, "mine": "pending"}
        await place.close()

    virtually(scenario)


def restored(sample: Sample, role: str) -> Objects:
    name = sample.names()[role]
    return {name: sample.objects[name]}


# -- a running client ----------------------------------------------------------------------------------------------

ARRIVING = [
    case
    for case in CASES
    if case[0] == "grown"
    and case[1] in ("entry 5", "entry 6", "entry 7")
    and case[2] not in ("deleted", "of another client")  # see test_histories.py
]
TURNED = [case for case in CASES if case[1] == "head" and case != ("grown", "head", "older")]
JUMPED = [case for case in CASES if case[:2] == ("collected", "checkpoint 7")]
STREAMED = [case for case in CASES if case[1].startswith("value")]


def ids(chosen: list[Case]) -> Any:
    return pytest.mark.parametrize("case", chosen, ids=["-".join(case).replace(" ", "_") for case in chosen])


@ids(ARRIVING)
def test_a_running_client_stops_before_an_entry_that_is_wrong(case: Case) -> None:
    sample, objects, names = set_up(case)

    async def scenario() -> None:
        place = Place()
        await place.hold(samples()["young"].objects)
        db = await place.connect(live=True, poll=5.0)
        seen: list[dict[str, Any]] = []
        db.observe_prefix("").subscribe(lambda value: seen.append(dict(value)))
        await place.hold(objects)
        await place.minutes(1)
        receipt = db.put("mine", 1)
        await place.minutes(2)
        await place.stays_calm()
        is_clear(db.status.value.last_error, names)
        assert not receipt.done()
        untouched(objects, await place.objects())
        await place.hold(sample.objects)
        await settles(receipt)
        await db.refresh()
        assert await contents(db) == {**sample.state, "mine": 1}
        truths = [state for at in sample.states for state in (at, {**at, "mine": 1})]
        assert all(state in truths for state in seen), seen
        assert db.status.value.last_error is None
        place.check_failures()
        assert not place.storage.unlimited
        await place.close()

    virtually(scenario)


@ids(TURNED)
def test_a_running_client_notices_a_head_that_is_wrong_when_it_looks_at_it(case: Case) -> None:
    sample, objects, names = set_up(case)

    async def scenario() -> None:
        place = Place()
        await place.hold(sample.objects)
        db = await place.connect(live=True, poll=5.0)
        await place.minutes(1)
        await place.hold(objects)
        await place.minutes(60)
        receipt = refused = None
        try:
            receipt = db.put("mine", 1)
        except (Gone, Replaced) as error:
            refused = error
        await place.stays_calm()
        is_clear(db.status.value.last_error, names)
        assert receipt is None or not receipt.done()
        assert await contents(db) == {**sample.state, **({} if refused else {"mine": 1})}
        after = await place.objects()
        untouched(objects, {name: after[name] for name in objects if name in after})
        assert after.keys() - objects.keys() <= {MAIN.entry(sample.head.incarnation, len(sample.states))}
        await place.hold({**after, **sample.objects})
        if receipt is None:  # the same database is back, and the client goes on
            await place.minutes(2)
            receipt = db.put("mine", 1)
        await settles(receipt)
        assert await contents(db) == {**sample.state, "mine": 1}
        place.check_failures()
        await place.close()

    virtually(scenario)


@ids(JUMPED)
def test_a_client_left_behind_does_not_jump_to_a_checkpoint_that_is_wrong(case: Case) -> None:
    sample, objects, names = set_up(case)

    async def scenario() -> None:
        place = Place()
        await place.hold(samples()["young"].objects)
        db = await place.connect()
        before = await contents(db)
        await place.minutes(100)
        await place.hold(objects)
        is_clear(await failure_of(db.refresh()), names)
        untouched(objects, await place.objects())
        assert await contents(db) == before
        receipt = db.put("mine", 1)
        await place.minutes(2)
        await place.stays_calm()
        assert not receipt.done()
        after = await place.objects()
        untouched(objects, {name: after[name] for name in objects if name in after})
        await place.hold({**after, **sample.objects})
        await settles(receipt)
        await db.refresh()
        assert await contents(db) == {**sample.state, "mine": 1}
        place.check_failures()
        await place.close()

    virtually(scenario)


@ids(STREAMED)
def test_a_value_that_is_wrong_holds_only_the_streams_that_need_it(case: Case) -> None:
    sample, objects, names = set_up(case)
    key = case[1].partition(" ")[2]

    async def scenario() -> None:
        place = Place()
        await place.hold(objects)
        db = await place.connect(live=True, poll=5.0)
        seen: list[Any] = []
        others: list[Any] = []
        db.observe(key).subscribe(seen.append)
        db.observe("a").subscribe(others.append)
        await place.minutes(2)
        await place.stays_calm()
        assert seen == []
        assert others == [sample.state["a"]]
        assert place.failures
        for failure in place.failures:
            is_clear(failure.error, names)
        untouched(objects, await place.objects())
        receipt = db.put("a", "new")
        await settles(receipt)
        assert others == [sample.state["a"], "new"]
        await place.hold({**await place.objects(), **sample.objects})
        await place.minutes(10)
        assert seen == [sample.state[key]]
        await place.close()

    virtually(scenario)


# -- bits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["head", "entry 5", "checkpoint 4", "value big"])
def test_no_flipped_bit_makes_a_wrong_value(role: str) -> None:
    """One bit of each byte in turn: what is read is right, or the object is named. Of a head and of a gzip some bits
    don't matter to anyone; of what a hash covers all do."""
    sample = samples()["grown"]
    name = sample.names()[role]
    body = sample.objects[name]

    async def scenario() -> None:
        place = Place()
        await place.hold(sample.objects)
        noticed = 0
        for at in range(0, len(body), 1 if role.startswith("entry") else 2):
            flipped = body[:at] + bytes([body[at] ^ 1 << at // 2 % 8]) + body[at + 1 :]
            await place.bucket.put(name, flipped)
            error = None
            try:
                db = await place.connect()
                assert await contents(db) == sample.state
                await db.close()
            except (Corrupt, Unsupported) as raised:
                error = raised
                assert names_one_of(error, suspects(sample.names(), role)), error
            noticed += error is not None
            if role.startswith(("entry", "value")):
                assert error is not None, flipped
        assert noticed > len(body) // 4
        untouched({**sample.objects, name: flipped}, await place.objects())
        await place.close()

    virtually(scenario)


# -- verify --------------------------------------------------------------------------------------------------------


@cases(UNNOTICEABLE, UNDETERMINED)
def test_verify_finds_it_and_names_it(case: Case) -> None:
    _, objects, names = set_up(case)

    async def scenario() -> None:
        place = Place()
        await place.hold(objects)
        found = await verify(place.storage, "main")
        assert not found.ok
        told = [f"{problem.object} {problem.what}" for problem in found.problems]
        assert any(name in line for name in names for line in told), told
        assert {request.verb for request in place.storage.requests} <= {"get", "list"}
        assert not place.storage.unlimited
        untouched(objects, await place.objects())

    virtually(scenario)


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("contents", [True, False])
def test_verify_finds_nothing_wrong_in_a_healthy_database(name: str, contents: bool) -> None:
    sample = samples()[name]

    async def scenario() -> None:
        place = Place()
        await place.hold(sample.objects)
        told: list[tuple[str, int, int]] = []
        found = await verify(
            place.storage,
            "main",
            contents=contents,
            progress=lambda what, done, total: told.append((what, done, total)),
        )
        assert found.problems == []
        assert found.ok
        assert found.head == len(sample.states) - 1
        assert found.keys == len(sample.state)
        entries = [role for role in sample.names() if role.startswith("entry")]
        assert found.entries == len(entries)
        assert found.checkpoints == sum(role.startswith("checkpoint") for role in sample.names())
        assert found.values == sum(role.startswith("value") for role in sample.names())
        assert all(0 <= done < total for _, done, total in told)
        assert {request.verb for request in place.storage.requests} <= {"get", "list"}
        untouched(sample.objects, await place.objects())
        assert (await verify(place.storage, "nowhere")).ok

    virtually(scenario)


@pytest.mark.parametrize("name", ROLES)
def test_a_healthy_database_is_read_whole(name: str) -> None:
    sample = samples()[name]

    async def scenario() -> None:
        place = Place()
        await place.hold(sample.objects)
        assert await contents(await place.connect()) == sample.state
        untouched(sample.objects, await place.objects())
        await place.close()

    virtually(scenario)


@pytest.mark.parametrize("role", ["head", "entry 6", "checkpoint 4", "value big"])
def test_100_mib_of_anything_are_not_read(role: str) -> None:
    """By nobody: neither a new client nor `verify`."""
    sample = samples()["grown"]
    name = sample.names()[role]

    async def scenario() -> None:
        place = Place()
        await place.hold({**sample.objects, name: zeros(HUGE)})
        error = await failure_of(place.connect())
        if role == "value big":
            assert error is None
            error = await failure_of((await place.connect()).get("big"))
        is_clear(error, [name])
        found = await verify(place.storage, "main")
        assert [problem.object for problem in found.problems] == [name]
        assert place.storage.bytes_down < 1 << 20
        await place.close()

    virtually(scenario)


def test_the_tamperings_reach_every_kind_of_object() -> None:
    kinds = {(role.partition(" ")[0], how) for _, role, how in CASES}
    assert kinds == {(kind, how) for kind in ("head", "entry", "checkpoint", "value") for how in TAMPERINGS}
