"""A database that lives for a week under steady writing: what it costs must stay flat.

::

    python -m tests.durability.soak --writes 200000 --keys 1000

Time is virtual, the storage is in memory, nobody calls ``compact``. Writers come and go; one reader watches all the
time. Each line says how many objects and bytes the bucket holds, how many requests a cold opening takes, and how
much memory this process uses, all clients and the bucket included.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psutil
from reactivex import Subject

import rxmps3
from rxmps3.storage import MemoryStorage, list_all
from rxmps3.testing import CountingStorage
from rxmps3.testing.virtual import SimClock, run_virtually
from tests.durability.upkeep import DAY, check, kind_of

PUTS_PER_ENTRY = 10
LARGE_ONE_IN = 40
RESTARTS = 50
CACHE = 1 << 20
"""Bytes of large values that each client keeps: the default would fill up all week."""
SPAN = 7 * DAY
"""All writes are spread over a week."""


@dataclass(frozen=True)
class Row:
    """What a moment looks like."""

    writes: int
    days: float
    objects: Counter[str]
    bytes: int
    open_requests: int
    megabytes: float

    def __str__(self) -> str:
        objects = " ".join(f"{kind} {self.objects[kind]:>5}" for kind in ("log", "checkpoint", "values"))
        return (
            f"{self.writes:>8} writes  day {self.days:4.1f}  {objects}  {self.bytes / 1e6:6.2f} MB in the bucket  "
            f"{self.open_requests:>4} requests to open  {self.megabytes:6.1f} MB of memory"
        )


async def soak(writes: int, keys: int, tell: Callable[[Row], None]) -> list[Row]:
    """Write for a week of virtual time; a row for each of forty moments."""
    clock = SimClock("soak")
    bucket = MemoryStorage(clock=clock)
    ticks: Subject[None] = Subject()
    rows: list[Row] = []
    pause = SPAN * PUTS_PER_ENTRY / writes
    async with rxmps3.connect(bucket, clock=clock, shared=False, poll=ticks, cache_bytes=CACHE) as reader:
        seen: Counter[str] = Counter()
        subscriptions = [
            reader.changes().subscribe(lambda change: seen.update(changes=1)),
            reader.observe_prefix("key 00").subscribe(lambda values: seen.update(snapshots=1)),
        ]
        expected: dict[str, object] = {}
        writer: rxmps3.Database | None = None
        for start in range(0, writes, PUTS_PER_ENTRY):
            if writer is None or start % (writes // RESTARTS) < PUTS_PER_ENTRY:
                if writer is not None:
                    await writer.close()
                writer = await rxmps3.connect(bucket, clock=clock, shared=False, poll=Subject(), cache_bytes=CACHE)
            receipts: list[rxmps3.Receipt] = []
            for number in range(start, start + PUTS_PER_ENTRY):
                key = f"key {clock.rng.randrange(keys):04}"
                expected[key] = [number, "L" * 6000] if number % LARGE_ONE_IN == 0 else number
                receipts.append(writer.put(key, expected[key]))
            await asyncio.gather(*map(_end_of, receipts))
            await clock.sleep(pause)
            ticks.on_next(None)
            if (start + PUTS_PER_ENTRY) % (writes // 40) < PUTS_PER_ENTRY:
                rows.append(await _look(bucket, clock, start + PUTS_PER_ENTRY))
                tell(rows[-1])
        if writer is not None:
            await writer.close()
        await reader.refresh()
        assert await reader.get_prefix() == dict(sorted(expected.items()))
        assert seen["changes"] > 0
        for subscription in subscriptions:
            subscription.dispose()
    await check(bucket)
    return rows


async def _look(bucket: MemoryStorage, clock: SimClock, writes: int) -> Row:
    listed = await list_all(bucket, "")
    counting = CountingStorage(bucket)
    async with rxmps3.connect(counting, clock=clock, shared=False, poll=Subject(), read_only=True):
        requests = counting.counts.total()
    gc.collect()
    return Row(
        writes,
        clock.monotonic() / DAY,
        Counter(kind_of(one.name) for one in listed),
        sum(one.size for one in listed),
        requests,
        psutil.Process().memory_info().rss / 1e6,
    )


async def _end_of(receipt: rxmps3.Receipt) -> None:
    await receipt


def run(writes: int, keys: int, tell: Callable[[Row], None]) -> list[Row]:
    """As `soak`, on a loop of its own."""
    return run_virtually(soak(writes, keys, tell), turns=1_000_000_000)


def growth(rows: list[Row], measure: Callable[[Row], float]) -> float:
    """How much more the last quarter of the week takes than the second one, by the largest of each."""
    quarter = len(rows) // 4
    return max(map(measure, rows[-quarter:])) / max(map(measure, rows[quarter : 2 * quarter]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--writes", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=1000)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = run(arguments.writes, arguments.keys, lambda row: print(row, flush=True))
    for what, measure in MEASURES.items():
        print(f"{what}: x{growth(rows, measure):.2f} from the second to the last quarter")


MEASURES: dict[str, Callable[[Row], float]] = {
    "objects": lambda row: row.objects.total(),
    "bytes": lambda row: row.bytes,
    "requests to open": lambda row: row.open_requests,
    "memory": lambda row: row.megabytes,
}

if __name__ == "__main__":
    main()
