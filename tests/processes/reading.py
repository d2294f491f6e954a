"""Reading a log straight from where it is stored, past the library's clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rxmps3.log.codec import LogEntry
from rxmps3.log.sequenced.history import read_entries
from rxmps3.model.names import Layout
from rxmps3.model.state import Entry, Inline, Write
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Storage, open_storage
from tests.conftest import Place

T = TypeVar("T")


async def entries(storage: Storage, manifest: str = "main") -> list[LogEntry]:
    """The log, oldest entry first; numbers, hashes and chain have been checked."""
    layout = Layout(manifest, storage.name_limit)
    found = [entry async for entry in read_entries(storage, layout)]
    numbers = [entry.seq for entry in found]
    assert numbers == list(range(numbers[0] if numbers else 1, (numbers[-1] if numbers else 0) + 1))
    return found


def with_storage(place: Place, action: Callable[[Storage], Awaitable[T]]) -> T:
    """Do something to a place's storage, outside of any event loop."""

    async def run() -> T:
        storage = open_storage(place.url, clock=SystemClock(), **place.options)
        try:
            return await action(storage)
        finally:
            await storage.close()

    return asyncio.run(run())


def log_of(place: Place) -> list[LogEntry]:
    """As `entries`, outside of any event loop."""
    return with_storage(place, entries)


def writes_in(log: list[LogEntry]) -> list[Write]:
    """The writes of a log, in order."""
    return [write for entry in log for write in entry.version.writes]


def versions_in(log: list[LogEntry]) -> list[str]:
    """The version ids of a log's writes, in order."""
    return [write.id.version for write in writes_in(log)]


def puts_in(log: list[LogEntry]) -> list[tuple[str, Any]]:
    """Each key and inline value that a log's writes set, in order."""
    return [(key, _value(entry)) for write in writes_in(log) for key, entry in write.update.items()]


def _value(entry: Entry | None) -> Any:
    if entry is None:
        return None
    assert isinstance(entry.content, Inline), entry
    return json.loads(entry.content.text)
