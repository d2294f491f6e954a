"""What may be spent: no hour passes its budget by looking, and writes are never held up."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import pytest

from rxmps3 import Budget, InvalidOption, Prices, Usage
from rxmps3.replica.budget import Allowance
from rxmps3.runtime.clock import Random
from rxmps3.storage.prices import PRICES, checked_prices, prices_at


def looks(allowance: Allowance, price: float, pace: float, seconds: float) -> list[float]:
    """When looks of that price take place, as often as they want to and may."""
    now = 0.0
    at: list[float] = []
    while now < seconds:
        if (wait := allowance.wait(now)) > 0:
            now += wait
        else:
            at.append(now)
            allowance.charge(price, now)
            now += pace
    return at


def busiest_hour(at: list[float]) -> int:
    return max(bisect_left(at, start + 3600) - number for number, start in enumerate(at))


@pytest.mark.parametrize("per_hour", [10, 100, 1000, 3000])
def test_looks_fill_the_budget_and_no_hour_passes_it(per_hour: int) -> None:
    at = looks(Allowance(per_hour, 0), 1, 1.0, 5 * 3600)
    assert busiest_hour(at) <= per_hour
    assert len(at) >= 5 * per_hour * 0.88


def test_what_is_well_within_it_does_not_wait() -> None:
    allowance = Allowance(5000, 0)
    at = looks(allowance, 1, 1.0, 3600)
    assert len(at) == 3600
    assert allowance.is_well(3600)
    assert not allowance.is_passed(3600)


def test_writes_leave_less_for_looks_and_all_of_it_stays_within() -> None:
    allowance, now, at = Allowance(1000, 0), 0.0, list[float]()
    chance = Random("writes")
    while now < 4 * 3600:
        if chance.random() < 0.1:
            allowance.charge(1, now)  # about 360 an hour
            at.append(now)
        if allowance.wait(now) == 0:
            allowance.charge(1, now)
            at.append(now)
        now += 1
    assert busiest_hour(at) <= 1000
    assert not allowance.is_passed(now)


def test_writes_alone_may_pass_it_and_looks_go_on_an_hour_later_at_most() -> None:
    allowance = Allowance(100, 0)
    allowance.charge(100_000, 0)
    assert allowance.is_passed(0)
    assert 0 < allowance.wait(0) <= 1.2 * 3600
    assert allowance.wait(1.2 * 3600) == 0


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"per_month": 1.0, "requests_per_hour": 1.0},
        {"per_month": 0.0},
        {"requests_per_hour": -1.0},
        {"per_month": True},
        {"per_month": float("inf")},
        {"per_month": float("nan")},
        {"per_month": 10**400},
        {"requests_per_hour": "1"},
    ],
)
def test_a_budget_is_one_positive_number(given: Any) -> None:
    with pytest.raises(InvalidOption):
        Budget(**given)


def test_a_month_of_the_defaults_on_amazon() -> None:
    looks = Usage(gets=730 * 3600)
    assert PRICES["aws"].of(looks) == pytest.approx(1.05, abs=0.01)
    assert PRICES["aws"].of(Usage(lists=730 * 3600)) == pytest.approx(13.14, abs=0.01)
    assert PRICES["aws"].of(Usage(puts=1000, lists=1000, gets=1000, deletes=1000)) == pytest.approx(0.0104)
    assert PRICES["aws"].of(Usage(bytes_up=10**9, bytes_down=10**9)) == pytest.approx(0.09)
    assert Prices("own", put=1, list=2, get=4, delete=8, up=16, down=32).of(
        Usage(1000, 1000, 1000, 1000, 10**9, 10**9)
    ) == pytest.approx(63)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://b/p/", "aws"),
        ("s3://b--use1-az4--x-s3/", "aws-express"),
        ("s3://b/?endpoint_url=https://abc.r2.cloudflarestorage.com", "r2"),
        ("s3://b/?endpoint_url=https://s3.eu-central-003.backblazeb2.com", "b2"),
        ("s3://b/?endpoint_url=https://storage.googleapis.com", "gcs"),
        ("s3://b/?endpoint_url=https://t3.storage.dev", "tigris"),
        ("s3://b/?endpoint_url=https://fly.storage.tigris.dev", "tigris"),
        ("s3://b/?endpoint_url=https://s3.eu-central-1.wasabisys.com", "wasabi"),
        ("s3://b/?endpoint_url=https://s3.cn-north-1.amazonaws.com.cn", "aws"),
        ("s3://b/?endpoint_url=https://example.org/.r2.cloudflarestorage.com", "aws"),
        ("s3://b/?endpoint_url=http://127.0.0.1:9000", "aws"),
        ("memory:", "aws"),
        ("file:/tmp/x", "aws"),
    ],
)
def test_the_prices_of_a_place(url: str, name: str) -> None:
    assert prices_at(url) is PRICES[name]


def test_every_price_says_where_it_is_from() -> None:
    assert all("2026-" in one.source and "https://" in one.source for name, one in PRICES.items() if name != "free")
    with pytest.raises(InvalidOption, match="aws"):
        checked_prices("amazon")
