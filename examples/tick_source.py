"""A reader that looks only when it is told to: the ticks of its poller are an Observable of your own.

    python examples/tick_source.py [URL]

Here the bell is rung by hand. In earnest it would be a message from your bucket's notifications or your own queue,
merged with a slow timer for the case that one gets lost.
"""

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


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "memory:tick-source"))
