"""Queries of ``tests/benchmarks/queries.py`` in streamz: ``python in_streamz.py SIZE ROUNDS``.

Prints one JSON object: the median microseconds of emitting one changed player. streamz has no keyed state, no join of a
stream with a table and no ordering: the query is written by hand within ``accumulate``, which is what it offers for that.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import heapq
import json
import statistics
import sys
import time
from typing import Any

from streamz import Stream  # in an environment of its own

TEAMS = 50
size, rounds = map(int, sys.argv[1:])
teams = {f"team/{n:03}": f"team {n}" for n in range(TEAMS)}

Item = tuple[str, dict[str, Any]]
State = tuple[dict[str, dict[str, Any]], dict[str, int]]


def player(n: int, score: int) -> Item:
    return f"player/{n:08}", {"score": score, "team": f"team/{n % TEAMS:03}", "active": n % 3 != 0}


def totalled(state: State, item: Item) -> tuple[State, list[tuple[str, int]]]:
    """The ten best teams, by what is taken away and added."""
    players, totals = state
    key, value = item
    for one, sign in ((players.get(key), -1), (value, 1)):
        if one is not None and one["active"]:
            name = teams[one["team"]]
            totals[name] = totals.get(name, 0) + sign * one["score"]
    players[key] = value
    return state, heapq.nlargest(10, totals.items(), key=lambda item: item[1])


def best(players: dict[str, dict[str, Any]], item: Item) -> tuple[dict[str, dict[str, Any]], list[Item]]:
    """The ten best players, computed anew: nothing keeps an order."""
    players[item[0]] = item[1]
    return players, heapq.nlargest(10, players.items(), key=lambda item: item[1]["score"])


def one_change(step: Any, state: Any, most: int) -> float:
    source = Stream()
    seen: list[int] = []
    source.accumulate(step, start=state, returns_state=True).map(len).sink(seen.append)
    costs: list[float] = []
    for number in range(most):
        item = player(number * 7919 % size, 1_000_004 + number)
        began = time.perf_counter()
        source.emit(item)
        costs.append(time.perf_counter() - began)
    if len(seen) != most:
        raise AssertionError(f"{len(seen)} emissions of {most}")
    return statistics.median(costs) * 1e6


state: State = {}, {}
for n in range(size):
    totalled(state, player(n, n * 7919 % 1_000_003))
print(
    json.dumps(
        {
            "filter, join, group, top-10": one_change(totalled, state, rounds),
            "top-10 of all players": one_change(best, dict(state[0]), max(rounds // 50, 2)),
        }
    )
)
