"""Between Observables and ``async for``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Generic, Literal, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxmps3.errors import Error, InvalidOption
from rxmps3.operators.home import on_loop, running_loop
from rxmps3.operators.iteration import Iteration
from rxmps3.runtime.clock import spawn

__all__ = ["from_async_iterable", "to_async_iterator"]

T = TypeVar("T")


def from_async_iterable(iterable: AsyncIterable[T] | Callable[[], AsyncIterable[T]]) -> Observable[T]:
    """An Observable of the items of an async iterable, pulled by a task on the subscriber's event loop.

    It requests the next item once every observer has handled the last one, so nothing is buffered. Disposing cancels
    the task and closes a generator; its ``finally`` runs on the loop soon after. An exception of the iterable,
    including a cancellation from elsewhere, goes to ``on_error``.

    ::

        from_async_iterable(items("-a--b|"))
        result  -a--b|

        from_async_iterable(items("-a--b-c-d"))
        result  -a--b!

        from_async_iterable(items("-a--#"))
        result  -a--#

    Args:
        iterable: an async iterable, which each subscription iterates (a generator can be iterated only once); or a
            function that makes one for each subscription.

    Raises:
        InvalidOption: it is neither of these.
        WrongLoop: (to ``on_error``) no event loop is running on the subscribing thread.
    """

    if not callable(iterable) and not hasattr(iterable, "__aiter__"):
        what = f"it takes an async iterable or a function that makes one, not {iterable!r}"
        raise InvalidOption(what, operation="from_async_iterable")

    def subscribe(observer: ObserverBase[T], scheduler: SchedulerBase | None = None) -> DisposableBase:
        loop = running_loop("from_async_iterable")
        pulling = _Pulling(observer)
        pulling.start(iterable)
        return Disposable(lambda: on_loop(loop, pulling.stop))

    return Observable(subscribe)


class _Pulling(Generic[T]):
    """One subscription; on the loop's thread."""

    def __init__(self, observer: ObserverBase[T]) -> None:
        self._observer = observer
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def start(self, iterable: AsyncIterable[T] | Callable[[], AsyncIterable[T]]) -> None:
        self._task = spawn(self._pull(iterable), "from_async_iterable")
        self._task.add_done_callback(_tell)

    def stop(self) -> None:
        self._stopped = True
        if self._task is not None and asyncio.current_task() is not self._task:
            self._task.cancel()

    async def _pull(self, iterable: AsyncIterable[T] | Callable[[], AsyncIterable[T]]) -> None:
        try:
            made = cast("AsyncIterable[T]", iterable if isinstance(iterable, AsyncIterable) else iterable())
            iterator = aiter(made)
        except Exception as error:
            self._observer.on_error(error)
            return
        try:
            await self._pass_on(iterator)
        finally:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

    async def _pass_on(self, iterator: AsyncIterator[T]) -> None:
        while not self._stopped:
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                self._observer.on_completed()
                return
            except Exception as error:
                self._observer.on_error(error)
                return
            except asyncio.CancelledError:
                if not self._stopped:
                    self._observer.on_error(Error("cancelled by somebody else", operation="from_async_iterable"))
                raise
            self._observer.on_next(item)


def _tell(task: asyncio.Task[None]) -> None:
    """Report what an observer raised to the loop's exception handler."""
    if not task.cancelled():
        task.result()


def to_async_iterator(keep: int | Literal["all"] = 1) -> Callable[[Observable[T]], Iteration[T]]:
    """For the end of a ``pipe``: ``async with source.pipe(to_async_iterator()) as items: async for item in items``.

    As ``db.iterate(source, keep)``, but without a database: the context manager subscribes and disposes; inside it,
    ``async for`` gives the items, with a bounded buffer.

    ``every(4, …)`` shows a consumer that needs 4 seconds for an item.

    ::

        source  a-b-c-------|
        every(4, to_async_iterator(keep=1))
        result  a---c-------|

        source  a-b-c-------|
        every(4, to_async_iterator(keep=2))
        result  a---b---c---|

        source  a-#
        every(1, to_async_iterator())
        result  a-#

    Args:
        keep: how many of the latest items are buffered for a slow consumer; ``"all"`` buffers up to 10,000 and raises
            `Overloaded` in the consumer beyond that.

    Raises:
        InvalidOption: ``keep`` is neither of these.
    """

    def iterated(source: Observable[T]) -> Iteration[T]:
        return Iteration(source, keep)

    Iteration[T](Observable[T](), keep)  # check the options at the call
    return iterated
