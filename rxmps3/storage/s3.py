"""A storage in an S3 bucket. Here is the only import of aioboto3."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

from ..clock import Clock
from ..errors import Closed, InvalidOption, Unavailable, WrongLoop
from ._common import MAX_NAME_BYTES, check_name, check_size, page_size
from .base import (
    Absent,
    Found,
    Listed,
    ListedVersion,
    Missing,
    NotModified,
    Page,
    Precondition,
    Stored,
    VersionPage,
)
from .s3_errors import Refusal, parse_date, translate

__all__ = ["OPTIONS", "S3Storage"]

_SESSION_OPTIONS = ("profile_name",)
_CLIENT_OPTIONS = (
    "endpoint_url",
    "region_name",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "verify",
    "use_ssl",
)
_REQUEST_OPTIONS = ("ExpectedBucketOwner",)
_PUT_OPTIONS = ("ServerSideEncryption", "SSEKMSKeyId")

OPTIONS: Final[Mapping[str, type]] = {
    **dict.fromkeys((*_SESSION_OPTIONS, *_CLIENT_OPTIONS, *_REQUEST_OPTIONS, *_PUT_OPTIONS), str),
    "use_ssl": bool,
    "verify": object,
    "config": object,
    "session": object,
}
"""What `S3Storage` takes as options, with boto3's names and meanings, and their types."""

_ANSWER_SECONDS = 30.0
_SLOWEST_BYTES_PER_SECOND = 16 * 1024


class S3Storage:
    """Objects of an S3 bucket below a prefix, through one aioboto3 client that the first request opens.

    The client's own retries are off: an answer that did not come is `Unavailable`, and the caller decides. Credentials,
    region and endpoint come from the options, else from the environment and profiles, as in boto3.

    Args:
        bucket: the bucket's name.
        prefix: what all names start with; empty, or ending in a slash.
        options: boto3's, as far as `OPTIONS` names them. ``session`` is an `aioboto3.Session` to take credentials
            from, ``config`` a botocore ``Config`` whose settings override the ones of this class.
        clock: not used for requests; S3 brings its own time.

    Raises:
        InvalidOption: an option is unknown or of a wrong type.

    A storage belongs to the event loop of its first request; use from another one raises `WrongLoop`, and use after
    `close` raises `Closed`.
    """

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any], clock: Clock) -> None:
        self._options = {name: value for name, value in options.items() if value is not None}
        for name, value in self._options.items():
            if name not in OPTIONS:
                raise InvalidOption(f"S3 has no option {name}", remedy="accepted are " + ", ".join(OPTIONS))
            if not isinstance(value, OPTIONS[name]):
                raise InvalidOption(f"the option {name} is a {OPTIONS[name].__name__}, not {type(value).__name__}")
        self._prefix = prefix
        self._url = _normal_url(bucket, prefix, self._options.get("endpoint_url"))
        self._for_all: dict[str, Any] = {"Bucket": bucket, **self._chosen(_REQUEST_OPTIONS)}
        self._for_put: dict[str, Any] = {**self._for_all, **self._chosen(_PUT_OPTIONS)}
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._closing = AsyncExitStack()
        self._closed = False

    @property
    def url(self) -> str:
        """``s3://BUCKET/PREFIX``, with ``?endpoint_url=`` if it is not Amazon's."""
        return self._url

    @property
    def name_limit(self) -> int:
        """1,024 less the bytes of the prefix."""
        return MAX_NAME_BYTES - len(self._prefix.encode())

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        """See `rxmps3.storage.Get`."""
        check_name(name, "get", self.name_limit)
        arguments: dict[str, Any] = {}
        if unless is not None:
            arguments["IfNoneMatch"] = unless
        if version is not None:
            arguments["VersionId"] = version
        client = self._client or await self._open("get")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await client.get_object(**self._for_all, Key=self._prefix + name, **arguments)
            async with answer["Body"] as stream:
                if limit is not None and answer["ContentLength"] > limit:
                    stream.close()
                    check_size(answer["ContentLength"], limit, self._where(name))
                body = await answer["Body"].read()
            return Found(
                body, answer["ETag"], _utc(answer.get("LastModified")), _date(answer), answer.get("VersionId")
            )
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is not None and refusal.status == 304:
                return NotModified(refusal.date)
            if refusal is not None and refusal.means_missing:
                return Missing(refusal.date)
            raise self._translate(error, "get", name) from error

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        """See `rxmps3.storage.Put`."""
        check_name(name, "put", self.name_limit)
        arguments: dict[str, Any] = {}
        if when is not None:
            if isinstance(when, Absent):
                arguments["IfNoneMatch"] = "*"
            else:
                arguments["IfMatch"] = when.etag
        if sha256 is not None:
            arguments["ChecksumSHA256"] = b64encode(sha256).decode()
        client = self._client or await self._open("put")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS + len(body) / _SLOWEST_BYTES_PER_SECOND):
                answer = await client.put_object(
                    **self._for_put, Key=self._prefix + name, Body=body, ContentType=content_type, **arguments
                )
            return Stored(answer["ETag"], _date(answer), answer.get("VersionId"))
        except Exception as error:
            raise self._translate(error, "put", name) from error

    async def delete(self, name: str, *, version: str | None = None) -> None:
        """See `rxmps3.storage.Delete`."""
        check_name(name, "delete", self.name_limit)
        arguments = {} if version is None else {"VersionId": version}
        client = self._client or await self._open("delete")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await client.delete_object(**self._for_all, Key=self._prefix + name, **arguments)
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is None or not refusal.means_missing:
                raise self._translate(error, "delete", name) from error

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        """See `rxmps3.storage.List`. Names ascend within a page, and across pages as the server orders them."""
        arguments: dict[str, Any] = {"Prefix": self._prefix + prefix, "MaxKeys": page_size(limit)}
        if cursor is not None:
            arguments["ContinuationToken"] = cursor
        elif after:
            arguments["StartAfter"] = self._prefix + after
        client = self._client or await self._open("list")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await client.list_objects_v2(**self._for_all, **arguments)
            objects = [
                Listed(self._name(one["Key"]), one["Size"], _utc(one.get("LastModified")), one.get("ETag", ""))
                for one in answer.get("Contents", ())
            ]
            objects.sort(key=_name_of)
            return Page(objects, answer.get("NextContinuationToken") if answer["IsTruncated"] else None, _date(answer))
        except Exception as error:
            raise self._translate(error, "list", prefix) from error

    async def list_versions(self, prefix: str, *, cursor: str | None = None, limit: int = 1000) -> VersionPage:
        """See `rxmps3.storage.ListVersions`.

        The versions of one name are in the server's order, and so are its delete markers; between a version and a
        delete marker the time decides, since S3's client library hands them out apart.
        """
        arguments: dict[str, Any] = {"Prefix": self._prefix + prefix, "MaxKeys": page_size(limit)}
        if cursor is not None:
            key, version = cast(tuple[str, str | None], json.loads(cursor))
            arguments["KeyMarker"] = key
            if version:
                arguments["VersionIdMarker"] = version
        client = self._client or await self._open("list versions")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await client.list_object_versions(**self._for_all, **arguments)
            cursor = None
            if answer["IsTruncated"]:
                cursor = json.dumps([answer["NextKeyMarker"], answer.get("NextVersionIdMarker")])
            versions = [self._version(one) for one in answer.get("Versions", ())]
            markers = [self._version(one, is_delete_marker=True) for one in answer.get("DeleteMarkers", ())]
            return VersionPage(_woven(versions, markers), cursor, _date(answer))
        except Exception as error:
            raise self._translate(error, "list versions", prefix) from error

    async def close(self) -> None:
        """Close the client and its sockets."""
        self._closed = True
        self._client = None
        async with self._opening:
            await self._closing.aclose()

    # The client

    def _chosen(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: self._options[name] for name in names if name in self._options}

    async def _open(self, operation: str) -> Any:
        """The client, opened by the first one to ask."""
        async with self._opening:
            if self._closed:
                raise Closed("the storage is closed", operation=operation, object=self._url)
            if self._client is None:
                try:
                    self._client = await self._new_client()
                except Exception as error:
                    raise translate(error, operation=operation, where=self._url, bucket=self._url) from error
            return self._client
