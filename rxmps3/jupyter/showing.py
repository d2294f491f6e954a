"""The latest value of an Observable in a cell's output."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Any, NamedTuple, cast

import anywidget
import traitlets
from IPython.display import display  # pyright: ignore[reportUnknownVariableType]
from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxmps3.errors import InvalidOption
from rxmps3.jupyter.cells import Run, belongs_to_this_cell, this_run
from rxmps3.jupyter.frames import DEFAULT_FPS, Frames, checked_fps, kernel_loop
from rxmps3.jupyter.html import Render, note, to_html
from rxmps3.jupyter.text import to_text

__all__ = ["LiveView", "live"]

_NOTHING: Any = object()

_SCRIPT = """
export default {
  render({ model, el }) {
    // JupyterLab's own class: what draws itself, as data frames do, looks as it does in other outputs.
    el.classList.add("jp-RenderedHTMLCommon", "rxmps3-live");
    const show = () => { el.innerHTML = model.get("html"); };
    model.on("change:html", show);
    show();
    return () => model.off("change:html", show);
  },
};
"""

_STYLE = """
.rxmps3-live { padding: 4px 5px; overflow-x: auto; }
.rxmps3-live.jp-RenderedHTMLCommon table { margin-left: 0; margin-right: 0; }
.rxmps3-live table.rxmps3-values { margin: 0; border-collapse: collapse; table-layout: auto; font-size: inherit; }
.rxmps3-live table.rxmps3-values tr { background: none; border-bottom: 1px solid rgba(128, 128, 128, 0.25); }
.rxmps3-live table.rxmps3-values tr:last-child { border-bottom: none; }
.rxmps3-live table.rxmps3-values :is(th, td) {
  padding: 5px 24px 5px 0; text-align: left; vertical-align: top; max-width: none; white-space: pre-wrap;
}
.rxmps3-live table.rxmps3-values th { font-weight: 600; }
.rxmps3-live table.rxmps3-values td { font-variant-numeric: tabular-nums; }
"""


class _Seen(NamedTuple):
    """What the source has come to."""

    value: Any = _NOTHING
    remark: str = ""
    wrong: bool = False


class LiveView(anywidget.AnyWidget):
    """A widget that shows what an Observable emitted last. Made by `live`.

    Its ``repr`` is the same as plain text. That is what a console shows, and a saved notebook where no widget can be
    drawn: the text of the moment when the view was displayed, and the last one as soon as the view has stopped.

    Attributes:
        html: what it shows, the same in every page that shows it.
        frames: how often it was brought up to date.
    """

    _esm = _SCRIPT
    _css = _STYLE
    html = traitlets.Unicode(note("nothing yet")).tag(sync=True)

    def __init__(self, source: Observable[Any], render: Render, fps: float, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._own_layout: Any = cast(Any, self).layout
        self.frames = 0
        self._render = render
        self._value = ""
        self._seen = _Seen()
        self._outputs: list[tuple[Run | None, Any]] = []
        self._frames = Frames(loop, fps, self._show)
        self._subscription: DisposableBase = Disposable()
        try:
            self._subscription = source.subscribe(
                on_next=lambda value: self._take(_Seen(value)),
                on_error=lambda error: self._take(_Seen(self._seen.value, _named(error), wrong=True)),
                on_completed=lambda: self._take(_Seen(self._seen.value, "completed")),
            )
        except BaseException:
            self.close()
            raise
        self._frames.flush()

    def dispose(self) -> None:
        """Stop following the Observable; the last value stays on the screen."""
        self._subscription.dispose()
        self._frames.flush()
        self._frames.stop()
        self._write_down()

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

    def __repr__(self) -> str:
        seen = self._seen
        if seen.value is _NOTHING:
            return seen.remark or "nothing yet"
        try:
            text = to_text(seen.value)
        except Exception as error:
            text = _named(error)
        return f"{text}\n{seen.remark}" if seen.remark else text

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

    def _take(self, seen: _Seen) -> None:
        self._seen = seen
        self._frames.push(seen)

    def _show(self, seen: _Seen) -> None:
        self.frames += 1
        remarks = note(seen.remark, wrong=seen.wrong) if seen.remark else ""
        if seen.value is not _NOTHING:
            try:
                self._value = _text_of(self._render(seen.value))
            except Exception as error:  # shown, as everything is here: nobody reads a kernel's standard error
                remarks = note(f"render: {_named(error)}", wrong=True) + remarks
        self.html = self._value + remarks
        if seen.remark:
            self._write_down()

    def _write_down(self) -> None:
        """Put the last text into the outputs. Front ends draw the widget anew then, so it is done once, in the end."""
        outputs, self._outputs = self._outputs, []
        now = this_run()
        for run, output in outputs:
            if now is None or not now.is_again(run):
                data, metadata = self._bundle()
                output.update(data, raw=True, metadata=metadata)


def live(source: Observable[Any], *, render: Render = to_html, fps: float = DEFAULT_FPS) -> LiveView:
    """Show the latest value of an Observable, and keep showing it while cells are idle.

    Leave it as the last line of a cell, or ``display`` it. It follows its source until the cell runs again, and one
    that was made outside of a cell's run, as in the callback of a button, until it is disposed. A source may emit on
    any thread and as fast as it likes. Its error, or its end, is shown under the last value.

    Args:
        source: any Observable.
        render: makes the HTML of a value; by default mappings are tables, objects with ``_repr_html_`` are asked,
            and so are those that draw a picture, as figures do; the rest is text, escaped.
        fps: the most updates a second.

    Raises:
        WrongLoop: called where no event loop runs, as on another thread.
        InvalidOption: an argument is not what it has to be.
    """
    if not callable(getattr(source, "subscribe", None)):
        raise InvalidOption(f"{source!r} is no Observable", operation="live", remedy="try db.observe(key)")
    if not callable(render):
        raise InvalidOption(f"render={render!r} cannot be called", operation="live")
    view = LiveView(source, render, checked_fps(fps), kernel_loop())
    belongs_to_this_cell(Disposable(view.end_with_cell))
    return view


def _text_of(html: Any) -> str:
    """What a renderer has made, if it is what it should be."""
    if not isinstance(html, str):
        raise TypeError(f"a str of HTML is needed, not {html!r}")
    return html


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
