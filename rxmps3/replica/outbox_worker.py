"""Making pending writes durable: one task that keeps the outbox in step with the view."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from rxmps3.errors import Error, Failure, unforeseen
from rxmps3.local.outbox import Outbox
from rxmps3.log.protocol import Log
from rxmps3.model.state import Write, WriteId
from rxmps3.replica.health import Health
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock

__all__ = ["OutboxWorker"]

logger = logging.getLogger("rxmps3")


class _Sent(NamedTuple):
    """The storage's date when a write was sent for the first time, and where the log was."""

    date: datetime | None
    position: str


class OutboxWorker:
    """Adds new writes to the outbox in batches, oldest first, and removes those that have met their end.

    A disk that refuses is reported and tried again; meanwhile its writes may be sent, since committing them is the
    only way left to keep them.

    Some logs cannot tell after a restart which writes they hold. For them the outbox notes of every write that it
    holds, before it is sent or else before it is added, that it was sent and where the log was; a write that it holds
    waits for a disk that refuses that, since it is safe where it is and would be written twice otherwise.

    Args:
        stored: is told of each write once it is durable.
        sendable: is told when other writes may be sent than before.
        notes_first: whether the log is one of those.
    """

    def __init__(
        self,
        clock: Clock,
        log: Log,
        health: Health,
        backoff: Backoff,
        by: str,
        stored: Callable[[WriteId], None],
        sendable: Callable[[], None],
        notes_first: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._log = log
        self._health = health
        self._backoff = backoff
        self._by = by
        self._stored = stored
        self._sendable = sendable
        self._notes_first = notes_first
        self._outbox: Outbox | None = None
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._new: dict[WriteId, tuple[Write, Mapping[str, str]]] = {}
        self._over: list[WriteId] = []
        self._committed: list[WriteId] = []
        self._refused: list[WriteId] = []
        self._attempted: set[WriteId] = set()
        self._gone: set[WriteId] = set()
        self._sent: dict[WriteId, _Sent] = {}
        self._using = asyncio.Lock()
        self._failing = False

    def use(self, outbox: Outbox) -> None:
        """From now on this is the outbox."""
        self._outbox = outbox

    def add(self, write: Write, texts: Mapping[str, str]) -> None:
        """A write was made. On the loop's thread."""
        if self._outbox is not None:
            self._new[write.id] = (write, texts)
            self._wake()

    def forget(self, id: WriteId, *, committed: bool) -> None:
        """A write has met its end. On the loop's thread.

        A committed one stays in the outbox until the last known state on disk has it, so that one of the two does.
        """
        if self._outbox is None:
            return
        if committed:
            self._committed.append(id)
        elif id in self._attempted and id in self._new:
            self._gone.add(id)  # it may be on disk: it is added for certain first, and then refused
        elif self._new.pop(id, None) is None:
            self._refused.append(id)
            self._wake()

    def settled(self) -> int:
        """How many committed writes wait for the state to be saved; pass it to `saved` afterwards."""
        return len(self._committed)

    def saved(self, count: int) -> None:
        """A state that holds the first ``count`` of them is on disk."""
        saved, self._committed = self._committed[:count], self._committed[count:]
        self._over.extend(id for id in saved if self._new.pop(id, None) is None)
        if self._over:
            self._wake()

    async def finish(self) -> None:
        """Remove what can be removed, at the end."""
        if self._outbox is not None:
            try:
                await self._store(self._outbox)
                if self._refused or self._over:
                    await self._store(self._outbox)
            except Error as error:
                logger.warning("the outbox could not be tidied: %s", error)

    def may_be_sent(self, id: WriteId) -> bool:
        """Whether the write is durable, or will not be."""
        return self._outbox is None or self._failing or id in self._outbox

    async def mark_sent(self, ids: Sequence[WriteId]) -> int:
        """These are about to be sent, oldest first; how many of them may be, which may take until the disk works."""
        outbox = self._outbox
        if outbox is None:
            return len(ids)
        if not self._notes_first():
            error = await self._try_to_mark(outbox, ids)
            if error is not None:
                self._health.report(Failure("outbox", error.object, error, "sent nevertheless"))
            return len(ids)
        failures = 0
        while True:
            async with self._using:  # nothing is being added meanwhile, and so either in the outbox or not
                error = await self._try_to_mark(outbox, ids)
                unnoted = (at for at, id in enumerate(ids) if id in outbox and not outbox.is_noted(id))
                count = next(unnoted, len(ids))
                sent = _Sent(self._log.date, self._log.position)
                for id in ids[:count]:
                    if id not in outbox:
                        self._sent.setdefault(id, sent)
            if count or error is None:
                return count
            failures += 1
            if failures == 1:
                self._health.report(Failure("outbox", error.object, error, "not sent before the disk has noted that"))
            await self._clock.sleep(self._backoff.wait(failures, error, self._clock.rng))

    async def _try_to_mark(self, outbox: Outbox, ids: Sequence[WriteId]) -> Error | None:
        try:
            await outbox.mark_sent(ids, self._log.date, self._log.position)
        except Error as error:
            return error
        return None

    async def settle(self) -> None:
        """Wait until everything that was asked for is done; not if the disk refuses."""
        await self._idle.wait()

    async def run(self) -> None:
        """Store and remove whenever there is something to."""
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            outbox = self._outbox
            if outbox is None:
                continue
            try:
                async with self._using:
                    await self._store(outbox)
                self._failing, failures = False, 0
                if not self._wanted.is_set():
                    self._idle.set()
            except Exception as problem:
                error = unforeseen(problem)
                failures += 1
                self._failing = True
                self._idle.set()
                self._sendable()
                self._health.report(Failure("outbox", error.object, error, "pending writes are not on disk"))
                await self._clock.sleep(self._backoff.wait(failures, error, self._clock.rng))
                self._wanted.set()

    async def _store(self, outbox: Outbox) -> None:
        over, self._over = self._over, []
        refused, self._refused = self._refused, []
        new = list(self._new.values())
        try:
            if new:
                self._attempted.update(write.id for write, _ in new)
                await self._mark_coming(outbox, [write.id for write, _ in new])
                await outbox.add(new, self._by)
            await outbox.refuse(refused)
            await outbox.remove([*over, *refused])
        except BaseException:
            self._over, self._refused = over + self._over, refused + self._refused
            raise
        for write, _ in new:
            self._attempted.discard(write.id)
            if self._new.pop(write.id, None) is None or write.id in self._gone:
                self._gone.discard(write.id)
                self._refused.append(write.id)
                self._wake()
            else:
                self._stored(write.id)

    async def _mark_coming(self, outbox: Outbox, ids: Sequence[WriteId]) -> None:
        """Note of writes that are about to be added that they were sent while the disk refused them."""
        self._sent = {id: sent for id, sent in self._sent.items() if id in self._new}
        sent = [at for at, id in enumerate(ids) if id in self._sent]
        if sent:
            date, position = self._sent[ids[sent[0]]]
            await outbox.mark_coming(sent[-1] + 1, date, position)

    def _wake(self) -> None:
        self._idle.clear()
        self._wanted.set()
