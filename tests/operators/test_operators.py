"""What the marble diagrams do not show: disposal, errors, threads, options."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from unittest.mock import patch

import pytest
import reactivex as rx
from reactivex import Observable, Subject
from reactivex import operators as ops

import rxmps3
from rxmps3.errors import InvalidOption, Overloaded, WrongLoop
from rxmps3.operators import (
    coalesce,
    from_async_iterable,
    map_async,
    retry_with_backoff,
    share_latest,
    to_async_iterator,
)
from rxmps3.runtime.clock import Random
from rxmps3.testing import settle
from rxmps3.testing.virtual import run_virtually
from tests.behaviour.helpers import eventually, trace


def virtually(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop in virtual time."""

    def run(self: Any) -> None:
        run_virtually(test(self))

    run.__name__ = test.__name__
    return run


def others() -> set[asyncio.Task[Any]]:
    """The tasks of this loop beside the test."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def kinds(events: list[Any]) -> list[Any]:
    return [type(event) if isinstance(event, Exception) else event for event in events]


class TestMapAsync:
    @virtually
    async def test_no_more_calls_run_at_once_than_allowed(self) -> None:
        running, most = 0, 0

        async def call(item: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(10 - item)
            running -= 1
            return item

        events = trace(rx.from_(range(10)).pipe(map_async(call, concurrency=3)))
        await asyncio.sleep(100)
        assert events == [*range(10), "completed"]
        assert most == 3
        assert others() == set()

    @virtually
    async def test_disposing_cancels_what_runs_and_starts_nothing_more(self) -> None:
        began: list[int] = []
        cancelled: list[int] = []

        async def call(item: int) -> None:
            began.append(item)
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                cancelled.append(item)
                raise

        events: list[Any] = []
        seen = rx.from_(range(5)).pipe(map_async(call, concurrency=2)).subscribe(events.append)
        await asyncio.sleep(1)
        seen.dispose()
        await settle()
        assert (began, cancelled, events, others()) == ([0, 1], [0, 1], [], set())

    @virtually
    async def test_an_error_with_preserve_waits_for_the_results_before_it(self) -> None:
        async def call(item: int) -> int:
            await asyncio.sleep(5 - item)
            if item == 2:
                raise KeyError(item)
            return item

        events = trace(rx.from_(range(5)).pipe(map_async(call, concurrency=5)))
        await asyncio.sleep(20)
        assert kinds(events) == [0, 1, KeyError]
        assert others() == set()

    @virtually
    async def test_an_error_with_arrival_cancels_the_others_at_once(self) -> None:
        async def call(item: int) -> int:
            await asyncio.sleep(5 - item)
            if item == 2:
                raise KeyError(item)
            return item

        events = trace(rx.from_(range(5)).pipe(map_async(call, concurrency=5, ordering="arrival")))
        await asyncio.sleep(20)
        assert kinds(events) == [4, 3, KeyError]
        assert others() == set()

    async def test_an_error_of_the_source_comes_at_once(self) -> None:
        source = Subject[int]()
        events = trace(source.pipe(map_async(lambda _: asyncio.sleep(3600))))
        source.on_next(1)
        await settle()
        source.on_error(KeyError("source"))
        await settle()
        assert kinds(events) == [KeyError]
        assert others() == set()

    async def test_what_is_no_coroutine_function_is_an_error(self) -> None:
        def plain(item: int) -> Any:
            return item

        events = trace(rx.of(1).pipe(map_async(plain)))
        await settle()
        assert kinds(events) == [TypeError]

    async def test_a_call_that_somebody_else_cancels_is_an_error_and_no_silence(self) -> None:
        async def call(_: int) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        events = trace(rx.of(1).pipe(map_async(call)))
        await settle()
        assert kinds(events) == [rxmps3.Error]
        assert "cancelled by somebody else" in str(events[0])

    async def test_the_buffer_is_bounded(self) -> None:
        source = Subject[int]()
        events = trace(source.pipe(map_async(lambda _: asyncio.sleep(3600), buffer=2)))
        for item in range(3):
            source.on_next(item)
        assert events == []
        source.on_next(3)
        await settle()
        assert kinds(events) == [Overloaded]
        assert others() == set()

    async def test_results_that_wait_for_their_turn_count_as_waiting(self) -> None:
        async def call(item: int) -> int:
            if item == 0:
                await asyncio.sleep(3600)
            return item

        source = Subject[int]()
        events = trace(source.pipe(map_async(call, concurrency=2, buffer=3)))
        for item in range(6):
            source.on_next(item)
            await settle()
        assert kinds(events) == [Overloaded]

    async def test_a_source_may_emit_on_another_thread(self) -> None:
        threads: list[threading.Thread] = []

        async def call(item: int) -> int:
            threads.append(threading.current_thread())
            return item

        source = Subject[int]()
        events = trace(source.pipe(map_async(call)))
        await asyncio.to_thread(lambda: [source.on_next(1), source.on_next(2), source.on_completed()])
        await eventually(lambda: events[-1:] == ["completed"])
        assert events == [1, 2, "completed"]
        assert set(threads) == {threading.main_thread()}

    async def test_it_may_be_disposed_on_another_thread(self) -> None:
        seen = rx.of(1).pipe(map_async(lambda _: asyncio.sleep(3600))).subscribe()
        await settle()
        await asyncio.to_thread(seen.dispose)
        await eventually(lambda: not others())

    def test_without_a_loop_it_says_so(self) -> None:
        assert kinds(trace(rx.of(1).pipe(map_async(lambda _: asyncio.sleep(0))))) == [WrongLoop]

    async def test_an_observer_that_raises_ends_its_subscription_and_is_told_to_the_loop(self) -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

        async def call(item: int) -> int:
            return item

        rx.of(1, 2).pipe(map_async(call, concurrency=2)).subscribe(lambda item: 1 // 0)
        await settle()
        assert kinds(told) == [ZeroDivisionError]
        assert others() == set()

    async def test_latest_logs_what_a_cancelled_call_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        async def call(_: int) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                raise KeyError("while cancelled")

        source = Subject[int]()
        seen = source.pipe(map_async(call, ordering="latest")).subscribe()
        source.on_next(1)
        await settle()
        with caplog.at_level(logging.WARNING, "rxmps3"):
            seen.dispose()
            await settle()
        assert "while cancelled" in caplog.text

    @virtually
    async def test_latest_runs_one_call_at_a_time_also_where_cancelling_takes_time(self) -> None:
        running: list[int] = []
        most: list[int] = []
        began: list[int] = []

        async def call(item: int) -> int:
            running.append(item)
            began.append(item)
            most.append(len(running))
            try:
                await asyncio.sleep(10)
            finally:
                await asyncio.sleep(4.5)
                running.remove(item)
            return item

        source = Subject[int]()
        events = trace(source.pipe(map_async(call, ordering="latest", buffer=0)))
        for item in range(8):
            source.on_next(item)
            await asyncio.sleep(1)
        source.on_completed()
        await asyncio.sleep(100)
        assert (events, max(most)) == ([7, "completed"], 1)
        assert began == [0, 5, 7]
        assert others() == set()

    @virtually
    async def test_conflate_finishes_a_call_and_goes_on_with_the_latest(self) -> None:
        began: list[int] = []

        async def call(item: int) -> int:
            began.append(item)
            await asyncio.sleep(3.5)
            return item

        source = Subject[int]()
        events = trace(source.pipe(map_async(call, ordering="conflate", buffer=0)))
        for item in range(8):
            source.on_next(item)
            await asyncio.sleep(1)
        source.on_completed()
        await asyncio.sleep(100)
        assert (began, events) == ([0, 3, 7], [0, 3, 7, "completed"])

    async def test_calls_are_tasks_of_who_keeps_account_of_them(self) -> None:
        async def call(item: int) -> int:
            await asyncio.sleep(0)
            return item

        source = Subject[int]()
        async with asyncio.TaskGroup() as group:
            events = trace(source.pipe(map_async(call, create_task=group.create_task)))
            source.on_next(1)
        assert events == [1]
        source.on_next(2)
        assert kinds(events) == [1, RuntimeError]

    @pytest.mark.parametrize(
        "options",
        [
            {"ordering": "random"},
            {"concurrency": 0},
            {"concurrency": 1.5},
            {"concurrency": float("nan")},
            {"concurrency": "2"},
            {"buffer": -1},
            {"buffer": None},
            {"ordering": "latest", "concurrency": 2},
            {"ordering": "conflate", "concurrency": 2},
            {"fn": None},
        ],
        ids=str,
    )
    def test_options_are_checked(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidOption):
            map_async(**{"fn": asyncio.sleep, **options})


async def emit_on_a_thread_while_the_loop_is_busy(source: Subject[int], count: int) -> int:
    """The most memory that this took, in bytes."""
    emitting = threading.Thread(target=lambda: [source.on_next(number) for number in range(count)])
    tracemalloc.start()
    emitting.start()
    emitting.join()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await settle()
    return most


@pytest.mark.parametrize(
    ("ordering", "seen"), [("latest", [19_999]), ("conflate", [19_999]), ("preserve", [Overloaded])]
)
async def test_what_threads_emit_while_the_loop_is_busy_is_bounded(ordering: Any, seen: list[Any]) -> None:
    async def call(item: int) -> int:
        return item

    source = Subject[int]()
    events = trace(source.pipe(map_async(call, ordering=ordering, buffer=10)))
    assert await emit_on_a_thread_while_the_loop_is_busy(source, 20_000) < 1_000_000
    await eventually(lambda: kinds(events) == seen)


async def test_what_threads_emit_while_an_observer_is_busy_is_bounded() -> None:
    source = Subject[int]()
    seen: list[int] = []

    def slow(item: int) -> None:
        seen.append(item)
        if item < 0:
            emitting.start()
            emitting.join()

    emitting = threading.Thread(target=lambda: [source.on_next(number) for number in range(20_000)])
    source.pipe(coalesce(0.001)).subscribe(slow)
    tracemalloc.start()
    source.on_next(-1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
    await eventually(lambda: seen == [-1, 19_999])


class TestRetryWithBackoff:
    @virtually
    async def test_the_waits_are_jittered_and_their_bound_doubles_up_to_the_cap(self) -> None:
        asked: list[tuple[float, float]] = []

        class Noting(Random):
            def uniform(self, a: float, b: float) -> float:
                asked.append((a, b))
                return b / 2

        source: Observable[int] = rx.throw(KeyError("down"))
        events = trace(source.pipe(retry_with_backoff(6, base=1, cap=5, rng=Noting())))
        await asyncio.sleep(60)
        assert asked == [(0, 1), (0, 2), (0, 4), (0, 5), (0, 5)]
        assert kinds(events) == [KeyError]

    @virtually
    async def test_only_errors_that_are_wanted_are_tried_again(self) -> None:
        tries = 0

        def source(*_: Any) -> Observable[int]:
            nonlocal tries
            tries += 1
            return rx.throw(OSError() if tries < 3 else KeyError())

        events = trace(rx.defer(source).pipe(retry_with_backoff(retry_if=lambda error: isinstance(error, OSError))))
        await asyncio.sleep(60)
        assert (tries, kinds(events)) == (3, [KeyError])

    async def test_an_error_of_retry_if_is_the_error(self) -> None:
        source: Observable[int] = rx.throw(KeyError())
        assert kinds(trace(source.pipe(retry_with_backoff(retry_if=lambda _: bool(1 // 0))))) == [ZeroDivisionError]

    @pytest.mark.parametrize(("reset", "seen"), [(True, [1, 3, 5, 7, "completed"]), (False, [1, 3, KeyError])])
    def test_an_item_starts_the_counting_anew_if_so_wanted(self, reset: bool, seen: list[Any]) -> None:
        tries = 0

        def source(*_: Any) -> Observable[int]:
            nonlocal tries
            tries += 1
            return rx.concat(rx.of(tries) if tries % 2 else rx.empty(), rx.throw(KeyError()))

        async def run() -> list[Any]:
            events = trace(rx.defer(source).pipe(retry_with_backoff(3, reset_on_success=reset), ops.take(4)))
            await asyncio.sleep(600)
            return kinds(events)

        assert run_virtually(run()) == seen

    @virtually
    async def test_disposing_while_it_waits_ends_it(self) -> None:
        tries = 0

        def source(*_: Any) -> Observable[int]:
            nonlocal tries
            tries += 1
            return rx.throw(KeyError())

        seen = rx.defer(source).pipe(retry_with_backoff(base=10)).subscribe()
        seen.dispose()
        await asyncio.sleep(600)
        assert tries == 1

    @pytest.mark.parametrize(
        "options",
        [
            {"attempts": 0},
            {"attempts": 1.5},
            {"attempts": "3"},
            {"base": -1},
            {"base": float("nan")},
            {"cap": -1},
            {"cap": "1"},
        ],
        ids=str,
    )
    def test_options_are_checked(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidOption):
            retry_with_backoff(**options)


class TestShareLatest:
    def test_there_is_one_subscription_to_the_source_while_anybody_listens(self) -> None:
        subscribed: list[str] = []
        source = Subject[int]()

        def subscribe(*_: Any) -> Observable[int]:
            subscribed.append("in")
            return source.pipe(ops.finally_action(lambda: subscribed.append("out")))

        shared = rx.defer(subscribe).pipe(share_latest())
        first, second = shared.subscribe(), shared.subscribe()
        first.dispose()
        assert subscribed == ["in"]
        second.dispose()
        assert subscribed == ["in", "out"]
        shared.subscribe()
        assert subscribed == ["in", "out", "in"]

    def test_after_the_end_the_next_observer_begins_anew(self) -> None:
        shared = rx.of(1, 2).pipe(share_latest())
        assert trace(shared) == [1, 2, "completed"]
        assert trace(shared) == [1, 2, "completed"]

    def test_an_error_reaches_everybody_and_is_forgotten(self) -> None:
        sources = iter([Subject[int](), Subject[int]()])
        current: list[Subject[int]] = []

        def begin(*_: Any) -> Observable[int]:
            current.append(next(sources))
            return current[-1]

        shared = rx.defer(begin).pipe(share_latest())
        first, second = trace(shared), trace(shared)
        current[0].on_next(1)
        current[0].on_error(KeyError())
        assert kinds(first) == kinds(second) == [1, KeyError]
        third = trace(shared)
        current[1].on_next(2)
        assert third == [2]

    def test_a_source_that_cannot_be_subscribed_to_is_an_error_and_tried_anew_by_the_next(self) -> None:
        class Refuses(Observable[int]):
            tries = 0

            def subscribe(self, *arguments: Any, **options: Any) -> Any:
                self.tries += 1
                raise KeyError("not now")

        source = Refuses()
        shared = source.pipe(share_latest())
        assert kinds(trace(shared)) == kinds(trace(shared)) == [KeyError]
        assert source.tries == 2

    @pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
    def test_an_observer_that_raises_is_detached_and_the_others_do_not_notice(
        self, error: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        source = Subject[int]()
        shared = source.pipe(share_latest())
        calls: list[int] = []

        def bad(item: int) -> None:
            calls.append(item)
            raise error("bad observer")

        shared.subscribe(bad)
        good = trace(shared)
        source.on_next(1)
        source.on_next(2)
        assert (calls, good) == ([1], [1, 2])
        assert "bad observer" in caplog.text

    def test_an_item_caused_by_an_observer_comes_after_the_present_one_for_everybody(self) -> None:
        source = Subject[int]()
        shared = source.pipe(share_latest())
        shared.subscribe(lambda item: source.on_next(item + 1) if item < 3 else None)
        second = trace(shared)
        source.on_next(1)
        assert second == [1, 2, 3]

    def test_one_who_subscribes_inside_an_observer_gets_the_present_item_once(self) -> None:
        source = Subject[int]()
        shared = source.pipe(share_latest())
        late: list[list[int]] = []
        shared.subscribe(lambda item: late.append(trace(shared)) if item == 1 else None)
        source.on_next(1)
        source.on_next(2)
        assert late == [[1, 2]]

    def test_threads_that_emit_come_one_after_the_other(self) -> None:
        source = Subject[int]()
        at_once, most = 0, 0
        seen: list[int] = []

        def observe(item: int) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            seen.append(item)
            at_once -= 1

        source.pipe(share_latest()).subscribe(observe)
        threads = [
            threading.Thread(target=lambda n=n: [source.on_next(n * 1000 + i) for i in range(500)]) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1
        assert sorted(seen) == [n * 1000 + i for n in range(4) for i in range(500)]


class TestCoalesce:
    @virtually
    async def test_a_flood_is_thinned_and_ends_on_the_latest(self) -> None:
        source = Subject[int]()
        events = trace(source.pipe(coalesce(fps=10)))
        for item in range(1001):
            source.on_next(item)
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert events[0] == 0
        assert events[-1] == 1000
        assert 9 <= len(events) <= 12

    @virtually
    async def test_disposing_drops_what_is_held_back(self) -> None:
        source = Subject[int]()
        events: list[int] = []
        seen = source.pipe(coalesce(1.0)).subscribe(events.append)
        source.on_next(1)
        source.on_next(2)
        seen.dispose()
        await asyncio.sleep(10)
        assert events == [1]

    @virtually
    async def test_an_item_caused_by_an_observer_waits_its_time(self) -> None:
        source = Subject[int]()
        loop = asyncio.get_running_loop()
        events: list[tuple[int, int]] = []

        def observe(item: int) -> None:
            events.append((item, round(loop.time())))
            if item < 3:
                source.on_next(item + 1)

        source.pipe(coalesce(1.0)).subscribe(observe)
        source.on_next(1)
        await asyncio.sleep(10)
        assert events == [(1, 0), (2, 1), (3, 2)]

    async def test_an_observer_that_raises_later_is_detached_and_told_to_the_loop(self) -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        source = Subject[int]()
        source.pipe(coalesce(0.001)).subscribe(lambda item: 1 // item)
        source.on_next(1)
        source.on_next(0)
        await eventually(lambda: told)
        assert kinds(told) == [ZeroDivisionError]
        assert not source.observers

    async def test_what_another_thread_emits_ends_on_the_latest(self) -> None:
        source = Subject[int]()
        events = trace(source.pipe(coalesce(0.001)))
        await asyncio.to_thread(lambda: [source.on_next(item) for item in range(1000)])
        await eventually(lambda: events[-1] == 999)
        assert events == sorted(set(events))

    def test_without_a_loop_or_a_scheduler_it_says_so(self) -> None:
        assert kinds(trace(rx.never().pipe(coalesce(1.0)))) == [WrongLoop]

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"seconds": 1, "fps": 1},
            {"seconds": 0},
            {"fps": -1},
            {"seconds": float("inf")},
            {"fps": float("nan")},
            {"seconds": "1"},
        ],
        ids=str,
    )
    def test_options_are_checked(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidOption):
            coalesce(**options)


class TestFromAsyncIterable:
    async def test_disposing_closes_a_generator(self) -> None:
        closed: list[str] = []

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0)
                closed.append("closed")

        seen = from_async_iterable(numbers()).subscribe()
        await settle()
        seen.dispose()
        await settle()
        assert (closed, others()) == (["closed"], set())

    async def test_enough_is_enough_even_of_a_generator_that_never_waits(self) -> None:
        closed: list[str] = []

        async def numbers() -> AsyncIterator[int]:
            number = 0
            try:
                while True:
                    yield number
                    number += 1
            finally:
                await asyncio.sleep(0)
                closed.append("closed")

        generator = numbers()  # held here, so that no garbage collector closes it
        events = trace(from_async_iterable(generator).pipe(ops.take(3)))
        await settle()
        assert (events, closed, others()) == ([0, 1, 2, "completed"], ["closed"], set())

    async def test_a_function_makes_a_new_one_for_each_subscription(self) -> None:
        async def numbers() -> AsyncIterator[int]:
            yield 1
            yield 2

        source = from_async_iterable(numbers)
        first, second = trace(source), trace(source)
        await settle()
        assert first == second == [1, 2, "completed"]

    async def test_an_error_of_the_function_goes_to_on_error(self) -> None:
        def broken() -> AsyncIterator[int]:
            raise KeyError("no iterable")

        events = trace(from_async_iterable(broken))
        await settle()
        assert kinds(events) == [KeyError]

    async def test_an_observer_that_raises_ends_the_pulling_and_is_told_to_the_loop(self) -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

        async def numbers() -> AsyncIterator[int]:
            yield 1
            yield 2

        calls: list[int] = []

        def bad(item: int) -> None:
            calls.append(item)
            raise ZeroDivisionError

        from_async_iterable(numbers).subscribe(bad)
        await settle()
        assert (calls, kinds(told), others()) == ([1], [ZeroDivisionError], set())
        gc.collect()

    async def test_a_cancellation_by_somebody_else_is_an_error_and_no_silence(self) -> None:
        async def numbers() -> AsyncIterator[int]:
            yield 1
            gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            gone.cancel()
            yield await gone

        events = trace(from_async_iterable(numbers))
        await settle()
        assert kinds(events) == [1, rxmps3.Error]
        assert others() == set()

    def test_what_it_cannot_iterate_is_refused_at_once(self) -> None:
        with pytest.raises(InvalidOption):
            from_async_iterable(5)  # pyright: ignore

    def test_without_a_loop_it_says_so(self) -> None:
        async def numbers() -> AsyncIterator[int]:
            yield 1

        assert kinds(trace(from_async_iterable(numbers))) == [WrongLoop]


class TestToAsyncIterator:
    async def test_it_subscribes_inside_the_context_only(self) -> None:
        source = Subject[int]()
        items = source.pipe(to_async_iterator(keep="all"))
        assert not source.observers
        async with items as arriving:
            source.on_next(1)
            source.on_next(2)
            source.on_completed()
            assert [item async for item in arriving] == [1, 2]
        assert not source.observers

    async def test_it_can_be_entered_once(self) -> None:
        items = rx.of(1, 2).pipe(to_async_iterator(keep="all"))
        async with items as arriving:
            assert [item async for item in arriving] == [1, 2]
        with pytest.raises(TypeError, match="once"):
            await items.__aenter__()

    async def test_what_threads_emit_while_the_loop_is_busy_is_bounded(self) -> None:
        source = Subject[int]()
        handed_over = 0
        loop = asyncio.get_running_loop()
        real = loop.call_soon_threadsafe

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal handed_over
            handed_over += 1
            return real(*arguments, **options)

        async with source.pipe(to_async_iterator(keep=3)) as items:
            waiting = asyncio.ensure_future(anext(items))
            await settle()
            with patch.object(loop, "call_soon_threadsafe", counted):
                emitting = threading.Thread(target=lambda: [source.on_next(number) for number in range(10_000)])
                emitting.start()
                emitting.join()  # the loop is busy meanwhile
            assert handed_over == 1
            assert await waiting == 9_997
            source.on_completed()
            assert [item async for item in items] == [9_998, 9_999]

    async def test_it_is_what_a_database_gives(self) -> None:
        async with rxmps3.connect("memory:") as db:
            assert type(db.iterate(rx.of(1))) is type(rx.of(1).pipe(to_async_iterator()))

    def test_options_are_checked(self) -> None:
        with pytest.raises(InvalidOption):
            to_async_iterator(keep=0)


async def test_they_compose_on_a_key() -> None:
    async with rxmps3.connect("memory:") as db:

        async def doubled(value: int) -> int:
            await asyncio.sleep(0)
            return 2 * value

        stream = db.key("n", default=0).pipe(map_async(doubled, concurrency=4), share_latest(), coalesce(0.001))
        events = trace(stream)
        for number in range(20):
            db.put("n", number)
        await eventually(lambda: events[-1:] == [38])
    await eventually(lambda: events[-1] == "completed")
