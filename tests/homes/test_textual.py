"""Reactive attributes bound to keys, in a running Textual app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.reactive import reactive
from textual.widgets import Label

import rxmps3
from rxmps3.homes.textual import bind, show


class Board(App[None]):
    heading = reactive("")

    def __init__(self, db: rxmps3.Database) -> None:
        super().__init__()
        self.db = db

    def compose(self) -> ComposeResult:
        yield Label(id="todo")

    def on_mount(self) -> None:
        bind(self, "heading", self.db.key("heading", str, default="untitled"))
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
