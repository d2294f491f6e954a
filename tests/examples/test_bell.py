"""The example of a bell of one's own: two processes, and the bell by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import rxmps3
from examples.bell import LanBell  # pyright: ignore
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.helpers import eventually, trace
from tests.examples.helpers import leave, read_until, running

PROGRAM = "examples/bell.py"


def test_a_reader_hears_a_writer(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/db"
    with running(PROGRAM, "read", url, "--count", "2") as reading:
        read_until(reading, "listening")
        with running(PROGRAM, "write", url, "--count", "2") as writing:
            assert leave(writing) == (0, "")
        assert reading.stdout is not None
        seen = reading.stdout.read().splitlines()
        assert [line.split()[:2] for line in seen] == [["seen", "after"]] * 2
        assert leave(reading) == (0, "")


async def test_the_multicast_is_what_tells() -> None:
    memory, bells = MemoryStorage(), [LanBell("127.0.0.1") for _ in range(2)]
    readers = [CountingStorage(memory) for _ in bells]
    for bell in bells:
        bell.name = "news"  # the topic of both, whose storages are machines of their own
    for number, storage in enumerate(readers):
        storage.place = f"machine {number}"  # type: ignore[attr-defined]
    async with (
        rxmps3.connect(readers[0], bell=bells[0], poll=600) as writer,
        rxmps3.connect(readers[1], bell=bells[1], poll=600) as reader,
    ):
        seen = trace(reader.observe("k"))
        await eventually(lambda: reader.status.value.bell and seen)
        await asyncio.sleep(0.2)
        await writer.put("k", 1)
        await eventually(lambda: seen[-1] == 1)
    for bell in bells:
        bell.close()
