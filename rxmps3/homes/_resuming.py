"""What a page has got, as an id that it gives back when it connects again, and what it lacks then.

A version of the log does not say what a page has: its number may by now be one of another log, as after a restart of a
server whose database was in memory, or in a bucket that was emptied or put back to an earlier copy; and what a page was
shown may have been ahead of the version, by writes that were not committed then and perhaps never are. So the id holds
a hash of the content that the page has, too, and only a state of the log with this very content counts as the one to
start from. Otherwise the page gets the whole content.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any

from rxmps3.database.database import Database
from rxmps3.database.past.past import Past, states_after
from rxmps3.errors import Error, NotKept
from rxmps3.model import valuetext
from rxmps3.model.collections.cells import Cell, Text
from rxmps3.model.collections.delta import Delta
from rxmps3.model.entries import Entry, Inline
from rxmps3.model.missing import MISSING

__all__ = ["Content", "found_again"]

NEAR = 64
"""Versions before and after the one of an id whose states are compared with its content: a page may be ahead of the log
by writes that wait for their commit, or behind it by values that were still being downloaded."""
_SECONDS = 5.0
"""A page does not wait longer than this for the past to be read."""
_BYTES = 16
_ID = re.compile(rf"([0-9]{{1,18}})\.([0-9a-f]{{{2 * _BYTES}}})")


class Content:
    """The content under a prefix, of which only a sum of hashes is kept: a change costs what it changes."""

    def __init__(self) -> None:
        self._sum = 0

    def id(self, version: str) -> str:
        """Names this content, seen about when the log was at this version."""
        return f"{version or 0}.{self._digest}"

    def is_named_by(self, digest: str) -> bool:
        """Whether this is the second part of its id."""
        return self._digest == digest

    def changed(self, key: str, before: Entry | None, after: Entry | None) -> None:
        """A key has another entry."""
        self._change(key, _identity(before), _identity(after))

    def stepped(self, deltas: Iterable[Delta[str, Any]]) -> None:
        """Rows have changed."""
        for delta in deltas:
            self._change(delta.key, _identity_before(delta), _identity_after(delta))

    def caught_up(self, entries: Mapping[str, Entry], rows: Iterable[Delta[str, Any]]) -> dict[str, Any]:
        """This is the content of ``entries``, and becomes that of ``rows``.

        Returns:
            The values of the keys that differ, `MISSING` for those that are not there any more.
        """
        changed: dict[str, Any] = {}
        gone = dict(entries)
        for delta in rows:
            before, after = _identity(gone.pop(delta.key, None)), _identity_after(delta)
            if before != after:
                self._change(delta.key, before, after)
                changed[delta.key] = delta.after
        for key, entry in gone.items():
            self.changed(key, entry, None)
        return changed | dict.fromkeys(gone, MISSING)

    def _change(self, key: str, before: str, after: str) -> None:
        self._sum += _hash(key, after) - _hash(key, before)

    @property
    def _digest(self) -> str:
        return f"{self._sum % (1 << 8 * _BYTES):0{2 * _BYTES}x}"


async def found_again(db: Database, prefix: str, id: str) -> tuple[Content, Mapping[str, Entry]] | None:
    """The content that an id names, from the log; None if the log does not have it, or not within some seconds."""
    named = _ID.fullmatch(id)
    if named is None or not db.status.value.online:
        return None
    try:
        async with asyncio.timeout(_SECONDS):
            return await _state_with(db, prefix, int(named[1]), named[2])
    except (Error, TimeoutError):
        return None


async def _state_with(
    db: Database, prefix: str, version: int, digest: str
) -> tuple[Content, Mapping[str, Entry]] | None:
    past = await _past_about(db, version)
    content, entries = Content(), past.point.state.entries
    for key, entry in entries.under(prefix).items():
        content.changed(key, None, entry)
    if content.is_named_by(digest):
        return content, entries.under(prefix)
    last = min(version + NEAR, int(db.states.value.confirmed.version or 0))
    async with aclosing(states_after(past, last)) as following:
        async for later in following:
            before, entries = entries, later.point.state.entries
            for key in before.cells.differing(entries.cells):
                if key.startswith(prefix):
                    content.changed(key, before.get(key), entries.get(key))
            if content.is_named_by(digest):
                return content, entries.under(prefix)
    return None


async def _past_about(db: Database, version: int) -> Past:
    """The state some versions before, or the oldest one."""
    try:
        return await db.at(max(version - NEAR, 0))
    except NotKept as error:
        return await db.at(error.oldest)


def _identity(entry: Entry | None) -> str:
    return "" if entry is None else entry.identity


def _identity_before(delta: Delta[str, Any]) -> str:
    return _identity_of(delta._before)  # pyright: ignore[reportPrivateUsage]  # spares decoding and encoding it


def _identity_after(delta: Delta[str, Any]) -> str:
    return _identity_of(delta._after)  # pyright: ignore[reportPrivateUsage]


def _identity_of(cell: Cell | None) -> str:
    """As that of an entry with this value."""
    if cell is None:
        return ""
    return Inline(cell.text if isinstance(cell, Text) else valuetext.encode(cell.own())).identity


def _hash(key: str, identity: str) -> int:
    if not identity:
        return 0
    text = f"{len(key)} {key}{identity}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest())
