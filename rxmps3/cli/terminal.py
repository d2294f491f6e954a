"""What a command says, to a person at a terminal or to another program, and with which code it ends.

Results go to standard output and everything else to standard error, a line at a time, each flushed at once. To a
terminal they are coloured; into a pipe they are plain, and as JSON if asked for. Text that others wrote never
reaches a terminal as control characters.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from enum import IntEnum
from functools import cached_property
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any

from rxmps3.errors import (
    AccessDenied,
    BucketNotFound,
    Conflict,
    Corrupt,
    Error,
    InvalidInput,
    NotKept,
    NotSent,
    Rejected,
    Unavailable,
    Unsupported,
)
from rxmps3.runtime.clock import SystemClock, spawn

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "CannotWrite",
    "Exit",
    "NoSuchKey",
    "NoSuchManifest",
    "Part",
    "Terminal",
    "TooLate",
    "exit_of",
    "json_text",
    "let_go_of_stdout",
    "local_time",
    "prepare_streams",
    "shown",
    "when_stdout_closes",
    "writing_to_stdout",
]

Part = str | tuple[str, str]
"""A piece of a line: text, or text and its style in rich's words."""

_UNHURRIED = 0.5


class Exit(IntEnum):
    """The codes that commands end with."""

    OK = 0
    OTHER = 1
    USAGE = 2
    MISSING = 3
    ACCESS = 4
    UNREACHABLE = 5
    DATA = 6
    CONFLICT = 7
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


class NoSuchKey(Error):
    """The key that a command needs is not there."""


class NoSuchManifest(Error):
    """The manifest that a command needs is not there."""


class TooLate(Unavailable):
    """The deadline of a command has passed."""


class CannotWrite(Error):
    """Standard output takes no more, though somebody reads it: a full disk, for one."""


def exit_of(error: BaseException | None) -> Exit:
    """The code for an error; a rejected write's is that of its cause."""
    match error:
        case InvalidInput():
            return Exit.USAGE
        case NoSuchKey() | NoSuchManifest() | NotKept():
            return Exit.MISSING
        case AccessDenied() | BucketNotFound():
            return Exit.ACCESS
        case Unavailable() | NotSent():
            return Exit.UNREACHABLE
        case Corrupt() | Unsupported():
            return Exit.DATA
        case Conflict():
            return Exit.CONFLICT
        case Rejected() if error.__cause__ is not None:
            return exit_of(error.__cause__)
        case _:
            return Exit.OTHER


def shown(text: str) -> str:
    """Text with every character that is no visible one, or that could steer a terminal, escaped as in JSON."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)


def local_time(moment: datetime | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A moment in the time zone of this machine; in UTC where that calendar ends. "" if there is none."""
    if moment is None:
        return ""
    try:
        return moment.astimezone().strftime(form)
    except (OverflowError, ValueError, OSError):
        return moment.strftime(form)


def json_text(value: Any) -> str:
    """A value as compact JSON in one line that is safe to print anywhere."""
    return shown(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


class Terminal:
    """Where one command speaks.

    Args:
        command: its name, for errors.
        as_json: say everything in JSON.
    """

    def __init__(self, command: str = "", *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._name = f"rxmps3 {command}".strip()
        self._coloured = not as_json and sys.stdout.isatty()

    # -- results ---------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Text as it is. Raises `BrokenPipeError` if nobody reads any more, `CannotWrite` if it fails."""
        with writing_to_stdout():
            sys.stdout.write(text)

    def raw(self, text: str) -> None:
        """Text as it is, but for what could steer a terminal if one reads it."""
        if sys.stdout.isatty():
            text = "".join(sign if sign in "\n\t" else shown(sign) for sign in text)
        self.write(text)

    def line(self, *parts: Part) -> None:
        """A line for people."""
        if self._coloured:
            from rich.text import Text

            with self._console.capture() as captured:
                self._console.print(Text.assemble(*parts), soft_wrap=True)
            self.write(captured.get())
        else:
            self.write("".join(part if isinstance(part, str) else part[0] for part in parts) + "\n")

    def record(self, value: Any) -> None:
        """A JSON document on a line of its own, for programs."""
        self.write(json_text(value) + "\n")

    def value(self, value: Any) -> None:
        """A JSON value for whoever reads: spread out and coloured on a terminal, else as `record`."""
        if self._coloured:
            from rich.highlighter import JSONHighlighter

            pretty = json.dumps(value, ensure_ascii=False, indent=2)
            with self._console.capture() as captured:
                for line in pretty.split("\n"):
                    self._console.print(JSONHighlighter()(shown(line)), soft_wrap=True)
            self.write(captured.get())
        else:
            self.record(value)

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(highlight=False, markup=False, emoji=False)

    # -- remarks ---------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """A remark that is no result."""
        _say(json_text({"note": text}) if self.as_json else shown(text))

    def fail(self, error: Error) -> Exit:
        """Tell of an error and return the code to end with."""
        code = exit_of(error)
        self.fault(
            str(error), code, type(error).__name__, operation=error.operation, object=error.object, remedy=error.remedy
        )
        return code

    def fault(self, text: str, code: Exit, kind: str, **facts: str) -> None:
        """Tell of an error that a command ends with."""
        if self.as_json:
            _say(json_text({"error": {"kind": kind, "message": text, **facts, "exit": int(code)}}))
        else:
            _say(f"{self._name}: {shown(text)}")

    @asynccontextmanager
    async def busy(self, what: str) -> AsyncGenerator[None, None]:
        """Show that something is going on, to a person and only if it takes a while. Nothing else may be said."""
        if self.as_json or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        status = Console(stderr=True).status(f"{what} …")

        async def show_later() -> None:
            await SystemClock().sleep(_UNHURRIED)
            status.start()

        showing = spawn(show_later(), "progress")
        try:
            yield
        finally:
            showing.cancel()
            status.stop()


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        pass  # nobody wants to know


def prepare_streams() -> None:
    """Let no character stop a command: UTF-8 into pipes, and an escape for what a terminal cannot show. Nor a stream
    that is closed: there is nothing to read then, and what is written goes nowhere."""
    sys.stdin = sys.stdin or _nothing("r")
    sys.stdout = sys.stdout or _nothing("w")
    sys.stderr = sys.stderr or _nothing("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def _nothing(mode: str) -> IO[str]:
    return open(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8", closefd=False)


@contextmanager
def writing_to_stdout() -> Generator[None]:
    """Where something is written to standard output, all of it by the end of the block: raises `CannotWrite` if that
    fails, `BrokenPipeError` as it is."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        let_go_of_stdout()
        raise CannotWrite(
            f"cannot be written: {error.strerror}", object="standard output", remedy="send it elsewhere"
        ) from error


def let_go_of_stdout() -> None:
    """After an error of writing: keep the interpreter from failing once more when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def when_stdout_closes(action: Callable[[], None]) -> None:
    """Call back as soon as the reader of standard output has gone, if it is a pipe and the system can tell.

    Without this a command that waits for news would notice only when it has some.
    """
    loop, descriptor = asyncio.get_running_loop(), -1

    def gone() -> None:
        loop.remove_reader(descriptor)
        action()

    try:
        descriptor = sys.stdout.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            loop.add_reader(descriptor, gone)
    except (OSError, ValueError, NotImplementedError):
        pass
