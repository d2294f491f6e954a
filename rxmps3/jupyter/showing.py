"""The latest value of an Observable in a cell's output."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Any, NamedTuple, cast

import traitlets
from reactivex import Observable

from rxmps3.errors import InvalidOption
from rxmps3.jupyter.drawing import Scripted, let_go_of, library, no_figures_left
from rxmps3.jupyter.frames import DEFAULT_FPS, checked_fps, kernel_loop
from rxmps3.jupyter.html import Render, drawn, note
from rxmps3.jupyter.text import to_text
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget
from rxmps3.runtime.clock import SystemClock

__all__ = ["LiveView", "checked_source", "live"]

_NOTHING: Any = object()


class _Seen(NamedTuple):
    """What the source has come to."""

    value: Any = _NOTHING
    remark: str = ""
    wrong: bool = False


class LiveModel(ViewModel):
    """The latest value of a source.

    States: ``html``, what to show; ``chart``, what a library draws instead; ``at``, the milliseconds since 1970 when
    the value came; ``ended``, whether no more will come.
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
        """Call back once the source has ended."""
        self._ended_seen = ended
        if self.seen.remark:
            ended()

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        """A page lacks a library."""
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
            return made if isinstance(made, (str, Scripted)) else drawn(made)


class LiveView(Widget[LiveModel]):
    """A widget that shows what an Observable emitted last. Made by `live`.

    Attributes:
        html: what it shows, the same in every page that shows it.
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
        """How often it was brought up to date."""
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
    """Show the latest value of an Observable, and keep showing it while cells are idle.

    Leave it as the last line of a cell, or ``display`` it. It follows its source until the cell runs again, and one
    that was made outside of a cell's run, as in the callback of a button, until it is disposed. A source may emit on
    any thread and as fast as it likes. Its error, or its end, is shown under the last value. While no page shows it, it
    draws nothing.

    Args:
        source: any Observable.
        render: makes the HTML of a value, a str, or another value that is drawn instead. By default mappings and lists
            of records are tables, objects that draw themselves for notebooks are asked, figures are drawn, and the
            rest is text, escaped.
        fps: the most updates a second.
        db: the database behind it: whether it is offline, and what waits for its commit, is then shown beside.

    Raises:
        WrongLoop: called where no event loop runs, as on another thread.
        InvalidOption: an argument is not what it has to be.
    """
    checked_source(source, "live")
    if not callable(render):
        raise InvalidOption(f"render={render!r} cannot be called", operation="live")
    model = LiveModel(source, render, checked_fps(fps), kernel_loop())
    if db is not None:
        model.follow_status(db.status)
    return LiveView(model)


def checked_source(source: object, operation: str) -> Observable[Any]:
    """It, if it is an Observable.

    Raises:
        InvalidOption: it is not, even if it has a method of that name, as a database has.
    """
    if isinstance(source, Observable):
        return cast("Observable[Any]", source)
    remedy = "try db.observe(key)"
    if hasattr(source, "observe_prefix"):
        remedy = 'give db.observe_prefix("…"), or see rxmps3.jupyter.table(db)'
    raise InvalidOption(f"{source!r} is no Observable", operation=operation, remedy=remedy)


def named(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"
