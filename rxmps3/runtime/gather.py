"""Several coroutines at once, none of them left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["all_of", "together"]

T = TypeVar("T")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What they return, in their order; the first to fail ends the others, and its error is raised.

    Unlike `asyncio.gather`, none of them is still running when this ends, however it ends. For reads: a write that is
    cancelled may still arrive.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def all_of(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What they return, in their order; all of them come to their own end before the first error is raised."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
