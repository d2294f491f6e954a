"""Traces three walks through the package: ``python -m tests.walks [--against PATH] [--steps]``.

A walk is the sequence of modules that calls land in while something happens: a put reaches its observer, a commit its
receipt, somebody else's version an observer. For each it prints

- rooms: how many modules of the package it visits,
- moves: how often a call lands in another module than the call before it,
- returns: how many of these moves land in a module that the walk has visited before,

and the same once more for the rooms at the top of the package.

Each resumption of a coroutine is a call; a comprehension is none. ``--against PATH`` walks through another checkout as
well. Nothing but the public API is used, so that any version can be traced.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

from reactivex import Subject

import rxmps3

__all__ = ["WALKS", "Walk", "traced"]

PACKAGE = str(Path(rxmps3.__file__).parent) + os.sep
QUIET = 0.3
"""Seconds without a timer of its own, after which everything that an event set going has come to rest."""


@dataclass
class Walk:
    """The modules that calls landed in, one after the other; neighbours differ."""

    steps: list[str] = field(default_factory=list[str])

    @property
    def rooms(self) -> int:
        return len(set(self.steps))

    @property
    def moves(self) -> int:
        return max(len(self.steps) - 1, 0)

    @property
    def returns(self) -> int:
        return len(self.steps) - self.rooms

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE):
            return
        if code.co_name.startswith("<") and code.co_name != "<lambda>":
            return  # a comprehension, which has a frame or not as Python's version has it
        room = code.co_filename.removeprefix(PACKAGE).removesuffix(".py")
        if not self.steps or self.steps[-1] != room:
            self.steps.append(room)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what this thread calls inside."""
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)


async def put_to_observer() -> Walk:
    """From the call of put until it returns; the key's observer has been called by then."""
    walk, seen = Walk(), list[Any]()
    async with rxmps3.connect("memory:", poll=60) as db:
        await db.put("other", 0)
        db.subscribe("key", seen.append)
        await asyncio.sleep(QUIET)
        with walk.recorded():
            receipt = db.put("key", 1)
        assert seen == [None, 1]
        await receipt
    return walk


async def commit_to_receipt() -> Walk:
    """From where put has returned until its receipt says committed; it is not the log's first entry."""
    walk = Walk()
    async with rxmps3.connect("memory:", poll=60) as db:
        db.subscribe("key", lambda _: None)
        await db.put("key", 0)
        await asyncio.sleep(QUIET)
        receipt = db.put("key", 1)
        with walk.recorded():
            await receipt
    return walk


async def foreign_version_to_observer() -> Walk:
    """From a tick until the look that it causes has come to rest; one version of another client was there."""
    walk, seen, ticks = Walk(), list[Any](), Subject[None]()
    async with (
        rxmps3.connect("memory:walks", poll=ticks, shared=False) as db,
        rxmps3.connect("memory:walks", poll=60, shared=False) as other,
    ):
        db.subscribe("key", seen.append)
        await db.put("key", 0)
        await asyncio.sleep(QUIET)
        await other.put("key", 1)
        await asyncio.sleep(QUIET)
        with walk.recorded():
            ticks.on_next(None)
            await asyncio.sleep(QUIET)
        assert seen == [None, 0, 1]
    return walk


WALKS: dict[str, Callable[[], Awaitable[Walk]]] = {
    "a put to its observer": put_to_observer,
    "a commit to its receipt": commit_to_receipt,
    "a foreign version to its observer": foreign_version_to_observer,
}


def in_the_house(steps: Iterable[str]) -> list[str]:
    """The same walk from one room at the top of the package to another."""
    return [room for room, _ in groupby(step.partition(os.sep)[0] for step in steps)]


async def traced() -> dict[str, list[str]]:
    """The steps of each walk."""
    return {name: (await walk()).steps for name, walk in WALKS.items()}


def traced_in(checkout: Path) -> dict[str, list[str]]:
    """The same with the package of another checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-P", __file__, "--json"]  # not from the folder that the script is in
    done = subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert Path(said["package"]).is_relative_to(checkout), f"{said['package']} was traced, not {checkout}"
    return said["walks"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.walks", description=__doc__.partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout, traced beside this one")
    parser.add_argument("--steps", action="store_true", help="print the modules of each walk, in order")
    parser.add_argument("--json", action="store_true", help="print the modules of each walk for a program")
    options = parser.parse_args()
    here = asyncio.run(traced())
    if options.json:
        print(json.dumps({"package": PACKAGE, "walks": here}))
        return
    columns = {"here": here}
    if options.against is not None:
        columns = {"there": traced_in(options.against.resolve()), **columns}
    for what, seen_as in (("modules", list), ("rooms", in_the_house)):
        print(f"{f'{what}/moves/returns':36}" + "".join(f"{name:>14}" for name in columns))
        for name in WALKS:
            walks = [Walk(seen_as(column[name])) for column in columns.values()]
            print(f"{name:36}" + "".join(f"{f'{one.rooms}/{one.moves}/{one.returns}':>14}" for one in walks))
    if options.steps:
        for name, steps in here.items():
            print(f"\n{name}: {' → '.join(steps)}")


if __name__ == "__main__":
    main()
