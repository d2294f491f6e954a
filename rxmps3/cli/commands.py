"""The subcommands for reading, writing and watching."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import rxmps3
from rxmps3.cli import following
from rxmps3.cli.command_line import App, leaving_quietly
from rxmps3.cli.options import AsJson, At, Endpoint, Profile, Region, shared_parameters
from rxmps3.cli.reading import read_one
from rxmps3.cli.run import Run, Target, when_of
from rxmps3.cli.terminal import Exit, Part, Terminal, prepare_streams, short_text, shown
from rxmps3.database.past import Past
from rxmps3.database.presence.presence import DEFAULT_TTL
from rxmps3.errors import Corrupt, Error, InvalidOption, InvalidValue
from rxmps3.model import jsontext, valuetext
from rxmps3.model.missing import MISSING
from rxmps3.model.names import check_key
from rxmps3.model.state import Entry, Inline

__all__ = ["app", "main"]

Command = Callable[..., Coroutine[Any, Any, int | None]]

_PREVIEW_CHARACTERS = 60
_ENDLESS = ("watch", "studio", "top")
"""The commands that end by being interrupted."""

CODES = "\n\n".join(
    (
        "Exit codes: 0 done",
        "1 another error, or a check of the demo failed",
        "2 wrong usage, URL, key or JSON",
        "3 the key or the manifest does not exist, or the version is no longer kept",
        "4 no access, or no such bucket",
        "5 the storage is out of reach, or the deadline has passed",
        "6 the stored data is corrupt, or needs another version or storage",
        "7 a conflict: a key is not at the version that the write expects, or somebody else wrote meanwhile",
        "130 interrupted, 143 terminated, 141 the reader of the output has gone;"
        " but 0 for bell, demo --open, log --follow, studio, top and watch, which end that way",
    )
)

app = App(
    name="rxmps3",
    help="A causally consistent, multiplayer key-value database in a bucket. Try: rxmps3 demo",
    epilog=CODES,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Key = Annotated[str, typer.Argument(metavar="KEY", show_default=False)]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who is writing; recorded, not verified.")]
IfVersion = Annotated[
    str | None,
    typer.Option("--if-version", metavar="VERSION", help="Write only if the key is at this version, else end with 7."),
]
Bell = Annotated[
    str | None,
    typer.Option(
        "--bell",
        metavar="URL",
        envvar="RXMPS3_BELL",
        help="Ring or hear this bell: nats:, redis:, http:, https:, sqs:.",
    ),
]
Poll = Annotated[float, typer.Option("--poll", metavar="SECONDS", help="Look for news at least this often.")]


def command(function: Command) -> Command:
    """Turn a coroutine function of a `Run` into a command: its own parameters, then those of `Target`."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    url, *common = shared_parameters()

    def perform(**given: Any) -> int:
        at = Target(**{shared.name: given.pop(shared.name) for shared in (url, *common)})
        endless = function.__name__ in _ENDLESS or given.get("follow", False)
        return Run(function.__name__.rstrip("_"), at).perform(partial(function, **given), endless=endless)

    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameter.replace(kind=keyword_only) for parameter in (url, *own, *common)]
    perform.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    perform.__doc__ = function.__doc__
    app.command(name=function.__name__.rstrip("_"), epilog=CODES)(perform)
    return function


@app.command(epilog=CODES)
def demo(
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Play in this bucket, not in a temporary folder.")
    ] = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    json: AsJson = False,
    open_: Annotated[
        bool,
        typer.Option("--open", help="Show two windows side by side in a browser, until interrupted."),
    ] = False,
) -> int:
    """Watch two processes share a database for a few seconds, and check what each of them saw.

    They use a temporary folder, or with --url a separate manifest in that bucket; it is removed afterwards. With --json
    each line is an event, and the last line the summary. --open needs the extra: pip install 'rxmps3\\[studio]'.
    """
    from rxmps3.cli.demo.show import show, show_windows

    at = Target(url or "", "", endpoint_url, region, profile, None, json)
    if open_:
        return Run("demo", at).perform(lambda run: show_windows(url, at.options, run.terminal, run.clock), endless=True)
    return Run("demo", at).perform(lambda run: show(url, at.options, run.terminal, run.clock))


# -- writing ---------------------------------------------------------------------------------------------------


@command
async def put(
    run: Run,
    key: Key,
    value: Annotated[
        str | None,
        typer.Argument(metavar="[JSON]", help="The value; - reads it from standard input.", show_default=False),
    ] = None,
    string: Annotated[bool, typer.Option("--string", help="Take the argument as plain text, not as JSON.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="PATH", help="Take the value from this file, as bytes.")
    ] = None,
    type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="The file's content type; by default, by its name.")
    ] = None,
    if_version: IfVersion = None,
    create: Annotated[bool, typer.Option("--create", help="Write only if the key does not exist, else 7.")] = False,
    by: By = "",
    bell: Bell = None,
) -> None:
    """Set a key to a JSON value or the bytes of a file, wait for the commit and print the version.

    Precede a value that begins with a dash, such as a negative number, with two dashes: put URL KEY -- -1
    """
    if create and if_version is not None:
        raise InvalidOption("--create and --if-version cannot be combined")
    if (value is None) == (file is None) or (file is not None and string) or (file is None and type is not None):
        raise InvalidOption("give a value as JSON, as text with --string, or as --file, perhaps with its --type")
    content: Any = None
    wanted = MISSING if create else if_version
    async with run.deadline():
        if value is not None:
            text = await _standard_input(run) if value == "-" else value
            content = text if string else _parsed(text, f"value of key {key!r:.80}", remedy=_PLAIN_TEXT)
        async with run.database(by=by, bell=bell) as db:
            if file is None:
                receipt = db.put(key, content, if_version=wanted)
            else:
                receipt = db.put_file(key, file, content_type=type, if_version=wanted)
            version = await run.committed(db, receipt)
    _show_version(run, key, version)


@command
async def patch(
    run: Run,
    key: Key,
    patch: Annotated[
        str, typer.Argument(metavar="JSON", help="The patch; - reads it from standard input.", show_default=False)
    ],
    by: By = "",
    bell: Bell = None,
) -> None:
    """Change part of a key's value by a JSON merge patch (RFC 7386), wait for the commit and print the version.

    null deletes a member; arrays are replaced. A missing key counts as {}.
    """
    async with run.deadline():
        text = await _standard_input(run) if patch == "-" else patch
        content = _parsed(text, f"patch of key {key!r:.80}", remedy='a patch is JSON, such as \'{"name": "Ann"}\'')
        async with run.database(by=by, bell=bell) as db:
            await db.get(key)  # so that it is at hand
            version = await run.committed(db, db.patch(key, content))
    _show_version(run, key, version)


async def _standard_input(run: Run) -> str:
    body = await run.read_input(sys.stdin.buffer.read)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidValue(f"standard input is not UTF-8: {error.reason} at byte {error.start}") from None


_PLAIN_TEXT = "plain text goes with --string, or in double quotes: '\"text\"'"


def _parsed(text: str, what: str, *, remedy: str) -> Any:
    try:
        return jsontext.decode(text, what)
    except Corrupt as error:
        raise InvalidValue(error.what, object=error.object, remedy=remedy) from None


@command
async def delete(
    run: Run,
    key: Key,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Deleting a missing key is fine.")] = False,
    if_version: IfVersion = None,
    by: By = "",
    bell: Bell = None,
) -> None:
    """Delete a key, wait for the commit and print the version.

    If the key does not exist, nothing is written and the exit code is 3, or 0 with --missing-ok.
    """
    async with run.deadline(), run.database(by=by, bell=bell) as db:
        check_key(key, sys.maxsize)
        if key in db:
            version = await run.committed(db, db.delete(key, if_version=if_version))
        elif missing_ok:
            run.terminal.note(f"there is no key {key!r}: nothing to delete")
            return
        else:
            raise run.no_such_key(key)
    _show_version(run, key, version)


def _show_version(run: Run, key: str, version: str) -> None:
    if run.at.json:
        run.terminal.record({"key": key, "version": version})
    else:
        run.terminal.line(version)


# -- reading ---------------------------------------------------------------------------------------------------


@command
async def get(
    run: Run,
    key: Key,
    raw: Annotated[bool, typer.Option("--raw", help="Print a string without quotes, and bytes as they are.")] = False,
    at: At = None,
) -> None:
    """Print the value of a key as JSON: indented on a terminal, otherwise on one line.

    Bytes are printed as an object with "bytes" in Base64 and "type"; with --raw as they are, but not to a terminal.
    """
    await read_one(run, key, raw=raw, at=at)


@command
async def ls(
    run: Run,
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", help="Only keys that start with this.", show_default=False)
    ] = "",
    values: Annotated[bool, typer.Option("--values", help="Print the values too.")] = False,
    long: Annotated[bool, typer.Option("--long", "-l", help="Print size, version and the value's beginning.")] = False,
    at: At = None,
) -> None:
    """List the keys, sorted.

    With --json each line is an object with "key", with --long "version" and "size" in bytes (null where the log
    does not tell, as that of mps3), with --values "value".
    """
    found: Mapping[str, Any] = {}
    async with run.deadline(), run.database() as db:
        view = db.states.value
        source = db if at is None else await db.at(when_of(at))
        if values:
            async with run.terminal.busy(f"Reading {len(source.keys(prefix)):,} values"):
                found = await source.get_prefix(prefix)
        known = source.entries if isinstance(source, Past) else view
        keys = list(found) if values else source.keys(prefix)
        entries = {key: known[key] for key in keys if key in known}
        await run.note_if_never_written(db)
    width = max((len(entry.version) for entry in entries.values()), default=0)
    for key, entry in entries.items():
        if run.at.json:
            details = {"version": entry.version, "size": _size(entry)} if long else {}
            run.terminal.record({"key": key, **details, **({"value": found[key]} if values else {})})
            continue
        parts: list[Part] = [(shown(key), "bold" if long or values else "")]
        if long:
            size = _size(entry)
            parts.insert(0, (f"{'?' if size is None else f'{size:,}':>9}  {entry.version:<{width}}  ", "dim"))
        if values:
            parts.append(f"\t{short_text(found[key])}")
        elif long:
            parts.append((f"  {_preview(entry)}", "green"))
        run.terminal.line(*parts)


def _size(entry: Entry) -> int | None:
    """Bytes of the value; None where the log does not tell, as that of mps3."""
    content = entry.content
    return valuetext.size_of(content.text) if isinstance(content, Inline) else content.size or None


def _preview(entry: Entry) -> str:
    if not isinstance(entry.content, Inline):
        return "…"
    text = (
        short_text(valuetext.decode(entry.content.text))
        if valuetext.media_of(entry.content.text)
        else shown(entry.content.text)
    )
    return text if len(text) <= _PREVIEW_CHARACTERS else text[: _PREVIEW_CHARACTERS - 1] + "…"


@command
async def watch(
    run: Run,
    key: Key,
    prefix: Annotated[bool, typer.Option("--prefix", help="Watch every key that starts with KEY.")] = False,
    count: Annotated[int | None, typer.Option("--count", min=1, metavar="N", help="End after N changes.")] = None,
    current: Annotated[bool, typer.Option(help="Begin with the current value, which does not count.")] = True,
    poll: Poll = 1.0,
    bell: Bell = None,
) -> None:
    """Print a key's value now, and each change of it, until interrupted.

    After --timeout it ends: with exit code 5 if --count changes have not arrived by then, otherwise with 0. With --json
    each line is an object with "event" (current or change), "key", "missing", "value", "version" and "time" (when it
    was seen here); a change also has "by", "pending" and "cause".
    """
    await following.watch(run, key, prefix=prefix, count=count, current=current, poll=poll, bell=bell)


@command
async def log(
    run: Run,
    last: Annotated[int, typer.Option("--last", "-n", min=0, metavar="N", help="How many, from the end.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each new version.")] = False,
    poll: Poll = 1.0,
    bell: Bell = None,
) -> None:
    """Show the versions in the log, oldest first: number, time, writer, and the keys put and deleted.

    The time is the writer's own. With --json each line is an object with "id", "time", "by", "writer" and "writes", a
    list of objects with "version", "put" and "deleted".
    """
    await (following.follow_log(run, last, poll, bell) if follow else following.show_log(run, last))


@command
async def who(
    run: Run,
    ttl: Annotated[
        float, typer.Option("--ttl", metavar="SECONDS", help="Seconds without a sign of life until a client is gone.")
    ] = DEFAULT_TTL,
) -> None:
    """Show who is here now, in order of arrival: since when, who, and the state that each publishes.

    With --json each line is an object with "id", "me", "by", "since" and "seen", the last two by the storage's clock.
    """
    await following.show_who(run, ttl)


# -- the whole -------------------------------------------------------------------------------------------------


def _print_version(wanted: bool) -> None:
    if wanted:
        with leaving_quietly():
            Terminal().line(f"rxmps3 {rxmps3.__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def rxmps3_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(Exit.USAGE)


_USAGE_ERROR = typer.BadParameter.mro()[1]


def main() -> None:
    """The entry point of the command."""
    prepare_streams()
    try:
        code = app(prog_name="rxmps3", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = Exit.INTERRUPTED
    except Error as error:
        code = Terminal(as_json="--json" in sys.argv).fail(error)
    except Exception as error:
        if not isinstance(error, _USAGE_ERROR):
            raise
        code = _tell_usage(error)
    sys.exit(code)


def _tell_usage(error: Exception) -> Exit:
    text = str(getattr(error, "format_message", error.__str__)())
    context = getattr(error, "ctx", None)
    name = str(getattr(context, "command_path", "rxmps3"))
    if re.match(r"-\.?\d", str(getattr(error, "option_name", ""))):
        text += " (a negative number goes after two dashes: -- -1)"
    Terminal(name.removeprefix("rxmps3").strip(), as_json="--json" in sys.argv).fault(
        f"{text.rstrip('.')}; see {name} --help", Exit.USAGE, "Usage"
    )
    return Exit.USAGE
