"""Histories in which the bucket is emptied, made anew or put back to an earlier copy while clients read and write.

The rest of the simulator has one true log, which only grows. Here the log that counts is whatever the head in the bucket
names at the moment, so these histories have a world and promises of their own:

* no write is acknowledged that is not in that log, but for `LIVE_FOR` after the strike, and the time of one request;
  and what is acknowledged then in vain is named by the error that follows;
* who observes notices within that time and one poll;
* nobody shows anything but a state of the log that it is on;
* what is left can be opened: at once, or once `rxmps3 repair` was there; and everybody who opens it anew agrees on it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import rxmps3
from rxmps3 import Corrupt, Database, Error, Gone, Rejected, Replaced, Unavailable
from rxmps3.log.sequenced.repair import carry_out, examine
from rxmps3.log.server_clock import LIVE_FOR
from rxmps3.replica.receipt import Receipt
from rxmps3.runtime.clock import Random
from rxmps3.testing.virtual import Deadlock, Livelock, SimClock, VirtualLoop, end_loop
from tests.simulator.bucket import SimBucket
from tests.simulator.life import Life
from tests.simulator.network import Network, SimStorage
from tests.simulator.plan import Weather

__all__ = ["STRIKES", "StrikeReport", "play_strike"]

Strike = Literal["emptied", "made anew", "put back"]
STRIKES: tuple[Strike, ...] = ("emptied", "made anew", "put back")

_CHANCES = (("lost", 0.02), ("drop", 0.02), ("resend", 0.02), ("unavailable", 0.02), ("slow", 0.02), ("late", 0.01))
_PATIENCE = 3.0
_BEFORE, _AFTER = 60.0, 60.0
_COPIED = 15.0
"""A copy that is put back is so many seconds old at least: see `docs/protocol.md`."""
_ANSWERS = 6 * _PATIENCE
"""For the requests between a strike and what follows from it, some of which fail and are sent again."""
_KEYS = 4
_TURNS = 500_000


@dataclass
class StrikeReport:
    """What a history came to: the promises that were broken, and what happened in it."""

    seed: int
    strike: Strike
    violations: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    counts: Counter[str] = field(default_factory=Counter[str])
    trace: list[str] = field(default_factory=list[str], repr=False)

    @property
    def rules(self) -> set[str]:
        """The promises that were broken."""
        return {rule for rule, _ in self.violations}


def play_strike(seed: int, strike: Strike) -> StrikeReport:
    """One random history: the same seed is the same one."""
    loop = VirtualLoop(_TURNS)
    world = _World(loop, seed, strike)
    with _quiet():
        try:
            loop.run_until_complete(world.run())
        except (Deadlock, Livelock) as error:
            world.complain(type(error).__name__.lower(), str(error))
        finally:
            loop.set_exception_handler(lambda loop, context: None)
            end_loop(loop)
    return world.report


@contextmanager
def _quiet() -> Generator[None, None, None]:
    logger = logging.getLogger("rxmps3")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@dataclass
class _Log:
    """The log that the head in the bucket names: the states after its entries, and its writes."""

    id: str = ""
    states: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    versions: set[str] = field(default_factory=set[str])


class _World:
    """The bucket, its clients, and who strikes."""

    def __init__(self, loop: VirtualLoop, seed: int, strike: Strike) -> None:
        self.report = StrikeReport(seed, strike)
        self.rng = Random(f"strike {seed} {strike}")
        self.loop = loop
        weather = Weather(chances=_CHANCES, patience=_PATIENCE, lateness=20.0, clear_at=_BEFORE + _AFTER)
        self.network = Network(loop, seed, weather, (), (), None, self._note)
        self.bucket = SimBucket(loop, seed, weather, self, versioning=False)
        self.struck_at = float("inf")
        self._clients: list[_Client] = []

    # -- as witness of the bucket ----------------------------------------------------------------------------

    def stored(self, name: str, body: bytes, who: str, version: str | None) -> None:
        self.report.counts["stored"] += 1

    def deleted(self, name: str, who: str, version: str | None) -> None:
        pass

    def read(self, name: str) -> None:
        pass

    def _note(self, *what: object) -> None:
        self.report.trace.append(f"{self.loop.time():9.3f} " + " ".join(map(str, what)))

    # ---------------------------------------------------------------------------------------------------------

    def complain(self, rule: str, what: str) -> None:
        self.report.violations.append((rule, f"{what} (at {self.loop.time():.3f} s)"))

    def storage(self, life: Life) -> SimStorage:
        return SimStorage(self.bucket, self.network, life)

    def log(self) -> _Log:
        """Read without the library."""
        head = self.bucket.read("main/head")
        if head is None:
            return _Log()
        log = _Log(json.loads(head)["log"])
        chain = hashlib.sha256(log.id.encode()).hexdigest()
        while True:
            body = self.bucket.read(f"main/{log.id}/log/{len(log.states):020d}")
            if body is None or json.loads(body)["previous"] != chain:
                return log
            chain = hashlib.sha256(body).hexdigest()
            entry = json.loads(body)
            state = dict(log.states[-1])
            for write in entry["writes"]:
                version = f"{write.get('writer', entry['writer'])}-{write['number']}"
                if version not in log.versions:
                    state.update({key: item["value"] for key, item in write["update"].items()})
                log.versions.add(version)
            log.states.append(state)

    async def run(self) -> None:
        rng = self.rng
        for number in range(rng.randrange(2, 5)):
            self._clients.append(_Client(self, f"c{number}", poll=rng.choice((1.0, 5.0)), live=rng.random() < 0.7))
        scripts = [self.loop.create_task(client.run(), name=client.name) for client in self._clients]
        await asyncio.sleep(_BEFORE * rng.uniform(0.3, 0.6))
        copied = self.bucket.copy()
        await asyncio.sleep(_COPIED + _BEFORE * rng.uniform(0.1, 0.4))
        self._note("the bucket is", self.report.strike)
        self.struck_at = self.loop.time()
        self.bucket.put_back(copied if self.report.strike == "put back" else {})
        if self.report.strike == "made anew":
            usurper = _Client(self, "usurper", poll=1.0, live=True)
            self._clients.append(usurper)
            scripts.append(self.loop.create_task(usurper.run(), name="usurper"))
        await asyncio.sleep(_AFTER)
        for client in self._clients:
            client.stops = True
        await asyncio.sleep(LIVE_FOR.total_seconds() + _ANSWERS + 20)
        await self._repair()
        for script in scripts:
            await script
        await asyncio.sleep(LIVE_FOR.total_seconds() + _ANSWERS)
        last = _Client(self, "last", poll=1.0, live=False)
        await last.open()
        await last.db.put("the end", 1)
        await asyncio.sleep(5)
        for client in [*self._clients, last]:
            await client.check_end()

    async def _repair(self) -> None:
        storage, clock = self.storage(Life("operator", 0, ())), SimClock("operator")
        found = await examine(storage, "main", nonce=clock.new_id())
        if found.is_needed:
            self.report.counts["repaired"] += 1
            self._note("repair", found)
            await carry_out(storage, found, "aside")


class _Client:
    """Opens, puts now and then, opens anew when it is told that its database is not there any more."""

    def __init__(self, world: _World, name: str, *, poll: float, live: bool) -> None:
        self.name = name
        self.stops = False
        self._world = world
        self._rng = Random(f"{world.report.seed} {name}")
        self._poll = poll
        self._live = live
        self._pace = self._rng.choice((0.5, 4.0, 25.0))
        self._lives = 0
        self._db: Database | None = None
        self._vain: dict[str, float] = {}
        self._told_at: float | None = None
        self._made = 0

    @property
    def db(self) -> Database:
        assert self._db is not None
        return self._db

    async def open(self) -> None:
        world = self._world
        life = Life(self.name, self._lives, ())
        self._lives += 1
        while True:
            try:
                self._db = db = await rxmps3.connect(
                    world.storage(life),
                    clock=SimClock(f"{world.report.seed} {life}", machine=life),
                    shared=False,
                    poll=self._poll,
                    live=self._live,
                    protocol="sequenced",
                )
                break
            except Unavailable:
                await asyncio.sleep(1)
            except Corrupt as error:
                if world.struck_at > world.loop.time() or "rxmps3 repair" not in str(error):
                    world.complain("what is left can be opened", f"{life}: {error}")
                    return
                world.report.counts["waited for repair"] += 1
                await asyncio.sleep(3)
        self._vain, self._told_at = {}, None
        db.status.subscribe(lambda status: self._hear(status.last_error))

    def _hear(self, error: Error | None) -> None:
        world = self._world
        if isinstance(error, (Gone, Replaced)) and self._told_at is None:
            self._told_at = world.loop.time()
            world.report.counts[type(error).__name__] += 1
            world._note(self.name, "is told:", error)  # pyright: ignore[reportPrivateUsage]
            if world.loop.time() < world.struck_at:
                world.complain("nobody is told of a strike that was none", f"{self.name}: {error}")
            for version in self._vain.keys() - set(error.unconfirmed):
                world.complain("what was acknowledged in vain is named", f"{self.name}: {version}")

    async def run(self) -> None:
        await self.open()
        while not self.stops and self._db is not None:
            await asyncio.sleep(self._rng.expovariate(1 / self._pace))
            if self.stops:
                return
            if self._told_at is not None:
                await self.db.close(timeout=0)
                await self.open()
            else:
                await self._put()

    async def _put(self) -> None:
        self._made += 1
        try:
            receipt = self.db.put(f"k{self._rng.randrange(_KEYS)}", f"{self.name} {self._made}")
        except (Gone, Replaced):
            return
        self._world.loop.create_task(self._follow(receipt), name=f"{self.name} follows")
        if self._rng.random() < 0.5:
            await asyncio.wait([self._world.loop.create_task(_settled(receipt))], timeout=20)

    async def _follow(self, receipt: Receipt) -> None:
        world = self._world
        try:
            version = await receipt
        except (Rejected, Gone, Replaced, rxmps3.Closed, rxmps3.NotSent):
            return
        now = world.loop.time()
        world.report.counts["acknowledged"] += 1
        if version in world.log().versions:
            return
        world.report.counts["acknowledged in vain"] += 1
        if now > world.struck_at + LIVE_FOR.total_seconds() + _PATIENCE:
            late = f"{self.name}: {version}, {now - world.struck_at:.1f} s after the bucket was {world.report.strike}"
            world.complain("what is acknowledged is in the log", late)
        self._vain[version] = now

    async def check_end(self) -> None:
        if self._db is None:
            return
        world, log, db = self._world, self._world.log(), self.db
        if self._told_at is not None:
            late = self._told_at - world.struck_at - LIVE_FOR.total_seconds() - self._poll
            if self._live and self._lives == 1 and late > _ANSWERS:
                world.complain("who observes notices", f"{self.name} only {late:.1f} s later")
            return
        try:
            await db.refresh()
        except (Gone, Replaced) as error:
            if self._live:
                world.complain("who observes notices", f"{self.name} is told at the end only: {error}")
            return
        except Error as error:
            world.complain("what is left can be opened", f"{self.name} at the end: {error}")
            return
        state = dict(await db.get_prefix(""))
        if state != log.states[-1]:
            world.complain("everybody agrees", f"{self.name} has {state}, the log {log.states[-1]}")


async def _settled(receipt: Receipt) -> None:
    try:
        await receipt
    except Error:
        pass
