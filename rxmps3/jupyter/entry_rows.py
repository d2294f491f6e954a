"""The rows of a database for tables and charts, without the large values that these do not need."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxmps3.errors import AccessDenied, Closed, Error, Unavailable
from rxmps3.jupyter.sources import Mark, Rows
from rxmps3.jupyter.text import size_text
from rxmps3.jupyter.values import visible
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.model import valuetext
from rxmps3.model.entries import ContentObject, Entry, Inline
from rxmps3.model.missing import MISSING
from rxmps3.model.state import View
from rxmps3.runtime.clock import SystemClock, spawn

__all__ = ["EntryRows", "Large", "has_fields", "is_small"]

MOST_READ = 256 * 1024
"""Bytes of a value in an object of its own that is read to be shown; a larger one is read once it is asked for."""
AGAIN_SECONDS = 5.0
"""Until values are asked for again that the storage did not give."""


class Large:
    """Stands for a value that is not here.

    Attributes:
        text: what is shown instead: its size, and its type if it is no JSON.
        version: which write it is of, by which it can be asked for; "" if it has no text to be shown.
    """

    def __init__(self, entry: Entry) -> None:
        size, media = (0, None) if isinstance(entry.content, Inline) else (entry.content.size, entry.content.media)
        self.text = size_text(size) + ("" if media is None else f" of {visible(media)}")
        self.version = entry.version if media is None else ""

    def __repr__(self) -> str:
        return f"({self.text}, not loaded)"


def is_small(content: ContentObject) -> bool:
    """Whether it is read to be shown."""
    return content.size <= MOST_READ


def has_fields(content: ContentObject) -> bool:
    """Whether it may have fields or be a number: all but bytes."""
    return content.media is None


class EntryRows(Rows):
    """The rows under a prefix of a database, as its view has them.

    Args:
        needs: whether a value in an object of its own is read at once; others are read by ``look``.
    """

    def __init__(self, db: Any, prefix: str, model: ViewModel, needs: Callable[[ContentObject], bool]) -> None:
        super().__init__()
        self._db = db
        self._prefix = prefix
        self._model = model
        self._needs = needs
        self._blocking = not inspect.iscoroutinefunction(db.get)
        self._view: View | None = None
        self._next: View | None = None
        self._wanted: dict[str, Entry] = {}  # whose values are to be read
        self._reading: asyncio.Task[None] | None = None
        self._versions: list[Any] = []
        self._clock = SystemClock()

    def follow(self) -> DisposableBase:
        """Follow the database until this is disposed."""

        self._db.observe_prefix(self._prefix)  # raises if that cannot be followed

        def told(kind: str, what: Any) -> None:
            self.put(kind, what)
            self._model.wake()

        def pending(receipts: Any) -> None:
            told("pending", frozenset(key for one in receipts for key in one.keys if key.startswith(self._prefix)))

        def view(view: View) -> None:
            told("view", view)

        def closed() -> None:
            told("end", "closed")

        def version(version: Any) -> None:
            if hasattr(version, "writes"):
                told("version", version)

        def end() -> None:
            if self._reading is not None:
                self._model.call(self._reading.cancel)

        return CompositeDisposable(
            self._db.states.subscribe(view, on_completed=closed),
            self._db.versions.subscribe(version),
            self._db.pending.subscribe(pending),
            Disposable(end),
        )

    def look(self, key: str, version: str) -> None:
        """Read a value that is not here, if it is still that of the key."""
        entry = None if self._view is None else self._view.look_up(key)
        if entry is not None and entry.version == version and isinstance(self.values.get(key), Large):
            self._read({key: entry})

    def mark(self, key: str) -> Mark:
        if key not in self.pending:
            return super().mark(key)  # else it is that of what the pending write replaces
        waiting = None if self._view is None else self._view.pending_on(key)
        by = None if waiting is None else waiting.write.by
        return Mark(self._db.by if by is None else by)

    # -- what is heard ---------------------------------------------------------------------------------------

    def take(self) -> set[str]:
        changed = super().take()
        if self._next is not None:
            self._move(self._next, changed)
            self._next = None
        for version in self._versions:  # what they have written is there now
            super()._take_version(version, changed)
        self._versions.clear()
        return changed

    def _take_view(self, view: View, changed: set[str]) -> None:
        self._next = view

    def _take_version(self, version: Any, changed: set[str]) -> None:
        self._versions.append(version)

    def _take_values(self, read: Mapping[str, tuple[Entry, Any]], changed: set[str]) -> None:
        """Values that were read: those that are still wanted."""
        for key, (entry, value) in read.items():
            if self._wanted.get(key) is entry:
                del self._wanted[key]
                self._set(key, value, changed)
        self.loaded = self.loaded or not self._wanted

    def _move(self, view: View, changed: set[str]) -> None:
        """Show another view: the rows that differ from the one before."""
        if not view.loaded:
            return
        old, self._view = self._view, view
        if old is None:
            keys = view.keys_under(self._prefix)
        else:
            differing = set(old.confirmed.entries.cells.differing(view.confirmed.entries.cells))
            for key in differing:
                self.marks.pop(key, None)
            keys = {*differing, *old.overlay, *view.overlay}
        needed: dict[str, Entry] = {}
        for key in keys:
            if not key.startswith(self._prefix):
                continue
            entry = view.look_up(key)
            before = None if old is None else old.look_up(key)
            if entry is None:
                self._wanted.pop(key, None)
                if before is not None:
                    self._set(key, MISSING, changed)
            elif entry.same_value(before) and key not in self._wanted:
                if isinstance(self.values.get(key), Large):
                    self._set(key, Large(entry), changed)
            else:
                self._wanted.pop(key, None)
                if isinstance(entry.content, Inline):
                    self._set(key, valuetext.decode(entry.content.text, f"key {key!r}"), changed)
                elif self._needs(entry.content):
                    needed[key] = entry
                else:
                    self._set(key, Large(entry), changed)
        self._read(needed)
        self.loaded = self.loaded or not self._wanted

    # -- reading ---------------------------------------------------------------------------------------------

    def _read(self, entries: dict[str, Entry]) -> None:
        self._wanted |= entries
        if self._wanted and (self._reading is None or self._reading.done()):
            self._reading = spawn(self._read_wanted(), "rxmps3 table")

    async def _read_wanted(self) -> None:
        done: dict[str, Entry] = {}  # which the next frame takes out of what is wanted
        while wanted := {key: entry for key, entry in self._wanted.items() if done.get(key) is not entry}:
            try:
                read = self._values(wanted, await self._texts(wanted))
            except Closed:
                return
            except (Unavailable, AccessDenied) as error:
                self._say(str(error))
                await self._clock.sleep(AGAIN_SECONDS)
                continue
            except Error:
                read = await self._each(wanted)
            else:
                self._say("")
            done |= wanted
            self.put("values", read)
            self._model.flush()

    async def _each(self, wanted: dict[str, Entry]) -> dict[str, tuple[Entry, Any]]:
        """Some values, one of which is damaged or gone: that keeps nobody from the others."""
        read: dict[str, tuple[Entry, Any]] = {}
        for key, entry in wanted.items():
            try:
                read |= self._values({key: entry}, await self._texts({key: entry}))
            except Error as error:
                self._say(str(error))
                read[key] = entry, Large(entry)
        return read

    async def _texts(self, entries: dict[str, Entry]) -> dict[str, str]:
        read = self._db.read_texts
        return await asyncio.to_thread(read, entries) if self._blocking else await read(entries)

    def _values(self, entries: dict[str, Entry], texts: Mapping[str, str]) -> dict[str, tuple[Entry, Any]]:
        return {key: (entry, valuetext.decode(texts[key], f"key {key!r}")) for key, entry in entries.items()}

    def _say(self, problem: str) -> None:
        """Show a problem; "" if it is over."""
        if problem or self._model.state["problem"] == self.trouble:
            self._model.set("problem", problem)
            self._model.wake()
        self.trouble = problem
