"""The walk through the pipeline in contributing.md is the way that a version takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from reactivex import Subject

import rxmps3
from rxmps3.storage import MemoryStorage
from tests.behaviour.helpers import eventually
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/contributing.md").read_text()
SECTION = PAGE.partition("\n## The pipeline\n")[2].partition("\n## ")[0]
PACKAGE = Path(rxmps3.__file__).parent


class Stop(NamedTuple):
    """A function, by its qualified name, and its file below the package."""

    name: str
    file: str


STOPS = [Stop(*found) for found in re.findall(r"^\d+\. `([\w.]+)` in `([\w/.]+)`", SECTION, re.MULTILINE)]


class Calls:
    """The first call of each function of the package, or of one made in it, while it listens."""

    def __init__(self) -> None:
        self.order: dict[Stop, int] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            name = frame.f_code.co_qualname.partition(".<locals>")[0]
            self.order.setdefault(Stop(name, path.relative_to(PACKAGE).as_posix()), len(self.order))


def test_the_page_shows_the_lines_that_are_there() -> None:
    [shown] = re.findall(r"```\n(.*?)```", SECTION, re.DOTALL)
    assert shown in (PACKAGE / "replica/dataflow.py").read_text()


async def test_a_version_of_somebody_else_takes_the_way_of_the_page() -> None:
    storage, ticks, calls = MemoryStorage(), Subject[None](), Calls()
    async with (
        rxmps3.connect(storage, shared=False) as other,
        rxmps3.connect(storage, shared=False, poll=ticks) as db,
    ):
        seen: list[Any] = []
        await other.put("k", 0)
        db.observe("k").subscribe(seen.append)
        await eventually(lambda: seen[-1:] == [0])
        await other.put("k", 1)
        before = sys.getprofile()
        sys.setprofile(calls)
        try:
            ticks.on_next(None)
            await eventually(lambda: seen[-1] == 1)
        finally:
            sys.setprofile(before)
    assert len(STOPS) > 15
    assert [stop for stop in STOPS if stop not in calls.order] == []
    assert sorted(STOPS, key=calls.order.__getitem__) == STOPS
