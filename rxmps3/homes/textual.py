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

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import SingleAssignmentDisposable
from textual.dom import DOMNode

from rxmps3.errors import InvalidOption
from rxmps3.streams.key import Key

__all__ = ["bind", "show"]

W = TypeVar("W", bound=DOMNode)


def bind(node: DOMNode, attribute: str, key: Key[Any]) -> DisposableBase:
    """Keep a reactive attribute and a key equal, both ways.

    The attribute takes the key's value now and whenever it changes. What the program assigns to the attribute is
    written to the key, unless the key has that value already.

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

    def arrived(node: DOMNode, value: Any) -> None:
        shown[:] = [value]
        setattr(node, attribute, value)

    def assigned(value: Any) -> None:
        if shown and shown[0] != value:
            shown[:] = [value]
            key.on_next(value)

    node.watch(node, attribute, assigned, init=False)
    return show(node, key, arrived)


def show(node: W, source: Observable[Any], draw: Callable[[W, Any], Any]) -> DisposableBase:
    """Call ``draw(node, item)`` with each item of a source, on the app's thread, until the node is removed.

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

    subscription.disposable = source.subscribe(arrived)
    return subscription
