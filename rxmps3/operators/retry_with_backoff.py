"""Retrying with exponential back-off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable

from rxmps3.errors import InvalidOption
from rxmps3.operators.home import check_callable, check_scheduler, is_count, is_seconds, timers_of
from rxmps3.runtime.backoff import full_jitter
from rxmps3.runtime.clock import Random

__all__ = ["retry_with_backoff"]

T = TypeVar("T")


def retry_with_backoff(
    attempts: int = 10,
    *,
    base: float = 0.1,
    cap: float = 30.0,
    retry_if: Callable[[Exception], bool] | None = None,
    reset_on_success: bool = False,
    rng: Random | None = None,
    scheduler: SchedulerBase | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """Resubscribe to a source that fails, with exponential back-off and full jitter.

    Before attempt n + 1 it waits a random time between 0 and ``base * 2**(n - 1)`` seconds, never more than ``cap``.
    The error of the last attempt goes to ``on_error``.

    The diagrams show the longest waits; a line per subscription to the source.

    ::

        source  -a-#
        source  #
        source  -b-|
        retry_with_backoff(base=1, rng=longest)
        result  -a-----b-|

        source  #
        source  #
        retry_with_backoff(attempts=2, base=3, rng=longest)
        result  ---#

    Args:
        attempts: how often the source is subscribed to at most, including the first time.
        base: the bound of the first wait, in seconds.
        cap: the bound of all waits, in seconds.
        retry_if: whether to retry after an error; by default always. If it raises, its exception becomes the error.
        reset_on_success: whether an item resets the number of attempts and the wait: for long-lived sources.
        rng: randomness for the jitter; by default a generator of its own.
        scheduler: for the waits; by default that of the subscription, else the running event loop.

    Raises:
        InvalidOption: ``attempts`` is not a positive number, ``base`` or ``cap`` is negative or not a number,
            ``retry_if`` cannot be called, or ``rng`` or ``scheduler`` is something else.
    """
    if not is_count(attempts, 1):
        raise InvalidOption(f"attempts is 1 or more, not {attempts!r}", operation="retry_with_backoff")
    if not is_seconds(base) or not is_seconds(cap):
        raise InvalidOption(f"waits must not be negative: {base=}, {cap=}", operation="retry_with_backoff")
    if retry_if is not None:
        check_callable(retry_if, "retry_if", "retry_with_backoff")
    if rng is not None and not callable(getattr(rng, "random", None)):
        raise InvalidOption(
            f"rng is a generator such as random.Random(), not {rng!r:.80}", operation="retry_with_backoff"
        )
    check_scheduler(scheduler, "retry_with_backoff")
    chance = Random() if rng is None else rng

    def retrying(source: Observable[T]) -> Observable[T]:
        def subscribe(observer: ObserverBase[T], scheduler_: SchedulerBase | None = None) -> DisposableBase:
            timers = timers_of("retry_with_backoff", scheduler, scheduler_)
            current = SerialDisposable()
            failures = 0

            def attempt(*_: Any) -> None:
                subscription = SingleAssignmentDisposable()
                current.disposable = subscription
                subscription.disposable = source.subscribe(take, fail, observer.on_completed, scheduler=scheduler_)

            def take(item: T) -> None:
                nonlocal failures
                if reset_on_success:
                    failures = 0
                observer.on_next(item)

            def fail(error: Exception) -> None:
                nonlocal failures
                failures += 1
                try:
                    over = failures >= attempts or (retry_if is not None and not retry_if(error))
                except Exception as raised:
                    observer.on_error(raised)
                    return
                if over:
                    observer.on_error(error)
                else:
                    wait = full_jitter(failures, base, cap, chance)
                    current.disposable = timers.schedule_relative(wait, attempt)

            attempt()
            return current

        return Observable(subscribe)

    return retrying
