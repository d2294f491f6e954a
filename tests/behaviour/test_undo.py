"""Undo and redo of a handle's own writes, beside others who write the same keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING, Conflict, NotKept, OutcomeUnknown, Rejected, Unsupported
from rxmps3.database.undo_stack import DEPTH
from rxmps3.database.undo_steps import one_action
from rxmps3.model.state import ContentObject, Loaded, ManifestVersion, Refused, fold
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.facades import settle
from tests.behaviour.helpers import LARGE, Gate, Switch, eventually, offline, players, raw, trace
from tests.conftest import Place

pytestmark = pytest.mark.sequenced_only("one order of commits")


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """A storage that holds each commit."""
    gate = Gate(part="/log/", verbs=("put",), shut=False)
    yield gate
    gate.open()


async def test_what_was_written_is_taken_back_and_done_again(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        await a.put_all({"x": 1, "y": [1], "large": LARGE})
        await a.put_all({"x": 2, "y": MISSING, "large": LARGE + "2", "new": None})
        await a.delete("x")
        version = await a.undo()
        assert version == a.states.value["x"].version
        assert await a.undo() > version
        await b.refresh()
        assert await b.get_prefix() == {"x": 1, "y": [1], "large": LARGE}
        await a.undo()
        assert await a.undo() == ""
        await b.refresh()
        assert await b.get_prefix() == {}
        for _ in range(3):
            assert await a.redo()
        assert await a.redo() == ""
        await b.refresh()
        assert await b.get_prefix() == {"large": LARGE + "2", "new": None}
        assert await a.undo()
        assert await a.get("x") == 2
        await a.put("other", 1)
        assert await a.redo() == "", "a new write ends what could be redone"


async def test_undo_and_redo_may_go_back_and_forth() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        for number in range(4):
            await a.put("k", number)
        seen = trace(a.observe("k"))
        for word in "uurruuurruu":
            await (a.undo() if word == "u" else a.redo())
        assert seen == [3, 2, 1, 2, 3, 2, 1, 0, 1, 2, 1, 0]


async def test_undo_is_one_atomic_write() -> None:
    storage = CountingStorage(MemoryStorage())
    async with players(storage, "a") as (a,):
        await a.put_all({"x": 1, "y": 1})
        await a.put_all({"x": 2, "y": 2})
        storage.reset()
        await a.undo()
        assert storage.counts == {"put": 1}, "one commit, and nothing looked for"
        seen = trace(a.observe_many("x", "y"))
        await a.redo()
        assert seen == [{"x": 1, "y": 1}, {"x": 2, "y": 2}]


async def test_what_somebody_else_has_written_since_stays(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        await a.put("free", 1)
        await a.put_all({"k": 1, "l": 1})
        await b.put("k", 2)
        with pytest.raises(Conflict, match="'k' is at version"):
            await a.undo()  # not known here yet
        await b.refresh()
        assert await b.get_prefix() == {"free": 1, "k": 2, "l": 1}
        await a.undo()
        assert "free" not in a, "it goes on with the write before"
        assert await a.undo() == ""


async def test_what_is_known_to_be_written_since_does_not_even_show() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await a.put("k", 1)
        await b.put("k", 2)
        await a.refresh()
        seen = trace(a.observe("k"))
        with pytest.raises(Conflict, match="written since: key 'k'"):
            await a.undo()
        assert seen == [2]


async def test_what_somebody_else_has_deleted_and_made_since_stays() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await a.put("k", 1)
        await a.delete("k")
        await b.put("k", 2)
        await a.refresh()
        with pytest.raises(Conflict):
            await a.undo()
        with pytest.raises(Conflict):
            await a.undo()
        assert await a.get("k") == 2


async def test_what_another_handle_wrote_is_not_ones_own() -> None:
    storage = MemoryStorage()
    async with players(storage, "a") as (a,):
        other = a.manifest("main")
        await a.put("k", 1)
        await other.put("j", 1)
        await a.undo()
        assert await a.get_prefix() == {"j": 1}
        assert await a.undo() == ""
        await other.undo()
        assert await a.get_prefix() == {}


async def test_redo_does_not_overwrite_either() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        await a.put("j", 1)
        await a.put("k", 1)
        await a.undo()
        await a.undo()
        await b.put("j", 2)
        with pytest.raises(Conflict, match="'j'"):
            await a.redo()
        await a.redo()
        await b.refresh()
        assert await b.get_prefix() == {"j": 2, "k": 1}
        assert await a.redo() == ""


async def test_what_a_write_found_comes_back_not_what_was_seen_when_it_was_made() -> None:
    """The view of the caller is older than the log that the write follows."""
    storage = MemoryStorage()
    async with players(storage, "a", "b") as (a, b):
        await a.put("k", 1)
        await b.put("k", "of another")
        await a.put("k", 2)
        await a.undo()
        assert await a.get("k") == "of another"


async def test_a_patch_that_was_made_anew_is_taken_back_to_what_it_was_made_of() -> None:
    storage = MemoryStorage()
    async with players(storage, "a", "b") as (a, b):
        await a.put("k", {"a": 0, "b": 0})
        await b.refresh()
        await b.put("k", {"a": 0, "b": 1})
        await a.patch("k", {"a": 1})
        assert await a.get("k") == {"a": 1, "b": 1}
        await a.undo()
        assert await a.get("k") == {"a": 0, "b": 1}
        await a.redo()
        assert await a.get("k") == {"a": 1, "b": 1}
        await a.merge("k", {"c": 1})
        await a.undo()
        assert await a.get("k") == {"a": 1, "b": 1}


async def test_several_own_writes_of_one_log_version_are_each_taken_back(gate: Gate) -> None:
    async with players(gate, "a") as (a,):
        await a.put("k", 0)
        gate.shut = True
        first = a.put("k", 1)
        held = await gate.held()
        receipts = [a.put("k", number) for number in range(2, 5)]
        held.let_go()
        gate.open()
        await asyncio.gather(first, *receipts)
        for number in (3, 2, 1, 0):
            await a.undo()
            assert await a.get("k") == number


async def test_transactions_updates_and_restores_are_taken_back_too() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        first = await a.put("n", 1)
        await a.update("n", lambda n: n + 1)

        async def both(tx: Any) -> None:
            tx.put("m", await tx.get("n"))
            tx.put("n", 10)

        await a.transact(both)
        await a.create("new", 1)
        await a.restore(first)
        assert await a.get_prefix() == {"n": 1}
        states = []
        while await a.undo():
            states.append(await a.get_prefix())
        assert states == [{"m": 2, "n": 10, "new": 1}, {"m": 2, "n": 10}, {"n": 2}, {"n": 1}, {}]


async def test_a_write_that_was_not_sent_is_cancelled_also_offline() -> None:
    storage = Switch()
    async with players(storage, "a", "b") as (a, b):
        await a.put("k", 1)
        storage.error = offline
        errors = trace(a.errors)
        blocked = a.put("j", 1)  # the one that is being tried
        await eventually(lambda: a.status.value.last_error, what="it is tried")
        receipt = a.put("k", LARGE)
        assert await a.undo() == receipt.version
        assert await a.get("k") == 1
        with pytest.raises(Rejected, match="taken back"):
            await receipt
        redone = asyncio.ensure_future(a.redo())
        await eventually(lambda: a.states.value["k"].version > receipt.version)
        assert await a.get("k") == LARGE, "it shows at once"
        storage.error = None
        await blocked
        assert await redone
        await b.refresh()
        assert await b.get_prefix() == {"j": 1, "k": LARGE}
        await a.undo()
        await a.undo()
        assert await a.get_prefix() == {"k": 1}
        assert not [one for one in errors if one.operation == "write"], "nobody is told who did not ask"


async def test_undo_of_committed_writes_shows_at_once_offline_and_goes_out_later() -> None:
    storage = Switch()
    async with players(storage, "a", "b") as (a, b):
        for number in range(3):
            await a.put("k", number)
        storage.error = offline
        seen = trace(a.observe("k"))
        undone = [asyncio.ensure_future(a.undo()) for _ in range(2)]
        await eventually(lambda: seen == [2, 1, 0])
        redone = asyncio.ensure_future(a.redo())
        await eventually(lambda: seen == [2, 1, 0, 1])
        storage.error = None
        versions = await asyncio.gather(*undone, redone)
        assert len(set(versions)) == 3
        await b.refresh()
        assert await b.get("k") == 1
        assert await a.undo()
        assert await a.get("k") == 0


async def test_undo_of_a_write_that_is_being_sent_waits_for_it(gate: Gate) -> None:
    async with players(gate, "a") as (a,):
        await a.put("k", 1)
        gate.shut = True
        receipt = a.put("k", 2)
        held = await gate.held()
        undone = asyncio.ensure_future(a.undo())
        await asyncio.sleep(0.02)
        assert not undone.done()
        held.let_go()
        gate.open()
        assert await undone > await receipt
        assert await a.get("k") == 1


async def test_what_was_refused_is_not_undone_and_the_one_before_it_is() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        await a.put("k", 1)
        with pytest.raises(Conflict):
            await a.create("k", 2)
        await a.undo()
        assert "k" not in a


async def test_an_undo_that_others_overtake_at_the_last_moment_is_rolled_back(gate: Gate) -> None:
    async with players(gate, "a") as (a,), players(gate.inner, "b") as (b,):
        await a.put("k", 1)
        await a.put("k", 2)
        await b.refresh()
        gate.shut = True
        undone = asyncio.ensure_future(a.undo())
        held = await gate.held()
        await b.put("k", "b")
        held.let_go()
        gate.open()
        with pytest.raises(Conflict, match="'k'"):
            await undone
        assert await a.get("k") == "b"
        assert await a.redo() == ""
        with pytest.raises(Conflict):
            await a.undo()
        assert await a.undo() == ""


async def test_so_many_writes_can_be_undone() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        await asyncio.gather(*(a.put(f"k{number}", number) for number in range(DEPTH + 5)))
        undone = 0
        while await a.undo():
            undone += 1
        assert undone == DEPTH
        assert len(a) == 5


async def test_a_large_value_that_is_gone_is_named_and_the_next_undo_goes_on(place: Place) -> None:
    async with players(place, "a", cache_bytes=1) as (a,):
        await a.put("other", 1)
        await a.put("k", LARGE)
        lost = a.states.value["k"].content
        assert isinstance(lost, ContentObject)
        await a.put("k", 1)
        await a.put("cache", "x" * 5000)
        await a.undo()
        await raw(place, lambda storage: storage.delete(f"main/{lost.name}"))
        with pytest.raises(rxmps3.Corrupt, match="missing"):
            await a.undo()
        assert await a.get("k") == 1
        with pytest.raises(Conflict):
            await a.undo()
        await a.undo()
        assert "other" not in a


@pytest.mark.async_only("it puts words into the log's mouth")
async def test_a_write_that_was_committed_unseen_cannot_be_undone(gate: Gate) -> None:
    """The log was read anew from a checkpoint that has the write already."""
    async with players(gate, "a") as (a,):
        await a.put("other", 1)
        gate.shut = True
        receipt = a.put("k", 1)
        held = await gate.held()
        (write,) = a.states.value.queue()
        state = fold(a.states.value.confirmed, ManifestVersion("2", "x", "", None, (write,)))
        a._replica._dataflow.saved.on_next(Loaded(state))  # pyright: ignore[reportPrivateUsage]
        await receipt
        with pytest.raises(NotKept, match="not known"):
            await a.undo()
        held.let_go()
        gate.open()
        await a.undo()
        assert await a.get_prefix() == {"k": 1}


async def test_a_handle_that_may_not_write_cannot_undo() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        await a.put("k", 1)
    with pytest.raises(rxmps3.Closed):
        await a.undo()
    async with players(MemoryStorage(), "a", read_only=True) as (a,):
        with pytest.raises(rxmps3.InvalidOption):
            await a.redo()


@pytest.mark.parametrize("protocol", ["mps3", "versioned"])
async def test_logs_without_one_order_refuse(protocol: str) -> None:
    async with players(MemoryStorage(versioning=True), "a", protocol=protocol, manifest="m.json") as (a,):
        await a.put("k", 1)
        for word in (a.undo, a.redo):
            with pytest.raises(Unsupported):
                await word()


@pytest.mark.async_only("it reaches into the replica: the log forgets a writer after thirty days only")
async def test_an_undo_of_a_write_whose_outcome_is_unknown_says_so() -> None:
    gate = Gate(part="/log/", verbs=("put",))
    async with players(gate, "ana") as (ana,):
        receipt = ana.put("k", 1)
        held = await gate.held()
        undoing = asyncio.ensure_future(ana.undo())
        await settle()
        [write] = ana.states.value.queue()
        unknown = OutcomeUnknown("nobody can tell any more", object=f"write {write.id.version}")
        ana._replica._dataflow.refusals.on_next(Refused(write.id, unknown))
        with pytest.raises(OutcomeUnknown):
            await undoing
        with pytest.raises(OutcomeUnknown):
            await receipt
        assert await ana.undo() == "", "it is no step any more"
        gate.open()
        held.let_go()


async def test_what_waits_behind_a_write_that_rests_on_something_else_was_not_sent() -> None:
    storage = Switch()
    async with players(storage, "a") as (a,):
        await a.put("k", 1)
        storage.error = offline
        blocked, refused, behind = a.put("j", 1), a.put("k", 2, if_version="older"), a.put("k", 3)
        await eventually(lambda: a.status.value.last_error, what="the first is tried")
        for receipt in (behind, refused):
            assert await asyncio.wait_for(a.undo(), 5) == receipt.version
            assert receipt.stage == "rejected"
        assert await a.get("k") == 1
        storage.error = None
        await blocked


async def test_a_write_that_rests_on_what_is_not_there_is_not_sent_also_offline() -> None:
    storage = Switch()
    async with players(storage, "a") as (a,):
        await a.put("k", 1)
        storage.error = offline
        receipt = a.put("k", 2, if_version="not heard of")
        await eventually(lambda: a.status.value.last_error, what="its version is looked for")
        assert receipt.cancel()
        assert await a.get("k") == 1
        storage.error = None
        await a.put("k", 3)


# -- actions of many writes ----------------------------------------------------------------------------------------------


def drag(key: rxmps3.Key[Any], action: object, *values: Any) -> None:
    with one_action(action):
        for value in values:
            key.on_next(value)


async def test_the_writes_of_one_action_are_undone_in_one_write(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        gain = a.key("gain")
        await a.put("gain", 1)
        first, second = object(), object()
        for value in range(10, 130):  # more than can be undone one by one
            drag(gain, first, value)
            if value % 10 == 0:
                await a.refresh()
        drag(gain, second, 200, 201)
        await a.put("other", 1)
        await a.undo()
        for expected in (129, 1, None):
            assert await a.undo()
            await b.refresh()
            assert await b.get("gain") == expected
        assert await a.undo() == ""
        for expected in (1, 129, 201):
            assert await a.redo()
            await b.refresh()
            assert await b.get("gain") == expected


async def test_an_action_that_waits_for_its_commit_is_taken_back_whole(gate: Gate) -> None:
    async with players(gate, "a") as (a,):
        gain, action = a.key("gain"), object()
        await a.put("gain", 1)
        gate.shut = True
        other = a.put("other", 1)
        sending = await gate.held()
        drag(gain, action, 10, 11)
        assert await a.undo(), "while it waits behind another write"
        assert gain.value == 1
        gate.open()
        sending.let_go()
        await other
        assert await a.redo()
        assert gain.value == 11

        gate.shut = True
        drag(gain, action, 12)
        sending = await gate.held()
        drag(gain, action, 13, 14, 13)
        undoing = asyncio.create_task(a.undo())
        await eventually(lambda: gain.value == 12, what="what was not sent is taken back")
        gate.open()
        sending.let_go()
        assert await undoing
        assert gain.value == 1
        assert await a.redo()
        assert gain.value == 13
        assert await a.undo()
        assert gain.value == 1


async def test_what_somebody_wrote_in_the_course_of_an_action_is_there_again() -> None:
    async with players(MemoryStorage(), "a", "b") as (a, b):
        gain, action = a.key("gain"), object()
        await a.put("gain", 1)
        drag(gain, action, 10)
        await b.refresh()
        await b.put("gain", 50)
        await a.refresh()
        drag(gain, action, 11, 12)
        assert await a.undo()
        assert await a.get("gain") == 50
        await a.redo()
        assert await a.get("gain") == 12
        await b.put("gain", 99)
        await a.refresh()
        with pytest.raises(Conflict):
            await a.undo()


async def test_an_action_ends_with_another_write() -> None:
    async with players(MemoryStorage(), "a") as (a,):
        gain, action = a.key("gain"), object()
        drag(gain, action, 1, 2)
        a.put("gain", 5)
        drag(gain, action, 6, 7)
        for expected in (5, 2, None):
            await a.undo()
            assert await a.get("gain") == expected
