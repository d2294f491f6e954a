"""A text decoded in windows gives what Python's decoder gives for the whole of it, and refuses what that refuses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from json import JSONDecodeError
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rxmps3.errors import Corrupt
from rxmps3.model import jsontext
from rxmps3.model.jsonwindows import Windows

SCAN = json.JSONDecoder().scan_once
texts = st.text(st.sampled_from('a\\"\n/é😀\u2028ud8'), max_size=30) | st.text(max_size=10)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=6),
    max_leaves=25,
)
layouts = st.fixed_dictionaries(
    {"indent": st.sampled_from([None, 1, "\t"]), "ensure_ascii": st.booleans(), "separators": st.just((",", ":"))}
)


def in_windows(text: str, size: int) -> Any:
    return Windows(text, SCAN, lambda piece: None, size).whole()


def same(left: Any, right: Any) -> bool:
    return json.dumps(left) == json.dumps(right)


@settings(max_examples=200)
@given(values, layouts, st.integers(16, 60))
@example([1.5e300, -1.5e-7, 0.25, 10**40, True, None], {"separators": (",", ":")}, 16)
@example("\\😀\\u😀" * 9, {"ensure_ascii": True}, 17)
@example({"": "\\" * 50, "a": {"b": {"c": [[[]], {}]}}}, {"indent": 2}, 16)
def test_windows_of_any_size_give_the_same_value(value: Any, layout: dict[str, Any], size: int) -> None:
    text = json.dumps(value, **layout)
    assert same(in_windows(text, size), json.loads(text))


@settings(max_examples=200)
@given(values, st.data(), st.integers(16, 40))
def test_what_python_refuses_is_refused(value: Any, data: st.DataObject, size: int) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, min(len(text), at + 3)))
    torn = text[:at] + data.draw(st.sampled_from(["", ",", "]", '"', "\\", "0", "e", "{", "\n"])) + text[end:]
    try:
        expected = json.JSONDecoder().decode(torn)
    except JSONDecodeError:
        with pytest.raises(JSONDecodeError):
            in_windows(torn, size)
    else:
        assert same(in_windows(torn, size), expected)


@given(st.dictionaries(texts, values, max_size=5), values, st.integers(16, 40))
def test_the_members_of_one_member_come_one_by_one(inner: dict[str, Any], other: Any, size: int) -> None:
    text, taken = json.dumps({"before": other, "many": inner, "after": other}), list[tuple[str, Any]]()
    heads = list[dict[str, Any]]()

    def take(pairs: Iterable[tuple[str, Any]], before: dict[str, Any]) -> None:
        heads.append(dict(before))
        taken.extend(pairs)

    rest = Windows(text, SCAN, lambda piece: None, size).members("many", take)
    assert same(dict(taken), inner)
    assert same(heads, [{"before": other}])
    assert same(rest, {"before": other, "after": other})


@pytest.mark.parametrize("text", ["[]", '{"many": []}', '{"many": {}} x', '{"many": {"a" 1}}', "", "{"])
def test_what_is_no_object_of_an_object_is_refused(text: str) -> None:
    with pytest.raises(JSONDecodeError):
        Windows(text, SCAN, lambda piece: None, 16).members("many", lambda pairs, _: [*pairs] and None)


@pytest.mark.parametrize(
    ("part", "refused"),
    [
        ("2" * 309 + ".5", True),
        ("2" * 210 + ".5", False),
        ("1e999", True),
        ("-1E+400", True),
        ("1e300", False),
        ('"\\ud800"', True),
        ('"\\ud83d\\ude00"', False),
    ],
)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_large_text_is_refused_for_what_a_small_one_is(part: str, refused: bool, place: float) -> None:
    size = 3 * jsontext.LARGE
    text = f'["{"x" * int(size * place)}",{part},"{"x" * int(size * (1 - place))}"]'
    if refused:
        for one in (text, f"[{part}]"):
            with pytest.raises(Corrupt):
                jsontext.decode(one)
    else:
        assert same(jsontext.decode(text), json.loads(text))
