"""Bad input is refused at the call: nothing is sent, nothing is changed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rxmps3
import rxmps3.blocking
from rxmps3 import (
    Database,
    Error,
    InvalidInput,
    InvalidKey,
    InvalidOption,
    InvalidValue,
    Prices,
    Rejected,
    connect,
)
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage
from tests.behaviour.facades import is_blocking
from tests.behaviour.helpers import LARGE, eventually, looks, player, players
from tests.conftest import Place


class Rig(NamedTuple):
    db: Database
    counting: CountingStorage


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    counting = CountingStorage(MemoryStorage())
    async with players(counting, "a") as (db,):
        await db.put("there", 1)
        counting.reset()
        yield Rig(db, counting)
        assert counting.requests == []
        assert db.pending.value == ()
        assert db.keys() == ["there"]


BAD_KEYS = [
    "",
    "x" * 1025,
    "é" * 400,
    "/" * 400,
    "\ud800",
    "ok\udfff",
    None,
    1,
    b"bytes",
    ("a",),
]


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: ascii(key)[:12])
async def test_bad_keys_are_refused_by_every_verb(rig: Rig, key: Any) -> None:
    db = rig.db
    for verb in (
        lambda: db.put(key, 1),
        lambda: db.put_all({"good": 1, key: 2}),
        lambda: db.delete(key),
        lambda: db.observe(key),
        lambda: db.observe_many("good", key),
        lambda: db.subscribe(key, print),
    ):
        with pytest.raises(InvalidKey):
            verb()
    if is_blocking():  # a mapping has none of these
        assert await db.get(key, 5) == 5
    else:
        with pytest.raises(InvalidKey):
            await db.get(key)
    with pytest.raises(InvalidKey):
        await db.get_many(["good", key])
    assert key not in db


async def test_one_key_is_not_several(rig: Rig) -> None:
    """A text is iterable, and each of its characters could be a key."""
    keys: Any
    for keys in ("there", b"there", 5, None):
        with pytest.raises(InvalidOption, match=r"a list of them"):
            await rig.db.get_many(keys)


async def test_one_key_is_not_several_in_the_past_or_a_transaction() -> None:
    async with player(MemoryStorage()) as db:
        await db.put("there", 1)
        async with db.transaction() as tx:
            for reads in (tx, await db.at(1)):
                with pytest.raises(InvalidOption, match="a list of them"):
                    await reads.get_many("there")


def cycle() -> Any:
    loop: dict[str, Any] = {}
    loop["again"] = [loop]
    return loop


BAD_VALUES = [
    float("nan"),
    [float("inf")],
    {"deep": {"er": -float("inf")}},
    {"nested": b"bytes"},
    {"a": bytearray()},
    {1: "x"},
    [{None: 1}],
    {("a",): 1},
    {"x"},
    object(),
    1j,
    "\ud800",
    {"\ud800": 1},
    cycle(),
    lambda: 1,
]


@pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: type(value).__name__)
async def test_bad_values_are_refused_by_every_verb(rig: Rig, value: Any) -> None:
    with pytest.raises(InvalidValue, match="there"):
        rig.db.put("there", value)
    with pytest.raises(InvalidValue, match="bad"):
        rig.db.put_all({"good": 1, "bad": value})
    assert await rig.db.get("there") == 1


async def test_a_value_nested_too_deep_is_refused(rig: Rig) -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidValue, match="deep"):
        rig.db.put("k", value)


async def test_a_write_of_no_keys_or_of_too_many_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidValue):
        rig.db.put_all({})
    with pytest.raises(InvalidValue, match="20,000"):
        rig.db.put_all(dict.fromkeys(map(str, range(20_001))))


@pytest.mark.parametrize("values", [[("a", 1)], "abc", 5, None], ids=repr)
async def test_values_that_are_no_mapping_are_refused(rig: Rig, values: Any) -> None:
    with pytest.raises(InvalidValue, match="a mapping of keys to values, not"):
        rig.db.put_all(values)
    with pytest.raises(InvalidValue, match="a mapping"):
        rig.db.put_all(values, manifests=["other"])


@pytest.mark.parametrize("values", [[("a", 1)], None], ids=repr)
async def test_values_that_are_no_mapping_are_refused_in_a_transaction(values: Any) -> None:
    async with player(MemoryStorage()) as db:
        with pytest.raises(InvalidValue, match="a mapping"):
            async with db.transaction() as tx:
                tx.put_all(values)


@pytest.mark.parametrize("fn", [None, 5, "abc"], ids=repr)
async def test_what_is_no_function_changes_nothing(fn: Any) -> None:
    """Without the facade, which wraps functions."""
    async with rxmps3.connect("memory:") as db:
        for call in (lambda: db.transact(fn), lambda: db.update("k", fn)):
            with pytest.raises(InvalidOption, match="give a function, not"):
                await call()
        assert db.keys() == []
    with rxmps3.blocking.connect("memory:") as blocking:
        for blocked in (lambda: blocking.transact(fn), lambda: blocking.update("k", fn)):
            with pytest.raises(InvalidOption, match="give a function, not"):
                blocked()
        assert blocking.keys() == []


async def test_bad_input_is_one_family_and_a_value_error(rig: Rig) -> None:
    for bad in (lambda: rig.db.put("", 1), lambda: rig.db.put("k", object()), lambda: rig.db.observe_prefix(first=-1)):
        with pytest.raises(InvalidInput) as caught:
            bad()
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, Error)


@pytest.mark.parametrize("prefix", [5, None, b"k"])
async def test_a_prefix_that_is_no_text_is_refused(rig: Rig, prefix: Any) -> None:
    for call in (rig.db.keys, rig.db.new_key, rig.db.observe_prefix, rig.db.changes):
        with pytest.raises(InvalidOption, match="a prefix of keys is a str"):
            call(prefix)
    with pytest.raises(InvalidOption):
        await rig.db.get_prefix(prefix)
    with pytest.raises(InvalidOption):
        await rig.db.restore(0, prefix)


async def test_a_prefix_that_is_no_text_is_refused_in_a_transaction() -> None:
    prefix: Any = 5
    async with player(MemoryStorage()) as db, db.transaction() as tx:
        tx.put("k", 1)
        with pytest.raises(InvalidOption):
            await tx.get_prefix(prefix)


async def test_bad_options_are_refused_before_anything_is_sent() -> None:
    counting = CountingStorage(MemoryStorage())
    for options in (
        {"manifest": ""},
        {"manifest": ".rxmps3"},
        {"manifest": ".rxmps3-probe"},
        {"manifest": "m" * 1000},
        {"manifest": "\ud800"},
        {"poll": 0},
        {"poll": -1},
        {"poll": float("nan")},
        {"poll": "1"},
        {"poll": None},
        {"by": None},
        {"by": 5},
        {"by": "\udcff"},
        {"inline_limit": -1},
        {"inline_limit": None},
        {"cache_bytes": 1.5},
        {"max_pending": 0},
        {"max_pending": None},
        {"retention": 86400},
        {"retention": timedelta(-1)},
        {"manifest": 5},
        {"local": ""},
        {"local": 5},
        {"local": "~nobody-of-this-name/copies"},
        {"local": "a\0b"},
        {"online": "no"},
        {"read_only": None},
        {"prices": {"put": 1}},
        {"clock": 5},
        {"no_such_option": 1},
    ):
        with pytest.raises(InvalidOption):
            async with player(counting, **options):
                raise AssertionError(options)
    assert counting.requests == []


@pytest.mark.parametrize("url", [None, 5, b"memory:", Path("notes"), MemoryStorage], ids=repr)
async def test_what_is_neither_a_url_nor_a_storage_is_refused(url: Any) -> None:
    with pytest.raises(InvalidOption, match="file:"):
        connect(url)


@pytest.mark.parametrize("prices", [{"put": -1}, {"get": "1"}, {"down": float("nan")}, {"currency": 5}], ids=repr)
def test_prices_are_numbers(prices: Any) -> None:
    with pytest.raises(InvalidOption, match=next(iter(prices))):
        Prices("our own", **prices)


async def test_the_longest_keys_work_inline_and_as_objects(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        segments = ("s" * 200 + "/") * 4 + "x"
        keys = [segments + letter * longest(a, letter, segments) for letter in ("k", "é", "/")]
        assert len(keys[0]) >= 900
        for value in ("small", LARGE):
            await a.put_all(dict.fromkeys(keys, value))
            await looks(b)
            assert await b.get_prefix() == dict.fromkeys(keys, value)


@pytest.mark.sequenced_only("the other logs have all values in objects")
async def test_a_key_that_only_this_storage_cannot_hold_is_refused_and_rolled_back(place: Place) -> None:
    """SeaweedFS takes at most 255 bytes between two slashes, except soon after its start; all others take them."""
    async with players(place, "a", "b") as (a, b):
        for letter in "k😀":
            key = letter * longest(a, letter)
            assert len(key.encode()) >= 250
            await a.put(key, "small")
            receipt = a.put(key, LARGE)
            await eventually(receipt.done)
            if receipt.stage == "rejected":
                assert place.kind == "seaweedfs"
                with pytest.raises(Rejected) as refused:
                    await receipt
                assert isinstance(refused.value.__cause__, InvalidKey)
            await looks(b)
            assert await b.get(key) == await a.get(key) == (LARGE if receipt.stage == "committed" else "small")
        await a.put("next", 1)
        await looks(b)
        assert await b.get_prefix() == await a.get_prefix()


def longest(db: Database, letter: str, begin: str = "") -> int:
    """How many of this letter make a key that is not refused."""
    return bisect_left(range(1, 1025), True, key=lambda count: not accepted(db, begin + letter * count))


def accepted(db: Database, key: str) -> bool:
    try:
        db.observe(key)
    except InvalidKey:
        return False
    return True
