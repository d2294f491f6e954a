"""Is there, says so, and goes the way it is told to: by the name of a face, and its standard input's end."""

import asyncio
import json
import sys
from typing import Any

import rxmps3
import rxmps3.blocking

MANNERS: dict[str, Any] = {"every": 0.3, "ttl": 4.0, "poll": 0.2}


async def on_a_loop(url: str, options: dict[str, Any]) -> None:
    async with (
        rxmps3.connect(url, by="async", **options) as db,
        db.iterate(db.presence({"face": "async"}, **MANNERS)) as seen,
    ):
        print(json.dumps([one.by for one in (await anext(seen)).values()]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def without_await(url: str, options: dict[str, Any]) -> None:
    db = rxmps3.blocking.connect(url, by="blocking", **options)
    here = db.presence({"face": "blocking"}, **MANNERS).__enter__()  # never left, and the database never closed
    for seen in db.iterate(here):
        print(json.dumps([one.by for one in seen.values()]), flush=True)
        break
    sys.stdin.read()


if __name__ == "__main__":
    face, url, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    if face == "async":
        asyncio.run(on_a_loop(url, options))
    else:
        without_await(url, options)
