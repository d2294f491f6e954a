"""The command cors: what it sets, shows and keeps, and what a browser's preflight is then told."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from rxmps3.errors import InvalidOption
from rxmps3.storage import s3_cors
from tests.cli.commands import several
from tests.cli.test_doctor import of
from tests.servers import ADMIN, READER, SHARED_BUCKET, Moto, SeaweedFS

URL = f"s3://{SHARED_BUCKET}/anything"
ORIGIN, OTHER = "https://app.example.com", "http://localhost:8000"
THEIRS = {"ID": "theirs", "AllowedMethods": ["GET"], "AllowedOrigins": ["https://theirs.example.com"]}


@pytest.fixture(params=["moto", pytest.param("seaweedfs", marks=pytest.mark.seaweedfs)])
def server(request: pytest.FixtureRequest) -> Iterator[Moto | SeaweedFS]:
    found: Moto | SeaweedFS = request.getfixturevalue(request.param)
    yield found
    set_rules(found, [])


def set_rules(server: Moto | SeaweedFS, rules: list[Any]) -> None:
    import boto3

    with closing(boto3.client("s3", **server.options())) as client:
        if rules:
            client.put_bucket_cors(Bucket=SHARED_BUCKET, CORSConfiguration={"CORSRules": rules})
        else:
            client.delete_bucket_cors(Bucket=SHARED_BUCKET)


def preflight(server: SeaweedFS, origin: str, method: str = "PUT") -> tuple[int, dict[str, str]]:
    """What a browser asks before it sends a request from a page of that origin."""
    asked = urllib.request.Request(
        f"{server.endpoint_url}/{SHARED_BUCKET}/anything/x",
        method="OPTIONS",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,if-none-match,x-amz-date",
        },
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, {}


def test_it_explains_itself() -> None:
    [outcome] = several(("cors", "--help"))
    assert (outcome.code, outcome.err) == (0, "")
    for part in ("Usage: rxmps3 cors", "--allow", "--remove", "--endpoint-url", "--json"):
        assert part in outcome.out
    assert "file:" not in outcome.out


def test_origins_are_allowed_shown_and_removed(server: Moto | SeaweedFS) -> None:
    set_rules(server, [THEIRS])
    before, allowed, shown, people, removed, last = several(
        ("cors", URL, "--json"),
        ("cors", URL, "--allow", ORIGIN, "--json"),
        ("cors", URL, "--allow", OTHER, "--allow", ORIGIN, "--json"),
        ("cors", URL),
        ("cors", URL, "--remove", ORIGIN, "--json"),
        ("cors", URL, "--remove", OTHER, "--json"),
        env=of(ADMIN, server),
    )
    assert [rule["ID"] for rule in before.records] == ["theirs"]
    ours, theirs = allowed.records
    assert (allowed.code, allowed.err) == (0, "")
    assert ours == {
        "ID": "rxmps3",
        "AllowedOrigins": [ORIGIN],
        "AllowedMethods": ["GET", "HEAD", "PUT", "DELETE"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag", "x-amz-version-id", "Date"],
        "MaxAgeSeconds": 3600,
    }
    assert {**theirs, **THEIRS} == theirs
    assert [rule["AllowedOrigins"] for rule in shown.records] == [[ORIGIN, OTHER], THEIRS["AllowedOrigins"]]
    assert people.out.splitlines()[:6] == [
        "rxmps3",
        f"  origins  {ORIGIN}, {OTHER}",
        "  methods  GET, HEAD, PUT, DELETE",
        "  headers  *",
        "  exposed  ETag, x-amz-version-id, Date",
        "  max age  3,600 s",
    ]
    assert [rule["AllowedOrigins"] for rule in removed.records] == [[OTHER], THEIRS["AllowedOrigins"]]
    assert [rule["ID"] for rule in last.records] == ["theirs"]


def test_the_last_rule_may_go(server: Moto | SeaweedFS) -> None:
    _, removed, none = several(
        ("cors", URL, "--allow", ORIGIN),
        ("cors", URL, "--remove", ORIGIN),
        ("cors", URL, "--json"),
        env=of(ADMIN, server),
    )
    assert (removed.code, removed.out) == (0, "")
    assert "no CORS rules" in removed.err
    assert (none.code, none.out, none.err) == (0, "", "")


@pytest.mark.seaweedfs
def test_a_server_that_enforces_the_rules_lets_a_page_in(seaweedfs: SeaweedFS) -> None:
    try:
        assert several(("cors", URL, "--allow", ORIGIN), env=of(ADMIN, seaweedfs))[0].code == 0
        for method in ("GET", "PUT", "DELETE", "HEAD"):
            status, headers = preflight(seaweedfs, ORIGIN, method)
            assert status == 200
            assert headers["access-control-allow-origin"] == ORIGIN
            assert method in headers["access-control-allow-methods"]
            assert "if-none-match" in headers["access-control-allow-headers"]
            assert headers["access-control-expose-headers"] == "ETag, x-amz-version-id, Date"
            assert headers["access-control-max-age"] == "3600"
        assert preflight(seaweedfs, OTHER)[0] == 403
        assert several(("cors", URL, "--remove", ORIGIN, "--allow", OTHER), env=of(ADMIN, seaweedfs))[0].code == 0
        assert preflight(seaweedfs, ORIGIN)[0] == 403
        assert preflight(seaweedfs, OTHER)[0] == 200
    finally:
        set_rules(seaweedfs, [])


@pytest.mark.seaweedfs
def test_refusals(seaweedfs: SeaweedFS) -> None:
    path, unknown, bucket, directory = several(
        ("cors", URL, "--allow", f"{ORIGIN}/", "--json"),
        ("cors", URL, "--remove", ORIGIN, "--json"),
        ("cors", "s3://no-such-bucket", "--json"),
        ("cors", "file:x", "--json"),
        env=of(ADMIN, seaweedfs),
    )
    assert (path.code, path.error["kind"]) == (2, "InvalidOption")
    assert (unknown.code, unknown.error["kind"]) == (2, "InvalidOption")
    assert (bucket.code, bucket.error["kind"]) == (4, "BucketNotFound")
    assert (directory.code, directory.error["kind"]) == (2, "InvalidOption")
    assert "only a bucket has CORS rules" in directory.error["message"]
    [denied] = several(("cors", URL, "--allow", ORIGIN, "--json"), env=of(READER, seaweedfs))
    assert (denied.code, denied.error["kind"]) == (4, "AccessDenied")


@pytest.mark.parametrize("origin", ["*", "https://a.example", "https://*.example.com", "http://[::1]:80", "app://x"])
def test_what_is_an_origin(origin: str) -> None:
    assert s3_cors.origins_of(s3_cors.allowing([], [origin])) == [origin]


@pytest.mark.parametrize(
    "origin", ["", "a.example", "https://a/", "https://a?x", "https://*.*", "https://", "https://u@a"]
)
def test_what_is_none(origin: str) -> None:
    with pytest.raises(InvalidOption, match="is not an origin"):
        s3_cors.allowing([], [origin])


def test_a_rule_without_its_id_is_known_by_its_content() -> None:
    [ours] = s3_cors.allowing([], [ORIGIN])
    nameless = {name: value for name, value in ours.items() if name != "ID"}
    rules = s3_cors.allowing([THEIRS, nameless], [OTHER])
    assert [rule["AllowedOrigins"] for rule in rules] == [[ORIGIN, OTHER], THEIRS["AllowedOrigins"]]
