"""What the documentation names exists, what exists is named, and numbers are those of the code."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import rxmps3
import rxmps3.blocking
from rxmps3 import cli
from rxmps3.cli.commands import app
from rxmps3.cli.terminal import Exit
from rxmps3.database import prefix
from rxmps3.database import undo_stack as undoing
from rxmps3.database.past import history as words
from rxmps3.database.presence import presence
from rxmps3.database.presence import who as presence_who
from rxmps3.local import directory as local
from rxmps3.log import checkpoint
from rxmps3.log.sequenced import archive, fence
from rxmps3.log.sequenced import collector as compact
from rxmps3.log.sequenced import log as sequenced
from rxmps3.model import jsontext, writing
from rxmps3.model import names as layout
from rxmps3.operators import iteration
from rxmps3.replica import claims, fairness, options, receipt, ticks, values
from rxmps3.replica import committer as committing
from rxmps3.replica import compactor as keeping
from rxmps3.runtime.backoff import Backoff
from rxmps3.storage import s3
from tests.docs.blocks import ROOT, pages

NO_GUIDE = ("protocol.md", "changelog.md", "contributing.md")
GUIDE = [page for page in pages() if "decisions" not in page.parts and page.name not in NO_GUIDE]


ONLY_TYPES = {"Connecting", "Database", "Live", "Stream", "View", "Write"}
"""What programs only annotate with."""


def text_of(name: str) -> str:
    """A page's text with its line breaks as blanks."""
    return re.sub(r"\s+", " ", (ROOT / name).read_text())


def guide() -> str:
    return "\n".join(page.read_text() for page in GUIDE)


def public(kind: type) -> list[str]:
    return [name for name in vars(kind) if not name.startswith("_")]


# -- links -------------------------------------------------------------------------------------------------------


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: set[str] = set()
    fenced = False
    for line in page.read_text().split("\n"):
        fenced ^= line.startswith("```")
        if not fenced and (heading := re.match(r"#+ (.*)", line)):
            words = re.sub(r"[^\w\- ]", "", heading[1].replace("`", "").strip().lower())
            found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / unquote(path)).resolve() if path else page
        assert other.exists(), f"{target} is nowhere"
        assert not anchor or anchor in anchors_of(other), f"there is no {target}"


def test_every_page_is_linked_from_an_index() -> None:
    for index, folder in (("docs/README.md", "docs"), ("docs/decisions/README.md", "docs/decisions")):
        linked = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / index).read_text()))
        assert {page.name for page in (ROOT / folder).glob("*.md")} - {"README.md"} <= linked


def test_decisions_are_numbered_without_gaps_and_say_what_a_decision_says() -> None:
    found = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in found] == list(range(1, len(found) + 1))
    for number, page in enumerate(found, 1):
        assert page.read_text().startswith(f"# {number}. ")
        parts = re.findall(r"^\*\*(\w+)\.\*\*", page.read_text(), re.M)
        assert parts == ["Context", "Decision", "Rejected", "Consequences"], page.name
        assert re.search(
            r"^\d{4}-\d\d-\d\d · (accepted(, changed by \[\d+\]\(.+\))?|replaced by \[\d+\]\(.+\))$",
            page.read_text(),
            re.M,
        ), page.name


# -- words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(public(rxmps3.Database)))
def test_every_word_of_a_database_is_explained(name: str) -> None:
    assert re.search(rf"\bdb\.{name}\b|`{name}\b", guide())


@pytest.mark.parametrize(
    "name",
    sorted({*public(rxmps3.Collection), *public(rxmps3.Sorted), *public(rxmps3.Grouped), *public(rxmps3.Delta)}),
)
def test_every_word_of_a_collection_is_explained(name: str) -> None:
    assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`|\.{name}\(", (ROOT / "docs/collections.md").read_text())


def test_every_word_of_a_collection_that_is_explained_exists() -> None:
    table = (ROOT / "docs/collections.md").read_text().partition("## Operators")[2].partition("```")[0]
    named = {word for row in re.findall(r"^\| (`.+?`) \|", table, re.M) for word in re.findall(r"(\w+)\(", row)}
    known = {*public(rxmps3.Collection), *public(rxmps3.Sorted)}
    assert named <= known
    assert known - named == {"value", "observe", "as_observable", "to_pandas", "to_arrow"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bdb\.(\w+)", guide()))))
def test_every_word_of_a_database_that_is_explained_exists(name: str) -> None:
    assert hasattr(rxmps3.Database, name) or hasattr(rxmps3.blocking.Database, name)


@pytest.mark.parametrize("name", sorted({*public(receipt.Receipt)} - {"mark_stored", "settle", "unseen_failure"}))
def test_every_word_of_a_receipt_is_explained(name: str) -> None:
    assert f"receipt.{name}" in guide()


@pytest.mark.parametrize("name", sorted(inspect.signature(rxmps3.connect).parameters))
def test_every_option_of_connect_is_in_the_reference(name: str) -> None:
    assert re.search(rf"^    {name}: \S", inspect.getdoc(rxmps3.connect) or "", re.M)


def test_the_table_names_no_other_option_and_the_right_defaults() -> None:
    table = (ROOT / "docs/getting-started.md").read_text().partition("## What `connect` takes")[2]
    parameters = inspect.signature(rxmps3.connect).parameters
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.M)
    assert rows
    for name, shown in rows:
        default = parameters[name].default
        if shown.startswith("`"):
            assert shown.strip("`").replace("'", '"') == repr(default).replace("'", '"')
        elif shown.isdigit():
            assert int(shown) == default
    assert parameters["cache_bytes"].default == 64 << 20
    assert parameters["retention"].default == timedelta(days=1)


@pytest.mark.parametrize("name", sorted({*rxmps3.__all__} - ONLY_TYPES))
def test_every_public_name_is_explained(name: str) -> None:
    assert re.search(rf"\b{name}\b", guide())


def test_every_error_has_a_row() -> None:
    public_names = {name: getattr(rxmps3, name) for name in rxmps3.__all__}
    errors = {name for name, one in public_names.items() if isinstance(one, type) and issubclass(one, Exception)}
    rows = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/errors.md").read_text(), re.M))
    assert errors - rows == {"Error", "InvalidInput"}
    assert rows <= errors


@pytest.mark.parametrize(
    "kind",
    [options.Status, compact.Report, rxmps3.Change, rxmps3.Failure, rxmps3.KeyVersion, rxmps3.Participant],
    ids=lambda kind: kind.__name__,
)
def test_every_attribute_is_explained(kind: type) -> None:
    told = guide(), inspect.getdoc(kind) or ""
    missing = [
        name
        for name in (field.name for field in fields(kind))
        if f"`{name}`" not in told[0] and not re.search(rf"^    (\w+, )*{name}(, \w+)*: ", told[1], re.M)
    ]
    assert missing == []


def test_the_options_of_s3_are_those_of_the_table() -> None:
    section = (ROOT / "docs/storages.md").read_text().partition("## s3:")[2].partition("### Permissions")[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(s3.OPTIONS)


# -- the command -------------------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    import typer.main

    for module in pkgutil.iter_modules(cli.__path__):
        importlib.import_module(f"rxmps3.cli.{module.name}")
    group: Any = typer.main.get_command(app)
    return group.commands


def command_options() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"": {"--version", "--help"}}
    for name, command in commands().items():
        found[name] = {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("-")
        }
    return found


def test_the_command_has_the_words_of_its_page_and_no_others() -> None:
    page = (ROOT / "docs/command-line.md").read_text()
    known = command_options()
    assert set(re.findall(r"^\| `rxmps3 (\w+)", page, re.M)) == set(known) - {""}
    codes = re.findall(r"`([^`\n]+)`", page)
    shown = {option for code in codes for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", code)}
    assert shown - set().union(*known.values()) == set()


def test_every_option_of_the_command_has_help() -> None:
    silent = [
        f"{name} {parameter.opts[0]}"
        for name, command in commands().items()
        for parameter in command.params
        if parameter.opts[0].startswith("-") and not parameter.help
    ]
    assert silent == []


def test_the_exit_codes_are_those_of_the_page() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", (ROOT / "docs/command-line.md").read_text(), re.M)
    assert {int(code) for row in rows for code in row.split(",")} == {int(code) for code in Exit}


# -- numbers -----------------------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DUE = "docs/decisions/0006-when-a-checkpoint-is-due.md"
NUMBERS = [
    ("docs/writing.md", f"`inline_limit` ({values.DEFAULT_INLINE_LIMIT:,} bytes)"),
    ("docs/writing.md", f"more than {writing.MAX_INLINE_PER_WRITE >> 10} KiB of small ones"),
    ("docs/writing.md", f"at most {writing.MAX_WRITE_KEYS:,} keys"),
    ("docs/writing.md", f"more than {jsontext.MAX_DEPTH} levels deep"),
    ("docs/writing.md", f"S3 takes {layout.MAX_NAME_BYTES:,} bytes"),
    ("docs/observing.md", f"up to {iteration.MOST_BEHIND:,} and then `Overloaded`"),
    ("docs/offline.md", f"up to {local.VALUES_LIMIT >> 20} MiB"),
    ("docs/offline.md", f"sent {committing.FORGOTTEN_AFTER.days} days ago"),
    ("docs/reading.md", f"in pages of up to {prefix.PAGE:,} keys"),
    ("docs/polling.md", f"from {Backoff().base} seconds up to `poll`"),
    ("docs/polling.md", f"a random time of up to {Backoff().throttled_cap:.0f} seconds"),
    ("docs/upkeep.md", f"has {checkpoint.LINE_ENTRIES} entries or {checkpoint.LINE_BYTES >> 10} KiB"),
    ("docs/upkeep.md", f"each entry counting {checkpoint.REQUEST_WEIGHT >> 10} KiB more"),
    ("docs/upkeep.md", "wait {:.0f} to {:.0f} seconds".format(*keeping._OTHERS_WAIT)),  # pyright: ignore
    ("docs/upkeep.md", f"every {keeping._COLLECT_EVERY / 60:.0f} minutes"),  # pyright: ignore
    ("docs/upkeep.md", f"silent for {compact.WRITER_SILENCE.days} days"),
    ("docs/protocol.md", f"less than {(fence.GRACE - fence.MARGIN) // MINUTE} minutes after the `Date`"),
    ("docs/protocol.md", f"within {fence.MARGIN // MINUTE} minutes of the moment"),
    ("docs/protocol.md", f"up to {sequenced.MAX_GROUP_BYTES >> 20} MiB, goes into one entry"),
    ("docs/protocol.md", f"no more than {sequenced._RESUME_WITHIN} entries above"),  # pyright: ignore
    ("docs/protocol.md", f"at most {compact.MOST_KEPT} are held"),
    ("docs/protocol.md", f"within {(compact.VALUE_AGE - committing.TRUST_UPLOADS_FOR) // HOUR} hours of that check"),
    ("docs/presence.md", f"up to {presence_who.MAX_ME_BYTES:,} bytes"),
    ("docs/presence.md", f"every {presence.DEFAULT_EVERY:.0f} seconds (`every`)"),
    ("docs/presence.md", f"none for {presence.DEFAULT_TTL:.0f} (`ttl`)"),
    ("docs/changing.md", f"The last {undoing.DEPTH} steps can be undone"),
    ("docs/past.md", f"There are {archive.MOST_TAGS} tags at most"),
    ("docs/past.md", f"up to {words._LONGEST_TAG} characters"),  # pyright: ignore
    ("docs/past.md", f"up to {archive._READS_AT_ONCE} at a time"),  # pyright: ignore
    ("docs/past.md", f"about every {checkpoint.LINE_ENTRIES} versions"),
    ("docs/past.md", f"more than {compact.MOST_KEPT}, every other older one goes"),
    ("docs/decisions/0005-the-head-names-older-checkpoints.md", f"At most {compact.MOST_KEPT} are kept"),
    (
        DUE,
        f"{checkpoint.LINE_ENTRIES} entries or {checkpoint.LINE_BYTES >> 10} KiB",
    ),
    (
        DUE,
        f"every {-(-(8 << 20) // (checkpoint.REQUEST_WEIGHT + 300)):,} entries",
    ),
]


@pytest.mark.parametrize(("page", "phrase"), NUMBERS)
def test_numbers_are_those_of_the_code(page: str, phrase: str) -> None:
    assert phrase in text_of(page)


def test_numbers_in_words_are_those_of_the_code() -> None:
    assert timedelta(days=1) == compact.DEFAULT_RETENTION, "one day by default, says upkeep"
    assert timedelta(days=1) == compact.VALUE_AGE, "a day old, say upkeep and the protocol"
    assert fence.GRACE == HOUR, "an hour, says upkeep"
    assert fence.RENEW_AFTER == HOUR / 2, "each half hour, says the protocol"
    assert timedelta(days=1) == presence_who.RUBBISH_AFTER, "older than a day, says presence"
    assert presence.CLOSE_WITHIN == 2, "two seconds, says presence"
    assert presence._GAP == 0.2, "each fifth of a second, says presence"  # pyright: ignore
    assert committing.TRUST_UPLOADS_FOR == 6 * HOUR, "six hours, says the protocol"
    assert committing.ASK_AFTER == HOUR, "older than an hour by its own clocks, says the protocol"
    assert fairness._SLOT_COMMITS == 2, "two commits' time, says decision 44"  # pyright: ignore
    assert sum(fairness._SLOTS_ALONE) / 2 == 6, "six slots in mean, says decision 44"  # pyright: ignore
    assert fairness._GAP_ALONE == 4, "four seconds, says decision 44"  # pyright: ignore
    assert claims.HELD_FOR == 5, "five seconds, says decision 44"
    assert sequenced._HITS_BEFORE_LISTING == 4, "after four hits, say polling and the protocol"  # pyright: ignore
    assert (ticks._FASTEST, ticks._SLOWING, ticks._JITTER) == (0.2, 1.5, 0.2), "the pace, says polling"  # pyright: ignore
