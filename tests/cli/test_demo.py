"""The demo, run whole, and its checks, given evidence that speaks against the database."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rxmps3.cli.demo.checks import Evidence, judge, timings
from rxmps3.model.state import Entry, Inline, ManifestVersion, Write, WriteId
from tests.cli.commands import Outcome, environment, next_record, rxmps3, said, started

PLAYERS = ("alice", "bob")


def objects(bucket: Path) -> list[Path]:
    """The objects in a directory, without what the storage needs for itself."""
    files = (path for path in bucket.rglob("*") if path.is_file())
    return [path for path in files if ".=rxmps3" not in path.parts]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """One demo in JSON, and the folder that was its place for temporary files."""
    folder = tmp_path_factory.mktemp("demo")
    return rxmps3("demo", "--json", env=environment(TMPDIR=str(folder))), folder


def test_the_demo_ends_well_and_leaves_nothing(played: tuple[Outcome, Path]) -> None:
    outcome, folder = played
    assert (outcome.code, outcome.err) == (0, "")
    assert list(folder.iterdir()) == []
    start, *reports, summary = outcome.records
    assert start["players"] == list(PLAYERS)
    assert start["url"].startswith(f"file:{folder}")
    assert summary["ok"] is True
    assert len(summary["checks"]) == 8
    assert all(check["ok"] and check["detail"] for check in summary["checks"])
    assert set(summary["seconds"]) == {"seen_by_its_writer", "committed", "seen_by_the_other"}
    for who in PLAYERS:
        events = {report["event"] for report in reports if report["who"] == who}
        assert events == {"opened", "put", "returned", "seen", "together", "committed", "final"}
    assert {tuple(report["set"]) for report in reports if report["event"] == "put"} >= {("left", "right"), ("score",)}


def test_the_demo_plays_in_a_bucket_and_tidies_up(tmp_path: Path) -> None:
    outcome = rxmps3("demo", "--url", f"file:{tmp_path / 'bucket'}")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("Two processes share one database: file:")
    assert outcome.out.count("\n  ok      ") == 8
    assert "FAILED" not in outcome.out
    assert "alice  puts       left = " in outcome.out
    assert "seen here at once, not committed yet\n" in outcome.out
    first, second = outcome.out.splitlines()[-2:]
    assert first.endswith("rxmps3 watch file:./bucket greeting")
    assert "rxmps3 put file:./bucket greeting '\"hello\"'" in second
    assert objects(tmp_path / "bucket") == []


def test_an_interrupted_demo_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    with started("demo", "--json", env=environment(TMPDIR=str(tmp_path))) as demo:
        assert next_record(demo)["event"] == "start"
        next_record(demo)
        players = psutil.Process(demo.pid).children()
        assert len(players) == 2
        demo.send_signal(signal.SIGINT)
        assert (demo.wait(), said(demo)) == (130, "")
        assert psutil.wait_procs(players)[1] == []
        assert list(tmp_path.iterdir()) == []


# -- the checks ------------------------------------------------------------------------------------------------


def entry(version: str, text: str) -> Entry:
    return Entry(version, Inline(text))


def version(seq: int, writer: str, number: int, update: dict[str, Entry | None]) -> ManifestVersion:
    return ManifestVersion(str(seq), writer, "", None, (Write(WriteId(writer, number), f"n{number}", update),))


def of_writer(who: str, number: int, at: float, **values: Any) -> list[dict[str, Any]]:
    """What a player reports of one of its writes; None deletes."""
    name = f"{who[0]}-{number}"
    base = {"who": who, "at": at}
    kept = {key: value for key, value in values.items() if value is not None}
    gone = [key for key in values if key not in kept]
    seen = {"event": "seen", "by": who, "own": True, "pending": True}
    return [
        {**base, "event": "put", "number": number, "set": kept, "deleted": gone},
        *(
            {**base, **seen, "key": key, "value": value, "missing": False, "version": name}
            for key, value in kept.items()
        ),
        *({**base, **seen, "key": key, "value": None, "missing": True, "version": ""} for key in gone),
        {**base, "event": "returned", "number": number, "version": name},
        {**base, "at": at + 1, "event": "committed", "number": number, "version": name},
    ]


def seen(who: str, key: str, value: Any, name: str, at: float = 3) -> dict[str, Any]:
    """What a player reports of a change that the other one made."""
    base = {"who": who, "at": at, "event": "seen", "by": "other", "own": False, "pending": False}
    return {**base, "key": key, "value": value, "missing": value is None, "version": name}


def together(who: str, *values: Any) -> dict[str, Any]:
    return {"who": who, "at": 3, "event": "together", "values": list(values)}


def final(who: str, **state: Any) -> dict[str, Any]:
    return {"who": who, "at": 9, "event": "final", "head": "4", "state": state}


def evidence() -> tuple[list[dict[str, Any]], list[ManifestVersion]]:
    """A short game that went well."""
    both = dict.fromkeys(("left", "right"), "x")
    reports = [
        *of_writer("alice", 0, 0, score=1, place=7),
        *of_writer("bob", 0, 1, **both),
        *of_writer("alice", 1, 2, place=None),
        *of_writer("bob", 1, 2, score=2),
        *(together(who, *values) for who in PLAYERS for values in ((None, None), ("x", "x"))),
        seen("bob", "score", 1, "a-0", 2),
        seen("bob", "place", 7, "a-0", 2),
        seen("bob", "place", None, ""),
        *(seen("alice", key, "x", "b-0") for key in both),
        seen("alice", "score", 2, "b-1", 4),
        *(final(who, score=2, **both) for who in PLAYERS),
    ]
    log = [
        version(1, "a", 0, {"score": entry("a-0", "1"), "place": entry("a-0", "7")}),
        version(2, "b", 0, {key: entry("b-0", '"x"') for key in both}),
        version(3, "a", 1, {"place": None}),
        version(4, "b", 1, {"score": entry("b-1", "2")}),
    ]
    return reports, log


def broken(reports: list[dict[str, Any]], log: list[ManifestVersion]) -> list[str]:
    return [verdict.promise for verdict in judge(Evidence(PLAYERS, reports, log)) if not verdict.kept]


def test_a_game_that_went_well_passes_every_check() -> None:
    reports, log = evidence()
    assert broken(reports, log) == []
    assert timings(Evidence(PLAYERS, reports, log)) == {
        "seen_by_its_writer": 0,
        "committed": 1,
        "seen_by_the_other": 2,
    }


def test_no_evidence_passes_no_check() -> None:
    assert len(broken([], [])) == 8


def pick(reports: list[dict[str, Any]], **facts: Any) -> dict[str, Any]:
    return next(report for report in reports if facts.items() <= report.items())


def without(reports: list[dict[str, Any]], **facts: Any) -> None:
    reports.remove(pick(reports, **facts))


def later(reports: list[dict[str, Any]], **facts: Any) -> None:
    """Move one of a player's own echoes behind the return of its call."""
    report = pick(reports, **facts)
    reports.remove(report)
    reports.insert(reports.index(pick(reports, who=report["who"], event="returned")) + 1, report)


Tamper = Callable[[list[dict[str, Any]], list[ManifestVersion]], Any]
TAMPERINGS: list[tuple[str, Tamper]] = [
    ("both players came to the end", lambda reports, log: without(reports, event="final", who="bob")),
    (
        "both ended with the same",
        lambda reports, log: pick(reports, event="final", who="bob")["state"].update(score=2.0),
    ),
    ("every acknowledged write", lambda reports, log: log.pop(1)),
    ("every acknowledged write", lambda reports, log: log.append(log[0])),
    ("what they ended with is what the log", lambda reports, log: log.reverse()),
    (
        "own writes are seen at once",
        lambda reports, log: later(reports, event="seen", own=True, who="alice", key="score"),
    ),
    ("own writes are seen at once", lambda reports, log: pick(reports, event="seen", key="left").update(pending=False)),
    ("own writes are seen at once", lambda reports, log: pick(reports, own=True, key="score").update(value=True)),
    ("nobody saw half", lambda reports, log: reports.append(together("bob", "x", "y"))),
    ("nobody saw half", lambda reports, log: reports.append(together("alice", None, "x"))),
    ("the other's changes come in the order", lambda reports, log: reports.append(seen("bob", "score", 1, "?"))),
    (
        "the other's changes come in the order",
        lambda reports, log: reports.append(seen("alice", "left", "x", "b-0")),
    ),
    (
        "what was deleted is gone",
        lambda reports, log: [report["state"].update(place=7) for report in reports if report["event"] == "final"],
    ),
]


@pytest.mark.parametrize(("promise", "tamper"), TAMPERINGS)
def test_each_check_notices_when_its_promise_is_broken(promise: str, tamper: Tamper) -> None:
    reports, log = copy.deepcopy(evidence())
    tamper(reports, log)
    assert any(each.startswith(promise) for each in broken(reports, log))
