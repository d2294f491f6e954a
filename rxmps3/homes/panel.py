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

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import panel as pn
import param
from reactivex import Observable

from rxmps3.database.undo_steps import Actions, one_action
from rxmps3.errors import InvalidOption
from rxmps3.homes._keys import was_refused
from rxmps3.model.collections.cells import same_value
from rxmps3.runtime.clock import SystemClock
from rxmps3.streams.key import Key

if TYPE_CHECKING:
    from rxmps3.jupyter.viewmodel import Message, ViewModel
    from rxmps3.jupyter.widget import Widget

__all__ = ["bind", "reactive", "show"]

logger = logging.getLogger("rxmps3")

W = TypeVar("W")


def reactive(source: Observable[Any], initial: Any = None) -> Any:
    """A `param.rx` expression with the latest item of a source, until the session ends.

    If items come faster than the page is drawn, it gets the newest. If the source fails, the expression keeps the last
    item; the error is logged and shown as a notification, for pages with ``pn.extension(notifications=True)``.

    Args:
        source: any Observable, which may emit on any thread. The item that it emits when it is subscribed to, as the
            streams of a database do, is the first value.
        initial: the value before the first item.
    """
    latest: Any = _Latest(item=initial)

    def arrived(item: Any) -> None:
        with param.discard_events(latest):
            latest.item = item
        latest.param.trigger("item")  # param takes 1, 1.0 and True for the same

    _follow(source, arrived)
    return latest.param.item.rx()


def bind(widget: W, key: Key[Any], parameter: str = "value") -> W:
    """Keep a widget's parameter and a key equal, both ways, until the session ends.

    What follows each other within half a second, such as a drag, is one step for ``db.undo``. A value that the widget
    does not take is left out, one that the key does not take goes to ``db.errors``, and the widget back to the key's
    value; both are logged and shown as notifications, for pages with ``pn.extension(notifications=True)``.

    Args:
        widget: a widget of Panel, or any Parameterized.
        key: from ``db.key`` of a blocking database, with a default if the parameter cannot be None.
        parameter: the name of the parameter.

    Returns:
        The widget.

    Raises:
        InvalidOption: the widget has no such parameter, or this is no key.
    """
    parameterized: Any = widget
    if parameter not in getattr(parameterized, "param", ()):
        raise InvalidOption(f"{type(widget).__name__} has no parameter {parameter!r}", operation="bind")
    if not isinstance(cast(object, key), Key):
        raise InvalidOption(f"{key!r} is not a key", operation="bind", remedy='give db.key("…")')
    actions, clock = Actions(), SystemClock()
    setting: list[int] = []  # the thread that shows a value of the key
    shown: list[Any] = []

    def arrived(value: Any) -> None:
        now: Any = getattr(widget, parameter)
        if isinstance(value, list) and isinstance(now, tuple):
            value = tuple(cast("list[Any]", value))  # JSON has no tuples
        setting.append(threading.get_ident())
        try:
            setattr(widget, parameter, value)
            shown[:] = [value]
        except Exception as error:
            _tell(f"{type(widget).__name__} does not show the value of key {key.name!r}: {error}")
        finally:
            setting.pop()

    def changed(event: Any) -> None:
        if threading.get_ident() in setting or (shown and _same(shown[0], event.new)):
            return
        shown[:] = [event.new]
        with one_action(actions.at(clock.monotonic())):
            key.on_next(event.new)
        if was_refused(key, event.new):
            _tell(f"{type(widget).__name__}: {event.new!r:.80} was not written to key {key.name!r}; see db.errors")
            arrived(key.value)

    _follow(key, arrived)
    parameterized.param.watch(changed, parameter)
    return widget


def show(view: Widget[Any]) -> Any:
    """A view of `rxmps3.jupyter`, such as ``table(db, "todo/")``, as a component of Panel, until the session ends.

    Nothing is loaded from elsewhere, unlike with ``pn.pane.IPyWidget``. Make a view once in the code of the session,
    not in a function that ``pn.bind`` calls again and again.

    Args:
        view: what `table`, `chart`, `timeline`, `presence`, `inspector`, `controls` or `live` returns.
    """
    return _component(view.model.view)(view.model)


@cache
def _component(name: str) -> Any:
    """The class of the components for views of this name."""
    from rxmps3.jupyter.assets import module, style  # for those who have its extra

    members = {"_esm": module(name, "panel"), "_stylesheets": [style()]}
    return type(f"Rxmps3{name.title()}", (_Component,), members)


class _Component(pn.custom.JSComponent):
    """Carries a view model to the page of a session."""

    def __init__(self, model: ViewModel) -> None:
        super().__init__(sizing_mode="stretch_width")  # pyright: ignore[reportUnknownMemberType]
        self._model: ViewModel | None = model
        model.attach(self)
        document: Any = pn.state.curdoc  # pyright: ignore[reportUnknownMemberType]
        if document is not None:
            document.on_session_destroyed(self._let_go)

    def _let_go(self, _: object) -> None:
        """The session has ended. Panel may keep its document and components, but not what they showed."""
        self._model = None

    def set_states(self, states: Mapping[str, Any], *, again: bool = False) -> None:
        """As `Carrier.set_states`."""
        self._tell({"states": dict(states)})

    def send(self, message: Message) -> None:
        """As `Carrier.send`."""
        self._tell({"message": dict(message)})

    def _tell(self, what: Any) -> None:
        with suppress(AttributeError):  # bokeh has emptied the document, as its session has ended
            self._send_msg(what)

    def _handle_msg(self, data: Any) -> None:
        said = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        model = self._model
        if model is None:
            return
        if "state" in said:
            self._tell({"state": dict(model.state)})
        elif "message" in said:
            model.receive(said["message"])
        elif isinstance(said.get("name"), str):
            model.changed(said["name"], said.get("value"))


class _Latest(param.Parameterized):
    item: Any = param.Parameter()


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same in JSON."""
    plain = [list(cast("tuple[Any]", value)) if isinstance(value, tuple) else value for value in (one, other)]
    return same_value(*plain)


def _tell(what: str) -> None:
    """Log what went wrong, and show it in the session's page, if that has a place for it."""
    logger.warning("%s", what)
    notifications: Any = pn.state.notifications  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if notifications is not None:
        notifications.error(what)


class _Session:
    """Hands the newest item of a source to an action, on the thread of the session's document, if there is one."""

    def __init__(self, action: Callable[[Any], None]) -> None:
        self.document: Any = pn.state.curdoc  # pyright: ignore[reportUnknownMemberType]
        self._action = action
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] = []
        self._begun = False
        self._ended = False

    def arrived(self, item: Any) -> None:
        """Replaces an item that still waits. Callable from any thread."""
        self._hand(lambda: self._action(item), instead=True)

    def failed(self, error: Exception) -> None:
        """Callable from any thread."""
        self._hand(lambda: _tell(f"{type(error).__name__}: {error}"), instead=False)

    def _hand(self, do: Callable[[], None], *, instead: bool) -> None:
        with self._lock:
            first = not self._waiting
            self._waiting = [do] if instead else [*self._waiting, do]
            if not first or not self._begun or self._ended:
                return
        self._schedule()

    def _schedule(self) -> None:
        if self.document is None:
            self._take()
        else:
            self.document.add_next_tick_callback(self._take)

    def begin(self) -> None:
        """It is subscribed; what has arrived is taken at once."""
        self._begun = True
        self._take()

    def end(self) -> None:
        """The page has gone."""
        self._ended = True

    def _take(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for do in waiting:
            do()


def _follow(source: Observable[Any], action: Callable[[Any], None]) -> None:
    """Call an action with the newest item, until the session ends."""
    session = _Session(action)
    subscription = source.subscribe(session.arrived, session.failed)
    session.begin()
    if session.document is not None:
        held = [(session, subscription)]  # Panel may keep the document, which keeps what is called

        def ended(_: object) -> None:
            while held:
                one, its = held.pop()
                one.end()
                its.dispose()

        session.document.on_session_destroyed(ended)
