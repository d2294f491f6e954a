"""The commands for whole databases: compact, verify, export, import, copy."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated, Any, BinaryIO, cast

import typer

from rxmps3.cli import transfer as moving
from rxmps3.cli.commands import command, main
from rxmps3.cli.run import Run
from rxmps3.cli.terminal import Exit, shown, writing_to_stdout
from rxmps3.database.connect import connect
from rxmps3.database.database import Database
from rxmps3.database.file_target import file_target
from rxmps3.errors import Corrupt, InvalidKey, InvalidOption, Unsupported
from rxmps3.log.leftovers import Leftovers, LeftValue, find_leftovers, marker_of, read_left
from rxmps3.log.mps3.names import parse_stamp
from rxmps3.log.protocol import Progress, Report
from rxmps3.log.registry import protocol_of
from rxmps3.log.sequenced.collector import DEFAULT_RETENTION
from rxmps3.log.sequenced.repair import SET_ASIDE, Repair, Stray, carry_out, examine
from rxmps3.log.sequenced.verify import Problem
from rxmps3.log.sequenced.verify import verify as verify_manifest
from rxmps3.log.versioned.names import VersionedNames
from rxmps3.log.versioned.repair import LeftVersion
from rxmps3.log.versioned.repair import carry_out as clear_versions
from rxmps3.log.versioned.repair import examine as examine_versions
from rxmps3.model.names import check_key
from rxmps3.storage import Storage, open_storage

__all__ = ["main"]

_KEYS_SHOWN = 5

Prefix = Annotated[str, typer.Option("--prefix", metavar="PREFIX", help="Only keys that start with this.")]


@contextmanager
def progress_bar(run: Run) -> Generator[Callable[[str, int, int], None], None, None]:
    """A progress bar on the terminal: what is being done, how much is done, and the total."""
    if run.at.json or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield tell


@command
async def compact(
    run: Run,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")] = False,
    retention: Annotated[
        float, typer.Option(metavar="DAYS", help="How far back the log is to reach at least.")
    ] = DEFAULT_RETENTION / timedelta(days=1),
) -> None:
    """Write a checkpoint and delete what is no longer needed.

    Writing clients do this by themselves. Log entries are deleted in two runs an hour apart: the first announces it.
    """
    if not retention >= 0:
        raise InvalidOption(f"--retention is a number of days, 0 or more, not {retention}")
    kept = timedelta.max if retention > timedelta.max.days else timedelta(days=retention)
    async with (
        run.storage() as storage,
        connect(storage, manifest=run.at.manifest, retention=kept, clock=run.clock) as db,
    ):
        await run.note_if_never_written(db)
        with progress_bar(run) as tell:
            report = await db.compact(dry_run=dry_run, progress=tell)
    _show_report(run, report, dry_run)


def _show_report(run: Run, report: Report, dry_run: bool) -> None:
    if run.at.json:
        waiting = report.waiting_until
        run.terminal.record(
            {
                "dry_run": dry_run,
                "checkpoint": report.checkpoint,
                "floor": report.floor,
                "raised": report.raised,
                "entries": report.entries,
                "checkpoints": report.checkpoints,
                "values": report.values,
                "bytes": report.bytes,
                "expired": list(report.expired),
                "waiting_until": None if waiting is None else waiting.isoformat(),
            }
        )
        return
    would = "would be " if dry_run else ""
    if report.checkpoint is not None:
        run.terminal.line(f"checkpoint after entry {report.checkpoint} written")
    if report.raised:
        run.terminal.line(f"the log up to its newest old checkpoint {would}given up")
    run.terminal.line(
        f"{report.entries:,} log entries, {report.checkpoints:,} checkpoints and {report.values:,} values "
        f"{would}deleted, {report.bytes:,} bytes"
    )
    if report.waiting_until is not None:
        run.terminal.line(f"log entries up to {report.floor} wait until {report.waiting_until:%Y-%m-%d %H:%M:%S %Z}")


@command
async def verify(
    run: Run,
    contents: Annotated[bool, typer.Option(help="Download the large values and check them, too.")] = True,
) -> int:
    """Recompute the state from the log, compare it with the checkpoints and the values, and list every problem.

    The exit code is 6 if there is one. With --json each problem is a line with "object" and "problem", then the
    summary.
    """
    async with run.storage() as storage:
        protocol = await protocol_of(storage, run.at.manifest)
        with progress_bar(run) as tell:
            if protocol in ("versioned", "mps3"):
                return await _verify_by_reading(run, protocol, contents, tell)
            found = await verify_manifest(run.confirmed(storage), run.at.manifest, contents=contents, progress=tell)
        if protocol is None and found.ok:
            raise await run.no_such_manifest()
    _show_problems(run, found.problems)
    if run.at.json:
        run.terminal.record(
            {
                "ok": found.ok,
                "problems": len(found.problems),
                "head": found.head,
                "keys": found.keys,
                "entries": found.entries,
                "checkpoints": found.checkpoints,
                "values": found.values,
            }
        )
    else:
        verdict = "all is well" if found.ok else f"{len(found.problems)} objects are wrong"
        run.terminal.line(
            f"{verdict}: {found.keys:,} keys after entry {found.head}; verified {found.entries:,} entries, "
            f"{found.checkpoints:,} checkpoints, {found.values:,} values"
        )
    return Exit.OK if found.ok else Exit.DATA


async def _verify_by_reading(run: Run, protocol: str, contents: bool, tell: Progress) -> int:
    """Verify a log that cannot be recomputed from outside: open it as a client and read every value."""
    problems: list[Problem] = []
    values, head, keys = 0, "", list[str]()
    try:
        async with run.database() as db:
            head, keys = db.status.value.head, db.keys()
            for done, key in enumerate(keys if contents else ()):
                tell("values", done, len(keys))
                try:
                    await db.get(key)
                    values += 1
                except Corrupt as error:
                    problems.append(Problem(f"key {key!r}", error.what))
    except Corrupt as error:
        problems.append(Problem(error.object or f"manifest {run.at.manifest!r}", error.what))
    _show_problems(run, problems)
    if run.at.json:
        summary = {"ok": not problems, "problems": len(problems), "protocol": protocol, "head": head}
        run.terminal.record({**summary, "keys": len(keys), "values": values})
    else:
        verdict = "all is well" if not problems else f"{len(problems)} objects are wrong"
        run.terminal.line(f"{verdict}: {len(keys):,} keys in protocol {protocol!r}; read {values:,} values")
    return Exit.DATA if problems else Exit.OK


def _show_problems(run: Run, problems: Sequence[Problem]) -> None:
    for problem in problems:
        if run.at.json:
            run.terminal.record({"object": problem.object, "problem": problem.what})
        else:
            run.terminal.line(("wrong  ", "red"), f"{problem.object}: {problem.what}")


@command
async def repair(
    run: Run,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, nothing is changed.")] = False,
    log: Annotated[
        str, typer.Option("--log", metavar="ID", help="Which log to keep, if several are left and no head names one.")
    ] = "",
    into: Annotated[
        str,
        typer.Option("--into", metavar="NAME", help="If values are left without a log: put them in this manifest."),
    ] = "",
) -> int:
    """Make a log readable again whose head is gone, or in which two histories are mixed, from what is left.

    Says what it would do; does it with --yes. What cannot be read is moved to the folder .rxmps3-set-aside, never just
    deleted. If a log is gone and only values are left, it says of which keys; --into puts the newest of each key into a
    manifest of another name. Ends with 6 if something is to be done and --yes is not given.
    """
    async with run.storage() as storage:
        protocol = await protocol_of(storage, run.at.manifest)
        if protocol == "versioned" and (versions := await examine_versions(storage, run.at.manifest)):
            return await _repair_versions(run, storage, versions, yes)
        if protocol == "versioned" or (protocol == "mps3" and await _has_operations(storage, run.at.manifest)):
            raise _not_repaired(run, _NOT_REPAIRED[protocol])
        found = await examine(storage, run.at.manifest, log=log, nonce=run.clock.new_id())
        left = [] if found.log else await find_leftovers(storage, run.at.manifest)
        if not found.log and (marker := await marker_of(storage, run.at.manifest)):
            raise _not_repaired(run, f"its log is hidden by a delete marker: remove that, its version id is {marker!r}")
        if not found.is_needed and not found.log and not left:
            raise await run.no_such_manifest()
        if into:
            return await _put_left(run, storage, found, left, into)
        for one in left:
            _show_leftovers(run, one)
        if found.is_needed or found.log:
            _show_repair(run, found)
        if not found.is_needed or not yes:
            return Exit.DATA if found.is_needed or left else Exit.OK
        folder = _new_folder(run)
        await carry_out(storage, found, folder)
        _show_done(run, folder, len(found.strays) + len(found.rest))
    return Exit.OK


def _new_folder(run: Run) -> str:
    return f"{run.clock.now():%Y-%m-%dT%H%M%SZ}-{run.clock.new_id(6)}"


async def _repair_versions(run: Run, storage: Storage, versions: list[LeftVersion], yes: bool) -> int:
    """Move aside what is left of a versioned log whose beginning is gone."""
    name = VersionedNames(run.at.manifest, storage.name_limit).object
    strays = tuple(Stray(f"{name}, version {one.id}", one.why, one.writes, one.keys) for one in versions)
    _show_repair(run, Repair(run.at.manifest, strays=strays))
    if not yes:
        return Exit.DATA
    folder = _new_folder(run)
    await clear_versions(storage, run.at.manifest, versions, folder)
    _show_done(run, folder, len(versions))
    return Exit.OK


def _not_repaired(run: Run, what: str) -> Unsupported:
    return Unsupported(what, operation="repair", object=f"manifest {run.at.manifest!r} at {run.at.place}")


async def _has_operations(storage: Storage, manifest: str) -> bool:
    prefix = f"{manifest}@"
    page = await storage.list(prefix, limit=10)
    return any(parse_stamp(one.name.removeprefix(prefix)) is not None for one in page.objects)


_HOW_LEFT = {
    "sequenced": "of this manifest, by their names",
    "mps3": "in the mps3 format, by their names",
    "versioned": "if they are values: in the versioned log, and in mps3 with versions, they have the keys' own names, "
    "as other programs' objects may have, too",
}


def _show_leftovers(run: Run, left: Leftovers) -> None:
    """Say which values have no log any more."""
    if run.at.json:
        run.terminal.record(
            {
                "left": left.protocol,
                "objects": left.objects,
                "bytes": left.size,
                "keys": list(left.newest),
                "packs": list(left.packs),
                "others": list(left.others),
            }
        )
        return
    keys = ", ".join(map(shown, list(left.newest)[:_KEYS_SHOWN])) + (" …" if len(left.newest) > _KEYS_SHOWN else "")
    run.terminal.line(
        ("left   ", "yellow"),
        f"{left.objects:,} objects with {left.size:,} bytes, {_HOW_LEFT[left.protocol]}; "
        f"{len(left.newest):,} keys{': ' if keys else ''}{keys}",
    )
    if left.packs:
        run.terminal.line(f"{len(left.packs):,} of these hold several values each, of keys that only the log knew")
    if left.others:
        run.terminal.line(f"some may be in use: {', '.join(map(shown, left.others))} is there, in the same format")
    if left.newest:
        run.terminal.line(
            "no log names them, so that they may be older than what was there last, or deleted; small values were in "
            "the log and are gone. With --into NAME the newest of each key is put into the manifest NAME"
        )


async def _put_left(run: Run, storage: Storage, found: Repair, left: Sequence[Leftovers], into: str) -> int:
    """Put the values that are left into another manifest."""
    if found.log or not any(one.newest for one in left):
        raise InvalidOption(
            "--into copies values that no log names, and there are none here", object=f"manifest {run.at.manifest!r}"
        )
    if into == run.at.manifest:
        raise InvalidOption("--into names another manifest than the one whose log is gone", object=f"manifest {into!r}")
    values: dict[str, tuple[Leftovers, LeftValue]] = {}
    for one in reversed(left):  # what is certain to be values replaces what may be
        values.update({key: (one, value) for key, value in one.newest.items()})
    problems: list[Problem] = []
    async with connect(storage, manifest=into, clock=run.clock, shared=False) as db:

        async def read(key: str) -> str | None:
            one, value = values[key]
            try:
                check_key(key, db.key_limit)
                return await read_left(storage, one.protocol, value)
            except (Corrupt, InvalidKey) as error:
                problems.append(Problem(f"object {value.name!r}", error.what))
                return None

        with progress_bar(run) as tell:
            moved = await moving.add(db, values, read, progress=lambda done, total: tell("keys", done, total))
    _show_problems(run, problems)
    _show_moved(run, moved, f"put into manifest {into!r}")
    return Exit.DATA if problems else Exit.OK


_NOT_REPAIRED = {
    "versioned": "its log is the versions of one object, without a head: if the newest one is a delete marker, remove "
    "that; if anything else is gone, restore it from a backup",
    "mps3": "it has no head to lose: whichever operations are left are its log, and each holds the whole state",
}


def _show_repair(run: Run, found: Repair) -> None:
    if run.at.json:
        for stray in found.strays:
            run.terminal.record(
                {"object": stray.name, "why": stray.why, "writes": list(stray.writes), "keys": list(stray.keys)}
            )
        run.terminal.record(
            {
                "needed": found.is_needed,
                "log": found.log,
                "last": found.last,
                "keys": found.keys,
                "head": "written" if found.head is not None else "moved aside" if found.problem else "kept",
                "problem": found.problem,
                "strays": len(found.strays),
                "rest": len(found.rest),
            }
        )
        return
    if found.rest:
        run.terminal.line(("aside  ", "yellow"), f"{len(found.rest):,} values and other objects that no log names")
    for stray in found.strays:
        keys = ", ".join(map(shown, stray.keys[:_KEYS_SHOWN])) + (" …" if len(stray.keys) > _KEYS_SHOWN else "")
        held = f"; it has {len(stray.writes)} writes, of {keys}" if stray.writes else ""
        run.terminal.line(("aside  ", "yellow"), f"{shown(stray.name)}: {stray.why}{held}")
    if found.head is not None:
        run.terminal.line(("head   ", "yellow"), f"to be written anew: {found.problem}")
    elif found.problem:
        run.terminal.line(("head   ", "yellow"), f"to be moved aside: {found.problem}")
    if found.log:
        what = "nothing is to be done" if not found.is_needed else "what is kept"
        run.terminal.line(f"{what}: log {found.log} up to entry {found.last:,}, {found.keys:,} keys")
    else:
        run.terminal.line("nothing of it can be read as a log: afterwards the manifest is empty, and can be made anew")
    if found.is_needed:
        run.terminal.line("with --yes this is done; let no client write meanwhile")


def _show_done(run: Run, folder: str, count: int) -> None:
    if run.at.json:
        run.terminal.record({"done": True, "moved": count, "folder": SET_ASIDE + folder})
    else:
        run.terminal.line(f"done; {count:,} objects are in {SET_ASIDE}{folder}/")


@command
async def export(
    run: Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file; - is standard output.", show_default=False)],
    prefix: Prefix = "",
) -> None:
    """Write the keys and values to a file of JSON lines, as of one version. The history is not exported."""
    if str(file) == "-":
        async with run.database() as db:
            await _check_it_is_there(run, db)
            with writing_to_stdout():
                await moving.export_to(db, sys.stdout, prefix=prefix)
        return
    try:
        target = file_target(file, "")
    except OSError as error:
        raise InvalidOption(f"{error.strerror}: {error.filename!r}", object=f"file {str(file)!r}") from None
    partial = target.with_name(f".{target.name[:100]}.{run.clock.new_id()}.part")
    try:
        with partial.open("x", encoding="utf-8", newline="\n") as out:
            async with run.database() as db:
                await _check_it_is_there(run, db)
                with progress_bar(run) as tell:
                    moved = await moving.export_to(
                        db, out, prefix=prefix, progress=lambda done, total: tell("keys", done, total)
                    )
        partial.replace(target)
    except OSError as error:
        raise InvalidOption(f"cannot be written: {error.strerror}", object=f"file {str(file)!r}") from None
    finally:
        partial.unlink(missing_ok=True)
    _show_moved(run, moved, "written to the file")


async def _check_it_is_there(run: Run, db: Database) -> None:
    """Raise `NoSuchManifest` if nothing was ever written: a mistyped URL must not replace a backup by nothing."""
    await db.refresh()
    if not db.states.value.confirmed.version:
        raise await run.no_such_manifest()


@command
async def import_(
    run: Run,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What export wrote; - is standard input.", show_default=False)
    ],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who is writing; recorded, not verified.")] = "",
) -> None:
    """Put the keys and values of an exported file. Run it again to continue after an interruption."""
    try:
        with await run.read_input(lambda: _opened(file)) as source:
            async with run.database(by=by) as db:
                with progress_bar(run) as tell:
                    moved = await moving.import_from(db, source, progress=lambda done, total: tell("keys", done, total))
    except UnicodeDecodeError:
        name = "standard input" if str(file) == "-" else f"file {str(file)!r}"
        raise Corrupt("not UTF-8 text", object=name) from None
    _show_moved(run, moved, "put")


def _opened(file: Path) -> IO[str]:
    """A file that can be read twice: a pipe is copied to a temporary one first."""
    try:
        source: IO[bytes] = sys.stdin.buffer if str(file) == "-" else file.open("rb")
        if not source.seekable():
            kept = TemporaryFile()  # noqa: SIM115  # the caller closes it
            with source:
                shutil.copyfileobj(source, kept)
            kept.seek(0)
            source = kept
    except OSError as error:
        raise InvalidOption(f"cannot be read: {error.strerror}", object=f"file {str(file)!r}") from None
    return TextIOWrapper(cast("BinaryIO", source), encoding="utf-8")


@command
async def copy(
    run: Run,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The URL to copy to.", show_default=False)],
    prefix: Prefix = "",
    target_manifest: Annotated[
        str | None, typer.Option("--target-manifest", metavar="NAME", help="Its manifest, if it has another name.")
    ] = None,
    target_endpoint_url: Annotated[
        str | None, typer.Option("--target-endpoint-url", metavar="URL", help="The target's S3 server, if another.")
    ] = None,
    target_profile: Annotated[
        str | None, typer.Option("--target-profile", help="The profile of the target, if it needs other credentials.")
    ] = None,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who is writing; recorded, not verified.")] = "",
) -> None:
    """Copy the keys and values of the database at URL to another one. Run it again to continue after an interruption.

    Other keys of the target stay. The history is not copied.
    """
    options: dict[str, Any] = dict(run.at.options)
    if target_endpoint_url is not None:
        options["endpoint_url"] = target_endpoint_url
    if target_profile is not None:
        options["profile_name"] = target_profile
    replace(run.at, url=target).check()
    if not target.lower().startswith("s3:"):
        options = {}
    storage = open_storage(target, clock=run.clock, **options)
    try:
        async with run.database() as source:
            await _check_it_is_there(run, source)
            name = target_manifest or run.at.manifest
            async with connect(storage, manifest=name, by=by, clock=run.clock, shared=False) as db:
                with progress_bar(run) as tell:
                    moved = await moving.copy(
                        source, db, prefix=prefix, progress=lambda done, total: tell("keys", done, total)
                    )
    finally:
        await storage.close()
    _show_moved(run, moved, "copied")


def _show_moved(run: Run, moved: moving.Moved, verb: str) -> None:
    if run.at.json:
        run.terminal.record({"keys": moved.keys, "written": moved.written, "same": moved.same})
    else:
        same = f", {moved.same:,} were there already" if moved.same else ""
        run.terminal.line(f"{moved.written:,} keys {verb}{same}")
