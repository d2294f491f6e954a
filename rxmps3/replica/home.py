"""The event loop, thread and tasks that a replica lives on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from rxmps3.clock import spawn
from rxmps3.errors import WrongLoop

__all__ = ["Home"]


class Home:
    """One event loop, as seen from any thread, and the tasks that end with the replica.

    Args:
        name: of what lives here, for errors and task names.
        task_failed: is told of an error that a task did not handle.
    """

    def __init__(self, name: str, task_failed: Callable[[str, BaseException], None]) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._task_failed = task_failed
        self._tasks: set[asyncio.Task[None]] = set()

    def check_loop(self) -> None:
        """Raise `WrongLoop` if another event loop than this one runs on the calling thread."""
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not None and running is not self.loop:
            raise WrongLoop(
                "this database belongs to another event loop",
                object=self.name,
                remedy="open one on this loop, or use put and delete, which may be called from any thread",
            )

    def on_loop(self, action: Callable[[], None]) -> None:
        """Run on the loop's thread: at once if called there, else soon; nothing once the loop is closed."""
        if threading.get_ident() == self._thread:
            action()
        else:
            self.call_soon(action)

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run on the loop's thread soon, from any thread; nothing once the loop is closed."""
        try:
            self.loop.call_soon_threadsafe(action)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that ends with the replica."""
        task = spawn(coroutine, f"rxmps3 {name} {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._task_failed(task.get_name(), error)

    async def end_tasks(self) -> None:
        """Cancel every task and wait until each has ended."""
        while tasks := [task for task in self._tasks if task is not asyncio.current_task()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
