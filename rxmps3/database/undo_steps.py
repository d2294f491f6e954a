"""Which writes belong to one action of a user, such as a drag of a slider: `Database.undo` takes them back together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["ACTION_ENDS_AFTER", "Actions", "current_action", "one_action"]

ACTION_ENDS_AFTER = 0.5
"""Seconds without a move after which the next one is an action of its own."""

_current: ContextVar[object] = ContextVar("rxmps3 action", default=None)


def current_action() -> object:
    """The action in whose course writes are being made here; None if they are on their own."""
    return _current.get()


@contextmanager
def one_action(action: object) -> Generator[None]:
    """Make the writes within part of an action: those that follow each other on one handle are undone together.

    Args:
        action: names it by its identity; it may be entered any number of times.
    """
    token = _current.set(action)
    try:
        yield
    finally:
        _current.reset(token)


class Actions:
    """Tells actions apart by the pauses between them."""

    def __init__(self) -> None:
        self._action: object = None
        self._last = 0.0

    def at(self, now: float) -> object:
        """The action that a move belongs to.

        Args:
            now: when it was made, in seconds of any clock that does not go back.
        """
        if self._action is None or now - self._last > ACTION_ENDS_AFTER:
            self._action = object()
        self._last = now
        return self._action

    def end(self) -> None:
        """The next move begins an action."""
        self._action = None
