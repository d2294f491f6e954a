"""The blocking faces of what looks back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxmps3.blocking.mapping import KeyMapping
from rxmps3.blocking.portal import Portal
from rxmps3.database.past import Past, Recorded, When
from rxmps3.model.state import Entry
from rxmps3.runtime.no_pickle import BoundToProcess

__all__ = ["BlockingPast", "BlockingRecorded", "past_of"]

T = TypeVar("T")
_END = object()


class BlockingPast(KeyMapping):
    """What a manifest held after one version of its log, as `rxmps3.Past`; a mapping. Made by `Database.at`."""

    def __init__(self, home: Portal, past: Past) -> None:
        self._portal = home
        self._past = past

    @property
    def id(self) -> str:
        """The log version: its number as text, "0" for the state before the first."""
        return self._past.id

    @property
    def by(self) -> str:
        """The name of who committed it, as `rxmps3.Past.by`."""
        return self._past.by

    @property
    def time(self) -> datetime | None:
        """When it was committed by the writer's own clock, as `rxmps3.Past.time`."""
        return self._past.time

    @property
    def date(self) -> datetime | None:
        """When it was stored, as `rxmps3.Past.date`."""
        return self._past.date

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Each key's `Entry`."""
        return self._past.entries

    def get(self, key: str, default: Any = None, *, timeout: float | None = None) -> Any:
        """The value that a key had, as `rxmps3.Past.get`. Raises TimeoutError after ``timeout`` seconds."""
        return self._portal.call("get", lambda: self._past.get(key, default), timeout)

    def get_many(self, keys: Iterable[str], default: Any = None, *, timeout: float | None = None) -> dict[str, Any]:
        """The values of several keys, as `rxmps3.Past.get_many`."""
        asked = tuple(keys)
        return self._portal.call("get", lambda: self._past.get_many(asked, default), timeout)

    def get_prefix(
        self, prefix: str = "", *, first: int | None = None, last: int | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """The values of the keys under a prefix, as `rxmps3.Past.get_prefix`."""
        return self._portal.call("get", lambda: self._past.get_prefix(prefix, first=first, last=last), timeout)

    def read_texts(self, entries: Mapping[str, Entry], *, timeout: float | None = None) -> dict[str, str]:
        """The JSON texts of some of ``entries``, as `rxmps3.Past.read_texts`."""
        return self._portal.call("read_texts", lambda: self._past.read_texts(entries), timeout)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that there were under a prefix, sorted by code point. No I/O."""
        return self._past.keys(prefix)

    def __contains__(self, key: object) -> bool:
        return key in self._past

    def __len__(self) -> int:
        return len(self._past)

    def __repr__(self) -> str:
        return f"<blocking {self._past!r}>"

    @property
    def past(self) -> Past:
        """What it is the face of."""
        return self._past


class BlockingRecorded(BoundToProcess, Observable[T]):
    """A `rxmps3.Recorded` to iterate: ``for item in db.history(key)``, each time from the start.

    It is an Observable, too, whose observers run on the thread ``rxmps3 blocking``.
    """

    def __init__(self, home: Portal, recorded: Recorded[T]) -> None:
        super().__init__()
        self._portal = home
        self._recorded = recorded

    def _subscribe_core(self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None) -> DisposableBase:
        return self._recorded.subscribe(observer, scheduler=scheduler)

    def __iter__(self) -> Iterator[T]:
        items = cast("AsyncGenerator[T, None]", aiter(self._recorded))

        async def following() -> Any:
            return await anext(items, _END)

        try:
            while (item := self._portal.call("iterate", following)) is not _END:
                yield item
        finally:  # wherever this ends, in a finalizer on any thread too: without waiting
            self._portal.soon(items.aclose)

    def __repr__(self) -> str:
        return f"<blocking {self._recorded!r}>"


def past_of(when: When | BlockingPast) -> When | Past:
    """What the async face takes for it."""
    return when.past if isinstance(when, BlockingPast) else when
