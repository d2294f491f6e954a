"""The whole library on virtual time against a bucket that misbehaves: no seed may break a rule."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rxmps3.log.protocol import ProtocolName
from tests.mutating import Mutant
from tests.simulator import Report, Violation, draw_plan, main, play, run_many, running, simulate

SEEDS = range(50)


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_nothing_breaks_in_any_weather(first: int):
    summary = run_many(range(first, first + 10), stop_after=1)
    assert not summary.failed, summary.failed[0].shrunk().explain()
    assert summary.runs == 10


def test_nothing_breaks_with_a_bell_of_any_kind():
    summary = run_many(range(100, 106), bells=True, stop_after=1)
    assert not summary.failed, summary.failed[0].shrunk().explain()
    for what in ("rings", "rings lost", "lies", "dead bells"):
        assert summary.counts[what] > 0, what


def test_nothing_breaks_when_nothing_goes_wrong():
    summary = run_many(range(1000, 1010), faults=False, stop_after=1)
    assert not summary.failed, summary.failed[0].shrunk().explain()
    assert summary.counts["faults"] == summary.counts["deaths"] == 0


def test_the_runs_are_not_idle():
    counts = run_many(range(10)).counts
    for what in ("entries", "acknowledged", "emissions", "faults", "deaths", "refresh", "observe_prefix", "changes"):
        assert counts[what] > 10, what


def test_checkpoints_in_chunks_are_made_and_collected():
    counts = run_many((28, 42, 62)).counts
    for what in ("chunks written", "chunks named again", "chunks deleted"):
        assert counts[what] > 10, what


@pytest.mark.parametrize("seed", [3, 17])
def test_the_same_seed_is_the_same_run(seed: int):
    first, second = simulate(seed), simulate(seed)
    assert first.lines == second.lines
    assert first.digest == second.digest != simulate(seed + 1).digest


def test_the_same_seed_is_the_same_run_in_every_process(repository: Path):
    code = "from tests.simulator import simulate; print([simulate(seed).digest for seed in (5, 8, 13, 19, 42, 68)])"

    def run(hash_seed: str) -> str:
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    assert run("0") == run("1") == run("random")


def test_warnings_are_heard_again_after_a_run(caplog: pytest.LogCaptureFixture):
    simulate(17)
    logging.getLogger("rxmps3").warning("a warning after the run")
    assert "a warning after the run" in caplog.text


def test_a_run_repeats_from_the_faults_that_it_reported():
    report = simulate(17)
    again = play(report.explicit_plan)
    assert report.faults
    assert again.digest == report.digest


def test_a_plan_tells_what_it_holds():
    plan = simulate(17).explicit_plan
    text = plan.describe()
    assert all(str(fault) in text for fault in plan.faults or ())
    assert plan.size > 10
    assert not plan.calm
    assert draw_plan(17, faults=False).calm


def test_the_command_returns_an_exit_code(capsys: pytest.CaptureFixture[str]):
    assert main(seeds=2, start=100, faults=False) == 0
    assert "2 runs" in capsys.readouterr().out


def odd_seeds_fail(seed: int, **_: object) -> Report:
    """Stands in for a run's report, in every process."""
    report = simulate(seed, clients=2, steps=4, faults=False)
    if seed % 2:
        report.violations.append(Violation("seeds are even", f"{seed} is not", 0.0))
    return report


def test_several_processes_come_to_the_same_as_one(monkeypatch: pytest.MonkeyPatch):
    alone, together = (run_many(range(200, 208), clients=2, steps=6, jobs=jobs) for jobs in (1, 2))
    assert (alone.runs, alone.counts, alone.seconds) == (together.runs, together.counts, together.seconds)
    assert alone.runs == 8
    monkeypatch.setattr(running, "_reported", odd_seeds_fail)
    alone, together = (run_many(range(100), stop_after=3, jobs=jobs) for jobs in (1, 2))
    assert [report.plan.seed for report in together.failed] == [1, 3, 5]
    assert (alone.runs, alone.counts, alone.seconds) == (together.runs, together.counts, together.seconds)
    assert [report.explain() for report in alone.failed] == [report.explain() for report in together.failed]


def test_a_failure_keeps_its_trace_on_the_way_from_another_process(mutant: Mutant):
    whole = odd_seeds_fail(3)
    mutant.replace(running.simulate, odd_seeds_fail, within=running)
    options: dict[str, Any] = {"protocol": "sequenced", "bells": False, "partial": False}
    report = running._reported(3, clients=2, steps=4, faults=False, **options)  # pyright: ignore[reportPrivateUsage]
    brought = pickle.loads(pickle.dumps(report))
    assert brought.lines == whole.lines
    assert brought.violations == whole.violations


@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
def test_nothing_breaks_where_some_keep_only_some_of_the_keys(protocol: ProtocolName):
    summary = run_many(range(4), protocol=protocol, partial=True, stop_after=1)
    assert not summary.failed, summary.failed[0].shrunk().explain()
    assert summary.counts["left to others"] > 10
