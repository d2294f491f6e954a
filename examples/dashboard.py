"""Workers count things, each in a process and under a key of its own; a dashboard adds up what they share.

    python examples/dashboard.py [URL]

The URL defaults to a new folder; s3://BUCKET/PREFIX works the same. Sums need no lock: each key has one writer.
"""

import asyncio
import os
import sys
import tempfile

import reactivex as rx
from reactivex import operators as ops

import rxmps3

GOAL = 20


async def work(url, name):
    async with rxmps3.connect(url, by=name, poll=0.2) as db:
        over = asyncio.Event()
        db.observe("over", False).pipe(ops.filter(bool)).subscribe(lambda _: over.set())
        counted = 0
        while not over.is_set():
            counted += 1
            await db.put(f"worker/{name}-{os.getpid()}", counted)
            await asyncio.sleep(0.05)


async def show(url):
    async with rxmps3.connect(url, by="dashboard", poll=0.2) as db:
        db.put_all({"goal": GOAL, "over": False})
        progress = rx.combine_latest(db.observe_prefix("worker/"), db.observe("goal", 0)).pipe(
            ops.map(lambda both: (sum(both[0].values()), both[1], len(both[0]))),
            ops.sample(0.1, scheduler=db.scheduler),
            ops.distinct_until_changed(),
            ops.take_while(lambda now: now[0] < now[1], inclusive=True),
        )
        async with db.iterate(progress, keep="all") as news:
            async for total, goal, workers in news:
                print(f"{total} of {goal}, by {workers} workers", flush=True)
        await db.put("over", True)


async def main(url):
    command = [sys.executable, __file__, "--work", url]
    workers = [await asyncio.create_subprocess_exec(*command, name) for name in ("ana", "bob")]
    await show(url)
    print("exit codes of the workers:", [await worker.wait() for worker in workers])


if sys.argv[1:2] == ["--work"]:
    asyncio.run(work(*sys.argv[2:]))
else:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "file:" + tempfile.mkdtemp(prefix="dashboard-")))
