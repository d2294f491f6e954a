"""The log of a manifest whose protocol is known only once the manifest has been seen.

The protocol is what the manifest already is. It starts with a guess; what the guessed log says while it opens is held
back until it is sure that the manifest is not in another protocol::

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
    """One manifest's log, in the protocol that it turns out to have. See `rxmps3.log.protocol.Log`.

    Args:
        asked: the protocol that the user named, or ``"auto"``.
        open_kit: makes the kit of a protocol.
        others: for each protocol whether the manifest is there in it.
        switched: is told of each kit that is taken instead of the one before, before it opens.
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
        self._decided = False  # which protocol a manifest is to be made in that is not there yet
        self._absent: dict[ProtocolName, float] = {}  # when it was last not there in a protocol, before a first write
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

    # -- what is passed on -----------------------------------------------------------------------------------

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
        """See `rxmps3.log.protocol.Kit`; a log that knows its writes need not be told."""
        self._suspects[write.id] = write, after
        if self.kit.suspect is not None:
            self.kit.suspect(write, after)

    async def open(self) -> None:
        await self._open_now()

    async def _open_now(self) -> bool:
        """Open; False if that was done already, or by somebody else while this waited."""
        if self._opened:
            return False
        async with self._choosing:
            if self._opened:
                return False
            try:
                await self._log.read()  # it may have opened long ago, and looking around have failed
            except (Corrupt, Unsupported):
                # what another protocol has put there is no wonder to it, but to this one, and it may need less
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
        """Let the next read look for the manifest in the other protocols, too, if it is not there."""
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
        """Make the manifest in the best protocol that the storage can serve, if the user did not name one."""
        refusals: list[str] = []
        for protocol in self._others if self._asked == "auto" else (self.kit.protocol,):
            if protocol != self.kit.protocol:
                self._use(protocol)
                await self._log.open()
            try:
                await self._log.prepare()
            except Rejected as error:
                if self._asked != "auto" or protocol == list(self._others)[-1]:
                    raise
                refusals.append(f"{protocol}: {error.what}")
            else:
                if refusals:
                    logger.warning("%s is made in protocol %r, since %s", self._name, protocol, "; ".join(refusals))
                return

    async def _switch_if_found_elsewhere(self, *, preparing: bool = False) -> bool:
        """Whether the manifest is there in another protocol; it is used from now on.

        Args:
            preparing: a first write is about to be made. If it has to be tried again soon, only what has not been
                answered is asked again.

        Raises:
            Unsupported: it is, but the user named the present one.
        """
        now = self._clock.monotonic()
        self._look_around_at = now + self._look_around_every
        self._look_around_every = min(self._look_around_every * 2, _LOOK_AROUND_AT_MOST)
        for protocol, is_there in self._others.items():
            known_absent = preparing and now - self._absent.get(protocol, float("-inf")) < _TRUST_ABSENCE_FOR
            if protocol == self.kit.protocol or known_absent:
                continue
            try:
                found = await is_there()
            except (AccessDenied, InvalidInput, Unsupported):
                continue  # rights to the one protocol's objects are enough, and a name that one of them can have
            if found:
                if self._asked != "auto":
                    raise self._other(protocol)
                self._use(protocol)
                await self._log.open()
                return True
            if preparing:
                self._absent[protocol] = now
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
