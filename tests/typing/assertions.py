"""What type checkers infer of the public words. Checked by pyright and by ``mypy --strict``; never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar, assert_type

from pydantic import BaseModel
from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase

import rxmps3
from rxmps3 import (
    MISSING,
    Change,
    Database,
    Difference,
    Failure,
    Key,
    KeyEntry,
    KeyVersion,
    Live,
    ManifestVersion,
    Past,
    Receipt,
    Recorded,
    Reset,
    Status,
    View,
    blocking,
)
from rxmps3.model.missing import MissingType

T = TypeVar("T")


@dataclass
class Point:
    x: int
    y: int


class Account(BaseModel):
    name: str


class Movie(TypedDict):
    title: str


def takes_observable(source: Observable[float]) -> None: ...


def takes_entry(entry: KeyEntry[float]) -> None:
    assert_type(entry.value, float)


def takes_observer(observer: ObserverBase[float]) -> None: ...


async def opening() -> None:
    async with rxmps3.connect("memory:") as db:
        assert_type(db, Database)
    assert_type(await rxmps3.connect("memory:"), Database)
    options: rxmps3.ConnectOptions = {"poll": 0.5, "by": "ana", "region_name": "eu-west-1"}
    assert_type(await rxmps3.connect("s3://b", **options), Database)
    given: dict[str, Any] = {"poll": 0.5}
    assert_type(await rxmps3.connect("s3://b", **given), Database)
    await rxmps3.connect("memory:", pol=0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await rxmps3.connect("memory:", poll="often")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def keys(db: Database) -> None:
    assert_type(db.key("k"), Key[Any])
    assert_type(db.key("k", default=1.0), Key[Any])
    assert_type(db.key("k", float, default=1.0), Key[float])
    assert_type(db.key("k", float, 1.0), Key[float])
    assert_type(db.key("k", float), Key[float | None])
    assert_type(db.key("k", float, MISSING), Key[float | MissingType])
    assert_type(db.key("k", Point), Key[Point | None])
    assert_type(db.key("k", Point, default=Point(0, 0)), Key[Point])
    assert_type(db.key("k", Account, default=Account(name="ana")), Key[Account])
    assert_type(db.key("k", Movie, default=Movie(title="Ran")), Key[Movie])
    assert_type(db.key("k", list[int], default=[1]), Key[list[int]])
    either: Key[int | str] = db.key("k", int | str, default=0)
    assert_type(either.value, int | str)


def a_key_is_observable_observer_and_live(db: Database, sliders: Observable[float]) -> None:
    key = db.key("gain", float, default=1.0)
    takes_observable(key)
    takes_observer(key)
    live: Live[float] = key
    assert_type(live.value, float)
    assert_type(key.value, float)
    assert_type(sliders.subscribe(key), DisposableBase)
    assert_type(Subject[float]().subscribe(key), DisposableBase)
    assert_type(key.subscribe(db.key("copy", float, default=1.0)), DisposableBase)
    entries: Observable[KeyEntry[float]] = key.entries()
    entries.subscribe(lambda entry: takes_entry(entry))
    observable: Observable[float] = key
    observer: ObserverBase[float] = key
    observable.subscribe(observer)
    assert_type(key.put(2.0), Receipt)
    assert_type(key.delete(), Receipt)
    key.put("loud")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    key.on_next("loud")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def counted(tx: rxmps3.Transaction) -> int:
    return len(await tx.get_prefix(""))


def named(tx: rxmps3.Transaction) -> str:
    return "done"


def next_number(value: Any) -> int:
    return int(value) + 1


async def a_transaction_returns_what_its_function_does(db: Database) -> None:
    assert_type(await db.transact(counted), int)
    assert_type(await db.transact(counted, attempts=3), int)
    assert_type(await db.transact(named), str)
    assert_type(await db.update("n", next_number), int)


async def a_key_is_updated(db: Database) -> None:
    count = db.key("n", int, default=0)
    assert_type(await count.update(lambda n: n + 1), int)
    best = db.key("best", int)
    assert_type(await best.update(lambda n: (n or 0) + 1), int | None)

    async def renamed(account: Account) -> Account:
        return Account(name=account.name.upper())

    assert_type(await db.key("a", Account, default=Account(name="ana")).update(renamed), Account)
    assert_type(count.put(1, if_version=MISSING), Receipt)
    assert_type(db.key("a", Account).patch({"name": "bob"}), Receipt)
    assert_type(await db.undo(), str)
    await count.update(lambda n: "loud")  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType, reportReturnType]


class Special(Account):
    level: int = 1


def bound(source: Observable[T], sink: ObserverBase[T]) -> None:
    source.subscribe(sink)


def a_key_varies_as_its_two_sides_do(db: Database) -> None:
    whole, special = db.key("n", int, default=0), db.key("s", Special, default=Special(name="ana"))
    accounts = db.key("a", Account, default=Account(name="ana"))
    as_float: Observable[float] = whole
    as_account: Observable[Account] = special
    takes_special: ObserverBase[Special] = accounts
    bound(db.key("x", float, default=1.0), db.key("y", float, default=1.0))
    whole.subscribe(db.key("gain", float, default=1.0))
    as_float.subscribe(db.key("gain", float, default=1))
    as_account.subscribe(accounts)
    special.subscribe(takes_special)
    letter: Key[Literal["a", "b"]] = db.key("l", Literal["a", "b"], default="a")
    maybe: Key[int | None] = db.key("m", int | None)
    assert_type(letter.value, Literal["a", "b"])
    assert_type(maybe.value, int | None)


def observing(db: Database) -> None:
    assert_type(db.observe("k"), Observable[Any])
    assert_type(db.observe("k", default=0), Observable[Any])
    assert_type(db.observe_many("a", "b", default=0), Observable[Mapping[str, Any]])
    assert_type(db.observe_prefix("todo/", last=50), Observable[Mapping[str, Any]])
    assert_type(db.changes("todo/"), Observable[Change])
    assert_type(db.versions, Observable[ManifestVersion | Reset])
    assert_type(db.errors, Observable[Failure])
    assert_type(db.subscribe("k", print), DisposableBase)


def live_streams(db: Database) -> None:
    assert_type(db.states, Live[View])
    assert_type(db.status, Live[Status])
    assert_type(db.pending, Live[tuple[Receipt, ...]])
    assert_type(db.status.value, Status)
    assert_type(db.pending.value, tuple[Receipt, ...])


async def iterating(db: Database) -> None:
    async with db.iterate(db.key("gain", float, default=1.0)) as gains:
        assert_type(gains, AsyncIterator[float])
        async for gain in gains:
            assert_type(gain, float)
    async with db.iterate(db.observe_prefix("todo/"), keep="all") as snapshots:
        assert_type(await anext(snapshots), Mapping[str, Any])


async def writing(db: Database) -> None:
    receipt = db.put("k", {"any": ["json"]})
    assert_type(receipt, Receipt)
    assert_type(await receipt, str)
    assert_type(await db.put("k", 1).stored, str)
    assert_type(receipt.wait(timeout=1), str)
    assert_type(receipt.version, str)
    assert_type(receipt.keys, tuple[str, ...])
    assert_type(db.put_all({"a": 1, "old": MISSING}), Receipt)
    assert_type(db.delete("k"), Receipt)
    assert_type(db.new_key("message/"), str)
    db.put(1, "one")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


async def reading(db: Database) -> None:
    assert_type(await db.get("k"), Any)
    assert_type(await db.get("k", default=0), Any)
    assert_type(await db.get_many(["a", "b"]), dict[str, Any])
    assert_type(await db.get_prefix("todo/", first=3), dict[str, Any])
    assert_type(db.keys("todo/"), list[str])
    assert_type("k" in db, bool)
    assert_type(len(db), int)


def blocking_database(db: blocking.Database) -> None:
    assert_type(blocking.connect("memory:", local=None, live=True), blocking.Database)
    blocking.connect("memory:", pol=0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(db.put("k", 1).wait(timeout=1), str)
    assert_type(db.put("k", 1).stored.wait(1), str)
    assert_type(db.get("k", default=0, timeout=1.0), Any)
    assert_type(db["k"], Any)
    as_a_mapping: Mapping[str, Any] = db
    assert_type(as_a_mapping["k"], Any)
    names: list[str] = db.keys("todo/")
    assert_type(db.keys("todo/"), blocking.KeyList)
    assert_type(names[0], str)
    assert_type(db.get_prefix("todo/", last=3), dict[str, Any])
    gain = db.key("gain", float, default=1.0)
    assert_type(gain, blocking.BlockingKey[float])
    assert_type(db.key("gain", float), blocking.BlockingKey[float | None])
    as_key: Key[float] = gain
    assert_type(as_key.value, float)
    assert_type(gain.update(lambda value: value + 1), float)
    assert_type(gain.put(1.0, if_version="x").wait(), str)
    assert_type(db.undo(timeout=1), str)
    assert_type(db.observe_many("a", "b"), Observable[Mapping[str, Any]])
    assert_type(db.status.value, Status)
    with db.iterate(db.key("gain", float, default=1.0), timeout=1) as gains:
        assert_type(next(gains), float)
    with blocking.connect("memory:") as opened:
        assert_type(opened, blocking.Database)
    assert_type(db.manifest("other"), blocking.Database)


async def looking_back(db: Database, beside: blocking.Database) -> None:
    past = await db.at("v1")
    assert_type(past, Past)
    assert_type(await past.get_prefix("a"), dict[str, Any])
    history = db.history("k")
    assert_type(history, Recorded[KeyVersion])
    assert_type(await history, list[KeyVersion])
    async for version in history:
        assert_type(version, KeyVersion)
    assert_type(await db.replay(1), list[tuple[Change, ...]])
    assert_type(await db.diff(1, past), dict[str, Difference])
    assert_type(await db.restore(past, "a"), str)
    assert_type(beside.at(1), blocking.BlockingPast)
    assert_type(beside.at(1)["k"], Any)
    assert_type(list(beside.history("k")), list[KeyVersion])
    assert_type(beside.diff(beside.at(1), 2), dict[str, Difference])
