"""Files as values: uploaded and downloaded in parts, verified on the way, and never half there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from rxmps3 import Blob, Corrupt, InvalidValue, Rejected, Unavailable
from rxmps3.log.sequenced.verify import verify
from rxmps3.storage import Found, MemoryStorage, Storage
from rxmps3.storage.transfer import LARGE_BYTES, PART_BYTES
from rxmps3.testing import CountingStorage, Request, StorageWrapper
from tests.behaviour.helpers import eventually, looks, names, players, trace
from tests.conftest import Place
from tests.durability.helpers import Disk, on

T = TypeVar("T")
SIZE = LARGE_BYTES + PART_BYTES + 12_345


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "large.mp4"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


async def test_a_large_file_goes_up_and_down_in_parts(place: Place, large: Path, tmp_path: Path) -> None:
    if "mps3" in str(place):
        pytest.skip("its wire format is JSON")
    async with players(place, "writer", "reader") as (writer, reader):
        await writer.put_file("video", large)
        await looks(reader)
        for number, db in enumerate((reader, writer)):
            assert await db.get_file("video", tmp_path / f"{number}") == "video/mp4"
            assert (tmp_path / f"{number}").read_bytes() == large.read_bytes()
        assert sorted(path.name for path in tmp_path.glob("*") if path.is_file()) == ["0", "1"]


async def test_its_parts_are_requests_of_their_own(large: Path, tmp_path: Path) -> None:
    counting = CountingStorage(MemoryStorage())
    async with players(counting, "writer") as (writer,), players(counting.inner, "other") as (other,):
        await writer.put("first", 0)
        counting.reset()
        await writer.put_file("video", large)
        parts = -(-SIZE // PART_BYTES)
        assert [one.verb for one in counting.requests] == [
            "begin_upload",
            *["put_part"] * parts,
            "finish_upload",
            "put",
        ]
        assert sum(one.bytes_up for one in counting.requests if one.verb == "put_part") == SIZE
        counting.reset()
        await writer.get_file("video", tmp_path / "down")
        fetched = [one for one in counting.requests if "/values/" in one.name]
        assert [one.bytes_down for one in fetched] == [PART_BYTES] * (parts - 1) + [SIZE % PART_BYTES]
        await looks(other)
        assert hashlib.sha256(await other.get("video")).digest() == hashlib.sha256(large.read_bytes()).digest()
    assert (await verify(counting.inner, "main")).problems == []


async def test_a_large_value_goes_up_and_down_in_parts_as_well() -> None:
    counting = CountingStorage(MemoryStorage())
    text = "x" * SIZE
    async with players(counting, "writer", "reader") as (writer, reader):
        await writer.put("text", text)
        assert counting.counts["put_part"] == -(-SIZE // PART_BYTES)
        await looks(reader)
        counting.reset()
        assert await reader.get("text") == text
        assert len([one for one in counting.requests if "/values/" in one.name]) == -(-SIZE // PART_BYTES)


@pytest.mark.parametrize("content", [b"", b"small", b"m" * 100_000])
async def test_a_small_file_is_one_request_and_bytes_like_any(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(content)
    async with players(MemoryStorage(), "writer", "reader") as (writer, reader):
        await writer.put_file("note", path)
        await looks(reader)
        read = await reader.get("note")
        assert (read, read.content_type) == (content, "text/plain")
        await writer.put_file("note", path, content_type="text/x-note")
        await looks(reader)
        assert (await reader.get("note")).content_type == "text/x-note"
        assert await reader.get_file("note", tmp_path / "down") == "text/x-note"
        assert (tmp_path / "down").read_bytes() == content


async def test_any_value_can_be_written_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "value"
    async with players(MemoryStorage(), "writer", "reader") as (writer, reader):
        await writer.put_all({"small": {"a": 1}, **{f"packed/{number}": "é" * 3000 for number in range(3)}})
        await writer.put("bytes", Blob(b"abc", "image/png"))
        await looks(reader)
        assert await reader.get_file("missing", path) is None
        assert not path.exists()
        assert await reader.get_file("small", path) == "application/json"
        assert path.read_text() == '{"a":1}'
        assert await reader.get_file("packed/1", path) == "application/json"
        assert path.read_text() == '"' + "é" * 3000 + '"'
        assert await reader.get_file("bytes", path) == "image/png"
        assert path.read_bytes() == b"abc"


async def test_the_value_is_there_at_once_and_emits_once(tmp_path: Path) -> None:
    path = tmp_path / "note.bin"
    path.write_bytes(b"some bytes")
    async with players(MemoryStorage(), "a") as (db,):
        seen = trace(db.observe("k"))
        await eventually(lambda: seen)
        receipt = db.put_file("k", path)
        assert await db.get("k") == b"some bytes"
        await receipt
        await looks(db)
        await eventually(lambda: len(seen) > 1)
        assert seen == [None, b"some bytes"]
        assert await db.put_file("copy", path, if_version=None)
        assert await db.get("copy") == b"some bytes"


async def test_what_is_no_file_is_refused_at_the_call(tmp_path: Path) -> None:
    async with players(MemoryStorage(), "a") as (db,):
        for wrong in (tmp_path, tmp_path / "missing"):
            with pytest.raises(InvalidValue, match="file"):
                db.put_file("k", wrong)
        await db.put("there", 1)
        path: Any
        for path in ("~nobody-of-this-name/file", "a\0b", None, 5):
            with pytest.raises(InvalidValue, match="put_file"):
                db.put_file("k", path)
            with pytest.raises(InvalidValue, match="get_file"):
                await db.get_file("there", path)
        (tmp_path / "there").touch()
        with pytest.raises(InvalidValue, match="content type"):
            db.put_file("k", tmp_path / "there", content_type="a\nb")
        assert "k" not in db


class Holding(StorageWrapper):
    """Holds uploads back until it is told, or fails them."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.open = asyncio.Event()
        self.fails = 0
        self.seen: list[str] = []

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        if "/values/" in request.name:
            self.seen.append(request.verb)
            if request.verb in ("put_part", "put"):
                await self.open.wait()
                if self.fails:
                    self.fails -= 1
                    raise Unavailable("no answer", operation="put", object=request.name)
        return await proceed()


async def test_an_upload_that_fails_is_aborted_and_made_again(large: Path, tmp_path: Path) -> None:
    storage = MemoryStorage()
    holding = Holding(storage)
    holding.fails = 2
    holding.open.set()
    async with on(holding) as db:
        await db.put_file("video", large)
        assert await db.get_file("video", tmp_path / "down") == "video/mp4"
        assert (tmp_path / "down").read_bytes() == large.read_bytes()
    assert holding.seen.count("abort_upload") == holding.seen.count("begin_upload") - 1 >= 1
    assert not storage._objects.parts  # pyright: ignore[reportPrivateUsage]


async def test_an_upload_that_is_given_up_is_aborted(large: Path) -> None:
    storage = MemoryStorage()
    holding = Holding(storage)
    db = await on(holding)
    receipt = db.put_file("video", large)
    await eventually(lambda: "put_part" in holding.seen)
    assert receipt.cancel()
    holding.open.set()
    await db.put("after", 1)
    await db.close()
    await eventually(lambda: not storage._objects.parts)  # pyright: ignore[reportPrivateUsage]


async def test_an_upload_that_is_given_up_while_it_begins_is_aborted(large: Path) -> None:
    """Its id is known only once the server has answered."""

    class Slow(StorageWrapper):
        begun, answered = asyncio.Event(), asyncio.Event()

        async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
            answer = await proceed()
            if request.verb == "begin_upload":
                self.begun.set()
                await self.answered.wait()
            return answer

    storage = MemoryStorage()
    slow = Slow(storage)
    db = await on(slow)
    receipt = db.put_file("video", large)
    await slow.begun.wait()
    assert receipt.cancel()
    asyncio.get_running_loop().call_later(0.05, slow.answered.set)
    await db.put("after", 1)
    await db.close()
    assert not storage._objects.parts  # pyright: ignore[reportPrivateUsage]


async def test_a_file_that_changes_before_it_is_uploaded_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"before")
    async with on(MemoryStorage(), Disk(), online=False) as db:
        receipt = db.put_file("k", path)
        path.write_bytes(b"and after")
        with pytest.raises(Rejected, match="changed"):
            await db.get("k")
        path.unlink()
        with pytest.raises(Rejected, match="cannot be read"):
            await db.get("k")
        receipt.cancel()


@pytest.mark.parametrize("then", ["changed", "gone"])
async def test_a_file_put_offline_is_sent_by_the_next_process(then: str, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(b"a note")
    storage, disk = MemoryStorage(), Disk()
    async with on(storage, disk, online=False) as db:
        receipt = db.put_file("k", path)
        other = db.put("after", 1)
        await eventually(lambda: receipt.stage == other.stage == "stored")
    copy = await disk.copy()
    async with on(storage, disk) as db:
        await eventually(lambda: not db.pending.value)
        assert await db.get_many(["k", "after"]) == {"k": b"a note", "after": 1}
        assert (await db.get("k")).content_type == "text/plain"
    if then == "gone":
        path.unlink()
    else:
        path.write_bytes(b"another note")
    problems: list[Any] = []
    async with on(MemoryStorage(), copy) as db:
        db.errors.subscribe(problems.append)
        await eventually(lambda: not db.pending.value)
        assert await db.get_many(["k", "after"]) == {"k": None, "after": 1}


async def test_a_damaged_part_is_found_and_the_file_left_alone(large: Path, tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with players(storage, "writer") as (writer,):
        await writer.put_file("video", large)
    (name,) = await names(storage, "main/values/")
    found = await storage.get(name)
    assert isinstance(found, Found)
    body = bytearray(found.body)
    target = tmp_path / "down"
    target.write_text("as it was")
    for wrong in (body[: 5 * 2**20] + bytes([body[5 * 2**20] ^ 1]) + body[5 * 2**20 + 1 :], body[:-1], None):
        await (storage.delete(name) if wrong is None else storage.put(name, bytes(wrong)))
        async with players(storage, "reader") as (reader,):
            with pytest.raises(Corrupt):
                await reader.get_file("video", target)
            with pytest.raises(Corrupt):
                await reader.get("video")
        assert target.read_text() == "as it was"
        assert os.listdir(tmp_path) == ["down"]


async def test_a_file_that_cannot_be_written_is_an_oserror(large: Path, tmp_path: Path) -> None:
    async with players(MemoryStorage(), "a") as (db,):
        await db.put_file("video", large)
        with pytest.raises(OSError, match="No such file"):
            await db.get_file("video", tmp_path / "missing" / "down")
        assert await db.get_file("video", tmp_path / "down")


@pytest.mark.parametrize("size", [3, SIZE])
async def test_who_may_read_the_file_stays_as_it_is(size: int, tmp_path: Path) -> None:
    target = tmp_path / "secret"
    target.touch(0o600)
    async with players(MemoryStorage(), "a", "b") as (writer, db):
        await writer.put("bytes", bytes(size))
        await looks(db)
        await db.get_file("bytes", target)
    assert target.stat().st_size == size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [3, SIZE])
async def test_only_a_file_is_replaced_by_one(size: int, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("new")
    os.mkfifo(tmp_path / "pipe")
    async with players(MemoryStorage(), "a", "b") as (writer, db):
        await writer.put("bytes", bytes(size))
        await looks(db)
        for name in ("folder", "pipe", "~nobody-of-this-name/file"):
            with pytest.raises(InvalidValue, match=name):
                await db.get_file("bytes", tmp_path / name if "~" not in name else name)
        with pytest.raises(FileNotFoundError, match="missing'"):
            await db.get_file("bytes", tmp_path / "missing" / "file")
        with pytest.raises(NotADirectoryError, match="file'"):
            await db.get_file("bytes", tmp_path / "file" / "file")
        assert (tmp_path / "file").read_bytes() == b"old"
        await db.get_file("bytes", tmp_path / "link")
        await db.get_file("bytes", tmp_path / "dangling")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == (tmp_path / "new").read_bytes() == bytes(size)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file", "link", "dangling", "new", "pipe"}
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


async def test_a_storage_that_writes_only_whole_objects_is_given_them(large: Path, tmp_path: Path) -> None:
    class Plain:
        """The interface as it was before there were parts."""

        def __init__(self, inner: Storage) -> None:
            for verb in ("get", "put", "list", "delete", "close", "url", "name_limit"):
                setattr(self, verb, getattr(inner, verb))

    plain: Any = Plain(MemoryStorage())
    async with on(CountingStorage(plain)) as db:
        await db.put_file("video", large)
        await db.get_file("video", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == large.read_bytes()
