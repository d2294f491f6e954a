"""One run: everything a plan names, put together, played to its end and judged."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Any

from rxmps3.testing.virtual import VirtualLoop
from tests.simulator.belfry import Belfry
from tests.simulator.bucket import MANIFEST, SimBucket
from tests.simulator.causal import check_causality
from tests.simulator.chronicle import Chronicle, Mps3Chronicle, VersionedChronicle
from tests.simulator.disk import SimDisk
from tests.simulator.ledger import Ledger
from tests.simulator.life import Life
from tests.simulator.network import Network
from tests.simulator.oracles import check_log, check_observers, final_ids, is_refused
from tests.simulator.plan import ClientPlan, Plan, Stall
from tests.simulator.player import Player
from tests.simulator.recorder import Recorder
from tests.simulator.session import Session
from tests.simulator.watching import Watcher

__all__ = ["World"]

_SETTLING = 900.0
_SETTLING_POLLS = 3.0
"""Everything pending is committed within so many seconds after the last fault, and so many poll intervals: replicas
that look rarely also retry rarely."""
_TRIES_TO_CONVERGE = 5
_LOOKS_AT_MOST = 200
_UNTIL_SETTLED = 1300.0
"""So long after a version of a versioned log nothing comes to light below it any more."""
_LONGEST_BACKOFF = 30.0
_AWAKE_AFTER_REST = 100.0
_STAND_STILL = 0.8
_LATE_JOINER = ClientPlan("zoe", poll=1.0)


class World:
    """The bucket, the network, the players and whoever watches them.

    Args:
        loop: its time.
        plan: what is to happen.
    """

    def __init__(self, loop: VirtualLoop, plan: Plan) -> None:
        self.plan = plan
        self.recorder = Recorder(loop.time)
        self.ledger = self._new_ledger()
        self.network = Network(
            loop, plan.seed, plan.weather, plan.outages, plan.shifts, plan.faults, self.recorder.note
        )
        self.bucket = SimBucket(loop, plan.seed, plan.weather, self, versioning=plan.keeps_versions)
        self.ledger.bucket = self.bucket
        self._belfry: Belfry | None = None
        if plan.bell is not None:
            self._belfry = Belfry(loop, plan.seed, plan.bell, plan.weather.clear_at, self.recorder)
        self._loop = loop
        self._rng = Random(f"rest {plan.seed}")
        self._players: list[Player] = []
        loop.set_exception_handler(self._unhandled)

    # -- as witness of the bucket ----------------------------------------------------------------------------

    def stored(self, name: str, body: bytes, who: str, version: str | None) -> None:
        length = self.ledger.length
        self.ledger.stored(name, body, who, version, self._loop.time())
        for writes in self.ledger.writes[length + 1 :]:
            for write in writes:
                self.recorder.arrived(write.version, who)

    def deleted(self, name: str, who: str, version: str | None) -> None:
        self.ledger.deleted(name, version, self._loop.time())

    def read(self, name: str) -> None:
        self.ledger.read(name)

    def _new_ledger(self) -> Ledger | Chronicle:
        if self.plan.protocol == "versioned":
            return VersionedChronicle(self.recorder)
        if self.plan.protocol == "mps3":
            return Mps3Chronicle(self.recorder, versioning=self.plan.versioning)
        return Ledger(MANIFEST, self.recorder, self._is_copied)

    def _is_copied(self, version: str) -> bool:
        record = self.recorder.by_version.get(version)
        return record is not None and record.copied

    # -- the run ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Play the plan, let everything settle, judge."""
        self._players.extend([self._player(client) for client in self.plan.clients])
        scripts = [
            self._loop.create_task(player.run(), name=f"{player.plan.name}'s script") for player in self._players
        ]
        await self._until_done(scripts, "every step ends")
        stalled = [stall.end for player in self._players for stall in player.stalls]
        await self._pass_until(max([self.plan.troubled_until, self.network.last_arrival, *stalled]))
        await self._rest(self.bucket.last_shown_at - self._loop.time())
        self._players.append(self._player(_LATE_JOINER))
        returning = [player for player in self._players if player.plan.local or player.plan is _LATE_JOINER]
        opens = [self._loop.create_task(_opened(player), name=f"{player.plan.name} opens") for player in returning]
        await self._until_done(opens, "everyone can open")
        await self._settle()
        await self._converge()
        await self._close()
        self.ledger.check_end()
        check_log(self.ledger, self.recorder)
        if isinstance(self.ledger, Ledger):
            check_observers(self.ledger, self.recorder)
        taken_back = [write for write in self.recorder.writes if write.resurrected or is_refused(write)]
        if self.recorder.counts["opened behind"]:
            return  # a process that died before it had saved what it had read: its writes outlive what it saw
        if not any(write.version in self.ledger.places for write in taken_back):
            # else the history shows it, and shows it taken back
            check_causality(self.ledger, self.recorder, calm=self.plan.calm)

    def _sessions(self) -> list[Session]:
        sessions = [player.session for player in self._players if player.session is not None]
        return [session for session in sessions if session.is_open]

    async def _settle(self) -> None:
        for session in self._sessions():
            session.may_echo = False
        patience = self._patience()
        deadline = self._loop.time() + patience
        while left := [write for session in self._sessions() for write in session.unsettled()]:
            if self._loop.time() >= deadline:
                names = ", ".join(f"{write.session.name}: {write.version}" for write in left)
                self.recorder.complain("everything commits", f"pending {patience:.0f} s after the last fault: {names}")
                return
            await self._pass(patience / 500)

    async def _converge(self) -> None:
        if isinstance(self.ledger, Chronicle):
            await self._rest(_UNTIL_SETTLED)
        for _ in range(_TRIES_TO_CONVERGE):
            length = self.ledger.length
            reads = [
                self._loop.create_task(session.read_all(), name=f"{session.life}'s last look")
                for session in self._sessions()
            ]
            await self._until_done(reads, "refresh works")
            await self._pass(2 * _LATE_JOINER.poll)
            if self.ledger.length == length:
                break  # else somebody tidied up meanwhile
        final = final_ids(self.ledger, self.recorder)
        tries, before = 0, list[list[tuple[Watcher, str]]]()
        for _ in range(_LOOKS_AT_MOST):
            behind = [session.behind(final) for session in self._sessions()]
            tries = tries + 1 if behind == before else 0  # one that still delivers what it fetches is not at its end
            if not any(behind) or tries == _TRIES_TO_CONVERGE:
                break
            before = behind
            await self._pass(_LONGEST_BACKOFF / 2)
        for session in self._sessions():
            session.check_end(final)

    async def _close(self) -> None:
        for player in self._players:
            session, player.session = player.session, None
            if session is not None and session.is_open and (keys := await session.close(10.0)):
                self.recorder.complain("everything commits", f"{session.life} closes without {keys}")

    # -- parts -----------------------------------------------------------------------------------------------

    def _player(self, plan: ClientPlan) -> Player:
        stalls = [stall for stall in self.plan.stalls if stall.client == plan.name]

        troubles = [one for one in self.plan.outages if one.how == "disk full" and one.client in ("", plan.name)]
        disk = SimDisk(self._loop, f"{self.plan.seed} {plan.name}", troubles, self.recorder.note)

        def new_session(client: ClientPlan, life: Life) -> Session:
            return Session(
                self.plan, client, life, self.bucket, self.network, disk, self.ledger, self.recorder, self._belfry
            )

        return Player(plan, self.recorder, stalls, disk, self._players, new_session)

    async def _until_done(self, tasks: list[asyncio.Task[None]], rule: str) -> None:
        """Wait for tasks, for as long as faults last and the time to settle after that."""
        steps = max((client.duration for client in self.plan.clients), default=0.0)
        end = max(self.plan.troubled_until, self._loop.time()) + steps
        if tasks:
            await asyncio.wait(tasks, timeout=end - self._loop.time() + self._patience() * 4)
        for task in tasks:
            if not task.done():
                self.recorder.complain(rule, f"{task.get_name()} hangs")
            elif (error := task.exception()) is not None:
                self.recorder.complain("nothing unexpected fails", f"{task.get_name()}: {error!r}")

    def _patience(self) -> float:
        return _SETTLING + _SETTLING_POLLS * max((client.poll for client in self.plan.clients), default=0.0)

    async def _rest(self, seconds: float) -> None:
        """Let time pass in which nothing is done, and little else happens than that clients look for news and tidy up.

        In most histories they stand still for most of it, as laptops do overnight: the looks make for nearly all of the
        time that it takes to run a history, and for nothing new.
        """
        still = seconds - _AWAKE_AFTER_REST
        if still > 0 and self._rng.random() < _STAND_STILL:
            now = self._loop.time()
            for player in self._players:
                player.stalls.append(Stall(player.plan.name, now, now + still))
        if seconds > 0:
            await self._pass(seconds)

    async def _pass(self, seconds: float) -> None:
        passed = self._loop.create_future()
        self._loop.call_later(seconds, passed.set_result, None)
        await passed

    async def _pass_until(self, moment: float) -> None:
        if moment > self._loop.time():
            await self._pass(moment - self._loop.time())

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.recorder.complain("nothing unexpected fails", f"unhandled: {context.get('message')}: {error!r}")

    def hear(self, record: logging.LogRecord) -> None:
        """The library logged an error."""
        self.recorder.complain("nothing unexpected fails", f"logged: {record.getMessage()}")


async def _opened(player: Player) -> None:
    await player.open()
