"""`Collection`, a live query over the view: what drives the graph of operators, and the words that make one.

Order of emission. Each observed collection is one subscription of the view, like any other stream: within a step it is
served where it subscribed, once the changes of all its sources in that step have gone through its graph in an order
in which every operator comes after its inputs. So a step of the view (one write made here, one version of the log, one
roll-back) changes a collection in one emission at most, whatever joins it is made of. Of several observers of one
collection each gets the same emissions, in the order in which they subscribed. Sources in different manifests change
in steps of their own. Where a source lacks a value, the whole collection waits for it, and nothing else does.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Generic, Protocol, TypeVar, cast

from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxmps3.errors import Failure, InvalidOption, InvalidValue, NotLoaded
from rxmps3.model import valuetext
from rxmps3.model.collections.aggregates import Aggregate, Count, Extreme, Mean, Reduce, Sum, Total
from rxmps3.model.collections.cells import Cell, Text, Value, own
from rxmps3.model.collections.delta import Delta
from rxmps3.model.collections.graph import Graph, Plan, merged
from rxmps3.model.collections.operators import (
    Changes,
    Distinct,
    Filter,
    FlatMap,
    Join,
    Limit,
    Map,
    Operator,
    Sort,
    Union,
    Window,
)
from rxmps3.model.missing import MISSING, MissingType
from rxmps3.model.snapshot import Snapshot
from rxmps3.model.sortedkeys import check_prefix
from rxmps3.model.state import Loaded
from rxmps3.replica import Replica
from rxmps3.replica.router import Turn
from rxmps3.replica.versions import Reset
from rxmps3.streams import tables
from rxmps3.streams.snapshots import Shown
from rxmps3.streams.stream import Attach, Live, Sender, Stream, is_coroutine_function
from rxmps3.streams.typed import codec_for
from rxmps3.streams.views import Streams

__all__ = ["Collection", "Grouped", "Sorted", "collection_of"]

K = TypeVar("K")
V = TypeVar("V")
L = TypeVar("L")
W = TypeVar("W")
G = TypeVar("G")
R = TypeVar("R")

Deltas = tuple[Delta[K, V] | Reset, ...]
"""One emission: the changed rows in the order of their keys, after a `Reset` if the log was."""


# -- sources -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Prefixes:
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
class _Deltas:
    """The accumulated content of an Observable of deltas."""

    observable: Observable[Any]


_Source = _Prefixes | _Deltas
_Sources = dict[Plan, _Source]


# -- a collection that is observed -------------------------------------------------------------------------------


class _Step:
    """The result of one push, shared by several observers."""

    def __init__(self, run: _Run, changes: Changes, reset: Reset | None) -> None:
        self._run = run
        self._changes = changes
        self._reset = reset
        self._deltas: Deltas[Any, Any] | None = None

    @property
    def deltas(self) -> Deltas[Any, Any]:
        if self._deltas is None:
            deltas = self._run.graph.deltas(self._changes)
            self._deltas = deltas if self._reset is None else (self._reset, *deltas)
        return self._deltas


class _Observer(Protocol):
    def begin(self, run: _Run) -> None:
        """Emit the current content."""
        ...

    def step(self, run: _Run, step: _Step) -> None: ...

    def fail(self, error: Exception) -> None: ...


class _Run:
    """A graph that follows its sources, for as long as it is observed. On the loop's thread.

    Args:
        host: the replica whose loop, clock and tasks it uses.
        plan: the query.
        sources: where the rows of its sources come from.
        ended: called when no observer is left, or when a function of the user's has raised.
    """

    def __init__(self, host: Replica, plan: Plan, sources: _Sources, ended: Callable[[], None]) -> None:
        self.graph = Graph(plan)
        self.ready = False
        self._host = host
        self._sources = sources
        self._ended = ended
        self._order = count()
        self._observers: dict[int, _Observer] = {}
        self._connections: CompositeDisposable | None = None
        self._waiting: set[object] = set()
        self._early: dict[Plan, Changes] = {}
        self._queue: deque[tuple[dict[Plan, Changes], Reset | None]] = deque()
        self._pushing = False
        self._timer: tuple[float, asyncio.Task[None]] | None = None

    def add(self, observer: _Observer) -> DisposableBase:
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
        return Snapshot(self.graph.rows(), _read_cell)

    # -- from the sources ------------------------------------------------------------------------------------

    def _connect(self) -> None:
        connections = self._connections = CompositeDisposable()
        of_replica: dict[Replica, dict[Plan, _Prefixes]] = {}
        for plan, source in self._sources.items():
            if isinstance(source, _Prefixes):
                of_replica.setdefault(source.streams.replica, {})[plan] = source
        feeds = [_Feed(self, sources) for sources in of_replica.values()]
        self._waiting = set(feeds) or {self}
        for plan, source in self._sources.items():
            if isinstance(source, _Deltas):
                connections.add(self._follow(plan, source))
        for feed in feeds:
            connections.add(feed.connect())
        if not feeds:
            self.feed(self, {}, None)

    def _follow(self, plan: Plan, source: _Deltas) -> DisposableBase:
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
        step = _Step(self, changes, reset)
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
    """The prefixes of one manifest in a run: all of them change together."""

    def __init__(self, run: _Run, sources: dict[Plan, _Prefixes]) -> None:
        self._run = run
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
        self._run.feed(self, {plan: source.changes(item) for plan, source in self._sources.items()}, reset)


def _read_cell(key: Any, cell: Cell) -> Any:
    return cell.own()


class _Teller(Generic[R]):
    """Emits to one observer a function of the content, initially and after each change; equal results are skipped."""

    def __init__(self, sender: Sender[R], begin: Callable[[_Run], R], step: Callable[[_Run, _Step], R]) -> None:
        self._sender = sender
        self._begin = begin
        self._step = step

    def begin(self, run: _Run) -> None:
        self._sender.send(self._begin(run))

    def step(self, run: _Run, step: _Step) -> None:
        self._sender.send(self._step(run, step))

    def fail(self, error: Exception) -> None:
        self._sender.fail(error)


# -- the public classes
# ---------------------------------------------------------------------------------------------------


class Collection(Stream[tuple[Delta[K, V] | Reset, ...]], Generic[K, V]):
    """A live set of rows with keys, made by `Database.collection` or derived from other collections.

    An Observable of tuples of `Delta`: first the current content, then one tuple for each step that changes it,
        preceded by a `Reset` if the log was reloaded. Its methods make derived collections. Nothing is computed before
        one is observed; after that, the cost of a step depends on what it changes. The functions passed in get a key
        and its value (their own copy) and must depend on nothing else. If one raises, the observers of that collection
        get the error and their subscriptions end.
    """

    def __init__(self, streams: Streams, name: str, plan: Plan, sources: _Sources) -> None:
        self._streams = streams
        self._plan = plan
        self._sources = sources
        self._run: _Run | None = None
        super().__init__(streams.replica, name, self._attach_with(_present_deltas, _changed_deltas))

    # -- content ---------------------------------------------------------------------------------------

    @property
    def value(self) -> Snapshot[K, V]:
        """The current content, sorted by key (by rank after `sort_by`), without I/O, from any thread.

        O(1) while it is observed: then it is what its observers received last. Otherwise the whole query is computed
        from the view.

        Raises:
            NotLoaded: nothing has been read yet, or a value is not loaded: observe it first.
            Exception: whatever a function of the query raises.
        """
        run = self._run
        return run.snapshot() if run is not None and run.ready else self._computed()

    def observe(self) -> Stream[Snapshot[K, V]]:
        """The current content, then the new content after each change. Snapshots share structure."""
        attach = self._attach_with(_Run.snapshot, _changed_snapshot)
        return Stream(self._streams.replica, f"{self._name}.observe()", attach)

    def as_observable(self) -> Observable[tuple[Delta[K, V] | Reset, ...]]:
        """The same deltas as a plain Observable, without the methods of a collection."""
        return self.pipe(ops.as_observable())

    def to_pandas(self) -> Any:
        """The current content as a ``pandas.DataFrame``, with one column per field of the values and the keys as its
        index.

        Raises:
            Unsupported: pandas is not installed (the extra ``tables``). The rest as `value`.
        """
        return tables.to_pandas(self.value)

    def to_arrow(self) -> Any:
        """The current content as a ``pyarrow.Table``, with one column per field of the values and the keys in the
        column ``key``.

        Raises:
            InvalidValue: Arrow has no type for a column, or a field is called ``key``.
            Unsupported: pyarrow is not installed (the extra ``tables``). The rest as `value`.
        """
        return tables.to_arrow(self.value)

    # -- row by row ----------------------------------------------------------------------------------------

    def filter(self, fn: Callable[[K, V], object]) -> Collection[K, V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The rows for which ``fn(key, value)`` is true. A change costs O(1)."""
        return self._derived("filter", lambda inputs: Filter(fn), fn)

    def map(self, fn: Callable[[K, V], W]) -> Collection[K, W]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Each row with ``fn(key, value)`` as its value, under the same key. A change costs O(1)."""
        return cast("Collection[K, W]", self._derived("map", lambda inputs: Map(fn), fn))

    def flat_map(self, fn: Callable[[K, V], Iterable[Any]]) -> Collection[tuple[K, Any], Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The rows that ``fn(key, value)`` makes of each: the values of a list, or those of a mapping.

        They are keyed by the pair of the row's key and their place in the list, or their key in the mapping. A change
        costs O(rows made of one).
        """
        return self._derived("flat_map", lambda inputs: FlatMap(_function(fn)), fn, of_text=False)

    def sort_by(self, fn: Callable[[K, V], Any], reverse: bool = False) -> Sorted[K, V]:
        """The same rows sorted by ``fn(key, value)``, then by key; ``reverse`` reverses the first criterion.

        Values of different types sort as None, numbers, text, tuples. A change costs O(log n).
        """
        rank = self._plan.key_rank
        name = f"{self._name}.sort_by()"
        plan = Plan((self._plan,), lambda inputs: Sort(fn, reverse, rank), self._plan.of_text, name)
        _function(fn)
        return Sorted(self._streams, name, plan, self._sources)

    def distinct(self) -> Collection[K, V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One row per distinct value: the one with the first key. A change costs O(log n)."""
        rank = self._plan.key_rank
        return self._derived("distinct", lambda inputs: Distinct(rank))

    def union(self, other: Collection[L, W]) -> Collection[K | L, V | W]:
        """The rows of both; where both have a key, the row of this one. A change costs O(1)."""
        return cast("Collection[K | L, V | W]", self._with(other, "union", lambda inputs: Union()))

    def window(self, seconds: float) -> Collection[K, V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The rows whose value changed within the last ``seconds``, by the time when that was seen here.

        Rows that exist when the collection is first observed count as changed at that moment. Setting a row again to
        the same value is no change: a sign of life needs a value that differs, such as a time. A change costs O(1).
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= sys.float_info.max:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"a window is a positive number of seconds, not {seconds!r}", operation="window")
        return self._derived("window", lambda inputs: Window(seconds))

    # -- joins -----------------------------------------------------------------------------

    def join(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        other: Collection[L, W],
        on: Callable[[K, V], Any] | None = None,
        other_on: Callable[[L, W], Any] | None = None,
    ) -> Collection[tuple[K, L], tuple[V, W]]:
        """The pairs of a row of this collection and a row of the other with equal join values.

        A value is the pair of their values, keyed by the pair of their keys. One step of the view changes it in one
        emission, even if both are of one manifest. A change costs O(partners of the row).

        Args:
            other: the other collection.
            on: the join value of a row, ``on(key, value)``; its key by default. A row for which it returns `MISSING`
                has no partner.
            other_on: the same for the rows of the other collection.
        """
        return cast("Collection[tuple[K, L], tuple[V, W]]", self._joined(other, on, other_on, outer=False))

    def left_join(
        self,
        other: Collection[L, W],
        on: Callable[[K, V], Any] | None = None,
        other_on: Callable[[L, W], Any] | None = None,
    ) -> Collection[tuple[K, L | MissingType], tuple[V, W | MissingType]]:
        """As `join`, plus the rows of this collection without a partner, paired with `MISSING` as key and value."""
        joined = self._joined(other, on, other_on, outer=True)
        return cast("Collection[tuple[K, L | MissingType], tuple[V, W | MissingType]]", joined)

    # -- aggregation ------------------------------------------------------------------------------

    def group_by(self, fn: Callable[[K, V], G]) -> Grouped[K, V, G]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Group the rows by ``fn(key, value)``; an aggregate of the groups is a collection keyed by group."""
        return Grouped(self, _function(fn))

    def count(self) -> Live[int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """How many rows there are. A change costs O(1)."""
        return self._told("count", None, Count, 0)

    def sum(self, fn: Callable[[K, V], float]) -> Live[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The sum of ``fn(key, value)``, a number. It is exact; with floats it is rounded once at the end.

        A change costs O(1). The sum of no rows is 0.
        """
        return self._told("sum", fn, Sum, 0)

    def mean(self, fn: Callable[[K, V], float]) -> Live[float | MissingType]:
        """The arithmetic mean of ``fn(key, value)``, correctly rounded; `MISSING` if there are no rows. O(1)."""
        return self._told("mean", fn, Mean, MISSING)

    def min(self, fn: Callable[[K, V], R]) -> Live[R | MissingType]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The least ``fn(key, value)``; `MISSING` if there are no rows. A change costs O(log n)."""
        return self._told("min", fn, partial(Extreme, greatest=False), MISSING)

    def max(self, fn: Callable[[K, V], R]) -> Live[R | MissingType]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The greatest ``fn(key, value)``; `MISSING` if there are no rows. A change costs O(log n)."""
        return self._told("max", fn, partial(Extreme, greatest=True), MISSING)

    def reduce(self, add: Callable[[R, V], R], remove: Callable[[R, V], R], seed: R) -> Live[R]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Fold all values with ``add(total, value)``, starting from ``seed``; ``remove(total, value)`` takes one out.

        Values come and go in any order, so ``remove`` must undo ``add``, and the result must not depend on the order. A
        change costs a call of each.
        """
        total = partial(Reduce, _function(add), _function(remove), seed)
        return self._told("reduce", None, total, seed, rows=True)

    # -- construction --------------------------------------------------------------------------------------

    def _derived(
        self, word: str, make: Callable[[list[Any]], Operator], fn: Any = len, of_text: bool | None = None
    ) -> Collection[Any, Any]:
        name = f"{self._name}.{word}()"
        plan = Plan((self._plan,), make, self._plan.of_text if of_text is None else of_text, name)
        _function(fn)
        return Collection(self._streams, name, plan, self._sources)

    def _with(
        self, other: Collection[Any, Any], word: str, make: Callable[[list[Any]], Operator], of_text: bool | None = None
    ) -> Collection[Any, Any]:
        if not isinstance(other, Collection):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"{word} takes another collection, not {other!r:.80}", operation=word)
        if other._streams.replica.loop is not self._streams.replica.loop:
            raise InvalidOption("the two collections live on different event loops", operation=word)
        text = self._plan.of_text and other._plan.of_text if of_text is None else of_text
        name = f"{self._name}.{word}()"
        plan = Plan((self._plan, other._plan), make, text, name)
        return Collection(self._streams, name, plan, {**self._sources, **other._sources})

    def _joined(self, other: Collection[Any, Any], on: Any, other_on: Any, outer: bool) -> Collection[Any, Any]:
        for fn in (on, other_on):
            if fn is not None:
                _function(fn)
        word = "left_join" if outer else "join"
        return self._with(other, word, lambda inputs: Join(on, other_on, outer), of_text=False)

    def _aggregate(
        self, word: str, group: Any, item: Any, total: Callable[[], Total], rows: bool = False
    ) -> Collection[Any, Any]:
        if word not in ("count", "reduce"):
            _function(item)
        return self._derived(word, lambda inputs: Aggregate(group, item, total, rows=rows), of_text=False)

    def _told(self, word: str, item: Any, total: Callable[[], Total], empty: Any, rows: bool = False) -> Live[Any]:
        """An aggregate of all rows."""
        collection = self._aggregate(word, None, item, total, rows)

        def of(snapshot: Snapshot[Any, Any]) -> Any:
            found = snapshot.get(None, MISSING)
            return own(empty) if found is MISSING else found

        def begin(run: _Run) -> Any:
            return of(run.snapshot())

        attach = collection._attach_with(begin, lambda run, step: of(run.snapshot()))
        return Live(self._streams.replica, collection._name, attach, lambda: of(collection.value))

    def _attach_with(self, begin: Callable[[_Run], R], step: Callable[[_Run, _Step], R]) -> Attach[R]:
        def attach(sender: Sender[R]) -> DisposableBase:
            if self._run is None:
                self._run = _Run(self._streams.replica, self._plan, self._sources, self._end)
            return self._run.add(_Teller(sender, begin, step))

        return cast("Attach[R]", self._streams.counted(attach))

    def _end(self) -> None:
        self._run = None

    def _computed(self) -> Snapshot[Any, Any]:
        found: dict[Plan, Changes] = {}
        for plan in self._plan.in_order():
            if (source := self._sources.get(plan)) is not None:
                if isinstance(source, _Deltas):
                    raise NotLoaded(
                        "it accumulates the items of an Observable", object=self._name, remedy="observe it first"
                    )
                found[plan] = source.content(source.streams.replica)
        graph = Graph(self._plan)
        graph.push(found, self._streams.replica.clock.monotonic())
        return Snapshot(graph.rows(), _read_cell)


def _present_deltas(run: _Run) -> Deltas[Any, Any]:
    return run.graph.deltas({key: (None, cell) for key, cell in run.graph.rows().items()})


def _changed_deltas(run: _Run, step: _Step) -> Deltas[Any, Any]:
    return step.deltas


def _changed_snapshot(run: _Run, step: _Step) -> Snapshot[Any, Any]:
    return run.snapshot()


class Sorted(Collection[K, V]):
    """A collection whose `value` is sorted by a rank."""

    def limit(self, n: int, offset: int = 0) -> Collection[K, V]:
        """The first ``n`` rows in this order, after skipping ``offset``. A change costs O(log n)."""
        for name, number in (("n", n), ("offset", offset)):
            if type(number) is not int or number < 0:
                raise InvalidOption(f"{name} is a number of rows, not {number!r:.80}", operation="limit")
        name = f"{self._name}.limit()"
        plan = Plan((self._plan,), lambda inputs: Limit(inputs[0], n, offset), self._plan.of_text, name)
        return Collection(self._streams, name, plan, self._sources)


class Grouped(Generic[K, V, G]):
    """Rows by group. Its methods aggregate each non-empty group into one value: a collection keyed by group."""

    def __init__(self, rows: Collection[K, V], group: Callable[[K, V], G]) -> None:
        self._rows = rows
        self._group = group

    def count(self) -> Collection[G, int]:
        """The number of rows of each group. A change costs O(1)."""
        return self._told("count", None, Count)

    def sum(self, fn: Callable[[K, V], float]) -> Collection[G, Any]:
        """The sum of ``fn(key, value)`` per group, as `Collection.sum`."""
        return self._told("sum", fn, Sum)

    def mean(self, fn: Callable[[K, V], float]) -> Collection[G, float]:
        """The arithmetic mean of ``fn(key, value)`` per group, as `Collection.mean`."""
        return self._told("mean", fn, Mean)

    def min(self, fn: Callable[[K, V], R]) -> Collection[G, R]:
        """The least ``fn(key, value)`` per group. A change costs O(log n)."""
        return self._told("min", fn, partial(Extreme, greatest=False))

    def max(self, fn: Callable[[K, V], R]) -> Collection[G, R]:
        """The greatest ``fn(key, value)`` per group. A change costs O(log n)."""
        return self._told("max", fn, partial(Extreme, greatest=True))

    def reduce(self, add: Callable[[R, V], R], remove: Callable[[R, V], R], seed: R) -> Collection[G, R]:
        """Fold the values per group, as `Collection.reduce`."""
        return self._told("reduce", None, partial(Reduce, _function(add), _function(remove), seed), rows=True)

    def _told(self, word: str, item: Any, total: Callable[[], Total], rows: bool = False) -> Collection[Any, Any]:
        return self._rows._aggregate(word, self._group, item, total, rows)  # pyright: ignore[reportPrivateUsage]  # of the same module


def _function(fn: Any) -> Any:
    if not callable(fn) or is_coroutine_function(fn):
        what = "a coroutine function, which nobody would await" if callable(fn) else f"{fn!r:.80}"
        raise InvalidOption(f"give a function, not {what}", operation="collection")
    return fn


def collection_of(streams: Streams, sources: tuple[str | Observable[Any], ...], type: Any) -> Collection[Any, Any]:
    """The rows under some prefixes of a manifest, combined with those of Observables of deltas.

    Raises:
        InvalidOption: a source is neither a prefix nor an Observable, or pydantic cannot check the type.
        Unsupported: a type is given, and pydantic is not installed.
    """
    prefixes = tuple(source for source in sources if not isinstance(source, Observable))
    parts: list[Collection[Any, Any]] = []
    if prefixes or not sources:
        prefixes = tuple(map(check_prefix, prefixes)) or ("",)
        name = f"collection {', '.join(map(repr, prefixes))}"
        codec = codec_for(Any if type is None else type, name)
        typed = type is not None and type is not Any

        def load(text: str) -> Any:
            value = valuetext.decode(text, name)
            return codec.load(value) if typed else value

        plan = Plan(of_text=True)
        parts.append(Collection(streams, name, plan, {plan: _Prefixes(streams, prefixes, load, typed)}))
    for source in sources:
        if isinstance(source, Observable):
            plan = Plan()
            parts.append(Collection(streams, "collection of deltas", plan, {plan: _Deltas(source)}))
    result = parts[0]
    for part in parts[1:]:
        result = result.union(part)
    return result
