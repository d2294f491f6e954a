"""A plain page that shows view models: no notebook, the sources as they are, a websocket as the carrier."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from rxmps3.jupyter.assets import source
from rxmps3.jupyter.viewmodel import Message, ViewModel

PAGE = """<!doctype html>
<html lang="en" theme="%(theme)s"><meta charset="utf-8"><title>rxmps3</title>
<link rel="stylesheet" href="/static/vendor/uplot.css"><link rel="stylesheet" href="/static/rxmps3.css"><link rel="icon" href="data:,">
<style>html[theme="dark"] { background: #15181e } body { margin: 4px; display: grid } body > div { padding: 12px }</style>
<body>
<script type="module">
class Model {
  constructor(name) {
    this.heard = {}; this.state = {}; this.sent = []; this.received = [];
    this.socket = new WebSocket(`ws://${location.host}/ws/${name}`);
    this.socket.onmessage = ({ data }) => {
      const one = JSON.parse(data);
      this.received.push(data.length);
      if (one.state) { Object.assign(this.state, one.state); this.loaded(); return; }
      if (one.message) { for (const fn of this.heard.message ?? []) fn(one.message); return; }
      this.state[one.name] = one.value;
      for (const fn of this.heard[one.name] ?? []) fn(one.value);
    };
    this.ready = new Promise((loaded) => { this.loaded = loaded; });
  }
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = value; this.socket.send(JSON.stringify({ name, value })); }
  on(name, fn) {
    (this.heard[name] ??= []).push(fn);
    return () => { this.heard[name] = this.heard[name].filter((one) => one !== fn); };
  }
  send(message) { this.sent.push(message); this.socket.send(JSON.stringify({ message })); }
}
window.models = {};
window.ends = {};
for (const [name, view] of %(views)s) {
  const model = window.models[name] = new Model(name);
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


class Socket:
    """Carries one view model to one page."""

    def __init__(self, carriers: list[Socket], socket: web.WebSocketResponse) -> None:
        self._carriers = carriers
        self.socket = socket
        self.tasks: set[Any] = set()

    def send_text(self, text: str) -> None:
        task = asyncio.get_running_loop().create_task(self._send(text))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _send(self, text: str) -> None:
        with contextlib.suppress(ConnectionError):  # the page has gone
            await self.socket.send_str(text)


class Sockets:
    """All pages of one view model."""

    def __init__(self) -> None:
        self.pages: list[Socket] = []

    def set_state(self, name: str, value: Any) -> None:
        self._all({"name": name, "value": value})

    def send(self, message: Message) -> None:
        self._all({"message": dict(message)})

    def _all(self, what: Any) -> None:
        text = json.dumps(what, allow_nan=False)
        for page in self.pages:
            page.send_text(text)


@asynccontextmanager
async def bare_page(models: Mapping[str, ViewModel]) -> AsyncIterator[str]:
    """Serve view models; the URL of the page, to which ``?theme=dark`` may be added."""
    carriers = {name: Sockets() for name in models}
    for name, model in models.items():
        model.attach(carriers[name])

    async def page(request: web.Request) -> web.Response:
        asked = request.query.getall("view", list(models))
        views = json.dumps([[name, models[name].view] for name in asked])
        text = PAGE % {"theme": request.query.get("theme", "light"), "views": views}
        return web.Response(text=text, content_type="text/html")

    async def static(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return web.Response(text=source(name), content_type=kind)

    async def socket(request: web.Request) -> web.WebSocketResponse:
        name = request.match_info["name"]
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        one = Socket(carriers[name].pages, answer)
        carriers[name].pages.append(one)
        await answer.send_str(json.dumps({"state": models[name].state}))
        async for heard in answer:
            if heard.type is WSMsgType.TEXT:
                said = json.loads(heard.data)
                if "message" in said:
                    models[name].receive(said["message"])
                else:
                    models[name].changed(said["name"], said["value"])
        carriers[name].pages.remove(one)
        return answer

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/static/{name:.+}", static)
    app.router.add_get("/ws/{name}", socket)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()
