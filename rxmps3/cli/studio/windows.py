"""Two windows side by side, each with its own client of one database: what the demonstration shows in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

from pydantic import BaseModel, Field

from rxmps3.cli.studio.carrier import ModelOf
from rxmps3.database.connect import connect
from rxmps3.database.database import Database
from rxmps3.jupyter.forms import ControlsModel
from rxmps3.jupyter.people import PeopleModel
from rxmps3.jupyter.tables import TableModel, field_writer
from rxmps3.jupyter.viewmodel import ViewModel
from rxmps3.runtime.clock import Clock
from rxmps3.storage import Storage

__all__ = ["CLIENTS", "Lamp", "windows"]

CLIENTS = ("ana", "ben")
POLL_SECONDS = 0.25
FPS = 20.0
TODOS = {
    "todo/1": {"title": "open both windows", "done": True, "who": "ana"},
    "todo/2": {"title": "move the slider", "done": False, "who": "ben"},
    "todo/3": {"title": "edit a cell: double-click", "done": False, "who": "ana"},
    "todo/4": {"title": "point into the other window's field", "done": False, "who": "ben"},
}


class Lamp(BaseModel):
    """Shared by both windows."""

    brightness: int = Field(default=60, ge=0, le=100, description="percent")
    colour: Literal["warm", "cold", "red"] = "warm"
    on: bool = True


@asynccontextmanager
async def windows(storage: Storage, manifest: str, clock: Clock) -> AsyncGenerator[ModelOf, None]:
    """Two clients of one database, and their views: ``ana.lamp``, ``ana.people``, ``ana.table``, and the same of ben.

    Args:
        storage: where the database is; each client polls it for itself.
        manifest: its name.
        clock: time and ids.
    """
    models: dict[str, ViewModel] = {}
    async with AsyncExitStack() as stack:
        for who in CLIENTS:
            db = await stack.enter_async_context(
                connect(storage, manifest=manifest, by=who, poll=POLL_SECONDS, live=True, shared=False, clock=clock)
            )
            if who == CLIENTS[0]:
                await db.put_all({**TODOS, "lamp": Lamp().model_dump()})
            for name, make in _views(db, who).items():
                model = models[f"{who}.{name}"] = make()
                stack.callback(model.dispose)
        yield models.get


def _views(db: Database, who: str) -> dict[str, Callable[[], ViewModel]]:
    loop = asyncio.get_running_loop()

    def table() -> ViewModel:
        columns = ["title", "done", "who"]
        model = TableModel(db, "todo/", columns, field_writer(db), "todo", FPS, loop)
        model.follow_status(db.status)
        return model

    def lamp() -> ViewModel:
        key: Any = db.key("lamp", Lamp)
        return ControlsModel(Lamp, key, FPS, loop)

    return {
        "people": lambda: PeopleModel(db.presence({"name": who}), True, loop),
        "lamp": lamp,
        "table": table,
    }
