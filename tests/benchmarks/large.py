"""Large values beside bare multipart transfers of the same client, and what packs cost, in requests."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import rxmps3
from rxmps3.storage import MemoryStorage
from rxmps3.storage.s3_client import S3Client
from rxmps3.storage.transfer import PART_BYTES
from rxmps3.testing import CountingStorage
from tests.servers import SHARED_BUCKET, SeaweedFS

__all__ = ["large", "packs"]

_MIB = 1 << 20
_AT_ONCE = 4


async def _bare_upload(client: Any, name: str, path: Path) -> None:
    """What anybody writes: parts of the same size, as many at a time."""
    begun = await client.create_multipart_upload(Bucket=SHARED_BUCKET, Key=name)
    target = {"Bucket": SHARED_BUCKET, "Key": name, "UploadId": begun["UploadId"]}
    slots = asyncio.Semaphore(_AT_ONCE)

    async def part(number: int, start: int) -> dict[str, Any]:
        async with slots:
            with path.open("rb") as file:
                file.seek(start)
                body = file.read(PART_BYTES)
            answer = await client.upload_part(**target, PartNumber=number, Body=body)
            return {"ETag": answer["ETag"], "PartNumber": number}

    starts = enumerate(range(0, path.stat().st_size, PART_BYTES), start=1)
    parts = await asyncio.gather(*(part(number, start) for number, start in starts))
    await client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})


async def _bare_download(client: Any, name: str, size: int, path: Path) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)
    with path.open("wb") as file:

        async def part(start: int) -> None:
            async with slots:
                chosen = f"bytes={start}-{min(start + PART_BYTES, size) - 1}"
                answer = await client.get_object(Bucket=SHARED_BUCKET, Key=name, Range=chosen)
                async with answer["Body"] as stream:
                    body = await stream.read()
                file.seek(start)
                file.write(body)

        await asyncio.gather(*map(part, range(0, size, PART_BYTES)))


async def _timed(action: Awaitable[Any]) -> float:
    gc.collect()
    began = time.perf_counter()
    await action
    return time.perf_counter() - began


def _resident(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


async def _peak(action: Callable[[], Awaitable[Any]]) -> float:
    """MiB by which this process grows at most meanwhile."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    await action()
    return _resident("VmHWM") - before


async def large(console: Console, rounds: int, size: int = 100 * _MIB) -> None:
    """A file up and down, by `put_file` and `get_file` and by bare multipart, interleaved; and the peak of memory."""
    with tempfile.TemporaryDirectory() as folder, SeaweedFS() as server:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(random.Random(1).randbytes(size))
        digest = hashlib.sha256(source.read_bytes()).digest()
        bare: dict[str, list[float]] = {"up": [], "down": []}
        ours: dict[str, list[float]] = {"up": [], "down": []}
        clients = S3Client(options=server.options())
        url = f"s3://{SHARED_BUCKET}/bench-large"
        async with (
            clients.open(SHARED_BUCKET) as client,
            rxmps3.connect(url, poll=600, **server.options()) as db,
        ):
            await db.put("warm", 0)
            for number in range(rounds + 1):
                times = (
                    await _timed(_bare_upload(client, f"bare-{number}", source)),
                    await _timed(_committed(db.put_file("video", source))),
                    await _timed(_bare_download(client, f"bare-{number}", size, target)),
                    await _timed(db.get_file("video", target)),
                )
                assert hashlib.sha256(target.read_bytes()).digest() == digest
                if number:  # the first turn warms up
                    for kept, seconds in zip((bare["up"], ours["up"], bare["down"], ours["down"]), times, strict=True):
                        kept.append(seconds)
            peaks = {
                "up": await _peak(lambda: _committed(db.put_file("video", source))),
                "down": await _peak(lambda: db.get_file("video", target)),
            }
    table = Table("", "bare multipart", "rxmps3", "speed against bare", "peak memory", title=f"{size // _MIB} MiB")
    for way, what in (("up", "put_file, committed"), ("down", "get_file, verified")):
        one, other = statistics.median(bare[way]), statistics.median(ours[way])
        pairs = [left / right for left, right in zip(bare[way], ours[way], strict=True)]
        ratio = f"{statistics.median(pairs):.2f}x"
        table.add_row(what, f"{one:.2f} s", f"{other:.2f} s", ratio, f"{peaks[way]:.0f} MiB")
    console.print(table)


async def _committed(receipt: rxmps3.Receipt) -> None:
    await receipt


async def packs(console: Console) -> None:
    """How many requests a put_all of many values costs whoever writes and whoever reads it."""
    table = Table("", "requests to write", "KiB", "requests to read", "KiB", title="Packs")
    for count, size in ((10_000, 98), (20_000, 19), (1_000, 5_000), (100, 500_000)):
        storage = MemoryStorage()
        up, down = CountingStorage(storage), CountingStorage(storage)
        async with (
            rxmps3.connect(up, shared=False, poll=600) as writer,
            rxmps3.connect(down, shared=False, poll=600) as reader,
        ):
            await writer.put("warm", 0)
            await reader.refresh()
            up.reset()
            down.reset()
            await writer.put_all({f"item/{number:05}": f"{number:0{size}}" for number in range(count)})
            writing = [one for one in up.requests if "/values/" in one.name or "/log/" in one.name]
            await reader.refresh()
            await reader.get_prefix("item/")
            sent, read = sum(one.bytes_up for one in writing), down.bytes_down
            table.add_row(
                f"{count:,} values of {size + 2:,} bytes",
                f"{len(writing)}",
                f"{sent / 1024:,.0f}",
                f"{len(down.requests)}",
                f"{read / 1024:,.0f}",
            )
    console.print(table)
