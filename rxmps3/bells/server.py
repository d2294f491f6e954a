"""The server behind ``rxmps3 bell``: a ring of a topic reaches all its listeners. It sees and keeps no data.

``GET /TOPIC`` is a stream of server-sent events, one empty one at first and one for each ring, with a comment in every
silence. ``POST /TOPIC`` rings. ``GET /`` is a health check. A topic is 32 hexadecimal digits. With a token, both
ask for ``Authorization: Bearer TOKEN``. Rings that arrive while a listener is being sent one are sent as one.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rxmps3.bells.lines import SILENCE
from rxmps3.errors import InvalidOption
from rxmps3.runtime.clock import spawn

__all__ = ["Belfry", "application", "serve"]

_TOPIC = re.compile(r"[0-9a-f]{32}")
MOST_LISTENERS = 10_000


class _Listener:
    def __init__(self, line: str) -> None:
        self.line = line
        self.rung = asyncio.Event()


class Belfry:
    """The topics and those who listen. For one event loop."""

    def __init__(self) -> None:
        self._topics: dict[str, set[_Listener]] = {}
        self._count = 0
        self._closing = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether it takes no more listeners."""
        return self._closing or self._count >= MOST_LISTENERS

    def ring(self, topic: str, line: str) -> None:
        """Tell the listeners of a topic, but not those of the line that rings."""
        for listener in self._topics.get(topic, ()):
            if not line or listener.line != line:
                listener.rung.set()

    async def events(self, topic: str, line: str) -> AsyncGenerator[bytes]:
        """The events for one listener, until it is closed."""
        listener = _Listener(line)
        self._topics.setdefault(topic, set()).add(listener)
        self._count += 1
        try:
            yield b"retry: 1000\ndata:\n\n"
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        await listener.rung.wait()
                except TimeoutError:
                    yield b":\n\n"
                    continue
                if self._closing:
                    return
                listener.rung.clear()
                yield b"data:\n\n"
        finally:
            self._count -= 1
            listeners = self._topics[topic]
            listeners.discard(listener)
            if not listeners:
                del self._topics[topic]

    def close(self) -> None:
        """End every stream."""
        self._closing = True
        for listeners in self._topics.values():
            for listener in listeners:
                listener.rung.set()


def application(belfry: Belfry, token: str) -> Starlette:
    """The web application.

    Args:
        token: what listeners and ringers have to know; empty asks for nothing.
    """

    def refusal(request: Request) -> Response | None:
        if token:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return PlainTextResponse("the token is missing or wrong\n", 401, {"WWW-Authenticate": "Bearer"})
        if not _TOPIC.fullmatch(request.path_params["topic"]):
            return PlainTextResponse("a topic is 32 hexadecimal digits\n", 404)
        return None

    async def home(_: Request) -> Response:
        return PlainTextResponse(f"an rxmps3 bell; {belfry.listeners} listen\n")

    async def topic(request: Request) -> Response:
        refused = refusal(request)
        if refused is not None:
            return refused
        name, line = request.path_params["topic"], request.headers.get("rxmps3-line", "")
        if request.method == "POST":
            belfry.ring(name, line)
            return Response(status_code=204)
        if belfry.is_full:
            return PlainTextResponse("too many listen\n", 503)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(belfry.events(name, line), media_type="text/event-stream", headers=headers)

    return Starlette(routes=[Route("/", home), Route("/{topic}", topic, methods=["GET", "POST"])])


class _Server(uvicorn.Server):
    """A server that ends its streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, belfry: Belfry) -> None:
        super().__init__(config)
        self._belfry = belfry

    async def shutdown(self, sockets: Any = None) -> None:
        self._belfry.close()
        await super().shutdown(sockets)


async def serve(
    sockets: list[Any], token: str, ready: Callable[[], None], *, certificate: str | None = None, key: str | None = None
) -> None:
    """Serve on sockets that are bound, until the task is cancelled or a signal comes.

    Args:
        token: as `application`.
        ready: called once nothing but serving is left to do.
        certificate, key: files in PEM, to speak HTTPS.

    Raises:
        InvalidOption: the certificate or its key cannot be used.
    """
    belfry = Belfry()
    config = uvicorn.Config(
        application(belfry, token),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=2,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:
        raise InvalidOption(f"the certificate cannot be used: {error}", object=str(certificate)) from error
    ready()
    server = _Server(config, belfry)
    serving = spawn(server.serve(sockets=sockets), "rxmps3 bell")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving
        raise
