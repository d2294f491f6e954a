"""The stage: starts the two players, tells what they report as it comes, and then what is to be made of it."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rxmps3.cli.terminal import Exit, Part, Terminal, json_text
from rxmps3.client import connect
from rxmps3.clock import Clock
from rxmps3.demo import player
from rxmps3.demo.checks import Evidence, Verdict, judge, timings
from rxmps3.errors import Error
from rxmps3.layout import Layout
from rxmps3.log.history import read_entries
from rxmps3.state import ManifestVersion
from rxmps3.storage import Storage, list_all, open_storage

__all__ = ["show"]

PLAYERS = ("alice", "bob")
_STYLES = dict(zip(PLAYERS, ("cyan", "magenta"), strict=True))
_TIME_LIMIT = 12.0
_LONGEST_REPORT = 1 << 20
_DELETES_AT_ONCE = 16


async def show(url: str | None, options: Mapping[str, str], terminal: Terminal, clock: Clock) -> Exit:
    """Let the players play and judge them.

    Args:
        url: where they play, under a manifest of their own; None makes a temporary folder.
        options: of the storage.
        terminal: where to tell.
        clock: time and ids.

    Raises:
        AccessDenied, BucketNotFound, Unavailable, InvalidOption: there is no playing there.
    """
    manifest = f"demo-{clock.new_id()}"
    async with _place(url, dict(options), manifest, clock) as storage:
        reports = await _played(storage, manifest, options, terminal, clock)
        layout = Layout(manifest, storage.name_limit)
        versions = [entry.version async for entry in read_entries(storage, layout)]
    return _tell_verdicts(Evidence(PLAYERS, reports, versions), terminal)


@asynccontextmanager
async def _place(
    url: str | None, options: dict[str, str], manifest: str, clock: Clock
) -> AsyncGenerator[Storage, None]:
    """A storage to play in, left without a trace."""
    if url is None:
        with TemporaryDirectory(prefix="rxmps3-demo-") as folder:
            yield open_storage(f"file:{Path(folder, 'bucket')}", clock=clock, **options)
        return
    storage = open_storage(url, clock=clock, **options)
    try:
        async with connect(storage, manifest=manifest, read_only=True, clock=clock):
            pass  # no access, or no bucket: better said before anything starts
        try:
            yield storage
        finally:
            await _remove(storage, Layout(manifest, storage.name_limit).root)
    finally:
        await storage.close()


async def _remove(storage: Storage, prefix: str) -> None:
    names = [listed.name for listed in await list_all(storage, prefix)]
    for start in range(0, len(names), _DELETES_AT_ONCE):
        await asyncio.gather(*map(storage.delete, names[start : start + _DELETES_AT_ONCE]))


# -- playing ---------------------------------------------------------------------------------------------------


async def _played(
    storage: Storage, manifest: str, options: Mapping[str, str], terminal: Terminal, clock: Clock
) -> list[dict[str, Any]]:
    """Both players' reports, each told as it came."""
    reports: list[dict[str, Any]] = []
    start = clock.now().timestamp()
    tell = _Trace(terminal)
    tell.opening(storage.url, manifest)

    async def listen(process: Process) -> None:
        if process.stdout is not None:
            while line := await process.stdout.readline():
                report = json.loads(line)
                reports.append(report)
                tell.report(report)

    url = storage.url.partition("?")[0]
    async with _started(
        [player.Part(who, other, url, manifest, dict(options), start) for who, other in (PLAYERS, PLAYERS[::-1])]
    ) as processes:
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIME_LIMIT):
                await asyncio.gather(*map(listen, processes))
    return reports


@asynccontextmanager
async def _started(parts: list[player.Part]) -> AsyncGenerator[list[Process], None]:
    """A process for each part; none is left in the end."""
    script = f"import sys; sys.path[:] = {sys.path!r}; from rxmps3.demo.player import main; main()"
    processes: list[Process] = []
    try:
        for part in parts:
            processes.append(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", script, part.as_json()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=PIPE,
                    limit=_LONGEST_REPORT,
                    start_new_session=True,  # an interrupt at the terminal is for this process, which ends them
                )
            )
        yield processes
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
        for process in processes:
            await process.wait()


# -- telling ---------------------------------------------------------------------------------------------------


class _Trace:
    """Tells the reports, a line each."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._put_at: dict[tuple[str, int], float] = {}
        self._versions: dict[str, float] = {}

    def opening(self, url: str, manifest: str) -> None:
        if self._terminal.as_json:
            self._terminal.record({"event": "start", "url": url, "manifest": manifest, "players": PLAYERS})
        else:
            self._terminal.line(("Two processes open one database", "bold"), f": {url}\n")

    def report(self, report: dict[str, Any]) -> None:
        if self._terminal.as_json:
            self._terminal.record(report)
            return
        words = self._words(report)
        if words:
            who = report["who"]
            self._terminal.line((f"{report['at']:7.3f}  ", "dim"), (f"{who:<6} ", _STYLES[who]), *words)

    def _words(self, report: dict[str, Any]) -> list[Part]:
        who = report["who"]
        match report["event"]:
            case "opened":
                return ["opens it: ", f"{report['keys']} keys"]
            case "put":
                self._put_at[who, report["number"]] = report["at"]
                return [("puts      ", "bold"), _assignments(report)]
            case "returned":
                self._versions[report["version"]] = self._put_at[who, report["number"]]
                return []
            case "seen":
                return self._seen(report)
            case "committed":
                took = report["at"] - self._put_at[who, report["number"]]
                return [("committed ", "green"), f"{report['version']}, {_milliseconds(took)} after the put"]
            case "trouble":
                return [("trouble   ", "red"), report["message"]]
            case "final":
                return [("ends      ", "bold"), f"with {len(report['state'])} keys at version {report['head']}"]
            case _:
                return []

    def _seen(self, report: dict[str, Any]) -> list[Part]:
        what = f"{report['key']} " + ("is gone" if report["missing"] else f"= {json_text(report['value'])}")
        put_at = self._versions.get(report["version"])
        if report["own"]:
            return [("sees      ", "dim"), what, ("  its own, at once, not committed yet", "dim")]
        after = "" if put_at is None else f", {_milliseconds(report['at'] - put_at)} after the put"
        return [("sees      ", "yellow"), what, (f"  by {report['by']}{after}", "dim")]


def _assignments(report: dict[str, Any]) -> str:
    parts = [f"{key} = {json_text(value)}" for key, value in report["set"].items()]
    return ", ".join([*parts, *(f"{key} deleted" for key in report["deleted"])])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _tell_verdicts(evidence: Evidence, terminal: Terminal) -> Exit:
    verdicts = judge(evidence)
    kept = all(verdict.kept for verdict in verdicts)
    if terminal.as_json:
        terminal.record(_summary(verdicts, evidence))
        return Exit.OK if kept else Exit.OTHER
    terminal.line(("\nChecked, from what both reported and from the log:", "bold"))
    for verdict in verdicts:
        sign: Part = ("  ok      ", "green") if verdict.kept else ("  FAILED  ", "bold red")
        terminal.line(sign, verdict.promise, (f"  ({verdict.detail})", "dim"))
    times = timings(evidence)
    told = [f"{name.replace('_', ' ')} after {_milliseconds(seconds)}" for name, seconds in times.items()]
    if told:
        terminal.line(f"A write is {', '.join(told)} (medians).")
    terminal.line(("\nTry next:  ", "bold"), "rxmps3 put file:./bucket greeting '\"hello\"'")
    terminal.line("           rxmps3 watch file:./bucket greeting      # in another terminal")
    return Exit.OK if kept else Exit.OTHER


def _summary(verdicts: list[Verdict], evidence: Evidence) -> dict[str, Any]:
    return {
        "event": "summary",
        "ok": all(verdict.kept for verdict in verdicts),
        "checks": [{"promise": verdict.promise, "ok": verdict.kept, "detail": verdict.detail} for verdict in verdicts],
        "seconds": timings(evidence),
        "versions": len(evidence.versions),
    }
