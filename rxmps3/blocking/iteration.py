"""An Observable as a blocking iterator, with bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Literal, TypeVar

from reactivex import Observable

from rxmps3.errors import Overloaded
from rxmps3.operators.iteration import MOST_BEHIND, check_iteration
from rxmps3.runtime.timeouts import checked_timeout

__all__ = ["BlockingIteration"]

T = TypeVar("T")


class BlockingIteration(Generic[T]):
    """A blocking iterator over the items of a source, subscribed to immediately.

    Use it with ``with``, or ``close`` it, to unsubscribe; this is not needed once the stream has ended.

    Args:
        source: any Observable; it may emit on any thread.
        keep: how many of the latest items are buffered for a slow consumer; ``"all"`` buffers up to 10,000 and raises
            `Overloaded` in the consumer if there are more.
        timeout: seconds to wait for each item, None waits forever.
        check: raises on a thread that must not block.
    """

    def __init__(
        self,
        source: Observable[T],
        keep: int | Literal["all"],
        timeout: float | None,
        check: Callable[[], None],
    ) -> None:
        check_iteration(source, keep)
        self._items: deque[T] = deque(maxlen=None if keep == "all" else keep)
        self._timeout = checked_timeout(timeout, "iterate")
        self._check = check
        self._arrived = threading.Condition()
        self._ended = False
        self._error: Exception | None = None
        self._subscription = source.subscribe(self._take, self._finish, self._finish)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """The next item.

        Raises:
            TimeoutError: none arrived in time; a later call waits again.
        """
        self._check()
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._items or self._ended, self._timeout):
                raise TimeoutError(f"nothing arrived within {self._timeout} s")
            if self._items:
                return self._items.popleft()
            if self._error is not None:
                raise self._error
        raise StopIteration

    def close(self) -> None:
        """Unsubscribe from the source."""
        self._subscription.dispose()
        self._finish()

    def __enter__(self) -> Iterator[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, item: T) -> None:
        with self._arrived:
            if self._ended:
                return
            if self._items.maxlen is None and len(self._items) >= MOST_BEHIND:
                self._ended = True
                self._error = Overloaded(f"the consumer is {MOST_BEHIND:,} items behind", operation="iterate")
            else:
                self._items.append(item)
            self._arrived.notify_all()

    def _finish(self, error: Exception | None = None) -> None:
        with self._arrived:
            if not self._ended:
                self._ended, self._error = True, error
            self._arrived.notify_all()
