"""The simulator as a command, in processes of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import Outcome, environment

_ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.simulator", *arguments]


def simulator(*arguments: str) -> Outcome:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=_ROOT, env=environment(), check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_it_refuses_a_protocol_that_there_is_not() -> None:
    for name in ("bogus", "auto"):
        refused = simulator("--protocol", name)
        assert (refused.code, refused.out) == (2, "")
        assert "sequenced" in refused.err


def test_it_plays_so_many_histories() -> None:
    outcome = simulator("--seeds", "3")
    assert outcome.code == 0, outcome.out + outcome.err
    assert "3" in outcome.out
    none = simulator("--seeds", "0")
    assert none.code == 2


def test_it_comes_to_the_same_with_several_processes() -> None:
    def without_times(text: str) -> str:
        return re.sub(r"in [\d.]+ s \([\d.]+ a second\)", "", text)

    alone, together, wrong = (simulator("--seeds", "4", "--jobs", jobs) for jobs in ("1", "2", "many"))
    assert (together.code, together.err) == (0, "")
    assert without_times(together.out) == without_times(alone.out) != alone.out
    assert wrong.code == 2
    assert "--jobs" in wrong.err


linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are looked up in /proc")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"it never happens that {what}"
        time.sleep(0.01)


@linux
def test_interrupting_it_ends_its_processes() -> None:
    running = subprocess.Popen(
        command("--seeds", "1000000", "--jobs", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=_ROOT,
        env=environment(),
        start_new_session=True,
    )
    with running:
        try:
            eventually(lambda: len(children(running.pid)) >= 3, "two workers, and who keeps track of them, begin")
            workers = children(running.pid)
            os.killpg(running.pid, signal.SIGINT)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert (running.returncode, out, err) == (130, b"", b"")
    eventually(lambda: not any(map(is_alive, workers)), "they end")


@linux
def test_killing_it_ends_its_processes() -> None:
    running = subprocess.Popen(command("--seeds", "1000000", "--jobs", "2"), cwd=_ROOT, env=environment())
    eventually(lambda: len(children(running.pid)) >= 3, "two workers, and who keeps track of what they share, begin")
    workers = children(running.pid)
    running.kill()
    running.wait()
    eventually(lambda: not any(map(is_alive, workers)), "they end")
