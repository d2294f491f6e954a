"""The quick start of the README: a greeting, kept in the folder ``notes``. Run it twice.

python examples/quickstart.py
"""

import argparse
import asyncio
import sys

import rxmps3


async def main():
    async with rxmps3.connect("file:notes") as db:
        db.subscribe("greeting", print)  # the value now, and each change
        db.put("greeting", "hello")  # in the view at once, sent in the background
        await db.put("greeting", "hello, bucket")  # awaited: committed to the log
        print(await db.get_prefix())


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        asyncio.run(main())
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
