"""The view and its one writer.

::

    put, log, refusals ──▶ events ──▶ folded(step) ──▶ turns ──▶ router ──▶ streams, receipts

`submit` steps the view under a lock, on whatever thread; the turns are delivered on the loop's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from reactivex import Observable, Subject
from reactivex import operators as ops

from rxmps3.model.sortedkeys import SortedKeys
from rxmps3.model.state import Event, Step, View, step
from rxmps3.replica.router import Turn
from rxmps3.replica.turns import Turns, folded
from rxmps3.runtime.event_loop import EventLoop

__all__ = ["Timeline"]


class Timeline:
    """Moves the view, one event at a time, and delivers each move in turn.

    Args:
        home: where turns are delivered.
        deliver: receives each turn on the loop's thread, in order, never while it is busy with another.

    Attributes:
        step: moves the view.
    """

    def __init__(self, loop: EventLoop, deliver: Callable[[Turn], None]) -> None:
        self.step: Callable[[View, Event], Step] = step
        self.lock = threading.RLock()
        self._latest = Turn(0, Step(View()))
        self._keys = SortedKeys()
        self._turns: Turns[Turn] = Turns(loop.call_soon)
        self._events: Subject[Event] = Subject()
        turns: Observable[Turn] = self._events.pipe(
            folded(self._next_turn, self._latest),
            ops.do_action(self._keep),
            self._turns,
        )
        turns.subscribe(deliver)

    @property
    def view(self) -> View:
        """The view as of now. From any thread."""
        return self._latest.step.view

    def latest(self) -> tuple[int, View]:
        """The number of the newest turn, delivered or not, and the view after it."""
        latest = self._latest
        return latest.number, latest.step.view

    def keys(self, prefix: str) -> list[str]:
        """The present keys that start with ``prefix``, sorted by code point. From any thread."""
        with self.lock:
            return self._keys.with_prefix(prefix)

    def submit(self, event: Event) -> None:
        """Step the view and deliver. From any thread, holding no lock.

        Raises:
            Corrupt: the event contradicts what is known; the view stays as it was.
        """
        with self.lock:
            self.submit_locked(event)
        self.deliver_soon()

    def submit_locked(self, event: Event) -> None:
        """The first half of `submit`, for a caller that holds ``lock`` and calls `deliver_soon` after it let go."""
        self._events.on_next(event)

    def deliver_soon(self) -> None:
        """Deliver what has been stepped: before this returns on the loop's thread outside a delivery, else soon."""
        self._turns.run()

    def take_turn(self, action: Callable[[], None]) -> None:
        """Tell an observer of something that is no step, on the loop's thread: what it puts is delivered after it."""
        self._turns.take(action)

    def _next_turn(self, last: Turn, event: Event) -> Turn:
        view = last.step.view
        return Turn(last.number + 1, self.step(view, event), view.confirmed)

    def _keep(self, turn: Turn) -> None:
        self._latest = turn
        changes = turn.step.changes
        self._keys.remove([change.key for change in changes if change.before is not None and change.after is None])
        self._keys.add([change.key for change in changes if change.before is None and change.after is not None])
