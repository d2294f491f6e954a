"""One manifest as this process follows and extends it.

`Dataflow` is the pipeline, `Poller` reads the log, `Committer` appends to it, `Health` reports the status. Poller and
committer do the I/O and only feed the pipeline; no decision about the data is made here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase

from rxmps3.errors import (
    Closed,
    Corrupt,
    Error,
    Failure,
    Gone,
    NotSent,
    Replaced,
    Unavailable,
    failure_of_observer,
    unforeseen,
)
from rxmps3.local.directory import Local, OpensLocal
from rxmps3.local.outbox import Restored
from rxmps3.log.archive import Archive
from rxmps3.log.detect import ChosenLog
from rxmps3.log.protocol import Collector, Context, Kit, LogEvent, Placing, Planned, ProtocolName
from rxmps3.log.registry import is_there, open_kit
from rxmps3.model.state import (
    Committed,
    Entry,
    Loaded,
    ManifestVersion,
    Refused,
    Replayed,
    Settled,
    State,
    View,
)
from rxmps3.replica.bells import Bells, hung
from rxmps3.replica.claims import Claims
from rxmps3.replica.committer import Committer
from rxmps3.replica.compactor import Compactor
from rxmps3.replica.conditions import ConditionChecker
from rxmps3.replica.cost import Ledger
from rxmps3.replica.dataflow import Dataflow
from rxmps3.replica.health import Health
from rxmps3.replica.options import Options, Status, merged
from rxmps3.replica.outbox_worker import OutboxWorker
from rxmps3.replica.pending import PendingWrites, Shown
from rxmps3.replica.polling import Poller
from rxmps3.replica.receipt import Receipt
from rxmps3.replica.router import Router, Turn
from rxmps3.replica.state_saver import StateSaver
from rxmps3.replica.values import Values
from rxmps3.replica.versions import Reset
from rxmps3.replica.writer import Draft, WriteMaker
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock, Random
from rxmps3.runtime.event_loop import EventLoop
from rxmps3.runtime.interrupts import uninterrupted
from rxmps3.runtime.worker import Failed, Retries
from rxmps3.storage.base import Storage
from rxmps3.storage.confirmed import ConfirmedStorage
from rxmps3.storage.metered import MeteredStorage, Room

__all__ = ["Replica"]

R = TypeVar("R")
logger = logging.getLogger("rxmps3")

_CONFIRMING = 5.0


class Replica:
    """One manifest, followed and extended. Created, started and closed on one event loop.

    Args:
        storage: where the bucket is; several replicas may share one.
        manifest: its name.
        clock: time, ids and randomness.
        options: the replica's options.
        keep: opens the local directory; None keeps nothing on disk.
        ledger: counts the requests, together with those of other replicas.
    """

    def __init__(
        self,
        storage: Storage,
        manifest: str,
        clock: Clock,
        options: Options,
        keep: OpensLocal | None,
        ledger: Ledger,
    ) -> None:
        self.manifest = manifest
        self.clock = clock
        self.options = options
        self.backoff = Backoff(cap=min(max(options.interval, 1.0), 30.0))
        self._name = f"manifest {manifest!r}"
        self.ledger = ledger
        self._storage = MeteredStorage(storage, ledger.charge)
        self._confirmed = ConfirmedStorage(self._storage, self._report_damage)
        self._writer = clock.new_id()
        self.claims = Claims(clock)
        self._heard = False
        self._closed = False
        self._lost: Gone | Replaced | None = None
        self._acknowledged: deque[tuple[str, str, tuple[str, ...]]] = deque()  # position, version, keys
        self._saves: set[asyncio.Task[None]] = set()
        self._committing: asyncio.Task[None] | None = None
        self._storing: asyncio.Task[None] | None = None

        self._loop = EventLoop(self._name, self._task_failed)
        self._health = Health(self._name, clock, self._complete_status, self.take_turn)
        self._log = ChosenLog(
            options.protocol,
            self._open_kit,
            is_there(self._confirmed, manifest),
            self._switched,
            clock,
            self._name,
        )
        ledger.on_change(self._health.tell)
        self._poller = Poller(
            self._loop,
            clock,
            self._log,
            self._health,
            self.backoff,
            options,
            self.restored,
            ledger.wait_to_look,
        )
        self._bells = Bells(
            self._loop,
            clock,
            self._health,
            *hung(storage, manifest, options),
            self._poller.rung,
            self._poller.bells_changed,
        )
        self._poller.hear(self._bells)
        self._dataflow = Dataflow(
            self._loop,
            self._poller.ticks,
            self._poller.take_look,
            self._log.versions if options.kept is None else self._log.versions.pipe(ops.map(self._kept_part)),
            self._check_own_writes,
            lambda view, event: self._conditions.step(view, event),
        )
        self._dataflow.router.add_last(self._follow)
        self.values = Values(self.storage_for("values"), self._log.kit.placing, options.cache_bytes)
        self._pending: PendingWrites[Receipt] = PendingWrites()
        self._write_maker = WriteMaker(
            self._writer,
            self._name,
            clock,
            self._loop,
            self._dataflow,
            self.values,
            options,
            lambda: self._log.kit,
            self._pending,
            self._made,
            self.observer_raised,
        )
        self._keep = keep
        self._local: Local | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._restore_error: Error | None = None
        self._conditions = ConditionChecker(self._log, self._dataflow, self.values, self._pending, self._write_maker)
        self._outbox_worker = OutboxWorker(
            clock,
            self._log,
            self._health,
            self.backoff,
            self._pending,
            options.by,
            lambda: self._committer.wake(),
            lambda: self._log.kit.suspect is not None,
        )
        self._committer = Committer(
            self._loop,
            clock,
            self._log,
            self._dataflow,
            self.values,
            self._health,
            self.backoff,
            self._pending,
            self._outbox_worker,
            self._conditions,
            self._writer,
            lambda: self._log.kit.linear,
        )

        self._state_saver = StateSaver(
            clock,
            self._log,
            lambda: self.view.confirmed,
            lambda: self._local,
            self._pending,
            self.backoff,
            self._outbox_worker.wake,
        )
        self._health.on_failure(self._failed)
        self._health.on_recovery(self._recovered)
        self._health.on_answer(self._state_saver.confirmed)
        self._compactor = Compactor(clock, self._log, lambda: self.collector, self._health, self.backoff)

    # -- the protocol ----------------------------------------------------------------------------------------

    @property
    def protocol(self) -> ProtocolName:
        """The protocol of the manifest; the assumed one while the manifest does not exist."""
        return self._log.kit.protocol

    @property
    def placing(self) -> Placing:
        """How the protocol names and places values."""
        return self._log.kit.placing

    @property
    def collector(self) -> Collector:
        """The compaction of the manifest. Raises `NotLoaded` in a partial replica, whose state is not the log's."""
        self.check_loaded_under(("",), "compact")
        return self._log.kit.collector

    @property
    def storage(self) -> Storage:
        """The storage, for objects that are not part of the log."""
        return self._confirmed

    def storage_for(self, room: Room) -> ConfirmedStorage:
        """The storage, for requests that are charged to one room."""
        return ConfirmedStorage(self._storage.for_room(room), self._report_damage)

    @property
    def archive(self) -> Archive | None:
        """Access to past states; None where the protocol does not guarantee any."""
        return self._log.kit.archive

    def _open_kit(self, protocol: ProtocolName) -> Kit:
        context = Context(
            self._confirmed,
            self.manifest,
            self.clock,
            self._writer,
            self.options.by,
            lambda: self.view.confirmed,
            self.options.retention,
            self.options.versioning,
            self.options.kept,
        )
        return open_kit(protocol, context)

    def _switched(self, kit: Kit) -> None:
        """Switch to the detected protocol, which differs from the assumed one."""
        self._write_maker.plan_for(kit)

    # -- the view --------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The current view. Callable from any thread."""
        return self._dataflow.view

    @property
    def router(self) -> Router:
        """The router of turns by key."""
        return self._dataflow.router

    @property
    def versions(self) -> Observable[ManifestVersion | Reset]:
        """Each version of the log, in turn order."""
        return self._dataflow.versions

    def latest(self) -> tuple[int, View]:
        """The number of the newest turn, delivered or not, and the view after it."""
        return self._dataflow.latest()

    def keys(self, prefix: str = "") -> list[str]:
        """The existing keys that start with ``prefix``, sorted by code point. Callable from any thread."""
        return self._dataflow.keys(prefix)

    def receipts(self, view: View) -> tuple[Receipt, ...]:
        """The receipts of the pending writes in a view that have not settled since, oldest first."""
        found = (self._pending.open.get(write.id) for write in view.queue())
        return tuple(one.receipt for one in found if one is not None)

    def _kept_part(self, event: LogEvent) -> LogEvent:
        """An event of the log without the entries that this replica does not keep."""
        if self.options.kept is not None and isinstance(event, (Loaded, Replayed)):
            return replace(event, state=event.state.within(self.options.kept))
        return event  # what is folded into a state keeps what that keeps

    def check_loaded(self, keys: Iterable[str], operation: str) -> None:
        """Raise `NotLoaded` if a key is outside of what this replica keeps."""
        if self.options.kept is not None:
            self.options.kept.check(keys, operation)

    def check_loaded_under(self, prefixes: Iterable[str], operation: str) -> None:
        """Raise `NotLoaded` if some key under a prefix is outside of what this replica keeps."""
        if self.options.kept is not None:
            self.options.kept.check_under(prefixes, operation)

    def _check_own_writes(self, event: LogEvent) -> None:
        """Raise `Corrupt` if the log holds a write in this client's name that it never made."""
        if self._write_maker.is_forged(event):
            raise Corrupt(
                "carries a write of this client's that it never made",
                object=self._name,
                remedy="two copies of one process are running, or someone else writes in its name",
            )
        self._heard = True

    def _follow(self, turn: Turn) -> None:
        """Handle a step in this client itself, after its delivery to the observers."""
        for settled in turn.step.effects:
            self._settle(settled)
        if turn.step.then:
            self._made()
        event = turn.step.event
        if isinstance(event, (Committed, Replayed)):
            self._poller.active()
            versions = (event.version,) if isinstance(event, Committed) else event.versions
            writers = {version.writer for version in versions}
            mine = writers <= {self._writer}
            self._committer.seen(versions)
            if not mine:
                self._poller.found()
            if self._writer in writers:
                self._bells.ring()
            if self._write_maker.number and self.options.kept is None:
                self._compactor.grown(mine=mine)
        if isinstance(event, (Committed, Replayed, Loaded)):
            self._state_saver.changed()
        self._health.tell()

    def _settle(self, settled: Settled) -> None:
        lost = isinstance(settled.error, (Gone, Replaced))
        one = self._pending.end(settled.id, committed=settled.error is None, left=lost)
        if one is None:
            return
        if settled.error is None:
            self._acknowledged.append((self._log.position, one.receipt.version, one.receipt.keys))
        while self._acknowledged and self._log.is_confirmed(self._acknowledged[0][0]):
            self._acknowledged.popleft()
        self._outbox_worker.wake()
        self._committer.ended(one)
        released = [(content, self.values.release(content)) for content in one.contents]
        if released and self._local is not None and settled.error is None:
            saving = self.spawn(self.values.save_all(released), "save")
            self._saves.add(saving)
            saving.add_done_callback(self._saves.discard)
        one.receipt.settle(settled.error)
        if self.view.pending:
            self._committer.wake()  # writes waiting behind it may be sent
        if settled.error is not None:
            early = settled.id.writer != self._write_maker.writer
            self._loop.call_soon(lambda: self._report_unseen(one.receipt, early=early))

    def _failed(self, error: Error) -> None:
        """Note an error of the storage or the log. If the database is not there any more, what is pending ends."""
        if not isinstance(error, (Gone, Replaced)) or self._lost is not None:
            return
        self._lost = error
        doubtful = [one for one in self._acknowledged if not self._log.is_confirmed(one[0])]
        error.unconfirmed = tuple(version for _, version, _ in doubtful)
        if doubtful:
            keys = sorted({key for _, _, keys in doubtful for key in keys})
            note = f"acknowledged since it was last seen to be there, and perhaps lost with it: {', '.join(keys)}"
            self._health.report(Failure("write", self._name, error, note), early=True)
        self.spawn(self._end_pending(error), "end")

    async def _end_pending(self, error: Gone | Replaced) -> None:
        """End what is pending; the outbox keeps it."""
        await self._outbox_worker.settle()
        for id in list(self._pending.open):
            self._dataflow.refusals.on_next(Refused(id, error))

    def _recovered(self) -> None:
        self._lost = None

    @property
    def lost(self) -> bool:
        """Whether the database that was read is not there any more."""
        return self._lost is not None

    def _check_writable(self) -> None:
        """Raise if nothing can be written from here: `Closed`, `Gone`, `Replaced`."""
        self.check_open("put")
        if (lost := self._lost) is not None:
            raise type(lost)(lost.what, operation="put", object=lost.object, remedy=lost.remedy)

    def _report_unseen(self, receipt: Receipt, *, early: bool) -> None:
        error = receipt.unseen_failure
        if error is not None:
            failure = Failure("write", f"keys {', '.join(map(repr, receipt.keys))}", error, "nobody awaited it")
            self._health.report(failure, early=early)

    # -- writing ---------------------------------------------------------------------------------------------

    def check(self, values: Mapping[str, Any]) -> Planned:
        """Plan a write of these values without making it. Raises `InvalidKey`, `InvalidValue`, `Closed`."""
        self._check_writable()
        return self._write_maker.check(values)

    def check_linear(self, operation: str) -> None:
        """Raise `Unsupported` if the log's protocol does not support writes with conditions."""
        self._write_maker.check_linear(operation)

    def write_nowait(self, draft: Draft) -> Receipt:
        """Make one atomic write and step the view. Callable from any thread.

        Raises:
            Conflict: ``draft.unchanged`` is set and the conditions do not hold; nothing was done.
            NotLoaded: a value that it is computed from is not loaded.
            InvalidKey, InvalidValue, Closed, Gone, Replaced, Overloaded: nothing was done.
        """
        self._check_writable()
        return self._uninterrupted(lambda: self._write_maker.write(draft))

    def write_unless_shown(self, key: str, shown: Shown, draft: Draft) -> Receipt | None:
        """As `write_nowait`, unless the view already shows the new value of its key; then None.

        If it is a pending write that shows the value, this one is only deferred: if that write is cancelled, refused or
            recomputed with another value, this one is made in the same step.
        """
        self._check_writable()
        return self._uninterrupted(lambda: self._write_maker.write_unless_shown(key, shown, draft))

    def withdraw(self, version: str, of: Callable[[object], bool]) -> None:
        """Drop the deferred writes whose origin passes the test."""
        self._write_maker.withdraw(version, of)

    def _uninterrupted(self, write: Callable[[], R]) -> R:
        """Run without interruption by Ctrl-C where the event loop has its own thread and this is the main thread."""
        return uninterrupted(write) if self._loop.beside_threads else write()

    def _made(self) -> None:
        self._outbox_worker.wake()
        self._committer.wake()

    # -- what is kept on disk --------------------------------------------------------------------------------

    async def restored(self) -> None:
        """Wait until the local state has been restored, or has turned out not to be readable."""
        if self._restoring is not None:
            await asyncio.wait([self._restoring])

    @property
    def restore_error(self) -> Error | None:
        """Why the local state could not be read, if so."""
        return self._restore_error

    async def _restore(self) -> None:
        if self._keep is None:
            return
        try:
            await self._restore_local_state(self._keep)
        except Exception as problem:
            error = self._restore_error = unforeseen(problem)
            self._health.report(Failure("restore", self._name, error, "nothing is kept on disk"), early=True)

    async def _restore_local_state(self, keep: OpensLocal) -> None:
        """Restore the pending writes and the last known state from disk."""
        local = self._local = await keep.open(self.manifest)
        found = await local.take_over()
        for name in local.set_aside:
            aside = Corrupt("set aside", object=f"file {name}")
            self._health.report(Failure("restore", self._name, aside, "the rest is kept"), early=True)
        for address in local.elsewhere:
            unsent = Error(f"unsent writes wait for {address}", operation="open", object="the local directory")
            note = "they are not sent from here: rxmps3 outbox DIR lists, sends or moves them"
            self._health.report(Failure("restore", self._name, unsent, note), early=True)
        self.values.keep_in(local)
        self._outbox_worker.use(local.outboxes[0])
        kept = self.options.kept
        for one in found:
            if kept is not None:
                kept.check_conditions(one.write.conditions, "open")
        saved = await local.load_state(kept)
        if saved is not None and saved.place is not None:
            self._log.resume(saved.place)
        for one in found:
            self._take_up(one)
        if found:
            self._committer.wake()
        if saved is not None or not self.options.online:
            self._dataflow.saved.on_next(Loaded(saved.state if saved is not None else State(kept=self.options.kept)))
        await local.prune_values()

    def _take_up(self, restored: Restored) -> None:
        """Restore a pending write of an earlier process."""
        if restored.write.id in self._pending.open:
            return
        if restored.sent is not None:
            self._committer.restored()
        if restored.after is not None:
            self._log.suspect(restored.write, restored.after)
        self._write_maker.take_up(restored)

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def reached(self) -> tuple[str, int]:
        """How far the log has been read; see `Log.reached`."""
        return self._log.reached

    async def look(self, patience: float | None = None) -> None:
        """Read to the end of the log, by a read that starts after this call. As `Poller.look`."""
        self.check_open("get")
        self.check_loop()
        if not self.options.online:
            raise Unavailable("opened with online=False", operation="get", object=self._name)
        self._log.look_around()
        await self._poller.look(patience)

    async def look_if_stale(self) -> None:
        """Read the log if the last read is older than the poll interval; if that fails, the loaded state is used."""
        if not self._poller.is_stale():
            return
        try:
            await self.look()
        except Error:
            if not self.view.loaded or self._closed:
                raise

    async def turn(self) -> bool:
        """Wait for this client's turn among the writers of the log. As `Committer.turn`."""
        return await self._committer.turn()

    def demand(self) -> DisposableBase:
        """Keep reading at each tick until disposed."""
        return self._poller.demand()

    # -- status and failures -----------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """The current status. Callable from any thread."""
        return self._health.status

    def made(self, entry: Entry) -> bool:
        """Whether the write that set an entry was made by this replica."""
        return entry.version.rpartition("-")[0] == self._writer

    @property
    def from_cache(self) -> bool:
        """Whether the view was restored from disk and the bucket has not been read since."""
        return not self._heard and not self._poller.has_looked

    @property
    def statuses(self) -> Observable[Status]:
        """The status, at each turn and whenever it changes."""
        return self._health.statuses

    @property
    def failures(self) -> Observable[Failure]:
        """Each failure that no caller is waiting for."""
        return self._health.failures

    def take_early_failures(self) -> list[Failure]:
        """After closing: the failures of writes of an earlier process that nobody has observed."""
        return self._health.take_early() if self._closed else []

    def report(self, failure: Failure) -> None:
        """Report a failure. On the loop's thread."""
        self._health.report(failure)

    def _report_damage(self, name: str, what: str) -> None:
        """Report an answer of the storage that was damaged, and has been replaced by another one."""
        error = Corrupt(f"a damaged answer: {what}", operation="get", object=f"object {name!r}")
        note = "it was read again; what is stored is intact"
        self._health.report(Failure("read", self._name, error, note), early=True)

    def observer_raised(self, name: str, error: BaseException) -> None:
        """Report what an observer raised, from any thread. `SystemExit` and the like take effect after the current
        delivery."""
        ends_program = not self._loop.beside_threads
        failure = failure_of_observer(name, error, ends_program=ends_program)
        if ends_program and isinstance(error, (KeyboardInterrupt, SystemExit)):
            self._loop.end_program(error)
        self._loop.on_loop(lambda: self.report(failure))

    def _complete_status(self, status: Status) -> Status:
        usage, view = self._storage.usage, self.view
        return replace(
            status,
            loaded=view.loaded,
            pending=len(view.pending),
            head=view.confirmed.version,
            requests=usage.requests,
            bytes_up=usage.bytes_up,
            bytes_down=usage.bytes_down,
            budget=self.ledger.state,
        )

    def _task_failed(self, task: str, error: BaseException) -> None:
        logger.error("%s ended by an error that was not foreseen", task, exc_info=error)
        if isinstance(error, Exception):
            self.report(Failure(task, self._name, error, "it has stopped: a fault in rxmps3 itself"))

    def retries(self, failed: Failed) -> Retries:
        """Retries of this replica's, ended early when the storage answers something else."""
        return Retries(self.clock, self.backoff, failed, self._health.on_answer)

    # -- threads, tasks, life --------------------------------------------------------------------------------

    @property
    def rng(self) -> Random:
        """Randomness for waiting times."""
        return self.clock.rng

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it lives on."""
        return self._loop.loop

    def check_open(self, operation: str) -> None:
        """Raise `Closed` if the replica is closed."""
        if self._closed:
            raise Closed("the database is closed", operation=operation, object=self._name)
        if self.loop.is_closed():
            raise Closed(
                "its event loop has ended, so nothing is sent any more",
                operation=operation,
                object=self._name,
                remedy="open it on a loop that runs, or use rxmps3.blocking",
            )

    def __del__(self) -> None:
        pending: PendingWrites[Receipt] | None = getattr(self, "_pending", None)
        if pending is None or self._closed or not self.loop.is_closed():
            return
        if waiting := len(pending.open):
            kept = "the outbox keeps them" if self._keep is not None else "they are lost"
            logger.warning("%s was dropped without close(): %d writes were not sent, and %s", self._name, waiting, kept)

    def check_loop(self) -> None:
        """Raise `WrongLoop` if the calling thread runs an event loop other than this replica's."""
        self._loop.check_loop()

    def attach_on_loop(self, action: Callable[[], None]) -> None:
        """See `EventLoop.attach`; what an observer puts at its first item is delivered after it."""
        self._loop.attach(lambda: self.take_turn(action))

    def take_turn(self, action: Callable[[], None]) -> None:
        """Deliver something other than a step to an observer, on the loop's thread; its own puts are delivered
        afterwards."""
        self._dataflow.lock.take(action)

    def on_loop(self, action: Callable[[], None]) -> None:
        """Run on the loop's thread: at once if called there, else soon. Does nothing once the loop is closed."""
        self._loop.on_loop(action)

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that ends with the replica; an unhandled error is reported."""
        return self._loop.spawn(coroutine, name)

    def start(self) -> None:
        """Start reading and committing on demand; no request is made yet unless ``live``."""
        self._restoring = self.spawn(self._restore(), "restore")
        if self._keep is not None:
            self._storing = self.spawn(self._outbox_worker.run(), "store")
            self.spawn(self._state_saver.run(), "save")
        if self.options.online:
            self._committing = self.spawn(self._committer.run(self.restored()), "commit")
            self.spawn(self._compactor.run(), "keep")
            self._bells.start()
        if self.options.live:
            self.demand()

    def share(self, options: Options) -> None:
        """Share this replica with one more handle. Raises `InvalidOption` if its options differ."""
        was_live = self.options.live
        self.options = merged(self.options, options, self._name, self.protocol)
        self._poller.share(self.options)
        if self.options.live and not was_live:
            self.demand()

    async def close(self, timeout: float) -> None:
        """Commit pending writes, for at most ``timeout`` seconds, then end every task.

        If the program is being interrupted, which cancels all tasks, nothing is waited for: nothing could be sent.

        Raises:
            NotSent: some writes were not committed; ``keys`` names them.
        """
        if self._closed:
            return
        await self._flush(timeout)
        if self._storing is not None:
            await self._settle_outbox(self._storing)
        interrupted = self._committing is not None and self._committing.done()
        if self._saves:
            await asyncio.wait(self._saves)
        if self.options.online and self._state_saver.waits_for_the_log:
            await self._confirm(timeout)
        await self._bells.flush()
        self._closed = True
        self._dataflow.ended.on_next(None)
        await self._loop.end_tasks()
        await self._bells.close()
        self._poller.close(Closed("the database was closed", object=self._name))
        await self._state_saver.finish()
        await self._outbox_worker.finish()
        if self._local is not None:
            await self._local.close()
        left = [one.receipt for one in self._pending.open.values()]
        self._pending.open.clear()
        if not left:
            self._health.complete()
            return
        if self._local is not None:
            logger.warning("%s: %d writes are not committed yet; the outbox keeps them", self._name, len(left))
            kept = Closed("the database was closed; the outbox keeps the write for the next start", object=self._name)
            for receipt in left:
                receipt.settle(kept)
            self._health.complete()
            return
        within = "when the program was interrupted" if interrupted else f"within {timeout} s"
        not_sent = NotSent(
            f"{len(left)} writes were not committed {within}, and nothing on disk keeps them",
            keys=sorted({key for receipt in left for key in receipt.keys}),
            object=self._name,
            remedy="put them again, or open with local=DIR to keep such writes for the next start",
        )
        for receipt in left:
            receipt.settle(not_sent)
        self._health.complete()
        raise not_sent

    async def _confirm(self, timeout: float) -> None:
        """Let the outbox drop what is known to be in the log; otherwise the next start finds out."""

        async def confirm() -> None:
            try:
                await self._log.confirm()
            except Error as error:
                logger.warning("%s: not confirmed before closing: %s", self._name, error)
            else:
                self._state_saver.confirmed()

        asking = self.spawn(confirm(), "confirm")
        await asyncio.wait([asking], timeout=min(timeout, _CONFIRMING))

    async def _flush(self, timeout: float) -> None:
        receipts = self.receipts(self.view)
        committing = self._committing
        if not receipts or timeout <= 0 or committing is None or committing.done():
            return
        waiting = self.spawn(_until_all_done(receipts), "flush")
        await asyncio.wait((waiting, committing), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    async def _settle_outbox(self, storing: asyncio.Task[None]) -> None:
        """Wait for the outbox, unless nobody writes to it any more."""
        if not storing.done():
            settling = self.spawn(self._outbox_worker.settle(), "settle")
            await asyncio.wait((settling, storing), return_when=asyncio.FIRST_COMPLETED)


async def _until_all_done(receipts: Iterable[Receipt]) -> None:
    for receipt in receipts:
        await _until_done(receipt)


async def _until_done(receipt: Receipt) -> None:
    try:
        await receipt
    except Error:
        pass
