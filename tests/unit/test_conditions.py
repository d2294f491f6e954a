"""What a write rests on, and values made of what was there: laws, and the way to the disk and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxmps3 import InvalidOption, InvalidValue
from rxmps3.model import jsontext, merge_patch
from rxmps3.model.conditions import Conditions, Range, Seen, broken, decode_conditions, encode_conditions, seen
from rxmps3.model.derivations import Derivation, MergePatch, SchemaMerge
from rxmps3.model.state import Entry, Inline
from tests.unit.jsons import colliding


def entry(version: str, text: str = "1") -> Entry:
    return Entry(version, Inline(text))


keys = st.sampled_from(["a", "a/1", "a/2", "b"])
entries = st.builds(entry, st.sampled_from(["v-1", "v-2"]), st.sampled_from(["1", "2"]))
states = st.dictionaries(keys, entries)
changes = st.dictionaries(keys, st.none() | entries)
windows = st.sampled_from([(None, None), (1, None), (None, 1), (0, None), (2, None)])


def after(state: dict[str, Entry], ahead: dict[str, Entry | None]) -> dict[str, Entry]:
    return {key: one for key, one in {**state, **ahead}.items() if one is not None}


@given(state=states, ahead=changes, later=changes, window=windows, read=st.sets(keys))
def test_a_basis_holds_exactly_while_what_was_read_reads_the_same(
    state: dict[str, Entry],
    ahead: dict[str, Entry | None],
    later: dict[str, Entry | None],
    window: tuple[int | None, int | None],
    read: set[str],
) -> None:
    first, last = window

    def reads(there: dict[str, Entry]) -> Any:
        under = sorted(key for key in there if key.startswith("a"))
        under = under[:first] if last is None else under[max(0, len(under) - last) :]
        return {key: there.get(key) for key in read}, {key: there[key] for key in under}

    before = after(state, ahead)
    single, under = reads(before)
    conditions = Conditions(
        {key: seen(one) for key, one in single.items()},
        (Range("a", first, last, {key: Seen(one.version, one.identity) for key, one in under.items()}),),
    )
    assert broken(conditions, state, ahead) == ""
    assert (broken(conditions, after(state, later), {}) == "") == (reads(after(state, later)) == (single, under))
    assert decode_conditions(json.loads(json.dumps(encode_conditions(conditions)))) == conditions


def test_a_version_alone_takes_any_value() -> None:
    named, full = Conditions({"k": Seen("v-1")}), Conditions({"k": seen(entry("v-1", "1"))})
    assert broken(named, {"k": entry("v-1", "2")}, {}) == ""
    assert "made anew" in broken(full, {"k": entry("v-1", "2")}, {})
    assert "missing, not at version v-1" in broken(named, {}, {})
    assert "at version v-2, not at version v-1" in broken(named, {"k": entry("v-1")}, {"k": entry("v-2")})


@given(before=st.none() | colliding, change=colliding)
def test_a_merge_without_a_schema_is_a_patch(before: Any, change: Any) -> None:
    base = None if before is None else jsontext.encode(before)
    text = jsontext.encode(change)
    expected = jsontext.encode(merge_patch.merge(before, change))
    assert MergePatch(text).apply(base) == expected
    assert SchemaMerge(text, "{}").apply(base) == expected


@given(before=st.none() | st.lists(colliding), item=colliding)
def test_what_is_appended_comes_last(before: list[Any] | None, item: Any) -> None:
    base = None if before is None else jsontext.encode(before)
    merged = SchemaMerge(jsontext.encode([item]), '{"mergeStrategy":"append"}').apply(base)
    assert merged == jsontext.encode([*(before or []), item])


@pytest.mark.parametrize("derivation", [MergePatch('{"a":null}'), SchemaMerge("[1]", '{"mergeStrategy":"append"}')])
def test_a_derivation_goes_to_the_disk_and_back(derivation: Derivation) -> None:
    conditions = Conditions({"k": None}, derived={"k": derivation})
    assert decode_conditions(json.loads(json.dumps(encode_conditions(conditions)))) == conditions


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        ("[]", InvalidOption),
        ('{"$ref":"http://127.0.0.1:1/schema"}', InvalidOption),
        ('{"properties":{"a":{"items":[{"$ref":"file:///etc/passwd"}]}}}', InvalidOption),
        ('{"oneOf":[{"id":"http://127.0.0.1:1/part","properties":{"a":{"$ref":"#/b"}}}]}', InvalidOption),
        ('{"$ref":"#/nowhere"}', InvalidValue),
        ('{"$ref":"#"}', InvalidValue),
        ('{"mergeStrategy":"guess"}', InvalidValue),
        ('{"properties":7}', InvalidValue),
        ('{"allOf":[{}]}', InvalidValue),
    ],
)
def test_a_schema_that_is_none_is_refused_and_never_fetched(schema: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        SchemaMerge('{"a":1}', schema).apply('{"a":2}')
