"""What a widget shows, apart from what carries it to a page.

The seam has two halves, and neither knows of Jupyter:

* here a `ViewModel` holds **state** (named JSON values, the same for every page) and takes and sends **messages** (JSON
  objects with a ``kind``). A `Carrier` brings both to the pages: anywidget's comm in a notebook, a websocket elsewhere.
* in a page ``render(model, el)`` of ``static/VIEW.js`` draws into an element. Its model is
  ``{get(name), set(name, value), on(name, fn), send(message)}``: ``on`` calls back with each new value of a state, with
  each message for ``"message"``, and returns what ends that.

Every page that shows a view has an id of its own, and says every few seconds ``{"kind": "here", "view": id}`` while it
can be seen, and ``bye`` when it goes. It is answered with ``alive``, which is how a page knows that somebody is
there. A message for one page names its ``view``; pages leave what is for others. While no page has said anything for
`AWAY_AFTER` seconds the view model goes on following its source and sends nothing; the next ``here`` brings all pages
up to date.

A carrier for a websocket sends ``state`` whole when it is attached, passes on `Carrier.set_state` and `Carrier.send`,
and calls `ViewModel.receive` and `ViewModel.changed` on the view model's event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol, cast

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable

from rxmps3.jupyter.frames import Frames

__all__ = ["AWAY_AFTER", "Carrier", "Message", "ViewModel"]

logger = logging.getLogger("rxmps3")

AWAY_AFTER = 15.0
"""Seconds after which a page that said nothing counts as gone; pages say something every 4."""

Message = Mapping[str, Any]


class Carrier(Protocol):
    """What brings a view model to pages. Called on the view model's loop."""

    def set_state(self, name: str, value: Any) -> None:
        """A state has another value."""
        ...

    def send(self, message: Message) -> None:
        """A message to every page."""
        ...


class ViewModel(DisposableBase):
    """State and messages of one widget.

    Args:
        loop: where everything happens.
        fps: how often pages are brought up to date, at most, a second.
        **state: the states there are and what they are at first.
    """

    view = ""
    """The name of its front end: ``static/VIEW.js``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fps: float, **state: Any) -> None:
        self.loop = loop
        self.state: dict[str, Any] = {"problem": "", "status": None, **state}
        self.disposed = False
        self._carrier: Carrier | None = None
        self._pages: dict[str, float] = {}
        self._begun = loop.time()
        self._behind = False
        self._frames: Frames[None] = Frames(loop, fps, self._frame)
        self._subscriptions = CompositeDisposable()

    # -- for a carrier ---------------------------------------------------------------------------------------

    def attach(self, carrier: Carrier) -> None:
        """Bring this to pages from now on; what the state is now, the carrier reads itself."""
        self._carrier = carrier

    def receive(self, message: Any) -> None:
        """A message from a page. What is none is left."""
        if not isinstance(message, dict):
            return
        said = cast("dict[str, Any]", message)
        kind, page = said.get("kind"), said.get("view")
        if not isinstance(kind, str) or not isinstance(page, str):
            return
        if kind == "bye":
            self._pages.pop(page, None)
            self.left(page)
            return
        self._pages[page] = self.loop.time()
        if kind == "here":
            self.send({"kind": "alive", "view": page})
            if self._behind:
                self.wake()
            return
        try:
            self.asked(kind, page, said)
        except Exception as error:
            logger.warning("a page asked for %r, and that failed: %r", kind, error)
            self.send({"kind": "refused", "view": page, "reason": f"{type(error).__name__}: {error}"})

    def changed(self, name: str, value: Any) -> None:
        """A page has set a state."""
        if self.state.get(name) != value:
            self.state[name] = value

    # -- for view models -------------------------------------------------------------------------------------

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        """A page wants something. To be overridden."""

    def left(self, page: str) -> None:
        """A page shows this no longer. To be overridden."""

    def take(self) -> None:
        """Take in what has come since the last frame, watched or not. To be overridden."""

    def show(self) -> None:
        """Bring the pages up to date. Called while somebody looks. To be overridden."""

    def set(self, name: str, value: Any) -> None:
        """Give a state another value. On the loop."""
        if self.state.get(name) != value:
            self.state[name] = value
            if self._carrier is not None:
                self._carrier.set_state(name, value)

    def send(self, message: Message) -> None:
        """Send a message. On the loop."""
        if self._carrier is not None:
            self._carrier.send(message)

    def wake(self) -> None:
        """Something has come: take it in and show it with the next frame. From any thread."""
        self._frames.push(None)

    def flush(self) -> None:
        """Take in and show now what waits. On the loop."""
        self._frames.flush()

    def owns(self, subscription: DisposableBase) -> None:
        """Dispose it with this."""
        self._subscriptions.add(subscription)

    def follow_status(self, status: Observable[Any]) -> None:
        """Keep the state ``status`` what a database says of itself."""

        def told(status: Any) -> None:
            trouble = None if status.last_error is None else str(status.last_error)
            seen = {"online": status.online, "pending": status.pending, "trouble": trouble}
            self.call(lambda: self.set("status", seen))

        def closed() -> None:
            self.call(lambda: self.set("status", {"closed": True}))

        self.owns(status.subscribe(told, on_completed=closed))

    def call(self, action: Any) -> None:
        """Do something soon, on the loop. From any thread; nothing once the loop has closed."""
        try:
            self.loop.call_soon_threadsafe(lambda: None if self.disposed else action())
        except RuntimeError:
            pass  # the kernel is shutting down

    @property
    def pages(self) -> list[str]:
        """The pages that show this now."""
        since = self.loop.time() - AWAY_AFTER
        for page in [page for page, heard in self._pages.items() if heard < since]:
            del self._pages[page]
            self.left(page)
        return list(self._pages)

    @property
    def watched(self) -> bool:
        """Whether somebody looks, or may be about to."""
        return bool(self.pages) or self.loop.time() - self._begun < AWAY_AFTER

    def dispose(self) -> None:
        """Follow nothing any more; what is on the screen stays there. On the loop."""
        if self.disposed:
            return
        self._subscriptions.dispose()
        self._frames.flush()
        self._frames.stop()
        self.disposed = True

    def _frame(self, _: None) -> None:
        try:
            self.take()
            self._behind = not self.watched
            if not self._behind:
                self.show()
        except Exception as error:  # shown, as nobody reads a kernel's standard error
            logger.warning("%s: %r", self.view, error, exc_info=error)
            self.set("problem", f"{type(error).__name__}: {error}")
