"""One process of a client: a database opened by `rxmps3.connect`, and what is done with it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import rxmps3
from rxmps3.bells import LOCAL, Bell, Local
from rxmps3.database.database import Database
from rxmps3.errors import (
    AccessDenied,
    Closed,
    Conflict,
    Corrupt,
    Error,
    Failure,
    NotSent,
    OutcomeUnknown,
    Rejected,
    Unavailable,
    UnsureTime,
)
from rxmps3.local.directory import LocalMemory
from rxmps3.log.detect import Choice
from rxmps3.model.missing import MISSING
from rxmps3.replica.committer import FORGOTTEN_AFTER
from rxmps3.replica.receipt import Receipt
from rxmps3.testing.virtual import SimClock
from tests.simulator.belfry import Belfry
from tests.simulator.bucket import MANIFEST, SimBucket
from tests.simulator.chronicle import Chronicle, Mps3Chronicle
from tests.simulator.disk import SimDisk
from tests.simulator.inside import Exact, Inside, Loose
from tests.simulator.ledger import Ledger
from tests.simulator.life import Life
from tests.simulator.network import Network, SimStorage
from tests.simulator.oracles import UNDECIDED
from tests.simulator.plan import ClientPlan, Plan, Step
from tests.simulator.recorder import Observation, Observer, Recorder, Scope, SessionRecord, WriteRecord
from tests.simulator.watching import (
    ChangeWatcher,
    LooseVersionWatcher,
    SnapshotWatcher,
    VersionWatcher,
    Watcher,
    check_pairs,
    read_values,
)

__all__ = ["EXPECTED", "Session"]

EXPECTED = (Unavailable, AccessDenied)
"""What a call may raise while things go wrong; anything else is a fault of the library."""
_MOST_ECHOES = 3
_ANYWHERE = ("put", "put_all", "delete", "settle", "versions", "dispose", "cancel")
"""What a client may do with any key, whichever it keeps."""


class Session:
    """From connect to close or death.

    Args:
        run: the plan of the whole run.
        plan: of the client.
        life: the process.
        disk: of the client.
        bucket, network, ledger, recorder, belfry: of the world it lives in.
    """

    def __init__(
        self,
        run: Plan,
        plan: ClientPlan,
        life: Life,
        bucket: SimBucket,
        network: Network,
        disk: SimDisk,
        ledger: Ledger | Chronicle,
        recorder: Recorder,
        belfry: Belfry | None = None,
    ) -> None:
        self.life = life
        self.record = SessionRecord(str(life), life.name)
        self.watchers: list[Watcher] = []
        self.may_echo = True
        self._run = run
        self._plan = plan
        self._ledger = ledger
        self._recorder = recorder
        self._clock = SimClock(f"clock {run.seed} {life}", skew=plan.skew, machine=life)
        self._storage = SimStorage(bucket, network, life)
        self._disk = disk
        self._local = LocalMemory(lambda folder: disk.open(life, folder)) if plan.local else None
        self._bell: Bell | Local = belfry.rope(life) if belfry is not None else LOCAL
        self._db: Database | None = None
        self._protocol: Choice = "auto" if run.protocol == "sequenced" else run.protocol
        self._inside: Inside
        if isinstance(ledger, Ledger):
            self._inside = Exact(ledger, recorder, self.record)
        else:
            self._inside = Loose(ledger, recorder, self.record)
        self._reads = Observer(f"{life} get", self.record)
        self._verbs: dict[str, Callable[[Step], Awaitable[None]]] = {
            "put": self._put,
            "put_all": self._put,
            "delete": self._delete,
            "replace": self._replace,
            "claim": self._replace,
            "get": self._get,
            "get_prefix": self._get_prefix,
            "refresh": self._refresh,
            "settle": self._settle,
            "observe": self._observe,
            "observe_many": self._observe,
            "observe_prefix": self._observe_prefix,
            "changes": self._changes,
            "versions": self._versions,
            "echo": self._echo,
            "dispose": self._dispose,
            "compact": self._compact,
            "cancel": self._cancel,
        }
        self.record.observers.append(self._reads)
        recorder.sessions.append(self.record)

    @property
    def is_open(self) -> bool:
        """Whether it ever got as far as that."""
        return self._db is not None

    @property
    def db(self) -> Database:
        """The open database."""
        if self._db is None:
            raise RuntimeError(f"{self.life} is not open")
        return self._db

    def _alive(self) -> bool:
        return not self.life.dead

    # -- life ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, however long it takes."""
        plan, pause = self._plan, 1.0
        while True:
            try:
                self._db = await rxmps3.connect(
                    self._storage,
                    manifest=MANIFEST,
                    protocol=self._protocol,
                    versioning=self._run.versioning,
                    clock=self._clock,
                    shared=False,
                    poll=plan.poll,
                    bell=self._bell,
                    live=plan.live,
                    by=plan.name,
                    inline_limit=plan.inline_limit,
                    cache_bytes=plan.cache_bytes,
                    local=self._local,
                    retention=timedelta(seconds=plan.retention),
                    prefixes=plan.prefixes or None,
                )
                break
            except EXPECTED as error:
                self._recorder.note(self.life, "cannot open:", error.what)
                for version in re.findall(r"write (\S+):", "\n".join(getattr(error, "__notes__", ()))):
                    self._judged(error, version)
                await self._clock.sleep(pause)
                pause = min(pause * 2, plan.poll * 10 + 10)
        self._recorder.note(self.life, "opens at", self.db.states.value.confirmed.version or 0)
        self.db.errors.subscribe(self._hear_of)
        if self._local is not None:
            self._take_up()
        self.db.status.subscribe(lambda _: self._look_inside())

    def _take_up(self) -> None:
        """What the last process kept is pending again, or in the log."""
        pending = {receipt.version: receipt for receipt in self.db.pending.value}
        makers = [record.session for version in pending if (record := self._recorder.by_version.get(version))]
        self._inside.opened(self.db.states.value.confirmed, makers)
        for record in self._recorder.writes:
            mine = record.session.client == self.life.name
            if not (mine or self._recorder.counts["clones"]) or record.session is self.record:
                continue
            receipt = pending.pop(record.version, None)
            if receipt is not None:
                self._recorder.note(self.life, "takes up", record.id, record.version)
                self._recorder.counts["taken up"] += 1
                record.resurrected = record.resurrected or record.error is not None
                record.found_again = record.found_again or record.version in self._ledger.places
                if mine:
                    record.settled, record.stored, record.error = False, True, None
                self.record.writes.append(record)
                self._follow(record, receipt)
            elif record.forgettable or not mine or (record.settled and self._disk.troubled):
                continue
            elif record.stored and record.error is None and (rule := self._inside.lost(record)):
                self._recorder.complain(rule, f"{self.life} opens without {record.version}")
        for version in pending:
            self._recorder.complain("nothing is invented", f"{self.life} has {version} pending, which it never wrote")

    async def close(self, timeout: float) -> tuple[str, ...]:
        """Close cleanly; the keys that were not sent, if any."""
        try:
            await self.db.close(timeout)
        except NotSent as error:
            self._recorder.note(self.life, "closes; not sent:", *error.keys)
            return error.keys
        finally:
            if self._alive():
                for watcher in self.watchers:
                    if not watcher.completed and not watcher.disposed:
                        self._recorder.complain("streams complete at close", watcher.name)
        self._recorder.note(self.life, "closes")
        return ()

    async def perform(self, step: Step) -> None:
        """Do one thing, unless it concerns keys that this client does not keep."""
        if not self._concerns_kept_keys(step):
            self._recorder.note(self.life, step.verb, "is left to others")
            self._recorder.counts["left to others"] += 1
            return
        self._recorder.note(self.life, step.verb, *step.keys)
        self._recorder.counts[step.verb] += 1
        try:
            await self._verbs[step.verb](step)
        except EXPECTED as error:
            self._recorder.note(self.life, step.verb, "fails:", error.what)
            self._check_certainty(error)

    def _concerns_kept_keys(self, step: Step) -> bool:
        if not self._plan.prefixes or step.verb in _ANYWHERE:
            return True
        scopes = step.keys[:1] if step.verb in ("get_prefix", "observe_prefix", "changes") else step.keys
        return step.verb != "compact" and all(one.startswith(self._plan.prefixes) for one in scopes)

    def check_end(self, final: Mapping[str, int]) -> None:
        """Everything has been committed and read: compare with the ids of the final state."""
        if pending := self.db.status.value.pending:
            self._recorder.complain("everything commits", f"{self.life} has {pending} writes pending at the end")
        keys = [key for prefix in self._plan.prefixes or ("",) for key in self.db.keys(prefix)]
        expected = sorted(key for key in final if key.startswith(self._plan.prefixes or ""))
        if sorted(keys) != expected:
            self._recorder.complain("replicas converge", f"{self.life} ends with {keys}, the log with {expected}")
        for watcher, wrong in self.behind(final):
            self._recorder.complain("streams converge", f"{watcher.name} {wrong}")

    def behind(self, final: Mapping[str, int]) -> list[tuple[Watcher, str]]:
        """The streams that do not show the final state, and what they show."""
        watchers = [watcher for watcher in self.watchers if not (watcher.disposed or watcher.completed)]
        return [(watcher, wrong) for watcher in watchers if (wrong := watcher.end(final))]

    async def read_all(self) -> None:
        """Read to the end and look at everything, which must be all there is."""
        length = self._ledger.length
        await self.db.refresh()
        for prefix in self._plan.prefixes or ("",):
            asked_at = self._recorder.now()
            values = await self.db.get_prefix(prefix)
            self._saw(asked_at, values, len(self.record.writes), length, Scope(prefix, 0))

    def unsettled(self) -> list[WriteRecord]:
        """The writes whose receipts have not met their end."""
        return [write for write in self.record.writes if write.version not in self.record.settled and not write.error]

    # -- what it sees without being asked --------------------------------------------------------------------

    def _look_inside(self) -> None:
        """Compare the replica's own view with the log, at every turn that matters."""
        if not self._alive():
            return
        view = self.db.states.value
        if view.loaded:
            self._inside.look(view)

    def _hear_of(self, failure: Failure) -> None:
        if not self._alive():
            return
        self._recorder.note(self.life, "reports", failure)
        if failure.operation == "read" and self._was_damaged(failure):
            self._recorder.counts["damage reported"] += 1
            return
        self._check_certainty(failure.error)
        torn = self._disk.torn and failure.operation == "restore" and isinstance(failure.error, Corrupt)
        # a stream that lags behind a collection meets values that are gone, until its replica looks again
        late = isinstance(failure.error, Corrupt) and any(
            repr(name) in failure.object for name in self._ledger.collected_values
        )
        unknowable = isinstance(failure.error, OutcomeUnknown) and self._log_has_forgotten()
        if unknowable:
            self._ended_early(failure.error)
        judged = isinstance(failure.error, Conflict) and self._judged(
            failure.error, failure.error.object.removeprefix("write ")
        )
        if not isinstance(failure.error, EXPECTED) and not (judged or torn or late or unknowable):
            self._recorder.complain("nothing unexpected fails", f"{self.life}: {failure}")

    def _was_damaged(self, failure: Failure) -> bool:
        """Whether it tells of an answer that was damaged on its way."""
        names = self._storage.network.damaged.get(self.life.name, ())
        return isinstance(failure.error, Corrupt) and any(failure.error.object == f"object {name!r}" for name in names)

    def _check_certainty(self, error: Exception) -> None:
        """Collection stops where the storage's time cannot be true, and only there."""
        wrong = [shift for shift in self._run.shifts if shift.client == self.life.name]
        if isinstance(error, UnsureTime) and not wrong:
            self._recorder.complain("collection goes on", f"{self.life}: {error}")
        self._recorder.counts["collection stopped"] += isinstance(error, UnsureTime)

    def _judged(self, error: Error, version: str) -> bool:
        """The condition of a write that an earlier process has left does not hold; whether it has one."""
        record = self._recorder.by_version.get(version)
        if record is None or record.rests_on is None:
            return False
        if record.session.client == self.life.name and not record.settled:
            record.settled, record.settled_at, record.error = True, self._recorder.now(), error
        return True

    def _ended_early(self, error: Error) -> None:
        """A write that an earlier process has left was given up, perhaps before the database was open."""
        record = self._recorder.by_version.get(error.object.removeprefix("write "))
        if record is not None and record.session.client == self.life.name and not record.settled:
            record.settled, record.settled_at, record.error = True, self._recorder.now(), error

    def _log_has_forgotten(self) -> bool:
        """Whether the log may be unable to tell whether it holds a write: a process may wake after a long time."""
        collected = isinstance(self._ledger, Mps3Chronicle) and self._ledger.collected_operations
        return bool(collected) or self._recorder.now() > FORGOTTEN_AFTER.total_seconds()

    def _may_be_undecided(self, error: Error) -> bool:
        unknown = isinstance(self._ledger, Mps3Chronicle) and isinstance(error, OutcomeUnknown)
        return not unknown or self._log_has_forgotten()

    # -- writing ---------------------------------------------------------------------------------------------

    async def _put(self, step: Step) -> None:
        receipt = self.write(step.keys, step.size)
        if step.follow:
            await self._await(receipt)

    async def _delete(self, step: Step) -> None:
        receipt = self.write(step.keys, None)
        if step.follow:
            await self._await(receipt)

    async def _replace(self, step: Step) -> None:
        """Put, if the key is still what is seen here, or is not there."""
        [key] = step.keys
        entry = self.db.states.value.get(key) if step.verb == "replace" else None
        receipt = self.write(step.keys, step.size, rests_on=(key, entry.version if entry is not None else ""))
        if step.follow:
            await self._await(receipt)

    def write(
        self,
        keys: tuple[str, ...],
        size: int | None,
        *,
        reentrant: bool = False,
        rests_on: tuple[str, str] | None = None,
    ) -> Receipt:
        """Put one value to all keys, or delete them; record what becomes of it."""
        recorder = self._recorder
        value: Any = MISSING
        if size is not None:
            value = {"id": len(recorder.writes) + 1, "by": self.record.name}
            if size:
                value["pad"] = "x" * size
        record = recorder.new_write(self.record, dict.fromkeys(keys, value), reentrant=reentrant)
        record.rests_on = rests_on
        try:
            if len(keys) > 1:
                receipt = self.db.put_all(record.values)
            elif rests_on is not None:
                receipt = self.db.put("".join(keys), value, if_version=rests_on[1] or MISSING)
            elif value is MISSING:
                receipt = self.db.delete("".join(keys))
            else:
                receipt = self.db.put("".join(keys), value)
        except Closed as error:
            record.settled, record.error = True, error
            self.record.writes.remove(record)  # it was not made
            raise
        record.version = receipt.version
        recorder.by_version[receipt.version] = record
        recorder.note(self.life, "wrote", record.id, receipt.version)
        self._follow(record, receipt)
        return receipt

    def _follow(self, record: WriteRecord, receipt: Receipt) -> None:
        def hear(stage: str) -> None:
            if stage == "stored" and self._alive():
                record.stored = True
            elif receipt.done():
                self._settled(record, receipt)

        receipt.stages.subscribe(hear)

    def _settled(self, record: WriteRecord, receipt: Receipt) -> None:
        if not self._alive():
            return
        self.record.settled.add(record.version)
        if record.settled:
            return
        recorder = self._recorder
        record.settled, record.settled_at = True, recorder.now()
        try:
            version = receipt.wait(0)
        except Error as error:
            record.error = error
            recorder.note(self.life, "write", record.id, "ends:", type(error).__name__)
            undecided = isinstance(error, UNDECIDED) and self._may_be_undecided(error)
            conflict = isinstance(error, Conflict) and record.rests_on is not None
            recorder.counts["conflicts"] += conflict
            if not (undecided or conflict or record.cancelled):
                recorder.complain("nothing unexpected fails", f"{self.life}: write {record.id}: {error}")
            return
        recorder.note(self.life, "write", record.id, "is committed")
        recorder.counts["acknowledged"] += 1
        if not self._ledger.covers(record):
            recorder.complain("what is acknowledged is in the log", f"{self.life}: {version} is not")

    async def _await(self, receipt: Receipt) -> None:
        try:
            await receipt
        except (*UNDECIDED, Rejected):
            pass  # noted when it happened

    async def _cancel(self, step: Step) -> None:
        """Write and take it back, at once or a moment later."""
        receipt = self.write(step.keys, step.size)
        record = self._recorder.by_version[receipt.version]
        if step.follow:
            await self._clock.sleep(0.01)
        record.cancelled = not record.settled  # told before it is asked, so that the refusal is expected
        record.cancelled = receipt.cancel()
        self._recorder.note(self.life, "takes back" if record.cancelled else "cannot take back", record.id)
        if record.cancelled:
            self._recorder.counts["cancelled"] += 1

    async def _settle(self, step: Step) -> None:
        for receipt in self.db.pending.value:
            await self._await(receipt)

    # -- reading ---------------------------------------------------------------------------------------------

    def _saw(
        self, asked_at: float, values: Mapping[str, Any], made: int, least: int = 0, scope: Scope | None = None
    ) -> None:
        """A get has answered; so many own writes had been made when it was called, and perhaps more since."""
        seen = read_values(self._recorder, self._reads.name, values)
        self._recorder.note(self.life, "sees", *(f"{key}={id}" for key, id in seen.items()))
        check_pairs(self._recorder, self._reads.name, seen)
        self._reads.observations.append(
            Observation(
                self._recorder.now(), len(self.record.writes), made, self._ledger.length, least, seen, scope, asked_at
            )
        )

    async def _get(self, step: Step) -> None:
        asked_at, made = self._recorder.now(), len(self.record.writes)
        if len(step.keys) > 1:
            values = await self.db.get_many(step.keys, MISSING)
        else:
            values = {key: await self.db.get(key, MISSING) for key in step.keys}
        self._saw(asked_at, values, made)

    async def _get_prefix(self, step: Step) -> None:
        scope, made = Scope(step.keys[0], step.size), len(self.record.writes)
        asked_at = self._recorder.now()
        values = await self.db.get_prefix(scope.prefix, **scope.window())
        self._saw(asked_at, values, made, scope=scope)

    async def _refresh(self, step: Step) -> None:
        length, reach = self._ledger.length, self._inside.end_of_log()
        await self.db.refresh()
        self._inside.refreshed(self.db.states.value, reach)
        asked_at, made = self._recorder.now(), len(self.record.writes)
        values = await self.db.get_many(step.keys, MISSING)
        self._saw(asked_at, values, made, length)

    async def _compact(self, step: Step) -> None:
        report = await self.db.compact()
        self._recorder.note(self.life, "compacted:", report)
        for what in ("entries", "checkpoints", "values"):
            self._recorder.counts[f"collected {what}"] += getattr(report, what)
        self._recorder.counts["expired"] += len(report.expired)

    # -- observing -------------------------------------------------------------------------------------------

    def _watch(self, watcher: Watcher, stream: Any) -> None:
        self.watchers.append(watcher)
        watcher.watch(stream)

    def _name(self, step: Step) -> str:
        return f"{step.verb}#{len(self.watchers)}"

    async def _observe(self, step: Step) -> None:
        keys = step.keys
        stream = self.db.observe(keys[0], MISSING) if len(keys) == 1 else self.db.observe_many(*keys, default=MISSING)
        self._watch(self._snapshots(step, keys), stream)

    def _snapshots(
        self,
        step: Step,
        scope: tuple[str, ...] | Scope,
        react: Callable[[Mapping[str, int | None]], None] | None = None,
    ) -> SnapshotWatcher:
        return SnapshotWatcher(self._name(step), self.record, self._recorder, self._ledger, self._alive, scope, react)

    async def _observe_prefix(self, step: Step) -> None:
        scope = Scope(step.keys[0], step.size)
        self._watch(self._snapshots(step, scope), self.db.observe_prefix(scope.prefix, **scope.window()))

    async def _echo(self, step: Step) -> None:
        """Answer what is seen at a key, from within the observer."""
        key, echoes = step.keys[0], 0

        def react(seen: Mapping[str, int | None]) -> None:
            nonlocal echoes
            if self.may_echo and echoes < _MOST_ECHOES and seen[key] is not None:
                echoes += 1
                try:
                    self.write((f"key/echo-{key[-1]}",), 0, reentrant=True)
                except Closed:
                    pass

        stream = self.db.observe(key, MISSING)
        self._watch(self._snapshots(step, (key,), react), stream)

    async def _changes(self, step: Step) -> None:
        prefix = step.keys[0]
        watcher = ChangeWatcher(
            self._name(step), self.record, self._recorder, self._ledger, self._alive, prefix, self.db.states.value
        )
        self._watch(watcher, self.db.changes(prefix))

    async def _versions(self, step: Step) -> None:
        name, ledger = self._name(step), self._ledger
        if isinstance(ledger, Ledger):
            loaded = int(self.db.states.value.confirmed.version or 0)
            self._watch(
                VersionWatcher(name, self.record, self._recorder, ledger, self._alive, loaded), self.db.versions
            )
        else:
            self._watch(LooseVersionWatcher(name, self.record, self._recorder, ledger, self._alive), self.db.versions)

    async def _dispose(self, step: Step) -> None:
        for watcher in self.watchers:
            if not watcher.disposed:
                watcher.dispose()
                return
