"""A view model in a notebook: anywidget's comm carries it, and a cell shows it."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar, cast

import anywidget
import traitlets
from IPython.display import display  # pyright: ignore[reportUnknownVariableType]
from reactivex.disposable import Disposable

from rxmps3.jupyter.assets import module, style
from rxmps3.jupyter.cells import Run, belongs_to_this_cell, this_run
from rxmps3.jupyter.viewmodel import Message, ViewModel

__all__ = ["Widget"]

M = TypeVar("M", bound=ViewModel)


class _Comm:
    """Carries a view model by a widget's traits and custom messages."""

    def __init__(self, widget: Widget[Any]) -> None:
        self._widget = weakref.ref(widget)
        self._setting = False

    def set_state(self, name: str, value: Any) -> None:
        """See `Carrier`."""
        self._setting = True
        try:
            setattr(self._widget(), name, value)
        finally:
            self._setting = False

    def send(self, message: Message) -> None:
        """See `Carrier`."""
        widget: Any = self._widget()
        if widget is not None and widget.comm is not None:
            widget.send(dict(message))

    def received(self, widget: Any, content: Any, _buffers: Any) -> None:
        """A page has sent a message."""
        widget.model.receive(content)

    def set_by_a_page(self, change: Any) -> None:
        """A trait has changed, in a page or in a cell."""
        if not self._setting:
            change["owner"].model.changed(change["name"], change["new"])


class Widget(anywidget.AnyWidget, Generic[M]):
    """A widget that shows a view model, as long as its cell has not run again.

    Its ``repr`` is plain text. That is what a console shows, and a saved notebook where no widget can be drawn: the
    text of the moment when it was displayed, and the last one as soon as it has stopped.
    """

    _css = ""  # has anywidget make a trait of it, which the constructor sets
    problem = traitlets.Any().tag(sync=True)
    status = traitlets.Any().tag(sync=True)

    def __init__(self, model: M) -> None:
        self.model = model
        self._outputs: list[tuple[Run | None, Any]] = []
        super().__init__(_esm=module(model.view), _css=style(), **model.state)
        self._own_layout: Any = cast(Any, self).layout
        self._carrier = _Comm(self)
        model.attach(self._carrier)
        cast(Any, self).on_msg(self._carrier.received)
        self.observe(self._carrier.set_by_a_page, names=list(model.state))
        belongs_to_this_cell(Disposable(self.end_with_cell))

    # -- life ------------------------------------------------------------------------------------------------

    def dispose(self) -> None:
        """Stop following the source; what is on the screen stays there."""
        self.model.dispose()
        self.write_down()

    def close(self) -> None:
        """Stop, and take the widget off the screen."""
        self._outputs.clear()
        self.dispose()
        super().close()
        self._own_layout.close()

    def end_with_cell(self) -> None:
        """The cell has begun to run again. What was shown nowhere else is gone, and does not stay in the kernel."""
        now = this_run()
        shown_elsewhere = any(now is None or not now.is_again(run) for run, _ in self._outputs)
        if self._outputs and not shown_elsewhere:
            self.close()
        else:
            self.dispose()

    # -- text ------------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        """Make an output whose text can be brought up to date later, which that of a cell's result cannot."""
        if self.comm is None:
            display({"text/plain": repr(self)}, raw=True)
            return
        data, metadata = self._bundle()
        self._outputs.append((this_run(), display(data, raw=True, metadata=metadata, display_id=True)))

    def _bundle(self) -> Any:
        """The widget, and its text for who cannot draw it; and what the front end wants to know beside."""
        return cast(Any, self)._repr_mimebundle_()

    def write_down(self) -> None:
        """Put the last text into the outputs. Front ends draw the widget anew then, so it is done once, in the end."""
        outputs, self._outputs = self._outputs, []
        now = this_run()
        for run, output in outputs:
            if now is None or not now.is_again(run):
                data, metadata = self._bundle()
                output.update(data, raw=True, metadata=metadata)
