"""A query of ``tests/benchmarks/queries.py`` in Pathway: ``python in_pathway.py SIZE ROUNDS``.

Prints one JSON object: the median microseconds from giving one changed player to the engine until it says that the change
is processed. Pathway has no top-k that is kept up to date; so this is the query without its last step.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from typing import Any

import pathway as pw  # in an environment of its own

TEAMS = 50
size, rounds = map(int, sys.argv[1:])
processed, filled = threading.Event(), threading.Event()
totals: dict[str, int] = {}
costs: list[float] = []


class Player(pw.Schema):
    key: str = pw.column_definition(primary_key=True)
    score: int
    team: str
    active: bool


class Team(pw.Schema):
    key: str = pw.column_definition(primary_key=True)
    name: str


def player(n: int, score: int) -> dict[str, Any]:
    return {"key": f"player/{n:08}", "score": score, "team": f"team/{n % TEAMS:03}", "active": n % 3 != 0}


class Players(pw.io.python.ConnectorSubject):
    scores: dict[int, int]

    def run(self) -> None:
        self.scores = {n: n * 7919 % 1_000_003 for n in range(size)}
        for n, score in self.scores.items():
            self.next(**player(n, score))
        self.commit()
        filled.wait()
        for number in range(rounds):
            n, score = number * 7919 % size // 3 * 3 + 1, 1_000_004 + number  # an active one
            self.scores[n] = score
            processed.clear()
            began = time.perf_counter()
            self.next(**player(n, score))
            self.commit()
            if not processed.wait(10):
                raise TimeoutError(f"change {number}")
            costs.append(time.perf_counter() - began)

    @property
    def _session_type(self) -> Any:
        return pw.internals.api.SessionType.UPSERT


def changed(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
    if is_addition:
        totals[row["name"]] = row["total"]


def ended(time: int) -> None:
    if totals:
        filled.set()
        processed.set()


subject = Players()
teams = pw.debug.table_from_rows(Team, [(f"team/{n:03}", f"team {n}") for n in range(TEAMS)])
players = pw.io.python.read(subject, schema=Player, autocommit_duration_ms=None)
named = (
    players.filter(pw.this.active)
    .join(teams, pw.left.team == pw.right.key)
    .select(name=pw.right.name, score=pw.left.score)
)
pw.io.subscribe(
    named.groupby(pw.this.name).reduce(name=pw.this.name, total=pw.reducers.sum(pw.this.score)),
    on_change=changed,
    on_time_end=ended,
)
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
wanted: dict[str, int] = {}
for n, score in subject.scores.items():
    if n % 3 != 0:
        wanted[f"team {n % TEAMS}"] = wanted.get(f"team {n % TEAMS}", 0) + score
if totals != wanted:
    raise AssertionError("its totals are wrong")
print(json.dumps({"filter, join, group": statistics.median(costs) * 1e6}))
