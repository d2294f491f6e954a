"""Making pending writes durable: a task that keeps the outbox in sync with the pending writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from rxmps3.errors import Error, Failure
from rxmps3.local.outbox import Outbox
from rxmps3.log.protocol import Log
from rxmps3.model.state import WriteId
from rxmps3.replica.health import Health
from rxmps3.replica.pending import PendingWrite, PendingWrites, SentUnkept, Storing
from rxmps3.replica.receipt import Receipt
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.worker import Retries, Worker

__all__ = ["OutboxWorker"]

logger = logging.getLogger("rxmps3")


class OutboxWorker:
    """Adds new writes to the outbox in batches, oldest first, and removes those that have ended.

    A disk error is reported and retried; meanwhile the writes concerned may be sent, since committing them is the only
    way left to keep them.

    Some logs cannot tell after a restart which writes they hold. For those, the outbox records for each of its writes
    that it is sent, and the log's position, before sending it (or before adding it, if it was sent first). If the disk
    refuses this record, a write already in the outbox is not sent: it is safe there, and could otherwise be applied
    twice.

    Args:
        pending: the pending writes.
        by: the user name recorded with writes made here.
        sendable: called when more writes may be sent.
        notes_first: whether the log is one that cannot tell which writes it holds.
    """

    def __init__(
        self,
        clock: Clock,
        log: Log,
        health: Health,
        backoff: Backoff,
        pending: PendingWrites[Receipt],
        by: str,
        sendable: Callable[[], None],
        notes_first: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._log = log
        self._health = health
        self._backoff = backoff
        self._pending = pending
        self._by = by
        self._sendable = sendable
        self._notes_first = notes_first
        self._outbox: Outbox | None = None
        self._worker = Worker(self._work, Retries(clock, backoff, lambda error, _: self._failed(error)))
        self.run = self._worker.run
        self._idle = asyncio.Event()
        self._idle.set()
        self._using = asyncio.Lock()
        self._failing = False

    def use(self, outbox: Outbox) -> None:
        """Use this outbox from now on."""
        self._outbox = outbox
        self._pending.kept = True

    def wake(self) -> None:
        """Check for writes to add or remove. On the loop's thread."""
        if self._outbox is not None:
            self._idle.clear()
            self._worker.wake()

    async def finish(self) -> None:
        """Before closing, remove what can be removed."""
        if self._outbox is not None:
            try:
                await self._store(self._outbox)
                if self._pending.to_refuse() or self._pending.to_remove():
                    await self._store(self._outbox)
            except Error as error:
                logger.warning("the outbox could not be tidied: %s", error)

    def may_be_sent(self, one: PendingWrite[Receipt]) -> bool:
        """Whether the write is durable or cannot be made durable."""
        return self._failing or one.storing in (Storing.KEPT, Storing.UNKEPT)

    async def mark_sent(self, ids: Sequence[WriteId]) -> int:
        """Record that these writes, oldest first, are about to be sent; returns how many may be. May wait for the disk
        to work."""
        outbox = self._outbox
        if outbox is None:
            return len(ids)
        if not self._notes_first():
            error = await self._try_to_mark(outbox, ids)
            if error is not None:
                self._health.report(Failure("outbox", error.object, error, "sent nevertheless"))
            return len(ids)
        retries = Retries(self._clock, self._backoff, lambda error, _: self._not_sent(retries.failures, error))
        while True:
            async with self._using:  # nothing is being added meanwhile, so each write is either in the outbox or not
                error = await self._try_to_mark(outbox, ids)
                unnoted = (at for at, id in enumerate(ids) if id in outbox and not outbox.is_noted(id))
                count = next(unnoted, len(ids))
                self._remember_unkept(outbox, ids[:count])
            if count or error is None:
                return count
            await retries.wait(error)

    def _remember_unkept(self, outbox: Outbox, ids: Sequence[WriteId]) -> None:
        sent = SentUnkept(self._log.date, self._log.position)
        for id in ids:
            one = self._pending.open.get(id)
            if one is not None and id not in outbox:
                one.sent_unkept = one.sent_unkept or sent

    async def _try_to_mark(self, outbox: Outbox, ids: Sequence[WriteId]) -> Error | None:
        try:
            await outbox.mark_sent(ids, self._log.date, self._log.position)
        except Error as error:
            return error
        return None

    def _not_sent(self, failures: int, error: Error) -> None:
        if failures == 1:
            self._health.report(Failure("outbox", error.object, error, "not sent before the disk has noted that"))

    async def settle(self) -> None:
        """Wait until all requested changes are on disk; stops waiting on a disk error."""
        await self._idle.wait()

    async def _work(self) -> None:
        if self._outbox is None:
            return
        async with self._using:
            await self._store(self._outbox)
        self._failing = False
        if not self._worker.is_wanted:
            self._idle.set()

    def _failed(self, error: Error) -> None:
        self._failing = True
        self._idle.set()
        self._sendable()
        self._health.report(Failure("outbox", error.object, error, "pending writes are not on disk"))

    async def _store(self, outbox: Outbox) -> None:
        over, refused, new = self._pending.to_remove(), self._pending.to_refuse(), self._pending.to_store()
        if new:
            self._pending.store_begun(new)
            await self._mark_coming(outbox, new)
            await outbox.add([(one.write, one.texts) for one in new], self._by)
            self._stored(new)
        await outbox.refuse([one.id for one in refused])
        await outbox.remove([one.id for one in (*over, *refused)])
        self._pending.removed([*over, *refused])

    def _stored(self, new: Sequence[PendingWrite[Receipt]]) -> None:
        for one in new:
            if not self._pending.stored(one):
                self.wake()  # dropped meanwhile
            elif not one.is_over:
                one.receipt.mark_stored()
                self._sendable()

    async def _mark_coming(self, outbox: Outbox, new: Sequence[PendingWrite[Receipt]]) -> None:
        """For writes about to be added that were sent while the disk refused them, record that they were sent."""
        unkept = [(at, one.sent_unkept) for at, one in enumerate(new) if one.sent_unkept is not None]
        if unkept:
            await outbox.mark_coming(unkept[-1][0] + 1, *unkept[0][1])
