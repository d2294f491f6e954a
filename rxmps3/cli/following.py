"""The commands that follow a database: ``watch``, ``log`` and ``who``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from reactivex import operators as ops

from rxmps3.cli.run import Run
from rxmps3.cli.terminal import TooLate, json_text, local_time, short_text, shown
from rxmps3.database.database import Database
from rxmps3.database.presence.objects import look_once
from rxmps3.database.presence.who import rendered
from rxmps3.errors import InvalidOption, Unsupported
from rxmps3.log.registry import protocol_of
from rxmps3.log.sequenced.history import read_entries
from rxmps3.model.missing import MISSING
from rxmps3.model.names import Layout, check_key
from rxmps3.model.state import ManifestVersion
from rxmps3.storage import Storage
from rxmps3.streams.events import Change, Reset

__all__ = ["follow_log", "show_log", "show_who", "watch"]

_KEYS_ON_A_LINE = 8


async def watch(
    run: Run, key: str, *, prefix: bool, count: int | None, current: bool, poll: float, bell: str | None
) -> None:
    """Print the value of a key, or of each key under a prefix, and then each change."""
    try:
        async with asyncio.timeout(run.at.timeout), run.database(poll=poll, bell=bell) as db:
            if not prefix:
                check_key(key, sys.maxsize)
            if current:
                await _show_current(run, db, key, prefix)
            changes = db.changes(key)
            wanted = changes if prefix else changes.pipe(ops.filter(lambda change: change.key == key))
            await run.follow(db, wanted, partial(_show_change, run), count)
    except TimeoutError as error:
        if run.opened and count is None:
            return
        what = "the changes did not come" if run.opened else "there was no answer"
        raise TooLate(f"{what} within {run.at.timeout:g} s", object=run.at.place) from error


async def _show_current(run: Run, db: Database, key: str, prefix: bool) -> None:
    """Print the current values. On return the view is still the one printed."""
    while True:
        view = db.states.value
        values = await db.get_prefix(key) if prefix else await db.get_many((key,), MISSING)
        if db.states.value is view:
            break
    for name, value in values.items():
        entry = view.look_up(name)
        _show_seen(run, "current", name, value, entry.version if entry is not None else "", {}, "now")


def _show_change(run: Run, change: Change) -> None:
    facts = {"by": change.by, "pending": change.pending, "cause": change.cause}
    remarks = [
        f"by {shown(change.by)}" if change.by else "",
        "pending" if change.pending else "",
        change.cause if change.cause != "remote" else "",
    ]
    _show_seen(run, "change", change.key, change.after, change.version, facts, ", ".join(filter(None, remarks)))


def _show_seen(run: Run, event: str, key: str, value: Any, version: str, facts: dict[str, Any], remark: str) -> None:
    now, missing = run.clock.now(), value is MISSING
    if run.at.json:
        seen = {"event": event, "key": key, "missing": missing, "value": None if missing else value}
        run.terminal.record({**seen, "version": version, **facts, "time": now.isoformat(timespec="milliseconds")})
        return
    nothing = "is not there" if event == "current" else "deleted"
    run.terminal.line(
        (local_time(now, "%H:%M:%S.%f")[:-3] + "  ", "dim"),
        (shown(key), "bold"),
        (f" {nothing}", "yellow") if missing else f" = {short_text(value)}",
        (f"  ({remark})" if remark else "", "dim"),
    )


async def show_log(run: Run, last: int) -> None:
    """Print the last versions of the log."""
    async with run.deadline(), run.storage() as storage, run.terminal.busy("Reading the log"):
        protocol = await protocol_of(storage, run.at.manifest)
        if protocol in ("versioned", "mps3"):
            raise Unsupported(
                f"its log, in protocol {protocol!r}, cannot be listed afterwards",
                operation="log",
                object=f"manifest {run.at.manifest!r} at {run.at.place}",
                remedy="log --follow shows what comes from now on",
            )
        versions = await _history(run.confirmed(storage), run.at.manifest, last)
    for version in versions:
        _show_version_of_log(run, version)
    if not versions and last:
        what = "holds no version" if protocol is not None else "is not there: nothing was ever written to it"
        run.terminal.note(f"manifest {run.at.manifest!r} at {run.at.place} {what}")


async def _history(storage: Storage, manifest: str, last: int) -> Sequence[ManifestVersion]:
    layout = Layout(manifest, storage.name_limit)
    return [entry.version async for entry in read_entries(storage, layout, last=last)]


async def follow_log(run: Run, last: int, poll: float, bell: str | None) -> None:
    """Print the last versions of the log, and then each new one."""
    twice: set[str] = set()  # what came while the last versions were read may be among them

    def show(version: ManifestVersion | Reset) -> None:
        if isinstance(version, Reset):
            run.terminal.note(f"the versions up to {version.id} are no longer in the log")
        elif version.id not in twice:
            _show_version_of_log(run, version)

    try:
        async with asyncio.timeout(run.at.timeout), run.storage() as storage, run.database(poll=poll, bell=bell) as db:
            missed: list[ManifestVersion | Reset] = []
            with db.versions.subscribe(missed.append):
                history = (
                    await _history(run.confirmed(storage), run.at.manifest, last) if db.protocol == "sequenced" else ()
                )
            for version in history:
                show(version)
            twice.update(version.id for version in history)
            for version in missed:
                show(version)
            await run.follow(db, db.versions, show)
    except TimeoutError as error:
        if not run.opened:
            raise TooLate(f"there was no answer within {run.at.timeout:g} s", object=run.at.place) from error


def _show_version_of_log(run: Run, version: ManifestVersion) -> None:
    writes = [
        {
            "version": write.id.version,
            **({} if write.by is None else {"by": write.by}),
            "put": [key for key, entry in write.update.items() if entry is not None],
            "deleted": [key for key, entry in write.update.items() if entry is None],
        }
        for write in version.writes
    ]
    if run.at.json:
        time = None if version.time is None else version.time.isoformat(timespec="milliseconds")
        record = {"id": version.id, "time": time, "by": version.by, "writer": version.writer, "writes": writes}
        run.terminal.record(record)
        return
    time = local_time(version.time)
    put = dict.fromkeys(key for write in writes for key in write["put"])
    deleted = dict.fromkeys(key for write in writes for key in write["deleted"])
    what = [f"{verb} {_listed(list(keys))}" for verb, keys in (("put", put), ("deleted", deleted)) if keys]
    run.terminal.line(
        (f"{version.id:>6}  ", "bold"),
        (f"{time:<19}  ", "dim"),
        (f"{shown(version.by) or '-':<10}  ", "cyan"),
        (f"{version.writer}  ", "dim"),
        "; ".join(what) or "no keys",
    )


def _listed(keys: Sequence[str]) -> str:
    some = ", ".join(map(shown, keys[:_KEYS_ON_A_LINE]))
    return some if len(keys) <= _KEYS_ON_A_LINE else f"{some}, … ({len(keys):,} keys)"


async def show_who(run: Run, ttl: float) -> None:
    """Print who is here now."""
    if not 0 < ttl < timedelta.max.total_seconds():
        raise InvalidOption(f"--ttl is a positive number of seconds, not {ttl}")
    async with run.deadline(), run.storage() as storage, run.terminal.busy("Looking"):
        here = rendered(await look_once(storage, run.at.manifest, timedelta(seconds=ttl)))
    for id, one in here.items():
        if run.at.json:
            times = {"since": one.since, "seen": one.seen}
            said = {"id": id, "me": one.me, "by": one.by}
            run.terminal.record(said | {name: at.isoformat(timespec="milliseconds") for name, at in times.items()})
            continue
        run.terminal.line(
            (f"{local_time(one.since)}  ", "dim"),
            (f"{shown(one.by) or '-':<10}  ", "cyan"),
            (f"{id}  ", "dim"),
            json_text(one.me),
        )
    if not here:
        run.terminal.note(f"nobody is at manifest {run.at.manifest!r} at {run.at.place}")
