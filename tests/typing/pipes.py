"""What pyright infers of pipes with the operators of this package; never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

from reactivex import Observable
from reactivex import operators as ops

from rxmps3 import Database
from rxmps3.operators import (
    coalesce,
    from_async_iterable,
    map_async,
    retry_with_backoff,
    share_latest,
    to_async_iterator,
)
from rxmps3.operators.iteration import Iteration


async def text_of(value: float) -> str:
    return str(value)


async def numbers() -> AsyncIterator[int]:
    yield 1


def of_an_observable(source: Observable[float]) -> None:
    assert_type(source.pipe(map_async(text_of)), Observable[str])
    assert_type(source.pipe(map_async(text_of, concurrency=4, ordering="arrival")), Observable[str])
    assert_type(source.pipe(coalesce(fps=30)), Observable[float])
    assert_type(source.pipe(share_latest()), Observable[float])
    assert_type(source.pipe(retry_with_backoff(5, base=0.2)), Observable[float])
    assert_type(source.pipe(to_async_iterator(keep=8)), Iteration[float])


def in_a_chain(source: Observable[float]) -> None:
    assert_type(
        source.pipe(coalesce(0.1), map_async(text_of), ops.map(len), share_latest(), retry_with_backoff()),
        Observable[int],
    )


def of_a_key(db: Database) -> None:
    gain = db.key("gain", float, default=1.0)
    assert_type(gain.pipe(map_async(text_of), share_latest()), Observable[str])
    gain.pipe(coalesce(fps=10)).subscribe(gain)


def from_iterables() -> None:
    assert_type(from_async_iterable(numbers()), Observable[int])
    assert_type(from_async_iterable(numbers), Observable[int])


async def to_iterators(source: Observable[float]) -> None:
    async with source.pipe(to_async_iterator("all")) as items:
        async for item in items:
            assert_type(item, float)
