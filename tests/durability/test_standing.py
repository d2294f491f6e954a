"""What is shown is what the log says with the pending writes on it that stand, each made of what is beneath it now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING, Conflict, Rejected
from rxmps3.storage import MemoryStorage
from rxmps3.testing import FaultyStorage
from tests.behaviour.helpers import Gate, Switch, eventually, offline, trace
from tests.durability.helpers import LARGE, Disk, on
from tests.processes.reading import entries, puts_in


async def _under_way(db: rxmps3.Database, gate: Gate) -> tuple[rxmps3.Receipt, Any]:
    """A write of another key whose commit is held: those after it wait, and were not sent."""
    receipt = db.put("other", 1)
    return receipt, await gate.held()


async def test_what_was_made_of_a_cancelled_write_is_made_anew_at_once() -> None:
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        other, held = await _under_way(db, gate)
        seen = trace(db.observe("n"))
        first = db.patch("n", {"secret": "s"})
        second = db.patch("n", {"c": 2})
        third = db.patch("n", {"d": 3})
        await asyncio.sleep(0)
        assert first.cancel()
        assert await db.get("n") == {"c": 2, "d": 3}
        assert seen[-1] == {"c": 2, "d": 3}
        assert {"secret": "s"} not in seen[seen.index({"c": 2, "d": 3}) :]
        gate.open()
        held.let_go()
        await asyncio.gather(_end_of(other), _end_of(second), _end_of(third))
        assert await db.get("n") == {"c": 2, "d": 3}
    async with on(gate) as reader:
        assert await reader.get("n") == {"c": 2, "d": 3}


async def test_it_stays_away_over_restarts_without_the_bucket() -> None:
    disk, gate = Disk(), Gate(MemoryStorage(), "/log/", ("put",))
    switch = Switch(gate)
    db = await on(switch, disk)
    _, held = await _under_way(db, gate)
    first = db.patch("n", {"secret": "s"})
    second = db.patch("n", {"c": 2})
    await second.stored
    assert first.cancel()
    held.fail(offline())
    switch.error = offline
    await asyncio.sleep(0.05)  # the outbox notes that it was taken back
    await db.close(timeout=0)
    for _ in range(2):
        async with on(switch, disk, online=False) as later:
            assert await later.get("n") == {"c": 2}
    switch.error = None
    gate.open()
    async with on(switch, disk) as last:
        await asyncio.gather(*map(_end_of, last.pending.value))
        assert await last.get("n") == {"c": 2}


async def test_a_redo_of_it_brings_nothing_back() -> None:
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        other, held = await _under_way(db, gate)
        first = db.patch("n", {"secret": "s"})
        db.patch("n", {"c": 2})
        assert first.cancel()
        await db.undo()
        assert await db.get("n") is None
        redone = asyncio.ensure_future(db.redo())
        await asyncio.sleep(0)
        gate.open()
        held.let_go()
        await redone
        await other
    async with on(gate) as reader:
        assert await reader.get("n") == {"c": 2}


async def test_what_rests_on_the_version_of_a_cancelled_write_is_refused_with_it() -> None:
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        other, held = await _under_way(db, gate)
        seen = trace(db.observe("k"))
        first = db.put("k", 1)
        second = db.put("k", 2, if_version=first.version)
        third = db.put("k", 3, if_version=second.version)
        free = db.put("l", 4)
        assert first.cancel()
        assert seen[-1] is None
        assert "k" not in db
        for refused in (second, third):
            with pytest.raises(Conflict, match="key 'k' is missing, not at version"):
                await refused
        with pytest.raises(Rejected):
            await first
        gate.open()
        held.let_go()
        await other
        await free
        assert (await db.get("k"), await db.get("l")) == (None, 4)


async def test_the_roll_back_is_one_emission_without_what_was_between() -> None:
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        _, held = await _under_way(db, gate)
        first = db.put_all({"a": 1, "b": 1})
        db.put("b", 2, if_version=first.version)
        seen = trace(db.observe_many("a", "b", default=0))
        states = trace(db.states)
        before = len(states)
        assert first.cancel()
        assert seen == [{"a": 1, "b": 2}, {"a": 0, "b": 0}]
        assert [len(view.pending) for view in states[before - 1 :]] == [3, 1]
        gate.open()
        held.let_go()


async def test_what_others_write_is_beneath_a_patch_at_once_while_nothing_can_be_sent() -> None:
    bucket = MemoryStorage()
    switch = Switch(bucket, ("put",))
    async with on(switch) as db, on(bucket) as other:
        await db.put("n", {"a": 1})
        switch.error = offline
        pending = db.patch("n", {"c": 2})
        seen = trace(db.observe("n"))
        await other.refresh()
        await other.put("n", {"b": 1})
        await db.refresh()
        assert seen == [{"a": 1, "c": 2}, {"b": 1, "c": 2}]
        assert not pending.done()
        switch.error = None
        await pending
        assert await db.get("n") == {"b": 1, "c": 2}


async def test_what_others_write_refuses_a_transaction_at_once_while_nothing_can_be_sent() -> None:
    bucket = MemoryStorage()
    switch = Switch(bucket, ("put",))
    async with on(switch) as db, on(bucket) as other:
        version = await db.put("k", 1)
        switch.error = offline
        pending = db.put("k", 2, if_version=version)
        await other.refresh()
        await other.delete("k")
        await db.refresh()
        assert pending.stage == "rejected"
        assert await db.get("k", MISSING) is MISSING
        with pytest.raises(Conflict):
            await pending


async def test_until_a_large_value_is_there_to_be_patched_what_is_beneath_is_shown() -> None:
    """It is not made of what has been replaced, and is never sent as it was."""
    bucket = MemoryStorage()
    switch = Switch(bucket, ("put", "get"))
    async with on(switch) as db, on(bucket) as other:
        await db.put("n", {"a": 1})
        switch.part, switch.error = "/log/", offline
        switch.verbs = ("put",)
        pending = db.patch("n", {"c": 2})
        await other.refresh()
        version = await other.put("n", {"b": LARGE})
        switch.part, switch.verbs = "values/", ("get",)
        await db.refresh()
        entry = db.states.value["n"]
        assert entry.version == version
        assert not pending.done()
        switch.error = None
        await pending
        assert await db.get("n") == {"b": LARGE, "c": 2}
    async with on(bucket) as reader:
        assert await reader.get("n") == {"b": LARGE, "c": 2}


async def test_undo_of_a_patch_whose_base_is_unknown_takes_it_back_for_good() -> None:
    bucket = MemoryStorage()
    gate = Gate(bucket, "/log/", ("put",))
    switch = Switch(gate, ("get",))
    async with on(switch) as db, on(bucket) as other:
        await other.put("n", {"a": 1})
        await db.refresh()
        _, held = await _under_way(db, gate)
        db.patch("n", {"c": 2})
        switch.part, switch.error = "values/", offline
        await other.put("n", {"b": LARGE})
        await db.refresh()
        await db.undo()
        switch.error = None
        assert await db.get("n") == {"b": LARGE}
        assert await db.redo() == ""
        assert [receipt.keys for receipt in db.pending.value] == [("other",)]
        gate.open()
        held.let_go()


async def test_a_condition_on_what_was_not_read_yet_waits_for_the_next_look() -> None:
    """It was not seen to hold, so that it does not hold here says nothing."""
    bucket = MemoryStorage()
    plan = FaultyStorage(bucket)
    async with on(plan) as db, on(bucket) as other:
        first = await other.put("k", 1)
        pending = db.put("k", 2, if_version=first)
        assert await pending == pending.version
        await eventually(lambda: db.pending.value == ())
        assert await db.get("k") == 2


async def _end_of(receipt: rxmps3.Receipt) -> None:
    await receipt


# -- what is not written since it is shown already -----------------------------------------------------------------


async def test_a_value_that_only_a_refused_write_showed_is_written_after_all() -> None:
    """In the same step: nobody sees it go and come back."""
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        await _let(gate, db.put("k", 1))
        _, held = await _under_way(db, gate)
        key = db.key("k", int, default=0)
        seen = trace(key)
        first = db.put("k", 5)
        key.on_next(5)
        key.on_next(5)
        assert [receipt.keys for receipt in db.pending.value] == [("other",), ("k",)]
        assert first.cancel()
        assert seen == [1, 5]
        assert len(db.pending.value) == 2
        gate.open()
        held.let_go()
        await asyncio.gather(*map(_end_of, db.pending.value))
        assert await db.get("k") == 5


async def test_a_value_that_a_committed_write_shows_is_not_written_again() -> None:
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        receipt = db.put("k", 5)
        db.key("k", int, default=0).on_next(5)
        await _let(gate, receipt)
        assert db.pending.value == ()
        gate.open()
        await db.put("other", 1)
        versions = await entries(gate)
        assert puts_in(versions) == [("k", 5), ("other", 1)]


async def test_of_several_values_that_wait_the_newest_counts_and_each_stands_for_itself() -> None:
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        _, held = await _under_way(db, gate)
        key = db.key("k", int, default=0)
        five = db.put("k", 5)
        key.on_next(5)
        six = db.put("k", 6)
        key.on_next(6)
        assert five.cancel()
        assert key.value == 6
        assert six.cancel()
        assert key.value == 6
        [*_, again] = db.pending.value
        assert again.cancel()
        assert key.value == 5
        [*_, again] = db.pending.value
        assert again.cancel()
        assert key.value == 0
        gate.open()
        held.let_go()


async def test_a_deletion_that_only_a_refused_one_showed_is_made_after_all() -> None:
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        await _let(gate, db.put("k", 1))
        _, held = await _under_way(db, gate)
        receipt = db.delete("k")
        db.key("k").on_next(MISSING)
        assert receipt.cancel()
        assert "k" not in db
        gate.open()
        held.let_go()


async def test_what_a_patch_showed_is_written_when_others_change_what_it_is_made_of() -> None:
    bucket = MemoryStorage()
    switch = Switch(bucket, ("put",))
    async with on(switch) as db, on(bucket) as other:
        await db.put("n", {"a": 1})
        switch.error = offline
        patched = db.patch("n", {"c": 2})
        db.key("n").on_next({"a": 1, "c": 2})
        await other.refresh()
        await other.put("n", {"a": 7})
        await db.refresh()
        assert await db.get("n") == {"a": 1, "c": 2}
        switch.error = None
        await patched
        await asyncio.gather(*map(_end_of, db.pending.value))
        assert await db.get("n") == {"a": 1, "c": 2}


async def test_an_undo_takes_back_what_stood_behind_as_well() -> None:
    gate = Gate(MemoryStorage(), "/log/", ("put",))
    async with on(gate) as db:
        await _let(gate, db.put("k", 1))
        _, held = await _under_way(db, gate)
        db.put("k", 5)
        db.key("k").on_next(5)
        await db.undo()
        assert await db.get("k") == 1
        gate.open()
        held.let_go()


async def _let(gate: Gate, receipt: rxmps3.Receipt) -> None:
    (await gate.held()).let_go()
    await receipt
