"""The tasks that end with a replica."""

from __future__ import annotations

import asyncio

from rxmps3.runtime.event_loop import EventLoop


async def test_ending_the_tasks_does_not_wait_for_one_that_has_just_ended() -> None:
    loop = EventLoop("rig", lambda task, error: None)
    ended = loop.spawn(asyncio.sleep(0, None), "short")
    while not ended.done():
        await asyncio.sleep(0)  # resumed in the turn in which the task ends, before its callbacks
    await loop.end_tasks()
    waiting = loop.spawn(asyncio.sleep(3600, None), "long")
    await loop.end_tasks()
    assert waiting.cancelled()
