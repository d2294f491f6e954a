"""The live queries beside other libraries: ``python -m tests.benchmarks beside``.

Each other library runs the same queries on the same rows, in a process of its own, in an environment that is made for it
and thrown away. They do not do the same work: a put of rxmps3 is also encoded, put in line for the log and seen by whoever
observes the key; the others only hold rows in memory. What does not install here is left out, and the reason is printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

import rxmps3
from rxmps3.storage import MemoryStorage
from tests.benchmarks import queries

__all__ = ["beside"]

HERE = Path(__file__).parent
TANSTACK, PATHWAY, STREAMZ = "0.15.2", "0.33.0", "0.6.6"
_OURS = ("a put that nothing observes", "filter, join, group, top-10", "top-10 of all players")
_PLAIN = "plain Rx: observe_prefix and map"

Costs = dict[str, float]
"""The median microseconds of one change, by query."""
Program = Callable[[int, int], Costs]


async def beside(console: Console, rounds: int, sizes: tuple[int, ...] = (1_000, 10_000, 100_000)) -> None:
    """Print the table."""
    table = Table("query", "library", *(f"{size:,} rows" for size in sizes), title="One change, delivered")
    measured: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        programs = _installed(console, Path(folder))
        for size in sizes:
            found = {"rxmps3": await _ours(size, rounds)}
            for library, program in programs.items():
                found[library] = program(size, rounds)
            for library, costs in found.items():
                for query, cost in costs.items():
                    row = (_OURS[1], "reactivex: the whole mapping, mapped") if query == _PLAIN else (query, library)
                    measured.setdefault(row, []).append(cost)
    base = {query: costs for (query, library), costs in measured.items() if library == "rxmps3"}
    base["filter, join, group"] = base[_OURS[1]]
    for (query, library), costs in sorted(measured.items(), key=lambda item: (item[0][0], item[0][1] != "rxmps3")):
        shown = [f"{cost:,.0f} µs ({cost / ours:.2f})" for cost, ours in zip(costs, base[query], strict=True)]
        table.add_row(query, library, *shown)
    table.caption = f"in brackets: against rxmps3 at the same size; {rounds} changes each"
    console.print(table)


async def _ours(size: int, rounds: int) -> Costs:
    async with rxmps3.connect(MemoryStorage(), poll=3600, inline_limit=4096) as db:
        await queries.filled(db, size)
        costs: Costs = {}
        for name in (*_OURS, _PLAIN):
            most = max(rounds // 100, 2) if name == _PLAIN else rounds
            costs[name] = await queries.one_change(db, queries.CASES[name], size, most) * 1e6
        return costs


def _installed(console: Console, folder: Path) -> dict[str, Program]:
    programs: dict[str, Program] = {}
    for name, install in (
        (f"TanStack DB {TANSTACK}", lambda: _tanstack(folder)),
        (f"Pathway {PATHWAY}", lambda: _python(folder, "pathway", PATHWAY)),
        (f"streamz {STREAMZ}, by hand", lambda: _python(folder, "streamz", STREAMZ)),
    ):
        try:
            programs[name] = install()
        except (OSError, subprocess.CalledProcessError) as error:
            console.print(f"{name} is left out, since it does not install here: {error}")
    return programs


def _tanstack(folder: Path) -> Program:
    home = folder / "tanstack"
    home.mkdir()
    script = home / "tanstack.mjs"
    script.write_bytes((HERE / "tanstack.mjs").read_bytes())
    (home / "package.json").write_text('{"private": true}')
    subprocess.run(["npm", "install", "--silent", f"@tanstack/db@{TANSTACK}"], cwd=home, check=True)
    return lambda size, rounds: _run("node", str(script), str(size), str(rounds))


def _python(folder: Path, package: str, version: str) -> Program:
    home = folder / package
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = str(home / "bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", f"{package}=={version}"], check=True)
    return lambda size, rounds: _run(python, str(HERE / f"in_{package}.py"), str(size), str(rounds))


def _run(*command: str) -> Costs:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])
