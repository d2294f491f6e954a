"""A writer that is killed over and over, and a server that is: what was called stored or committed is in the log once."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Place
from tests.processes.programs import Program
from tests.processes.proxy import Proxy, storm
from tests.processes.reading import log_of, puts_in, versions_in, with_storage, writes_in
from tests.servers import SHARED_BUCKET, SeaweedFS

Start = Callable[..., Program]


class Life:
    """One process of the writer, from its start to its kill."""

    def __init__(self, start: Start, place: Place, local: Path, large: int) -> None:
        self._start = start
        self._plan: dict[str, Any] = {
            "url": place.url,
            "options": {"poll": 0.2, **place.options},
            "local": str(local),
            "large": large,
        }

    def begin(self, first: int) -> Program:
        """A process that has everything imported and waits for its start."""
        return self._start("burst.py", json.dumps({**self._plan, "first": first}))


def killed_again_and_again(
    start: Start,
    place: Place,
    local: Path,
    times: int,
    *,
    longest: float,
    large: int = 0,
    seed: int = 0,
    opens: bool = True,
) -> tuple[set[int], set[int], int]:
    """Start the writer, let it live for a random moment, kill it, and so on.

    Args:
        opens: that moment mostly begins when it has opened, which may take long where answers are lost.

    Returns:
        The numbers that it called stored, those that it called committed, and the first number it never began to put.
    """
    rng = random.Random(seed)
    life = Life(start, place, local, large)
    stored: set[int] = set()
    committed: set[int] = set()
    step = 10_000
    following = life.begin(0)
    for turn in range(times):
        program, following = following, life.begin((turn + 1) * step)
        program.say("go")
        moment = rng.choice(("opening", "burst", "burst", "burst"))
        if moment == "burst" and opens:
            assert program.next()[0] == "opened"
            time.sleep(rng.uniform(0, longest))
        else:
            time.sleep(rng.uniform(0, longest / 4 if opens else longest))
        program.kill()
        for word, number in program.rest():
            if word == "stored":
                stored.add(number)
            elif word == "committed":
                committed.add(number)
        program.discard()
    following.discard()
    return stored, committed, times * step


def finish(start: Start, place: Place, local: Path) -> None:
    """A last process commits what is left."""
    player = start("player.py")
    player.ask("open", url=place.url, options={"poll": 0.2, **place.options, "local": str(local)})
    player.ask("flushed")
    assert player.ask("pending") == []
    assert player.end() == 0


def check(place: Place, stored: set[int], committed: set[int], end: int) -> list[int]:
    """Every stored number is in the log exactly once, in the order of the puts, and none that was never put."""
    log = log_of(place)
    numbers = [int(key) for write in writes_in(log) for key in write.update]
    assert len(versions_in(log)) == len(set(versions_in(log))), "a write is in the log twice"
    assert numbers == sorted(set(numbers)), "not in the order of the calls, or twice"
    assert stored <= set(numbers), f"lost: {sorted(stored - set(numbers))}"
    assert committed <= set(numbers), f"lost though committed: {sorted(committed - set(numbers))}"
    assert all(number < end for number in numbers), "invented"
    return numbers


@pytest.mark.timeout(120)
def test_a_writer_killed_at_random_moments_loses_and_doubles_nothing(
    place: Place, start: Start, tmp_path: Path
) -> None:
    """Killed 15 times in all; 100 times on each kind of place in the heavy variant."""
    local = tmp_path / "local"
    times = 10 if place.kind == "file" else 5
    stored, committed, end = killed_again_and_again(start, place, local, times, longest=0.6, large=7)
    finish(start, place, local)
    numbers = check(place, stored, committed, end)
    assert len(stored) > 20
    assert len(numbers) >= len(stored)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_writer_killed_a_hundred_times_on_each_place_loses_and_doubles_nothing(
    place: Place, start: Start, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    stored, committed, end = killed_again_and_again(start, place, local, 100, longest=1.0, large=7, seed=1)
    finish(start, place, local)
    numbers = check(place, stored, committed, end)
    print(f"{place.kind}: 100 kills, {len(stored)} stored, {len(committed)} known committed, {len(numbers)} in the log")


@pytest.mark.heavy
@pytest.mark.seaweedfs
@pytest.mark.timeout(300)
def test_a_writer_killed_while_its_bucket_is_in_a_storm(
    through: Place, direct: Place, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    """Both at once: kills, and answers that are lost."""
    local = tmp_path / "local"
    proxy.plan = storm(6)
    stored, committed, end = killed_again_and_again(start, through, local, 30, longest=2.0, seed=2, opens=False)
    proxy.plan = storm(1_000_000)
    finish(start, through, local)
    numbers = check(direct, stored, committed, end)
    assert len(stored) > 20
    print(f"30 kills in a storm: {len(stored)} stored, {len(committed)} known committed, {len(numbers)} in the log")


# -- the server ----------------------------------------------------------------------------------------------------


def server_killed(times: int, pause: float, writers: int, players: list[Program], tmp_path: Path) -> None:
    """Six writers put numbers one after the other while their server is killed and started again."""
    with SeaweedFS(tmp_path / "server") as server:
        place = Place("seaweedfs", f"s3://{SHARED_BUCKET}/app", server.options())
        for number, player in enumerate(players):
            player.ask("open", url=place.url, options={"poll": 0.2, **place.options})
        stop = threading.Event()
        acknowledged: list[list[int]] = [[] for _ in players]
        threads = [
            threading.Thread(target=_put_until, args=(player, number, acknowledged[number], stop))
            for number, player in enumerate(players)
        ]
        for thread in threads:
            thread.start()
        for _ in range(times):
            time.sleep(pause)
            server.kill()
            time.sleep(0.3)
            server.start()
        time.sleep(pause)
        stop.set()
        for thread in threads:
            thread.join()
        for player in players:
            player.ask("flushed")
        log = log_of(place)
        assert len(versions_in(log)) == len(set(versions_in(log)))
        puts = puts_in(log)
        for number, known in enumerate(acknowledged):
            own = [value for key, value in puts if key == f"writer {number}"]
            assert own == list(range(len(own))), "in order, none missing in between, none twice"
            assert known == list(range(len(known)))
            assert len(own) >= len(known) > 0, "no acknowledged write is missing"
        everything = [player.ask("everything") for player in players]
        assert everything == [dict(puts)] * len(players)
        print(f"{times} kills of the server, {sum(map(len, acknowledged))} acknowledged, {len(puts)} in the log")


def _put_until(player: Program, number: int, acknowledged: list[int], stop: threading.Event) -> None:
    value = 0
    while not stop.is_set():
        player.ask("put", key=f"writer {number}", value=value)
        acknowledged.append(value)
        value += 1


@pytest.mark.seaweedfs
@pytest.mark.timeout(180)
def test_a_server_killed_under_six_writers_loses_no_acknowledged_write(start: Start, tmp_path: Path) -> None:
    players = [start("player.py") for _ in range(6)]
    server_killed(1, 2.0, 6, players, tmp_path)


@pytest.mark.heavy
@pytest.mark.seaweedfs
@pytest.mark.timeout(900)
def test_a_server_killed_twenty_times_under_six_writers_loses_no_acknowledged_write(
    start: Start, tmp_path: Path
) -> None:
    players = [start("player.py") for _ in range(6)]
    server_killed(20, 4.0, 6, players, tmp_path)


# -- a storm -------------------------------------------------------------------------------------------------------


def through_a_storm(seconds: float, direct: Place, through: Place, proxy: Proxy, players: list[Program]) -> None:
    """Eight clients put and watch while one request in four is lost, cut or refused."""
    clients = [(player, db) for player in players for db in ("a", "b")]
    for player, db in clients:
        player.ask("open", url=through.url, options={"poll": 0.3, **through.options}, db=db)
        player.ask("observe_prefix", prefix="", db=db)
    proxy.plan = storm(4, seed=3)
    until = time.monotonic() + seconds
    puts: dict[str, list[int]] = {f"client {number}": [] for number in range(len(clients))}
    while time.monotonic() < until:
        for number, (player, db) in enumerate(clients):
            mine = puts[f"client {number}"]
            items = [[f"client {number}", len(mine) + one] for one in range(3)]
            items.append([f"client {number}/{len(mine)}", number])
            player.ask("put_many", items=items, db=db, until="pending")
            mine.extend(range(len(mine), len(mine) + 3))
        time.sleep(0.2)
    proxy.plan = storm(1_000_000)
    for player, db in clients:
        player.ask("flushed", db=db)
    log = log_of(direct)
    assert len(versions_in(log)) == len(set(versions_in(log))), "a write is in the log twice"
    found = puts_in(log)
    for name, expected in puts.items():
        assert [value for key, value in found if key == name] == expected
    assert len(found) == sum(len(expected) // 3 * 4 for expected in puts.values())
    final = dict(found)
    for player, db in clients:
        assert player.ask("everything", db=db) == final
        for snapshot in player.ask("seen_last", key="", value=final, db=db):
            for name in snapshot.keys() & puts.keys():
                assert snapshot[name] in puts[name]
    _never_back([player.ask("emissions", key="", db=db) for player, db in clients], puts)
    spoiled = sum(count for verdict, count in proxy.verdicts.items() if verdict != "pass")
    print(f"{len(found)} puts in {len(log)} entries, {spoiled} of {proxy.verdicts.total()} requests spoiled")
    assert spoiled > 20


def _never_back(traces: list[list[dict[str, Any]]], puts: dict[str, list[int]]) -> None:
    """Nobody ever sees an older value after a newer one of the same writer."""
    for seen in traces:
        for name in puts:
            values = [snapshot[name] for snapshot in seen if name in snapshot]
            assert values == sorted(values)


@pytest.mark.seaweedfs
@pytest.mark.timeout(180)
def test_eight_clients_in_a_storm_converge_and_lose_and_double_nothing(
    direct: Place, through: Place, proxy: Proxy, start: Start
) -> None:
    through_a_storm(6, direct, through, proxy, [start("player.py") for _ in range(4)])


@pytest.mark.heavy
@pytest.mark.seaweedfs
@pytest.mark.timeout(900)
def test_eight_clients_in_a_minute_of_storm_converge_and_lose_and_double_nothing(
    direct: Place, through: Place, proxy: Proxy, start: Start
) -> None:
    through_a_storm(60, direct, through, proxy, [start("player.py") for _ in range(4)])


def test_nothing_of_a_killed_upload_is_ever_read(place: Place, start: Start, tmp_path: Path) -> None:
    """Objects of writes that never came to be are left-overs that no state names."""
    writer = start("player.py")
    writer.ask("open", url=place.url, options={"poll": 0.2, **place.options})
    writer.ask("put", key="k", value=0)
    writer.ask("burst", key="burst", times=5)
    writer.tell("put_many", items=[[f"large/{n}", "L" * 50_000] for n in range(40)])
    time.sleep(0.05)
    writer.kill()
    named = {
        entry.content.name  # type: ignore[union-attr]
        for write in writes_in(log_of(place))
        for key, entry in write.update.items()
        if key.startswith("large/")
    }
    there = with_storage(place, _values)
    assert named <= there


async def _values(storage: Any) -> set[str]:
    from rxmps3.storage import list_all

    return {listed.name.removeprefix("main/") for listed in await list_all(storage, "main/values/")}
