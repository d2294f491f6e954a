"""A bell that a test holds in its hand."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxmps3 import Unavailable

__all__ = ["ToyBell"]


@dataclass(eq=False)
class ToyBell:
    """A bell of a user's own, which a test holds in its hand. It tells as soon as somebody listens."""

    told: Subject[Any] = field(default_factory=Subject[Any])
    rung: list[str] = field(default_factory=list[str])
    silent: bool = False
    broken: bool = False
    listened: int = 0

    def ring(self, topic: str) -> Awaitable[None] | None:
        if self.broken:
            raise Unavailable("it is broken")
        self.rung.append(topic)
        if not self.silent:
            self.told.on_next(topic)
        return None

    def rings(self, topic: str) -> Observable[Any]:
        def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None) -> DisposableBase:
            self.listened += 1
            if self.broken:
                observer.on_error(Unavailable("it is broken"))
                return Subject[Any]().subscribe()
            subscription = self.told.subscribe(observer, scheduler=scheduler)
            observer.on_next(topic)
            return subscription

        return Observable(subscribe)

    def die(self) -> None:
        self.broken = True
        told, self.told = self.told, Subject[Any]()
        told.on_error(Unavailable("it has died"))
