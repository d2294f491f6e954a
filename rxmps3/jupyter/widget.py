"""A view model as a notebook widget, carried by anywidget's comm and bound to its cell's lifetime."""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast

import anywidget
import traitlets
from IPython.display import display  # pyright: ignore[reportUnknownVariableType]
from reactivex.disposable import Disposable

from rxmps3.jupyter.assets import module, style
from rxmps3.jupyter.cells import Run, belongs_to_this_cell, is_no_output, this_run
from rxmps3.jupyter.viewmodel import Message, ViewModel

__all__ = ["Widget"]

M = TypeVar("M", bound=ViewModel)


class _Comm:
    """Carries a view model by a widget's traits and custom messages.

    A kernel with subshells handles messages of pages in threads other than that of the view model's loop.
    """

    def __init__(self, widget: Widget[Any]) -> None:
        self._widget = weakref.ref(widget)
        self._setting: int | None = None  # the thread that sets a state of the view model

    def set_states(self, states: Mapping[str, Any], *, again: bool = False) -> None:
        """As `Carrier.set_states`."""
        widget: Any = self._widget()
        if widget is None:
            return
        if again:
            widget.send_state(list(states))
            return
        self._setting = threading.get_ident()
        try:
            with widget.hold_sync():  # one message
                for name, value in states.items():
                    setattr(widget, name, value)
        finally:
            self._setting = None

    def send(self, message: Message) -> None:
        """As `Carrier.send`."""
        widget: Any = self._widget()
        if widget is not None and widget.comm is not None:
            widget.send(dict(message))

    def received(self, widget: Any, content: Any, _buffers: Any) -> None:
        """Handle a message from a page."""
        widget.model.post(lambda: widget.model.receive(content))

    def set_by_a_page(self, change: Any) -> None:
        """Handle a trait changed by a page or a cell."""
        if self._setting != threading.get_ident():
            model: ViewModel = change["owner"].model
            model.post(lambda: model.changed(change["name"], change["new"]))


class Widget(anywidget.AnyWidget, Generic[M]):
    """A widget that shows a view model, until its cell runs again.

    Its ``repr`` is plain text, shown in consoles and in saved notebooks where no widget can be drawn: the text at
    display time, updated once more when the widget stops.

    Everything is sent as output of the cell that made the widget. ipykernel 7.4 routes the messages of a page to the
    subshell of whatever the widget's last message was output of, and drops them when that subshell is gone: each page
    has one of its own, deleted with the page.
    """

    _css = ""  # has anywidget make a trait of it, which the constructor sets
    problem = traitlets.Any().tag(sync=True)
    status = traitlets.Any().tag(sync=True)
    revision = traitlets.Any().tag(sync=True)

    def __init__(self, model: M) -> None:
        self.model = model
        self._cell = contextvars.copy_context()
        self._outputs: list[tuple[Run | None, Any]] = []
        super().__init__(_esm=module(model.view), _css=style(), **model.state)
        self._own_layout: Any = cast(Any, self).layout
        self._is_no_output = is_no_output()
        self._carrier = _Comm(self)
        model.attach(self._carrier)
        cast(Any, self).on_msg(self._carrier.received)
        self.observe(self._carrier.set_by_a_page, names=list(model.state))
        belongs_to_this_cell(Disposable(self.end_with_cell))

    # -- life ------------------------------------------------------------------------------------------------

    def dispose(self) -> None:
        """Stop following the source; pages keep what they show."""
        self.model.dispose()
        self.write_down()

    def close(self) -> None:
        """Stop, and remove the widget from the page."""
        self._outputs.clear()
        self.dispose()
        super().close()
        self._own_layout.close()

    def end_with_cell(self) -> None:
        """End with the cell's run; a widget that was never displayed is removed from the kernel as well."""
        now = this_run()
        shown_elsewhere = any(now is None or not now.is_again(run) for run, _ in self._outputs)
        if self._is_no_output or (self._outputs and not shown_elsewhere):
            self.close()
        else:
            self.dispose()

    def _send(self, msg: Any, buffers: Any = None) -> None:
        self._cell.copy().run(cast(Any, super())._send, msg, buffers)

    # -- text ------------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        """Display an output whose plain text can be updated later, unlike a cell's result."""
        if self.comm is None:
            display({"text/plain": repr(self)}, raw=True)
            return
        data, metadata = self._bundle()
        self._outputs.append((this_run(), display(data, raw=True, metadata=metadata, display_id=True)))

    def _bundle(self) -> Any:
        """The MIME bundle: the widget, and its plain text for front ends that cannot draw it."""
        return cast(Any, self)._repr_mimebundle_()

    def write_down(self) -> None:
        """Store the last text in the outputs. Front ends redraw the widget then, so it is done once, at the end."""
        outputs, self._outputs = self._outputs, []
        now = this_run()
        for run, output in outputs:
            if now is None or not now.is_again(run):
                data, metadata = self._bundle()
                output.update(data, raw=True, metadata=metadata)
