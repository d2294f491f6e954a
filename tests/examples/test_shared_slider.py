"""The slider of the examples, in two processes on one X server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.helpers import ask, leave, read_until, running

pytestmark = pytest.mark.ui


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An X server of the test's own."""
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        pytest.fail("this test needs Xvfb: apt-get install xvfb")
    told, tells = os.pipe()
    with subprocess.Popen([xvfb, "-displayfd", str(tells), "-nolisten", "tcp"], pass_fds=[tells]) as server:
        os.close(tells)
        try:
            with os.fdopen(told) as numbers:
                monkeypatch.setenv("DISPLAY", f":{numbers.readline().strip()}")
            yield os.environ["DISPLAY"]
        finally:
            server.terminate()


def test_two_windows_move_one_slider(display: str, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/room"
    with (
        running("-m", "tests.examples.sliding", url) as one,
        running("-m", "tests.examples.sliding", url) as two,
    ):
        for window in (one, two):
            assert read_until(window, "50 (nobody's yet)") == ["50 (nobody's yet)"]
        ask(one, "drag 80")
        read_until(one, "80 (yours)")
        read_until(two, "80 (somebody else's)")
        ask(two, "drag 20")
        read_until(two, "20 (yours)")
        read_until(one, "20 (somebody else's)")
        for window in (one, two):
            ask(window, "close")
            assert window.stdout is not None
            *between, versions = window.stdout.read().splitlines()
            assert (between, versions) == ([], "versions: 2")  # neither window sent back what it was shown
            assert leave(window) == (0, "")
