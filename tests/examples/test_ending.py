"""Ctrl-C at the examples: they end, complain of nothing and lose nothing."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from rxmps3.blocking import connect
from tests.examples.terminal import CTRL_C, terminal


def test_the_feature_flags_end_while_they_wait_for_a_line(tmp_path: Path) -> None:
    with terminal("examples/feature_flags.py", "serve", f"file:{tmp_path}/flags") as service:
        service.read_until("new-checkout is on for 0 %")
        service.press("ana\n")
        service.read_until("ana gets dark-mode")
        service.press(CTRL_C)
        assert service.wait() == 130
        assert "Traceback" not in service.shown
        assert "Error" not in service.shown


@pytest.mark.parametrize("by_key", [True, False], ids=["the key", "the signal to the dashboard alone"])
def test_the_dashboard_ends_its_workers_and_what_they_counted_stays(by_key: bool, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/counts"
    with terminal("examples/dashboard.py", url) as dashboard:
        dashboard.read_until(" of 20")
        dashboard.press(CTRL_C) if by_key else dashboard.interrupt()
        assert dashboard.wait() == 130
        assert "exit codes of the workers: [0, 0]" in dashboard.shown
        assert "Traceback" not in dashboard.shown
    shown = [int(total) for total in re.findall(r"(\d+) of 20", dashboard.shown)]
    with connect(url) as db:
        assert db["over"] is True
        assert sum(db.get_prefix("worker/").values()) >= shown[-1]


@pytest.mark.parametrize(("program", "line"), [("quickstart", "None"), ("tick_source", "the reader sees None")])
def test_short_programs_end(program: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [f"file:{tmp_path}/short"] if program == "tick_source" else []
    with terminal("-c", IN_A_FOLDER, str(tmp_path), f"examples/{program}.py", *arguments) as running:
        running.read_until(line)
        running.press(CTRL_C)
        assert running.wait() in (130, 0)
        assert "Traceback" not in running.shown


IN_A_FOLDER = """
import os, sys
_, folder, program, *arguments = sys.argv
program = os.path.abspath(program)
os.chdir(folder)
os.execv(sys.executable, [sys.executable, "-u", program, *arguments])
"""


@pytest.mark.parametrize("by_key", [True, False], ids=["the key", "the signal"])
def test_the_chat_is_left_and_what_was_said_is_sent(by_key: bool, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/room"
    with terminal("examples/chat.py", url, "ana") as chat:
        chat.read_until("Say something")
        chat.press("hi\r")
        chat.read_until("ana: ")
        chat.press(CTRL_C) if by_key else chat.interrupt()
        assert chat.wait() in (0, 130)
        assert "Traceback" not in chat.shown
        assert "\x1b[?1049l" in chat.shown, "the terminal is as it was"
    with connect(url) as db:
        assert list(db.get_prefix("message/").values()) == [{"by": "ana", "text": "hi"}]


@pytest.mark.parametrize("by_key", [True, False], ids=["the key", "the signal"])
def test_the_server_of_a_page_ends(by_key: bool, tmp_path: Path) -> None:
    with terminal("examples/todo.py", f"file:{tmp_path}/todo", "--port", "0") as server:
        server.read_until("http://127.0.0.1:")
        server.press(CTRL_C) if by_key else server.interrupt()
        assert server.wait() == 130
        assert "Traceback" not in server.shown
        assert "Error" not in server.shown


async def test_the_server_of_a_page_ends_while_a_page_is_open(tmp_path: Path) -> None:
    with terminal("examples/todo.py", f"file:{tmp_path}/todo", "--port", "0") as server:
        await asyncio.to_thread(server.read_until, "/\r\n")
        [url] = re.findall(r"http://127.0.0.1:\d+", server.shown)
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws", headers={"Origin": url}) as page:
            assert (await page.receive_json())["event"] == "content"
            server.interrupt()
            assert (await page.receive()).type is aiohttp.WSMsgType.CLOSE
            assert await asyncio.to_thread(server.wait) == 130
        assert server.shown == f"{url}/\r\n"


SLIDING = """
import sys
from examples import shared_slider

class Telling(shared_slider.Window):
    def __init__(self, db):
        super().__init__(db)
        self.root.after(200, self.move)

    def move(self):
        self.slider.set(70)
        print("moved", flush=True)

shared_slider.Window = Telling
shared_slider.main(sys.argv[1])
"""


@pytest.mark.ui
@pytest.mark.parametrize("by_key", [True, False], ids=["the key", "the signal"])
def test_the_slider_closes_and_its_last_move_is_sent(by_key: bool, display: str, tmp_path: Path) -> None:
    url = f"file:{tmp_path}/room"
    with terminal("-c", SLIDING, url) as window:
        window.read_until("moved")
        window.press(CTRL_C) if by_key else window.interrupt()
        assert window.wait() == 0
        assert "Traceback" not in window.shown
    with connect(url) as db:
        assert db["volume"] == 70
