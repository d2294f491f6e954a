"""The commands that show a database on a screen: studio and top."""

from __future__ import annotations

import asyncio
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from rxmps3.cli.commands import Poll, command
from rxmps3.cli.run import Run
from rxmps3.errors import InvalidOption, Unsupported
from rxmps3.storage import MemoryStorage, Storage, open_storage

__all__ = ["studio", "top"]


@command
async def studio(
    run: Run,
    write: Annotated[bool, typer.Option("--write", help="Allow edits, and the doctor's examination.")] = False,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who is editing; recorded, not verified.")] = "",
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="By default a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the address; do not open a browser.")] = False,
    poll: Poll = 1.0,
) -> None:
    """Show a database in a web page on this machine: keys, values, log, time slider, differences, people, problems.

    URL may also be a file that export wrote. The page is served on 127.0.0.1 to whoever has the address, which contains
    a secret; it changes nothing unless --write is given. It needs the extra: pip install 'rxmps3\\[studio]'.
    """
    try:
        from rxmps3.cli.studio.server import TOKEN_CHARACTERS, serving
        from rxmps3.cli.studio.session import Session
    except ImportError as error:
        raise Unsupported(
            f"the package {error.name} is not installed", operation="studio", remedy="pip install 'rxmps3[studio]'"
        ) from error
    if not poll > 0:
        raise InvalidOption(f"--poll is a positive number of seconds, not {poll}")
    export = _exported(run.at.url)
    if export is not None and write:
        raise InvalidOption("an exported file cannot be edited", remedy="import it into a database first")
    storage: Storage = (
        MemoryStorage(clock=run.clock) if export else open_storage(run.at.url, clock=run.clock, **run.at.options)
    )
    session = Session(
        storage, run.at.manifest, (by or "studio") if write else None, poll, run.clock, run.at.place, export
    )
    try:
        async with serving(session.model_of, run.clock.new_id(TOKEN_CHARACTERS), port) as address:
            if run.at.json:
                run.terminal.record({"address": address})
            else:
                run.terminal.line(address)
            if not no_open and sys.stdout.isatty():
                webbrowser.open(address)
            await run.until_timeout(asyncio.Event().wait())
    finally:
        await session.close()
        await storage.close()


@command
async def top(run: Run, poll: Poll = 1.0) -> None:
    """Show a database in the terminal: keys as they change, the log, and the versions before.

    It needs the extra: pip install 'rxmps3\\[top]'.
    """
    try:
        from rxmps3.cli.top import Top
    except ImportError as error:
        raise Unsupported(
            f"the package {error.name} is not installed", operation="top", remedy="pip install 'rxmps3[top]'"
        ) from error
    if not sys.stdout.isatty():
        raise InvalidOption("standard output is not a terminal", operation="top", remedy="use watch or log --follow")
    async with run.database(poll=poll) as db:
        await run.until_timeout(Top(db, run.at.place).run_async())


def _exported(url: str) -> Path | None:
    """The file, if the URL is the path of one."""
    path = Path(url)
    return path if ":" not in url and path.is_file() else None
