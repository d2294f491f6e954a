"""A close that is not waited for to its end."""

from __future__ import annotations

import asyncio
import time

import pytest
from reactivex import operators as ops

import rxmps3
from rxmps3 import NotSent
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import MemoryStorage
from rxmps3.testing import LatencyStorage
from tests.behaviour.helpers import Switch, offline, trace


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.1])
@pytest.mark.parametrize("is_here", [False, True])
async def test_a_cancelled_close_ends_everything_and_says_what_is_lost(
    caplog: pytest.LogCaptureFixture, after: float, is_here: bool
) -> None:
    storage = Switch(LatencyStorage(MemoryStorage(), SystemClock(), 0.02))
    before = asyncio.all_tasks()
    db = await rxmps3.connect(storage, shared=False)
    await db.put("k", 1)
    seen = trace(db.observe("k"))
    here = db.presence({})
    if is_here:
        here.subscribe()
        await here.pipe(ops.first())
    storage.error = offline
    receipt = db.put("lost", 1)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(after):
            await db.close(timeout=30)
    assert time.monotonic() - began < 5
    await asyncio.sleep(0.2)
    assert asyncio.all_tasks() <= before
    assert seen == [1, "completed"]
    await db.close()
    with pytest.raises(NotSent):
        await receipt
    assert "1 writes were not committed" in caplog.text


async def test_what_cannot_be_done_any_more_says_what_to_do() -> None:
    closed = await rxmps3.connect("memory:", shared=False)
    await closed.close()
    reader = await rxmps3.connect("memory:", read_only=True)
    for db, kind in ((closed, rxmps3.Closed), (reader, rxmps3.InvalidOption)):
        for call in (lambda db=db: db.put("k", 1), lambda db=db: db.patch("k", {}), lambda db=db: db.presence({})):
            with pytest.raises(kind) as caught:
                call()
            assert caught.value.object
            assert "open" in caught.value.remedy
    await reader.close()
