"""The whole library on virtual time, against a bucket that misbehaves, from one seed.

::

    report = simulate(seed=42)
    assert report.ok, report.explain()

A `Plan` says what is to happen: what each client does, when it stands still or dies, and what goes wrong with which
request. It follows from a seed. Every rule that `recorder.Violation` can name is checked while it runs or at its end.
"""

import logging

from tests.simulator.drawing import draw_plan, harmed
from tests.simulator.plan import ClientPlan, Fault, Outage, Plan, Shift, Stall, Step, Weather
from tests.simulator.recorder import Violation
from tests.simulator.running import Report, Summary, main, play, run_many, simulate

__all__ = [
    "ClientPlan",
    "Fault",
    "Outage",
    "Plan",
    "Report",
    "Shift",
    "Stall",
    "Step",
    "Summary",
    "Violation",
    "Weather",
    "draw_plan",
    "harmed",
    "main",
    "play",
    "run_many",
    "simulate",
]

logging.getLogger("rxmps3").addHandler(logging.NullHandler())
"""What the processes of a history leave behind when they die is no news: nothing is printed by default."""
