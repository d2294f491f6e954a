"""Streams for web pages, with FastAPI or Starlette: server-sent events, and a websocket both ways.

::

    app = FastAPI()

    @app.get("/numbers")
    async def numbers():
        return sse(db.observe("number"))

    @app.get("/todo")
    async def todo(request: Request):
        return sse_prefix(db, "todo/", request)

    @app.websocket("/ws")
    async def both_ways(socket: WebSocket):
        await serve_websocket(db, socket, "todo/", write=True)

`client_js` is a client for web pages, in plain JavaScript. Who may open these addresses is the business of the
application, as is the origin that a websocket comes from.

For a page and nothing else there is `serve_page`, which runs a server on this machine::

    async with rxmps3.connect("file:todo", live=True) as db:
        await serve_page(db, Path("todo.html").read_text("utf-8"), "todo/", write=True)
"""

from __future__ import annotations

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final, cast

from reactivex import Observable
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from rxmps3.database.database import Database
from rxmps3.errors import InvalidOption, Overloaded, unforeseen
from rxmps3.homes._resuming import Content, Shown, pages_of
from rxmps3.model.missing import MISSING
from rxmps3.model.valuetext import Blob
from rxmps3.operators import to_async_iterator
from rxmps3.runtime.clock import spawn

__all__ = ["client_js", "page_app", "serve_page", "serve_websocket", "sse", "sse_prefix"]

QUIET_SECONDS = 15.0
"""An event ``quiet`` is sent this often while there is nothing else: proxies keep the connection, and a page that hears
nothing for longer knows that it is broken, as after a computer was asleep."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def client_js() -> str:
    """The source of a JavaScript module for web pages: ``import { connect } from …``."""
    return files("rxmps3.homes").joinpath("static", "rxmps3.js").read_text("utf-8")


def sse(source: Observable[Any], encode: Callable[[Any], Any] = lambda item: item) -> StreamingResponse:
    """The items of an Observable as server-sent events, each as JSON; bytes as ``{"bytes": BASE64, "type": …}``.

    A slow page gets the newest item and skips those between. The stream ends when the source does: an error is an
    event ``failed`` with its text, completion an event ``completed``. While there is nothing to send there is an event
    ``quiet`` every 15 seconds.

    Args:
        source: any Observable; it is subscribed to when the response begins and disposed when the page goes.
        encode: returns what JSON can express of an item.
    """

    async def events() -> AsyncGenerator[str]:
        try:
            async with source.pipe(to_async_iterator(keep=1)) as items:
                async for item in _kept_open(items):
                    yield _QUIET if item is _NOTHING else _event(encode(item))
        except Exception as error:
            yield _event(str(error), event="failed")
        else:
            yield _event(None, event="completed")

    return _response(events())


def sse_prefix(db: Database, prefix: str, request: Request) -> StreamingResponse:
    """The values under a prefix as server-sent events: the whole content first, then what changes.

    The events are ``content``, a mapping of keys to values, and ``change``, a mapping of the changed keys to
    ``{"value": …}``, or to ``{}`` where a key was deleted; bytes and quiet are as in `sse`. Each event has an id, which
    names the content that the page has then. A browser that connects again sends the last one (``Last-Event-ID``) and
    gets what differs, if this process sent that content within the last minute or the log still has it; otherwise, as
    from another log, the whole content. Only the sequenced protocol keeps a past.

    Args:
        db: the database.
        prefix: which keys.
        request: the request, for its ``Last-Event-ID``.
    """
    last = request.headers.get("last-event-id", "")

    async def events() -> AsyncGenerator[str]:
        try:
            async for said in _kept_open(_content_and_changes(db, prefix, last)):
                yield _QUIET if said is _NOTHING else _event(said["data"], event=said["event"], id=said.get("id", ""))
        except Exception as error:
            yield _event(str(unforeseen(error)), event="failed")
        else:
            yield _event(None, event="completed")

    return _response(events())


async def serve_websocket(db: Database, socket: WebSocket, prefix: str = "", *, write: bool = False) -> None:
    """Serve a page by a websocket until it goes or the database closes.

    It sends what `sse_prefix` sends, as JSON objects with ``event``, ``data`` and ``version``, a version of the log
    that it includes. If ``write`` is set, a page may send ``{"put": {key: value}, "delete": [key], "ask": anything}``,
    one atomic write of keys under the prefix; the answer is ``{"event": "committed", "ask": …, "version": …}``, or
    ``"rejected"`` with ``error``.

    Args:
        db: the database.
        socket: the websocket, not yet accepted.
        prefix: the keys that the page sees, and may write.
        write: whether it may.
    """
    await socket.accept()
    sending = asyncio.Lock()

    async def send(said: Mapping[str, Any]) -> None:
        async with sending:
            with suppress(WebSocketDisconnect, RuntimeError):  # the page has gone, which receiving tells
                await socket.send_text(_json(said))

    async def follow() -> None:
        try:
            async for said in _kept_open(_content_and_changes(db, prefix, None)):
                await send({"event": "quiet"} if said is _NOTHING else said)
        except Exception as error:
            await send({"event": "failed", "error": str(unforeseen(error))})
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.close()

    tasks: set[asyncio.Task[None]] = {spawn(follow(), "rxmps3 websocket")}
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                break
            text = message.get("text") or ""  # a binary message is refused
            task = spawn(_written(db, prefix, text, write, send), "rxmps3 websocket write")
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def page_app(db: Database, html: str, prefix: str = "", *, write: bool = False) -> Starlette:
    """An application with one page, at ``/``; at ``/rxmps3.js`` the client and at ``/ws`` the websocket that it uses.

    The websocket is closed to pages of other origins.

    Args:
        db: the database.
        html: the source of the page.
        prefix: the keys that the page sees, and may write.
        write: whether it may.
    """

    async def start(request: Request) -> Response:
        return HTMLResponse(html)

    async def client(request: Request) -> Response:
        return Response(client_js(), media_type="text/javascript")

    async def both_ways(page: WebSocket) -> None:
        origin, host = page.headers.get("origin"), page.headers.get("host")
        if origin in (f"http://{host}", f"https://{host}"):
            await serve_websocket(db, page, prefix, write=write)
        else:
            await page.close()

    return Starlette(routes=[Route("/", start), Route("/rxmps3.js", client), WebSocketRoute("/ws", both_ways)])


async def serve_page(db: Database, html: str, prefix: str = "", *, write: bool = False, port: int = 8000) -> None:
    """Serve `page_app` on 127.0.0.1 until the process is interrupted or asked to end; its address is printed.

    Args:
        db: the database.
        html: the source of the page.
        prefix: the keys that the page sees, and may write.
        write: whether it may.
        port: where to listen; 0 for any free one.

    Raises:
        InvalidOption: the port is taken, or may not be used.
    """
    import uvicorn

    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        what = f"port {port}: {error.strerror}"
        raise InvalidOption(what, operation="serve_page", remedy="choose another port") from error
    with listening:

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)  # now an interruption ends it well

        app = page_app(db, html, prefix, write=write)
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        await Server(config).serve(sockets=[listening])


async def _written(db: Database, prefix: str, text: str, write: bool, send: Callable[..., Any]) -> None:
    """Do what a page asks, and answer."""
    asked: Any = None
    try:
        said = _checked(text)
        asked = said.get("ask")
        if not write:
            raise InvalidOption("this page may only read", operation="put")
        values: dict[str, Any] = {**said.get("put", {}), **dict.fromkeys(said.get("delete", []), MISSING)}
        for key in values:
            if not key.startswith(prefix):
                raise InvalidOption(
                    f"only keys under {prefix!r} may be written", operation="put", object=f"key {key!r}"
                )
        version = await db.put_all(values)
    except Exception as error:  # whatever it was: the page waits for an answer
        await send({"event": "rejected", "ask": asked, "error": str(unforeseen(error))})
    else:
        await send({"event": "committed", "ask": asked, "version": version})


def _checked(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise InvalidOption(f"not JSON: {error}", operation="put") from error
    if not isinstance(said, dict):
        raise InvalidOption("not a JSON object", operation="put")
    members = cast("dict[str, Any]", said)
    put, delete = members.get("put", {}), members.get("delete", [])
    if not isinstance(put, dict) or not isinstance(delete, list):
        raise InvalidOption('"put" is an object and "delete" a list', operation="put")
    if not all(isinstance(key, str) for key in cast("list[Any]", delete)):
        raise InvalidOption('"delete" is a list of keys', operation="put")
    return members


# -- content and changes -------------------------------------------------------------------------------------------

_NOTHING: Final = object()
_QUIET = "event: quiet\ndata: null\n\n"


async def _content_and_changes(db: Database, prefix: str, last: str | None) -> AsyncGenerator[dict[str, Any]]:
    """The content or, if that of the id ``last`` is found again, what differs from it; then each change.

    Each with an id, unless ``last`` is None: who sends that does not resume.
    """
    pages = pages_of(db)
    since = await pages.found_again(db, prefix, last) if last else None
    with pages.page(db, prefix) as (to_show, sent):
        if since is not None:
            sent.add(since)
        while True:
            begun = False
            try:
                async with to_show.pipe(to_async_iterator(keep="all")) as items:
                    async for shown in items:
                        event = "change" if begun or since is not None else "content"
                        data = _told(shown, begun, since)
                        sent.add(shown.content)
                        begun = True
                        if data or event == "content":
                            id = {} if last is None else {"id": shown.id}
                            yield {"event": event, "data": data, "version": shown.included, **id}
                return
            except Overloaded:
                since = None  # the page is far behind: it gets the content anew


def _told(shown: Shown, begun: bool, since: Content | None) -> dict[str, Any]:
    """What a page is told of what it is to show: all of it, what differs from what it has, or the change."""
    if begun:
        return {delta.key: _said(delta.after) for delta in shown.changes}
    if since is None:
        return shown.values.to_dict()
    return {key: _said(shown.values.get(key, MISSING)) for key in since.differing(shown.content)}


def _said(value: Any) -> dict[str, Any]:
    return {} if value is MISSING else {"value": value}


async def _kept_open(items: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    """The items, and `_NOTHING` whenever there was none for a while."""

    async def following() -> Any:
        return await anext(items)

    waiting: asyncio.Task[Any] | None = None
    try:
        while True:
            waiting = waiting or asyncio.get_running_loop().create_task(following())
            done, _ = await asyncio.wait([waiting], timeout=QUIET_SECONDS)
            if not done:
                yield _NOTHING
                continue
            arrived, waiting = waiting, None
            try:
                item = arrived.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if waiting is not None:
            waiting.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await waiting


def _event(data: Any, *, event: str = "", id: str = "") -> str:
    lines = [f"event: {event}"] if event else []
    lines += [f"id: {id}"] if id else []
    return "\n".join([*lines, f"data: {_json(data)}", "", ""])


def _json(value: Any) -> str:
    return json.dumps(value, default=_as_json)


def _as_json(value: Any) -> Any:
    """Bytes, as `rxmps3 get --json` shows them."""
    if isinstance(value, Blob):
        return {"bytes": b64encode(value).decode(), "type": value.content_type}
    raise TypeError(f"{type(value).__name__} is not JSON")


def _response(events: AsyncGenerator[str]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)
