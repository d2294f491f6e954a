"""What the examples say when asked for help, and where something is missing: one clear line, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import new_place
from tests.docs.blocks import ROOT

PROGRAMS = sorted((ROOT / "examples").glob("*.py"))
ARGUMENTS = {
    "bell": ["read", "URL"],
    "chat": ["URL", "ana"],
    "dashboard": ["URL"],
    "feature_flags": ["set", "URL", "new-checkout", "25"],
    "flags_page": ["URL"],
    "jobs": ["board", "URL"],
    "shared_slider": ["URL"],
    "tick_source": ["URL"],
    "todo": ["URL"],
    "training": ["run", "URL", "slow"],
}
"""How to start each that takes a place."""


def start(directory: Path, *command: str) -> tuple[int, str, str]:
    """The exit code, what is printed and what is complained of."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def started_at(url: str, name: str, directory: Path) -> tuple[int, str, str]:
    arguments = [url if argument == "URL" else argument for argument in ARGUMENTS[name]]
    return start(directory, str(ROOT / f"examples/{name}.py"), *arguments)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_help_says_what_it_does(program: Path, tmp_path: Path) -> None:
    if program.stem == "board" and find_spec("streamlit") is None:
        pytest.skip("needs the extra 'streamlit'")
    code, printed, complaints = start(tmp_path, str(program), "--help")
    assert (code, complaints) == (0, "")
    assert printed.startswith("usage: ")
    assert program.read_text().split("\n")[0].removeprefix('"""') in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_an_argument_too_many_is_refused(program: Path, tmp_path: Path) -> None:
    if program.stem == "board" and find_spec("streamlit") is None:
        pytest.skip("needs the extra 'streamlit'")
    code, printed, complaints = start(tmp_path, str(program), *ARGUMENTS.get(program.stem, []), "surplus")
    assert (code, printed) == (2, "")
    assert complaints.splitlines()[-1].endswith("unrecognized arguments: surplus")


WITHOUT = "import runpy, sys; sys.modules[sys.argv[1]] = None; runpy.run_path(sys.argv[2], run_name='__main__')"


@pytest.mark.parametrize(
    ("program", "missing", "remedy"),
    [
        ("chat", "textual", "pip install 'rxmps3[examples]'"),
        ("feature_flags", "pydantic", "pip install 'rxmps3[examples]'"),
        ("flags_page", "starlette", "pip install 'rxmps3[web]'"),
        ("todo", "starlette", "pip install 'rxmps3[web]'"),
        ("board", "streamlit", "pip install 'rxmps3[streamlit]'"),
        ("shared_slider", "tkinter", "apt install python3-tk"),
    ],
)
def test_what_is_not_installed_is_named_with_the_command(
    program: str, missing: str, remedy: str, tmp_path: Path
) -> None:
    code, printed, complaints = start(tmp_path, "-c", WITHOUT, missing, str(ROOT / f"examples/{program}.py"))
    [line] = complaints.splitlines()
    assert (code, printed) == (1, "")
    assert missing in line
    assert line.endswith(remedy)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_wrong_url_is_one_line(name: str, tmp_path: Path) -> None:
    code, printed, complaints = started_at("somewhere", name, tmp_path)
    [line] = complaints.splitlines()
    assert (code, printed) == (1, "")
    assert "not the URL of a storage: 'somewhere'; accepted are" in line


def test_a_wrong_url_ends_a_service(tmp_path: Path) -> None:
    """Defaults do for a bucket that is out of reach, not for what can never be reached."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "examples/feature_flags.py"), "serve", "somewhere"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.wait(30) == 1
        assert service.stderr is not None
        assert "not the URL of a storage: 'somewhere'" in service.stderr.read()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_missing_bucket_is_one_line(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = new_place("moto", request)
    monkeypatch.setenv("AWS_ENDPOINT_URL", place.options["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", place.options["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", place.options["aws_secret_access_key"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    code, printed, complaints = started_at("s3://nobody-made-this/app", name, tmp_path)
    [line] = complaints.splitlines()
    assert (code, printed) == (1, "")
    assert "nobody-made-this" in line
