"""One event loop in its own thread, shared by all blocking databases of a process."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # its exit hook must be registered before ours, which has to run first
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from rxmps3.errors import Closed, WrongLoop
from rxmps3.runtime.clock import SystemClock
from rxmps3.runtime.event_loop import BESIDE_THREADS
from rxmps3.runtime.timeouts import checked_timeout

__all__ = ["Portal", "at_exit", "portal"]

T = TypeVar("T")
_PATIENCE = 10.0
"""Seconds that threads have to end in once the main thread has."""
_ENDED = "the interpreter is ending, and has closed all databases"
logger = logging.getLogger("rxmps3")


class Portal:
    """Runs coroutines on behalf of threads that block until they are done."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._ending = False
        self._soon: set[asyncio.Task[Any]] = set()
        running = threading.Event()
        self.loop.call_soon(running.set)
        self._thread = threading.Thread(target=self._run, name="rxmps3 blocking", daemon=True)
        self._thread.start()
        running.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self._run_until_stopped()
        self.loop.run_until_complete(_end_tasks())
        self.loop.close()

    def _run_until_stopped(self) -> None:
        """The loop is shared: SystemExit or KeyboardInterrupt raised here does not end it."""
        while True:
            try:
                self.loop.run_forever()
                return
            except BaseException:
                logger.exception("nothing ends the thread %r before the interpreter", self._thread.name)

    @property
    def is_here(self) -> bool:
        """Whether this is the loop's own thread, on which observers run."""
        return threading.get_ident() == self._thread.ident

    @property
    def in_its_process(self) -> bool:
        """Whether this process runs the loop, and was not forked from the one that does."""
        return os.getpid() == self._pid

    @property
    def ended(self) -> bool:
        """Whether everything was closed at interpreter exit."""
        return self._ending

    def check(self, operation: str) -> None:
        """Check that this thread may block.

        Raises:
            Closed: this process was forked from the one that runs the loop, or is exiting.
            WrongLoop: this is the loop's own thread, on which observers run.
        """
        self.check_process(operation)
        if self._ending:
            raise Closed(_ENDED, operation=operation)
        if self.is_here:
            raise WrongLoop(
                "called on the thread that would have to do it, so it would never return",
                operation=operation,
                remedy="do not block in an observer: put does not, or move on with ops.observe_on",
            )

    def check_process(self, operation: str) -> None:
        """Raise `Closed` in a process that was forked from the one that runs the loop."""
        if not self.in_its_process:
            raise Closed(
                "it was opened before this process was forked, and the child does not have its thread",
                operation=operation,
                remedy="connect in the child, or start it with the method 'spawn'",
            )

    def call(self, operation: str, coroutine: Callable[[], Awaitable[T]], timeout: float | None = None) -> T:
        """Block until a coroutine is done, and return or raise its result.

        Raises:
            TimeoutError: it was not done in time, and is cancelled, as it is if the wait is interrupted.
            InvalidOption: ``timeout`` is no number.
        """
        self.check(operation)
        timeout = checked_timeout(timeout, operation)

        async def run() -> T:
            BESIDE_THREADS.set(True)
            return await coroutine()

        with self._lock:
            self.check(operation)  # it may have begun to end
            future = asyncio.run_coroutine_threadsafe(run(), self.loop)
        try:
            return future.result(timeout)
        except TimeoutError as error:
            if future.done():  # it is the coroutine's own, or came at the very end
                raise
            future.cancel()
            raise TimeoutError(f"{operation}: not done within {timeout} s") from error
        except concurrent.futures.CancelledError:
            self.check(operation)  # that it is ending is why
            raise
        except BaseException:
            future.cancel()
            raise

    def soon(self, coroutine: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run a coroutine on the loop without waiting, from any finalizer; ignored at interpreter exit."""

        def start() -> None:
            task = self.loop.create_task(coroutine())
            self._soon.add(task)
            task.add_done_callback(self._soon.discard)

        if self.in_its_process and not self._ending:
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(start)

    def stop(self) -> None:
        """End the thread and close the loop. Pending and later calls raise `Closed`."""
        with self._lock:
            self._ending = True
            self.loop.call_soon_threadsafe(self.loop.stop)  # what was called before comes before
        self._thread.join(5)


async def _end_tasks() -> None:
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    await SystemClock().sleep(0)  # who waits for one that was done is told by a callback


_lock = threading.Lock()
_portal: Portal | None = None
_left = False
_exiting: list[Callable[[], None]] = []


def portal() -> Portal:
    """The portal of this process, created at first use.

    Raises:
        Closed: the interpreter is exiting, and writes could not be sent any more.
    """
    global _portal
    with _lock:
        if _left:
            raise Closed(_ENDED, operation="connect")
        if _portal is None:
            _portal = Portal()
        return _portal


def at_exit(action: Callable[[], None]) -> None:
    """Register a function to run at interpreter exit, while threads and name resolution still work.

    ``atexit`` would be too late: executors refuse work by then. `threading` runs its own hooks when the main thread
    ends, newest first; they are not public, so ``atexit`` is the fallback. Threads that are still running, and may
    write, first get some seconds to end.
    """
    _exiting.append(action)


def _leave() -> None:
    global _portal, _left
    _wait_for_threads()
    for action in reversed(_exiting):
        action()
    with _lock:
        left, _portal, _left = _portal, None, True
    if left is not None:
        left.stop()


def _wait_for_threads() -> None:
    """Wait for the threads that the interpreter would wait for next: all but daemons and executor workers.

    This includes threads that have not connected to anything yet, and those started meanwhile. The wait is bounded: a
    thread that waits for the main thread to end does so until this returns. Ctrl-C ends the wait.
    """
    clock = SystemClock()
    until = clock.monotonic() + _PATIENCE
    try:
        while (at_work := _at_work()) and (left := until - clock.monotonic()) > 0:
            at_work[0].join(left)
    except KeyboardInterrupt:
        return


def _at_work() -> list[threading.Thread]:
    workers: Any = getattr(concurrent.futures.thread, "_threads_queues", {})
    excepted = {threading.current_thread(), threading.main_thread(), *workers}
    return [thread for thread in threading.enumerate() if not thread.daemon and thread not in excepted]


def _forget() -> None:
    """In a forked child: the thread does not exist, and its lock may be held for ever."""
    global _portal, _lock, _left
    _portal, _left = None, False
    _lock = threading.Lock()


def _register() -> None:
    register: Any = getattr(threading, "_register_atexit", None)
    if register is None:
        import atexit

        register = atexit.register
    register(_leave)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)


_register()
