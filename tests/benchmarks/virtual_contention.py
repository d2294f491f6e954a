"""Clients that write at once in virtual time: exact, whatever else the machine does.

A request takes 10 ms, a fifth more or less, and a loser learns of it as soon as a winner does. Nothing is said of a
server's own stalls; for those see `tests.benchmarks.contention`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import rxmps3
from rxmps3.errors import PreconditionFailed
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.storage.base import ABSENT, Found, Matches
from rxmps3.testing import CountingStorage, LatencyStorage
from rxmps3.testing.virtual import SimClock, run_virtually

__all__ = ["Virtual", "bare_counter", "bare_log", "puts", "virtually"]

LATENCY = 0.01
WARM_UP = 5.0


class Virtual(NamedTuple):
    """What so many clients did in `seconds`, after some time to settle.

    Attributes:
        commits: by client.
        longest: the longest that one commit took, in seconds.
        requests: per commit.
        seconds: for how long.
    """

    commits: list[int]
    longest: float
    requests: float
    seconds: float

    @property
    def rate(self) -> float:
        """Commits per second of all."""
        return sum(self.commits) / self.seconds


Step = Callable[[], Awaitable[object]]
Loop = Callable[[Storage, SimClock, int], Awaitable[tuple[Step, Step]]]
"""Opens a client; returns what commits once, and what closes it."""


async def nothing() -> None:
    """What closes a bare client."""


async def bare_counter(storage: Storage, clock: SimClock, number: int) -> tuple[Step, Step]:
    """Read one object, replace it if it is unchanged, else begin again."""

    async def commit() -> None:
        while True:
            found = await storage.get("counter")
            known = isinstance(found, Found)
            try:
                value = int(found.body) if isinstance(found, Found) else 0
                await storage.put(
                    "counter", str(value + 1).encode(), when=Matches(found.etag) if isinstance(found, Found) else ABSENT
                )
            except PreconditionFailed:
                continue
            assert known or value == 0
            return

    return commit, nothing


async def bare_log(storage: Storage, clock: SimClock, number: int) -> tuple[Step, Step]:
    """Create the object with the next number; where it exists, read on to the end and try the next one."""
    seq = 1

    async def commit() -> None:
        nonlocal seq
        while True:
            try:
                await storage.put(f"log/{seq:020d}", b"x", when=ABSENT)
            except PreconditionFailed:
                while isinstance(await storage.get(f"log/{seq:020d}"), Found):
                    seq += 1
                continue
            seq += 1
            return

    return commit, nothing


async def puts(storage: Storage, clock: SimClock, number: int) -> tuple[Step, Step]:
    """Puts into a database, each awaited before the next."""
    db = await rxmps3.connect(storage, shared=False, poll=3600, clock=clock)
    made = 0

    async def commit() -> None:
        nonlocal made
        made += 1
        await db.put(f"client {number}", made)

    return commit, db.close


def virtually(loop: Loop, clients: int, seconds: float = 20.0) -> Virtual:
    """Let so many clients commit without a pause."""

    async def main() -> Virtual:
        bucket = MemoryStorage(clock=SimClock("bucket"))
        commits, longest, requests = [0] * clients, 0.0, 0

        async def write(number: int) -> None:
            nonlocal longest, requests
            clock = SimClock(f"client {number}")

            def jittered() -> float:
                return LATENCY * clock.rng.uniform(0.8, 1.2)

            counting = CountingStorage(LatencyStorage(bucket, clock, jittered))
            commit, close = await loop(counting, clock, number)
            end, before = WARM_UP + seconds, 0
            while clock.monotonic() < end:
                began = clock.monotonic()
                await commit()
                if began >= WARM_UP:
                    commits[number] += 1
                    longest = max(longest, clock.monotonic() - began)
                else:
                    before = len(counting.requests)
            requests += len(counting.requests) - before
            await close()

        await asyncio.gather(*(write(number) for number in range(clients)))
        return Virtual(commits, longest, requests / max(sum(commits), 1), seconds)

    return run_virtually(main(), turns=50_000_000)
