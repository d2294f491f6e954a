"""Waiting for the texts of values that are not loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from rxmps3.errors import Error, Failure
from rxmps3.replica import Replica
from rxmps3.runtime.worker import Retries

__all__ = ["Action", "TextWait"]

T = TypeVar("T")

Action = Callable[[], None]


class TextWait:
    """Fetches what one observer waits for, one fetch at a time, and again after each failure.

    The end of a wait is a turn: what the observer puts in it is delivered afterwards.

    Args:
        replica: its values, tasks and failure reports.
        note: what the report of a failure says about the observer.
    """

    __slots__ = ("_note", "_replica", "_retries", "_task")

    def __init__(self, replica: Replica, note: str) -> None:
        self._replica = replica
        self._note = note
        self._task: asyncio.Task[None] | None = None
        self._retries: Retries | None = None

    @property
    def running(self) -> bool:
        """Whether something is being waited for."""
        return self._task is not None

    @property
    def has_failed(self) -> bool:
        """Whether a fetch has failed since the last `stop`."""
        return self._retries is not None and self._retries.failures > 0

    def start(
        self,
        fetch: Callable[[], Awaitable[T]],
        arrived: Callable[[T], None],
        overtaken: Callable[[], Action | None] = lambda: None,
    ) -> None:
        """Fetch until it succeeds, then call ``arrived`` with the result.

        Args:
            fetch: one attempt; raises `Error` on failure.
            overtaken: asked after each failure. What it returns is done instead, and the wait ends.
        """
        self._task = self._replica.spawn(self._run(fetch, arrived, overtaken), "fetch")

    def stop(self) -> None:
        """End the wait, if any, and forget its failures."""
        task, self._task, self._retries = self._task, None, None
        if task is not None:
            task.cancel()

    async def _run(
        self,
        fetch: Callable[[], Awaitable[T]],
        arrived: Callable[[T], None],
        overtaken: Callable[[], Action | None],
    ) -> None:
        while True:
            try:
                result = await fetch()
            except Error as error:
                instead = overtaken()
                if instead is None:
                    await self._pause(error)
                    continue
                self._report(error)
            else:
                instead = partial(arrived, result)
            self._task = None
            self._replica.take_turn(instead)
            return

    async def _pause(self, error: Error) -> None:
        if self._retries is None:
            self._retries = self._replica.retries(lambda error, _: self._report(error))
        await self._retries.wait(error)

    def _report(self, error: Error) -> None:
        self._replica.report(Failure("fetch", error.object, error, self._note))
