"""Processes that die: what they called stored is committed once by whoever takes over their outbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Place, new_place
from tests.durability.helpers import LARGE
from tests.processes.programs import Program
from tests.processes.proxy import Proxy, Seen, Verdict, passing
from tests.processes.reading import log_of, puts_in, versions_in, with_storage

Start = Callable[..., Program]


def opened(start: Start, place: Place, local: Path | None, **options: object) -> Program:
    """A process with a database."""
    player = start("player.py")
    keeps = {} if local is None else {"local": str(local)}
    player.ask("open", url=place.url, options={"poll": 0.2, **place.options, **keeps, **options})
    return player


@pytest.fixture
def directory(request: pytest.FixtureRequest) -> Place:
    """A fresh empty directory, for what does not depend on where the bucket is."""
    return new_place("file", request)


def kill(player: Program) -> None:
    os.kill(player.pid, 9)
    player.kill()


def test_what_was_stored_before_a_kill_is_committed_once_by_the_next_process(
    place: Place, start: Start, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    first = opened(start, place, local, online=False)
    versions = first.ask("put_many", items=[["k", 1], ["large", LARGE], ["k", 2]], until="stored")
    kill(first)
    second = opened(start, place, local, online=False)
    assert second.ask("pending") == [["k"], ["large"], ["k"]]
    assert second.ask("everything", refresh=False) == {"k": 2, "large": LARGE}
    kill(second)
    third = opened(start, place, local)
    third.ask("flushed")
    assert third.ask("everything") == {"k": 2, "large": LARGE}
    assert third.end() == 0
    assert versions_in(log_of(place)) == versions
    fourth = opened(start, place, local)
    assert fourth.ask("pending") == []
    assert fourth.end() == 0
    assert versions_in(log_of(place)) == versions


@pytest.mark.seaweedfs
@pytest.mark.parametrize("verdict", ["drop answer", "cut"])
def test_a_kill_while_the_outcome_of_a_commit_is_unknown(
    verdict: Verdict, direct: Place, through: Place, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    """The entry is in the log or is not, nobody has told the writer, and it dies."""

    def no_word_of_commits(seen: Seen) -> Verdict:
        if "/log/" not in seen.path:
            return "pass"
        return verdict if seen.method == "PUT" else "cut"

    local = tmp_path / "local"
    first = opened(start, through, local)
    first.ask("put", key="k", value=0)
    proxy.plan = no_word_of_commits
    first.ask("put", key="k", value=1, until="stored")
    while not proxy.verdicts[verdict]:
        first.ask("status")
    kill(first)
    proxy.plan = passing
    assert puts_in(log_of(direct)) in ([("k", 0), ("k", 1)], [("k", 0)])
    second = opened(start, through, local)
    second.ask("put", key="k", value=2)
    assert second.ask("pending") == []
    assert second.end() == 0
    assert puts_in(log_of(direct)) == [("k", 0), ("k", 1), ("k", 2)]


@pytest.mark.seaweedfs
def test_a_kill_between_an_upload_and_its_commit(
    direct: Place, through: Place, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    first = opened(start, through, local)
    first.ask("put", key="k", value=0)
    proxy.plan = lambda seen: "slow down" if seen.method == "PUT" and "/log/" in seen.path else "pass"
    first.ask("put", key="large", value=LARGE, until="stored")
    while not proxy.verdicts["slow down"]:
        first.ask("status")
    kill(first)
    proxy.plan = passing
    second = opened(start, through, local)
    second.ask("flushed")
    kill(second)
    witness = opened(start, direct, None)
    assert witness.ask("everything") == {"k": 0, "large": LARGE}


def test_each_process_has_an_outbox_and_a_dead_one_s_is_adopted(directory: Place, start: Start, tmp_path: Path) -> None:
    """Two live on one directory; one dies; the third takes over what was its, and leaves the living one's alone."""
    local = tmp_path / "local"
    one, two = (opened(start, directory, local, online=False) for _ in range(2))
    one.ask("put", key="one", value=1, until="stored")
    two.ask("put", key="two", value=2, until="stored")
    assert one.ask("pending") == [["one"]]
    assert two.ask("pending") == [["two"]]
    kill(one)
    three = opened(start, directory, local)
    three.ask("flushed")
    assert three.ask("everything") == {"one": 1}
    two.ask("put", key="two", value=3, until="stored")
    assert two.ask("pending") == [["two"], ["two"]]
    kill(two)
    four = opened(start, directory, local)
    four.ask("flushed")
    assert four.ask("everything") == {"one": 1, "two": 3}
    assert puts_in(log_of(directory)) == [("one", 1), ("two", 2), ("two", 3)]


def test_an_adopter_that_dies_as_well_loses_and_doubles_nothing(directory: Place, start: Start, tmp_path: Path) -> None:
    local = tmp_path / "local"
    players = [opened(start, directory, local, online=False) for _ in range(3)]
    for number, player in enumerate(players):
        player.ask("put_many", items=[[f"{number}/{n}", n] for n in range(20)], until="stored")
    for player in players:
        kill(player)
    for _ in range(3):
        adopter = start("player.py")
        keeps = {"local": str(local), "online": False}
        adopter.tell("open", url=directory.url, options={**directory.options, **keeps})
        try:
            if _ == 0:
                adopter.answer()
        finally:
            kill(adopter)
    last = opened(start, directory, local)
    last.ask("flushed")
    expected = {f"{number}/{n}": n for number in range(3) for n in range(20)}
    assert last.ask("everything") == expected
    assert sorted(puts_in(log_of(directory))) == sorted(expected.items())


def test_copies_of_a_living_outbox_lose_and_double_nothing(directory: Place, start: Start, tmp_path: Path) -> None:
    """``cp -r`` in the middle of a burst, several times; then every copy is opened, and the original restarted."""
    local = tmp_path / "local"
    first = opened(start, directory, local, online=False)
    stored: list[tuple[str, int]] = []
    for round in range(4):
        items = [(f"{round}/{n}", n) for n in range(30)]
        first.tell("put_many", items=items, until="stored")
        _copy(local, tmp_path / f"copy {round}")
        first.answer()
        stored.extend(items)
    kill(first)
    copies = [start("player.py") for _ in range(4)]
    for round, copy in enumerate(copies):
        keeps = {"local": str(tmp_path / f"copy {round}")}
        copy.tell("open", url=directory.url, options={"poll": 0.2, **directory.options, **keeps})
    original = opened(start, directory, local)
    for copy in copies:
        copy.answer()
    for player in (original, *copies):
        player.ask("flushed")
    expected = dict(stored)
    for player in (original, *copies):
        assert player.ask("everything") == expected
        assert player.ask("pending") == []
    log = log_of(directory)
    assert puts_in(log) == stored
    assert len(set(versions_in(log))) == len(stored)


def _copy(source: Path, target: Path) -> None:
    """As ``cp -r``: files that vanish on the way are left out."""

    def copy(one: str, other: str) -> None:
        try:
            shutil.copyfile(one, other)
        except FileNotFoundError:
            pass

    shutil.copytree(source, target, copy_function=copy)


def test_a_read_only_witness_sees_only_whole_entries_after_a_kill(
    directory: Place, start: Start, tmp_path: Path
) -> None:
    """Atomic writes with large values: killed in the middle of many, none is half there."""
    writer = opened(start, directory, None)
    writer.ask("put", key="k", value=0)
    writer.tell("put_all_times", keys=["a", "b"], times=200, padding=[10, 6000])
    while len(with_storage(directory, _count)) < 4:
        pass
    kill(writer)
    witness = opened(start, directory, None, read_only=True)
    everything = witness.ask("everything")
    assert everything["a"][0] == everything["b"][0]
    assert len(everything["b"][1]) == 6000


async def _count(storage: object) -> list[object]:
    from rxmps3.storage import list_all

    return list(await list_all(storage, "main/values/"))  # type: ignore[arg-type]
