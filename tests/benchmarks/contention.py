"""Clients that write at once, beside bare compare-and-set loops of the same run: ``python -m tests.benchmarks contention``.

Each client is a process of its own. A *bare counter* reads one object and replaces it if it is unchanged; a *bare log*
creates the object with the next number and reads on where it exists, as a log's client has to.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import rxmps3
import rxmps3.blocking
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import MemoryStorage, Storage, open_storage
from rxmps3.testing import CountingStorage, LatencyStorage
from tests.benchmarks.contenders import Plan, Result
from tests.benchmarks.virtual_contention import bare_counter, bare_log, puts, virtually
from tests.servers import SHARED_BUCKET, SeaweedFS

__all__ = ["contend", "contention", "on_one_handle", "together"]

ROOT = Path(__file__).resolve().parents[2]
_runs = iter(range(1_000_000))


async def contend(clients: int, each: int, latency: float) -> Counter[int]:
    """In one process: how many increments needed so many attempts; 0 stands for those that ended in a conflict."""
    far = LatencyStorage(MemoryStorage(), SystemClock(), latency)
    databases = [await rxmps3.connect(far, shared=False) for _ in range(clients)]
    needed: Counter[int] = Counter()
    await asyncio.gather(*(_count(database, each, needed) for database in databases))
    await databases[0].refresh()
    counted = await databases[0].get("n")
    for database in databases:
        await database.close()
    _check(counted, needed)
    return needed


async def on_one_handle(storage: Storage, tasks: int, increments: int) -> Counter[int]:
    """As `contend`, but tasks that share one database."""
    needed: Counter[int] = Counter()
    async with rxmps3.connect(storage, poll=60) as database:
        shares = [increments // tasks + (number < increments % tasks) for number in range(tasks)]
        await asyncio.gather(*(_count(database, share, needed) for share in shares))
        _check(await database.get("n"), needed)
    return needed


def by_threads(url: str, options: dict[str, Any], threads: int, increments: int) -> Counter[int]:
    """As `on_one_handle`, but threads that block."""
    needed: Counter[int] = Counter()
    lock = threading.Lock()
    with rxmps3.blocking.connect(url, **options) as database:

        def count(share: int) -> None:
            for _ in range(share):
                attempts = [0]

                def increment(tx: Any, attempts: list[int] = attempts) -> None:
                    attempts[0] += 1
                    tx.put("n", tx.get("n", 0) + 1)

                try:
                    database.transact(increment)
                except rxmps3.Conflict:
                    attempts = [0]
                with lock:
                    needed[attempts[0]] += 1

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(count, [increments // threads + (n < increments % threads) for n in range(threads)]))
        database.refresh()
        _check(database.get("n"), needed)
    return needed


async def _count(database: rxmps3.Database, times: int, needed: Counter[int]) -> None:
    for _ in range(times):
        attempts = 0

        async def increment(tx: rxmps3.Transaction) -> None:
            nonlocal attempts
            attempts += 1
            number = await tx.get("n", 0)
            await asyncio.sleep(0)  # as a function does that asks something else
            tx.put("n", number + 1)

        try:
            await database.transact(increment)
        except rxmps3.Conflict:
            attempts = 0
        needed[attempts] += 1


def _check(counted: int, needed: Counter[int]) -> None:
    if counted != needed.total() - needed[0]:
        raise AssertionError(f"{counted} counted, {needed} made")


# -- processes -------------------------------------------------------------------------------------------------


class Together:
    """What several clients did at once."""

    def __init__(self, results: list[Result]) -> None:
        self.results = results
        self.seconds = max(one.ended for one in results) - min(one.began for one in results)
        self.requests = sum((Counter(one.requests) for one in results), Counter[str]())
        self.attempts = sum((one.attempts for one in results), Counter[int]())
        self.commits = sum(len(one.waits) for one in results)
        self.longest = max(max(one.waits, default=self.seconds) for one in results)

    @property
    def rate(self) -> float:
        """Commits per second of all clients."""
        return self.commits / self.seconds

    @property
    def requests_each(self) -> float:
        """Requests per commit."""
        return self.requests.total() / max(self.commits, 1)


def together(plans: list[Plan]) -> Together:
    """Run these clients at once, each in a process of its own."""
    with ExitStack() as stack:
        processes = [_started(plan, stack) for plan in plans]
        for process in processes:
            _said(process)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("start\n")
            process.stdin.flush()
        results = [Result(**_said(process)) for process in processes]
        for result in results:
            result.attempts = Counter({int(attempts): times for attempts, times in result.attempts.items()})
        return Together(results)


def _started(plan: Plan, stack: ExitStack) -> subprocess.Popen[str]:
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.contenders", json.dumps(vars(plan))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    return process


def _said(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a client ended; see its error above")
    return json.loads(line)


def clients(loop: str, number: int, server: SeaweedFS | None, seconds: float = 0.0, each: int = 0) -> list[Plan]:
    """So many clients of one kind, on a place where nothing is yet."""
    place = f"contention-{next(_runs)}"
    if server is None:
        url, options = f"file:{tempfile.mkdtemp(prefix=place)}", dict[str, Any]()
    else:
        url, options = f"s3://{SHARED_BUCKET}/{place}", server.options()
    return [
        Plan(loop, SHARED_BUCKET, place, url, options, seconds, each, f"client {number}") for number in range(number)
    ]


async def contention(console: Console, server: SeaweedFS, seconds: float = 5.0, rounds: int = 3) -> None:
    """Print the tables."""
    await asyncio.to_thread(_in_virtual_time, console)  # it has a loop of its own
    _writers(console, server, seconds, rounds)
    _counters(console, server, seconds)
    await _one_handle(console, server)


def _in_virtual_time(console: Console) -> None:
    table = Table(
        *("writers", "bare counter", "bare log", "rxmps3", "against counter", "against log"),
        *("longest wait: counter", "rxmps3", "requests per commit: counter", "rxmps3", "fewest and most commits"),
        title="Puts in virtual time, commits per second; a request takes 10 ms",
    )
    for number in (1, 2, 4, 8):
        counter, log, ours = (virtually(loop, number, 10.0) for loop in (bare_counter, bare_log, puts))
        table.add_row(
            str(number),
            *(f"{run.rate:.0f}" for run in (counter, log, ours)),
            *(f"{ours.rate / run.rate:.2f}" for run in (counter, log)),
            *(f"{run.longest:.2f} s" for run in (counter, ours)),
            *(f"{run.requests:.1f}" for run in (counter, ours)),
            f"{min(ours.commits)}, {max(ours.commits)} (bare log: {min(log.commits)}, {max(log.commits)})",
        )
    console.print(table)


def _writers(console: Console, server: SeaweedFS, seconds: float, rounds: int) -> None:
    table = Table(
        *("writers", "bare counter", "bare log", "rxmps3", "against counter", "against log"),
        *("longest wait: counter", "log", "rxmps3", "requests per commit: log", "rxmps3"),
        title=f"Puts on SeaweedFS, commits per second; {rounds} × {seconds:g} s each",
    )
    for number in (1, 2, 4, 8):
        runs: dict[str, list[Together]] = {}
        for _ in range(rounds):
            for loop in ("bare_counter", "bare_log", "puts"):
                runs.setdefault(loop, []).append(together(clients(loop, number, server, seconds)))
        rates = {loop: _mean([run.rate for run in all]) for loop, all in runs.items()}
        longest = {loop: max(run.longest for run in all) for loop, all in runs.items()}
        requests = {loop: _mean([run.requests_each for run in all]) for loop, all in runs.items()}
        table.add_row(
            str(number),
            *(f"{rates[loop]:.0f}" for loop in runs),
            *(f"{rates['puts'] / rates[loop]:.2f}" for loop in ("bare_counter", "bare_log")),
            *(f"{longest[loop]:.2f} s" for loop in runs),
            *(f"{requests[loop]:.1f}" for loop in ("bare_log", "puts")),
        )
    console.print(table)


def _counters(console: Console, server: SeaweedFS, seconds: float) -> None:
    table = Table(
        *("16 processes, one counter", "increments", "conflicts", "mean attempts", "most", "per second"),
        *("longest wait", "requests per increment"),
    )
    bare = together(clients("bare_counter", 16, server, seconds))
    table.add_row(
        "bare counter on SeaweedFS", str(bare.commits), "", "", "", f"{bare.rate:.0f}", f"{bare.longest:.2f} s",
        f"{bare.requests_each:.1f}",
    )  # fmt: skip
    for name, where in (("rxmps3 on SeaweedFS", server), ("rxmps3 on file:", None)):
        run = together(clients("increments", 16, where, each=65))
        made = sum(attempts * times for attempts, times in run.attempts.items())
        table.add_row(
            name,
            str(run.attempts.total()),
            f"{run.attempts[0]} ({run.attempts[0] / run.attempts.total():.1%})",
            f"{made / max(run.commits, 1):.1f}",
            str(max(run.attempts)),
            f"{run.rate:.0f}" + (f" ({run.rate / bare.rate:.2f} of bare)" if where is server else ""),
            f"{run.longest:.2f} s",
            f"{run.requests_each:.1f}",
        )
    console.print(table)


async def _one_handle(console: Console, server: SeaweedFS) -> None:
    table = Table("one handle, one counter", "increments", "conflicts", "attempts: increments", "requests")

    def add(name: str, needed: Counter[int], requests: Callable[[], str]) -> None:
        spread = ", ".join(f"{attempts}: {times}" for attempts, times in sorted(needed.items()) if attempts)
        table.add_row(name, str(needed.total()), str(needed[0]), spread, requests())

    url = f"s3://{SHARED_BUCKET}/contention-{next(_runs)}"
    storage = CountingStorage(open_storage(url, clock=SystemClock(), **server.options()))
    add("64 tasks on SeaweedFS", await on_one_handle(storage, 64, 1000), lambda: str(len(storage.requests)))
    await storage.close()
    url = f"s3://{SHARED_BUCKET}/contention-{next(_runs)}"
    threads = await asyncio.to_thread(by_threads, url, server.options(), 16, 1000)
    add("16 blocking threads on SeaweedFS", threads, lambda: "")
    memory = CountingStorage(MemoryStorage())
    add("64 tasks in memory", await on_one_handle(memory, 64, 1000), lambda: str(len(memory.requests)))
    console.print(table)


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)
