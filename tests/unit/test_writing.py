"""From the values of a call to a write: what stays inline, and what gets an object."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxmps3 import MISSING, InvalidKey, InvalidValue
from rxmps3.model import jsontext
from rxmps3.model.names import check_key, is_pack_name, pack_name, parse_value_name, value_name
from rxmps3.model.state import ContentObject, Inline, Write, WriteId
from rxmps3.model.writing import (
    MAX_INLINE_PER_WRITE,
    MAX_PACK_BYTES,
    MAX_PACKED_BYTES,
    MAX_WRITE_KEYS,
    contents_of,
    encode_values,
    plan,
    with_new_names,
)
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
    stored = {content.place: (content, text) for content, text in contents}
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
            assert stored.pop(entry.content.place) == (entry.content, text)
            if len(contents) > 1:
                assert is_pack_name(entry.content.name)
            else:
                assert parse_value_name(entry.content.name) == (key, "w-1")
            assert entry.content.size == len(text.encode())
            assert entry.content.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert not stored


@given(st.dictionaries(keys, st.integers(1, 3000), min_size=1, max_size=40), st.integers(2, 200))
def test_the_packs_of_a_write_hold_each_value_where_it_says(sizes: dict[str, int], limit: int) -> None:
    texts: dict[str, str | None] = {key: jsontext.encode("é" * size) for key, size in sizes.items()}
    _, contents = plan("w-1", texts, limit)
    packs: dict[str, bytes] = {}
    for content, text in sorted(contents, key=lambda one: (one[0].name, one[0].offset or 0)):
        if content.offset is not None:
            assert content.offset == len(packs.get(content.name, b""))
            packs[content.name] = packs.get(content.name, b"") + text.encode()
    assert all(len(body) < MAX_PACK_BYTES + MAX_PACKED_BYTES for body in packs.values())
    assert len(packs) <= -(-sum(map(len, packs.values())) // MAX_PACK_BYTES)
    again = with_new_names(Write(WriteId("w", 1), "n", plan("w-1", texts, limit)[0]), "again")
    assert [replace(content, name="") for content in contents_of(again)] == [
        replace(content, name="") for content, _ in contents
    ]
    assert not {content.name for content in contents_of(again)} & {content.name for content, _ in contents}


def test_a_pack_ends_at_its_limit_and_a_very_large_value_is_in_none() -> None:
    sizes = {"a": MAX_PACKED_BYTES + 1, **{f"b{number:02}": MAX_PACKED_BYTES for number in range(9)}}
    _, contents = plan("w-1", {key: "1" * size for key, size in sizes.items()}, 10)
    places = [(content.name, content.offset) for content, _ in contents]
    assert places[0] == (value_name("a", "w-1"), None)
    assert places[8] == (pack_name("w-1", 0), 7 * MAX_PACKED_BYTES)
    assert places[9] == (pack_name("w-1", 1), 0)


def test_a_value_that_takes_less_than_a_reference_stays_inline() -> None:
    texts: dict[str, str | None] = {str(number): '"' + "x" * 60 + '"' for number in range(MAX_WRITE_KEYS)}
    update, contents = plan("w-1", texts, 4096)
    assert not contents
    assert len(update) == MAX_WRITE_KEYS


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
