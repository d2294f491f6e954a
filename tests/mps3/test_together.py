"""A client of another make and rxmps3 on one bucket: both see all of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple, TypeVar

import pytest

import rxmps3
from rxmps3 import MISSING
from tests.behaviour.helpers import eventually, trace
from tests.mps3.foreign import DELETED, Foreign
from tests.servers import Moto, SeaweedFS

T = TypeVar("T")
_numbers = count(1)
SERVERS = [
    "moto",
    "moto-versions",
    pytest.param("seaweedfs", marks=pytest.mark.seaweedfs),
    pytest.param("seaweedfs-versions", marks=pytest.mark.seaweedfs),
]


class Shared(NamedTuple):
    """A bucket of their own, a page in it, and how to open it beside the page."""

    page: Foreign
    open: Callable[..., rxmps3.Connecting]
    another_page: Callable[[], Foreign]


@pytest.fixture(params=SERVERS)
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """One bucket on each server, with and without versions."""
    kind, _, versions = request.param.partition("-")
    versioning = bool(versions)
    server: Moto | SeaweedFS = request.getfixturevalue(kind)
    bucket = f"page-{next(_numbers)}"
    server.create_bucket(bucket, versioning=versioning)
    options = server.options()

    def page() -> Foreign:
        return Foreign(options, bucket, versioning=versioning)

    def opened(**more: Any) -> rxmps3.Connecting:
        options_here = {**options, "versioning": versioning, "poll": 0.1, **more}
        return rxmps3.connect(f"s3://{bucket}", protocol="mps3", shared=False, **options_here)

    with page() as one:
        yield Shared(one, opened, page)


def does(action: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """The page acts, in a thread of its own."""
    return asyncio.get_running_loop().run_in_executor(None, action, *arguments)


async def test_streams_show_what_the_page_puts_and_deletes(shared: Shared) -> None:
    page = shared.page
    await does(page.put, "before", [1.5, None, "é"])
    async with shared.open() as db:
        key, notes = trace(db.observe("key", MISSING)), trace(db.observe_prefix("note/"))
        changes = trace(db.changes())
        assert await db.get("before") == [1.5, None, "é"]
        await eventually(lambda: key == [MISSING])
        await does(page.put, "key", {"a": 1})
        await eventually(lambda: key == [MISSING, {"a": 1}])
        await does(page.put_all, {"note/☃": "snow", "note/a b&c": "signs", "key": DELETED})
        await eventually(lambda: key == [MISSING, {"a": 1}, MISSING])
        await eventually(lambda: notes[-1] == {"note/☃": "snow", "note/a b&c": "signs"})
        assert notes == [{}, {"note/☃": "snow", "note/a b&c": "signs"}]
        await does(page.delete, "note/☃")
        await eventually(lambda: notes[-1] == {"note/a b&c": "signs"})
        assert [(one.key, one.after, one.cause) for one in changes] == [
            ("key", {"a": 1}, "remote"),
            *sorted(
                [
                    ("key", MISSING, "remote"),
                    ("note/a b&c", "signs", "remote"),
                    ("note/☃", "snow", "remote"),
                ],
                key=lambda one: one[0],
            ),
            ("note/☃", MISSING, "remote"),
        ]


async def test_the_page_reads_what_is_put_and_deleted_here(shared: Shared) -> None:
    page = shared.page
    async with shared.open() as db:
        assert await does(page.everything) == {}
        await db.put("key", {"a": 1.0, "b": [None, "é"]})
        assert await does(page.everything) == {"key": {"a": 1, "b": [None, "é"]}}
        assert await does(page.touched) == ""
        await db.put_all({"key": 2, "note/☃": "snow", "note/a b&c": "signs"})
        assert await does(page.everything) == {"key": 2, "note/☃": "snow", "note/a b&c": "signs"}
        await db.put_all({"key": MISSING, "other": None})
        await db.delete("note/☃")
        assert await does(page.everything) == {"note/a b&c": "signs", "other": None}
    with shared.another_page() as fresh:
        assert await does(fresh.everything) == {"note/a b&c": "signs", "other": None}


async def test_they_take_turns_on_one_key(shared: Shared) -> None:
    """Each answers what the other has just written, and leaves its other keys alone."""
    page = shared.page
    async with shared.open() as db:
        for turn in range(8):
            if turn % 2:
                await does(page.put_all, {"turn": turn, f"page/{turn}": turn})
                await db.refresh()
            else:
                await db.put_all({"turn": turn, f"here/{turn}": turn})
            assert await db.get("turn") == await does(page.get, "turn") == turn
        expected = {
            "turn": 7,
            **{f"here/{turn}": turn for turn in (0, 2, 4, 6)},
            **{f"page/{turn}": turn for turn in (1, 3, 5, 7)},
        }
        assert await db.get_prefix() == await does(page.everything) == expected


async def test_they_write_at_the_same_time_and_nothing_is_lost(shared: Shared) -> None:
    def write(page: Foreign, name: str) -> None:
        for number in range(5):
            page.put(f"{name}/{number}", number)
        page.delete(f"{name}/0")

    async def write_here(db: rxmps3.Database, name: str) -> None:
        for number in range(5):
            await db.put(f"{name}/{number}", number)
        await db.delete(f"{name}/0")

    expected = {f"{name}/{number}": number for name in ("page", "other page", "a", "b") for number in range(1, 5)}
    with shared.another_page() as other:
        async with shared.open() as a, shared.open() as b:
            prefix = trace(a.observe_prefix(""))
            await asyncio.gather(
                does(write, shared.page, "page"),
                does(write, other, "other page"),
                write_here(a, "a"),
                write_here(b, "b"),
            )
            await b.refresh()
            assert await b.get_prefix() == expected
            await eventually(lambda: prefix[-1] == expected)
            for page in (shared.page, other):
                assert await does(page.everything) == expected
        async with shared.open() as fresh:
            assert await fresh.get_prefix() == expected
