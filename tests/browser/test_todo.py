"""The to-do page in two windows, with its server killed between; and a Streamlit page that runs again by itself."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs the extra 'browser', and Debian's chromium and chromium-driver")

import uvicorn
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import rxmps3
from rxmps3.homes import web
from tests.browser.pages import chrome as chrome
from tests.browser.pages import wait
from tests.browser.test_examples import RECORD
from tests.docs.blocks import ROOT
from tests.mutating import Mutant

pytestmark = [pytest.mark.ui, pytest.mark.browser, pytest.mark.timeout(200)]

EVIL = "<img src=x onerror='window.failed=1'></script><script>window.failed=2</script>"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def open_page(chrome: webdriver.Chrome, url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0])), 1):
                break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
    chrome.get(url)


def add(chrome: webdriver.Chrome, title: str) -> None:
    chrome.find_element(By.CSS_SELECTOR, "input[type=text]").send_keys(title, Keys.ENTER)


TITLES = "[...document.querySelectorAll('li span')].map(one => one.textContent).join('|')"


def test_two_windows_share_the_list_and_outlive_the_server(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    port = free_port()
    url, place = f"http://127.0.0.1:{port}/", f"file:{tmp_path}/todo"
    server = [str(ROOT / "examples/todo.py"), place, "--port", str(port)]
    with running(*server):
        open_page(chrome, url)
        one = chrome.current_window_handle
        wait(chrome, "document.querySelector('#state').textContent === '0 left'")
        chrome.switch_to.new_window("window")
        two = chrome.current_window_handle
        chrome.get(url)
        add(chrome, "milk")
        wait(chrome, f"{TITLES} === 'milk'")
        chrome.switch_to.window(one)
        wait(chrome, f"{TITLES} === 'milk'")
        add(chrome, EVIL)
        chrome.switch_to.window(two)
        wait(chrome, f"{TITLES}.includes('onerror')")
        assert chrome.execute_script("return window.failed") is None
        chrome.find_element(By.CSS_SELECTOR, "li input").click()
        chrome.switch_to.window(one)
        wait(chrome, "document.querySelectorAll('li.done').length === 1")
        chrome.save_screenshot(str(tmp_path / "todo.png"))
    wait(chrome, "document.querySelector('#state').textContent === 'not connected'")

    async def elsewhere() -> None:
        async with rxmps3.connect(place, by="ben") as db:
            await db.put("todo/9", {"title": "written meanwhile", "done": False})
            await db.put("todo/odd", "no object")

    asyncio.run(elsewhere())
    with running(*server):
        for window in (one, two):
            chrome.switch_to.window(window)
            wait(chrome, f"{TITLES}.includes('written meanwhile')")
        add(chrome, "bread")
        chrome.switch_to.window(one)
        wait(chrome, f"{TITLES}.includes('bread')")
        assert chrome.execute_script("return window.failed") is None


PAGE = """<!doctype html><script type="module">
import { connect, events } from "/rxmps3.js";
window.one = connect(`ws://${location.host}/ws`);
window.two = events("/events");
</script>"""


def test_a_page_learns_that_its_connection_is_broken(chrome: webdriver.Chrome, mutant: Mutant) -> None:
    """A server that says nothing any more, as after sleep, and one that answers with an error, as a proxy does."""
    silent = threading.Event()
    accepted: list[WebSocket] = []
    mutant.replace(web.QUIET_SECONDS, 0.2, within=web)

    async def serve(listening: socket.socket, ready: threading.Event, over: threading.Event) -> None:
        async with rxmps3.connect("memory:browser-broken", by="ana", poll=0.05) as db:
            await db.put("t/1", 1)

            class Mute(WebSocket):
                """A connection that once was silent stays so."""

                mute = False

                async def send_text(self, data: str) -> None:
                    self.mute = self.mute or silent.is_set()
                    if not self.mute:
                        await super().send_text(data)

            async def page(request: Request) -> Response:
                return HTMLResponse(PAGE)

            async def client(request: Request) -> Response:
                return Response(
                    web.client_js().replace("SILENT = 45000", "SILENT = 1500"), media_type="text/javascript"
                )

            async def both(socket: WebSocket) -> None:
                accepted.append(socket)
                await web.serve_websocket(db, Mute(socket.scope, socket.receive, socket.send), "t/")

            asked = 0

            async def events(request: Request) -> Response:
                nonlocal asked
                asked += 1
                return Response(status_code=503) if asked < 3 else web.sse_prefix(db, "t/", request)

            class Server(uvicorn.Server):
                @contextmanager
                def capture_signals(self) -> Iterator[None]:
                    yield

            routes = [Route("/", page), Route("/rxmps3.js", client), Route("/events", events)]
            app = Starlette(routes=[*routes, WebSocketRoute("/ws", both)])
            server = Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=0))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.05)
                if silent.is_set():
                    db.key("t/1").on_next(2)
            server.should_exit = True
            await serving

    with socket.create_server(("127.0.0.1", 0)) as listening:
        ready, over = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(serve(listening, ready, over)))
        thread.start()
        try:
            assert ready.wait(20)
            chrome.get(f"http://127.0.0.1:{listening.getsockname()[1]}/")
            value = "window.{}?.values.get('t/1')"
            wait(chrome, f"{value.format('one')} === 1 && {value.format('two')} === 1")
            time.sleep(2)
            assert chrome.execute_script("return one.connected && two.connected"), "a quiet server is there"
            silent.set()
            before, end = len(accepted), time.monotonic() + 30
            while len(accepted) == before:
                assert time.monotonic() < end, "it was never connected anew"
                time.sleep(0.05)
            silent.clear()
            wait(chrome, f"one.connected && {value.format('one')} === 2")
        finally:
            over.set()
            thread.join()


def test_a_streamlit_page_runs_again_when_a_value_changes_elsewhere(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    pytest.importorskip("streamlit", reason="needs the extra 'streamlit'")
    place = f"file:{tmp_path}/app"
    (tmp_path / "page.py").write_text(
        "import streamlit as st\n"
        "from rxmps3.homes.streamlit import database, shared\n"
        f"db = database({place!r}, poll=0.2)\n"
        "st.header(shared(db, 'title', 'untitled').value)\n"
    )
    port = free_port()
    options = ["--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    with running("-m", "streamlit", "run", str(tmp_path / "page.py"), *options):
        open_page(chrome, f"http://127.0.0.1:{port}/")
        wait(chrome, "document.querySelector('h2')?.textContent.includes('untitled')")

        async def put(title: str) -> None:
            async with rxmps3.connect(place, by="ben") as db:
                await db.put("title", title)

        for title in ("Minutes", "Plans"):
            asyncio.run(put(title))
            wait(chrome, f"document.querySelector('h2')?.textContent.includes({title!r})")


def test_a_panel_page_follows_a_key_and_writes_it(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    pytest.importorskip("panel", reason="needs the extra 'panel'")
    place = f"file:{tmp_path}/app"
    (tmp_path / "page.py").write_text(
        "import panel as pn\n"
        "from rxmps3.blocking import connect\n"
        "from rxmps3.homes.panel import bind, reactive\n"
        f"db = connect({place!r}, live=True, poll=0.2, by='page')\n"
        "title = pn.bind(lambda title: f'## {title}', reactive(db.observe('title', 'untitled')))\n"
        "pn.Column(title, bind(pn.widgets.TextInput(name='Title'), db.key('title', default=''))).servable()\n"
    )
    port = free_port()
    shown = "[...document.querySelectorAll('*')].flatMap(function all(one) { return [one, ...[...(one.shadowRoot?.querySelectorAll('*') ?? [])].flatMap(all)]; })"
    heading = f"{shown}.find(one => one.localName === 'h2')?.textContent"
    with running("-m", "panel", "serve", str(tmp_path / "page.py"), "--port", str(port)):
        open_page(chrome, f"http://127.0.0.1:{port}/page")
        wait(chrome, f"{heading}?.includes('untitled')")

        async def elsewhere() -> None:
            async with rxmps3.connect(place, by="ben") as db:
                await db.put("title", "Minutes")

        asyncio.run(elsewhere())
        wait(chrome, f"{heading}?.includes('Minutes')")
        field = chrome.execute_script(f"return {shown}.find(one => one.localName === 'input')")
        field.send_keys(" and plans", Keys.ENTER)
        wait(chrome, f"{heading}?.includes('Minutes and plans')")

        async def read() -> object:
            async with rxmps3.connect(place, read_only=True) as db:
                return await db.get("title")

        assert asyncio.run(read()) == "Minutes and plans"


def test_cells_of_marimo_run_again_when_a_value_changes(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    pytest.importorskip("marimo", reason="needs the extra 'marimo'")
    place = f"file:{tmp_path}/app"
    (tmp_path / "page.py").write_text(
        "import marimo\n"
        "app = marimo.App()\n"
        "@app.cell\n"
        "def _():\n"
        "    import marimo as mo\n"
        "    from rxmps3.blocking import connect\n"
        "    from rxmps3.homes.marimo import state\n"
        f"    db = connect({place!r}, live=True, poll=0.2)\n"
        "    return db, mo, state\n"
        "@app.cell\n"
        "def _(db, state):\n"
        "    title = state(db.observe('title', 'untitled'))\n"
        "    return (title,)\n"
        "@app.cell\n"
        "def _(mo, title):\n"
        "    mo.md(f'# {title()}')\n"
        "if __name__ == '__main__':\n"
        "    app.run()\n"
    )
    port = free_port()
    options = ["--port", str(port), "--headless", "--no-token"]
    with running("-m", "marimo", "run", str(tmp_path / "page.py"), *options):
        open_page(chrome, f"http://127.0.0.1:{port}/")
        heading = "[...document.querySelectorAll('h1')].map(one => one.textContent).join()"
        wait(chrome, f"{heading}.includes('untitled')")

        async def put(title: str) -> None:
            async with rxmps3.connect(place, by="ben") as db:
                await db.put("title", title)

        for title in ("Minutes", "Plans"):
            asyncio.run(put(title))
            wait(chrome, f"{heading}.includes({title!r})")


@pytest.mark.parametrize("held", ["input", "button"])
def test_the_focus_stays_while_others_write(chrome: webdriver.Chrome, tmp_path: Path, held: str) -> None:
    place, port = f"file:{tmp_path}/todo", free_port()

    def write(**values: str | None) -> None:
        async def writing() -> None:
            async with rxmps3.connect(place, by="ben", shared=False) as db:
                update = {
                    f"todo/{key}": rxmps3.MISSING if title is None else {"title": title, "done": title.isupper()}
                    for key, title in values.items()
                }
                await db.put_all(update)

        asyncio.run(writing())

    write(b="beans", d="dates", f="figs")
    with running(str(ROOT / "examples/todo.py"), place, "--port", str(port)):
        open_page(chrome, f"http://127.0.0.1:{port}/")
        one = chrome.current_window_handle
        chrome.switch_to.new_window("window")
        chrome.get(f"http://127.0.0.1:{port}/")
        windows = (chrome.current_window_handle, one)

        def shown(*titles: str) -> None:
            for window in windows:
                chrome.switch_to.window(window)
                wait(chrome, f"{TITLES} === {'|'.join(titles)!r}")

        shown("beans", "dates", "figs")
        chrome.execute_script(RECORD)
        chrome.execute_script(f"window.held = document.querySelectorAll('li {held}')[1]; held.focus()")
        stays = "return document.activeElement === held"
        write(c="carrots")
        shown("beans", "carrots", "dates", "figs")
        write(a="apples", g="grapes", b="brown bread", f=None)
        shown("apples", "brown bread", "carrots", "dates", "grapes")
        assert chrome.execute_script(stays)
        assert chrome.execute_script("return window.said") == ["4 left", "5 left"]
        write(d="dried dates", a="apple pie")
        shown("apple pie", "brown bread", "carrots", "dried dates", "grapes")
        assert chrome.execute_script(stays)
        assert chrome.execute_script("return held.ariaLabel.endsWith('dried dates')")
        assert chrome.execute_script("return window.said") == ["4 left", "5 left"], "the same is not said again"
        chrome.switch_to.active_element.send_keys(Keys.SPACE)
        if held == "input":
            wait(chrome, "document.querySelectorAll('li')[3].className === 'done'")
            assert chrome.execute_script(stays)
            write(d=None)
        shown("apple pie", "brown bread", "carrots", "grapes")
        beside = f"document.activeElement === document.querySelectorAll('li {held}')[3]"
        assert chrome.execute_script(f"return {beside}"), "the one below, as that of the focus is gone"
        write(a=None, b=None, c=None, g=None)
        shown("")
        assert chrome.execute_script("return document.activeElement.ariaLabel") == "New item"


def test_what_is_typed_stays_while_others_write(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    place, port = f"file:{tmp_path}/todo", free_port()

    async def elsewhere(title: str) -> None:
        async with rxmps3.connect(place, by="ben", shared=False) as db:
            await db.put("todo/0", {"title": title, "done": False})

    with running(str(ROOT / "examples/todo.py"), place, "--port", str(port)):
        open_page(chrome, f"http://127.0.0.1:{port}/")
        wait(chrome, "document.querySelector('#state').textContent === '0 left'")
        field = chrome.find_element(By.CSS_SELECTOR, "input[type=text]")
        field.send_keys("bread", Keys.ARROW_LEFT, Keys.ARROW_LEFT)
        asyncio.run(elsewhere("milk"))
        wait(chrome, f"{TITLES} === 'milk'")
        caret = "const field = document.activeElement; return [field.value, field.selectionStart]"
        assert chrome.execute_script(caret) == ["bread", 3]
        delayed = "const send = WebSocket.prototype.send; WebSocket.prototype.send = function (said) { setTimeout(() => send.call(this, said), 500); };"
        chrome.execute_script(delayed)
        field.send_keys(Keys.ENTER, "butter")
        wait(chrome, f"{TITLES} === 'milk|bread'")
        asyncio.run(elsewhere("oat milk"))
        wait(chrome, f"{TITLES} === 'oat milk|bread'")
        assert field.get_attribute("value") == "butter", "the commit of one item takes nothing from the next"


def test_items_of_another_shape_are_shown_and_can_be_removed(chrome: webdriver.Chrome, tmp_path: Path) -> None:
    port = free_port()
    place = f"file:{tmp_path}/todo"
    odd: list[Any] = [None, 1, "text", [], {}, {"title": None}, {"title": {"toString": 1, "valueOf": 1}}, {"title": 7}]

    async def write() -> None:
        async with rxmps3.connect(place, shared=False) as db:
            for number, value in enumerate(odd):
                await db.put(f"todo/{number}", value)
            await db.put("todo/9", {"title": "milk", "done": False})

    asyncio.run(write())
    with running(str(ROOT / "examples/todo.py"), place, "--port", str(port)):
        open_page(chrome, f"http://127.0.0.1:{port}/")
        wait(chrome, f"document.querySelectorAll('li').length === {len(odd) + 1}")
        assert chrome.execute_script(f"return {TITLES}") == (
            'null|1|"text"|[]|{}|{"title":null}|{"title":{"toString":1,"valueOf":1}}|{"title":7}|milk'
        )
        chrome.find_elements(By.CSS_SELECTOR, "li button")[6].click()
        wait(chrome, f"document.querySelectorAll('li').length === {len(odd)}")
