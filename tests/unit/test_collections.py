"""The law of live queries: after any history the incremental result is the same query over the whole content.

Queries are composed at random of all operators over two sources; a plain evaluation of the same query, which knows
nothing of changes, says what the result must be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxmps3 import MISSING, Delta, InvalidValue
from rxmps3.model.collections.aggregates import Aggregate, Count, Extreme, Mean, Reduce, Sum
from rxmps3.model.collections.cells import Text, own, same_value
from rxmps3.model.collections.graph import Graph, Plan
from rxmps3.model.collections.operators import (
    Changes,
    Distinct,
    Filter,
    FlatMap,
    Join,
    Limit,
    Map,
    Sort,
    Union,
    Window,
)
from rxmps3.model.collections.order import fingerprint, rank_of

Content = dict[Any, Any]


def number(salt: int, below: int, key: Any, value: Any) -> int:
    """Some number that depends on all there is."""
    return crc32(repr((salt, key, value)).encode()) % below


def value_number(salt: int, below: int, key: Any, value: Any) -> int:
    """Some number that depends on the value alone, so that rows meet."""
    return crc32(repr((salt, value)).encode()) % below


def amount(salt: int, key: Any, value: Any) -> int | float:
    """Whole or not, large or small: sums of them are rounded differently in different orders."""
    one = number(salt, 7, key, value)
    return [3, 0.1, -0.1, 1e16, 1.0, -1e16, 2**60][one]


def pieces(salt: int, key: Any, value: Any) -> Any:
    some = number(salt, 4, key, value)
    if salt % 2:
        return {f"part {n}": [value, n] for n in range(some)}
    return (f"{key} {n}" for n in range(some))


@dataclass(frozen=True, eq=False)
class Query:
    """A plan beside the plain evaluation of the same query."""

    name: str
    plan: Plan
    plain: Callable[[Content, Content], Content]


def source(which: int) -> Query:
    return Query(f"source {which}", SOURCES[which], lambda *contents: sorted_by_key(contents[which]))


SOURCES = (Plan(of_text=True), Plan(of_text=True))


def sorted_by_key(content: Content) -> Content:
    return {key: content[key] for key in sorted(content, key=rank_of)}


def unary(query: Query, word: str, salt: int) -> Query:
    plan, plain = query.plan, query.plain
    n = salt % 5
    rank = plan.key_rank
    if word == "filter":
        fn = partial(number, salt, 2)
        return Query(
            f"{query.name}.filter",
            Plan((plan,), lambda inputs: Filter(fn), plan.of_text),
            lambda a, b: sorted_by_key({key: value for key, value in plain(a, b).items() if fn(key, value)}),
        )
    if word == "map":
        fn = (lambda key, value: [value, key]) if salt % 2 else partial(value_number, salt, 4)
        return Query(
            f"{query.name}.map",
            Plan((plan,), lambda inputs: Map(fn), plan.of_text),
            lambda a, b: sorted_by_key({key: fn(key, value) for key, value in plain(a, b).items()}),
        )
    if word == "flat_map":

        def flat(a: Content, b: Content) -> Content:
            made: Content = {}
            for key, value in plain(a, b).items():
                parts = pieces(salt, key, value)
                made.update({(key, p): one for p, one in (parts.items() if salt % 2 else enumerate(parts))})
            return sorted_by_key(made)

        return Query(f"{query.name}.flat_map", Plan((plan,), lambda i: FlatMap(partial(pieces, salt))), flat)
    if word == "distinct":

        def distinct(a: Content, b: Content) -> Content:
            seen: dict[str, Any] = {}
            for key, value in sorted_by_key(plain(a, b)).items():
                seen.setdefault(repr(value), (key, value))
            return sorted_by_key(dict(seen.values()))

        return Query(f"{query.name}.distinct", Plan((plan,), lambda i: Distinct(rank), plan.of_text), distinct)
    if word == "sort":
        fn = partial(value_number, salt, 4)
        reverse = bool(salt % 2)

        def order(a: Content, b: Content) -> Content:
            content = sorted_by_key(plain(a, b))
            keys = sorted(content, key=lambda key: fn(key, content[key]), reverse=reverse)
            return {key: content[key] for key in keys}

        sort = Plan((plan,), lambda i: Sort(fn, reverse, rank), plan.of_text)
        if salt % 3 == 0:
            return Query(f"{query.name}.sort", sort, order)
        limit = Plan((sort,), lambda inputs: Limit(inputs[0], n, salt % 4), plan.of_text)
        return Query(
            f"{query.name}.sort.limit",
            limit,
            lambda a, b: dict(list(order(a, b).items())[salt % 4 : salt % 4 + n]),
        )
    return aggregate(query, word, salt)


def fsum(numbers: list[int | float]) -> int | float:
    if all(isinstance(one, int) for one in numbers):
        return sum(numbers)
    return float(sum(map(Fraction, numbers)))


def shortest(rows: list[tuple[Any, Any, Any]], salt: int) -> Any:
    return sorted((value for _, _, value in rows), key=lambda value: rank_of(value))[0]


def aggregate(query: Query, word: str, salt: int) -> Query:
    fn = partial(amount, salt)
    group = partial(value_number, salt, 3)
    item, total, plain_total = {
        "count": (None, Count, len),
        "sum": (fn, Sum, fsum),
        "mean": (fn, Mean, lambda numbers: float(Fraction(sum(map(Fraction, numbers))) / len(numbers))),
        "min": (fn, partial(Extreme, greatest=False), min),
        "max": (fn, partial(Extreme, greatest=True), max),
        "reduce": (
            None,
            partial(
                Reduce,
                lambda total, value: total + number(salt, 9, 0, value),
                lambda total, value: total - number(salt, 9, 0, value),
                100,
            ),
            lambda values: 100 + sum(number(salt, 9, 0, value) for value in values),
        ),
    }[word]

    def plain(a: Content, b: Content) -> Content:
        groups: dict[Any, list[Any]] = {}
        for key, value in query.plain(a, b).items():
            groups.setdefault(group(key, value), []).append(value if item is None else item(key, value))
        return sorted_by_key({name: plain_total(items) for name, items in groups.items()})

    made = Plan((query.plan,), lambda i: Aggregate(group, item, total, rows=word == "reduce"))
    return Query(f"{query.name}.group_by.{word}", made, plain)


def binary(left: Query, right: Query, word: str, salt: int) -> Query:
    name = f"({left.name}).{word}({right.name})"
    if word == "union":
        of_text = left.plan.of_text and right.plan.of_text
        return Query(
            name,
            Plan((left.plan, right.plan), lambda inputs: Union(), of_text),
            lambda a, b: sorted_by_key({**right.plain(a, b), **left.plain(a, b)}),
        )
    on, other_on = partial(value_number, salt, 3), partial(value_number, salt + 1, 3)
    if salt % 5 == 0:
        on = other_on = None  # type: ignore[assignment]
    if salt % 5 == 1:
        on = lambda key, value: number(salt, 3, key, value) or MISSING  # noqa: E731  # no partner

    def joined(a: Content, b: Content) -> Content:
        pairs: Content = {}
        for key, value in left.plain(a, b).items():
            mine = key if on is None else on(key, value)
            partners = [
                (other, theirs)
                for other, theirs in right.plain(a, b).items()
                if mine is not MISSING and mine == (other if other_on is None else other_on(other, theirs))
            ]
            if word == "left_join" and not partners:
                partners = [(MISSING, MISSING)]
            pairs.update({(key, other): (value, theirs) for other, theirs in partners})
        return sorted_by_key(pairs)

    return Query(name, Plan((left.plan, right.plan), lambda inputs: Join(on, other_on, word == "left_join")), joined)


UNARY = ["filter", "map", "flat_map", "distinct", "sort", "count", "sum", "mean", "min", "max", "reduce"]
BINARY = ["union", "join", "left_join"]
SALT = st.integers(0, 1000)

queries = st.recursive(
    st.integers(0, 1).map(source),
    lambda inner: st.one_of(
        st.builds(unary, inner, st.sampled_from(UNARY), SALT),
        st.builds(unary, inner, st.sampled_from(UNARY), SALT),
        st.builds(binary, inner, inner, st.sampled_from(BINARY), SALT),
    ),
    max_leaves=4,
)
values = st.sampled_from([0, 1, 2, True, 1.0, None, "x", [1], [1, {"a": 0.5}], {"n": 1}, {"m": [], "n": 2}])
changes = st.dictionaries(st.sampled_from([f"k{n}" for n in range(7)]), values | st.just(MISSING), max_size=4)
histories = st.lists(st.tuples(changes, changes), max_size=8)


class Feed:
    """Two sources, and the changes that set them."""

    def __init__(self) -> None:
        self.contents: tuple[Content, Content] = ({}, {})

    def step(self, updates: tuple[Content, Content]) -> dict[Plan, Changes]:
        fed: dict[Plan, Changes] = {}
        for plan, content, update in zip(SOURCES, self.contents, updates, strict=True):
            changed = {key: (cell(content.get(key, MISSING)), cell(value)) for key, value in update.items()}
            for key, value in update.items():
                content.pop(key, None)
                if value is not MISSING:
                    content[key] = value
            fed[plan] = {
                key: change
                for key, change in changed.items()
                if (change[0] and change[0].text) != (change[1] and change[1].text)
            }
        return fed


def cell(value: Any) -> Text | None:
    return None if value is MISSING else Text(json.dumps(value, sort_keys=True), json.loads)


def content_of(graph: Graph) -> Content:
    return {key: one.own() for key, one in graph.rows().items()}


@settings(max_examples=400)
@given(queries, histories)
def test_the_incremental_result_is_the_query_over_the_whole_content(query: Query, history: list[Any]) -> None:
    graph, feed, told = Graph(query.plan), Feed(), dict[Any, Any]()
    for updates in [({}, {}), *history]:
        deltas = graph.deltas(graph.push(feed.step(updates), 0.0))
        expected = query.plain(*feed.contents)
        assert same_value(content_of(graph), expected), query.name
        assert list(graph.rows()) == list(expected)
        assert list(reversed(graph.rows())) == list(expected)[::-1]  # type: ignore[call-overload]
        assert [delta.key for delta in deltas] == sorted((delta.key for delta in deltas), key=rank_of)
        for delta in deltas:
            assert same_value(told.pop(delta.key, MISSING), delta.before)
            assert not same_value(delta.before, delta.after)
            if delta.after is not MISSING:
                told[delta.key] = delta.after
        assert same_value(told, content_of(graph))
    for key, value in expected.items():
        assert same_value(graph.rows().get(key).own(), value)
    assert graph.rows().get(object(), "none") == "none"


@settings(max_examples=100)
@given(queries, histories)
def test_one_step_makes_the_result_that_many_make(query: Query, history: list[Any]) -> None:
    feed, slowly, at_once = Feed(), Graph(query.plan), Graph(query.plan)
    for updates in history:
        slowly.push(feed.step(updates), 0.0)
    whole = Feed()
    at_once.push(whole.step(feed.contents), 0.0)
    assert same_value(content_of(slowly), content_of(at_once))


@given(st.lists(st.tuples(changes, st.integers(0, 4)), max_size=12))
def test_a_window_holds_what_was_set_within_its_seconds(history: list[Any]) -> None:
    window = Plan((SOURCES[0],), lambda inputs: Window(3.0), of_text=True)
    doubled = Plan((window,), lambda inputs: Map(lambda key, value: [value, value]), of_text=True)
    graph, feed, now, set_at = Graph(doubled), Feed(), 0.0, dict[Any, float]()
    for updates, seconds in history:
        now += seconds
        before = dict(feed.contents[0])
        fed = feed.step((updates, {}))
        graph.push(fed, now)
        for key, (_, after) in fed[SOURCES[0]].items():
            set_at.pop(key, None)
            if after is not None:
                set_at[key] = now
        assert before.keys() | updates.keys() >= set_at.keys()
        there = {key for key, at in set_at.items() if now - at < 3}
        assert content_of(graph) == {key: [value, value] for key, value in feed.contents[0].items() if key in there}
        assert graph.due == min((set_at[key] + 3 for key in there), default=None)


ALIKE = [1, True, 1.0, 0, 0.0, -0.0, False, "a", (1,), [1], (1.0,), Decimal(1), Decimal("1.0")]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(ALIKE))), st.booleans())
def test_an_extreme_does_not_depend_on_what_was_there_before(history: list[tuple[bool, Any]], greatest: bool) -> None:
    extreme, there = Extreme(greatest), list[Any]()
    for gone, item in history:
        known = [index for index, one in enumerate(there) if same_value(one, item)]
        if gone and known:
            extreme.remove(there.pop(known[0]))
        elif not gone:
            extreme.add(item)
            there.append(item)
    anew = Extreme(greatest)
    for item in reversed(there):
        anew.add(item)
    assert same_value(extreme.result(), anew.result())


# -- cost --------------------------------------------------------------------------------------------------------


def test_functions_are_called_for_changed_rows_alone() -> None:
    calls: list[Any] = []

    def noted(key: Any, value: Any) -> Any:
        calls.append(key)
        return value["n"] % 10

    source_plan = SOURCES[0]
    plans = [
        Plan((source_plan,), lambda i: Filter(noted), True),
        Plan((source_plan,), lambda i: Map(noted), True),
        Plan((source_plan,), lambda i: Sort(noted, False, lambda key: key), True),
        Plan((source_plan,), lambda i: Aggregate(noted, None, Count)),
        Plan((source_plan,), lambda i: Aggregate(None, noted, Sum)),
        Plan((source_plan, source_plan), lambda i: Join(noted, None, True)),
    ]
    for plan in plans:
        graph, feed = Graph(plan), Feed()
        graph.push(feed.step(({f"k{n:04}": {"n": n} for n in range(2000)}, {})), 0.0)
        assert len(calls) == 2000
        calls.clear()
        graph.push(feed.step(({"k0005": {"n": 7}, "new": {"n": 1}, "k0001": MISSING}, {})), 0.0)
        assert sorted(calls) == ["k0005", "new"]
        calls.clear()


def test_a_value_that_a_function_changes_is_its_own() -> None:
    def spoil(key: Any, value: Any) -> Any:
        value["n"].append(9)
        return value

    mapped = Plan((SOURCES[0],), lambda i: Map(spoil), True)
    again = Plan((mapped,), lambda i: Map(spoil), True)
    graph, feed = Graph(again), Feed()
    (delta,) = graph.deltas(graph.push(feed.step(({"k": {"n": [1]}}, {})), 0.0))
    assert delta.after == {"n": [1, 9, 9]}
    delta.after["n"].clear()
    assert delta.after == {"n": [1, 9, 9]}
    graph.rows().get("k").own()["n"].clear()
    assert content_of(graph) == {"k": {"n": [1, 9, 9]}}


# -- order, equality, sums ---------------------------------------------------------------------------------------


class Colour(Enum):
    RED = 1
    BLUE = 2


def test_any_two_keys_have_an_order() -> None:
    keys = [
        MISSING, None, -1, 0, 0.5, True, 2, "", "a", b"a", (), (1,), (1, "a"), ("a",), [2], date(2026, 1, 1),
        date(2026, 1, 2), Decimal(1), frozenset({1}), frozenset({"a", 2}), Colour.BLUE, Colour.RED, timedelta(1),
    ]  # fmt: skip
    ranked = sorted(map(rank_of, keys))
    assert len(ranked) == len(keys)
    assert sorted(map(rank_of, reversed(keys))) == ranked
    assert rank_of(1) == rank_of(1.0) == rank_of(True)
    for bad in (math.nan, object(), {}, 1j):
        with pytest.raises(InvalidValue):
            rank_of(bad)


def test_values_are_told_apart_as_json_tells_them() -> None:
    alike = [1, 1.0, True, 0, 0.0, -0.0, False, None, "1", [], [1], [1.0], (), (1,), {}, {"a": 1}, {"a": True}]
    for n, left in enumerate(alike):
        for m, right in enumerate(alike):
            assert same_value(left, right) == (n == m)
            assert (fingerprint(left) == fingerprint(right)) == (n == m)
    with pytest.raises(InvalidValue):
        fingerprint({"a": bytearray()})


def test_copies_share_nothing_that_can_be_changed() -> None:
    value = {"a": [1, (2, [3])], "b": bytearray(b"x")}
    copied = own(value)
    assert copied == value
    copied["a"][1][1].append(4)
    copied["b"].append(1)
    assert value == {"a": [1, (2, [3])], "b": bytearray(b"x")}
    lock = (n for n in range(3))
    assert own(lock) is lock  # it refuses to be copied


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70), min_size=1))
def test_sums_are_exact_in_any_order_and_what_left_leaves_no_trace(numbers: list[int | float]) -> None:
    total, mean = Sum(), Mean()
    for one in [*numbers, *numbers, 1e308, 1e308, math.inf]:
        total.add(one)
        mean.add(one)
    for one in [*reversed(numbers), math.inf, 1e308, 1e308]:
        total.remove(one)
        mean.remove(one)
    try:
        expected = fsum(numbers)
        average = float(sum(map(Fraction, numbers)) / len(numbers))
    except OverflowError:
        return
    assert same_value(total.result(), expected)
    assert mean.result() == average


def test_sums_beyond_the_numbers() -> None:
    def of(*numbers: Any) -> Any:
        total = Sum()
        for one in numbers:
            total.add(one)
        return total.result()

    assert of(1e308, 1e308) == math.inf
    assert of(-1e308, -1e308) == -math.inf
    assert of(math.inf, 1) == math.inf
    assert math.isnan(of(math.inf, -math.inf))
    with pytest.raises(InvalidValue, match="a sum is of numbers"):
        of("1")


def test_deltas_are_values() -> None:
    delta = Delta("k", MISSING, [1])
    assert delta == Delta("k", MISSING, [1])
    assert delta != Delta("k", MISSING, [2])
    assert repr(delta) == "Delta('k', MISSING, [1])"
    assert [Delta(1, a, b).kind for a, b in ((MISSING, 1), (1, 2), (1, MISSING))] == ["added", "changed", "removed"]
    match delta:
        case Delta(key, before, after):
            assert (key, before, after) == ("k", MISSING, [1])
