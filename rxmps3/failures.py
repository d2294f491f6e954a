"""What ``db.errors`` tells."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Failure"]


@dataclass(frozen=True)
class Failure:
    """Something went wrong that no caller is waiting for.

    Attributes:
        operation: what was going on, such as ``"poll"``, ``"commit"``, ``"observe"``.
        object: what it happened to.
        error: the exception.
        note: what follows from it, in words.
    """

    operation: str
    object: str
    error: Exception
    note: str = ""

    def __str__(self) -> str:
        return f"{self.operation} {self.object}: {self.error}" + (f" ({self.note})" if self.note else "")
