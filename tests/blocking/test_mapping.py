"""The blocking database and its past are mappings, as the standard library tests them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, Mapping, Set
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxmps3.blocking import BlockingPast, Database, KeyList, connect

mapping_tests = pytest.importorskip("test.mapping_tests", reason="this Python has no tests of its own")

NO_KEYS: list[Any] = ["", "\ud800", "k" * 2000, None, 1, 1.5, b"k", ("k",), [], {}, {"k"}]


class _Filled(mapping_tests.TestMappingProtocol):
    """What CPython asks of a mapping, less what needs one that is changed in place or compared by its content."""

    test_constructor = test_fromkeys = test_copy = test_eq = test_repr = None  # two are equal only if they are one
    test_write = test_clear = test_update = test_setdefault = test_popitem = test_pop = None  # it has put and delete

    def setUp(self) -> None:
        self._open = ExitStack()
        self.addCleanup(self._open.close)

    def _reference(self) -> dict[str, Any]:
        return {"1": "2", "key1": "value1", "key2": 3}

    def _database(self, data: Mapping[str, Any]) -> Database:
        db = self._open.enter_context(connect("memory:"))
        db.put_all(data).wait(10)
        return db

    def test_getitem(self) -> None:
        found = self._full_mapping({"a": 1, "b": 2})
        assert (found["a"], found["b"]) == (1, 2)
        with pytest.raises(TypeError):
            found.__getitem__()

    def _one_number(self) -> Any:
        return self._full_mapping({"1": 2})

    def test_values(self) -> None:
        mapping_tests.BasicTestMappingProtocol.test_values(self)
        assert list(self._one_number().values()) == [2]

    def test_items(self) -> None:
        mapping_tests.BasicTestMappingProtocol.test_items(self)
        assert list(self._one_number().items()) == [("1", 2)]


class TestDatabase(_Filled):
    def _empty_mapping(self) -> Database:
        return self._open.enter_context(connect("memory:"))

    def _full_mapping(self, data: Mapping[str, Any]) -> Database:
        return self._database(data)


class TestPast(_Filled):
    def _empty_mapping(self) -> BlockingPast:
        return self._database({"x": 1}).at("0")

    def _full_mapping(self, data: Mapping[str, Any]) -> BlockingPast:
        db = self._database(data)
        then = db.at(1)
        db.put("later", 1).wait(10)
        return then


del _Filled


@pytest.fixture(params=["database", "past"])
def found(request: pytest.FixtureRequest) -> Iterator[Any]:
    with connect("memory:") as db:
        db.put_all({"a": 1, "b": None, "c/d": [2]}).wait(10)
        yield db if request.param == "database" else db.at(1)


@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: repr(key)[:12])
def test_what_can_be_no_key_is_not_there(found: Any, key: Any) -> None:
    assert key not in found
    assert (found.get(key), found.get(key, 5)) == (None, 5)
    with pytest.raises(KeyError) as raised:
        found[key]
    assert raised.value.args == (key,)


def test_the_async_faces_hold_no_such_key_either(found: Any) -> None:
    states = [found.entries] if isinstance(found, BlockingPast) else [found.states.value, found.states.value.confirmed]
    assert [key in state for state in states for key in NO_KEYS] == [False] * len(NO_KEYS) * len(states)


def test_keys_are_a_list_and_a_set(found: Any) -> None:
    keys = found.keys()
    assert isinstance(keys, KeysView)
    assert isinstance(keys, Set)
    assert isinstance(keys, list)
    assert keys == ["a", "b", "c/d"] == list(keys)
    assert keys == {"c/d", "b", "a"} == keys == dict(found).keys() == keys
    assert keys != ["b", "a", "c/d"]
    assert keys != {"a"} != keys
    assert (keys[0], keys[1:], repr(keys)) == ("a", ["b", "c/d"], "['a', 'b', 'c/d']")
    assert keys - {"a"} == {"b", "c/d"}
    assert keys & found.keys("c") == {"c/d"}
    assert found.keys("c") < keys


SETS = st.sets(st.sampled_from("abcde"), max_size=5)
OPERATORS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a & b,
    lambda a, b: a | b,
    lambda a, b: a - b,
    lambda a, b: a ^ b,
    lambda a, b: a == b,
    lambda a, b: a != b,
    lambda a, b: a <= b,
    lambda a, b: a < b,
    lambda a, b: a >= b,
    lambda a, b: a > b,
    lambda a, b: a.isdisjoint(b),
]


@given(SETS, SETS)
def test_keys_are_as_those_of_a_dict(mine: set[str], others: set[str]) -> None:
    keys, view = KeyList(sorted(mine)), dict.fromkeys(sorted(mine)).keys()
    for other in (others, frozenset(others), dict.fromkeys(others).keys()):
        for operator in OPERATORS:
            assert operator(keys, other) == operator(view, other)
            assert operator(type(keys)(sorted(others)), keys) == operator(set(others), mine)
            if not isinstance(other, set):
                assert operator(set(mine), keys) == operator(set(mine), view)
    assert (keys == sorted(others)) == (mine == others)
    assert (keys < sorted(others)) == (sorted(mine) < sorted(others))
