"""Python's cyclic garbage collector and values of millions of objects."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock

__all__ = ["collected_later"]

_OF_PYTHON = 1_000
"""Fewer frozen objects than that are no program's doing: CPython 3.12 begins with some hundred."""
_lock = Lock()
_inside = 0
_pauses = False


@contextmanager
def collected_later() -> Generator[None]:
    """Build something large without collections, which would walk it over and over while it grows.

    Each full collection of CPython stops all threads and visits every container of the process. While a value of a
    million objects is decoded there are dozens of them, the last ones half a second long. Within this context there are
    none, in any thread; afterwards all objects belong to the oldest generation, so no collection is due because of
    them. A program that has turned the collector off, or has frozen objects (`gc.freeze`), is left alone.
    """
    global _inside, _pauses
    with _lock:
        _inside += 1
        if _inside == 1:
            _pauses = sys.implementation.name == "cpython" and gc.isenabled() and gc.get_freeze_count() < _OF_PYTHON
            if _pauses:
                gc.disable()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _pauses:
                if not _has_frozen():
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()


def _has_frozen() -> bool:
    """Whether the program has frozen objects, which `gc.unfreeze` would undo."""
    return gc.get_freeze_count() >= _OF_PYTHON
