"""Opening a storage by its URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from rxmps3.errors import InvalidOption
from rxmps3.runtime.clock import Clock
from rxmps3.storage._common import check_text
from rxmps3.storage.base import Storage
from rxmps3.storage.directory import DirectoryStorage
from rxmps3.storage.memory import MemoryStorage

__all__ = ["bucket_and_prefix", "open_storage", "without_secrets"]

ACCEPTED = "accepted are memory:, memory:NAME, file:PATH and s3://BUCKET/PREFIX"
_ACCESS_POINT = re.compile(r"(?P<arn>arn:[\w-]+:s3:[\w-]*:\d*:accesspoint[/:][\w.-]+)(/(?P<prefix>.*))?$")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def open_storage(url: str, *, clock: Clock, **options: Any) -> Storage:
    """The storage at a URL. Nothing is read, written or connected yet.

    Args:
        url: ``memory:`` (a private one), ``memory:NAME`` (one per name in this process), ``file:PATH`` (relative,
            absolute or with ``~``) or ``s3://BUCKET/PREFIX``, where the bucket may be the ARN of an access point. The
            prefix gets its trailing slash. The options of S3 that are text may also follow as a query,
            ``?endpoint_url=http://127.0.0.1:9000``.
        clock: time and randomness for the storage.
        options: for ``memory:`` ``versioning``; for ``s3:`` what `rxmps3.storage.s3.S3Storage` takes.

    Raises:
        InvalidOption: the URL or an option is invalid; the message says what is accepted.
    """
    check_text(url, "url", remedy=ACCEPTED)
    scheme, colon, rest = url.partition(":")
    opener = _OPENERS.get(scheme.lower())
    if not colon or opener is None:
        raise InvalidOption(f"this is not the URL of a storage: {without_secrets(url)!r}", remedy=ACCEPTED)
    return opener(rest, clock, options)


def _open_memory(rest: str, clock: Clock, options: dict[str, Any]) -> Storage:
    if "?" in rest:
        raise InvalidOption("a memory: URL takes no query", object="memory:", remedy=ACCEPTED)
    versioning = options.pop("versioning", None)
    _refuse("memory:", options, accepted=["versioning"])
    return MemoryStorage(clock=clock, versioning=versioning, name=rest)


def _open_directory(rest: str, clock: Clock, options: dict[str, Any]) -> Storage:
    _refuse("file:", options, accepted=[])
    path = rest
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        if host not in ("", "localhost", "~", ".", ".."):
            raise InvalidOption(
                f"a file: URL names no host, as file://{host.rpartition('@')[2]}/… does",
                remedy="write file:PATH for a relative and file:///PATH for an absolute path",
            )
        path = unquote((host if host in ("~", ".", "..") else "") + slash + path)
    if not path or "\0" in path:
        raise InvalidOption("a file: URL needs a path", remedy="write file:PATH, or file:. for the working directory")
    try:
        return DirectoryStorage(Path(path).expanduser(), clock)
    except RuntimeError as error:
        raise InvalidOption(f"no home directory for {path!r}", operation="open", object=f"file:{path}") from error


def _open_s3(rest: str, clock: Clock, options: dict[str, Any]) -> Storage:
    from rxmps3.storage.s3 import OPTIONS, S3Storage

    bucket, prefix = _bucket_and_prefix(rest)
    query = rest.partition("?")[2]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS or OPTIONS[name] not in (str, bool):
            _refuse(
                f"the query of s3://{bucket}",
                {name: value},
                accepted=[key for key, kind in OPTIONS.items() if kind in (str, bool)],
            )
        if name in options:
            raise InvalidOption(f"{name} is given twice, as an option and in the query", object=f"s3://{bucket}")
        options[name] = _BOOLEANS.get(value.lower(), value) if OPTIONS[name] is bool else value
    _refuse(f"s3://{bucket}", options, accepted=list(OPTIONS))
    return S3Storage(bucket, prefix, options, clock)


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """The bucket of an ``s3:`` URL, or the ARN of its access point, and the prefix with its slash.

    Raises:
        InvalidOption: it is not such a URL.
    """
    scheme, _, rest = url.partition(":")
    if scheme.lower() != "s3":
        raise InvalidOption(f"{without_secrets(url)} is not a bucket", remedy="write s3://BUCKET/PREFIX")
    return _bucket_and_prefix(rest)


def _bucket_and_prefix(rest: str) -> tuple[str, str]:
    place = rest.partition("?")[0]
    if not place.startswith("//"):
        raise InvalidOption(f"write s3://BUCKET/PREFIX, not {without_secrets(f's3:{place}')}", remedy=ACCEPTED)
    access_point = _ACCESS_POINT.match(place[2:])
    bucket, _, prefix = place[2:].partition("/")
    if access_point:
        bucket, prefix = access_point["arn"], access_point["prefix"] or ""
    elif not bucket or any(sign in bucket for sign in "@:#"):
        raise InvalidOption(
            f"there is no bucket name in {without_secrets(f's3:{place}')}"
            if not bucket
            else "a bucket name cannot contain @ : #",
            remedy="write s3://BUCKET/PREFIX; credentials and endpoint_url are options",
        )
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    if "\\" in prefix or any(segment in ("", ".", "..") for segment in prefix.split("/")[:-1]):
        raise InvalidOption(
            f"the prefix {prefix!r} has an empty segment, . or .., or a backslash, which servers and tools read as"
            " something else",
            object=f"s3://{bucket}",
            remedy="write s3://BUCKET/ONE/TWO",
        )
    return bucket, prefix


def _refuse(where: str, options: dict[str, Any], *, accepted: list[str]) -> None:
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise InvalidOption(
            f"there is no option {', '.join(unknown)}",
            object=where,
            remedy="accepted are " + ", ".join(accepted) if accepted else "there are none",
        )


def without_secrets(url: str) -> str:
    """A URL safe to show: without the query and without anything before an ``@``, where secrets may be."""
    scheme, colon, rest = url.partition("?")[0].partition(":")
    slashes = rest[: len(rest) - len(rest.lstrip("/"))]
    _, at, place = rest[len(slashes) :].rpartition("@")
    return f"{scheme}{colon}{slashes}{'…@' if at else ''}{place}"


_OPENERS: dict[str, Callable[[str, Clock, dict[str, Any]], Storage]] = {
    "memory": _open_memory,
    "file": _open_directory,
    "s3": _open_s3,
}
