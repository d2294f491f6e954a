"""The training monitor of the examples: two trainings in processes of their own, one of which is stopped from outside."""

from __future__ import annotations

import random
from pathlib import Path

from reactivex import operators as ops

import rxmps3
from examples.training import loss, sample, step  # pyright: ignore
from tests.examples.helpers import leave, running

PROGRAM = "examples/training.py"


def test_a_training_learns() -> None:
    chance, weights = random.Random(1), (-3.0, 3.0, 2.0)
    test = sample(chance, 200)
    losses = [loss(weights, test)]
    for _ in range(300):
        weights = step(weights, sample(chance, 8), 0.2)
        losses.append(loss(weights, test))
    assert losses[0] > 1.5 > 0.7 > losses[-1]


async def test_one_of_two_trainings_is_stopped(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/lab"
    with (
        running(PROGRAM, "run", url, "slow", "--steps", "100000", "--pause", "0.02") as slow,
        running(PROGRAM, "run", url, "fast", "--steps", "60", "--pause", "0.02") as fast,
    ):
        async with rxmps3.connect(url, by="test", poll=0.1) as db:
            both = db.observe_prefix("lab/run/").pipe(ops.filter(lambda runs: len(runs) == 2), ops.first())
            await both
            await db.put("lab/stop/slow", True)
            over = db.observe_prefix("lab/run/").pipe(
                ops.filter(lambda runs: all(run["state"] != "running" for run in runs.values())), ops.first()
            )
            runs = await over
        assert {key: run["state"] for key, run in runs.items()} == {
            "lab/run/fast": "finished",
            "lab/run/slow": "stopped",
        }
        assert runs["lab/run/fast"]["step"] == 60 == len(runs["lab/run/fast"]["losses"])
        assert 0 < len(runs["lab/run/slow"]["losses"]) <= 240
        for training in (slow, fast):
            assert leave(training) == (0, "")
