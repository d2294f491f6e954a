"""A local directory belongs to the addresses that its databases had: what waits for one is not sent to another."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from rxmps3 import InvalidOption
from tests.behaviour.helpers import trace
from tests.cli.commands import environment
from tests.cli.commands import rxmps3 as run
from tests.conftest import Place, new_place
from tests.servers import ADMIN, free_ports

pytestmark = pytest.mark.seaweedfs


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    return new_place("seaweedfs", request)


def elsewhere(place: Place) -> dict[str, Any]:
    """The same server under another name."""
    return {**place.options, "endpoint_url": place.options["endpoint_url"].replace("127.0.0.1", "localhost")}


def on(place: Place, local: Path, options: dict[str, Any], **more: Any) -> rxmps3.Connecting:
    return rxmps3.connect(place.url, **options, local=local, shared=False, **more)


async def written_offline(place: Place, local: Path, options: dict[str, Any], *keys: str) -> None:
    async with on(place, local, options, online=False) as db:
        for key in keys:
            await db.put(key, f"value of {key}").stored


async def outbox(local: Path, *arguments: str) -> Any:
    env = environment(
        AWS_ACCESS_KEY_ID=ADMIN.access_key, AWS_SECRET_ACCESS_KEY=ADMIN.secret_key, AWS_DEFAULT_REGION="us-east-1"
    )
    return await asyncio.to_thread(run, "outbox", str(local), *arguments, "--json", env=env)


async def test_opening_says_that_unsent_writes_wait_for_another_address(place: Place, tmp_path: Path) -> None:
    await written_offline(place, tmp_path, elsewhere(place), "a")
    async with on(place, tmp_path, place.options) as db:
        failures = trace(db.errors)
        await db.put("b", 1)
        assert await db.get("a") is None
        (failure,) = map(str, failures)
        assert "unsent writes wait for" in failure
        assert "localhost" in failure
        assert "rxmps3 outbox" in failure
    async with on(place, tmp_path, elsewhere(place)) as db:
        for receipt in db.pending.value:
            await receipt
        assert await db.get("a") == "value of a"
    async with on(place, tmp_path, place.options) as db:
        failures = trace(db.errors)
        await db.refresh()
        assert not failures


async def test_other_databases_of_a_directory_are_no_other_address(place: Place, tmp_path: Path) -> None:
    other = replace(place, url=place.url + "/other")
    await written_offline(other, tmp_path, place.options, "a")
    async with on(place, tmp_path, place.options) as db:
        failures = trace(db.errors)
        await db.refresh()
        assert not failures


async def test_they_are_listed_and_sent(place: Place, tmp_path: Path) -> None:
    await written_offline(place, tmp_path, elsewhere(place), "a", "b")
    (found,) = (await outbox(tmp_path)).records
    assert found["address"].endswith(f"?endpoint_url={elsewhere(place)['endpoint_url']}")
    assert (found["manifest"], found["writes"], found["keys"], found["in_use"]) == ("main", 2, ["a", "b"], False)
    assert (await outbox(tmp_path)).records == [found]
    sent = await outbox(tmp_path, "--send")
    assert sent.code == 0, sent.err
    assert sent.records == [{"done": "sent", "writes": 2, "address": found["address"], "manifest": "main"}]
    assert (await outbox(tmp_path)).records == []
    async with on(place, tmp_path, place.options) as db:
        assert await db.get_many(["a", "b"]) == {"a": "value of a", "b": "value of b"}


async def test_they_are_moved_and_sent(place: Place, tmp_path: Path) -> None:
    large = "x" * 300_000
    async with on(place, tmp_path, elsewhere(place), online=False) as db:
        await db.put("a", 1).stored
        await db.put("large", large).stored
    to = ("--move-to", place.url, "--endpoint-url", place.options["endpoint_url"])
    moved = await outbox(tmp_path, *to)
    assert moved.code == 0, moved.err
    (found,) = (await outbox(tmp_path)).records
    assert (found["address"], found["writes"]) == (f"{place.url}/?endpoint_url={place.options['endpoint_url']}", 2)
    async with on(place, tmp_path, place.options, online=False) as db:
        await db.put("b", 2).stored
    assert [one["done"] for one in (await outbox(tmp_path, *to, "--send")).records] == ["sent"]
    assert (await outbox(tmp_path)).records == []
    async with on(place, tmp_path / "fresh", place.options) as db:
        assert await db.get_many(["a", "b", "large"]) == {"a": 1, "b": 2, "large": large}


async def test_who_names_another_address_or_folder_is_told(place: Place, tmp_path: Path) -> None:
    await written_offline(place, tmp_path, elsewhere(place), "a")
    (folder,) = tmp_path.iterdir()
    (tmp_path / "foreign").mkdir()

    def said(*arguments: str) -> tuple[int, str]:
        outcome = run("outbox", *arguments)
        return outcome.code, outcome.out or outcome.err

    code, line = await asyncio.to_thread(said, str(tmp_path), "--send", "--database", "s3://another/")
    assert code == 0
    assert line.startswith("nothing waits to be sent to s3://another/; something does to s3://")
    for within in (folder, folder / "main"):
        code, line = await asyncio.to_thread(said, str(within))
        assert code == 2
        assert line.endswith(f"name {str(tmp_path)!r}\n")
    assert await asyncio.to_thread(said, str(tmp_path / "foreign"), "--send") == (0, "nothing waits to be sent\n")
    assert len((await outbox(tmp_path)).records) == 1


async def test_what_a_process_has_open_is_left_alone(place: Place, tmp_path: Path) -> None:
    async with on(place, tmp_path, elsewhere(place), online=False) as db:
        await db.put("a", 1).stored
        (found,) = (await outbox(tmp_path)).records
        assert found["in_use"]
        to = ("--move-to", place.url, "--endpoint-url", place.options["endpoint_url"])
        assert (await outbox(tmp_path, *to, "--send")).records == []
        assert (await outbox(tmp_path)).records == [found]
        told = await asyncio.to_thread(run, "outbox", str(tmp_path), "--send")
        assert "a process has them open and sends them" in told.out


async def test_an_environment_that_leads_elsewhere_sends_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written_offline(place, tmp_path, {}, "a")  # Amazon's
    monkeypatch.setenv("AWS_ENDPOINT_URL", place.options["endpoint_url"])
    refused = await outbox(tmp_path, "--send")
    assert refused.code == 2
    assert "lead to" in refused.error["message"]
    assert len((await outbox(tmp_path)).records) == 1


async def test_a_write_made_with_one_profile_is_not_committed_with_another(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(
        f"[profile staging]\nendpoint_url=http://127.0.0.1:{free_ports(1)[0]}\n"
        f"[profile prod]\nservices=here\n[services here]\ns3 =\n  endpoint_url={place.options['endpoint_url']}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, ADMIN.access_key if "ID" in name else ADMIN.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    local = tmp_path / "local"
    for way in ("profile_name", "AWS_PROFILE"):
        options: dict[str, dict[str, Any]] = {"staging": {}, "prod": {}}
        for profile in options:
            if way == "profile_name":
                options[profile] = {"profile_name": profile}
        monkeypatch.setenv("AWS_PROFILE", "staging")
        if way == "profile_name":
            credentials = f"aws_access_key_id={ADMIN.access_key}\naws_secret_access_key={ADMIN.secret_key}\n"
            (tmp_path / "credentials").write_text("".join(f"[{profile}]\n{credentials}" for profile in options))
            monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        await written_offline(place, local, options["staging"], way)
        monkeypatch.setenv("AWS_PROFILE", "prod")
        async with on(place, local, options["prod"]) as db:
            assert not db.pending.value
            await db.put("own", way)
            assert await db.get(way) is None


async def test_a_folder_of_another_address_is_refused(place: Place, tmp_path: Path) -> None:
    for options in (place.options, elsewhere(place)):
        await written_offline(place, tmp_path, options, "a")
    first, second = [one for one in tmp_path.iterdir() if one.is_dir()]
    shutil.rmtree(first)
    second.rename(first)
    renamed = place.options if "localhost" in (first / "address").read_text() else elsewhere(place)
    with pytest.raises(InvalidOption, match="belongs to"):
        await written_offline(place, tmp_path, renamed, "b")


async def test_handles_of_two_profiles_are_two(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[profile one]\nregion=us-east-1\n[profile two]\nregion=us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "one")
    async with rxmps3.connect(place.url, **place.options) as db:
        async with rxmps3.connect(place.url, **place.options) as again:
            await again.put("a", 1)
            assert db.key("a").value == 1
        monkeypatch.setenv("AWS_PROFILE", "two")
        with pytest.raises(InvalidOption, match="another profile"):
            await rxmps3.connect(place.url, **place.options)
        monkeypatch.setenv("AWS_PROFILE", "one")
        async with rxmps3.connect(place.url, **elsewhere(place)) as other:
            await other.put("a", 2)
            assert db.key("a").value == 1  # a replica of its own, which has no look has been made yet
