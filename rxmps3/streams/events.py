"""Streams of events: what changes from now on, one item per change, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from rxmps3.errors import Corrupt, Error, Failure
from rxmps3.model import valuetext
from rxmps3.model.entries import ContentObject
from rxmps3.model.missing import MISSING
from rxmps3.model.state import Cause, Entry, EntryChange
from rxmps3.replica import Replica
from rxmps3.replica.router import Turn
from rxmps3.replica.versions import Reset
from rxmps3.streams.stream import Sender
from rxmps3.streams.texts import TextWait

__all__ = ["Change", "ChangeSink", "Reset", "TurnSink"]

AHEAD = 32
"""The values of so many changes are fetched at a time."""
AHEAD_BYTES = 1 << 20
"""Larger values are fetched when it is their turn."""


@dataclass(frozen=True)
class Change:
    """One change of one key's value in the view.

    Attributes:
        key: the key.
        before, after: its value before and after; `MISSING` where it has none. A large ``before`` that was not in
            memory and is no longer stored is `MISSING` too.
        by: the name of its writer, unverified.
        version: the version id of ``after``; "" where the key was deleted.
        pending: whether it is waiting for its commit.
        cause: ``"own"``, ``"remote"`` or ``"rollback"``.
    """

    key: str
    before: Any
    after: Any
    by: str
    version: str
    pending: bool
    cause: Cause


@dataclass(slots=True, eq=False)
class _Queued:
    """A queued change, with the texts that are known of it; "" for no value.

    Attributes:
        ahead: looks up those that are not.
    """

    change: EntryChange
    before: str | None
    after: str | None
    ahead: asyncio.Task[None] | None = None


class ChangeSink:
    """One subscription to the changes of the keys under a prefix.

    Values that are not loaded are fetched; later changes wait for them, so that events stay in order, while their own
    values are fetched ahead, some at a time.
    """

    def __init__(self, replica: Replica, sender: Sender[Change]) -> None:
        self._replica = replica
        self._sender = sender
        self._since, _ = replica.latest()
        self._queue: deque[_Queued] = deque()
        self._wait = TextWait(replica, "this stream waits for it")
        self._asked = 0  # so many at the front of the queue have been asked for, or need not be

    def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
        if turn.number <= self._since:
            return
        self._queue.extend(self._queued(change) for change in changes if change.changed)
        if self._wait.running:
            self._fetch_ahead()
        else:
            self._send_what_is_at_hand()

    def stop(self) -> None:
        for queued in self._queue:
            if queued.ahead is not None:
                queued.ahead.cancel()
        self._queue.clear()
        self._wait.stop()

    def _queued(self, change: EntryChange) -> _Queued:
        """With the texts that perhaps nobody else has any more when it is their turn."""
        after = None if change.cause == "remote" else self._peek(change.after)
        return _Queued(change, self._peek(change.before), after)

    def _send_what_is_at_hand(self) -> None:
        while self._queue:
            first = self._queue[0]
            self._take_what_is_at_hand(first)
            if first.before is None or first.after is None:
                self._wait.start(partial(self._fetch_first, first), partial(self._send_first, first))
                self._fetch_ahead()
                return
            self._pop()
            self._send(first.change, first.before, first.after)

    def _take_what_is_at_hand(self, queued: _Queued) -> None:
        if queued.before is None:
            queued.before = self._peek(queued.change.before)
        if queued.after is None:
            queued.after = self._peek(queued.change.after)

    def _send(self, change: EntryChange, before_text: str, after_text: str) -> None:
        what = f"key {change.key!r}"
        if before_text and before_text == after_text:
            return  # the log does not show that the values are equal
        try:
            before = valuetext.decode(before_text, what) if before_text else MISSING
            after = valuetext.decode(after_text, what) if after_text else MISSING
        except Corrupt as error:
            self._skip(error)
            return
        version = change.after.version if change.after is not None else ""
        self._sender.send(Change(change.key, before, after, change.by, version, change.pending, change.cause))

    def _pop(self) -> None:
        self._queue.popleft()
        self._asked = max(self._asked - 1, 0)

    def _fetch_ahead(self) -> None:
        """Look up the texts of the changes behind the first one."""
        for queued in islice(self._queue, max(self._asked, 1), AHEAD):
            lacking = [
                entry
                for entry, text in ((queued.change.before, queued.before), (queued.change.after, queued.after))
                if entry is not None and text is None and self._peek(entry) is None
            ]
            if lacking and all(map(_is_small, lacking)):
                queued.ahead = self._replica.spawn(self._fetch_early(queued), "fetch ahead")
        self._asked = max(self._asked, min(len(self._queue), AHEAD))

    async def _fetch_early(self, queued: _Queued) -> None:
        with suppress(Error):  # it is met again when it is its turn
            await self._fetch_both(queued)

    async def _fetch_first(self, queued: _Queued) -> Error | None:
        """Look up the texts of a change. Returns the error if they can never be had."""
        if queued.ahead is not None:
            await asyncio.wait([queued.ahead])
        try:
            await self._fetch_both(queued)
        except Error as error:
            if error.retriable:
                raise
            return error
        return None

    async def _fetch_both(self, queued: _Queued) -> None:
        if queued.before is None:
            queued.before = await self._fetch_before(queued.change.before)
        if queued.after is None:
            queued.after = await self._fetch(queued.change.after)

    def _send_first(self, queued: _Queued, error: Error | None) -> None:
        if not self._queue or self._queue[0] is not queued:
            return
        self._wait.stop()
        self._pop()
        if error is not None:
            self._skip(error)
        else:
            self._send(queued.change, queued.before or "", queued.after or "")
        if not self._wait.running:
            self._send_what_is_at_hand()

    def _peek(self, entry: Entry | None) -> str | None:
        return "" if entry is None else self._replica.values.peek(entry)

    async def _fetch(self, entry: Entry | None) -> str:
        return "" if entry is None else await self._replica.values.fetch(entry)

    async def _fetch_before(self, entry: Entry | None) -> str:
        """Fetch the text of a previous value; "" if it has been collected meanwhile."""
        try:
            return await self._fetch(entry)
        except Corrupt:
            return ""

    def _skip(self, error: Error) -> None:
        self._replica.report(Failure("observe", error.object, error, "the change is skipped"))


def _is_small(entry: Entry) -> bool:
    return not isinstance(entry.content, ContentObject) or entry.content.size <= AHEAD_BYTES


class TurnSink:
    """One subscription that takes every turn from now on."""

    def __init__(self, replica: Replica, take: Callable[[Turn], None]) -> None:
        self._since, _ = replica.latest()
        self._take = take

    def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
        if turn.number > self._since:
            self._take(turn)
