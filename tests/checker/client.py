"""One client of a run: writes, reads and watches until it is told to stop, and records what it does and sees.

Arguments: a JSON object with ``url``, ``options``, ``client``, ``life``, ``record`` (the file), ``seed``, ``pause`` (the
longest between two steps, in seconds), ``conditions`` (whether the log has those), ``compacts``, ``idle`` (it only reads, at the end). It is told things
by lines on its standard input, ``"flush"`` and ``"finish"``, and repeats each when it has done it; it says ``"ready"`` before.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from typing import Any

import rxmps3
from tests.checker.trace import COUNTER, MISSING_VALUE, SHARED, TAGS, Seen, difference, id_of, tag_key, value_of

_PATIENCE = 90.0
"""Seconds for what is pending to be committed at the end of a run."""


class Client:
    """See the module."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._rng = random.Random(plan["seed"])
        self._record = open(plan["record"], "ab", buffering=0)
        self._shown: Seen = {}
        self._number = 0
        self._waiting: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def note(self, event: str, **rest: Any) -> None:
        """Record something. What was written survives the process."""
        self._record.write(json.dumps({"e": event, "t": time.monotonic(), **rest}).encode() + b"\n")

    async def run(self) -> None:
        """Live."""
        orders: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        reader = loop.run_in_executor(None, _listen, loop, orders)
        try:
            db = await self._opened()
        except rxmps3.Error as error:
            self.note("stopped", why=f"cannot open: {type(error).__name__}: {error}")
            for _ in range(2):
                _answer(await orders.get())
            return
        db.errors.subscribe(lambda failure: self.note("error", why=str(failure)[:300]))
        db.observe_prefix("").subscribe(self._see)
        _answer("ready")
        work = asyncio.create_task(self._work(db))
        order = await orders.get()
        self._stopping.set()
        await work
        flushed = await self._flush(db)
        _answer(order)
        order = await orders.get()
        if flushed:
            try:
                async with asyncio.timeout(_PATIENCE):
                    self.note("final", keys=await self._read(db))
            except (rxmps3.Error, TimeoutError) as error:
                self.note("stopped", why=f"cannot read at the end: {type(error).__name__}: {error}")
        _answer(order)
        try:
            await db.close(timeout=5)
        except rxmps3.NotSent as error:
            self.note("error", why=str(error)[:300])
        await reader

    async def _opened(self) -> rxmps3.Database:
        while True:
            try:
                return await rxmps3.connect(self._plan["url"], by=self._plan["client"], **self._plan["options"])
            except rxmps3.Unavailable as error:
                self.note("error", why=f"opening: {error}"[:300])
                await asyncio.sleep(0.1)

    async def _read(self, db: rxmps3.Database) -> Seen:
        """All there is now. A look that the network refuses is taken again: one may still be under way from before."""
        while True:
            try:
                await db.refresh()
                return await _everything(db)
            except rxmps3.Unavailable as error:
                self.note("error", why=f"reading: {error}"[:300])
                await asyncio.sleep(0.1)

    def _see(self, values: Any) -> None:
        now: Seen = {key: id_of(value) for key, value in values.items()}
        self.note("seen", keys=difference(self._shown, now))
        self._shown = now

    async def _flush(self, db: rxmps3.Database) -> bool:
        until = time.monotonic() + _PATIENCE
        while (self._waiting or db.pending.value) and time.monotonic() < until:
            await asyncio.sleep(0.05)  # what an earlier life left behind is pending, too
        if self._waiting or db.pending.value:
            left = max(len(self._waiting), len(db.pending.value))
            self.note("stopped", why=f"{left} writes stay pending: {db.status.value.last_error!r}")
            return False
        return True

    # -- work ----------------------------------------------------------------------------------------------------

    async def _work(self, db: rxmps3.Database) -> None:
        if self._plan["idle"]:
            return
        compacted = time.monotonic()
        while not self._stopping.is_set():
            chance = self._rng.random()
            if len(self._waiting) > TAGS // 2:
                await asyncio.wait(self._waiting, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            elif chance < 0.62:
                self._write(db)
            elif chance < 0.70 and self._plan["conditions"]:
                self._increment(db)
            elif chance < 0.95:
                await self._read(db, fresh=chance > 0.92)
            elif self._plan["compacts"] and time.monotonic() > compacted + 4:
                compacted = time.monotonic()
                await self._attempt(db.compact(), "compact")
            if self._rng.random() < 0.5:
                await asyncio.sleep(self._rng.uniform(0, self._plan["pause"]))

    def _next(self) -> tuple[str, Seen]:
        id = f"{self._plan['client']}.{self._plan['life']}.{self._number}"
        tag = tag_key(self._plan["client"], self._number, self._plan["life"])
        self._number += 1
        return id, {tag: id}

    def _write(self, db: rxmps3.Database) -> None:
        id, update = self._next()
        for key in self._rng.sample(SHARED, self._rng.choice((0, 1, 1, 2, 3))):
            update[key] = None if self._rng.random() < 0.25 else id
        self.note("call", id=id, update=update)
        value = value_of(id)
        try:
            receipt = db.put_all({key: rxmps3.MISSING if to is None else value for key, to in update.items()})
        except rxmps3.Error as error:
            self.note("fail", id=id, why=f"{type(error).__name__}: {error}"[:300])
            return
        self._follow(self._end_of(id, receipt))

    async def _end_of(self, id: str, receipt: rxmps3.Receipt) -> None:
        try:
            await receipt.stored
            self.note("stored", id=id)
            await receipt
            self.note("ack", id=id)
        except rxmps3.Error as error:
            self.note("fail", id=id, why=f"{type(error).__name__}: {error}"[:300])

    def _increment(self, db: rxmps3.Database) -> None:
        id, _ = self._next()
        update: Seen = {COUNTER: id}
        self.note("call", id=id, update=update)

        async def increment() -> None:
            try:
                await db.update(COUNTER, lambda old: {"w": id, "n": 1 if old is None else old["n"] + 1}, default=None)
                self.note("ack", id=id)
            except rxmps3.Error as error:
                self.note("fail", id=id, why=f"{type(error).__name__}: {error}"[:300])

        self._follow(increment())

    def _follow(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _read(self, db: rxmps3.Database, *, fresh: bool) -> None:
        key = self._rng.choice(SHARED)
        since = time.monotonic()
        try:
            async with asyncio.timeout(5):
                if fresh:
                    await db.refresh()
                value = await db.get(key, default=rxmps3.MISSING)
        except (rxmps3.Error, TimeoutError) as error:
            self.note("error", why=f"get: {type(error).__name__}: {error}"[:300])
            return
        seen = {key: None if value is rxmps3.MISSING else id_of(value)}
        self.note("fresh" if fresh else "read", keys=seen, since=since)

    async def _attempt(self, work: Any, name: str) -> None:
        try:
            async with asyncio.timeout(10):
                await work
        except (rxmps3.Error, TimeoutError) as error:
            self.note("error", why=f"{name}: {type(error).__name__}: {error}"[:300])


def _listen(loop: asyncio.AbstractEventLoop, orders: asyncio.Queue[str]) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        loop.call_soon_threadsafe(orders.put_nowait, order)
        if order == "finish":
            return
    os._exit(1)  # whoever started this is gone


async def _everything(db: rxmps3.Database) -> dict[str, str]:
    """Of which write each key's value is; `MISSING_VALUE` where the value's object is gone."""
    try:
        return {key: id_of(value) for key, value in (await db.get_prefix("")).items()}
    except rxmps3.Corrupt:
        found: dict[str, str] = {}
        for key in sorted(db.keys()):
            try:
                found[key] = id_of(await db.get(key))
            except rxmps3.Corrupt:
                found[key] = MISSING_VALUE
        return found


def _answer(order: str) -> None:
    print(json.dumps(order), flush=True)


if __name__ == "__main__":
    asyncio.run(Client(json.loads(sys.argv[1])).run())
