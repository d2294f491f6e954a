"""The studio: who gets in, what a page may change, and what it says of a database that cannot be opened."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

import rxmps3
from rxmps3.cli.studio import session
from rxmps3.cli.studio.models import ConflictsModel
from rxmps3.cli.studio.server import serving
from rxmps3.cli.studio.session import VIEWS, Session
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import MemoryStorage, Storage
from rxmps3.testing import FaultyStorage, offline
from tests.cli.commands import rxmps3 as command
from tests.mutating import Mutant

TOKEN = "the-token"


class Browser:
    """What a page does, without drawing it."""

    def __init__(self, http: aiohttp.ClientSession, address: str) -> None:
        self.http = http
        self.address = address
        parts = urlsplit(address)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.token = parse_qs(parts.query)["token"][0]

    async def status(self, path: str, **headers: str) -> int:
        async with self.http.get(self.origin + path, headers=headers) as answer:
            return answer.status

    def socket(self, name: str, token: str | None = None, origin: str | None = None, **headers: str) -> Any:
        headers["Origin"] = self.origin if origin is None else origin
        url = f"{self.origin}/ws/{name}?token={self.token if token is None else token}"
        return self.http.ws_connect(url, headers=headers)


async def heard(socket: Any, name: str) -> Any:
    """The next value of a state."""
    while True:
        said = await socket.receive_json()
        if "state" in said and name in said["state"]:
            return said["state"][name]
        if name in said.get("states", {}):
            return said["states"][name]


async def told(socket: Any, kind: str) -> Any:
    """The next message of a kind."""
    while True:
        said = await socket.receive_json()
        if said.get("message", {}).get("kind") == kind:
            return said["message"]


async def until_state(socket: Any, name: str, true: Any) -> Any:
    while not true(value := await heard(socket, name)):
        pass
    return value


@asynccontextmanager
async def studio(
    storage: Storage, by: str | None = None, export: Path | None = None, manifest: str = "main"
) -> AsyncIterator[Browser]:
    shown = Session(storage, manifest, by, 0.2, SystemClock(), storage.url, export)
    try:
        async with serving(shown.model_of, TOKEN) as address, aiohttp.ClientSession() as http:
            yield Browser(http, address)
    finally:
        await shown.close()


async def opened(browser: Browser) -> None:
    async with browser.socket("shell") as shell:
        await until_state(shell, "opened", bool)


@pytest.fixture
async def storage() -> MemoryStorage:
    """Three versions of a small database."""
    storage = MemoryStorage()
    async with rxmps3.connect(storage, by="ana") as db:
        await db.put("todo/1", {"title": "milk"})
        await db.put("todo/2", {"title": "bread"})
        await db.patch("todo/1", {"done": True})
    return storage


class TestWhoGetsIn:
    async def test_the_address_that_was_printed_opens_the_page(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser, browser.http.get(browser.address) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "script-src 'self';" in answer.headers["Content-Security-Policy"]

    async def test_without_the_token_nobody_does(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser:
            assert [await browser.status(path) for path in ("/", "/?token=", "/?token=other")] == [403] * 3
            for token in ("", "other", "ä"):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await browser.socket("inspector", token=token)

    async def test_a_page_elsewhere_does_not_by_a_name_of_its_own(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser:
            for path in (f"/?token={TOKEN}", "/static/studio.js"):
                assert await browser.status(path, Host="evil.example") == 421
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await browser.socket("inspector", Host="evil.example")

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "https://127.0.0.1"])
    async def test_a_page_elsewhere_opens_no_websocket(self, storage: MemoryStorage, origin: str) -> None:
        async with studio(storage) as browser:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await browser.socket("inspector", origin=origin)

    async def test_files_are_those_of_the_page_alone(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser:
            for name in ("studio.js", "dom.js", "vendor/uplot.css", *(f"{view}.js" for view, _ in VIEWS)):
                assert await browser.status(f"/static/{name}") == 200, name
            for name in ("nothing.js", "../session.py", "%2e%2e/session.py", "session.py", "..%2fserver.py", ""):
                assert await browser.status(f"/static/{name}") in (403, 404), name

    async def test_what_is_no_message_is_ignored(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser:
            await opened(browser)
            async with browser.socket("inspector") as socket:
                for text in (
                    "",
                    "{",
                    "[]",
                    "null",
                    '{"name": 5}',
                    '{"message": 5}',
                    '{"message": {"kind": "children"}}',
                ):
                    await socket.send_str(text)
                await socket.send_json({"message": {"kind": "here", "view": "a"}})
                assert (await told(socket, "alive"))["view"] == "a"


class TestViews:
    async def test_the_inspector_shows_keys_and_values_as_they_change(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser:
            await opened(browser)
            async with browser.socket("inspector") as socket:
                await socket.send_json({"message": {"kind": "children", "view": "a", "path": "todo/"}})
                assert [name for name, _, _ in (await told(socket, "children"))["entries"]] == ["1", "2"]
                await socket.send_json({"message": {"kind": "watch", "view": "a", "key": "todo/2"}})
                assert json.loads((await told(socket, "value"))["text"]) == {"title": "bread"}
                async with rxmps3.connect(storage, shared=False) as other:
                    await other.put("todo/2", {"title": "rye"})
                    assert json.loads((await told(socket, "value"))["text"]) == {"title": "rye"}

    async def test_two_pages_see_the_same(self, storage: MemoryStorage) -> None:
        async with studio(storage, "me") as browser:
            await opened(browser)
            async with browser.socket("table") as one, browser.socket("table") as two:
                ask = {"kind": "rows", "start": 0, "count": 9, "sort": "", "down": False, "search": "", "filters": {}}
                for name, socket in (("one", one), ("two", two)):
                    await socket.send_json({"message": ask | {"view": name}})
                    assert (await told(socket, "rows"))["total"] == 2
                edit = {"kind": "edit", "view": "one", "key": "todo/1", "column": "title", "text": "oat milk"}
                await one.send_json({"message": edit})
                while "oat milk" not in json.dumps(await told(two, "rows")):
                    pass
        async with rxmps3.connect(storage) as db:
            assert await db.get("todo/1") == {"title": "oat milk", "done": True}

    async def test_read_only_means_it(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser:
            await opened(browser)
            async with browser.socket("table") as socket:
                assert not await heard(socket, "editable")
                edit = {"kind": "edit", "view": "one", "key": "todo/1", "column": "title", "text": "oat milk"}
                await socket.send_json({"message": edit})
                await socket.send_json({"message": {"kind": "here", "view": "one"}})
                await told(socket, "alive")
            async with browser.socket("doctor") as socket:
                assert not await heard(socket, "allowed")
                await socket.send_json({"message": {"kind": "examine", "view": "one"}})
                await socket.send_json({"message": {"kind": "here", "view": "one"}})
                await told(socket, "alive")
        async with rxmps3.connect(storage) as db:
            assert await db.get("todo/1") == {"title": "milk", "done": True}
            assert db.states.value.confirmed.version == "3"

    async def test_large_values_are_not_downloaded_to_be_compared(self) -> None:
        storage = MemoryStorage()
        async with rxmps3.connect(storage, by="ana") as db:
            await db.put_all({"book": "b" * 2_000_000, "page": "p" * 10_000})
        async with studio(storage) as browser:
            await opened(browser)
            async with browser.socket("compare") as socket:
                await socket.send_json({"message": {"kind": "compare", "view": "a", "old": "", "new": ""}})
                (_, before, book), (_, _, page) = await until_state(
                    socket, "changes", lambda changes: len(changes) == 2
                )
                assert (before, book) == (None, "(2.0 MB)")
                assert page.startswith('"ppp')

    async def test_any_two_versions_are_compared(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser:
            await opened(browser)
            async with browser.socket("compare") as socket:
                await socket.send_json({"message": {"kind": "compare", "view": "a", "old": "2", "new": ""}})
                [[key, before, after]] = await until_state(socket, "changes", bool)
                assert (key, json.loads(before), json.loads(after)) == (
                    "todo/1",
                    {"title": "milk"},
                    {"title": "milk", "done": True},
                )
                await socket.send_json({"message": {"kind": "compare", "view": "a", "old": "77", "new": ""}})
                assert "77" in await until_state(socket, "problem", bool)

    async def test_the_doctor_examines_the_storage(self, storage: MemoryStorage) -> None:
        async with studio(storage, "me") as browser, browser.socket("doctor") as socket:
            await socket.send_json({"message": {"kind": "examine", "view": "a"}})
            assert await until_state(socket, "recommended", bool) == "sequenced"

    async def test_what_it_costs_is_counted(self, storage: MemoryStorage) -> None:
        async with studio(storage) as browser:
            await opened(browser)
            async with browser.socket("cost") as socket:
                *rooms, total = await until_state(socket, "rooms", bool)
                assert {one["room"] for one in rooms} == {"log", "values", "presence", "upkeep"}
                columns = zip(*(one["requests"] for one in rooms), strict=True)
                assert [sum(column) for column in columns] == total["requests"]
                assert total["requests"][2] > 0

    async def test_who_overwrote_whom_unseen_is_listed(self, storage: MemoryStorage) -> None:
        """One client goes on without the bucket while another writes the same keys, and comes back."""
        faulty = FaultyStorage(storage)
        async with (
            rxmps3.connect(faulty, by="ben", shared=False) as ben,
            rxmps3.connect(storage, by="ana", shared=False) as ana,
        ):
            await ben.refresh()
            faulty.plan = [offline()]
            late = [ben.put("todo/1", {"title": "butter"}), ben.patch("todo/2", {"who": "ben"}), ben.put("alone", 1)]
            await ana.put("todo/1", {"title": "cream"})
            await ana.patch("todo/2", {"done": True})
            faulty.plan = ()
            for receipt in late:
                await receipt
            async with studio(storage) as browser:
                await opened(browser)
                async with browser.socket("conflicts") as socket:
                    found = await until_state(socket, "conflicts", lambda found: len(found) == 2)
                    by_key = {one["key"]: one for one in found}
                    assert {key: one["what"] for key, one in by_key.items()} == {
                        "todo/1": "overwritten",
                        "todo/2": "merged",
                    }
                    one = by_key["todo/1"]
                    assert (one["first_by"], one["then_by"], one["based"]) == ("ana", "ben", 3)
                    assert json.loads(one["first"]), json.loads(one["then"]) == (
                        {"title": "cream"},
                        {"title": "butter"},
                    )
                    assert json.loads(by_key["todo/2"]["then"]) == {"title": "bread", "done": True, "who": "ben"}

                    await socket.send_json({"message": {"kind": "here", "view": "c"}})
                    await ana.refresh()
                    faulty.plan = [offline()]
                    blind = ben.delete("alone")
                    await ana.put("alone", 2)
                    faulty.plan = ()
                    await blind
                    newest = (await until_state(socket, "conflicts", lambda found: len(found) == 3))[0]
                    assert (newest["key"], newest["first"], newest["then"]) == ("alone", "2", None), "as it happens"

    async def test_an_own_write_that_is_refused_is_listed(self, storage: MemoryStorage) -> None:
        faulty = FaultyStorage(storage)
        async with (
            rxmps3.connect(faulty, by="me", shared=False) as mine,
            rxmps3.connect(storage, by="ana", shared=False) as ana,
        ):
            model = ConflictsModel(mine, SystemClock(), asyncio.get_running_loop())
            version = mine.states.value["todo/1"].version
            faulty.plan = [offline()]
            refused = mine.put("todo/1", "butter", if_version=version)
            await ana.put("todo/1", "cream")
            faulty.plan = ()
            with pytest.raises(rxmps3.Conflict):
                await refused
            model.flush()
            [one] = model.state["conflicts"]
            assert (one["key"], one["what"], one["first"], one["then"]) == ("todo/1", "refused", '"butter"', '"cream"')
            model.dispose()

    async def test_what_goes_wrong_is_listed(self, storage: MemoryStorage) -> None:
        async with rxmps3.connect(storage, by="ana", shared=False) as db:
            await db.put("large", "x" * 9000)
            entry = db.states.value["large"]
            await storage.delete(db.name + "/" + entry.content.name)  # pyright: ignore
        async with studio(storage) as browser:
            await opened(browser)
            async with browser.socket("problems") as problems, browser.socket("inspector") as socket:
                await problems.send_json({"message": {"kind": "here", "view": "p"}})
                await socket.send_json({"message": {"kind": "watch", "view": "a", "key": "large"}})
                [problem, *_] = await until_state(problems, "problems", bool)
                assert "missing" in problem["error"]


class TestBucketsThatCannotBeOpened:
    async def test_a_dead_one_is_opened_when_it_is_back(self, storage: MemoryStorage, mutant: Mutant) -> None:
        mutant.replace(session.AGAIN_SECONDS, 0.1, within=session)
        faulty = FaultyStorage(storage, [offline()])
        async with studio(faulty) as browser, browser.socket("shell") as shell:
            [first, *_] = await until_state(shell, "trouble", bool)
            assert "Unavailable" in first
            async with browser.socket("table") as table:
                assert (await table.receive()).type is aiohttp.WSMsgType.CLOSE
            faulty.plan = ()
            await until_state(shell, "opened", bool)

    async def test_a_damaged_one_says_which_object_and_what_to_do(self, storage: MemoryStorage) -> None:
        await storage.put("main/head", b"{")
        async with studio(storage) as browser, browser.socket("shell") as shell:
            trouble = await until_state(shell, "trouble", bool)
            assert "head" in trouble[0]
            assert trouble[1].startswith("Find out more: rxmps3 verify memory:")

    async def test_one_with_other_things_in_it_is_empty(self) -> None:
        storage = MemoryStorage()
        await storage.put("photos/1.jpg", b"\xff\xd8")
        async with studio(storage) as browser, browser.socket("shell") as shell:
            await opened(browser)
            await until_state(
                shell, "subtitle", lambda text: text == "manifest main · nothing has been written here yet"
            )
            async with browser.socket("inspector") as socket:
                await socket.send_json({"message": {"kind": "children", "view": "a", "path": ""}})
                assert (await told(socket, "children"))["entries"] == []
            async with rxmps3.connect(storage) as db:
                await db.put("a", 1)
            await until_state(shell, "subtitle", lambda text: text == "manifest main · sequenced log")


class TestExports:
    async def test_an_exported_file_is_shown(self, storage: MemoryStorage, tmp_path: Path) -> None:
        async with rxmps3.connect(f"file:{tmp_path}/db", by="ana") as db:
            await db.put("a/1", [1, 2])
        export = tmp_path / "export.jsonl"
        assert command("export", f"file:{tmp_path}/db", str(export)).code == 0
        async with studio(MemoryStorage(), export=export) as browser:
            await opened(browser)
            async with browser.socket("inspector") as socket:
                await socket.send_json({"message": {"kind": "watch", "view": "a", "key": "a/1"}})
                assert json.loads((await told(socket, "value"))["text"]) == [1, 2]

    async def test_a_torn_file_is_refused(self, tmp_path: Path) -> None:
        export = tmp_path / "torn.jsonl"
        export.write_text('{"rxmps3": "export", "format": 1, "manifest": "main", "version": "1", "prefix": ""}\n')
        async with studio(MemoryStorage(), export=export) as browser, browser.socket("shell") as shell:
            [first, *others] = await until_state(shell, "trouble", bool)
            assert "torn" in first
            assert others == ["A file that is opened has to be one that rxmps3 export wrote."]


async def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    export = tmp_path / "picture.jsonl"
    export.write_bytes(b"\xff\xd8\xff")
    async with studio(MemoryStorage(), export=export) as browser, browser.socket("shell") as shell:
        assert "decode" in str(await until_state(shell, "trouble", bool))


async def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    async with rxmps3.connect(f"file:{tmp_path}/db", by="ana") as db:
        await db.put("a", 1)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rxmps3", "studio", f"file:{tmp_path}/db", "--no-open", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    address = (await process.stdout.readline()).decode().strip()
    async with aiohttp.ClientSession() as http:
        browser = Browser(http, address)
        await opened(browser)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_a_port_that_is_taken_is_said(storage: MemoryStorage) -> None:
    async with studio(storage) as browser:
        port = int(browser.origin.rpartition(":")[2])
        with pytest.raises(rxmps3.InvalidOption, match=f"port {port}"):
            async with serving(lambda _: None, TOKEN, port):
                pass
