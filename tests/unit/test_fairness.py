"""When a writer yields, step by step: pure, with made-up times."""

from __future__ import annotations

import random

import pytest

from rxmps3.replica.fairness import Fairness

COMMIT = 0.004
"""Seconds that a commit takes."""


def commits(fairness: Fairness, start: float, seconds: float, rng: random.Random) -> tuple[list[float], float]:
    """The own writer commits without a break; returns its waits, and when it ended."""
    waits: list[float] = []
    now, end = start, start + seconds
    while now < end:
        wait = 0.0
        while (more := fairness.wait(now, rng)) > 0:
            wait += more
            now += more
        waits.append(wait)
        began, now = now, now + COMMIT
        fairness.seen("me", now)
        fairness.ended(now, began, won=True)
    return waits, now


def test_a_writer_alone_waits_for_hardly_anything() -> None:
    waits, _ = commits(Fairness("me"), 0.0, 60.0, random.Random(1))
    assert sum(waits) < 0.03 * 60
    assert max(waits) < 0.15


def test_the_longer_it_is_alone_the_more_rarely_it_waits() -> None:
    fairness, rng = Fairness("me"), random.Random(1)
    _, now = commits(fairness, 0.0, 300.0, rng)
    waits, _ = commits(fairness, now, 60.0, rng)
    assert sum(waits) < 0.005 * 60


def test_the_last_of_16_writers_does_not_idle() -> None:
    fairness, rng = Fairness("me"), random.Random(1)
    commits(fairness, 0.0, 1.0, rng)
    now = 1.0
    for turn in range(3):
        for other in range(15):
            for _ in range(10):
                now += COMMIT
                fairness.seen(f"other {other}", now)
        waits, now = commits(fairness, now, 0.05, rng)
        assert max(waits) < 1.5, turn
    waits, end = commits(fairness, now, 10.0, rng)  # from here on nobody else writes
    assert max(waits) < 1.0
    assert sum(waits) < 3.0, "of ten seconds"
    assert end - now > 10.0


def test_a_writer_in_its_turn_does_not_wait_and_at_its_end_does() -> None:
    fairness, rng = Fairness("me"), random.Random(1)
    fairness.seen("other", 0.0)
    fairness.seen("me", 1.0)
    fairness.ended(1.0, 1.0 - COMMIT, won=True)
    assert fairness.wait(1.0, rng) == 0
    now = 1.0
    while fairness.wait(now, rng) == 0:
        now += COMMIT
        fairness.seen("me", now)
        fairness.ended(now, now - COMMIT, won=True)
    assert 0.2 < now - 1.0 < 0.6


def test_who_has_waited_longest_goes_first() -> None:
    writers = ["a", "b", "c", "d"]
    each = {name: Fairness(name) for name in writers}
    now = 0.0
    for name in writers:  # d wrote last
        now += 0.01
        for fairness in each.values():
            fairness.seen(name, now)
        each[name].ended(now, now - COMMIT, won=True)
    for _ in range(20):
        rng = random.Random(_)
        waits = {name: each[name].wait(now, rng) for name in "abc"}
        assert waits["a"] < waits["b"] < waits["c"]
        now += 0.001
        for fairness in each.values():
            fairness.seen("d", now)


def test_back_off_grows_with_each_lost_race() -> None:
    means: list[float] = []
    for lost in range(4):
        total = 0.0
        for seed in range(200):
            fairness = Fairness("me")
            fairness.seen("me", 0.0)
            fairness.ended(0.0, -0.1, won=True)
            fairness.seen("other", 0.0)
            for _ in range(lost):
                fairness.ended(0.0, -0.1, won=False)
            total += fairness.wait(0.0, random.Random(seed))
        means.append(total / 200)
    assert means[0] < means[1] < means[2]
    assert means[3] < 1.0, "but not for ever"


def test_a_newcomer_beside_one_writer_without_a_gap_soon_races() -> None:
    fairness, rng, now = Fairness("me"), random.Random(1), 0.0
    fairness.ended(0.0, -0.02, won=False)
    tried = False
    pace = 0.01
    while now < 3.0 and not tried:
        now += pace
        fairness.seen("other", now)  # without a gap
        tried = fairness.wait(now, rng) == 0
    assert 0.4 < now < 0.7
    assert fairness.chase(now) is not None


def test_whoever_is_slower_or_was_seen_or_is_one_of_several_does_not_chase() -> None:
    for slower, names in ((10, ["other"]), (1, ["me", "other"]), (1, ["third", "other"])):
        fairness, rng, now = Fairness("me"), random.Random(1), 0.0
        fairness.ended(0.0, -2 * slower * COMMIT, won=False)
        for name in names:
            fairness.seen(name, 0.0)
        while now < 2.5:
            now += COMMIT
            fairness.seen("other", now)
            fairness.wait(now, rng)
            assert fairness.chase(now) is None


@pytest.mark.parametrize("uptime", [0.0, 1e6])
def test_how_long_a_computer_has_been_up_does_not_matter(uptime: float) -> None:
    waits, _ = commits(Fairness("me"), uptime, 60.0, random.Random(1))
    first = next(number for number, wait in enumerate(waits) if wait)
    assert 3.9 < first * COMMIT < 4.5
    assert 10 <= sum(wait > 0 for wait in waits) <= 15


def test_a_turn_that_was_not_used_need_not_be_waited_for_again() -> None:
    fairness, rng = Fairness("me"), random.Random(1)
    fairness.seen("other", 0.0)
    assert fairness.wait(0.0, rng) > 0
    fairness.passed()
    assert fairness.wait(0.0, rng) == 0
    assert fairness.wait(0.0, rng) > 0
