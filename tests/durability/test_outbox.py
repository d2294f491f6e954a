"""The outbox: what is stored survives the process, and goes out in order, exactly once."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from reactivex import Subject

import rxmps3
from rxmps3 import (
    AccessDenied,
    Closed,
    Conflict,
    InvalidKey,
    NotSent,
    Overloaded,
    Rejected,
    Unavailable,
)
from rxmps3.database import connect as opening
from rxmps3.local.outbox import Outbox, open_sealed, seal
from rxmps3.model import jsontext
from rxmps3.model.state import Write, WriteId
from rxmps3.replica import Replica
from rxmps3.storage import Found, MemoryStorage, Storage, list_all
from rxmps3.testing import FaultyStorage, Request
from rxmps3.testing.faults import deny, fail_on, lose_answers, offline
from tests.behaviour.helpers import Gate, eventually, trace
from tests.durability.helpers import LARGE, Disk, on
from tests.mutating import Mutant
from tests.processes.reading import entries, puts_in, versions_in


async def test_a_put_is_called_stored_once_it_is_on_disk_and_not_before() -> None:
    disk, bucket = Disk(), MemoryStorage()
    gates: list[Gate] = []

    def wrap(name: str, storage: rxmps3.storage.Storage) -> rxmps3.storage.Storage:
        if name != "main/outbox":
            return storage
        gates.append(Gate(storage, "writes/", ("put",)))
        return gates[-1]

    disk.wrap = wrap
    async with on(bucket, disk, online=False) as db:
        receipt = db.put("k", 1)
        held = await gates[0].held()
        assert receipt.stage == "pending"
        assert not await disk.files()
        held.let_go()
        assert await receipt.stored == receipt.version
        assert receipt.stage == "stored"
        crashed = await disk.copy()
    async with on(bucket, crashed) as after:
        await asyncio.gather(*map(_end_of, after.pending.value))
        assert await after.get("k") == 1


async def test_a_write_is_sent_only_once_it_is_on_disk() -> None:
    """Or a crash in between would leave a write in the log that the outbox knows nothing of."""
    disk, bucket = Disk(), FaultyStorage(MemoryStorage())
    gates: list[Gate] = []

    def wrap(name: str, storage: rxmps3.storage.Storage) -> rxmps3.storage.Storage:
        gates.append(Gate(storage, "writes/", ("put",)))
        return gates[-1]

    disk.wrap = wrap
    async with on(bucket, disk) as db:
        receipt = db.put("k", 1)
        outbox = gates[-1] if gates[-1].holding else gates[0]
        held = await outbox.held()
        await asyncio.sleep(0.05)
        assert await entries(bucket) == []
        outbox.shut = False
        held.let_go()
        await receipt


async def test_pending_writes_are_there_after_a_restart_in_order_and_go_out_once() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False, by="ann") as first:
        receipts = [
            first.put("a", 1),
            first.put("large", LARGE),
            first.put_all({"a": 2, "b": [None, 1.0]}),
            first.delete("b"),
            first.put("a", 3),
        ]
        for receipt in receipts:
            await receipt.stored
    versions = [receipt.version for receipt in receipts]
    async with on(bucket, disk, online=False) as second:
        assert [receipt.version for receipt in second.pending.value] == versions
        assert [receipt.keys for receipt in second.pending.value] == [
            ("a",),
            ("large",),
            ("a", "b"),
            ("b",),
            ("a",),
        ]
        assert {receipt.stage for receipt in second.pending.value} == {"stored"}
        assert await second.get_prefix() == {"a": 3, "large": LARGE}
        more = second.put("c", 4)
        await more.stored
    async with on(bucket, disk) as third:
        left = list(third.pending.value)  # some may be committed by the time that it is open
        assert [receipt.version for receipt in left] == [*versions, more.version][len(versions) + 1 - len(left) :]
        await asyncio.gather(*map(_end_of, left))
        assert third.pending.value == ()
        assert await third.get_prefix() == {"a": 3, "c": 4, "large": LARGE}
    log = await entries(bucket)
    assert versions_in(log) == [*versions, more.version]
    assert await _stored_writes(disk) == []
    async with on(bucket, disk) as fourth:
        assert fourth.pending.value == ()


async def test_who_wrote_it_is_kept_across_a_restart() -> None:
    """The name given to the process that wrote, also where another process commits it."""
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False, by="ann") as first:
        await first.put("k", 1).stored
    async with on(bucket, disk, online=False, by="bob") as second:
        changes = trace(second.changes())
        second.put("k", 2)
        assert [change.by for change in changes] == ["bob"]


async def test_whoever_sends_it_it_is_committed_under_the_name_of_who_wrote_it() -> None:
    """In the view, in the log, to others, in the past, and once more where an adopted outbox is adopted again."""
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False, by="ann") as first:
        await first.put_all({"k": 1, "large": LARGE}).stored
        await first.delete("gone").stored
    async with on(bucket, disk, online=False, by="bob"):
        pass
    async with on(bucket) as witness:
        told = trace(witness.changes())
        versions = trace(witness.versions)
        async with on(bucket, disk, by="carl") as third:
            entry = trace(third.key("k").entries())
            assert entry[0].by == "ann"
            own = third.put("own", 2)
            await asyncio.gather(*map(_end_of, third.pending.value))
            await own
        await witness.refresh()
        assert {change.key: change.by for change in told} == {"k": "ann", "large": "ann", "own": "carl"}
        assert [(write.id.number, write.by) for version in versions for write in version.writes] == [
            (1, "ann"),
            (2, "ann"),
            (1, None),
        ]
        assert {version.by for version in versions} == {"carl"}
        assert [one.by for one in await witness.history("k")] == ["ann"]
        assert [one.by for one in await witness.history("own")] == ["carl"]


async def test_what_a_user_without_a_name_left_is_not_given_one() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False) as first:
        await first.put("k", 1).stored
    async with on(bucket) as witness:
        told = trace(witness.changes())
        async with on(bucket, disk, by="bob") as second:
            await asyncio.gather(*map(_end_of, second.pending.value))
        await witness.refresh()
        assert [change.by for change in told] == [""]


async def test_a_large_value_waits_on_disk_with_its_write() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False) as first:
        await first.put("large", LARGE).stored
        crashed = await disk.copy()
    async with on(bucket, crashed, cache_bytes=1) as second:
        await asyncio.gather(*map(_end_of, second.pending.value))
    async with on(bucket) as witness:
        assert await witness.get("large") == LARGE


async def test_writes_made_before_and_after_a_restart_are_committed_in_the_order_of_the_calls() -> None:
    disk, bucket = Disk(), MemoryStorage()
    expected: list[tuple[str, int]] = []
    for session in range(4):
        async with on(bucket, disk, online=False) as db:
            for number in range(3):
                expected.append(("k", 10 * session + number))
                await db.put(*expected[-1]).stored
    async with on(bucket, disk) as db:
        db.put("k", 99)
        await asyncio.gather(*map(_end_of, db.pending.value))
    assert puts_in(await entries(bucket)) == [*expected, ("k", 99)]


# -- one write at fault --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", [True, False])
async def test_a_write_at_fault_is_rejected_and_rolled_back_while_later_ones_go(local: bool) -> None:
    def is_bad_value(request: Request) -> bool:
        return request.verb == "put" and "values/bad@" in request.name

    bucket = FaultyStorage(MemoryStorage(), fail_on(is_bad_value, lambda: InvalidKey("400 KeyTooLongError")))
    disk = Disk() if local else None
    async with on(bucket, disk) as db:
        await db.put("bad", "before")
        seen = trace(db.observe("bad"))
        bad, good = db.put("bad", LARGE), db.put("good", 1)
        with pytest.raises(Rejected) as rejected:
            await bad
        assert isinstance(rejected.value.__cause__, InvalidKey)
        assert await good == good.version
        assert bad.stage == "rejected"
        assert seen == ["before", LARGE, "before"]
        assert db.pending.value == ()
    assert puts_in(await entries(bucket)) == [("bad", "before"), ("good", 1)]
    if disk is not None:
        async with on(bucket, disk) as after:
            assert after.pending.value == (), "a rejected write is not tried again after a restart"


async def test_cancelling_a_write_whose_upload_hangs_lets_the_later_ones_go() -> None:
    disk, bucket = Disk(), Gate(MemoryStorage(), "/values/", ("put",))
    async with on(bucket, disk) as db:
        large, good = db.put("large", LARGE), db.put("good", 1)
        await bucket.held()
        assert large.cancel() is True
        with pytest.raises(Rejected):
            await large
        assert await good == good.version
    assert puts_in(await entries(bucket)) == [("good", 1)]


async def test_refused_access_rejects_nothing_and_the_status_says_why() -> None:
    disk, bucket = Disk(), FaultyStorage(MemoryStorage())
    async with on(bucket, disk) as db:
        await db.put("k", 0)
        statuses = trace(db.status)
        bucket.plan = deny()
        receipts = [db.put("k", 1), db.put("large", LARGE)]
        await eventually(lambda: isinstance(db.status.value.last_error, AccessDenied))
        await eventually(lambda: any(status.online is False for status in statuses))
        assert [receipt.stage for receipt in receipts] != ["rejected", "rejected"]
        assert [receipt.version for receipt in db.pending.value] == [receipt.version for receipt in receipts]
        assert await db.get("k") == 1
        bucket.plan = ()
        await asyncio.gather(*map(_end_of, receipts))
        await eventually(lambda: db.status.value.online and db.status.value.last_error is None)
        assert statuses[-1].online is True
    assert [key for entry in await entries(bucket) for write in entry.version.writes for key in write.update] == [
        "k",
        "k",
        "large",
    ]


async def test_access_refused_across_a_restart_keeps_everything() -> None:
    disk, bucket = Disk(), FaultyStorage(MemoryStorage())
    async with on(bucket, disk) as db:
        await db.put("k", 0)
        bucket.plan = deny()
        await db.put("k", 1).stored
        await db.close(timeout=0)
    async with on(bucket, disk) as db:
        assert [receipt.stage for receipt in db.pending.value] == ["stored"]
        assert await db.get("k") == 1
        bucket.plan = ()
        await asyncio.gather(*map(_end_of, db.pending.value))
    assert puts_in(await entries(bucket)) == [("k", 0), ("k", 1)]


# -- taking back ---------------------------------------------------------------------------------------------------


async def test_cancel_takes_back_what_was_never_sent() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False) as db:
        seen = trace(db.observe("k"))
        first, second = db.put("k", 1), db.put("k", 2)
        await second.stored
        assert second.cancel() is True
        assert seen == [None, 1, 2, 1]
        with pytest.raises(Rejected, match="taken back"):
            await second
        assert second.cancel() is False
        assert [receipt.version for receipt in db.pending.value] == [first.version]
    async with on(bucket, disk) as after:
        await asyncio.gather(*map(_end_of, after.pending.value))
        assert await after.get("k") == 1
    assert puts_in(await entries(bucket)) == [("k", 1)]


async def test_each_cancelled_write_of_a_batch_stays_away_after_a_restart() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False) as db:
        receipts = [db.put("k", number) for number in range(6)]
        await receipts[-1].stored
        for cancelled in (0, 2, 4):
            assert receipts[cancelled].cancel()
            await asyncio.sleep(0.05)  # it is removed from the outbox before the next one is
    async with on(bucket, disk, online=False) as db:
        assert [receipt.version for receipt in db.pending.value] == [receipt.version for receipt in receipts[1::2]]
    async with on(bucket, disk) as db:
        await asyncio.gather(*map(_end_of, db.pending.value))
    assert puts_in(await entries(bucket)) == [("k", 1), ("k", 3), ("k", 5)]


async def test_cancel_after_a_restart_takes_back_what_was_never_sent() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False) as db:
        await db.put("k", 1).stored
    async with on(bucket, disk, online=False) as db:
        (receipt,) = db.pending.value
        assert receipt.cancel() is True
        assert await db.get("k") is None
    async with on(bucket, disk) as db:
        assert db.pending.value == ()
    assert await entries(bucket) == []


async def test_cancel_refuses_once_the_write_may_be_in_the_log_also_after_a_restart() -> None:
    disk, bucket = Disk(), FaultyStorage(MemoryStorage())
    async with on(bucket, disk) as db:
        committed = db.put("k", 0)
        await committed
        assert committed.cancel() is False
        bucket.plan = offline()
        sent = db.put("k", 1)
        await eventually(lambda: db.status.value.online is False)
        assert sent.cancel() is False
        assert await db.get("k") == 1
        await db.close(timeout=0)
    async with on(bucket, disk) as db:
        (restored,) = db.pending.value
        assert restored.cancel() is False
        bucket.plan = ()
        await restored
    assert puts_in(await entries(bucket)) == [("k", 0), ("k", 1)]


# -- closing -------------------------------------------------------------------------------------------------------


async def test_closing_with_an_outbox_leaves_leftovers_says_so_and_raises_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk, bucket = Disk(), FaultyStorage(MemoryStorage())
    caplog.set_level(logging.WARNING, logger="rxmps3")
    db = await on(bucket, disk)
    bucket.plan = offline()
    receipts = [db.put("a", 1), db.put("b", 2)]
    await db.close(timeout=0.05)
    assert any("2 writes" in message and "outbox keeps them" in message for message in caplog.messages)
    for receipt in receipts:
        with pytest.raises(Closed, match="keeps"):
            await receipt
    bucket.plan = ()
    async with on(bucket, disk) as after:
        await asyncio.gather(*map(_end_of, after.pending.value))
        assert await after.get_prefix() == {"a": 1, "b": 2}


async def test_closing_stores_what_was_put_just_before() -> None:
    """A put followed by close at once, with the bucket out of reach, is on disk."""
    disk, bucket = Disk(), MemoryStorage()
    db = await on(bucket, disk, online=False)
    for number in range(50):
        db.put(f"{number:02}", number)
    await db.close(timeout=0)
    async with on(bucket, disk) as after:
        await asyncio.gather(*map(_end_of, after.pending.value))
    assert puts_in(await entries(bucket)) == [(f"{number:02}", number) for number in range(50)]


async def test_closing_without_an_outbox_names_what_was_not_sent() -> None:
    bucket = FaultyStorage(MemoryStorage())
    db = await on(bucket)
    bucket.plan = offline()
    db.put("b", 1)
    receipt = db.put_all({"a": 1, "b": 2})
    with pytest.raises(NotSent) as not_sent:
        await db.close(timeout=0.05)
    assert not_sent.value.keys == ("a", "b")
    with pytest.raises(NotSent):
        await receipt


async def test_a_clean_close_leaves_an_empty_outbox() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk) as db:
        for number in range(20):
            db.put("k", number)
    assert await _stored_writes(disk) == []


# -- limits --------------------------------------------------------------------------------------------------------


async def test_a_full_outbox_refuses_at_the_call_and_changes_nothing() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False, max_pending=3) as db:
        for number in range(3):
            db.put("k", number)
        with pytest.raises(Overloaded):
            db.put("k", 99)
        assert await db.get("k") == 2
        assert len(db.pending.value) == 3
        db.pending.value[0].cancel()
        db.put("k", 3)
    async with on(bucket, disk, online=False, max_pending=2) as db:
        assert len(db.pending.value) == 3, "what was stored is never given up for a smaller limit"
        with pytest.raises(Overloaded):
            db.put("k", 99)
    async with on(bucket, disk) as db:
        await asyncio.gather(*map(_end_of, db.pending.value))
    assert puts_in(await entries(bucket)) == [("k", 1), ("k", 2), ("k", 3)]


# -- a disk that does not do what it should ------------------------------------------------------------------------


def _spoiled(disk: Disk) -> Callable[[], FaultyStorage]:
    """The outbox of the next process can be spoiled: the answer gives its storage, once open."""
    opened: list[FaultyStorage] = []

    def wrap(name: str, storage: rxmps3.storage.Storage) -> rxmps3.storage.Storage:
        if name != "main/outbox":
            return storage
        opened.append(FaultyStorage(storage))
        return opened[-1]

    disk.wrap = wrap
    return lambda: opened[-1]


async def test_a_disk_that_refuses_is_reported_and_writes_are_committed_nevertheless() -> None:
    disk, bucket = Disk(), MemoryStorage()
    outbox = _spoiled(disk)
    async with on(bucket, disk) as db:
        errors = trace(db.errors)
        outbox().plan = deny(verbs=("put",))
        receipt = db.put("k", 1)
        await receipt
        assert await receipt.stored == receipt.version
        assert any(failure.operation == "outbox" for failure in errors)
    assert puts_in(await entries(bucket)) == [("k", 1)]


async def test_without_disk_and_bucket_nothing_is_called_stored_until_one_of_them_works() -> None:
    disk, bucket = Disk(), MemoryStorage()
    outbox = _spoiled(disk)
    async with on(bucket, disk, online=False) as db:
        errors = trace(db.errors)
        outbox().plan = offline()
        receipts = [db.put("k", number) for number in range(3)]
        await eventually(lambda: errors)
        assert {receipt.stage for receipt in receipts} == {"pending"}
        outbox().plan = ()
        await asyncio.gather(*(_stored(receipt) for receipt in receipts))
    disk.wrap = Disk().wrap
    async with on(bucket, disk) as db:
        await asyncio.gather(*map(_end_of, db.pending.value))
    assert puts_in(await entries(bucket)) == [("k", 0), ("k", 1), ("k", 2)]


async def test_writes_that_a_disk_stored_but_did_not_confirm_are_neither_doubled_nor_left_behind() -> None:
    disk, bucket = Disk(), MemoryStorage()
    outbox = _spoiled(disk)
    async with on(bucket, disk) as db:
        outbox().plan = lose_answers(one_in=2, verbs=("put", "delete"))
        for number in range(30):
            await db.put("k", number)
        outbox().plan = ()
    disk.wrap = Disk().wrap
    assert puts_in(await entries(bucket)) == [("k", number) for number in range(30)]
    async with on(bucket, disk) as db:
        await asyncio.gather(*map(_end_of, db.pending.value))
    assert await _stored_writes(disk) == []
    assert puts_in(await entries(bucket)) == [("k", number) for number in range(30)]


async def test_what_a_disk_refuses_to_remove_is_still_there_until_it_does() -> None:
    disk = FaultyStorage(MemoryStorage(), deny(verbs=("delete",)))
    outbox = Outbox(disk)
    writes = [Write(WriteId("w", number), "", {"k": None}) for number in (1, 2)]
    ids = [write.id for write in writes]
    await outbox.add([(write, {}) for write in writes], "")
    for _ in range(2):
        with pytest.raises(AccessDenied):
            await outbox.remove(ids)
        assert len(outbox) == 1
    disk.plan = ()
    await outbox.remove(ids)
    assert len(outbox) == 0
    assert await list_all(disk, "writes/") == []


async def test_a_rejected_write_does_not_come_back_from_a_disk_that_lost_answers() -> None:
    disk = Disk()
    bucket = FaultyStorage(
        MemoryStorage(),
        fail_on(lambda request: "values/bad@" in request.name, lambda: InvalidKey("400 KeyTooLongError")),
    )
    outbox = _spoiled(disk)
    async with on(bucket, disk) as db:
        outbox().plan = _lose_first_put()
        with pytest.raises(Rejected):
            await db.put("bad", LARGE)
        outbox().plan = ()
    disk.wrap = Disk().wrap
    bucket.plan = ()
    async with on(bucket, disk) as after:
        assert after.pending.value == ()
        assert await after.get("bad") is None


async def test_an_outbox_that_cannot_be_read_stops_the_opening_and_keeps_what_it_holds() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk, online=False) as db:
        await db.put("k", 1).stored

    def wrap(name: str, storage: rxmps3.storage.Storage) -> rxmps3.storage.Storage:
        return FaultyStorage(storage, offline()) if name == "main/outbox" else storage

    disk.wrap = wrap
    with pytest.raises(Unavailable):
        await on(bucket, disk)
    disk.wrap = Disk().wrap
    async with on(bucket, disk, online=False) as db:
        assert [receipt.keys for receipt in db.pending.value] == [("k",)]


async def test_a_last_known_state_that_cannot_be_read_or_saved_costs_only_a_download() -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket, disk) as db:
        await db.put("k", 1)

    def wrap(name: str, storage: rxmps3.storage.Storage) -> rxmps3.storage.Storage:
        return FaultyStorage(storage, deny(verbs=("put",))) if name == "main/known" else storage

    disk.wrap = wrap
    async with on(bucket, disk) as db:
        await db.put("large", LARGE)
        assert await db.get_prefix() == {"k": 1, "large": LARGE}
    await disk.parts["main/known"].put("state", b"torn")
    async with on(bucket, disk) as db:
        assert await db.get_prefix() == {"k": 1, "large": LARGE}


def _lose_first_put() -> Callable[..., object]:
    lost: list[str] = []

    async def lose(request: Request, proceed: Callable[[], object], faults: FaultyStorage) -> object:
        answer = await proceed()  # type: ignore[misc]
        if request.verb == "put" and request.name.startswith("writes/") and not lost:
            lost.append(request.name)
            raise Unavailable("the answer was lost")
        return answer

    return lose


async def _end_of(receipt: rxmps3.Receipt) -> str:
    return await receipt


async def _stored(receipt: rxmps3.Receipt) -> str:
    return await receipt.stored


async def _stored_writes(disk: Disk) -> list[str]:
    return [name for name in await disk.files() if name.startswith("writes/")]


async def test_an_adopter_that_dies_half_way_leaves_no_write_of_which_nothing_says_that_it_was_sent() -> None:
    write = Write(WriteId("w", 1), "", {"k": None})
    dead, adopting = MemoryStorage(), FaultyStorage(MemoryStorage())
    outbox = Outbox(dead)
    await outbox.add([(write, {})], "")
    await outbox.mark_sent([write.id], None, "a")
    for refused in ("writes/", "sent"):
        adopting.plan = fail_on(
            lambda request, refused=refused: request.verb == "put" and refused in request.name, lambda: Unavailable("")
        )
        with pytest.raises(Unavailable):
            await Outbox(adopting).adopt(await Outbox(dead).restore())
        adopting.plan = ()
        assert await Outbox(adopting).restore() == []
    heir = Outbox(adopting)
    assert await heir.restore() == []
    await heir.adopt(await Outbox(dead).restore())
    assert [one.after for one in await Outbox(adopting).restore()] == ["a"]


async def test_where_the_log_was_when_a_write_was_first_sent_is_kept_for_as_long_as_the_write() -> None:
    def write(number: int) -> Write:
        return Write(WriteId("w", number), "", {"k": None})

    async def afters(storage: MemoryStorage) -> list[str | None]:
        return [one.after for one in await Outbox(storage).restore()]

    disk = MemoryStorage()
    outbox = Outbox(disk)
    for number in range(1, 6):
        await outbox.add([(write(number), {})], "")
    ids = [write(number).id for number in range(1, 6)]
    await outbox.mark_sent(ids[:1], None, "")
    await outbox.mark_sent(ids[:3], None, "a")
    await outbox.mark_sent(ids[1:3], None, "b")  # once more: nothing new
    await outbox.mark_sent(ids[1:4], None, "c")
    assert await afters(disk) == ["", "a", "a", "c", None]
    await outbox.remove(ids[:2])
    await outbox.mark_sent(ids[2:4], None, "d")
    assert await afters(disk) == ["a", "c", None]
    batch = MemoryStorage()
    outbox = Outbox(batch)
    await outbox.add([(write(number), {}) for number in (1, 2, 3)], "")
    await outbox.mark_sent(ids[:1], None, "a")
    await outbox.remove(ids[:1])
    await outbox.mark_sent(ids[1:2], None, "b")
    assert await afters(batch) == ["a", "b", None], "the whole batch is still there"
    adopting = MemoryStorage()
    heir = Outbox(adopting)
    await heir.adopt(await Outbox(disk).restore())
    assert await afters(adopting) == ["a", "c", None]
    newest = max([await _note(disk, name) for name in ("sent", "sent-2")], key=lambda note: note["note"])
    del newest["after"], newest["dates"], newest["note"]  # as it was written before there were such things
    await disk.put("sent", seal(jsontext.encode(newest)))
    await disk.delete("sent-2")
    assert await afters(disk) == ["", "", None]


async def test_each_write_keeps_the_date_at_which_it_was_first_sent() -> None:
    """Also where later ones are sent, where it is adopted, and where an earlier version noted one date for all."""
    start = datetime(2030, 1, 1, tzinfo=UTC)

    def day(number: float) -> datetime:
        return start + timedelta(days=number)

    async def dates(storage: MemoryStorage) -> list[datetime | None]:
        return [one.sent for one in await Outbox(storage).restore()]

    writes = [Write(WriteId("w", number), "", {"k": None}) for number in range(1, 7)]
    ids = [write.id for write in writes]
    disk = MemoryStorage()
    outbox = Outbox(disk)
    await outbox.add([(write, {}) for write in writes], "")
    await outbox.mark_sent(ids[:1], day(0), "a")
    await outbox.mark_sent(ids[:2], day(0.9), "a")  # as one attempt, which only looks older
    await outbox.mark_sent(ids[:3], day(1.1), "a")
    await outbox.mark_sent(ids[:4], day(1.2), "b")
    await outbox.mark_sent(ids[:5], None, "b")
    await outbox.mark_sent(ids[1:3], day(20), "c")  # once more: nothing new
    first_sent = [day(0), day(0), day(1.1), day(1.2), None, None]
    assert await dates(disk) == first_sent
    after_a_restart = Outbox(disk)
    await after_a_restart.restore()
    await after_a_restart.add([(Write(WriteId("x", 1), "", {"k": None}), {})], "")
    await after_a_restart.mark_sent([WriteId("x", 1)], day(28), "d")
    assert (await dates(disk))[:5] == first_sent[:5]
    adopting = MemoryStorage()
    await Outbox(adopting).adopt(await Outbox(disk).restore())
    assert await dates(adopting) == await dates(disk)
    newest = max([await _note(disk, name) for name in ("sent", "sent-2")], key=lambda note: note["note"])
    assert datetime.fromisoformat(newest["date"]) == day(28), "what an earlier version reads"
    del newest["dates"]
    await disk.put("sent", seal(jsontext.encode({**newest, "date": day(20).isoformat()})))
    await disk.delete("sent-2")
    assert await dates(disk) == [day(20)] * 7
    later = Outbox(disk)
    await later.restore()
    await later.mark_sent([WriteId("x", 1)], day(29), "e")
    assert await dates(disk) == [day(20)] * 7, "it is not renewed from then on"


async def _note(disk: MemoryStorage, name: str) -> dict[str, Any]:
    found = await disk.get(name)
    assert isinstance(found, Found)
    return jsontext.decode(open_sealed(found.body, name))


@pytest.mark.parametrize("kind", ["sent", "refused"])
async def test_a_note_that_is_cut_short_is_as_if_it_had_not_begun(kind: str) -> None:
    """Nothing was sent upon it, and nothing was said to be taken back. Whichever of the two files it is, and however
    often the disk refused it before."""
    writes = [Write(WriteId("w", number), "", {"k": None}) for number in range(1, 5)]
    disk = FaultyStorage(MemoryStorage())
    outbox = Outbox(disk)
    await outbox.add([(write, {}) for write in writes], "")

    async def note(id: WriteId) -> None:
        await (outbox.mark_sent([id], None, f"{id.number}") if kind == "sent" else outbox.refuse([id]))

    for noted, write in enumerate(writes, 1):
        before = await _contents(disk)
        disk.plan = fail_on(lambda request: request.verb == "put", lambda: Unavailable("full"))
        for _ in range(noted):
            with pytest.raises(Unavailable):
                await note(write.id)
        disk.plan = ()
        await note(write.id)
        after = await _contents(disk)
        (changed,) = [name for name, body in after.items() if before.get(name) != body]
        for length in (0, 10, 70, None):
            torn = MemoryStorage()
            for name, body in after.items():
                await torn.put(name, body[:length] if name == changed else body)
            whole = noted if length is None else noted - 1
            restored = await Outbox(torn).restore(untouched=True)
            if kind == "sent":
                assert [one.after for one in restored] == [f"{n}" if n <= whole else None for n in range(1, 5)]
            else:
                assert [one.write.id.number for one in restored] == list(range(whole + 1, 5))
            assert await _contents(torn) == {**after, changed: after[changed][:length]}, "an inspection changes nothing"


async def test_notes_of_an_earlier_version_hold_until_the_next_is_complete() -> None:
    """It had one file of each, without a number."""
    disk = MemoryStorage()
    outbox = Outbox(disk)
    await outbox.add([(Write(WriteId("w", number), "", {"k": None}), {}) for number in (1, 2, 3)], "")
    await disk.put("sent", seal(jsontext.encode({"after": [[2, "a"]], "through": 2, "date": None})))
    await disk.put("refused", seal(jsontext.encode([["w", 1]])))
    later = Outbox(disk)
    assert [(one.write.id.number, one.after) for one in await later.restore()] == [(2, "a"), (3, None)]
    await later.mark_sent([WriteId("w", 3)], None, "b")
    await later.refuse([WriteId("w", 2)])
    assert [(one.write.id.number, one.after) for one in await Outbox(disk).restore()] == [(3, "b")]
    for name in ("sent-2", "refused-2"):
        await disk.put(name, b"cut sho")
    assert [(one.write.id.number, one.after) for one in await Outbox(disk).restore()] == [(2, "a"), (3, None)]


async def _contents(storage: Storage) -> dict[str, bytes]:
    found = {listed.name: await storage.get(listed.name) for listed in await list_all(storage, "")}
    return {name: answer.body for name, answer in found.items() if isinstance(answer, Found)}


async def test_what_a_write_rests_on_is_kept_with_it(caplog: pytest.LogCaptureFixture) -> None:
    """Made offline, taken up by the next process, and judged by what others have written meanwhile."""
    disk, bucket = Disk(), MemoryStorage()
    schema = {"mergeStrategy": "append"}
    async with on(bucket) as other:
        first = await other.put_all({"doc": {"a": 1}, "list": [0], "page": "draft", "large": {"text": LARGE}})
        async with on(bucket, disk) as db:
            await db.get("large")
        async with on(bucket, disk, online=False) as db:
            await db.get("large")
            await asyncio.gather(
                db.patch("doc", {"b": 2}).stored,
                db.merge("list", ["own"], schema).stored,
                db.patch("large", {"n": 1}).stored,
                db.create("claim", "own").stored,
                db.put("page", "own", if_version=first).stored,
                db.put("free", "own", if_version=rxmps3.MISSING).stored,
            )
            assert await db.get("doc") == {"a": 1, "b": 2}
        await other.put_all({"doc": {"a": 1, "c": 3}, "list": [0, "theirs"], "page": "theirs", "claim": "theirs"})
        await other.patch("large", {"m": 1})
        async with on(bucket, disk) as db:
            await asyncio.gather(*map(_end_of, db.pending.value), return_exceptions=True)
            errors = trace(db.errors)
            assert [failure.object for failure in errors] == ["keys 'claim'", "keys 'page'"]
            assert all(isinstance(failure.error, Conflict) for failure in errors)
            assert trace(db.errors) == [], "it is told once"
        told = [record.getMessage() for record in caplog.records if "nobody awaited it" in record.getMessage()]
        assert [re.findall("keys '(.*?)'", line) for line in told] == [["claim"], ["page"]]
        await other.refresh()
        assert await other.get_prefix() == {
            "claim": "theirs",
            "doc": {"a": 1, "b": 2, "c": 3},
            "free": "own",
            "large": {"text": LARGE, "m": 1, "n": 1},
            "list": [0, "theirs", "own"],
            "page": "theirs",
        }
    async with on(bucket, disk) as db:
        assert db.pending.value == (), "what was refused does not come back"


async def test_an_opening_that_fails_tells_what_it_has_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier process has left may be judged by then, and is not on disk any more."""
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket) as other:
        await other.put("claim", "theirs")
        async with on(bucket, disk, online=False) as db:
            await db.create("claim", "own").stored

        async def load(replica: Replica) -> None:
            await eventually(lambda: replica.view.loaded and not replica.view.pending, what="the claim is judged")
            await asyncio.sleep(0)  # it is told of a moment later
            raise Unavailable("has gone", operation="get", object="main/head")

        with monkeypatch.context() as patched:
            Mutant(patched).replace(opening._load, load)
            with pytest.raises(Unavailable) as failed:
                await on(bucket, disk)
        (note,) = failed.value.__notes__
        assert note.startswith("meanwhile: write keys 'claim': commit write ")
        async with on(bucket, disk) as db:
            assert trace(db.errors) == [], "it was told"


async def test_an_opening_that_fails_beside_another_handle_takes_nothing_from_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk, bucket = Disk(), MemoryStorage()
    async with on(bucket) as other:
        await other.put("claim", "theirs")
        async with on(bucket, disk, online=False) as db:
            await db.create("claim", "own").stored

        async def load(replica: Replica) -> None:
            raise Unavailable("has gone", operation="get", object="main/head")

        local, ticks = disk.local(), Subject[None]()
        async with rxmps3.connect(bucket, local=local, poll=ticks) as db:
            await eventually(lambda: "nobody awaited it" in caplog.text, what="the claim is judged")
            with monkeypatch.context() as patched:
                Mutant(patched).replace(opening._load, load)
                with pytest.raises(Unavailable) as failed:
                    await rxmps3.connect(bucket, local=local, poll=ticks)
            assert not hasattr(failed.value, "__notes__")
            assert [failure.object for failure in trace(db.errors)] == ["keys 'claim'"]
