"""The objects of a bucket, read with boto3, or as files."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import boto3
from botocore.config import Config


class Listed(NamedTuple):
    """One object, or one version of it.

    Attributes:
        name: below the prefix.
        modified: the server's time.
        version: its version id, "" where there are no versions.
    """

    name: str
    modified: datetime
    version: str = ""


class Objects(Protocol):
    """What lies below a prefix."""

    prefix: str
    bucket: str

    def names(self, under: str) -> list[Listed]:
        """All objects whose names begin so, in the order of names."""
        ...

    def versions(self, name: str) -> list[Listed]:
        """All versions of one object, the oldest first."""
        ...

    def read(self, name: str, version: str = "") -> bytes | None:
        """The bytes of an object, None if there is none."""
        ...

    def write(self, name: str, body: bytes) -> None:
        """Store an object."""
        ...

    def wipe(self) -> None:
        """Delete everything, all versions too."""
        ...

    def close(self) -> None:
        """Release the connections."""
        ...


@dataclass
class Bucket:
    """Objects of an S3 server.

    Args:
        options: of boto3.
        url: ``s3://bucket/prefix``.
    """

    options: dict[str, Any]
    url: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/") + "/"
        config = Config(s3={"addressing_style": "path"}, max_pool_connections=16)
        self._client = boto3.client("s3", **self.options, config=config)

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def names(self, under: str) -> list[Listed]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + under)
        found = [one for page in pages for one in page.get("Contents", [])]
        listed = [Listed(one["Key"].removeprefix(self.prefix), one["LastModified"]) for one in found]
        return sorted(listed)

    def versions(self, name: str) -> list[Listed]:
        whole = self.prefix + name
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=whole)
        found = [one for page in pages for one in page.get("Versions", []) if one["Key"] == whole]
        return [Listed(name, one["LastModified"], one["VersionId"]) for one in reversed(found)]

    def read(self, name: str, version: str = "") -> bytes | None:
        versioned = {"VersionId": version} if version else {}
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + name, **versioned)
        except self._client.exceptions.NoSuchKey:
            return None
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchVersion", "NoSuchKey"):
                return None
            raise
        with closing(answer["Body"]) as body:
            return body.read()

    def write(self, name: str, body: bytes) -> None:
        self._client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=body)

    def wipe(self) -> None:
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=self.prefix):
            for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                versioned = {} if one["VersionId"] == "null" else {"VersionId": one["VersionId"]}
                self._client.delete_object(Bucket=self.bucket, Key=one["Key"], **versioned)


class Folder:
    """The objects of a ``file:`` database: an object is the file of its name, for the names that a sequenced log has."""

    bucket = ""
    prefix = ""

    def __init__(self, root: Path) -> None:
        self._root = root

    def close(self) -> None:
        """Nothing is held open."""

    def names(self, under: str) -> list[Listed]:
        files = [path for path in self._root.rglob("*") if path.is_file()]
        found = [
            Listed(path.relative_to(self._root).as_posix(), datetime.fromtimestamp(path.stat().st_mtime, UTC))
            for path in files
        ]
        return sorted(one for one in found if one.name.startswith(under))

    def versions(self, name: str) -> list[Listed]:
        raise NotImplementedError("files have no versions")

    def read(self, name: str, version: str = "") -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, body: bytes) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def wipe(self) -> None:
        for one in self.names(""):
            (self._root / one.name).unlink(missing_ok=True)


class Kept:
    """The objects of another, and all that were ever there while it was looked at: by each name the first bytes.

    What a collector removes, or what somebody else replaces, can still be judged.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.bucket = objects.bucket
        self.prefix = objects.prefix
        self._listed: dict[str, Listed] = {}
        self._bodies: dict[str, bytes] = {}

    def look(self, under: str) -> None:
        """Keep what is new below a name."""
        for one in self._objects.names(under):
            if one.name not in self._bodies and (body := self._objects.read(one.name)) is not None:
                self._listed[one.name] = one
                self._bodies[one.name] = body

    def names(self, under: str) -> list[Listed]:
        now = {one.name: one for one in self._objects.names(under)}
        return sorted((now | {name: one for name, one in self._listed.items() if name.startswith(under)}).values())

    def versions(self, name: str) -> list[Listed]:
        return self._objects.versions(name)

    def read(self, name: str, version: str = "") -> bytes | None:
        return self._bodies[name] if name in self._bodies else self._objects.read(name, version)

    def write(self, name: str, body: bytes) -> None:
        self._objects.write(name, body)

    def wipe(self) -> None:
        self._objects.wipe()

    def close(self) -> None:
        self._objects.close()
