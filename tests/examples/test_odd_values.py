"""Values of another shape than an example expects: whoever may write to the bucket may write anything."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from reactivex import operators as ops

import rxmps3
import rxmps3.blocking
from examples import jobs  # pyright: ignore
from examples.chat import Chat  # pyright: ignore
from rxmps3.testing import settle
from tests.docs.blocks import ROOT
from tests.examples.chatting import room_of
from tests.examples.helpers import leave, read_until, running

ODD: list[Any] = [
    None, True, 0, -1.5, 10**400, 1e300, "text", "", "\x1b[2J", "[bold]x[/nothing]", [], [1], {}, {"text": "no name"},
    {"text": 1, "by": "ana"}, {"text": None, "by": None}, {"by": ["x"], "text": {"y": 1}}, {"percent": "all"},
    {"percent": 1e9}, "x" * 100_000,
]  # fmt: skip
"""What somebody else may have put there."""


async def test_the_chat_shows_what_is_no_message_and_goes_on() -> None:
    async with rxmps3.connect("memory:", by="ana", poll=0.5) as db:
        app: Any = Chat(db, "ana")
        async with app.run_test() as pilot:
            for number, value in enumerate(ODD):
                await db.put(f"message/{number:03}", value)
            await db.put("message/999", {"by": "bob", "text": "hello"})
            while not str(room_of(app)).endswith("bob: hello\n"):
                await pilot.pause(0.01)
            assert str(room_of(app)).count("\n?: ") + 1 == len(ODD)
            await db.delete("message/000")
            while str(room_of(app)).count("\n?: ") + 1 == len(ODD):
                await pilot.pause(0.01)
    await settle()


async def test_a_worker_leaves_what_is_no_job_alone_and_goes_on() -> None:
    odd = {f"job/{number:03}": value for number, value in enumerate(ODD)}
    numbers = [value for value in [*ODD, -7, 10**15] if value is not True]  # which is 1
    odd |= {
        f"job/1{number:02}": {"number": value, "state": "waiting", "worker": value}
        for number, value in enumerate(numbers)
    }
    async with rxmps3.connect("memory:odd-jobs", by="test", poll=0.1, shared=False) as db:
        await db.put_all(odd | {"job/200": {"number": 91, "state": "waiting"}})
        before = dict(await db.get_prefix("job/"))
        working = asyncio.create_task(jobs.work("memory:odd-jobs", "ana", 0.0, 1.0))
        done = db.observe("job/200").pipe(ops.filter(lambda job: job["state"] == "done"), ops.first())
        assert (await done)["factors"] == [7, 13]
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        after = dict(await db.get_prefix("job/"))
        assert {key for key in before if after[key] != before[key]} == {"job/200"}
    await settle()


@pytest.mark.timeout(180)
def test_the_board_shows_what_is_no_note_and_lets_it_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("streamlit", reason="needs the extra 'streamlit'")
    from streamlit.testing.v1 import AppTest

    url = f"file:{tmp_path}/board"
    monkeypatch.setenv("RXMPS3_URL", url)
    with rxmps3.blocking.connect(url, shared=False) as db:
        for number, value in enumerate(ODD):
            db.put(f"note/{number:03}", value).wait(20)
        db.put("note/999", {"text": "milk", "by": "ana"}).wait(20)
    app = AppTest.from_file(str(ROOT / "examples/board.py")).run(timeout=60)
    try:
        assert [one.value for one in app.exception] == []
        lines = [one.value for one in app.text]
        assert lines[-1] == "milk (ana)"
        assert [line.startswith("no note: ") for line in lines] == [True] * len(ODD) + [False]
        app.button[0].click().run(timeout=60)
        assert len(app.text) == len(ODD)
    finally:
        import streamlit

        streamlit.cache_resource.clear()


async def test_the_dashboard_counts_what_is_a_number(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/counts"
    with running("examples/dashboard.py", url) as dashboard:
        assert dashboard.stdout is not None
        await asyncio.to_thread(dashboard.stdout.readline)
        async with rxmps3.connect(url, by="eve") as db:
            for number, value in enumerate(ODD):
                if not isinstance(value, int):
                    db.put(f"worker/odd-{number}", value)
            await db.put("goal", "far away")
        code, complaints = await asyncio.to_thread(leave, dashboard)
        assert (code, complaints) == (0, "")


async def test_the_feature_flags_go_on_with_what_they_knew(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/flags"
    async with rxmps3.connect(url) as db:
        await db.put("flag/new-checkout", {"percent": 100})
        with running("examples/feature_flags.py", "serve", url) as service:
            await asyncio.to_thread(read_until, service, "new-checkout is on for 100 %")
            for value in ODD:
                await db.put("flag/new-checkout", value)
                await db.put("flag/dark-mode", value)
            await db.put("flag/new-checkout", {"percent": 7})
            await asyncio.to_thread(read_until, service, "new-checkout is on for 7 %")
            code, complaints = await asyncio.to_thread(leave, service)
        assert code == 0
        assert "Traceback" not in complaints
        assert re.search("flag/dark-mode", complaints), "it says what it cannot use"


@pytest.mark.ui
@pytest.mark.timeout(120)
def test_the_slider_shows_what_is_no_number_and_goes_on(display: str, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/room"
    with (
        rxmps3.blocking.connect(url, shared=False, by="eve") as db,
        running("-m", "tests.examples.sliding", url) as window,
    ):
        for value in ODD:
            db.put("volume", value).wait(20)
        db.put("volume", 63).wait(20)
        read_until(window, "63 (somebody else's) at 63")
        code, complaints = leave(window)
    assert (code, complaints) == (0, "")
