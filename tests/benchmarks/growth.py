"""What grows with the number of keys, and how: ``python -m tests.benchmarks growth [--keys N]``.

Each size is measured in a process of its own, on a database in a directory, and set against the smallest one. Memory is
what the process has more of after it has opened the database from a checkpoint, less the bytes of the keys and of the
values' JSON. Times are processor time of the process, since machines are shared.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import rxmps3
from tests.benchmarks.stalls import Watchdog

__all__ = ["growth"]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
_BATCH = 10_000
_PUTS = 200
_OBSERVED = 1_000


def growth(console: Console, most: int | None = None) -> None:
    """Print the table, up to so many keys."""
    sizes = [size for size in SIZES if most is None or size <= most]
    table = Table("", *(f"{size:,} keys" for size in sizes), title="What grows with the number of keys")
    rows: dict[str, list[tuple[float, str]]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            for step in ("fill", "measure"):
                command = [sys.executable, "-m", "tests.benchmarks.growth", step, str(size), folder]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            for name, (figure, shown) in json.loads(done.stdout).items():
                rows.setdefault(name, []).append((figure, shown))
    for name, figures in rows.items():
        first = figures[0][0]
        table.add_row(name, *(f"{shown} ({figure / first:.2f})" if first else shown for figure, shown in figures))
    table.caption = f"in brackets: against {sizes[0]:,} keys"
    console.print(table)


def key(n: int) -> str:
    return f"todo/{n:08}"


def value(n: int) -> dict[str, Any]:
    return {"done": False, "n": n}


async def fill(size: int, folder: str) -> None:
    async with rxmps3.connect(f"file:{folder}", poll=3600) as db:
        for start in range(0, size, _BATCH):
            await db.put_all({key(n): value(n) for n in range(start, min(size, start + _BATCH))})
        await db.compact()


async def measure(size: int, folder: str) -> dict[str, tuple[float, str]]:
    figures: dict[str, tuple[float, str]] = {}
    raw = sum(len(key(n)) + len(json.dumps(value(n), separators=(",", ":"))) for n in range(size)) / size
    stalls: dict[str, float] = {}

    async def timed(name: str, action: Callable[[], Awaitable[Any]]) -> Any:
        began = time.process_time()
        async with Watchdog() as seen:
            result = await action()
        figures[name] = (took := time.process_time() - began, f"{took * 1000:,.0f} ms")
        stalls[name] = seen.busy
        return result

    async with rxmps3.connect("memory:") as other:  # what the first database of a process needs is not counted
        await other.put("key", 1)
    before = resident()

    async def opened() -> rxmps3.Database:
        return await rxmps3.connect(f"file:{folder}", poll=3600)

    db = await timed("open", opened)
    assert len(db) == size
    beyond = (resident() - before) / size - raw
    figures["memory of a key, beyond its bytes"] = (beyond, f"{beyond:,.0f} B")

    def puts() -> float:
        costs: list[float] = []
        for n in range(_PUTS):
            began = time.process_time()
            db.put(key(n * 7919 % size), n)
            costs.append(time.process_time() - began)
        return statistics.median(costs)

    for name, subscriptions in {
        "put": [],
        f"put, {_OBSERVED:,} keys and a prefix observed": [
            db.observe_prefix("todo/").subscribe(ignore),
            *(db.subscribe(key(n), ignore) for n in range(_OBSERVED)),
        ],
    }.items():
        cost = puts()
        figures[name] = (cost, f"{cost * 1e6:,.0f} µs")
        await asyncio.gather(*db.pending.value)
        for subscription in subscriptions:
            subscription.dispose()
    await timed(f"checkpoint after {2 * _PUTS} changed keys here and there", db.compact)
    await db.put(key(size // 2), "changed")
    before_it = db.cost.value.total
    await timed("checkpoint after one changed key", db.compact)
    used = db.cost.value.total
    puts_made, sent = used.puts - before_it.puts, used.bytes_up - before_it.bytes_up
    figures["its puts"] = (puts_made, f"{puts_made}")
    figures["its bytes, compressed"] = (sent, f"{sent:,}")

    async def watched() -> None:
        seen = asyncio.get_running_loop().create_future()
        subscription = db.observe_prefix("todo/").subscribe(lambda all: seen.done() or seen.set_result(len(all)))
        assert await seen == size
        subscription.dispose()

    await timed(watch := "observe_prefix of all, until its first snapshot", watched)
    await db.close()
    prefix = key(size // 2)[:-2]

    async def opened_in_part() -> rxmps3.Database:
        return await rxmps3.connect(f"file:{folder}", poll=3600, prefixes=[prefix])

    part = await timed("open with a prefix of 100 keys", opened_in_part)
    assert len(part) == 100
    await part.close()
    watching = stalls.pop(watch)
    longest = max(stalls.values())
    figures["processor time in the longest stall of that"] = (watching, f"{watching * 1000:,.0f} ms")
    figures["… and of opening and checkpoints"] = (longest, f"{longest * 1000:,.0f} ms")
    peak = peak_memory()
    figures["peak memory of the process"] = (peak, f"{peak / 2**20:,.0f} MiB")
    return figures


def peak_memory() -> int:
    """The most bytes of memory that this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def ignore(item: object) -> None:
    """An observer that costs nothing."""


def resident() -> int:
    """Bytes of memory of this process, after it has given back what it can."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        pass
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


if __name__ == "__main__":
    action, size, folder = sys.argv[1:]
    if action == "fill":
        asyncio.run(fill(int(size), folder))
    else:
        print(json.dumps(asyncio.run(measure(int(size), folder))))
