"""What ``db.errors`` tells."""

from __future__ import annotations

from dataclasses import dataclass

from rxmps3.errors import Error

__all__ = ["Failure", "failure_of_observer"]


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


def failure_of_observer(name: str, error: BaseException, note: str) -> Failure:
    """An observer raised. What may end a program, an interrupt or an exit, is raised on.

    Args:
        name: of the stream.
        error: also a `asyncio.CancelledError`, say of a future that the observer looked at: it is nobody's here.
        note: what follows from it.
    """
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    if not isinstance(error, Exception):
        wrapped = Error(f"{type(error).__name__}: {error}".removesuffix(": "))
        wrapped.__cause__ = error
        error = wrapped
    return Failure("observe", name, error, note)
