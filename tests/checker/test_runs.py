"""Short runs of real processes; `python -m tests.checker` has the long ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checker.logs import PROTOCOLS, read_log
from tests.checker.nemeses import NEMESES
from tests.checker.run import Plan, run
from tests.checker.servers import Files, SeaweedFS
from tests.checker.trace import read_sessions
from tests.checker.verdicts import Expected, judge

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]


@pytest.mark.seaweedfs
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_killed_writers_on_a_bad_network(protocol: str, tmp_path: Path) -> None:
    nemeses = ("delay", "lose", "kill", "freeze")
    assert all(protocol in NEMESES[name].holds for name in nemeses)
    with SeaweedFS() as server:
        outcome = run(Plan(protocol, nemeses, seconds=6, seed=3, clients=3), server, tmp_path)
    print(outcome.report)
    assert outcome.report.is_clean, str(outcome.report)
    assert outcome.report.acknowledged > 10
    assert outcome.done["killed"] > 0
    assert outcome.done["503"] + outcome.done["cut"] + outcome.done["answer lost"] > 3


def test_what_is_planted_in_a_real_log_is_found(tmp_path: Path) -> None:
    """A run that is clean, whose files are then spoilt."""
    with Files() as server:
        outcome = run(Plan("sequenced", ("kill",), seconds=4, seed=5, clients=3), server, tmp_path)
        assert outcome.report.is_clean, str(outcome.report)
        sessions = read_sessions(tmp_path)
        objects = server.objects(outcome.url)
        entries = [one.name for one in objects.names("main/") if "/log/" in one.name]

        def found() -> set[str]:
            return set(judge(read_log(objects, "sequenced"), sessions, Expected()).found)

        assert found() == set()
        for name, planted in ((entries[-1], "lost"), (entries[len(entries) // 2], "broken log")):
            path = Path(outcome.url.removeprefix("file:")) / name
            before = path.read_bytes()
            path.unlink()
            assert planted in found()
            path.write_bytes(before)
        last = Path(outcome.url.removeprefix("file:")) / entries[-1]
        body = json.loads(last.read_bytes())
        body["writes"][0]["update"]["shared/0"] = {"value": {"w": "c9.0.0", "pad": ""}, "version": "forged-1"}
        last.write_text(json.dumps(body))
        assert {"forged", "torn"} & found()
