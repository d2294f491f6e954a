"""The pipeline from the versions of a manifest and the writes made here to what observers see.

::

    ticks ──▶ looks ──▶ versions ─┐                                              ┌──▶ router ──▶ streams
    writes ───────────────────────┼──▶ folded(step): view ──▶ one turn at a time ┤
    refusals ─────────────────────┘                                              └──▶ receipts, upkeep

Each source may push on any thread. The view is stepped at once, under a lock; the result is delivered on the loop's
thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import reactivex as rx
from reactivex import Observable, Subject
from reactivex import operators as ops
from reactivex.scheduler import ImmediateScheduler

from rxmps3.log.protocol import LogEvent
from rxmps3.model.sortedkeys import check_prefix
from rxmps3.model.state import Amended, Event, Loaded, ManifestVersion, Refused, Remade, Step, View, Wrote, step
from rxmps3.operators import map_async
from rxmps3.replica.router import Router, Turn
from rxmps3.replica.turns import Turns, checked, folded
from rxmps3.replica.versions import Reset, versions_of
from rxmps3.runtime.event_loop import EventLoop

__all__ = ["Dataflow"]


class Dataflow:
    """The view of one manifest, and everything derived from it.

    Args:
        loop: the event loop on which turns are delivered.
        ticks: each item triggers a read of the log.
        look: reads the log to its end; never raises.
        learned: the events of the log, from reads and commits. If the view rejects an item, the error goes to the log.
        check: raises if such an item is invalid.
        step: returns the view after an event, and the changes. Called under the lock.

    Attributes:
        writes: push each write made here.
        refusals: push the end of each pending write that will never be committed.
        saved: push the state that was kept on disk.
        ended: its first item stops all reads.
        lock: hold it (``with dataflow.lock:``) to decide from the view what to push.
        versions: each version of the log, in turn order.
        router: each step of the view, in turn order, shared by key.
    """

    def __init__(
        self,
        loop: EventLoop,
        ticks: Observable[Any],
        look: Callable[[Any], Awaitable[None]],
        learned: Observable[LogEvent],
        check: Callable[[LogEvent], None],
        step: Callable[[View, Event], Step] = step,
    ) -> None:
        self.writes: Subject[Wrote | Amended | Remade] = Subject()
        self.refusals: Subject[Refused] = Subject()
        self.saved: Subject[Loaded] = Subject()
        self.ended: Subject[None] = Subject()
        self.lock = Turns(loop.call_soon)
        self.router = Router()
        self._step = step
        self._latest = Turn(0, Step(View()))
        self._told: Subject[ManifestVersion | Reset] = Subject()
        entered, in_turn = self.lock.entered, self.lock.queued

        looks = ticks.pipe(
            map_async(look, ordering="conflate", create_task=lambda task, name: loop.spawn(task, "look")),
            ops.take_until(self.ended),
        )
        versions = rx.merge(learned, looks.pipe(ops.ignore_elements())).pipe(
            entered, checked(check), ops.do_action(self._tell)
        )
        self.versions = self._told.pipe(in_turn)
        turns = rx.merge(versions, *(own.pipe(entered) for own in (self.writes, self.refusals, self.saved))).pipe(
            folded(self._move, self._latest), in_turn
        )
        turns.subscribe(self.router.deliver, scheduler=ImmediateScheduler.singleton())

    @property
    def view(self) -> View:
        """The current view. Callable from any thread."""
        return self._latest.step.view

    def latest(self) -> tuple[int, View]:
        """The number of the newest turn, delivered or not, and the view after it."""
        latest = self._latest
        return latest.number, latest.step.view

    def keys(self, prefix: str) -> list[str]:
        """The existing keys that start with ``prefix``, sorted by code point. Callable from any thread."""
        return self.view.keys_under(check_prefix(prefix))

    def _tell(self, event: LogEvent) -> None:
        if self._told.observers:
            for version in versions_of(event, loaded=self.view.loaded):
                self._told.on_next(version)

    def _move(self, last: Turn, event: Event) -> Turn:
        view = last.step.view
        turn = self._latest = Turn(last.number + 1, self._step(view, event), view.confirmed)
        return turn
