"""What one change costs under live queries over ever more keys: ``python -m tests.benchmarks queries``.

Each figure is the median time of a ``put`` that is not awaited, delivered to one observer before it returns. Each is set
against a put that nothing observes, in the same run on the same database, and against the cost at the least number of
keys. The plain Rx way, `observe_prefix` and a query over the whole mapping, is measured beside it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from reactivex import Observable
from reactivex import operators as ops
from rich.console import Console
from rich.table import Table

import rxmps3
from rxmps3.storage import MemoryStorage

__all__ = ["queries"]

TEAMS = 50
_scores = count(1_000_003)


async def queries(console: Console, rounds: int, sizes: tuple[int, ...] = (1_000, 10_000, 100_000)) -> None:
    """Print the table."""
    table = Table("", *(f"{size:,} keys" for size in sizes), "last against first", title="One change, delivered")
    costs: dict[str, list[float]] = {}
    for size in sizes:
        async with rxmps3.connect(MemoryStorage(), poll=3600, inline_limit=4096) as db:
            await filled(db, size)
            for name, make in CASES.items():
                most = max(rounds // 100, 2) if name.startswith("plain Rx") else rounds
                costs.setdefault(name, []).append(await one_change(db, make, size, most))
    bare = costs["a put that nothing observes"]
    for name, row in costs.items():
        shown = [f"{cost * 1e6:,.0f} µs ({cost / base:.1f})" for cost, base in zip(row, bare, strict=True)]
        table.add_row(name, *shown, f"{row[-1] / row[0]:.2f}")
    table.caption = f"in brackets: against a put that nothing observes, at the same size; {rounds} puts each"
    console.print(table)


async def filled(db: rxmps3.Database, size: int) -> None:
    """Players in teams, and the teams."""
    await db.put_all({f"team/{team:03}": {"name": f"team {team}"} for team in range(TEAMS)})
    for start in range(0, size, 10_000):
        await db.put_all({name(n): player(n, n * 7919 % 1_000_003) for n in range(start, min(size, start + 10_000))})


def name(n: int) -> str:
    return f"player/{n:08}"


def player(n: int, score: int) -> dict[str, Any]:
    return {"score": score, "team": n % TEAMS, "active": n % 3 != 0}


def nothing(db: rxmps3.Database) -> None:
    return None


def everything(db: rxmps3.Database) -> Observable[Any]:
    return db.observe_prefix("")


def composed(db: rxmps3.Database) -> Observable[Any]:
    """The ten best teams: filter, join, group, top-10."""
    active = db.collection("player/").filter(lambda key, value: value["active"])
    named = active.join(db.collection("team/"), on=lambda key, value: f"team/{value['team']:03}")
    totals = named.group_by(lambda key, pair: pair[1]["name"]).sum(lambda key, pair: pair[0]["score"])
    return totals.sort_by(lambda key, total: total, reverse=True).limit(10).observe()


def best_players(db: rxmps3.Database) -> Observable[Any]:
    return db.collection("player/").sort_by(lambda key, value: value["score"], reverse=True).limit(10).observe()


def counted(db: rxmps3.Database) -> Observable[Any]:
    return db.collection("player/").group_by(lambda key, value: value["score"] % 47).count().observe()


def plain_rx(db: rxmps3.Database) -> Observable[Any]:
    """The ten best teams, computed anew from the whole mapping."""

    def best(content: Any) -> list[tuple[str, int]]:
        teams = {key: value for key, value in content.items() if key.startswith("team/")}
        totals: dict[str, int] = {}
        for key, value in content.items():
            if key.startswith("player/") and value["active"]:
                team = teams[f"team/{value['team']:03}"]["name"]
                totals[team] = totals.get(team, 0) + value["score"]
        return sorted(totals.items(), key=lambda item: -item[1])[:10]

    return db.observe_prefix("").pipe(ops.map(best))


CASES: dict[str, Callable[[rxmps3.Database], Observable[Any] | None]] = {
    "a put that nothing observes": nothing,
    "observe_prefix('')": everything,
    "filter, join, group, top-10": composed,
    "top-10 of all players": best_players,
    "count by group": counted,
    "plain Rx: observe_prefix and map": plain_rx,
}


async def one_change(
    db: rxmps3.Database, make: Callable[[rxmps3.Database], Observable[Any] | None], size: int, rounds: int
) -> float:
    """The median time of a put under an observer; the observer looks at nothing."""
    observable = make(db)
    seen: list[Any] = []
    subscription = None if observable is None else observable.subscribe(lambda item: seen.append(len(item)))
    gc.collect()
    costs: list[float] = []
    for number in range(rounds):
        key, value = name(number * 7919 % size), player(number * 7919 % size, next(_scores))
        began = time.perf_counter()
        db.put(key, value)
        costs.append(time.perf_counter() - began)
        if number % 50 == 49:
            await asyncio.sleep(0.02)  # let it be committed
    if subscription is not None:
        subscription.dispose()
        if len(seen) < rounds // 20:
            raise AssertionError(f"{len(seen)} emissions of {rounds} puts: nothing was measured")
    await db.put("settled", 0)
    return statistics.median(costs)
