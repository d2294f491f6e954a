"""Sending what is pending: uploads first, then commits, oldest first, until the log holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import NamedTuple

from rxmps3.errors import Error, InvalidInput, OutcomeUnknown, Rejected, unforeseen
from rxmps3.local.outbox import Restored
from rxmps3.log.protocol import Log
from rxmps3.model.state import Amended, ContentObject, Refused, Write, WriteId
from rxmps3.model.writing import contents_of, with_contents
from rxmps3.replica.conditions import ConditionChecker
from rxmps3.replica.dataflow import Dataflow
from rxmps3.replica.fairness import Fairness
from rxmps3.replica.health import Health
from rxmps3.replica.outbox_worker import OutboxWorker
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.shared_values import SharedValues
from rxmps3.replica.values import Values
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.event_loop import EventLoop
from rxmps3.runtime.gather import all_of
from rxmps3.storage.base import Stored

__all__ = ["Committer"]

TRUST_UPLOADS_FOR = timedelta(hours=6)
"""An upload older than this, by the server's clock, is made again under another name before it is committed: the
collector deletes values that nothing names once they are a day old."""
FORGOTTEN_AFTER = timedelta(days=29)
"""The log may forget a writer that is silent for 30 days."""
JUDGE_EVERY = timedelta(days=1)
"""How often, by the local clock, a client with unsettled writes asks whether they have become too old."""
_UPLOADS_AT_ONCE = 64
"""The values of so many writes at most are under way, the oldest: an upload that has failed is not to queue up behind
those of all later writes, which wait for it."""
ASK_AFTER = timedelta(hours=1)
"""An upload that is older than this by a local clock has its age checked by the server's."""


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
        loop: EventLoop,
        clock: Clock,
        log: Log,
        dataflow: Dataflow,
        values: Values,
        health: Health,
        backoff: Backoff,
        receipts: dict[WriteId, Receipt],
        storer: OutboxWorker,
        basing: ConditionChecker,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._log = log
        self._dataflow = dataflow
        self._values = values
        self._health = health
        self._backoff = backoff
        self._receipts = receipts
        self._outbox_worker = storer
        self._basing = basing
        self._sent: dict[WriteId, datetime | None] = {}
        self._judged_at = clock.now()
        self._wanted = asyncio.Event()
        self._uploaded: dict[WriteId, Upload] = {}
        self._uploading: set[WriteId] = set()
        self._committing: dict[WriteId, Write] = {}
        self._shared: dict[WriteId, SharedValues] = {}
        self._fairness = Fairness()
        health.on_recovery(self.wake)

    def wake(self) -> None:
        """Something may be ready to be sent. On the loop's thread."""
        self._wanted.set()

    def foreign_seen(self) -> None:
        """Another writer has committed."""
        self._fairness.foreign_seen(self._clock.monotonic())

    def forget(self, id: WriteId, *, committed: bool) -> None:
        """A write has met its end."""
        upload, write = self._uploaded.pop(id, None), self._committing.pop(id, None)
        if committed and upload is not None and write is not None and self._is_old(upload, self._log.date):
            contents = contents_of(write)
            if self._values.placing.repeatable:
                for content in contents:
                    self._values.hold_again(content)
                self._loop.spawn(self._mend(contents), "upload")
        self._sent.pop(id, None)
        self._shared.pop(id, None)
        self._outbox_worker.forget(id, committed=committed)

    def restored(self, restored: Restored) -> None:
        """A write of an earlier process is pending again."""
        if restored.sent is not None:
            self._sent[restored.write.id] = restored.sent
            self._judged_at = self._clock.now() - JUDGE_EVERY

    async def run(self, ready_to_start: Awaitable[None]) -> None:
        """Commit whenever something is ready."""
        await ready_to_start
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            ready: list[Write] = []
            placing = self._values.placing
            reached = self._log.reached
            try:
                await self._log.open()
                if not self._dataflow.view.pending:
                    continue
                await self._log.ensure_dated()
                await self._give_up_the_unknowable()
                await self._let_others()
                ready = self._ready()
                if await self._uploads_have_aged(ready):
                    ready = self._ready()
                ready = self._about_to_send(await self._standing(ready))
                if not ready:
                    continue
                ready = ready[: await self._outbox_worker.mark_sent([write.id for write in ready])]
                await self._log.prepare()
                if self._values.placing is not placing:
                    self.wake()
                    continue  # the manifest turned out to be in another protocol: they are uploaded for that one first
                pending = self._still_pending(ready)  # a look may have found some of them in the log meanwhile
                ready = await self._standing(pending)  # what is known of the log now is what the commit is to follow
                if not ready:
                    continue
                began = self._clock.monotonic()
                await self._log.commit(ready)
                won = ready[0].id not in self._dataflow.view.pending
                self._fairness.ended(self._clock.monotonic(), began, won=won)
            except Rejected as error:
                for write in ready:
                    self._dataflow.refusals.on_next(Refused(write.id, error))
                continue
            except Exception as error:
                failures = failures + 1 if self._log.reached == reached else 1  # a try that got further counts anew
                await self._back_off("commit", failures, unforeseen(error))
                self.wake()
                continue
            failures = 0
            self._health.answered()
            if self._dataflow.view.pending:
                self.wake()

    async def _standing(self, writes: list[Write]) -> list[Write]:
        """Of the oldest pending writes those up to the first that rests on something else than what is there.

        If it is the first of all, it is refused or made anew, and the next turn sees what is left.
        """
        standing = self._basing.standing(writes)
        if writes and not standing:
            self._fairness.passed()
            for id in await self._basing.reconsider():
                self._uploaded.pop(id, None)  # its values are others now
            self.wake()
        return standing

    def _about_to_send(self, ready: list[Write]) -> list[Write]:
        """Those that are still pending; from now on they cannot be taken back."""
        with self._dataflow.lock:
            still = self._still_pending(ready)
            for write in still:
                self._sent.setdefault(write.id, self._log.date)
                if write.id in self._uploaded:
                    self._committing[write.id] = write
        return still

    def _still_pending(self, writes: list[Write]) -> list[Write]:
        pending = self._dataflow.view.pending
        return [pending[write.id].write for write in writes if write.id in pending]

    def was_sent(self, id: WriteId) -> bool:
        """Whether the write was given to the storage, so that it may be in the log already."""
        return id in self._sent

    async def _let_others(self) -> None:
        """Beside other writers, wait a moment by chance, and then aim at the end of the log as it is by then."""
        seconds = self._fairness.wait(self._clock.monotonic(), self._clock.rng)
        if seconds > 0:
            await self._clock.sleep(seconds)
            if self._fairness.contended:
                await self._log.read()

    def _ready(self) -> list[Write]:
        """The pending writes, oldest first, up to the first whose values are not all uploaded; starts the uploads."""
        ready: list[Write] = []
        waiting = False
        in_order = self._values.placing.in_order
        arriving: set[str] = set()
        for write in self._dataflow.view.queue():
            contents = contents_of(write)
            if contents and write.id not in self._uploaded:
                waiting = True
                behind = in_order and not arriving.isdisjoint(write.update)
                arriving.update(write.update)
                if len(self._uploading) >= _UPLOADS_AT_ONCE:
                    break
                if write.id not in self._uploading and not behind:
                    self._uploading.add(write.id)
                    self._loop.spawn(self._upload(write.id, contents), "upload")
            elif not waiting:
                waiting = not self._outbox_worker.may_be_sent(write.id)
                if not waiting:
                    ready.append(write)
        return ready

    async def _give_up_the_unknowable(self) -> None:
        """Never resend what was sent so long ago that the log may have forgotten its writer's number."""
        if not self._sent or self._clock.now() - self._judged_at < JUDGE_EVERY:
            return
        now = await self._log.server_time()
        self._judged_at = self._clock.now()
        writers = self._dataflow.view.confirmed.writers
        for id, sent in list(self._sent.items()):
            if sent is not None and now - sent >= FORGOTTEN_AFTER and id.writer not in writers:
                unknown = OutcomeUnknown(
                    f"sent on {sent:%Y-%m-%d}; whether it was committed cannot be told any more: it is not sent again",
                    operation="commit",
                    object=f"write {id.version}",
                    remedy="compare the keys' values and put them again if need be",
                )
                self._dataflow.refusals.on_next(Refused(id, unknown))

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
        aged = [
            write  # unless it met its end meanwhile
            for write in doubtful
            if (upload := self._uploaded.get(write.id)) is not None and self._is_old(upload, now)
        ]
        for write in aged:
            del self._uploaded[write.id]
            self._dataflow.writes.on_next(Amended(self._values.placing.again(write, self._clock.new_id(6))))
        return bool(aged)

    def _is_old(self, upload: Upload, now: datetime | None) -> bool:
        return upload.date is not None and now is not None and now - upload.date >= TRUST_UPLOADS_FOR

    async def _mend(self, contents: tuple[ContentObject, ...]) -> None:
        """Store values again under the names that the log has for them.

        They were young when their commit was sent and old when it arrived: a collector may have found them unused.
        """
        failures = 0
        try:
            while True:
                try:
                    await all_of(map(self._values.upload, contents))
                    return
                except Exception as error:
                    failures += 1
                    await self._back_off("upload", failures, unforeseen(error))
        finally:
            for content in contents:
                self._values.release(content)

    async def _upload(self, id: WriteId, contents: tuple[ContentObject, ...]) -> None:
        """Upload the values of one write, in parallel, for as long as it takes."""
        failures = 0
        try:
            while id in self._receipts:
                try:
                    await self._log.prepare()
                    if not self._is_to_upload(id, contents):
                        return
                    # noted before it is sent, since it may be old already when its answer is heard
                    wall, monotonic = self._clock.now(), self._clock.monotonic()
                    answers = await self._upload_all(id, contents)
                    stored = [answer for answer in answers if answer is not None]
                    if len(stored) < len(contents) or not self._is_to_upload(id, contents):
                        return
                    self._name_uploaded(id, contents, stored)
                except Rejected as error:
                    self._dataflow.refusals.on_next(Refused(id, error))
                except InvalidInput as error:
                    rejected = Rejected(f"the storage does not take a value of it: {error}", operation="upload")
                    rejected.__cause__ = error
                    self._dataflow.refusals.on_next(Refused(id, rejected))
                except Exception as error:
                    failures += 1
                    await self._back_off("upload", failures, unforeseen(error))
                else:
                    dates = [answer.date for answer in stored if answer.date is not None]
                    self._uploaded[id] = Upload(min(dates, default=None), wall, monotonic)
                    return
        finally:
            self._uploading.discard(id)
            self.wake()

    async def _upload_all(self, id: WriteId, contents: tuple[ContentObject, ...]) -> list[Stored | None]:
        shared = self._shared.get(id)
        if shared is None:
            return await all_of(map(self._values.upload, contents))
        answers = await shared.upload(lambda: all_of(map(self._values.upload, contents)))
        self._shared.pop(id, None)  # if they have to be stored once more, this write does so for itself
        return answers

    def share(self, id: WriteId, shared: SharedValues) -> None:
        """The values of a write are those of other manifests' writes, too."""
        self._shared[id] = shared

    def _is_to_upload(self, id: WriteId, contents: tuple[ContentObject, ...]) -> bool:
        """Whether the write is still pending with these values: not taken back, nor planned anew."""
        pending = self._dataflow.view.pending.get(id)
        return pending is not None and contents_of(pending.write) == contents

    def _name_uploaded(self, id: WriteId, contents: tuple[ContentObject, ...], stored: list[Stored]) -> None:
        """Let the write name its values as the storage has them."""
        placing = self._values.placing
        named = tuple(placing.uploaded(content, answer) for content, answer in zip(contents, stored, strict=True))
        if named != contents:
            write = self._dataflow.view.pending[id].write
            self._dataflow.writes.on_next(Amended(with_contents(write, named)))

    async def _back_off(self, operation: str, failures: int, error: Error) -> None:
        wait = self._backoff.wait(failures, error, self._clock.rng)
        self._health.failed(operation, error, wait)
        await self._clock.sleep(wait)
