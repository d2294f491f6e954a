"""Marble diagrams, played on an event loop in virtual time: timers and coroutines alike.

A diagram is a few lines, one character a second::

    source  -a-b---c-|
    coalesce(seconds=4)
    result  -a---b---(c|)

``-`` is nothing, ``|`` the end, ``#`` the error `Broken`, ``(xy)`` several at the moment of its opening; each other
character is an item. One ``source`` line is a hot source; of several, each is what one subscription to a cold source
gets. The expression is an operator for the source, or an Observable where there is none. Each line after it is what
one observer sees; there ``^`` subscribes (else it does so before all else) and ``!`` disposes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable

from rxmps3.operators import from_async_iterable
from rxmps3.operators.iteration import Iteration
from rxmps3.runtime.clock import Random
from rxmps3.testing.virtual import run_virtually

__all__ = ["Broken", "Diagram", "Event", "diagrams_of", "expected", "items", "names", "play"]

Event = tuple[float, str]
"""A moment in seconds and what there is: an item, ``"|"`` or ``"#"``."""
Line = tuple[str, str]


class Broken(Exception):
    """The error that ``#`` stands for."""


@dataclass(frozen=True)
class Diagram:
    """One diagram.

    Attributes:
        sources: the marbles of each ``source`` line.
        expression: the operator, in Python.
        results: a name and marbles for each observer.
    """

    sources: tuple[str, ...]
    expression: str
    results: tuple[Line, ...]

    def __str__(self) -> str:
        return self.expression


def diagrams_of(text: str) -> list[Diagram]:
    """The diagrams of a docstring: the indented paragraphs below a ``::``. Others raise ValueError."""
    found: list[Diagram] = []
    inside = False
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("    "):
            if inside:
                found.append(_diagram(inspect.cleandoc(paragraph).split("\n")))
        else:
            inside = paragraph.endswith("::")
    return found


def _diagram(lines: list[str]) -> Diagram:
    sources = [line.split(None, 1)[1] for line in lines if line.startswith("source ")]
    rest = lines[len(sources) :]
    if len(rest) < 2:
        raise ValueError(f"a diagram has an expression and its result: {lines}")
    results = [line.split(None, 1) for line in rest[1:]]
    return Diagram(tuple(sources), rest[0], tuple((name, marbles) for name, marbles in results))


def events_of(marbles: str) -> list[Event]:
    """The events of a line, in order of time."""
    events: list[Event] = []
    opened: float | None = None
    for moment, what in enumerate(marbles):
        if what == "(":
            opened = float(moment)
        elif what == ")":
            opened = None
        elif what not in "- ":
            events.append((float(moment) if opened is None else opened, what))
    return events


def play(diagram: Diagram, names: Mapping[str, Any]) -> dict[str, list[Event]]:
    """Run a diagram and return what each observer sees, by the name of its line.

    Args:
        diagram: the diagram.
        names: the names that the expression may use.

    Raises:
        RuntimeError: a task or a timer is left at the end.
    """
    return run_virtually(_play(diagram, names))


def expected(diagram: Diagram) -> dict[str, list[Event]]:
    """What each observer of a diagram should see, by the name of its line."""
    return {name: [event for event in events_of(line) if event[1] not in "^!"] for name, line in diagram.results}


async def _play(diagram: Diagram, names: Mapping[str, Any]) -> dict[str, list[Event]]:
    loop = asyncio.get_running_loop()
    made: Any = eval(diagram.expression, dict(names))
    hot = Subject[str]()
    source = hot if len(diagram.sources) == 1 else cold(diagram.sources)
    stream = cast("Observable[Any]", made if isinstance(made, Observable) else made(source))
    seen: dict[str, list[Event]] = {}
    subscriptions: list[SerialDisposable] = []
    last = 0.0
    for name, line in diagram.results:
        events = seen[name] = []
        subscription = SerialDisposable()
        subscriptions.append(subscription)
        moments = {what: moment for moment, what in events_of(line) if what in "^!"}

        def subscribe(into: list[Event] = events, subscription: SerialDisposable = subscription) -> None:
            subscription.disposable = observe(stream, into)

        if "^" in moments:
            loop.call_at(moments["^"], subscribe)
        else:
            subscribe()
        if "!" in moments:
            # after what comes at that moment
            loop.call_at(moments["!"] + 1e-6, subscription.dispose)
        last = max(last, *(moment for moment, _ in events_of(line)), 0.0)
    if len(diagram.sources) == 1:
        emit(events_of(diagram.sources[0]), hot)
        last = max(last, float(len(diagram.sources[0])))
    await _until(last + 10)
    for subscription in subscriptions:
        subscription.dispose()
    await _until(last + 11)
    left = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
    if left:
        raise RuntimeError(f"{diagram}: tasks are left over: {left}")
    return seen


async def _until(moment: float) -> None:
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()
    loop.call_at(moment, woken.set_result, None)
    await woken


def emit(events: list[Event], observer: ObserverBase[str]) -> DisposableBase:
    """Emit events from now on, until disposed."""
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(moment, _tell, what, observer) for moment, what in events]

    class Timers(DisposableBase):
        def dispose(self) -> None:
            for timer in timers:
                timer.cancel()

    return Timers()


def _tell(what: str, observer: ObserverBase[str]) -> None:
    if what == "|":
        observer.on_completed()
    elif what == "#":
        observer.on_error(Broken())
    else:
        observer.on_next(what)


def cold(lines: tuple[str, ...]) -> Observable[str]:
    """A source whose nth subscription plays the nth line."""
    left = iter(lines)

    def subscribe(observer: ObserverBase[str], scheduler: SchedulerBase | None = None) -> DisposableBase:
        return emit(events_of(next(left)), observer)

    return Observable(subscribe)


def observe(stream: Observable[Any], into: list[Event]) -> DisposableBase:
    """Record events and their times."""
    loop = asyncio.get_running_loop()

    def note(what: Any) -> None:
        into.append((round(loop.time(), 3), str(what)))

    return stream.subscribe(note, lambda error: note("#"), lambda: note("|"))


# -- what the expressions may name -----------------------------------------------------------------------------


async def items(marbles: str) -> AsyncIterator[str]:
    """An async generator that plays the marbles."""
    start = asyncio.get_running_loop().time()
    for moment, what in events_of(marbles):
        await _until(start + moment)
        if what == "#":
            raise Broken
        if what != "|":
            yield what


def takes(**seconds: float) -> Callable[[str], Awaitable[str]]:
    """A coroutine function that takes so many seconds for an item, 1 for others, and returns the capital letter."""

    async def capital(item: str) -> str:
        await _until(asyncio.get_running_loop().time() + seconds.get(item, 1))
        return item.upper()

    return capital


def fails_at(*bad: str) -> Callable[[str], Awaitable[str]]:
    """A coroutine function that takes a second and fails for these items."""

    async def capital(item: str) -> str:
        await _until(asyncio.get_running_loop().time() + 1)
        if item in bad:
            raise Broken
        return item.upper()

    return capital


def every(
    seconds: float, iterated: Callable[[Observable[str]], Iteration[str]]
) -> Callable[[Observable[str]], Observable[str]]:
    """What a consumer of an async iterator sees if it needs so many seconds per item."""

    async def consume(source: Observable[str]) -> AsyncIterator[str]:
        async with iterated(source) as arriving:
            async for item in arriving:
                yield item
                await _until(asyncio.get_running_loop().time() + seconds)

    return lambda source: from_async_iterable(consume(source))


class _Longest(Random):
    """Jitter that is always the maximum."""

    def uniform(self, a: float, b: float) -> float:
        return b


names: dict[str, Any] = {
    "every": every,
    "fails_at": fails_at,
    "items": items,
    "longest": _Longest(),
    "takes": takes,
}
"""What the diagrams of `rxmps3.operators` name beside the operators."""
