"""A reader that looks only when it is told to: the ticks of its poller are an Observable of your own.

    python examples/tick_source.py [URL]

Here the bell is rung by hand. In earnest it would be a message from your bucket's notifications or your own queue,
merged with a slow timer for the case that one gets lost.
"""

import argparse
import asyncio
import sys

import reactivex as rx
from reactivex.subject import Subject

import rxmps3


async def main(url):
    bell = Subject()
    ticks = rx.merge(bell, rx.interval(60))  # the timer runs on the database's event loop

    async with (
        rxmps3.connect(url, by="writer", shared=False) as writer,
        rxmps3.connect(url, by="reader", shared=False, poll=ticks) as reader,
    ):
        await writer.delete("headline")
        await reader.refresh()
        reader.subscribe("headline", lambda headline: print("the reader sees", headline))
        await asyncio.sleep(0.1)

        asked = reader.status.value.requests
        for headline in ("rain", "sun", "snow"):
            await writer.put("headline", headline)
        print("requests of the reader meanwhile:", reader.status.value.requests - asked)

        print("the bell rings")
        bell.on_next("look now")
        await asyncio.sleep(0.2)
        print("requests of the reader since:", reader.status.value.requests - asked)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="memory:tick-source")
    try:
        asyncio.run(main(parser.parse_args().url))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
