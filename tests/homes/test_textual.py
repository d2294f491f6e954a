"""Reactive attributes bound to keys, in a running Textual app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
import reactivex as rx
from pydantic import Field
from textual.app import App, ComposeResult
from textual.reactive import reactive
from textual.widgets import Label

import rxmps3
from rxmps3.homes.textual import bind, show
from tests.docs.blocks import ROOT, blocks_of

Short = Annotated[str, Field(max_length=10)]


class Board(App[None]):
    heading = reactive("")
    gain = reactive(0)

    def validate_gain(self, gain: int) -> int:
        return min(gain, 10)

    def __init__(self, db: rxmps3.Database) -> None:
        super().__init__()
        self.db = db

    def compose(self) -> ComposeResult:
        yield Label(id="todo")

    def on_mount(self) -> None:
        bind(self, "heading", self.db.key("heading", Short, default="untitled"))
        bind(self, "gain", self.db.key("gain", int, default=0))
        todo = self.query_one("#todo", Label)
        show(todo, self.db.observe_prefix("todo/"), lambda label, items: label.update(", ".join(items.values())))


@pytest.fixture
async def db() -> AsyncIterator[rxmps3.Database]:
    async with rxmps3.connect("memory:") as db:
        yield db


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0.01)


async def test_the_attribute_and_the_key_are_equal_both_ways(db: rxmps3.Database) -> None:
    app = Board(db)
    async with app.run_test():
        await until(lambda: app.heading == "untitled")
        await db.put("heading", "Minutes")
        await until(lambda: app.heading == "Minutes")
        versions = db.states.value.confirmed.version
        app.heading = "Plans"
        while await db.get("heading") != "Plans":
            pass
        await until(lambda: not db.states.value.pending)
        assert int(db.states.value.confirmed.version) == int(versions) + 1  # nothing echoes


async def test_a_widget_shows_a_stream(db: rxmps3.Database) -> None:
    app = Board(db)
    async with app.run_test():
        label = app.query_one("#todo", Label)
        await db.put_all({"todo/1": "milk", "todo/2": "bread"})
        await until(lambda: str(label.render()) == "milk, bread")
        await label.remove()
        await db.put("todo/3", "tea")
    assert db.states.value.confirmed.version == "2"


async def test_what_is_no_reactive_is_refused(db: rxmps3.Database) -> None:
    app = Board(db)
    async with app.run_test():
        with pytest.raises(rxmps3.InvalidOption, match="no reactive 'missing'"):
            bind(app, "missing", db.key("heading"))


async def test_what_the_key_does_not_take_goes_back(db: rxmps3.Database) -> None:
    app = Board(db)
    failures: list[rxmps3.Failure] = []
    db.errors.subscribe(failures.append)
    async with app.run_test(notifications=True) as pilot:
        await until(lambda: app.heading == "untitled")
        app.heading = "much too long"
        await until(lambda: app.heading == "untitled")
        await pilot.pause()
        assert len(failures) == 1
        assert ["not written" in one.message for one in app._notifications] == [True]
        app.heading = "Plans"
        await until(lambda: app.heading == "Plans")
        await pilot.pause()
        assert await db.get("heading") == "Plans"


async def test_what_a_validator_makes_of_a_value_is_not_written(db: rxmps3.Database) -> None:
    app = Board(db)
    async with app.run_test() as pilot:
        await db.put("gain", 50)
        await until(lambda: app.gain == 10)
        await pilot.pause()
        assert await db.get("gain") == 50
        app.gain = 7
        await pilot.pause()
        assert await db.get("gain") == 7
        assert list(app._notifications) == []


async def test_a_source_that_fails_is_told(db: rxmps3.Database) -> None:
    app = Board(db)
    async with app.run_test(notifications=True):
        show(app.query_one("#todo", Label), rx.throw(ValueError("broken")), lambda label, item: None)
        await until(lambda: [one.message for one in app._notifications] == ["ValueError: broken"])


async def test_the_recipe_shows_what_others_write_as_text() -> None:
    [recipe] = [block.text for block in blocks_of(ROOT / "docs/homes.md") if "textual.app" in block.text]
    program: dict[str, Any] = {"__name__": "recipe"}
    exec(recipe.replace("s3://bucket/app", "memory:textual-recipe").replace("Board().run()", ""), program)
    evil = "[@click=app.quit]x[/] [not markup"
    with program["db"] as db:
        async with program["Board"]().run_test() as pilot:
            db.put_all({"todo/1": [evil], "heading": evil})
            await until(lambda: str(pilot.app.query_one("#todo").render()) == str({"todo/1": [evil]}))
            await until(lambda: pilot.app.title == evil)
