"""A storage that refuses a log entry for good, for its size or for what is in it: one write fails, the others go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import rxmps3
from rxmps3 import InvalidKey, InvalidValue, Rejected, Unavailable
from rxmps3.storage import MemoryStorage
from rxmps3.storage.wrapper import Request, StorageWrapper
from tests.behaviour.helpers import eventually, trace
from tests.conftest import Place, new_place
from tests.durability.test_offline import on
from tests.processes.proxy import Proxy

T = TypeVar("T")
PROTOCOLS = ("sequenced", "versioned", "mps3")
MANY = {f"key/{number}/{'k' * 150}": number for number in range(50)}
"""A write whose entry, without a single large value, has 10 kB or more on each log."""
LIMIT = 6_000


class Narrow(StorageWrapper):
    """Takes no object of more than so many bytes; or says no to it, having stored it."""

    limit = LIMIT
    lies = False
    down = False

    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner)
        self.refused = 0

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if self.down:
            raise Unavailable("down", operation=request.verb, object=f"object {request.name!r}")
        if request.verb != "put" or request.bytes_up <= self.limit:
            return await proceed()
        self.refused += 1
        if self.lies:
            await proceed()
        raise InvalidValue("EntityTooLarge", operation="put", object=f"object {request.name!r}")


def narrow(protocol: str) -> Narrow:
    return Narrow(MemoryStorage(versioning=protocol == "versioned"))


def connect(storage: Any, protocol: str, **options: Any) -> Any:
    return rxmps3.connect(storage, protocol=protocol, shared=False, **options)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_write_whose_entry_is_refused_is_rejected_alone(protocol: str) -> None:
    storage = narrow(protocol)
    async with connect(storage, protocol) as db:
        await db.put("first", 1)
        shown = trace(db.observe_many(next(iter(MANY)), "before", "after"))
        before, large, after = db.put("before", 1), db.put_all(MANY), db.put("after", 1)
        more = [db.put(f"more/{n}", n) for n in range(5)]
        with pytest.raises(Rejected) as rejected:
            await large
        said = str(rejected.value)
        assert isinstance(rejected.value.__cause__, InvalidValue)
        assert all(part in said for part in (large.version, "key/0/", "45 more", "EntityTooLarge")), said
        assert any(f"{size:,} bytes" in said for size in range(LIMIT, 40_000)), "how large it was"
        for receipt in (before, after, *more):
            await receipt
        assert not set(db.keys()) & set(MANY)
        assert shown[-1] == {next(iter(MANY)): None, "before": 1, "after": 1}
        assert db.status.value.online
        refused = storage.refused
        await db.put("later", 1)
        assert storage.refused == refused, "it is not tried again"
    assert refused <= 6, "of the eight that were tried together, it is found by halving"
    async with connect(storage.inner, protocol) as other:
        assert sorted(await other.get_prefix("")) == sorted(
            ["first", "before", "after", "later", *(f"more/{n}" for n in range(5))]
        )


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_it_does_not_come_back_from_the_outbox(protocol: str, tmp_path: Path) -> None:
    storage = narrow(protocol)
    local = tmp_path / "local"
    async with connect(storage, protocol, local=local) as db:
        await db.put("first", 1)
        with pytest.raises(Rejected):
            await db.put_all(MANY)
    storage.limit = 1 << 30
    async with connect(storage, protocol, local=local) as db:
        await db.put("second", 1)
        assert db.keys() == ["first", "second"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_write_of_an_earlier_process_is_rejected_too(protocol: str, tmp_path: Path) -> None:
    storage = narrow(protocol)
    local = tmp_path / "local"
    async with connect(storage, protocol, local=local) as db:
        await db.put("first", 1)
        storage.down = True
        db.put_all(MANY)
        await db.close(timeout=0)
    storage.down = False
    async with connect(storage, protocol, local=local) as db:
        failures = trace(db.errors)
        after = db.put("after", 1)
        await after
        assert db.keys() == ["after", "first"]
        await eventually(lambda: any(isinstance(one.error, Rejected) for one in failures))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_entry_that_was_stored_in_spite_of_the_answer_counts(protocol: str) -> None:
    storage = narrow(protocol)
    async with connect(storage, protocol) as db:
        await db.put("first", 1)
        storage.lies = True
        await db.put_all(MANY)
        assert len(db.keys()) == len(MANY) + 1


@pytest.fixture(params=["seaweedfs", "seaweedfs-versioned", "seaweedfs-mps3"])
def direct(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place with each log, reached without the proxy."""
    return new_place(request.param, request)


@pytest.mark.seaweedfs
@pytest.mark.parametrize("verdict", ["too large", "bad"])
async def test_on_a_server(direct: Place, verdict: Any, proxy: Proxy, through: Place) -> None:
    proxy.plan = lambda seen: verdict if seen.method == "PUT" and seen.size > LIMIT else "pass"
    async with on(through, None, protocol=direct.protocol) as db:
        before, large, after = db.put("before", 1), db.put_all(MANY), db.put("after", 1)
        with pytest.raises(Rejected, match="bytes") as rejected:
            await large
        assert isinstance(rejected.value.__cause__, InvalidValue if verdict == "too large" else InvalidKey)
        await before
        await after
    async with on(direct, None, protocol=direct.protocol) as other:
        assert await other.get_prefix() == {"before": 1, "after": 1}
