"""The event loop, thread and tasks that a replica lives on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from rxmps3.errors import Closed, WrongLoop
from rxmps3.runtime.clock import spawn

__all__ = ["BESIDE_THREADS", "EventLoop", "refuse_on_a_loop", "runs_here"]


BESIDE_THREADS: ContextVar[bool] = ContextVar("BESIDE_THREADS", default=False)
"""Set while something is opened on a loop that runs in a thread of its own beside those that use it: they may have
loops of their own, subscribe all the same, and block."""
_LONGEST_ATTACH = 5.0
"""A thread that attaches waits no longer than this: the loop may be waiting for that very thread."""


def refuse_on_a_loop() -> None:
    """Raise RuntimeError on a thread that runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("wait() would block this thread's event loop; use 'await receipt' here")


class EventLoop:
    """One event loop, usable from any thread, and the tasks that end with the replica.

    Args:
        name: of the owner, for errors and task names.
        task_failed: called with an error that a task did not handle.
    """

    def __init__(self, name: str, task_failed: Callable[[str, BaseException], None]) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pid = os.getpid()
        self._task_failed = task_failed
        self._tasks: set[asyncio.Task[None]] = set()
        self.beside_threads = BESIDE_THREADS.get()

    def check_may_block(self) -> None:
        """Raise RuntimeError on a thread that must not wait for this loop, `Closed` in a forked child."""
        self._check_process()
        if threading.get_ident() == self._thread:
            raise RuntimeError("wait() would block the event loop that it waits for; use 'await receipt' here")
        if not self.beside_threads:
            refuse_on_a_loop()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise Closed(
                "it was opened before this process was forked, and its event loop does not run here",
                object=self.name,
                remedy="connect in the child, or start it with the method 'spawn'",
            )

    def check_loop(self) -> None:
        """Raise `WrongLoop` if the calling thread runs a different event loop."""
        running = _running_loop()
        if running is not None and running is not self.loop and not self.beside_threads:
            raise WrongLoop(
                "this database belongs to another event loop",
                object=self.name,
                remedy="open one on this loop, or use put and delete, which may be called from any thread",
            )

    def on_loop(self, action: Callable[[], None]) -> None:
        """Run on the loop's thread: at once if called there, else soon. Does nothing once the loop is closed."""
        if threading.get_ident() == self._thread:
            action()
        else:
            self.call_soon(action)

    def attach(self, action: Callable[[], None]) -> None:
        """As `on_loop`, but on a thread that may block, wait until it is done, so that no later event is missed."""
        self._check_process()
        if threading.get_ident() == self._thread or not self.beside_threads or not self.loop.is_running():
            self.on_loop(action)
            return
        done = threading.Event()

        def act() -> None:
            try:
                action()
            finally:
                done.set()

        self.call_soon(act)
        done.wait(_LONGEST_ATTACH)

    def call_soon(self, action: Callable[[], None]) -> None:
        """Schedule on the loop's thread, from any thread. Does nothing once the loop is closed."""
        try:
            self.loop.call_soon_threadsafe(action)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def end_program(self, error: KeyboardInterrupt | SystemExit) -> None:
        """Raise an interrupt or exit out of the event loop, soon, rather than into the caller. From any thread."""

        def leave() -> None:
            raise error

        self.call_soon(leave)

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
        while tasks := [task for task in self._tasks if not task.done() and task is not asyncio.current_task()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this thread runs the loop."""
    return _running_loop() is loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
