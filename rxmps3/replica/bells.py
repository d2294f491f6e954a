"""The bells of one replica: rung after each commit, and heard while the log is followed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from reactivex import Observable
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.bells import Local, from_url, process
from rxmps3.bells.protocol import Bell, HeldBell, Rung, topic_of
from rxmps3.errors import AccessDenied, Error, Failure, Unavailable
from rxmps3.replica.health import Health
from rxmps3.replica.options import Options
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.event_loop import EventLoop
from rxmps3.runtime.worker import Retries, Worker, persist
from rxmps3.storage import DirectoryStorage, Storage

__all__ = ["Bells", "Hung", "hung"]

logger = logging.getLogger("rxmps3")

_BACKOFF = Backoff(base=0.5, cap=30.0)
_LAST_RING = 0.8
"""Seconds that closing waits for the last ring, less than a command waits for closing."""


@dataclass(frozen=True)
class Hung:
    """A bell beyond this process, and the topic of the manifest with it.

    Attributes:
        reliable: whether to rely on it until it misses something.
    """

    bell: Bell
    topic: str
    reliable: bool = True


def hung(storage: Storage, manifest: str, options: Options) -> tuple[str | None, tuple[Hung, ...]]:
    """The topic within this process, None for no bell there, and the bells beyond it.

    Other storages than this package's own, such as one that stands for a machine of its own in a test, have no bell but
    the one that is given. Nor do ticks of the user's own.
    """
    given = from_url(options.bell) if isinstance(options.bell, str) else options.bell
    if given is None:
        return None, ()
    place: str | None = getattr(storage, "place", None)
    if isinstance(given, Local):
        if place is None or isinstance(options.poll, Observable):
            return None, ()
        beyond: tuple[Hung, ...] = ()
    else:
        where: str = getattr(given, "name", "") or place or storage.url.partition("?")[0]
        place = place or storage.url
        beyond = (Hung(given, topic_of(where, manifest)),)
    if isinstance(storage, DirectoryStorage):
        from rxmps3.bells.files import FileBell

        files = FileBell(*storage.watched(manifest))
        beyond = (*beyond, Hung(files, "", files.is_reliable))
    return topic_of(place, manifest), beyond


class Bells:
    """Rings and hears the bells of one manifest. On the loop's thread, unless it says otherwise.

    Args:
        near: the topic between the replicas of this process; None for no bell there.
        hung: the bells beyond this process.
        rung: called at each ring, with what it tells.
        changed: called when a bell beyond this process begins to work, or ceases to.
    """

    def __init__(
        self,
        loop: EventLoop,
        clock: Clock,
        health: Health,
        near: str | None,
        hung: tuple[Hung, ...],
        rung: Callable[[Rung, bool], None],
        changed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._health = health
        self._near = near
        self._rung = rung
        self._changed = changed
        self._listener: process.Listener | None = None
        self._all = [_Used(one, self) for one in hung]

    @property
    def reliable(self) -> bool:
        """Whether one of the bells that work is to be relied upon until it misses something."""
        return any(one.hung.reliable for one in self._all)

    @property
    def is_up(self) -> bool:
        """Whether a bell beyond this process works."""
        return any(one.up for one in self._all)

    def start(self) -> None:
        """Hear the bell within this process."""
        if self._near is not None:
            self._listener = process.listen(self._near, lambda: self._loop.call_soon(lambda: self._rung(Rung(), False)))

    def listen(self) -> None:
        """Hear the bells beyond this process, too."""
        for one in self._all:
            one.listen()

    def ignore(self) -> None:
        """Hear them no longer."""
        for one in self._all:
            one.ignore()
        self._health.bell(up=None)

    def ring(self) -> None:
        """Ring all of them, after a commit."""
        if self._near is not None:
            process.ring(self._near, self._listener)
        for one in self._all:
            one.ringing.wake()
            one.start_ringing()

    async def flush(self) -> None:
        """Wait until the last ring is out, for a second at most."""
        waiting = [self._loop.spawn(one.rung_out(), "ring") for one in self._all if one.is_ringing]
        if waiting:
            await asyncio.wait(waiting, timeout=_LAST_RING)

    async def close(self) -> None:
        """Let go of all bells, once the loop's tasks have ended."""
        if self._listener is not None:
            self._listener.close()
        for one in self._all:
            await one.release()

    def heard(self, one: _Used, item: Any) -> None:
        """A bell rang."""
        if not one.up:
            one.up = True
            self._tell()
        self._rung(item if isinstance(item, Rung) else Rung(), True)

    def failed(self, one: _Used, error: Error) -> None:
        """A bell does not work, and is tried again. What does not pass by itself is reported, once."""
        if isinstance(error, AccessDenied) or not error.retriable:
            if one.reported is not type(error):
                one.reported = type(error)
                self._health.report(Failure("bell", self._loop.name, error, "it is tried again; the timer looks"))
        else:
            logger.info("%s: %s", one.hung.bell, error)
        if one.up or self._health.status.bell is None:
            one.up = False
            self._tell()

    def _tell(self) -> None:
        self._health.bell(up=self.is_up)
        self._changed()

    def retries(self, one: _Used) -> Retries:
        """How a bell is tried again."""
        return Retries(self._clock, _BACKOFF, lambda error, _: self.failed(one, error))

    @property
    def loop(self) -> EventLoop:
        """The replica's event loop."""
        return self._loop


class _Used:
    """One bell beyond this process, in use."""

    def __init__(self, hung: Hung, bells: Bells) -> None:
        self.hung = hung
        self.up = False
        self.reported: type[Error] | None = None
        self._bells = bells
        self._retained = False
        self._listening: asyncio.Task[None] | None = None
        self._hearing = bells.retries(self)
        self.ringing = Worker(self._ring, bells.retries(self))
        self._ringing: asyncio.Task[None] | None = None
        self._busy = False
        self._out: list[asyncio.Future[None]] = []

    def _retain(self) -> None:
        if not self._retained and hasattr(self.hung.bell, "retain"):
            self._retained = True
            cast(HeldBell, self.hung.bell).retain()

    async def release(self) -> None:
        if self._retained:
            self._retained = False
            await cast(HeldBell, self.hung.bell).release()

    # -- hearing ---------------------------------------------------------------------------------------------

    def listen(self) -> None:
        if self._listening is None:
            self._retain()
            self._listening = self._bells.loop.spawn(persist(self._hear, self._hearing), "listen")

    def ignore(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
            self.up = False

    async def _hear(self) -> None:
        """Hear the bell until it fails. Items and its end may come on any thread."""
        loop = self._bells.loop
        ended: asyncio.Future[None] = loop.loop.create_future()

        def hear(item: Any) -> None:
            if not ended.done():
                self._hearing.start_over()
                self._bells.heard(self, item)

        def end(error: Exception) -> None:
            if not ended.done():
                ended.set_exception(error)

        silent = Unavailable("it has ended", operation="listen", object=str(self.hung.bell))
        subscription = self.hung.bell.rings(self.hung.topic).subscribe(
            lambda item: loop.on_loop(lambda: hear(item)),
            lambda error: loop.on_loop(lambda: end(error)),
            lambda: loop.on_loop(lambda: end(silent)),
            scheduler=AsyncIOThreadSafeScheduler(loop.loop),
        )
        try:
            await ended
        finally:
            ended.cancel()
            subscription.dispose()

    # -- ringing ---------------------------------------------------------------------------------------------

    @property
    def is_ringing(self) -> bool:
        return self._busy or self.ringing.is_wanted

    def start_ringing(self) -> None:
        if self._ringing is None:
            self._retain()
            self._ringing = self._bells.loop.spawn(self.ringing.run(), "ring")

    async def rung_out(self) -> None:
        while self.is_ringing:
            out: asyncio.Future[None] = self._bells.loop.loop.create_future()
            self._out.append(out)
            await out

    async def _ring(self) -> None:
        self._busy = True
        try:
            waiting = self.hung.bell.ring(self.hung.topic)
            if waiting is not None:
                await waiting
        finally:
            self._busy = False
            out, self._out = self._out, []
            for one in out:
                if not one.done():
                    one.set_result(None)
