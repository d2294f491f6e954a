"""The slider of the examples, in two processes on one X server."""

from __future__ import annotations

from pathlib import Path

import pytest

from rxmps3.blocking import connect
from tests.examples.helpers import ask, leave, read_until, running

pytestmark = pytest.mark.ui


def test_two_windows_move_one_slider(display: str, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/room"
    with (
        running("-m", "tests.examples.sliding", url) as one,
        running("-m", "tests.examples.sliding", url) as two,
    ):
        for window in (one, two):
            assert read_until(window, "50 (nobody's yet) at 50") == ["50 (nobody's yet) at 50"]
        ask(one, "drag 80")
        read_until(one, "80 (yours) at 80")
        read_until(two, "80 (somebody else's) at 80")
        ask(two, "drag 20")
        read_until(two, "20 (yours) at 20")
        read_until(one, "20 (somebody else's) at 20")
        for window in (one, two):
            ask(window, "close")
            assert window.stdout is not None
            *between, versions = window.stdout.read().splitlines()
            assert (between, versions) == ([], "versions: 2")  # neither window sent back what it was shown
            assert leave(window) == (0, "")


def test_what_the_slider_cannot_show_as_it_is_is_left_as_it_is(display: str, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/room"
    with connect(url) as other, running("-m", "tests.examples.sliding", url) as window:
        read_until(window, "50 (nobody's yet) at 50")
        for value, knob in ((150, 100), (30.7, 31), (5, 5)):
            other.put("volume", value).wait(20)
            read_until(window, f"{value} (somebody else's) at {knob}")
        ask(window, "close")
        assert window.stdout is not None
        assert window.stdout.read().splitlines() == ["versions: 3"]
        assert leave(window) == (0, "")
        other.refresh()
        assert other["volume"] == 5


def test_a_move_made_as_the_window_closes_is_sent(display: str, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/room"
    with running("-m", "tests.examples.sliding", url) as window:
        read_until(window, "50 (nobody's yet) at 50")
        ask(window, "drag 70")
        ask(window, "close")
        assert leave(window)[0] == 0
    with connect(url) as other:
        assert other["volume"] == 70
