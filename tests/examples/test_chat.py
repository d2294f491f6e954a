"""The chat of the examples, played by two processes, and by one whose bucket goes out of reach."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from textual.widgets import Input

import rxmps3
from rxmps3.testing import settle
from tests.behaviour.helpers import Switch, offline
from tests.examples.chatting import Chat, play, room_of, waiting_in
from tests.examples.helpers import leave, running


async def test_two_processes_talk_to_each_other(tmp_path: Path) -> None:
    url, lines = f"file:{tmp_path}/room", ["ana: hi bob", "bob: hello ana"]
    with running("-m", "tests.examples.chatting", url, "bob", "hello ana", *lines) as bob:
        seen = await play(url, "ana", "hi bob", lines)
        assert sorted(seen.split("\n")) == ["", *lines]
        assert bob.stdout is not None
        assert await asyncio.to_thread(bob.stdout.read) == seen + "\n"
        assert await asyncio.to_thread(leave, bob) == (0, "")


async def test_a_message_waits_while_the_bucket_is_out_of_reach() -> None:
    storage = Switch()
    async with rxmps3.connect(storage, by="ana", poll=0.5) as db:
        await wait_and_send(Chat(db, "ana"), storage)
    await settle()


async def wait_and_send(app: Any, storage: Switch) -> None:
    async with app.run_test() as pilot:
        storage.error = offline
        await pilot.click(Input)
        await pilot.press("h", "i", "enter")
        while not app.sub_title:
            await pilot.pause(0.01)
        assert waiting_in(app) == ["hi"]
        assert app.sub_title == "offline: messages wait here"
        storage.error = None
        while waiting_in(app) or app.sub_title:
            await pilot.pause(0.01)
        assert str(room_of(app)) == "ana: hi\n"
        assert app.query_one(Input).value == ""
