"""A storage in an S3 bucket."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from rxmps3.errors import Closed, InvalidKey, InvalidOption, Unavailable, WrongLoop
from rxmps3.model.names import probe
from rxmps3.runtime.clock import Clock
from rxmps3.storage._common import MAX_NAME_BYTES, MAX_PAGE, check_name, check_size, check_text, page_size
from rxmps3.storage.base import (
    Absent,
    Found,
    Listed,
    ListedVersion,
    Matches,
    Missing,
    NotModified,
    Page,
    Precondition,
    Stored,
    VersionPage,
)
from rxmps3.storage.s3_errors import Refusal, parse_date, translate

if TYPE_CHECKING:
    from rxmps3.storage.s3_client import S3Client

__all__ = ["OPTIONS", "S3Storage"]

_SESSION_OPTIONS = ("profile_name", "session")
_CLIENT_OPTIONS = (
    "endpoint_url",
    "region_name",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "verify",
    "use_ssl",
)
_BUCKET_OPTIONS = ("ExpectedBucketOwner",)
_REQUEST_OPTIONS = (*_BUCKET_OPTIONS, "RequestPayer")
_BODY_OPTIONS = ("SSECustomerKey", "SSECustomerAlgorithm")
_PUT_OPTIONS = ("ServerSideEncryption", "SSEKMSKeyId")

OPTIONS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("profile_name", *_CLIENT_OPTIONS, *_REQUEST_OPTIONS, *_BODY_OPTIONS, *_PUT_OPTIONS), str),
    "SSECustomerKey": object,
    "headers": Mapping,
    "use_ssl": bool,
    "verify": object,
    "config": object,
    "session": object,
}
"""What `S3Storage` takes as options, with boto3's names and meanings, and their types."""

_ANSWER_SECONDS = 30.0
_SLOWEST_BYTES_PER_SECOND = 16 * 1024
_JOINED_BYTES = 64 * 1024
"""A server that joins parts may take as long for each as for the transfer of so many bytes."""


class S3Storage:
    """The objects of an S3 bucket below a prefix, through one aiobotocore client opened by the first request.

    The client's own retries are off: a missing answer raises `Unavailable`, and the caller decides. Credentials, region
    and endpoint come from the options, else from the environment and profiles, as botocore resolves them; endpoint and
    profile are fixed when the storage is created.

    Args:
        bucket: the bucket's name.
        prefix: the prefix of all names; empty, or ending in a slash.
        options: boto3's, as far as `OPTIONS` names them. ``session`` is an `aioboto3.Session` or one of
            aiobotocore to take credentials from, ``config`` a botocore ``Config`` whose settings override ours.
        clock: for random ids; S3 brings its own time.

    Raises:
        InvalidOption: an argument or option is unknown, of a wrong type, or not a valid address.
        AccessDenied: there is no such profile, or the configuration files cannot be read.

    A storage belongs to the event loop of its first request; use from another one raises `WrongLoop`, and use after
    `close` raises `Closed`.
    """

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any], clock: Clock) -> None:
        check_text(bucket, "bucket", "S3Storage")
        check_text(prefix, "prefix", "S3Storage")
        if not isinstance(options, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(
                f"options is a mapping of names to values, not {options!r:.80}",
                operation="S3Storage",
                remedy="accepted are " + ", ".join(OPTIONS),
            )
        self._options = {name: value for name, value in options.items() if value is not None}
        for name, value in self._options.items():
            if name not in OPTIONS:
                raise InvalidOption(f"S3 has no option {name}", remedy="accepted are " + ", ".join(OPTIONS))
            if not isinstance(value, OPTIONS[name]):
                raise InvalidOption(f"the option {name} is a {OPTIONS[name].__name__}, not {type(value).__name__}")
        verify, key = self._options.get("verify", True), self._options.get("SSECustomerKey", b"k" * 32)
        if not isinstance(verify, (bool, str, PathLike)):
            raise InvalidOption(f"the option verify is True, False or a file of certificates, not {verify!r:.80}")
        if not isinstance(key, (str, bytes)) or len(key.encode() if isinstance(key, str) else key) != 32:
            raise InvalidOption(
                "the option SSECustomerKey is a key of 32 bytes", remedy="give it as it is, not encoded"
            )
        if "session" in self._options and "profile_name" in self._options:
            raise InvalidOption("a session already has its profile", remedy="pass either session or profile_name")
        self._clock = clock
        self._prefix = prefix
        self._bucket = f"s3://{bucket}"
        self._clients = self._resolved()
        endpoint = self._clients.endpoint
        self._place = f"{self._bucket} at {endpoint}" if endpoint else self._bucket
        self._url = f"{self._bucket}/{prefix}" + (f"?endpoint_url={quote(endpoint, safe=':/')}" if endpoint else "")
        self._for_bucket: dict[str, Any] = {"Bucket": bucket, **self._chosen(_BUCKET_OPTIONS)}
        self._for_all: dict[str, Any] = {"Bucket": bucket, **self._chosen(_REQUEST_OPTIONS)}
        encryption = self._chosen(_BODY_OPTIONS)
        if "SSECustomerKey" in encryption:
            encryption.setdefault("SSECustomerAlgorithm", "AES256")
        self._for_get: dict[str, Any] = {**self._for_all, **encryption}
        self._for_put: dict[str, Any] = {**self._for_get, **self._chosen(_PUT_OPTIONS)}
        self._sums_everything = False  # once the server has asked for a checksum
        self._is_directory = bucket.endswith("--x-s3")
        self._takes_after = True
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._closing = AsyncExitStack()
        self._closed = False
        self._waiting: set[asyncio.Timeout] = set()

    @property
    def url(self) -> str:
        """``s3://BUCKET/PREFIX``, with ``?endpoint_url=`` if it is not Amazon's."""
        return self._url

    @property
    def place(self) -> str:
        """The same for every storage on this bucket and prefix, at whatever endpoint."""
        return self._url.partition("?")[0]

    @property
    def profile(self) -> str:
        """The profile of the configuration files in use; empty for the default one."""
        return self._clients.profile

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
        client = await self._ready("get")
        try:
            async with self._patience() as patience:
                answer = await self._ask(client, "get_object", **self._for_get, Key=self._prefix + name, **arguments)
                async with answer["Body"]:
                    size = answer.get("ContentLength")
                    if size is not None:
                        check_size(size, limit, self._where(name))
                        patience.reschedule(self._until(size))
                    body = await _read(answer["Body"], limit if size is None else None, self._where(name))
            return Found(body, answer["ETag"], _utc(answer.get("LastModified")), _date(answer), answer.get("VersionId"))
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is not None and refusal.status == 304:
                return NotModified(refusal.date)
            if refusal is not None and refusal.means_missing:
                return Missing(refusal.date)
            raise self._translate(error, "get", name) from error

    async def get_range(self, name: str, start: int, stop: int, *, version: str | None = None) -> Found | Missing:
        """See `rxmps3.storage.GetRange`."""
        check_name(name, "get", self.name_limit)
        arguments: dict[str, Any] = {} if version is None else {"VersionId": version}
        arguments["Range"] = f"bytes={start}-{stop - 1}"
        client = await self._ready("get")
        try:
            async with self._patience(stop - start):
                answer = await self._ask(client, "get_object", **self._for_get, Key=self._prefix + name, **arguments)
                async with answer["Body"]:
                    whole = "ContentRange" not in answer  # a server may ignore the header
                    is_known = whole or answer.get("ContentLength", stop) <= stop - start
                    body = await _read(answer["Body"], None if is_known else stop - start, self._where(name))
            body = body[start:stop] if whole else body
            return Found(body, answer["ETag"], _utc(answer.get("LastModified")), _date(answer), answer.get("VersionId"))
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is not None and refusal.means_missing:
                return Missing(refusal.date)
            if refusal is not None and refusal.status == 416:
                return Found(b"", "", None, refusal.date, version)
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
        arguments.update(self._for_put, Key=self._prefix + name, Body=body, ContentType=content_type)
        client = await self._ready("put")
        try:
            async with self._patience(len(body)):
                answer = await self._put(client, arguments)
            return Stored(answer["ETag"], _date(answer), answer.get("VersionId"))
        except Exception as error:
            failure = self._translate(error, "put", name)
            refusal = Refusal.of(error)
            if (
                refusal is not None
                and refusal.is_unexplained
                and not isinstance(when, Matches)
                and await self._takes_another(client, when)
            ):
                return await self._put_again(client, name, arguments)
            raise failure from error

    async def _put_again(self, client: Any, name: str, arguments: dict[str, Any]) -> Stored:
        """Put once more what was refused before another object was taken: the reason may have passed meanwhile."""
        try:
            async with self._patience(len(arguments["Body"])):
                answer = await self._put(client, arguments)
            return Stored(answer["ETag"], _date(answer), answer.get("VersionId"))
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is None or not refusal.is_unexplained:
                raise self._translate(error, "put", name) from error
            raise InvalidKey(
                refusal.words,
                operation="put",
                object=self._where(name),
                remedy="the server stores other objects here: it refuses this name, or what is stored under it",
            ) from error

    async def _takes_another(self, client: Any, when: Absent | None) -> bool:
        """Whether a small object of a plain name can be stored now, with the same options and condition: if so, the
        refusal of another one is about that one alone, and not about settings, policies or keys that concern all."""
        arguments = {**self._for_put, "Key": self._prefix + probe(self._clock.new_id(12)), "Body": b"{}"}
        if when is not None:
            arguments["IfNoneMatch"] = "*"
        try:
            async with self._patience():
                stored = await self._put(client, {**arguments, "ContentType": "application/json"})
                version = {"VersionId": stored["VersionId"]} if "VersionId" in stored else {}
                await self._ask(client, "delete_object", **self._for_all, Key=arguments["Key"], **version)
        except Exception:
            return False
        return True

    async def begin_upload(self, name: str, *, content_type: str) -> str:
        """See `rxmps3.storage.Uploads`."""
        check_name(name, "put", self.name_limit)
        arguments = {**self._for_put, "Key": self._prefix + name, "ContentType": content_type}
        client = await self._ready("put")
        try:
            async with self._patience():
                return (await self._ask(client, "create_multipart_upload", **arguments))["UploadId"]
        except Exception as error:
            raise self._translate(error, "put", name) from error

    async def put_part(self, name: str, upload: str, number: int, body: bytes, *, start: int) -> str:
        """See `rxmps3.storage.Uploads`.

        Over TLS its MD5 is sent for the server to check; elsewhere the signature covers the body.
        """
        arguments = {**self._for_get, "Key": self._prefix + name, "UploadId": upload, "PartNumber": number}
        if not self._clients.endpoint.startswith("http:"):
            arguments["ContentMD5"] = b64encode(await asyncio.to_thread(_md5, body)).decode()
        client = await self._ready("put")
        try:
            async with self._patience(len(body)):
                return (await self._ask(client, "upload_part", **arguments, Body=body))["ETag"]
        except Exception as error:
            raise self._translate(error, "put", name) from error

    async def finish_upload(self, name: str, upload: str, parts: Sequence[str]) -> Stored:
        """See `rxmps3.storage.Uploads`."""
        listed = [{"ETag": etag, "PartNumber": number} for number, etag in enumerate(parts, start=1)]
        arguments = {**self._for_all, "Key": self._prefix + name, "UploadId": upload}
        client = await self._ready("put")
        try:
            async with self._patience(len(parts) * _JOINED_BYTES):
                whole = {"MultipartUpload": {"Parts": listed}}
                answer = await self._ask(client, "complete_multipart_upload", **arguments, **whole)
            return Stored(answer["ETag"], _date(answer), answer.get("VersionId"))
        except Exception as error:
            raise self._translate(error, "put", name) from error

    async def abort_upload(self, name: str, upload: str) -> None:
        """See `rxmps3.storage.Uploads`."""
        arguments = {**self._for_all, "Key": self._prefix + name, "UploadId": upload}
        client = await self._ready("put")
        try:
            async with self._patience():
                await self._ask(client, "abort_multipart_upload", **arguments)
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is None or refusal.status != 404:
                raise self._translate(error, "put", name) from error

    async def delete(self, name: str, *, version: str | None = None) -> None:
        """See `rxmps3.storage.Delete`."""
        check_name(name, "delete", self.name_limit)
        arguments = {} if version is None else {"VersionId": version}
        client = await self._ready("delete")
        try:
            async with self._patience():
                await self._ask(client, "delete_object", **self._for_all, Key=self._prefix + name, **arguments)
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is None or not refusal.means_missing:
                raise self._translate(error, "delete", name) from error

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        """See `rxmps3.storage.List`. Names ascend within a page, and across pages as the server orders them.

        A server that takes no ``StartAfter``, or ignores it, is asked without, and the names are left out here; a page
        may then hold none and yet not be the last. A directory bucket lists in no order, and by whole directories.
        """
        size = page_size(limit)
        client = await self._ready("list")
        try:
            async with self._patience():
                if self._is_directory:
                    return await self._list_directory(client, self._prefix + prefix, after, cursor, size)
                asked: dict[str, Any] = {"Prefix": self._prefix + prefix, "MaxKeys": size}
                if cursor is not None:
                    asked["ContinuationToken"] = cursor
                answer = await self._list(client, asked, after if cursor is None else "")
            return Page(
                self._listed(answer, self._prefix + prefix, after),
                answer.get("NextContinuationToken") if answer["IsTruncated"] else None,
                _date(answer),
            )
        except Exception as error:
            raise self._translate(error, "list", prefix) from error

    async def _list(self, client: Any, asked: dict[str, Any], after: str) -> Any:
        if after and self._takes_after:
            try:
                start = self._prefix + after
                return await self._ask(client, "list_objects_v2", **self._for_all, **asked, StartAfter=start)
            except Exception as error:
                refusal = Refusal.of(error)
                if refusal is None or refusal.status not in (400, 405, 501) or refusal.is_of_credentials:
                    raise
                self._takes_after = False
        return await self._ask(client, "list_objects_v2", **self._for_all, **asked)

    async def _list_directory(self, client: Any, prefix: str, after: str, cursor: str | None, size: int) -> Page:
        """A page of a directory bucket: it takes a prefix only up to a slash, and no ``StartAfter``.

        The cursor says how many of the server's page were handed out already, and the server's own cursor.
        """
        skipped, _, token = (cursor or "0/").partition("/")
        done = int(skipped)
        asked: dict[str, Any] = {"Prefix": prefix[: prefix.rfind("/") + 1], "MaxKeys": MAX_PAGE}
        while True:
            if token:
                asked["ContinuationToken"] = token
            answer = await self._ask(client, "list_objects_v2", **self._for_all, **asked)
            found = self._listed(answer, prefix, after)[done:]
            if len(found) > size:
                return Page(found[:size], f"{done + size}/{token}", _date(answer))
            done, token = 0, answer["NextContinuationToken"] if answer["IsTruncated"] else ""
            if found or not token:
                return Page(found, f"0/{token}" if token else None, _date(answer))

    def _listed(self, answer: Mapping[str, Any], prefix: str, after: str) -> list[Listed]:
        objects = [
            Listed(self._name(one["Key"]), one["Size"], _utc(one.get("LastModified")), one.get("ETag", ""))
            for one in answer.get("Contents", ())
            if one["Key"].startswith(prefix)
        ]
        objects.sort(key=_name_of)
        return [one for one in objects if one.name > after] if after else objects

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
        client = await self._ready("list versions")
        try:
            async with self._patience():
                answer = await self._ask(client, "list_object_versions", **self._for_all, **arguments)
            cursor = None
            if answer["IsTruncated"]:
                cursor = json.dumps([answer["NextKeyMarker"], answer.get("NextVersionIdMarker")])
            versions = [self._version(one) for one in answer.get("Versions", ())]
            markers = [self._version(one, is_delete_marker=True) for one in answer.get("DeleteMarkers", ())]
            return VersionPage(_woven(versions, markers), cursor, _date(answer))
        except Exception as error:
            raise self._translate(error, "list versions", prefix) from error

    async def request(self, operation: str, method: str, **arguments: Any) -> Any:
        """Make any other request about the bucket: a method of boto3's S3 client by name, with its arguments.

        Raises:
            Error: as every verb does; its ``__cause__`` is what the client library raised.
        """
        client = await self._ready(operation)
        try:
            async with self._patience():
                return await self._ask(client, method, **self._for_bucket, **arguments)
        except Exception as error:
            raise self._translate(error, operation, "") from error

    async def _put(self, client: Any, arguments: dict[str, Any]) -> Any:
        """A put; a second one with a checksum if the server asks for one, as it does where Object Lock is on."""
        if not self._sums_everything:
            try:
                return await self._ask(client, "put_object", **arguments)
            except Exception as error:
                refusal = Refusal.of(error)
                if "ChecksumSHA256" in arguments or refusal is None or not refusal.wants_checksum:
                    raise
                self._sums_everything = True
        body: bytes = arguments["Body"]
        sum = b64encode(hashlib.sha256(body).digest()).decode()
        return await self._ask(client, "put_object", **{"ChecksumSHA256": sum, **arguments})

    async def _ask(self, client: Any, method: str, **arguments: Any) -> Any:
        """Make a request; repeat it if the server refuses the credentials and new ones are available."""
        credentials = self._clients.credentials
        generation = credentials.generation if credentials is not None else 0
        try:
            return await getattr(client, method)(**arguments)
        except Exception as error:
            refusal = Refusal.of(error)
            if credentials is None or refusal is None or not refusal.is_of_credentials:
                raise
            if not await credentials.renewed(generation or 1):
                raise
            return await getattr(client, method)(**arguments)

    async def close(self) -> None:
        """Close the client and its sockets."""
        self._closed = True
        self._client = None
        for patience in self._waiting:  # a client that closes forgets those who wait for an answer
            if not patience.expired():
                patience.reschedule(0)
        async with self._opening:
            await self._closing.aclose()
            if self._clients.credentials is not None:
                await self._clients.credentials.close()

    # The client

    def _chosen(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: self._options[name] for name in names if name in self._options}

    def _resolved(self) -> S3Client:
        from rxmps3.storage.s3_client import S3Client

        try:
            return S3Client(
                **self._chosen((*_SESSION_OPTIONS, "config", "headers")), options=self._chosen(_CLIENT_OPTIONS)
            )
        except Exception as error:
            raise translate(error, operation="open", where=self._bucket, bucket=self._bucket) from error

    async def _ready(self, operation: str) -> Any:
        """The client, opened by the first to ask."""
        if self._client is None:
            async with self._opening:
                if self._closed:
                    raise Closed("the storage is closed", operation=operation, object=self._url)
                if self._client is None:
                    try:
                        self._client = await self._closing.enter_async_context(
                            self._clients.open(self._for_all["Bucket"])
                        )
                        self._loop = asyncio.get_running_loop()
                    except Exception as error:
                        raise self._translate(error, operation, "") from error
        if self._loop is not asyncio.get_running_loop():
            raise WrongLoop("a storage belongs to the event loop that it was first used on", object=self._url)
        return self._client

    @asynccontextmanager
    async def _patience(self, size: int = 0) -> AsyncGenerator[asyncio.Timeout]:
        """The time for one request with a body of that size; `close` ends it early."""
        async with asyncio.timeout_at(self._until(size)) as patience:
            self._waiting.add(patience)
            try:
                yield patience
            finally:
                self._waiting.discard(patience)

    def _until(self, size: int) -> float:
        return asyncio.get_running_loop().time() + _ANSWER_SECONDS + size / _SLOWEST_BYTES_PER_SECOND

    # Answers

    def _translate(self, error: Exception, operation: str, name: str) -> Exception:
        if self._closed:
            return Closed("the storage was closed meanwhile", operation=operation, object=self._url)
        if isinstance(error, KeyError):
            return Unavailable(
                f"the answer lacks {error}, so it is none of an S3 server",
                operation=operation,
                object=self._where(name),
                remedy="check endpoint_url and what stands between",
            )
        return translate(error, operation=operation, where=self._where(name), bucket=self._place)

    def _where(self, name: str) -> str:
        return f"{self._bucket}/{self._prefix}{name}"

    def _name(self, key: str) -> str:
        return key[len(self._prefix) :]

    def _version(self, one: Mapping[str, Any], *, is_delete_marker: bool = False) -> ListedVersion:
        return ListedVersion(
            self._name(one["Key"]),
            one["VersionId"],
            one.get("Size", 0),
            _utc(one.get("LastModified")),
            one.get("ETag", ""),
            is_latest=one["IsLatest"],
            is_delete_marker=is_delete_marker,
        )


async def _read(stream: Any, limit: int | None, where: str) -> bytes:
    if limit is None:
        return await stream.read()
    parts: list[bytes] = []
    size = 0
    while part := await stream.read(64 * 1024):
        parts.append(part)
        size += len(part)
        check_size(size, limit, where)
    return b"".join(parts)


def _md5(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def _date(answer: Mapping[str, Any]) -> datetime | None:
    return parse_date(answer["ResponseMetadata"]["HTTPHeaders"].get("date"))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _name_of(one: Listed | ListedVersion) -> str:
    return one.name


def _woven(versions: list[ListedVersion], markers: list[ListedVersion]) -> list[ListedVersion]:
    """Both, by name; of one name newest first, each kind in its own order."""
    versions.sort(key=_name_of)
    if not markers:
        return versions
    markers.sort(key=_name_of)
    woven: list[ListedVersion] = []
    waiting = iter(markers)
    marker = next(waiting, None)
    for version in versions:
        while marker is not None and _comes_before(marker, version):
            woven.append(marker)
            marker = next(waiting, None)
        woven.append(version)
    return woven if marker is None else [*woven, marker, *waiting]


def _comes_before(marker: ListedVersion, version: ListedVersion) -> bool:
    if marker.name != version.name:
        return marker.name < version.name
    if marker.is_latest or version.is_latest:
        return marker.is_latest
    return marker.modified is not None and version.modified is not None and marker.modified >= version.modified
