"""Objects as somebody would forge them who knows the format: with a check that agrees."""

from __future__ import annotations

from rxmps3.model.seal import is_intact, sealed

__all__ = ["resealed"]

_LENGTH = len(sealed(b'{"a":1}')) - len(b'{"a":1}')


def resealed(body: bytes) -> bytes:
    """A changed object, with the check of its new content; one without a check stays so."""
    if is_intact(body) is None:
        return body
    return sealed(body[: -_LENGTH - 1] + b"}")
