"""A process dies between an operation and its answer, and the next one finds out what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING, OutcomeUnknown
from rxmps3.errors import InvalidInput
from rxmps3.log.mps3 import operation
from rxmps3.log.mps3.names import Namespace, Stamp
from rxmps3.log.mps3.recovering import Recovery, held
from rxmps3.log.mps3.ticking import milliseconds
from rxmps3.model.state import ContentObject, Entry, Inline, Write, WriteId
from rxmps3.storage import Found, MemoryStorage, list_all
from rxmps3.testing import FaultyStorage, ManualClock, Request
from rxmps3.testing.faults import deny, offline
from rxmps3.testing.wrappers import Fault
from tests.mps3.processes import LATE, Fate, World, virtually

AT_ONCE = 2.0
"""Seconds, of which nobody waits for anything."""
WHEN_IT_IS_CERTAIN = 13.0
"""Seconds after which an operation of a dead process counts no more."""
WRITES: dict[str, tuple[list[dict[str, Any]], dict[str, bool]]] = {
    "one put": ([{"k": 1}], {"k": True}),
    "two puts of one key": ([{"k": 1}, {"k": 2}], {"k": True}),
    "a put_all that is half overwritten": ([{"k": 1, "l": 1}, {"k": 2}, {"m": 3}], {"k": True, "l": True, "m": True}),
    "a delete": ([{"k": MISSING}], {"k": False}),
    "a put that is deleted": ([{"k": 1}, {"k": MISSING}], {"k": False}),
    "a put and a delete": ([{"l": 1}, {"k": MISSING}], {"l": True, "k": False}),
}


def _in_one_operation(calls: list[dict[str, Any]]) -> bool:
    """Also in the layout with versions, where values of one key are uploaded one after the other."""
    values = [key for call in calls for key, value in call.items() if value is not MISSING]
    return len(values) == len(set(values))


KNOWN_AGAIN = [(name, False) for name in WRITES]
KNOWN_AGAIN += [(name, True) for name, (calls, _) in WRITES.items() if _in_one_operation(calls)]


@pytest.mark.parametrize(("name", "versioning"), KNOWN_AGAIN)
def test_what_has_arrived_is_known_again_at_once_and_not_repeated(name: str, versioning: bool) -> None:
    """Somebody else wrote the same keys meanwhile: a second time would undo that."""
    calls, update = WRITES[name]

    async def main() -> None:
        world = World(versioning=versioning)
        async with world.opened() as other:
            await other.put("k", "before")
            await world.dies("arrives", calls)
            assert (await world.updates())[1:] == [update]
            await other.put_all({key: "after" for call in calls for key in call})
            db, seconds = await world.restarted()
            assert seconds < AT_ONCE
            await db.close()
            assert len(await world.updates()) == 3
            assert set((await world.fresh()).values()) == {"after"}

    virtually(main)


@pytest.mark.parametrize("versioning", [False, True], ids=["without versions", "with versions"])
def test_what_was_never_sent_goes_out_at_once(versioning: bool) -> None:
    async def main() -> None:
        world = World(versioning=versioning)
        async with world.opened() as other:
            await other.put("k", "before")
        async with world.opened(disk=world.disk, online=False) as db:
            await db.put("k", 1).stored
            await db.delete("k").stored
            await db.put("l", 2).stored
        db, seconds = await world.restarted()
        assert seconds < AT_ONCE
        await db.close()
        assert await world.fresh() == {"l": 2}

    virtually(main)


@pytest.mark.parametrize("fate", ["arrives late", "is lost"])
@pytest.mark.parametrize("name", WRITES)
def test_what_may_be_on_its_way_is_waited_for_and_is_in_the_log_once(name: str, fate: Fate) -> None:
    calls, update = WRITES[name]

    async def main() -> None:
        world = World()
        async with world.opened() as other:
            await other.put("k", "before")
            await world.dies(fate, calls)
            assert len(await world.updates()) == 1
            db, seconds = await world.restarted()
            assert LATE < seconds < WHEN_IT_IS_CERTAIN
            await db.put("new", 0)
            await db.close()
            assert (await world.updates())[1:] == [update, {"new": True}]

    virtually(main)


def test_of_several_operations_only_the_last_was_lost() -> None:
    """Committed writes stay in the outbox for a moment: they are known again, and only the last one waits."""

    async def main() -> None:
        world = World()
        async with world.opened() as other:
            db = await world.opened(disk=world.disk)
            for number in range(3):
                await db.put("k", number)
            left = await world.disk.copy()
            await db.close()
            world.disk = left
            await other.put("k", "after")
            db, seconds = await world.restarted()
            assert seconds < AT_ONCE
            await db.close()
            assert await world.fresh() == {"k": "after"}
            assert len(await world.updates()) == 4

    virtually(main)


def test_writes_of_two_dead_processes_in_one_operation_are_known_again() -> None:
    """The last word on the key is the second one's."""

    async def main() -> None:
        world = World()
        async with world.opened() as other:
            await other.put("k", "before")
            await world.dies("arrives", [{"k": 1}], [{"k": 2}])
            assert (await world.updates())[1:] == [{"k": True}]
            await other.put("k", "after")
            db, seconds = await world.restarted()
            assert seconds < AT_ONCE
            await db.close()
            assert await world.fresh() == {"k": "after"}

    virtually(main)


def test_what_has_arrived_is_known_again_before_all_of_its_values_are_stored_once_more() -> None:
    """Without the second write, the operation would not seem to hold the first one."""

    async def main() -> None:
        world = World()
        async with world.opened() as other:
            await other.put("k", "before")
            await world.dies("arrives", [{"k": 1}, {"k": 2}])
            await other.put("k", "after")
            slow = FaultyStorage(world.bucket)
            values: list[str] = []

            async def hold_up(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
                if request.verb == "put" and request.name.startswith("k@"):
                    values.append(request.name)
                    await asyncio.sleep(30 if len(values) == 2 else 0)
                return await proceed()

            slow.plan = hold_up
            async with world.opened(slow, world.disk) as db:
                for receipt in db.pending.value:
                    await receipt
            assert await world.fresh() == {"k": "after"}
            assert len(await world.updates()) == 3

    virtually(main)


def test_what_has_arrived_is_known_again_by_a_process_that_has_to_find_out_the_protocol() -> None:
    async def main() -> None:
        world = World()
        async with world.opened() as other:
            await other.put("k", "before")
            await world.dies("arrives", [{"k": 1}])
            await other.put("k", "after")
            async with world.opened(disk=world.disk, protocol="auto", manifest="manifest.json") as db:
                for receipt in db.pending.value:
                    await receipt
                assert db.protocol == "mps3"
            assert await world.fresh() == {"k": "after"}
            assert len(await world.updates()) == 3

    virtually(main)


def gone_after_the_next_operation() -> Fault:
    """The network goes as soon as one operation has arrived, and with it the answer."""

    async def last(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
        answer = await proceed()
        if request.verb == "put" and "json@" in request.name:
            faults.plan = offline()
            raise rxmps3.Unavailable("no answer", operation="put", object=request.name)
        return answer

    return last


def test_an_answer_lost_to_a_long_outage_doubles_nothing() -> None:
    """When the network is back the operation is older than the window that everybody reads."""

    async def main() -> None:
        world = World()
        network = FaultyStorage(world.bucket)

        async with world.opened() as other, world.opened(network) as db:
            await other.put("k", "before")
            network.plan = gone_after_the_next_operation()
            receipt = db.put("k", 1)
            await asyncio.sleep(1)
            assert len(await world.updates()) == 2
            for number in range(4):
                await other.refresh()
                await other.put("k", f"after {number}")
                await asyncio.sleep(20)
            network.plan = ()
            await receipt
            assert len(await world.updates()) == 6
            assert await world.fresh() == {"k": "after 3"}

    virtually(main)


@pytest.mark.parametrize("refusal", [rxmps3.AccessDenied, InvalidInput, rxmps3.BucketNotFound, rxmps3.Unavailable])
def test_a_put_that_arrived_and_is_refused_when_it_comes_again_doubles_nothing(refusal: type[rxmps3.Error]) -> None:
    """HTTP clients resend a PUT by themselves: the answer may be that to the second one."""

    async def main() -> None:
        world = World()
        network = FaultyStorage(world.bucket)

        async def again(request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any:
            answer = await proceed()
            if request.verb != "put" or "json@" not in request.name:
                return answer
            faults.plan = deny()
            raise refusal("refused", operation="put", object=request.name)

        async with world.opened() as other, world.opened(network) as db:
            await other.put("k", "before")
            network.plan = again
            receipt = db.put("k", 1)
            await asyncio.sleep(4)
            network.plan = ()
            await receipt
            assert await world.updates() == [{"k": True}, {"k": True}]

    virtually(main)


# -- operations of that time were collected ----------------------------------------------------------------------


@pytest.mark.parametrize("versioning", [False, True], ids=["without versions", "with versions"])
@pytest.mark.parametrize("fate", ["arrives", "is lost"])
def test_of_what_was_overwritten_and_collected_nobody_can_tell_and_it_is_not_sent_again(
    fate: Fate, versioning: bool
) -> None:
    async def main() -> None:
        world = World(versioning=versioning)
        async with world.opened() as other:
            await other.put("k", "before")
            await world.dies(fate, [{"k": 1}])
            await other.put("k", "after")
            await _collected(other, world)
            db = await world.opened(disk=world.disk, online=True)
            (receipt,) = db.pending.value
            with pytest.raises(OutcomeUnknown, match="not sent again"):
                await receipt
            await db.put("new", 2)
            await db.close()
            db, _ = await world.restarted()
            await db.close()
            assert await world.fresh() == {"k": "after", "new": 2, "z": 2}

    virtually(main)


def test_a_process_that_slept_until_its_operation_was_collected_does_not_send_it_again() -> None:
    async def main() -> None:
        world = World()
        network = FaultyStorage(world.bucket)

        async with world.opened() as other, world.opened(network) as db:
            await other.put("k", "before")
            network.plan = gone_after_the_next_operation()
            receipt = db.put("k", 1)
            await asyncio.sleep(1)
            assert len(await world.updates()) == 2
            await other.refresh()
            await other.put("k", "after")
            await _collected(other, world)
            network.plan = ()
            with pytest.raises(OutcomeUnknown, match="not sent again"):
                await receipt
            await db.put("new", 2)
            assert await world.fresh() == {"k": "after", "new": 2, "z": 2}

    virtually(main)


@pytest.mark.parametrize("versioning", [False, True], ids=["without versions", "with versions"])
def test_what_was_collected_is_known_again_by_the_base_of_what_is_left(versioning: bool) -> None:
    async def main() -> None:
        world = World(versioning=versioning)
        async with world.opened() as other:
            await other.put("d", "before")
            await world.dies("arrives", [{"k": 1}, {"d": MISSING}])
            await _collected(other, world)
            await other.put_all({"k": "after", "d": "after"})
            count = len(await world.updates())
            db, seconds = await world.restarted()
            assert seconds < AT_ONCE
            await db.close()
            assert len(await world.updates()) == count
            assert await world.fresh() == {"k": "after", "d": "after", "z": 2}

    virtually(main)


@pytest.mark.parametrize("suspended", [False, True], ids=["a dead process", "a process that slept"])
def test_what_came_after_a_collection_does_not_tell_that_there_was_none(suspended: bool) -> None:
    """An operation from before arrives once more, as the network may deliver it."""

    async def main() -> None:
        world = World()
        network = FaultyStorage(world.bucket)
        async with world.opened() as other:
            await other.put("k", "before")
            (first,) = await list_all(world.bucket, "manifest.json@")
            before = await world.bucket.get(first.name)
            assert isinstance(before, Found)
            if suspended:
                db = await world.opened(network)
                network.plan = gone_after_the_next_operation()
                receipt = db.put("k", 1)
                await asyncio.sleep(1)
                await other.put("k", "after")
            else:
                await world.dies("arrives", [{"k": 1}])
            await _collected(other, world)
            await world.bucket.put(first.name, before.body)
            if suspended:
                network.plan = ()
                with pytest.raises(OutcomeUnknown, match="not sent again"):
                    await receipt
            else:
                db, _ = await world.restarted()
            assert len(await world.updates()) == 2
            await db.close()
            assert await world.fresh() == {"k": "after" if suspended else 1, "z": 2}

    virtually(main)


def test_what_was_sent_to_a_log_that_still_has_its_beginning_is_sent_again() -> None:
    """Nothing was collected, so that what is not there never arrived."""

    async def main() -> None:
        world = World()
        await world.dies("is lost", [{"k": 1}])
        async with world.opened() as other:
            await other.put("z", 2)
        db, _ = await world.restarted()
        await db.close()
        assert await world.fresh() == {"k": 1, "z": 2}

    virtually(main)


async def _collected(other: rxmps3.Database, world: World) -> None:
    """Somebody else goes on, and all that is older is collected."""
    for number in range(3):
        await asyncio.sleep(60)
        await other.refresh()
        await other.put("z", number)
    async with world.opened(retention=timedelta(0)) as keeper:
        await keeper.compact()
    assert len(await world.updates()) == 1


async def test_what_the_oldest_base_does_not_know_yet_is_found_in_a_later_one() -> None:
    """The writer's first operation was collected. Somebody stored one after it without having read it."""
    clock, space = ManualClock(), Namespace("b")
    bucket = MemoryStorage(clock=clock)

    def to(key: str) -> Entry:
        return Entry("", ContentObject(f"{key}@{key}1", "", 0))

    writes = [Write(WriteId("w", number), "", {key: to(key)}) for number, key in enumerate("klm", 1)]
    files = {space.file_of(key): operation.file_of(f"{key}1") for key in "klmn"}
    stamps: list[Stamp] = []

    async def store(session: str, base: str, update: str) -> None:
        await clock.advance(1)
        stamps.append(Stamp.of(milliseconds(clock.now()), session, len(stamps)))
        known, new = ({file: files[file] for file in map(space.file_of, keys)} for keys in (base, update))
        await bucket.put(f"main@{stamps[-1].text}", operation.encode(known, new))

    await store("own", "n", "k")
    await store("bob", "n", "m")
    await store("own", "kmn", "l")
    await bucket.delete(f"main@{stamps[0].text}")
    recovery = Recovery(bucket, "main", space, versioning=False)
    recovery.suspect(writes[0], Stamp.of(stamps[0].time - 1, "bob", 1).text)
    recovery.suspect(writes[1], stamps[0].text)
    assert await recovery.search(recovery.lacking()) == [(stamps[2], [writes[0]]), (stamps[2], [writes[1]])]


# -- what an operation holds -------------------------------------------------------------------------------------


def write(writer: str, number: int, **update: int | None) -> Write:
    entries = {key: None if one is None else Entry("", Inline(str(one))) for key, one in update.items()}
    return Write(WriteId(writer, number), "", entries)


def found(queues: dict[str, list[Write]], operation: dict[str, int | None]) -> list[str]:
    """The versions of the writes that an operation holds; values stand for themselves."""
    same = {
        (one.id, key)
        for queue in queues.values()
        for one in queue
        for key, entry in one.update.items()
        if key in operation and (None if entry is None else int(entry.content.text)) == operation[key]  # type: ignore[union-attr]
    }
    return sorted(one.id.version for one in held(queues, same, operation.keys()))


def test_the_last_word_on_a_key_hides_the_earlier_ones() -> None:
    queue = [write("a", 1, k=1, l=1), write("a", 2, k=2), write("a", 3, k=None), write("a", 4, l=4)]
    assert found({"a": queue}, {"k": 2, "l": 1}) == ["a-1", "a-2"]
    assert found({"a": queue}, {"k": None, "l": 1}) == ["a-1", "a-2", "a-3"]
    assert found({"a": queue}, {"k": None, "l": 4}) == ["a-1", "a-2", "a-3", "a-4"]
    assert found({"a": queue[2:]}, {"k": None, "l": 4}) == ["a-3", "a-4"]


def test_a_later_write_of_the_same_writer_is_not_held_for_an_earlier_one_on_its_key() -> None:
    queue = [write("a", 1, k=1), write("a", 2, k=2)]
    assert found({"a": queue}, {"k": 1}) == ["a-1"]


def test_writes_that_others_hide_are_held_and_those_behind_what_is_not_are_not() -> None:
    a, b = [write("a", 1, k=1)], [write("b", 1, k=2)]
    assert found({"a": a, "b": b}, {"k": 2}) == ["a-1", "b-1"]
    assert found({"a": [write("a", 1, x=0), *a], "b": b}, {"k": 2}) == ["b-1"]
    assert found({"a": a, "b": b}, {"k": 3}) == []
    assert found({"a": [write("a", 1, k=1, x=0)], "b": b}, {"k": 2}) == ["b-1"]
