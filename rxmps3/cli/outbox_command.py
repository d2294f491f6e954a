"""The command for the unsent writes on this machine: outbox."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from rxmps3.cli.commands import CODES, app
from rxmps3.cli.options import AsJson, Endpoint, Profile, Region
from rxmps3.cli.run import Run, Target
from rxmps3.cli.terminal import shown
from rxmps3.database.connect import connect
from rxmps3.database.file_target import given_path
from rxmps3.errors import InvalidOption
from rxmps3.local.unsent import Forgotten, Unsent, find_unsent, forget_states, move
from rxmps3.storage import open_storage

_KEYS_SHOWN = 5
_CONFIRMING = 5.0
"""Seconds in which the outbox may find out that what was sent is in the log."""

Directory = Annotated[
    str, typer.Argument(metavar="DIR", help="The directory that connect was given as local=.", show_default=False)
]
Database = Annotated[
    str | None,
    typer.Option("--database", metavar="ADDRESS", help="Only this address or folder, as the list shows it."),
]


@app.command(epilog=CODES)
def outbox(
    directory: Directory,
    database: Database = None,
    send: Annotated[bool, typer.Option("--send", help="Send them, each to the address it is waiting for.")] = False,
    move_to: Annotated[
        str | None, typer.Option("--move-to", metavar="URL", help="Make them wait for the database at URL instead.")
    ] = None,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew", help="Discard the copies of databases that were replaced or put back; unsent writes stay."
        ),
    ] = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Give up sending after so long.")] = None,
    json: AsJson = False,
) -> int:
    """List the unsent writes in a local directory; send them, or move them to another address.

    A server whose port, tunnel or host name has changed is another address. --move-to URL --send moves and sends. An
    outbox that a running process has open is skipped: the process sends it.
    """
    at = Target(move_to or "", "main", endpoint_url, region, profile, timeout, json)
    return Run("outbox", at).perform(lambda run: _outbox(run, directory, database, send, move_to, anew))


async def _outbox(run: Run, directory: str, database: str | None, send: bool, move_to: str | None, anew: bool) -> None:
    directory = str(given_path(directory, ""))
    if anew:
        for gone in await forget_states(directory, database):
            _show_forgotten(run, gone)
    found = await _waiting(run, directory, database)
    if not found:
        await _tell_of_none(run, directory, database)
    if move_to is None and not send:
        for one in found:
            _show(run, one)
        return
    idle = [one for one in found if not one.in_use]
    if not run.at.json:
        for one in found:
            if one.in_use:
                _show(run, one)
    if move_to is not None:
        storage = open_storage(move_to, clock=run.clock, **run.at.options)
        try:
            for one in [one for one in idle if one.address != storage.url]:
                _tell(run, "moved", await move(one, directory, storage.url, run.clock), storage.url, one.manifest)
        finally:
            await storage.close()
        idle = [one for one in await _waiting(run, directory, storage.url) if not one.in_use]
    if send:
        options = dict(run.at.options)
        for address, manifest in sorted({(one.address or "", one.manifest) for one in idle}):
            if not address:
                raise InvalidOption(
                    "the folder does not say which address they wait for", remedy="give it: --move-to URL --send"
                )
            count = sum(len(one.writes) for one in idle if (one.address, one.manifest) == (address, manifest))
            await _send(run, directory, address, manifest, options)
            _tell(run, "sent", count, address, manifest)


async def _waiting(run: Run, directory: str, database: str | None) -> list[Unsent]:
    found = await find_unsent(directory, run.clock)
    return [one for one in found if database is None or database in (one.address, one.database)]


async def _tell_of_none(run: Run, directory: str, database: str | None) -> None:
    """Say that nothing waits, and where something does."""
    if (root := await asyncio.to_thread(_directory_around, directory)) is not None:
        raise InvalidOption(
            "it is a folder within a local directory", object=f"directory {directory!r}", remedy=f"name {str(root)!r}"
        )
    if run.at.json:
        return
    others = [] if database is None else await _waiting(run, directory, None)
    where = "" if database is None else f" to {database}"
    elsewhere = ", ".join(sorted({one.address or one.database for one in others}))
    run.terminal.line(f"nothing waits to be sent{where}" + (f"; something does to {elsewhere}" if elsewhere else ""))


def _directory_around(directory: str) -> Path | None:
    """The local directory in which this is the folder of a database or a manifest."""
    here = Path(directory).absolute()
    return here.parent if any(here.glob("*/slots")) else here.parents[1] if (here / "slots").is_dir() else None


async def _send(run: Run, directory: str, address: str, manifest: str, options: dict[str, Any]) -> None:
    if not address.startswith("s3:"):
        options = {}
    elif "?endpoint_url=" in address:
        options = {name: value for name, value in options.items() if name != "endpoint_url"}
    storage = open_storage(address, clock=run.clock, **options)
    try:
        if storage.url != address:
            raise InvalidOption(
                f"options and environment lead to {storage.url}",
                object=address,
                remedy="restore them, or say where the writes are to go: --move-to URL --send",
            )
        async with run.deadline():
            db = await connect(storage, manifest=manifest, local=directory, clock=run.clock, shared=False)
            try:
                for receipt in db.pending.value:
                    await run.committed(db, receipt)
                await db.close(timeout=_CONFIRMING)
            finally:
                await db.close(timeout=0)
    finally:
        await storage.close()


def _show(run: Run, one: Unsent) -> None:
    sent = sum(each.sent is not None for each in one.writes)
    if run.at.json:
        run.terminal.record(
            {
                "address": one.address,
                "folder": one.database,
                "manifest": one.manifest,
                "writes": len(one.writes),
                "may_have_been_sent": sent,
                "keys": one.keys,
                "unreadable": list(one.unreadable),
                "in_use": one.in_use,
            }
        )
        return
    keys = ", ".join(shown(key) for key in one.keys[:_KEYS_SHOWN])
    more = f" and {len(one.keys) - _KEYS_SHOWN:,} more" if len(one.keys) > _KEYS_SHOWN else ""
    where = f"{one.address or one.database + ' (of an address that was not noted)'} manifest {one.manifest!r}"
    state = "; a process has them open and sends them" if one.in_use else ""
    maybe = f", {sent:,} of them may have been sent" if sent else ""
    run.terminal.line(f"{where}: {len(one.writes):,} writes{maybe}, of {keys}{more}{state}")
    for name in one.unreadable:
        run.terminal.line(f"  not readable: {name}")


def _show_forgotten(run: Run, one: Forgotten) -> None:
    where = one.address or one.database
    if run.at.json:
        done = "in use" if one.in_use else "forgotten"
        run.terminal.record({"done": done, "address": where, "manifest": one.manifest})
    else:
        what = "a process has it open: end that first" if one.in_use else "what was read of it is forgotten"
        run.terminal.line(f"{where} manifest {one.manifest!r}: {what}")


def _tell(run: Run, what: str, count: int, address: str, manifest: str) -> None:
    if run.at.json:
        run.terminal.record({"done": what, "writes": count, "address": address, "manifest": manifest})
    else:
        run.terminal.line(f"{count:,} writes {what}: {address} manifest {manifest!r}")
