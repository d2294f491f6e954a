"""One client over all its processes: does its steps, dies when it is told to, starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rxmps3.testing.simulator.disk import SimDisk, Snapshot
from rxmps3.testing.simulator.life import Life
from rxmps3.testing.simulator.plan import ClientPlan, Stall, Step
from rxmps3.testing.simulator.recorder import Recorder
from rxmps3.testing.simulator.session import Session
from rxmps3.testing.virtual import SimClock

__all__ = ["Player"]

_CLOSE_TIMEOUT = 10.0


class Player:
    """Works through the steps of a client.

    Args:
        plan: of the client.
        recorder: of the world.
        stalls: when it stands still; its steps may add to them.
        disk: its own.
        new_session: what a process does with the database.
    """

    def __init__(
        self,
        plan: ClientPlan,
        recorder: Recorder,
        stalls: list[Stall],
        disk: SimDisk,
        new_session: Callable[[ClientPlan, Life], Session],
    ) -> None:
        self.plan = plan
        self.session: Session | None = None
        self._recorder = recorder
        self._new_session = new_session
        self._lives = 0
        self.stalls = stalls
        self._disk = disk
        self._backup: Snapshot | None = None

    async def run(self) -> None:
        """Do all steps."""
        pauses = SimClock("player", machine=Life(self.plan.name, -1, self.stalls))
        for step in self.plan.steps:
            if step.wait:
                await pauses.sleep(step.wait)
            if step.sleeps is not None:
                after, seconds = step.sleeps
                start = asyncio.get_running_loop().time() + after
                self._recorder.note(self.plan.name, "will stand still", start, start + seconds)
                self.stalls.append(Stall(self.plan.name, start, start + seconds))
            if step.dies is None:
                await self._do(step)
            else:
                await self._do_and_die(step, step.dies)

    async def _do(self, step: Step) -> None:
        if step.verb == "close":
            await self.close()
        elif step.verb == "crash":
            self.die()
        elif step.verb == "backup":
            self._backup = self._disk.snapshot()
        elif step.verb == "recover":
            self._recover()
        else:
            session = await self.open()
            await session.perform(step)

    async def _do_and_die(self, step: Step, after: float) -> None:
        loop = asyncio.get_running_loop()
        dead = loop.create_future()
        loop.call_later(after, dead.set_result, None)
        last = loop.create_task(self._do(step), name=f"{self.plan.name}'s last step")
        await dead
        self.die()
        if last.done():
            last.result()  # else it hangs for ever: its process is dead

    async def open(self) -> Session:
        """The session, opened if there is none."""
        if self.session is None:
            self.session = session = self._new_session(self.plan, Life(self.plan.name, self._lives, self.stalls))
            self._lives += 1
            await session.open()
        return self.session

    def _recover(self) -> None:
        """Die, and begin anew with an old copy of the disk."""
        if self._backup is None:
            return
        self.die()
        self._disk.restore(self._backup)
        self._recorder.note(self.plan.name, "goes back to its backup")
        self._recorder.counts["recoveries"] += 1
        for write in self._recorder.writes:
            if write.session.client == self.plan.name:
                write.forgettable = True

    async def close(self) -> None:
        """Close cleanly."""
        session, self.session = self.session, None
        if session is not None:
            await session.close(_CLOSE_TIMEOUT)

    def die(self) -> None:
        """The process is gone from one moment to the next."""
        session, self.session = self.session, None
        if session is not None:
            session.life.died_at = asyncio.get_running_loop().time()
            self._recorder.note(session.life, "dies")
            self._recorder.counts["deaths"] += 1
