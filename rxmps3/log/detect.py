"""A log that detects the protocol of its manifest.

An existing manifest determines the protocol. Until it has been read, one protocol is assumed; what that log emits while
opening is held back until it is certain that the manifest is not in another protocol::

    guess opens, finds it        → it is that
    guess opens, finds nothing   → is one of the others there? → switch to it, or say so if another was asked for
    still nothing, first write   → the best protocol that the storage can serve
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from reactivex import Observable, Subject
from reactivex.disposable import SerialDisposable

from rxmps3.errors import AccessDenied, Corrupt, InvalidInput, Rejected, Unsupported
from rxmps3.log.protocol import Kit, Log, LogEvent, ProtocolName, ResumePoint
from rxmps3.model.state import Write, WriteId
from rxmps3.runtime.clock import Clock

__all__ = ["Choice", "ChosenLog", "IsThere"]

logger = logging.getLogger("rxmps3")

Choice = Literal["auto", "sequenced", "versioned", "mps3"]
IsThere = Callable[[], Awaitable[bool]]
"""Whether the manifest exists in one protocol. Writes nothing."""

_LOOK_AROUND_AT_MOST = 30.0
"""An empty manifest is looked for in the other protocols by each poll at first, then less and less often, but at least
every so many seconds; and whenever somebody asks."""
_TRUST_ABSENCE_FOR = 30.0
"""Seconds."""


class ChosenLog:
    """One manifest's log, in the protocol that is detected. See `rxmps3.log.protocol.Log`.

    Args:
        asked: the protocol that the user named, or ``"auto"``.
        open_kit: opens the manifest in a protocol.
        others: for each protocol, a function that checks whether the manifest exists in it.
        switched: called with each kit that replaces the one before, before it is opened.
        name: of the manifest, for messages.
    """

    def __init__(
        self,
        asked: Choice,
        open_kit: Callable[[ProtocolName], Kit],
        others: Mapping[ProtocolName, IsThere],
        switched: Callable[[Kit], None],
        clock: Clock,
        name: str,
    ) -> None:
        self._asked = asked
        self._open_kit = open_kit
        self._others = others
        self._versions: Subject[LogEvent] = Subject()
        self._switched = switched
        self._clock = clock
        self._name = name
        self._held: list[LogEvent] | None = []
        self._listening = SerialDisposable()
        self._sure = False
        self._opened = False
        self._suspects: dict[WriteId, tuple[Write, str]] = {}
        self._decided = False  # the protocol in which to create a manifest that does not exist yet
        self._absent: dict[ProtocolName, tuple[float, datetime]] = {}
        """When each protocol was last checked without finding it, before a first write, by both local clocks: one of
        them stops while the computer sleeps."""
        self._look_around_at = 0.0
        self._look_around_every = 0.5
        self._choosing = asyncio.Lock()
        self.kit = open_kit("sequenced" if asked == "auto" else asked)
        self._listen()

    @property
    def versions(self) -> Observable[LogEvent]:
        return self._versions

    def _listen(self) -> None:
        self._listening.disposable = self.kit.log.versions.subscribe(self._take)

    def _take(self, event: LogEvent) -> None:
        if self._held is None:
            self._versions.on_next(event)
            return
        self._held.append(event)
        if self._log.exists:
            self._release()

    def _release(self) -> None:
        while self._held:
            self._versions.on_next(self._held[0])
            del self._held[0]
        self._held = None

    # -- delegation -----------------------------------------------------------------------------------

    @property
    def _log(self) -> Log:
        return self.kit.log

    @property
    def exists(self) -> bool:
        return self._log.exists

    @property
    def position(self) -> str:
        return self._log.position

    @property
    def reached(self) -> tuple[str, int]:
        return self._log.reached

    @property
    def place(self) -> ResumePoint | None:
        return None if self._held is not None else self._log.place

    @property
    def date(self) -> datetime | None:
        return self._log.date

    @property
    def upkeep_is_due(self) -> bool:
        return self._log.upkeep_is_due

    def is_confirmed(self, position: str) -> bool:
        return self._log.is_confirmed(position)

    async def confirm(self) -> None:
        await self._log.confirm()

    async def ensure_dated(self) -> None:
        await self._log.ensure_dated()

    async def server_time(self) -> datetime:
        return await self._log.server_time()

    async def commit(self, writes: Sequence[Write]) -> None:
        await self.open()
        await self._log.commit(writes)

    # -- choosing --------------------------------------------------------------------------------------------

    def resume(self, place: ResumePoint) -> None:
        for protocol in self._others:
            if protocol == place.protocol != self.kit.protocol:
                if self._asked != "auto":
                    raise self._other(protocol)
                self._use(protocol)
        self._log.resume(place)

    def suspect(self, write: Write, after: str) -> None:
        """See `rxmps3.log.protocol.Kit`; does nothing for a log that knows its writes."""
        self._suspects[write.id] = write, after
        if self.kit.suspect is not None:
            self.kit.suspect(write, after)

    async def open(self) -> None:
        if not self._opened:
            await self._open_now()

    async def _open_now(self) -> bool:
        """Open; False if already open, or opened by another caller while this one waited."""
        if self._opened:
            return False
        async with self._choosing:
            if self._opened:
                return False
            try:
                await self._log.read()  # it may be open already, only the check of the other protocols having failed
            except (Corrupt, Unsupported):
                # an error here may come from objects of another protocol, or from rights that protocol does not need
                if self._log.exists or not await self._switch_if_found_elsewhere():
                    raise
            else:
                if not self._log.exists:
                    await self._switch_if_found_elsewhere()
            self._sure = self._log.exists
            self._opened = True
            self._release()
            return True

    def look_around(self) -> None:
        """Make the next read look in the other protocols too, if the manifest does not exist in this one."""
        self._look_around_at = 0.0

    async def read(self) -> None:
        if await self._open_now():
            return
        await self._log.read()
        if self._sure:
            return
        self._sure = self._log.exists
        if not self._sure and self._clock.monotonic() >= self._look_around_at:
            async with self._choosing:
                if not self._log.exists:
                    await self._switch_if_found_elsewhere()

    async def prepare(self) -> None:
        await self.open()
        if self._sure:
            await self._log.prepare()
            return
        async with self._choosing:
            found = self._log.exists or await self._switch_if_found_elsewhere(preparing=True)
            if found or self._decided:
                await self._log.prepare()
            else:
                await self._prepare_best_protocol()
                self._decided = True
            self._sure = self._log.exists

    async def _prepare_best_protocol(self) -> None:
        """Create the manifest in the best protocol that the storage supports, unless the user named one."""
        refusals: list[str] = []
        for protocol in self._others if self._asked == "auto" else (self.kit.protocol,):
            if protocol != self.kit.protocol:
                self._use(protocol)
                await self._log.open()
            try:
                if self._asked == "auto" and self.kit.probe is not None:
                    await self._probe(self.kit.probe)
                await self._log.prepare()
            except Rejected as error:
                if self._asked != "auto" or protocol == list(self._others)[-1]:
                    raise
                refusals.append(f"{protocol}: {error.what}")
            else:
                if refusals:
                    logger.warning("%s is made in protocol %r, since %s", self._name, protocol, "; ".join(refusals))
                return

    async def _probe(self, probe: Callable[[], Awaitable[None]]) -> None:
        try:
            await probe()
        except Unsupported as broken:
            raise Rejected(f"refused and rolled back: {broken}", operation="commit") from broken

    async def _switch_if_found_elsewhere(self, *, preparing: bool = False) -> bool:
        """Switch to another protocol if the manifest exists in it; returns whether it does.

        Args:
            preparing: a first write is about to be made. If it is retried soon, only the unanswered checks are
                repeated.

        Raises:
            Unsupported: it does, but the user asked for the current protocol.
        """
        now, wall = self._clock.monotonic(), self._clock.now()
        self._look_around_at = now + self._look_around_every
        self._look_around_every = min(self._look_around_every * 2, _LOOK_AROUND_AT_MOST)
        for protocol, is_there in self._others.items():
            absent = self._absent.get(protocol) if preparing else None
            known_absent = (
                absent is not None and max(now - absent[0], (wall - absent[1]).total_seconds()) < _TRUST_ABSENCE_FOR
            )
            if protocol == self.kit.protocol or known_absent:
                continue
            try:
                found = await is_there()
            except (AccessDenied, InvalidInput, Unsupported):
                continue  # access to one protocol's objects is enough, and so is a name valid in one protocol
            if found:
                if self._asked != "auto":
                    raise self._other(protocol)
                self._use(protocol)
                await self._log.open()
                return True
            if preparing:
                self._absent[protocol] = now, wall
        return False

    def _use(self, protocol: ProtocolName) -> None:
        if self._held is not None:
            self._held = []
        self.kit = self._open_kit(protocol)
        self._listen()
        if self.kit.suspect is not None:
            for write, after in self._suspects.values():
                self.kit.suspect(write, after)
        self._switched(self.kit)

    def _other(self, found: ProtocolName) -> Unsupported:
        return Unsupported(
            f"it is in protocol {found!r}, not {self.kit.protocol!r} as asked for",
            operation="open",
            object=self._name,
            remedy=f"open it with protocol={found!r}, or with protocol='auto'; nothing was written",
        )
