"""Writing and reading, on every kind of storage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from reactivex import Subject

from rxmps3 import MISSING, Closed, InvalidOption
from rxmps3.model import jsontext
from tests.behaviour.facades import connect
from tests.behaviour.helpers import LARGE, eventually, looks, names, player, players, trace
from tests.conftest import Place

ODD_KEYS = [
    '&$@=;[~|^  :+,"?\\{^}%]>#',
    *(f"control {chr(code)}" for code in (0, 1, 9, 10, 13, 27, 31, 127)),
    "\x80",
    "a",
    "a/b",
    "a/",
    "/a",
    "//",
    "/",
    ".",
    "..",
    "a/../b",
    "./a",
    "😀",
    "e\u0301",
    "\u00e9",
    "%2F",
    "a%2Fb",
    "A",
    "\ufeff",
    "\U0010ffff",
    "/".join("d" * 200),
    "head",
    "values/x",
    ".rxmps3",
]
ODD_VALUES: list[Any] = [
    None,
    {"a": None},
    [],
    [None, [[]], {}],
    {"": {"": [1, {"deep": None}]}},
    2**53 + 1,
    -(10**30),
    -0.0,
    1e-300,
    True,
    "",
    "\x00\u2028 😀",
    {"1": 1, "é": "e\u0301"},
]


async def test_what_one_player_writes_the_other_reads(place: Place) -> None:
    async with players(place, "alice", "bob") as (a, b):
        version = await a.put("k", {"title": "milk"})
        assert await a.get("k") == {"title": "milk"}
        await looks(b)
        assert await b.get("k") == {"title": "milk"}
        if place.protocol != "mps3":  # whose entries tell the versions of values, not of writes
            assert b.states.value["k"].version == version
        await b.put_all({"k": MISSING, "l": [1, 2], "m": LARGE})
        await looks(a)
        assert (await a.get("k", "gone"), await a.get("l"), await a.get("m")) == ("gone", [1, 2], LARGE)
        assert (len(a), a.keys(), "k" in a, "l" in a) == (2, ["l", "m"], False, True)
        await a.delete("l")
        await a.delete("never there")
        await looks(b)
        assert b.keys() == ["m"]
    async with players(place, "carol") as (c,):
        assert await c.get_prefix() == {"m": LARGE}
        assert c.protocol == place.protocol


async def test_null_is_a_value_and_missing_is_none(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        await a.put_all({"null": None, "gone": 1})
        await a.put("gone", MISSING)
        await looks(b)
        for db in (a, b):
            assert await db.get("null", MISSING) is None
            assert await db.get("gone", MISSING) is MISSING
            assert await db.get("gone") is None
            assert await db.get("gone", default=7) == 7
            assert ("null" in db, "gone" in db) == (True, False)
            assert await db.get_many(["gone", "null"], default=MISSING) == {"gone": MISSING, "null": None}
            assert await db.get_prefix() == {"null": None}


async def test_many_and_prefixes(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        await a.put_all({**{f"t/{number}": number for number in range(5)}, "t": "t", "u/1": LARGE})
        await looks(b)
        for db in (a, b):
            assert list((await db.get_many(["u/1", "t/3", "none"])).items()) == [
                ("u/1", LARGE),
                ("t/3", 3),
                ("none", None),
            ]
            assert await db.get_many([]) == {}
            assert list(await db.get_prefix("t/")) == [f"t/{number}" for number in range(5)]
            assert await db.get_prefix("t/", first=2) == {"t/0": 0, "t/1": 1}
            assert list(await db.get_prefix("t/", last=2)) == ["t/3", "t/4"]
            assert await db.get_prefix("t/", last=0) == await db.get_prefix("t/", first=0) == {}
            assert await db.get_prefix("x") == {}
            assert len(await db.get_prefix("t", last=100)) == 6
            assert db.keys("t/") == [f"t/{number}" for number in range(5)]
            assert db.keys() == ["t", "t/0", "t/1", "t/2", "t/3", "t/4", "u/1"]


async def test_a_default_that_can_be_changed_is_the_reader_s_own() -> None:
    """Of a read, in a transaction and in the past; a sentinel is handed out itself."""
    async with connect("memory:") as db:
        await db.put("k", 1)
        default: list[Any] = [{}]
        sentinel = object()

        async def read(tx: Any) -> Any:
            assert await tx.get("none", sentinel) is sentinel
            return await tx.get_many(["x", "y"], default)

        then = await db.at(1)
        for found in (
            await db.get_many(["x", "y"], default),
            await db.transact(read),
            await then.get_many(["x", "y"], default),
        ):
            found["x"][0]["changed"] = True
            assert found["y"] == default == [{}]
        assert await db.get("none", sentinel) is await then.get("none", sentinel) is sentinel
        assert (await db.get("none", bytearray(b"x")), await db.get("k", default)) == (b"x", 1)


async def test_windows_are_one_number_of_keys(place: Place) -> None:
    async with players(place, "a") as (a,):
        for window in ({"first": 1, "last": 1}, {"first": -1}, {"last": 1.5}, {"first": "2"}, {"last": True}):
            with pytest.raises(InvalidOption):
                await a.get_prefix("t/", **window)  # pyright: ignore
            with pytest.raises(InvalidOption):
                a.observe_prefix("t/", **window)  # pyright: ignore


async def test_a_read_after_refresh_sees_every_write_committed_before_it(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        for number in range(7):
            await a.put("n", number)
            await b.refresh()
            assert await b.get("n") == number


async def test_odd_keys_work_inline_and_as_objects(place: Place) -> None:
    odd = ODD_KEYS
    if place.protocol == "mps3":  # its keys are names of objects, unescaped: servers break on some
        odd = [key for key in odd if key.isprintable() and key.strip("/") == key and "." not in key.split("/")]
        odd = [key for key in odd if ".." not in key]
    if place.protocol == "versioned":  # its keys share a prefix with what it keeps for itself
        odd = [key for key in odd if not key.startswith(".rxmps3")]
    small = {key: index for index, key in enumerate(odd)}
    large = {key: f"{index} {LARGE}" for index, key in enumerate(odd)}
    async with players(place, "a", "b") as (a, b):
        for values in (small, large):
            await a.put_all(values)
            await looks(b)
            assert await b.get_prefix() == values
            assert b.keys() == sorted(odd)
        await b.put_all(dict.fromkeys(odd[::2], MISSING))
        await looks(a)
        assert a.keys() == sorted(odd[1::2])
    async with players(place, "c") as (c,):
        assert await c.get_many(odd[1::2]) == {key: large[key] for key in odd[1::2]}


async def test_odd_values_round_trip_inline_and_as_objects(place: Place) -> None:
    values = dict(enumerate(ODD_VALUES))
    if place.protocol == "mps3":  # numbers are JavaScript's
        values = {index: value for index, value in values.items() if not _has_number(value)}
    for limit in (4096, 0):
        async with players(place, "a", inline_limit=limit) as (a,):
            await a.put_all({str(index): value for index, value in values.items()})
        async with players(place, "b") as (b,):
            read = await b.get_prefix()
            assert [jsontext.encode(read[str(index)]) for index in values] == [
                jsontext.encode(value) for value in values.values()
            ]


def _has_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


async def test_ten_mebibytes_round_trip(place: Place) -> None:
    value = "0123456789abcdé" * (10 * 2**20 // 16)
    async with players(place, "a", "b") as (a, b):
        await a.put("big", value)
        await looks(b)
        assert await b.get("big") == value


async def test_a_database_is_there_again_after_all_have_closed(place: Place) -> None:
    expected: dict[str, Any] = {}
    for round_number in range(3):
        async with players(place, f"player {round_number}") as (db,):
            assert await db.get_prefix() == expected
            changes = {f"k{round_number}": round_number, "large": f"{round_number}{LARGE}"}
            for key, value in changes.items():
                db.put(key, value)
            expected |= changes
    async with players(place, "reader", read_only=True) as (reader,):
        assert await reader.get_prefix() == expected
        with pytest.raises(InvalidOption, match="read_only"):
            reader.put("k", 1)
        with pytest.raises(InvalidOption, match="read_only"):
            reader.manifest("other").delete("k")


async def test_opening_writes_nothing_and_a_mistyped_prefix_creates_nothing(place: Place) -> None:
    async with players(place, "a", live=True) as (db,):
        assert (len(db), db.keys(), await db.get("k"), await db.get_prefix()) == (0, [], None, {})
        seen = trace(db.observe("k"))
        await db.refresh()
        assert await db.manifest("other").get("k") is None
        assert seen == [None]
    assert await names(place) == []


@pytest.mark.sequenced_only("its objects")
async def test_the_first_write_creates_the_manifest_and_leaves_no_probe_behind(place: Place) -> None:
    async with players(place, "a") as (db,):
        await db.put_all({"k": 1, "l/m": LARGE})
    created = await names(place)
    assert "main/head" in created
    assert [name for name in created if "/values/" in name] == [name for name in created if "l/m@" in name]
    assert len([name for name in created if "/log/" in name]) == 1
    assert not [name for name in created if "probe" in name]
    assert len(created) == 3


async def test_manifests_are_independent_and_opened_when_used(place: Place) -> None:
    odd = ["other", "a/b", "😀", "%2F", "values"]
    if place.protocol == "sequenced":  # the others' names are names of objects, and these collide with the main one's
        odd += ["..", "main/head"]
    async with players(place, "a", "b") as (a, b):
        for number, name in enumerate(odd):
            assert await a.manifest(name).get("k") is None
            await a.manifest(name).put("k", number)
        await a.put("k", "main")
        for number, name in enumerate(odd):
            other = b.manifest(name)
            assert await other.get("k") == number
            assert other.keys() == ["k"]
        await looks(b)
        assert await b.get("k") == "main"
        assert a.keys() == ["k"]
    async with players(place, "c", manifest="a/b") as (c,):
        assert await c.get("k") == 1
    if place.protocol != "sequenced":
        return
    roots = {name.partition("/")[0] for name in await names(place)}
    assert len(roots) == len(odd) + 1


async def test_manifests_have_streams_of_their_own(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        other = b.manifest("other")
        in_main, in_other = trace(b.observe("k")), trace(other.observe("k"))
        await looks(b, other)
        await a.put("k", 1)
        await a.manifest("other").put("k", 2)
        await looks(b, other)
        await eventually(lambda: (in_main, in_other) == ([None, 1], [None, 2]))


async def test_new_keys_of_several_players_are_unique_and_sorted_by_time(place: Place) -> None:
    async with players(place, "a", "b") as (a, b):
        keys = [db.new_key("msg/") for _ in range(50) for db in (a, b)]
        assert len(set(keys)) == 100
        for own in (keys[::2], keys[1::2]):
            assert own == sorted(own)
        early = a.new_key("msg/")
        first = datetime.now(UTC)
        while datetime.now(UTC) <= first:
            pass
        await a.put_all(dict.fromkeys([*keys, early]))
        await looks(b)
        assert b.keys("msg/") == sorted([*keys, early])


@pytest.mark.sequenced_only("the numbers of its versions")
async def test_every_entry_names_its_author(place: Place) -> None:
    async with players(place, "alice", "bob") as (a, b):
        versions = trace(a.versions)
        await a.put("k", 1)
        await b.put("k", 2)
        await looks(a)
        assert [(version.id, version.by) for version in versions] == [("1", "alice"), ("2", "bob")]


async def test_after_close_every_verb_says_closed(place: Place) -> None:
    db = await player(place, poll=Subject[None]())
    await db.put("k", 1)
    other = db.manifest("other")
    await db.close()
    await db.close()
    for handle in (db, other):
        for write in (lambda db: db.put("k", 2), lambda db: db.put_all({"k": 2}), lambda db: db.delete("k")):
            with pytest.raises(Closed):
                write(handle)
        for read in (handle.get, lambda _, db=handle: db.refresh(), lambda _, db=handle: db.get_prefix()):
            with pytest.raises(Closed):
                await read("k")
    with pytest.raises(Closed):
        db.manifest("third")


async def test_a_url_that_makes_no_sense_is_refused_with_what_is_accepted() -> None:
    for url in ("", "bucket", "http://x", "s3:bucket", "s3://", "file:", "memory:x?y=1"):
        with pytest.raises(InvalidOption):
            await connect(url)


async def test_the_state_is_sorted_while_writes_are_pending(place: Place) -> None:
    async with players(place, "a") as (db,):
        await db.put_all({"b": 1, "d": 2, "f": 3})
        for key in ("e", "a", "b", "g"):
            db.put(key, 0)
        db.delete("f")
        assert list(db.states.value) == ["a", "b", "d", "e", "g"]
        assert len(db.states.value) == 5
