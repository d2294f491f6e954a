"""The commands that read the past: history and restore."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from rxmps3.cli.commands import By, Key, command
from rxmps3.cli.run import Run, when_of
from rxmps3.cli.terminal import local_time, short_text, shown
from rxmps3.database.past import KeyVersion
from rxmps3.model.missing import MISSING

__all__ = ["history", "restore"]


@command
async def history(run: Run, key: Key) -> None:
    """Show the versions of a key that the log still has, oldest first: log version, time, writer, and the value.

    The time is the writer's own. With --json each line is an object with "id", "version", "missing", "value", "by",
    "time" and "date" (when it was stored).
    """
    async with run.deadline(), run.database() as db, run.terminal.busy("Reading the log"):
        versions = await db.history(key)
    for version in versions:
        _show(run, version)
    if not versions:
        raise run.no_such_key(key, "in what the log still has")


def _show(run: Run, version: KeyVersion) -> None:
    missing = version.value is MISSING
    if run.at.json:
        times = {"time": version.time, "date": version.date}
        record: dict[str, Any] = {"id": version.id, "version": version.version, "missing": missing}
        record |= {"value": None if missing else version.value, "by": version.by}
        record |= {name: None if at is None else at.isoformat(timespec="milliseconds") for name, at in times.items()}
        run.terminal.record(record)
        return
    time = local_time(version.time)
    run.terminal.line(
        (f"{version.id:>6}  ", "bold"),
        (f"{time:<19}  ", "dim"),
        (f"{shown(version.by) or '-':<10}  ", "cyan"),
        ("deleted", "yellow") if missing else short_text(version.value),
    )


@command
async def restore(
    run: Run,
    at: Annotated[str, typer.Argument(metavar="VERSION", help="A version, a tag, or a time.", show_default=False)],
    prefix: Annotated[str, typer.Option("--prefix", metavar="PREFIX", help="Only keys that start with this.")] = "",
    by: By = "",
) -> None:
    """Restore every key to its value at an earlier version, in one atomic write, and print the new version.

    Keys created since are deleted. If nothing differs, nothing is written or printed. With --json it prints an object
    with "version", null in that case.
    """
    when = when_of(at)
    async with run.deadline(), run.database(by=by) as db:
        version = await run.unhindered(db, partial(db.restore, when, prefix))
    if run.at.json:
        run.terminal.record({"version": version or None})
    elif version:
        run.terminal.line(version)
    else:
        run.terminal.note("nothing differs: nothing was written")
