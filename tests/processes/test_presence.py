"""Who is here, in processes of their own: who goes says so, and who is killed disappears all the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

import rxmps3
from rxmps3.model.names import PRESENCE_PREFIX
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import list_all, open_storage
from tests.behaviour.helpers import eventually, trace
from tests.conftest import Place
from tests.processes.programs import Program


async def objects(place: Place) -> int:
    """How many objects there are of somebody who is or was here, besides the one that is changed with any of them."""
    storage = open_storage(place.url, clock=SystemClock(), **place.options)
    try:
        return len([one for one in await list_all(storage, PRESENCE_PREFIX) if not one.name.endswith("/bell")])
    finally:
        await storage.close()


@pytest.mark.parametrize("killed", [False, True], ids=["ends", "killed"])
@pytest.mark.parametrize("face", ["async", "blocking"])
async def test_who_has_gone_disappears(place: Place, start: Callable[..., Program], face: str, *, killed: bool) -> None:
    async with rxmps3.connect(place.url, **place.options) as db:
        heard = trace(db.presence(poll=0.2, every=1, ttl=4))
        program = start("somebody.py", face, place.url, json.dumps(place.options))
        assert face in await asyncio.to_thread(program.next)
        await eventually(lambda: heard and [one.me for one in heard[-1].values()] == [{"face": face}])
        if killed:
            program.kill()
            assert await objects(place) == 1
        else:
            assert await asyncio.to_thread(program.end) == 0, program.errors
            assert await objects(place) == 0
        await eventually(lambda: not heard[-1])
        assert await objects(place) == int(killed)
