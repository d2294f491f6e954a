"""Moves money between accounts, counts that and notes it in a list, with short breaks, until its input closes.

Arguments: a JSON object with ``url``, ``options``, ``name``. It says ``"ready"`` once it is open, and ``["moved", n]``
after its n-th move.
"""

import asyncio
import json
import random
import sys
from typing import Any

import rxmps3


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main() -> None:
    plan = json.loads(sys.argv[1])
    name, moved, chance = plan["name"], 0, random.Random(plan["name"])
    reading = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    async with rxmps3.connect(plan["url"], poll=0.1, by=name, **plan["options"]) as db:
        say("ready")

        async def move(tx: Any) -> None:
            accounts = await tx.get_prefix("account/")
            source, target = chance.sample(sorted(accounts), 2)
            amount = chance.randint(0, accounts[source])
            tx.put_all({source: accounts[source] - amount, target: accounts[target] + amount})
            tx.put(f"moves/{name}", await tx.get(f"moves/{name}", 0) + 1)

        while not reading.done():
            await db.transact(move, attempts=100)
            moved += 1
            say(["moved", moved])
            await db.merge("list", [f"{name} {moved}"], {"mergeStrategy": "append"})
            await asyncio.sleep(chance.uniform(0, 0.1))


asyncio.run(main())
