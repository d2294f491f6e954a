"""When the log is read: when a caller asks, and at the ticks that run while something is observed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import reactivex as rx
from reactivex import Observable, Subject
from reactivex import operators as ops
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxmps3.bells.attention import Spacing, Trust
from rxmps3.bells.protocol import Rung
from rxmps3.errors import Error, Failure, Throttled, Unavailable, unforeseen
from rxmps3.log.protocol import Log
from rxmps3.operators.ending import Ending
from rxmps3.replica.bells import Bells
from rxmps3.replica.health import Health
from rxmps3.replica.options import Options
from rxmps3.replica.ticks import PollPace, followed_by, timer
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.event_loop import EventLoop
from rxmps3.storage.metered import charged_to

__all__ = ["Poller"]

_IDLE = 75.0
"""Seconds between two looks while bells tell of all news: less the timer's jitter, no more than one look a minute."""


class Poller:
    """Decides when to read the log, and reads it.

    Args:
        started: awaited before each read.
        wait_to_look: waits until the budget allows the timer, or a ring, another read.

    Attributes:
        ticks: each item triggers a read; items may come from any thread.
    """

    def __init__(
        self,
        loop: EventLoop,
        clock: Clock,
        log: Log,
        health: Health,
        backoff: Backoff,
        options: Options,
        started: Callable[[], Awaitable[None]],
        wait_to_look: Callable[[], Awaitable[None]],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._log = log
        self._health = health
        self._backoff = backoff
        self._options = options
        self._started = started
        self._wait_to_look = wait_to_look
        self._waiting: list[asyncio.Future[None]] = []
        self._looked_at: float | None = None
        self._failures = 0
        self._hold_until = 0.0
        self._hold_at_least_until = 0.0
        self._spacing = Spacing(options.interval)
        self._trust = Trust(given=False)
        self._bells: Bells | None = None
        self._rung = False
        self._answering: asyncio.Task[None] | None = None
        self._pace = PollPace(options.interval, self._idle)
        self._demands = 0
        self._asked: Subject[Any] = Subject()
        self._sources: Subject[Observable[Any]] = Subject()
        self.ticks: Observable[Any] = rx.merge(self._asked, self._sources.pipe(ops.switch_latest()))
        health.on_answer(self._end_hold)

    async def look(self, patience: float | None = None) -> None:
        """Read to the end of the log, by a read that starts after this call.

        Args:
            patience: wait at most this many seconds; the read itself continues.

        Raises:
            Unavailable, AccessDenied, BucketNotFound, Corrupt, Unsupported: the error of the storage or the log.
        """
        looked = self._loop.loop.create_future()
        self._waiting.append(looked)
        self._asked.on_next(None)
        if patience is None:
            await looked
            return
        timer = self._loop.spawn(self._let_go(looked, patience), "patience")
        try:
            await looked
        finally:
            timer.cancel()

    async def _let_go(self, looked: asyncio.Future[None], seconds: float) -> None:
        await self._clock.sleep(seconds)
        if not looked.done():
            looked.set_result(None)

    @property
    def has_looked(self) -> bool:
        """Whether a read has succeeded."""
        return self._looked_at is not None

    def is_stale(self) -> bool:
        """Whether the last read is older than the poll interval, or a bell has rung since."""
        if self._looked_at is None or self._rung:
            return True
        return self._clock.monotonic() - self._looked_at >= self._options.interval

    def active(self) -> None:
        """Note a change: the timer ticks faster for a while."""
        self._pace.active()

    async def take_look(self, _: object = None) -> None:
        """Read the log and wake the callers waiting for that. A failed read is repeated at the next tick.

        A cancelled one ends without an error, which would end the pipeline: a program that is interrupted cancels every
        task, and still closes its databases afterwards.
        """
        with suppress(asyncio.CancelledError):
            await self._read()

    async def _read(self) -> None:
        await self._started()
        waiting, self._waiting = [one for one in self._waiting if not one.done()], []
        began = self._clock.monotonic()
        self._rung = False
        try:
            with charged_to("log"):  # whoever's task it was started in
                await self._log.read()
        except Exception as error:
            self._failed(unforeseen(error), waiting)
        except asyncio.CancelledError:
            self._waiting.extend(waiting)
            raise
        else:
            self._failures = 0
            self._looked_at = began
            self._health.answered()
            for looked in waiting:
                if not looked.done():
                    looked.set_result(None)

    def _failed(self, error: Error, waiting: list[asyncio.Future[None]]) -> None:
        if self._idle():
            self._loop.call_soon(self._tick_at_pace)
        self._failures += 1
        heard = [looked for looked in waiting if not looked.done()]
        for looked in heard:
            looked.set_exception(error)
        wait = self._backoff.wait(self._failures, error, self._clock.rng)
        if isinstance(error, Throttled) or not error.retriable:
            now = self._clock.monotonic()
            self._hold_until = now + wait
            least = self._backoff.unasked(self._failures, error, self._clock.rng) if self._failures > 1 else 0.0
            self._hold_at_least_until = now + min(wait, least)
        self._health.failed("poll", error, wait, heard=bool(heard))

    def _end_hold(self) -> None:
        """Look again although the storage has asked for a longer wait: it has answered something else meanwhile."""
        if self._hold_at_least_until <= self._clock.monotonic() < self._hold_until:
            self._hold_until = 0.0
            if self._demands and not isinstance(self._options.poll, Observable):
                self._start_ticking()

    # -- ticks -----------------------------------------------------------------------------------------------

    def demand(self) -> DisposableBase:
        """Keep reading at each tick until disposed; all demands share one source of ticks."""
        if not self._options.online:
            return Disposable()
        self._demands += 1
        if self._demands == 1:
            self._start_ticking()
            if self._bells is not None:
                self._bells.listen()
        return Ending(self._release)

    def _release(self) -> None:
        self._demands -= 1
        if not self._demands:
            self._sources.on_next(rx.never())
            if self._bells is not None:
                self._bells.ignore()

    def share(self, options: Options) -> None:
        """Apply the options of another handle, which may ask for a faster pace."""
        faster = options.interval < self._options.interval
        self._options = options
        self._pace.interval = self._spacing.interval = options.interval
        if faster and self._demands:
            self._start_ticking()

    def close(self, error: Error) -> None:
        """Stop reading; callers waiting for a read get ``error``."""
        for looked in self._waiting:
            if not looked.done():
                looked.set_exception(error)

    # -- bells -----------------------------------------------------------------------------------------------

    def hear(self, bells: Bells) -> None:
        """Listen to these while reading at ticks."""
        self._bells = bells
        self._trust = Trust(given=bells.reliable)

    def rung(self, rung: Rung, beyond: bool) -> None:
        """Look for a ring: at once, unless others were just looked for.

        Args:
            rung: what it tells.
            beyond: whether it came from beyond this process.
        """
        now = self._clock.monotonic()
        if beyond:
            self._trust.rang(now)
        if rung.version.isdecimal() and (known := self._log.position).isdecimal() and int(rung.version) <= int(known):
            return
        self._rung = True
        if not self._demands or self._answering is not None:
            return
        self._answering = self._loop.spawn(self._answer(self._spacing.wait(now)), "answer")

    async def _answer(self, wait: float) -> None:
        try:
            wait = max(wait, self._hold_until - self._clock.monotonic())
            while wait > 0:
                await self._clock.sleep(wait)
                wait = self._hold_until - self._clock.monotonic()
            await self._wait_to_look()
        finally:
            self._answering = None
        if self._demands and self._rung:
            self._spacing.looks(self._clock.monotonic())
            self._asked.on_next(None)

    def found(self) -> None:
        """Note that another writer's version has been read."""
        relied = self._idle() > 0
        self._spacing.found()
        self._trust.found(self._clock.monotonic())
        if relied and not self._idle():
            self._tick_again()

    def bells_changed(self) -> None:
        """Note that a bell works, or has ceased to: then look now, and at the timer's pace."""
        if not self._idle():
            self._tick_again()

    def _tick_again(self) -> None:
        if self._demands and not isinstance(self._options.poll, Observable):
            self._start_ticking()

    def _tick_at_pace(self) -> None:
        """After a look that failed: the next one is due at the timer's pace, whatever bells tell."""
        if self._demands and not isinstance(self._options.poll, Observable):
            self._sources.on_next(self._timer(at_once=False))

    def _idle(self) -> float:
        """The seconds to which the timer may slow down since bells tell of news; 0 if they do not, or a look failed."""
        if self._failures or self._bells is None or not self._bells.is_up:
            return 0.0
        return _IDLE if self._trust.relies(self._clock.monotonic()) else 0.0

    def _start_ticking(self) -> None:
        poll = self._options.poll
        if isinstance(poll, Observable):
            self._asked.on_next(None)
            self._sources.on_next(followed_by(poll, self._loop, self._instead))
        else:
            self._sources.on_next(self._timer())

    def _timer(self, *, at_once: bool | None = None) -> Observable[None]:
        return timer(
            self._clock,
            self._pace,
            self._loop.spawn,
            at_once=self.is_stale() if at_once is None else at_once,
            hold=lambda: self._hold_until - self._clock.monotonic(),
            wait_to_look=self._wait_to_look,
        )

    def _instead(self, error: Exception | None) -> Observable[None]:
        """The ticks that replace the user's source after it has ended."""
        cause = error or Unavailable("the source of ticks completed", operation="poll")
        note = f"from now on a timer looks every {self._options.interval} s"
        self._health.report(Failure("poll", self._loop.name, cause, note))
        return self._timer()
