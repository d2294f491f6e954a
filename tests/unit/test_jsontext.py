"""Canonical JSON text."""

from __future__ import annotations

import enum
import json
import sys
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from rxmps3 import Corrupt, InvalidValue
from rxmps3.model import jsontext
from tests.unit.jsons import values


@given(values())
def test_round_trip(value: Any) -> None:
    text = jsontext.encode(value)
    again = jsontext.decode(text)
    assert jsontext.encode(again) == text
    assert again == value
    assert json.loads(text) == value


@given(values())
def test_bytes_round_trip(value: Any) -> None:
    assert jsontext.decode_bytes(jsontext.encode(value).encode(), "x") == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1, 2.0, None, True]}, '{"a":[1,2.0,null,true],"b":1}'),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (2**53 + 1, "9007199254740993"),
        ("é😀\n", '"é😀\\n"'),
        ((1, (2,)), "[1,[2]]"),
        (OrderedDict([("z", 1), ("a", 2)]), '{"a":2,"z":1}'),
        ({}, "{}"),
        (1e16, "1e+16"),
    ],
)
def test_canonical_text(value: Any, text: str) -> None:
    assert jsontext.encode(value) == text


def test_the_order_of_members_does_not_matter() -> None:
    assert jsontext.encode({"a": 1, "b": {"c": 2, "d": 3}}) == jsontext.encode({"b": {"d": 3, "c": 2}, "a": 1})


def test_what_json_tells_apart_has_different_texts() -> None:
    texts = [jsontext.encode(value) for value in (0, 0.0, -0.0, False, "0", None, [], {}, "")]
    assert len(set(texts)) == len(texts)


def cycle() -> Any:
    loop: list[Any] = []
    loop.append({"again": loop})
    return loop


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        [-float("inf")],
        b"bytes",
        {"a": b"bytes"},
        {1, 2},
        {1: "number as key"},
        {"a": {None: 1}},
        [{True: 1}],
        {"a": 1, 2: 3},
        (x for x in ()),
        object(),
        Colour.RED,
        1j,
        "\ud800",
        {"\udfff": 1},
        ["ok", "lone \ud83d"],
        10**5000,
        cycle(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_express_is_refused(value: Any) -> None:
    with pytest.raises(InvalidValue, match="this value"):
        jsontext.encode(value, "this value")


def nested(depth: int, innermost: Any) -> Any:
    for level in range(depth):
        innermost = [innermost] if level % 2 else {"a": innermost}
    return innermost


def test_the_deepest_value_is_walkable() -> None:
    value = nested(jsontext.MAX_DEPTH, 1)
    assert jsontext.decode(jsontext.encode(value)) == value


@pytest.mark.parametrize("depth", [jsontext.MAX_DEPTH + 1, 5_000, 200_000])
def test_deeper_is_refused(depth: int) -> None:
    with pytest.raises(InvalidValue, match="256 levels"):
        jsontext.encode(nested(depth, 1))


def test_empty_containers_count_as_levels() -> None:
    jsontext.encode(nested(jsontext.MAX_DEPTH - 1, []))
    with pytest.raises(InvalidValue):
        jsontext.encode(nested(jsontext.MAX_DEPTH, []))


@pytest.mark.parametrize("text", ["", "{", "NaN", "Infinity", "[-Infinity]", "1 2", "[" * 100_000, "9" * 5_000, "'a'"])
def test_what_is_not_json_is_corrupt_and_named(text: str) -> None:
    with pytest.raises(Corrupt, match="object 'x'"):
        jsontext.decode(text, "object 'x'")


@pytest.mark.parametrize("body", [b"\xff", b'"\xed\xa0\x80"', b"{", "1".encode("utf-16")])
def test_bytes_that_are_not_json_in_utf8_are_corrupt(body: bytes) -> None:
    with pytest.raises(Corrupt, match="object 'x'"):
        jsontext.decode_bytes(body, "object 'x'")


def test_each_decoding_is_a_value_of_its_own() -> None:
    assert jsontext.decode("[]") is not jsontext.decode("[]")


@pytest.fixture(params=[640, jsontext.MAX_DIGITS, 100_000, 0])
def digits_of_the_interpreter(request: pytest.FixtureRequest) -> Iterator[int]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(request.param)
    yield request.param
    sys.set_int_max_str_digits(before)


def test_the_longest_integer_belongs_to_the_format(digits_of_the_interpreter: int) -> None:
    longest = 10**jsontext.MAX_DIGITS - 1
    text = jsontext.encode({"a": [longest, -longest, 1.5, "\0", True]})
    assert text == '{"a":[' + "9" * 4300 + ",-" + "9" * 4300 + ',1.5,"\\u0000",true]}'
    assert jsontext.decode(text) == {"a": [longest, -longest, 1.5, "\0", True]}
    with pytest.raises(InvalidValue, match="more than 4,300 digits"):
        jsontext.encode({"a": [longest + 1]})
    with pytest.raises(Corrupt, match="more than 4,300 digits"):
        jsontext.decode("[" + "1" * 4301 + "]")


@pytest.mark.parametrize("text", ["1" * 250 + "e99", "1e309", "-1e0400", "1" * 310 + ".0", "[1" + "0" * 210 + "E+99]"])
def test_no_number_becomes_infinite(text: str) -> None:
    with pytest.raises(Corrupt, match="infinite"):
        jsontext.decode(text)


def test_one_bad_value_does_not_spoil_its_container(digits_of_the_interpreter: int) -> None:
    bad = ["9" * 5000, "-" + "9" * 5000, "NaN", "-Infinity", "1e999", '"\\ud800"']
    body = (
        "{"
        + ",".join(f'"{place}":[{text},"\\u0000 number 0 \\u0000"]' for place, text in enumerate(bad))
        + ',"ok":[1]}'
    )
    members = jsontext.decode_container(body.encode(), "x")
    for place, text in enumerate(bad):
        kept = jsontext.encode_as_read(members[str(place)])
        assert kept == f'[{text},"\\u0000 number 0 \\u0000"]'
        with pytest.raises(Corrupt):
            jsontext.decode(kept)
    assert jsontext.encode_as_read(members["ok"]) == "[1]"
    with pytest.raises(Corrupt):
        jsontext.decode_container(b"{", "x")
