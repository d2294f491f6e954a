"""Several processes on one database: the same behaviour on a directory and on two S3 servers, from one text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Place
from tests.processes.programs import Program, ask_all
from tests.processes.reading import log_of, puts_in, versions_in, writes_in

Start = Callable[..., Program]
POLL = 0.1


def open_on(place: Place, players: list[Program], db: str = "a", **options: Any) -> None:
    """Let every player open the place."""
    ask_all(players, "open", url=place.url, options={"poll": POLL, **place.options, **options}, db=db)


def test_the_same_program_unchanged_on_a_directory_and_on_s3(place: Place, start: Start) -> None:
    """Two processes of a newcomer's program: both see both players' scores, in order, up to the end."""
    options = dict(place.options)
    environment = {
        name.upper().replace("REGION_NAME", "DEFAULT_REGION").replace("ENDPOINT", "AWS_ENDPOINT"): value
        for name, value in options.items()
    }
    environment = {(name if name.startswith("AWS") else f"AWS_{name}"): value for name, value in environment.items()}
    programs = [
        start("scoreboard.py", place.url, me, other, environment=environment)
        for me, other in (("ann", "bob"), ("bob", "ann"))
    ]
    for me, program in zip(("ann", "bob"), programs, strict=True):
        boards = program.rest()
        assert program.end() == 0, program.errors
        assert program.errors == ""
        assert boards[-1] == {"score/ann": 3, "score/bob": 3}
        for who in ("ann", "bob"):
            scores = [board.get(f"score/{who}", 0) for board in boards]
            assert scores == sorted(scores), who
        own = [board[f"score/{me}"] for board in boards if f"score/{me}" in board]
        assert list(dict.fromkeys(own)) == [1, 2, 3]


def test_the_endpoint_may_stand_in_the_url(place: Place, players: list[Program]) -> None:
    url, options = place.url, dict(place.options)
    if endpoint := options.pop("endpoint_url", None):
        url += f"?endpoint_url={quote(endpoint)}"
    first, second = players[:2]
    first.ask("open", url=url, options=options)
    first.ask("put", key="k", value="v")
    second.ask("open", url=place.url, options=place.options)
    assert second.ask("get", key="k") == "v"


def test_processes_see_each_other_s_changes_as_streams_and_their_own_at_once(
    place: Place, players: list[Program]
) -> None:
    open_on(place, players)
    ask_all(players, "observe", key="k")
    for number, player in enumerate(players):
        value = f"from player {number}"
        assert player.ask("put_and_look", key="k", value=value) == [value]
        player.ask("flushed")
        seen = ask_all(players, "seen_last", key="k", value=value)
    expected = [None, *(f"from player {number}" for number in range(len(players)))]
    assert seen == [expected] * len(players)


def test_a_process_that_opens_later_sees_what_was_there_and_what_comes(place: Place, players: list[Program]) -> None:
    early, late = players[:2]
    open_on(place, [early])
    early.ask("put_many", items=[["a", 1], ["b", {"nested": [None, 1.0, "ü"]}], ["large", "L" * 9000]])
    open_on(place, [late])
    late.ask("observe_prefix", prefix="")
    there = {"a": 1, "b": {"nested": [None, 1.0, "ü"]}, "large": "L" * 9000}
    late.ask("seen_last", key="", value=there)
    early.ask("put", key="a", value=2)
    assert late.ask("seen_last", key="", value=there | {"a": 2})[0] == there


def test_eight_clients_with_25_keys_each_lose_nothing_and_write_nothing_twice(
    place: Place, players: list[Program]
) -> None:
    """Eight clients in four processes put 200 keys, none of them waiting for another."""
    for db in ("a", "b"):
        open_on(place, players, db)
    names = [(player, db, f"{number}{db}") for number, player in enumerate(players) for db in ("a", "b")]
    for player, db, name in names:
        player.tell("put_many", items=[[f"{name}/{n:02}", f"{name} {n}"] for n in range(25)], db=db, until="pending")
    versions = [version for player, _, _ in names for version in player.answer()]
    for db in ("a", "b"):
        ask_all(players, "flushed", db=db)
    expected = {f"{name}/{n:02}": f"{name} {n}" for _, _, name in names for n in range(25)}
    for db in ("a", "b"):
        assert ask_all(players, "everything", db=db) == [expected] * len(players)
        assert ask_all(players, "pending", db=db) == [[]] * len(players)
    log = log_of(place)
    assert Counter(versions_in(log)) == Counter(versions)
    assert len(set(versions)) == 200
    for _, _, name in names:
        own = [value for key, value in puts_in(log) if key.startswith(name)]
        assert own == [f"{name} {n}" for n in range(25)]


def test_eight_clients_on_one_key_end_equal_and_every_view_went_forward_only(
    place: Place, players: list[Program]
) -> None:
    for db in ("a", "b"):
        open_on(place, players, db)
        ask_all(players, "observe", key="k", db=db)
    for number, player in enumerate(players):
        for db in ("a", "b"):
            items = [["k", f"{number}{db} {n}"] for n in range(25)]
            player.tell("put_many", items=items, db=db, until="pending")
    for player in players:
        for _ in "ab":
            player.answer()
    for db in ("a", "b"):
        ask_all(players, "flushed", db=db)
    order = [value for _, value in puts_in(log_of(place))]
    assert len(order) == len(set(order)) == 200
    place_of = {value: position for position, value in enumerate(order)}
    for db in ("a", "b"):
        for number, seen in enumerate(ask_all(players, "seen_last", key="k", value=order[-1], db=db)):
            name = f"{number}{db}"
            assert seen[0] is None
            own = [value for value in seen[1:] if value.startswith(name)]
            assert own[:25] == [f"{name} {n}" for n in range(25)]
            assert len(own) == 25
            foreign = [place_of[value] for value in seen[1:] if not value.startswith(name)]
            assert foreign == sorted(set(foreign))
            before = [place_of[value] for value in seen[1 : seen.index(own[0])]]  # a busy machine tells it late to put
            assert all(position < place_of[own[0]] for position in before)
            assert all(position > place_of[own[-1]] for position in foreign[len(before) :])
        assert ask_all(players, "everything", db=db) == [{"k": order[-1]}] * len(players)


def test_put_all_is_never_seen_half(place: Place, players: list[Program]) -> None:
    """Also where some of its values are small and others have objects of their own."""
    keys, padding = ["pair/a", "pair/b", "pair/c"], [10, 6000, 300]
    writers, readers = players[:2], players[2:]
    open_on(place, players)
    ask_all(players, "observe_prefix", prefix="pair/")
    ask_all(writers, "put_all_times", keys=keys, times=9, padding=padding)
    last = {key: value for write in writes_in(log_of(place))[-1:] for key, value in write.update.items()}
    assert last.keys() == set(keys)
    final = writers[0].ask("everything")
    for seen in ask_all(players, "seen_last", key="pair/", value=final):
        assert seen[0] == {}
        assert len(seen) > 1
        for snapshot in seen[1:]:
            assert snapshot.keys() == set(keys)
            assert len({number for number, _ in snapshot.values()}) == 1, "half an atomic write was seen"
            assert [len(text) for _, text in snapshot.values()] == padding
    assert len(readers) == 2


@pytest.mark.parametrize("moment", ["pending", "committed"])
def test_a_killed_process_does_not_disturb_the_others(
    place: Place, players: list[Program], start: Start, moment: str
) -> None:
    """What it had committed stays, what it had not is a missing tail: nothing in between."""
    victim, others = start("player.py"), players[:2]
    open_on(place, [victim, *others])
    ask_all(others, "observe_prefix", prefix="")
    if moment == "committed":
        victim.ask("put", key="victim/000000", value=0)
    for number, other in enumerate(others):
        other.tell("burst", key=f"other{number}", times=100)
    victim.ask("burst", key="victim", times=500)
    os.kill(victim.pid, 9)
    for other in others:
        other.answer()
    ask_all(others, "flushed")
    ask_all(others, "burst", key="after", times=3)
    ask_all(others, "flushed")
    log = log_of(place)
    survived = [value for key, value in puts_in(log) if key.startswith("victim/")]
    if moment == "committed":
        assert survived[0] == 0
        survived = survived[1:]
    assert survived == list(range(len(survived)))
    for number in range(2):
        own = [value for key, value in puts_in(log) if key.startswith(f"other{number}/")]
        assert own == list(range(100))
    assert len(versions_in(log)) == len(set(versions_in(log)))
    everything = dict(puts_in(log))
    assert ask_all(others, "everything") == [everything] * 2
    for seen in ask_all(others, "seen_last", key="", value=everything):
        tails = [sum(key.startswith("victim/") for key in snapshot) for snapshot in seen]
        assert tails == sorted(tails)
