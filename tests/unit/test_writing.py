"""From the values of a call to a write: what stays inline, and what gets an object."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxmps3 import MISSING, InvalidKey, InvalidValue
from rxmps3.model import jsontext
from rxmps3.model.names import check_key, parse_value_name
from rxmps3.model.state import ContentObject, Inline
from rxmps3.model.writing import MAX_INLINE_PER_WRITE, MAX_WRITE_KEYS, encode_values, plan
from tests.unit.jsons import unicode_text, values

keys = unicode_text.filter(bool)


def checked(key: object) -> str:
    return check_key(key, 900)


@given(st.dictionaries(keys, values() | st.just(MISSING), min_size=1, max_size=5))
def test_values_become_canonical_texts_and_missing_none(some: dict[str, Any]) -> None:
    texts = encode_values(some, checked)
    assert texts.keys() == some.keys()
    for key, value in some.items():
        assert texts[key] == (None if value is MISSING else jsontext.encode(value))


def test_null_is_a_value() -> None:
    assert encode_values({"a": None}, checked) == {"a": "null"}


def test_errors_name_the_key() -> None:
    with pytest.raises(InvalidValue, match="'b'"):
        encode_values({"a": 1, "b": float("nan")}, checked)
    with pytest.raises(InvalidKey):
        encode_values({"a": 1, "": 2}, checked)


def test_a_write_names_at_least_one_key_and_not_too_many() -> None:
    with pytest.raises(InvalidValue, match="at least one"):
        encode_values({}, checked)
    with pytest.raises(InvalidValue, match="split"):
        encode_values(dict.fromkeys(map(str, range(MAX_WRITE_KEYS + 1))), checked)


@given(
    st.dictionaries(keys, st.none() | st.integers(1, 40).map(lambda size: "é" * size), min_size=1), st.integers(2, 60)
)
def test_each_text_is_inline_or_in_an_object(texts: dict[str, str | None], limit: int) -> None:
    encoded = {key: None if text is None else jsontext.encode(text) for key, text in texts.items()}
    update, contents = plan("w-1", encoded, limit)
    assert update.keys() == texts.keys()
    stored = {content.name: (content, text) for content, text in contents}
    for key, text in encoded.items():
        entry = update[key]
        if text is None:
            assert entry is None
            continue
        assert entry is not None
        assert entry.version == "w-1"
        if isinstance(entry.content, Inline):
            assert entry.content.text == text
            assert len(text.encode()) <= limit
        else:
            assert len(text.encode()) > limit
            assert stored.pop(entry.content.name) == (entry.content, text)
            assert parse_value_name(entry.content.name) == (key, "w-1")
            assert entry.content.size == len(text.encode())
            assert entry.content.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert not stored


@given(st.lists(st.integers(1, MAX_INLINE_PER_WRITE), min_size=1, max_size=8))
def test_a_write_of_too_many_inline_bytes_gives_its_largest_values_objects(sizes: list[int]) -> None:
    texts: dict[str, str | None] = {str(number): "1" * size for number, size in enumerate(sizes)}
    update, _ = plan("w-1", texts, MAX_INLINE_PER_WRITE)
    inline = [len(e.content.text) for e in update.values() if e is not None and isinstance(e.content, Inline)]
    stored = [e.content.size for e in update.values() if e is not None and isinstance(e.content, ContentObject)]
    assert sum(inline) <= MAX_INLINE_PER_WRITE
    assert max(inline, default=0) <= min(stored, default=MAX_INLINE_PER_WRITE)
    if stored:
        assert sum(inline) + min(stored) > MAX_INLINE_PER_WRITE
