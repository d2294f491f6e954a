"""The quick start of the README. Run it twice: ``python examples/quickstart.py``."""

import asyncio

import rxmps3


async def main():
    async with rxmps3.connect("file:notes") as db:
        db.subscribe("greeting", print)  # the value now, and each change
        db.put("greeting", "hello")  # in the view at once, sent in the background
        await db.put("greeting", "hello, bucket")  # awaited: committed to the log
        print(await db.get_prefix())


asyncio.run(main())
