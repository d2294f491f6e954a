"""One manifest as this process follows and extends it: the loop that feeds `step`.

::

    put, log, refusals ──▶ events ──▶ folded(step) ──▶ turns ──▶ router ──▶ streams, receipts

The view has one writer: `_submit`, which steps it under a lock, on whatever thread, and then lets the turns be
delivered on the loop's thread. Two tasks only produce events: one reads the log when asked to look, one commits
what is pending. No decision about the data is made here.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from reactivex import Observable, Subject
from reactivex import operators as ops
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable, SerialDisposable

from rxmps3 import jsontext
from rxmps3.clock import Clock, Random, spawn
from rxmps3.errors import (
    Closed,
    Error,
    InvalidValue,
    NotSent,
    Overloaded,
    Rejected,
    Throttled,
    Unavailable,
    Unsupported,
    WrongLoop,
)
from rxmps3.failures import Failure
from rxmps3.layout import Layout, check_key, value_name
from rxmps3.log.base import Log
from rxmps3.log.sequenced import SequencedLog
from rxmps3.missing import MISSING
from rxmps3.options import Options, Status, merged
from rxmps3.receipt import Receipt
from rxmps3.retry import Backoff
from rxmps3.routing import Router, Turn
from rxmps3.sortedkeys import SortedKeys
from rxmps3.state import (
    Committed,
    ContentObject,
    Entry,
    Event,
    Inline,
    Refused,
    Settled,
    Step,
    View,
    Write,
    WriteId,
    Wrote,
    step,
)
from rxmps3.storage.base import Storage
from rxmps3.storage.metered import MeteredStorage
from rxmps3.ticks import Pace, timer
from rxmps3.turns import Turns, folded
from rxmps3.values import Values

__all__ = ["Replica"]

logger = logging.getLogger("rxmps3")

MAX_INLINE_PER_WRITE = 256 << 10
"""A write whose inline bytes pass this gets its largest values as objects."""
MAX_WRITE_KEYS = 20_000
"""One atomic write names at most this many keys, so that its log entry stays readable."""
_FAIRNESS_WINDOW = 2.0


class Replica:
    """One manifest, followed and extended. Made, started and closed on one event loop.

    Args:
        storage: where the bucket is; several replicas may share one.
        manifest: its name.
        clock: time, ids and chance.
        options: how to behave.
    """

    def __init__(self, storage: Storage, manifest: str, clock: Clock, options: Options) -> None:
        self.manifest = manifest
        self.clock = clock
        self.options = options
        self.backoff = Backoff(cap=max(options.interval, 1.0))
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._storage = MeteredStorage(storage)
        self.layout = Layout(manifest, storage.name_limit)
        self.values = Values(self._storage, self.layout, options.cache_bytes)
        self.writer = clock.new_id()
        self._log: Log = SequencedLog(
            self._storage, self.layout, clock, writer=self.writer, by=options.by, deliver=self._submit
        )

        self._lock = threading.RLock()
        self._number = 0
        self._latest = Turn(0, Step(View()))
        self._keys = SortedKeys()
        self._receipts: dict[WriteId, Receipt] = {}
        self.router = Router()
        self._turns: Turns[Turn] = Turns(self._call_soon)
        self._events: Subject[Event] = Subject()
        self._events.pipe(
            folded(_next_turn, self._latest),
            ops.do_action(self._keep),
            self._turns,
        ).subscribe(self._deliver)

        self.failures: Subject[Failure] = Subject()
        self.statuses: Subject[Status] = Subject()
        self._status = Status()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.completed: Subject[None] = Subject()

        self._look_wanted = asyncio.Event()
        self._lookers: list[asyncio.Future[None]] = []
        self._looked_at: float | None = None
        self._hold_until = 0.0
        self._pace = Pace(options.interval)
        self._demands = 0
        self._ticking = SerialDisposable()
        self._commit_wanted = asyncio.Event()
        self._uploaded: set[WriteId] = set()
        self._uploading: set[WriteId] = set()
        self._foreign_at = -_FAIRNESS_WINDOW
        self._last_commit_took = 0.0

    # -- the view --------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The view as of now. From any thread."""
        return self._latest.step.view

    def latest(self) -> tuple[int, View]:
        """The number of the newest turn, delivered or not, and the view after it."""
        latest = self._latest
        return latest.number, latest.step.view

    def keys(self, prefix: str = "") -> list[str]:
        """The present keys that start with ``prefix``, sorted by code point. From any thread."""
        with self._lock:
            return self._keys.with_prefix(prefix)

    def receipts(self, view: View) -> tuple[Receipt, ...]:
        """The receipts of a view's pending writes that have not settled since, oldest first."""
        receipts = (self._receipts.get(write.id) for write in view.queue())
        return tuple(receipt for receipt in receipts if receipt is not None)

    def _submit(self, event: Event) -> None:
        """The only place where the view moves. Raises `Corrupt` if the event cannot follow what is known."""
        with self._lock:
            self._events.on_next(event)
        self._turns.run()

    def _keep(self, turn: Turn) -> None:
        self._latest = turn
        changes = turn.step.changes
        gone = [change.key for change in changes if change.before is not None and change.after is None]
        new = [change.key for change in changes if change.before is None and change.after is not None]
        self._keys.remove(gone)
        self._keys.add(new)

    def _deliver(self, turn: Turn) -> None:
        event = turn.step.event
        self.router.deliver(turn)
        for settled in turn.step.effects:
            self._settle(settled)
        if isinstance(event, Committed):
            self._pace.active()
            if event.version.writer != self.writer:
                self._foreign_at = self.clock.monotonic()
        self._tell_status()

    def _settle(self, settled: Settled) -> None:
        receipt = self._receipts.pop(settled.id, None)
        self._uploaded.discard(settled.id)
        if receipt is None:
            return
        for content in receipt.contents:
            self.values.release(content)
        receipt.settle(settled.error)
        if settled.error is not None:
            self.loop.call_soon(self._report_unseen, receipt)

    def _report_unseen(self, receipt: Receipt) -> None:
        error = receipt.unseen_failure
        if error is not None:
            self.report(Failure("put", f"keys {', '.join(map(repr, receipt.keys))}", error, "nobody awaited it"))

    # -- writing ---------------------------------------------------------------------------------------------

    def write_nowait(self, values: Mapping[str, Any]) -> Receipt:
        """Make one atomic write and step the view; from any thread.

        Args:
            values: what each key is to hold; `MISSING` deletes it.

        Raises:
            InvalidKey, InvalidValue: nothing was changed.
            Closed, Overloaded: likewise.
        """
        self.check_open("put")
        texts = self._encode(values)
        with self._lock:
            if len(self.view.pending) >= self.options.max_pending:
                raise Overloaded(
                    f"{len(self.view.pending)} writes wait for their commit",
                    operation="put",
                    object=f"manifest {self.manifest!r}",
                    remedy="await some receipts, or raise max_pending",
                )
            self._number += 1
            id = WriteId(self.writer, self._number)
            update, contents = _plan(id.version, texts, self.options.inline_limit)
            for content, text in contents:
                self.values.hold(content, text)
            receipt = Receipt(id.version, tuple(texts), tuple(content for content, _ in contents))
            self._receipts[id] = receipt
            write = Write(id, self.clock.new_id(), update)
            self._events.on_next(Wrote(write, self.options.by))
        self._turns.run()
        self.on_loop(self._commit_wanted.set)
        return receipt

    def _encode(self, values: Mapping[str, Any]) -> dict[str, str | None]:
        if not values:
            raise InvalidValue("a write names at least one key", operation="put_all")
        if len(values) > MAX_WRITE_KEYS:
            raise InvalidValue(
                f"one atomic write names at most {MAX_WRITE_KEYS:,} keys, not {len(values):,}",
                operation="put_all",
                remedy="split it",
            )
        limit = self.layout.key_limit
        return {
            check_key(key, limit): None if value is MISSING else jsontext.encode(value, f"value of key {key!r:.80}")
            for key, value in values.items()
        }

    async def _commit_forever(self) -> None:
        failures = 0
        while True:
            await self._commit_wanted.wait()
            self._commit_wanted.clear()
            ready = self._ready_writes()
            if not ready:
                continue
            started, before = self.clock.monotonic(), len(self.view.pending)
            try:
                await self._log.commit(ready)
            except Unsupported as error:
                self._refuse(ready, error)
            except Error as error:
                failures += 1
                await self._back_off("commit", failures, error)
                self._commit_wanted.set()
                continue
            failures = 0
            self._last_commit_took = self.clock.monotonic() - started
            self._answered()
            lost = len(self.view.pending) >= before
            if self.view.pending:
                self._commit_wanted.set()
            if lost or self.clock.monotonic() - self._foreign_at < _FAIRNESS_WINDOW:
                await self.clock.sleep(self.clock.rng.uniform(0, min(1.0, self._last_commit_took)))

    def _ready_writes(self) -> list[Write]:
        """The pending writes, oldest first, up to the first whose values are not all uploaded yet."""
        ready: list[Write] = []
        waiting = False
        for write in self.view.queue():
            contents = self._contents(write)
            if contents and write.id not in self._uploaded:
                waiting = True
                if write.id not in self._uploading:
                    self._uploading.add(write.id)
                    self.spawn(self._upload(write.id, contents), "upload")
            elif not waiting:
                ready.append(write)
        return ready

    def _contents(self, write: Write) -> tuple[ContentObject, ...]:
        receipt = self._receipts.get(write.id)
        return receipt.contents if receipt is not None else ()

    async def _upload(self, id: WriteId, contents: tuple[ContentObject, ...]) -> None:
        """Upload the values of one write, in parallel, for as long as it takes."""
        failures = 0
        try:
            while id in self._receipts:
                try:
                    await self._log.prepare()
                    async with asyncio.TaskGroup() as group:
                        for content in contents:
                            group.create_task(self.values.upload(content))
                except* Unsupported as refused:
                    error = _first(refused)
                    self._submit(Refused(id, _rejection(error)))
                except* Error as failed:
                    failures += 1
                    await self._back_off("upload", failures, _first(failed))
                else:
                    self._uploaded.add(id)
                    self._commit_wanted.set()
                    return
        finally:
            self._uploading.discard(id)

    def _refuse(self, writes: list[Write], error: Error) -> None:
        for write in writes:
            self._submit(Refused(write.id, _rejection(error)))

    # -- reading ---------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Read to the end of the log, by a look that begins after this call.

        Raises:
            Unavailable, AccessDenied, BucketNotFound, Corrupt, Unsupported: what the storage or the log said.
        """
        self.check_open("get")
        self.check_loop()
        looked = self.loop.create_future()
        self._lookers.append(looked)
        self._look_wanted.set()
        await looked

    async def look_if_stale(self) -> None:
        """Look if the last look is older than the poll interval; what is loaded is good enough if that fails."""
        if self._looked_at is not None and self.clock.monotonic() - self._looked_at < self.options.interval:
            return
        try:
            await self.look()
        except Error:
            if not self.view.loaded or self._closed:
                raise

    async def _look_forever(self) -> None:
        failures = 0
        while True:
            await self._look_wanted.wait()
            self._look_wanted.clear()
            lookers, self._lookers = self._lookers, []
            began = self.clock.monotonic()
            try:
                await (self._log.read() if self.view.loaded else self._log.open())
            except Error as error:
                failures += 1
                heard = [looker for looker in lookers if not looker.done()]
                for looker in heard:
                    looker.set_exception(error)
                wait = self.backoff.wait(failures, error, self.clock.rng)
                if isinstance(error, Throttled) or not error.retriable:
                    self._hold_until = self.clock.monotonic() + wait
                self._trouble("poll", error, wait, heard=bool(heard))
            else:
                failures = 0
                self._looked_at = began
                self._answered()
                for looker in lookers:
                    if not looker.done():
                        looker.set_result(None)

    def demand(self) -> DisposableBase:
        """Keep looking at the pace of the ticks until disposed; however many demand it, there is one poller."""
        self._demands += 1
        if self._demands == 1:
            self._start_ticking()

        def release() -> None:
            self._demands -= 1
            if not self._demands:
                self._ticking.disposable = Disposable()

        return Disposable(release)

    def _start_ticking(self) -> None:
        if self._closed:
            return
        poll = self.options.poll
        if isinstance(poll, Observable):
            self._look_wanted.set()
            self._ticking.disposable = poll.subscribe(
                lambda _: self.on_loop(self._look_wanted.set),
                lambda error: self.on_loop(lambda: self._fall_back(error)),
                lambda: self.on_loop(lambda: self._fall_back(None)),
            )
        else:
            self._use_timer()

    def _use_timer(self) -> None:
        ticks = timer(self.clock, self._pace, self.spawn, lambda: self._hold_until - self.clock.monotonic())
        self._ticking.disposable = ticks.subscribe(lambda _: self._look_wanted.set())

    def _fall_back(self, error: Exception | None) -> None:
        if not self._demands or self._closed:
            return
        cause = error or Unavailable("the source of ticks completed", operation="poll")
        self.report(
            Failure(
                "poll", f"manifest {self.manifest!r}", cause, f"using a timer of {self.options.interval} s from now on"
            )
        )
        self._use_timer()

    # -- how it goes -----------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """The status as of now. From any thread."""
        meter = self._storage.meter
        return replace(
            self._status,
            loaded=self.view.loaded,
            pending=len(self.view.pending),
            head=self._log.position,
            requests=meter.requests,
            bytes_up=meter.bytes_up,
            bytes_down=meter.bytes_down,
        )

    def report(self, failure: Failure) -> None:
        """Tell of trouble on the log and to the observers of failures. On the loop's thread."""
        logger.warning("%s", failure)
        try:
            self.failures.on_next(failure)
        except Exception:
            logger.exception("an observer of errors raised")

    async def _back_off(self, operation: str, failures: int, error: Error) -> None:
        wait = self.backoff.wait(failures, error, self.clock.rng)
        self._trouble(operation, error, wait)
        await self.clock.sleep(wait)

    def _trouble(self, operation: str, error: Error, wait: float, *, heard: bool = False) -> None:
        """Note a failure; report it unless a caller has heard of it or it is the same as before."""
        known = self._status.last_error
        if not heard and (known is None or str(known) != str(error)):
            self.report(Failure(operation, f"manifest {self.manifest!r}", error, "it is tried again"))
        since = self._status.since if self._status.online is False else self.clock.now()
        self._status = replace(self._status, online=False, since=since, last_error=error, next_try=wait)
        self._tell_status()

    def _answered(self) -> None:
        if self._status.online is not True:
            self._status = replace(self._status, online=True, since=self.clock.now(), last_error=None, next_try=None)
            self._commit_wanted.set()
            self._tell_status()

    def _tell_status(self) -> None:
        if self.statuses.observers:
            self.statuses.on_next(self.status)

    # -- threads, tasks, life --------------------------------------------------------------------------------

    @property
    def rng(self) -> Random:
        return self.clock.rng

    def check_open(self, operation: str) -> None:
        """Raise `Closed` if it is."""
        if self._closed:
            raise Closed("the database is closed", operation=operation, object=f"manifest {self.manifest!r}")

    def check_loop(self) -> None:
        """Raise `WrongLoop` if another event loop than this replica's runs on the calling thread."""
        if threading.get_ident() == self._thread:
            try:
                running = asyncio.get_running_loop()
            except RuntimeError:
                return
            wrong = running is not self.loop
        else:
            wrong = asyncio._get_running_loop() is not None  # pyright: ignore[reportPrivateUsage]
        if wrong:
            raise WrongLoop(
                "this database belongs to another event loop",
                object=f"manifest {self.manifest!r}",
                remedy="open one on this loop, or use put, delete and the blocking facade from other threads",
            )

    def on_loop(self, action: Callable[[], None]) -> None:
        """Run on the loop's thread: at once if called there, else soon; nothing once the loop is closed."""
        if threading.get_ident() == self._thread:
            action()
        else:
            self._call_soon(action)

    def _call_soon(self, action: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(action)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that ends with the replica; a failure that it does not handle is reported."""
        task = spawn(coroutine, f"rxmps3 {name} {self.manifest}")
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s ended by an error that is not foreseen", task.get_name(), exc_info=error)
            if isinstance(error, Exception):
                self.report(
                    Failure(task.get_name(), f"manifest {self.manifest!r}", error, "it has stopped: a fault in rxmps3")
                )

    def start(self) -> None:
        """Begin to serve looks and to commit; no request is made yet unless ``live``."""
        self.spawn(self._look_forever(), "look")
        self.spawn(self._commit_forever(), "commit")
        if self.options.live:
            self.demand()

    def share(self, options: Options) -> None:
        """One more handle asks for this replica. Raises `InvalidOption` if it asks for other options."""
        was_live, interval = self.options.live, self.options.interval
        self.options = merged(self.options, options, f"manifest {self.manifest!r}")
        self._pace.interval = self.options.interval
        if self.options.live and not was_live:
            self.demand()
        if self.options.interval < interval and self._demands:
            self._start_ticking()

    async def close(self, timeout: float) -> None:
        """Commit what is pending, for at most ``timeout`` seconds, then end every task and stream.

        Raises:
            NotSent: some writes were not committed; ``keys`` names them.
        """
        if self._closed:
            return
        left = await self._flush(timeout)
        self._closed = True
        self._ticking.dispose()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        gone = Closed("the database was closed", object=f"manifest {self.manifest!r}")
        for looker in self._lookers:
            if not looker.done():
                looker.set_exception(gone)
        not_sent = NotSent(
            f"{len(left)} writes were not committed within {timeout} s, and no outbox on disk keeps them",
            keys=sorted({key for receipt in left for key in receipt.keys}),
            object=f"manifest {self.manifest!r}",
            remedy="open with local=DIR to keep them for the next start",
        )
        for receipt in left:
            receipt.settle(not_sent)
        for subject in (self.completed, self.failures, self.statuses):
            subject.on_completed()
        if left:
            raise not_sent

    async def _flush(self, timeout: float) -> list[Receipt]:
        waiting = [self.spawn(_until_done(receipt), "flush") for receipt in list(self._receipts.values())]
        if waiting:
            await asyncio.wait(waiting, timeout=timeout)
        return list(self._receipts.values())


async def _until_done(receipt: Receipt) -> None:
    try:
        await receipt
    except Error:
        pass


def _next_turn(last: Turn, event: Event) -> Turn:
    return Turn(last.number + 1, step(last.step.view, event))


def _plan(
    version: str, texts: Mapping[str, str | None], inline_limit: int
) -> tuple[dict[str, Entry | None], list[tuple[ContentObject, str]]]:
    """The update of a write, and the values that need an object: those over the limit, and then the largest of the
    rest until what stays inline fits a write."""
    sizes = {
        key: len(text) if text.isascii() else len(text.encode()) for key, text in texts.items() if text is not None
    }
    inline = {key: size for key, size in sizes.items() if size <= inline_limit}
    total = sum(inline.values())
    if total > MAX_INLINE_PER_WRITE:
        for key in sorted(inline, key=inline.__getitem__, reverse=True):
            total -= inline.pop(key)
            if total <= MAX_INLINE_PER_WRITE:
                break
    update: dict[str, Entry | None] = {}
    contents: list[tuple[ContentObject, str]] = []
    for key, text in texts.items():
        if text is None:
            update[key] = None
        elif key in inline:
            update[key] = Entry(version, Inline(text))
        else:
            content = ContentObject(value_name(key, version), Inline(text).sha256, sizes[key])
            update[key] = Entry(version, content)
            contents.append((content, text))
    return update, contents


def _rejection(error: Error) -> Rejected:
    rejected = Rejected(f"the write was refused and rolled back: {error}", operation="commit", remedy=error.remedy)
    rejected.__cause__ = error
    return rejected


def _first(group: BaseExceptionGroup[Error]) -> Error:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
