"""What a database says it costs, beside what a proxy has counted on the wire."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import rxmps3
from rxmps3 import Usage
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import S3Storage, open_storage
from rxmps3.storage.metered import MeteredStorage
from tests.conftest import Place, new_place
from tests.processes.proxy import Proxy, Seen
from tests.storage.fake_s3 import FakeS3
from tests.storage.scripted import Answer, Asked, ScriptedServer, refusal


@pytest.fixture(params=["seaweedfs", "seaweedfs-versioned", "seaweedfs-mps3"])
def place(request: pytest.FixtureRequest) -> Place:
    """A bucket on a real server, in each protocol."""
    return new_place(request.param, request)


def is_listing(seen: Seen) -> bool:
    asks = parse_qs(urlsplit(seen.path).query, keep_blank_values=True)
    return seen.method == "GET" and ("list-type" in asks or "versions" in asks)


def on_the_wire(seen: list[Seen]) -> tuple[int, int, int, int]:
    """PUT, LIST, GET and DELETE requests."""
    methods = Counter("LIST" if is_listing(one) else one.method for one in seen)
    assert set(methods) <= {"PUT", "LIST", "GET", "DELETE"}
    return methods["PUT"], methods["LIST"], methods["GET"], methods["DELETE"]


def by_class(usage: Usage) -> tuple[int, int, int, int]:
    return usage.puts, usage.lists, usage.gets, usage.deletes


@pytest.mark.seaweedfs
async def test_cost_agrees_with_a_proxy_in_front_of_a_real_server(place: Place) -> None:
    with Proxy(place.options["endpoint_url"]) as proxy:
        through = replace(place, options={**place.options, "endpoint_url": proxy.endpoint_url})
        db: Any = await rxmps3.connect(through.url, **through.options, protocol=place.protocol, shared=False, poll=0.05)
        try:
            seen = db.observe_prefix("").subscribe()
            with db.presence({"n": 1}, every=0.3, ttl=3, poll=0.1):
                for number in range(10):
                    await db.put(f"k{number}", "L" * 6000 if number % 3 == 0 else number)
                await db.compact()
                await asyncio.sleep(0.5)
            seen.dispose()
        finally:
            await db.close()
        cost = db.cost.value
        assert by_class(cost.total) == on_the_wire(proxy.seen)
        assert all(cost.rooms[room].requests for room in ("log", "values", "presence", "upkeep"))


async def test_what_a_client_library_sends_again_is_counted() -> None:
    """A checksum that is asked for, a StartAfter that is refused: each takes one request more."""
    server = FakeS3(after="refused")

    def refuse(asked: Asked) -> Answer | None:
        if asked.method == "PUT" and "x-amz-checksum-sha256" not in asked.headers:
            wish = b"<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required"
            return Answer(400, wish + b"</Message></Error>", {"Content-Type": "application/xml"})
        return None

    server.refuse = refuse
    async with ScriptedServer(server) as scripted:
        storage = open_storage("s3://bucket/p", clock=SystemClock(), **scripted.options)
        assert isinstance(storage, S3Storage)
        metered = MeteredStorage(storage)
        try:
            await metered.put("a", b"1")
            await metered.put("b", b"2")
            await metered.list("", after="a")
            await metered.list("", after="a")
            await metered.get("a")
            await metered.delete("a")
        finally:
            await metered.close()
        assert metered.usage.requests == len(scripted.asked) == 3 + 3 + 2
        assert (metered.usage.puts, metered.usage.lists) == (3, 3)
        assert metered.usage.bytes_up == 3


async def test_a_refused_request_counts_once() -> None:
    async with ScriptedServer(refusal(503, "SlowDown")) as scripted:
        storage = open_storage("s3://bucket/p", clock=SystemClock(), **scripted.options)
        metered = MeteredStorage(storage)
        try:
            for _ in range(3):
                with pytest.raises(rxmps3.Throttled):
                    await metered.get("a")
        finally:
            await metered.close()
        assert metered.usage.gets == len(scripted.asked) == 3
