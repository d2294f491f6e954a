"""The commands that do one thing: put, get, delete, ls, log."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import rxmps3 as library
from rxmps3 import cli as entry_point
from rxmps3.cli.commands import app
from rxmps3.runtime.clock import SystemClock
from tests.cli.commands import Outcome, command, environment, rxmps3, said, several
from tests.servers import READER, SHARED_BUCKET, Moto, SeaweedFS


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file:{tmp_path / 'bucket'}"


async def test_what_one_command_puts_the_next_one_gets(url: str) -> None:
    put = rxmps3("put", url, "greeting", '{"to": ["you", null], "n": 1.0, "ü": "é"}', "--by", "alice")
    assert (put.code, put.err) == (0, "")
    got = rxmps3("get", url, "greeting")
    as_json, versions = several(("get", url, "greeting", "--json"), ("log", url, "--json"))
    assert got == as_json == Outcome(0, '{"n":1.0,"to":["you",null],"ü":"é"}\n', "")
    (version,) = versions.records
    assert version["by"] == "alice"
    assert version["writes"] == [{"version": put.out.strip(), "put": ["greeting"], "deleted": []}]
    async with library.connect(url) as db:
        assert await db.get("greeting") == {"to": ["you", None], "n": 1.0, "ü": "é"}


def test_a_value_may_be_a_file(url: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(range(256)) * 100)
    assert rxmps3("put", url, "img", "--file", str(path)).code == 0
    assert rxmps3("put", url, "other", "--file", str(path), "--type", "image/x-own").code == 0
    got, other, listed, seen = several(
        ("get", url, "img"), ("get", url, "other", "--json"), ("ls", url, "--values"), ("ls", url, "--json", "--long")
    )
    assert other.records[0]["type"] == "image/x-own"
    assert base64.b64decode(json.loads(got.out)["bytes"]) == path.read_bytes()
    assert "img\t<Blob of 25,600 bytes, image/png>" in listed.out
    assert [record["size"] for record in seen.records] == [25_600, 25_600]
    raw = subprocess.run(command("get", url, "img", "--raw"), capture_output=True, check=True, env=environment())
    assert raw.stdout == path.read_bytes()


def test_a_file_is_a_value_by_itself(url: str, tmp_path: Path) -> None:
    for wrong in (("put", url, "k"), ("put", url, "k", "1", "--file", "x"), ("put", url, "k", "1", "--type", "x/y")):
        assert rxmps3(*wrong).code == 2
    missing = rxmps3("put", url, "k", "--file", str(tmp_path / "missing"))
    assert missing.code == 2
    assert "missing" in missing.err


def test_a_value_may_be_plain_text_or_come_from_standard_input(url: str) -> None:
    assert rxmps3("put", url, "text", "it's [plain", "--string", "--json").records[0]["key"] == "text"
    assert rxmps3("put", url, "piped", "-", stdin="[1,\n 2]\n").code == 0
    assert rxmps3("put", url, "negative", "--", "-1").code == 0
    text, raw, piped, negative, number = several(
        ("get", url, "text"),
        ("get", url, "text", "--raw"),
        ("get", url, "piped"),
        ("get", url, "negative"),
        ("get", url, "piped", "--raw"),
    )
    assert [outcome.out for outcome in (text, raw, piped, negative, number)] == [
        '"it\'s [plain"\n',
        "it's [plain\n",
        "[1,2]\n",
        "-1\n",
        "[1,2]\n",
    ]


async def test_delete_says_when_there_is_nothing_to_delete(url: str) -> None:
    async with library.connect(url) as db:
        await db.put("k", 1)
    deleted, again, fine, versions = several(
        ("delete", url, "k", "--json", "--by", "bob"),
        ("delete", url, "k", "--json"),
        ("delete", url, "k", "--missing-ok"),
        ("log", url, "--json"),
    )
    assert deleted.code == 0
    assert deleted.records[0]["key"] == "k"
    assert (again.code, again.out, again.error["kind"]) == (3, "", "NoSuchKey")
    assert (fine.code, fine.out) == (0, "")
    assert "nothing to delete" in fine.err
    assert [version["writes"][0]["deleted"] for version in versions.records] == [[], ["k"]]


def test_a_write_with_a_condition_ends_with_7_where_it_does_not_hold(url: str) -> None:
    first = rxmps3("put", url, "k", "1", "--create", "--json").records[0]["version"]
    again, other, second, changed, stale, gone, both, after = several(
        ("put", url, "k", "2", "--create", "--json"),
        ("put", url, "k", "2", "--if-version", "other-1"),
        ("put", url, "k", "2", "--if-version", first, "--json"),
        ("get", url, "k"),
        ("delete", url, "k", "--if-version", first, "--json"),
        ("delete", url, "nobody", "--if-version", first),
        ("put", url, "k", "2", "--if-version", first, "--create"),
        ("get", url, "k"),
    )
    assert (again.code, again.out, again.error["kind"]) == (7, "", "Conflict")
    assert f"key 'k' is at version {first}, not missing" in again.error["message"]
    assert (other.code, other.out) == (7, "")
    assert "not at version other-1" in other.err
    assert (second.code, changed.out) == (0, "2\n")
    assert (stale.code, stale.error["kind"]) == (7, "Conflict")
    assert (gone.code, both.code, after.out) == (3, 2, "2\n")
    assert rxmps3("delete", url, "k", "--if-version", second.records[0]["version"]).code == 0


async def test_a_patch_changes_a_part_of_a_value_also_of_a_large_one(url: str) -> None:
    async with library.connect(url) as db:
        await db.put("k", {"a": 1, "b": 1, "large": "x" * 9000})
    patched, made, piped, no_patch = several(
        ("patch", url, "k", '{"a": null, "c": [1]}', "--json", "--by", "bob"),
        ("patch", url, "new", '{"a": {"b": null}}'),
        ("patch", url, "new", "-"),
        ("patch", url, "new", "{"),
        stdin='{"d": 1}',
    )
    assert (patched.code, patched.records[0]["key"], made.code, piped.code, no_patch.code) == (0, "k", 0, 0, 2)
    assert "patch of key 'new'" in no_patch.err
    assert "--string" not in no_patch.err, "which it does not have"
    async with library.connect(url) as db:
        assert await db.get("k") == {"b": 1, "c": [1], "large": "x" * 9000}
        assert await db.get("new") == {"a": {}, "d": 1}
        assert db.states.value["k"].version == patched.records[0]["version"]


def test_a_log_without_one_order_takes_no_conditions(url: str) -> None:
    async def make() -> None:
        async with library.connect(url, protocol="mps3", manifest="m.json") as db:
            await db.put("k", {})

    asyncio.run(make())
    for words in (("put", url, "k", "1", "--create"), ("patch", url, "k", "{}")):
        outcome = rxmps3(*words, "-m", "m.json")
        assert outcome.code == 6
        assert "sequenced" in outcome.err


async def test_ls_lists_keys_sizes_versions_and_values(url: str) -> None:
    large = "x" * 9000
    async with library.connect(url, manifest="other") as db:
        await db.put("a/1", [1])
        await db.put_all({"a/2": large, "b\n": 2})
    of_other = ("-m", "other")
    plain, under, values, long, both, main = several(
        ("ls", url, *of_other),
        ("ls", url, "a/", *of_other, "--json"),
        ("ls", url, "a/1", *of_other, "--values"),
        ("ls", url, *of_other, "--long"),
        ("ls", url, *of_other, "--long", "--values", "--json"),
        ("ls", url),
    )
    assert plain == Outcome(0, "a/1\na/2\nb\\n\n", "")
    assert under.records == [{"key": "a/1"}, {"key": "a/2"}]
    assert values.out == "a/1\t[1]\n"
    assert [line.split()[0] for line in long.out.splitlines()] == ["3", "9,002", "1"]
    assert [(each["key"], each["size"], each["value"]) for each in both.records] == [
        ("a/1", 3, [1]),
        ("a/2", 9002, large),
        ("b\n", 1, 2),
    ]
    assert len({each["version"] for each in both.records}) == 2
    assert (main.code, main.out) == (0, "")
    assert "nothing was ever written to manifest 'main'" in main.err


async def test_log_shows_the_last_versions_in_order(url: str) -> None:
    async with library.connect(url, by="carol\x1b[1m") as db:
        for number in range(25):
            await db.put(f"k{number}", number)
        await db.put_all({"k0": library.MISSING, "k1": "new"})
    default, last, none, empty = several(
        ("log", url, "--json"), ("log", url, "--last", "1"), ("log", url, "-n", "0"), ("log", url, "-m", "other")
    )
    assert [int(version["id"]) for version in default.records] == list(range(7, 27))
    assert default.records[-1]["writes"][0]["put"] == ["k1"]
    assert default.records[-1]["by"] == "carol\x1b[1m"
    assert re.fullmatch(r" +26  \d{4}-\d\d-\d\d [\d:]{8}  carol\\u001b\[1m .* put k1; deleted k0\n", last.out)
    assert none == Outcome(0, "", "")
    assert (empty.code, empty.out) == (0, "")
    assert "manifest 'other' at" in empty.err


def test_what_others_wrote_cannot_steer_the_terminal(url: str) -> None:
    nasty = "a\x1b[31m\x9b1m\u2028b"
    put, *outcomes = several(
        ("put", url, nasty, nasty, "--string"),
        ("ls", url, "--values"),
        ("get", url, nasty),
        ("log", url),
        ("ls", url, "--json"),
    )
    for outcome in (put, *outcomes):
        assert outcome.code == 0
        assert outcome.out.replace("\n", "").replace("\t", "").isprintable()
    assert json.loads(outcomes[1].out) == nasty
    assert outcomes[3].records == [{"key": nasty}]


# -- how it fails ----------------------------------------------------------------------------------------------

FAILURES = [
    (("get", "{url}", "nope"), 3, "NoSuchKey", r"there is no key 'nope'"),
    (("put", "{url}", "k", "hello"), 2, "InvalidValue", r"key 'k': not JSON: .* --string"),
    (("put", "{url}", "k", "NaN"), 2, "InvalidValue", r"NaN is not a JSON"),
    (("put", "{url}", "k", "-5"), 2, "Usage", r"-5 .*two dashes.*put --help"),
    (("put", "{url}", "", "1"), 2, "InvalidKey", r"at least one character"),
    (("get", "{url}"), 2, "Usage", r"Missing argument 'KEY'"),
    (("get", "{url}", "k", "--nonsense"), 2, "Usage", r"No such option: --nonsense"),
    (("got",), 2, "Usage", r"No such command 'got'"),
    (("get", "{url}", "k", "--timeout", "-1"), 2, "InvalidOption", r"--timeout is a positive number"),
    (("watch", "{url}", "k", "--poll", "0"), 2, "InvalidOption", r"--poll is a positive number"),
    (("get", "./bucket", "k"), 2, "InvalidOption", r"not the URL of a storage: './bucket'"),
    (("get", "memory:", "k"), 2, "InvalidOption", r"ends with the command"),
    (("copy", "{url}", "memory:x"), 2, "InvalidOption", r"ends with the command"),
    (("put", "{url}", "k", "1", "--by", "\udcff"), 2, "InvalidOption", r"by is text"),
    (("compact", "{url}", "--retention", "nan"), 2, "InvalidOption", r"--retention is a number of days"),
    (("who", "{url}", "--ttl", "1e300"), 2, "InvalidOption", r"--ttl is a positive number"),
    (("demo", "--url", "memory:x"), 2, "InvalidOption", r"ends with the command"),
    (("get", "{url}", "k", "--region", "eu"), 2, "InvalidOption", r"no option region_name"),
    (("get", "{url}", "k", "--manifest", ""), 2, "InvalidOption", r"a manifest's name is not empty"),
    (("get", "{broken}", "k"), 6, "Corrupt", r"head 'main/head'"),
    (("log", "{broken}"), 6, "Corrupt", r"head 'main/head'"),
    (("get", "{newer}", "k"), 6, "Unsupported", r"format 99 .*upgrade rxmps3"),
    (("get", "{nowhere}", "k"), 5, "Unavailable", r"127\.0\.0\.1:1"),
    (("demo", "--url", "{nowhere}"), 5, "Unavailable", r"127\.0\.0\.1:1"),
]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Outcome]:
    """Every failing command's outcome: every other one's in JSON."""
    places = {"url": tmp_path_factory.mktemp("empty")}
    for name, head in (("broken", b"{"), ("newer", b'{"format": 99}')):
        places[name] = tmp_path_factory.mktemp(name)
        (places[name] / "main").mkdir()
        (places[name] / "main" / "head").write_bytes(head)
    urls = {name: f"file:{path}" for name, path in places.items()}
    urls["nowhere"] = "s3://bucket/app?endpoint_url=http://127.0.0.1:1&region_name=us-east-1"
    commands = [tuple(part.format(**urls) for part in arguments) for arguments, *_ in FAILURES]
    as_json = [("--json",) if number % 2 else () for number in range(len(commands))]
    credentials = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "something"}
    outcomes = several(
        *([*arguments[:1], *more, *arguments[1:]] for arguments, more in zip(commands, as_json, strict=True)),
        env=environment(**credentials),
    )
    return {arguments: outcome for (arguments, *_), outcome in zip(FAILURES, outcomes, strict=True)}


@pytest.mark.parametrize(("arguments", "code", "kind", "pattern"), FAILURES, ids=lambda value: str(value)[:40])
def test_a_failure_has_its_code_and_one_line(
    failures: dict[tuple[str, ...], Outcome], arguments: tuple[str, ...], code: int, kind: str, pattern: str
) -> None:
    outcome = failures[arguments]
    assert (outcome.code, outcome.out) == (code, "")
    (line,) = outcome.err.splitlines()
    if line.startswith("{"):
        error = outcome.error
        assert (error["kind"], error["exit"]) == (kind, code)
        assert re.search(pattern, error["message"])
    else:
        assert line.startswith("rxmps3")
        assert re.search(pattern, line)


def test_a_passed_deadline_ends_a_put_that_hangs(url: str) -> None:
    internal = Path(url.removeprefix("file:")) / ".=rxmps3"
    (internal / "tmp").mkdir(parents=True)
    with (internal / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        late = rxmps3("put", url, "k", "1", "--timeout", "0.5", "--json")
    assert (late.code, late.out) == (5, "")
    assert late.error["kind"] == "TooLate"
    assert "may have been made all the same) within 0.5 s" in late.error["message"]


async def test_a_closed_pipe_ends_a_command_silently(url: str) -> None:
    async with library.connect(url) as db:
        await db.put("k", 1)
    script = "".join(
        f"{sys.executable} -m rxmps3 {arguments} | true; echo ${{PIPESTATUS[0]}};"
        for arguments in (f"ls {url}", f"log {url}", f"log {url} --follow", "--help", "put --help", "--version", "")
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment(), check=True, stdin=subprocess.DEVNULL
    )
    assert (done.stdout.split(), done.stderr) == (["141", "141", "0", "141", "141", "141", "141"], "")


def in_bash(arguments: str) -> Outcome:
    """Run a command with redirections."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m rxmps3 {arguments}"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


async def test_what_standard_output_does_not_take_is_told_in_one_line(url: str) -> None:
    async with library.connect(url) as db:
        await db.put("k", 1)
    for arguments in (f"get {url} k", f"history {url} k", f"export {url} -", "--version", "--help", "ls --help", ""):
        full = in_bash(f"{arguments} > /dev/full")
        assert full.code == 1
        assert re.fullmatch(r"rxmps3.*: standard output: cannot be written: No space left on device; .*\n", full.err)
    assert json.loads(in_bash(f"put {url} k 2 --json > /dev/full").err)["error"]["kind"] == "CannotWrite"
    async with library.connect(url) as db:
        assert await db.get("k") == 2


def test_a_closed_stream_is_an_empty_one(url: str) -> None:
    assert in_bash(f"put {url} k 1 >&-") == Outcome(0, "", "")
    assert in_bash(f"get {url} k 2>&-") == Outcome(0, "1\n", "")
    assert in_bash(f"get {url} nothing 2>&-") == Outcome(3, "", "")
    nothing = in_bash(f"put {url} k - <&-")
    assert (nothing.code, nothing.out) == (2, "")
    assert "not JSON: Expecting value" in nothing.err


def waiting_for_input(*arguments: str) -> subprocess.Popen[str]:
    """A command whose standard input is open, and empty."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*arguments), stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment())


@pytest.mark.parametrize("arguments", [("put", "k", "-"), ("patch", "k", "-"), ("import", "-")])
def test_a_command_that_waits_for_its_input_can_be_ended(url: str, arguments: tuple[str, ...]) -> None:
    name, *rest = arguments
    with waiting_for_input(name, url, *rest, "--timeout", "0.5") as late:
        assert late.wait(20) == 5
        assert "standard input did not end within 0.5 s" in said(late)
    with waiting_for_input(name, url, *rest) as interrupted:
        assert interrupted.stdin is not None
        interrupted.stdin.write(" ")
        interrupted.stdin.flush()
        while fcntl.ioctl(interrupted.stdin, termios.FIONREAD, b"\0" * 4) != b"\0" * 4:
            time.sleep(0.05)
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.wait(20) == 130
    assert not Path(url.removeprefix("file:"), "main").exists()


@pytest.mark.parametrize("arguments", [("compact",), ("verify",), ("repair",), ("export", "-"), ("copy", "file:other")])
def test_every_deadline_holds_where_nobody_answers(arguments: tuple[str, ...]) -> None:
    name, *rest = arguments
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        late = rxmps3(
            *(name, "s3://b/x", *rest, "--timeout", "0.5", "--json", "--endpoint-url", endpoint),
            env=environment(AWS_ACCESS_KEY_ID="someone", AWS_SECRET_ACCESS_KEY="something"),
        )
    assert (late.code, late.error["kind"]) == (5, "TooLate")
    assert "within 0.5 s" in late.error["message"]


def _parsed_by(command: Any, options: list[str]) -> None:
    words = ["word"] * sum(parameter.param_type_name == "argument" for parameter in command.params)
    command.make_context(command.name, [*words, *options])


def test_an_option_that_takes_one_value_is_taken_once() -> None:
    for module in entry_point._COMMANDS:  # pyright: ignore[reportPrivateUsage]
        import_module(f"rxmps3.cli.{module}")
    seen = set[str]()
    for name, one in get_command(app).commands.items():  # pyright: ignore[reportAttributeAccessIssue]
        for option in one.params:
            if option.param_type_name == "argument" or option.name == "help":
                continue
            values = () if option.is_flag else ("7",)
            twice = [
                word for one in (option.opts[0], (option.secondary_opts or option.opts)[-1]) for word in (one, *values)
            ]
            if option.multiple or (option.is_flag and not option.secondary_opts):
                _parsed_by(one, twice)
            else:
                seen.add(f"{name} {option.opts[0]}")
                with pytest.raises(Exception, match=r"is given 2 times, and takes one value"):
                    _parsed_by(one, twice)
    assert {"put --manifest", "policy --role", "watch --current", "outbox --move-to", "bell --port"} <= seen


def test_buckets_on_s3(moto: Moto) -> None:
    options = moto.options()
    env = environment(
        AWS_ACCESS_KEY_ID=options["aws_access_key_id"],
        AWS_SECRET_ACCESS_KEY=options["aws_secret_access_key"],
        PYTHONWARNINGS="default",
    )
    where = ("--endpoint-url", options["endpoint_url"], "--region", "us-east-1")
    url = f"s3://{SHARED_BUCKET}/cli"
    put, got, none, again, patched = several(
        ("put", url, "k", '"v"', *where),
        ("get", url, "k", *where),
        ("ls", "s3://no-such-bucket/x", "--json", *where),
        ("put", url, "k", "1", "--create", "--json", *where),
        ("patch", url, "k", '{"a": 1}', *where),
        env=env,
    )
    assert (again.code, again.error["kind"]) == (7, "Conflict")
    assert patched.code == 0
    assert (put.code, put.err) == (0, "")
    assert (got.code, got.out) == (0, '"v"\n')
    assert (none.code, none.error["kind"]) == (4, "BucketNotFound")


@pytest.mark.seaweedfs
def test_a_refusal_does_not_wait_for_the_deadline(seaweedfs: SeaweedFS) -> None:
    """Who may read but not write is told so, though the library itself goes on trying."""
    env = environment(
        AWS_ACCESS_KEY_ID=READER.access_key, AWS_SECRET_ACCESS_KEY=READER.secret_key, PYTHONWARNINGS="default"
    )
    where = ("--endpoint-url", seaweedfs.endpoint_url, "--region", "us-east-1", "--timeout", "50", "--json")
    url = f"s3://{SHARED_BUCKET}/cli-reader"
    put, got, wrong = several(
        ("put", url, "k", "1", *where),
        ("get", url, "k", *where),
        ("get", url, "k", *where, "--profile", "nobody"),
        env=env,
    )
    assert (put.code, put.error["kind"]) == (4, "AccessDenied")
    assert (got.code, got.error["kind"]) == (3, "NoSuchKey")
    assert (wrong.code, wrong.error["kind"]) == (4, "AccessDenied")


# -- help ------------------------------------------------------------------------------------------------------

COMMON = ("--manifest", "-m", "--endpoint-url", "--region", "--profile", "--timeout", "--json", "--help")
HELP = {
    "put": (*COMMON, "URL", "KEY", "JSON", "--string", "--if-version", "--create", "--by"),
    "patch": (*COMMON, "URL", "KEY", "JSON", "--by"),
    "get": (*COMMON, "URL", "KEY", "--raw"),
    "delete": (*COMMON, "URL", "KEY", "--missing-ok", "--if-version", "--by"),
    "ls": (*COMMON, "URL", "PREFIX", "--values", "--long", "-l"),
    "watch": (*COMMON, "URL", "KEY", "--prefix", "--count", "--no-current", "--poll"),
    "log": (*COMMON, "URL", "--last", "-n", "--follow", "-f", "--poll"),
    "demo": ("--url", "--endpoint-url", "--region", "--profile", "--json", "--help"),
}


def test_help_names_every_command_option_and_exit_code() -> None:
    whole, nothing, version, *each = several(("--help",), (), ("--version",), *((name, "--help") for name in HELP))
    assert version == Outcome(0, f"rxmps3 {library.__version__}\n", "")
    assert whole.code == 0
    assert nothing.code == 2
    for outcome in (whole, nothing):
        assert all(re.search(rf"\b{name}\b", outcome.out) for name in HELP)
    for (name, options), outcome in zip(HELP.items(), each, strict=True):
        assert outcome.code == 0
        assert [option for option in options if option not in outcome.out] == [], name
        assert re.search(r"Exit codes: 0 done\s+1 .*\s+2 .*\s+3 .*\s+4 .*\s+5 .*\s+6 .*\s+7 ", outcome.out)


def test_help_names_the_extras_that_a_command_needs() -> None:
    commands = {"demo": "studio", "studio": "studio", "top": "top"}
    for extra, outcome in zip(commands.values(), several(*((name, "--help") for name in commands)), strict=True):
        assert f"pip install 'rxmps3[{extra}]'" in re.sub(r"\s+", " ", outcome.out)


@pytest.mark.parametrize("width", [80, 120])
def test_a_line_of_help_breaks_only_where_the_next_word_has_no_room(width: int) -> None:
    outcomes = several(*((name, "--help") for name in HELP), env=environment(COLUMNS=str(width)))
    wrapped = 0
    for name, outcome in zip(HELP, outcomes, strict=True):
        prose = [line.strip() for line in outcome.out.partition("╭")[0].splitlines()]
        for line, following in pairwise(prose):
            if line and following:
                wrapped += 1
                assert len(f"{line} {following.split()[0]}") > width - 2, (name, line)
    assert wrapped > 3


def test_the_library_alone_imports_nothing_of_the_command() -> None:
    script = (
        "import sys, rxmps3; print([name for name in ('typer', 'rich', 'click', 'rxmps3.cli') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_raw_text_steers_no_terminal_and_stays_as_it_is_in_a_pipe(url: str) -> None:
    text = "a\x1b[31mred\x1b]0;title\x07\nb\tc\u202e"
    assert rxmps3("put", url, "k", json.dumps(text)).code == 0
    assert rxmps3("get", url, "k", "--raw").out == text + "\n"
    ours, theirs = pty.openpty()
    try:
        subprocess.run(command("get", url, "k", "--raw"), stdout=theirs, env=environment(), check=True)
        seen = os.read(ours, 10_000).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)
    assert seen == "a\\u001b[31mred\\u001b]0;title\\u0007\nb\tc\\u202e\n"


async def test_a_time_at_the_end_of_the_calendar_is_shown(url: str) -> None:
    class Late(SystemClock):
        def now(self) -> datetime:
            return datetime.max.replace(tzinfo=UTC)

    async with library.connect(url, clock=Late(), shared=False) as db:
        await db.put("k", 1)
    east = environment(TZ="Asia/Tokyo")
    for outcome in several(("log", url), ("log", url, "--json"), ("history", url, "k"), env=east):
        assert (outcome.code, outcome.err) == (0, "")
        assert "9999-12-31" in outcome.out


def test_a_bell_says_where_it_is_only_if_it_can_speak_there(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("missing.pem", "empty.pem"):
        outcome = rxmps3(
            "bell", "--port", "0", "--certificate", str(tmp_path / name), env=environment(PYTHONDEVMODE="1")
        )
        assert (outcome.code, outcome.out) == (2, "")
        assert re.fullmatch(rf"rxmps3 bell: \S*{name}: the certificate cannot be used: .*\n", outcome.err)
