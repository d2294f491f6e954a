"""A writer that is killed over and over, and a server that is: what was called stored or committed is in the log once.

Of each log from one text; `tests.durability.logs` says what "once" is there. The two younger ones need an S3 server,
and are killed less often: their processes live longer, since the outcome of an operation of the mps3 log is not known
before 11.5 seconds have passed if its answer was lost. ``RXMPS3_KILLS=9 python -m pytest -m heavy`` kills nine times
as often.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Place, new_place
from tests.durability.logs import logged
from tests.processes.programs import Program
from tests.processes.proxy import Proxy, storm
from tests.servers import SHARED_BUCKET, VERSIONED_BUCKET, SeaweedFS

Start = Callable[..., Program]


@dataclass(frozen=True)
class Pace:
    """How much of everything one log is put through.

    Attributes:
        kills: of a writer.
        in_storm: kills of a writer whose bucket is in a storm.
        of_server: kills of the server.
        between: seconds between those.
        pause: of a writer between three puts and the next three: each of them is an object in the younger logs.
        storm: seconds of a storm over eight clients.
        rounds: seconds between their puts. A client of the versioned log lists all young versions with each commit.
    """

    kills: int
    in_storm: int
    of_server: int
    between: float = 4.0
    pause: float = 0.0
    storm: float = 60.0
    rounds: float = 0.2


TIMES = int(os.environ.get("RXMPS3_KILLS", "1"))
"""So many times as many kills, and so many times as long a storm, as `PACES` has."""
PACES = {
    "sequenced": Pace(kills=8, in_storm=4, of_server=2, storm=8.0),
    "versioned": Pace(kills=4, in_storm=2, of_server=1, pause=0.05, storm=4.0, rounds=2.0),
    "mps3": Pace(kills=3, in_storm=2, of_server=1, between=9.0, pause=0.1, storm=6.0, rounds=0.5),
}
ON_SEAWEEDFS = [f"seaweedfs-{protocol}" for protocol in PACES]


@pytest.fixture(params=["file", *(pytest.param(kind, marks=pytest.mark.seaweedfs) for kind in ON_SEAWEEDFS)])
def place(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place for each log, on a directory and on a real S3 server."""
    return new_place(request.param, request)


@pytest.fixture(params=ON_SEAWEEDFS)
def direct(request: pytest.FixtureRequest) -> Place:
    """A fresh empty place for each log on SeaweedFS, reached without a proxy."""
    return new_place(request.param, request)


def options_of(place: Place) -> dict[str, Any]:
    return {"poll": 0.2, "protocol": place.protocol, **place.options}


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
        opens: that moment mostly begins when it has opened or committed something, which may take long where answers
            are lost. There it does so now and then, and the last time.

    Returns:
        The numbers that it called stored, those that it called committed, and the first number it never began to put.
    """
    rng = random.Random(seed)
    plan = {
        "url": place.url,
        "options": options_of(place),
        "local": str(local),
        "large": large,
        "pause": PACES[place.protocol].pause,
    }

    def begin(first: int) -> Program:
        """A process that has everything imported and waits for its start."""
        return start("burst.py", json.dumps({**plan, "first": first}))

    stored: set[int] = set()
    committed: set[int] = set()
    step = 1_000_000  # no process lives long enough to put so many
    following = begin(0)
    for turn in range(times):
        program, following = following, begin((turn + 1) * step)
        program.say("go")
        said: list[Any] = []
        moment = rng.choice(("opening", "opened", "opened", "committed", "committed"))
        if turn == times - 1 and not opens:
            moment = "committed"
        if moment != "opening" and (opens or moment == "committed"):
            while not said or said[-1][0] != moment:
                said.append(program.next())
            time.sleep(rng.uniform(0, longest))
        else:
            time.sleep(rng.uniform(0, longest / 4 if opens else longest))
        program.kill()
        for word, number in [*said, *program.rest()]:
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
    player.ask("open", url=place.url, options={**options_of(place), "local": str(local)})
    player.ask("flushed")
    assert player.ask("pending") == []
    assert player.end() == 0


def check(place: Place, stored: set[int], committed: set[int], end: int, large: int = 0) -> list[int]:
    """Every stored number is in the log exactly once, in the order of the puts, and none that was never put."""
    log = logged(place)
    numbers = [int(key) for key in log.keys]
    assert numbers == sorted(set(numbers)), "not in the order of the calls, or twice"
    assert stored <= set(numbers), f"lost: {sorted(stored - set(numbers))}"
    assert committed <= set(numbers), f"lost though committed: {sorted(committed - set(numbers))}"
    assert all(number < end for number in numbers), "invented"
    assert log.state == {f"{number:09}": _value(number, large) for number in numbers}
    return numbers


def _value(number: int, large: int) -> Any:
    return [number, "L" * 5000] if large and number % large == 0 else number


@pytest.mark.parametrize(
    "place", ["file", pytest.param("seaweedfs-sequenced", marks=pytest.mark.seaweedfs)], indirect=True
)
@pytest.mark.timeout(120)
def test_a_writer_killed_at_random_moments_loses_and_doubles_nothing(
    place: Place, start: Start, tmp_path: Path
) -> None:
    """Killed a few times; more often, and with each log, in the heavy variant."""
    local = tmp_path / "local"
    times = 10 if place.kind == "file" else 5
    stored, committed, end = killed_again_and_again(start, place, local, times, longest=0.6, large=7)
    finish(start, place, local)
    numbers = check(place, stored, committed, end, large=7)
    assert len(stored) > 10
    assert committed
    assert len(numbers) >= len(stored)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_writer_killed_many_times_on_each_place_loses_and_doubles_nothing(
    place: Place, start: Start, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    times = TIMES * PACES[place.protocol].kills
    stored, committed, end = killed_again_and_again(start, place, local, times, longest=1.0, large=7, seed=1)
    finish(start, place, local)
    numbers = check(place, stored, committed, end, large=7)
    said = f"{len(stored)} stored, {len(committed)} known committed, {len(numbers)} in the log"
    print(f"{place.kind}, {place.protocol}: {times} kills, {said}")


@pytest.mark.heavy
@pytest.mark.seaweedfs
@pytest.mark.timeout(600)
def test_a_writer_killed_while_its_bucket_is_in_a_storm(
    through: Place, direct: Place, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    """Both at once: kills, and answers that are lost."""
    local = tmp_path / "local"
    proxy.plan = storm(6)
    times = TIMES * PACES[direct.protocol].in_storm
    stored, committed, end = killed_again_and_again(start, through, local, times, longest=2.0, seed=2, opens=False)
    proxy.plan = storm(1_000_000)
    finish(start, through, local)
    numbers = check(direct, stored, committed, end)
    assert stored
    assert committed
    said = f"{len(stored)} stored, {len(committed)} known committed, {len(numbers)} in the log"
    print(f"{direct.protocol}: {times} kills in a storm, {said}")


# -- the server ----------------------------------------------------------------------------------------------------


def server_killed(times: int, pause: float, protocol: str, players: list[Program], tmp_path: Path) -> None:
    """Six writers put numbers one after the other while their server is killed and started again."""
    with SeaweedFS(tmp_path / "server") as server:
        bucket = VERSIONED_BUCKET if protocol == "versioned" else SHARED_BUCKET
        place = Place("seaweedfs", f"s3://{bucket}/app", protocol, server.options())
        for player in players:
            player.ask("open", url=place.url, options=options_of(place))
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
        log = logged(place)
        for number, known in enumerate(acknowledged):
            own = [value for key, value in log.puts if key == f"writer {number}"]
            assert own == list(range(len(own))), "in order, none missing in between, none twice"
            assert known == list(range(len(known)))
            assert len(own) >= len(known) > 0, "no acknowledged write is missing"
        assert log.state == dict(log.puts)
        assert [player.ask("everything") for player in players] == [log.state] * len(players)
        said = f"{sum(map(len, acknowledged))} acknowledged, {len(log.puts)} in the log"
        print(f"{protocol}: {times} kills of the server, {said}")


def _put_until(player: Program, number: int, acknowledged: list[int], stop: threading.Event) -> None:
    value = 0
    while not stop.is_set():
        player.ask("put", key=f"writer {number}", value=value)
        acknowledged.append(value)
        value += 1


@pytest.mark.parametrize("protocol", ["sequenced"])
@pytest.mark.seaweedfs
@pytest.mark.timeout(180)
def test_a_server_killed_under_six_writers_loses_no_acknowledged_write(
    protocol: str, start: Start, tmp_path: Path
) -> None:
    players = [start("player.py") for _ in range(6)]
    server_killed(1, 2.0, protocol, players, tmp_path)


@pytest.mark.parametrize("protocol", PACES)
@pytest.mark.heavy
@pytest.mark.seaweedfs
@pytest.mark.timeout(900)
def test_a_server_killed_many_times_under_six_writers_loses_no_acknowledged_write(
    protocol: str, start: Start, tmp_path: Path
) -> None:
    players = [start("player.py") for _ in range(6)]
    server_killed(TIMES * PACES[protocol].of_server, PACES[protocol].between, protocol, players, tmp_path)


# -- a storm -------------------------------------------------------------------------------------------------------


def through_a_storm(seconds: float, direct: Place, through: Place, proxy: Proxy, players: list[Program]) -> None:
    """Eight clients put and watch while one request in four is lost, cut or refused."""
    clients = [(player, db) for player in players for db in ("a", "b")]
    for player, db in clients:
        player.ask("open", url=through.url, options={**options_of(through), "poll": 0.3}, db=db)
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
        time.sleep(PACES[direct.protocol].rounds)
    proxy.plan = storm(1_000_000)
    for player, db in clients:
        player.ask("flushed", db=db)
    log = logged(direct)
    for name, expected in puts.items():
        assert log.has(name, expected)
    once = [key for key in log.keys if "/" in key]
    assert len(once) == len(set(once)) == sum(len(expected) // 3 for expected in puts.values())
    final = dict(log.puts)
    assert log.state == final
    for player, db in clients:
        assert player.ask("everything", db=db) == final
        for snapshot in player.ask("seen_last", key="", value=final, db=db):
            for name in snapshot.keys() & puts.keys():
                assert snapshot[name] in puts[name]
    _never_back([player.ask("emissions", key="", db=db) for player, db in clients], puts)
    spoiled = sum(count for verdict, count in proxy.verdicts.items() if verdict != "pass")
    print(
        f"{direct.protocol}: {len(log.puts)} puts in {log.count} entries, {spoiled} of {proxy.verdicts.total()} requests spoiled"
    )
    assert spoiled > 20


def _never_back(traces: list[list[dict[str, Any]]], puts: dict[str, list[int]]) -> None:
    """Nobody ever sees an older value after a newer one of the same writer."""
    for seen in traces:
        for name in puts:
            values = [snapshot[name] for snapshot in seen if name in snapshot]
            assert values == sorted(values)


@pytest.mark.parametrize("direct", ["seaweedfs-sequenced"], indirect=True)
@pytest.mark.seaweedfs
@pytest.mark.timeout(180)
def test_eight_clients_in_a_storm_converge_and_lose_and_double_nothing(
    direct: Place, through: Place, proxy: Proxy, start: Start
) -> None:
    through_a_storm(6, direct, through, proxy, [start("player.py") for _ in range(4)])


@pytest.mark.heavy
@pytest.mark.seaweedfs
@pytest.mark.timeout(900)
def test_eight_clients_in_a_long_storm_converge_and_lose_and_double_nothing(
    direct: Place, through: Place, proxy: Proxy, start: Start
) -> None:
    seconds = TIMES * PACES[direct.protocol].storm
    through_a_storm(seconds, direct, through, proxy, [start("player.py") for _ in range(4)])


def test_nothing_of_a_killed_upload_is_ever_read(place: Place, start: Start, tmp_path: Path) -> None:
    """Objects of writes that never came to be are left-overs that no state names; what is named is there, whole."""
    writer = start("player.py")
    writer.ask("open", url=place.url, options=options_of(place))
    writer.ask("put", key="k", value=0)
    writer.ask("burst", key="burst", times=5)
    writer.tell("put_many", items=[[f"large/{n}", "L" * 50_000] for n in range(40)])
    time.sleep(0.05)
    writer.kill()
    log = logged(place)
    large = [key for key in log.keys if key.startswith("large/")]
    assert large == [f"large/{n}" for n in range(len(large))]
    assert all(log.state[key] == "L" * 50_000 for key in large)
