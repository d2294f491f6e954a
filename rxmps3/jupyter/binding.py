"""A widget's trait and a key, the same value in both."""

from __future__ import annotations

import logging
import os
import weakref
from typing import Any, Protocol, TypeVar, cast

from reactivex.abc import DisposableBase

from rxmps3.blocking.portal import at_exit
from rxmps3.errors import InvalidOption
from rxmps3.jupyter.cells import belongs_to_this_cell
from rxmps3.jupyter.frames import DEFAULT_FPS, Frames, checked_fps, kernel_loop
from rxmps3.model.jsontext import encode
from rxmps3.model.missing import MISSING
from rxmps3.streams.key import Key, KeyEntry

__all__ = ["Binding", "bind"]

logger = logging.getLogger("rxmps3")

_leaving: weakref.WeakSet[Frames[Any]] = weakref.WeakSet()
"""What may still have something to write when the kernel ends, of all bindings."""

T = TypeVar("T")


class _Widget(Protocol):
    """What is needed of an ipywidget or an anywidget: traits."""

    def has_trait(self, name: str) -> bool: ...

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
        self._had_value = False
        self._disposed = False
        self._arriving: Frames[KeyEntry[Any]] = Frames(loop, fps, self._arrived)
        self._leaving: Frames[Any] = Frames(loop, fps, key.on_next)
        self._subscription = key.entries().subscribe(self._arriving.push)
        self._arriving.flush()
        widget.observe(self._changed, names=trait)
        _leaving.add(self._leaving)

    def __repr__(self) -> str:
        return f"<Binding of {self._trait!r} and key {self._key.name!r}>"

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

    def _arrived(self, entry: KeyEntry[Any]) -> None:
        """Show the key's value, unless the user is moving the widget just now: then theirs is newer."""
        if self._leaving.waiting or entry.error is not None or entry.value is MISSING:
            return
        nothing = entry.value is None and not entry.version
        if nothing and not self._had_value:
            return
        self._had_value = True
        if _same(getattr(self._widget, self._trait), entry.value):
            return
        try:
            self._set(entry.value)
        except Exception as error:
            if not nothing:
                logger.warning("%r cannot show %r as %s: %s", self._widget, entry.value, self._trait, error)

    def _set(self, value: Any) -> None:
        self._setting = True
        try:
            setattr(self._widget, self._trait, value)
        finally:
            self._setting = False


def bind(widget: _Widget, trait: str, key: Key[Any], *, fps: float = DEFAULT_FPS) -> Binding:
    """Keep a widget's trait and a key the same, both ways.

    The widget takes the key's value as soon as there is one, and every later one; what the user does is written to
    the key, at most ``fps`` times a second and always the last of it. What the key says already is not written again,
    so nothing echoes, however many widgets share a key. A key without a value leaves the widget as it is; one that
    loses its value empties the widget, if that can be empty (None). A value that the widget refuses is reported on
    the log ``rxmps3`` and shown by nobody; one that the key refuses stays in the widget and is reported on
    ``db.errors``.

    It holds until it is disposed or its cell runs again; one that was made outside of a cell's run, as in the callback
    of a button, until it is disposed.

    Args:
        widget: any ipywidget or anywidget.
        trait: the name of its trait, mostly ``"value"``.
        key: from ``db.key``.
        fps: the most updates a second, each way.

    Raises:
        WrongLoop: called where no event loop runs, as on another thread.
        InvalidOption: an argument is not what it has to be, or the widget has no such trait.
    """
    if not callable(getattr(widget, "has_trait", None)):
        raise InvalidOption(f"{widget!r} is no widget", operation="bind", remedy="give an ipywidget or an anywidget")
    if not widget.has_trait(trait):
        raise InvalidOption(f"{widget!r} has no trait {trait!r}", operation="bind", remedy='mostly it is "value"')
    if not isinstance(cast(object, key), Key):
        raise InvalidOption(f"{key!r} is no key", operation="bind", remedy='give db.key("…")')
    binding = Binding(widget, trait, key, checked_fps(fps))
    belongs_to_this_cell(binding)
    return binding


def _same(left: Any, right: Any) -> bool:
    """Whether they are the same JSON text, or what JSON makes the same of."""
    try:
        return encode(left) == encode(right)
    except Exception:
        return left is right or (type(left) is type(right) and bool(left == right))


def _flush_all() -> None:
    """At the end of the kernel, just before the blocking databases send what is pending."""
    for moved in list(_leaving):
        try:
            moved.flush()
        except Exception as error:
            logger.error("what a widget was moved to last is not written: %s", error)


at_exit(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leaving.clear)  # they belong to the parent
