"""The bell between the databases of this process, on whatever event loops and threads they live."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from weakref import WeakSet

__all__ = ["Listener", "listen", "ring"]


class Listener:
    """Hears what others in this process ring, until it is closed or forgotten.

    Args:
        rung: called at each ring, on the thread that rings. It must not block.
    """

    def __init__(self, topic: str, rung: Callable[[], None]) -> None:
        self._topic = topic
        self.rung = rung

    def close(self) -> None:
        """Hear nothing more."""
        with _lock:
            listeners = _listeners.get(self._topic)
            if listeners is not None:
                listeners.discard(self)
                if not listeners:
                    del _listeners[self._topic]


_lock = Lock()
_listeners: dict[str, WeakSet[Listener]] = {}


def listen(topic: str, rung: Callable[[], None]) -> Listener:
    """Listen to a topic. The caller keeps the listener."""
    listener = Listener(topic, rung)
    with _lock:
        _listeners.setdefault(topic, WeakSet()).add(listener)
    return listener


def ring(topic: str, by: Listener | None = None) -> None:
    """Tell every listener but the one that rings."""
    with _lock:
        listeners = _listeners.get(topic)
        if listeners is None or (by in listeners and len(listeners) == 1):
            return
        hearing = [listener for listener in listeners if listener is not by]
    for listener in hearing:
        listener.rung()


def _forget_all() -> None:
    """In a forked child: the databases of the parent are not its own."""
    global _lock
    _lock = Lock()
    _listeners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
