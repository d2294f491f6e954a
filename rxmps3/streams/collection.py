"""`Collection`, a live query over the view, and the words that make one. Its order of emission is in `live_query`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar, cast

from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase

from rxmps3.errors import InvalidOption, NotLoaded
from rxmps3.model import valuetext
from rxmps3.model.collections.aggregates import Aggregate, Count, Extreme, Mean, Reduce, Sum, Total
from rxmps3.model.collections.cells import own
from rxmps3.model.collections.delta import Delta
from rxmps3.model.collections.graph import Graph, Plan
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
from rxmps3.replica.versions import Reset
from rxmps3.streams import tables
from rxmps3.streams.live_query import Deltas, Emitter, FromDeltas, LiveQuery, Sources, Step, UnderPrefixes, read_cell
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


class Collection(Stream[tuple[Delta[K, V] | Reset, ...]], Generic[K, V]):
    """A live set of rows with keys, made by `Database.collection` or derived from other collections.

    An Observable of tuples of `Delta`: first the current content, then one tuple for each step that changes it,
        preceded by a `Reset` if the log was reloaded. Its methods make derived collections. Nothing is computed before
        one is observed; after that, the cost of a step depends on what it changes. The functions passed in get a key
        and its value (their own copy) and must depend on nothing else. If one raises, the observers of that collection
        get the error and their subscriptions end.
    """

    def __init__(self, streams: Streams, name: str, plan: Plan, sources: Sources) -> None:
        self._streams = streams
        self._plan = plan
        self._sources = sources
        self._query: LiveQuery | None = None
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
        query = self._query
        return query.snapshot() if query is not None and query.ready else self._computed()

    def observe(self) -> Stream[Snapshot[K, V]]:
        """The current content, then the new content after each change. Snapshots share structure."""
        attach = self._attach_with(LiveQuery.snapshot, _changed_snapshot)
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

        def begin(query: LiveQuery) -> Any:
            return of(query.snapshot())

        attach = collection._attach_with(begin, lambda query, step: of(query.snapshot()))
        return Live(self._streams.replica, collection._name, attach, lambda: of(collection.value))

    def _attach_with(self, begin: Callable[[LiveQuery], R], step: Callable[[LiveQuery, Step], R]) -> Attach[R]:
        def attach(sender: Sender[R]) -> DisposableBase:
            if self._query is None:
                self._query = LiveQuery(self._streams.replica, self._plan, self._sources, self._end)
            return self._query.add(Emitter(sender, begin, step))

        return cast("Attach[R]", self._streams.counted(attach))

    def _end(self) -> None:
        self._query = None

    def _computed(self) -> Snapshot[Any, Any]:
        found: dict[Plan, Changes] = {}
        for plan in self._plan.in_order():
            if (source := self._sources.get(plan)) is not None:
                if isinstance(source, FromDeltas):
                    raise NotLoaded(
                        "it accumulates the items of an Observable", object=self._name, remedy="observe it first"
                    )
                found[plan] = source.content(source.streams.replica)
        graph = Graph(self._plan)
        graph.push(found, self._streams.replica.clock.monotonic())
        return Snapshot(graph.rows(), read_cell)


def _present_deltas(query: LiveQuery) -> Deltas[Any, Any]:
    return query.graph.deltas({key: (None, cell) for key, cell in query.graph.rows().items()})


def _changed_deltas(query: LiveQuery, step: Step) -> Deltas[Any, Any]:
    return step.deltas


def _changed_snapshot(query: LiveQuery, step: Step) -> Snapshot[Any, Any]:
    return query.snapshot()


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
        parts.append(Collection(streams, name, plan, {plan: UnderPrefixes(streams, prefixes, load, typed)}))
    for source in sources:
        if isinstance(source, Observable):
            plan = Plan()
            parts.append(Collection(streams, "collection of deltas", plan, {plan: FromDeltas(source)}))
    result = parts[0]
    for part in parts[1:]:
        result = result.union(part)
    return result
