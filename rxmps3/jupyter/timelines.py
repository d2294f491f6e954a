"""A slider over the log: the state at each version, what changed, and who changed it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import traitlets
from reactivex import Observable
from reactivex.subject import BehaviorSubject

from rxmps3.database.past.past import Past, states_after
from rxmps3.errors import Error, InvalidOption, NotKept
from rxmps3.jupyter.frames import kernel_loop
from rxmps3.jupyter.sources import is_database
from rxmps3.jupyter.text import short
from rxmps3.jupyter.values import visible
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget
from rxmps3.model.missing import MISSING
from rxmps3.runtime.clock import SystemClock, spawn

__all__ = ["TimelineModel", "TimelineView", "timeline"]

MOST_CHANGES = 100
MOST_KEYS = 200
MOST_CHARACTERS = 200
MOST_STEPS = 50
"""Log entries that are read to get to a state from one before it; further away, a checkpoint may be nearer."""
MOST_KEPT = 256
"""How many states are kept; they share what they have in common."""
FASTEST = 50.0


class TimelineModel(ViewModel):
    """A position in the log, and the state there.

    States: ``first`` and ``last``, the available log versions; ``at``, the one shown; ``following``, whether it stays
    at the end; ``playing``; ``speed``, versions a second; ``moment``, of the version shown: ``by``, ``date`` (seconds
    since 1970), ``changes`` (key, before, after, as texts), ``keys`` (key and text), ``total``.

    Pages send ``go`` (with ``at``), ``follow``, ``play`` (with ``speed``) and ``pause``. While no page shows it and
    nobody observes ``shown``, it reads nothing, and stands still where it plays.
    """

    view = "timeline"

    def __init__(self, db: Any, prefix: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            loop, 20, first=0, last=0, at=0, following=True, playing=False, speed=2.0, moment=None, prefix=prefix,
            title=prefix or db.name,
        )  # fmt: skip
        self.shown: BehaviorSubject[Mapping[str, Any]] = BehaviorSubject({})
        self._db = db
        self._prefix = prefix
        self._blocking = not inspect.iscoroutinefunction(db.get)
        self._clock = SystemClock()
        self._pasts: dict[int, Any] = {}
        self._wanted: int | None = None
        self._last = 0
        self._woken = asyncio.Event()
        self._task = spawn(self._run(), "rxmps3 timeline")
        self.owns(db.versions.subscribe(self._heard))
        self.follow_status(db.status)

    # -- what is heard ---------------------------------------------------------------------------------------

    def _heard(self, version: Any) -> None:
        if str(version.id).isdecimal():
            self._last = max(self._last, int(version.id))
            self.wake()

    def take(self) -> None:
        if self.shown.observers:
            self._follow()

    def show(self) -> None:
        self._follow()
        self._woken.set()

    def _follow(self) -> None:
        if self._last > self.state["last"]:
            self.set("last", self._last)
            if self.state["following"]:
                self._go(self._last)

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        if kind == "go":
            self.set("playing", False)
            at = min(max(int(message["at"]), self.state["first"]), self.state["last"])
            self.set("following", at == self.state["last"] and bool(message.get("follow")))
            self._go(at)
        elif kind == "follow":
            self.set("playing", False)
            self.set("following", True)
            self._go(self.state["last"])
        elif kind == "play":
            self.set("speed", min(max(float(message.get("speed") or 2), 0.1), FASTEST))
            self.set("following", False)
            if self.state["at"] >= self.state["last"]:
                self._go(self.state["first"])
            self.set("playing", True)
            self._woken.set()
        elif kind == "pause":
            self.set("playing", False)

    def _go(self, at: int) -> None:
        self._wanted = at
        self._woken.set()

    def dispose(self) -> None:
        self._task.cancel()
        super().dispose()

    # -- reading ---------------------------------------------------------------------------------------------

    async def _ask(self, call: Callable[[], Any]) -> Any:
        """Call a database method, async or blocking."""
        return await asyncio.to_thread(call) if self._blocking else await call()

    async def _run(self) -> None:
        """Show the newest requested version, and step while playing and somebody sees it."""
        await self._begin()
        while True:
            seen = self.watched or bool(self.shown.observers)
            if self._wanted is None and not (self.state["playing"] and seen):
                if self.state["playing"]:
                    self.wake()  # notes that no page is there: the next one that comes sees it go on
                self._woken.clear()
                await self._woken.wait()
                continue
            if self._wanted is not None:
                at, self._wanted = self._wanted, None
                await self._show(at)
                continue
            begun = self._clock.monotonic()
            if self.state["at"] >= self.state["last"]:
                self.set("playing", False)
                self.set("following", True)
                continue
            await self._show(self.state["at"] + 1)
            rest = 1 / self.state["speed"] - (self._clock.monotonic() - begun)
            if rest > 0 and self._wanted is None:
                self._woken.clear()
                try:
                    await asyncio.wait_for(self._woken.wait(), rest)
                except TimeoutError:
                    pass

    async def _begin(self) -> None:
        try:
            await self._ask(self._db.refresh)
            self._last = max(self._last, int(self._db.states.value.confirmed.version or 0))
            self.set("last", self._last)
            await self._past(0)
        except NotKept as error:
            self.set("first", int(error.oldest or 0))
        except (Error, ValueError) as error:
            self.set("problem", str(error))
        self._go(self._last)

    async def _past(self, seq: int) -> Any:
        """The state there: from one shortly before it, if that is kept, by the entries between them alone."""
        if seq not in self._pasts:
            near = max((kept for kept in self._pasts if seq - MOST_STEPS <= kept < seq), default=None)
            later = None if near is None else await self._later(self._pasts[near], seq)
            self._pasts[seq] = later or await self._ask(lambda: self._db.at(seq))
            while len(self._pasts) > MOST_KEPT:
                del self._pasts[next(iter(self._pasts))]
        return self._pasts[seq]

    async def _later(self, past: Any, seq: int) -> Any:
        """The state at a version after a state, as `_past`; None if there is none now."""

        async def read() -> Past | None:
            async with aclosing(states_after(past.past if self._blocking else past, seq)) as following:
                states = [state async for state in following]
            return states[-1] if states else None

        if not self._blocking:
            return await read()
        found = await asyncio.to_thread(past._portal.call, "at", read)
        return None if found is None else type(past)(past._portal, found)

    async def _show(self, at: int) -> None:
        try:
            moment, values = await self._moment(at)
        except NotKept as error:
            self.set("first", min(int(error.oldest or at), self.state["last"]))
            self.set("problem", str(error))
            self.set("playing", False)
        except Error as error:
            self.set("problem", str(error))
            self.set("playing", False)
        else:
            self.set("problem", "")
            self.set("at", at)
            self.set("moment", moment)
            self.shown.on_next(values)

    async def _moment(self, at: int) -> tuple[dict[str, Any], Mapping[str, Any]]:
        before = await self._past(at - 1) if at > self.state["first"] else None
        past = await self._past(at)
        changes: Mapping[str, Any] = {}
        if before is not None:
            changes = await self._ask(lambda: self._db.diff(before, past))
        everything = bool(self.shown.observers)
        first = None if everything else MOST_KEYS
        values = await self._ask(lambda: past.get_prefix(self._prefix, first=first))
        kept = [key for key in changes if key.startswith(self._prefix)]
        moment = {
            "by": visible(past.by),
            "date": past.date.timestamp() if past.date is not None else 0,
            "changes": [[key, _text(changes[key].before), _text(changes[key].after)] for key in kept[:MOST_CHANGES]],
            "changed": len(kept),
            "keys": [[key, _text(value)] for key, value in list(values.items())[:MOST_KEYS]],
            "total": len(past.keys(self._prefix)),
        }
        return moment, values


def _text(value: Any) -> str | None:
    return None if value is MISSING else short(value if isinstance(value, str) else _json(value), MOST_CHARACTERS)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, default=repr)


class TimelineView(Widget[TimelineModel]):
    """A timeline widget. Created by `timeline`."""

    first = traitlets.Any().tag(sync=True)
    last = traitlets.Any().tag(sync=True)
    at = traitlets.Any().tag(sync=True)
    following = traitlets.Any().tag(sync=True)
    playing = traitlets.Any().tag(sync=True)
    speed = traitlets.Any().tag(sync=True)
    moment = traitlets.Any().tag(sync=True)
    prefix = traitlets.Any().tag(sync=True)
    title = traitlets.Any().tag(sync=True)

    @property
    def state_then(self) -> Observable[Mapping[str, Any]]:
        """The keys and values at the version shown, for `table`, `chart`, `live` or your own operators."""
        return self.model.shown

    def __repr__(self) -> str:
        moment = self.model.state["moment"]
        if moment is None:
            return f"version {self.model.state['at']}"
        changes = "\n".join(f"{key}  {before} → {after}" for key, before, after in moment["changes"])
        return visible(f"version {self.model.state['at']} of {self.model.state['last']}, by {moment['by']}\n{changes}")


def timeline(db: Any, prefix: str = "") -> TimelineView:
    """Step through the log, or play it.

    It shows the state at any version that the log still has, what that version changed, who committed it and when. The
    state is also the Observable ``state_then``: ``table(line.state_then)`` moves with the slider. It reads by
    ``db.at``; a version shortly after one that it has costs a request for each log entry between them.

    Args:
        db: a database whose protocol keeps its past, as the sequenced log does.
        prefix: the keys to show.

    Raises:
        WrongLoop: no event loop is running in this thread.
        InvalidOption: the argument is not a database.
    """
    if not is_database(db):
        raise InvalidOption(f"{db!r} is not a database", operation="timeline")
    return TimelineView(TimelineModel(db, prefix, kernel_loop()))
