"""What a page has got, as an id that it gives back when it connects again, and what it lacks then.

A version of the log does not say what a page has: its number may by now be one of another log, as after a restart of a
server whose database was in memory, or in a bucket that was emptied or put back to an earlier copy; and what a page was
shown may have been ahead of the version, by writes that were not committed then and perhaps never are. So the id holds
a hash of the content that the page has, too. Only a content with this very hash counts as the one to start from: one
that this process sent a short while ago, or a state of the log. Otherwise the page gets the whole content.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from rxmps3.database.database import Database
from rxmps3.database.past.past import Past, states_after
from rxmps3.errors import Error, NotKept
from rxmps3.model import valuetext
from rxmps3.model.collections.cells import Cell, Text
from rxmps3.model.collections.delta import Delta
from rxmps3.model.entries import Entry, Inline
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.snapshot import Snapshot
from rxmps3.model.sortedmap import SortedMap
from rxmps3.operators import share_latest
from rxmps3.streams.events import Reset

__all__ = ["Content", "Sent", "Shown", "pages_of"]

NEAR = 64
"""Versions before and after the one of an id whose states are compared with its content: a page may be ahead of the log
by writes that wait for their commit, or behind it by values that were still being downloaded."""
RECENT = 64
"""So many of the contents that a page was sent last are remembered, as are so many of the pages that have gone."""
REMEMBERED_SECONDS = 60.0
"""A page that has gone is remembered for this long."""
_SECONDS = 5.0
"""A page does not wait longer than this for the past to be read."""
_BYTES = 16
_ID = re.compile(rf"([0-9]{{1,18}})\.([0-9a-f]{{{2 * _BYTES}}})")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Content:
    """The content under a prefix: a hash of each key and its value, and their sum. A change costs what it changes."""

    hashes: SortedMap[int] = field(default_factory=SortedMap[int])
    total: int = 0

    @property
    def digest(self) -> str:
        """Names this content."""
        return f"{self.total % (1 << 8 * _BYTES):0{2 * _BYTES}x}"

    def with_changes(self, identities: Mapping[str, str]) -> Content:
        """The content after some keys have got values of other identities, "" for those that are gone."""
        hashes = {key: _hash(key, identity) if identity else MISSING for key, identity in identities.items()}
        total = self.total
        for key, after in hashes.items():
            total += (0 if isinstance(after, MissingType) else after) - self.hashes.get(key, 0)
        return Content(self.hashes.update(hashes), total)

    def differing(self, other: Content) -> list[str]:
        """The keys whose values differ, in order."""
        return self.hashes.differing(other.hashes)


@dataclass(frozen=True)
class Shown:
    """What a page shows after one change.

    Attributes:
        content: names it.
        values: the values.
        changes: what this change changed.
        included: a version that it includes.
        reached: the version that had been reached; its values may have to be downloaded before they are shown.
    """

    content: Content
    values: Snapshot[str, Any]
    changes: list[Delta[str, Any]]
    included: str
    reached: str

    @property
    def id(self) -> str:
        """What a page gives back that has this content."""
        return f"{self.reached if self.reached.isdecimal() else 0}.{self.content.digest}"


def _shown(db: Database, prefix: str) -> Observable[Shown]:
    """What pages with this prefix show: the present, then each change. They share it."""
    rows = db.collection(prefix)

    def follow(_: object) -> Observable[Shown]:
        start = db.states.value.confirmed.version

        def step(before: Shown | None, deltas: tuple[Delta[str, Any] | Reset, ...]) -> Shown:
            changes = [delta for delta in deltas if isinstance(delta, Delta)]
            identities = {delta.key: _identity_after(delta) for delta in changes}
            content = (before.content if before else Content()).with_changes(identities)
            included = before.reached if before else start
            return Shown(content, rows.value, changes, included, db.states.value.confirmed.version)

        nothing: Any = None
        return rows.as_observable().pipe(ops.scan(step, nothing))

    return rx.defer(follow).pipe(share_latest())


class Sent:
    """The contents that one page was sent last."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._contents: dict[str, Content] = {}

    def add(self, content: Content) -> None:
        """It was sent this one."""
        self._contents.pop(content.digest, None)
        self._contents[content.digest] = content
        if len(self._contents) > RECENT:
            del self._contents[next(iter(self._contents))]

    def get(self, digest: str) -> Content | None:
        """The one with that digest."""
        return self._contents.get(digest)


class Pages:
    """The pages of a database, those that are there and those that have just gone."""

    def __init__(self) -> None:
        self._shown: WeakValueDictionary[str, Observable[Shown]] = WeakValueDictionary()
        self._here: dict[Sent, None] = {}
        self._gone: deque[Sent] = deque(maxlen=RECENT)

    @contextmanager
    def page(self, db: Database, prefix: str) -> Generator[tuple[Observable[Shown], Sent]]:
        """What a page is to show, and what it was sent, which is to be told, for as long as it is there."""
        shown = self._shown.get(prefix)
        if shown is None:
            shown = self._shown[prefix] = _shown(db, prefix)
        sent = Sent(prefix)
        self._here[sent] = None
        try:
            yield shown, sent
        finally:
            del self._here[sent]
            self._gone.append(sent)
            asyncio.get_running_loop().call_later(REMEMBERED_SECONDS, self._forget, ref(sent))

    async def found_again(self, db: Database, prefix: str, id: str) -> Content | None:
        """The content that an id names: as it was sent, or from the log.

        None if neither has it, or the log has not answered within some seconds.
        """
        named = _ID.fullmatch(id)
        if named is None:
            return None
        for sent in (*self._here, *reversed(self._gone)):
            if sent.prefix == prefix and (content := sent.get(named[2])) is not None:
                return content
        if db.protocol != "sequenced" or not db.status.value.online:
            return None
        try:
            async with asyncio.timeout(_SECONDS):
                return await _logged(db, prefix, int(named[1]), named[2])
        except (Error, TimeoutError):
            return None

    def _forget(self, gone: ref[Sent]) -> None:
        sent = gone()
        if sent is not None and sent in self._gone:
            self._gone.remove(sent)


_pages: WeakKeyDictionary[Database, Pages] = WeakKeyDictionary()


def pages_of(db: Database) -> Pages:
    """The pages of a database."""
    return _pages.setdefault(db, Pages())


async def _logged(db: Database, prefix: str, version: int, digest: str) -> Content | None:
    """The content of that digest from the log, if it is near that version."""
    past = await _past_about(db, version)
    entries = past.point.state.entries
    content = Content().with_changes({key: entry.identity for key, entry in entries.under(prefix).items()})
    if content.digest == digest:
        return content
    last = min(version + NEAR, int(db.states.value.confirmed.version or 0))
    async with aclosing(states_after(past, last)) as following:
        async for later in following:
            before, entries = entries, later.point.state.entries
            keys = [key for key in before.cells.differing(entries.cells) if key.startswith(prefix)]
            content = content.with_changes({key: _identity(entries.get(key)) for key in keys})
            if content.digest == digest:
                return content
    return None


async def _past_about(db: Database, version: int) -> Past:
    """The state some versions before, or the oldest one."""
    try:
        return await db.at(max(version - NEAR, 0))
    except NotKept as error:
        return await db.at(error.oldest)


def _identity(entry: Entry | None) -> str:
    return "" if entry is None else entry.identity


def _identity_after(delta: Delta[str, Any]) -> str:
    """As that of an entry with this value."""
    cell: Cell | None = delta._after  # pyright: ignore[reportPrivateUsage]  # spares decoding and encoding it
    if cell is None:
        return ""
    return Inline(cell.text if isinstance(cell, Text) else valuetext.encode(cell.own())).identity


def _hash(key: str, identity: str) -> int:
    text = f"{len(key)} {key}{identity}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest())
