"""How many requests a put, a get and a poll cost, counted exactly, in each of the three logs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from reactivex import Subject

import rxmps3
from rxmps3.log.protocol import ProtocolName
from rxmps3.runtime.clock import Clock
from rxmps3.storage import Storage
from rxmps3.testing import CountingStorage

__all__ = ["JAVASCRIPT", "measured", "said"]

LARGE = "L" * 9000
"""A value that no log keeps inline."""

JAVASCRIPT = {"put": "9, with the poll that follows", "cold get": "4", "idle poll": "2 each second"}
"""What the JavaScript client mps3 0.0.81 was observed to do, with its defaults."""


async def measured(storage: Storage, protocol: ProtocolName, clock: Clock | None = None) -> dict[str, Counter[str]]:
    """Requests by verb, of a client that is up to date, on a place where nothing is.

    ``clock`` is that of the clients; None takes the real one.
    """
    counts: dict[str, Counter[str]] = {}
    writing, reading = CountingStorage(storage), CountingStorage(storage)
    options: dict[str, Any] = {"protocol": protocol, "shared": False, "poll": Subject[None](), "clock": clock}

    async def count(what: str, counting: CountingStorage, action: Callable[[], Awaitable[Any]]) -> None:
        counting.reset()
        await action()
        await asyncio.sleep(0)  # what follows a commit at once counts, too
        counts[what] = counting.counts

    async with rxmps3.connect(writing, **options) as writer:
        await writer.put("known", 0)

        async def cold_get() -> None:
            async with rxmps3.connect(reading, **options) as cold:
                assert await cold.get("known") == 0

        await count("cold get", reading, cold_get)
        async with rxmps3.connect(reading, **options) as reader:
            await reader.get("known")
            await count("warm get", reading, lambda: reader.get("known"))
            await count("idle poll", reading, reader.refresh)
            await count("put", writing, lambda: writer.put("known", 1))

            async def news() -> None:
                await reader.refresh()
                assert await reader.get("known") == 1

            await count("poll that finds a put, and get", reading, news)
            await count("put of a large value", writing, lambda: writer.put("large", LARGE))
            await count("put_all of 10", writing, lambda: writer.put_all({f"key/{number}": 0 for number in range(10)}))
            await count("delete", writing, lambda: writer.delete("known"))
    return counts


def said(counts: Counter[str]) -> str:
    """``4: 3 PUT, 1 LIST``."""
    parts = ", ".join(f"{number} {verb.upper().replace('_', ' ')}" for verb, number in counts.most_common())
    return f"{counts.total()}: {parts}" if len(counts) > 1 else parts or "0"
