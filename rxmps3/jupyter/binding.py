"""A widget's trait and a key, the same value in both."""

from __future__ import annotations

import logging
from typing import Any, Protocol, TypeVar

from reactivex.abc import DisposableBase

from rxmps3.jsontext import encode
from rxmps3.jupyter.cells import belongs_to_this_cell
from rxmps3.jupyter.frames import DEFAULT_FPS, Frames, kernel_loop
from rxmps3.missing import MISSING
from rxmps3.streams.key import Key

__all__ = ["Binding", "bind"]

logger = logging.getLogger("rxmps3")

T = TypeVar("T")


class _Widget(Protocol):
    """What is needed of an ipywidget or an anywidget: traits."""

    def observe(self, handler: Any, names: Any = ...) -> None: ...

    def unobserve(self, handler: Any, names: Any = ...) -> None: ...


class Binding(DisposableBase):
    """One trait bound to one key. Made by `bind`."""

    def __init__(self, widget: _Widget, trait: str, key: Key[Any], fps: float) -> None:
        loop = kernel_loop()
        self._widget = widget
        self._trait = trait
        self._key = key
        self._setting = False
        self._disposed = False
        self._arriving: Frames[Any] = Frames(loop, fps, self._set)
        self._leaving: Frames[Any] = Frames(loop, fps, key.on_next)
        self._subscription = key.subscribe(self._arriving.push)
        widget.observe(self._changed, names=trait)

    def dispose(self) -> None:
        """Let go of both; what was moved last is still written."""
        if self._disposed:
            return
        self._disposed = True
        self._widget.unobserve(self._changed, names=self._trait)
        self._subscription.dispose()
        self._arriving.stop()
        self._leaving.flush()
        self._leaving.stop()

    def _changed(self, change: Any) -> None:
        if not self._setting:
            self._leaving.push(change["new"])

    def _set(self, value: Any) -> None:
        """Show the key's value, unless the user is moving the widget just now: then theirs is newer."""
        if self._leaving.waiting or value is MISSING or value is None:
            return
        if _same(getattr(self._widget, self._trait), value):
            return
        self._setting = True
        try:
            setattr(self._widget, self._trait, value)
        except Exception as error:
            logger.warning("%r cannot show %r as %s: %s", self._widget, value, self._trait, error)
        finally:
            self._setting = False


def bind(widget: _Widget, trait: str, key: Key[Any], *, fps: float = DEFAULT_FPS) -> Binding:
    """Keep a widget's trait and a key the same, both ways.

    The widget takes the key's value as soon as there is one, and every later one; what the user does is written to
    the key, at most ``fps`` times a second and always the last of it. What the key says already is not written again,
    so nothing echoes, however many widgets share a key. A key without a value leaves the widget as it is. A value
    that the widget refuses is reported on the log ``rxmps3`` and shown by nobody.

    It holds until it is disposed or its cell runs again.

    Args:
        widget: any ipywidget or anywidget.
        trait: the name of its trait, mostly ``"value"``.
        key: from ``db.key``.
        fps: the most updates a second, each way.

    Raises:
        WrongLoop: called outside a cell.
    """
    binding = Binding(widget, trait, key, fps)
    belongs_to_this_cell(binding)
    return binding


def _same(left: Any, right: Any) -> bool:
    """Whether they are the same JSON text, or what JSON makes the same of."""
    try:
        return encode(left) == encode(right)
    except Exception:
        return bool(left == right)
