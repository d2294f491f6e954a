"""A writer in a process of its own, for `tests.benchmarks.propagation`: ``python -m tests.benchmarks.ringer``.

It reads JSON lines. The first has the arguments of `rxmps3.connect`. Then ``{"put": n}`` commits a value, and ``{"ring":
topic}`` rings the bell alone; each is answered by the moment, by the clock that all processes of this machine share: that
at which the commit was confirmed here, or just before the ring.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import rxmps3
from rxmps3 import bells


async def main() -> None:
    async def read() -> Any:
        line = await asyncio.to_thread(sys.stdin.readline)
        return json.loads(line) if line else None

    def answer(moment: float) -> None:
        print(json.dumps(moment), flush=True)

    options = await read()
    url = options.pop("url")
    bell = bells.from_url(options["bell"]) if isinstance(options.get("bell"), str) else None
    async with rxmps3.connect(url, poll=600, **options) as db:
        await db.put("key", -1)
        answer(time.perf_counter())
        while (asked := await read()) is not None:
            if "ring" in asked:
                assert bell is not None
                began = time.perf_counter()
                waiting = bell.ring(asked["ring"])
                if waiting is not None:
                    await waiting
                answer(began)
            else:
                await db.put("key", asked["put"])
                answer(time.perf_counter())


if __name__ == "__main__":
    asyncio.run(main())
