"""A plain page that shows view models: no notebook, the sources as they are, the studio's carrier without its guards."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from rxmps3.cli.studio.carrier import Carriers
from rxmps3.cli.studio.server import listening, read_file
from rxmps3.jupyter.viewmodel import ViewModel

PAGE = """<!doctype html>
<html lang="en" theme="%(theme)s"><meta charset="utf-8"><title>rxmps3</title>
<link rel="stylesheet" href="/static/vendor/uplot.css"><link rel="stylesheet" href="/static/rxmps3.css"><link rel="icon" href="data:,">
<style>html[theme="dark"] { background: #15181e } body { margin: 4px; display: grid; grid-template-columns: minmax(0, 1fr) } body > div { padding: 12px }</style>
<body>
<script type="module">
import { Model } from "/static/carrier.js";
class Measured extends Model {
  received = [];
  heard(said) {
    this.received.push(JSON.stringify(said).length);
    super.heard(said);
  }
}
window.models = {};
window.ends = {};
for (const [name, view] of %(views)s) {
  const model = window.models[name] = new Measured(name);
  const { render } = await import(`/static/${view}.js`);
  await model.ready;
  const el = document.createElement("div");
  el.id = name;
  document.body.append(el);
  window.ends[name] = render(model, el);
}
window.shown = true;
</script>
"""


@asynccontextmanager
async def bare_page(models: Mapping[str, ViewModel]) -> AsyncIterator[str]:
    """Serve view models; the URL of the page, to which ``?theme=dark`` may be added."""
    carriers = Carriers(models.get)

    async def page(request: Request) -> Response:
        views = json.dumps([[name, model.view] for name, model in models.items()])
        return HTMLResponse(PAGE % {"theme": request.query_params.get("theme", "light"), "views": views})

    async def static(request: Request) -> Response:
        name: str = request.path_params["name"]
        return Response(read_file(name), media_type="text/css" if name.endswith(".css") else "text/javascript")

    async def socket(socket: WebSocket) -> None:
        await carriers.serve(socket, socket.path_params["name"])

    routes = [Route("/", page), Route("/static/{name:path}", static), WebSocketRoute("/ws/{name}", socket)]
    async with listening(Starlette(routes=routes)) as host:
        yield f"http://{host}/"
