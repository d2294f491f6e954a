"""The command ``python -m tests.checker``."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.checker.logs import PROTOCOLS
from tests.checker.nemeses import NEMESES, Nemesis
from tests.checker.run import Plan, run
from tests.checker.servers import SERVERS, server_of


def main() -> int:
    """Do runs until the time is over; whether one of those that are expected to hold did not."""
    arguments = _parser().parse_args()
    if arguments.list:
        for nemesis in NEMESES.values():
            print(
                f"{nemesis.name:8} {nemesis.what}\n         holds on: {', '.join(sorted(nemesis.holds)) or 'none'}. {nemesis.why}"
            )
        return 0
    deadline = time.monotonic() + arguments.minutes * 60
    seed = arguments.seed
    unexpected = 0
    with server_of(arguments.server, arguments.ministack) as server:
        has_network = server.endpoint_url is not None
        turns = [
            (protocol, names)
            for names in _combinations(arguments.nemesis, has_network)
            for protocol in (arguments.protocol or (PROTOCOLS if has_network else PROTOCOLS[:1]))
            if all(protocol in NEMESES[name].meant for name in names)
        ]
        if not turns:
            sys.exit("none of these nemeses can be done to this log on this server")
        each = arguments.seconds or min(60.0, max(8.0, arguments.minutes * 60 / len(turns) - 8))
        while True:
            protocol, names = turns[(seed - arguments.seed) % len(turns)]
            is_expected = all(protocol in NEMESES[name].holds for name in names)
            folder = Path(tempfile.mkdtemp(prefix="checker-run-"))
            seconds = max([each, *(NEMESES[name].least for name in names)])
            plan = Plan(protocol, names, seconds, seed, arguments.clients)
            outcome = run(plan, server, folder)
            report = outcome.report
            said = "clean" if report.is_clean else "NOT CLEAN" if is_expected else "not clean, as expected"
            if not report.acknowledged:
                said += ", but nothing was acknowledged: give it more time"
            print(
                f"\nseed {seed}: {protocol} on {arguments.server}, {seconds:.0f} s, {' + '.join(names) or 'calm'}: {said}"
            )
            print(
                f"{report}\ndone: {', '.join(f'{what} {count}' for what, count in sorted(outcome.done.items())) or 'nothing'}"
            )
            for note in outcome.notes:
                print(f"  note: {note}")
            if report.is_clean:
                shutil.rmtree(folder)
            else:
                print(f"  what the clients recorded is in {folder}")
            sys.stdout.flush()
            unexpected += is_expected and not report.is_clean
            seed += 1
            is_round = seed - arguments.seed >= len(turns) or not arguments.seconds
            if is_round and time.monotonic() + seconds + 6 > deadline:
                break
    print(f"\n{seed - arguments.seed} runs, {unexpected} of them not clean and expected to be")
    return 1 if unexpected else 0


def _combinations(names: list[str] | None, has_network: bool) -> list[tuple[str, ...]]:
    """The nemeses that were named together; else each alone, and all that are expected to hold in one run."""
    if names:
        return [tuple(names)]
    possible = [nemesis for nemesis in NEMESES.values() if has_network or not nemesis.needs_network]
    alone = [(nemesis.name,) for nemesis in possible]
    return [*alone, tuple(nemesis.name for nemesis in possible if _may_be_combined(nemesis))]


def _may_be_combined(nemesis: Nemesis) -> bool:
    return nemesis.name not in ("wipe", "restore", "shift") and len(nemesis.holds) == len(PROTOCOLS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.checker", description="Check real runs from outside.")
    parser.add_argument("--server", choices=SERVERS, default="seaweedfs")
    parser.add_argument("--ministack", metavar="FILE", help="the installed program, if it is not on the PATH")
    parser.add_argument(
        "--protocol", action="append", choices=PROTOCOLS, help="may be repeated; all of them by default"
    )
    parser.add_argument(
        "--nemesis",
        action="append",
        choices=list(NEMESES),
        help="may be repeated: all of them at once; each alone by default",
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="for all runs together")
    parser.add_argument(
        "--seconds",
        type=float,
        help="of each run, of which each kind is done once at least; by default such that each kind fits",
    )
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument(
        "--seed", type=int, default=int(time.time()) % 1_000_000, help="of the first run; later ones count up"
    )
    parser.add_argument("--list", action="store_true", help="tell what there is and what is expected to hold")
    return parser


if __name__ == "__main__":
    sys.exit(main())
