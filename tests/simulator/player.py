"""One client over all its processes: does its steps, dies when it is told to, starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rxmps3.testing.virtual import SimClock
from tests.simulator.disk import SimDisk, Snapshot
from tests.simulator.life import Life
from tests.simulator.plan import ClientPlan, Stall, Step
from tests.simulator.recorder import Recorder
from tests.simulator.session import Session

__all__ = ["Player"]

_CLOSE_TIMEOUT = 10.0


class Player:
    """Works through the steps of a client.

    Args:
        plan: of the client.
        recorder: of the world.
        stalls: when it stands still; its steps may add to them.
        disk: its own.
        everyone: all players, this one included.
        new_session: what a process does with the database.
    """

    def __init__(
        self,
        plan: ClientPlan,
        recorder: Recorder,
        stalls: list[Stall],
        disk: SimDisk,
        everyone: Sequence[Player],
        new_session: Callable[[ClientPlan, Life], Session],
    ) -> None:
        self.plan = plan
        self.session: Session | None = None
        self._recorder = recorder
        self._new_session = new_session
        self._lives = 0
        self.stalls = stalls
        self.disk = disk
        self._everyone = everyone
        self._backup: Snapshot | None = None
        self._over: asyncio.Future[None] | None = None

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
            await self._do_or_die(step)

    async def _do_or_die(self, step: Step) -> None:
        """Do a step, to its end or to that of the process, which may come from elsewhere."""
        loop = asyncio.get_running_loop()
        self._over = over = loop.create_future()
        doing = loop.create_task(self._do(step), name=f"{self.plan.name}'s {step.verb}")
        if step.dies is None:
            doing.add_done_callback(lambda _: _finish(over))
            await over
        else:
            dead = loop.create_future()
            loop.call_later(step.dies, _finish, dead)
            await dead
            self.die()
        if doing.done():
            doing.result()  # else it hangs for ever: its process is dead

    async def _do(self, step: Step) -> None:
        if step.verb == "close":
            await self.close()
        elif step.verb == "crash":
            self.die()
        elif step.verb == "backup":
            self._backup = self.disk.snapshot()
        elif step.verb == "recover":
            self._recover()
        elif step.verb == "clone":
            self._clone("".join(step.keys))
        else:
            session = await self.open()
            await session.perform(step)

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
        self.disk.restore(self._backup)
        self._recorder.note(self.plan.name, "goes back to its backup")
        self._recorder.counts["recoveries"] += 1
        for write in self._recorder.writes:
            if write.session.client == self.plan.name:
                write.forgettable = True

    def _clone(self, name: str) -> None:
        """Somebody else dies, and begins anew with a copy of this disk; both go on with what is pending on it."""
        other = next((player for player in self._everyone if player.plan.name == name), None)
        if other is None or other is self or not (self.plan.local and other.plan.local):
            return
        other.die()
        other.disk.restore(self.disk.snapshot())
        self._recorder.note(self.plan.name, "has its disk copied to", name)
        self._recorder.counts["clones"] += 1
        for write in self._recorder.writes:
            # one that was taken back just now may still be on the disk
            write.copied = write.copied or not write.settled or write.error is not None
            write.forgettable = write.forgettable or write.session.client == name

    async def close(self) -> None:
        """Close cleanly."""
        session, self.session = self.session, None
        if session is not None:
            await session.close(_CLOSE_TIMEOUT)

    def die(self) -> None:
        """The process is gone from one moment to the next, and with it the power of its machine."""
        session, self.session = self.session, None
        if session is not None:
            session.life.died_at = asyncio.get_running_loop().time()
            self.disk.lose_power()
            self._recorder.note(session.life, "dies")
            self._recorder.counts["deaths"] += 1
            if self._over is not None:
                _finish(self._over)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
