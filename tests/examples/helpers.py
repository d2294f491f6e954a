"""Programs of the examples as processes: started, read line by line while they run, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.docs.blocks import ROOT


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process with pipes; it is killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """The lines that a process prints up to a certain one; the time limit of the test is the other end."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if lines[-1] == wanted:
            return lines
    raise AssertionError(f"it ended without {wanted!r}: {lines} {process.stderr and process.stderr.read()}")


def ask(process: subprocess.Popen[str], line: str) -> None:
    """Write a line to a process."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def leave(process: subprocess.Popen[str]) -> tuple[int, str]:
    """End its input: its exit code and what it complained of."""
    _, complaints = process.communicate(timeout=50)
    return process.returncode, complaints
