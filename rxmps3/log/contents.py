"""Verification of value objects."""

from __future__ import annotations

import hashlib

from rxmps3.errors import Corrupt
from rxmps3.model.state import ContentObject
from rxmps3.model.valuetext import text_of_body

__all__ = ["verified"]


def verified(content: ContentObject, body: bytes, name: str) -> str:
    """Decode a value's object after checking it against the log.

    Raises:
        Corrupt: the SHA-256 differs, or the body of a JSON value is not UTF-8.
    """
    digest = hashlib.sha256(body).hexdigest()
    what = f"value {name!r}"
    remedy = "restore the object, or put the key again"
    if digest != content.sha256:
        raise Corrupt(
            f"its SHA-256 is {digest}, the log says {content.sha256}", operation="get", object=what, remedy=remedy
        )
    try:
        return text_of_body(body, content.media)
    except Corrupt as error:
        raise Corrupt(error.what, operation="get", object=what, remedy=remedy) from None
