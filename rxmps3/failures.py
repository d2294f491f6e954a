"""What ``db.errors`` tells."""

from __future__ import annotations

from dataclasses import dataclass

from rxmps3.errors import Error

__all__ = ["Failure", "failure_of_observer"]

_DETACHED = "the observer raised and was detached"


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


def failure_of_observer(name: str, error: BaseException, *, ends_program: bool) -> Failure:
    """An observer raised, and has been detached.

    Args:
        name: of the stream.
        error: what it raised; a `asyncio.CancelledError`, say of a future that it looked at, is nobody's here.
        ends_program: whether what is to end a program, an interrupt or an exit, does so on this thread. Then it is
            raised again; where the event loop has a thread of its own, it would end all databases there and not the
            program, so it is a failure like others.
    """
    if isinstance(error, Exception):
        return Failure("observe", name, error, _DETACHED)
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        if ends_program:
            raise error
        what = f"{type(error).__name__} does not end the program from this thread: {error}"
    wrapped = Error(what)
    wrapped.__cause__ = error
    return Failure("observe", name, wrapped, _DETACHED)
