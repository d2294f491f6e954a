"""A program as a newcomer would write it: two players share a score board, wherever the URL says.

Which storage that is, is nowhere but in the URL and the environment.
"""

import asyncio
import json
import sys

import rxmps3


async def main(url: str, me: str, other: str) -> None:
    async with rxmps3.connect(url, by=me, poll=0.2) as db:
        finished = asyncio.Event()

        def show(scores: dict[str, int]) -> None:
            print(json.dumps(dict(scores)), flush=True)
            if scores.get(f"score/{me}") == scores.get(f"score/{other}") == 3:
                finished.set()

        db.observe_prefix("score/").subscribe(show)
        for score in (1, 2, 3):
            await db.put(f"score/{me}", score)
        await finished.wait()


asyncio.run(main(*sys.argv[1:]))
