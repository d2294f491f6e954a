"""Both type checkers infer what the assertions say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ASSERTIONS = FOLDER / "assertions.py"
CHECKERS = {
    "pyright": ["pyright", "--pythonpath", sys.executable],
    "mypy": ["mypy", "--strict", "--python-executable", sys.executable, "--follow-imports=silent", "--cache-dir"],
}


def complaints(checker: str, file: Path, directory: Path) -> tuple[int, str]:
    """The exit code of a checker and what it says."""
    command = [sys.executable, "-m", *CHECKERS[checker]]
    if checker == "mypy":
        command.append(str(directory / "mypy-cache"))
    done = subprocess.run(
        [*command, str(file)],
        cwd=FOLDER.parent.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_type_checker_agrees(checker: str, tmp_path: Path) -> None:
    code, said = complaints(checker, ASSERTIONS, tmp_path)
    assert code == 0, said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_type_checker_disagrees_with_what_is_wrong(checker: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\n"
        "from rxmps3 import Database, Key\n"
        "def wrong(db: Database) -> None:\n"
        '    assert_type(db.key("k", float, default=1.0), Key[str])\n'
    )
    code, said = complaints(checker, wrong, tmp_path)
    assert code == 1
    assert "wrong.py:4" in said
    assert "Key[float]" in said
