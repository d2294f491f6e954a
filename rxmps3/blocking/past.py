"""The blocking interfaces to the past."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from typing import Any, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxmps3.blocking.generated.past import PastDelegation
from rxmps3.blocking.key_list import KeyList
from rxmps3.blocking.mapping import KeyMapping
from rxmps3.blocking.portal import Portal
from rxmps3.database.past import Past, Recorded, When
from rxmps3.errors import InvalidKey
from rxmps3.runtime.no_pickle import BoundToProcess

__all__ = ["BlockingPast", "BlockingRecorded", "past_of"]

T = TypeVar("T")
_END = object()


class BlockingPast(PastDelegation, KeyMapping):
    """The state of a manifest after one version of its log, as `rxmps3.Past`; a mapping. Created by `Database.at`."""

    def __init__(self, home: Portal, past: Past) -> None:
        self._portal = home
        self._past = past

    def get(self, key: str, default: Any = None, *, timeout: float | None = None) -> Any:
        """The value that a key had, as `rxmps3.Past.get`; as in a mapping, ``default`` also for what cannot be a key.

        Raises:
            TimeoutError: it was not done within ``timeout`` seconds.
        """
        with suppress(InvalidKey):
            return self._portal.call("get", lambda: self.past.get(key, default), timeout)
        return default

    def keys(self, prefix: str = "") -> KeyList:
        """The keys that existed under a prefix, sorted by code point; also a set. No I/O."""
        return KeyList(self._past.keys(prefix))

    def __contains__(self, key: object) -> bool:
        return key in self._past

    def __len__(self) -> int:
        return len(self._past)

    def __repr__(self) -> str:
        return f"<blocking {self._past!r}>"

    @property
    def past(self) -> Past:
        """The async counterpart."""
        return self._past


class BlockingRecorded(BoundToProcess, Observable[T]):
    """A `rxmps3.Recorded` to iterate: ``for item in db.history(key)``, each time from the start.

    It is also an Observable, whose observers run on the thread ``rxmps3 blocking``.
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
    """The async counterpart of an argument."""
    return when.past if isinstance(when, BlockingPast) else when
