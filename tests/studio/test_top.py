"""The program for the terminal, driven as Textual drives it for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from textual.widgets import DataTable, RichLog, Static

import rxmps3
from rxmps3.cli import top
from rxmps3.cli.top import Top
from rxmps3.storage import MemoryStorage
from tests.cli.commands import rxmps3 as command
from tests.mutating import Mutant


@pytest.fixture
async def storage() -> MemoryStorage:
    storage = MemoryStorage()
    async with rxmps3.connect(storage, by="ana") as db:
        await db.put("todo/1", "milk")
        await db.put("todo/2", "bread")
        await db.put("evil/\x1b[31m", "\x1b]0;title\x07[bold]x[/bold]")
    return storage


@pytest.fixture
async def db(storage: MemoryStorage) -> AsyncIterator[rxmps3.Database]:
    async with rxmps3.connect(storage, read_only=True, poll=0.05, shared=False) as db:
        yield db


def rows(app: Top) -> dict[str, str]:
    table = app.query_one("#keys", DataTable)
    return {str(key): str(value) for key, value in (table.get_row_at(at) for at in range(table.row_count))}


def text(app: Top, name: str) -> str:
    return str(app.query_one(name, Static).render())


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.02)


async def test_keys_and_log_are_shown_and_followed(storage: MemoryStorage, db: rxmps3.Database) -> None:
    async with Top(db, "memory:").run_test(size=(120, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, Top)
        await until(lambda: rows(app).get("todo/1") == '"milk"')
        async with rxmps3.connect(storage, by="ben", shared=False) as other:
            await other.put("todo/1", "oat milk")
            await other.put("todo/3", "tea")
        await until(lambda: rows(app).get("todo/1") == '"oat milk"' and "todo/3" in rows(app))
        log = "\n".join(line.text for line in app.query_one("#log", RichLog).lines)
        assert "ben todo/1" in log
        assert "4 keys" in text(app, "#status")


async def test_a_value_that_changes_is_bold_for_a_moment(
    storage: MemoryStorage, db: rxmps3.Database, mutant: Mutant
) -> None:
    """Also where keys come and go meanwhile; a key that is new is not."""
    async with Top(db, "memory:").run_test(size=(120, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, Top)

        def bold() -> list[str]:
            table = app.query_one("#keys", DataTable)
            found = [table.get_row_at(at) for at in range(table.row_count)]
            return [str(key) for key, value in found if "bold" in str(value.style)]

        await until(lambda: len(rows(app)) == 3)
        mutant.replace(top.LIT_SECONDS, 60.0, within=top)
        async with rxmps3.connect(storage, by="ben", shared=False) as other:
            await other.put("todo/1", "oat milk")
            await until(lambda: bold() == ["todo/1"])
            await other.put("todo/3", "tea")
            await until(lambda: len(rows(app)) == 4)
            assert bold() == ["todo/1"]
            mutant.replace(top.LIT_SECONDS, 0.3, within=top)
            await other.put_all({"todo/1": "soy milk", "todo/2": "rye"})
        await until(lambda: rows(app)["todo/2"] == '"rye"')
        await until(lambda: bold() == [])
        assert rows(app)["todo/1"] == '"soy milk"'


async def test_what_comes_while_the_program_ends_is_let_go(storage: MemoryStorage, db: rxmps3.Database) -> None:
    """A frame, and a version: the widgets are taken down before the timer and the subscriptions."""
    async with Top(db, "memory:").run_test(size=(120, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, Top)
        await until(lambda: len(rows(app)) == 3)
        await app.screen.query("*").remove()
        async with rxmps3.connect(storage, by="ben", shared=False) as other:
            await other.put("todo/3", "tea")
        await until(lambda: "todo/3" in db)
        await asyncio.sleep(2 / top.FRAMES)
    assert db.status.value.last_error is None


async def test_what_could_steer_a_terminal_is_shown_as_text(db: rxmps3.Database) -> None:
    async with Top(db, "memory:\x1b[1m").run_test(size=(120, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, Top)
        await until(lambda: len(rows(app)) == 3)
        everything = "".join([*rows(app), *rows(app).values(), text(app, "#place")])
        assert "\x1b" not in everything
        assert "\x07" not in everything
        assert "[bold]x[/bold]" in everything


async def test_older_versions_and_back(db: rxmps3.Database) -> None:
    async with Top(db, "memory:").run_test(size=(120, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, Top)
        await until(lambda: len(rows(app)) == 3)
        await pilot.press("left_square_bracket")
        await until(lambda: list(rows(app)) == ["todo/1", "todo/2"])
        assert "version 2 of 3" in text(app, "#slider")
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until(lambda: rows(app) == {})
        await pilot.press("n")
        await until(lambda: len(rows(app)) == 3)
        assert text(app, "#slider").endswith("now")


async def test_a_filter(db: rxmps3.Database) -> None:
    async with Top(db, "memory:").run_test(size=(120, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, Top)
        await pilot.press("slash", *"DO/2")
        await until(lambda: list(rows(app)) == ["todo/2"])
        await pilot.press("escape")
        await until(lambda: len(rows(app)) == 3)


def test_without_a_terminal_it_says_what_to_use() -> None:
    outcome = command("top", "file:nowhere")
    assert outcome.code == 2
    assert "use watch or log --follow" in outcome.err


async def test_a_long_key_leaves_room_for_values_and_large_ones_are_not_downloaded(
    storage: MemoryStorage, db: rxmps3.Database
) -> None:
    async with rxmps3.connect(storage, by="ben", shared=False, inline_limit=100) as other:
        await other.put_all({"long/" * 60: 1, "large": "x" * 5000})
        await other.put("todo/1", "later")
    async with Top(db, "memory:").run_test(size=(100, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, Top)
        await until(lambda: rows(app).get("todo/1") == '"later"')
        assert app.query_one("#keys", DataTable).columns["key"].get_render_width(app.query_one(DataTable)) < 50  # type: ignore[index]
        await pilot.press("left_square_bracket")
        await until(lambda: rows(app).get("todo/1") == '"milk"')
        assert "bytes" in rows(app)["large"]
        assert db.status.value.bytes_down < 5000
