"""The state and messages of a view, independent of what carries them to a page.

The interface has two halves, and neither knows about Jupyter:

* In Python a `ViewModel` holds **state** (named JSON values, the same for every page) and exchanges **messages** (JSON
  objects with a ``kind``). A `Carrier` takes both to the pages: anywidget's comm in a notebook, a websocket elsewhere.
* In a page ``render(model, el)`` of ``static/VIEW.js`` draws into an element. Its model is ``{get(name), set(name,
  value), on(name, fn), send(message)}``: ``on`` calls back with each new value of a state, or with each message if the
  name is ``"message"``, and returns a function that unsubscribes.

Every page that shows a view has an id. While it is visible it sends ``{"kind": "here", "view": id}`` every few seconds,
and ``bye`` when it closes. The answer is ``alive``, which tells the page that the kernel responds. A message for one
page names its ``view``; other pages ignore it. When no page has reported for `AWAY_AFTER` seconds, the view model
follows its source without sending; the next ``here`` brings all pages up to date.

Messages and states may be lost in both directions: a page was away too long and was forgotten, a socket was down, a
kernel dropped what it could not place, a notebook server what was too much at once. So a page sends each message with
its ``number``, and ``alive`` says which one it answers, whether one is ``missed``, and how many messages went to this
page alone (``own``) and to all pages (``all``). The state ``revision`` counts the changes of all states, and ``alive``
has it too. A page that finds a difference asks for everything it shows anew; for the states, by ``states``.

What a user does is sent as an ``act``. It is answered by ``done``, or by ``refused`` with a ``reason``, each with its
``number``. A page that gets neither before the next ``alive``, which says that something is missed, tells the user.

A websocket carrier sends the whole state when it is attached, forwards `Carrier.set_states` and `Carrier.send`, and
calls `ViewModel.receive` and `ViewModel.changed` on the view model's event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable

from rxmps3.errors import Error, InvalidOption
from rxmps3.jupyter.frames import Frames

__all__ = ["AWAY_AFTER", "Carrier", "Message", "ViewModel"]

logger = logging.getLogger("rxmps3")

AWAY_AFTER = 15.0
"""Seconds after which a page that said nothing counts as gone; pages say something every 4."""

Message = Mapping[str, Any]


class Carrier(Protocol):
    """Takes a view model to pages. Called on the view model's loop."""

    def set_states(self, states: Mapping[str, Any], *, again: bool = False) -> None:
        """States have new values; or the same ones as before, which a page has not got."""
        ...

    def send(self, message: Message) -> None:
        """Send a message to every page."""
        ...


@dataclass
class _Heard:
    """What was heard from a page.

    Attributes:
        at: the loop time of its last message.
        number: of that message.
        missed: whether messages before it did not arrive, or belong to a time that is forgotten.
        told: the messages sent to this page alone.
    """

    at: float
    number: int = 0
    missed: bool = False
    told: int = 0


class ViewModel(DisposableBase):
    """The state and messages of one view.

    Args:
        loop: where everything runs.
        fps: the maximum number of page updates a second.
        **state: the states and their initial values.
    """

    view = ""
    """The name of its front end: ``static/VIEW.js``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fps: float, **state: Any) -> None:
        self.loop = loop
        self.state: dict[str, Any] = {"problem": "", "status": None, "revision": 0, **state}
        self.disposed = False
        self._carrier: Carrier | None = None
        self._pages: dict[str, _Heard] = {}
        self._told_all = 0
        self._begun = loop.time()
        self._behind = False
        self._broken = ""  # why the last frame could not be shown
        self._frames: Frames[None] = Frames(loop, fps, self._frame)
        self._subscriptions = CompositeDisposable()

    # -- for a carrier ---------------------------------------------------------------------------------------

    def attach(self, carrier: Carrier) -> None:
        """Attach the carrier. It reads the current state itself."""
        self._carrier = carrier

    def receive(self, message: Any) -> None:
        """Handle a message from a page; anything malformed is ignored."""
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
        heard = self._note_page(page, said.get("number"))
        if kind == "here":
            self._answer(page, heard)
            return
        if kind == "states":
            if self._carrier is not None:
                self._carrier.set_states(self.state, again=True)
            return
        what = {"view": page, "number": said["number"]} if "number" in said else {"view": page}
        try:
            if self.disposed and said.get("act"):
                raise InvalidOption("this view has stopped", operation=kind, remedy="run its cell again")
            self.asked(kind, page, said)
        except Exception as error:
            logger.warning("a page asked for %r, and that failed: %r", kind, error)
            reason = str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"
            self.send({"kind": "refused", **what, "reason": reason})
        else:
            if said.get("act"):
                self.send({"kind": "done", **what})

    def _answer(self, page: str, heard: _Heard) -> None:
        self.send(
            {
                "kind": "alive",
                "view": page,
                "number": heard.number,
                "missed": heard.missed,
                "own": heard.told,
                "all": self._told_all,
                "revision": self.state["revision"],
            }
        )
        heard.missed = False
        if self._behind:
            self.wake()

    def _note_page(self, page: str, number: object) -> _Heard:
        heard = self._pages.setdefault(page, _Heard(0.0))
        heard.at = self.loop.time()
        if isinstance(number, int):
            heard.missed |= number != heard.number + 1
            heard.number = number
        return heard

    def changed(self, name: str, value: Any) -> None:
        """Handle a state set by a page."""
        if self.state.get(name) != value:
            self.state[name] = value

    # -- for view models -------------------------------------------------------------------------------------

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        """Handle a page's request. To be overridden."""

    def left(self, page: str) -> None:
        """A page has closed the view. To be overridden."""

    def take(self) -> None:
        """Apply what has arrived since the last frame, watched or not. To be overridden."""

    def show(self) -> None:
        """Bring the pages up to date. Called while the view is watched. To be overridden."""

    def set(self, name: str, value: Any) -> None:
        """Set a state. On the loop."""
        if self.state.get(name) != value:
            self.state[name] = value
            self.state["revision"] += 1
            if self._carrier is not None:
                self._carrier.set_states({name: value, "revision": self.state["revision"]})

    def send(self, message: Message) -> None:
        """Send a message. On the loop."""
        if self._carrier is None:
            return
        if "view" not in message:
            self._told_all += 1
        elif message["kind"] != "alive" and message["view"] in self._pages:
            self._pages[message["view"]].told += 1
        self._carrier.send(message)

    def wake(self) -> None:
        """Schedule the next frame. Callable from any thread."""
        self._frames.push(None)

    def flush(self) -> None:
        """Apply and show what is waiting now. On the loop."""
        self._frames.flush()

    def owns(self, subscription: DisposableBase) -> None:
        """Dispose a resource together with this view model."""
        self._subscriptions.add(subscription)

    def follow_status(self, status: Observable[Any]) -> None:
        """Keep the state ``status`` equal to a database's status."""

        def told(status: Any) -> None:
            trouble = None if status.last_error is None else str(status.last_error)
            seen = {"online": status.online, "pending": status.pending, "trouble": trouble}
            self.call(lambda: self.set("status", seen))

        def closed() -> None:
            self.call(lambda: self.set("status", {"closed": True}))

        self.owns(status.subscribe(told, on_completed=closed))

    def call(self, action: Any) -> None:
        """As `post`, but ignored once the view model is disposed."""
        self.post(lambda: None if self.disposed else action())

    def post(self, action: Any) -> None:
        """Call a function soon, on the loop. Callable from any thread; ignored once the loop is closed."""
        try:
            self.loop.call_soon_threadsafe(action)
        except RuntimeError:
            pass  # the kernel is shutting down

    @property
    def pages(self) -> list[str]:
        """The pages that show the view."""
        since = self.loop.time() - AWAY_AFTER
        for page in [page for page, heard in self._pages.items() if heard.at < since]:
            del self._pages[page]
            self.left(page)
        return list(self._pages)

    @property
    def watched(self) -> bool:
        """Whether a page shows the view, or may be about to."""
        return bool(self.pages) or self.loop.time() - self._begun < AWAY_AFTER

    def dispose(self) -> None:
        """Stop following the source; pages keep what they show. On the loop."""
        if self.disposed:
            return
        self._subscriptions.dispose()
        self._frames.flush()
        self._frames.stop()
        if self.state["status"] != {"closed": True}:
            self.set("status", {"stopped": True})
        self.disposed = True

    def _frame(self, _: None) -> None:
        try:
            self.take()
            self._behind = not self.watched
            if not self._behind:
                self.show()
                if self._broken and self.state["problem"] == self._broken:
                    self.set("problem", "")
                self._broken = ""
        except Exception as error:  # shown, as nobody reads a kernel's standard error
            logger.warning("%s: %r", self.view, error, exc_info=error)
            self._broken = f"{type(error).__name__}: {error}"
            self.set("problem", self._broken)
