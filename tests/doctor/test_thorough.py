"""Races between processes: won once by one of them, and noticed where they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rxmps3.cli.doctor import StorageUnderTest
from rxmps3.cli.doctor.contenders import PROCESSES, race
from rxmps3.cli.doctor.facts import Races
from rxmps3.errors import Unavailable
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import list_all, open_storage
from tests.storage.fake_s3 import FakeS3
from tests.storage.scripted import Answer, Asked, ScriptedServer

ROUNDS = 8


async def raced(url: str, options: dict[str, Any], *, swap: bool) -> Races:
    clock = SystemClock()
    storage = open_storage(url, clock=clock, **options)
    try:
        place = StorageUnderTest(storage, clock)
        found = await race(place, url, options, clock, ROUNDS, swap=swap)
        await place.clear()
        assert place.left == ()
        assert await list_all(storage, "") == []
        return found
    finally:
        await storage.close()


@pytest.mark.parametrize("swap", [False, True])
async def test_one_of_several_processes_wins(tmp_path: Path, *, swap: bool) -> None:
    assert await raced(f"file:{tmp_path / 'bucket'}", {}, swap=swap) == Races(ROUNDS, PROCESSES)


@pytest.mark.parametrize("header", ["if-none-match", "if-match"])
async def test_a_server_that_ignores_a_condition_is_found_out(header: str) -> None:
    def ignore(asked: Asked) -> Answer | None:
        if asked.method == "PUT":
            asked.headers.pop(header, None)
        return None

    async with ScriptedServer(FakeS3(refuse=ignore)) as server:
        found = await raced("s3://bucket/p", server.options, swap=header == "if-match")
    assert any("were told that their" in one for one in found.violations)


async def test_a_process_that_reports_nothing_is_trouble(tmp_path: Path) -> None:
    clock = SystemClock()
    place = StorageUnderTest(open_storage(f"file:{tmp_path}", clock=clock), clock)
    with pytest.raises(Unavailable, match="report"):
        await race(place, f"file:{tmp_path}", {"no_such_option": "x"}, clock, 1, swap=False)
