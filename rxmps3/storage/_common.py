"""Rules that every storage shares."""

from __future__ import annotations

import hashlib

from rxmps3.errors import Corrupt, InvalidKey, InvalidOption, Unavailable

MAX_NAME_BYTES = 1024
MAX_PAGE = 1000


def check_text(value: object, name: str, operation: str = "", remedy: str = "") -> None:
    """Reject an argument, named ``name``, that is not text, or not valid Unicode.

    Raises:
        InvalidOption: it is one of these.
    """
    if not isinstance(value, str):
        raise InvalidOption(f"{name} is text, not {value!r:.80}", operation=operation, remedy=remedy)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidOption(
            f"{name} is not valid Unicode (a lone surrogate): {value!a:.80}", operation=operation, remedy=remedy
        ) from None


def check_name(name: str, operation: str, limit: int = MAX_NAME_BYTES) -> None:
    """Reject a name that is empty, not valid Unicode, contains a NUL, or has more bytes than ``limit``.

    Raises:
        InvalidKey: the name is one of these.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidKey("the name is not valid Unicode text", operation=operation, object=ascii(name)) from None
    if not 0 < size <= limit:
        raise InvalidKey(
            f"an object name has 1 to {limit:,} bytes here, not {size:,}",
            operation=operation,
            object=name[:100],
        )
    if "\0" in name:
        raise InvalidKey("an object name holds no NUL character", operation=operation, object=ascii(name))


def page_size(limit: int) -> int:
    """The number of lines on a page, 1,000 at most.

    Raises:
        InvalidOption: ``limit`` is less than 1.
    """
    if limit < 1:
        raise InvalidOption(f"the limit of a page is at least 1, not {limit}", operation="list")
    return min(limit, MAX_PAGE)


def check_sha256(body: bytes, sha256: bytes | None, where: str) -> None:
    """Compare a body with the digest sent with it, as an S3 server does.

    Raises:
        Unavailable: they differ: the body was damaged in transit and can be sent again.
    """
    if sha256 is not None and hashlib.sha256(body).digest() != sha256:
        raise Unavailable("the body does not have the sha256 that was sent with it", operation="put", object=where)


def check_size(size: int, limit: int | None, where: str) -> None:
    """Enforce the ``limit`` of a get.

    Raises:
        Corrupt: the body has more bytes than that.
    """
    if limit is not None and size > limit:
        raise Corrupt(f"the object has {size:,} bytes, {limit:,} at most are expected", operation="get", object=where)


def etag_of(body: bytes) -> str:
    """The ETag that S3 gives to a body put in one part: its quoted MD5."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
