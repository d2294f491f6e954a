"""Verification of value objects."""

from __future__ import annotations

import hashlib

from rxmps3.errors import Corrupt
from rxmps3.model.state import ContentObject

__all__ = ["verified"]


def verified(content: ContentObject, body: bytes, name: str) -> str:
    """Decode a value's object after checking it against the log.

    Raises:
        Corrupt: the SHA-256 differs, or the body is not UTF-8.
    """
    digest = hashlib.sha256(body).hexdigest()
    what = f"value {name!r}"
    remedy = "restore the object, or put the key again"
    if digest != content.sha256:
        raise Corrupt(
            f"its SHA-256 is {digest}, the log says {content.sha256}", operation="get", object=what, remedy=remedy
        )
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Corrupt("not UTF-8", operation="get", object=what, remedy=remedy) from None
