"""The check that a stored JSON object carries of its own content. Pure.

It is the last member of the text, ``"check"``: the SHA-256, in hex, of the same bytes without that member. A client
that does not know it reads the object as before, and an object without it is still read.
"""

from __future__ import annotations

import hashlib

from rxmps3.errors import Corrupt

__all__ = ["check_seal", "is_intact", "sealed"]

_START = b',"check":"'
_END = b'"}'
_LENGTH = len(_START) + 64 + len(_END)


def sealed(body: bytes) -> bytes:
    """A JSON object with the check of its content added.

    Args:
        body: the compact text of an object that has members.
    """
    return b"".join((body[:-1], _START, hashlib.sha256(body).hexdigest().encode(), _END))


def is_intact(body: bytes) -> bool | None:
    """Whether a body is what its check says; None if it carries none."""
    tail = body[-_LENGTH:]
    if not (tail.startswith(_START) and tail.endswith(_END)):
        return None
    content = hashlib.sha256(memoryview(body)[:-_LENGTH])
    content.update(b"}")
    return content.hexdigest().encode() == tail[len(_START) : -len(_END)]


def check_seal(body: bytes, what: str) -> None:
    """Raise `Corrupt`, naming the object, if its content is not what its check says."""
    if is_intact(body) is False:
        raise Corrupt(
            "damaged: its content is not what its own check says",
            object=what,
            remedy="restore the object from a backup; nothing is overwritten",
        )
