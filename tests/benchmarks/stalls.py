"""How long the event loop stands still: ``python -m tests.benchmarks stalls [--keys N]``.

A watchdog task sleeps for a millisecond at a time; a stall is by how much one of its sleeps took longer. The first row is
the loop with nothing to do, in the same run: what the machine itself does to it. The processor time is what this
process, with all its threads, spent during its longest stall by that measure: on a busy machine a stall is longer than
that, and it is what the goal is held against. Everything runs in this process and on this loop, on a `MemoryStorage`,
with the garbage collector as Python sets it.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rich.console import Console
from rich.table import Table

import rxmps3
from rxmps3.storage import MemoryStorage

__all__ = ["Watchdog", "stalls"]

GOAL = 0.050
"""Seconds; see ``docs/evidence.md``."""


class Watchdog:
    """Measures the longest stall of the running loop: ``async with Watchdog() as seen: …``, then ``seen.longest``."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.busy = 0.0
        self.took = 0.0
        self._began = 0.0
        self._watching: asyncio.Task[None] | None = None

    async def _watch(self) -> None:
        last, worked = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now, working = time.perf_counter(), time.process_time()
            self.longest = max(self.longest, now - last - 0.001)
            self.busy = max(self.busy, min(working - worked, now - last))
            last, worked = now, working

    async def __aenter__(self) -> Watchdog:
        self._watching = asyncio.create_task(self._watch())
        await asyncio.sleep(0.01)
        self._began = time.perf_counter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.took = time.perf_counter() - self._began
        await asyncio.sleep(0.01)
        if self._watching is not None:
            self._watching.cancel()


async def stalls(console: Console, keys: int = 100_000) -> None:
    """Print the table."""
    table = Table("", "longest stall", "processor time in one", "took", title=f"The loop at {keys:,} keys")
    over: list[str] = []

    async def measured(name: str, action: Callable[[], Awaitable[Any]]) -> Any:
        gc.collect()
        async with Watchdog() as seen:
            result = await action()
        table.add_row(
            name, f"{seen.longest * 1000:.0f} ms", f"{seen.busy * 1000:.0f} ms", f"{seen.took * 1000:,.0f} ms"
        )
        if seen.busy > GOAL:
            over.append(name)
        return result

    await measured("nothing", lambda: asyncio.sleep(1.0))
    storage = MemoryStorage()
    async with rxmps3.connect(storage, poll=3600, shared=False) as db:
        for start in range(0, keys, 5_000):
            await db.put_all({f"todo/{n:08}": {"done": False, "n": n} for n in range(start, min(start + 5_000, keys))})
        await measured("checkpoint", lambda: db.compact())
        some = {f"todo/{n:08}": {"done": True, "n": n} for n in range(0, keys, max(keys // 10_000, 1))}
        await measured(f"put_all of {len(some):,}, until it is committed", lambda: put_all(db, some))
        await measured(
            "put_all of 2,000 under an observe_prefix", lambda: under_observer(db, dict(list(some.items())[:2000]))
        )
        await measured("2,000 puts that are not awaited", lambda: puts(db, 2_000))
        await measured("await get_prefix", lambda: all_of(db))
        await measured("get_prefix, page by page", lambda: pages(db))
        await measured("10,000 subscriptions", lambda: subscribe(db, min(10_000, keys)))
        await measured("observe_prefix of all", lambda: observe_all(db))
        for what, value in {"text": "x" * 100_000_000, "list of objects": records(100_000_000)}.items():
            await db.put("large", value)
            del value
            async with rxmps3.connect(storage, poll=3600, shared=False, cache_bytes=1) as other:
                await measured(f"get of a {what} of 100 MB", lambda other=other: other.get("large"))
        await db.delete("large")
    await measured("open", lambda: opened(storage))
    with tempfile.TemporaryDirectory() as local:
        await measured("open, and save it on disk", lambda: opened(storage, local=local))
        await measured("open what was saved on disk", lambda: opened(storage, local=local))
        await measured("open what was saved on disk, offline", lambda: opened(storage, local=local, online=False))
    table.caption = f"over {GOAL * 1000:.0f} ms: {', '.join(over) or 'none'}"
    console.print(table)


def ignore(item: object) -> None:
    """An observer that costs nothing."""


async def put_all(db: rxmps3.Database, values: dict[str, Any]) -> None:
    await db.put_all(values)


async def under_observer(db: rxmps3.Database, values: dict[str, Any]) -> None:
    subscription = db.observe_prefix("").subscribe(ignore)
    await db.put_all(values)
    subscription.dispose()


async def puts(db: rxmps3.Database, number: int) -> None:
    receipts = [db.put(f"todo/{n:08}", n) for n in range(number)]
    await asyncio.gather(*receipts)


async def all_of(db: rxmps3.Database) -> None:
    await db.get_prefix("")


async def pages(db: rxmps3.Database) -> None:
    async for page in db.get_prefix(""):
        page.to_dict()


async def subscribe(db: rxmps3.Database, number: int) -> None:
    """As a program does that lets the loop run between: 50 at a time."""
    subscriptions = list[Any]()
    for start in range(0, number, 50):
        subscriptions += [db.subscribe(f"todo/{n:08}", ignore) for n in range(start, start + 50)]
        await asyncio.sleep(0)
    for number, subscription in enumerate(subscriptions):
        subscription.dispose()
        if number % 50 == 0:
            await asyncio.sleep(0)


async def observe_all(db: rxmps3.Database) -> None:
    async with db.iterate(db.observe_prefix("")) as snapshots:
        async for snapshot in snapshots:
            len(snapshot)
            break


async def opened(storage: MemoryStorage, **options: Any) -> None:
    async with rxmps3.connect(storage, poll=3600, shared=False, **options) as db:
        len(db)


def records(size: int) -> list[dict[str, Any]]:
    one = {"name": "a name of someone", "score": 12345, "tags": ["one", "two"]}
    return [one] * (size // 62)
