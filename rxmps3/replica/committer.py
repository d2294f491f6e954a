"""Sending pending writes: uploads first, then commits, oldest first, until they are in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta

from rxmps3.errors import Error, InvalidInput, OutcomeUnknown, Rejected
from rxmps3.log.protocol import EntryRefused, Log
from rxmps3.log.server_clock import MARGIN
from rxmps3.model.state import Amended, ContentObject, ManifestVersion, Refused, Write
from rxmps3.model.writing import contents_of, with_contents
from rxmps3.replica.conditions import ConditionChecker
from rxmps3.replica.dataflow import Dataflow
from rxmps3.replica.fairness import Fairness
from rxmps3.replica.health import Health
from rxmps3.replica.outbox_worker import OutboxWorker
from rxmps3.replica.pending import (
    FORGOTTEN_AFTER,
    Basis,
    Moment,
    PendingWrite,
    PendingWrites,
    Sending,
    Storing,
    Upload,
    Uploading,
)
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.values import Uploaded, Values
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.event_loop import EventLoop
from rxmps3.runtime.worker import Retries, Worker, persist, sleep_until

__all__ = ["Committer"]

TRUST_UPLOADS_FOR = timedelta(hours=6)
"""An upload older than this, by the server's clock, is made again under another name before it is committed: the
collector deletes values that nothing names once they are a day old."""
JUDGE_EVERY = timedelta(days=1)
"""How often, by the local clock, a client with unsettled writes asks whether they have become too old."""
_UPLOADS_AT_ONCE = 64
"""The values of so many writes at most are under way, the oldest: an upload that has failed is not to queue up behind
those of all later writes, which wait for it."""
_KEYS_NAMED = 5
ASK_AFTER = timedelta(hours=1)
"""An upload that is older than this by a local clock has its age checked by the server's. One that has failed for as
long goes on under another name: its first request may have arrived, and a collector may be deleting that object."""


class Committer:
    """Keeps one commit in flight while writes are pending.

    The writes of one client are committed in call order, so a write whose values are still being uploaded holds back
    the later ones; otherwise a reader could see an effect without its cause.
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
        pending: PendingWrites[Receipt],
        outbox_worker: OutboxWorker,
        conditions: ConditionChecker,
        writer: str,
        linear: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._log = log
        self._dataflow = dataflow
        self._values = values
        self._health = health
        self._backoff = backoff
        self._pending = pending
        self._outbox_worker = outbox_worker
        self._conditions = conditions
        self._judged_at = clock.now()
        self._turn_began = clock.monotonic(), clock.now()
        self._at_most: int | None = None  # so many writes are tried at once, after more were refused together
        self._retries = self._retrying("commit")
        self._worker = Worker(self._work, self._retries)
        self.wake = self._worker.wake
        self._linear = linear
        self._fairness = Fairness(writer)
        self._turning = asyncio.Lock()
        self._appeared: Callable[[], None] | None = None
        health.on_recovery(self.wake)

    def seen(self, versions: Iterable[ManifestVersion]) -> None:
        """Note versions of the log, own ones included."""
        now = self._clock.monotonic()
        for version in versions:
            self._fairness.seen(version.writer, now)
        if self._appeared is not None:
            self._appeared()

    def ended(self, one: PendingWrite[Receipt]) -> None:
        """Note that a write has ended."""
        if one.sending is not Sending.COMMITTED or one.upload is None or one.committing is None:
            return
        if self._values.placing.repeatable and (one.repeated or self._is_old(one.upload, self._log.date)):
            contents = contents_of(one.committing)
            for content in contents:
                self._values.hold_again(content)
            self._loop.spawn(self._mend(contents), "upload")

    def restored(self) -> None:
        """Note restored writes that an earlier process may have sent."""
        self._judged_at = self._clock.now() - JUDGE_EVERY

    async def run(self, ready_to_start: Awaitable[None]) -> None:
        """Commit whenever writes are ready."""
        await ready_to_start
        await self._worker.run()

    async def _work(self) -> None:
        reached = self._log.reached
        try:
            await self._commit_what_is_ready()
        except Exception:
            if self._log.reached != reached:
                self._retries.start_over()  # this attempt got further
            raise

    async def _commit_what_is_ready(self) -> None:
        ready: list[Write] = []
        placing = self._values.placing
        try:
            await self._log.open()
            if not self._dataflow.view.pending:
                return
            self._turn_began = self._clock.monotonic(), self._clock.now()
            await self._log.ensure_dated()
            await self._reject_unresendable()
            await self._take_turn(at_once=True)
            ready = self._ready()
            if await self._expire_old_uploads(ready):
                ready = self._ready()
            ready = self._about_to_send(await self._standing(ready[: self._at_most]))
            if not ready:
                return
            view = self._dataflow.view
            ready = ready[: await self._outbox_worker.mark_sent([write.id for write in ready])]
            await self._log.prepare()
            if self._values.placing is not placing:
                self.wake()
                return  # the manifest is in another protocol: they have to be uploaded for that one first
            if self._dataflow.view is not view:
                pending = self._still_pending(ready)  # a read may have found some of them in the log meanwhile
                ready = await self._standing(pending)  # the commit is to follow the log as known now
            if not ready:
                return
            if self._has_stood_still():
                self.wake()
                return  # what was found out about their age is too old by now
            began = self._clock.monotonic()
            try:
                await self._log.commit(ready)
            except EntryRefused as refused:
                self._entry_refused(ready, refused)
                return
            self._at_most = None
            mark = self._dataflow.view.confirmed.writers.get(ready[0].id.writer)
            won = mark is not None and mark.number >= ready[0].id.number
            self._fairness.ended(self._clock.monotonic(), began, won=won)
        except Rejected as error:
            for write in ready:
                self._dataflow.refusals.on_next(Refused(write.id, error))
            return
        self._health.answered()
        if self._dataflow.view.pending:
            self.wake()

    def _has_stood_still(self) -> bool:
        """Whether this turn has taken so long, by either local clock, that all has to be looked at again."""
        monotonic, wall = self._turn_began
        now = self._clock.monotonic()
        return now - monotonic >= ASK_AFTER.total_seconds() or self._clock.now() - wall >= ASK_AFTER

    def _entry_refused(self, writes: list[Write], refused: EntryRefused) -> None:
        """Refuse the write whose entry the storage does not take; of several that share one, find out which it is."""
        if len(writes) > 1:
            self._at_most = len(writes) // 2
        else:
            [write] = writes
            self._at_most = None
            rejected = Rejected(
                f"the storage does not take the log entry with it, of {refused.size:,} bytes: {refused.refusal.what}",
                operation="commit",
                object=f"write {write.id.version} of {_named(write)}",
                remedy="write less at once, or let the server take larger objects; it was rolled back",
            )
            rejected.__cause__ = refused.refusal
            self._dataflow.refusals.on_next(Refused(write.id, rejected))
        self.wake()

    async def _standing(self, writes: list[Write]) -> list[Write]:
        """The oldest pending writes, up to the first whose conditions do not hold.

        If that is the oldest of all, it is refused or recomputed, and the next turn handles the rest.
        """
        standing = self._conditions.standing(writes)
        if writes and not standing:
            self._fairness.passed()
            await self._conditions.reconsider()
            self.wake()
        return standing

    def _about_to_send(self, ready: list[Write]) -> list[Write]:
        """Mark the writes still pending as sent, up to the first whose objects have changed; they can no longer be
        cancelled."""
        with self._dataflow.lock:
            still = self._still_pending(ready)
            for at, write in enumerate(still):
                one = self._pending.open[write.id]
                if not one.is_uploaded or one.basis is Basis.UNKNOWN:
                    return still[:at]
                self._pending.sent(write, self._log.date)
        return still

    def _still_pending(self, writes: list[Write]) -> list[Write]:
        pending = self._dataflow.view.pending
        return [pending[write.id].write for write in writes if write.id in pending]

    async def turn(self) -> bool:
        """Wait for this client's turn among the writers of the log, so that what is decided next can be committed next.

        Returns:
            Whether the log was read to its end after the call.
        """
        read = await self._take_turn()
        self._fairness.passed()
        return read

    async def _take_turn(self, *, at_once: bool = False) -> bool:
        """As `turn`; the next call waits for another turn. In a log where no two writers compete there are no turns.

        Args:
            at_once: whether the commit follows at once.
        """
        read = False
        if not self._linear():
            return read
        async with self._turning:
            while (seconds := self._fairness.wait(self._clock.monotonic(), self._clock.rng)) > 0:
                await self._clock.sleep(seconds)
                read = self._fairness.in_company
                if read:
                    await self._log.read()
                if at_once and (chase := self._fairness.chase(self._clock.monotonic())) is not None:
                    await self._chase(*chase)
        return read

    async def _chase(self, seconds: float, interval: float) -> None:
        """Read on at short intervals, whatever is still under way, until two more versions are there: the first may be
        old, the second has appeared within an interval."""
        end, appeared = self._clock.monotonic() + seconds, 0
        while appeared < 2 and self._clock.monotonic() < end:
            self._loop.spawn(self._read_for_a_race(), "race")
            appeared += await sleep_until(self._clock, interval, self._on_appearance)

    def _on_appearance(self, action: Callable[[], None]) -> Callable[[], None]:
        """Call back with each version of the log, until the returned function is called."""
        self._appeared = action

        def forget() -> None:
            self._appeared = None

        return forget

    async def _read_for_a_race(self) -> None:
        try:
            await self._log.read()
        except Error:
            pass  # the commit that follows meets it too

    def _ready(self) -> list[Write]:
        """The pending writes, oldest first, up to the first whose values are not all uploaded. Starts missing
        uploads."""
        ready: list[Write] = []
        waiting = False
        in_order = self._values.placing.in_order
        arriving: set[str] = set()
        for write in self._dataflow.view.queue():
            one = self._pending.open.get(write.id)
            if one is None:
                continue  # it was dropped and will be rejected
            if not one.is_uploaded:
                waiting = True
                behind = in_order and not arriving.isdisjoint(write.update)
                arriving.update(write.update)
                if self._pending.uploading >= _UPLOADS_AT_ONCE:
                    break
                if one.uploading is Uploading.DUE and not behind:
                    self._pending.upload_begun(one)
                    self._loop.spawn(self._upload(one, contents_of(write)), "upload")
            elif not waiting:
                waiting = not self._outbox_worker.may_be_sent(one)
                if not waiting:
                    ready.append(write)
        return ready

    async def _reject_unresendable(self) -> None:
        """Reject writes sent so long ago that the log may have forgotten their writer's number: resending could
        duplicate them."""
        if self._clock.now() - self._judged_at < JUDGE_EVERY or not (sent := self._pending.all_sent()):
            return
        if not self._log.exists:
            return  # nothing was ever committed to it
        now = await self._log.server_time()
        self._judged_at = self._clock.now()
        writers = self._dataflow.view.confirmed.writers
        for one in sent:
            at, id = one.sent_at, one.id
            if at is not None and now - at >= FORGOTTEN_AFTER and id.writer not in writers:
                unknown = OutcomeUnknown(
                    f"sent on {at:%Y-%m-%d}; whether it was committed cannot be told any more: it is not sent again",
                    operation="commit",
                    object=f"write {id.version}",
                    remedy="compare the keys' values and put them again if need be",
                )
                self._dataflow.refusals.on_next(Refused(id, unknown))

    async def _expire_old_uploads(self, ready: list[Write]) -> bool:
        """Mark uploads so old that a collector may have deleted them, to be uploaded again."""
        uploaded = [one for write in ready if (one := self._pending.open[write.id]).upload is not None]
        doubtful = [one for one in uploaded if one.upload is not None and self._is_doubtful(one.upload.began)]
        if not doubtful:
            return False
        now = await self._log.server_time()
        with self._dataflow.lock:
            aged = [
                one  # unless it has ended meanwhile, or was planned again
                for one in doubtful
                if one.id in self._dataflow.view.pending and one.upload is not None and self._is_old(one.upload, now)
            ]
            for one in aged:
                self._pending.upload_aged(one)
                self._name_again(one)
        return bool(aged)

    def _name_again(self, one: PendingWrite[Receipt]) -> bool:
        """Give its objects other names, where the protocol can; returns whether it has. The caller holds the lock of
        the view."""
        write = self._dataflow.view.pending[one.id].write
        noted = one.sending is not Sending.MADE or one.storing is not Storing.UNKEPT
        again = self._values.placing.again(write, self._clock.new_id(6), noted=noted)
        before, after = contents_of(write), contents_of(again)
        if [content.name for content in after] == [content.name for content in before]:
            one.repeated = True
        else:
            one.tried = one.shared = None
        if after == before:
            return False
        for content, renamed in zip(before, after, strict=True):
            self._values.rename(content, renamed)
        one.contents = after
        self._dataflow.writes.on_next(Amended(again))
        return True

    def _now(self) -> Moment:
        return Moment(self._clock.now(), self._clock.monotonic())

    def _is_doubtful(self, began: Moment) -> bool:
        """Whether too much time may have passed since, by either local clock: one may be set back, the other may stop
        while the computer sleeps."""
        now = self._now()
        return now.monotonic - began.monotonic >= ASK_AFTER.total_seconds() or not (
            -MARGIN <= now.wall - began.wall < ASK_AFTER
        )

    def _is_old(self, upload: Upload, now: datetime | None) -> bool:
        """Whether it is too old to be trusted, by the server's clock or by this computer's; a date that lies before it
        tells nothing of its age."""
        if upload.date is None or now is None:
            return False
        passed = timedelta(seconds=self._clock.monotonic() - upload.began.monotonic)
        return not -MARGIN <= now - upload.date < TRUST_UPLOADS_FOR or passed >= TRUST_UPLOADS_FOR

    async def _mend(self, contents: tuple[ContentObject, ...]) -> None:
        """Store committed values again under the same names.

        They were recent when their commit was sent but old when it arrived, or were stored under a name that an earlier
        upload had. So a collector may have deleted them as unused.
        """
        try:
            await persist(lambda: self._values.upload(contents), self._retrying("upload"))
        finally:
            for content in contents:
                self._values.release(content)

    async def _upload(self, one: PendingWrite[Receipt], contents: tuple[ContentObject, ...]) -> None:
        """Upload the values of one write, in parallel, retrying until done."""
        try:
            await persist(lambda: self._try_to_upload(one, contents), self._retrying("upload"))
        finally:
            if one.uploading is Uploading.UNDER_WAY:
                self._pending.upload_ended(one)
            self.wake()

    async def _try_to_upload(self, one: PendingWrite[Receipt], contents: tuple[ContentObject, ...]) -> None:
        try:
            if not self._upload_is_current(one, contents):
                return
            await self._log.prepare()
            if not self._upload_is_current(one, contents):
                return
            tried = one.tried if one.shared is None else one.shared.tried
            if tried is not None and self._is_doubtful(tried):
                with self._dataflow.lock:
                    if not self._upload_is_current(one, contents) or self._name_again(one):
                        return
            began, answers = await self._upload_all(one, contents)
            stored = [answer for answer in answers if answer is not None]
            if len(stored) == len(contents):
                dates = [one.stored.date for one in stored if one.stored.date is not None]
                self._uploaded(one, contents, stored, Upload(min(dates, default=None), began))
        except Rejected as error:
            self._dataflow.refusals.on_next(Refused(one.id, error))
        except InvalidInput as error:
            rejected = Rejected(f"the storage does not take a value of it: {error}", operation="upload")
            rejected.__cause__ = error
            self._dataflow.refusals.on_next(Refused(one.id, rejected))

    async def _upload_all(
        self, one: PendingWrite[Receipt], contents: tuple[ContentObject, ...]
    ) -> tuple[Moment, list[Uploaded | None]]:
        """Upload the values, or have them uploaded by a write that shares them; returns when that began, since they may
        be old by the time the answer arrives."""
        one.tried = one.tried or self._now()
        shared, one.shared = one.shared, None  # if they have to be stored again, this write does so on its own

        async def upload() -> tuple[Moment, list[Uploaded | None]]:
            return self._now(), await self._values.upload(contents)

        if shared is None:
            return await upload()
        shared.tried = shared.tried or one.tried
        try:
            return await shared.upload(upload)
        except BaseException:
            one.shared = shared
            raise

    def _upload_is_current(self, one: PendingWrite[Receipt], contents: tuple[ContentObject, ...]) -> bool:
        """Whether the write is still pending with these values, neither cancelled nor planned again."""
        pending = self._dataflow.view.pending.get(one.id)
        return pending is not None and contents_of(pending.write) == contents

    def _uploaded(
        self, one: PendingWrite[Receipt], contents: tuple[ContentObject, ...], stored: list[Uploaded], upload: Upload
    ) -> None:
        """Record the stored objects in the write, if they are still its values."""
        placing = self._values.placing
        named = tuple(placing.uploaded(one.content, one.stored) for one in stored)
        with self._dataflow.lock:
            if not self._upload_is_current(one, contents):
                return
            if named != contents:
                write = self._dataflow.view.pending[one.id].write
                self._dataflow.writes.on_next(Amended(with_contents(write, named)))
            for content, known in zip(contents, named, strict=True):
                self._values.rename(content, known)
            one.contents = named
            self._pending.uploaded(one, upload)

    def _retrying(self, operation: str) -> Retries:
        return self._health.retries(operation, self._backoff)


def _named(write: Write) -> str:
    """The keys of a write, as many as are worth naming."""
    keys = sorted(write.update)
    more = f" and {len(keys) - _KEYS_NAMED:,} more" if len(keys) > _KEYS_NAMED else ""
    return ", ".join(f"{key!r:.80}" for key in keys[:_KEYS_NAMED]) + more
