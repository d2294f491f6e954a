"""The operators that move the view: `folded`, `checked` and `Turns`."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from reactivex import Observable, Subject
from reactivex import operators as ops

from rxmps3.replica.turns import Turns, checked, folded


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


def test_a_checked_item_goes_on_or_back_to_who_pushed_it() -> None:
    def check(item: int) -> None:
        if item < 0:
            raise ValueError(item)

    source: Subject[int] = Subject()
    seen: list[int] = []
    errors: list[Exception] = []
    source.pipe(checked(check)).subscribe(seen.append, errors.append)
    source.on_next(1)
    with pytest.raises(ValueError, match="-5"):
        source.on_next(-5)
    source.on_next(2)
    assert (seen, errors) == ([1, 2], [])


class Rig:
    """A source, what is delivered of it in turn, and what was handed over to the delivering thread."""

    def __init__(self) -> None:
        self.handed: list[Callable[[], None]] = []
        self.turns = Turns(self.handed.append)
        self.source: Subject[int] = Subject()
        self.delivered: Observable[int] = self.source.pipe(self.turns.entered, self.turns.queued)

    def push(self, item: int) -> None:
        self.source.on_next(item)


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


def test_an_item_is_delivered_before_its_push_returns() -> None:
    rig, seen = Rig(), list[int]()
    rig.delivered.subscribe(seen.append)
    rig.push(1)
    assert seen == [1]


def test_nothing_is_delivered_while_the_lock_is_held() -> None:
    rig, seen = Rig(), list[int]()
    rig.delivered.subscribe(seen.append)
    with rig.turns:
        rig.push(1)
        with rig.turns:
            rig.push(2)
        assert seen == []
    assert seen == [1, 2]


def test_what_is_queued_is_delivered_also_if_its_holder_raises() -> None:
    rig, seen = Rig(), list[int]()
    rig.delivered.subscribe(seen.append)

    def push_and_raise() -> None:
        with rig.turns:
            rig.push(1)
            raise LookupError

    with pytest.raises(LookupError):
        push_and_raise()
    assert seen == [1]


def test_a_refused_item_leaves_nothing_in_the_queue() -> None:
    turns = Turns(lambda run: None)
    source, told = Subject[int](), Subject[int]()
    seen: list[tuple[str, int]] = []

    def add(total: int, item: int) -> int:
        if item < 0:
            raise ValueError(item)
        return total + item

    told.pipe(turns.queued).subscribe(lambda item: seen.append(("item", item)))
    source.pipe(turns.entered, ops.do_action(told.on_next), folded(add, 0), turns.queued).subscribe(
        lambda total: seen.append(("total", total))
    )
    with turns:
        source.on_next(1)
        with pytest.raises(ValueError, match="-5"):
            source.on_next(-5)
        source.on_next(2)
    assert seen == [("item", 1), ("total", 1), ("item", 2), ("total", 3)]


def test_a_subscription_has_no_part_in_what_was_queued_before_it() -> None:
    rig, seen = Rig(), list[int]()
    rig.delivered.subscribe()
    with rig.turns:
        rig.push(1)
        rig.delivered.subscribe(seen.append)
        rig.push(2)
    assert seen == [2]


def test_the_lock_is_let_go_of_before_anything_is_delivered() -> None:
    rig, held = Rig(), list[bool]()

    def take(_: int) -> None:
        def try_to_push() -> None:
            with rig.turns:
                held.append(False)

        thread = threading.Thread(target=try_to_push)
        thread.start()
        thread.join(5)
        held.append(thread.is_alive())

    rig.delivered.subscribe(take)
    with rig.turns:
        rig.push(1)
    assert held == [False, False]


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
