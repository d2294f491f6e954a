"""Server-sent events and websockets, by a real server and a real client."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import pytest
import reactivex as rx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import rxmps3
from rxmps3.homes import web
from rxmps3.storage import MemoryStorage
from tests.mutating import Mutant


class Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(db: rxmps3.Database, write: bool = True) -> AsyncIterator[str]:
    async def number(request: Request) -> Response:
        return web.sse(db.observe("number"))

    async def failing(request: Request) -> Response:
        return web.sse(rx.concat(rx.of(1), rx.throw(ValueError("broken"))))

    async def todo(request: Request) -> Response:
        return web.sse_prefix(db, "todo/", request)

    async def both(socket: WebSocket) -> None:
        await web.serve_websocket(db, socket, "todo/", write=write)

    routes = [Route("/number", number), Route("/failing", failing), Route("/todo", todo), WebSocketRoute("/ws", both)]
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(Starlette(routes=routes), log_level="warning", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def events(http: aiohttp.ClientSession, url: str, last: str = "") -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async with http.get(url, headers={"Last-Event-ID": last} if last else {}) as answer:
        assert answer.content_type == "text/event-stream"

        async def each() -> AsyncIterator[dict[str, Any]]:
            said: dict[str, Any] = {}
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "":
                    yield said
                    said = {}
                else:
                    said[name] = json.loads(value) if name == "data" else value

        yield each()


@pytest.fixture
async def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def db(storage: MemoryStorage) -> AsyncIterator[rxmps3.Database]:
    async with rxmps3.connect(storage, by="server", poll=0.05) as db:
        yield db


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


class TestEvents:
    async def test_each_item_is_an_event(self, db: rxmps3.Database, http: aiohttp.ClientSession) -> None:
        async with serving(db) as url, events(http, f"{url}/number") as heard:
            assert await anext(heard) == {"data": None}
            db.put("number", [1, "<b>\n"])
            assert await anext(heard) == {"data": [1, "<b>\n"]}

    async def test_an_error_ends_it_with_its_text(self, db: rxmps3.Database, http: aiohttp.ClientSession) -> None:
        async with serving(db) as url, events(http, f"{url}/failing") as heard:
            assert [said async for said in heard][-1] == {"event": "failed", "data": "broken"}

    async def test_a_quiet_connection_gets_comments(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, mutant: Mutant
    ) -> None:
        mutant.replace(web.COMMENT_SECONDS, 0.05, within=web)
        async with serving(db) as url, events(http, f"{url}/number") as heard:
            assert await anext(heard) == {"data": None}
            assert ":" in await anext(heard)

    async def test_a_page_that_goes_leaves_nothing(self, db: rxmps3.Database, http: aiohttp.ClientSession) -> None:
        async with serving(db) as url:
            before = len(asyncio.all_tasks())
            for _ in range(3):
                async with events(http, f"{url}/todo") as heard:
                    await anext(heard)
            while len(asyncio.all_tasks()) > before + 1:  # the client's own connection
                await asyncio.sleep(0.02)


class TestPrefix:
    async def test_content_then_changes(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, storage: MemoryStorage
    ) -> None:
        await db.put_all({"todo/1": "milk", "other": 1})
        async with serving(db) as url, events(http, f"{url}/todo") as heard:
            assert await anext(heard) == {"event": "content", "id": "1", "data": {"todo/1": "milk"}}
            async with rxmps3.connect(storage, by="ben", shared=False) as other:
                await other.put_all({"todo/1": rxmps3.MISSING, "todo/2": "bread"})
            assert await anext(heard) == {
                "event": "change",
                "id": "1",  # it includes that version; who resumes from it misses nothing
                "data": {"todo/1": {}, "todo/2": {"value": "bread"}},
            }

    async def test_who_comes_back_gets_what_has_changed_since(
        self, db: rxmps3.Database, http: aiohttp.ClientSession
    ) -> None:
        await db.put_all({"todo/1": "milk", "todo/2": "bread", "todo/3": "tea"})
        await db.put_all({"todo/1": "oat milk", "todo/3": rxmps3.MISSING, "other": 1})
        async with serving(db) as url:
            async with events(http, f"{url}/todo", last="1") as heard:
                said = await anext(heard)
                assert (said["event"], said["id"]) == ("change", "2")
                assert said["data"] == {"todo/1": {"value": "oat milk"}, "todo/3": {}}
            async with events(http, f"{url}/todo", last="2") as heard:
                db.put("todo/4", "coffee")
                assert (await anext(heard))["data"] == {"todo/4": {"value": "coffee"}}

    async def test_who_reads_late_resumes_from_what_it_has_got(
        self, db: rxmps3.Database, http: aiohttp.ClientSession
    ) -> None:
        """The id of an event that waited in a buffer is not that of later versions."""
        said = web._content_and_changes(db, "todo/", "")  # pyright: ignore[reportPrivateUsage]
        await anext(said)
        for number in range(3):
            await db.put(f"todo/{number}", number)
        first = await anext(said)
        assert list(first["data"]) == ["todo/0"]
        await said.aclose()
        resumed = web._content_and_changes(db, "todo/", first["version"] or "0")  # pyright: ignore[reportPrivateUsage]
        assert {"todo/1", "todo/2"} <= (await anext(resumed))["data"].keys()
        await resumed.aclose()

    @pytest.mark.parametrize("last", ["99", "nonsense", "-1", "1; drop"])
    async def test_an_unknown_version_gets_the_content(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, last: str
    ) -> None:
        await db.put("todo/1", "milk")
        async with serving(db) as url, events(http, f"{url}/todo", last=last) as heard:
            assert (await anext(heard))["event"] == "content"


class TestWebsocket:
    async def test_both_ways(self, db: rxmps3.Database, http: aiohttp.ClientSession) -> None:
        async with serving(db) as url, http.ws_connect(f"{url}/ws") as one, http.ws_connect(f"{url}/ws") as two:
            for page in (one, two):
                assert (await page.receive_json()) == {"event": "content", "data": {}, "version": ""}
            await one.send_json({"put": {"todo/1": "milk"}, "ask": 7})
            said = [await one.receive_json(), await one.receive_json()]
            [committed] = [each for each in said if each["event"] == "committed"]
            assert (committed["ask"], committed["version"]) == (7, db.states.value["todo/1"].version)
            assert (await two.receive_json())["data"] == {"todo/1": {"value": "milk"}}
            await two.send_json({"delete": ["todo/1"], "ask": 1})
            assert {} in [(await one.receive_json())["data"].get("todo/1")]

    @pytest.mark.parametrize(
        "said",
        [
            "",
            "[]",
            '{"put": []}',
            '{"delete": "todo/1"}',
            '{"delete": [5]}',
            '{"put": {"elsewhere": 1}}',
            '{"delete": ["elsewhere"]}',
            "{}",
            '{"put": {"todo/": NaN}}',
            '{"put": {"todo/\\ud800": 1}}',
        ],
    )
    async def test_what_cannot_be_written_is_answered(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, said: str
    ) -> None:
        async with serving(db) as url, http.ws_connect(f"{url}/ws") as page:
            await page.receive_json()
            await page.send_str(said)
            assert (await page.receive_json())["event"] == "rejected"
            await page.send_json({"put": {"todo/1": "milk"}, "ask": 1})
            assert {(await page.receive_json())["event"] for _ in range(2)} == {"change", "committed"}
        assert await db.get_prefix() == {"todo/1": "milk"}

    async def test_who_may_only_read_does(self, db: rxmps3.Database, http: aiohttp.ClientSession) -> None:
        async with serving(db, write=False) as url, http.ws_connect(f"{url}/ws") as page:
            await page.receive_json()
            await page.send_json({"put": {"todo/1": "milk"}, "ask": 1})
            answer = await page.receive_json()
            assert (answer["event"], answer["ask"]) == ("rejected", 1)
        assert await db.get_prefix() == {}


def test_the_client_is_there() -> None:
    assert "export function connect(url)" in web.client_js()
    assert len([line for line in web.client_js().splitlines() if line.strip()]) < 100


@asynccontextmanager
async def page_served(db: rxmps3.Database, write: bool = True) -> AsyncIterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    app = web.page_app(db, "<!doctype html><title>To do</title>", "todo/", write=write)
    server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def test_an_application_of_one_page_serves_it_the_client_and_the_websocket() -> None:
    async with (
        rxmps3.connect("memory:", by="ana") as db,
        page_served(db) as url,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(url) as page:
            assert (page.content_type, await page.text()) == ("text/html", "<!doctype html><title>To do</title>")
        async with http.get(f"{url}/rxmps3.js") as client:
            assert (client.content_type, await client.text()) == ("text/javascript", web.client_js())
        await db.put_all({"todo/1": "milk", "secret": 1})
        async with http.ws_connect(f"{url}/ws", headers={"Origin": url}) as socket:
            assert (await socket.receive_json())["data"] == {"todo/1": "milk"}
            await socket.send_json({"put": {"todo/2": "bread"}, "ask": 1})
            said = [await socket.receive_json() for _ in range(2)]
            assert {one["event"] for one in said} == {"committed", "change"}
        assert await db.get("todo/2") == "bread"


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null", None])
async def test_pages_of_other_origins_get_no_websocket(origin: str | None) -> None:
    async with rxmps3.connect("memory:", by="ana") as db, page_served(db) as url, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await http.ws_connect(f"{url}/ws", headers={} if origin is None else {"Origin": origin})
        assert raised.value.status == 403


async def test_a_page_is_read_only_unless_it_may_write() -> None:
    async with (
        rxmps3.connect("memory:", by="ana") as db,
        page_served(db, write=False) as url,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{url}/ws", headers={"Origin": url}) as socket,
    ):
        await socket.receive_json()
        await socket.send_json({"put": {"todo/2": "bread"}, "ask": 1})
        assert (await socket.receive_json())["event"] == "rejected"


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with rxmps3.connect("memory:") as db:
            with pytest.raises(rxmps3.InvalidOption, match=rf"serve_page: port {port}: .*; choose another port"):
                await web.serve_page(db, "", port=port)
