"""Captures of the JavaScript client: what it wrote we read, and what we write is what it would have written."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING
from rxmps3.log.mps3.operation import encode
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, MemoryStorage, Storage, open_storage
from tests.conftest import Place, new_place
from tests.mps3.helpers import CAPTURES, InBucket, capture, replayed

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
STAMP = re.compile(r"@[0-9a-v]{9}_[0-9a-f]{3}_([0-9a-v]{2})$")


@pytest.mark.parametrize("name", CAPTURES)
async def test_a_fresh_client_reads_what_theirs_read(name: str) -> None:
    recorded = capture(name)
    storage = await replayed(recorded)
    versioning = recorded["versions"] is not None
    async with rxmps3.connect(
        storage, protocol="mps3", versioning=versioning, read_only=True, manifest="manifest.json"
    ) as db:
        for key, read in recorded["fresh_client_reads"].items():
            value = await db.get(key, MISSING)
            assert (value is MISSING) == read["missing"], key
            if not read["missing"]:
                assert value == read["value"], key
        assert db.keys() == sorted(key for key, read in recorded["fresh_client_reads"].items() if not read["missing"])
        assert await db.manifest("manifest2.json").get("m2key") == "m2"


@pytest.mark.parametrize("name", CAPTURES)
async def test_auto_finds_their_manifest(name: str) -> None:
    recorded = capture(name)
    storage = await replayed(recorded)
    versioning = recorded["versions"] is not None
    async with rxmps3.connect(storage, manifest="manifest.json", versioning=versioning) as db:
        assert db.protocol == "mps3"
        assert await db.get("string") == "bulk"


async def played(recorded: dict[str, Any], storage: Storage) -> None:
    """Do what the recorded client did."""
    versioning = recorded["versions"] is not None
    async with rxmps3.connect(storage, protocol="mps3", versioning=versioning) as db:
        for step in recorded["steps"]:
            args = step["args"]
            named = [one["key"] for one in args.get("options", {}).get("manifests", [])]
            if step["op"] == "put" and len(named) > 1:
                await db.put(args["key"], args["value"], manifests=named)
            elif step["op"] == "put":
                target = db.manifest(named[0]) if named else db
                await target.put(args["key"], args["value"])
            elif step["op"] == "delete":
                await db.delete(args["key"])
            elif step["op"] == "putAll":
                await db.put_all(dict(args["items"]))


def patterns(names: list[str], objects: dict[str, str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Names with their ids and times replaced in order of appearance, and bodies with the same replaced."""
    known: dict[str, str] = {}

    def replaced(text: str) -> str:
        return UUID.sub(lambda match: known.setdefault(match[0], f"<{len(known)}>"), text)

    operations = sorted((name for name in names if STAMP.search(name)), reverse=True)
    bodies = [(STAMP.sub(r"@<\1>", name), replaced(objects[name])) for name in operations]
    others = {replaced(name): replaced(objects[name]) for name in names if not STAMP.search(name)}
    return others, bodies


@pytest.mark.parametrize("name", CAPTURES)
async def test_what_is_written_is_what_theirs_wrote(name: str) -> None:
    recorded = capture(name)
    bucket = recorded["config"]["defaultBucket"]
    versioning = recorded["versions"] is not None
    inner = MemoryStorage(versioning=versioning)
    await played(recorded, InBucket(inner, f"memory:{bucket}"))
    names = [one.name for one in (await inner.list("")).objects]
    written: dict[str, str] = {}
    for one in names:
        answer = await inner.get(one)
        assert isinstance(answer, Found)
        written[one] = answer.body.decode()
    expected = {one: found["body"] for one, found in recorded["objects"].items()}
    if not recorded["config"]["minimizeListObjectsCalls"]:  # that client has no use for the manifest's own object then
        for manifest in ("manifest.json", "manifest2.json"):
            assert written.pop(manifest) == '""'
    if versioning:  # version ids are the server's: any text
        written, expected = ({k: _without_ids(v) for k, v in some.items()} for some in (written, expected))
    ours, theirs = patterns(sorted(written), written), patterns(sorted(expected), expected)
    assert [where for where, _ in ours[1]] == [where for where, _ in theirs[1]]
    for (where, mine), (_, other) in zip(ours[1], theirs[1], strict=True):
        if versioning and where == "manifest.json@<vi>":  # theirs has the files in the order in which uploads ended
            assert json.loads(mine) == json.loads(other)
        else:
            assert mine == other, where
    assert ours[0].keys() == theirs[0].keys()
    assert sorted(ours[0].values()) == sorted(theirs[0].values())


def _without_ids(body: str) -> str:
    return re.sub(r'("version": )"[^"]*"', r'\1"…"', body)


async def test_every_operation_they_wrote_encodes_to_the_same_bytes() -> None:
    count = 0
    for name in CAPTURES:
        for where, found in capture(name)["objects"].items():
            if STAMP.search(where):
                members = json.loads(found["body"])
                assert encode(members["files"], members["update"]["files"]).decode() == found["body"]
                count += 1
    assert count > 30


@pytest.mark.parametrize("kind", ["moto", pytest.param("seaweedfs", marks=pytest.mark.seaweedfs)])
async def test_objects_of_a_real_server_have_their_keys(kind: str, request: pytest.FixtureRequest) -> None:
    """Names with slashes and signs are the same object names that the JavaScript client's requests make."""
    place: Place = new_place(kind, request)
    keys = ["a/b", "clé/☃😀", "string", '&$@=;:+ ,?{^}%`]">[~<#|a']
    async with rxmps3.connect(place.url, protocol="mps3", **place.options) as db:
        await db.put_all({key: index for index, key in enumerate(keys)})
    storage = open_storage(place.url, clock=SystemClock(), **place.options)
    try:
        names = [one.name for one in (await storage.list("")).objects]
        assert {UUID.sub("", one) for one in names if UUID.search(one)} == {f"{key}@" for key in keys}
        prefix = place.url.partition("://")[2].partition("/")[2] + "/"
        operation = next(one for one in names if STAMP.search(one))
        answer = await storage.get(operation)
        assert isinstance(answer, Found)
        bucket = place.url.partition("://")[2].partition("/")[0]
        assert set(json.loads(answer.body)["update"]["files"]) == {f"{bucket}/{prefix}{key}" for key in keys}
    finally:
        await storage.close()
