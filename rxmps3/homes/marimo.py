"""Streams as state of a marimo notebook: the cells that read it run again when something arrives.

::

    title = state(db.observe("title", "untitled"))      # in one cell
    mo.md(f"# {title()}")                               # in another

The views of `rxmps3.jupyter` are anywidgets, which marimo shows: ``mo.ui.anywidget(table(db, "todo/"))``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import marimo as mo
from reactivex import Observable

__all__ = ["state"]

T = TypeVar("T")
_LOOK_SECONDS = 0.5
"""How often the thread looks whether its cell is gone."""


def state(source: Observable[T], initial: Any = None) -> Callable[[], T]:
    """The latest item of a source, as ``mo.state`` has it: cells that call the returned function run again with each.

    The subscription ends when the cell that made it runs again or is deleted.

    Args:
        source: any Observable, which may emit on any thread; where items come faster than cells run, the newest counts.
        initial: the value before the first item.
    """
    get, put = mo.state(initial)
    arrived = threading.Event()
    latest: list[T] = []

    def heard(item: T) -> None:
        latest[:] = [item]
        arrived.set()

    subscription = source.subscribe(heard)
    if latest:
        get, put = mo.state(latest[0])
        arrived.clear()

    def follow() -> None:
        thread: Any = mo.current_thread()
        try:
            while not thread.should_exit:
                if arrived.wait(_LOOK_SECONDS):
                    arrived.clear()
                    put(latest[0])
        finally:
            subscription.dispose()

    mo.Thread(target=follow, daemon=True).start()
    return get
