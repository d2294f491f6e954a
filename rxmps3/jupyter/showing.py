"""The latest value of an Observable, in a cell's output."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Any, NamedTuple, cast

import traitlets
from reactivex import Observable

from rxmps3.errors import InvalidOption
from rxmps3.jupyter.drawing import Scripted, let_go_of, library, no_figures_left
from rxmps3.jupyter.frames import DEFAULT_FPS, checked_fps, kernel_loop
from rxmps3.jupyter.html import Render, drawn, harmless, note
from rxmps3.jupyter.text import to_text
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget
from rxmps3.runtime.clock import SystemClock
from rxmps3.streams.collection import Collection

__all__ = ["LiveView", "checked_source", "live"]

_NOTHING: Any = object()


class _Seen(NamedTuple):
    """The latest notification of the source."""

    value: Any = _NOTHING
    remark: str = ""
    wrong: bool = False


class LiveModel(ViewModel):
    """The latest value of a source.

    States: ``html``, the content; ``chart``, for content drawn by a library's JavaScript; ``at``, the arrival time in
    milliseconds since 1970; ``ended``, whether the source has ended.
    """

    view = "live"

    def __init__(self, source: Observable[Any], render: Render, fps: float, loop: AbstractEventLoop) -> None:
        super().__init__(loop, fps, html=note("nothing yet"), chart=None, at=0, ended=False)
        self.frames = 0
        self.seen = _Seen()
        self._clock = SystemClock()
        self._render = render
        self._came = 0
        self._new = False
        self._last = ""
        self._ended_seen = lambda: None
        self.owns(
            source.subscribe(
                on_next=lambda value: self._take(_Seen(value)),
                on_error=lambda error: self._take(_Seen(self.seen.value, named(error), wrong=True)),
                on_completed=lambda: self._take(_Seen(self.seen.value, "completed")),
            )
        )
        self.flush()

    def on_end(self, ended: Any) -> None:
        """Register a callback for the end of the source."""
        self._ended_seen = ended
        if self.seen.remark:
            ended()

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        """A page asks for a library's JavaScript."""
        if kind == "library":
            self.send({"kind": "library", "view": page, "scripts": library(str(message.get("name")))})

    def _take(self, seen: _Seen) -> None:
        let_go_of(seen.value)
        self.seen, self._new = seen, True
        self._came = round(self._clock.now().timestamp() * 1000)
        self.wake()

    def show(self) -> None:
        if not self._new:
            return
        self._new = False
        seen = self.seen
        self.frames += 1
        remarks = note(seen.remark, wrong=seen.wrong) if seen.remark else ""
        if seen.value is not _NOTHING:
            try:
                shown = self._drawn(seen.value)
                self.set("chart", shown._asdict() if isinstance(shown, Scripted) else None)
                self._last = "" if isinstance(shown, Scripted) else shown
                self.set("html", self._last + remarks)
            except Exception as error:  # shown, as everything is here: nobody reads a kernel's standard error
                self.set("html", self._last + note(f"render: {named(error)}", wrong=True) + remarks)
        else:
            self.set("html", remarks)
        self.set("at", self._came)
        if seen.remark:
            self.set("ended", True)
            self._ended_seen()

    def _drawn(self, value: Any) -> str | Scripted:
        with no_figures_left():
            made = self._render(value)
            if isinstance(made, str) and self._render is not drawn:
                return harmless(made)  # a value of others may be in it
            return made if isinstance(made, (str, Scripted)) else drawn(made)


class LiveView(Widget[LiveModel]):
    """A widget that shows the latest value of an Observable. Created by `live`.

    Attributes:
        html: the content, the same in every page.
    """

    html = traitlets.Any().tag(sync=True)
    chart = traitlets.Any().tag(sync=True)
    at = traitlets.Any().tag(sync=True)
    ended = traitlets.Any().tag(sync=True)

    def __init__(self, model: LiveModel) -> None:
        super().__init__(model)
        model.on_end(self.write_down)

    @property
    def frames(self) -> int:
        """The number of updates so far."""
        return self.model.frames

    def __repr__(self) -> str:
        seen = self.model.seen
        if seen.value is _NOTHING:
            return seen.remark or "nothing yet"
        try:
            text = to_text(seen.value)
        except Exception as error:
            text = named(error)
        return f"{text}\n{seen.remark}" if seen.remark else text


def live(source: Observable[Any], *, render: Render = drawn, fps: float = DEFAULT_FPS, db: Any = None) -> LiveView:
    """Show the latest value of an Observable, and keep it current while no cell is running.

    Make it the last expression of a cell, or ``display`` it. It follows its source until the cell runs again; one made
    outside a cell run, such as in a button's callback, until it is disposed. The source may emit on any thread, at any
    rate. Its error or completion is shown below the last value. Nothing is drawn while no page shows it.

    Args:
        source: any Observable; of a collection, its content.
        render: returns the HTML of a value as a str, or another value to draw instead. What could run a script or
            change the rest of the page is removed from a str, since somebody else's value may be in it; what an
            object's own representation returns, such as `IPython.display.HTML`, is trusted. By default mappings and
            lists of records become tables, objects with a notebook representation use it, figures are drawn, and
            anything else is escaped text.
        fps: the maximum number of updates a second.
        db: the database behind the source; its connection state and pending writes are then shown beside the value.

    Raises:
        WrongLoop: no event loop is running in this thread.
        InvalidOption: an argument is invalid.
    """
    checked_source(source, "live")
    if not callable(render):
        raise InvalidOption(f"render={render!r} cannot be called", operation="live")
    shown = cast("Collection[Any, Any]", source).observe() if isinstance(source, Collection) else source
    model = LiveModel(shown, render, checked_fps(fps), kernel_loop())
    if db is not None:
        model.follow_status(db.status)
    return LiveView(model)


def checked_source(source: object, operation: str) -> Observable[Any]:
    """Return the source if it is an Observable.

    Raises:
        InvalidOption: it is not, even if it has a ``subscribe`` method, as a database has.
    """
    if isinstance(source, Observable):
        return cast("Observable[Any]", source)
    remedy = "try db.observe(key)"
    if hasattr(source, "observe_prefix"):
        remedy = 'give db.observe_prefix("…"), or see rxmps3.jupyter.table(db)'
    raise InvalidOption(f"{source!r} is not an Observable", operation=operation, remedy=remedy)


def named(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"
