"""A to-do list for several browsers: a small web server, and a page that everybody who opens it shares.

    pip install 'rxmps3[web]'
    python examples/todo.py
    python examples/todo.py s3://BUCKET/PREFIX --port 8080

The server keeps nothing: end it, start it again or start a second one, and the pages go on. Each page shows what is
written anywhere, also by `rxmps3 put`.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import rxmps3

try:
    from rxmps3.homes.web import serve_page
except ImportError as error:
    sys.exit(f"{error}: pip install 'rxmps3[web]'")

PAGE = Path(__file__).with_name("todo.html")


async def main(url, port):
    async with rxmps3.connect(url, by="todo", live=True, poll=0.5) as db:
        await serve_page(db, PAGE.read_text("utf-8"), "todo/", write=True, port=port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="file:todo", help="where the list is kept")
    parser.add_argument("--port", type=int, default=8000)
    asked = parser.parse_args()
    try:
        asyncio.run(main(asked.url, asked.port))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
