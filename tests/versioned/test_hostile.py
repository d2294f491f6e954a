"""Bodies that no client writes: each is refused with its name, none is overwritten, and no reader falls over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rxmps3.errors import Corrupt, Unsupported
from rxmps3.log.versioned.body import decode_body
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.storage import Found, MemoryStorage, Missing
from rxmps3.testing import ManualClock, StorageWrapper
from tests.forging import resealed
from tests.versioned.helpers import Client, versions

NAMES = VersionedNames("main")
HASH = "ab" * 32


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock("versioned hostile")


@pytest.fixture
def storage(clock: ManualClock) -> MemoryStorage:
    return MemoryStorage(clock=clock, versioning=True)


async def good(storage: MemoryStorage, clock: ManualClock) -> bytes:
    """A body that a client wrote."""
    await Client(storage, clock).put(k=1, l=[None])
    answer = await storage.get("main")
    assert isinstance(answer, Found)
    return answer.body


async def test_every_truncation_is_refused(storage: MemoryStorage, clock: ManualClock):
    body = await good(storage, clock)
    decode_body(body, "v", NAMES)
    for length in range(len(body)):
        with pytest.raises(Corrupt):
            decode_body(body[:length], "v", NAMES)


async def test_every_flipped_bit_is_refused_or_still_a_body(storage: MemoryStorage, clock: ManualClock):
    body = await good(storage, clock)
    survived = 0
    for at in range(len(body)):
        for bit in range(8):
            flipped = bytearray(body)
            flipped[at] ^= 1 << bit
            try:
                decode_body(bytes(flipped), "v", NAMES)
            except (Corrupt, Unsupported):
                pass
            else:
                survived += 1
    assert survived < 8 * len(body) / 2


def entry(**changes: Any) -> dict[str, Any]:
    made = {"at": "id", "object": "k", "sha256": HASH, "size": 1, "type": "json", "version": "w-1"} | changes
    return {name: value for name, value in made.items() if value is not ...}


def writes(update: Any, **changes: Any) -> Any:
    return [{"nonce": "n", "number": 1, "update": update} | changes]


def named(**changes: Any) -> dict[str, Any]:
    good = {"count": 3, "name": NAMES.checkpoint(3, "n"), "sha256": HASH, "size": 9, "version": "v"}
    return {"checkpoint": good | changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"log": "sequenced"},
        {"format": 0},
        {"format": True},
        {"format": "1"},
        {"writer": None},
        {"previous": None},
        {"own": 1},
        {"nonce": 1},
        {"time": "yesterday"},
        {"date": 7},
        {"expired": [1]},
        {"beside": [1]},
        {"beside": "id"},
        {"requires": "all"},
        {"writes": {}},
        {"writes": [1]},
        {"writes": writes({})},
        {"writes": writes({"k": 1})},
        {"writes": writes({"": None})},
        {"writes": writes({"main": None})},
        {"writes": writes({".rxmps3/x": None})},
        {"writes": writes({"k": None}, number=-1)},
        {"writes": writes({"k": {"value": 1, "version": "w-1"}})},
        {"writes": writes({"k": entry(object="other")})},
        {"writes": writes({"../k": entry(object="../k")})},
        {"writes": writes({"k": entry(at=...)})},
        {"writes": writes({"k": entry(at="")})},
        {"writes": writes({"k": entry(sha256="")})},
        {"writes": writes({"k": entry(size=-1)})},
        {"checkpoint": []},
        named(name="elsewhere"),
        named(name=NAMES.checkpoint(4, "n")),
        named(name=NAMES.checkpoint(3, "")),
        named(count=0, name=NAMES.checkpoint(0, "n")),
        named(sha256="x"),
        named(version=None),
    ],
    ids=repr,
)
async def test_what_has_not_the_right_shape_is_refused(
    storage: MemoryStorage, clock: ManualClock, changes: dict[str, Any]
):
    members = json.loads(await good(storage, clock)) | changes
    members["check"] = members.pop("check")
    body = resealed(json.dumps(members, separators=(",", ":")).encode())
    with pytest.raises(Corrupt, match="main"):
        decode_body(body, "v", NAMES)
    a = Client(storage, clock)
    await a.log.open()
    shown = await a.values()
    await storage.put("main", body)
    count = len(await versions(storage))
    for _ in range(2):
        with pytest.raises(Corrupt):
            await a.log.read()
    await a.write({"k": "not to be lost"})
    with pytest.raises(Corrupt):
        await a.commit()
    assert await a.values() == shown
    assert len(await versions(storage)) == count
    with pytest.raises(Corrupt):
        await Client(storage, clock).log.open()


@pytest.mark.parametrize("changes", [{"format": 2}, {"requires": ["a feature"]}], ids=repr)
async def test_what_is_newer_is_not_read(storage: MemoryStorage, clock: ManualClock, changes: dict[str, Any]):
    members = json.loads(await good(storage, clock)) | changes
    members["check"] = members.pop("check")
    await storage.put("main", resealed(json.dumps(members, separators=(",", ":")).encode()))
    with pytest.raises(Unsupported, match="main"):
        await Client(storage, clock).log.open()


async def test_a_huge_body_is_not_read(storage: MemoryStorage, clock: ManualClock):
    await good(storage, clock)
    await storage.put("main", b'{"log":"versioned"}' + b" " * (17 << 20))
    with pytest.raises(Corrupt, match="bytes"):
        await Client(storage, clock).log.open()


async def test_one_number_with_two_writes_is_refused(storage: MemoryStorage, clock: ManualClock):
    a = Client(storage, clock)
    await a.put(k=1)
    await a.log.read()
    answer = await storage.get("main")
    assert isinstance(answer, Found)
    members = json.loads(answer.body)
    members["writes"][0]["nonce"] = "another"
    await storage.put("main", resealed(json.dumps(members, separators=(",", ":")).encode()))
    with pytest.raises(Corrupt, match="number"):
        await a.log.read()
    assert await a.values() == {"k": 1}


@pytest.mark.parametrize("damage", ["torn", "replaced", "of other bytes"])
async def test_a_damaged_checkpoint_is_refused(storage: MemoryStorage, clock: ManualClock, damage: str):
    a = Client(storage, clock)
    await a.put(k=1)
    await a.put(k=2)
    await clock.advance(1300)
    await a.log.list_again()
    await a.collector.checkpoint()
    await a.put(named=1)
    [listed] = (await storage.list(".rxmps3/")).objects
    answer = await storage.get(listed.name)
    assert isinstance(answer, Found)
    body = {"torn": answer.body[:-9], "replaced": b"{}", "of other bytes": answer.body + b"\0"}[damage]
    await storage.put(listed.name, body)
    with pytest.raises(Corrupt, match="checkpoint"):
        await Client(storage, clock).log.open()


async def test_a_body_that_is_gone_though_it_is_listed(storage: MemoryStorage, clock: ManualClock):
    await good(storage, clock)
    [first] = await versions(storage)
    await Client(storage, clock).put(k=2)

    class Loses(StorageWrapper):
        async def get(self, name: str, *, version: str | None = None, **options: Any) -> Any:
            return Missing(clock.now()) if version == first else await super().get(name, version=version, **options)

    with pytest.raises(Corrupt, match="listed, but is not there"):
        await clock.run(Client(Loses(storage), clock).log.open())
