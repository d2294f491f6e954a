"""What the tests of both faces rely on: they wait for threads however late these are, and are told of stuck ones once."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future

import pytest

from rxmps3.blocking.portal import portal
from tests.behaviour import facades
from tests.behaviour.facades import is_blocking, on_face, settle


async def _nothing() -> None: ...


async def test_settling_waits_for_a_call_whose_thread_is_late() -> None:
    if not is_blocking():
        pytest.skip("the async face has no threads")
    steps: list[str] = []

    def call() -> None:
        for step in ("first", "second"):
            time.sleep(0.05)
            portal().call("call", _nothing)
            steps.append(step)
        time.sleep(0.05)

    task = asyncio.ensure_future(facades._in_a_thread(call))
    await settle()
    assert steps == ["first", "second"]
    assert task.done()


async def test_settling_does_not_wait_for_a_call_that_waits() -> None:
    if not is_blocking():
        pytest.skip("the async face has no threads")
    answer: Future[int] = Future()
    task = asyncio.ensure_future(facades._in_a_thread(answer.result))
    await settle()
    assert not task.done()
    answer.set_result(1)
    assert await task == 1


@pytest.mark.async_only("the other face is entered here")
async def test_a_stuck_call_fails_one_test() -> None:
    end = threading.Event()

    async def leave_stuck() -> asyncio.Task[bool]:
        with on_face("blocking", ends_within=0.1):
            call = asyncio.ensure_future(facades._in_a_thread(end.wait))
            await asyncio.sleep(0)
        return call

    with pytest.raises(AssertionError, match="1 calls never end"):
        await leave_stuck()
    with on_face("blocking"):
        await facades._in_a_thread(lambda: None)
    end.set()
