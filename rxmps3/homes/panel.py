"""Streams as reactive expressions of Panel and param, and widgets bound to keys.

::

    db = connect("s3://bucket/app", live=True)          # rxmps3.blocking
    pn.Column(
        bind(pn.widgets.FloatSlider(name="rate"), db.key("rate", default=0.5)),
        pn.bind(draw, reactive(db.observe_prefix("point/"))),
    ).servable()

A source may emit on any thread: what it emits is set on the thread of the session's document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import panel as pn
import param
from reactivex import Observable
from reactivex.abc import DisposableBase

from rxmps3.streams.key import Key

__all__ = ["bind", "reactive"]

W = TypeVar("W")


def reactive(source: Observable[Any], initial: Any = None) -> Any:
    """A `param.rx` expression with the latest item of a source, until the session ends.

    Args:
        source: any Observable, which may emit on any thread.
        initial: the value before the first item.
    """
    value: Any = param.rx(initial)

    def arrived(item: Any) -> None:
        value.rx.value = item

    _follow(source, arrived)
    return value


def bind(widget: W, key: Key[Any], parameter: str = "value") -> W:
    """Keep a widget's parameter and a key equal, both ways, until the session ends.

    Args:
        widget: a widget of Panel, or any Parameterized.
        key: from ``db.key`` of a blocking database, with a default if the parameter cannot be None.
        parameter: the name of the parameter.

    Returns:
        The widget.
    """
    parameterized: Any = widget
    shown: list[Any] = []

    def arrived(value: Any) -> None:
        shown[:] = [value]
        setattr(widget, parameter, value)

    def changed(event: Any) -> None:
        if shown and shown[0] != event.new:
            shown[:] = [event.new]
            key.on_next(event.new)

    parameterized.param.watch(changed, parameter)
    _follow(key, arrived)
    return widget


def _follow(source: Observable[Any], action: Callable[[Any], None]) -> None:
    """Call an action with each item, on the thread of the current session's document, if there is one."""
    document: Any = pn.state.curdoc  # pyright: ignore[reportUnknownMemberType]

    def arrived(item: Any) -> None:
        if document is None:
            action(item)
        else:
            document.add_next_tick_callback(lambda: action(item))

    subscription: DisposableBase = source.subscribe(arrived)
    if document is not None:

        def ended(_: object) -> None:
            subscription.dispose()

        document.on_session_destroyed(ended)
