"""Carries view models to pages by websockets: the other end is ``static/carrier.js``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from rxmps3.jupyter.viewmodel import Message, ViewModel
from rxmps3.runtime.clock import spawn

__all__ = ["Carriers", "ModelOf"]

_MOST_WAITING = 1000
"""Messages that a page may be behind; then it is told to load itself again."""

ModelOf = Callable[[str], ViewModel | None]
"""Returns the view model of a name; None if there is none, or not yet."""


class Carriers:
    """The pages of a set of view models.

    Args:
        model_of: the view models.
    """

    def __init__(self, model_of: ModelOf) -> None:
        self._model_of = model_of
        self._pages: dict[ViewModel, _Pages] = {}

    async def serve(self, socket: WebSocket, name: str) -> None:
        """Carry one view model to one page, until the page goes."""
        model = self._model_of(name)
        await socket.accept()
        if model is None:
            await socket.close(1013)  # try again later
            return
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        queue.put_nowait(json.dumps({"state": model.state}, allow_nan=False))
        pages = self._pages_of(model)
        pages.queues.add(queue)
        sending = spawn(_send(socket, queue), "rxmps3 studio page")
        try:
            while True:
                _take(model, await socket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            pages.queues.discard(queue)
            sending.cancel()

    def _pages_of(self, model: ViewModel) -> _Pages:
        if model not in self._pages:
            self._pages[model] = _Pages()
            model.attach(self._pages[model])
        return self._pages[model]


async def _send(socket: WebSocket, queue: asyncio.Queue[str | None]) -> None:
    try:
        while (text := await queue.get()) is not None:
            await socket.send_text(text)
        await socket.close(1013)
    except (WebSocketDisconnect, RuntimeError):
        pass  # the page has gone


class _Pages:
    """The pages that show one view model."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[str | None]] = set()

    def set_states(self, states: Mapping[str, Any], *, again: bool = False) -> None:
        self._tell({"states": dict(states)})

    def send(self, message: Message) -> None:
        self._tell({"message": dict(message)})

    def _tell(self, what: Any) -> None:
        text = json.dumps(what, allow_nan=False)
        for queue in list(self.queues):
            if queue.qsize() < _MOST_WAITING:
                queue.put_nowait(text)
            else:
                self.queues.discard(queue)
                queue.put_nowait(None)


def _take(model: ViewModel, text: str) -> None:
    """Hand what a page sends to the view model; anything malformed is ignored."""
    try:
        said = json.loads(text)
    except ValueError:
        return
    if not isinstance(said, dict):
        return
    if "message" in said:
        model.receive(said["message"])
    elif isinstance(said.get("name"), str):  # pyright: ignore[reportUnknownMemberType]
        model.changed(said["name"], said.get("value"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
