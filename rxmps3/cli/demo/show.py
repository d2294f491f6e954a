"""Runs the demonstration: starts the players, prints their reports, and checks them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import webbrowser
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from signal import SIGTERM
from tempfile import TemporaryDirectory
from typing import Any

from rxmps3.cli.demo import player
from rxmps3.cli.demo.checks import Evidence, Verdict, judge, timings
from rxmps3.cli.terminal import Exit, Part, Terminal, json_text
from rxmps3.database.connect import connect
from rxmps3.errors import Error, Unsupported
from rxmps3.log.sequenced.history import read_entries
from rxmps3.model.names import Layout
from rxmps3.runtime.clock import Clock
from rxmps3.storage import Storage, list_all, open_storage

__all__ = ["show"]

PLAYERS = ("alice", "bob")
_STYLES = dict(zip(PLAYERS, ("cyan", "magenta"), strict=True))
_TIME_LIMIT = 12.0
_LONGEST_REPORT = 1 << 20
_DELETES_AT_ONCE = 16


async def show(url: str | None, options: Mapping[str, str], terminal: Terminal, clock: Clock) -> Exit:
    """Run both players and check their reports.

    Args:
        url: the database, in which they get a separate manifest; None makes a temporary folder.
        options: of the storage.
        terminal: for the output.
        clock: time and ids.

    Raises:
        AccessDenied, BucketNotFound, Unavailable, InvalidOption: the database cannot be used.
    """
    manifest = f"demo-{clock.new_id()}"
    async with _place(url, options, manifest, terminal, clock) as storage:
        reports = await _played(storage, url, manifest, options, terminal, clock)
        layout = Layout(manifest, storage.name_limit)
        versions = [entry.version async for entry in read_entries(storage, layout)]
    return _tell_verdicts(Evidence(PLAYERS, reports, versions), terminal)


async def show_windows(url: str | None, options: Mapping[str, str], terminal: Terminal, clock: Clock) -> None:
    """Show two clients side by side in a browser, until interrupted. Arguments and errors are those of `show`.

    Raises:
        Unsupported: a package of the extra ``studio`` is not installed.
    """
    try:
        from rxmps3.cli.studio.server import TOKEN_CHARACTERS, serving
        from rxmps3.cli.studio.windows import windows
    except ImportError as error:
        raise Unsupported(
            f"the package {error.name} is not installed", operation="demo", remedy="pip install 'rxmps3[studio]'"
        ) from error
    manifest = f"demo-{clock.new_id()}"
    async with (
        _place(url, options, manifest, terminal, clock) as storage,
        windows(storage, manifest, clock) as model_of,
        serving(model_of, clock.new_id(TOKEN_CHARACTERS), page="windows.html") as address,
    ):
        terminal.line(address)
        if sys.stdout.isatty():
            webbrowser.open(address)
        await asyncio.Event().wait()


@asynccontextmanager
async def _place(
    url: str | None, options: Mapping[str, str], manifest: str, terminal: Terminal, clock: Clock
) -> AsyncGenerator[Storage, None]:
    """A storage for the demonstration; what was written there is removed afterwards."""
    if url is None:
        with TemporaryDirectory(prefix="rxmps3-demo-") as folder:
            yield open_storage(f"file:{Path(folder, 'bucket')}", clock=clock, **options)
        return
    storage = open_storage(url, clock=clock, **options)
    try:
        async with (
            terminal.busy(f"Opening {storage.url}"),
            connect(storage, manifest=manifest, read_only=True, clock=clock),
        ):
            pass  # no access, or no bucket: better said before anything starts
        try:
            yield storage
        finally:
            root = Layout(manifest, storage.name_limit).root
            try:
                async with asyncio.timeout(_TIME_LIMIT):
                    await _remove(storage, root)
            except (Error, TimeoutError) as error:
                terminal.note(f"not all objects under {root} at {storage.url} could be removed: {error}")
    finally:
        await storage.close()


async def _remove(storage: Storage, prefix: str) -> None:
    names = [listed.name for listed in await list_all(storage, prefix)]
    for start in range(0, len(names), _DELETES_AT_ONCE):
        await asyncio.gather(*map(storage.delete, names[start : start + _DELETES_AT_ONCE]))


# -- playing ---------------------------------------------------------------------------------------------------


async def _played(
    storage: Storage, url: str | None, manifest: str, options: Mapping[str, str], terminal: Terminal, clock: Clock
) -> list[dict[str, Any]]:
    """Both players' reports, printed as they arrive."""
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

    parts = [
        player.Part(who, other, url or storage.url, manifest, dict(options), start)
        for who, other in (PLAYERS, PLAYERS[::-1])
    ]
    async with _started(parts) as processes:
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIME_LIMIT):
                await asyncio.gather(*map(listen, processes))
    return reports


@asynccontextmanager
async def _started(parts: list[player.Part]) -> AsyncGenerator[list[Process], None]:
    """A process for each part; all have ended when the block does."""
    script = f"import sys; sys.path[:] = {sys.path!r}; from rxmps3.cli.demo.player import main; main()"
    processes: list[Process] = []
    try:
        for part in parts:
            processes.append(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", script),
                    stdin=PIPE,
                    stdout=PIPE,
                    limit=_LONGEST_REPORT,
                    start_new_session=True,  # an interrupt at the terminal is for this process, which ends them
                )
            )
            if (told := processes[-1].stdin) is not None:
                told.write(part.as_json().encode() + b"\n")  # not as an argument: a URL may hold credentials
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, SIGTERM)  # process.kill() may reap it before asyncio does, which complains
        for process in processes:
            await process.wait()


# -- telling ---------------------------------------------------------------------------------------------------


class _Trace:
    """Prints reports: a line for each put, its commit, and when the other player saw it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._puts: dict[tuple[str, int], dict[str, Any]] = {}
        self._put_at: dict[str, float] = {}
        self._echo: dict[str, list[dict[str, Any]]] = {}

    def opening(self, url: str, manifest: str) -> None:
        """Print the database used."""
        if self._terminal.as_json:
            self._terminal.record({"event": "start", "url": url, "manifest": manifest, "players": PLAYERS})
        else:
            self._terminal.line(("Two processes share one database", "bold"), f": {url}\n")

    def report(self, report: dict[str, Any]) -> None:
        """Print one report."""
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
                return [("opens      ", "bold"), f"it and finds {report['keys']} keys"]
            case "put":
                self._puts[who, report["number"]] = report
                self._echo[who] = []
                return []
            case "returned":
                put, echo = self._puts[who, report["number"]], self._echo.pop(who)
                self._put_at[report["version"]] = put["at"]
                seen = "  seen here at once, not committed yet" if echo else ""
                return [("puts       ", "bold"), _assignments(put), (seen, "dim")]
            case "seen" | "together" if who in self._echo:
                self._echo[who].append(report)
                return []
            case "seen" if report["key"] not in player.TOGETHER:
                value = {report["key"]: report["value"]}
                what = f"{report['key']} is gone" if report["missing"] else _assignments({"set": value})
                return [("sees       ", "yellow"), what, (self._by(report), "dim")]
            case "together" if None not in report["values"]:
                together = dict(zip(player.TOGETHER, report["values"], strict=True))
                return [("sees       ", "yellow"), _assignments({"set": together}), ("  together", "dim")]
            case "committed":
                took = report["at"] - self._put_at[report["version"]]
                return [("committed  ", "green"), f"{report['version']} ", (_after(took), "dim")]
            case "trouble":
                return [("trouble    ", "red"), report["message"]]
            case "final":
                return [("ends       ", "bold"), f"with {len(report['state'])} keys at version {report['head']}"]
            case _:
                return []

    def _by(self, report: dict[str, Any]) -> str:
        put_at = self._put_at.get(report["version"])
        return f"  by {report['by']}" + ("" if put_at is None else f", {_after(report['at'] - put_at)}")


def _after(seconds: float) -> str:
    return f"{_milliseconds(seconds)} after the put"


def _assignments(report: dict[str, Any]) -> str:
    parts = [f"{key} = {json_text(value)}" for key, value in report["set"].items()]
    return ", ".join([*parts, *(f"{key} deleted" for key in report.get("deleted", ()))])


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
    if (cost := _cost(evidence)) is not None:
        terminal.line(
            f"Both together made {cost['requests']:,} requests, for {cost['spent']:.4f} {cost['currency']} at the"
            f" prices of {cost['prices']}."
        )
    if not kept:
        return Exit.OTHER
    terminal.line(("\nTry next:  ", "bold"), "rxmps3 watch file:./bucket greeting")
    terminal.line("           rxmps3 put file:./bucket greeting '\"hello\"'      # in another terminal")
    return Exit.OK


def _cost(evidence: Evidence) -> dict[str, Any] | None:
    finals = evidence.finals
    if not finals:
        return None
    return {
        "requests": sum(one["requests"] for one in finals),
        "spent": sum(one["spent"] for one in finals),
        "currency": finals[0]["currency"],
        "prices": finals[0]["prices"],
    }


def _summary(verdicts: list[Verdict], evidence: Evidence) -> dict[str, Any]:
    return {
        "event": "summary",
        "ok": all(verdict.kept for verdict in verdicts),
        "checks": [{"promise": verdict.promise, "ok": verdict.kept, "detail": verdict.detail} for verdict in verdicts],
        "seconds": timings(evidence),
        "versions": len(evidence.versions),
        "cost": _cost(evidence),
    }
