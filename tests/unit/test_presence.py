"""Who is here, decided from a listing and the storage's clock; and what an object says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxmps3 import Corrupt, Error, InvalidValue, Participant, Unsupported
from rxmps3.database.presence.who import Said, Sighting, decode, encode, encode_me, id_of, rendered, who_is_here

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
TTL = timedelta(seconds=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('ab"\\é😀'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=5,
)


def seen(age: float, came: float = 0, me: str = "{}") -> Sighting:
    return Sighting(Said(me, "ana", NOW + timedelta(seconds=came)), NOW - timedelta(seconds=age))


def test_who_gave_a_sign_of_life_within_the_ttl_is_here() -> None:
    everybody = {"just": seen(0), "still": seen(30), "gone": seen(30.001), "ahead": seen(-5)}
    assert sorted(who_is_here(everybody, NOW, TTL)) == ["ahead", "just", "still"]


def test_the_order_is_that_of_arrival() -> None:
    everybody = {"a": seen(0, 2), "c": seen(0, 1), "b": seen(0, 1), "d": seen(0, 0)}
    assert list(who_is_here(everybody, NOW, TTL)) == ["d", "b", "c", "a"]


def test_a_sign_of_life_makes_no_other_participant() -> None:
    (one,), (later,), (other,) = (
        rendered({"x": seen(age, me=me)}).values() for age, me in ((5, "1"), (1, "1"), (1, "2"))
    )
    assert one == later != other
    assert one.seen != later.seen
    assert one == Participant("x", 1, "ana", NOW, NOW)


@given(JSON, st.text(st.characters(codec="utf-8")))
def test_what_is_said_is_read_as_it_was(me: object, by: str) -> None:
    said = Said(encode_me(me), by, NOW)
    assert decode(encode(said), "it") == said


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", Corrupt),
        (b"\xff", Corrupt),
        (b"[]", Corrupt),
        (b"{}", Corrupt),
        (b'{"format":true,"by":"","since":"2026-11-22T10:00:00+00:00","me":1}', Corrupt),
        (b'{"format":2}', Unsupported),
        (b'{"format":1,"by":"","since":"2026-11-22T10:00:00+00:00"}', Corrupt),
        (b'{"format":1,"by":1,"since":"2026-11-22T10:00:00+00:00","me":1}', Corrupt),
        (b'{"format":1,"by":"","since":"2026-11-22T10:00:00","me":1}', Corrupt),
        (b'{"format":1,"by":"","since":7,"me":1}', Corrupt),
        (b'{"format":1,"by":"","since":"0001-01-01T00:00:00+14:00","me":1}', Corrupt),
        (b'{"format":1,"by":"","since":"9999-12-31T23:59:59-14:00","me":1}', Corrupt),
        (b'{"format":1,"by":"","since":"then","me":1}', Corrupt),
        (b'{"format":1,"by":"","since":"2026-11-22T10:00:00Z","me":' + b"[" * 300 + b"]" * 300 + b"}", Error),
    ],
)
def test_what_is_no_such_object_is_refused(body: bytes, error: type[Error]) -> None:
    with pytest.raises(error):
        decode(body, "it")


def test_what_a_later_version_adds_is_ignored_and_any_time_zone_is_understood() -> None:
    said = decode(b'{"format":1,"by":"","since":"2026-11-22T12:00:00+02:00","me":null,"new":1}', "it")
    assert (said.since, said.since.tzinfo) == (NOW, UTC)
    assert said.me == "null"


def test_what_everybody_reads_is_short() -> None:
    assert len(encode_me("é" * 2047)) == 2049
    with pytest.raises(InvalidValue):
        encode_me("é" * 2048)


@pytest.mark.parametrize(
    "name", ["f/0123456789a", "f/0123456789abc", "f/0123456789aZ", "f/0123456789ab/x", "0123456789ab"]
)
def test_names_of_no_client(name: str) -> None:
    assert id_of(name, "f/") is None
    assert id_of("f/0123456789ab", "f/") == "0123456789ab"
