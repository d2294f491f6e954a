"""Streams as state of a marimo notebook: the cells that read it run again when something arrives.

::

    title = state(db.observe("title", "untitled"))      # in one cell
    mo.md(f"# {title()}")                               # in another

The views of `rxmps3.jupyter` are anywidgets, which marimo shows: ``mo.ui.anywidget(table(db, "todo/"))``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import marimo as mo
from reactivex import Observable

__all__ = ["state"]

T = TypeVar("T")
_LOOK_SECONDS = 0.5
"""How often the thread looks whether its cell is gone."""


def state(source: Observable[T], initial: Any = None) -> Callable[[], T]:
    """The latest item of a source, as in ``mo.state``: cells that call the returned function run again with each item.

    If the source fails, the function raises its error, so that these cells show it. The streams of a database do not
    fail when its bucket cannot be reached; ``state(db.status)`` tells.

    The subscription ends when the cell that made it runs again or is deleted, and when its page is closed.

    Args:
        source: any Observable, which may emit on any thread; if items come faster than cells run, they get the newest.
        initial: the value before the first item.
    """
    getter, put = mo.state(initial)
    get: Any = getter
    get.__class__ = _Latest
    arrived = threading.Event()
    latest: list[T | _Failed] = []

    def heard(item: T | _Failed) -> None:
        latest[:] = [item]
        arrived.set()

    session = threading.current_thread()
    subscription = source.subscribe(heard, lambda error: heard(_Failed(error)))
    if latest:
        get._value = latest[0]
        arrived.clear()

    def newest(_: object) -> Any:
        return latest[0]  # which may itself be a function

    def follow() -> None:
        thread: Any = mo.current_thread()
        try:
            while not thread.should_exit and (session.is_alive() or isinstance(session, mo.Thread)):
                if arrived.wait(_LOOK_SECONDS):
                    arrived.clear()
                    put(newest)
        finally:
            subscription.dispose()

    mo.Thread(target=follow, daemon=True).start()
    return get


@dataclass(frozen=True)
class _Failed:
    """Stands for the items of a source that has failed."""

    error: Exception


class _Latest(type(mo.state(None)[0])):
    """The function that a cell calls. marimo knows it by its class."""

    def __call__(self) -> Any:
        item: Any = super().__call__()
        if isinstance(item, _Failed):
            raise item.error.with_traceback(None)
        return item
