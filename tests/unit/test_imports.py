"""Imports point one way, what is pure stays so, and a package is asked for in one place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PURE = (
    "model.collections.aggregates",
    "model.collections.cells",
    "model.collections.delta",
    "model.collections.graph",
    "model.collections.operators",
    "model.collections.order",
    "database.presence.who",
    "database.undo_stack",
    "errors",
    "log.chunks",
    "log.checkpoint_codec",
    "log.codec",
    "model.collisions",
    "model.conditions",
    "model.derivations",
    "model.entries",
    "model.jsontext",
    "model.jsonwindows",
    "model.merge_patch",
    "model.missing",
    "model.names",
    "model.seal",
    "model.prefixes",
    "model.snapshot",
    "model.sortedkeys",
    "model.sortedmap",
    "model.state",
    "model.valuetext",
    "model.writing",
    "replica.fairness",
    "replica.pending",
    "runtime.backoff",
    "runtime.rich_repr",
)
"""Values in, values out; time and chance are arguments. They may import each other, and `BESIDE_PURE`."""
BESIDE_PURE = ("log", "model", "runtime.clock")
EFFECTS = {"asyncio", "concurrent", "os", "pathlib", "reactivex", "socket", "subprocess", "tempfile", "threading"}

ROOMS = (
    "errors",
    "runtime",
    "model",
    "storage",
    "log",
    "local",
    "operators",
    "bells",
    "replica",
    "streams",
    "reducers",
    "database",
    "blocking",
    "jupyter",
    "homes",
    "cli",
    "testing",
)
"""From the ground up: a room imports from those below it."""

HOMES = {
    "aiobotocore": ("storage.s3_client", "bells.sqs_bell"),
    "aiohttp": ("bells.http_bell",),
    "anywidget": ("jupyter",),
    "botocore": ("storage.s3_client",),
    "cachetools": ("replica.packs", "replica.values"),
    "immutables": ("model", "log.checkpoint_codec"),
    "IPython": ("jupyter",),
    "jsonmerge": ("model.derivations",),
    "jsonschema": ("model.derivations",),
    "markdown_it": ("jupyter",),
    "nh3": ("jupyter",),
    "marimo": ("homes.marimo",),
    "panel": ("homes.panel",),
    "param": ("homes.panel",),
    "nats": ("bells.nats_bell",),
    "pydantic": ("cli.studio.windows", "streams.typed"),
    "pytest": ("testing.storage_contract",),
    "redis": ("bells.redis_bell",),
    "rich": ("cli",),
    "sortedcontainers": ("model.sortedkeys",),
    "starlette": ("bells.server", "cli.studio", "homes.web"),
    "streamlit": ("homes.streamlit",),
    "textual": ("cli.top", "homes.textual"),
    "traitlets": ("jupyter",),
    "typer": ("cli",),
    "uvicorn": ("bells.server", "cli.studio", "homes.web"),
    "watchdog": ("bells.watching",),
}
"""Where each package other than reactivex may be imported: these modules, and what is in them."""


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name below ``rxmps3``; the package itself is ``""``."""
    found: dict[str, ast.Module] = {}
    for path in sorted((ROOT / "rxmps3").rglob("*.py")):
        parts = path.relative_to(ROOT / "rxmps3").with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = ast.parse(path.read_text())
    return found


MODULES = modules()


def imported_by(name: str) -> Iterator[str]:
    """The full names of what a module imports, anywhere in it."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole.removeprefix("rxmps3.") in MODULES else node.module


def own(names: Iterator[str]) -> set[str]:
    """Those in the package, by their names below it."""
    return {name.removeprefix("rxmps3").removeprefix(".") for name in names if name.split(".")[0] == "rxmps3"}


def test_there_are_no_circles() -> None:
    try:
        list(TopologicalSorter({name: own(imported_by(name)) for name in MODULES}).static_order())
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' <- '.join(error.args[1])}")


def test_a_room_imports_from_those_below_it() -> None:
    inside = {name: name.partition(".")[0] for name in MODULES if name not in ("", "__main__")}
    assert set(inside.values()) == set(ROOMS)
    upward = [
        f"{name} imports {whole}"
        for name, room in inside.items()
        for whole in own(imported_by(name))
        if whole and ROOMS.index(whole.partition(".")[0]) > ROOMS.index(room)
    ]
    assert upward == []


@pytest.mark.parametrize("name", PURE)
def test_what_is_pure_imports_nothing_that_acts(name: str) -> None:
    assert own(imported_by(name)) <= {*PURE, *BESIDE_PURE}
    assert {whole.split(".")[0] for whole in imported_by(name)}.isdisjoint(EFFECTS)


def test_each_package_is_imported_in_its_home_alone() -> None:
    for name in MODULES:
        for whole in imported_by(name):
            package = whole.split(".")[0]
            if package not in {*sys.stdlib_module_names, "rxmps3", "reactivex"}:
                assert package in HOMES, f"{name} imports {package}, which has no home yet"
                homes = HOMES[package]
                assert any(name == home or name.startswith(f"{home}.") for home in homes), (name, package)


# -- the rooms -----------------------------------------------------------------------------------------------

MOST_ROOMS, MOST_FLOORS = 17, 13
LOGS = ("log.mps3", "log.sequenced", "log.versioned")


def room_of(name: str) -> str:
    """The package or module right below ``rxmps3`` that a module is in."""
    return name.partition(".")[0]


def arrows() -> dict[str, set[str]]:
    """What each room imports from others; the package's own face and entry point are none."""
    rooms: dict[str, set[str]] = {room_of(name): set() for name in MODULES if name not in ("", "__main__")}
    for name in MODULES:
        if (here := room_of(name)) in rooms:
            rooms[here] |= {room_of(other) for other in own(imported_by(name))} - {here, ""}
    return rooms


def floors(arrows: Mapping[str, set[str]]) -> dict[str, int]:
    """The floor of each room: 1 for what imports nothing, else one above the highest that it imports."""

    @cache
    def floor(room: str) -> int:
        return 1 + max((floor(below) for below in arrows[room]), default=0)

    return {room: floor(room) for room in arrows}


def test_floors_are_counted() -> None:
    assert floors({"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": set()}) == {"a": 3, "b": 2, "c": 1, "d": 1}


def test_the_house_has_few_rooms_on_few_floors() -> None:
    rooms = arrows()
    try:
        list(TopologicalSorter(rooms).static_order())
    except CycleError as error:
        pytest.fail(f"rooms import each other in a circle: {' <- '.join(error.args[1])}")
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)
    assert max(floors(rooms).values()) <= MOST_FLOORS, floors(rooms)


def test_no_log_borrows_from_another() -> None:
    """What two logs share stands beside them."""
    for name in MODULES:
        here = [log for log in LOGS if name == log or name.startswith(f"{log}.")]
        for other in LOGS if here else ():
            if other not in here:
                borrowed = {one for one in own(imported_by(name)) if one == other or one.startswith(f"{other}.")}
                assert not borrowed, f"{name} imports {borrowed}: move what they share to rxmps3.log"


def test_each_log_is_there() -> None:
    assert all(log in MODULES for log in LOGS)
