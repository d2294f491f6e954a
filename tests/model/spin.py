"""Spin, the checker: a model becomes a program that searches all its states, and what that program says."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HERE", "Search", "Verdict", "missing"]

HERE = Path(__file__).parent
_OPTIONS = ("-O1", "-w", "-DSAFETY", "-DNOREDUCE", "-DCOLLAPSE", "-DVECTORSZ=16384", "-DMEMLIM=6000")
_DEPTH = 1_000_000
_NOT_A_STORY = re.compile(r"^(\s|pan|spin|#|$|(proc|local|global)\b|\d+:)")


def missing() -> str:
    """What is not there of what a search needs; "" if all is."""
    lacking = [name for name in ("spin", "gcc") if shutil.which(name) is None]
    return f"no {' and no '.join(lacking)} here: apt-get install spin gcc" if lacking else ""


@dataclass(frozen=True)
class Verdict:
    """What a search found.

    Attributes:
        error: the name of the promise that is broken; "" if none is, anywhere.
        states: how many states were stored.
        complete: whether there was nothing left to search.
        story: the steps that lead to the error.
        unreached: the statements of the model that no search step came to.
        text: all that the program printed.
    """

    error: str
    states: int
    complete: bool
    story: tuple[str, ...]
    unreached: tuple[str, ...]
    text: str


class Search:
    """A model, compiled.

    Args:
        model: a file beside this one.
        cache: a directory where the compiled program is kept until a file of the model changes.
        merged: steps that always follow each other are one. Without, ``unreached`` names each statement.
        defines: for the model's ``#ifndef``.
    """

    def __init__(self, model: str, cache: Path, *, merged: bool = True, **defines: int) -> None:
        given = (*(f"-D{name}={value}" for name, value in defines.items()), *(() if merged else ("-o3",)))
        sources = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.pml")))
        key = hashlib.sha256(sources + repr((model, given, _OPTIONS)).encode()).hexdigest()[:16]
        self._program = cache / f"{Path(model).stem}-{key}"
        with open(cache / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one of several test processes compiles
            self._compile(model, cache, given)

    def _compile(self, model: str, cache: Path, given: tuple[str, ...]) -> None:
        if not self._program.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                for command in (["spin", *given, "-a", str(HERE / model)], ["gcc", *_OPTIONS, "-o", "pan", "pan.c"]):
                    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
                    if done.returncode or "rror:" in done.stdout:
                        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
                Path(folder, "pan").replace(self._program)

    def run(self, settings: Mapping[str, int | str], *, seconds: float = 600) -> Verdict:
        """Search all states that these settings allow, up to the first error."""
        environment = {"PATH": os.environ["PATH"], **{name: str(value) for name, value in settings.items()}}
        with tempfile.TemporaryDirectory() as folder:

            def run(*options: str) -> str:
                command = [str(self._program), *options]
                return subprocess.run(
                    command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
                ).stdout

            text = run("-E", f"-m{_DEPTH}")
            trails = list(Path(folder).glob("*.trail"))
            story = (
                [line for line in run("-S", trails[0].name).splitlines() if not _NOT_A_STORY.match(line)]
                if trails
                else []
            )
        error = re.search(r"^pan:1: (.*) \(at depth \d+\)", text, re.MULTILINE)
        states = re.search(r"^ *(\d+) states, stored", text, re.MULTILINE)
        if states is None:
            raise RuntimeError(f"the search ended before it began:\n{text}")
        cut = "max search depth too small" in text or "Search not completed" in text
        return Verdict(
            error=error[1] if error else "",
            states=int(states[1]),
            complete=not (error or cut),
            story=tuple(story),
            unreached=tuple(re.findall(r"\.pml:\d+, state \d+, \"(.*)\"", text)),
            text=text,
        )
