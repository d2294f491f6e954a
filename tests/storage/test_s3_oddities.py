"""Redirects, refusals, listings and options as servers of many makers have them, on a server of the tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from botocore.config import Config

import rxmps3
from rxmps3.errors import AccessDenied, Corrupt, InvalidOption, Unsupported
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import ABSENT, Found, list_all, open_storage
from rxmps3.storage.s3 import S3Storage
from rxmps3.testing import StorageContract
from tests.storage.fake_s3 import FakeS3
from tests.storage.scripted import Answer, Asked, ScriptedServer, refusal
from tests.storage.test_s3 import FOUND, STORED, opened, scripted


@asynccontextmanager
async def serving(fake: FakeS3, url: str = "s3://bucket/app", **options: Any) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(fake) as server:
        yield server


def connect(server: ScriptedServer, url: str = "s3://bucket/app", **options: Any) -> rxmps3.Connecting:
    return rxmps3.connect(url, **server.options, shared=False, **options)


def region_of(asked: Asked) -> str:
    return asked.headers["authorization"].partition("Credential=")[2].split("/")[2]


# Redirects


def elsewhere(kind: str) -> Callable[[Asked], Answer | None]:
    """Takes only what is signed for another region than the one that tests give."""

    def answer(asked: Asked) -> Answer | None:
        if region_of(asked) == "eu-north-1":
            return None
        hint = {"x-amz-bucket-region": "eu-north-1", "Content-Type": "application/xml"}
        if asked.method == "HEAD":
            return Answer(400, b"", hint)
        if kind == "400":
            body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>"
            return Answer(400, body, {"Content-Type": "application/xml"})
        code = "PermanentRedirect" if kind == "301" else "TemporaryRedirect"
        body = f"<Error><Code>{code}</Code><Endpoint>nowhere.invalid</Endpoint></Error>".encode()
        return Answer(int(kind), body, {**hint, "Location": "http://127.0.0.1:9/stolen"})

    return answer


@pytest.mark.parametrize("kind", ["301", "307", "400"])
async def test_a_bucket_in_another_region_is_followed_with_a_signature(kind: str) -> None:
    fake = FakeS3(refuse=elsewhere(kind))
    async with serving(fake) as server, opened("s3://bucket/app", **server.options) as storage:
        await storage.put("a", b"1", when=ABSENT)
        assert fake.objects == {"app/a": b"1"}
        asked = len(server.asked)
        assert isinstance(await storage.get("a"), Found)
        assert [one.name for one in await list_all(storage, "")] == ["a"]
        assert len(server.asked) == asked + 2  # it is known by now
        assert {region_of(one) for one in server.asked[asked:]} == {"eu-north-1"}


async def test_a_redirect_to_nowhere_known_is_not_followed_and_no_signature_leaks() -> None:
    async with ScriptedServer(FOUND) as thief:
        lure = Answer(307, b"", {"Location": f"http://127.0.0.1:{thief.port}/bucket/app/a"})
        async with scripted(lure) as (server, storage):
            with pytest.raises(AccessDenied, match="give the region_name"):
                await storage.get("a")
            assert [one.method for one in server.asked] == ["GET", "HEAD"]
        assert not thief.asked


# What "cannot" is


def refusing(status: int, code: str, message: str = "the message") -> Callable[[Asked], Answer | None]:
    def answer(asked: Asked) -> Answer | None:
        if asked.method == "PUT" and {"if-match", "if-none-match"} & set(asked.headers):
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            return Answer(status, body.encode(), {"Content-Type": "application/xml"})
        return None

    return answer


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (405, "MethodNotAllowed", "the message"),
        (501, "NotImplemented", "A header you provided implies functionality that is not implemented"),
        (400, "InvalidArgument", "Unsupported header 'if-none-match' received for this API call."),
    ],
)
async def test_a_server_that_cannot_gets_the_next_protocol(status: int, code: str, message: str) -> None:
    async with serving(FakeS3(refuse=refusing(status, code, message))) as server, connect(server) as db:
        await asyncio.wait_for(db.put("a", 1), 20)
        assert db.protocol == "mps3"


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "InvalidRequest", "The bucket policy demands server-side encryption"),
        (400, "InvalidArgument", "This bucket wants x"),
        (403, "AccessDenied", "explicit deny in a policy"),
    ],
)
async def test_any_other_refusal_is_shown_and_chooses_no_weaker_protocol(status: int, code: str, message: str) -> None:
    fake = FakeS3(refuse=refusing(status, code, message))
    async with serving(fake) as server, connect(server) as db:
        receipt = db.put("a", 1)
        while db.status.value.last_error is None:
            await asyncio.sleep(0.01)
        assert message in str(db.status.value.last_error)
        assert not receipt.done()
        assert not fake.objects
        fake.refuse = lambda asked: None
        await asyncio.wait_for(receipt, 20)
        assert db.protocol == "sequenced"


async def test_where_object_lock_is_on_a_checksum_is_sent() -> None:
    wish = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"

    def answer(asked: Asked) -> Answer | None:
        if asked.method == "PUT" and "x-amz-checksum-sha256" not in asked.headers:
            return Answer(400, f"<Error><Code>InvalidRequest</Code><Message>{wish}</Message></Error>".encode())
        return None

    async with serving(FakeS3(refuse=answer)) as server:
        async with opened("s3://bucket", **server.options) as storage:
            await storage.put("a", b"1")
            await storage.put("b", b"2")
            assert len(server.asked) == 3
        async with connect(server) as db:
            await asyncio.wait_for(db.put("a", 1), 20)
            assert db.protocol == "sequenced"


async def test_a_manifest_is_taken_as_what_it_is_where_answers_have_no_date() -> None:
    fake = FakeS3()
    async with serving(fake) as server:
        async with connect(server, protocol="mps3", manifest="shared") as db:
            await db.put("a", 1)
        fake.dated = False
        async with connect(server, manifest="shared") as db:
            assert db.protocol == "mps3"
            assert await db.get("a") == 1


# Options of requests


async def test_headers_are_sent_and_signed_with_each_request() -> None:
    answers = [STORED, FOUND, Answer(204, headers={"Content-Length": ""})]
    async with scripted(*answers, headers={"x-tenant": "blue"}) as (server, storage):
        await storage.put("a", b"1")
        await storage.get("a")
        await storage.delete("a")
        assert [one.headers["x-tenant"] for one in server.asked] == ["blue"] * 3
        assert all("x-tenant" in one.headers["authorization"] for one in server.asked)


@pytest.mark.parametrize(
    ("host", "given", "sent"),
    [
        ("t3.storage.dev", {}, "true"),
        ("fly.storage.tigris.dev", {}, "true"),
        ("t3.storage.dev", {"x-tigris-consistent": "false"}, "false"),
        ("storage.example", {}, None),
    ],
)
async def test_tigris_is_asked_to_be_consistent_everywhere(host: str, given: dict[str, str], sent: str | None) -> None:
    async with ScriptedServer(STORED) as server:
        options = {**server.options, "endpoint_url": f"http://{host}", "headers": given}
        options["config"] = Config(proxies={"http": f"http://127.0.0.1:{server.port}"})
        async with opened("s3://bucket", **options) as storage:
            await storage.put("a", b"1")
        (asked,) = server.asked
        assert host in asked.path
        assert asked.headers.get("x-tigris-consistent") == sent
        assert ("x-tigris-consistent" in asked.headers["authorization"]) == (sent is not None)


async def test_a_refusal_whose_reason_passes_meanwhile_refuses_nothing() -> None:
    removed = Answer(204, headers={"Content-Length": ""})
    async with scripted(refusal(400, "InvalidRequest"), STORED, removed, STORED) as (server, storage):
        assert (await storage.put("a", b"1")).etag
        first, trial, _, again = server.asked
        assert first.path == again.path != trial.path


async def test_the_requester_pays() -> None:
    async with serving(FakeS3()) as server:
        async with opened("s3://bucket", RequestPayer="requester", **server.options) as storage:
            await storage.put("a", b"1")
            await storage.get("a")
            await storage.list("")
            await storage.delete("a")
        assert [one.headers.get("x-amz-request-payer") for one in server.asked] == ["requester"] * 4


async def test_a_key_of_the_customers() -> None:
    async with serving(FakeS3()) as server:
        async with opened("s3://bucket", SSECustomerKey=b"k" * 32, **server.options) as storage:
            await storage.put("a", b"1")
            await storage.get("a")
            await storage.list("")
        name = "x-amz-server-side-encryption-customer-"
        assert [one.headers.get(f"{name}algorithm") for one in server.asked] == ["AES256", "AES256", None]
        assert server.asked[0].headers[f"{name}key"] == server.asked[1].headers[f"{name}key"]
        assert f"{name}key-md5" in server.asked[0].headers


def test_an_access_point_is_a_bucket() -> None:
    arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"
    for url, prefix in ((f"s3://{arn}", ""), (f"s3://{arn}/app", "app/"), (f"s3://{arn}/a/b/", "a/b/")):
        storage = open_storage(url, clock=SystemClock())
        assert isinstance(storage, S3Storage)
        assert storage.url == f"s3://{arn}/{prefix}"


@pytest.mark.parametrize(
    "url", ["s3://b//app", "s3://b/a//b", "s3://b/a/../b", "s3://b/./a", "s3://b/a\\b", "s3://b/a//"]
)
def test_prefixes_that_others_read_otherwise(url: str) -> None:
    with pytest.raises(InvalidOption, match="prefix"):
        open_storage(url, clock=SystemClock())


# Listings


@pytest.mark.parametrize("bucket", ["bucket", "bucket--use1-az4--x-s3"])
@pytest.mark.parametrize("after", ["kept", "ignored", "refused"])
async def test_a_client_far_behind_reads_to_the_end_in_whatever_order(bucket: str, after: Any) -> None:
    fake = FakeS3(in_order=False, after=after, page=7)
    url = f"s3://{bucket}/app"
    async with (
        ScriptedServer(fake) as server,
        connect(server, url) as writer,
        connect(server, url) as reader,
    ):
        await writer.put("k", 0)
        await reader.refresh()
        for number in range(1, 60):
            await writer.put("k", number)
        fake.seed += 1
        await reader.refresh()
        assert reader.key("k").value == 59


class TestDirectoryBucket(StorageContract):
    """Prefixes up to a slash, no StartAfter, no order."""

    lists_in_order = False
    lists_in_byte_order = False
    checks_sha256 = False

    @pytest.fixture(autouse=True)
    def _whole_objects_only(self, request: pytest.FixtureRequest) -> None:
        if request.node.name in (
            "test_an_object_in_parts_appears_when_it_is_finished",
            "test_an_upload_that_is_aborted_leaves_nothing",
        ):
            pytest.skip("this imitation takes objects only whole")

    @pytest.fixture
    async def storage(self) -> AsyncIterator[S3Storage]:
        def answer(asked: Asked) -> Answer | None:
            prefix = asked.path.partition("prefix=")[2].partition("&")[0]
            if "list-type" in asked.path and ((prefix and not prefix.endswith("%2F")) or "start-after" in asked.path):
                return refusal(400, "InvalidRequest")
            return None

        fake = FakeS3(in_order=False, refuse=answer, page=7)
        async with (
            ScriptedServer(fake) as server,
            opened("s3://bucket--use1-az4--x-s3/app", **server.options) as storage,
        ):
            yield storage


async def test_the_mps3_log_is_not_kept_where_nothing_is_in_order() -> None:
    async with ScriptedServer(FakeS3()) as server:
        with pytest.raises(Unsupported, match="lists in no order"):
            await connect(server, "s3://bucket--use1-az4--x-s3/app", protocol="mps3")


async def test_a_listing_that_hides_the_whole_log_is_not_believed() -> None:
    fake = FakeS3()
    async with serving(fake) as server:
        async with connect(server) as db:
            for number in range(3):
                await db.put("k", number)
        fake.hides = lambda name: "/log/" in name
        async with connect(server) as db:
            assert db.key("k").value == 2


async def test_catching_up_goes_on_where_a_listing_ends_too_soon() -> None:
    fake = FakeS3()
    async with serving(fake) as server, connect(server) as writer, connect(server) as reader:
        await writer.put("k", 0)
        await reader.refresh()
        for number in range(1, 12):
            await writer.put("k", number)
        fake.hides = lambda name: name.endswith(("10", "11", "12"))
        await reader.refresh()
        assert reader.key("k").value == 11


async def test_a_database_below_another_ones_prefix_is_none_of_its_left_overs() -> None:
    fake = FakeS3()
    async with serving(fake) as server:
        async with connect(server, "s3://bucket/app/main") as inner:
            await inner.put("a", "inner")
            await inner.put("large", "x" * 400_000)
        async with connect(server, "s3://bucket/app") as outer:
            assert await outer.get("a") is None
            await outer.put("a", "outer")
        async with connect(server, "s3://bucket/app") as outer, connect(server, "s3://bucket/app/main") as inner:
            assert (await outer.get("a"), await inner.get("a")) == ("outer", "inner")
        left = [name for name in fake.objects if name == "app/main/head"]
        del fake.objects[left[0]]
        with pytest.raises(Corrupt, match="no head object"):
            await connect(server, "s3://bucket/app")
