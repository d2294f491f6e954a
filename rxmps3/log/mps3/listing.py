"""Lists and fetches the operations of a manifest in the mps3 format."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from rxmps3.errors import Unavailable
from rxmps3.log.mps3 import operation as codec
from rxmps3.log.mps3.known import Known, ListedOperation
from rxmps3.log.mps3.names import Stamp, parse_stamp, stamp_after
from rxmps3.log.mps3.operation import MAX_OPERATION_BYTES, Operation
from rxmps3.log.mps3.recovering import stored_at
from rxmps3.log.mps3.ticking import ServerClock, milliseconds
from rxmps3.log.server_clock import ServerDate
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Found, Page, Storage, Stored

__all__ = ["Listing", "Vanished"]

T = TypeVar("T", Page, Stored, Found)

_FUTURE = 10_000
"""Operations whose names are this many milliseconds ahead are not listed."""
_TRIES = 8
_READS_AT_ONCE = 16


class Vanished(Exception):
    """A listed operation no longer exists."""


class Listing:
    """The operations as the storage shows them, and the server's time as its answers tell it.

    Args:
        storage: where the manifest is.
        manifest: its name.
        clock: this computer's clock.
        known: what was read before; it determines how far back a look goes.
    """

    def __init__(self, storage: Storage, manifest: str, clock: Clock, known: Known) -> None:
        self.server = ServerClock()
        self.dated = ServerDate(clock)
        self.listed_at = 0.0
        """The server's time when the newest listing began, in milliseconds."""
        self.names: set[str] = set()
        """The operations on the pages that the newest listing has read, whether they count or not."""
        self.fetched: dict[str, Operation] = {}
        """Fetched before another request of the same look failed."""
        self._storage = storage
        self._manifest = manifest
        self._prefix = f"{manifest}@"
        self._clock = clock
        self._known = known

    def now(self) -> float:
        """The server's time in milliseconds since the epoch, as far as it is known."""
        return self.server.time(self._clock.now())

    async def timed(self, request: Awaitable[T]) -> T:
        """Make a request and set the clock by its answer."""
        began = self.dated.asking()
        answer = await request
        if answer.date is not None:
            self.dated.heard(answer.date, began)
            self.server.heard(answer.date, self._clock.now(), self._clock.monotonic() - began.monotonic)
        return answer

    async def list(self) -> Sequence[ListedOperation]:
        """The valid operations in the window and those missed before it, newest first.

        Raises:
            Unavailable: each listing was answered too late.
        """
        last = round(max(self.now(), self._known.newest_time)) + _FUTURE
        for _ in range(_TRIES):
            listed = await self._list_up_to(last)
            if self.listed_at + _FUTURE / 2 <= last:
                return listed
            # this computer's clock is behind, or the request was carried out late: the newest may be left out
            last = round(max(self.listed_at, self.now())) + _FUTURE
        raise Unavailable(
            "each listing was answered too late to show the newest operations",
            operation="read",
            object=f"manifest {self._manifest!r}",
        )

    async def _list_up_to(self, last: int) -> Sequence[ListedOperation]:
        """As `list`, of the operations named up to that time, in milliseconds since the epoch."""
        listed: list[ListedOperation] = []
        names: set[str] = set()
        cursor: str | None = None
        after = self._prefix + stamp_after(last)
        while True:
            asked_at = self.now()
            page = await self.timed(self._storage.list(self._prefix, after=after, cursor=cursor))
            if cursor is None:
                self.listed_at = milliseconds(page.date) if page.date is not None else asked_at
            oldest: int | None = None
            for one in page.objects:
                stamp = parse_stamp(one.name[len(self._prefix) :])
                if stamp is None:
                    continue
                oldest = stamp.time
                names.add(stamp.text)
                if codec.is_valid(stamp, stored_at(one)):
                    listed.append(ListedOperation(stamp, one.name))
                elif stamp.text in self._known.seen:
                    listed.append(ListedOperation(stamp, one.name, counts=False))
            cursor = page.cursor
            if cursor is None or (listed and oldest is not None and oldest < self._known.reach(listed)):
                break
        self.names = names
        return self._known.taken(listed)

    async def fetch(self, listed: Sequence[ListedOperation]) -> Sequence[Operation]:
        """The operations themselves; those that are known are not fetched again.

        Raises:
            Corrupt: one is not in the mps3 format.
            Vanished: one no longer exists.
        """
        known = {**self.fetched, **{operation.stamp.text: operation for operation in self._known.window}}
        lacking = [one for one in listed if one.stamp.text not in known]
        for start in range(0, len(lacking), _READS_AT_ONCE):
            await all_of(self._get(one) for one in lacking[start : start + _READS_AT_ONCE])
        known.update(self.fetched)
        return [known[one.stamp.text] for one in listed]

    async def _get(self, listed: ListedOperation) -> None:
        answer = await self._storage.get(listed.name, limit=MAX_OPERATION_BYTES)
        if not isinstance(answer, Found):
            raise Vanished
        self.fetched[listed.stamp.text] = codec.decode(answer.body, listed.stamp, listed.name)

    async def holds(self, stamp: Stamp) -> bool | None:
        """Whether an operation that may be older than the window is valid; None if no valid ones that old remain."""
        cursor: str | None = None
        while True:
            page = await self.timed(
                self._storage.list(self._prefix, after=self._prefix + stamp.text[:-1], cursor=cursor)
            )
            for one in page.objects:
                other = parse_stamp(one.name[len(self._prefix) :])
                valid = other is not None and codec.is_valid(other, stored_at(one))
                if valid or other == stamp:
                    return valid and other == stamp
            cursor = page.cursor
            if cursor is None:
                return None
