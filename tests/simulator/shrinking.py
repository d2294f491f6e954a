"""From a plan that breaks a rule to a smaller one that still does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from tests.simulator.plan import Plan, Step

__all__ = ["shrink"]

T = TypeVar("T")
R = TypeVar("R")


def shrink(plan: Plan, attempt: Callable[[Plan], Plan | None], budget: int = 400) -> Plan:
    """Take away what is not needed, for as long as the same happens without it.

    Args:
        plan: one that goes wrong; its faults are listed, not drawn.
        attempt: runs a plan; if the same goes wrong it returns the plan with the faults that then happened.
        budget: how many runs it may take.
    """
    left = budget
    improved = True
    while improved and left > 0:
        improved = False
        for candidate in _smaller(plan):
            if left <= 0:
                break
            left -= 1
            found = attempt(candidate)
            if found is not None and _weight(found) < _weight(plan):
                plan, improved = found, True
                break
    return plan


def _weight(plan: Plan) -> tuple[int, float]:
    steps = [step for client in plan.clients for step in client.steps]
    traits = sum(bool(trait) for step in steps for trait in (step.follow, step.dies, step.sleeps))
    details = 10 * traits + sum(step.size + 3 * len(step.keys) + min(step.wait, 1.0) for step in steps)
    return plan.size, details


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Smaller plans, those with the greatest savings first."""
    for clients in _without_some(plan.clients):
        yield replace(plan, clients=clients)
    for faults in _without_some(plan.faults or ()):
        yield replace(plan, faults=faults)
    if plan.bell is not None:
        yield replace(plan, bell=None)
    for stalls in _without_some(plan.stalls):
        yield replace(plan, stalls=stalls)
    for outages in _without_some(plan.outages):
        yield replace(plan, outages=outages)
    for shifts in _without_some(plan.shifts):
        yield replace(plan, shifts=shifts)
    for index, client in enumerate(plan.clients):
        for steps in _without_some(client.steps):
            yield _with_steps(plan, index, steps)
    for index, client in enumerate(plan.clients):
        for place, step in enumerate(client.steps):
            for simpler in _simpler(step):
                yield _with_steps(plan, index, (*client.steps[:place], simpler, *client.steps[place + 1 :]))


def _without_some(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """All of them but one run of half of them, of a quarter, … of one."""
    size = len(items)
    while size := (size + 1) // 2 if size > 1 else 0:
        for start in range(0, len(items), size):
            yield (*items[:start], *items[start + size :])
        if size == 1:
            return
    if len(items) == 1:
        yield ()


def _with_steps(plan: Plan, index: int, steps: tuple[Step, ...]) -> Plan:
    client = replace(plan.clients[index], steps=steps)
    return replace(plan, clients=(*plan.clients[:index], client, *plan.clients[index + 1 :]))


def _simpler(step: Step) -> Iterator[Step]:
    if step.dies is not None:
        yield replace(step, dies=None)
    if step.sleeps is not None:
        yield replace(step, sleeps=None)
    if step.follow:
        yield replace(step, follow=False)
    if step.size:
        yield replace(step, size=0)
    if step.wait:
        yield replace(step, wait=0.0)
