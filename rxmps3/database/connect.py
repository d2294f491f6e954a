"""`connect`: how a database is opened."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Generator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, Unpack, get_type_hints

from reactivex import Observable

from rxmps3.bells import Bell, Local, from_url
from rxmps3.database.connection import share
from rxmps3.database.database import Database
from rxmps3.database.file_target import given_path
from rxmps3.errors import AccessDenied, BucketNotFound, InvalidOption, InvalidValue, Unavailable
from rxmps3.local.directory import OpensLocal
from rxmps3.log.registry import checked_choice, default_manifest
from rxmps3.replica import Replica
from rxmps3.replica.budget import checked_budget
from rxmps3.replica.options import Options, ReplicaOptions
from rxmps3.runtime.clock import Clock, SystemClock
from rxmps3.storage.base import Storage
from rxmps3.storage.options import StorageOptions
from rxmps3.storage.prices import checked_prices

__all__ = ["ConnectOptions", "Connecting", "connect", "with_options"]

_TRIES_TO_LOAD = 5
_PATIENCE_TO_LOAD = 30.0
"""Seconds; one request may take 20. A server that asks to wait longer is out of reach."""
_PATIENCE_WHEN_KNOWN = 2.0
"""Seconds."""


F = TypeVar("F", bound=Callable[..., Any])


class ConnectOptions(ReplicaOptions, StorageOptions, total=False):
    """The options of `connect`, here and in the blocking interface."""

    manifest: str | None
    local: str | os.PathLike[str] | OpensLocal | None
    read_only: bool
    shared: bool
    clock: Clock | None


_OF_A_HANDLE: dict[str, Any] = {"manifest": None, "local": None, "read_only": False, "shared": True, "clock": None}
"""The options that are neither the replica's nor the storage's, and their defaults."""


def with_options(connect: F) -> F:
    """Have `inspect.signature`, and so ``help`` and notebooks, show each option with its default."""
    defaults = {**_OF_A_HANDLE, **{option.name: option.default for option in fields(Options)}}
    types = get_type_hints(ConnectOptions)
    shown = inspect.signature(connect)
    connect.__signature__ = shown.replace(  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
        parameters=[
            shown.parameters["url"],
            *(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=types[name])
                for name, default in defaults.items()
            ),
            inspect.Parameter("storage_options", inspect.Parameter.VAR_KEYWORD, annotation=Any),
        ]
    )
    return connect


@with_options
def connect(url: str | Storage, **options: Unpack[ConnectOptions]) -> Connecting:
    """Open a database: ``async with connect(…) as db:`` or ``db = await connect(…)``.

    It returns once the state is loaded. Opening writes nothing; the first write creates the manifest.

    Args:
        url: ``memory:``, ``memory:NAME``, ``file:PATH``, ``s3://bucket/prefix``, or a `Storage`, which you have to
            close yourself.
        manifest: the named group of keys to open; by default ``"main"``, with ``protocol="mps3"`` ``"manifest.json"``.
        poll: read the log at least every this many seconds while something is observed, sooner after activity; or an
            Observable whose items each trigger a read.
        live: keep reading even while nothing is observed.
        local: a directory that keeps pending writes, the last known state and known large values, so that writes
            survive the process and a database opens without its bucket. None keeps nothing.
        online: False makes no request at all: reads are served from ``local`` and writes wait in the outbox.
        by: the name of the writer, recorded in each log entry; not verified.
        read_only: refuse to write; needs only permission to get and list.
        protocol: how the manifest is kept in the bucket: ``"sequenced"``, ``"versioned"`` or ``"mps3"``. ``"auto"``
            uses the existing manifest's protocol, and for a new one the first of these that the storage supports.
        versioning: with ``protocol="mps3"``, values as versions of one object per key. A ``memory:`` storage keeps
            versions with it.
        shared: share one replica between handles of this process and event loop on the same URL and manifest.
        inline_limit: values whose JSON is longer than this many bytes get an object of their own.
        max_pending: how many writes may wait for their commit before ``put`` raises `Overloaded`.
        cache_bytes: how much text of large values to keep in memory.
        prefixes: a partial replica: load and keep only the keys that start with one of these. Whatever reads or
            observes other keys raises `NotLoaded`, as does `compact`, which is left to others; plain writes work
            everywhere.
        retention: how far back the log reaches at least; older entries are folded into checkpoints and deleted.
        budget: what this connection may spend on requests and transfer: a number is money a month, in the currency of
            ``prices``; or a `Budget`. Polling and presence slow down before it is passed; `Database.status` says so.
        prices: for `Database.cost` and ``budget``: the name of a provider (``"aws"``, ``"r2"``, ``"b2"`` …) or a
            `Prices`. By default the provider's at ``endpoint_url``, if it is known, or else those of AWS.
        bell: what tells of news, so that readers look at once and the timer may slow down: one of `rxmps3.bells` or
            its URL. By default the databases of this process tell each other, and on ``file:`` the file system tells;
            None does without.
        clock: time, ids and randomness; for tests.
        storage_options: for ``s3:`` boto3's names, such as ``endpoint_url``, ``region_name``, ``profile_name``,
            ``aws_access_key_id``, ``aws_secret_access_key``; what is not given comes from the environment.

    Raises (when awaited or entered):
        AccessDenied, BucketNotFound, Unavailable: within seconds, naming the bucket and the remedy.
        Corrupt, Unsupported: the stored objects are damaged, of an unknown format, or in another protocol.
        InvalidOption: an argument is invalid.
    """
    rest: dict[str, Any] = dict(options)
    if "bell" in rest:
        rest["bell"] = _checked_bell(rest["bell"])
    _check(url, rest)
    chosen = Options(**{option.name: rest.pop(option.name) for option in fields(Options) if option.name in rest})
    handle = {name: rest.pop(name, default) for name, default in _OF_A_HANDLE.items()}
    checked_budget(chosen.budget)
    checked_prices(chosen.prices)
    protocol = checked_choice(chosen.protocol)
    if isinstance(url, str) and url.lower().startswith("memory:") and (chosen.versioning or protocol == "versioned"):
        rest["versioning"] = True
    name: str = default_manifest(protocol) if handle["manifest"] is None else handle["manifest"]

    async def open_database() -> Database:
        connection = share(
            url, handle["clock"] or SystemClock(), shared=handle["shared"], local=handle["local"], **rest
        )
        connection.retain()
        replica: Replica | None = None
        try:
            replica = connection.replica(name, chosen)
            await _load(replica)
        except BaseException as error:
            await connection.release(timeout=0)
            for failure in replica.take_early_failures() if replica is not None else ():
                error.add_note(f"meanwhile: {failure}")
            raise
        return Database(connection, replica, chosen, read_only=handle["read_only"], parent=None)

    return Connecting(open_database)


def _check(url: Any, options: dict[str, Any]) -> None:
    """Raise `InvalidOption` for the first of these arguments that makes no sense, before anything depends on it."""
    if not isinstance(url, str) and (isinstance(url, type) or not hasattr(url, "url")):
        raise InvalidOption(
            f"a database is opened at a URL or a Storage, not {url!r:.80}",
            operation="connect",
            remedy=f"write 'file:{os.fspath(url)}'" if isinstance(url, Path) else "such as 'file:PATH'",
        )
    for name, (fits, meaning) in _MEANING.items():
        if name in options and not fits(options[name]):
            raise InvalidOption(f"{name} is {meaning}, not {options[name]!r:.80}", operation="connect")


def _is_number(value: Any, least: float = 0) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= least


def _is_count(value: Any) -> bool:
    return _is_number(value) and not isinstance(value, float)


def _is_text(value: Any) -> bool:
    """Whether it is text that JSON in UTF-8 can hold."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_path(value: Any) -> bool:
    try:
        return bool(value) and bool(given_path(value, "connect"))
    except InvalidValue:
        return False


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_FLAG: Final = (_is_flag, "True or False")
_COUNT: Final = (_is_count, "a number of bytes, 0 or more")
_MEANING: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "poll": (
        lambda poll: isinstance(poll, Observable) or (_is_number(poll) and poll > 0),
        "a positive number of seconds or an Observable",
    ),
    "by": (_is_text, "text, and valid Unicode"),
    "inline_limit": _COUNT,
    "cache_bytes": _COUNT,
    "max_pending": (lambda most: _is_count(most) and most > 0, "a number of writes, 1 or more"),
    "retention": (lambda age: isinstance(age, timedelta) and age >= timedelta(), "a timedelta, 0 or longer"),
    "manifest": (lambda name: name is None or isinstance(name, str), "a name or None"),
    "local": (
        lambda local: (
            local is None or (_is_path(local) if isinstance(local, (str, os.PathLike)) else hasattr(local, "open"))
        ),
        "the path of a directory, such as '.', or None",
    ),
    "clock": (lambda clock: clock is None or hasattr(clock, "monotonic"), "a Clock, such as ManualClock, or None"),
    **dict.fromkeys(("live", "online", "versioning", "read_only", "shared"), _FLAG),
}
"""By option: whether a value fits, and what it has to be."""


def _checked_bell(bell: Any) -> Bell | Local | None:
    if isinstance(bell, str):
        return from_url(bell)
    if bell is None or isinstance(bell, (Bell, Local)):
        return bell
    raise InvalidOption(
        f"a bell is one of rxmps3.bells, its URL, or None, not {type(bell).__name__}", operation="connect"
    )


class Connecting:
    """A database being opened: await it, or enter it with ``async with``."""

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
    """Read the state for the first time; temporary failures are retried for some seconds.

    A read that got further than the one before does not count as a failure, so that a long log can be read through a
    network that loses many answers. If the bucket is slow, a state restored from disk is used. These are no
    `Retries`, which never give up.
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
            await _look(replica, began + _PATIENCE_TO_LOAD, is_first=not failures)
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


async def _look(replica: Replica, until: float, *, is_first: bool) -> None:
    """Read to the end of the log, or raise `Unavailable` if nothing is answered until then.

    A read has no other bound than those of its requests if it is the first and something has come: large objects may
    take long on a slow network. The requests themselves are no bound, since what signs them may never do so.
    """
    asked = replica.status.requests
    await replica.look(max(until - replica.clock.monotonic(), 0.0))
    if replica.view.loaded:
        return
    if is_first and replica.status.requests > asked + 1:  # it waits for the answer to the first before the next
        await replica.look()
        return
    raise Unavailable(
        f"no answer came within {_PATIENCE_TO_LOAD:g} s",
        operation="connect",
        object=replica.storage.url,
        remedy="check the endpoint, the network and what gives the credentials",
    )
