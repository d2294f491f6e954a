"""Stored data that is not what it should be: named, never overwritten, never served; and all goes on once it is mended.

The scene of most tests: a writer made five log entries; a reader knows the first two, and something is wrong with a
later one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from rxmps3 import Corrupt, Database, Error, Gone, Replaced, Unsupported
from rxmps3.storage import MemoryStorage
from tests.behaviour.facades import ManualClock
from tests.behaviour.helpers import LARGE, body, eventually, looks, names, player, players, soon, trace
from tests.forging import resealed

Alter = Callable[[bytes], bytes | None]


@dataclass
class Scene:
    """Five entries; the reader knows two of them."""

    storage: MemoryStorage
    clock: ManualClock
    writer: Database
    reader: Database

    async def entries(self) -> list[str]:
        return await names(self.storage, (await names(self.storage))[0].rpartition("/log/")[0] + "/log/")

    async def entry(self, seq: int) -> str:
        return (await self.entries())[seq - 1]

    async def spoil(self, name: str, alter: Alter) -> Callable[[], Any]:
        """Alter an object behind everybody's back; returns what mends it."""
        good = await body(self.storage, name)
        bad = alter(good)
        if bad is None:
            await self.storage.delete(name)
        else:
            assert bad != good
            await self.storage.put(name, bad)

        async def mend() -> None:
            await self.storage.put(name, good)

        return mend

    async def everything(self) -> dict[str, bytes]:
        return {name: await body(self.storage, name) for name in await names(self.storage)}

    async def untouched(self, before: dict[str, bytes]) -> bool:
        """Whether all is as it was, but for at most one log entry at a free number, whose writer does not trust it."""
        now = await self.everything()
        new = [name for name in now if name not in before]
        return all(now.get(name) == good for name, good in before.items()) and len(new) <= 1


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock)
    async with players(storage, "writer", "reader", clock=clock) as (writer, reader):
        for number in (1, 2):
            await writer.put_all({"n": number, f"k{number}": number})
        await looks(reader)
        for number in (3, 4):
            await writer.put_all({"n": number, f"k{number}": number})
        await writer.put("big", LARGE)
        yield Scene(storage, clock, writer, reader)


def edited(**members: Any) -> Alter:
    return lambda good: json.dumps(json.loads(good) | members).encode()


def forged(good: bytes) -> bytes:
    return resealed(good.replace(b'"value":3', b'"value":7'))


ENTRY_DAMAGE: dict[str, tuple[Alter, type[Error]]] = {
    "truncated": (lambda good: good[:-20], Corrupt),
    "emptied": (lambda _: b"", Corrupt),
    "not text": (lambda _: b"\xff\xfe\x00", Corrupt),
    "another number": (edited(seq=4), Corrupt),
    "another predecessor": (edited(previous="0" * 64), Corrupt),
    "missing": (lambda _: None, Corrupt),
    "newer format": (edited(format=2), Unsupported),
    "unknown feature": (edited(requires=["sparkles"]), Unsupported),
    "no entry at all": (lambda _: b'{"hello": "world"}', Corrupt),
}


@pytest.mark.parametrize("damage", ENTRY_DAMAGE)
async def test_a_damaged_entry_is_named_and_nobody_opens_over_it(scene: Scene, damage: str) -> None:
    alter, kind = ENTRY_DAMAGE[damage]
    name = await scene.entry(3)
    mend = await scene.spoil(name, alter)
    before = await scene.everything()
    with pytest.raises(kind) as caught:
        await player(scene.storage, clock=scene.clock)
    assert name in str(caught.value)
    assert await scene.everything() == before
    await mend()
    async with players(scene.storage, "late", clock=scene.clock) as (late,):
        assert await late.get("n") == 4


@pytest.mark.parametrize("damage", [name for name in ENTRY_DAMAGE if name != "missing"])
async def test_a_replica_stays_before_a_damaged_entry_and_recovers(scene: Scene, damage: str) -> None:
    alter, kind = ENTRY_DAMAGE[damage]
    name, reader = await scene.entry(3), scene.reader
    mend = await scene.spoil(name, alter)
    seen, errors = trace(reader.observe("n")), trace(reader.errors)
    before = await scene.everything()
    with pytest.raises(kind, match=name):
        await reader.refresh()

    assert (await reader.get("n"), await reader.get("k2"), reader.keys()) == (2, 2, ["k1", "k2", "n"])
    receipt = reader.put("mine", 1)
    await scene.clock.advance(60)
    assert receipt.stage == "pending"
    assert await reader.get("mine") == 1
    assert reader.status.value.online is False
    assert isinstance(reader.status.value.last_error, kind)
    assert {type(failure.error) for failure in errors} <= {kind}
    assert seen == [2]
    assert await scene.everything() == before

    await mend()
    await soon(scene.clock, _awaited(receipt))
    assert seen == [2, 4] or seen == [2, 3, 4]
    assert reader.status.value.online is True
    await looks(scene.writer)
    assert await scene.writer.get("mine") == 1
    assert await reader.get_prefix() == await scene.writer.get_prefix()


async def _awaited(receipt: Any) -> str:
    return await receipt


async def test_a_forged_entry_is_found_by_the_chain_of_hashes(scene: Scene) -> None:
    await scene.spoil(await scene.entry(3), forged)
    with pytest.raises(Corrupt, match=await scene.entry(4)):
        await player(scene.storage, clock=scene.clock)
    with pytest.raises(Corrupt, match=await scene.entry(4)):
        await scene.reader.refresh()


async def test_a_hole_in_the_log_is_found_by_who_opens(scene: Scene) -> None:
    name = await scene.entry(3)
    await scene.spoil(name, lambda _: None)
    with pytest.raises(Corrupt, match=name):
        await player(scene.storage, clock=scene.clock)


async def test_a_replica_that_is_past_the_damage_is_not_disturbed(scene: Scene) -> None:
    await scene.spoil(await scene.entry(3), lambda _: b"rubbish")
    assert await scene.writer.get("n") == 4
    await scene.writer.put("n", 5)
    assert await scene.writer.get("n") == 5


async def test_a_lazily_opened_manifest_says_so_when_it_is_used(scene: Scene) -> None:
    name = await scene.entry(3)
    mend = await scene.spoil(name, lambda _: b"rubbish")
    async with players(scene.storage, "late", manifest="other", clock=scene.clock) as (other,):
        main = other.manifest("main")
        with pytest.raises(Corrupt, match=name):
            await main.get("n")
        seen, receipt = trace(main.observe("n")), main.put("mine", 1)
        await scene.clock.advance(30)
        assert (seen, receipt.stage) == ([], "pending")
        await mend()
        await soon(scene.clock, _awaited(receipt))
        await looks(main)
        assert seen[-1] == 4
        assert await main.get("mine") == 1


# -- values ------------------------------------------------------------------------------------------------------

VALUE_DAMAGE: dict[str, Alter] = {
    "altered": lambda good: good.replace(b"LL", b"MM", 1),
    "truncated": lambda good: good[:-1],
    "longer": lambda good: good + b" ",
    "missing": lambda _: None,
    "another value": lambda _: b'"something else"',
}


@pytest.mark.parametrize("damage", VALUE_DAMAGE)
async def test_a_damaged_value_is_named_and_only_its_readers_suffer(scene: Scene, damage: str) -> None:
    (name,) = [name for name in await names(scene.storage) if "/values/" in name]
    mend = await scene.spoil(name, VALUE_DAMAGE[damage])
    reader, errors = scene.reader, trace(scene.reader.errors)
    await looks(reader)
    with pytest.raises(Corrupt) as caught:
        await reader.get("big")
    assert name in str(caught.value)
    assert await reader.get("n") == 4
    with pytest.raises(Corrupt):
        await reader.get_many(["n", "big"])
    blocked, fine = trace(reader.observe("big")), trace(reader.observe("n"))
    await soon(scene.clock, _until(lambda: errors))
    assert name in str(errors[0])
    assert (blocked, fine) == ([], [4])
    await soon(scene.clock, _awaited(reader.put("n", 5)))
    assert fine == [4, 5]

    await mend()
    assert await reader.get("big") == LARGE
    await soon(scene.clock, _until(lambda: blocked))
    assert blocked == [LARGE]


async def _until(condition: Callable[[], Any]) -> None:
    await eventually(condition)


async def test_a_damaged_value_is_left_behind_by_putting_the_key_again(scene: Scene) -> None:
    (name,) = [name for name in await names(scene.storage) if "/values/" in name]
    await scene.spoil(name, lambda _: b"rubbish")
    await looks(scene.reader)
    seen = trace(scene.reader.observe("big"))
    await scene.writer.put("big", LARGE + "again")
    await looks(scene.reader)
    await soon(scene.clock, _until(lambda: seen))
    assert seen == [LARGE + "again"]


# -- the head ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alter", "kind"),
    [
        (lambda _: b"rubbish", Corrupt),
        (lambda _: b"{}", Corrupt),
        (edited(log="no/such log"), Corrupt),
        (edited(format=2), Unsupported),
        (edited(requires=["sparkles"]), Unsupported),
        (lambda _: None, Corrupt),
    ],
    ids=["rubbish", "empty", "odd incarnation", "newer format", "unknown feature", "missing"],
)
async def test_nobody_opens_over_a_damaged_head(scene: Scene, alter: Alter, kind: type[Error]) -> None:
    mend = await scene.spoil("main/head", alter)
    before = await scene.everything()
    with pytest.raises(kind, match="main/"):
        await player(scene.storage, clock=scene.clock)
    async with players(scene.storage, "late", manifest="other", clock=scene.clock) as (other,):
        main = other.manifest("main")
        receipt = main.put("mine", 1)
        with pytest.raises(kind, match="main/"):
            await main.get("n")
        await scene.clock.advance(60)
        assert receipt.stage == "pending"
        assert await scene.everything() == before
        await mend()
        await soon(scene.clock, _awaited(receipt))
        assert await main.get("n") == 4


async def test_a_replica_whose_head_vanished_writes_nothing_and_recovers(scene: Scene) -> None:
    writer = scene.writer
    mend = await scene.spoil("main/head", lambda _: None)
    await scene.clock.advance(2 * 3600)
    before = await scene.everything()
    receipt = writer.put("n", 5)
    await scene.clock.advance(60)
    with pytest.raises(Gone, match="main/"):
        await writer.refresh()
    with pytest.raises(Gone, match="its head object is gone"):
        await receipt
    with pytest.raises(Gone, match=r"put .*its head object is gone"):
        writer.put("n", 6)
    assert isinstance(writer.status.value.last_error, Gone)
    assert await writer.get("n") == 4
    assert await scene.untouched(before)
    await mend()
    await writer.refresh()
    await soon(scene.clock, _awaited(writer.put("n", 7)))
    assert await names(scene.storage, "main/head") == ["main/head"]


async def test_a_replica_notices_that_the_database_was_replaced(scene: Scene) -> None:
    writer, storage = scene.writer, scene.storage
    old = await scene.everything()
    for name in old:
        await storage.delete(name)
    async with players(storage, "usurper", clock=scene.clock) as (usurper,):
        await usurper.put("n", "new world")
    await scene.clock.advance(2 * 3600)
    before = await scene.everything()
    receipt = writer.put("n", 5)
    await scene.clock.advance(60)
    with pytest.raises(Replaced, match="main/head"):
        await writer.refresh()
    with pytest.raises(Replaced, match="it was made anew"):
        await receipt
    assert (await writer.get("n"), await writer.get("k4")) == (4, 4)
    assert await scene.untouched(before)
    for name, good in (*old.items(), ("main/head", old["main/head"])):
        await storage.put(name, good)
    await writer.refresh()
    await soon(scene.clock, _awaited(writer.put("n", 5)))
    await looks(scene.reader)
    assert await scene.reader.get("n") == 5
