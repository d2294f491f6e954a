"""From a URL to a storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rxmps3.errors import InvalidOption
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import Found, MemoryStorage, Storage, open_storage


def opened(url: str, **options: Any) -> Storage:
    return open_storage(url, clock=SystemClock(), **options)


@pytest.fixture(autouse=True)
def _amazon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)


async def test_memory_is_private_without_a_name_and_shared_with_one() -> None:
    for url, shared in (("memory:", False), ("memory:test-urls", True)):
        one, other = opened(url), opened(url)
        assert one.url == url
        await one.put("a", b"1")
        assert isinstance(await other.get("a"), Found) == shared
        await one.close()
    assert isinstance(await opened("memory:test-urls").get("a"), Found)


def test_versioning_is_settled_by_the_first() -> None:
    storage = opened("memory:test-urls-versioned", versioning=True)
    assert isinstance(storage, MemoryStorage)
    assert storage.versioning
    again = opened("memory:test-urls-versioned")
    assert isinstance(again, MemoryStorage)
    assert again.versioning
    with pytest.raises(InvalidOption, match="versioning=True"):
        opened("memory:test-urls-versioned", versioning=False)


def test_file_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    real = tmp_path.resolve()
    for url, path in [
        ("file:data", real / "data"),
        ("file:./a/../data", real / "data"),
        (f"file:{tmp_path}/data", real / "data"),
        (f"file://{tmp_path}/data", real / "data"),
        (f"file://localhost{tmp_path}/my%20data", real / "my data"),
        (f"file:{tmp_path}/my%20data?", real / "my%20data?"),
        ("file:~/data", real / "home" / "data"),
        ("file://~/data", real / "home" / "data"),
        ("file:.", real),
    ]:
        assert opened(url).url == f"file:{path}", url
        assert opened(opened(url).url).url == f"file:{path}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "options", "normal"),
    [
        ("s3://bucket", {}, "s3://bucket/"),
        ("s3://bucket/", {}, "s3://bucket/"),
        ("s3://bucket/a/b", {}, "s3://bucket/a/b/"),
        ("S3://bucket/a/b/", {"endpoint_url": None}, "s3://bucket/a/b/"),
        (
            "s3://bucket/a?endpoint_url=http://127.0.0.1:9000/&aws_secret_access_key=x&use_ssl=false",
            {"region_name": "eu-north-1"},
            "s3://bucket/a/?endpoint_url=http://127.0.0.1:9000",
        ),
        (
            "s3://bucket/a",
            {"endpoint_url": "https://user:secret@host", "aws_secret_access_key": "secret", "verify": False},
            "s3://bucket/a/?endpoint_url=https://host",
        ),
    ],
)
def test_s3_urls(url: str, options: dict[str, Any], normal: str) -> None:
    assert opened(url, **options).url == normal
    assert opened(normal).url == normal


def test_the_prefix_counts_for_the_longest_name() -> None:
    assert opened("s3://bucket").name_limit == 1024
    assert opened("s3://bucket/äpp").name_limit == 1019


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("", {}, "accepted are memory:"),
        ("bucket/app", {}, "accepted are memory:"),
        ("gs://bucket?key=hunter2", {}, "'gs://bucket'.*accepted are memory:"),
        ("memory:x?y=1", {}, "no query"),
        ("memory:", {"region_name": "x"}, "no option region_name; accepted are versioning"),
        ("file:", {}, "needs a path"),
        ("file:x", {"verify": True}, "no option verify; there are none"),
        ("file://host/x", {}, "no host"),
        ("s3:bucket", {}, "write s3://BUCKET/PREFIX"),
        ("s3:///prefix", {}, "no bucket name"),
        ("s3://key:hunter2@bucket/x", {}, "credentials and endpoint_url are options"),
        ("s3://bucket", {"acces_key": "x"}, "no option acces_key; accepted are .*aws_access_key_id"),
        ("s3://bucket?zone=x", {}, "no option zone; accepted are .*endpoint_url"),
        ("s3://bucket?config=x", {}, "no option config"),
        ("s3://bucket?region_name=x", {"region_name": "y"}, "region_name is given twice"),
        ("s3://bucket?use_ssl=maybe", {}, "use_ssl is a bool"),
        ("s3://bucket", {"region_name": 1}, "region_name is a str, not int"),
        ("s3://bucket", {"session": object(), "profile_name": "x"}, "session or profile_name"),
    ],
)
def test_what_makes_no_sense(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message) as caught:
        opened(url, **options)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s4://AKIA:SECRET@bucket/x",
        "s3:/AKIA:SECRET@bucket",
        "s3:///AKIA:SECRET@bucket",
        "s3://AKIA:SECRET@bucket/app",
        "file://AKIA:SECRET@host/x",
        "s4://bucket?aws_secret_access_key=SECRET",
        "s3:bucket?aws_secret_access_key=SECRET",
        "http://u:SECRET@h:1/p@q",
    ],
)
def test_no_error_repeats_a_secret(url: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        open_storage(url, clock=SystemClock())
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in repr(caught.value)
