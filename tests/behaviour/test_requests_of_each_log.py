"""What a client that is up to date pays in each log, in requests: exact counts, with time standing still.

The same figures stand in ``docs/evidence.md``, measured on a real server.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rxmps3.log.protocol import ProtocolName
from rxmps3.log.registry import PROTOCOLS
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.facades import ManualClock, settle
from tests.behaviour.helpers import players
from tests.benchmarks.requests import measured, said

REQUESTS: dict[str, tuple[str, str, str]] = {
    "put": ("1 PUT", "3: 2 PUT, 1 LIST VERSIONS", "4: 3 PUT, 1 LIST"),
    "put of a large value": ("2 PUT", "3: 2 PUT, 1 LIST VERSIONS", "4: 3 PUT, 1 LIST"),
    "put_all of 10": ("1 PUT", "12: 11 PUT, 1 LIST VERSIONS", "13: 12 PUT, 1 LIST"),
    "delete": ("1 PUT", "3: 1 PUT, 1 LIST VERSIONS, 1 DELETE", "3: 2 PUT, 1 LIST"),
    "cold get": ("3: 2 GET, 1 LIST", "3: 2 GET, 1 LIST VERSIONS", "3: 2 GET, 1 LIST"),
    "warm get": ("0", "0", "0"),
    "idle poll": ("1 GET", "1 GET", "1 LIST"),
    "poll that finds a put, and get": ("2 GET", "3: 2 GET, 1 LIST VERSIONS", "3: 2 GET, 1 LIST"),
}


@pytest.mark.async_only("what is measured, for the page too, opens its databases itself")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_requests_of_each_log(protocol: ProtocolName) -> None:
    clock = ManualClock()
    storage = MemoryStorage(clock=clock, versioning=protocol == "versioned")
    counts = await measured(storage, protocol, clock)
    column = PROTOCOLS.index(protocol)
    assert {what: said(count) for what, count in counts.items()} == {
        what: expected[column] for what, expected in REQUESTS.items()
    }


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("sequenced", ("get", "Missing")), ("versioned", ("get", "NotModified")), ("mps3", ("list", "Page"))],
)
async def test_an_idle_poll_is_one_request_that_carries_no_body(
    protocol: ProtocolName, expected: tuple[str, str]
) -> None:
    clock = ManualClock()
    storage = CountingStorage(MemoryStorage(clock=clock, versioning=protocol == "versioned"))
    async with players(storage, "a", clock=clock, protocol=protocol) as (a,):
        await a.put("k", 1)
        await settle()  # what follows a commit is no poll
        for _ in range(3):
            storage.reset()
            await a.refresh()
            assert [(request.verb, request.outcome) for request in storage.requests] == [expected]
            assert storage.bytes_down == 0


@pytest.mark.async_only("it reads a page and opens no database")
def test_the_table_in_the_documentation_has_these_figures(repository: Path) -> None:
    page = (repository / "docs" / "evidence.md").read_text()
    for what, figures in REQUESTS.items():
        assert f"| {what} | {' | '.join(figures)} |" in page
