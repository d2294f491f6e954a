"""Measures the main job beside its baselines, in one run: ``python -m tests.benchmarks [--rounds N] [--requests]``.

``python -m tests.benchmarks put --against PATH`` measures a put beside that of another checkout, and nothing else;
``python -m tests.benchmarks queries`` what a change costs under live queries over ever more keys;
``python -m tests.benchmarks beside`` the same queries in TanStack DB, Pathway, streamz and plain Rx;
``python -m tests.benchmarks contention`` clients that write at once, beside bare compare-and-set loops;
``python -m tests.benchmarks large`` a large file up and down beside bare multipart, and the requests of packs;
``python -m tests.benchmarks engine`` single requests of the S3 storage beside those of the bare client;
``python -m tests.benchmarks propagation`` how long it takes until another process sees a change, by each bell;
``python -m tests.benchmarks stalls`` how long the event loop stands still at most;
``python -m tests.benchmarks growth`` what grows with the number of keys, and how.

Figures are ratios against a baseline of the same run, interleaved with it, since machines are shared and noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import random
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aioboto3
from reactivex.abc import DisposableBase
from rich.console import Console
from rich.table import Table

import rxmps3
from rxmps3.log.registry import PROTOCOLS
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import open_storage
from rxmps3.storage.memory import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.benchmarks.beside import beside
from tests.benchmarks.contention import contention
from tests.benchmarks.engine import engine
from tests.benchmarks.growth import growth
from tests.benchmarks.large import large, packs
from tests.benchmarks.propagation import propagation
from tests.benchmarks.put import PUTS, compare
from tests.benchmarks.queries import queries
from tests.benchmarks.requests import JAVASCRIPT, measured, said
from tests.benchmarks.stalls import stalls
from tests.servers import SHARED_BUCKET, VERSIONED_BUCKET, SeaweedFS

console = Console()


async def timed(action: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await action()
    return time.perf_counter() - began


def milliseconds(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.2f} ms"


async def committed_put(server: SeaweedFS, rounds: int) -> None:
    """A committed put beside a bare aioboto3 PUT of the same bytes on the same server."""
    options = server.options()
    counting = CountingStorage(open_storage(f"s3://{SHARED_BUCKET}/bench-put", clock=SystemClock(), **options))
    session = aioboto3.Session()
    table = Table("", "median", "against bare PUT", title="A committed put")
    bare: list[float] = []
    ours: list[float] = []
    async with session.client("s3", **options) as client, rxmps3.connect(counting, poll=60, by="bench") as db:
        await db.put("warm", 0)
        counting.reset()
        await db.put("warm", 1)
        body = b"x" * counting.requests[-1].bytes_up
        for number in range(rounds + 20):
            name = f"bench-bare/{number:020d}"
            one = await timed(lambda name=name: client.put_object(Bucket=SHARED_BUCKET, Key=name, Body=body))
            two = await timed(lambda number=number: db.put("key", number))
            if number >= 20:
                bare.append(one)
                ours.append(two)
    await counting.close()
    ratio = statistics.median(two / one for one, two in zip(bare, ours, strict=True))
    table.add_row(f"bare aioboto3 PUT of {len(body)} bytes", milliseconds(bare), "1.00")
    table.add_row("rxmps3: await db.put(key, value)", milliseconds(ours), f"{ratio:.2f}")
    console.print(table)


async def across_clients(server: SeaweedFS, rounds: int) -> None:
    """From one client's put to another's observer, beside half the poll interval and a GET."""
    url, options = f"s3://{SHARED_BUCKET}/bench-across", server.options()
    poll = 0.2
    gets: list[float] = []
    seen: list[float] = []
    async with (
        rxmps3.connect(url, **options, shared=False, poll=60) as writer,
        rxmps3.connect(url, **options, shared=False, poll=poll) as reader,
    ):
        await writer.put("key", -1)
        storage = open_storage(url, clock=SystemClock(), **options)
        async with reader.iterate(reader.observe("key"), keep="all") as values:
            iterator = aiter(values)
            while await anext(iterator) != -1:
                pass
            for number in range(rounds):
                await asyncio.sleep(poll * random.uniform(5, 7))  # until the timer has slowed down to its interval
                gets.append(await timed(lambda: storage.get("main/none")))
                receipt = writer.put("key", number)
                await receipt
                began = time.perf_counter()
                while await anext(iterator) != number:
                    pass
                seen.append(time.perf_counter() - began)
        await storage.close()
    table = Table("", "median", title=f"Seen by another client, poll={poll}")
    table.add_row("half the interval and one GET", f"{(poll / 2 + statistics.median(gets)) * 1000:.0f} ms")
    table.add_row("from committed to observed", f"{statistics.median(seen) * 1000:.0f} ms")
    console.print(table)


async def one_change(rounds: int) -> None:
    """The cost of one own change with ever more observed keys; flat if it follows the change."""
    table = Table("observed keys", "one put, delivered", "against 10 keys", title="Cost of one change")
    first = 0.0
    for observed in (10, 1_000, 10_000):
        async with rxmps3.connect(MemoryStorage(), poll=60) as db:
            received: list[object] = []
            for number in range(observed):
                db.subscribe(f"key/{number}", received.append)
            costs: list[float] = []
            for number in range(rounds):
                began = time.perf_counter()
                db.put("key/3", number)
                costs.append(time.perf_counter() - began)
                if number % 20 == 0:
                    await asyncio.sleep(0.01)
            median = statistics.median(costs)
            first = first or median
            table.add_row(f"{observed:,}", f"{median * 1e6:.0f} µs", f"{median / first:.2f}")
    console.print(table)


async def many_keys(observed: int = 10_000) -> None:
    """What it costs to observe many keys at once: memory of each, and the time to subscribe and to let go of all."""
    table = Table("", "memory per key", "subscribe all", "dispose all", title=f"{observed:,} keys observed at once")
    for what in ("db.observe(key)", "db.key(key)", "db.key(key).entries()"):
        async with rxmps3.connect(MemoryStorage(), poll=60) as db:
            await db.put_all({f"key/{number}": number for number in range(observed)})

            def observe(number: int, what: str = what, db: rxmps3.Database = db) -> DisposableBase:
                key = f"key/{number}"
                if what == "db.observe(key)":
                    return db.observe(key).subscribe(ignore)
                stream = db.key(key) if what == "db.key(key)" else db.key(key).entries()
                return stream.subscribe(ignore)

            observe(0).dispose()
            gc.collect()
            tracemalloc.start()
            subscriptions = [observe(number) for number in range(observed)]
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            began = time.perf_counter()
            for subscription in subscriptions:
                subscription.dispose()
            disposing = time.perf_counter() - began
            began = time.perf_counter()  # once more, since tracing slows it down
            subscriptions = [observe(number) for number in range(observed)]
            subscribing = time.perf_counter() - began
            for subscription in subscriptions:
                subscription.dispose()
            kib, seconds = held / observed / 1024, milliseconds([subscribing])
            table.add_row(what, f"{kib:.1f} KiB", seconds, milliseconds([disposing]))
    console.print(table)


def ignore(item: object) -> None:
    """An observer that costs nothing."""


async def requests(server: SeaweedFS) -> None:
    """Exact counts of requests in each log, beside those of the JavaScript client."""
    options = server.options()
    columns: dict[str, dict[str, str]] = {}
    for protocol in PROTOCOLS:
        bucket = VERSIONED_BUCKET if protocol == "versioned" else SHARED_BUCKET
        storage = open_storage(f"s3://{bucket}/bench-requests-{protocol}", clock=SystemClock(), **options)
        counts = await measured(storage, protocol)
        columns[f"{protocol} log"] = {what: said(count) for what, count in counts.items()}
        await storage.close()
    columns["JavaScript client mps3 0.0.81"] = JAVASCRIPT
    table = Table("", *columns, title="Requests, once the manifest exists")
    for what in next(iter(columns.values())):
        table.add_row(what, *(column.get(what, "") for column in columns.values()))
    console.print(table)


async def burst() -> None:
    """How many commits many puts take that are not awaited one by one."""
    storage = CountingStorage(MemoryStorage())
    async with rxmps3.connect(storage, poll=60) as db:
        await db.put("warm", 0)
        storage.reset()
        for receipt in [db.put(f"burst/{n}", n) for n in range(200)]:
            await receipt
    console.print(f"200 puts that are not awaited one by one: {len(storage.requests)} requests (sequenced log)")


def against(checkout: Path, rounds: int) -> None:
    """A put of this checkout beside one of another."""
    table = Table("one put", str(checkout), "here", "here against there", title=f"{rounds} turns of {PUTS} puts each")
    for name, (there, here) in compare(checkout, rounds).items():
        table.add_row(name, f"{there:.0f} µs", f"{here:.0f} µs", f"{here / there:.2f}")
    console.print(table)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    choices = ["put", "queries", "beside", "contention", "large", "engine", "propagation", "stalls", "growth"]
    parser.add_argument("what", nargs="?", choices=choices, help="nothing but that")
    parser.add_argument("--against", type=Path, metavar="PATH", help="that other checkout")
    parser.add_argument(
        "--rounds", type=int, help="200 by default; 30 turns of each checkout for put, 3 for contention"
    )
    parser.add_argument("--keys", type=int, help="stalls: of so many, 100,000 by default; growth: up to so many")
    parser.add_argument("--requests", action="store_true", help="nothing but the table of requests")
    arguments = parser.parse_args()
    if (arguments.what == "put") != (arguments.against is not None):
        parser.error("put and --against PATH go together")
    rounds: int = arguments.rounds or 200
    console.print(f"{platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}")
    if arguments.against is not None:
        against(arguments.against, arguments.rounds or 30)
        return
    if arguments.what == "growth":
        growth(console, arguments.keys)
        return
    if arguments.what == "stalls":
        await stalls(console, arguments.keys or 100_000)
        return
    if arguments.what == "beside":
        await beside(console, rounds)
        return
    if arguments.what == "queries":
        await queries(console, rounds)
        return
    if arguments.what == "contention":
        with SeaweedFS() as server:
            await contention(console, server, rounds=arguments.rounds or 3)
        return
    if arguments.what == "large":
        await packs(console)
        await large(console, arguments.rounds or 7)
        return
    if arguments.what == "engine":
        with SeaweedFS() as server:
            await engine(console, server, rounds)
        return
    if arguments.what == "propagation":
        await propagation(console, arguments.rounds or 100)
        return
    with SeaweedFS() as server:
        await requests(server)
        if arguments.requests:
            return
        await committed_put(server, rounds)
        await across_clients(server, min(rounds, 30))
    await one_change(rounds)
    await many_keys()
    await burst()


if __name__ == "__main__":
    asyncio.run(main())
