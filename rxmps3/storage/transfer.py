"""Moving large objects: in parts, several at a time, so that a transfer is fast and never whole in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from rxmps3.errors import Corrupt, Error
from rxmps3.runtime.clock import spawn
from rxmps3.storage.base import Found, Get, Put, Stored, Uploads, read_range, uploads_of

__all__ = ["LARGE_BYTES", "PART_BYTES", "Sent", "download", "upload"]

LARGE_BYTES = 16 << 20
"""What is larger moves in parts."""
PART_BYTES = 8 << 20
_AT_ONCE = 4
_AHEAD = 7
"""So many parts of a download at most are under way or wait for one before them: with the one that is being written
they are 64 MiB."""
_MOST_PARTS = 10_000
"""Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits"."""

_BEGINS_WITHIN = 5.0
"""Seconds that one who gives up waits to learn whether there is an upload to abort."""

Read = Callable[[int, int], Awaitable[bytes]]
"""Gives the bytes of a source from one place up to another."""


class Sent(NamedTuple):
    """What was uploaded.

    Attributes:
        stored: the server's answer.
        sha256: hex SHA-256 of the bytes that were sent.
        size: how many they were.
    """

    stored: Stored
    sha256: str
    size: int


async def upload(storage: Put, name: str, size: int, read: Read, content_type: str) -> Sent:
    """Write an object from a source of that size, in parts if it is large and the storage can.

    An upload that fails or is cancelled is aborted, as far as the storage answers.

    Raises: as ``read`` and the verbs of the storage.
    """
    uploads = uploads_of(storage) if size > LARGE_BYTES else None
    if uploads is not None:
        return await _in_parts(uploads, name, size, read, content_type)
    body = await read(0, size)
    digest = await asyncio.to_thread(hashlib.sha256, body)
    stored = await storage.put(name, body, sha256=digest.digest(), content_type=content_type)
    return Sent(stored, digest.hexdigest(), len(body))


async def _in_parts(uploads: Uploads, name: str, size: int, read: Read, content_type: str) -> Sent:
    part = max(PART_BYTES, -(-size // _MOST_PARTS))
    digest = hashlib.sha256()
    id = await _begun(uploads, name, content_type)
    parts: list[asyncio.Task[str]] = []
    under_way: set[asyncio.Task[str]] = set()
    try:
        for number, start in enumerate(range(0, size, part), start=1):
            body = await read(start, min(start + part, size))
            parts.append(spawn(uploads.put_part(name, id, number, body, start=start), "part"))
            under_way.add(parts[-1])
            await asyncio.to_thread(digest.update, body)
            del body
            if len(under_way) == _AT_ONCE:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
        etags = [await one for one in parts]
        return Sent(await uploads.finish_upload(name, id, etags), digest.hexdigest(), size)
    except BaseException:
        await _given_up(parts)
        with suppress(Error):
            await uploads.abort_upload(name, id)
        raise


async def _begun(uploads: Uploads, name: str, content_type: str) -> str:
    """Begin an upload. One that begins while this is cancelled is aborted, since nobody would know of it."""
    beginning = spawn(uploads.begin_upload(name, content_type=content_type), "upload")
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        await asyncio.wait({beginning}, timeout=_BEGINS_WITHIN)
        if not beginning.done():
            beginning.cancel()
        elif not beginning.cancelled() and beginning.exception() is None:
            with suppress(Error):
                await uploads.abort_upload(name, beginning.result())
        raise


async def download(storage: Get, name: str, size: int, *, version: str | None = None) -> AsyncIterator[bytes]:
    """The parts of an object of that size, in order; several are read at a time, and few are in memory.

    Raises:
        Corrupt: the object is missing, or shorter.
        Unavailable, AccessDenied: as `Get.get`.
    """

    slots = asyncio.Semaphore(_AT_ONCE)

    async def part(start: int) -> bytes:
        stop = min(start + PART_BYTES, size)
        async with slots:
            answer = await read_range(storage, name, start, stop, version=version)
        if not isinstance(answer, Found):
            raise Corrupt("missing, although the log names it", operation="get", object=f"value {name!r}")
        if len(answer.body) != stop - start:
            raise Corrupt(f"shorter than {size:,} bytes", operation="get", object=f"value {name!r}")
        return answer.body

    starts = iter(range(0, size, PART_BYTES))
    waiting: deque[asyncio.Task[bytes]] = deque()

    def ask_for_more() -> None:
        while len(waiting) < _AHEAD and (start := next(starts, None)) is not None:
            waiting.append(spawn(part(start), "part"))

    try:
        ask_for_more()
        while waiting:
            body = await waiting[0]
            waiting.popleft()
            ask_for_more()
            yield body
    finally:
        await _given_up(waiting)


async def _given_up(waiting: Sequence[asyncio.Task[str]] | Sequence[asyncio.Task[bytes]]) -> None:
    """End what is still under way."""
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
    for task in waiting:
        if not task.cancelled():
            task.exception()
