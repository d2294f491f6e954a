"""Bytes as values: put, read, compared, kept, moved, and refused where only JSON will do."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest

from rxmps3 import Blob, Conflict, InvalidValue, Rejected
from rxmps3.cli.transfer import export_to, import_from
from rxmps3.log.sequenced.verify import verify
from rxmps3.model import valuetext
from rxmps3.storage import MemoryStorage
from tests.behaviour.helpers import eventually, looks, players, trace
from tests.conftest import Place
from tests.durability.helpers import Disk, on

SMALL = bytes(range(256))
PNG = Blob(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 30, "image/png")


async def test_bytes_are_read_as_they_were_put(place: Place) -> None:
    if "mps3" in str(place):
        pytest.skip("its wire format is JSON")
    async with players(place, "writer", "reader") as (writer, reader):
        seen = trace(reader.observe("img"))
        await writer.put_all({"small": SMALL, "empty": b"", "array": bytearray(b"abc"), "json": "abc"})
        await writer.put("img", PNG)
        await looks(reader)
        for db in (writer, reader):
            read = await db.get("img")
            assert (read, type(read), read.content_type) == (PNG, Blob, "image/png")
            assert await db.get_many(["small", "empty", "array", "json"]) == {
                "small": SMALL,
                "empty": b"",
                "array": b"abc",
                "json": "abc",
            }
            assert (await db.get("small")).content_type == "application/octet-stream"
        await eventually(lambda: len(seen) > 1)
        assert seen[-1] == PNG


async def test_many_are_packed_with_json() -> None:
    storage = MemoryStorage()
    values: dict[str, Any] = {f"{number:02}": bytes([number]) * 5000 for number in range(20)}
    values |= {f"j{number:02}": "x" * 5000 for number in range(5)} | {"png": PNG}
    async with players(storage, "writer", "reader") as (writer, reader):
        await writer.put_all(values)
        await looks(reader)
        read = dict(await reader.get_prefix(""))
        assert read == values
        assert read["png"].content_type == "image/png"
        await writer.compact()
    async with players(storage, "later") as (later,):
        assert dict(await later.get_prefix("")) == values
    assert (await verify(storage, "main")).problems == []


async def test_what_differs_in_the_content_type_alone_is_another_value() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        await db.put("k", b"1")
        seen = trace(db.observe("k"))
        await eventually(lambda: seen)
        await db.put("k", 1)
        await db.put("k", Blob(b"1", "text/plain"))
        await db.put("k", Blob(b"1", "text/plain"))
        assert [getattr(value, "content_type", value) for value in seen] == [
            "application/octet-stream",
            1,
            "text/plain",
        ]


@pytest.mark.parametrize("size", [10, 10_000])
async def test_only_json_is_changed_in_part(size: int) -> None:
    async with players(MemoryStorage(), "a") as (db,):
        await db.put("k", b"x" * size)
        with pytest.raises(InvalidValue, match="patch key 'k': it holds bytes"):
            db.patch("k", {"a": 1})
        with pytest.raises(InvalidValue, match="bytes"):
            db.merge("k", {"a": 1})
        with pytest.raises(InvalidValue, match="bytes"):
            db.patch("other", b"patch")
        with pytest.raises(InvalidValue, match="bytes"):
            db.put("k", {"nested": b"x"})
        await db.update("k", lambda value: bytes(value) + b"!")
        assert await db.get("k") == b"x" * size + b"!"


async def test_a_patch_that_meets_bytes_is_rejected() -> None:
    storage = MemoryStorage()
    async with players(storage, "a", "b") as (a, b):
        await a.put("k", {"a": 1})
        await looks(b)
        await a.put("k", b"bytes")
        with pytest.raises(Rejected):
            await b.patch("k", {"b": 2})
        assert await b.get("k") == b"bytes"


async def test_conditions_and_the_past_know_bytes() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        first = await db.put("k", PNG)
        second = await db.put("k", b"other", if_version=first)
        with pytest.raises(Conflict):
            await db.put("k", b"late", if_version=first)
        assert second
        assert [one.value async for one in db.history("k")] == [PNG, b"other"]
        await db.undo()
        assert (await db.get("k")).content_type == "image/png"
        async with db.transaction() as tx:
            assert await tx.get("k") == PNG
            tx.put("copy", await tx.get("k"))
        assert (await db.get("copy")).content_type == "image/png"


async def test_they_are_kept_on_disk_and_sent_later() -> None:
    storage, disk = MemoryStorage(), Disk()
    async with on(storage, disk, online=False) as db:
        receipt = db.put_all({"small": SMALL, "large": PNG, "another": PNG + b"!"})
        await eventually(lambda: receipt.stage == "stored")
    async with on(storage, disk) as db:
        await eventually(lambda: not db.pending.value)
    async with on(storage, disk, online=False) as db:
        assert await db.get("large") == PNG
        assert (await db.get("large")).content_type == "image/png"
        assert await db.get("small") == SMALL


async def test_they_are_exported_and_imported() -> None:
    file = io.StringIO()
    values = {"small": SMALL, "large": PNG, "json": {"a": 1}}
    async with players(MemoryStorage(), "a") as (db,):
        await db.put_all(values)
        await export_to(db, file)
    file.seek(0)
    async with players(MemoryStorage(), "b") as (db,):
        await import_from(db, file)
        assert dict(await db.get_prefix("")) == values
        assert (await db.get("large")).content_type == "image/png"


async def test_a_typed_key_of_bytes() -> None:
    async with players(MemoryStorage(), "a") as (db,):
        key = db.key("k", bytes, default=b"none")
        seen = trace(key)
        await eventually(lambda: seen)
        await key.put(b"some")
        assert key.value == b"some"
        await db.put("k", "text")
        assert seen == [b"none", b"some"]
        with pytest.raises(InvalidValue, match="bytes"):
            key.put("text")  # pyright: ignore[reportArgumentType]
        number = db.key("n", int, default=0)
        await db.put("n", b"5")
        with pytest.raises(InvalidValue, match="bytes"):
            _ = number.value


async def test_mps3_says_that_it_holds_only_json() -> None:
    async with players(MemoryStorage(), "a", protocol="mps3") as (db,):
        await db.put("k", 1)
        with pytest.raises(InvalidValue, match="JSON only"):
            db.put("k", b"x")
        with pytest.raises(InvalidValue, match="JSON only"):
            db.key("k").put(b"x")


def test_a_blob_is_bytes_with_a_content_type() -> None:
    for same in (pickle.loads(pickle.dumps(PNG)), copy.deepcopy(PNG), valuetext.decode(valuetext.encode(PNG))):
        assert (same, same.content_type, type(same)) == (PNG, "image/png", Blob)
    assert repr(PNG) == f"<Blob of {len(PNG):,} bytes, image/png>"
    assert PNG._repr_mimebundle_()["image/png"] == PNG  # pyright: ignore[reportPrivateUsage]
    assert valuetext.size_of(valuetext.encode(PNG)) == len(PNG)
    for wrong in ("", "a\nb", "é", "x" * 201):
        with pytest.raises(InvalidValue, match="content type"):
            Blob(b"", wrong)
