"""`connect`: how a database is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from datetime import timedelta
from types import TracebackType
from typing import Any

from reactivex import Observable

from rxmps3.database.connection import share
from rxmps3.database.database import Database
from rxmps3.errors import AccessDenied, BucketNotFound, InvalidOption, Unavailable
from rxmps3.local.directory import OpensLocal
from rxmps3.log.detect import Choice
from rxmps3.log.registry import checked_choice, default_manifest
from rxmps3.log.sequenced.collector import DEFAULT_RETENTION
from rxmps3.replica import Replica
from rxmps3.replica.options import Options
from rxmps3.replica.values import DEFAULT_CACHE_BYTES, DEFAULT_INLINE_LIMIT
from rxmps3.runtime.clock import Clock, SystemClock
from rxmps3.storage.base import Storage

__all__ = ["Connecting", "connect"]

_TRIES_TO_LOAD = 5
_PATIENCE_TO_LOAD = 30.0
"""Seconds; one request may take 20. A server that asks to wait longer is out of reach."""
_PATIENCE_WHEN_KNOWN = 2.0
"""Seconds."""


def connect(
    url: str | Storage,
    *,
    manifest: str | None = None,
    poll: float | Observable[Any] = 1.0,
    live: bool = False,
    local: str | os.PathLike[str] | OpensLocal | None = None,
    online: bool = True,
    by: str = "",
    read_only: bool = False,
    protocol: Choice = "auto",
    versioning: bool = False,
    shared: bool = True,
    inline_limit: int = DEFAULT_INLINE_LIMIT,
    max_pending: int = 100_000,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    retention: timedelta = DEFAULT_RETENTION,
    clock: Clock | None = None,
    **storage_options: Any,
) -> Connecting:
    """Open a database: ``async with connect(…) as db:`` or ``db = await connect(…)``.

    It returns once the state is loaded. Opening writes nothing; the first write creates the manifest.

    Args:
        url: ``memory:``, ``memory:NAME``, ``file:PATH``, ``s3://bucket/prefix``, or a `Storage` of your own, which
            stays yours to close.
        manifest: the named group of keys to open; by default ``"main"``, with ``protocol="mps3"`` ``"manifest.json"``.
        poll: look for news at least every so many seconds while something is observed, sooner after activity; or
            an Observable whose every item means "look now".
        live: keep looking even while nothing is observed.
        local: a directory that keeps pending writes, the last known state and known large values, so that writes
            survive the process and a database opens without its bucket. None keeps nothing.
        online: False makes no request at all: what ``local`` knows is served and writes wait in the outbox.
        by: who writes, recorded in each log entry and not verified by anyone.
        read_only: refuse to write; needs no right but to get and to list.
        protocol: how the manifest is kept in the bucket: ``"sequenced"``, ``"versioned"`` or ``"mps3"``. ``"auto"``
            takes what the manifest is already, and for a new one the first of these that the storage can serve.
        versioning: with ``protocol="mps3"``, values as versions of one object per key. A ``memory:`` storage keeps
            versions with it.
        shared: let handles of this process and event loop on the same URL and manifest share one replica.
        inline_limit: values whose JSON is longer than this many bytes get an object of their own.
        max_pending: so many writes may wait for their commit before ``put`` raises `Overloaded`.
        cache_bytes: how much text of large values to keep in memory.
        retention: how far back the log is to reach at least; what is older is folded into checkpoints and deleted.
        clock: time, ids and chance; for tests.
        storage_options: for ``s3:`` boto3's names, such as ``endpoint_url``, ``region_name``, ``profile_name``,
            ``aws_access_key_id``, ``aws_secret_access_key``; what is not given comes from the environment.

    Raises (when awaited or entered):
        AccessDenied, BucketNotFound, Unavailable: within seconds, naming the bucket and the remedy.
        Corrupt, Unsupported: what is stored there cannot be trusted or read, or is in another protocol.
        InvalidOption: an argument that makes no sense.
    """
    if not isinstance(poll, Observable) and not poll > 0:
        raise InvalidOption(f"poll is a positive number of seconds or an Observable, not {poll!r}", operation="connect")
    options = Options(
        poll=poll,
        live=live,
        by=by,
        inline_limit=inline_limit,
        max_pending=max_pending,
        cache_bytes=cache_bytes,
        retention=retention,
        online=online,
        protocol=checked_choice(protocol),
        versioning=versioning,
    )
    if isinstance(url, str) and url.lower().startswith("memory:") and (versioning or protocol == "versioned"):
        storage_options["versioning"] = True
    name = manifest if manifest is not None else default_manifest(protocol)

    async def open_database() -> Database:
        connection = share(url, clock or SystemClock(), shared=shared, local=local, **storage_options)
        connection.retain()
        replica: Replica | None = None
        try:
            replica = connection.replica(name, options)
            await _load(replica)
        except BaseException as error:
            await connection.release(timeout=0)
            for failure in replica.take_early_failures() if replica is not None else ():
                error.add_note(f"meanwhile: {failure}")
            raise
        return Database(connection, replica, options, read_only=read_only, root=True)

    return Connecting(open_database)


class Connecting:
    """A database about to be opened: await it, or enter it with ``async with``."""

    def __init__(self, open_database: Callable[[], Any]) -> None:
        self._open = open_database
        self._database: Database | None = None

    def __await__(self) -> Generator[Any, None, Database]:
        return self._open().__await__()

    async def __aenter__(self) -> Database:
        self._database = database = await self
        return database

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._database is not None:
            await self._database.__aexit__(kind, error, trace)


async def _load(replica: Replica) -> None:
    """Read the state for the first time; a passing trouble gets some more chances, within seconds.

    A look that got further into the log than the one before was no failure: a long log is read to its end through a
    network that loses many answers. A state that is known from an earlier time will do if the bucket is slow to answer.
    """
    await replica.restored()
    if replica.restore_error is not None:
        raise replica.restore_error
    if replica.view.loaded:
        try:
            if replica.options.online:
                await replica.look(_PATIENCE_WHEN_KNOWN)
        except (Unavailable, AccessDenied, BucketNotFound):
            pass
        return
    failures, began = 0, replica.clock.monotonic()
    while True:
        reached = replica.reached
        try:
            await replica.look()
            return
        except Unavailable as error:
            if replica.reached != reached:
                failures, began = 0, replica.clock.monotonic()
            failures += 1
            wait = replica.backoff.wait(failures, error, replica.rng)
            waited = replica.clock.monotonic() - began + wait
            if not replica.options.online or failures == _TRIES_TO_LOAD or waited > _PATIENCE_TO_LOAD:
                raise
            await replica.clock.sleep(wait)
