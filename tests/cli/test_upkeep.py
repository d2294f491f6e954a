"""The commands that look after whole databases: compact, verify, export, import, copy."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

import rxmps3 as library
from rxmps3.cli import run as run_of_a_command
from rxmps3.log.registry import protocol_of
from tests.cli.commands import Outcome, rxmps3, several
from tests.cli.test_demo import objects
from tests.mutating import Mutant

VALUES: dict[str, Any] = {"a": 1, "a/b": 1.0, "ä\n": [None, {"x": True}], "large": "L" * 9000, "none": None}
WORDS = ("compact", "verify", "repair", "export", "import", "copy")


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


async def fill(bucket: Path, manifest: str = "main") -> str:
    """A database in a folder; its URL."""
    async with library.connect(f"file:{bucket}", manifest=manifest) as db:
        await db.put_all({**VALUES, "gone": 1})
        await db.delete("gone")
    return f"file:{bucket}"


def found(bucket: Path) -> dict[str, bytes]:
    """Every object by its path."""
    return {str(path.relative_to(bucket)): path.read_bytes() for path in objects(bucket)}


async def contents(url: str, manifest: str = "main") -> str:
    async with library.connect(url, manifest=manifest, shared=False) as db:
        return json.dumps(await db.get_prefix(""))


def expected(values: dict[str, Any] = VALUES) -> str:
    return json.dumps({key: values[key] for key in sorted(values)})


def test_each_word_explains_itself() -> None:
    outcomes = several(*((word, "--help") for word in WORDS))
    for word, outcome in zip(WORDS, outcomes, strict=True):
        assert (outcome.code, outcome.err) == (0, ""), word
        assert f"Usage: rxmps3 {word}" in outcome.out
    options = dict(zip(WORDS, (outcome.out for outcome in outcomes), strict=True))
    assert "--dry-run" in options["compact"]
    assert "--retention" in options["compact"]
    assert "--no-contents" in options["verify"]
    assert "--prefix" in options["export"]
    assert "--target-manifest" in options["copy"]
    assert all("--json" in options[word] for word in WORDS)


# -- compact -------------------------------------------------------------------------------------------------------


async def test_compact_makes_a_checkpoint_and_a_dry_run_changes_nothing(bucket: Path) -> None:
    url = await fill(bucket)
    before = found(bucket)
    dry, as_json = several(("compact", url, "--dry-run"), ("compact", url, "--dry-run", "--json"))
    assert (dry.code, dry.err) == (0, "")
    assert dry.out == "0 log entries, 0 checkpoints and 0 values would be deleted, 0 bytes\n"
    assert as_json.records == [
        {
            "dry_run": True,
            "checkpoint": None,
            "floor": 0,
            "raised": False,
            "entries": 0,
            "checkpoints": 0,
            "values": 0,
            "bytes": 0,
            "expired": [],
            "waiting_until": None,
        }
    ]
    assert found(bucket) == before
    done, again = several(("compact", url), ("compact", url, "--json"))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "checkpoint after entry 2 written"
    assert (again.code, again.records[0]["checkpoint"]) == (0, None)
    assert len(found(bucket).keys() - before.keys()) == 1
    assert await contents(url) == expected()


async def test_compact_gives_up_the_log_beyond_the_retention_in_two_steps(bucket: Path) -> None:
    url = await fill(bucket)
    first, dry, raised, waiting, people = several(
        ("compact", url, "--json"),
        ("compact", url, "--retention", "0", "--dry-run", "--json"),
        ("compact", url, "--retention", "0", "--json"),
        ("compact", url, "--retention", "0", "--json"),
        ("compact", url, "--retention", "0"),
    )
    assert (first.records[0]["checkpoint"], first.records[0]["raised"]) == (2, False)
    assert (dry.records[0]["raised"], dry.records[0]["floor"]) == (True, 0)
    assert (raised.records[0]["raised"], raised.records[0]["floor"]) == (True, 2)
    assert raised.records[0]["entries"] == 0
    assert waiting.records[0]["waiting_until"] is not None
    assert people.out.splitlines()[-1].startswith("log entries up to 2 wait until 2")
    assert len([name for name in found(bucket) if "/log/" in name]) == 2
    assert await contents(url) == expected()


async def test_compact_of_nothing_writes_nothing(tmp_path: Path) -> None:
    url = f"file:{tmp_path / 'nowhere'}"
    nothing, negative, forever = several(
        ("compact", url, "--json"),
        ("compact", url, "--retention", "-1", "--json"),
        ("compact", url, "--retention", "inf", "--json"),
    )
    assert forever == nothing
    assert "nothing was ever written to manifest 'main'" in nothing.err
    assert (nothing.code, nothing.records[0]["checkpoint"]) == (0, None)
    assert not (tmp_path / "nowhere").exists()
    assert (negative.code, negative.error["kind"]) == (2, "InvalidOption")


async def test_the_manifest_that_mps3_clients_open_is_pointed_at(tmp_path: Path) -> None:
    url = f"file:{tmp_path}"
    async with library.connect(url, protocol="mps3") as db:
        await db.put("k", 1)
    listed, verified, exported, there = several(
        ("ls", url), ("verify", url), ("export", url, str(tmp_path / "out")), ("ls", url, "-m", "manifest.json")
    )
    assert [one.code for one in (listed, verified, exported, there)] == [0, 3, 3, 0]
    for one in (listed, verified, exported):
        assert "'manifest.json': --manifest manifest.json" in one.err
    assert (there.out, there.err) == ("k\n", "")
    first, second = several(("put", url, "k", "2"), ("put", url, "k", "3"))
    assert (first.code, second.code, second.err) == (0, 0, "")
    assert "manifest 'main'" in first.err
    assert "is a new one; there is one of the name 'manifest.json': --manifest manifest.json" in first.err


async def test_who_may_not_look_for_another_manifest_begins_one_all_the_same(
    tmp_path: Path, mutant: Mutant, capsys: pytest.CaptureFixture[str]
) -> None:
    async def denied(*_: object) -> None:
        raise library.AccessDenied("no right to that")

    mutant.replace(protocol_of, denied, within=run_of_a_command)
    async with run_of_a_command.Run("put", run_of_a_command.Target(f"file:{tmp_path}")).database(by="ana") as db:
        await db.put("k", 1)
    assert capsys.readouterr().err == ""


# -- verify --------------------------------------------------------------------------------------------------------


async def test_verify_finds_nothing_wrong_and_changes_nothing(bucket: Path) -> None:
    url = await fill(bucket)
    before = found(bucket)
    well, quick, as_json, empty = several(
        ("verify", url),
        ("verify", url, "--no-contents"),
        ("verify", url, "--json"),
        ("verify", url, "-m", "nowhere", "--json"),
    )
    said = "all is well: 5 keys after entry 2; verified 2 entries, 0 checkpoints, 1 values\n"
    assert well == quick == Outcome(0, said, "")
    summary = {"ok": True, "problems": 0, "head": 2, "keys": 5, "entries": 2, "checkpoints": 0, "values": 1}
    assert (as_json.code, as_json.records) == (0, [summary])
    assert (empty.code, empty.out, empty.error["kind"]) == (3, "", "NoSuchManifest")
    assert found(bucket) == before


async def test_verify_names_what_is_wrong_and_ends_with_6(bucket: Path) -> None:
    url = await fill(bucket)
    value = next(path for path in objects(bucket) if "values" in path.parts)
    whole = value.read_bytes()
    value.write_bytes(whole[:-1] + b"!")
    altered, as_json, quick = several(("verify", url), ("verify", url, "--json"), ("verify", url, "--no-contents"))
    name = f"main/values/{value.name}"
    assert (altered.code, altered.err) == (6, "")
    first, last = altered.out.splitlines()
    assert first.startswith(f"wrong  {name}: ")
    assert last.startswith("1 objects are wrong")
    problem, summary = as_json.records
    assert as_json.code == 6
    assert problem["object"] == name
    assert (summary["ok"], summary["problems"], summary["values"]) == (False, 1, 0)
    assert quick.code == 0, "it is there, and nobody asked what is in it"
    value.write_bytes(whole)
    entry = next(path for path in objects(bucket) if path.name.endswith("1") and "log" in path.parts)
    entry.write_bytes(entry.read_bytes()[:-1])
    value.unlink()
    torn, got = several(("verify", url, "--json"), ("get", url, "a", "--json"))
    assert torn.code == 6
    assert torn.records[0]["object"].endswith("/log/00000000000000000001")
    assert (got.code, got.error["kind"]) == (6, "Corrupt")


def test_what_cannot_be_reached_is_no_verdict(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    outcome = rxmps3("verify", f"file:{file}", "--json")
    assert outcome.code not in (0, 6)
    assert outcome.out == ""


# -- export and import ---------------------------------------------------------------------------------------------


async def test_export_and_import_and_export_again(bucket: Path, tmp_path: Path) -> None:
    url, target = await fill(bucket), f"file:{tmp_path / 'target'}"
    before = found(bucket)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    exported, to_stdout, imported, again, people, back = several(
        ("export", url, str(first), "--json"),
        ("export", url, "-"),
        ("import", target, str(first), "--json", "--by", "mover"),
        ("import", target, str(first), "--json"),
        ("import", target, str(first)),
        ("export", target, str(second)),
    )
    assert exported.records == [{"keys": 5, "written": 5, "same": 0}]
    assert to_stdout == Outcome(0, first.read_text(encoding="utf-8"), "")
    assert imported.records == [{"keys": 5, "written": 5, "same": 0}]
    assert again.records == [{"keys": 5, "written": 0, "same": 5}]
    assert people == Outcome(0, "0 keys put, 5 were there already\n", "")
    assert back == Outcome(0, "5 keys written to the file\n", "")
    assert first.read_text().splitlines()[1:] == second.read_text().splitlines()[1:]
    assert await contents(target) == expected()
    assert found(bucket) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bucket", "first.jsonl", "second.jsonl", "target"]
    (version,) = rxmps3("log", target, "--json").records
    assert version["by"] == "mover"


async def test_export_of_a_prefix_and_of_nothing(bucket: Path, tmp_path: Path) -> None:
    url = await fill(bucket)
    some, none = several(("export", url, "-", "--prefix", "a"), ("export", url, "-", "--prefix", "zzz"))
    assert [json.loads(line)["key"] for line in some.out.splitlines()[1:-1]] == ["a", "a/b"]
    assert len(none.out.splitlines()) == 2


async def test_what_was_never_written_replaces_no_backup(bucket: Path, tmp_path: Path) -> None:
    url, mistyped = await fill(bucket), f"file:{tmp_path / 'nowhere'}"
    file = tmp_path / "export.jsonl"
    async with library.connect(url, manifest="emptied") as db:
        await db.put("k", 1)
        await db.delete("k")
    written, emptied = several(
        ("export", url, str(file), "--json"), ("export", url, str(tmp_path / "empty"), "--json", "-m", "emptied")
    )
    assert (written.code, emptied.code, emptied.records) == (0, 0, [{"keys": 0, "written": 0, "same": 0}])
    before = file.read_text()
    outcomes = several(
        ("export", mistyped, str(file), "--json"),
        ("export", mistyped, "-", "--json"),
        ("export", url, str(file), "--json", "--manifest", "mian"),
        ("copy", mistyped, f"file:{tmp_path / 'target'}", "--json"),
    )
    assert [(outcome.code, outcome.out, outcome.error["kind"]) for outcome in outcomes] == [
        (3, "", "NoSuchManifest")
    ] * 4
    assert file.read_text() == before
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "target").exists()


async def test_an_export_that_fails_leaves_the_earlier_file_alone(bucket: Path, tmp_path: Path) -> None:
    url = await fill(bucket)
    file = tmp_path / "export.jsonl"
    file.write_text("the earlier one")
    next(path for path in objects(bucket) if "values" in path.parts).unlink()
    failed, unwritable = several(
        ("export", url, str(file), "--json"), ("export", url, str(tmp_path / "no" / "folder"), "--json")
    )
    assert (failed.code, failed.error["kind"]) == (6, "Corrupt")
    assert file.read_text() == "the earlier one"
    assert unwritable.code == 2
    assert unwritable.error["kind"] == "InvalidOption"


async def test_an_export_replaces_nothing_but_a_file(bucket: Path, tmp_path: Path) -> None:
    url = await fill(bucket)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "link.partial").write_text("somebody's own")
    os.mkfifo(tmp_path / "pipe")
    folder, pipe, link = several(
        *(("export", url, str(tmp_path / name), "--json") for name in ("folder", "pipe", "link"))
    )
    assert [outcome.error["kind"] for outcome in (folder, pipe)] == ["InvalidValue"] * 2
    assert (link.code, (tmp_path / "link").is_symlink()) == (0, True)
    assert len((tmp_path / "file").read_text().splitlines()) == 7
    assert (tmp_path / "link.partial").read_text() == "somebody's own"
    assert len(list(tmp_path.iterdir())) == 6


async def test_an_import_reads_what_can_be_read_only_once(bucket: Path, tmp_path: Path) -> None:
    url = await fill(bucket)
    whole = rxmps3("export", url, "-").out
    for number, name in enumerate(("-", "/dev/stdin")):
        imported = rxmps3("import", f"file:{tmp_path / str(number)}", name, "--json", stdin=whole)
        assert imported.records == [{"keys": 5, "written": 5, "same": 0}]
    (torn,) = several(("import", f"file:{tmp_path / 'torn'}", "-", "--json"), stdin=whole[:-10])
    assert torn.error["kind"] == "Corrupt"


async def test_files_that_are_not_whole_are_refused_and_nothing_is_written(bucket: Path, tmp_path: Path) -> None:
    url = await fill(bucket)
    whole = rxmps3("export", url, "-").out
    files = {
        "torn": whole[: len(whole) // 2].encode(),
        "altered": whole.replace("LLL", "LML", 1).encode(),
        "foreign": b'{"hello": "world"}\n',
        "empty": b"",
        "binary": b"\xff\xfe\x00\x01" * 100,
        "newer": whole.replace('"format":1', '"format":2', 1).encode(),
    }
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    target = tmp_path / "target"
    outcomes = several(*(("import", f"file:{target}", str(tmp_path / name), "--json") for name in files))
    kinds = {name: outcome.error["kind"] for name, outcome in zip(files, outcomes, strict=True)}
    assert kinds == {**dict.fromkeys(files, "Corrupt"), "newer": "Unsupported"}
    assert {outcome.code for outcome in outcomes} == {6}
    assert {outcome.out for outcome in outcomes} == {""}
    assert not target.exists()
    missing, folder = several(
        ("import", f"file:{target}", str(tmp_path / "missing"), "--json"),
        ("import", f"file:{target}", str(tmp_path), "--json"),
    )
    assert [(outcome.code, outcome.error["kind"]) for outcome in (missing, folder)] == [(2, "InvalidOption")] * 2


# -- copy ----------------------------------------------------------------------------------------------------------


async def test_copy_puts_what_is_missing_and_keeps_what_is_there(bucket: Path, tmp_path: Path) -> None:
    url, target = await fill(bucket), f"file:{tmp_path / 'target'}"
    async with library.connect(target) as db:
        await db.put_all({"a": 1, "besides": True})
    copied, again, people, part = several(
        ("copy", url, target, "--json", "--by", "mover"),
        ("copy", url, target, "--json"),
        ("copy", url, target),
        ("copy", url, target, "--json", "--prefix", "a", "--target-manifest", "other"),
    )
    assert copied.records == [{"keys": 5, "written": 4, "same": 1}]
    assert again.records == [{"keys": 5, "written": 0, "same": 5}]
    assert people == Outcome(0, "0 keys copied, 5 were there already\n", "")
    assert part.records == [{"keys": 2, "written": 2, "same": 0}]
    assert await contents(target) == expected({**VALUES, "besides": True})
    assert await contents(target, "other") == expected({"a": 1, "a/b": 1.0})
    well = rxmps3("verify", target)
    assert well.code == 0


async def test_copy_within_one_bucket_and_from_a_broken_one(bucket: Path, tmp_path: Path) -> None:
    url = await fill(bucket)
    within = rxmps3("copy", url, url, "--target-manifest", "second", "--json")
    assert within.records == [{"keys": 5, "written": 5, "same": 0}]
    assert await contents(url, "second") == expected()
    (bucket / "main" / "head").write_bytes(b"{}")
    broken, unknown = several(
        ("copy", url, f"file:{tmp_path / 'target'}", "--json"), ("copy", url, "ftp://somewhere", "--json")
    )
    assert (broken.code, broken.error["kind"], broken.out) == (6, "Corrupt", "")
    assert not (tmp_path / "target").exists()
    assert (unknown.code, unknown.error["kind"]) == (2, "InvalidOption")


# -- repair --------------------------------------------------------------------------------------------------------


async def test_repair_says_what_it_would_do_and_does_it_with_yes(bucket: Path) -> None:
    url = await fill(bucket)
    sound = rxmps3("repair", url)
    assert (sound.code, "nothing is to be done" in sound.out) == (0, True)
    (bucket / "main/head").unlink()
    before = found(bucket)
    unread = rxmps3("get", url, "a")
    assert (unread.code, f"`rxmps3 repair {url}`" in unread.err) == (6, True)
    tried = rxmps3("repair", url, "--json")
    assert (tried.code, tried.records[-1]["head"], tried.records[-1]["needed"]) == (6, "written", True)
    assert found(bucket) == before
    done = rxmps3("repair", url, "--yes")
    assert (done.code, done.err) == (0, "")
    assert await contents(url) == expected()
    assert rxmps3("repair", f"file:{bucket}-none").code == 3


async def test_repair_of_the_other_logs_is_refused_and_says_why(bucket: Path) -> None:
    async with library.connect(f"file:{bucket}", protocol="mps3") as db:
        await db.put("a", 1)
    refused = rxmps3("repair", f"file:{bucket}", "--manifest", "manifest.json")
    assert (refused.code, "it has no head to lose" in refused.err) == (6, True)


@pytest.mark.parametrize("protocol", ["sequenced", "mps3"])
async def test_repair_says_which_values_a_log_has_left_and_puts_them_elsewhere(bucket: Path, protocol: str) -> None:
    url = f"file:{bucket}"
    kept = {"a/b": "L" * 9000, "plain": "P" * 9000}
    async with library.connect(url, manifest="gone", protocol=protocol) as db:
        for key, value in kept.items():
            await db.put(key, "older" * 2000)
            await db.put(key, value)
    for path in bucket.rglob("*"):
        name = str(path.relative_to(bucket))
        if path.is_file() and (name.startswith("gone@") or (name.startswith("gone/") and "/values/" not in name)):
            path.unlink()
    before = found(bucket)
    told, as_json, refused, taken = several(
        ("repair", url, "-m", "gone"),
        ("repair", url, "-m", "gone", "--json"),
        ("repair", url, "-m", "gone", "--into", "gone"),
        ("repair", url, "-m", "gone", "--into", "saved"),
    )
    assert (told.code, "4 objects with" in told.out, "2 keys: a/b, plain" in told.out) == (6, True, True), told.out
    assert as_json.records[0]["keys"] == ["a/b", "plain"]
    assert (refused.code, taken.code) == (2, 0), taken.err
    assert "2 keys put into manifest 'saved'" in taken.out
    assert await contents(url, "saved") == expected(kept)
    assert {name: body for name, body in found(bucket).items() if name in before} == before
    again = rxmps3("repair", url, "-m", "gone", "--into", "saved")
    assert (again.code, "0 keys put" in again.out) == (0, True)
    if protocol == "sequenced":
        done = rxmps3("repair", url, "-m", "gone", "--yes")
        assert (done.code, "4 objects are in" in done.out) == (0, True)
        async with library.connect(url, manifest="gone") as db:
            await db.put("new", 1)


async def test_what_an_unreadable_log_says_to_run_makes_it_readable(tmp_path: Path) -> None:
    """A client went on in a bucket that had been put back: its entry follows nothing that is there."""
    bucket, name = tmp_path / "my bucket", "my notes"
    url = await fill(bucket, name)
    copied = found(bucket)
    async with library.connect(url, manifest=name) as db:
        await db.put("a", 2)
        await db.put("a", 3)
    for path in found(bucket).keys() - copied.keys():
        if not path.endswith(f"{4:020d}"):
            (bucket / path).unlink()
    with pytest.raises(library.Corrupt, match="missing, though entry 4 exists") as unread:
        async with library.connect(url, manifest=name):
            pass
    _, command, _ = str(unread.value).split("`")
    program, *arguments = shlex.split(command)
    assert program == "rxmps3"
    done = rxmps3(*arguments, "--yes")
    assert (done.code, "1 objects are in" in done.out) == (0, True), done
    assert await contents(url, name) == expected()
