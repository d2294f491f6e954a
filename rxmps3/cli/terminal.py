"""The output and the exit codes of commands, for people and for programs.

Results go to standard output and everything else to standard error, line by line, each flushed at once. Output is
coloured on a terminal and plain in a pipe, and JSON on request. Text written by others never reaches a terminal as
control characters.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import sys
from base64 import b64encode
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
from rxmps3.model.valuetext import Blob
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
    "short_text",
    "shown",
    "when_stdout_closes",
    "writing_to_stdout",
]

Part = str | tuple[str, str]
"""A piece of a line: text, or text and its style in rich's words."""

_UNHURRIED = 0.5


class Exit(IntEnum):
    """The exit codes of commands."""

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
    """The key that a command needs does not exist."""


class NoSuchManifest(Error):
    """The manifest that a command needs does not exist."""


class TooLate(Unavailable):
    """The deadline of a command has passed."""


class CannotWrite(Error):
    """Writing to standard output failed, for example because the disk is full."""


def exit_of(error: BaseException | None) -> Exit:
    """The exit code of an error; for a rejected write, that of its cause."""
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
    """A text with invisible characters, and all that could control a terminal, escaped as in JSON."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)


def local_time(moment: datetime | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time in this machine's time zone, or in UTC if it is out of range there. "" if there is none."""
    if moment is None:
        return ""
    try:
        return moment.astimezone().strftime(form)
    except (OverflowError, ValueError, OSError):
        return moment.strftime(form)


def json_text(value: Any) -> str:
    """A value as compact JSON in one line that is safe to print anywhere; bytes become an object."""
    return shown(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_as_json))


def _as_json(value: Any) -> Any:
    if isinstance(value, Blob):
        return {"bytes": b64encode(value).decode(), "type": value.content_type}
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def short_text(value: Any) -> str:
    """A value in one line for people: as `json_text`, but of bytes how many they are."""
    return shown(repr(value)) if isinstance(value, Blob) else json_text(value)


class Terminal:
    """The output of one command.

    Args:
        command: its name, for errors.
        as_json: print everything as JSON.
    """

    def __init__(self, command: str = "", *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._name = f"rxmps3 {command}".strip()
        self._coloured = not as_json and sys.stdout.isatty()

    # -- results ---------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Write a text unchanged. Raises `BrokenPipeError` if nobody reads any more, `CannotWrite` if it fails."""
        with writing_to_stdout():
            sys.stdout.write(text)

    def raw(self, text: str) -> None:
        """Write a text unchanged, except for what could control a terminal if it is one."""
        if sys.stdout.isatty():
            text = "".join(sign if sign in "\n\t" else shown(sign) for sign in text)
        self.write(text)

    def bytes(self, body: bytes) -> None:
        """Bytes as they are. Raises as `write`."""
        with writing_to_stdout():
            sys.stdout.flush()
            sys.stdout.buffer.write(body)
            sys.stdout.buffer.flush()

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
        """Print a JSON value: indented and coloured on a terminal, otherwise as `record`."""
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
        """Print a remark to standard error."""
        _say(json_text({"note": text}) if self.as_json else shown(text))

    def fail(self, error: Error) -> Exit:
        """Report an error and return the exit code."""
        code = exit_of(error)
        self.fault(
            str(error), code, type(error).__name__, operation=error.operation, object=error.object, remedy=error.remedy
        )
        return code

    def fault(self, text: str, code: Exit, kind: str, **facts: str) -> None:
        """Report the error that ends a command."""
        if self.as_json:
            _say(json_text({"error": {"kind": kind, "message": text, **facts, "exit": int(code)}}))
        else:
            _say(f"{self._name}: {shown(text)}")

    @asynccontextmanager
    async def busy(self, what: str) -> AsyncGenerator[None, None]:
        """Show progress on a terminal if the block takes a while. Nothing else may be printed in it."""
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
    """Make the standard streams safe to use, and silence warnings, which the commands say in their own words.

    Pipes get UTF-8, and characters that a terminal cannot show are escaped. A closed stream reads as empty and swallows
    writes.
    """
    logging.getLogger("rxmps3").setLevel(logging.ERROR)
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
    """Ensure that everything written to standard output in the block has been flushed at its end.

    Raises:
        CannotWrite: writing failed.
        BrokenPipeError: nobody reads any more.
    """
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
    """Keep the interpreter from failing a second time when it flushes standard output at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def when_stdout_closes(action: Callable[[], None]) -> None:
    """Call back when the reader of standard output has gone, if it is a pipe and the system can tell.

    Without it a waiting command would notice only at its next line.
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
