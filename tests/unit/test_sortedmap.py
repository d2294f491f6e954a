"""The laws of the persistent sorted map, and of the snapshots made of it."""

from __future__ import annotations

import copy
import json
import pickle
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxmps3 import MISSING
from rxmps3.model.snapshot import Keyed, Snapshot
from rxmps3.model.sortedmap import FEWEST, MOST, SortedMap, slide

KEYS = st.integers(0, 400)
EDITS = st.lists(
    st.tuples(KEYS, st.integers(1, 150), st.sampled_from(["set", "delete", "update", "wipe"])), max_size=40
)


def edited(edits: list[tuple[int, int, str]]) -> list[tuple[SortedMap[int], dict[int, int]]]:
    """Each version of a map beside the dict that it must equal; runs of keys, so that nodes split and join."""
    versions: list[tuple[SortedMap[int], dict[int, int]]] = [(SortedMap(), {})]
    for start, count, kind in edits:
        tree, model = versions[-1]
        keys = range(start, start + count)
        model = dict(model)
        if kind == "set":
            for key in keys:
                tree = tree.set(key, key * count)
            model.update({key: key * count for key in keys})
        elif kind == "update":
            tree = tree.update({key: MISSING if key % 3 == 0 else count for key in keys})
            for key in keys:
                model[key] = count
                if key % 3 == 0:
                    del model[key]
        else:
            for key in keys if kind == "delete" else reversed(keys):
                tree = tree.delete(key)
                model.pop(key, None)
        versions.append((tree, model))
    return versions


@settings(max_examples=60)
@given(EDITS)
def test_it_is_a_sorted_dict_and_older_versions_stay(edits: list[tuple[int, int, str]]) -> None:
    for tree, model in edited(edits):
        keys = sorted(model)
        assert list(tree) == keys
        assert list(reversed(tree)) == keys[::-1]
        assert list(tree.items()) == [(key, model[key]) for key in keys]
        assert len(tree) == len(model)
        for some in (range(0, 600, 7), range(-5, 5), [350, 3, 3], []):
            assert tree.get_all(some) == {key: model[key] for key in some if key in model}
        check_nodes(tree)
        for probe in (-1, 0, 57, 200, 399, 1000):
            assert tree.get(probe, "none") == model.get(probe, "none")
            assert (probe in tree) == (probe in model)
            assert [key for key, _ in tree.items_from(probe)] == keys[bisect_left(keys, probe) :]
            assert [key for key, _ in tree.items_down_from(probe)] == keys[: bisect_right(keys, probe)][::-1]
        for index in islice(range(len(keys)), 0, None, 37):
            assert tree.at(index) == (keys[index], model[keys[index]])
        assert list(tree.slice(3, 90)) == keys[3:90]


def check_nodes(tree: Any) -> None:
    """Every leaf is equally deep and no node but the root is too small or too large: that keeps it O(log n)."""
    depths: set[int] = set()

    def walk(node: Any, depth: int) -> int:
        assert len(node.keys) <= MOST
        assert depth == 0 or len(node.keys) >= FEWEST
        if not hasattr(node, "children"):
            depths.add(depth)
            assert len(node.keys) == len(node.values) == node.size
            return node.size
        assert [child.keys[0] for child in node.children] == list(node.keys)
        assert sum(walk(child, depth + 1) for child in node.children) == node.size
        return node.size

    walk(tree._root, 0)
    assert len(depths) == 1


@pytest.mark.parametrize("count", [0, 1, MOST, MOST + 1, 5_000])
def test_made_at_once_it_is_well_formed(count: int) -> None:
    tree = SortedMap.of(range(count), range(count))
    assert list(tree.items()) == [(n, n) for n in range(count)]
    check_nodes(tree)


@settings(max_examples=60)
@given(EDITS, st.lists(st.integers(0, 600), max_size=12))
def test_cut_into_pieces_it_is_joined_again(edits: list[tuple[int, int, str]], cuts: list[int]) -> None:
    tree, model = edited(edits)[-1]
    ends = [0, *sorted(cuts), 1_000]
    again = SortedMap[int].joined(tree.between(start, stop) for start, stop in pairwise(ends))
    assert list(again.items()) == sorted(model.items())
    check_nodes(again)


@settings(max_examples=60)
@given(EDITS, EDITS)
def test_what_differs_between_two_maps_is_found(
    edits: list[tuple[int, int, str]], others: list[tuple[int, int, str]]
) -> None:
    versions = edited(edits)
    for tree, model in (*versions[:-1:4], edited(others)[-1], (SortedMap(), {})):
        last, theirs = versions[-1]
        expected = sorted(key for key in {*model, *theirs} if model.get(key) != theirs.get(key))
        assert tree.differing(last) == last.differing(tree) == expected


def test_what_maps_share_is_not_looked_at() -> None:
    class Counted:
        looks = 0

        def __eq__(self, other: object) -> bool:
            Counted.looks += 1
            return self is other

        __hash__ = None  # type: ignore[assignment]

    before = SortedMap.of(range(100_000), [Counted() for _ in range(100_000)])
    for after in (before.set(50_000, Counted()), before.delete(50_000), before.set(50_000.5, Counted())):
        Counted.looks = 0
        assert len(before.differing(after)) == 1
        assert Counted.looks <= 4 * MOST


@settings(max_examples=60)
@given(EDITS, EDITS)
def test_a_mapped_map_is_as_if_it_had_been_made_at_once(
    edits: list[tuple[int, int, str]], more: list[tuple[int, int, str]]
) -> None:
    """Its values are made when they are read, dozens at a time and once, and changes upon it hold."""
    tree, model = edited(edits)[-1]
    made: list[int] = []

    def negative(values: tuple[int, ...]) -> list[int]:
        made.extend(values)
        return [-value for value in values]

    mapped = tree.mapped(negative)
    assert list(mapped) == sorted(model)
    assert made == []
    if model:
        key = min(model)
        assert mapped.get(key) == -model[key]
        assert len(made) <= MOST
    expected = {key: -value for key, value in model.items()}
    for start, count, kind in more:
        keys = range(start, start + count)
        changed = {key: MISSING if kind in ("delete", "wipe") else key for key in keys}
        mapped = mapped.update(changed)
        expected |= dict.fromkeys(keys, 0)
        expected = {key: changed.get(key, value) for key, value in expected.items()}
        expected = {key: value for key, value in expected.items() if value is not MISSING}
    assert list(mapped.items()) == sorted(expected.items())
    assert list(mapped.items()) == sorted(expected.items())
    assert len(made) <= len(model), "none is made twice"
    parts = list(mapped.parts())
    assert [key for keys, _ in parts for key in keys] == sorted(expected)
    assert [value for _, values in parts for value in values] == [expected[key] for key in sorted(expected)]


def test_a_change_copies_the_nodes_on_one_path_alone() -> None:
    def nodes(tree: Any) -> dict[int, Any]:
        found: dict[int, Any] = {}

        def walk(node: Any) -> None:
            found[id(node)] = node
            for child in getattr(node, "children", ()):
                walk(child)

        walk(tree._root)
        return found

    before = SortedMap.of(range(100_000), range(100_000))
    for after in (before.set(50_000, -1), before.delete(50_000), before.set(50_000.5, 0)):
        known = nodes(before)
        assert 0 < len([one for one in nodes(after) if one not in known]) <= 4


@settings(max_examples=150)
@given(EDITS, st.integers(0, 60), st.integers(0, 60), st.booleans())
def test_a_window_that_slides_holds_what_a_new_one_would(
    edits: list[tuple[int, int, str]], start: int, count: int, at_the_end: bool
) -> None:
    def bounds(tree: SortedMap[int]) -> tuple[int, int]:
        return (max(0, len(tree) - count), len(tree)) if at_the_end else (start, start + count)

    versions = edited(edits)
    window: SortedMap[int] = SortedMap()
    for (_, before), (tree, after) in pairwise(versions):
        touched = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        shown = dict(window.items())
        come = [key for key in touched if key in after]
        window, left, entered = slide(window, tree, touched, come, *bounds(tree))
        assert dict(window.items()) == dict(tree.slice(*bounds(tree)).items())
        for key in left:
            del shown[key]
        assert not shown.keys() & set(entered)
        assert {**shown, **{key: after[key] for key in entered}} == dict(window.items())
        assert len(left) == len(set(left))


def test_what_is_not_there_is_said() -> None:
    tree = SortedMap.of(["a"], [1])
    with pytest.raises(KeyError):
        tree["b"]
    with pytest.raises(IndexError):
        tree.at(1)
    assert tree.delete("b") is tree


# -- snapshots ---------------------------------------------------------------------------------------------------


def snapshot(texts: Mapping[str, str], asked: list[str] | None = None) -> Snapshot[str, Any]:
    def read(key: str, text: str) -> Any:
        if asked is not None:
            asked.append(key)
        return json.loads(text)

    keys = sorted(texts)
    return Snapshot(Keyed(SortedMap.of(keys, [texts[key] for key in keys])), read)


def test_a_snapshot_is_a_dict_in_all_but_its_changes() -> None:
    one = snapshot({"b": "[1]", "a": "2"})
    same = {"a": 2, "b": [1]}
    assert one == same
    assert same == one
    assert one == snapshot({"a": "2", "b": "[1]"})
    assert one != {"a": 2}
    assert one != {"a": 2, "b": [2]}
    assert one != [("a", 2)]
    assert repr(one) == "{'a': 2, 'b': [1]}"
    assert list(one) == ["a", "b"]
    assert list(reversed(one)) == ["b", "a"]
    assert list(one.items()) == list(same.items())
    assert list(one.values()) == [2, [1]]
    assert list(reversed(one.items())) == list(reversed(same.items()))
    assert list(reversed(one.values())) == [[1], 2]
    assert {**one} == one.to_dict() == dict(one) == one | {} == same
    assert {"c": 3} | one == {"c": 3, **same}
    assert ("a", 2) in one.items()
    assert 2 in one.values()
    assert json.loads(json.dumps(one.to_dict())) == same
    for copied in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert type(copied) is dict
        assert copied == same
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(TypeError):
        one["a"] = 3  # type: ignore[index]
    with pytest.raises(KeyError):
        one["none"]
    assert one.get("none", 7) == 7
    assert 5 not in one
    assert None not in one


def test_a_snapshot_decodes_what_is_asked_for_and_each_reader_gets_a_value_of_its_own() -> None:
    asked: list[str] = []
    one = snapshot({"a": "[1]", "b": "[2]"}, asked)
    assert list(one) == ["a", "b"]
    assert "a" in one
    assert len(one) == 2
    assert asked == []
    one["a"].append(9)
    assert asked == ["a"]
    assert one["a"] == [1]
