"""One person in the chat of the examples: says something and leaves once everything expected is there.

``python -m tests.examples.chatting URL NAME SAYS EXPECTED…``
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from textual.widgets import Input, Static

import rxmps3
from examples.chat import Chat  # pyright: ignore


def room_of(app: Any) -> Any:
    """What the room shows, as rich text."""
    return app.query_one("#room", Static).content


def waiting_in(app: Any) -> list[str]:
    """The messages that are shown as not yet committed."""
    room = room_of(app)
    return [str(room)[span.start : span.end].strip() for span in getattr(room, "spans", []) if span.style == "dim"]


async def play(url: str, name: str, says: str, expected: Sequence[str]) -> str:
    """What the room shows in the end: the text that was expected is in it, and none of it waits any more."""
    async with rxmps3.connect(url, by=name, poll=0.5) as db:
        app: Any = Chat(db, name)
        return await say(app, says, expected)


async def say(app: Any, says: str, expected: Sequence[str]) -> str:
    async with app.run_test() as pilot:
        await pilot.click(Input)
        await pilot.press(*["space" if sign == " " else sign for sign in says], "enter")
        while waiting_in(app) or not all(line in str(room_of(app)) for line in expected):
            await pilot.pause(0.01)
        assert app.sub_title == ""
        return str(room_of(app))


if __name__ == "__main__":
    print(asyncio.run(play(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])))
