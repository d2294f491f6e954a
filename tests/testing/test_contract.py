"""The storage contract in a project that is not this one."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from rxmps3.testing import StorageContract

IMPORTS = """\
import pytest, pytest_asyncio
from rxmps3.storage import MemoryStorage as MyStorage
from rxmps3.testing import StorageContract

"""


def test_the_example_of_the_contract_runs_as_it_stands(tmp_path: Path) -> None:
    """In a folder without this project's configuration, so in pytest-asyncio's strict mode."""
    documented = inspect.getdoc(StorageContract) or ""
    example = dedent(documented.split("::\n", 1)[1])
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_mine.py").write_text(IMPORTS + example)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
