"""`MISSING`, the sentinel for a missing key; ``None`` is a value, JSON's null."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

__all__ = ["MISSING", "MissingType"]


class MissingType(Enum):
    """The type of `MISSING`."""

    MISSING = "MISSING"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = MissingType.MISSING
"""Put it to delete a key; give it as ``default`` to tell a missing key from one that holds null. Falsy."""
