"""From streams to a user interface with its own thread, such as Tk or Qt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxmps3.errors import InvalidOption

__all__ = ["UiQueue"]

T = TypeVar("T")


class UiQueue:
    """Holds the latest item of each watched stream until the user interface takes it.

    ::

        queue = UiQueue()
        queue.watch(db.observe("title"), lambda title: label.config(text=title))

        def look() -> None:
            root.after(33, look)
            queue.drain()

        look()

    A user interface that blocks gets the newest of everything afterwards, and memory stays bounded meanwhile: one
    item per watched stream. Any thread may ``watch``; only the interface's thread calls ``drain``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[Callable[[Any], object], Any]] = {}
        self._numbers = count()

    def watch(self, source: Observable[T], show: Callable[[T], object]) -> DisposableBase:
        """Have `drain` call ``show`` with the latest item, until disposed.

        Raises:
            InvalidOption: one is no Observable, or the other no function.
        """
        if not isinstance(source, Observable):  # pyright: ignore[reportUnnecessaryIsInstance]
            remedy = "such as db.observe(key)"
            raise InvalidOption(f"it watches an Observable, not {source!r:.80}", operation="watch", remedy=remedy)
        if not callable(show):
            raise InvalidOption(f"items are shown by a function, not by {show!r:.80}", operation="watch")
        number = next(self._numbers)
        watching = True

        def keep(item: T) -> None:
            with self._lock:
                if watching:
                    self._waiting[number] = (show, item)

        def forget() -> None:
            nonlocal watching
            with self._lock:
                watching = False
                self._waiting.pop(number, None)

        return CompositeDisposable(Disposable(forget), source.subscribe(keep))

    def drain(self) -> int:
        """Show what has arrived since the last call. On the user interface's thread.

        Items that arrive meanwhile are left for the next call, so that a ``show`` that writes cannot block the
        interface.

        Returns:
            How many streams had a new item. An exception from ``show`` is raised here; the items of others stay.
        """
        shown = 0
        with self._lock:
            numbers = list(self._waiting)
        for number in numbers:
            with self._lock:
                waiting = self._waiting.pop(number, None)
            if waiting is not None:  # None: a ``show`` before it disposed of it
                show, item = waiting
                show(item)
                shown += 1
        return shown
