"""Changing what is there: conditions, transactions, patches and merges, beside others who write the same keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from rxmps3 import (
    MISSING,
    Closed,
    Conflict,
    InvalidOption,
    InvalidValue,
    NotLoaded,
    Rejected,
    Unavailable,
    Unsupported,
)
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.facades import ManualClock
from tests.behaviour.helpers import LARGE, Gate, eventually, players, trace
from tests.benchmarks.contention import contend
from tests.conftest import Place

pytestmark = pytest.mark.sequenced_only("one order of commits")


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """A storage that holds each commit."""
    gate = Gate(part="/log/", verbs=("put",))
    yield gate
    gate.open()


# -- if_version --------------------------------------------------------------------------------------------------


async def test_a_write_is_committed_where_its_key_is_at_the_version_it_names(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        first = await a.put("k", 1)
        second = await a.put("k", 2, if_version=first)
        await b.refresh()
        assert await b.get("k") == 2
        await b.delete("k", if_version=second)
        await a.refresh()
        assert "k" not in a
        await a.put("k", 3, if_version=MISSING)


async def test_a_write_that_rests_on_what_is_no_more_is_rolled_back_and_says_why(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        old = await a.put("k", 1)
        await b.put("k", 2)
        seen = trace(a.observe("k"))
        receipt = a.put("k", 3, if_version=old)
        assert seen == [1, 3], "it shows at once"
        with pytest.raises(Conflict, match=f"'k' is at version .*, not at version {old}"):
            await receipt
        assert (seen, receipt.stage) == ([1, 3, 2], "rejected")
        with pytest.raises(Conflict, match="missing"):
            await a.delete("nobody", if_version=old)
        with pytest.raises(Conflict, match="not missing"):
            await a.create("k", 4)
        await b.refresh()
        assert await b.get_prefix() == {"k": 2}


async def test_a_condition_that_does_not_hold_creates_no_manifest() -> None:
    storage = MemoryStorage()
    async with players(storage, "a") as (a,):
        with pytest.raises(Conflict, match="is missing, not at version older"):
            await a.put("k", 1, if_version="older")
        assert not (await storage.list("")).objects
        await a.create("k", 1)


async def test_a_version_that_this_client_has_not_seen_yet_is_looked_for() -> None:
    """What is known here is older than what the caller asks for: that is no conflict."""
    storage = MemoryStorage()
    async with players(storage, "a", "b") as (a, b):
        await a.put("k", 1)
        await b.refresh()
        newest = await a.put("k", 2)
        await b.put("k", 3, if_version=newest)
        await a.refresh()
        assert await a.get("k") == 3


async def test_own_earlier_writes_count_committed_or_not(gate: Gate) -> None:
    async with players(gate, "a", "b") as (a, b):
        one = a.put("k", 1)
        two = a.put("k", 2, if_version=one.version)
        three = a.delete("k", if_version=two.version)
        assert "k" not in a
        gate.open()
        await asyncio.gather(one, two, three)
        await b.refresh()
        assert "k" not in b
        conflict = a.put("k", 4, if_version=one.version)
        behind = a.put("k", 5, if_version=conflict.version)
        for receipt in (conflict, behind):
            with pytest.raises(Conflict):
                await receipt


async def test_of_several_who_create_one_key_one_does(place: Place) -> None:
    async with players(place, "a", "b", "c") as clients:
        receipts = [db.create("leader", name) for db, name in zip(clients, "abc", strict=True)]
        ends = await asyncio.gather(*map(_end_of, receipts))
        assert sorted(map(type, ends), key=str) == [Conflict, Conflict, str]
        winner = "abc"[[type(end) for end in ends].index(str)]
        for db in clients:
            await db.refresh()
            assert await db.get("leader") == winner


async def test_what_is_lost_to_another_writer_at_the_last_moment_is_a_conflict(gate: Gate) -> None:
    """The condition holds when the commit is sent, and another commit gets there first."""
    gate.open()
    async with players(gate, "a") as (a,), players(gate.inner, "b") as (b,):
        version = await a.put("k", 0)
        await b.refresh()
        gate.shut = True
        receipt = a.put("k", "a", if_version=version)
        held = await gate.held()
        await b.put("k", "b", if_version=version)
        held.let_go()
        gate.open()
        with pytest.raises(Conflict):
            await receipt
        assert await a.get("k") == "b"


async def test_a_commit_whose_answer_is_lost_is_no_conflict_with_itself(gate: Gate) -> None:
    gate.open()
    async with players(gate, "a", "b") as (a, b):
        version = await a.put("k", 0)
        gate.shut = True
        receipt = a.put("k", 1, if_version=version)
        held = await gate.held()
        await gate.inner.put(held.request.name, await _body_of(gate, held.request.name, a), when=rxmps3.storage.ABSENT)
        held.fail(rxmps3.Unavailable("the answer was lost"))
        gate.open()
        await receipt
        await b.refresh()
        assert await b.get("k") == 1


async def _body_of(gate: Gate, name: str, database: Any) -> bytes:
    """The entry that a client is about to create under a name: the one before with the client's pending write."""
    from rxmps3.log import codec
    from rxmps3.storage import Found

    seq = int(name.rpartition("/")[2])
    before = await gate.inner.get(f"{name.rpartition('/')[0]}/{seq - 1:020d}")
    assert isinstance(before, Found)
    writer = codec.decode_entry(before.body, name).version.writer
    [write] = database.blocking.states.value.queue() if hasattr(database, "blocking") else database.states.value.queue()
    previous = codec.digest(before.body)
    return codec.encode_entry(
        seq, previous, writer, "a", codec.datetime.now(codec.UTC), [codec.encode_write(write, writer)], date=before.date
    )


@pytest.mark.parametrize("if_version", ["", 7, b"x", 1.5, False])
async def test_what_is_no_version_is_refused_at_the_call(if_version: Any) -> None:
    async with players(MemoryStorage(), "a") as (a,):
        with pytest.raises(InvalidOption, match=r"if_version.*MISSING requires that the key does not exist"):
            a.put("k", 1, if_version=if_version)
        with pytest.raises(InvalidOption, match="cannot be combined"):
            a.put("k", 1, if_version="x", manifests=["main"])
        assert a.keys() == []


async def test_a_condition_costs_no_request_where_it_holds_and_one_where_it_does_not() -> None:
    storage = CountingStorage(MemoryStorage())
    async with players(storage, "a") as (a,):
        version = await a.put("k", 1)
        before = len(storage.requests)
        version = await a.put("k", 2, if_version=version)
        assert [request.verb for request in storage.requests[before:]] == ["put"]
        before = len(storage.requests)
        with pytest.raises(Conflict):
            await a.create("k", 3)
        assert [request.verb for request in storage.requests[before:]] == ["get"]


# -- transactions ------------------------------------------------------------------------------------------------


async def test_a_transaction_moves_what_it_has_read(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        await a.put_all({"account/1": 100, "account/2": 0})

        async def pay(tx: Any) -> int:
            one, two = await tx.get("account/1"), await tx.get("account/2")
            tx.put_all({"account/1": one - 30, "account/2": two + 30})
            return (await tx.get_prefix("account/"))["account/2"]

        assert await b.transact(pay) == 30
        assert await a.transact(pay) == 60, "it reads what others have done, and runs again where it has not yet"
        await b.refresh()
        assert await b.get_prefix("account/") == {"account/1": 40, "account/2": 60}


async def test_increments_of_many_at_once_are_all_counted(place: Place) -> None:
    async with players(place, "a", "b", "c") as clients:
        for _ in range(4):
            await asyncio.gather(*(db.update("n", lambda n: n + 1, 0) for db in clients for _ in range(2)))
        for db in clients:
            await db.refresh()
            assert await db.get("n") == 24


async def test_a_transaction_sees_one_moment_and_its_own_changes() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        await a.put_all({"x": 1, "y": LARGE, "z": None})
        async with a.transaction() as tx:
            assert await tx.get("x") == 1
            assert await tx.get_many(["z", "none", "y"], "default") == {"z": None, "none": "default", "y": LARGE}
            tx.put("new", [1])
            tx.delete("z")
            tx.put("y", MISSING)
            assert await tx.get_prefix() == {"new": [1], "x": 1}
            assert await tx.get_prefix(last=1) == {"x": 1}
            assert await tx.get_prefix(first=1) == {"new": [1]}
            (await tx.get("new")).append(2)
            assert await tx.get("new") == [1], "every reader gets a value of its own"
            assert "new" not in a, "nobody sees it yet"
            with pytest.raises(InvalidValue):
                tx.put("new", {1, 2})
            with pytest.raises(InvalidOption, match="first"):
                await tx.get_prefix(first=1, last=1)
        await a.refresh()
        assert await a.get_prefix() == {"new": [1], "x": 1}


async def test_an_exception_leaves_everything_as_it_was() -> None:
    storage = CountingStorage(MemoryStorage())
    async with players(storage, "a") as (a,):
        await a.put("k", 1)
        before = len(storage.requests)

        async def fails(tx: Any) -> None:
            tx.put("k", await tx.get("k") + 1)
            raise ValueError("changed my mind")

        with pytest.raises(ValueError, match="changed my mind"):
            await a.transact(fails)
        with pytest.raises(ValueError, match="changed my mind"):
            async with a.transaction() as tx:
                await fails(tx)
        assert await a.get("k") == 1
        assert {request.verb for request in storage.requests[before:]} == {"get"}


@pytest.mark.async_only("a thread that blocks cannot be cancelled")
async def test_a_cancelled_transaction_leaves_no_trace_before_its_changes_are_handed_over(gate: Gate) -> None:
    gate.open()
    async with players(gate, "a") as (a,):
        await a.put("k", 1)

        async def never_ends(tx: Any) -> None:
            tx.put("k", 2)
            await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(a.transact(never_ends), 0.02)
        assert (await a.get("k"), len(a.pending.value)) == (1, 0)
        gate.shut = True
        updated = asyncio.ensure_future(a.update("k", lambda value: value + 1))
        held = await gate.held()
        updated.cancel()
        held.let_go()
        gate.open()
        await eventually(lambda: not a.pending.value)
        await a.refresh()
        assert await a.get("k") == 2, "it was on its way already"
        gate.shut = True
        undone = asyncio.ensure_future(a.undo())
        held = await gate.held()
        undone.cancel()
        held.let_go()
        gate.open()
        await eventually(lambda: not a.pending.value)
        assert await a.get("k") == 1
        await a.redo()
        assert await a.get("k") == 2


async def test_a_transaction_that_changes_nothing_commits_nothing() -> None:
    storage = CountingStorage(MemoryStorage())
    async with players(storage, "a") as (a,):
        await a.put("k", 1)
        before = len(storage.requests)
        assert await a.transact(lambda tx: tx.get("k")) == 1
        async with a.transaction() as tx:
            pass
        assert tx.version == ""
        assert [request.verb for request in storage.requests[before:]] == ["get", "get"], "it looks for news"


async def test_a_transaction_that_is_over_cannot_be_used() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        async with a.transaction() as tx:
            tx.put("k", 1)
        assert tx.version == a.states.value["k"].version
        for use in (lambda: tx.put("k", 2), lambda: tx.delete("k")):
            with pytest.raises(Closed, match="over"):
                use()
        with pytest.raises(Closed, match="over"):
            await tx.get("k")


@pytest.mark.parametrize(
    ("window", "change", "conflicts"),
    [
        ({}, {"msg/3": "new"}, True),
        ({}, {"msg/1": MISSING}, True),
        ({}, {"other": "new"}, False),
        ({"last": 1}, {"msg/0": "new"}, False),
        ({"last": 1}, {"msg/1": "changed"}, False),
        ({"last": 1}, {"msg/3": "new"}, True),
        ({"last": 1}, {"msg/2": MISSING}, True),
        ({"first": 1}, {"msg/3": "new"}, False),
        ({"first": 1}, {"msg/0": "new"}, True),
        ({"last": 0}, {"msg/3": "new"}, False),
    ],
)
async def test_a_transaction_rests_on_all_that_it_has_seen_under_a_prefix(
    window: dict[str, int], change: dict[str, Any], conflicts: bool
) -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await a.put_all({"msg/1": "one", "msg/2": "two"})
        await b.refresh()
        outcome = None
        try:
            async with a.transaction() as tx:
                seen = await tx.get_prefix("msg/", **window)
                tx.put("count", len(seen))
                await b.put_all(change)
        except Conflict as conflict:
            outcome = conflict
        assert (outcome is not None) == conflicts
        await b.refresh()
        assert ("count" in b) != conflicts


async def test_what_is_written_without_being_read_is_no_part_of_the_basis() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await a.put_all({"read": 1, "written": 1})
        await b.refresh()
        async with a.transaction() as tx:
            await tx.get("read")
            tx.put("written", "a")
            assert await tx.get("written") == "a"
            await b.put("written", "b")
        await b.refresh()
        assert await b.get("written") == "a"


async def test_attempts_end(gate: Gate) -> None:
    """Another client writes the key during each attempt."""
    gate.open()
    async with players(gate, "a", "b") as (a, b):
        runs = 0

        async def interrupted(tx: Any) -> None:
            nonlocal runs
            runs += 1
            tx.put("k", await tx.get("k", 0) + 1)
            await b.put("k", runs * 100)

        with pytest.raises(Conflict, match="each of 3 attempts"):
            await a.transact(interrupted, attempts=3)
        assert runs == 3
        for attempts in (0, 2.5, "3", None):
            with pytest.raises(InvalidOption, match="attempts"):
                await a.transact(interrupted, attempts=attempts)  # type: ignore[arg-type]
        assert await a.get("k") == 300


async def test_what_is_known_to_have_changed_is_never_shown(gate: Gate) -> None:
    """A write that is to be refused would take those along that rest on it: it is a conflict before it is one of them."""
    gate.open()
    async with players(gate, "a") as (a,):
        await a.put("k", 0)
        seen = trace(a.observe("k"))
        gate.shut = True

        async def late() -> None:
            async with a.transaction() as tx:
                tx.put("k", await tx.get("k") + 10)
                a.put("k", 1)

        with pytest.raises(Conflict, match="'k' is at version"):
            await late()
        assert seen == [0, 1]
        ends = asyncio.gather(*(a.update("k", lambda count: count + 1) for _ in range(5)))
        await eventually(lambda: seen[-1] == 6)
        gate.open()
        assert sorted(await ends) == [2, 3, 4, 5, 6]
        assert seen == [0, 1, 2, 3, 4, 5, 6]


async def test_a_transaction_that_an_exception_ended_is_over() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        left: list[Any] = []

        async def one() -> None:
            async with a.transaction() as tx:
                await fails(tx)

        async def fails(tx: Any) -> None:
            left.append(tx)
            raise ZeroDivisionError

        for ends in (one, lambda: a.transact(fails)):
            with pytest.raises(ZeroDivisionError):
                await ends()
        assert len(left) == 2
        for tx in left:
            with pytest.raises(Closed, match="over"):
                tx.put("k", 1)


@pytest.mark.async_only("handles of one loop")
async def test_a_handle_that_is_closed_meanwhile_commits_nothing() -> None:
    """Another handle keeps the replica open."""
    storage = MemoryStorage()
    async with rxmps3.connect(storage) as other:
        a = await rxmps3.connect(storage)

        async def closing(tx: Any) -> None:
            tx.put("k", 1)
            await a.close()

        with pytest.raises(Closed):
            await a.transact(closing)
        assert "k" not in other


async def test_without_a_bucket_a_transaction_does_not_wait_for_one(tmp_path: Path) -> None:
    clock = ManualClock()
    async with players(MemoryStorage(clock=clock), "a", online=False, local=tmp_path, clock=clock) as (a,):
        with pytest.raises(Unavailable, match="online=False"):
            await asyncio.wait_for(a.update("k", lambda value: value), 5)


async def test_update_hands_its_function_a_default_of_its_own() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        default: dict[str, list[int]] = {"seen": []}

        def add(value: dict[str, list[int]]) -> dict[str, list[int]]:
            value["seen"].append(1)
            return value

        for key in ("one", "two"):
            assert await a.update(key, add, default=default) == {"seen": [1]}
        assert default == {"seen": []}
        assert await a.update("three", lambda value: value is rxmps3.MISSING, default=rxmps3.MISSING) is True


async def test_update_gives_what_it_wrote() -> None:
    async with players(MemoryStorage(), "a") as (a,):

        async def doubled(value: int) -> int:
            return value * 2

        assert await a.update("k", lambda value: value or 21) == 21
        assert await a.update("k", doubled) == 42
        assert await a.update("k", lambda value: MISSING) is MISSING
        assert "k" not in a
        assert await a.update("list", lambda value: [*value, 1], []) == [1]


# -- patches and merges ------------------------------------------------------------------------------------------


async def test_patches_of_different_parts_of_a_value_both_stay(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        await a.put("user", {"name": "Ada", "tags": ["x"], "old": 1})
        await b.refresh()
        await a.patch("user", {"name": "Ada L."})
        seen = trace(b.observe("user"))
        receipt = b.patch("user", {"age": 36, "old": None})
        assert seen[-1] == {"name": "Ada", "tags": ["x"], "age": 36}, "at once, of what is known here"
        await receipt
        merged = {"name": "Ada L.", "tags": ["x"], "age": 36}
        await eventually(lambda: seen[-1] == merged)
        await a.refresh()
        assert await a.get("user") == merged


async def test_a_patch_of_what_is_not_there_makes_it() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        await a.patch("k", {"a": {"b": 1, "c": None}})
        assert await a.get("k") == {"a": {"b": 1}}
        await a.patch("k", {"a": {"b": None, "d": [None]}})
        assert await a.get("k") == {"a": {"d": [None]}}
        await a.patch("k", 5)
        assert await a.get("k") == 5


async def test_many_patches_while_a_commit_is_under_way_come_one_after_the_other(gate: Gate) -> None:
    gate.open()
    async with players(gate, "a", "b") as (a, b):
        await a.put("k", {})
        await b.refresh()
        gate.shut = True
        receipts = [a.patch("k", {f"a{n}": n}) for n in range(3)]
        held = await gate.held()
        gate.shut = False
        await b.put("k", {"b": 1})
        held.let_go()
        await asyncio.gather(*receipts)
        merged = {"a0": 0, "a1": 1, "a2": 2, "b": 1}
        assert await a.get("k") == merged
        await b.refresh()
        assert await b.get("k") == merged


async def test_a_large_value_is_patched_and_made_again_in_an_object_of_its_own(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        await a.put("k", {"text": LARGE, "n": 0})
        await b.refresh()
        with pytest.raises(NotLoaded, match=r"await db\.get"):
            b.patch("k", {"n": 1})
        await b.get("k")
        await a.patch("k", {"by": "a"})
        await b.patch("k", {"n": 1})
        await a.refresh()
        for db in (a, b):
            assert await db.get("k") == {"text": LARGE, "n": 1, "by": "a"}


async def test_a_merge_follows_the_strategies_of_its_schema(place: Place) -> None:
    schema = {"properties": {"log": {"mergeStrategy": "append"}, "items": {"mergeStrategy": "arrayMergeById"}}}
    async with players(place, "a", "b") as (a, b):
        await a.put("k", {"log": [0], "items": [{"id": 1, "n": 1}], "gone": 1})
        await b.refresh()
        await a.merge("k", {"log": ["a"], "items": [{"id": 2, "n": 2}]}, schema)
        await b.merge("k", {"log": ["b"], "items": [{"id": 1, "n": 5}], "gone": None}, schema)
        await a.refresh()
        assert await a.get("k") == {"log": [0, "a", "b"], "items": [{"id": 1, "n": 5}, {"id": 2, "n": 2}]}
        await a.merge("k", {"items": 1})
        assert (await a.get("k"))["items"] == 1, "without a schema it is a patch"


async def test_what_is_discarded_where_nothing_is_leaves_nothing() -> None:
    keep = {"mergeStrategy": "discard"}
    async with players(MemoryStorage(), "a", "b") as (a, b):
        seen = trace(a.observe("k", default="none"))
        await a.merge("k", 1, keep)
        assert "k" not in a
        await a.put("k", None)
        await a.merge("k", 1, keep)
        assert seen == ["none", None], "null is a value, and kept"
        await b.delete("k")
        assert await b.get("k", "none") == "none"
        await a.merge("k", 1, keep)  # made anew, of what is not there any more
        await b.refresh()
        assert "k" not in a
        assert "k" not in b


async def test_appends_of_many_are_all_kept_in_the_order_of_the_log() -> None:
    schema = {"mergeStrategy": "append"}
    async with players(MemoryStorage(), "a", "b", "c") as clients:
        receipts = [
            db.merge("log", [f"{name}{n}"], schema) for n in range(5) for db, name in zip(clients, "abc", strict=True)
        ]
        await asyncio.gather(*receipts)
        for db in clients:
            await db.refresh()
        [log] = {tuple(await db.get("log")) for db in clients}
        assert sorted(log) == sorted(f"{name}{n}" for name in "abc" for n in range(5))
        for name in "abc":
            assert [one for one in log if one[0] == name] == [f"{name}{n}" for n in range(5)]


async def test_a_merge_that_what_is_there_now_does_not_allow_is_rolled_back() -> None:
    schema = {"mergeStrategy": "append"}
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await a.put("k", [1])
        await b.refresh()
        await a.put("k", "text")
        with pytest.raises(Rejected, match="not an array") as caught:
            await b.merge("k", [2], schema)
        assert not isinstance(caught.value, Conflict)
        assert await b.get("k") == "text"
        with pytest.raises(InvalidValue, match="not an array"):
            b.merge("k", [2], schema)
        with pytest.raises(InvalidOption, match="only to itself"):
            b.merge("k", [2], {"$ref": "http://127.0.0.1/schema"})
        for no_schema in ([1], "text", {1: 2}, {"default": float("nan")}):
            with pytest.raises(InvalidOption, match="JSON object"):
                b.merge("k", [2], no_schema)  # type: ignore[arg-type]
        assert await b.get("k") == "text"


async def test_a_patch_says_nothing_where_nothing_changes_and_its_remaking_is_an_own_change() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await a.put("k", {"x": 1})
        await b.refresh()
        changes = trace(b.changes())
        await b.patch("k", {"x": 1})
        assert changes == []
        await a.put("k", {"y": 1})
        await b.patch("k", {"x": 2})
        told = [(change.after, change.pending, change.cause) for change in changes]
        assert told == [
            ({"x": 2}, True, "own"),
            ({"x": 2, "y": 1}, True, "own"),
        ]


# -- where it cannot be had --------------------------------------------------------------------------------------


async def test_a_handle_that_may_not_write_cannot_change_either() -> None:
    storage = MemoryStorage()
    async with players(storage, "a") as (a,):
        await a.put("k", {})
        async with players(storage, "reader", read_only=True) as (reader,):
            for change in (
                lambda: reader.put("k", 1, if_version=MISSING),
                lambda: reader.create("x", 1),
                lambda: reader.patch("k", {}),
                lambda: reader.merge("k", {}),
            ):
                with pytest.raises(InvalidOption, match="read_only"):
                    change()
            with pytest.raises(InvalidOption, match="read_only"):
                await reader.update("k", lambda value: value)
    with pytest.raises(Closed):
        a.patch("k", {})
    with pytest.raises(Closed):
        await a.update("k", lambda value: value)


async def _end_of(receipt: Any) -> Any:
    try:
        return await receipt
    except rxmps3.Error as error:
        return error


# -- of a key with a type ----------------------------------------------------------------------------------------


@dataclass
class Task:
    title: str
    due: date | None = None


async def test_a_key_is_updated_by_values_of_its_type(place: Place) -> None:
    async with players(place, "a", "b") as clients:
        keys = [db.key("n", int, default=0) for db in clients]
        await asyncio.gather(*(key.update(lambda n: n + 1) for key in keys for _ in range(5)))
        assert await keys[0].update(lambda n: n) == 10
        tasks = [db.key("task", Task, default=Task("none")) for db in clients]

        async def with_date(task: Task) -> Task:
            assert task == Task("none")
            task.due = date(2026, 12, 24)
            return task

        assert await tasks[0].update(with_date) == Task("none", date(2026, 12, 24))
        assert await tasks[1].update(lambda task: Task("milk", task.due)) == Task("milk", date(2026, 12, 24))
        await clients[0].refresh()
        assert await clients[0].get("task") == {"due": "2026-12-24", "title": "milk"}


async def test_an_update_of_a_key_that_does_not_fit_writes_nothing() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        key = a.key("n", int)
        assert await key.update(lambda n: n) is None
        assert "n" not in a
        assert await key.update(lambda n: (n or 0) + 1) == 1
        with pytest.raises(InvalidValue):
            await key.update(lambda n: "loud")  # type: ignore[arg-type, return-value]  # pyright: ignore
        assert await key.update(lambda n: None) is None
        assert "n" not in a, "what stands for none deletes"
        await b.put("n", "of somebody else")
        with pytest.raises(InvalidValue):
            await key.update(lambda n: 1)
        with pytest.raises(ValueError, match="mine"):
            await a.key("m").update(_raise_mine)
        await b.refresh()
        assert await b.get_prefix() == {"n": "of somebody else"}


async def test_an_update_of_a_key_is_named_so_in_errors() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        key = a.key("n", int, default=0)
        with pytest.raises(InvalidOption, match=r"^update: attempts"):
            await key.update(lambda n: n, attempts=0)
    with pytest.raises(Closed, match=r"^update"):
        await key.update(lambda n: n)


def _raise_mine(_: object) -> Any:
    raise ValueError("mine")


async def test_a_key_is_put_and_deleted_where_it_is_at_a_version() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        key = a.key("n", int)
        first = await key.put(1, if_version=MISSING)
        second = await key.put(2, if_version=first)
        with pytest.raises(Conflict):
            await key.put(3, if_version=first)
        with pytest.raises(Conflict):
            await key.put(None, if_version=first)
        await b.refresh()
        assert await b.get("n") == 2
        await key.delete(if_version=second)
        assert "n" not in a


async def test_a_patch_of_a_key_has_to_fit_its_type() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        key = a.key("task", Task)
        with pytest.raises(InvalidValue, match="title"):
            key.patch({"due": "2026-12-24"})
        assert "task" not in a
        await key.put(Task("milk"))
        await b.refresh()
        await b.key("task", Task).patch({"title": "oat milk"})
        await key.patch({"due": "2026-12-24"})
        assert key.value == Task("oat milk", date(2026, 12, 24))
        with pytest.raises(InvalidValue):
            key.patch({"title": None})
        assert await a.undo()
        assert key.value == Task("oat milk")


class TestLogsWithoutOneOrder:
    """The other two protocols say which one has it."""

    @pytest.mark.parametrize("protocol", ["versioned", "mps3"])
    async def test_they_refuse(self, protocol: str) -> None:
        storage = MemoryStorage(versioning=True)
        async with players(storage, "a", protocol=protocol, manifest="m.json") as (a,):
            await a.put("k", {})
            for change in (
                lambda: a.put("k", 1, if_version=MISSING),
                lambda: a.delete("k", if_version="x-1"),
                lambda: a.create("x", 1),
                lambda: a.patch("k", {}),
                lambda: a.merge("k", {}),
            ):
                with pytest.raises(Unsupported, match="sequenced"):
                    change()
            with pytest.raises(Unsupported, match="sequenced"):
                await a.update("k", lambda value: value)
            with pytest.raises(Unsupported, match="sequenced"):
                await a.key("k").update(lambda value: value)
            with pytest.raises(Unsupported, match="sequenced"):
                async with a.transaction():
                    pass
            assert await a.get("k") == {}

    async def test_a_write_made_before_the_protocol_was_known_is_refused_by_its_receipt(self) -> None:
        storage = MemoryStorage(versioning=True)
        async with players(storage, "a", protocol="versioned", manifest="later") as (a,):
            await a.put("there", 1)
        async with players(storage, "b") as (b,):
            other = b.manifest("later")
            receipt = other.create("k", 1)
            with pytest.raises(Rejected, match="sequenced") as caught:
                await receipt
            assert isinstance(caught.value.__cause__, Unsupported)
            assert await other.get_prefix() == {"there": 1}


@pytest.mark.async_only("the benchmark is")
async def test_the_benchmark_counts_every_increment() -> None:
    needed = await contend(clients=3, each=4, latency=0.001)
    assert needed.total() == 12
    assert needed[0] == 0
