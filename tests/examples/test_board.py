"""The board of the examples and the Streamlit script of `docs/blocking.md`, each with two visitors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra 'streamlit'")

import streamlit as st
from streamlit.testing.v1 import AppTest

import rxmps3.blocking
from rxmps3.blocking.portal import portal
from tests.docs.blocks import ROOT, blocks_of
from tests.mutating import Mutant

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit")

WITHIN = 30
"""Seconds for a run of a script, or for news to arrive; it matters only when they do not."""


def tasks(word: str) -> int:
    """How many pollers (``ticks``) or writers (``commit``) are at work on the thread of the blocking databases."""

    async def names() -> list[str]:
        return [f"{task.get_name()} " for task in asyncio.all_tasks()]

    return sum(name.startswith(f"rxmps3 {word} ") for name in portal().call("count", names))


def visit(app: AppTest) -> AppTest:
    """Run the script; what it raises is raised."""
    app.run(timeout=WITHIN)
    assert [one.value for one in app.exception] == []
    return app


def visit_until(app: AppTest, true: Callable[[], bool]) -> None:
    """Run the script again and again, as ``run_every`` does in a browser; the test's time limit is the other end."""
    while not true():
        visit(app)


@pytest.fixture
def connected(mutant: Mutant) -> Iterator[list[rxmps3.blocking.Database]]:
    """What the scripts have connected to; it is closed in the end."""
    made: list[rxmps3.blocking.Database] = []
    connect: Any = rxmps3.blocking.connect

    def noted(*arguments: Any, **options: Any) -> rxmps3.blocking.Database:
        made.append(connect(*arguments, **options))
        return made[-1]

    mutant.replace(rxmps3.blocking.connect, noted)
    yield made
    st.cache_resource.clear()
    for db in made:
        db.close()


def notes(app: AppTest) -> list[str]:
    return [one.value for one in app.text]


def add(app: AppTest, text: str) -> None:
    app.chat_input[0].set_value(text)
    visit(app)


class TestTheBoard:
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connected: Any) -> None:
        self.url = f"file:{tmp_path}/board"
        monkeypatch.setenv("RXMPS3_URL", self.url)

    def app(self, who: str) -> AppTest:
        app = visit(AppTest.from_file(str(ROOT / "examples/board.py")))
        app.text_input[0].set_value(who)
        return app

    def test_two_visitors_see_what_each_other_writes(self) -> None:
        ann, bob = self.app("ann"), self.app("bob")
        add(ann, "milk")
        add(bob, "bread")
        assert notes(bob) == notes(visit(ann)) == ["milk (ann)", "bread (bob)"]
        ann.button[1].click()
        assert notes(visit(ann)) == notes(visit(bob)) == ["milk (ann)"]

    def test_what_is_written_elsewhere_appears_and_the_other_way_round(self) -> None:
        ann = self.app("ann")
        with rxmps3.blocking.connect(self.url, shared=False, poll=0.2) as elsewhere:
            elsewhere.put("note/0", {"text": "eggs", "by": "cleo"}).wait(WITHIN)
            visit_until(ann, lambda: notes(ann) == ["eggs (cleo)"])
            add(ann, "milk")
            while [note["text"] for note in elsewhere.get_prefix("note/").values()] != ["eggs", "milk"]:
                elsewhere.refresh()

    def test_a_run_adds_no_poller_and_no_writer(self, connected: list[Any]) -> None:
        writers: set[str] = set()
        before = (tasks("ticks"), tasks("commit"))
        ann, bob = self.app("ann"), self.app("bob")
        assert len(connected) == 1
        connected[0].versions.subscribe(lambda version: writers.add(version.writer))
        for number in range(10):
            add(ann, f"a{number}")
            add(bob, f"b{number}")
        connected[0].put("over", True).wait(WITHIN)
        assert len(notes(visit(ann))) == 20
        assert (len(connected), len(writers)) == (1, 1)
        assert (tasks("ticks"), tasks("commit")) == (before[0] + 1, before[1] + 1)

    def test_a_wrong_url_is_said_on_the_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RXMPS3_URL", "somewhere")
        app = visit(AppTest.from_file(str(ROOT / "examples/board.py")))
        [error] = app.error
        assert "not the URL of a storage: 'somewhere'" in error.value


class TestTheScriptOfThePage:
    def script(self, tmp_path: Path) -> str:
        """As the page shows it, in a directory instead of a bucket."""
        [block] = [block for block in blocks_of(ROOT / "docs/blocking.md") if block.language == "py"]
        assert block.text.count('"s3://my-bucket/app"') == 1
        return block.text.replace('"s3://my-bucket/app"', f'"file:{tmp_path}/app"')

    def play(self, script: str) -> None:
        one, two = visit(AppTest.from_string(script)), visit(AppTest.from_string(script))
        assert one.header[0].value == "untitled"
        one.text_input[0].set_value("Minutes")
        assert visit(one).header[0].value == visit(two).header[0].value == "Minutes"

    def test_two_visitors_share_the_title(self, tmp_path: Path, connected: list[Any]) -> None:
        self.play(self.script(tmp_path))
        assert len(connected) == 1

    def test_without_the_cache_there_are_more_handles_and_no_more_pollers(
        self, tmp_path: Path, connected: list[Any]
    ) -> None:
        script, left_out = re.subn(r"@st\.cache_resource.*\n", "", self.script(tmp_path))
        assert left_out == 1
        before = (tasks("ticks"), tasks("commit"))
        self.play(script)
        assert len(connected) > 2
        assert (tasks("ticks"), tasks("commit")) == (before[0] + 1, before[1] + 1)
