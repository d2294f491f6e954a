"""The commands that look back: get and ls with --at, history, restore."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

import rxmps3 as library
from rxmps3 import MISSING
from tests.cli.commands import Outcome, rxmps3, several
from tests.servers import READER, SHARED_BUCKET, SeaweedFS


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """Four log versions by ana."""
    url = f"file:{tmp_path / 'bucket'}"
    async with library.connect(url, by="ana") as db:
        await db.put_all({"a/1": [1], "a/2": "two"})
        await db.put("a/1", "x" * 9000)
        await db.put_all({"a/1": MISSING, "b": 1.0})
        await db.put("a/3", None)
    return url


async def test_get_and_ls_show_what_there_was(url: str) -> None:
    async with library.connect(url) as db:
        first, second = await db.at(1), await db.at(2)
        version = (await db.history("a/2"))[0].version
    assert second.date is not None
    assert first.date is not None
    before = first.date - timedelta(seconds=2)
    got, by_id, by_time, gone, plain, under, long, then_empty = several(
        ("get", url, "a/1", "--at", "1"),
        ("get", url, "a/2", "--at", version, "--raw"),
        ("get", url, "a/2", "--at", second.date.isoformat(), "--json"),
        ("get", url, "a/1", "--at", "3", "--json"),
        ("ls", url, "--at", "2"),
        ("ls", url, "a/", "--at", "1", "--values"),
        ("ls", url, "--at", "2", "--long", "--json"),
        ("ls", url, "--at", before.astimezone().replace(tzinfo=None).isoformat()),
    )
    assert (got.out, by_id.out, by_time.out) == ("[1]\n", "two\n", '"two"\n')
    assert (gone.code, gone.out, gone.error["kind"]) == (3, "", "NoSuchKey")
    assert "there is no key 'a/1' at 3" in gone.error["message"]
    assert plain.out == "a/1\na/2\n"
    assert under.out == 'a/1\t[1]\na/2\t"two"\n'
    assert [(one["key"], one["size"]) for one in long.records] == [("a/1", 9002), ("a/2", 5)]
    assert then_empty == Outcome(0, "", "")


def test_history_shows_the_versions_of_a_key(url: str) -> None:
    plain, as_json, none = several(
        ("history", url, "a/1"), ("history", url, "a/1", "--json"), ("history", url, "nope", "--json")
    )
    lines = plain.out.splitlines()
    assert re.fullmatch(r" +1  \d{4}-\d\d-\d\d [\d:]{8}  ana         \[1\]", lines[0])
    assert re.fullmatch(r" +3  .*  ana         deleted", lines[2])
    first, second, third = as_json.records
    assert (first["id"], first["value"], first["missing"], first["by"]) == ("1", [1], False, "ana")
    assert second["value"] == "x" * 9000
    assert (third["value"], third["missing"]) == (None, True)
    assert set(first) == {"id", "version", "missing", "value", "by", "time", "date"}
    assert (none.code, none.error["kind"]) == (3, "NoSuchKey")


async def test_restore_brings_back_what_there_was(url: str) -> None:
    under, nothing, silent, everything = several(
        ("restore", url, "1", "--prefix", "a/", "--by", "bob"),
        ("restore", url, "1", "--prefix", "a/"),
        ("restore", url, "1", "--prefix", "a/", "--json"),
        ("restore", url, "4", "--json"),
    )
    assert (under.code, under.err) == (0, "")
    assert (nothing.code, nothing.out) == (0, "")
    assert "nothing differs" in nothing.err
    assert silent.records == [{"version": None}]
    async with library.connect(url) as db:
        assert (await db.history("a/3"))[1].version == under.out.strip()
        assert [one.by for one in await db.history("a/3")] == ["ana", "bob", ""]
        assert await db.get_prefix() == {"a/2": "two", "a/3": None, "b": 1.0}
        assert everything.records == [{"version": (await db.history("a/3"))[-1].version}]


FAILURES = [
    (("get", "a/1", "--at", "9"), 2, "InvalidOption", "the last one is 4"),
    (("get", "a/1", "--at", "yesterday"), 2, "InvalidOption", "neither"),
    (("ls", "--at", "2999-01-01"), 2, "InvalidOption", "is in the future"),
    (("restore", "nobody-1"), 2, "InvalidOption", "not in the log"),
    (("restore", ""), 2, "InvalidOption", "neither"),
]


@pytest.mark.parametrize(("arguments", "code", "kind", "message"), FAILURES, ids=lambda each: str(each)[:40])
def test_failures(url: str, arguments: tuple[str, ...], code: int, kind: str, message: str) -> None:
    word, *rest = arguments
    failed = rxmps3(word, url, *rest, "--json")
    assert (failed.code, failed.out, failed.error["kind"]) == (code, "", kind)
    assert message in failed.error["message"]


async def test_what_is_no_longer_kept_ends_with_3(url: str, tmp_path: Path) -> None:
    async with library.connect(url, retention=timedelta(0)) as db:
        await db.compact()
        await db.compact()
    failed, kept = several(("get", url, "b", "--at", "2", "--json"), ("get", url, "b", "--at", "4"))
    assert (failed.code, failed.error["kind"]) == (3, "NotKept")
    assert kept.out == "1.0\n"


@pytest.mark.seaweedfs
async def test_restoring_without_the_right_to_write_ends_at_once(seaweedfs: SeaweedFS) -> None:
    url = f"s3://{SHARED_BUCKET}/cli-past"
    async with library.connect(url, **seaweedfs.options()) as db:
        await db.put("k", 1)
        await db.put("k", 2)
    from tests.cli.commands import environment

    options = seaweedfs.options(READER)
    env = environment(
        AWS_ACCESS_KEY_ID=options["aws_access_key_id"], AWS_SECRET_ACCESS_KEY=options["aws_secret_access_key"]
    )
    denied = rxmps3("restore", url, "1", "--endpoint-url", options["endpoint_url"], "--json", env=env)
    assert (denied.code, json.loads(denied.err.splitlines()[-1])["error"]["kind"]) == (4, "AccessDenied")
