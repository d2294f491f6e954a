"""Fixtures for all tests: servers, and empty places to connect to."""

from __future__ import annotations

import asyncio.constants
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("rxmps3.testing.storage_contract")

from tests.mutating import Mutant  # noqa: E402
from tests.servers import SHARED_BUCKET, VERSIONED_BUCKET, Moto, SeaweedFS, isolated_aws_environment  # noqa: E402

# No deadlines: a busy machine is no fault of the code. In CI the examples are the same each time, so that a change is
# judged by what it changes; `--hypothesis-profile=nightly` looks for new ones.
settings.register_profile("dev", deadline=None, print_blob=True, max_examples=100)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, max_examples=50)
settings.register_profile("quick", settings.get_profile("ci"), max_examples=20)  # for other environments than the first
settings.register_profile("nightly", settings.get_profile("dev"), max_examples=5000)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# asyncio's debug mode notes for each future, task and callback where it was made: without limits, 60 frames for each of
# many futures, a fifth of the time that all tests take. The innermost frames are the ones that tell something.
asyncio.constants.DEBUG_STACK_DEPTH = 4
sys.tracebacklimit = 16

KINDS = ("memory", "file", "moto", "seaweedfs")
STORAGES = [pytest.param(kind, marks=[pytest.mark.seaweedfs] if kind == "seaweedfs" else []) for kind in KINDS]
_MARKS = {"moto": [pytest.mark.heavy], "seaweedfs": [pytest.mark.seaweedfs]}  # moto is the slow one
PLACES = [
    *STORAGES,
    *(
        pytest.param(f"{kind}-{protocol}", marks=_MARKS.get(kind, []))
        for protocol in ("versioned", "mps3")
        for kind in ("memory", "moto", "seaweedfs")
    ),
]
"""Every test of behaviour runs in each of these: a storage with the sequenced log, or one with another log."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """Somewhere empty: ``rxmps3.connect(place.url, **place.options)``."""

    kind: str
    url: str
    protocol: str = "sequenced"
    options: dict[str, Any] = field(default_factory=dict[str, Any])


@pytest.fixture(scope="session", autouse=True)
def _aws_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = dict(os.environ)
    environment = isolated_aws_environment(tmp_path_factory.mktemp("home"))
    for name in set(before) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """A running SeaweedFS; tests share it and take buckets or prefixes of their own."""
    with SeaweedFS() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """A running moto server; tests share it and take buckets of their own."""
    with Moto() as server:
        yield server


def new_place(kind: str, request: pytest.FixtureRequest, *, versioning: bool = False) -> Place:
    """A fresh empty place of one of `KINDS`."""
    number = next(_numbers)
    kind, _, protocol = kind.partition("-")
    protocol = protocol or "sequenced"
    versioning = versioning or protocol == "versioned"
    if kind == "memory":
        return Place(kind, f"memory:test-{number}", protocol, {"versioning": True} if versioning else {})
    if kind == "file":
        return Place(kind, f"file:{request.getfixturevalue('tmp_path') / f'place-{number}'}", protocol)
    server: Moto | SeaweedFS = request.getfixturevalue(kind)
    bucket = VERSIONED_BUCKET if versioning else SHARED_BUCKET
    return Place(kind, f"s3://{bucket}/place-{number}", protocol, server.options())


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place of each kind of storage and log, one after the other."""
    place = new_place(request.param, request)
    skip_where_not_meant(request.node, place)
    return place


def skip_where_not_meant(test: pytest.Item, place: Place) -> None:
    """Skip a test of the sequenced log alone in a place with another one."""
    only = test.get_closest_marker("sequenced_only")
    if only is not None and place.protocol != "sequenced":
        pytest.skip(f"the sequenced log alone: {only.args[0]}")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return Path(__file__).parent.parent


@pytest.fixture
def mutant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mutant]:
    """The code, parts of which a test may replace; it fails where that changed nothing."""
    mutant = Mutant(monkeypatch)
    yield mutant
    mutant.verify()


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An X server of the test's own."""
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        pytest.fail("this test needs Xvfb: apt-get install xvfb")
    told, tells = os.pipe()
    with subprocess.Popen([xvfb, "-displayfd", str(tells), "-nolisten", "tcp"], pass_fds=[tells]) as server:
        os.close(tells)
        try:
            with os.fdopen(told) as numbers:
                monkeypatch.setenv("DISPLAY", f":{numbers.readline().strip()}")
            yield os.environ["DISPLAY"]
        finally:
            server.terminate()
