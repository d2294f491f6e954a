"""`LiveQuery`, what drives the graph of a collection's operators while somebody observes it.

Order of emission. Each observed collection is one subscription of the view, like any other stream: within a step it is
served where it subscribed, once the changes of all its sources in that step have gone through its graph in an order
in which every operator comes after its inputs. So a step of the view (one write made here, one version of the log, one
roll-back) changes a collection in one emission at most, whatever joins it is made of. Of several observers of one
collection each gets the same emissions, in the order in which they subscribed. Sources in different manifests change
in steps of their own. Where a source lacks a value, the whole collection waits for it, and nothing else does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Generic, Protocol, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxmps3.errors import Failure, InvalidValue, NotLoaded
from rxmps3.model.collections.cells import Cell, Text, Value, own
from rxmps3.model.collections.delta import Delta
from rxmps3.model.collections.graph import Graph, Plan, merged
from rxmps3.model.collections.operators import Changes
from rxmps3.model.missing import MissingType
from rxmps3.model.snapshot import Snapshot
from rxmps3.model.state import Loaded
from rxmps3.replica import Replica
from rxmps3.replica.router import Turn
from rxmps3.replica.versions import Reset
from rxmps3.streams.snapshots import Shown
from rxmps3.streams.stream import Sender
from rxmps3.streams.views import Streams

__all__ = ["Deltas", "Emitter", "FromDeltas", "LiveQuery", "Sources", "Step", "UnderPrefixes", "read_cell"]

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")

Deltas = tuple[Delta[K, V] | Reset, ...]
"""One emission: the changed rows in the order of their keys, after a `Reset` if the log was."""


# -- sources -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class UnderPrefixes:
    """The keys under some prefixes of one manifest."""

    streams: Streams
    prefixes: tuple[str, ...]
    load: Callable[[str], Any]
    typed: bool

    def changes(self, shown: Shown) -> Changes:
        """The changes of one emission within these prefixes."""
        found: Changes = {}
        for key in shown.changed:
            if key.startswith(self.prefixes):
                before, after = self.cell(key, shown.before.get(key)), self.cell(key, shown.texts.get(key), told=True)
                if before is not None or after is not None:
                    found[key] = (before, after)
        return found

    def content(self, view_of: Replica) -> Changes:
        """The full content in the view, without I/O. Raises `NotLoaded`."""
        view, found = view_of.view, cast("Changes", {})
        if not view.loaded:
            raise NotLoaded(
                "nothing has been read yet", object=f"manifest {view_of.manifest!r}", remedy="observe it first"
            )
        for prefix in self.prefixes:
            for key, entry in view.under(prefix).items():
                text = view_of.values.peek(entry)
                if text is None:
                    raise NotLoaded("its value is not in memory", object=f"key {key!r}", remedy="observe it first")
                if (cell := self.cell(key, text)) is not None:
                    found[key] = (None, cell)
        return found

    def cell(self, key: str, text: str | None, *, told: bool = False) -> Cell | None:
        """The row of a JSON text; no row if the value does not fit the type."""
        if text is None:
            return None
        if self.typed:
            try:
                self.load(text)
            except InvalidValue as error:
                if told:
                    failure = Failure("observe", f"key {key!r}", error, "it is left out of the collection")
                    self.streams.replica.report(failure)
                return None
        return Text(text, self.load)


@dataclass(frozen=True, eq=False)
class FromDeltas:
    """The accumulated content of an Observable of deltas."""

    observable: Observable[Any]


Source = UnderPrefixes | FromDeltas
Sources = dict[Plan, Source]


# -- a collection that is observed -------------------------------------------------------------------------------


class Step:
    """The result of one push, shared by several observers."""

    def __init__(self, query: LiveQuery, changes: Changes, reset: Reset | None) -> None:
        self._query = query
        self._changes = changes
        self._reset = reset
        self._deltas: Deltas[Any, Any] | None = None

    @property
    def deltas(self) -> Deltas[Any, Any]:
        if self._deltas is None:
            deltas = self._query.graph.deltas(self._changes)
            self._deltas = deltas if self._reset is None else (self._reset, *deltas)
        return self._deltas


class Observer(Protocol):
    def begin(self, query: LiveQuery) -> None:
        """Emit the current content."""
        ...

    def step(self, query: LiveQuery, step: Step) -> None: ...

    def fail(self, error: Exception) -> None: ...


class LiveQuery:
    """A graph that follows its sources, for as long as it is observed. On the loop's thread.

    Args:
        host: the replica whose loop, clock and tasks it uses.
        plan: the query.
        sources: where the rows of its sources come from.
        ended: called when no observer is left, or when a function of the user's has raised.
    """

    def __init__(self, host: Replica, plan: Plan, sources: Sources, ended: Callable[[], None]) -> None:
        self.graph = Graph(plan)
        self.ready = False
        self._host = host
        self._sources = sources
        self._ended = ended
        self._order = count()
        self._observers: dict[int, Observer] = {}
        self._connections: CompositeDisposable | None = None
        self._waiting: set[object] = set()
        self._early: dict[Plan, Changes] = {}
        self._queue: deque[tuple[dict[Plan, Changes], Reset | None]] = deque()
        self._pushing = False
        self._timer: tuple[float, asyncio.Task[None]] | None = None

    def add(self, observer: Observer) -> DisposableBase:
        """Emit the content and each change to an observer, until disposed."""
        order = next(self._order)
        self._observers[order] = observer
        if self.ready:
            observer.begin(self)
        elif self._connections is None:
            self._connect()

        def remove() -> None:
            if self._observers.pop(order, None) is not None and not self._observers:
                self._disconnect()

        return Disposable(remove)

    def snapshot(self) -> Snapshot[Any, Any]:
        """The current content. Callable from any thread."""
        return Snapshot(self.graph.rows(), read_cell)

    # -- from the sources ------------------------------------------------------------------------------------

    def _connect(self) -> None:
        connections = self._connections = CompositeDisposable()
        of_replica: dict[Replica, dict[Plan, UnderPrefixes]] = {}
        for plan, source in self._sources.items():
            if isinstance(source, UnderPrefixes):
                of_replica.setdefault(source.streams.replica, {})[plan] = source
        feeds = [_Feed(self, sources) for sources in of_replica.values()]
        self._waiting = set(feeds) or {self}
        for plan, source in self._sources.items():
            if isinstance(source, FromDeltas):
                connections.add(self._follow(plan, source))
        for feed in feeds:
            connections.add(feed.connect())
        if not feeds:
            self.feed(self, {}, None)

    def _follow(self, plan: Plan, source: FromDeltas) -> DisposableBase:
        known: dict[Any, Cell] = {}

        def take(item: Any) -> None:
            changes: Changes = {}
            for delta in cast("Iterable[Any]", item) if isinstance(item, (tuple, list)) else (item,):
                if not isinstance(delta, Reset):
                    if not (hasattr(delta, "key") and hasattr(delta, "after")):
                        raise InvalidValue(
                            f"an item of its source is a Delta or a tuple of them, not {delta!r:.80}",
                            object="collection of deltas",
                        )
                    key, after = delta.key, delta.after
                    try:
                        before = changes[key][0] if key in changes else known.get(key)
                    except TypeError:
                        raise InvalidValue(
                            f"the key of a row can be hashed, as {key!r:.80} cannot", object="collection of deltas"
                        ) from None
                    changes[key] = (before, None if isinstance(after, MissingType) else Value(own(after)))
            for key, (_, cell) in changes.items():
                known.pop(key, None)
                if cell is not None:
                    known[key] = cell
            self.feed(None, {plan: merged({}, changes)}, None)

        def on_next(item: Any) -> None:
            self._host.on_loop(partial(self._host.take_turn, partial(self._guarded, take, item)))

        def on_error(error: Exception) -> None:
            self._host.on_loop(partial(self._fail, error))

        return source.observable.subscribe(on_next, on_error)

    def _guarded(self, take: Callable[[Any], None], item: Any) -> None:
        if self._connections is not None:
            try:
                take(item)
            except Exception as error:
                self._fail(error)

    def feed(self, feed: object, sources: dict[Plan, Changes], reset: Reset | None) -> None:
        """Push the changes that one step made in some sources."""
        self._waiting.discard(feed)
        if self._waiting:
            for plan, changes in sources.items():
                self._early[plan] = merged(self._early.get(plan, {}), changes)
            return
        if not self.ready and self._early:
            sources = {plan: merged(self._early.get(plan, {}), sources.get(plan, {})) for plan in self._sources}
            self._early = {}
        self._queue.append((sources, reset))
        if not self._pushing:
            self._pushing = True
            try:
                while self._queue and self._connections is not None:
                    self._push(*self._queue.popleft())
            finally:
                self._pushing = False

    def _push(self, sources: dict[Plan, Changes], reset: Reset | None) -> None:
        try:
            changes = self.graph.push(sources, self._host.clock.monotonic())
        except Exception as error:
            self._fail(error)
            return
        first, self.ready = not self.ready, True
        self._set_timer()
        if not (first or changes or reset):
            return
        step = Step(self, changes, reset)
        for observer in list(self._observers.values()):
            if first:
                observer.begin(self)
            else:
                observer.step(self, step)

    # -- time and the end ------------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        due = self.graph.due
        if due is None or (self._timer is not None and self._timer[0] <= due):
            return
        if self._timer is not None:
            self._timer[1].cancel()
        self._timer = (due, self._host.spawn(self._wake(due), "window"))

    async def _wake(self, due: float) -> None:
        await self._host.clock.sleep(max(due - self._host.clock.monotonic(), 0))
        self._timer = None
        self._host.take_turn(lambda: self.feed(None, {}, None))

    def _fail(self, error: Exception) -> None:
        observers = list(self._observers.values())
        self._observers.clear()
        self._disconnect()
        for observer in observers:
            observer.fail(error)

    def _disconnect(self) -> None:
        connections, self._connections = self._connections, None
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        self._ended()
        if connections is not None:
            connections.dispose()


class _Feed:
    """The prefixes of one manifest in a query: all of them change together."""

    def __init__(self, query: LiveQuery, sources: dict[Plan, UnderPrefixes]) -> None:
        self._query = query
        self._sources = sources
        self._streams = next(iter(sources.values())).streams
        self._reset: Reset | None = None

    def connect(self) -> DisposableBase:
        prefixes = tuple(prefix for source in self._sources.values() for prefix in source.prefixes)
        shown = self._streams.shown_under(prefixes, watch=self._watch)
        return CompositeDisposable(shown.subscribe(self._take), self._streams.replica.demand())

    def _watch(self, turn: Turn, waits: bool) -> None:
        event = turn.step.event
        if isinstance(event, Loaded):
            self._reset = Reset(event.state.version)  # the first load changes nothing that anyone has seen
        elif not waits:
            self._reset = None

    def _take(self, item: Shown) -> None:
        reset, self._reset = self._reset, None
        self._query.feed(self, {plan: source.changes(item) for plan, source in self._sources.items()}, reset)


def read_cell(key: Any, cell: Cell) -> Any:
    """The value of a row."""
    return cell.own()


class Emitter(Generic[R]):
    """Emits to one observer a function of the content, initially and after each change; equal results are skipped."""

    def __init__(
        self, sender: Sender[R], begin: Callable[[LiveQuery], R], step: Callable[[LiveQuery, Step], R]
    ) -> None:
        self._sender = sender
        self._begin = begin
        self._step = step

    def begin(self, query: LiveQuery) -> None:
        self._sender.send(self._begin(query))

    def step(self, query: LiveQuery, step: Step) -> None:
        self._sender.send(self._step(query, step))

    def fail(self, error: Exception) -> None:
        self._sender.fail(error)
