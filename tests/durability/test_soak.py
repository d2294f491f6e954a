"""The soak at reduced size; `tests.durability.soak` as a program runs the whole."""

from __future__ import annotations

import pytest

from tests.durability.soak import MEASURES, growth, run


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_what_a_database_costs_stays_flat_under_steady_writing() -> None:
    rows = run(24_000, 600, print)
    assert len(rows) == 40
    for what, measure in MEASURES.items():
        assert growth(rows, measure) < 1.25, what
    assert max(row.open_requests for row in rows) < 230
