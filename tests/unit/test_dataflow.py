"""The pipeline on its own: sources in, turns out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import reactivex as rx
from reactivex import Observable, Subject

from rxmps3.errors import Corrupt, Rejected
from rxmps3.log.protocol import LogEvent
from rxmps3.model.state import (
    Committed,
    Entry,
    Inline,
    Loaded,
    ManifestVersion,
    Refused,
    State,
    Write,
    WriteId,
    Wrote,
)
from rxmps3.replica.dataflow import Dataflow
from rxmps3.replica.router import Turn
from rxmps3.replica.versions import Reset
from rxmps3.runtime.event_loop import EventLoop


def write_of(writer: str, number: int, nonce: str = "n", key: str = "k") -> Write:
    id = WriteId(writer, number)
    return Write(id, nonce, {key: Entry(id.version, Inline(str(number)))})


def version_of(id: int, *writes: Write) -> ManifestVersion:
    return ManifestVersion(str(id), "other", "", datetime(2026, 1, 1, tzinfo=UTC), writes)


class Rig:
    """A pipeline with its sources in hand."""

    def __init__(self, ticks: Observable[None] | None = None) -> None:
        self.failed: list[str] = []
        self.looks = 0
        self.ticks: Subject[None] = Subject()
        self.learned: Subject[LogEvent] = Subject()
        self.forged = False
        self.loop = EventLoop("rig", lambda task, error: self.failed.append(task))
        self.flow = Dataflow(self.loop, ticks or self.ticks, self._look, self.learned, self._check)
        self.turns: list[Turn] = []
        self.flow.router.add_last(self.turns.append)

    async def _look(self, _: object) -> None:
        self.looks += 1
        await asyncio.sleep(0)

    def _check(self, event: LogEvent) -> None:
        if self.forged:
            raise Corrupt("forged", object="log")


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    rig.flow.ended.on_next(None)
    await rig.loop.end_tasks()
    assert rig.failed == []


async def test_versions_writes_and_refusals_move_one_view(rig: Rig) -> None:
    mine = write_of("me", 1, key="m")
    rig.learned.on_next(Loaded(State()))
    rig.flow.writes.on_next(Wrote(mine))
    rig.learned.on_next(Committed(version_of(1, write_of("other", 1))))
    assert sorted(rig.flow.view) == ["k", "m"]
    rig.flow.refusals.on_next(Refused(mine.id, Rejected("no")))
    assert sorted(rig.flow.view) == rig.flow.keys("") == ["k"]
    assert [turn.number for turn in rig.turns] == [1, 2, 3, 4]


async def test_a_version_that_the_view_refuses_is_shown_to_nobody_and_raised_where_it_was_emitted(rig: Rig) -> None:
    told: list[ManifestVersion | Reset] = []
    rig.flow.versions.subscribe(told.append)
    rig.learned.on_next(Loaded(State()))
    rig.learned.on_next(Committed(version_of(1, write_of("other", 1))))
    with pytest.raises(Corrupt, match="two different writes"):
        rig.learned.on_next(Committed(version_of(2, write_of("other", 1, "another nonce"))))
    rig.forged = True
    with pytest.raises(Corrupt, match="forged"):
        rig.learned.on_next(Committed(version_of(2, write_of("other", 2))))
    rig.forged = False
    rig.learned.on_next(Committed(version_of(2, write_of("other", 2))))
    rig.learned.on_next(Loaded(State(version="9")))
    assert [item.id for item in told] == ["1", "2", "9"]
    assert isinstance(told[-1], Reset)
    assert len(rig.turns) == 4


async def test_a_version_is_told_before_what_it_changes(rig: Rig) -> None:
    order: list[str] = []
    rig.learned.on_next(Loaded(State()))
    rig.flow.router.add_last(lambda turn: order.append("turn"))
    rig.flow.versions.subscribe(lambda version: order.append("version"))
    rig.learned.on_next(Committed(version_of(1, write_of("other", 1))))
    assert order == ["version", "turn"]


async def test_who_decides_by_the_view_decides_alone(rig: Rig) -> None:
    """Two threads count up what they read; the log learns meanwhile. No lock is taken in another order by anybody."""
    rig.learned.on_next(Loaded(State()))

    def count(writer: str) -> None:
        for number in range(1, 201):
            with rig.flow.lock:
                entry = rig.flow.view.look_up("count")
                present = int(entry.content.text) if entry is not None and isinstance(entry.content, Inline) else 0
                id = WriteId(writer, number)
                write = Write(id, "n", {"count": Entry(id.version, Inline(str(present + 1)))})
                rig.flow.writes.on_next(Wrote(write))

    threads = [threading.Thread(target=count, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for number in range(1, 201):
        rig.learned.on_next(Committed(version_of(number, write_of("other", number))))
    await asyncio.to_thread(lambda: [thread.join(20) for thread in threads])
    await asyncio.sleep(0)
    assert not any(thread.is_alive() for thread in threads)
    assert rig.flow.view["count"].content == Inline("400")
    assert [turn.number for turn in rig.turns] == list(range(1, 602))


async def test_a_pipeline_made_within_a_subscription_is_connected_when_it_is_made() -> None:
    """Within one, reactivex puts off what a source emits on its default scheduler."""
    rigs: list[Rig] = []

    def make(_: int) -> None:
        rig = Rig()
        rig.flow.writes.on_next(Wrote(write_of("me", 1)))
        assert rig.flow.view.is_pending("k")
        rigs.append(rig)

    rx.of(1).subscribe(make)
    assert [len(rig.turns) for rig in rigs] == [1]


async def test_a_tick_is_a_look_until_it_ends(rig: Rig) -> None:
    for _ in range(3):
        rig.ticks.on_next(None)
        for _ in range(5):
            await asyncio.sleep(0)
    assert rig.looks == 3
    rig.flow.ended.on_next(None)
    rig.ticks.on_next(None)
    await asyncio.sleep(0)
    assert rig.looks == 3
