"""Pyright infers of pipes what ``tests/typing/pipes.py`` says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def complaints(file: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_pyright_agrees() -> None:
    code, said = complaints(ROOT / "tests/typing/pipes.py")
    assert code == 0, said


@pytest.mark.timeout(300)
def test_pyright_disagrees_with_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\n"
        "from reactivex import Observable\n"
        "from rxmps3.operators import share_latest\n"
        "def wrong(source: Observable[int]) -> None:\n"
        "    assert_type(source.pipe(share_latest()), Observable[str])\n"
    )
    code, said = complaints(wrong)
    assert code == 1
    assert "wrong.py:5" in said
