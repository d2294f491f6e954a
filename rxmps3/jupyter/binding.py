"""Two-way binding between a widget's trait and a key."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, overload

from reactivex.abc import DisposableBase
from traitlets import All

from rxmps3.blocking.portal import at_exit
from rxmps3.database.undo_steps import Actions, one_action
from rxmps3.errors import Conflict, InvalidOption
from rxmps3.jupyter.cells import belongs_to_this_cell, in_a_subshell
from rxmps3.jupyter.frames import DEFAULT_FPS, Frames, checked_fps, kernel_loop
from rxmps3.model.jsontext import encode
from rxmps3.model.missing import MISSING
from rxmps3.streams.key import Key, KeyEntry

__all__ = ["Binding", "Bindings", "bind"]

logger = logging.getLogger("rxmps3")

_leaving: weakref.WeakSet[Frames[Any]] = weakref.WeakSet()
"""What may still have something to write when the kernel ends, of all bindings."""

T = TypeVar("T")


class _Widget(Protocol):
    """An ipywidget or anywidget, as far as it is used here: its traits."""

    def has_trait(self, name: str) -> bool: ...

    def observe(self, handler: Any, names: Any = ...) -> None: ...

    def unobserve(self, handler: Any, names: Any = ...) -> None: ...


MOST_STEPS = 100
CALL_BACK_SECONDS = 0.1
"""After what a page did: by then the kernel has told the other pages."""


@dataclass
class _Step:
    """One user action, such as one drag of a slider.

    Attributes:
        before: the key's value before the action; `MISSING` if it had none.
        after: its last value during the action.
        at: the loop time of that value.
        action: names the action.
    """

    before: Any
    after: Any
    at: float
    action: object


class Binding(DisposableBase):
    """One trait bound to one key. Created by `bind`."""

    def __init__(self, widget: _Widget, trait: str, key: Key[Any], fps: float, actions: Actions) -> None:
        loop = kernel_loop()
        self._widget = widget
        self._trait = trait
        self._key = key
        self._actions = actions
        self._thread = threading.get_ident()
        self._setting = False
        self._calling_back = False
        self._cell = contextvars.copy_context()
        self._had_value = False
        self._cut = False
        self._disposed = False
        self._loop = loop
        self._there: KeyEntry[Any] | None = None
        self._done: deque[_Step] = deque(maxlen=MOST_STEPS)
        self._undone: list[_Step] = []
        self._arriving: Frames[KeyEntry[Any]] = Frames(loop, fps, self._arrived)
        self._leaving: Frames[tuple[Any, object]] = Frames(loop, fps, self._leave)
        self._subscription = key.entries().subscribe(self._heard)
        self._arriving.flush()
        widget.observe(self._changed, names=trait)
        widget.observe(self._became, names=All)
        _leaving.add(self._leaving)

    def __repr__(self) -> str:
        return f"<Binding of {self._trait!r} and key {self._key.name!r}>"

    def dispose(self) -> None:
        """End the binding. The last user input is still written."""
        if self._disposed:
            return
        self._disposed = True
        self._widget.unobserve(self._changed, names=self._trait)
        self._widget.unobserve(self._became, names=All)
        self._subscription.dispose()
        self._arriving.stop()
        self._leaving.flush()
        self._leaving.stop()

    # -- undo ------------------------------------------------------------------------------------------------

    def undo(self) -> bool:
        """Undo the last user action; a drag counts as one action.

        Returns:
            Whether there was an action to undo.

        Raises:
            Conflict: someone else has changed the key since; nothing was changed.
        """
        return self._back(self._done, self._undone, undoing=True)

    def redo(self) -> bool:
        """Redo the last undone action, unless the widget has been moved since. Raises as `undo`."""
        return self._back(self._undone, self._done, undoing=False)

    @property
    def newest_done(self) -> _Step | None:
        """What `undo` would undo."""
        return self._done[-1] if self._done else None

    @property
    def newest_undone(self) -> _Step | None:
        """What `redo` would redo."""
        return self._undone[-1] if self._undone else None

    def _back(self, steps: deque[_Step] | list[_Step], others: deque[_Step] | list[_Step], *, undoing: bool) -> bool:
        self._actions.end()
        self._leaving.flush()
        if not steps:
            return False
        self.check(undoing=undoing)
        step = steps.pop()
        others.append(step)
        self._key.on_next(step.before if undoing else step.after)
        return True

    def check(self, *, undoing: bool) -> None:
        """Raise `Conflict` if the newest action cannot be undone or redone, since others have changed the key."""
        self._leaving.flush()
        step = self.newest_done if undoing else self.newest_undone
        if step is not None and not _same(self._value_there(), step.after if undoing else step.before):
            raise Conflict(
                "others have moved it since", operation="undo" if undoing else "redo", object=f"key {self._key.name!r}"
            )

    def _value_there(self) -> Any:
        there = self._there
        return MISSING if there is None or not there.version else there.value

    def _note(self, value: Any) -> object:
        """Record a change made by the user; returns the action that it is part of."""
        now = self._loop.time()
        action, newest = self._actions.at(now), self.newest_done
        if newest is None or newest.action is not action:
            self._done.append(_Step(self._value_there(), value, now, action))
        else:
            newest.after, newest.at = value, now
        self._undone.clear()
        return action

    # -- both ways -------------------------------------------------------------------------------------------

    def _heard(self, entry: KeyEntry[Any]) -> None:
        self._there = entry
        self._arriving.push(entry)

    def _changed(self, change: Any) -> None:
        """The trait has changed: by a cell, by a page, whose messages may come in other threads, or by this binding."""
        if threading.get_ident() != self._thread:
            self._post(lambda: self._moved(change["new"]))
        elif not self._setting:
            self._moved(change["new"])

    def _moved(self, value: Any) -> None:
        if not self._disposed:
            self._cut = False
            self._leaving.push((value, self._note(value)))

    def _post(self, action: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            pass  # the kernel is shutting down

    def _leave(self, item: tuple[Any, object]) -> None:
        value, action = item
        with one_action(action):
            self._key.on_next(value)

    def _arrived(self, entry: KeyEntry[Any]) -> None:
        """Show the key's value, unless the user is moving the widget: then the user's value is newer."""
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
            self._cut = not _same(getattr(self._widget, self._trait), entry.value)
        except Exception as error:
            if not nothing:
                logger.warning("%r cannot show %r as %s: %s", self._widget, entry.value, self._trait, error)

    def _became(self, change: Any) -> None:
        """Any trait has changed."""
        if in_a_subshell() and not self._calling_back:
            self._calling_back = True
            self._post(lambda: self._loop.call_later(CALL_BACK_SECONDS, self._call_back))
        if change["name"] != self._trait:
            if threading.get_ident() == self._thread:
                self._fit()
            else:
                self._post(self._fit)

    def _fit(self) -> None:
        """A value that the widget has cut to its bounds may fit now."""
        if self._cut and self._there is not None and not self._disposed:
            self._cut = False
            self._arrived(self._there)

    def _call_back(self) -> None:
        """Have the answers of pages come to the kernel's main thread again.

        The kernel has told other pages of what one page did, as output of that page's message. Until something is sent
        as output of the cell, it routes the messages of all pages to the subshell of that one page: see `Widget`.
        """
        self._calling_back = False
        comm: Any = getattr(self._widget, "comm", None)
        if comm is not None:
            self._cell.copy().run(comm.send, {"method": "update", "state": {}, "buffer_paths": []})

    def _set(self, value: Any) -> None:
        self._setting = True
        try:  # sent as output of the cell, so that a page's answers find the kernel's main thread: see `Widget`
            self._cell.copy().run(setattr, self._widget, self._trait, value)
        finally:
            self._setting = False


class Bindings(DisposableBase):
    """Several traits of one widget, each bound to a key. Created by `bind`."""

    def __init__(self, bindings: Mapping[str, Binding]) -> None:
        self._bindings = dict(bindings)

    def __getitem__(self, trait: str) -> Binding:
        return self._bindings[trait]

    def __repr__(self) -> str:
        return f"<Bindings of {', '.join(map(repr, self._bindings))}>"

    def undo(self) -> bool:
        """Undo the last user action, on all traits that it changed, as `Binding.undo`."""
        return self._back(undoing=True)

    def redo(self) -> bool:
        """Redo the last undone action, as `Binding.redo`."""
        return self._back(undoing=False)

    def _back(self, *, undoing: bool) -> bool:
        steps = {
            one: step
            for one in self._bindings.values()
            if (step := one.newest_done if undoing else one.newest_undone) is not None
        }
        if not steps:
            return False
        last = (max if undoing else min)(steps.values(), key=lambda step: step.at)
        moved = [one for one, step in steps.items() if step.action is last.action]
        for one in moved:
            one.check(undoing=undoing)
        for one in moved:
            if undoing:
                one.undo()
            else:
                one.redo()
        return True

    def dispose(self) -> None:
        """Dispose each binding."""
        for binding in self._bindings.values():
            binding.dispose()


@overload
def bind(widget: _Widget, trait: str, key: Key[Any], *, fps: float = DEFAULT_FPS) -> Binding: ...


@overload
def bind(widget: _Widget, trait: Mapping[str, Key[Any]], *, fps: float = DEFAULT_FPS) -> Bindings: ...


def bind(
    widget: _Widget, trait: str | Mapping[str, Key[Any]], key: Key[Any] | None = None, *, fps: float = DEFAULT_FPS
) -> Binding | Bindings:
    """Keep a widget's trait and a key equal, both ways.

    The widget takes the key's value as soon as there is one, and each later one. User input is written to the key at
    most ``fps`` times a second; the last value is always written. Moves less than half a second apart, such as a drag,
    are one step for the binding's `undo` and for ``db.undo``. A value equal to the key's is not written, so nothing
    echoes, however many widgets share the key. While the key has no value the widget is left alone; when it loses its
    value, the trait becomes None if it accepts that. A value that the widget cuts to its bounds is shown whole once
    they allow it; one that it rejects is logged to ``rxmps3``; a value that the key rejects stays in the widget and is
    reported on ``db.errors``.

    The binding lasts until it is disposed or its cell runs again. One made outside a cell run, such as in a button's
    callback, lasts until it is disposed.

    Args:
        widget: any ipywidget or anywidget.
        trait: a trait name, usually ``"value"``, or a mapping from trait names to keys.
        key: from ``db.key``, if ``trait`` is a name.
        fps: the maximum number of updates a second, in each direction.

    Raises:
        WrongLoop: no event loop is running in this thread.
        InvalidOption: an argument is invalid, or the widget has no such trait.
    """
    if not callable(getattr(widget, "has_trait", None)):
        raise InvalidOption(f"{widget!r} is not a widget", operation="bind", remedy="give an ipywidget or an anywidget")
    traits: Mapping[str, Any] = {trait: key} if isinstance(trait, str) else trait
    if not traits:
        raise InvalidOption("no trait is named", operation="bind", remedy='mostly it is "value"')
    for name, one in traits.items():
        if not widget.has_trait(name):
            raise InvalidOption(f"{widget!r} has no trait {name!r}", operation="bind", remedy='mostly it is "value"')
        if not isinstance(one, Key):
            raise InvalidOption(f"{one!r} is not a key", operation="bind", remedy='give db.key("…")')
    actions = Actions()
    bindings = {name: Binding(widget, name, one, checked_fps(fps), actions) for name, one in traits.items()}
    made = bindings[trait] if isinstance(trait, str) else Bindings(bindings)
    belongs_to_this_cell(made)
    return made


def _same(left: Any, right: Any) -> bool:
    """Whether two values have the same JSON text."""
    try:
        return encode(left) == encode(right)
    except Exception:
        return left is right or (type(left) is type(right) and bool(left == right))


def _flush_all() -> None:
    """Write what is pending at kernel exit, just before the blocking databases flush."""
    for moved in list(_leaving):
        try:
            moved.flush()
        except Exception as error:
            logger.error("what a widget was moved to last is not written: %s", error)


at_exit(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leaving.clear)  # they belong to the parent
