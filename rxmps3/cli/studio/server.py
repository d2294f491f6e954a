"""A web server on this machine that shows view models in a page.

Only who knows the token gets in: it stands in the address that the command prints. The server listens on 127.0.0.1; it
answers only requests that name it as their host, so that a web page elsewhere cannot reach it by a name of its own
(DNS rebinding), and opens a websocket only for its own pages. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from rxmps3.errors import InvalidOption
from rxmps3.jupyter import assets
from rxmps3.jupyter.viewmodel import Message, ViewModel
from rxmps3.runtime.clock import spawn

__all__ = ["TOKEN_CHARACTERS", "ModelOf", "serving"]

HOST = "127.0.0.1"
TOKEN_CHARACTERS = 32
"""Of a token from `Clock.new_id`: 160 random bits."""
_MOST_WAITING = 1000
"""Messages that a page may be behind; then it is told to load itself again."""
_CLOSING_SECONDS = 1
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

ModelOf = Callable[[str], ViewModel | None]
"""Returns the view model of a name; None if there is none, or not yet."""


class _Pages:
    """The pages that show one view model."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[str | None]] = set()

    def set_state(self, name: str, value: Any) -> None:
        self._tell({"name": name, "value": value})

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


class _Server(uvicorn.Server):
    """Leaves signals to the command."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _App:
    """The pages of a set of view models.

    Args:
        model_of: the view models.
        token: what every request but one for a file has to carry.
        page: the name of the page in ``static``.
    """

    def __init__(self, model_of: ModelOf, token: str, page: str) -> None:
        self._model_of = model_of
        self._token = token
        self._page = page
        self._pages: dict[ViewModel, _Pages] = {}
        self.host = ""
        self.app = Starlette(
            routes=[
                Route("/", self._index),
                Route("/static/{name:path}", self._file),
                WebSocketRoute("/ws/{name}", self._socket),
            ]
        )

    def _is_at_home(self, request: HTTPConnection) -> bool:
        return request.headers.get("host", "") in (self.host, self.host.replace(HOST, "localhost"))

    def _is_known(self, request: HTTPConnection) -> bool:
        return hmac.compare_digest(request.query_params.get("token", "").encode(), self._token.encode())

    async def _index(self, request: Request) -> Response:
        if not self._is_at_home(request):
            return PlainTextResponse("this is not the name of this server", 421, _HEADERS)
        if not self._is_known(request):
            return PlainTextResponse("open the whole address that the command has printed", 403, _HEADERS)
        return Response(_read(self._page), media_type="text/html", headers=_HEADERS)

    async def _file(self, request: Request) -> Response:
        if not self._is_at_home(request):
            return PlainTextResponse("this is not the name of this server", 421, _HEADERS)
        name: str = request.path_params["name"]
        kind = _KINDS.get(name[name.rfind(".") :])
        try:
            text = None if kind is None or ".." in name else _read(name)
        except FileNotFoundError:
            text = None
        if text is None:
            return PlainTextResponse("there is no such file", 404, _HEADERS)
        return Response(text, media_type=kind, headers=_HEADERS)

    async def _socket(self, socket: WebSocket) -> None:
        origins = {f"http://{self.host}", f"http://{self.host.replace(HOST, 'localhost')}"}
        if not self._is_at_home(socket) or not self._is_known(socket) or socket.headers.get("origin") not in origins:
            await socket.close()
            return
        model = self._model_of(socket.path_params["name"])
        await socket.accept()
        if model is None:
            await socket.close(1013)  # try again later
            return
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        queue.put_nowait(json.dumps({"state": model.state}, allow_nan=False))
        pages = self._pages_of(model)
        pages.queues.add(queue)
        sending = spawn(self._send(socket, queue), "rxmps3 studio page")
        try:
            while True:
                _take(model, await socket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            pages.queues.discard(queue)
            sending.cancel()

    async def _send(self, socket: WebSocket, queue: asyncio.Queue[str | None]) -> None:
        try:
            while (text := await queue.get()) is not None:
                await socket.send_text(text)
            await socket.close(1013)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the page has gone

    def _pages_of(self, model: ViewModel) -> _Pages:
        if model not in self._pages:
            self._pages[model] = _Pages()
            model.attach(self._pages[model])
        return self._pages[model]


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


def _read(name: str) -> str:
    """A file of the studio, or of the views."""
    own = files("rxmps3.cli.studio").joinpath("static", *name.split("/"))
    return own.read_text("utf-8") if own.is_file() else assets.source(name)


@asynccontextmanager
async def serving(model_of: ModelOf, token: str, port: int = 0, page: str = "studio.html") -> AsyncGenerator[str]:
    """Serve view models to browsers on this machine.

    Args:
        model_of: the view models by name.
        token: the secret in the address.
        port: 0 takes a free one.
        page: the page in ``static``.

    Returns:
        The address to open.

    Raises:
        InvalidOption: the port is taken, or not allowed.
    """
    app = _App(model_of, token, page)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise InvalidOption(
            f"cannot listen there: {error}", object=f"port {port}", remedy="give another --port, or none"
        ) from error
    app.host = f"{HOST}:{listening.getsockname()[1]}"
    config = uvicorn.Config(
        app.app, log_level="warning", lifespan="off", server_header=False, timeout_graceful_shutdown=_CLOSING_SECONDS
    )
    server = _Server(config)
    task = spawn(server.serve(sockets=[listening]), "rxmps3 studio server")
    try:
        yield f"http://{app.host}/?token={token}"
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        listening.close()
