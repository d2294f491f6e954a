"""Rules of the protocol switched off, one at a time, and the rule of the simulator that has to notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.mutating import Mutant
from tests.simulator import Plan, draw_plan, play

__all__ = ["LONG", "Mutations"]

SwitchOff = Callable[[Mutant], None]

LONG = [seed for seed in range(120) if draw_plan(seed).weather.lateness > 50_000]
"""Seeds of histories that are long enough for things to be collected."""


@dataclass(frozen=True)
class Mutation:
    """A rule switched off, and where to look for what follows."""

    switch_off: SwitchOff
    caught_by: str
    plans: Sequence[Plan]
    saying: str


class Mutations(dict[str, Mutation]):
    """The mutations of a file, by name."""

    def add(self, caught_by: str, *where: int | Plan, saying: str = "") -> Callable[[SwitchOff], SwitchOff]:
        """Decorates what switches a rule off.

        Args:
            caught_by: the name of the rule that is broken then.
            where: plans, or seeds of plans, one of which shows it; the first twelve seeds by default.
            saying: words of what is noticed, where the rule alone says little.
        """
        plans = [draw_plan(one) if isinstance(one, int) else one for one in where or range(12)]

        def register(switch_off: SwitchOff) -> SwitchOff:
            self[switch_off.__name__] = Mutation(switch_off, caught_by, plans, saying)
            return switch_off

        return register

    def check(self, name: str, patch: pytest.MonkeyPatch) -> None:
        """Some plan must be caught, and by that rule; and what was switched off must have been in use."""
        mutation, mutant = self[name], Mutant(patch)
        mutation.switch_off(mutant)
        caught: set[str] = set()
        for plan in mutation.plans:
            for violation in play(plan).violations:
                if violation.rule == mutation.caught_by and mutation.saying in violation.detail:
                    mutant.verify()
                    return
                caught.add(violation.rule)
        mutant.verify()
        pytest.fail(f"not caught by {mutation.caught_by!r}, but by {caught or 'nothing'}")

    def plans(self) -> list[Plan]:
        """All plans."""
        return [plan for mutation in self.values() for plan in mutation.plans]

    def plans_by_hand(self) -> list[Plan]:
        """The plans that were not drawn from a seed."""
        return [plan for plan in self.plans() if plan.faults is not None]
