"""The state at one version of the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any

from rxmps3.database.prefix import check_entries
from rxmps3.errors import Corrupt
from rxmps3.log.archive import Archive, Point
from rxmps3.model import valuetext
from rxmps3.model.sortedkeys import check_prefix, check_window, several, window, with_default
from rxmps3.model.state import Entry
from rxmps3.replica import Replica
from rxmps3.runtime.no_pickle import BoundToProcess

__all__ = ["Past", "states_after"]


class Past(BoundToProcess):
    """The state of a manifest after one version of its log. Made by `Database.at`; immutable.

    Large values stay in the bucket until they are read, and are kept there as long as the log reaches back that far.
    """

    def __init__(self, replica: Replica, archive: Archive, point: Point) -> None:
        self._replica = replica
        self._archive = archive
        self._point = point

    @property
    def id(self) -> str:
        """The log version: its number as text, "0" for the state before the first."""
        return str(self._point.seq)

    @property
    def by(self) -> str:
        """The name of its committer, unverified; "" if its entry is no longer in the log."""
        return self._point.by

    @property
    def time(self) -> datetime | None:
        """When it was committed, by the writer's clock, informative only; None if unknown."""
        return self._point.time

    @property
    def date(self) -> datetime | None:
        """When it was stored, by the storage's clock; None if its entry is no longer in the log."""
        return self._point.date

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The `Entry` of each key: the version that wrote it, and the value or its location."""
        return self._point.state

    @property
    def point(self) -> Point:
        """The position in the log, for reading on from there."""
        return self._point

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; ``default`` if it did not exist.

        Raises:
            InvalidKey: no storage could hold such a key.
            NotKept: the value is in an object that has been collected since.
            Unavailable, AccessDenied: the value is in an object that cannot be fetched now.
            Corrupt: the value's object does not match the log.
        """
        return (await self.get_many((key,), default))[key]

    async def get_many(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        """The values of several keys, in the order asked for. Otherwise as `get`."""
        asked = tuple(map(self._replica.placing.check_key, several(keys, "get_many")))
        found = await self._read(asked)
        return with_default(asked, found, default)

    async def get_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None
    ) -> dict[str, Any]:
        """The values of the keys under a prefix, sorted; only the first or last n if asked. Otherwise as `get`."""
        check_window(first, last)
        return await self._read(window(self.keys(prefix), first, last))

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that existed under a prefix, sorted by code point. No I/O."""
        return list(self._point.state.entries.under(check_prefix(prefix)))

    def __contains__(self, key: object) -> bool:
        return key in self._point.state

    def __len__(self) -> int:
        return len(self._point.state)

    async def _read(self, keys: Iterable[str]) -> dict[str, Any]:
        texts = await self.read_texts({key: entry for key in keys if (entry := self._point.state.get(key)) is not None})
        return {key: valuetext.decode(text, f"key {key!r}") for key, text in texts.items()}

    async def read_texts(self, entries: Mapping[str, Entry]) -> dict[str, str]:
        """The JSON texts of some of ``entries``, downloaded where not available locally. Raises as `get`."""
        check_entries(entries)
        self._replica.check_open("get")
        self._replica.check_loop()
        try:
            texts = await self._replica.values.fetch_all(list(entries.values()))
        except Corrupt:
            await self._archive.check_kept(self._point.seq)
            raise
        return dict(zip(entries, texts, strict=True))

    def __repr__(self) -> str:
        return f"<Past of manifest {self._replica.manifest!r} at version {self.id}, {len(self)} keys>"


async def states_after(past: Past, last: int) -> AsyncGenerator[Past]:
    """The states after each of the next versions, up to number ``last``. Raises as `Archive.since`."""
    replica, archive, point = past._replica, past._archive, past.point  # pyright: ignore[reportPrivateUsage]  # of the same module
    async with aclosing(archive.since(point, last)) as entries:
        async for logged in entries:
            point = point.after(logged)
            yield Past(replica, archive, point)
