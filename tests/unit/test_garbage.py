"""Python's garbage collector while values of many objects are made."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from weakref import ref

import pytest

import rxmps3
from rxmps3.runtime.garbage import collected_later
from rxmps3.storage import MemoryStorage


@pytest.fixture
def full_collections() -> Iterator[list[int]]:
    """One item for each collection of the oldest generation."""
    seen: list[int] = []

    def look(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            seen.append(threading.get_ident())

    gc.collect()
    gc.callbacks.append(look)
    yield seen
    gc.callbacks.remove(look)


async def test_a_value_of_many_objects_is_read_without_a_full_collection(full_collections: list[int]) -> None:
    value = [{"n": [n]} for n in range(400_000)]
    async with rxmps3.connect("memory:", shared=False) as db:
        await db.put("large", value)
        full_collections.clear()
        found = await db.get("large")
        assert full_collections == []
    assert found == value
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


async def test_a_write_of_many_keys_is_made_without_a_full_collection(full_collections: list[int]) -> None:
    async with rxmps3.connect("memory:", shared=False) as db:
        values = {f"k/{n}": {"n": n} for n in range(20_000)}
        full_collections.clear()
        receipt = db.put_all(values)
        assert full_collections == []
        await receipt


def test_what_was_made_belongs_to_the_oldest_generation_afterwards() -> None:
    with collected_later():
        made = [[] for _ in range(10)]
        with collected_later():
            assert not gc.isenabled()
        assert not gc.isenabled(), "the outer one goes on"
    assert gc.isenabled()
    oldest = {id(one) for one in gc.get_objects(generation=2)}
    assert {id(one) for one in made} <= oldest


def test_a_cycle_that_was_made_is_still_found() -> None:
    class Node:
        other: Node

    with collected_later():
        one, two = Node(), Node()
        one.other, two.other = two, one
    gone = ref(one)
    del one, two
    gc.collect()
    assert gone() is None


def test_a_collector_that_is_off_stays_off_and_what_is_frozen_stays_frozen() -> None:
    gc.disable()
    try:
        with collected_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    gc.freeze()
    try:
        with collected_later():
            assert gc.isenabled()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_what_is_frozen_meanwhile_stays_frozen() -> None:
    try:
        with collected_later():
            gc.freeze()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 1_000
    finally:
        gc.unfreeze()


def test_an_error_passes_through() -> None:
    with pytest.raises(KeyError), collected_later():
        raise KeyError
    assert gc.isenabled()


async def test_a_subscription_consists_of_few_objects() -> None:
    """A full collection visits each of them, and stops the event loop meanwhile."""
    async with rxmps3.connect(MemoryStorage(), poll=3600, shared=False) as db:
        await db.put_all({f"key/{number}": number for number in range(100)})
        first = db.subscribe("key/0", ignore)
        before = tracked()
        subscriptions = [db.subscribe(f"key/{number}", ignore) for number in range(100)]
        assert tracked() - before < 65 * 100
        for subscription in subscriptions:
            subscription.dispose()
        subscriptions.clear()
        del subscription
        assert tracked() - before < 100
        first.dispose()


async def test_a_put_consists_of_few_objects_and_leaves_few_behind() -> None:
    async with rxmps3.connect(MemoryStorage(), poll=3600, shared=False) as db:
        await asyncio.gather(*(db.put(f"key/{number}", number) for number in range(200)))
        before = tracked()
        receipts = [db.put(f"key/{number}", number) for number in range(1000)]
        assert tracked() - before < 14 * 1000
        await asyncio.gather(*receipts)
        receipts.clear()
        await db.put("key/0", "the last turn is kept until the next one")
        assert tracked() - before < 2 * 1000


def ignore(value: object) -> None:
    """An observer."""


def tracked() -> int:
    """The objects that the collector knows."""
    gc.collect()
    return len(gc.get_objects())
