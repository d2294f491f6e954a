"""The command doctor: its table, its JSON, how it ends, and that it leaves nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rxmps3.cli import run
from rxmps3.cli.doctor_command import doctor
from rxmps3.storage import MemoryStorage
from rxmps3.testing import FaultyStorage
from rxmps3.testing.faults import deny
from tests.cli.commands import environment, rxmps3, said, several, started
from tests.cli.test_demo import objects
from tests.mutating import Mutant
from tests.servers import ADMIN, READER, SHARED_BUCKET, Credentials, Moto, SeaweedFS


def names(server: Moto | SeaweedFS, prefix: str) -> list[str]:
    """The objects below a prefix of the shared bucket."""
    import boto3

    with closing(boto3.client("s3", **server.options())) as client:
        found: Any = client.list_objects_v2(Bucket=SHARED_BUCKET, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", [])]


def of(who: Credentials, server: Moto | SeaweedFS) -> dict[str, str]:
    return environment(
        AWS_ENDPOINT_URL=server.endpoint_url,
        AWS_ACCESS_KEY_ID=who.access_key,
        AWS_SECRET_ACCESS_KEY=who.secret_key,
        AWS_DEFAULT_REGION="us-east-1",
    )


def test_it_explains_itself() -> None:
    [outcome] = several(("doctor", "--help"))
    assert (outcome.code, outcome.err) == (0, "")
    assert "Usage: rxmps3 doctor" in outcome.out
    for part in ("--rounds", "--endpoint-url", "--region", "--profile", "--json", ".rxmps3-probe/"):
        assert part in outcome.out


def test_of_a_directory(tmp_path: Path) -> None:
    url = f"file:{tmp_path / 'bucket'}"
    people, programs = several(("doctor", url, "--rounds", "2"), ("doctor", url, "--rounds", "2", "--json"))
    assert (people.code, people.err) == (0, "")
    lines = people.out.splitlines()
    assert any(line.startswith("good     create if absent ") and "2 races of 4, 0 violations" in line for line in lines)
    assert "sequenced: can be used (recommended)" in lines
    assert "mps3: can be used" in lines
    assert any(line.startswith("versioned: cannot be used: ") and "versioning" in line for line in lines)
    assert (programs.code, programs.err) == (0, "")
    [record] = programs.records
    assert record["recommended"] == "sequenced"
    assert record["protocols"]["versioned"]["usable"] is False
    assert {row["check"] for row in record["checks"]} >= {"compare and set", "listing pages", "Date header", "latency"}
    assert record["permissions"]["delete"] is True
    assert record["left"] == []
    assert record["latency"]["get"]["count"] == 25
    assert objects(tmp_path / "bucket") == []


@pytest.mark.seaweedfs
def test_who_may_only_read(seaweedfs: SeaweedFS) -> None:
    outcome, as_json = several(
        ("doctor", f"s3://{SHARED_BUCKET}/doctor-reader"),
        ("doctor", f"s3://{SHARED_BUCKET}/doctor-reader", "--json"),
        env=of(READER, seaweedfs),
    )
    assert (outcome.code, outcome.err) == (4, "")
    assert "bad      permission: put            refused" in outcome.out
    assert "sequenced: cannot be used: permission: put\n" in outcome.out
    assert outcome.out.endswith("an existing database can be read, with read_only=True\n")
    assert (as_json.code, as_json.records[0]["recommended"], as_json.records[0]["readable"]) == (4, None, True)


@pytest.mark.seaweedfs
def test_places_that_are_none(seaweedfs: SeaweedFS) -> None:
    memory, bucket, rounds = several(
        ("doctor", "memory:", "--json"),
        ("doctor", "s3://no-such-bucket", "--json"),
        ("doctor", "file:x", "--rounds", "0", "--json"),
        env=of(ADMIN, seaweedfs),
    )
    assert (memory.code, memory.error["kind"]) == (2, "InvalidOption")
    assert (bucket.code, bucket.error["kind"]) == (4, "BucketNotFound")
    assert (rounds.code, rounds.error["kind"]) == (2, "Usage")
    nowhere = rxmps3(
        "doctor", f"s3://{SHARED_BUCKET}", "--endpoint-url", "http://127.0.0.1:1", "--json", env=of(ADMIN, seaweedfs)
    )
    assert (nowhere.code, nowhere.out, nowhere.error["kind"]) == (5, "", "Unavailable")


def test_an_interruption_leaves_nothing(moto: Moto) -> None:
    prefix = "doctor-interrupted"
    with started("doctor", f"s3://{SHARED_BUCKET}/{prefix}", "--rounds", "5000", env=of(ADMIN, moto)) as process:
        while len(names(moto, prefix)) < 60:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert said(process) == ""
    assert names(moto, prefix) == []


class _Flawed:
    """What the command opens instead of the storage at a URL."""

    def __init__(self, mutant: Mutant, **plans: Any) -> None:
        self.storage = FaultyStorage(MemoryStorage(), **plans)
        mutant.replace(run.open_storage, lambda *_, **__: self.storage, within=run)


def test_what_could_not_be_removed_is_named(mutant: Mutant, capsys: pytest.CaptureFixture[str]) -> None:
    _Flawed(mutant, plan=deny(verbs=["delete"]))
    assert doctor("s3://mine", rounds=1) == 1
    out = capsys.readouterr().out
    assert "limited  permission: delete         refused" in out
    left = [line for line in out.splitlines() if line.startswith("left behind: .rxmps3-probe/")]
    assert any(line.endswith("/create-0") for line in left)


def test_a_storage_that_serves_no_protocol(mutant: Mutant, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.doctor.broken import IgnoresAfter

    mutant.replace(run.open_storage, lambda *_, **__: IgnoresAfter(), within=run)
    assert doctor("s3://mine", rounds=1) == 6
    assert "mps3: cannot be used: listing pages" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="it needs a pseudo-terminal")
def test_a_terminal_gets_a_table(tmp_path: Path) -> None:
    import pty
    import subprocess

    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as reading:
        process = subprocess.Popen(
            [sys.executable, "-m", "rxmps3", "doctor", f"file:{tmp_path / 'b'}", "--rounds", "1"],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            env=environment(TERM="xterm-256color"),
        )
        os.close(theirs)
        said = b""
        try:
            while part := reading.read(65536):
                said += part
        except OSError:
            pass  # the other end was closed
        assert process.wait() == 0
    shown = said.decode()
    assert "what it means for rxmps3" in shown
    assert "│" in shown
    assert "\x1b[32mgood" in shown
