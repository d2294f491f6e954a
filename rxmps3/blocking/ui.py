"""From streams to a user interface that has a thread of its own, such as Tk or Qt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable

__all__ = ["UiQueue"]

T = TypeVar("T")


class UiQueue:
    """Holds the latest item of each watched stream until the user interface takes it.

    ::

        queue = UiQueue()
        queue.watch(db.observe("title"), lambda title: label.config(text=title))

        def look() -> None:
            queue.drain()
            root.after(33, look)

        look()

    A user interface that blocks gets the newest of everything afterwards, and memory stays bounded meanwhile: one
    item per watched stream. Any thread may ``watch``; only the interface's thread calls ``drain``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[Callable[[Any], object], Any]] = {}
        self._numbers = count()

    def watch(self, source: Observable[T], show: Callable[[T], object]) -> DisposableBase:
        """Have ``show`` called with the latest item, by `drain`, until disposed."""
        number = next(self._numbers)

        def keep(item: T) -> None:
            with self._lock:
                self._waiting[number] = (show, item)

        def forget() -> None:
            with self._lock:
                self._waiting.pop(number, None)

        return CompositeDisposable(source.subscribe(keep), Disposable(forget))

    def drain(self) -> int:
        """Show what has arrived since the last call. On the thread of the user interface.

        Returns:
            How many streams had something new. What ``show`` raises is raised here; the others' items stay.
        """
        shown = 0
        while True:
            with self._lock:
                if not self._waiting:
                    return shown
                number = next(iter(self._waiting))
                show, item = self._waiting.pop(number)
            show(item)
            shown += 1
