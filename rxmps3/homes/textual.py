"""Reactive attributes of Textual bound to keys, and streams in widgets.

::

    class Board(App):
        title_text = reactive("")

        def on_mount(self):
            bind(self, "title_text", db.key("title", str, default="untitled"))
            show(self.query_one("#todo"), db.observe_prefix("todo/"), lambda widget, todo: widget.update(str(todo)))

A subscription ends when the widget is removed: with the next item, or when it is disposed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import SingleAssignmentDisposable
from textual.dom import DOMNode

from rxmps3.errors import InvalidOption
from rxmps3.homes._keys import was_refused
from rxmps3.model.collections.cells import same_value
from rxmps3.streams.key import Key

__all__ = ["bind", "show"]

logger = logging.getLogger("rxmps3")

W = TypeVar("W", bound=DOMNode)


def bind(node: DOMNode, attribute: str, key: Key[Any]) -> DisposableBase:
    """Keep a reactive attribute and a key equal, both ways.

    The attribute takes the key's value now and whenever it changes. What the program assigns to the attribute is
    written to the key, unless the key has that value already. A value that the key does not take goes to ``db.errors``,
    the app shows a notification, and the attribute goes back to the key's value. What the attribute's own validator
    makes of the key's value is shown, and not written.

    Args:
        node: an app, a screen or a widget, mounted.
        attribute: the name of a ``reactive`` of it.
        key: from ``db.key``, with a default if the attribute cannot be None.

    Returns:
        Ends it when disposed.

    Raises:
        InvalidOption: the node has no such reactive.
    """
    if attribute not in node._reactives:  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        raise InvalidOption(f"{type(node).__name__} has no reactive {attribute!r}", operation="bind")
    shown: list[Any] = []
    setting: list[Any] = []

    def arrived(node: DOMNode, value: Any) -> None:
        setting.append(value)
        try:
            setattr(node, attribute, value)
        finally:
            setting.pop()
        shown[:] = [getattr(node, attribute)]

    def assigned(value: Any) -> None:
        if setting or not shown or same_value(shown[0], value):
            return
        shown[:] = [value]
        key.on_next(value)
        if was_refused(key, value):
            _tell(node, f"{value!r:.80} was not written to key {key.name!r}; see db.errors")
            node.call_later(arrived, node, key.value)

    node.watch(node, attribute, assigned, init=False)
    return show(node, key, arrived)


def _tell(node: DOMNode, what: str) -> None:
    """Log what went wrong, and show it."""
    logger.warning("%s", what)
    cast("Any", node).app.notify(what, severity="error", markup=False)


def show(node: W, source: Observable[Any], draw: Callable[[W, Any], Any]) -> DisposableBase:
    """Call ``draw(node, item)`` with each item of a source, on the app's thread, until the node is removed.

    If the source fails, the app shows a notification.

    Args:
        node: an app, a screen or a widget, mounted.
        source: any Observable, which may emit on any thread.
        draw: shows an item.
    """
    subscription = SingleAssignmentDisposable()

    def arrived(item: Any) -> None:
        if node.is_running:
            node.call_later(draw, node, item)
        else:
            subscription.dispose()

    def failed(error: Exception) -> None:
        if node.is_running:
            node.call_later(_tell, node, f"{type(error).__name__}: {error}")

    subscription.disposable = source.subscribe(arrived, failed)
    return subscription
