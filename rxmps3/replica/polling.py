"""Reading the log when asked to: by a caller, or by the ticks that run while something is observed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable, SerialDisposable
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxmps3.errors import Error, Failure, Throttled, Unavailable, unforeseen
from rxmps3.log.protocol import Log
from rxmps3.replica.health import Health
from rxmps3.replica.options import Options
from rxmps3.replica.ticks import PollPace, timer
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.event_loop import EventLoop

__all__ = ["Poller"]


class Poller:
    """One look at a time, and one more after it for all who asked meanwhile."""

    def __init__(
        self, loop: EventLoop, clock: Clock, log: Log, health: Health, backoff: Backoff, options: Options
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._log = log
        self._health = health
        self._backoff = backoff
        self._options = options
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._looked_at: float | None = None
        self._hold_until = 0.0
        self._pace = PollPace(options.interval)
        self._demands = 0
        self._ticking = SerialDisposable()

    async def look(self, patience: float | None = None) -> None:
        """Read to the end of the log, by a look that begins after this call.

        Args:
            patience: wait for so many seconds at most; the look itself goes on.

        Raises:
            Unavailable, AccessDenied, BucketNotFound, Corrupt, Unsupported: what the storage or the log said.
        """
        looked = self._loop.loop.create_future()
        self._waiting.append(looked)
        self._wanted.set()
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
        """Whether a look has succeeded."""
        return self._looked_at is not None

    def is_stale(self) -> bool:
        """Whether the last look is older than the poll interval."""
        return self._looked_at is None or self._clock.monotonic() - self._looked_at >= self._options.interval

    def active(self) -> None:
        """Something changed: the timer looks sooner for a while."""
        self._pace.active()

    async def run(self, ready_to_start: Awaitable[None]) -> None:
        """Look whenever it is wanted."""
        await ready_to_start
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiting, self._waiting = [one for one in self._waiting if not one.done()], []
            began = self._clock.monotonic()
            try:
                await self._log.read()
            except Exception as error:
                failures += 1
                self._failed(failures, unforeseen(error), waiting)
            except asyncio.CancelledError:
                self._waiting.extend(waiting)
                raise
            else:
                failures = 0
                self._looked_at = began
                self._health.answered()
                for looked in waiting:
                    if not looked.done():
                        looked.set_result(None)

    def _failed(self, failures: int, error: Error, waiting: list[asyncio.Future[None]]) -> None:
        heard = [looked for looked in waiting if not looked.done()]
        for looked in heard:
            looked.set_exception(error)
        wait = self._backoff.wait(failures, error, self._clock.rng)
        if isinstance(error, Throttled) or not error.retriable:
            self._hold_until = self._clock.monotonic() + wait
        self._health.failed("poll", error, wait, heard=bool(heard))

    def demand(self) -> DisposableBase:
        """Keep looking at the pace of the ticks until disposed; there is one source of ticks for all."""
        self._demands += 1
        if self._demands == 1:
            self._start_ticking()

        def release() -> None:
            self._demands -= 1
            if not self._demands:
                self._ticking.disposable = Disposable()

        return Disposable(release)

    def share(self, options: Options) -> None:
        """Another handle asks for another pace."""
        faster = options.interval < self._options.interval
        self._options = options
        self._pace.interval = options.interval
        if faster and self._demands:
            self._start_ticking()

    def close(self, error: Error) -> None:
        """No more looks: whoever waits for one gets ``error``."""
        self._ticking.dispose()
        for looked in self._waiting:
            if not looked.done():
                looked.set_exception(error)

    # -- ticks -----------------------------------------------------------------------------------------------

    def _start_ticking(self) -> None:
        poll = self._options.poll
        if isinstance(poll, Observable):
            self._wanted.set()
            self._use(poll)
        else:
            self._use_timer()

    def _use(self, ticks: Observable[Any]) -> None:
        """Look at each tick; ticks during a look make one more look. They may come from any thread."""
        self._ticking.disposable = ticks.subscribe(
            lambda _: self._loop.on_loop(self._wanted.set),
            lambda error: self._loop.on_loop(lambda: self._fall_back(error)),
            lambda: self._loop.on_loop(lambda: self._fall_back(None)),
            scheduler=AsyncIOThreadSafeScheduler(self._loop.loop),
        )

    def _use_timer(self) -> None:
        self._use(
            timer(
                self._clock,
                self._pace,
                self._loop.spawn,
                at_once=self.is_stale(),
                hold=lambda: self._hold_until - self._clock.monotonic(),
            )
        )

    def _fall_back(self, error: Exception | None) -> None:
        if not self._demands or self._ticking.is_disposed:
            return
        cause = error or Unavailable("the source of ticks completed", operation="poll")
        note = f"from now on a timer looks every {self._options.interval} s"
        self._health.report(Failure("poll", self._loop.name, cause, note))
        self._use_timer()
