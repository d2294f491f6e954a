"""Keeping the manifest small, off the hot path: a checkpoint when the log has grown, then what collection is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rxmps3.errors import unforeseen
from rxmps3.log.protocol import Collector, Log
from rxmps3.replica.health import Health
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock

__all__ = ["Compactor"]

_OTHERS_WAIT = (10.0, 40.0)
"""Whoever's commit crosses the line makes the checkpoint; the others see to it only after so many seconds."""
_COLLECT_EVERY = 600.0
"""One client tries to collect at most every so many seconds."""


class Compactor:
    """Makes checkpoints and collects, in a client that writes."""

    def __init__(
        self, clock: Clock, log: Log, collector: Callable[[], Collector], health: Health, backoff: Backoff
    ) -> None:
        self._clock = clock
        self._log = log
        self._collector = collector
        self._health = health
        self._backoff = backoff
        self._wanted = asyncio.Event()
        self._mine = False
        self._collected_at = -_COLLECT_EVERY

    def grown(self, *, mine: bool) -> None:
        """The log has one more version, by this client or another."""
        if self._log.upkeep_is_due:
            self._mine = self._mine or mine
            self._wanted.set()

    async def run(self) -> None:
        """Keep the manifest small for as long as the replica lives."""
        failures = 0
        while True:
            await self._wanted.wait()
            if not self._mine:
                await self._clock.sleep(self._clock.rng.uniform(*_OTHERS_WAIT))
            self._wanted.clear()
            self._mine = False
            try:
                await self._keep()
                failures = 0
            except Exception as problem:
                failures += 1
                error = unforeseen(problem)
                wait = self._backoff.wait(failures, error, self._clock.rng)
                self._health.failed("compact", error, wait)
                await self._clock.sleep(wait)

    async def _keep(self) -> None:
        await self._log.server_time()
        if not self._log.upkeep_is_due:
            return
        await self._collector().checkpoint()
        if self._clock.monotonic() - self._collected_at >= _COLLECT_EVERY:
            self._collected_at = self._clock.monotonic()
            await self._collector().collect()
