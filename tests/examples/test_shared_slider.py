"""The slider of the examples, in two processes on one X server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.helpers import ask, leave, read_until, running

pytestmark = pytest.mark.ui


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
