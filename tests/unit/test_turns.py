"""The two operators that move the view: `folded` and `Turns`."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from reactivex import Observable, Subject

from rxmps3.replica.turns import Turns, folded


def test_folded_is_scan() -> None:
    source: Subject[int] = Subject()
    seen: list[int] = []
    source.pipe(folded(lambda total, item: total + item, 0)).subscribe(seen.append)
    for item in (1, 2, 3):
        source.on_next(item)
    assert seen == [1, 3, 6]


def test_a_refused_item_goes_back_to_who_pushed_it_and_the_rest_goes_on() -> None:
    def add(total: int, item: int) -> int:
        if item < 0:
            raise ValueError(item)
        return total + item

    source: Subject[int] = Subject()
    seen: list[int] = []
    errors: list[Exception] = []
    source.pipe(folded(add, 0)).subscribe(seen.append, errors.append)
    source.on_next(1)
    with pytest.raises(ValueError, match="-5"):
        source.on_next(-5)
    source.on_next(2)
    assert (seen, errors) == ([1, 3], [])


def test_each_subscription_folds_for_itself() -> None:
    source: Subject[int] = Subject()
    sums: Observable[int] = source.pipe(folded(lambda total, item: total + item, 0))
    early: list[int] = []
    late: list[int] = []
    sums.subscribe(early.append)
    source.on_next(1)
    sums.subscribe(late.append)
    source.on_next(2)
    assert (early, late) == ([1, 3], [2])


def test_folded_passes_the_end_on() -> None:
    source: Subject[int] = Subject()
    ends: list[str] = []
    source.pipe(folded(lambda total, item: total + item, 0)).subscribe(on_completed=lambda: ends.append("completed"))
    source.on_completed()
    assert ends == ["completed"]


class Rig:
    """A source behind `Turns`, and what was handed over to the delivering thread."""

    def __init__(self) -> None:
        self.handed: list[Callable[[], None]] = []
        self.turns: Turns[int] = Turns(self.handed.append)
        self.source: Subject[int] = Subject()
        self.delivered: Observable[int] = self.turns(self.source)

    def push(self, item: int) -> None:
        self.source.on_next(item)
        self.turns.run()


def test_what_is_pushed_in_the_turn_of_an_action_comes_after_it() -> None:
    rig, seen = Rig(), list[object]()
    rig.delivered.subscribe(seen.append)

    def action() -> None:
        rig.push(1)
        rig.turns.take(lambda: seen.append("inner"))
        seen.append("outer")

    rig.turns.take(action)
    assert seen == ["inner", "outer", 1]


def test_an_action_that_raises_does_so_where_it_was_given_a_turn() -> None:
    rig, seen = Rig(), list[int]()
    rig.delivered.subscribe(seen.append)
    with pytest.raises(ZeroDivisionError):
        rig.turns.take(lambda: print(1 / 0))
    rig.push(1)
    assert seen == [1]


def test_items_are_delivered_before_run_returns() -> None:
    rig, seen = Rig(), list[int]()
    rig.delivered.subscribe(seen.append)
    rig.push(1)
    assert seen == [1]


def test_nothing_is_delivered_before_run() -> None:
    rig, seen = Rig(), list[int]()
    rig.delivered.subscribe(seen.append)
    rig.source.on_next(1)
    assert seen == []


def test_re_entrant_items_wait_for_their_turn() -> None:
    rig, trace = Rig(), list[str]()

    def first(item: int) -> None:
        trace.append(f"begin {item}")
        if item < 3:
            rig.push(item + 1)
        trace.append(f"end {item}")

    rig.delivered.subscribe(first)
    rig.push(1)
    assert trace == ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]


def test_an_observer_that_raises_does_not_stop_the_turns() -> None:
    rig, seen = Rig(), list[int]()

    def observe(item: int) -> None:
        seen.append(item)
        if item == 1:
            raise LookupError

    rig.delivered.subscribe(observe)
    with pytest.raises(LookupError):
        rig.push(1)
    rig.push(2)
    assert seen == [1, 2]


def test_other_threads_hand_over() -> None:
    rig, seen = Rig(), list[tuple[int, int]]()
    rig.delivered.subscribe(lambda item: seen.append((item, threading.get_ident())))
    thread = threading.Thread(target=rig.push, args=(1,))
    thread.start()
    thread.join()
    assert seen == []
    assert len(rig.handed) == 1
    rig.handed[0]()
    assert seen == [(1, threading.get_ident())]


def test_the_order_across_threads_is_the_order_of_pushing() -> None:
    rig, seen = Rig(), list[int]()
    rig.delivered.subscribe(seen.append)
    for item in range(10):
        thread = threading.Thread(target=rig.push, args=(item,))
        thread.start()
        thread.join()
    rig.push(10)
    assert seen == list(range(11))
    for run in rig.handed:
        run()
    assert seen == list(range(11))
