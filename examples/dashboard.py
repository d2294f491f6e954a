"""Workers count things, each in a process and under a key of its own; a dashboard adds up what they share.

    python examples/dashboard.py [URL]

The URL defaults to a new folder; s3://BUCKET/PREFIX works the same. Sums need no lock: each key has one writer.
Ctrl-C ends it early: the dashboard tells the workers through the database, too, and each still sends what it counted.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile

import reactivex as rx
from reactivex import operators as ops

import rxmps3

GOAL = 20


def number(value, default=0):
    """A number as it is. Everybody may write to the bucket, so there may be anything."""
    return value if isinstance(value, int) else default


async def work(url, name):
    async with rxmps3.connect(url, by=name, poll=0.2) as db:
        over = asyncio.Event()
        db.observe("over", False).pipe(ops.filter(bool)).subscribe(lambda _: over.set())
        counted = 0
        while not over.is_set():
            counted += 1
            await db.put(f"worker/{name}-{os.getpid()}", counted)
            await asyncio.sleep(0.05)


async def start_workers(url):
    """Start them such that they leave Ctrl-C to the dashboard."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # processes inherit what is ignored
    try:
        command = [sys.executable, __file__, "--work", url]
        return [await asyncio.create_subprocess_exec(*command, name) for name in ("ana", "bob")]
    finally:
        signal.signal(signal.SIGINT, before)


async def show(db):
    progress = rx.combine_latest(db.observe_prefix("worker/"), db.observe("goal", 0)).pipe(
        ops.map(lambda both: (sum(map(number, both[0].values())), number(both[1], GOAL), len(both[0]))),
        ops.sample(0.1, scheduler=db.scheduler),
        ops.distinct_until_changed(),
        ops.take_while(lambda now: now[0] < now[1], inclusive=True),
    )
    async with db.iterate(progress, keep="all") as news:
        async for total, goal, workers in news:
            print(f"{total} of {goal}, by {workers} workers", flush=True)


async def main(url):
    async with rxmps3.connect(url, by="dashboard", poll=0.2) as db:
        earlier = dict.fromkeys(db.keys("worker/"), rxmps3.MISSING)
        await db.put_all({"goal": GOAL, "over": False} | earlier)
        workers = await start_workers(url)
        try:
            await show(db)
        finally:
            await db.put("over", True)
            print("exit codes of the workers:", [await worker.wait() for worker in workers])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="by default a new folder")
    parser.add_argument("--work", metavar=("URL", "NAME"), nargs=2, help="be a worker")
    asked = parser.parse_args()
    try:
        if asked.work:
            asyncio.run(work(*asked.work))
        else:
            asyncio.run(main(asked.url or "file:" + tempfile.mkdtemp(prefix="dashboard-")))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
