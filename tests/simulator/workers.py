"""Work that is spread over processes: it ends with the one that asked for it, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

__all__ = ["processors", "spread"]

A = TypeVar("A")
R = TypeVar("R")
_AHEAD = 8
"""So many calls per process are under way or wait for it at most."""


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spread(function: Callable[[A], R], arguments: Iterable[A], jobs: int) -> Generator[R]:
    """The results of a function, in the order of its arguments, with so many processes at work.

    Close it to have the rest left out. With more than one process, function, arguments and results are pickled, and
    the program's main module must be one that can be imported.

    Args:
        jobs: 1 works in this process.
    """
    if jobs <= 1:
        yield from map(function, arguments)
        return
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin)
    rest, under_way = iter(arguments), deque[Future[R]]()
    try:
        while True:
            with _interrupts_held():
                ahead = islice(rest, jobs * _AHEAD - len(under_way))
                under_way.extend(executor.submit(function, argument) for argument in ahead)
            if not under_way:
                return
            yield under_way.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Generator[None]:
    """Nobody is interrupted before the end of it; a process that begins meanwhile never is."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """A worker hears of an interrupt from its parent alone, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
