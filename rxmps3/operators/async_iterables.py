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
    """An Observable of what an async iterable gives, pulled by a task on the event loop that subscribes.

    It asks for the next item when every observer is done with the last, so nothing is buffered. Disposing cancels
    the pulling and closes a generator; its ``finally`` runs on the loop soon after. What the iterable raises goes to
    ``on_error``, also that it was cancelled by somebody else.

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
        InvalidOption: it is neither.
        WrongLoop: (to ``on_error``) no event loop runs on the thread that subscribes.
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
    """What an observer raised goes to the loop's exception handler."""
    if not task.cancelled():
        task.result()


def to_async_iterator(keep: int | Literal["all"] = 1) -> Callable[[Observable[T]], Iteration[T]]:
    """The last in a ``pipe``: ``async with source.pipe(to_async_iterator()) as items: async for item in items``.

    What ``db.iterate(source, keep)`` gives, for any Observable and without a database: the context manager subscribes
    and disposes; inside it, ``async for`` gives what arrives, with a bounded number of items waiting.

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
        keep: how many of the latest items wait for a slow consumer; ``"all"`` waits with up to 10,000 of them and
            raises `Overloaded` in the consumer if there are more.

    Raises:
        InvalidOption: ``keep`` is neither.
    """

    def iterated(source: Observable[T]) -> Iteration[T]:
        return Iteration(source, keep)

    Iteration[T](Observable[T](), keep)  # the options are checked where they are given
    return iterated
