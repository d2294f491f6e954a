"""Running the real command: each in a process of its own, or several in one, which is faster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent.parent
_COLOURING = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "CLICOLOR_FORCE")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[Any]:
        """The standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        """The last line of standard error, as JSON."""
        return json.loads(self.err.splitlines()[-1])["error"]


def environment(**more: str) -> dict[str, str]:
    """A wide terminal without colours, in which a warning is an error and output is buffered, as it is by default."""
    kept = {name: value for name, value in os.environ.items() if name not in (*_COLOURING, "PYTHONUNBUFFERED")}
    return {**kept, "COLUMNS": "200", "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8", **more}


def command(*arguments: str) -> list[str]:
    """What starts ``rxmps3`` with these arguments."""
    return [sys.executable, "-m", "rxmps3", *arguments]


def rxmps3(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Outcome:
    """Run a command to its end."""
    done = subprocess.run(
        command(*arguments), input=stdin.encode(), capture_output=True, env=env or environment(), check=False
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def several(*commands: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None) -> list[Outcome]:
    """Run several commands one after the other in one process; ``stdin`` is for each of them."""
    asked = json.dumps([{"arguments": arguments, "stdin": stdin} for arguments in commands])
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.several"],
        input=asked.encode(),
        stdout=subprocess.PIPE,
        env=env or environment(),
        cwd=_ROOT,
        check=True,
    )
    return [Outcome(*each) for each in json.loads(done.stdout)]


@contextmanager
def started(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; it is killed in the end if it still does."""
    process = subprocess.Popen(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=env or environment(),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def next_record(process: subprocess.Popen[str]) -> Any:
    """The next JSON line of a command that goes on."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def said(process: subprocess.Popen[str]) -> str:
    """What a command has left to say on standard error, once it has ended."""
    assert process.stderr is not None
    return process.stderr.read()
