"""A job board: numbers to factor, workers that take them one by one, and a page to watch and to add some.

    pip install 'rxmps3[web]'
    python examples/jobs.py board file:jobs                # the page
    python examples/jobs.py work file:jobs ana             # in other terminals, as many as you like
    python examples/jobs.py add file:jobs 600851475143     # or from here

A worker takes a job in a transaction, so that no other has it. Presence says which are alive: what a killed one was
at is taken by another. s3://BUCKET/PREFIX works the same, from any number of machines.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import reactivex as rx

import rxmps3

PAGE = Path(__file__).with_name("jobs.html")


def factors(number):
    """The prime factors, in order."""
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return [*found, number] if number > 1 or not found else found


def worker_of(job):
    """Who is at a job. Everybody may write to the bucket, so a job may be anything."""
    match job:
        case {"number": int(), "state": "running", "worker": str(worker)}:
            return worker
    return None


def is_free(job, dead):
    match job:
        case {"number": int(number), "state": "waiting"}:
            return 0 < number < 10**15
    return worker_of(job) in dead


async def swap(db, key, before, after):
    """Put a value if there is still the one before; whether it was."""

    async def swapping(tx):
        if same := await tx.get(key) == before:
            tx.put(key, after)
        return same

    return await db.transact(swapping)


async def work(url, name, seconds, patience):
    async with rxmps3.connect(url, by=name, live=True, poll=0.3) as db:
        with db.presence({"name": name}, every=patience / 4, ttl=patience, poll=patience / 8) as here:
            missing = {}  # workers that are at a job and not here, and since when
            news = rx.combine_latest(db.observe_prefix("job/"), here, rx.interval(patience / 4))
            async with db.iterate(news) as latest:
                async for jobs, alive, _ in latest:
                    now = asyncio.get_running_loop().time()
                    working = {worker_of(job) for job in jobs.values()} - {None, *alive}
                    missing = {worker: missing.get(worker, now) for worker in working}
                    dead = {worker for worker, since in missing.items() if now - since > patience}
                    key, job = next((item for item in jobs.items() if is_free(item[1], dead)), ("", {}))
                    mine = job | {"state": "running", "worker": here.id, "by": name}
                    if key and await swap(db, key, job, mine):
                        result = await asyncio.to_thread(factors, job["number"])
                        await asyncio.sleep(seconds)
                        if await swap(db, key, mine, mine | {"state": "done", "factors": result}):
                            print(job["number"], "=", *result, flush=True)


async def add(url, number):
    async with rxmps3.connect(url) as db:
        await db.put_all({db.new_key("job/"): {"number": one, "state": "waiting"} for one in number})


def number(text):
    if not 0 < int(text) < 10**15:  # a page knows no larger ones exactly
        raise argparse.ArgumentTypeError("a number of up to 15 digits")
    return int(text)


async def board(url, port):
    try:
        from rxmps3.homes.web import serve_page
    except ImportError as error:
        sys.exit(f"{error}: pip install 'rxmps3[web]'")
    async with rxmps3.connect(url, by="board", live=True, poll=0.3) as db:
        await serve_page(db, PAGE.read_text("utf-8"), "job/", write=True, port=port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    boarding, working, adding = (commands.add_parser(name) for name in ("board", "work", "add"))
    for command in (boarding, working, adding):
        command.add_argument("url")
    boarding.add_argument("--port", type=int, default=8000)
    working.add_argument("name")
    working.add_argument("--seconds", type=float, default=1.0, help="a job takes so much longer, to be seen")
    working.add_argument("--patience", type=float, default=4.0, help="seconds after which a silent worker is dead")
    adding.add_argument("number", type=number, nargs="+")
    options = vars(parser.parse_args())
    command = {"board": board, "work": work, "add": add}[options.pop("command")]
    try:
        asyncio.run(command(**options))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
