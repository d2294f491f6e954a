"""Who asks for what of a pack, and how many requests that makes."""

from __future__ import annotations

import asyncio

import pytest

from rxmps3 import Unavailable
from rxmps3.model.state import ContentObject
from rxmps3.replica.packs import PackReader

BODY = bytes(range(256)) * 4096  # 1 MiB


def value(offset: int, size: int = 10) -> ContentObject:
    return ContentObject("values/@w-1.0", "", size, offset=offset)


async def one(reader: PackReader, offset: int) -> bytes:
    (body,) = await reader.read([value(offset)])
    return body


class Server:
    """Answers requests for parts of one pack when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int | None]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.refuses = False

    async def __call__(self, name: str, start: int, stop: int | None) -> bytes:
        self.asked.append((start, stop))
        await self.open.wait()
        if self.refuses:
            raise Unavailable("no")
        return BODY[start:stop]


async def test_who_asks_together_is_answered_by_one_request() -> None:
    server = Server()
    reader = PackReader(server, 1 << 20)
    offsets = list(range(500_000, 600_000, 100))
    answers = await asyncio.gather(*(one(reader, offset) for offset in offsets))
    assert answers == [BODY[offset : offset + 10] for offset in offsets]
    assert server.asked == [(500_000, 599_910)]


async def test_who_asks_while_a_request_is_under_way_waits_and_gets_the_whole() -> None:
    server = Server()
    reader = PackReader(server, 2 << 20)
    server.open.clear()
    first = asyncio.ensure_future(one(reader, 500_000))
    while not server.asked:
        await asyncio.sleep(0)
    others = [asyncio.ensure_future(one(reader, offset)) for offset in (7, 900_000)]
    await asyncio.sleep(0)
    server.open.set()
    assert await first == BODY[500_000:500_010]
    assert await asyncio.gather(*others) == [BODY[7:17], BODY[900_000:900_010]]
    assert server.asked == [(500_000, 500_010), (0, None)]
    assert await one(reader, 100) == BODY[100:110]
    assert len(server.asked) == 2


async def test_the_beginning_of_a_pack_is_read_from_its_start() -> None:
    server = Server()
    assert await one(PackReader(server, 1), 4000) == BODY[4000:4010]
    assert server.asked == [(0, 4010)]


@pytest.mark.parametrize("under_way", [False, True])
async def test_whoever_gives_up_takes_nobody_along(under_way: bool) -> None:
    server = Server()
    reader = PackReader(server, 1 << 20)
    server.open.clear()
    first = asyncio.ensure_future(one(reader, 500_000))
    others = [asyncio.ensure_future(one(reader, offset)) for offset in (500_010, 500_020)]
    await asyncio.sleep(0)
    while under_way and not server.asked:
        await asyncio.sleep(0)
    first.cancel()
    server.open.set()
    assert await asyncio.gather(*others) == [BODY[500_010:500_020], BODY[500_020:500_030]]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_failed_request_fails_for_all_who_wait_for_it_and_for_nobody_later() -> None:
    server = Server()
    reader = PackReader(server, 1 << 20)
    server.refuses = True
    answers = await asyncio.gather(*(one(reader, offset) for offset in (1, 2, 3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert len(server.asked) == 1
    server.refuses = False
    assert await one(reader, 1) == BODY[1:11]
