"""A key as a two-way stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import reactivex
from reactivex import Subject
from reactivex import operators as ops

import rxmps3
from rxmps3.storage import MemoryStorage
from rxmps3.testing import CountingStorage


@dataclass
class Point:
    x: int
    y: float = 0.5


async def test_a_key_is_observable_observer_and_live() -> None:
    async with rxmps3.connect(MemoryStorage()) as db:
        gain = db.key("gain", float, default=1.0)
        seen: list[float] = []
        gain.subscribe(seen.append)
        assert gain.value == 1.0
        reactivex.of(2.0, 3.0).subscribe(gain)
        assert gain.value == 3.0
        assert await gain.put(4.0) == gain_version(db, "gain")
        assert seen == [1.0, 2.0, 3.0, 4.0]
        await gain.delete()
        assert gain.value == 1.0
        assert "gain" not in db


def gain_version(db: rxmps3.Database, key: str) -> str:
    return db.states.value[key].version


async def test_what_the_view_holds_already_is_not_written_again() -> None:
    storage = CountingStorage(MemoryStorage())
    async with rxmps3.connect(storage, poll=60) as db:
        await db.put("gain", 0)
        storage.reset()
        sliders = [Subject[Any]() for _ in range(5)]
        for slider in sliders:
            slider.subscribe(db.key("gain"))
        for slider in sliders:
            slider.on_next(7)
        assert [receipt.keys for receipt in db.pending.value] == [("gain",)]
        await db.pending.value[0]
        assert len(storage.requests) == 1


async def test_put_writes_always() -> None:
    async with rxmps3.connect(MemoryStorage()) as db:
        key = db.key("k")
        assert await key.put(1) != await key.put(1)


async def test_a_source_that_ends_or_fails_leaves_the_key_alive() -> None:
    async with rxmps3.connect(MemoryStorage()) as db:
        failures: list[rxmps3.Failure] = []
        db.errors.subscribe(failures.append)
        key = db.key("k")
        seen: list[Any] = []
        key.subscribe(seen.append)
        reactivex.of(1).subscribe(key)
        reactivex.throw(ValueError("broken slider")).subscribe(key)
        reactivex.of(2).subscribe(key)
        assert seen == [None, 1, 2]
        assert [str(failure.error) for failure in failures] == ["broken slider"]


async def test_values_are_validated_on_write() -> None:
    async with rxmps3.connect(MemoryStorage()) as db:
        point = db.key("point", Point, default=Point(0))
        await point.put(Point(3))
        assert point.value == Point(3)
        assert await db.get("point") == {"x": 3, "y": 0.5}
        with pytest.raises(rxmps3.InvalidValue, match=r"key 'point'.*x: .*integer"):
            point.put({"x": "three"})  # pyright: ignore[reportArgumentType]
        assert point.value == Point(3)


async def test_a_bad_value_is_reported_and_skipped_not_the_end() -> None:
    async with rxmps3.connect(MemoryStorage()) as db:
        failures: list[rxmps3.Failure] = []
        db.errors.subscribe(failures.append)
        seen: list[int] = []
        db.key("n", int, default=0).subscribe(seen.append)
        await db.put("n", "not a number")
        await db.put("n", 5)
        assert seen == [0, 5]
        assert len(failures) == 1
        assert isinstance(failures[0].error, rxmps3.InvalidValue)
        bad = db.key("n", int)
        bad.on_next("x")  # pyright: ignore[reportArgumentType]
        assert len(failures) == 2


async def test_entries_tell_pending_version_and_cause() -> None:
    storage = MemoryStorage()
    async with (
        rxmps3.connect(storage, shared=False, by="alice") as alice,
        rxmps3.connect(storage, shared=False, by="bob") as bob,
    ):
        trace: list[tuple[Any, bool, str, str]] = []
        alice.key("k", default="none").entries().subscribe(
            lambda entry: trace.append((entry.value, entry.pending, entry.cause, entry.by))
        )
        version = await alice.put("k", 1)
        assert alice.states.value["k"].version == version
        await bob.put("k", 2)
        await alice.refresh()
        assert trace == [
            ("none", False, "remote", ""),
            (1, True, "own", "alice"),
            (1, False, "own", "alice"),
            (2, False, "remote", "bob"),
        ]


async def test_value_before_it_is_loaded_says_so() -> None:
    async with rxmps3.connect(MemoryStorage()) as db:
        other = db.manifest("other")
        with pytest.raises(rxmps3.NotLoaded, match="not loaded yet"):
            _ = other.key("k").value
        await other.get("k")
        assert other.key("k").value is None


async def test_keys_compose() -> None:
    async with rxmps3.connect(MemoryStorage()) as db:
        celsius, fahrenheit = db.key("celsius", float, default=0.0), db.key("fahrenheit", float, default=32.0)
        celsius.pipe(ops.map(lambda degrees: degrees * 9 / 5 + 32)).subscribe(fahrenheit)
        await celsius.put(100.0)
        assert fahrenheit.value == 212.0
