"""A replica that keeps the keys under some prefixes: what is outside is never shown as missing, and stays as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import rxmps3
from rxmps3 import MISSING, Database, InvalidOption, NotLoaded
from rxmps3.storage import MemoryStorage
from tests.behaviour.helpers import eventually

PROTOCOLS = ("sequenced", "versioned", "mps3")
VALUES = {"a/1": 1, "a/2": [2], "b/1": "x" * 5000, "b/2": None, "c": {"d": 1.0}}


def storage_for(protocol: str) -> MemoryStorage:
    return MemoryStorage(versioning=protocol == "versioned")


def opened(storage: MemoryStorage, protocol: str = "sequenced", **options: Any) -> Any:
    return rxmps3.connect(storage, protocol=protocol, shared=False, poll=3600, **options)


READS: dict[str, Callable[[Database], Any]] = {
    "get": lambda db: db.get("b/1"),
    "get_many": lambda db: db.get_many(["a/1", "b/1"]),
    "get_prefix": lambda db: db.get_prefix("b/"),
    "get_prefix of all": lambda db: db.get_prefix(),
    "get_prefix of a shorter prefix": lambda db: db.get_prefix("a"),
    "get_file": lambda db: db.get_file("b/1", "unwritten"),
    "keys": lambda db: db.keys(),
    "in": lambda db: "b/1" in db,
    "observe": lambda db: db.observe("b/1"),
    "observe_many": lambda db: db.observe_many("a/1", "c"),
    "observe_prefix": lambda db: db.observe_prefix(""),
    "subscribe": lambda db: db.subscribe("c", print),
    "changes": lambda db: db.changes(),
    "collection": lambda db: db.collection("a/", "b/"),
    "collection of all": lambda db: db.collection(),
    "key.value": lambda db: db.key("c").value,
    "key.subscribe": lambda db: db.key("c").subscribe(print),
    "key.entries": lambda db: db.key("c").entries().subscribe(print),
    "patch": lambda db: db.patch("c", {"e": 1}),
    "merge": lambda db: db.merge("c", {"e": 1}),
    "create": lambda db: db.create("new", 1),
    "if_version": lambda db: db.put("c", 1, if_version=MISSING),
    "update": lambda db: db.update("c", lambda value: value),
    "transact": lambda db: db.transact(lambda tx: tx.get_prefix("b/")),
    "compact": lambda db: db.compact(),
}


async def answered(read: Callable[[Database], Any], db: Database) -> None:
    answer = read(db)
    if isinstance(answer, Awaitable):
        await answer


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_it_holds_what_is_under_its_prefixes_and_follows_it(protocol: str) -> None:
    storage = storage_for(protocol)
    async with opened(storage, protocol) as whole:
        await whole.put_all(VALUES)
        async with opened(storage, protocol, prefixes=["a/", "b/2", "a/1"]) as part:
            assert await part.get_prefix("a/") == {"a/1": 1, "a/2": [2]}
            assert await part.get("b/2", "none") is None
            assert sorted(part.states.value) == ["a/1", "a/2", "b/2"]
            assert len(part) == 3
            seen: list[Any] = []
            part.observe_prefix("a/").subscribe(lambda snapshot: seen.append(dict(snapshot)))
            await whole.put_all({"a/1": MISSING, "a/3": 3, "b/1": 9, "c": 8})
            await part.refresh()
            await eventually(lambda: len(seen) == 2)
            assert seen == [{"a/1": 1, "a/2": [2]}, {"a/2": [2], "a/3": 3}]
            assert sorted(part.states.value) == ["a/2", "a/3", "b/2"]


@pytest.mark.parametrize("name", READS)
async def test_outside_of_them_nothing_is_shown_as_missing(name: str) -> None:
    storage = storage_for("sequenced")
    async with opened(storage) as whole:
        await whole.put_all(VALUES)
    async with opened(storage, prefixes=["a/"]) as part:
        with pytest.raises(NotLoaded, match="not under the prefixes that are loaded: 'a/'"):
            await answered(READS[name], part)
        assert not part.pending.value


@pytest.mark.parametrize("prefixes", ["a/", [], 5, True, ["a/", 5], [b"a/"]], ids=repr)
async def test_what_is_no_list_of_prefixes_is_an_invalid_option(prefixes: Any) -> None:
    with pytest.raises(InvalidOption, match="prefix"):
        await opened(storage_for("sequenced"), prefixes=prefixes)


async def test_what_is_outside_is_named_as_what_was_asked_for() -> None:
    async with opened(storage_for("sequenced"), prefixes=["a/"]) as part:
        for read, named in {
            "get": "get key 'b/1':",
            "get_prefix": "get_prefix prefix 'b/':",
            "get_prefix of a shorter prefix": "get_prefix prefix 'a':",
            "get_prefix of all": "get_prefix all keys:",
            "collection": "collection prefix 'b/':",
            "transact": "get_prefix prefix 'b/':",
        }.items():
            with pytest.raises(NotLoaded, match=named):
                await answered(READS[read], part)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_writes_work_everywhere(protocol: str) -> None:
    storage = storage_for(protocol)
    async with opened(storage, protocol) as whole:
        await whole.put_all(VALUES)
        async with opened(storage, protocol, prefixes=["a/"]) as part:
            await part.put_all({"a/9": 9, "b/9": "y" * 6000, "c": MISSING})
            part.key("b/8").on_next(8)
            await part.put("b/7", 7)
            with pytest.raises(NotLoaded):
                await part.get("b/9")
            assert sorted(part.states.value) == ["a/1", "a/2", "a/9"]
            assert part.pending.value == ()
        await whole.refresh()
        written = {"a/9": 9, "b/7": 7, "b/8": 8, "b/9": "y" * 6000}
        assert await whole.get_prefix("") == {
            key: one for key, one in sorted({**VALUES, **written}.items()) if key != "c"
        }


async def test_a_write_outside_cannot_be_undone_since_what_was_there_is_not_known() -> None:
    storage = storage_for("sequenced")
    async with opened(storage) as whole:
        await whole.put_all(VALUES)
        async with opened(storage, prefixes=["a/"]) as part:
            await part.put("a/1", "first")
            await part.put_all({"a/1": "second", "c": "overwritten"})
            with pytest.raises(NotLoaded):
                await part.undo()
            await whole.refresh()
            assert await whole.get("c") == "overwritten"


async def test_a_checkpoint_is_read_for_its_prefixes_and_written_by_others() -> None:
    storage = storage_for("sequenced")
    async with opened(storage) as whole:
        await whole.put_all({f"{letter}/{n:04}": n for letter in "abc" for n in range(700)})
        await whole.compact()
        await whole.put_all({"b/new": 1, "c/new": 2})
    async with opened(storage, prefixes=["b/"]) as part:
        state = part.states.value.confirmed
        assert len(part) == 701
        assert set(state.entries) == {*(f"b/{n:04}" for n in range(700)), "b/new"}
        assert state.writers  # of all writes: what is exactly once does not depend on what is kept
        for number in range(250):  # past the line at which a client writes a checkpoint
            await part.put(f"b/{number:04}", "x")
    async with opened(storage) as whole:
        assert len(whole) == 2102


async def test_what_it_saves_on_disk_is_never_taken_for_the_whole(tmp_path: Path) -> None:
    storage = storage_for("sequenced")
    async with opened(storage) as whole:
        await whole.put_all(VALUES)
    for _ in range(2):
        async with opened(storage, local=tmp_path, prefixes=["a/"]) as part:
            assert sorted(part.states.value) == ["a/1", "a/2"]
    async with opened(storage, local=tmp_path) as whole:
        assert len(whole) == len(VALUES)
    async with opened(storage, local=tmp_path, prefixes=["a/"], online=False) as part:
        assert await part.get_prefix("a/") == {"a/1": 1, "a/2": [2]}
    async with opened(storage, local=tmp_path, online=False) as whole:
        assert len(whole) == len(VALUES)
    async with opened(storage, local=tmp_path, prefixes=["b/"], online=False) as other:
        assert len(other) == 0


async def test_a_write_left_on_disk_that_rests_on_keys_outside_waits_for_a_whole_replica(tmp_path: Path) -> None:
    storage = storage_for("sequenced")
    async with opened(storage) as whole:
        await whole.put_all(VALUES)
    async with opened(storage, local=tmp_path):
        pass
    async with opened(storage, local=tmp_path, online=False) as offline:
        offline.create("d", 1)
    with pytest.raises(NotLoaded, match="key 'd'"):
        async with opened(storage, local=tmp_path, prefixes=["a/"]):
            pass
    async with opened(storage, local=tmp_path) as whole:
        assert await whole.get("d") == 1


@pytest.mark.parametrize("prefixes", [[], "a/", [1], ["a/", None]])
async def test_prefixes_are_a_list_of_texts(prefixes: Any) -> None:
    with pytest.raises(rxmps3.InvalidOption):
        async with opened(storage_for("sequenced"), prefixes=prefixes):
            pass


async def test_handles_on_one_replica_keep_the_same_keys() -> None:
    storage = storage_for("sequenced")
    async with rxmps3.connect(storage, prefixes=["b", "a"]):
        async with rxmps3.connect(storage, prefixes=("a", "b", "ab")):
            pass
        with pytest.raises(rxmps3.InvalidOption, match="prefixes"):
            async with rxmps3.connect(storage):
                pass
