"""A server that refuses an object as bad: the fault of one write if it takes others, and else of nobody's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rxmps3 import Error, InvalidKey, Rejected
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import list_all, open_storage
from tests.behaviour.helpers import eventually, trace
from tests.conftest import Place, new_place
from tests.durability.test_offline import on
from tests.processes.proxy import Proxy, Seen, Verdict, passing

LARGE = "L" * 9000
pytestmark = pytest.mark.seaweedfs


@pytest.fixture(params=["seaweedfs", "seaweedfs-versioned", "seaweedfs-mps3"])
def direct(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place with each log, reached without the proxy."""
    return new_place(request.param, request)


def options_of(place: Place) -> dict[str, Any]:
    return {"protocol": place.protocol}


async def test_an_object_that_the_server_refuses_rejects_its_write_alone(
    through: Place, direct: Place, proxy: Proxy
) -> None:
    def picky(seen: Seen) -> Verdict:
        return "bad" if seen.method == "PUT" and "unloved" in seen.path else "pass"

    proxy.plan = picky
    async with on(through, None, **options_of(through)) as db:
        before, refused, after = db.put("a", LARGE), db.put("unloved", LARGE), db.put("b", LARGE)
        with pytest.raises(Rejected, match="InvalidRequest") as rejected:
            await refused
        assert isinstance(rejected.value.__cause__, InvalidKey)
        await before
        await after
        assert "unloved" not in db
    async with on(direct, None, **options_of(direct)) as other:
        assert await other.get_prefix() == {"a": LARGE, "b": LARGE}
    storage = open_storage(direct.url, clock=SystemClock(), **direct.options)
    try:
        assert await list_all(storage, ".rxmps3-probe/") == [], "nothing is left of the object that it took instead"
    finally:
        await storage.close()


async def test_a_server_that_refuses_all_objects_rejects_none(through: Place, direct: Place, proxy: Proxy) -> None:
    async with on(through, None, **options_of(through)) as db:
        await db.put("a", LARGE)
        errors = trace(db.errors)
        proxy.plan = lambda seen: "bad" if seen.method == "PUT" else "pass"
        receipts = [db.put(key, LARGE) for key in ("b", "c")]
        await eventually(lambda: errors != [])
        await asyncio.sleep(0.5)
        assert [receipt.stage for receipt in receipts] == ["pending"] * 2
        assert type(errors[0].error) is Error, "a setting or a policy, says the remedy"
        proxy.plan = passing
        for receipt in receipts:
            await receipt
    async with on(replace(direct), None, **options_of(direct)) as other:
        assert other.keys() == ["a", "b", "c"]
