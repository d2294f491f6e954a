"""Storage wrappers that count, delay or disturb requests. They can be stacked in any order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Literal, Protocol, TypeVar

from rxmps3.errors import Unsupported
from rxmps3.runtime.clock import Clock, Random, SystemClock, spawn
from rxmps3.storage._common import page_size
from rxmps3.storage.base import Found, Listed, Page, Storage, list_all
from rxmps3.storage.wrapper import Request, StorageWrapper

__all__ = ["CountingStorage", "FaultyStorage", "LatencyStorage", "ListingStorage", "Plan", "Request", "StorageWrapper"]

T = TypeVar("T")


class CountingStorage(StorageWrapper):
    """Records every request, in order, in ``requests``."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.requests: list[Request] = []

    @property
    def counts(self) -> Counter[str]:
        """The number of requests of each verb."""
        return Counter(request.verb for request in self.requests)

    @property
    def bytes_up(self) -> int:
        """The total size of the bodies sent."""
        return sum(request.bytes_up for request in self.requests)

    @property
    def bytes_down(self) -> int:
        """The total size of the bodies received."""
        return sum(request.bytes_down for request in self.requests)

    def reset(self) -> None:
        """Forget all requests."""
        self.requests = []

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        self.requests.append(request)
        try:
            answer = await proceed()
        except BaseException as error:
            request.outcome = type(error).__name__
            raise
        request.outcome = "None" if answer is None else type(answer).__name__
        if isinstance(answer, Found):
            request.bytes_down = len(answer.body)
        return answer


class LatencyStorage(StorageWrapper):
    """Delays requests: half of the latency before a request takes effect and half after.

    Args:
        inner: the storage.
        clock: the clock to sleep on.
        seconds: the latency of each request, or a function that returns the next one.
        bandwidth: bytes per second that a body takes in addition, one way; None is infinite.
    """

    def __init__(
        self,
        inner: Storage,
        clock: Clock,
        seconds: float | Callable[[], float],
        *,
        bandwidth: float | None = None,
    ) -> None:
        super().__init__(inner)
        self._clock = clock
        self.seconds = seconds
        self.bandwidth = bandwidth

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        half = (self.seconds() if callable(self.seconds) else self.seconds) / 2
        await self._clock.sleep(half + self._transfer(request.bytes_up))
        down = 0
        try:
            answer = await proceed()
            down = len(answer.body) if isinstance(answer, Found) else 0
            return answer
        finally:
            await self._clock.sleep(half + self._transfer(down))

    def _transfer(self, size: int) -> float:
        return size / self.bandwidth if self.bandwidth else 0.0


class ListingStorage(StorageWrapper):
    """Lists as some servers do: unordered, with more than was asked for, refusing ``after``, or behind the puts.

    Args:
        inner: the storage.
        clock: the time by which a listing lags, and the randomness of its order.
        in_order: False shuffles the names anew for each listing, across its pages.
        after: whether ``after`` is ``"kept"``, ``"ignored"`` (names before it are listed too) or ``"refused"``
            (`Unsupported`).
        lag: seconds for which a listing hides what was put.
    """

    def __init__(
        self,
        inner: Storage,
        clock: Clock,
        *,
        in_order: bool = True,
        after: Literal["kept", "ignored", "refused"] = "kept",
        lag: float = 0.0,
    ) -> None:
        super().__init__(inner)
        self._clock = clock
        self.in_order = in_order
        self.after = after
        self.lag = lag
        self._put_at: dict[str, float] = {}
        self._orders: dict[str, list[Listed]] = {}

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        answer = await proceed()
        if request.verb == "put":
            self._put_at[request.name] = self._clock.monotonic()
        return answer

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        """See `rxmps3.storage.List`.

        Raises:
            Unsupported: ``after`` is refused.
        """
        if after and self.after == "refused":
            raise Unsupported("this server does not accept StartAfter", operation="list", object=self.url)
        if cursor is None:
            cursor = self._clock.new_id() + "/0"
            listed = await list_all(self.inner, prefix, after=after if self.after == "kept" else "")
            if not self.in_order:
                self._clock.rng.shuffle(listed)
            self._orders[cursor.partition("/")[0]] = listed
        which, _, start = cursor.partition("/")
        end = int(start) + page_size(limit)
        order = self._orders[which]
        hidden = self._clock.monotonic() - self.lag
        shown = [one for one in order[int(start) : end] if self._put_at.get(one.name, 0.0) <= hidden or not self.lag]
        date = (await super().list(prefix, limit=1)).date
        return Page(shown, f"{which}/{end}" if end < len(order) else None, date)


class Fault(Protocol):
    """A disturbance of a request: a function that calls ``proceed`` any number of times."""

    async def __call__(self, request: Request, proceed: Callable[[], Awaitable[Any]], faults: FaultyStorage) -> Any: ...


Plan = Fault | Sequence[Fault]
"""One fault, or several, the first of which sees a request first."""


class FaultyStorage(StorageWrapper):
    """Disturbs requests according to a plan; `rxmps3.testing.faults` has the plans.

    Args:
        inner: the storage.
        plan: the faults; set ``plan`` to change them at any time, to ``()`` for none.
        rng: decides when; None takes the clock's.
        clock: the time in which late requests are late.
    """

    def __init__(
        self, inner: Storage, plan: Plan = (), rng: Random | None = None, *, clock: Clock | None = None
    ) -> None:
        super().__init__(inner)
        self.plan = plan
        self.clock = SystemClock() if clock is None else clock
        self.rng = self.clock.rng if rng is None else rng
        self._late: set[asyncio.Task[None]] = set()

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        faults: Sequence[Fault] = (self.plan,) if callable(self.plan) else self.plan
        for fault in reversed(faults):
            proceed = _bound(fault, request, proceed, self)
        return await proceed()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry out work that nobody waits for."""
        task = spawn(work, "a late request")
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    @property
    def late(self) -> int:
        """The number of requests that are still to arrive."""
        return len(self._late)

    async def arrived(self) -> None:
        """Wait until no late request is under way."""
        while self._late:
            await asyncio.wait(self._late)

    async def close(self) -> None:
        """Close the wrapped storage; late requests that have not arrived never will."""
        late = list(self._late)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await super().close()


def _bound(
    fault: Fault, request: Request, proceed: Callable[[], Awaitable[T]], faults: FaultyStorage
) -> Callable[[], Awaitable[T]]:
    return lambda: fault(request, proceed, faults)
