"""A slider over the log: the state at each version, what changed, and who changed it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, cast

import traitlets
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.subject import Subject

from rxmps3.database.past.history import changed_keys
from rxmps3.database.past.past import Past, states_after
from rxmps3.errors import Error, InvalidOption, NotKept
from rxmps3.jupyter.frames import kernel_loop
from rxmps3.jupyter.sources import is_database
from rxmps3.jupyter.text import short, size_text
from rxmps3.jupyter.values import visible
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget
from rxmps3.model import valuetext
from rxmps3.model.entries import Entry, Inline
from rxmps3.runtime.clock import SystemClock, spawn

__all__ = ["TimelineModel", "TimelineView", "timeline"]

MOST_CHANGES = 100
MOST_KEYS = 200
MOST_CHARACTERS = 200
MOST_STEPS = 50
"""Log entries that are read to get to a state from one before it; further away, a checkpoint may be nearer."""
MOST_KEPT = 256
"""How many states are kept; they share what they have in common. And how many texts of large values."""
FASTEST = 50.0


class _States(Subject[Mapping[str, Any]]):
    """The states shown; a new observer gets the current one.

    Args:
        ask: for the current one, if it was not read as nobody observed.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask = ask
        self._latest: Mapping[str, Any] | None = None

    def show(self, state: Mapping[str, Any] | None) -> None:
        """The state now; None if it was not read."""
        with self.lock:
            self._latest = state
        if state is not None:
            self.on_next(state)

    def _subscribe_core(
        self, observer: ObserverBase[Mapping[str, Any]], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        with self.lock:
            subscription = super()._subscribe_core(observer, scheduler)
            if self._latest is None:
                self._ask()
            else:
                observer.on_next(self._latest)
        return subscription


class TimelineModel(ViewModel):
    """A position in the log, and the state there.

    States: ``first`` and ``last``, the available log versions; ``at``, the one shown; ``aim``, the one asked for last,
    which is shown once it has been read; ``following``, whether it stays at the end; ``playing``; ``speed``, versions a
    second; ``moment``, of the version shown: ``by``, ``date`` (seconds since 1970), ``changes`` (key, before, after),
    ``keys`` (key and value), ``total``. A value is a text, or, where it is in an object of its own that nobody has
    looked at, ``{"large": "3.2 MB", "version": …}``.

    Pages send ``go`` (with ``at``), ``follow``, ``play`` (with ``speed``), ``pause`` and ``look`` (with ``key`` and
    ``version``), which downloads a large value. While no page shows it and nobody observes ``shown``, it reads nothing,
    and stands still where it plays.
    """

    view = "timeline"

    def __init__(self, db: Any, prefix: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            loop, 20, first=0, last=0, at=0, aim=0, following=True, playing=False, speed=2.0, moment=None,
            prefix=prefix, title=prefix or db.name,
        )  # fmt: skip
        self.shown = _States(lambda: self.call(self._show_all))
        self._db = db
        self._prefix = prefix
        self._blocking = not inspect.iscoroutinefunction(db.get)
        self._clock = SystemClock()
        self._pasts: dict[int, Any] = {}
        self._looked_at: dict[tuple[str, str], str | None] = {}  # key and version of large values → their texts
        self._to_look_at: list[tuple[str, str]] = []
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
            if self.state["aim"] >= self.state["last"]:
                self._go(self.state["first"])
            self.set("playing", True)
            self._woken.set()
        elif kind == "pause":
            self.set("playing", False)
        elif kind == "look":
            self._to_look_at.append((str(message["key"]), str(message["version"])))
            self._woken.set()

    def _show_all(self) -> None:
        """Somebody asks for the whole state, of which nobody knows more than what pages show."""
        if self._wanted is None and self.state["moment"] is not None:
            self._go(self.state["at"])

    def _go(self, at: int) -> None:
        self._wanted = at
        self.set("aim", at)
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
            if self._to_look_at:
                await self._look_at(*self._to_look_at.pop(0))
                continue
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
            if rest > 0 and self._wanted is None and not self._to_look_at:
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
            self.shown.show(values)
        if self._wanted is None:
            self.set("aim", self.state["at"])

    async def _moment(self, at: int) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
        """What pages show of a version; and the whole state, if anybody observes it."""
        before = await self._past(at - 1) if at > self.state["first"] else None
        past = await self._past(at)
        values: Mapping[str, Any] | None = None
        if self.shown.observers:
            values = await self._ask(lambda: past.get_prefix(self._prefix))
        new = self._entries(past)
        old = new if before is None else self._entries(before)
        keys = past.keys(self._prefix)
        changed = [] if before is None else changed_keys(self._plain_past(before), self._plain_past(past), self._prefix)
        moment = {
            "by": visible(past.by),
            "date": past.date.timestamp() if past.date is not None else 0,
            "changes": [
                [key, self._shown(key, old.get(key)), self._shown(key, new.get(key))] for key in changed[:MOST_CHANGES]
            ],
            "changed": len(changed),
            "keys": [[key, self._shown(key, new[key])] for key in keys[:MOST_KEYS]],
            "total": len(keys),
        }
        return moment, values

    # -- values ----------------------------------------------------------------------------------------------

    def _entries(self, past: Any) -> Mapping[str, Entry]:
        return self._plain_past(past).entries

    def _plain_past(self, past: Any) -> Past:
        return past.past if self._blocking else past

    def _shown(self, key: str, entry: Entry | None) -> str | dict[str, str] | None:
        """What is shown of a value; of one that would have to be downloaded, its size."""
        if entry is None:
            return None
        if isinstance(entry.content, Inline):
            return _text(valuetext.decode(entry.content.text, f"key {key!r}"))
        if (key, entry.version) in self._looked_at:
            return self._looked_at[key, entry.version]
        size = size_text(entry.content.size)
        if entry.content.media is not None:
            return f"{size} of {visible(entry.content.media)}"  # of which there is no text
        return {"large": size, "version": entry.version}

    async def _look_at(self, key: str, version: str) -> None:
        """Download a large value of the version that is shown, or of the one before, and show its beginning."""
        at = self.state["at"]
        for past in (self._pasts.get(at), self._pasts.get(at - 1)):
            entry = None if past is None else self._entries(past).get(key)
            if past is None or entry is None or entry.version != version:
                continue
            try:
                value = await self._ask(lambda past=past: past.get(key))
            except Error as error:
                self.set("problem", str(error))
                self.wake()
                return
            self._looked_at[key, version] = _text(value)
            while len(self._looked_at) > MOST_KEPT:
                del self._looked_at[next(iter(self._looked_at))]
            if self._wanted is None:
                self._wanted = at
            return


def _text(value: Any) -> str:
    return short(value if isinstance(value, str) else _json(value), MOST_CHARACTERS)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, default=repr)


class TimelineView(Widget[TimelineModel]):
    """A timeline widget. Created by `timeline`."""

    first = traitlets.Any().tag(sync=True)
    last = traitlets.Any().tag(sync=True)
    at = traitlets.Any().tag(sync=True)
    aim = traitlets.Any().tag(sync=True)
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
        changes = "\n".join(f"{key}  {_plain(old)} → {_plain(new)}" for key, old, new in moment["changes"])
        return visible(f"version {self.model.state['at']} of {self.model.state['last']}, by {moment['by']}\n{changes}")


def _plain(shown: Any) -> str:
    return str(cast("dict[str, str]", shown)["large"] if isinstance(shown, dict) else shown)


def timeline(db: Any, prefix: str = "") -> TimelineView:
    """Step through the log, or play it.

    It shows the state at any version that the log still has, what that version changed, who committed it and when. The
    state is also the Observable ``state_then``: ``table(line.state_then)`` moves with the slider. It reads by
    ``db.at``; a version shortly after one that it has costs a request for each log entry between them. Of a value that
    is in an object of its own it shows the size, until you click that.

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
