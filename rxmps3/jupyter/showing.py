"""The latest value of an Observable in a cell's output."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets
from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxmps3.jupyter.cells import belongs_to_this_cell
from rxmps3.jupyter.frames import DEFAULT_FPS, Frames, kernel_loop
from rxmps3.jupyter.html import Render, note, to_html

__all__ = ["LiveView", "live"]

_SCRIPT = """
export default {
  render({ model, el }) {
    const show = () => { el.innerHTML = model.get("html"); };
    model.on("change:html", show);
    show();
    return () => model.off("change:html", show);
  },
};
"""


class LiveView(anywidget.AnyWidget):
    """A widget that shows what an Observable emitted last. Made by `live`.

    Attributes:
        html: what it shows, the same in every page that shows it.
        frames: how often it was brought up to date.
    """

    _esm = _SCRIPT
    html = traitlets.Unicode(note("nothing yet")).tag(sync=True)

    def __init__(self, source: Observable[Any], render: Render, fps: float) -> None:
        super().__init__()
        self.frames = 0
        self._render = render
        self._value = note("nothing yet")
        self._frames: Frames[tuple[str, Any]] = Frames(kernel_loop(), fps, self._show)
        self._subscription: DisposableBase = Disposable()
        self._subscription = source.subscribe(
            on_next=lambda value: self._frames.push(("next", value)),
            on_error=lambda error: self._frames.push(("error", error)),
            on_completed=lambda: self._frames.push(("completed", None)),
        )

    def dispose(self) -> None:
        """Stop following the Observable; the last value stays on the screen."""
        self._subscription.dispose()
        self._frames.stop()

    def close(self) -> None:
        """Stop, and take the widget off the screen."""
        self.dispose()
        super().close()

    def _show(self, event: tuple[str, Any]) -> None:
        kind, item = event
        self.frames += 1
        if kind == "error":
            self.html = self._value + note(f"{type(item).__name__}: {item}", wrong=True)
        elif kind == "completed":
            self.html = self._value + note("completed")
        else:
            try:
                self._value = self._render(item)
            except Exception as error:  # shown, as everything is here: nobody reads a kernel's standard error
                self.html = self._value + note(f"render: {type(error).__name__}: {error}", wrong=True)
            else:
                self.html = self._value


def live(source: Observable[Any], *, render: Render = to_html, fps: float = DEFAULT_FPS) -> LiveView:
    """Show the latest value of an Observable, and keep showing it while cells are idle.

    Leave it as the last line of a cell, or ``display`` it. It follows its source until the cell runs again or the
    view is closed. A source may emit on any thread and as fast as it likes. Its error, or its end, is shown under the
    last value.

    Args:
        source: any Observable.
        render: makes the HTML of a value; by default mappings are tables, objects with ``_repr_html_`` are asked,
            the rest is text, escaped.
        fps: the most updates a second.

    Raises:
        WrongLoop: called outside a cell.
    """
    view = LiveView(source, render, fps)
    belongs_to_this_cell(view)  # pyright: ignore[reportArgumentType]
    return view
