"""Programs of their own process for tests: started, told what to do, killed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "scripts"
ROOT = Path(__file__).parent.parent.parent
PATIENCE = 50.0
"""Seconds within which a program has to say something; the limit of a test ends it earlier as a rule."""


class Failed(AssertionError):
    """A command raised in the program; `kind` is the name of the exception's class."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Program:
    """A Python process that runs one of `SCRIPTS` and writes one JSON value a line.

    Args:
        script: the file's name.
        arguments: its command line.
        environment: added to this process's own.
    """

    def __init__(self, script: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile()
        self._name = f"{script} {' '.join(arguments)}"
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPTS / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environment or {})},
            cwd=ROOT,
        )
        self.unanswered = 0
        """Commands that have not been answered yet."""
        self._lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith(b"\n"):
                break  # killed while it was writing
            self._lines.put(json.loads(line))
        self._lines.put(EOFError)

    def next(self) -> Any:
        """The next value it writes. Raises EOFError once it has ended, TimeoutError if it says nothing."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise TimeoutError(f"{self._name} says nothing; its errors:\n{self.errors}") from None
        if line is EOFError:
            self._lines.put(EOFError)
            raise EOFError(f"{self._name} has ended; its errors:\n{self.errors}")
        return line

    def rest(self) -> list[Any]:
        """What it writes until it ends."""
        lines: list[Any] = []
        while True:
            try:
                lines.append(self.next())
            except EOFError:
                return lines

    def say(self, value: Any) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()

    def tell(self, do: str, **arguments: Any) -> None:
        """Give it a command, to be answered later; see ``scripts/player.py``."""
        self.unanswered += 1
        self.say({"do": do, **arguments})

    def answer(self) -> Any:
        """The answer to the oldest command that is not answered yet. Raises `Failed` if it failed."""
        answer = self.next()
        self.unanswered -= 1
        if "error" in answer:
            raise Failed(*answer["error"])
        return answer["result"]

    def ask(self, do: str, **arguments: Any) -> Any:
        """Give it a command and wait for the answer."""
        self.tell(do, **arguments)
        return self.answer()

    @property
    def errors(self) -> str:
        """What it wrote to its standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> int:
        """Close its input, which ends it in an orderly way, and return its exit code."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        code = self._process.wait(timeout=PATIENCE)
        self._reader.join()
        return code

    def kill(self) -> None:
        """End it as a power failure would (SIGKILL)."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    def discard(self) -> None:
        """Kill it and release everything."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


def ask_all(programs: Iterable[Program], do: str, **arguments: Any) -> list[Any]:
    """Give all of them one command, let them carry it out at the same time, and return their answers."""
    programs = list(programs)
    for program in programs:
        program.tell(do, **arguments)
    return [program.answer() for program in programs]
