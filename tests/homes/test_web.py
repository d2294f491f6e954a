"""Server-sent events and websockets, by a real server and a real client."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import socket
import sys
import weakref
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
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
from rxmps3.homes import _resuming, web
from rxmps3.homes._resuming import Content, Sent
from rxmps3.storage import MemoryStorage
from rxmps3.testing import FaultyStorage
from rxmps3.testing.faults import drop_requests, offline
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


@pytest.fixture(params=["sent", "logged"])
def found(request: pytest.FixtureRequest) -> None:
    """Where the content of a page that comes back is found: among those that were sent, or in the log."""
    if request.param == "logged":
        mutant: Mutant = request.getfixturevalue("mutant")
        mutant.replace(Sent.get, lambda sent, digest: None)


class TestEvents:
    async def test_each_item_is_an_event(self, db: rxmps3.Database, http: aiohttp.ClientSession) -> None:
        async with serving(db) as url, events(http, f"{url}/number") as heard:
            assert await anext(heard) == {"data": None}
            db.put("number", [1, "<b>\n"])
            assert await anext(heard) == {"data": [1, "<b>\n"]}

    async def test_an_error_ends_it_with_its_text(self, db: rxmps3.Database, http: aiohttp.ClientSession) -> None:
        async with serving(db) as url, events(http, f"{url}/failing") as heard:
            assert [said async for said in heard][-1] == {"event": "failed", "data": "broken"}

    async def test_a_quiet_connection_says_so(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, mutant: Mutant
    ) -> None:
        mutant.replace(web.QUIET_SECONDS, 0.05, within=web)
        async with serving(db) as url, events(http, f"{url}/number") as heard:
            assert await anext(heard) == {"data": None}
            assert await anext(heard) == {"event": "quiet", "data": None}
        async with serving(db) as url, http.ws_connect(f"{url}/ws") as page:
            assert (await page.receive_json())["event"] == "content"
            assert await page.receive_json() == {"event": "quiet"}

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
            said = await anext(heard)
            assert (said["event"], said["data"]) == ("content", {"todo/1": "milk"})
            async with rxmps3.connect(storage, by="ben", shared=False) as other:
                await other.put_all({"todo/1": rxmps3.MISSING, "todo/2": "bread"})
            said = await anext(heard)
            assert (said["event"], said["data"]) == ("change", {"todo/1": {}, "todo/2": {"value": "bread"}})

    @pytest.mark.usefixtures("found")
    async def test_who_comes_back_gets_what_has_changed_since(
        self, db: rxmps3.Database, http: aiohttp.ClientSession
    ) -> None:
        await db.put_all({"todo/1": "milk", "todo/2": "bread", "todo/3": 1})
        async with serving(db) as url:
            async with events(http, f"{url}/todo") as heard:
                first = await anext(heard)
            await db.put_all({"todo/1": "oat milk", "todo/3": rxmps3.MISSING, "todo/4": True, "other": 1})
            async with events(http, f"{url}/todo", last=first["id"]) as heard:
                said = await anext(heard)
                assert said["event"] == "change"
                assert said["data"] == {"todo/1": {"value": "oat milk"}, "todo/3": {}, "todo/4": {"value": True}}
            await db.put("todo/4", 1)  # another JSON text, though equal in Python
            async with events(http, f"{url}/todo", last=said["id"]) as heard:
                assert (await anext(heard))["data"] == {"todo/4": {"value": 1}}
            async with events(http, f"{url}/todo", last=said["id"]) as heard:
                await anext(heard)
                await db.put("todo/5", "coffee")
                assert (await anext(heard))["data"] == {"todo/5": {"value": "coffee"}}

    @pytest.mark.usefixtures("found")
    async def test_who_comes_back_to_what_it_has_gets_nothing_but_the_next_change(
        self, db: rxmps3.Database, http: aiohttp.ClientSession
    ) -> None:
        await db.put_all({"todo/1": "milk", "todo/large": "x" * 300_000, "todo/bytes": b"\0"})
        async with serving(db) as url:
            async with events(http, f"{url}/todo") as heard:
                first = await anext(heard)
            for number in range(3):
                await db.put("other", number)
            async with events(http, f"{url}/todo", last=first["id"]) as heard:
                await asyncio.sleep(0.2)
                await db.put("todo/2", "bread")
                assert (await anext(heard))["data"] == {"todo/2": {"value": "bread"}}

    @pytest.mark.usefixtures("found")
    async def test_a_value_that_was_changed_and_changed_back_is_told(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, storage: MemoryStorage
    ) -> None:
        """The page has seen what was there in between."""
        await db.put("todo/1", "milk")
        async with serving(db) as url, rxmps3.connect(storage, by="ben", shared=False) as other:
            async with events(http, f"{url}/todo") as heard:
                await anext(heard)
                await other.put_all({"todo/1": "wine", "todo/2": "beer"})
                between = await anext(heard)
            await db.refresh()
            await db.put_all({"todo/1": "milk", "todo/2": rxmps3.MISSING})
            async with events(http, f"{url}/todo", last=between["id"]) as heard:
                back = await anext(heard)
                assert (back["event"], back["data"]) == ("change", {"todo/1": {"value": "milk"}, "todo/2": {}})

    async def test_a_write_that_was_shown_and_never_committed_is_taken_back(self, http: aiohttp.ClientSession) -> None:
        inner = MemoryStorage()
        storage = FaultyStorage(inner)
        async with rxmps3.connect(inner, by="ana") as before:
            await before.put("todo/1", "milk")
        first = await rxmps3.connect(storage, by="server", poll=0.05)
        async with serving(first) as url, events(http, f"{url}/todo") as heard:
            await anext(heard)
            storage.plan = drop_requests(one_in=1, verbs=("put",))
            first.put_all({"todo/1": "wine", "todo/2": "beer"})
            shown = await anext(heard)
            assert shown["data"]["todo/2"] == {"value": "beer"}
        with pytest.raises(rxmps3.NotSent):
            await first.close(timeout=0)
        async with (
            rxmps3.connect(inner, by="server", shared=False) as db,
            serving(db) as url,
            events(http, f"{url}/todo", last=shown["id"]) as heard,
        ):
            back = await anext(heard)
            assert (back["event"], back["data"]) == ("content", {"todo/1": "milk"})

    @pytest.mark.usefixtures("found")
    async def test_a_write_that_was_shown_before_its_commit_is_resumed_from(
        self, db: rxmps3.Database, http: aiohttp.ClientSession
    ) -> None:
        async with serving(db) as url:
            async with events(http, f"{url}/todo") as heard:
                await anext(heard)
                await db.put("todo/1", "milk")
                shown = await anext(heard)
            await db.put("todo/2", "bread")
            async with events(http, f"{url}/todo", last=shown["id"]) as heard:
                back = await anext(heard)
                assert (back["event"], back["data"]) == ("change", {"todo/2": {"value": "bread"}})

    @pytest.mark.usefixtures("found")
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
        resumed = web._content_and_changes(db, "todo/", first["id"])  # pyright: ignore[reportPrivateUsage]
        back = await anext(resumed)
        assert (back["event"], list(back["data"])) == ("change", ["todo/1", "todo/2"])
        await resumed.aclose()

    async def test_the_past_is_not_waited_for_while_the_bucket_is_away(
        self, http: aiohttp.ClientSession, mutant: Mutant
    ) -> None:
        storage = FaultyStorage(MemoryStorage())
        mutant.replace(Sent.get, lambda sent, digest: None)
        async with rxmps3.connect(storage, by="server", poll=0.05) as db, serving(db) as url:
            await db.put("todo/1", "milk")
            async with events(http, f"{url}/todo") as heard:
                first = await anext(heard)
            storage.plan = offline()
            async with events(http, f"{url}/todo", last=first["id"]) as heard:
                assert (await anext(heard))["event"] == "content"
            storage.plan = ()

    @pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
    async def test_what_was_sent_a_moment_ago_is_resumed_from_without_the_log(
        self, http: aiohttp.ClientSession, protocol: Any
    ) -> None:
        """The bucket is away, and two of the protocols keep no past."""
        storage = FaultyStorage(MemoryStorage(versioning=protocol == "versioned"))
        async with rxmps3.connect(storage, by="server", poll=0.05, protocol=protocol) as db, serving(db) as url:
            await db.put_all({"todo/1": "milk", "todo/2": "bread"})
            async with events(http, f"{url}/todo") as heard:
                first = await anext(heard)
            storage.plan = offline()
            db.put("todo/2", "beer")
            async with events(http, f"{url}/todo", last=first["id"]) as heard:
                back = await anext(heard)
                assert (back["event"], back["data"]) == ("change", {"todo/2": {"value": "beer"}})
            storage.plan = ()

    async def test_pages_share_what_their_content_costs(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, mutant: Mutant
    ) -> None:
        await db.put_all({f"todo/{number}": number for number in range(100)})
        hashed: list[str] = []

        def counted(key: str, identity: str) -> int:
            hashed.append(key)
            return hash_(key, identity)

        mutant.replace(hash_ := _resuming._hash, counted)  # pyright: ignore[reportPrivateUsage]
        async with serving(db) as url, events(http, f"{url}/todo") as stays:
            await anext(stays)
            assert len(hashed) == 100
            async with events(http, f"{url}/todo") as heard:
                first = await anext(heard)
                assert len(first["data"]) == 100
            await db.put("todo/7", "seven")
            assert (await anext(stays))["data"] == {"todo/7": {"value": "seven"}}
            async with events(http, f"{url}/todo", last=first["id"]) as heard:
                assert (await anext(heard))["data"] == {"todo/7": {"value": "seven"}}
            assert hashed[100:] == ["todo/7"]

    async def test_pages_that_have_gone_are_forgotten(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, mutant: Mutant
    ) -> None:
        mutant.replace(_resuming.REMEMBERED_SECONDS, 0.05, within=_resuming)
        pages = _resuming.pages_of(db)
        remembered: list[weakref.ref[Content]] = []
        async with serving(db) as url:
            for number in range(3):
                async with events(http, f"{url}/todo") as heard:
                    await anext(heard)
                    for change in range(80):
                        await db.put(f"todo/{number}", change)
                        id = (await anext(heard))["id"]
                        content = await pages.found_again(db, "todo/", id)
                        assert content is not None
                        remembered.append(weakref.ref(content))
                        del content
                gc.collect()
                assert sum(there() is not None for there in remembered) <= 2 * _resuming.RECENT
            while any(there() is not None for there in remembered):
                await asyncio.sleep(0.1)
                gc.collect()

    @pytest.mark.parametrize("last", ["1", "99", "nonsense", "-1", "1; drop", f"1.{'b' * 32}", f"99.{'a' * 32}"])
    async def test_an_unknown_version_gets_the_content(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, last: str
    ) -> None:
        await db.put("todo/1", "milk")
        async with serving(db) as url, events(http, f"{url}/todo", last=last) as heard:
            assert (await anext(heard))["event"] == "content"


SERVER = """
import asyncio, sys
import rxmps3
from rxmps3.homes.web import page_app, sse_prefix
from starlette.applications import Starlette
from starlette.routing import Route
import uvicorn

async def main():
    async with rxmps3.connect(sys.argv[2], by="server") as db:
        for key in sys.argv[3:]:
            await db.put(f"todo/{key}", key)
        app = Starlette(routes=[Route("/todo", lambda request: sse_prefix(db, "todo/", request))])
        config = uvicorn.Config(app, port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve()

asyncio.run(main())
"""


@asynccontextmanager
async def server_process(port: int, url: str, *keys: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, str(port), url, *keys)
    try:
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{port}/"):
                        break
                except aiohttp.ClientConnectionError:
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


class TestRestartedServer:
    """The events of one page from server processes on one port, one after the other."""

    async def test_a_page_forgets_what_a_server_had_only_in_memory(self, http: aiohttp.ClientSession) -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}/todo"
        async with server_process(port, "memory:", "a", "b", "c"), events(http, url) as heard:
            before = await anext(heard)
        async with server_process(port, "memory:", "a", "x", "c", "d"), events(http, url, last=before["id"]) as heard:
            after = await anext(heard)
        assert (after["event"], list(after["data"])) == ("content", ["todo/a", "todo/c", "todo/d", "todo/x"])

    @pytest.mark.heavy
    async def test_a_page_resumes_from_a_bucket_and_forgets_one_that_was_made_anew(
        self, http: aiohttp.ClientSession, tmp_path: Path
    ) -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}/todo"
        async with server_process(port, f"file:{tmp_path}/app", "a", "b"), events(http, url) as heard:
            before = await anext(heard)
        async with (
            server_process(port, f"file:{tmp_path}/app", "c"),
            events(http, url, last=before["id"]) as heard,
        ):
            after = await anext(heard)
            assert (after["event"], after["data"]) == ("change", {"todo/c": {"value": "c"}})
        (tmp_path / "app").rename(tmp_path / "old")
        async with (
            server_process(port, f"file:{tmp_path}/app", "x", "y", "z", "c"),
            events(http, url, last=after["id"]) as heard,
        ):
            anew = await anext(heard)
        assert (anew["event"], list(anew["data"])) == ("content", ["todo/c", "todo/x", "todo/y", "todo/z"])

    @pytest.mark.heavy
    async def test_a_page_resumes_from_no_future_that_a_copy_of_the_bucket_does_not_have(
        self, http: aiohttp.ClientSession, tmp_path: Path
    ) -> None:
        """The log is the same one by its name, and the numbers go on."""
        port = free_port()
        url = f"http://127.0.0.1:{port}/todo"
        async with server_process(port, f"file:{tmp_path}/app", "a"):
            pass
        shutil.copytree(tmp_path / "app", tmp_path / "copy")
        async with server_process(port, f"file:{tmp_path}/app", "lost"), events(http, url) as heard:
            before = await anext(heard)
        shutil.rmtree(tmp_path / "app")
        (tmp_path / "copy").rename(tmp_path / "app")
        async with (
            server_process(port, f"file:{tmp_path}/app", "b", "c"),
            events(http, url, last=before["id"]) as heard,
        ):
            after = await anext(heard)
        assert (after["event"], list(after["data"])) == ("content", ["todo/a", "todo/b", "todo/c"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


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

    async def test_bytes_are_told_to_every_page(self, db: rxmps3.Database, http: aiohttp.ClientSession) -> None:
        await db.put_all({"todo/1": b"\x00\xff", "number": b"n"})
        blob = {"bytes": "AP8=", "type": "application/octet-stream"}
        async with serving(db) as url, http.ws_connect(f"{url}/ws") as page, events(http, f"{url}/todo") as heard:
            assert (await page.receive_json())["data"] == {"todo/1": blob}
            assert (await anext(heard))["data"] == {"todo/1": blob}
            await db.put("todo/2", b"\x00\xff")
            assert (await page.receive_json())["data"] == {"todo/2": {"value": blob}}
            assert (await anext(heard))["data"] == {"todo/2": {"value": blob}}
            async with events(http, f"{url}/number") as number:
                assert (await anext(number))["data"] == {"bytes": "bg==", "type": "application/octet-stream"}

    async def test_a_fault_ends_the_connection_instead_of_standing_still(
        self, db: rxmps3.Database, http: aiohttp.ClientSession, mutant: Mutant
    ) -> None:
        def broken(_: object) -> None:
            raise ZeroDivisionError("oh")

        async with serving(db) as url, http.ws_connect(f"{url}/ws") as page, events(http, f"{url}/todo") as heard:
            await page.receive_json()
            await anext(heard)
            mutant.replace(web._said, broken)
            await db.put("todo/1", 1)
            assert "ZeroDivisionError: oh" in (await page.receive_json())["error"]
            assert (await page.receive()).type == aiohttp.WSMsgType.CLOSE
            assert "ZeroDivisionError: oh" in (await anext(heard))["data"]
            mutant.undo()
            mutant.replace(web._checked, broken)
            async with http.ws_connect(f"{url}/ws") as page:
                await page.receive_json()
                await page.send_json({"put": {"todo/1": 1}, "ask": 1})
                assert (await page.receive_json())["event"] == "rejected"

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
            await page.send_bytes(said.encode())
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
    assert len([line for line in web.client_js().splitlines() if line.strip()]) < 125


NODE = """
import {{ connect }} from {client!r};
let socket;
globalThis.WebSocket = class {{
  static OPEN = 1;
  constructor() {{ socket = this; }}
  close() {{}}
}};
const heard = [];
console.error = (error) => heard.push(error.message);
const todo = connect("ws://here/ws");
todo.subscribe(() => heard.push("before"));
const say = (said) => socket.onmessage({{ data: JSON.stringify(said) }});
say({{ event: "content", data: {{}} }});
todo.subscribe((values, changed) => heard.push(values.size, changed.join()));
todo.subscribe(() => {{ throw new Error("oh"); }});
todo.subscribe((values) => heard.push(...values.values()));
say({{ event: "change", data: {{ a: {{ value: "milk" }}, b: {{}} }} }});
console.log(JSON.stringify(heard));
process.exit();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
async def test_the_client_tells_every_listener_also_of_an_empty_content(tmp_path: Path) -> None:
    (tmp_path / "rxmps3.mjs").write_text(web.client_js())
    (tmp_path / "test.mjs").write_text(NODE.format(client="./rxmps3.mjs"))
    process = await asyncio.create_subprocess_exec("node", tmp_path / "test.mjs", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert json.loads(out) == ["before", 0, "", "oh", "before", 1, "a,b", "oh", "milk"]


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
