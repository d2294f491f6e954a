"""Plays on databases as its standard input says: one JSON command a line, one JSON answer a line.

A command names a method of `Player` in ``do`` and carries its arguments; the answer is ``{"result": …}`` or
``{"error": [class, text]}``. Commands are carried out one after the other. At the end of the input it closes
everything and ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import rxmps3
from rxmps3.replica.receipt import Receipt

MOST_SECONDS = 45.0


class Player:
    def __init__(self) -> None:
        self.databases: dict[str, rxmps3.Database] = {}
        self.seen: dict[tuple[str, str], list[Any]] = {}
        self.receipts: dict[tuple[str, str], Receipt] = {}
        self.errors: dict[str, list[str]] = {}

    async def open(self, url: str, options: dict[str, Any] | None = None, db: str = "a") -> dict[str, Any]:
        opened = await rxmps3.connect(url, shared=False, **(options or {}))
        self.databases[db] = opened
        self.errors[db] = []
        opened.errors.subscribe(lambda failure: self.errors[db].append(str(failure)))
        return {"keys": len(opened), "pending": [list(receipt.keys) for receipt in opened.pending.value]}

    async def close(self, db: str = "a", timeout: float = 10.0) -> None:
        for key in [key for key in self.seen if key[0] == db]:
            del self.seen[key]
        await self.databases.pop(db).close(timeout)

    async def close_all(self) -> None:
        await asyncio.gather(*(self.close(db) for db in list(self.databases)))

    async def put(self, key: str, value: Any, db: str = "a", until: str = "committed") -> str:
        receipt = self.receipts[db, key] = self.databases[db].put(key, value)
        if until == "committed":
            await receipt
        elif until == "stored":
            await receipt.stored
        return receipt.version

    async def put_many(self, items: list[tuple[str, Any]], db: str = "a", until: str = "committed") -> list[str]:
        """Put one after the other without awaiting, then await all; the answer is the versions."""
        receipts = [self.databases[db].put(key, value) for key, value in items]
        if until == "committed":
            return [await receipt for receipt in receipts]
        if until == "stored":
            return [await receipt.stored for receipt in receipts]
        return [receipt.version for receipt in receipts]

    async def put_all_times(self, keys: list[str], times: int, padding: list[int], db: str = "a") -> None:
        """So many atomic writes of the same keys, each with one number for all and values of these sizes."""
        database = self.databases[db]
        for number in range(times):
            receipt = database.put_all({key: [number, "x" * size] for key, size in zip(keys, padding, strict=True)})
            if number % 3 == 2:
                await receipt
        await receipt

    async def burst(self, key: str, times: int, db: str = "a") -> None:
        """Start putting to keys of one's own and answer at once: the writes go out after that."""
        for number in range(times):
            self.databases[db].put(f"{key}/{number:06}", number)

    async def stage(self, key: str, db: str = "a") -> str:
        return self.receipts[db, key].stage

    async def committed(self, key: str, db: str = "a") -> str:
        return await self.receipts[db, key]

    async def flushed(self, db: str = "a") -> None:
        """Wait until nothing is pending."""
        database = self.databases[db]
        while receipts := database.pending.value:
            await asyncio.gather(*map(_awaited, receipts))

    async def observe(self, key: str, db: str = "a") -> None:
        seen = self.seen[db, key] = []
        self.databases[db].observe(key).subscribe(seen.append)

    async def observe_prefix(self, prefix: str, db: str = "a") -> None:
        seen = self.seen[db, prefix] = []
        self.databases[db].observe_prefix(prefix).subscribe(lambda value: seen.append(dict(value)))

    async def emissions(self, key: str, db: str = "a") -> list[Any]:
        return self.seen[db, key]

    async def seen_last(self, key: str, value: Any, db: str = "a") -> list[Any]:
        """Wait until the stream's newest emission is this; all its emissions so far."""
        seen = self.seen[db, key]
        while not seen or seen[-1] != value:
            await asyncio.sleep(0.005)
        return seen

    async def put_and_look(self, key: str, value: Any, db: str = "a") -> list[Any]:
        """What the stream of a key has emitted when ``put`` has returned, before anything is awaited."""
        before = len(self.seen[db, key])
        self.databases[db].put(key, value)
        return self.seen[db, key][before:]

    async def get(self, key: str, db: str = "a") -> Any:
        return await self.databases[db].get(key)

    async def everything(self, db: str = "a", refresh: bool = True) -> dict[str, Any]:
        if refresh:
            await self.databases[db].refresh()
        return await self.databases[db].get_prefix()

    async def pending(self, db: str = "a") -> list[list[str]]:
        return [list(receipt.keys) for receipt in self.databases[db].pending.value]

    async def status(self, db: str = "a") -> dict[str, Any]:
        status = self.databases[db].status.value
        return {
            "online": status.online,
            "error": type(status.last_error).__name__ if status.last_error else None,
            "pending": status.pending,
        }

    async def failures(self, db: str = "a") -> list[str]:
        return self.errors[db]


async def _awaited(receipt: Receipt) -> None:
    await receipt


async def main() -> None:
    player = Player()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        try:
            async with asyncio.timeout(MOST_SECONDS):
                result = await getattr(player, command.pop("do"))(**command)
            answer: dict[str, Any] = {"result": result}
        except Exception as error:
            answer = {"error": [type(error).__name__, str(error)]}
        print(json.dumps(answer), flush=True)
    await player.close_all()


asyncio.run(main())
