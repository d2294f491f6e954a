"""Another client of the mps3 format, as a web page would be: it shares no line with the package.

It does what the JavaScript client does, request for request, with one exception: it reads every page of a listing.
"""

from __future__ import annotations

import json
import time
import uuid
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from random import randrange
from types import TracebackType
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

DIGITS = "0123456789abcdefghijklmnopqrstuv"
LAG = 5000
DELETED = object()
"""Deletes a key in `Foreign.put_all`."""


def base32(number: int, width: int) -> str:
    text = ""
    while number:
        text, number = DIGITS[number % 32] + text, number // 32
    return text.rjust(width, "0")


def time_of(name: str) -> int | None:
    """The milliseconds in an operation's name, None if it is no such name."""
    parts = name.rpartition("@")[2].split("_")
    if len(parts) != 3 or len(parts[2]) != 2 or any(digit not in DIGITS for digit in parts[0]):
        return None
    return 2**42 - 1 - int(parts[0], 32)


class Operation(NamedTuple):
    """One that counts."""

    name: str
    time: int
    body: dict[str, Any]

    @property
    def update(self) -> dict[str, Any]:
        return self.body["update"]["files"]


class Foreign:
    """A client of one manifest. Blocking; not for several threads.

    Args:
        options: as of `tests.servers`, for boto3.
        bucket: the bucket.
        manifest: the key of the manifest.
        versioning: values are versions of one object per key.
    """

    def __init__(
        self, options: dict[str, Any], bucket: str, manifest: str = "manifest.json", *, versioning: bool = False
    ) -> None:
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        self._client = boto3.client("s3", **options, config=config)
        self._bucket = bucket
        self._manifest = manifest
        self._versioning = versioning
        self._session = f"{randrange(16**3):03x}"
        self._count = 0
        self._offset = 0.0
        self._newest = 0

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    # -- writing -------------------------------------------------------------------------------------------------

    def put(self, key: str, value: Any) -> None:
        self.put_all({key: value})

    def delete(self, key: str) -> None:
        self.put_all({key: DELETED})

    def put_all(self, values: dict[str, Any]) -> None:
        update = {f"{self._bucket}/{key}": self._upload(key, value) for key, value in values.items()}
        while True:
            files = self.files()
            stamp = max(round(self._now()), self._newest + 1)
            name = f"{self._manifest}@{base32(2**42 - 1 - stamp, 9)}_{self._session}_{base32(1023 - self._count, 2)}"
            self._count += 1
            stored = self._put(name, {"files": files, "update": {"files": update}})
            if abs(stamp - stored) < LAG - 1500:
                self._newest = stamp
                break
            self._offset = stored - time.time() * 1000
        self._put(self._manifest, "")

    def _upload(self, key: str, value: Any) -> dict[str, str] | None:
        if value is DELETED:
            if self._versioning:
                self._client.delete_object(Bucket=self._bucket, Key=key)
            return None
        version = str(uuid.uuid4())
        answer = self._client.put_object(
            Bucket=self._bucket,
            Key=key if self._versioning else f"{key}@{version}",
            Body=json.dumps(value, ensure_ascii=False, indent=2).encode(),
            ContentType="application/json",
        )
        return {"version": answer["VersionId"] if self._versioning else version, "replication": ""}

    def _put(self, key: str, value: Any) -> float:
        """Store an object; the server's time, in milliseconds."""
        body = json.dumps(value, ensure_ascii=False, indent=2).encode()
        answer = self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp() * 1000

    def _now(self) -> float:
        return time.time() * 1000 + self._offset

    # -- reading -------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, Any]:
        """The newest state: by ``<bucket>/<key>`` what is said of its value."""
        listed = self._listed(f"{self._manifest}@{base32(2**42 - 1 - round(self._now() + 10_000), 9)}")
        if not listed:
            return {}
        newest, latest = listed[0]
        self._newest = max(self._newest, latest)
        window = [self._operation(name, at) for name, at in listed if at >= latest - LAG]
        if any(operation is None for operation in window):
            return self.files()  # removed meanwhile
        files = dict(window[0].body["files"]) if window[0] is not None else {}
        for operation in reversed(window):
            for name, file in operation.update.items() if operation is not None else ():
                if file is None:
                    files.pop(name, None)
                else:
                    files[name] = file
        return files

    def operations(self) -> list[Operation]:
        """All operations that count, oldest first."""
        found = [self._operation(name, at) for name, at in self._listed("")]
        return [operation for operation in reversed(found) if operation is not None]

    def _listed(self, after: str) -> list[tuple[str, int]]:
        """The names of operations that count and their times, newest first."""
        found: list[tuple[str, int]] = []
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._manifest}@", StartAfter=after
        )
        for page in pages:
            for one in page.get("Contents", []):
                stamp, modified = time_of(one["Key"]), one["LastModified"]
                assert isinstance(modified, datetime)
                if stamp is not None and abs(stamp - modified.timestamp() * 1000) < LAG:
                    found.append((one["Key"], stamp))
        return found

    def _operation(self, name: str, at: int) -> Operation | None:
        body = self._get(name)
        return None if body is None else Operation(name, at, body)

    def _get(self, key: str, version: str | None = None) -> Any:
        try:
            versioned = {} if version is None else {"VersionId": version}
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **versioned)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        with closing(answer["Body"]) as body:
            return json.loads(body.read())

    def get(self, key: str) -> Any:
        """The value of a key, None if there is none."""
        return self.everything().get(key)

    def everything(self) -> dict[str, Any]:
        """Each key and its value."""
        return {key: self.value(key, file) for name, file in self.files().items() for key in [name.partition("/")[2]]}

    def value(self, key: str, file: dict[str, Any]) -> Any:
        """A value by what an operation says of it."""
        version = file["version"]
        return self._get(key, version) if self._versioning else self._get(f"{key}@{version}")

    def touched(self) -> Any:
        """The manifest's own object."""
        return self._get(self._manifest)
