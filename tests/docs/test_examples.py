"""The short programs under ``examples`` run as they are, each in a process of its own; ``tests/examples`` has the others."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of

EXAMPLES = ROOT / "examples"


def run(name: str, directory: Path, *arguments: str) -> str:
    """What a program prints; it must end well and complain of nothing."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_quick_start_prints_what_the_readme_shows_and_finds_it_again(tmp_path: Path) -> None:
    [program] = [block for block in blocks_of(ROOT / "README.md") if block.is_program]
    assert run("quickstart.py", tmp_path) == program.output
    assert run("quickstart.py", tmp_path).startswith("hello, bucket\nhello\n")


def test_the_quick_start_is_that_of_the_readme() -> None:
    def main_of(text: str) -> str:
        [main] = [part for part in ast.parse(text).body if isinstance(part, ast.AsyncFunctionDef)]
        return ast.unparse(main)

    [program] = [block for block in blocks_of(ROOT / "README.md") if block.is_program]
    assert main_of((EXAMPLES / "quickstart.py").read_text()) == main_of(program.text)
    assert len([line for line in program.text.splitlines() if line]) <= 10


def test_the_dashboard_adds_up_what_two_processes_count(tmp_path: Path) -> None:
    *progress, exits = run("dashboard.py", tmp_path).splitlines()
    totals = [int(line.split()[0]) for line in progress]
    assert totals == sorted(totals)
    assert totals[-1] >= 20 > totals[-2]
    assert progress[-1].endswith(" of 20, by 2 workers")
    assert exits == "exit codes of the workers: [0, 0]"


def test_the_dashboard_begins_anew_where_there_was_one_before(tmp_path: Path) -> None:
    for _ in range(2):
        *progress, exits = run("dashboard.py", tmp_path, "file:again").splitlines()
        assert int(progress[0].split()[0]) < 20
        assert progress[-1].endswith(" of 20, by 2 workers")
        assert exits == "exit codes of the workers: [0, 0]"


def test_the_reader_with_ticks_of_its_own_looks_when_the_bell_rings(tmp_path: Path) -> None:
    assert run("tick_source.py", tmp_path, "file:shared").splitlines() == [
        "the reader sees None",
        "requests of the reader meanwhile: 0",
        "the bell rings",
        "the reader sees rain",
        "the reader sees sun",
        "the reader sees snow",
        "requests of the reader since: 4",
    ]


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*.py")), ids=lambda program: program.name)
def test_an_example_is_short(program: Path) -> None:
    assert len(program.read_text().splitlines()) < 120


def test_every_example_is_listed() -> None:
    index = (ROOT / "docs/README.md").read_text()
    assert [program.name for program in EXAMPLES.glob("*.py") if f"(../examples/{program.name})" not in index] == []
