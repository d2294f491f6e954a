"""Plans made by hand for the mps3 log, with every rule in force."""

from __future__ import annotations

from rxmps3.testing.simulator import Fault, Plan, Step, play
from tests.testing.plans import EVEN, client

_FIRST = Step("put", 0, ("key/0",), follow=True)


def test_a_deletion_that_somebody_else_made_counts_as_made_and_what_follows_it_is_its_writers():
    """Ann's deletion never arrives; her next process finds Bob's and goes on with what she wrote after hers."""
    plan = Plan(
        1,
        (
            client(
                "ann",
                _FIRST,
                Step("delete", 10, ("todo/0",)),
                Step("put", 0.5, ("key/1",)),
                Step("crash", 1),
                Step("settle", 10),
                local=True,
            ),
            client("bob", Step("delete", 15, ("todo/0",), follow=True)),
        ),
        EVEN,
        faults=(Fault("ann", "put operation", 2, "drop", 0.5),),
        protocol="mps3",
    )
    report = play(plan)
    assert report.ok, report.explain()
    assert report.requests["ann"]["put operation"] == 3, "the deletion went out once"
