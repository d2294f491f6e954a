"""A to-do list for several browsers: a small web server, and a page that everybody who opens it shares.

    pip install 'rxmps3[web]'
    python examples/todo.py
    python examples/todo.py s3://BUCKET/PREFIX --port 8080

The server keeps nothing: end it, start it again or start a second one, and the pages go on. Each page shows what is
written anywhere, also by `rxmps3 put`.
"""

import argparse
import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route, WebSocketRoute
except ImportError as error:
    sys.exit(f"{error}: pip install 'rxmps3[web]'")

import rxmps3
from rxmps3.homes.web import client_js, serve_websocket

PAGE = Path(__file__).with_name("todo.html")


def app(url):
    databases = []

    @asynccontextmanager
    async def life(app):
        async with rxmps3.connect(url, by="todo", live=True, poll=0.5) as db:
            databases.append(db)
            yield

    async def page(request):
        return HTMLResponse(PAGE.read_text("utf-8"))

    async def client(request):
        return Response(client_js(), media_type="text/javascript")

    async def both_ways(socket):
        if socket.headers.get("origin") == f"http://{socket.headers.get('host')}":  # not for pages of others
            await serve_websocket(databases[0], socket, "todo/", write=True)
        else:
            await socket.close()

    routes = [Route("/", page), Route("/rxmps3.js", client), WebSocketRoute("/ws", both_ways)]
    return Starlette(routes=routes, lifespan=life)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="file:todo", help="where the list is kept")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        async with rxmps3.connect(arguments.url, read_only=True):
            pass  # what is wrong with the URL is better said before a server runs
    except rxmps3.Error as error:
        sys.exit(str(error))
    server = uvicorn.Server(
        uvicorn.Config(app(arguments.url), port=arguments.port, log_level="warning", timeout_graceful_shutdown=1)
    )
    print(f"http://127.0.0.1:{arguments.port}/")
    await server.serve()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
