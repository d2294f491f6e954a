"""A web server on this machine that shows view models in a page.

Only who knows the token gets in: it stands in the address that the command prints. The server listens on 127.0.0.1; it
answers only requests that name it as their host, so that a web page elsewhere cannot reach it by a name of its own
(DNS rebinding), and opens a websocket only for its own pages. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from rxmps3.cli.studio.carrier import Carriers, ModelOf
from rxmps3.errors import InvalidOption
from rxmps3.jupyter import assets
from rxmps3.runtime.clock import spawn

__all__ = ["TOKEN_CHARACTERS", "listening", "read_file", "serving"]

HOST = "127.0.0.1"
TOKEN_CHARACTERS = 32
"""Of a token from `Clock.new_id`: 160 random bits."""
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
        self._carriers = Carriers(model_of)
        self._token = token
        self._page = page
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
        return Response(read_file(self._page), media_type="text/html", headers=_HEADERS)

    async def _file(self, request: Request) -> Response:
        if not self._is_at_home(request):
            return PlainTextResponse("this is not the name of this server", 421, _HEADERS)
        name: str = request.path_params["name"]
        kind = _KINDS.get(name[name.rfind(".") :])
        try:
            text = None if kind is None or ".." in name else read_file(name)
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
        await self._carriers.serve(socket, socket.path_params["name"])


def read_file(name: str) -> str:
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
    async with listening(app.app, port) as app.host:
        yield f"http://{app.host}/?token={token}"


@asynccontextmanager
async def listening(app: Starlette, port: int = 0) -> AsyncGenerator[str]:
    """Run an application for this machine; signals are left to the program.

    Returns:
        Host and port.

    Raises:
        InvalidOption: the port is taken, or not allowed.
    """
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
        taken.listen()
    except (OSError, OverflowError) as error:
        taken.close()
        raise InvalidOption(
            f"cannot listen there: {error}", object=f"port {port}", remedy="give another --port, or none"
        ) from error
    config = uvicorn.Config(
        app, log_level="warning", lifespan="off", server_header=False, timeout_graceful_shutdown=_CLOSING_SECONDS
    )
    server = _Server(config)
    task = spawn(server.serve(sockets=[taken]), "rxmps3 studio server")
    try:
        yield f"{HOST}:{taken.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        taken.close()
