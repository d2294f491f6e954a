"""How many attempts increments of one counter need, from clients that do nothing else.

::

    python -m tests.benchmarks.contention [--clients 8] [--each 20] [--latency 0.02]
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from typing import Any

import rxmps3
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import MemoryStorage
from rxmps3.testing import LatencyStorage

__all__ = ["contend"]


async def contend(clients: int, each: int, latency: float) -> Counter[int]:
    """How many increments needed so many attempts; 0 stands for those that met a conflict at the last one."""
    far = LatencyStorage(MemoryStorage(), SystemClock(), latency)
    databases = [await rxmps3.connect(far, shared=False) for _ in range(clients)]
    needed: Counter[int] = Counter()

    async def count(database: rxmps3.Database) -> None:
        for _ in range(each):
            attempts = 0

            async def increment(tx: Any) -> None:
                nonlocal attempts
                attempts += 1
                tx.put("n", await tx.get("n", 0) + 1)

            try:
                await database.transact(increment)
            except rxmps3.Conflict:
                attempts = 0
            needed[attempts] += 1

    await asyncio.gather(*map(count, databases))
    await databases[0].refresh()
    counted = await databases[0].get("n")
    for database in databases:
        await database.close()
    if counted != needed.total() - needed[0]:
        raise AssertionError(f"{counted} counted, {needed} made")
    return needed


def main() -> None:
    """Print what came of it."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--clients", type=int, default=8)
    asking.add_argument("--each", type=int, default=20)
    asking.add_argument("--latency", type=float, default=0.02, help="seconds a request takes")
    given = asking.parse_args()
    needed = asyncio.run(contend(given.clients, given.each, given.latency))
    for attempts, times in sorted(needed.items()):
        print(f"{times:4} increments needed {attempts} attempts" if attempts else f"{times:4} met a conflict each time")


if __name__ == "__main__":
    main()
