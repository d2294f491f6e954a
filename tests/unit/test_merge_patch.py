"""Merge patches: RFC 7386 to the letter, the laws of the module, and agreement with jsonmerge."""

from __future__ import annotations

import copy
import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxmps3.model import jsontext
from rxmps3.model.entries import Entries, Entry, Inline
from rxmps3.model.merge_patch import compose, merge
from tests.unit.jsons import colliding, few_keys, scalars

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # jsonmerge 1.9 uses what jsonschema calls old
    import jsonmerge
    from jsonmerge.jsonvalue import JSONValue
    from jsonmerge.strategies import ObjectMerge

jsonmerge_warns = pytest.mark.filterwarnings("ignore:.*deprecated as of v4.18.0:DeprecationWarning")

APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]
"""Source: RFC 7386, appendix A, all of it."""


def same(left: Any, right: Any) -> bool:
    return jsontext.encode(left) == jsontext.encode(right)


@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX_A)
def test_rfc_7386_appendix_a(original: str, patch: str, result: str) -> None:
    assert same(merge(json.loads(original), json.loads(patch)), json.loads(result))


@given(colliding, colliding)
def test_a_repeated_patch_changes_nothing(target: Any, patch: Any) -> None:
    once = merge(target, patch)
    assert same(merge(once, patch), once)


flat = st.dictionaries(few_keys, scalars)


def entry(value: Any) -> Entry:
    return Entry("w-1", Inline(jsontext.encode(value)))


@given(flat, flat, flat)
def test_flat_patches_compose(target: dict[str, Any], first: dict[str, Any], second: dict[str, Any]) -> None:
    before = Entries.of({key: entry(value) for key, value in target.items() if value is not None})
    p, q = ({key: None if value is None else entry(value) for key, value in one.items()} for one in (first, second))
    after = before.patched(p).patched(q)
    assert dict(after) == dict(before.patched(compose(p, q)))
    assert dict(after) == merge(merge(dict(before), p), q)
    assert list(after) == sorted(after)


@given(flat, flat, flat)
def test_composition_is_associative(p: dict[str, Any], q: dict[str, Any], r: dict[str, Any]) -> None:
    assert same(compose(compose(p, q), r), compose(p, compose(q, r)))


@given(colliding, colliding)
def test_arguments_are_never_changed(target: Any, patch: Any) -> None:
    target_before, patch_before = copy.deepcopy(target), copy.deepcopy(patch)
    merge(target, patch)
    assert same([target, patch], [target_before, patch_before])


def test_unchanged_parts_are_shared() -> None:
    target = {"kept": {"deep": [1, 2]}, "old": 1}
    assert merge(target, {"old": None})["kept"] is target["kept"]


class MergePatchObjects(ObjectMerge):
    """jsonmerge's object strategy, overridden so that it reproduces RFC 7386: pop nulls, else descend."""

    def merge(self, walk: Any, base: Any, head: Any, schema: Any, objclass_menu: Any = None, **options: Any) -> Any:
        members = dict(base.val) if not base.is_undef() and walk.is_type(base, "object") else {}
        merged = JSONValue(members, base.ref)
        for name, part in head.items():
            if part.val is None:
                members.pop(name, None)
            else:
                merged[name] = walk.descend(JSONValue(undef=True), merged.get(name), part)
        return merged


merger = jsonmerge.Merger({}, strategies={"objectMerge": MergePatchObjects()})


@jsonmerge_warns
@given(colliding, colliding)
def test_agrees_with_jsonmerge(target: Any, patch: Any) -> None:
    assert same(merge(target, patch), merger.merge(copy.deepcopy(target), copy.deepcopy(patch)))


@jsonmerge_warns
@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX_A)
def test_the_overridden_jsonmerge_passes_the_appendix_too(original: str, patch: str, result: str) -> None:
    assert same(merger.merge(json.loads(original), json.loads(patch)), json.loads(result))
