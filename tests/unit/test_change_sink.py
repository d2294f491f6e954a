"""What a stream of changes keeps of the changes that wait behind a download."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from rxmps3.errors import Corrupt
from rxmps3.model.entries import ContentObject, Entry
from rxmps3.model.state import EntryChange
from rxmps3.streams.events import ChangeSink


class Values:
    """Values of which some are at hand, and the others cannot be read before they may."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.readable = asyncio.Event()

    def peek(self, entry: Entry) -> str | None:
        return self.texts.get(entry.version)

    async def fetch(self, entry: Entry) -> str:
        await self.readable.wait()
        if entry.version == "mine":
            raise Corrupt("the object holds what others wrote since")
        return f'"{entry.version}"'


def entry(version: str) -> Entry:
    return Entry(version, ContentObject("k", "", 0))


def change(before: Entry | None, after: Entry) -> EntryChange:
    return EntryChange("k", before, after, True, False, "ana", "remote")


async def test_the_text_of_an_own_value_is_kept_that_others_have_overwritten() -> None:
    """A client that loads the log finds its write in it, and overwritten. Which version of the object is its own it has
    never learned, so it is at hand now or never."""
    values, sent, numbers = Values({"mine": '"mine"'}), cast("list[Any]", []), iter(range(1, 9))

    def take_turn(action: Any) -> None:
        action()

    replica = SimpleNamespace(
        values=values,
        latest=lambda: (0, None),
        spawn=lambda coroutine, _: asyncio.get_running_loop().create_task(coroutine),
        take_turn=take_turn,
    )
    sink = ChangeSink(cast("Any", replica), cast("Any", SimpleNamespace(send=sent.append)))
    for one in (change(None, entry("first")), change(entry("mine"), entry("theirs"))):
        sink.receive(cast("Any", SimpleNamespace(number=next(numbers))), [one])
    values.texts.clear()
    values.readable.set()
    async with asyncio.timeout(10):
        while len(sent) < 2:
            await asyncio.sleep(0.01)
    assert [(one.before, one.after) for one in sent[1:]] == [("mine", "theirs")]
