"""A database inspector: key tree, values, end of the log, pending writes and status."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import deque
from contextlib import aclosing
from typing import Any

import traitlets
from reactivex import operators as ops

from rxmps3.database.past.history import changed_keys
from rxmps3.database.past.past import Past, states_after
from rxmps3.errors import Error, InvalidOption
from rxmps3.jupyter.frames import kernel_loop
from rxmps3.jupyter.sources import is_database
from rxmps3.jupyter.text import short, size_text
from rxmps3.jupyter.values import visible
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.jupyter.widget import Widget
from rxmps3.model.entries import ContentObject
from rxmps3.model.missing import MISSING
from rxmps3.model.state import View
from rxmps3.runtime.clock import spawn

__all__ = ["InspectorModel", "InspectorView", "inspector"]

MOST_CHILDREN = 500
MOST_FOUND = 200
MOST_VERSIONS = 200
MOST_PENDING = 100
EARLIER_VERSIONS = 20
"""How many earlier versions of the log are read."""
MOST_NAMED = 8
"""Keys that a line of the log names."""
MOST_CHARACTERS = 100_000


class InspectorModel(ViewModel):
    """The contents and the state of a database.

    States: ``facts`` (names and texts), ``counts`` (names and numbers), ``log`` (newest first: ``id``, ``by``,
    ``time``, ``keys``, ``more``), ``pending`` (version, stage and keys), ``total``.

    A page sends ``children`` with a ``path`` (what follows it up to the next ``/``), ``find`` with a ``text``, and
    ``watch`` with a ``key``, and receives messages of the same kinds, and ``value``: its JSON as ``text``, or of bytes
    their size and type as ``bytes``. Changed keys are announced by ``touched`` with ``keys``.
    """

    view = "inspector"

    def __init__(self, db: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, 5, facts=[], counts=[], log=[], pending=[], total=0, title=db.name)
        self.db = db
        self._log: deque[dict[str, Any]] = deque(maxlen=MOST_VERSIONS)
        self._earlier: list[dict[str, Any]] = []
        self._touched: set[str] = set()
        self._watched: dict[str, str] = {}
        self._view: View | None = None
        self.owns(db.versions.subscribe(self._version))
        self.owns(db.states.subscribe(self._seen))
        self.owns(db.pending.subscribe(self._moved))
        self.owns(db.status.subscribe(self._moved))
        self.follow_status(db.status)
        self._reading = spawn(self._read_earlier(), "rxmps3 inspector")
        self._timer = loop.call_later(1, self._tick)
        self.wake()

    def _tick(self) -> None:
        """Update the counts, which change with every request and are announced by no stream."""
        if self.watched:
            self.wake()
        self._timer = self.loop.call_later(1, self._tick)

    def dispose(self) -> None:
        self._timer.cancel()
        self._reading.cancel()
        super().dispose()

    async def _read_earlier(self) -> None:
        """The last versions before now, if the log keeps its past; else none."""
        last = self.db.states.value.confirmed.version
        if not last.isdecimal():
            return
        begin = max(0, int(last) - EARLIER_VERSIONS)

        async def read(before: Past) -> None:
            async with aclosing(states_after(before, int(last))) as following:
                async for state in following:
                    keys = [[key, key not in state.entries] for key in changed_keys(before, state)]
                    time = state.date.timestamp() if state.date is not None else 0
                    self._earlier.append(_line(str(begin + len(self._earlier) + 1), state.by, time, keys))
                    before = state

        try:
            if inspect.iscoroutinefunction(self.db.at):
                await read(await self.db.at(begin))
            else:
                past = await asyncio.to_thread(self.db.at, begin)
                await asyncio.to_thread(past._portal.call, "at", lambda: read(past.past))
        except (Error, ValueError):
            return  # the log is shown from now on, then
        self.wake()

    def _version(self, version: Any) -> None:
        if not hasattr(version, "writes"):
            said = _line(version.id, "", 0, []) | {"reset": True}
        else:
            keys = [[key, entry is None] for write in version.writes for key, entry in write.update.items()]
            time = version.time.timestamp() if version.time is not None else 0
            said = _line(version.id, version.by, time, keys)
        self._log.appendleft(said)
        self.wake()

    def _moved(self, _: Any) -> None:
        self.wake()

    def _seen(self, view: View) -> None:
        """Note which keys are not as before, without the values: only that of a key that is watched is shown."""
        old, self._view = self._view, view
        if old is None:
            return
        tops = {*old.overlay, *view.overlay}
        own = {key for key in tops if old.overlay.get(key) != view.overlay.get(key)}
        self._touched |= own.union(old.confirmed.entries.cells.differing(view.confirmed.entries.cells))
        self.wake()

    def show(self) -> None:
        status, cost = self.db.status.value, self.db.cost.value
        self.set("total", len(self.db))
        self.set("log", [*self._log, *reversed(self._earlier)][:MOST_VERSIONS])
        pending = self.db.pending.value
        self.set("pending", [[one.version, one.stage, list(one.keys[:MOST_NAMED])] for one in pending[:MOST_PENDING]])
        self.set(
            "facts",
            [
                ["manifest", self.db.name],
                ["protocol", self.db.protocol],
                ["newest version", status.head or "none"],
                ["online", {None: "not known yet", True: "yes", False: "no"}[status.online]],
                ["cost", f"{cost.per_month:.2f} {cost.prices.currency} a month at this pace"],
                ["last trouble", str(status.last_error) if status.last_error is not None else "none"],
            ],
        )
        self.set(
            "counts",
            [
                ["keys", len(self.db)],
                ["pending", status.pending],
                ["requests", status.requests],
                ["bytes up", status.bytes_up],
                ["bytes down", status.bytes_down],
            ],
        )
        touched, self._touched = self._touched, set()
        if touched:
            self.send({"kind": "touched", "keys": sorted(touched)[:MOST_FOUND]})
            for page, key in self._watched.items():
                if key in touched:
                    self._tell_value(page, key)

    def asked(self, kind: str, page: str, message: dict[str, Any]) -> None:
        if kind == "children":
            self.send({"kind": kind, "view": page, **self.children(str(message.get("path") or ""))})
        elif kind == "find":
            text = str(message.get("text") or "")
            folded = text.casefold()
            found = [key for key in self.db.keys("") if folded in key.casefold()]
            self.send({"kind": kind, "view": page, "text": text, "keys": found[:MOST_FOUND], "total": len(found)})
        elif kind == "watch":
            key = str(message.get("key"))
            self._watched[page] = key
            self._tell_value(page, key)

    def left(self, page: str) -> None:
        self._watched.pop(page, None)

    def children(self, path: str) -> dict[str, Any]:
        """The names one level below a path: for each, whether it is a key and how many keys are below it."""
        below: dict[str, list[int]] = {}
        for key in self.db.keys(path):
            name, slash, _ = key[len(path) :].partition("/")
            counts = below.setdefault(name + slash, [0, 0])
            counts[0 if slash else 1] += 1
        entries = [[name, bool(leaf), inner] for name, (inner, leaf) in list(below.items())[:MOST_CHILDREN]]
        return {"path": path, "entries": entries, "more": max(0, len(below) - MOST_CHILDREN)}

    def _tell_value(self, page: str, key: str) -> None:
        """Send a value as soon as it is loaded; of bytes, which are no text, what the log says of them."""

        def say(text: str | None, **more: Any) -> None:
            view = self.db.states.value
            entry = view.look_up(key)
            said = {
                "kind": "value",
                "view": page,
                "key": key,
                "text": text,
                "version": "" if entry is None else entry.version,
                "pending": view.is_pending(key),
                **more,
            }
            self.call(lambda: self.send(said))

        def tell(value: Any) -> None:
            there = value is not MISSING and self.db.states.value.look_up(key) is not None
            text = json.dumps(value, ensure_ascii=False, indent=2, default=repr) if there else None
            say(
                None if text is None else short(text, MOST_CHARACTERS),
                size=None if text is None else len(text.encode()),
            )

        def closed(_: Exception) -> None:
            """There is no first value of what has completed."""

        entry = self.db.states.value.look_up(key)
        if entry is not None and isinstance(entry.content, ContentObject) and entry.content.media is not None:
            say(None, bytes=f"{size_text(entry.content.size)} of {entry.content.media}")
            return
        try:
            self.db.observe(key, MISSING).pipe(ops.first()).subscribe(tell, on_error=closed)
        except Error as error:
            self.set("problem", str(error))


def _line(id: str, by: str, time: float, keys: list[list[Any]]) -> dict[str, Any]:
    """One row of the log."""
    more = max(0, len(keys) - MOST_NAMED)
    return {"id": id, "by": by, "time": time, "keys": keys[:MOST_NAMED], "more": more}


class InspectorView(Widget[InspectorModel]):
    """An inspector widget. Created by `inspector`."""

    facts = traitlets.Any().tag(sync=True)
    counts = traitlets.Any().tag(sync=True)
    log = traitlets.Any().tag(sync=True)
    pending = traitlets.Any().tag(sync=True)
    total = traitlets.Any().tag(sync=True)
    title = traitlets.Any().tag(sync=True)

    def __repr__(self) -> str:
        state = self.model.state
        facts = [f"{name}: {what}" for name, what in state["facts"] + state["counts"]]
        return visible("\n".join([repr(self.model.db), *facts]))


def inspector(db: Any) -> InspectorView:
    """Inspect a database: keys as a tree, live values, the end of the log, pending writes and requests.

    Raises:
        WrongLoop: no event loop is running in this thread.
        InvalidOption: the argument is not a database.
    """
    if not is_database(db):
        raise InvalidOption(f"{db!r} is not a database", operation="inspector")
    return InspectorView(InspectorModel(db, kernel_loop()))
