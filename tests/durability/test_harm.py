"""A real S3 server behind a proxy that damages answers, delivers requests again, and dates answers wrong."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest

import rxmps3
from rxmps3 import Failure
from rxmps3.errors import UnsureTime
from rxmps3.log.mps3.names import parse_stamp
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import list_all, open_storage
from tests.behaviour.helpers import trace
from tests.processes.proxy import Proxy, Seen
from tests.servers import SHARED_BUCKET, VERSIONED_BUCKET, SeaweedFS

pytestmark = pytest.mark.seaweedfs

PROTOCOLS = ("sequenced", "versioned", "mps3")
LARGE = "x" * 9000
TWICE_TOO_LATE = 6.5
"""Seconds after which an mps3 operation that is stored does not count any more."""
_numbers = itertools.count(1)


class Bucket:
    """A place of its own on the server, to be reached directly or through the proxy."""

    def __init__(self, server: SeaweedFS, proxy: Proxy, protocol: str) -> None:
        bucket = VERSIONED_BUCKET if protocol == "versioned" else SHARED_BUCKET
        self.url = f"s3://{bucket}/harm-{next(_numbers)}"
        self.direct = server.options()
        self.proxied = {**server.options(), "endpoint_url": proxy.endpoint_url}
        self.protocol: Any = protocol

    @asynccontextmanager
    async def open(self, by: str, *, proxied: bool = False, **options: Any) -> AsyncGenerator[rxmps3.Database]:
        options |= self.proxied if proxied else self.direct
        async with rxmps3.connect(self.url, protocol=self.protocol, by=by, shared=False, **options) as db:
            yield db

    async def names(self) -> list[str]:
        storage = open_storage(self.url, clock=SystemClock(), **self.direct)
        try:
            return [one.name for one in await list_all(storage, "")]
        finally:
            await storage.close()


@pytest.fixture(params=PROTOCOLS)
def bucket(request: pytest.FixtureRequest, seaweedfs: SeaweedFS, proxy: Proxy) -> Bucket:
    return Bucket(seaweedfs, proxy, request.param)


async def test_an_answer_that_a_proxy_damages_is_read_again(bucket: Bucket, proxy: Proxy) -> None:
    damaged: set[str] = set()

    def alter(seen: Seen, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        whole = seen.method == "GET" and head.split(b" ", 2)[1] == b"200" and b"application/xml" not in head
        if not whole or not body or seen.path in damaged or "list-type" in seen.path or "versions" in seen.path:
            return head, body
        damaged.add(seen.path)
        at = len(body) // 2
        return head, body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    async with bucket.open("ann") as ann:
        await ann.put("hello", "world")
        await ann.put("photo", LARGE)
        proxy.alter = alter
        async with bucket.open("bob", proxied=True) as bob:
            reports: list[Failure] = []
            bob.errors.subscribe(reports.append)
            assert await bob.get_many(["hello", "photo"]) == {"hello": "world", "photo": LARGE}
            await bob.put("mine", 1)
            assert len(damaged) >= 2
            assert [failure.operation for failure in reports] == ["read"] * len(damaged)
        await ann.refresh()
        assert await ann.get_prefix("") == {"hello": "world", "photo": LARGE, "mine": 1}


async def test_puts_that_arrive_once_more_change_nothing(bucket: Bucket, proxy: Proxy) -> None:
    """Every put of a client is delivered to the server again, after more than the time for which operations count."""
    async with bucket.open("bob", poll=0.2, live=True) as bob:
        await bob.put("first", 0)
        proxy.keeping = True
        async with bucket.open("ann", proxied=True, poll=0.2, live=True) as ann:
            await ann.put("photo", LARGE)
            await ann.put("k", 1)
            await ann.put("k", 2)
            proxy.keeping = False
            await bob.refresh()
            seen = trace(bob.observe("k"))
            await asyncio.sleep(TWICE_TOO_LATE)
            puts = list(dict.fromkeys(seen for seen, _ in proxy.kept if seen.method == "PUT"))
            assert len(puts) >= 3
            for one in puts:
                proxy.deliver_again(one)
            await asyncio.sleep(2)
            expected = {"first": 0, "photo": LARGE, "k": 2}
            assert await ann.get_prefix("") == await bob.get_prefix("") == expected
            assert seen == [2]
            async with bucket.open("late") as late:
                assert await late.get_prefix("") == expected
            await ann.put("k", 3)
            await bob.refresh()
            assert await bob.get("k") == 3
    if bucket.protocol == "mps3":
        operations = [name for name in await bucket.names() if parse_stamp(name.rpartition("@")[2]) is not None]
        assert 5 < len(operations) < 9  # what did not count any more was written again, a few times at most


async def test_a_collector_whose_answers_are_dated_ahead_deletes_nothing(bucket: Bucket, proxy: Proxy) -> None:
    def alter(seen: Seen, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        lines = head.split(b"\r\n")
        for at, line in enumerate(lines):
            if line.lower().startswith(b"date:"):
                date = parsedate_to_datetime(line.partition(b":")[2].decode().strip()) + timedelta(days=2)
                lines[at] = b"Date: " + format_datetime(date, usegmt=True).encode()
        return b"\r\n".join(lines), body

    async with bucket.open("ann") as ann:
        for number in range(5):
            await ann.put("photo", LARGE + str(number))
    before = await bucket.names()
    proxy.alter = alter
    async with bucket.open("kim", proxied=True) as kim:
        if bucket.protocol == "sequenced":
            await kim.put("mine", 1)
            before = await bucket.names()
        with pytest.raises(UnsureTime, match="dated"):
            await kim.compact()
    assert {name for name in before if "@" in name} <= set(await bucket.names())
    proxy.alter = None
    async with bucket.open("lea", proxied=True) as lea:
        await lea.compact()
        assert await lea.get("photo") == LARGE + "4"
