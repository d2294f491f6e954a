"""The feature flags of ``feature_flags.py`` as a page: a slider for each, and what it does to a hundred users.

    pip install 'rxmps3[examples,web]'
    python examples/flags_page.py file:flags
    python examples/feature_flags.py serve file:flags    # a service that follows, in another terminal

Whoever opens the page may move a slider; the other pages, and all services, follow.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import rxmps3

try:
    from rxmps3.homes.web import serve_page
except ImportError as error:
    sys.exit(f"{error}: pip install 'rxmps3[web]'")

from feature_flags import DEFAULTS

PAGE = Path(__file__).with_name("flags.html")


async def main(url, port):
    defaults = json.dumps({name: flag.percent for name, flag in DEFAULTS.items()})
    async with rxmps3.connect(url, by="flags page", live=True, poll=0.3) as db:
        await serve_page(db, PAGE.read_text("utf-8").replace("DEFAULTS", defaults), "flag/", write=True, port=port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="file:flags")
    parser.add_argument("--port", type=int, default=8000)
    asked = parser.parse_args()
    try:
        asyncio.run(main(asked.url, asked.port))
    except rxmps3.Error as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
