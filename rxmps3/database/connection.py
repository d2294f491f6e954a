"""Which handles of this process share a replica.

In one process and event loop the same URL, manifest and ``local`` hand out another handle on one replica, so that
running a notebook cell again adds no poller and no writer. What is shared is a `Connection`: a storage and its
replicas by manifest. The last handle to close it closes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Hashable
from typing import Any
from weakref import WeakKeyDictionary

from rxmps3.errors import InvalidOption, NotSent, WrongLoop
from rxmps3.local.directory import LocalDirectory, OpensLocal
from rxmps3.replica import Replica
from rxmps3.replica.cost import Ledger
from rxmps3.replica.options import Options
from rxmps3.runtime.clock import Clock
from rxmps3.storage import Storage, open_storage
from rxmps3.storage.prices import prices_at

__all__ = ["Connection", "share"]

logger = logging.getLogger("rxmps3")

_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Connection]] = WeakKeyDictionary()


class Connection:
    """A storage and the replicas on it, used by one or more handles.

    Args:
        storage: closed with the last handle if ``owned``.
        clock: for all replicas.
        owned: whether it was opened from a URL here.
        storage_options: what it was opened with, to refuse other ones.
        keep: opens what is kept on disk.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        owned: bool,
        storage_options: dict[str, Any],
        keep: OpensLocal | None = None,
    ) -> None:
        self._keep = keep
        self.storage = storage
        self.clock = clock
        self.ledger = Ledger(clock, prices_at(storage.url))
        self.storage_options = storage_options
        self._owned = owned
        self._key: Hashable = None
        self._handles = 0
        self._replicas: dict[str, Replica] = {}

    def replica(self, manifest: str, options: Options) -> Replica:
        """The replica of a manifest, started; with the shorter poll interval of those asked for.

        Raises:
            InvalidOption: it is open already with other options than these.
        """
        if not isinstance(manifest, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption("a manifest's name is text", object=f"manifest {manifest!r:.80}")
        self.ledger.use(options.budget, options.prices)
        replica = self._replicas.get(manifest)
        if replica is None:
            if not _is_on_a_loop():
                raise WrongLoop(
                    "it is not open yet, and only its database's event loop can open it",
                    operation="open",
                    object=f"manifest {manifest!r}",
                    remedy="call db.manifest(name) there first",
                )
            replica = self._replicas[manifest] = Replica(
                self.storage, manifest, self.clock, options, self._keep, self.ledger
            )
            replica.start()
        else:
            replica.share(options)
        return replica

    def retain(self) -> None:
        """One more handle."""
        self._handles += 1

    async def release(self, timeout: float) -> None:
        """One handle less; the last handle closes everything. Raises `NotSent` as `Replica.close`."""
        self._handles -= 1
        if self._handles:
            return
        self._forget()
        try:
            async with asyncio.TaskGroup() as group:
                closings = [group.create_task(_closed(replica, timeout)) for replica in self._replicas.values()]
        except asyncio.CancelledError:  # nobody waits for commits any more, but what runs has to end
            for replica in self._replicas.values():
                if (error := await _closed(replica, 0.0)) is not None:
                    logger.error("%s", error)
            raise
        finally:
            if self._owned:
                await self.storage.close()
        errors = [error for closing in closings if (error := closing.result()) is not None]
        not_sent = [error for error in errors if isinstance(error, NotSent)]
        for error in errors:
            if len(not_sent) < 2 or not isinstance(error, NotSent):
                raise error
        if not_sent:
            raise NotSent(
                "; ".join(f"{error.object}: {error.what}" for error in not_sent),
                keys=[key for error in not_sent for key in error.keys],
                object=self.storage.url,
                remedy=not_sent[0].remedy,
            )

    def remember(self, key: Hashable) -> None:
        """Let later calls of `share` with this key find it."""
        self._key = key
        _shared.setdefault(asyncio.get_running_loop(), {})[key] = self

    @property
    def lost(self) -> bool:
        """Whether one of its databases is gone or replaced, so that it has to be opened anew."""
        return any(replica.lost for replica in self._replicas.values())

    def _forget(self) -> None:
        known = _shared.get(asyncio.get_running_loop(), {})
        if known.get(self._key) is self:
            del known[self._key]


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _closed(replica: Replica, timeout: float) -> Exception | None:
    try:
        await replica.close(timeout)
    except Exception as error:
        return error
    return None


def share(
    where: str | Storage,
    clock: Clock,
    *,
    shared: bool,
    local: str | os.PathLike[str] | OpensLocal | None,
    **options: Any,
) -> Connection:
    """The connection to a URL or storage: one that is open on this loop already, or a new one.

    Raises:
        InvalidOption: the same URL is open with other credentials, endpoint or options.
    """
    if isinstance(where, str):
        storage = open_storage(where, clock=clock, **options)
        place: Hashable = None if storage.url == "memory:" else storage.url
    else:
        if options:
            raise InvalidOption(
                f"unknown option {next(iter(options))!r}",
                operation="connect",
                remedy="a Storage carries its own options",
            )
        storage, place = where, id(where)
    if isinstance(local, (str, os.PathLike)):
        keep: OpensLocal | None = LocalDirectory(local, storage.url, clock)
        key: Hashable = (place, os.fspath(local))
    else:
        keep, key = local, (place, id(local))
    owned = isinstance(where, str)
    if storage.url.startswith("s3:"):
        options["profile"] = getattr(storage, "profile", None)  # of the environment, as of now
    if storage.url.startswith("memory:"):
        options["versioning"] = getattr(storage, "versioning", False)  # of what is there, if that was left open
    connection = Connection(storage, clock, owned=owned, storage_options=options, keep=keep)
    if not shared or place is None:
        return connection
    known = _shared.get(asyncio.get_running_loop(), {}).get(key)
    if known is None or known.lost:
        connection.remember(key)
        return connection
    if known.storage_options != options:
        names = sorted(
            name for name in {*options, *known.storage_options} if options.get(name) != known.storage_options.get(name)
        )
        raise InvalidOption(
            f"this URL is open in this process with another {', '.join(names)}",
            operation="connect",
            object=known.storage.url,
            remedy="pass shared=False for a replica of its own",
        )
    return known
