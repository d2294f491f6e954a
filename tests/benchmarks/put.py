"""A put of this checkout beside one of another, in turns: ``python -m tests.benchmarks put --against PATH``.

Each checkout is imported by a process of its own, which stands still while the other one works. What runs there uses
the public API alone and is the same file for both. Everything is in memory, so CPU time is what a put takes on a quiet
machine; unlike time by the clock, it is the same on a busy one.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import rxmps3

PUTS = 200
"""In one turn."""


async def committed(puts: int) -> float:
    """CPU seconds that so many puts take, each awaited until it is committed, in a database in memory."""
    async with rxmps3.connect("memory:", poll=60) as db:
        await db.put("key", -1)
        began = time.process_time()
        for number in range(puts):
            await db.put("key", number)
        return time.process_time() - began


async def observed(puts: int) -> float:
    """CPU seconds that so many puts take until each has reached an observer; none is awaited."""
    seen: list[object] = []
    async with rxmps3.connect("memory:", poll=60) as db:
        await db.put("key", -1)
        db.subscribe("key", seen.append)
        while not seen:
            await asyncio.sleep(0)
        began = time.process_time()
        for number in range(puts):
            db.put("key", number)
        took = time.process_time() - began
        assert seen == list(range(-1, puts))
    return took


LOOPS: dict[str, Callable[[int], Awaitable[float]]] = {
    "await db.put(key, value)": committed,
    "db.put(key, value), observed": observed,
}


def _work() -> None:
    """Answer the name of a loop and a number of puts with the CPU seconds that they take, line by line."""
    print(rxmps3.__file__, flush=True)
    for line in sys.stdin:
        name, _, puts = line.strip().rpartition("|")

        async def turn(name: str = name, puts: int = int(puts)) -> float:
            return await LOOPS[name](puts)

        print(asyncio.run(turn()), flush=True)


class _Worker:
    """The process that imports one checkout."""

    def __init__(self, checkout: Path, stack: ExitStack) -> None:
        self._process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-P", __file__],  # not from the folder that the script is in
                env={**os.environ, "PYTHONPATH": str(checkout)},
                cwd=checkout,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(self._process.kill)
        imported = Path(self._answer())
        assert imported.is_relative_to(checkout), f"{imported} is measured, not {checkout}"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the process that measures ended; see its error above")
        return line

    def __call__(self, name: str, puts: int) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}|{puts}\n")
        self._process.stdin.flush()
        return float(self._answer())


def compare(there: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """For each loop the median microseconds of CPU time of one put, there and here."""
    here, there = Path(__file__).resolve().parents[2], there.resolve()
    found: dict[str, tuple[float, float]] = {}
    with ExitStack() as stack:
        workers = [_Worker(there, stack), _Worker(here, stack)]
        for name in LOOPS:
            for worker in workers:
                worker(name, PUTS)  # warm
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(rounds):
                for which in (0, 1) if number % 2 else (1, 0):
                    times[which].append(workers[which](name, PUTS) / PUTS * 1e6)
            found[name] = (statistics.median(times[0]), statistics.median(times[1]))
    return found


if __name__ == "__main__":
    _work()
