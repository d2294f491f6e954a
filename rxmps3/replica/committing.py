"""Sending what is pending: uploads first, then commits, oldest first, until the log holds it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from rxmps3.clock import Clock
from rxmps3.errors import Error, Rejected, Unsupported
from rxmps3.layout import value_name
from rxmps3.log.base import Log
from rxmps3.receipt import Receipt
from rxmps3.replica.health import Health
from rxmps3.replica.home import Home
from rxmps3.replica.timeline import Timeline
from rxmps3.retry import Backoff
from rxmps3.state import Amended, ContentObject, Refused, Write, WriteId
from rxmps3.values import Values

__all__ = ["Committer"]

TRUST_UPLOADS_FOR = timedelta(hours=6)
"""An upload older than this, by the server's clock, is made again under another name before it is committed: the
collector deletes values that nothing names once they are a day old."""
ASK_AFTER = timedelta(hours=1)
"""An upload that is older than this by a local clock has its age checked by the server's."""
_FAIRNESS_WINDOW = 2.0
"""Another writer counts as present for so many seconds after its last version."""


class Upload(NamedTuple):
    """When a write's values were stored: by the server's clock and by both local ones."""

    date: datetime | None
    wall: datetime
    monotonic: float


class Committer:
    """Keeps one commit under way while something is pending.

    Writes of one client are committed in the order of its calls, so a write whose values are still being uploaded
    holds back the later ones; anything else would let a reader see an effect without its cause.
    """

    def __init__(
        self,
        home: Home,
        clock: Clock,
        log: Log,
        timeline: Timeline,
        values: Values,
        health: Health,
        backoff: Backoff,
        receipts: dict[WriteId, Receipt],
    ) -> None:
        self._home = home
        self._clock = clock
        self._log = log
        self._timeline = timeline
        self._values = values
        self._health = health
        self._backoff = backoff
        self._receipts = receipts
        self._wanted = asyncio.Event()
        self._uploaded: dict[WriteId, Upload] = {}
        self._uploading: set[WriteId] = set()
        self._foreign_at = -_FAIRNESS_WINDOW
        health.on_recovery(self.wake)

    def wake(self) -> None:
        """Something may be ready to be sent. On the loop's thread."""
        self._wanted.set()

    def foreign_seen(self) -> None:
        """Another writer has committed."""
        self._foreign_at = self._clock.monotonic()

    def forget(self, id: WriteId) -> None:
        """A write has met its end."""
        self._uploaded.pop(id, None)

    async def run(self) -> None:
        """Commit whenever something is ready."""
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            began, before = self._clock.monotonic(), len(self._timeline.view.pending)
            ready = self._ready()
            try:
                if await self._uploads_have_aged(ready):
                    ready = self._ready()
                if not ready:
                    continue
                await self._log.commit(ready)
            except Unsupported as error:
                for write in ready:
                    self._timeline.submit(Refused(write.id, _rejection(error)))
                continue
            except Error as error:
                failures += 1
                await self._back_off("commit", failures, error)
                self.wake()
                continue
            failures = 0
            self._health.answered()
            pending = len(self._timeline.view.pending)
            if pending:
                self.wake()
                await self._be_fair(lost=pending >= before, took=self._clock.monotonic() - began)

    async def _be_fair(self, *, lost: bool, took: float) -> None:
        """Beside other writers, wait a moment by chance, so that a slow one gets its turn."""
        if lost or self._clock.monotonic() - self._foreign_at < _FAIRNESS_WINDOW:
            await self._clock.sleep(self._clock.rng.uniform(0, min(1.0, took)))

    def _ready(self) -> list[Write]:
        """The pending writes, oldest first, up to the first whose values are not all uploaded; starts the uploads."""
        ready: list[Write] = []
        waiting = False
        for write in self._timeline.view.queue():
            contents = _contents(write)
            if contents and write.id not in self._uploaded:
                waiting = True
                if write.id not in self._uploading:
                    self._uploading.add(write.id)
                    self._home.spawn(self._upload(write.id, contents), "upload")
            elif not waiting:
                ready.append(write)
        return ready

    async def _uploads_have_aged(self, ready: list[Write]) -> bool:
        """Take back uploads that a collector may have found unused by now; they are to be made again."""
        wall, monotonic = self._clock.now() - ASK_AFTER, self._clock.monotonic() - ASK_AFTER.total_seconds()
        doubtful = [
            write
            for write in ready
            if (upload := self._uploaded.get(write.id)) is not None
            and (upload.wall < wall or upload.monotonic < monotonic)
        ]
        if not doubtful:
            return False
        now = await self._log.server_time()
        aged = [write for write in doubtful if now - (self._uploaded[write.id].date or now) >= TRUST_UPLOADS_FOR]
        for write in aged:
            del self._uploaded[write.id]
            self._timeline.submit(Amended(_renamed(write, self._clock.new_id(6))))
        return bool(aged)

    async def _upload(self, id: WriteId, contents: tuple[ContentObject, ...]) -> None:
        """Upload the values of one write, in parallel, for as long as it takes."""
        failures = 0
        try:
            while id in self._receipts:
                try:
                    await self._log.prepare()
                    dates = await self._upload_all(contents)
                except Unsupported as error:
                    self._timeline.submit(Refused(id, _rejection(error)))
                except Error as error:
                    failures += 1
                    await self._back_off("upload", failures, error)
                else:
                    self._uploaded[id] = Upload(min(dates, default=None), self._clock.now(), self._clock.monotonic())
                    self.wake()
                    return
        finally:
            self._uploading.discard(id)

    async def _upload_all(self, contents: tuple[ContentObject, ...]) -> list[datetime]:
        """When each of them was stored, by the server. Raises the first error once all of them have ended."""
        results = await asyncio.gather(*map(self._values.upload, contents), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, datetime)]

    async def _back_off(self, operation: str, failures: int, error: Error) -> None:
        wait = self._backoff.wait(failures, error, self._clock.rng)
        self._health.failed(operation, error, wait)
        await self._clock.sleep(wait)


def _contents(write: Write) -> tuple[ContentObject, ...]:
    entries = write.update.values()
    return tuple(entry.content for entry in entries if entry is not None and isinstance(entry.content, ContentObject))


def _renamed(write: Write, again: str) -> Write:
    """The same write with its values in objects of other names."""
    update = {
        key: replace(entry, content=replace(entry.content, name=value_name(key, entry.version, again)))
        if entry is not None and isinstance(entry.content, ContentObject)
        else entry
        for key, entry in write.update.items()
    }
    return replace(write, update=update)


def _rejection(error: Error) -> Rejected:
    rejected = Rejected(f"the write was refused and rolled back: {error}", operation="commit")
    rejected.__cause__ = error
    return rejected
