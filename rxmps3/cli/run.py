"""One run of a command: its target, its deadline, and its exit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from reactivex import Observable

from rxmps3 import bells
from rxmps3.cli.terminal import Exit, NoSuchKey, NoSuchManifest, Terminal, TooLate, let_go_of_stdout, when_stdout_closes
from rxmps3.database.connect import connect
from rxmps3.database.database import Database
from rxmps3.database.past import When
from rxmps3.errors import AccessDenied, BucketNotFound, Error, Failure, InvalidOption, NotSent
from rxmps3.log.registry import default_manifest, protocol_of
from rxmps3.replica.options import Status
from rxmps3.replica.receipt import Receipt
from rxmps3.runtime.clock import SystemClock, spawn
from rxmps3.storage import Storage, open_storage
from rxmps3.storage.confirmed import ConfirmedStorage
from rxmps3.storage.urls import without_secrets

__all__ = ["PATIENCE", "Run", "Target", "when_of"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which a command that reads or writes once gives up."""
_CLOSING = 1.0
_ABOUT_VALUES = ("fetch", "observe")
"""The operations whose failures concern one value; others show in the status."""


@dataclass(frozen=True)
class Target:
    """The arguments that commands share: the database, the deadline and the output format."""

    url: str
    manifest: str = "main"
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    timeout: float | None = None
    json: bool = False

    @property
    def place(self) -> str:
        """The URL as it may be shown."""
        return without_secrets(self.url)

    @property
    def options(self) -> dict[str, str]:
        """The storage options; anything not given comes from the environment, as with boto3."""
        given = {"endpoint_url": self.endpoint_url, "region_name": self.region, "profile_name": self.profile}
        return {name: value for name, value in given.items() if value is not None}

    def check(self) -> None:
        """Raise `InvalidOption` if the arguments contradict each other."""
        if self.timeout is not None and not self.timeout > 0:
            raise InvalidOption(f"--timeout is a positive number of seconds, not {self.timeout}")
        if self.url.lower().startswith("memory:"):
            raise InvalidOption(
                "it lives within one process, and this one ends with the command",
                object=self.place,
                remedy="use file:PATH or s3://BUCKET/PREFIX",
            )


class Run:
    """One run of a command.

    Args:
        name: the command.
        at: its target.
    """

    def __init__(self, name: str, at: Target) -> None:
        self.name = name
        self.at = at
        self.terminal = Terminal(name, as_json=at.json)
        self.clock = SystemClock()
        self.trouble: Error | None = None
        self.opened = False
        self._stopped: Exit | None = None
        self._wanted = "there was no answer"

    # -- what commands use -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def deadline(self) -> AsyncGenerator[None, None]:
        """Limit a block to ``--timeout``. Raises `TooLate`."""
        seconds = self.at.timeout or PATIENCE
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            trouble = f" ({self.trouble})" if self.trouble is not None else ""
            raise TooLate(
                f"{self._wanted} within {seconds:g} s{trouble}", object=self.at.place, remedy="see --timeout"
            ) from error

    async def until_timeout(self, work: Coroutine[Any, Any, object]) -> None:
        """Await what goes on until it is interrupted, but no longer than ``--timeout``, if that is given."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.at.timeout):
                await work

    async def read_input(self, read: Callable[[], T]) -> T:
        """Call a function that waits for standard input. Interrupts and deadlines end the wait."""
        wanted, self._wanted = self._wanted, "standard input did not end"
        result = await asyncio.to_thread(read)
        self._wanted = wanted
        return result

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[Storage, None]:
        """The storage at the URL."""
        storage = open_storage(self.at.url, clock=self.clock, **self.at.options)
        try:
            yield storage
        finally:
            await storage.close()

    def confirmed(self, storage: Storage) -> Storage:
        """The storage; damaged answers are read again, with a remark."""

        def remark(name: str, what: str) -> None:
            self.terminal.note(f"a damaged answer about object {name!r}: {what}; it was read again")

        return ConfirmedStorage(storage, remark)

    @asynccontextmanager
    async def database(
        self, *, by: str | None = None, poll: float = 1.0, bell: str | None = None
    ) -> AsyncGenerator[Database, None]:
        """The manifest, loaded; read-only unless ``by`` names the writer. ``bell`` is the URL of a bell."""
        if not poll > 0:
            raise InvalidOption(f"--poll is a positive number of seconds, not {poll}")
        async with self.storage() as storage:
            async with self.terminal.busy(f"Opening {storage.url}"):
                db = await connect(
                    storage,
                    manifest=self.at.manifest,
                    by=by or "",
                    poll=poll,
                    bell=bells.LOCAL if bell is None else bell,
                    read_only=by is None,
                    clock=self.clock,
                )
            self.opened = True
            try:
                if by is not None and _is_empty(db) and (another := await self._another_manifest()):
                    self.terminal.note(f"manifest {self.at.manifest!r} at {self.at.place} is a new one; {another}")
                with db.status.subscribe(self._remember):
                    yield db
            finally:
                with suppress(NotSent, TimeoutError):
                    async with asyncio.timeout(_CLOSING):
                        await db.close(timeout=0)

    def _remember(self, status: Status) -> None:
        self.trouble = status.last_error

    async def committed(self, db: Database, receipt: Receipt) -> str:
        """Wait for a commit, but give up on an obstacle that does not pass by itself."""
        self._wanted = "the write was not confirmed (it may have been made all the same)"
        settled = asyncio.get_running_loop().create_future()

        def look(_: object) -> None:
            if (receipt.done() or _lasts(db.status.value.last_error)) and not settled.done():
                settled.set_result(None)

        with receipt.stages.subscribe(look), db.status.subscribe(look):
            await settled
        error = db.status.value.last_error
        if not receipt.done() and error is not None:
            raise error
        return await receipt

    async def unhindered(self, db: Database, write: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await a write that waits for its own commit, giving up as `committed` does."""
        self._wanted = "the write was not confirmed (it may have been made all the same)"
        settled: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def perform() -> None:
            try:
                result = await write()
            except Exception as error:
                if not settled.done():
                    settled.set_exception(error)
            else:
                if not settled.done():
                    settled.set_result(result)

        def look(status: Status) -> None:
            if status.last_error is not None and _lasts(status.last_error) and not settled.done():
                settled.set_exception(status.last_error)

        task = spawn(perform(), "write")
        try:
            with db.status.subscribe(look):
                return await settled
        finally:
            task.cancel()

    async def follow(
        self, db: Database, source: Observable[T], show: Callable[[T], None], count: int | None = None
    ) -> None:
        """Show each item as it arrives, until there were enough, nobody reads the output, or the log cannot be read.

        Transient problems are noted on standard error.
        """
        ended = asyncio.get_running_loop().create_future()
        seen = 0
        remarked = ""

        def end(error: BaseException | None = None) -> None:
            if not ended.done():
                ended.set_exception(error) if error is not None else ended.set_result(None)

        def take(item: T) -> None:
            nonlocal seen
            if ended.done():
                return
            try:
                show(item)
            except Exception as error:
                end(error)
            seen += 1
            if seen == count:
                end()

        def look(status: Status) -> None:
            nonlocal remarked
            error = status.last_error
            if error is not None and not error.retriable:
                end(error)
            elif (now := str(error or "")) != remarked:
                self.terminal.note(f"{now}; trying again" if now else "it works again")
                remarked = now

        def hear(failure: Failure) -> None:
            if failure.operation in _ABOUT_VALUES:
                self.terminal.note(str(failure))

        when_stdout_closes(lambda: end(BrokenPipeError()))
        with source.subscribe(take), db.status.subscribe(look), db.errors.subscribe(hear):
            await ended

    def no_such_key(self, key: str, where: str = "") -> NoSuchKey:
        """The error that says that a key is missing."""
        return NoSuchKey(
            f"there is no key {key!r}{' ' if where else ''}{where}",
            object=f"manifest {self.at.manifest!r} at {self.at.place}",
        )

    async def note_if_never_written(self, db: Database) -> None:
        """Remark that the manifest is not there, as when a URL is mistyped."""
        if _is_empty(db):
            what = f"nothing was ever written to manifest {self.at.manifest!r} at {self.at.place}"
            self.terminal.note(f"{what}; {await self._another_manifest()}".removesuffix("; "))

    async def no_such_manifest(self) -> NoSuchManifest:
        """The error that says that a manifest is missing."""
        remedy = await self._another_manifest() or "name another with --manifest"
        return NoSuchManifest(f"there is no manifest {self.at.manifest!r}", object=self.at.place, remedy=remedy)

    async def _another_manifest(self) -> str:
        """What to do if there is the manifest that is opened by default with the mps3 log, whose name differs.

        "" also if that cannot be told, as by who has no right to look: it is a remark, and fails no command.
        """
        name, there = default_manifest("mps3"), False
        if name == self.at.manifest:
            return ""
        with suppress(Error):
            async with self.storage() as storage:
                there = await protocol_of(storage, name) is not None
        return f"there is one of the name {name!r}: --manifest {name}" if there else ""

    # -- how it ends -----------------------------------------------------------------------------------------

    def perform(self, work: Callable[[Run], Coroutine[Any, Any, int | None]], *, endless: bool = False) -> int:
        """Run the work on an event loop of its own and return the exit code.

        Args:
            work: receives this run.
            endless: it ends only when interrupted, which is then not a failure.
        """
        try:
            self.at.check()
            return asyncio.run(self._perform(work, endless))
        except Error as error:
            return self.terminal.fail(error)
        except KeyboardInterrupt:  # where the loop cannot handle signals
            return Exit.OK if endless else Exit.INTERRUPTED

    async def _perform(self, work: Callable[[Run], Coroutine[Any, Any, int | None]], endless: bool) -> int:
        self._cancel_on_signals()
        try:
            if self.at.timeout is None or endless:
                return await work(self) or Exit.OK
            async with self.deadline():
                return await work(self) or Exit.OK
        except BrokenPipeError:
            let_go_of_stdout()
            return Exit.OK if endless else Exit.PIPE_CLOSED
        except TooLate as error:
            code = self.terminal.fail(error)
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            code = Exit.OK if endless and self._stopped is Exit.INTERRUPTED else self._stopped
        return _leave(code)

    def _cancel_on_signals(self) -> None:
        """End the work cleanly on an interrupt, a termination request or the loss of the terminal."""
        task = asyncio.current_task()

        def stop(code: Exit) -> None:
            self._stopped = code
            if task is not None:
                task.cancel()

        for name, code in (("SIGINT", Exit.INTERRUPTED), ("SIGTERM", Exit.TERMINATED), ("SIGHUP", Exit.TERMINATED)):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                with suppress(NotImplementedError):
                    asyncio.get_running_loop().add_signal_handler(number, stop, code)


def when_of(text: str) -> When:
    """Parse a version argument: a time (local if it has no zone), or whatever `Database.at` takes."""
    if not text.isdigit():
        with suppress(ValueError):
            return datetime.fromisoformat(text).astimezone()
    return text


def _is_empty(db: Database) -> bool:
    """Whether nothing was ever written to the manifest."""
    return not db.states.value.confirmed.version


def _leave(code: Exit) -> NoReturn:
    """Exit the process now.

    Python would otherwise wait for threads that hang in a system call: name resolution, a lock, a dead mount.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _lasts(error: Error | None) -> bool:
    """Whether an error is unlikely to pass while a one-off command waits."""
    return error is not None and (not error.retriable or isinstance(error, (AccessDenied, BucketNotFound)))
