"""Feature flags, pushed to running services: each flag is on for a percentage of the users.

    pip install 'rxmps3[examples]'
    python examples/feature_flags.py serve file:flags                    # in one terminal, or in several
    python examples/feature_flags.py set file:flags new-checkout 25      # in another: 25 % of the users get it

A service reads one user per line, here from its standard input, and answers with what that user gets. It starts with
the defaults, also when the bucket is out of reach, and follows each change. s3://BUCKET/PREFIX works the same.
"""

import argparse
import asyncio
import hashlib
import sys
import threading
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Annotated

try:
    from pydantic import Field
except ImportError as error:
    sys.exit(f"{error}: pip install 'rxmps3[examples]'")

import rxmps3


@dataclass(frozen=True)
class Flag:
    """For how many of the users a feature is on."""

    percent: Annotated[float, Field(ge=0, le=100)] = 0.0

    def is_on(self, name, user):
        """Whether a user is among them: the same in each service, and for good while the percentage grows."""
        place = int.from_bytes(hashlib.sha256(f"{name}/{user}".encode()).digest()[:8]) / 2**64
        return place * 100 < self.percent


DEFAULTS = {"dark-mode": Flag(100), "new-checkout": Flag(0)}


def key_of(db, name):
    return db.key(f"flag/{name}", Flag, default=DEFAULTS[name])


class Flags:
    """The flags as last heard; the defaults before that."""

    def __init__(self):
        self.known = dict(DEFAULTS)

    def features_of(self, user):
        return [name for name, flag in self.known.items() if flag.is_on(name, user)]

    async def follow(self, url):
        """Keep the flags up to date until cancelled, from the moment on that the bucket can be reached."""
        while True:
            try:
                async with rxmps3.connect(url, poll=0.5, read_only=True) as db:
                    db.errors.subscribe(lambda failure: print(failure, file=sys.stderr))
                    for name in DEFAULTS:
                        key_of(db, name).subscribe(partial(self.hear, name))
                    await asyncio.Event().wait()
            except rxmps3.InvalidOption:
                raise
            except rxmps3.Error as error:
                print(f"the defaults hold: {error}", file=sys.stderr, flush=True)
                await asyncio.sleep(5)

    def hear(self, name, flag):
        self.known[name] = flag
        print(f"{name} is on for {flag.percent:g} %", flush=True)


async def answer(flags):
    """Answer until the input ends. A thread of its own reads it, as a daemon: Ctrl-C does not wait for that."""
    loop, lines = asyncio.get_running_loop(), asyncio.Queue()

    def read():
        with open(0, closefd=False, errors="replace") as stdin:
            for line in chain(stdin, [""]):
                loop.call_soon_threadsafe(lines.put_nowait, line)

    threading.Thread(target=read, daemon=True).start()
    while user := (await lines.get()).strip():
        print(f"{user} gets {', '.join(flags.features_of(user)) or 'nothing new'}", flush=True)


async def serve(url):
    flags = Flags()
    tasks = [asyncio.create_task(answer(flags)), asyncio.create_task(flags.follow(url))]
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    ended.pop().result()  # raises what ended it


async def set_flag(url, name, percent):
    async with rxmps3.connect(url) as db:
        await key_of(db, name).put(Flag(percent))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    serving, setting = commands.add_parser("serve"), commands.add_parser("set")
    for command in (serving, setting):
        command.add_argument("url")
    setting.add_argument("name", choices=DEFAULTS)
    setting.add_argument("percent", type=float)
    asked = parser.parse_args()
    try:
        asyncio.run(serve(asked.url) if asked.command == "serve" else set_flag(asked.url, asked.name, asked.percent))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
