"""Real processes that change the same keys in transactions, one of which is killed: nothing is lost or made up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

import rxmps3
from tests.conftest import Place
from tests.processes.programs import Program

ACCOUNTS = {f"account/{n}": 100 for n in range(4)}


@pytest.mark.sequenced_only("transactions")
async def test_transactions_of_processes_that_are_killed(place: Place, start: Callable[..., Program]) -> None:
    options = dict(place.options)
    async with rxmps3.connect(place.url, poll=0.1, shared=False, **options) as db:
        await db.put_all(ACCOUNTS)
        plans = [{"url": place.url, "options": options, "name": name} for name in ("ann", "bob", "cid")]
        programs = [start("mover.py", json.dumps(plan)) for plan in plans]
        said = await asyncio.to_thread(_until_each_has_moved, programs, 4)
        await asyncio.to_thread(programs[0].kill)
        for program in programs[1:]:
            await asyncio.to_thread(_until_each_has_moved, [program], 2)
            assert await asyncio.to_thread(program.end) == 0, program.errors
        await db.refresh()
        state = await db.get_prefix()
    assert sum(state[key] for key in ACCOUNTS) == 400
    items = state["list"]
    assert len(items) == len(set(items))
    for plan, told in zip(plans, said, strict=True):
        name = plan["name"]
        assert state[f"moves/{name}"] >= told
        own = [int(item.removeprefix(f"{name} ")) for item in items if item.startswith(f"{name} ")]
        assert own == list(range(1, len(own) + 1)), "in order, none left out"
        assert state[f"moves/{name}"] - 1 <= len(own) <= state[f"moves/{name}"]


def _until_each_has_moved(programs: list[Program], times: int) -> list[int]:
    """How often each has said that it moved, once it has so many times more."""
    counts: list[int] = []
    for program in programs:
        count, more = 0, 0
        while more < times:
            line: Any = program.next()
            if line != "ready":
                count, more = line[1], more + 1
        counts.append(count)
    return counts
