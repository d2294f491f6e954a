"""Each command on each protocol: it works, or it refuses and says which protocol the manifest is in."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence

import pytest

import rxmps3 as library
import rxmps3.storage
import rxmps3.testing
from rxmps3.storage.base import versions_of
from tests.cli.commands import Outcome, environment, next_record, rxmps3, several, started
from tests.conftest import Place, new_place
from tests.servers import SeaweedFS

pytestmark = pytest.mark.seaweedfs
_numbers = itertools.count()


@pytest.fixture(params=["seaweedfs", "seaweedfs-versioned", "seaweedfs-mps3"])
def place(request: pytest.FixtureRequest) -> Place:
    return new_place(request.param, request)


def where(place: Place, seaweedfs: SeaweedFS, manifest: str = "board") -> Sequence[str]:
    return ("-m", manifest, "--endpoint-url", seaweedfs.endpoint_url, "--region", "us-east-1")


def env(place: Place) -> dict[str, str]:
    return environment(
        AWS_ACCESS_KEY_ID=place.options["aws_access_key_id"],
        AWS_SECRET_ACCESS_KEY=place.options["aws_secret_access_key"],
    )


async def filled(place: Place) -> None:
    async with library.connect(
        place.url, manifest="board", protocol=place.protocol, by="ana", shared=False, **place.options
    ) as db:
        await db.put_all({"a": 1, "big": "L" * 9000})
        await db.delete("a")
        await db.put("b", {"n": None})


async def test_every_command_works_or_names_the_protocol(place: Place, seaweedfs: SeaweedFS) -> None:
    await filled(place)
    options = where(place, seaweedfs)

    def run(*commands: Sequence[str]) -> list[Outcome]:
        return several(*((name, place.url, *rest, *options) for name, *rest in commands), env=env(place))

    got, ls, long, dim, verified, quick, compacted, log, history = await asyncio.to_thread(
        run,
        ("get", "b", "--json"),
        ("ls", "--json"),
        ("ls", "--long", "--json"),
        ("ls", "--long"),
        ("verify", "--json"),
        ("verify", "--no-contents"),
        ("compact", "--dry-run", "--json"),
        ("log", "--json"),
        ("history", "b", "--json"),
    )
    assert (got.code, ls.code, compacted.code, quick.code) == (0, 0, 0, 0), (got, ls, compacted, quick)
    sizes = [10, 9002] if place.protocol != "mps3" else [None, None]
    assert [record["size"] for record in long.records] == sizes
    assert [line.split()[0] for line in dim.out.splitlines()] == (["10", "9,002"] if sizes[0] else ["?", "?"])
    assert quick.out.startswith("all is well: 2 keys")
    assert (verified.code, verified.records[-1]["keys"], verified.records[-1]["ok"]) == (0, 2, True)
    if place.protocol == "sequenced":
        assert [len(record["writes"]) for record in log.records] == [1, 1, 1]
        assert history.code == 0
    else:
        for refused in (log, history):
            assert (refused.code, refused.out, refused.error["kind"]) == (6, "", "Unsupported")
            assert f"protocol {place.protocol!r}" in json.dumps(refused.error, ensure_ascii=False)


async def test_log_follow_shows_what_comes_on_each_protocol(place: Place, seaweedfs: SeaweedFS) -> None:
    await filled(place)
    with started(
        "log", place.url, "-f", "-n", "0", "--poll", "0.1", "--json", *where(place, seaweedfs), env=env(place)
    ) as going:
        async with library.connect(
            place.url, manifest="board", protocol=place.protocol, by="bob", shared=False, **place.options
        ) as db:
            reading = asyncio.ensure_future(asyncio.to_thread(next_record, going))
            number = 0
            while not reading.done():
                await db.put("tick", number := number + 1)
                await asyncio.wait([reading], timeout=0.2)
            record = await reading
    assert (record["by"], record["writes"][0]["put"]) == ("bob" if place.protocol != "mps3" else record["by"], ["tick"])


async def test_a_manifest_that_is_not_there_is_said_to_be_none(place: Place, seaweedfs: SeaweedFS) -> None:
    await filled(place)
    options = where(place, seaweedfs, "nowhere")
    verified, logged = await asyncio.to_thread(
        several, ("verify", place.url, *options), ("log", place.url, *options), env=env(place)
    )
    assert (verified.code, verified.out) == (3, "")
    assert "there is no manifest 'nowhere'" in verified.err
    assert (logged.code, logged.out) == (0, "")
    assert "manifest 'nowhere'" in logged.err


async def test_verify_names_a_value_that_is_gone_on_each_protocol(place: Place, seaweedfs: SeaweedFS) -> None:
    await filled(place)
    storage = library.storage.open_storage(place.url, clock=library.testing.ManualClock(), **place.options)
    removed = 0
    try:
        if place.protocol == "versioned":
            page = await versions_of(storage).list_versions("big")
            for one in page.versions:
                await storage.delete(one.name, version=one.version)
                removed += 1
        else:
            for one in await library.storage.list_all(storage, ""):
                if "big@" in one.name or one.name.startswith("board/values/big"):
                    await storage.delete(one.name)
                    removed += 1
    finally:
        await storage.close()
    assert removed
    outcome = await asyncio.to_thread(rxmps3, "verify", place.url, "--json", *where(place, seaweedfs), env=env(place))
    assert outcome.code == 6
    assert "big" in outcome.records[0]["object"]
