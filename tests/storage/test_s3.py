"""The S3 storage: what it asks, what it makes of the answers, and how it ends."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from rxmps3.errors import (
    AccessDenied,
    BucketNotFound,
    Closed,
    Corrupt,
    Error,
    InvalidKey,
    InvalidOption,
    PreconditionFailed,
    Throttled,
    Unavailable,
    Unsupported,
    WrongLoop,
)
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import ABSENT, Found, Matches, Missing, NotModified, list_all, open_storage
from rxmps3.storage.s3 import S3Storage
from tests.servers import ADMIN, GETTER, MEMBER, MEMBER_PREFIX, READER, SHARED_BUCKET, Credentials, Moto, SeaweedFS
from tests.storage.scripted import Answer, ScriptedServer, refusal
from tests.storage.sessions import SESSIONS, session_of

FOUND = Answer(200, b"body", {"ETag": '"etag"', "Last-Modified": "Sun, 22 Nov 2026 09:00:00 GMT"})
STORED = Answer(200, b"", {"ETag": '"etag"'})
MOMENT = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[S3Storage]:
    storage = open_storage(url, clock=SystemClock(), **options)
    assert isinstance(storage, S3Storage)
    try:
        yield storage
    finally:
        await storage.close()


@asynccontextmanager
async def scripted(*script: Any, **options: Any) -> AsyncIterator[tuple[ScriptedServer, S3Storage]]:
    async with (
        ScriptedServer(*script) as server,
        opened("s3://bucket/app", **{**server.options, **options}) as storage,
    ):
        yield server, storage


# What it asks


async def test_a_put_is_one_lean_request() -> None:
    async with scripted(STORED) as (server, storage):
        digest = hashlib.sha256(b"{}").digest()
        await storage.put("a/b%41@~", b"{}", when=ABSENT, sha256=digest)
        await asyncio.sleep(0.01)  # aiohttp 3.9 may let go of a connection only after it has given the answer
        await storage.put("a", b"{}", when=Matches('"etag"'), content_type="text/plain")
        first, second = server.asked
        assert (first.method, first.path, first.body) == ("PUT", "/bucket/app/a/b%2541%40~", b"{}")
        assert first.headers["if-none-match"] == "*"
        assert first.headers["x-amz-checksum-sha256"] == "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="
        assert first.headers["content-type"] == "application/json"
        assert "expect" not in first.headers
        assert second.headers["if-match"] == '"etag"'
        assert second.headers["content-type"] == "text/plain"
        assert not [name for name in second.headers if "checksum" in name or "encryption" in name]
        assert server.connections == 1


async def test_options_go_to_the_requests_that_take_them() -> None:
    answers = [STORED, FOUND, Answer(204, headers={"Content-Length": ""}), Answer(200, b"<ListBucketResult/>")]
    owner = {"ExpectedBucketOwner": "123", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}
    async with scripted(*answers, **owner) as (server, storage):
        await storage.put("a", b"1")
        await storage.get("a", unless='"x"', version="v")
        await storage.delete("a", version="v")
        with pytest.raises(Unavailable, match="IsTruncated"):
            await storage.list("")
        assert [one.headers["x-amz-expected-bucket-owner"] for one in server.asked] == ["123"] * 4
        assert ["x-amz-server-side-encryption" in one.headers for one in server.asked] == [True, False, False, False]
        assert server.asked[0].headers["x-amz-server-side-encryption-aws-kms-key-id"] == "k"
        assert server.asked[1].headers["if-none-match"] == '"x"'
        assert [one.path.partition("?")[2] for one in server.asked[1:3]] == ["versionId=v", "versionId=v"]


@pytest.mark.parametrize("library", SESSIONS)
async def test_the_region_and_a_session_of_ones_own_are_used(library: str) -> None:
    session = session_of(library, aws_access_key_id="mine", aws_secret_access_key="x", region_name="eu-north-1")
    async with ScriptedServer(FOUND) as server:
        endpoint = server.options["endpoint_url"]
        async with opened("s3://bucket", endpoint_url=endpoint, session=session) as storage:
            await storage.get("a")
        assert "Credential=mine/" in server.asked[0].headers["authorization"]
        assert "/eu-north-1/s3/" in server.asked[0].headers["authorization"]
        assert server.asked[0].path == "/bucket/a"


async def test_environment_and_profiles_are_read_as_boto3_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer(FOUND) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.options["endpoint_url"])
        (tmp_path / "credentials").write_text("[other]\naws_access_key_id=theirs\naws_secret_access_key=x\n")
        (tmp_path / "config").write_text("[profile other]\nregion=eu-south-1\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        async with opened("s3://bucket/app/", profile_name="other") as storage:
            assert "endpoint_url=http://127.0.0.1:" in storage.url
            await storage.get("a")
        assert "Credential=theirs/" in server.asked[0].headers["authorization"]
        assert "/eu-south-1/s3/" in server.asked[0].headers["authorization"]
        assert server.asked[0].path == "/bucket/app/a"


FILES = """[profile plain]
[profile direct]
endpoint_url = http://direct.example:1
[profile service]
services = mine
endpoint_url = http://never.example
[services mine]
s3 =
  endpoint_url = http://service.example:2/
"""


@pytest.mark.parametrize(
    ("options", "environment", "endpoint"),
    [
        ({}, {}, ""),
        ({"region_name": "eu-west-1"}, {}, ""),
        ({"profile_name": "plain"}, {}, ""),
        ({"profile_name": "direct"}, {}, "http://direct.example:1"),
        ({"profile_name": "service"}, {}, "http://service.example:2"),
        ({}, {"AWS_PROFILE": "service"}, "http://service.example:2"),
        ({"profile_name": "plain"}, {"AWS_PROFILE": "service"}, ""),
        ({"profile_name": "direct"}, {"AWS_ENDPOINT_URL": "http://general.example"}, "http://general.example"),
        ({"profile_name": "direct"}, {"AWS_ENDPOINT_URL_S3": "http://s3.example"}, "http://s3.example"),
        ({}, {"AWS_ENDPOINT_URL_S3": "http://s3.example", "AWS_ENDPOINT_URL": "http://x"}, "http://s3.example"),
        ({"profile_name": "direct"}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, ""),
        ({}, {"AWS_ENDPOINT_URL": "http://x", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, ""),
        ({"config": Config(ignore_configured_endpoint_urls=True)}, {"AWS_ENDPOINT_URL": "http://x"}, ""),
        ({"endpoint_url": "http://option.example"}, {"AWS_PROFILE": "service"}, "http://option.example"),
        ({"endpoint_url": "http://me:secret@option.example"}, {}, "http://option.example"),
        ({"region_name": "cn-north-1"}, {}, "https://s3.cn-north-1.amazonaws.com.cn"),
    ],
)
async def test_the_endpoint_is_the_one_that_botocore_resolves(
    options: dict[str, Any],
    environment: dict[str, str],
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config").write_text(FILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with opened("s3://bucket/app", **options) as storage:
        assert storage.url == "s3://bucket/app/" + (f"?endpoint_url={endpoint}" if endpoint else "")


@pytest.mark.parametrize("library", SESSIONS)
async def test_the_endpoint_of_a_session_is_its_own(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(FILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "service")
    session = session_of(library, aws_access_key_id="mine", aws_secret_access_key="x", region_name="eu-north-1")
    async with opened("s3://bucket", session=session) as storage:
        assert storage.url == "s3://bucket/?endpoint_url=http://service.example:2"
    assert session.client if library == "aioboto3" else session.create_client  # it is as it was
    assert "get_credentials" not in vars(getattr(session, "_session", session))


async def test_a_profile_that_changes_meanwhile_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedServer(FOUND) as server:
        (tmp_path / "config").write_text(
            f"[profile one]\nendpoint_url={server.options['endpoint_url']}\nregion=eu-one-1\n"
            "aws_access_key_id=first\naws_secret_access_key=x\n"
            "[profile two]\nregion=eu-two-1\naws_access_key_id=second\naws_secret_access_key=x\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_PROFILE", "one")
        async with opened("s3://bucket") as storage:
            monkeypatch.setenv("AWS_PROFILE", "two")
            await storage.get("a")
        assert "Credential=first/" in server.asked[0].headers["authorization"]
        assert "/eu-one-1/s3/" in server.asked[0].headers["authorization"]


async def test_the_region_is_of_the_variable_that_boto3_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer(FOUND) as server:
        options = {name: value for name, value in server.options.items() if name != "region_name"}
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-south-2")
        async with opened("s3://bucket", **options) as storage:
            await storage.get("a")
        assert "/eu-south-2/s3/" in server.asked[0].headers["authorization"]


async def test_a_config_of_ones_own_wins() -> None:
    config = Config(read_timeout=0.1, user_agent="mine")
    async with scripted(Answer(hang=True, cut=0, headers={"Content-Length": "5"}), config=config) as (server, storage):
        with pytest.raises(Unavailable):
            await storage.put("a", b"1")
        assert server.asked[0].headers["user-agent"].startswith("mine")


async def test_nothing_is_sent_twice() -> None:
    async with scripted(refusal(500, "InternalError"), STORED) as (server, storage):
        with pytest.raises(Unavailable):
            await storage.put("a", b"1", when=ABSENT)
        assert len(server.asked) == 1


# What it makes of answers


REFUSALS: list[tuple[int, str, type[Error]]] = [
    (400, "BadDigest", Unavailable),
    (400, "ExpiredToken", AccessDenied),
    (400, "InvalidArgument", Error),
    (400, "InvalidRequest", Error),
    (400, "UnsupportedHeader", Unsupported),
    (405, "NotAllowed", Unsupported),
    (400, "KeyTooLongError", InvalidKey),
    (400, "MalformedXML", Error),
    (400, "RequestTimeout", Unavailable),
    (400, "XAmzContentSHA256Mismatch", Unavailable),
    (401, "Unauthorized", AccessDenied),
    (403, "AccessDenied", AccessDenied),
    (403, "InvalidAccessKeyId", AccessDenied),
    (403, "RequestTimeTooSkewed", AccessDenied),
    (403, "SignatureDoesNotMatch", AccessDenied),
    (404, "NoSuchBucket", BucketNotFound),
    (409, "ConditionalRequestConflict", Unavailable),
    (409, "OperationAborted", Unavailable),
    (412, "PreconditionFailed", PreconditionFailed),
    (429, "TooManyRequests", Throttled),
    (500, "InternalError", Unavailable),
    (501, "NotImplemented", Unsupported),
    (502, "BadGateway", Unavailable),
    (503, "ServiceUnavailable", Unavailable),
    (503, "SlowDown", Throttled),
]


@pytest.mark.parametrize(("status", "code", "kind"), REFUSALS)
async def test_refusals(status: int, code: str, kind: type[Error]) -> None:
    async with scripted(refusal(status, code, **{"Retry-After": "7"})) as (_, storage):
        for verb in (storage.put("a", b"1"), storage.get("a"), storage.delete("a"), storage.list("p")):
            with pytest.raises(kind) as caught:
                await verb
            assert type(caught.value) is kind
            assert "s3://bucket" in str(caught.value)
            if isinstance(caught.value, (Unavailable, PreconditionFailed)):
                assert caught.value.date == MOMENT
            if isinstance(caught.value, Unavailable):
                assert caught.value.retry_after == 7


async def test_retry_after_may_be_a_date() -> None:
    later = {"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT"}
    async with scripted(refusal(503, "SlowDown", **later)) as (_, storage):
        with pytest.raises(Throttled) as caught:
            await storage.get("a")
        assert caught.value.retry_after == 30


async def test_answers_that_are_no_errors() -> None:
    answers = [refusal(404, "NoSuchKey"), Answer(304), FOUND, refusal(404, "NoSuchVersion"), refusal(404, "NoSuchKey")]
    async with scripted(*answers) as (_, storage):
        assert await storage.get("a") == Missing(MOMENT)
        assert await storage.get("a", unless='"x"') == NotModified(MOMENT)
        assert await storage.get("a") == Found(b"body", '"etag"', MOMENT.replace(hour=9), MOMENT)
        assert await storage.get("a", version="v") == Missing(MOMENT)
        await storage.delete("a")


async def test_if_match_on_what_is_missing() -> None:
    async with scripted(refusal(404, "NoSuchKey")) as (_, storage):
        with pytest.raises(PreconditionFailed) as caught:
            await storage.put("a", b"1", when=Matches('"x"'))
        assert caught.value.date == MOMENT


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="closed"),
        pytest.param(Answer(200, b"body", {"ETag": '"x"'}, cut=2), id="truncated"),
        pytest.param(Answer(200, b"<html>sign in</html>", {"Content-Type": "text/html"}), id="portal"),
        pytest.param(Answer(404, b"<html>nothing here</html>", {"Content-Type": "text/html"}), id="not S3's 404"),
        pytest.param(Answer(404), id="empty 404"),
        pytest.param(Answer(503, b"busy"), id="a proxy's 503"),
        pytest.param(Answer(200, b"x", {"ETag": '"x"', "Content-Length": "nonsense"}), id="no HTTP"),
    ],
)
async def test_answers_that_are_none(answer: Answer | None) -> None:
    async with scripted(answer) as (_, storage):
        with pytest.raises(Unavailable):
            await storage.get("a")


async def test_a_large_body_is_refused_unread() -> None:
    huge = Answer(200, b"x", {"ETag": '"x"', "Content-Length": "1000000000000"}, cut=1, hang=True)
    async with scripted(huge, FOUND) as (_, storage):
        with pytest.raises(Corrupt, match="1,000,000,000,000 bytes"):
            await storage.get("a", limit=10)
        assert isinstance(await storage.get("a", limit=10), Found)


async def test_a_body_of_unknown_length_is_bounded() -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    endless = {"ETag": '"x"', "Content-Length": "", "Transfer-Encoding": "chunked"}
    async with scripted(Answer(200, chunk * 9 + b"0\r\n\r\n", endless)) as (_, storage):
        with pytest.raises(Corrupt):
            await storage.get("a", limit=100_000)
        answer = await storage.get("a", limit=200_000)
        assert isinstance(answer, Found)
        assert len(answer.body) == 9 * 0x4000


async def test_listings_are_decoded_exactly() -> None:
    page = b"""<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>
        <NextContinuationToken>to+ken%2F</NextContinuationToken>
        <Contents><Key>app/x+yzb%2541+%2B</Key><Size>1</Size><ETag>"e"</ETag>
        <LastModified>2026-11-22T10:00:00.000Z</LastModified></Contents>
        <Contents><Key>app/x+yza%C3%BC</Key><Size>2</Size></Contents></ListBucketResult>"""
    last = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    async with scripted(Answer(200, page), Answer(200, last)) as (server, storage):
        listed = await list_all(storage, "x y", after="x yz")
        assert [(one.name, one.size) for one in listed] == [("x yzaü", 2), ("x yzb%41 +", 1)]
        assert listed[1].modified == MOMENT
        queries = [one.path.partition("?")[2] for one in server.asked]
        assert "prefix=app%2Fx%20y" in queries[0]
        assert "start-after=app%2Fx%20yz" in queries[0]
        assert "continuation-token=to%2Bken%252F" in queries[1]
        assert "start-after" not in queries[1]


async def test_version_pages_have_two_markers() -> None:
    def version(key: str, id: str, latest: bool, hour: int, kind: str = "Version") -> str:
        return (
            f"<{kind}><Key>app/{key}</Key><VersionId>{id}</VersionId><IsLatest>{str(latest).lower()}</IsLatest>"
            f"<LastModified>2026-11-22T{hour:02}:00:00.000Z</LastModified></{kind}>"
        )

    listed = "".join(
        [
            version("a", "a3", latest=True, hour=9, kind="DeleteMarker"),
            version("a", "a2", latest=False, hour=9),
            version("a", "a1", latest=False, hour=8, kind="DeleteMarker"),
            version("a", "a0", latest=False, hour=7),
            version("b%2541", "b0", latest=True, hour=6),
            version("c", "c0", latest=True, hour=6, kind="DeleteMarker"),
        ]
    )
    page = (
        "<ListVersionsResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>"
        f"<NextKeyMarker>app/c%2541</NextKeyMarker><NextVersionIdMarker>c0</NextVersionIdMarker>{listed}"
        "</ListVersionsResult>"
    )
    last = "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>"
    async with scripted(Answer(200, page.encode()), Answer(200, last.encode())) as (server, storage):
        first = await storage.list_versions("")
        assert [one.version for one in first.versions] == ["a3", "a2", "a1", "a0", "b0", "c0"]
        assert [one.is_delete_marker for one in first.versions] == [True, False, True, False, False, True]
        assert first.versions[4].name == "b%41"
        second = await storage.list_versions("", cursor=first.cursor)
        assert second.cursor is None
        assert "key-marker=app%2Fc%2541" in server.asked[1].path
        assert "version-id-marker=c0" in server.asked[1].path


# Access, on a server that checks


def on(server: SeaweedFS, who: Credentials, path: str = f"{SHARED_BUCKET}/access") -> Any:
    return opened(f"s3://{path}", **server.options(who))


@pytest.mark.seaweedfs
@pytest.mark.parametrize("who", [Credentials("admin", "wrong"), Credentials("nobody", "x")])
async def test_wrong_credentials(seaweedfs: SeaweedFS, who: Credentials) -> None:
    async with on(seaweedfs, who) as storage:
        for verb in (storage.put("a", b"1"), storage.get("a"), storage.delete("a"), storage.list("")):
            with pytest.raises(AccessDenied, match=f"check the credentials.*s3://{SHARED_BUCKET}"):
                await verb


@pytest.mark.seaweedfs
async def test_a_reader_reads_and_does_not_write(seaweedfs: SeaweedFS) -> None:
    async with on(seaweedfs, ADMIN) as admin, on(seaweedfs, READER) as reader:
        await admin.put("a", b"1")
        assert isinstance(await reader.get("a"), Found)
        assert isinstance(await reader.get("missing"), Missing)
        assert [one.name for one in (await reader.list("")).objects] == ["a"]
        for verb in (reader.put("a", b"2"), reader.put("b", b"2", when=ABSENT), reader.delete("a")):
            with pytest.raises(AccessDenied):
                await verb
        assert isinstance(await reader.get("a"), Found)


@pytest.mark.seaweedfs
async def test_who_may_not_list(seaweedfs: SeaweedFS) -> None:
    async with on(seaweedfs, GETTER) as storage:
        with pytest.raises(AccessDenied):
            await storage.list("")


@pytest.mark.seaweedfs
async def test_a_member_has_a_prefix_of_its_own(seaweedfs: SeaweedFS) -> None:
    async with (
        on(seaweedfs, MEMBER, f"{SHARED_BUCKET}/{MEMBER_PREFIX}") as inside,
        on(seaweedfs, MEMBER, f"{SHARED_BUCKET}/elsewhere") as outside,
    ):
        await inside.put("a", b"1", when=ABSENT)
        assert isinstance(await inside.get("a"), Found)
        assert [one.name for one in (await inside.list("")).objects] == ["a"]
        for verb in (outside.put("a", b"1"), outside.get("a"), outside.list("")):
            with pytest.raises(AccessDenied):
                await verb


@pytest.mark.seaweedfs
async def test_a_server_that_crashes(tmp_path: Path) -> None:
    server = SeaweedFS(tmp_path)
    try:
        await asyncio.to_thread(server.start)
        async with on(server, ADMIN) as storage:
            await storage.put("a", b"1", when=ABSENT)
            server.kill()
            with pytest.raises(Unavailable):
                await storage.get("a")
            await asyncio.to_thread(server.start)
            assert isinstance(await storage.get("a"), Found)
            with pytest.raises(PreconditionFailed):
                await storage.put("a", b"2", when=ABSENT)
    finally:
        server.stop()


async def test_a_listing_of_what_is_no_bucket() -> None:
    """As where the endpoint has the bucket's name in its path, and so asks for an object."""
    async with scripted(refusal(404, "NoSuchKey")) as (_, storage):
        with pytest.raises(BucketNotFound, match="endpoint_url"):
            await storage.list("a")


async def test_no_such_bucket(moto: Moto) -> None:
    async with opened("s3://no-such-bucket/app", **moto.options()) as storage:
        for verb in (storage.put("a", b"1"), storage.get("a"), storage.list("")):
            with pytest.raises(BucketNotFound, match="create s3://no-such-bucket"):
                await verb


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with opened("s3://bucket", endpoint_url=endpoint, **ADMIN.options) as storage:
            with pytest.raises(Unavailable, match="endpoint_url"):
                await storage.get("a")


async def test_no_credentials() -> None:
    async with ScriptedServer(FOUND) as server:
        async with opened("s3://bucket", endpoint_url=server.options["endpoint_url"]) as storage:
            with pytest.raises(AccessDenied, match="give credentials for s3://bucket"):
                await storage.get("a")
        assert not server.asked


async def test_no_such_profile() -> None:
    with pytest.raises(AccessDenied, match="nobody"):
        open_storage("s3://bucket", clock=SystemClock(), profile_name="nobody")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "http://", "not a url"])
async def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(InvalidOption, match="endpoint"):
        open_storage("s3://bucket", clock=SystemClock(), endpoint_url=endpoint, **ADMIN.options)


async def test_an_endpoint_that_the_first_request_finds_to_be_none() -> None:
    storage = open_storage("s3://bucket", clock=SystemClock(), endpoint_url="ftp://127.0.0.1:1", **ADMIN.options)
    with pytest.raises(InvalidOption, match="endpoint"):
        await storage.get("a")
    await storage.close()


# How it ends


async def test_cancelling_leaks_no_connection() -> None:
    waiting = Answer(hang=True, cut=0, headers={"Content-Length": "5", "ETag": '"x"'})
    async with scripted(waiting) as (server, storage):
        requests = [storage.get("a"), storage.put("a", b"1"), storage.list(""), storage.delete("a")]
        tasks = [asyncio.ensure_future(request) for request in requests]
        while len(server.asked) < len(tasks):
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with pytest.raises(asyncio.CancelledError):
                await task
        while server.open_connections:
            await asyncio.sleep(0.001)
        server.script = [FOUND]
        assert isinstance(await storage.get("a"), Found)


async def test_many_requests_open_one_client() -> None:
    async with scripted(FOUND) as (server, storage):
        await asyncio.gather(*(storage.get("a") for _ in range(100)))
        assert server.connections <= 50


async def test_close_ends_requests_under_way() -> None:
    async with scripted(Answer(hang=True, cut=0, headers={"Content-Length": "5"})) as (server, storage):
        task = asyncio.ensure_future(storage.put("a", b"1"))
        while not server.asked:
            await asyncio.sleep(0.001)
        await storage.close()
        with pytest.raises(Closed):
            await task
        while server.open_connections:
            await asyncio.sleep(0.001)


async def test_use_after_close() -> None:
    async with scripted(FOUND) as (_, storage):
        await storage.get("a")
        await storage.close()
        with pytest.raises(Closed):
            await storage.get("a")


async def test_close_without_use() -> None:
    async with opened("s3://bucket"):
        pass


async def test_use_from_another_loop() -> None:
    async with scripted(FOUND) as (_, storage):
        await storage.get("a")

        async def elsewhere() -> None:
            with pytest.raises(WrongLoop):
                await storage.get("a")

        await asyncio.to_thread(asyncio.run, elsewhere())
