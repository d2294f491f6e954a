"""A bell between the processes of a run that does everything a bell may do: lie, be silent, double, be late and die."""

from __future__ import annotations

from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxmps3.errors import Unavailable
from rxmps3.runtime.clock import Random
from rxmps3.testing.virtual import VirtualLoop
from tests.simulator.life import Life
from tests.simulator.plan import BellPlan
from tests.simulator.recorder import Recorder

__all__ = ["Belfry"]

_MOST_LIES = 500


class Belfry:
    """The bell of a world, of which each process has a rope.

    Args:
        loop: its time.
        seed: of its chance.
        plan: how it behaves.
        clear_at: when it stops telling lies.
        recorder: of the world.
    """

    def __init__(self, loop: VirtualLoop, seed: int, plan: BellPlan, clear_at: float, recorder: Recorder) -> None:
        self._loop = loop
        self._rng = Random(f"belfry {seed}")
        self._plan = plan
        self._clear_at = clear_at
        self._recorder = recorder
        self._ears: list[_Ear] = []
        for start, end in plan.dead:
            loop.call_at(start, self._die)
            self._recorder.note("belfry", "will be dead", start, end)
        if plan.lies:
            self._lie_later(_MOST_LIES)

    def rope(self, life: Life) -> Rope:
        """The bell as a process has it."""
        return Rope(self, life)

    @property
    def is_dead(self) -> bool:
        """Whether it can neither be rung nor heard now."""
        return any(start <= self._loop.time() < end for start, end in self._plan.dead)

    def ring(self, life: Life) -> None:
        """A process rings."""
        if life.dead:
            return
        if self.is_dead:
            raise Unavailable("the bell is dead", operation="ring")
        self._recorder.counts["rings"] += 1
        self._tell_all()

    def hear(self, life: Life, observer: ObserverBase[Any]) -> DisposableBase:
        """A process listens."""
        ear = _Ear(life, observer)
        if self.is_dead:
            observer.on_error(Unavailable("the bell is dead", operation="listen"))
            return Disposable()
        self._ears.append(ear)
        ear.tell()

        def stop() -> None:
            if ear in self._ears:
                self._ears.remove(ear)

        return Disposable(stop)

    def _tell_all(self) -> None:
        for ear in self._ears:
            if self._rng.random() < self._plan.lost:
                self._recorder.counts["rings lost"] += 1
                continue
            times = 2 if self._rng.random() < self._plan.doubled else 1
            for _ in range(times):
                moment = self._loop.time() + self._rng.random() * self._plan.late
                self._loop.call_at(ear.life.awake(moment), ear.tell)

    def _lie_later(self, left: int) -> None:
        moment = self._loop.time() + self._rng.expovariate(1 / self._plan.lies)
        if left and moment < self._clear_at:
            self._loop.call_at(moment, self._lie, left)

    def _lie(self, left: int) -> None:
        self._recorder.counts["lies"] += 1
        self._tell_all()
        self._lie_later(left - 1)

    def _die(self) -> None:
        self._recorder.counts["dead bells"] += 1
        ears, self._ears = self._ears, []
        for ear in ears:
            self._loop.call_at(ear.life.awake(self._loop.time()), ear.fail)


class _Ear:
    def __init__(self, life: Life, observer: ObserverBase[Any]) -> None:
        self.life = life
        self._observer = observer

    def tell(self) -> None:
        if not self.life.dead:
            self._observer.on_next(None)

    def fail(self) -> None:
        if not self.life.dead:
            self._observer.on_error(Unavailable("the bell has died", operation="listen"))


class Rope:
    """A `rxmps3.bells.Bell` of one process."""

    def __init__(self, belfry: Belfry, life: Life) -> None:
        self._belfry = belfry
        self._life = life

    def ring(self, topic: str) -> None:
        self._belfry.ring(self._life)

    def rings(self, topic: str) -> Observable[Any]:
        def subscribe(observer: ObserverBase[Any], _: SchedulerBase | None) -> DisposableBase:
            return self._belfry.hear(self._life, observer)

        return Observable(subscribe)
