"""Every public method, each argument in turn odd: what is raised is an error of this package, not one of Python's own."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from reactivex import Observable

import rxmps3
import rxmps3.blocking
from rxmps3 import Error, bells
from rxmps3.operators import coalesce, map_async, retry_with_backoff
from rxmps3.runtime.clock import SystemClock
from rxmps3.storage import DirectoryStorage, MemoryStorage, S3Storage
from rxmps3.storage.urls import open_storage

ODD: list[Any] = [
    None,
    5,
    -1,
    True,
    b"x",
    "",
    "\ud800",
    [],
    [[]],
    {},
    {1: 2},
    {"a": {1}},
    (1, 2),
    object(),
    float("nan"),
    float("inf"),
    10**400,
    date(2026, 1, 1),
]
GOOD: dict[str, Any] = {
    "a": 1,
    "b": 1,
    "entries": {},
    "fn": lambda *_: 1,
    "key": "k",
    "keys": ["k"],
    "name": "tag",
    "on_next": lambda *_: None,
    "patch": {"a": 1},
    "path": "file",
    "show": lambda *_: None,
    "url": "redis://localhost",
    "value": {"a": 1},
    "values": {"k": 1},
    "version": 1,
    "when": 1,
}
INTERNAL = {
    "subscribe",
    "entry_of",
    "dumped",
    "loaded",
    "claim_changes",
    "abandon",
    "end",
    "running",
    "mark_stored",
    "settle",
}
"""Used by other modules of the package only; and `subscribe`, whose TypeError says all that there is to say."""


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    """What is logged of odd keys cannot be sent to the process that reports the tests."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def calls(thing: object, leave_out: set[str] | None = None) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each method of a thing, with one odd argument, the others as they should be."""
    for name in dir(type(thing)):
        static = inspect.getattr_static(type(thing), name)
        if name.startswith("_") or name in INTERNAL | (leave_out or set()) or not inspect.isfunction(static):
            continue
        if not static.__module__.startswith("rxmps3."):  # of reactivex, of dict
            continue
        yield from odd_calls(name, getattr(thing, name))


def odd_calls(name: str, method: Callable[..., Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    parameters = list(inspect.signature(method).parameters.values())
    for odd_one in parameters:
        if odd_one.kind is odd_one.VAR_KEYWORD:
            continue
        for odd in ODD:
            given: list[Any] = []
            named: dict[str, Any] = {}
            for one in parameters:
                if one is not odd_one and (one.default is not one.empty or one.kind in (2, 4)):
                    continue
                value = odd if one is odd_one else GOOD.get(one.name, "x")
                if one.kind is one.KEYWORD_ONLY:
                    named[one.name] = value
                else:
                    given.append(value)
            yield f"{name}({odd_one.name}={odd!r:.30})", partial(method, *given, **named)


async def raised_by(call: Callable[[], Any]) -> BaseException | None:
    """What a call raises, or what awaiting or subscribing to its result does."""
    with suppress(Error, TimeoutError):
        try:
            result = call()
            if isinstance(result, Observable):
                errors: list[Exception] = []
                result.subscribe(on_error=errors.append).dispose()
                for error in errors:
                    raise error
            elif inspect.isawaitable(result):
                await asyncio.wait_for(waited(result), 5)
        except (Error, TimeoutError):
            raise
        except Exception as error:
            return error
    return None


async def waited(result: Any) -> Any:
    return await result


@pytest.fixture
async def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[rxmps3.Database]:
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"bytes")
    db = await rxmps3.connect("memory:")
    await db.put_all({"k": {"a": 1}, "x": {"a": 2}})
    yield db
    await db.close()


async def complaints(found: Iterator[tuple[str, Callable[[], Any]]]) -> list[str]:
    return [f"{name}: {error!r}" for name, call in found if (error := await raised_by(call)) is not None]


async def test_of_a_database(db: rxmps3.Database) -> None:
    GOOD["observable"] = db.observe("k")
    assert await complaints(calls(db, {"close"})) == []


async def test_of_what_it_makes(db: rxmps3.Database) -> None:
    for thing in (
        db.key("k"),
        db.key("k", dict),
        db.collection(),
        db.collection().sort_by(lambda key, _: key),
        db.collection().group_by(lambda key, _: key),
        await db.at(1),
        db.presence({}),
    ):
        assert await complaints(calls(thing, {"update"} if isinstance(thing, rxmps3.Presence) else None)) == []


async def test_of_a_transaction(db: rxmps3.Database) -> None:
    with suppress(Error):
        async with db.transaction() as tx:
            assert await complaints(calls(tx)) == []


async def test_of_closing(db: rxmps3.Database) -> None:
    for odd in ("x", b"x", [], float("nan"), True):
        with pytest.raises(rxmps3.InvalidOption, match=r"close: timeout is a number of seconds"):
            await db.close(odd)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await db.put("k", 2)
    with db.presence({}):
        await db.close(None)


def test_of_bells() -> None:
    for make in (bells.http, bells.nats, bells.redis, bells.sqs, bells.from_url):
        for odd in ODD:
            with suppress(Error):
                make(odd)


def test_of_a_blocking_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a timeout that is none, or more than a clock can tell."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"bytes")
    with rxmps3.blocking.connect("memory:") as db:
        db.put("k", {"a": 1}).wait()
        GOOD["observable"] = GOOD["source"] = db.observe("k")
        things = (db, db.key("k"), db.at(1), db.put("k", 1, manifests=["m"]), rxmps3.blocking.UiQueue())
        for thing in things:
            wrong: list[str] = []
            for name, call in calls(thing, {"close", "items", "values", "run"}):
                try:
                    call()
                except (Error, TimeoutError):
                    pass
                except Exception as error:
                    wrong.append(f"{name}: {error!r}")
            assert wrong == [], thing
        with suppress(Error), db.transaction() as tx:
            for name, call in calls(tx):
                with suppress(Error, TimeoutError):
                    call()
                    assert name
        with pytest.raises(rxmps3.InvalidOption):
            db.close("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        db.put("k", 3)
        assert db.get("k", timeout=float("inf")) == 3


async def test_errors_name_the_method_that_was_called() -> None:
    """Of a partial replica, and of a value that is not in memory."""
    async with (
        rxmps3.connect("memory:operations", shared=False) as full,
        rxmps3.connect("memory:operations", prefixes=["a/"], shared=False) as part,
    ):
        await full.put_all({"b": 1, "a/large": {"x": "y" * 9000}})
        await part.refresh()
        wanted: dict[str, Callable[[], Any]] = {
            "patch": lambda: part.patch("b", {}),
            "merge": lambda: part.merge("b", {}),
            "create": lambda: part.create("b", 1),
            "put": lambda: part.put("b", 1, if_version="x"),
            "delete": lambda: part.delete("b", if_version="x"),
            "put_file": lambda: part.put_file("b", __file__, if_version="x"),
            "update": lambda: part.update("b", lambda value: value),
            "restore": lambda: part.restore(1),
            "tag": lambda: part.tag("v"),
        }
        for operation, call in wanted.items():
            with pytest.raises(rxmps3.NotLoaded) as caught:
                await call()
            assert caught.value.operation == operation
        await part.close()
        async with rxmps3.connect("memory:operations", shared=False) as fresh:
            for operation, call in {
                "patch": lambda: fresh.patch("a/large", {}),
                "merge": lambda: fresh.merge("a/large", {}),
            }.items():
                with pytest.raises(rxmps3.NotLoaded) as caught:
                    call()
                assert caught.value.operation == operation


async def test_of_functions() -> None:
    """Operators, and opening a storage; the error names the argument."""
    functions: tuple[tuple[Callable[..., Any], str], ...] = (
        (partial(coalesce, 1), "scheduler"),
        (partial(map_async, abs), "create_task"),
        (retry_with_backoff, "retry_if rng scheduler"),
        (partial(open_storage, clock=SystemClock()), "url"),
        (partial(DirectoryStorage, clock=SystemClock()), "path"),
        (MemoryStorage, "name"),
        (partial(S3Storage, prefix="", options={}, clock=SystemClock()), "bucket"),
        (partial(S3Storage, "bucket", options={}, clock=SystemClock()), "prefix"),
        (partial(S3Storage, "bucket", "", clock=SystemClock()), "options"),
    )
    for function, names in functions:
        for name in names.split():
            for odd in (5, b"x", [], float("nan"), "\ud800", object()):
                with pytest.raises(rxmps3.InvalidOption, match=name):
                    function(**{name: odd})
    for url in ("memory:\ud800", "file:\udcff", "s3://bucket/\ud800"):
        with pytest.raises(rxmps3.InvalidOption, match="url is not valid Unicode"):
            await rxmps3.connect(url)


def test_of_waiting_for_a_receipt() -> None:
    with rxmps3.blocking.connect("memory:") as db:
        receipt = db.put("k", 1)
        assert receipt.wait(float("inf")) == receipt.stored.wait(10**400) == receipt.version
        for odd in ("x", b"x", [], float("nan"), True):
            for wait in (receipt.wait, receipt.stored.wait, db.put("k", 2).wait):
                with pytest.raises(rxmps3.InvalidOption, match=r"wait: timeout is a number of seconds"):
                    wait(odd)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
