"""Play the whole library on virtual time against a bucket that misbehaves, and check every promise.

The same seed gives the same history. A failing one is printed with the shortest trace that still fails.
"""

from __future__ import annotations

import argparse
import sys

from rxmps3.log.registry import PROTOCOLS
from tests.simulator import main


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one")
    return number


def _jobs(text: str) -> int:
    return 0 if text == "auto" else int(text)


def run() -> int:
    parser = argparse.ArgumentParser("python -m tests.simulator", description=__doc__)
    parser.add_argument("--seeds", type=_count, default=100, metavar="N", help="how many histories")
    parser.add_argument("--start", type=int, default=0, metavar="SEED", help="the first seed")
    parser.add_argument(
        "--jobs", "-j", type=_jobs, default=1, metavar="N", help="how many processes; auto or 0: one per processor"
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, default="sequenced", help="the log")
    parser.add_argument("--bells", action="store_true", help="with a bell between the clients, of whatever kind")
    parser.add_argument("--partial", action="store_true", help="every other client keeps only some of the keys")
    asked = parser.parse_args()
    try:
        return main(
            asked.seeds,
            asked.start,
            jobs=asked.jobs,
            protocol=asked.protocol,
            bells=asked.bells,
            partial=asked.partial,
        )
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
