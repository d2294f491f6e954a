"""Values whose log is gone are found, told apart and read, in each protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rxmps3
from rxmps3 import Corrupt
from rxmps3.log.leftovers import Leftovers, find_leftovers, marker_of, read_left
from rxmps3.log.sequenced.repair import SET_ASIDE, carry_out, examine
from rxmps3.log.sequenced.verify import verify
from rxmps3.model import valuetext
from rxmps3.storage import MemoryStorage
from rxmps3.storage.base import list_all, versions_of
from rxmps3.testing import ManualClock

LARGE = {"a/b": "L" * 9000, "ä\n": {"n": ["N" * 9000, None]}, "log/1": "l" * 9000, "raw": b"\0\xff" * 5000}
JSON = {key: value for key, value in LARGE.items() if key != "raw"}


async def filled(protocol: str, *, manifest: str = "gone", values: dict[str, Any] | None = None) -> MemoryStorage:
    """A database in which each key was put twice, each by a write of its own."""
    storage = MemoryStorage(clock=ManualClock(), versioning=protocol == "versioned")
    await fill(storage, protocol, manifest, values)
    return storage


async def fill(storage: MemoryStorage, protocol: str, manifest: str, values: dict[str, Any] | None = None) -> None:
    clock: Any = storage._clock  # pyright: ignore[reportPrivateUsage]
    async with rxmps3.connect(storage, manifest=manifest, protocol=protocol, clock=clock, shared=False) as db:
        for key, value in (values or (JSON if protocol == "mps3" else LARGE)).items():
            await db.put(key, "older" * 2000)
            await clock.advance(2)
            await db.put(key, value)


async def wipe(storage: MemoryStorage, is_log: Callable[[str], bool]) -> None:
    """Remove the log, with all its versions."""
    for listed in await list_all(storage, ""):
        if is_log(listed.name):
            await storage.delete(listed.name)
            if storage._objects.versioning:  # pyright: ignore[reportPrivateUsage]
                for version in (await versions_of(storage).list_versions(listed.name)).versions:
                    await storage.delete(version.name, version=version.version)


def is_log(protocol: str, manifest: str = "gone") -> Callable[[str], bool]:
    if protocol == "sequenced":
        return lambda name: name.startswith(f"{manifest}/") and "/values/" not in name
    return lambda name: name.startswith((f"{manifest}@", ".rxmps3")) or name == manifest


async def read_all(storage: MemoryStorage, left: Leftovers) -> dict[str, Any]:
    return {key: valuetext.decode(await read_left(storage, left.protocol, value)) for key, value in left.newest.items()}


@pytest.mark.parametrize("protocol", ["sequenced", "versioned", "mps3"])
async def test_the_newest_value_of_each_key_is_found(protocol: str) -> None:
    storage = await filled(protocol)
    await wipe(storage, is_log(protocol))
    [left] = await find_leftovers(storage, "gone")
    assert left.protocol == protocol
    assert await read_all(storage, left) == (JSON if protocol == "mps3" else LARGE)
    assert left.objects == len(left.newest) * (1 if protocol == "versioned" else 2)
    assert left.size > 9000 * len(left.newest)
    assert (left.packs, left.others) == ((), ())


async def test_packs_are_counted_and_belong_to_no_key() -> None:
    storage = await filled("sequenced")
    async with rxmps3.connect(storage, manifest="gone", shared=False) as db:
        await db.put_all({f"packed/{n}": "P" * 9000 for n in range(100)})
    await wipe(storage, is_log("sequenced"))
    [left] = await find_leftovers(storage, "gone")
    assert len(left.packs) == 1
    assert set(left.newest) == set(LARGE)
    assert left.objects == 2 * len(LARGE) + 1


@pytest.mark.parametrize("other", ["sequenced", "mps3"])
async def test_what_is_of_another_manifest_is_not_this_ones(other: str) -> None:
    storage = await filled(other, manifest="other")
    found = await find_leftovers(storage, "gone")
    assert [(left.protocol, left.others) for left in found] == ([("mps3", ("other",))] if other == "mps3" else [])


async def test_parts_of_a_log_are_no_values() -> None:
    storage = MemoryStorage()
    async with rxmps3.connect(storage, manifest="gone", shared=False) as db:
        await db.put("small", 1)
        await db.compact()
    await storage.delete("gone/head")
    assert len(await list_all(storage, "gone/")) == 2
    assert await find_leftovers(storage, "gone") == []


async def test_a_versioned_manifest_is_named_that_shares_the_values() -> None:
    storage = await filled("versioned", manifest="other")
    async with rxmps3.connect(storage, manifest="other", shared=False) as db:
        await db.compact()
    await storage.put(".rxmps3/other/clock/1", b"")
    [left] = await find_leftovers(storage, "gone")
    assert left.others == ("other",)
    assert set(left.newest) == set(LARGE)


async def test_a_delete_marker_over_a_versioned_log_is_found() -> None:
    storage = await filled("versioned")
    assert await marker_of(storage, "gone") is None
    await storage.delete("gone")
    marker = await marker_of(storage, "gone")
    assert marker is not None
    await storage.delete("gone", version=marker)
    async with rxmps3.connect(storage, manifest="gone", shared=False) as db:
        assert set(await db.get_prefix("")) == set(LARGE)
    assert await marker_of(MemoryStorage(), "gone") is None


async def test_of_a_sequenced_manifest_all_is_moved_aside_so_that_it_can_be_made_anew() -> None:
    storage = await filled("sequenced")
    await wipe(storage, is_log("sequenced"))
    before = [one.name for one in await list_all(storage, "gone/")]
    with pytest.raises(Corrupt, match="rxmps3 repair"):
        async with rxmps3.connect(storage, manifest="gone", shared=False):
            pass
    repair = await examine(storage, "gone", nonce="n")
    assert (repair.is_needed, sorted(repair.rest), repair.strays) == (True, before, ())
    await carry_out(storage, repair, "then")
    assert [one.name for one in await list_all(storage, "")] == [f"{SET_ASIDE}then/{name}" for name in before]
    await fill(storage, "sequenced", "gone", {"new": 1})


async def test_a_key_that_looks_like_a_part_of_a_log_is_none() -> None:
    keys: dict[str, Any] = {"log/x": "L" * 9000, "checkpoint/x": "C" * 9000, "log/" + "0" * 19 + "1": "D" * 9000}
    storage = await filled("sequenced", values=keys)
    assert (await verify(storage, "gone")).problems == []
    repair = await examine(storage, "gone", nonce="n")
    assert (repair.is_needed, repair.keys) == (False, 3)
    await storage.delete("gone/head")
    await carry_out(storage, await examine(storage, "gone", nonce="n"), "then")
    async with rxmps3.connect(storage, manifest="gone", shared=False) as db:
        assert await db.get_prefix("") == keys


async def test_a_value_in_an_empty_log_does_not_keep_it_from_opening() -> None:
    storage = await filled("sequenced", values={"a": 1})
    for listed in await list_all(storage, "gone/"):
        if "/log/" in listed.name:
            await storage.delete(listed.name)
    await storage.put("gone/values/log/x@abc-1", b'"uploaded, but never committed"')
    async with rxmps3.connect(storage, manifest="gone", shared=False) as db:
        assert db.keys() == []
