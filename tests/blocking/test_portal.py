"""The thread of all blocking databases, and its end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rxmps3 import Closed
from rxmps3.blocking.portal import Portal


async def _for_ever() -> None:
    await asyncio.Event().wait()


def test_what_still_waits_at_the_end_is_told_that_it_ends() -> None:
    portal, begun = Portal(), threading.Event()

    async def wait() -> None:
        begun.set()
        await _for_ever()

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(portal.call, "get", wait)
        begun.wait()
        portal.stop()
        with pytest.raises(Closed, match="ending"):
            waiting.result(30)
    with pytest.raises(Closed, match="ending"):
        portal.call("get", _for_ever)
    assert portal.loop.is_closed()


def test_what_is_called_while_it_ends_never_waits_for_ever() -> None:
    def call_until_the_end(portal: Portal) -> Any:
        while True:
            try:
                portal.call("get", lambda: asyncio.sleep(0))
            except Closed as error:
                return error

    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            portal = Portal()
            calling = [threads.submit(call_until_the_end, portal) for _ in range(8)]
            portal.call("get", lambda: asyncio.sleep(0.01))
            portal.stop()
            assert all(isinstance(one.result(30), Closed) for one in calling)
