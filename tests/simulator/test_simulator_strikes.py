"""The bucket is emptied, made anew or put back while clients run; and the rules against that, each switched off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from rxmps3.log.sequenced.head import KnownHead
from rxmps3.log.sequenced.identity import Place, Sighting
from rxmps3.log.sequenced.log import SequencedLog
from tests.mutating import Mutant
from tests.simulator.strikes import STRIKES, Strike, StrikeReport, play_strike

pytestmark = pytest.mark.timeout(300)


def check(reports: list[StrikeReport]) -> Counter[str]:
    wrong = [(report.seed, report.strike, *report.violations[0]) for report in reports if report.violations]
    assert not wrong
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    return counts


def test_a_strike_is_noticed_and_nothing_is_acknowledged_in_vain_for_long() -> None:
    counts = check([play_strike(seed, strike) for seed in range(2) for strike in STRIKES])
    assert counts["Gone"] > 0
    assert counts["Replaced"] > 0
    assert counts["acknowledged"] > 50


@pytest.mark.heavy
def test_many_strikes() -> None:
    counts = check([play_strike(seed, strike) for seed in range(100, 112) for strike in STRIKES])
    assert counts["acknowledged in vain"] > 0
    assert counts["repaired"] > 0


def never_old(mutant: Mutant) -> None:
    mutant.replace(Sighting.is_old, lambda self, answered=None: False)


def head_alone(mutant: Mutant) -> None:
    mutant.replace(Place.is_in, lambda self, answer: True)


def any_log_is_followed(mutant: Mutant) -> None:
    """Either of the two would do."""
    head_alone(mutant)
    mutant.replace(KnownHead._check_successor, lambda self, head: None)  # pyright: ignore[reportPrivateUsage]


def nothing_is_named(mutant: Mutant) -> None:
    mutant.replace(SequencedLog.is_confirmed, lambda self, position: True)


MUTATIONS: dict[str, tuple[Callable[[Any], None], Strike, str, int]] = {
    "nobody looks whether the log is still there": (never_old, "emptied", "what is acknowledged is in the log", 6),
    "only the head is looked at": (head_alone, "put back", "what is acknowledged is in the log", 6),
    "a head of another log is followed": (any_log_is_followed, "made anew", "everybody agrees", 14),
    "what is in doubt is taken for certain": (nothing_is_named, "emptied", "what was acknowledged in vain is named", 6),
}
"""With the first seed that is played: one of those that show it soon."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_that_is_switched_off_is_missed(name: str, mutant: Mutant) -> None:
    switch_off, strike, rule, first = MUTATIONS[name]
    switch_off(mutant)
    seen: set[str] = set()
    for seed in range(first, first + 12):
        seen |= play_strike(seed, strike).rules
        if rule in seen:
            return
    pytest.fail(f"not caught by {rule!r}, but by {seen or 'nothing'}")
