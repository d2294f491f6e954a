"""Background compaction of the manifest: a checkpoint when the log has grown, then any collection that is due."""

from __future__ import annotations

from collections.abc import Callable

from rxmps3.errors import Failure, UnsureTime
from rxmps3.log.protocol import Collector, Log
from rxmps3.replica.health import Health
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.worker import Worker
from rxmps3.storage.metered import charged_to

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
        self._worker = Worker(self._keep, health.retries("compact", backoff), again=False)
        self.run = self._worker.run
        self._grown = False
        self._mine = False
        self._collected_at = -_COLLECT_EVERY

    def grown(self, *, mine: bool) -> None:
        """The log has one more version, from this client or another."""
        if self._log.upkeep_is_due:
            self._grown = True
            self._mine = self._mine or mine
            self._worker.wake()

    async def _keep(self) -> None:
        if self._grown and not self._mine:
            await self._clock.sleep(self._clock.rng.uniform(*_OTHERS_WAIT))
        if not self._grown:
            return  # another client compacted while this one yielded
        self._grown = self._mine = False
        with charged_to("upkeep"):
            try:
                await self._keep_up()
            except UnsureTime as error:
                self._health.report(Failure("compact", error.object, error, "it is tried again later"))

    async def _keep_up(self) -> None:
        await self._log.server_time()
        if not self._log.upkeep_is_due:
            return
        await self._collector().checkpoint()
        if self._clock.monotonic() - self._collected_at >= _COLLECT_EVERY:
            self._collected_at = self._clock.monotonic()
            await self._collector().collect()
