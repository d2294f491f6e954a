"""The commands about the storage itself: doctor, cors."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

import rxmps3
from rxmps3.cli.commands import CODES, app
from rxmps3.cli.doctor import Facts, Report, Row, State, StorageUnderTest, examine, judge
from rxmps3.cli.doctor.contenders import PROCESSES, race
from rxmps3.cli.doctor.costs import projected
from rxmps3.cli.doctor.examine import ROUNDS
from rxmps3.cli.doctor.facts import Races
from rxmps3.cli.options import AsJson, Endpoint, Profile, Region
from rxmps3.cli.run import Run, Target
from rxmps3.cli.terminal import Exit, Part, json_text
from rxmps3.cli.upkeep_commands import progress_bar
from rxmps3.errors import InvalidOption
from rxmps3.log.protocol import ProtocolName
from rxmps3.storage import S3Storage, s3_cors
from rxmps3.storage.prices import prices_at

_STYLES = {State.GOOD: "green", State.LIMITED: "yellow", State.BAD: "red", State.UNKNOWN: "dim"}

Url = Annotated[str, typer.Argument(metavar="URL", help="file:PATH or s3://BUCKET/PREFIX", show_default=False)]
Bucket = Annotated[str, typer.Argument(metavar="URL", help="s3://BUCKET", show_default=False)]


@app.command(epilog=CODES)
def doctor(
    url: Url,
    rounds: Annotated[int, typer.Option("--rounds", min=1, metavar="N", help="How many races of each kind.")] = ROUNDS,
    thorough: Annotated[
        bool, typer.Option("--thorough", help=f"Also let {PROCESSES} processes race, and print a line to send in.")
    ] = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    json: AsJson = False,
) -> int:
    """Test what the storage can do, say what that means for rxmps3, and remove what was written.

    Everything is written under PREFIX/.rxmps3-probe/, outside every manifest. It ends with 4 or 6 if no protocol can be
    used, because of permissions or of the storage, and with 1 if something could not be removed, which it names.
    With --json it prints one document with "checks", "protocols", "recommended" and "left".
    """
    at = Target(url, "", endpoint_url, region, profile, None, json)
    return Run("doctor", at).perform(lambda run: _doctor(run, rounds, thorough=thorough))


_THOROUGH = 10
"""Multiplies the number of rounds."""


async def _doctor(run: Run, rounds: int, *, thorough: bool) -> int:
    async def between_processes(place: StorageUnderTest, swap: bool) -> Races:
        many = rounds * _THOROUGH
        return await race(place, run.at.url, run.at.options, run.clock, many, swap=swap)

    async with run.storage() as storage:
        place = StorageUnderTest(storage, run.clock)
        try:
            with progress_bar(run) as tell:
                more = between_processes if thorough else None
                facts = await examine(place, run.clock, rounds=rounds, progress=tell, thorough=more)
        except BaseException:
            for name in place.left:
                run.terminal.note(f"left behind: {name}")
            raise
    report = judge(facts)
    if run.at.json:
        run.terminal.record(_record(facts, report))
    else:
        _show(run, facts, report)
    if report.recommended is None:
        return Exit.ACCESS if report.by_access else Exit.DATA
    return Exit.OTHER if facts.left else Exit.OK


def _record(facts: Facts, report: Report) -> dict[str, Any]:
    return {
        "url": facts.url,
        "checks": [row.record() for row in report.rows],
        "protocols": {
            one.protocol: {"usable": one.usable, "stopped_by": list(one.stopped_by)} for one in report.protocols
        },
        "recommended": report.recommended,
        "auto": report.auto,
        "readable": report.readable,
        "permissions": dict(facts.permissions),
        "skew": None if facts.dates.skew is None else facts.dates.skew.total_seconds(),
        "latency": {
            verb: {"count": one.count, "median": one.median, "max": one.max} for verb, one in facts.latency.items()
        },
        "requests": facts.requests,
        "cost": None if report.recommended is None else _cost(facts.url, report.recommended),
        "seconds": facts.seconds,
        "left": list(facts.left),
    }


def _cost(url: str, protocol: ProtocolName) -> dict[str, Any]:
    prices = prices_at(url)
    return {"prices": prices.name, "currency": prices.currency, **projected(prices, protocol)}


def _show(run: Run, facts: Facts, report: Report) -> None:
    if sys.stdout.isatty():
        _show_table(run, report)
    else:
        for row in report.rows:
            means = f" → {row.means}" if row.means else ""
            run.terminal.line(f"{row.state:<8} {row.check:<26} {row.found}{means}")
    run.terminal.line(f"{facts.requests:,} requests in {facts.seconds:.1f} s")
    for one in report.protocols:
        verdict: Part = ("can be used", "green") if one.usable else ("cannot be used", "red")
        reason = "" if one.usable else f": {', '.join(one.stopped_by)}"
        recommended = " (recommended)" if one.protocol == report.recommended else ""
        run.terminal.line(f"{one.protocol}: ", verdict, reason + recommended)
    if report.auto is not None and report.auto != report.recommended:
        run.terminal.line(
            ("protocol='auto' takes ", "red"),
            f"{report.auto} here: its short examination does not find what is wrong; name a protocol that can be used",
        )
    if report.recommended is not None:
        cost = _cost(facts.url, report.recommended)
        run.terminal.line(
            f"cost: a client that observes {cost['observing_per_month']:.2f} {cost['currency']} a month, its presence"
            f" {cost['presence_per_month']:.2f} more, 1,000 commits {cost['thousand_commits']:.4f}, at the prices of"
            f" {cost['prices']}; db.cost counts it"
        )
    if report.recommended is None and report.readable:
        run.terminal.line("an existing database can be read, with read_only=True")
    if facts.thorough:
        run.terminal.line("for the table of providers: ", _line(facts, report))
    for name in facts.left:
        run.terminal.line(("left behind: ", "red"), name)


def _line(facts: Facts, report: Report) -> str:
    """What was found, in a line without names: neither of the bucket nor of the server, which the sender adds."""
    found = {row.check: row.state.value for row in report.rows if not row.check.startswith(("permission", "latency"))}
    races = {name: [one.rounds, len(one.violations)] for name, one in facts.thorough.items() if isinstance(one, Races)}
    return json_text({"rxmps3": rxmps3.__version__, "takes": report.auto, "checks": found, "processes": races})


def _show_table(run: Run, report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "found", "what it means for rxmps3")
    for row in report.rows:
        table.add_row(*(Text(text, _style(row)) for text in (row.state, row.check)), Text(row.found), Text(row.means))
    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    run.terminal.write(captured.get())


def _style(row: Row) -> str:
    return _STYLES[row.state]


@app.command(epilog=CODES)
def cors(
    url: Bucket,
    allow: Annotated[
        list[str] | None, typer.Option("--allow", metavar="ORIGIN", help="Let pages of this origin use the bucket.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="ORIGIN", help="Stop admitting pages of this origin.")
    ] = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    json: AsJson = False,
) -> int:
    """Show the bucket's CORS rules; with --allow or --remove, change which web pages may use it from a browser.

    An origin is a page's scheme, host and port, such as https://app.example.com. Rules that others made stay.
    The rules hold for the whole bucket. With --json each rule is a line with S3's names.
    """
    at = Target(url, "", endpoint_url, region, profile, None, json)
    return Run("cors", at).perform(lambda run: _cors(run, allow or [], remove or []))


async def _cors(run: Run, allow: list[str], remove: list[str]) -> None:
    async with run.deadline(), run.storage() as storage:
        if not isinstance(storage, S3Storage):
            raise InvalidOption("only a bucket has CORS rules", object=run.at.place, remedy="give s3://BUCKET")
        async with run.terminal.busy("Asking for the rules"):
            rules = await s3_cors.read(storage)
            if allow or remove:
                wanted = s3_cors.allowing(s3_cors.without(rules, remove), allow)
                await s3_cors.write(storage, wanted)
                rules = await s3_cors.read(storage)
    if not rules and not run.at.json:
        run.terminal.note("the bucket has no CORS rules: no web page may use it")
    for rule in rules:
        if run.at.json:
            run.terminal.record(rule)
        else:
            _show_rule(run, rule)


def _show_rule(run: Run, rule: s3_cors.Rule) -> None:
    run.terminal.line((rule.get("ID") or "a rule without a name", "bold"))
    for label, name in (
        ("origins", "AllowedOrigins"),
        ("methods", "AllowedMethods"),
        ("headers", "AllowedHeaders"),
        ("exposed", "ExposeHeaders"),
    ):
        run.terminal.line(f"  {label}  {', '.join(rule.get(name, ())) or '-'}")
    if "MaxAgeSeconds" in rule:
        run.terminal.line(f"  max age  {rule['MaxAgeSeconds']:,} s")
