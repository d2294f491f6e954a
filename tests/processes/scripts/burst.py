"""Puts numbers one after the other for as long as it lives, and says each one that it knows to be stored.

Arguments: a JSON object with ``url``, ``options``, ``local``, ``first`` (the first number), ``large`` (every so many
numbers a large value, 0 for none), ``pause`` (seconds between three puts and the next three). It opens its database when a line arrives on its standard input,
and says ``["opened", pending]``, ``["putting", n]`` before a put, ``["stored", n]`` and ``["committed", n]`` after it.
"""

import asyncio
import json
import sys
from typing import Any

import rxmps3


def say(*what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def opened(plan: Any) -> rxmps3.Database:
    """Opening for the first time fails where the bucket does not answer: try until it does."""
    while True:
        try:
            return await rxmps3.connect(plan["url"], local=plan["local"], **plan["options"])
        except rxmps3.Unavailable:
            await asyncio.sleep(0.05)


async def main() -> None:
    plan = json.loads(sys.argv[1])
    sys.stdin.readline()
    async with await opened(plan) as db:
        say("opened", len(db.pending.value))
        number = plan["first"]
        background: set[asyncio.Task[None]] = set()

        async def follow(receipt: rxmps3.Receipt, number: int) -> None:
            await receipt
            say("committed", number)

        while True:
            burst = []
            for _ in range(3):
                say("putting", number)
                large = plan["large"] and number % plan["large"] == 0
                receipt = db.put(f"{number:09}", [number, "L" * 5000] if large else number)
                burst.append((receipt, number))
                task = asyncio.create_task(follow(receipt, number))
                background.add(task)
                task.add_done_callback(background.discard)
                number += 1
            for receipt, stored in burst:
                await receipt.stored
                say("stored", stored)
            await asyncio.sleep(plan["pause"])


asyncio.run(main())
