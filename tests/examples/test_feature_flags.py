"""The feature flags of the examples: a service in one process, whoever flips them in others."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.feature_flags import Flag  # pyright: ignore
from tests.conftest import new_place
from tests.examples.helpers import ask, leave, read_until, running

PROGRAM = "examples/feature_flags.py"


def set_flag(url: str, name: str, percent: str) -> tuple[int, str]:
    with running(PROGRAM, "set", url, name, percent) as setting:
        return leave(setting)


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place; the options of a bucket come from the environment, as they would for anyone."""
    if request.param == "file":
        return f"file:{tmp_path}/flags"
    place = new_place("moto", request)
    monkeypatch.setenv("AWS_ENDPOINT_URL", place.options["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", place.options["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", place.options["aws_secret_access_key"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return place.url


def test_a_flag_reaches_two_running_services(url: str) -> None:
    with running(PROGRAM, "serve", url) as one, running(PROGRAM, "serve", url) as two:
        for service in (one, two):
            read_until(service, "new-checkout is on for 0 %")
            ask(service, "ana")
            read_until(service, "ana gets dark-mode")
        assert set_flag(url, "new-checkout", "100")[0] == 0
        for service in (one, two):
            read_until(service, "new-checkout is on for 100 %")
            ask(service, "ana")
            read_until(service, "ana gets dark-mode, new-checkout")
        assert set_flag(url, "dark-mode", "0")[0] == 0
        for service in (one, two):
            read_until(service, "dark-mode is on for 0 %")
            ask(service, "ana")
            read_until(service, "ana gets new-checkout")
            assert leave(service) == (0, "")


def test_a_percentage_is_checked_before_it_is_written(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/flags"
    code, complaint = set_flag(url, "new-checkout", "101")
    assert code == 1
    assert "flag/new-checkout" in complaint
    assert "percent" in complaint
    assert not Path(tmp_path, "flags").exists()


def test_the_defaults_hold_while_the_bucket_is_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "flags").write_text("a file where the folder should be")
    with running(PROGRAM, "serve", f"file:{tmp_path}/flags") as service:
        ask(service, "ana")
        assert read_until(service, "ana gets dark-mode") == ["ana gets dark-mode"]
        assert service.stderr is not None
        assert service.stderr.readline().startswith("the defaults hold: ")
        code, complaints = leave(service)
        assert code == 0
        assert "Traceback" not in complaints


def test_a_user_who_has_a_feature_keeps_it_while_the_percentage_grows() -> None:
    users = [f"user-{number}" for number in range(1000)]
    before: set[str] = set()
    for percent in (0, 10, 50, 100):
        chosen = {user for user in users if Flag(percent).is_on("new-checkout", user)}
        assert before <= chosen
        assert len(chosen) == pytest.approx(percent * 10, abs=60)
        before = chosen
    assert before == set(users)
    assert {user for user in users if Flag(50).is_on("dark-mode", user)} != {
        user for user in users if Flag(50).is_on("new-checkout", user)
    }
