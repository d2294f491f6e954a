"""Which answers a look at the head makes believable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rxmps3.log.sequenced.fence import RENEW_AFTER, Lease
from rxmps3.log.server_clock import GRACE, MARGIN

SEEN = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = Lease(floor=7, seen=SEEN, taken=100.0)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("seq", "covered"), [(1, False), (7, False), (8, True), (1000, True)])
def test_a_lease_is_about_numbers_above_its_floor(seq: int, covered: bool) -> None:
    assert LEASE.covers(seq, SEEN + SECOND, 101.0) is covered


@pytest.mark.parametrize(
    ("age", "covered"),
    [
        (-GRACE, False),
        (-MARGIN - SECOND, False),
        (-MARGIN, True),
        (timedelta(0), True),
        (GRACE - MARGIN - SECOND, True),
        (GRACE - MARGIN, False),
        (GRACE, False),
    ],
)
def test_a_lease_ends_before_anything_may_be_deleted(age: timedelta, covered: bool) -> None:
    assert LEASE.covers(8, SEEN + age, 100.0) is covered


def test_a_lease_ends_by_the_own_clock_where_the_dates_of_answers_stand_still() -> None:
    most = (GRACE - MARGIN).total_seconds()
    assert LEASE.covers(8, SEEN + SECOND, 100 + most - 1)
    assert not LEASE.covers(8, SEEN + SECOND, 100 + most)


def test_a_lease_is_renewed_before_it_ends() -> None:
    assert not LEASE.wants_renewal(SEEN + RENEW_AFTER - SECOND)
    assert LEASE.wants_renewal(SEEN + RENEW_AFTER)
    assert LEASE.covers(8, SEEN + RENEW_AFTER, 101.0)
