"""Races between several processes, each with connections of its own: which may show what one client's races do not.

`race` starts them, and judges what they were told beside what was kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from signal import SIGTERM
from typing import Any

from rxmps3.cli.doctor.facts import Races
from rxmps3.cli.doctor.under_test import StorageUnderTest
from rxmps3.errors import Error, PreconditionFailed, Unavailable
from rxmps3.runtime.clock import Clock, SystemClock
from rxmps3.storage import ABSENT, Found, Matches, open_storage

__all__ = ["PROCESSES", "main", "race"]

PROCESSES = 4
_GAP = 0.05
"""Seconds between the starts of two rounds."""
_LEAD = 3.0
"""Seconds for all of them to start."""
_PATIENCE = 120.0
_AT_ONCE = 16


@dataclass(frozen=True)
class _Part:
    """What one process does; `start` is by the machine's clock, which all of them share."""

    number: int
    url: str
    options: dict[str, str]
    names: list[str]
    etags: list[str]
    start: float


async def race(
    place: StorageUnderTest, url: str, options: Mapping[str, str], clock: Clock, rounds: int, *, swap: bool
) -> Races:
    """Let several processes put the same names with one precondition at the same moments.

    Args:
        place: where; it removes what they write.
        url, options: of the storage, to open it in other processes.
        rounds: how many names.
        swap: replace with If-Match, instead of creating.

    Raises:
        Unavailable: a process ended without reporting its result.
        PreconditionFailed, AccessDenied: the objects to be replaced could not be put.
    """
    kind = "swap" if swap else "create"
    names = [f"thorough-{kind}-{number}" for number in range(rounds)]
    etags: list[str] = []
    for name in names:
        place.will_be_written(name)
        if swap:
            etags.append((await place.put(name, b'"before"')).etag)
    start = clock.now().timestamp() + _LEAD
    parts = [
        _Part(number, url, dict(options), [place.root + name for name in names], etags, start)
        for number in range(PROCESSES)
    ]
    told = await _run(parts)
    unsure = 0
    wrong: list[str] = []
    for number, name in enumerate(names):
        answers = [each[number] for each in told]
        answer = await place.get(name)
        kept = answer.body.decode(errors="replace").strip('"') if isinstance(answer, Found) else ""
        unsure += True not in answers
        if answers.count(True) > 1:
            wrong.append(f"{answers.count(True)} of {PROCESSES} processes were told that their {kind} succeeded")
        elif True in answers and kept != str(answers.index(True)):
            wrong.append(f"one process was told that its {kind} succeeded, and another body was kept")
        elif not any(one is not False for one in answers):
            wrong.append(f"every process was refused its {kind}")
    return Races(rounds, PROCESSES, unsure, tuple(wrong))


async def _run(parts: list[_Part]) -> list[list[bool | None]]:
    script = f"import sys; sys.path[:] = {sys.path!r}; from rxmps3.cli.doctor.contenders import main; main()"
    processes: list[Process] = []
    try:
        for part in parts:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, stdin=PIPE, stdout=PIPE, start_new_session=True
            )
            processes.append(process)
            if (told_by := process.stdin) is not None:
                told_by.write(json.dumps(asdict(part)).encode() + b"\n")  # no argument: it may hold credentials
        async with asyncio.timeout(_PATIENCE):
            reports = await asyncio.gather(*(process.communicate() for process in processes))
    except TimeoutError:
        raise Unavailable("the processes did not end", operation="race") from None
    finally:
        for process in processes:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, SIGTERM)
                await process.wait()
    told: list[list[bool | None]] = []
    for out, _ in reports:
        if not out.strip():
            raise Unavailable("a process ended without reporting its result", operation="race")
        told.append(json.loads(out))
    return told


async def _contend(part: _Part, clock: Clock) -> list[bool | None]:
    storage = open_storage(part.url, clock=clock, **part.options)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, name: str) -> bool | None:
        when = Matches(part.etags[number]) if part.etags else ABSENT
        await clock.sleep(part.start + number * _GAP - clock.now().timestamp())
        async with slots:
            try:
                await storage.put(name, f'"{part.number}"'.encode(), when=when)
            except PreconditionFailed:
                return False
            except Error:
                return None  # it may have been carried out
            return True

    try:
        with suppress(Error):
            await storage.get(part.names[0])  # a connection is there when the first round begins
        return await asyncio.gather(*(one(number, name) for number, name in enumerate(part.names)))
    finally:
        await storage.close()


def main() -> None:
    """Play the part that standard input describes, and print the answers of each round."""
    described: dict[str, Any] = json.loads(sys.stdin.readline())
    print(json.dumps(asyncio.run(_contend(_Part(**described), SystemClock()))), flush=True)
