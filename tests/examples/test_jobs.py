"""The job board of the examples: workers in processes of their own, one of which is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reactivex import operators as ops

import rxmps3
from examples.jobs import factors, is_free  # pyright: ignore
from tests.examples.helpers import leave, running

PROGRAM = "examples/jobs.py"
NUMBERS = {91: [7, 13], 97: [97], 600_851_475_143: [71, 839, 1471, 6857], 1024: [2] * 10, 1: [1]}


@pytest.mark.parametrize("number", NUMBERS)
def test_factors(number: int) -> None:
    assert factors(number) == NUMBERS[number]


@pytest.mark.parametrize("job", [None, 1, "job", [], {}, {"state": "waiting"}, {"number": -1, "state": "waiting"}])
def test_what_is_no_job_is_left_alone(job: Any) -> None:
    assert not is_free(job, {"w"})


async def test_each_job_is_done_once_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/jobs"
    with running(PROGRAM, "add", url, *map(str, NUMBERS)) as adding:
        assert leave(adding) == (0, "")
    quick = ["--seconds", "0.1", "--patience", "1.2"]
    async with rxmps3.connect(url, by="test", poll=0.1) as db:
        with running(PROGRAM, "work", url, "cy", "--seconds", "60", "--patience", "1.2") as cy:
            taken = db.observe_prefix("job/").pipe(
                ops.map(lambda jobs: [key for key, job in jobs.items() if job["state"] == "running"]),
                ops.filter(bool),
                ops.first(),
            )
            [of_cy] = await taken
            cy.kill()
        with running(PROGRAM, "work", url, "ana", *quick) as ana, running(PROGRAM, "work", url, "bob", *quick) as bob:
            done = db.observe_prefix("job/").pipe(
                ops.filter(lambda jobs: all(job["state"] == "done" for job in jobs.values())), ops.first()
            )
            jobs = await done
            assert {job["number"]: job["factors"] for job in jobs.values()} == NUMBERS
            assert {job["by"] for job in jobs.values()} <= {"ana", "bob"}
            for worker in (ana, bob):
                worker.kill()
            printed = [line for worker in (ana, bob) if worker.stdout is not None for line in worker.stdout]
            assert len(printed) == len(set(printed)), "no job was done twice"
        assert next(one.value["by"] for one in await db.history(of_cy) if one.value["state"] == "running") == "cy"
