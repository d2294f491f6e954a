"""The command that runs a server: bell."""

from __future__ import annotations

import asyncio
import socket
from typing import Annotated

import typer

from rxmps3.bells.lines import needs, new_id
from rxmps3.cli.commands import CODES, app
from rxmps3.cli.options import AsJson
from rxmps3.cli.terminal import Exit, Terminal, let_go_of_stdout
from rxmps3.errors import Error, InvalidOption, Unavailable

_TOKEN_CHARACTERS = 32


@app.command(epilog=CODES)
def bell(
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8787,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="RXMPS3_BELL_TOKEN",
            help="The secret that clients need; a new one if none is given.",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        str | None, typer.Option("--certificate", metavar="FILE", help="Speak HTTPS, with this certificate (PEM).")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="FILE", help="The certificate's private key, if it is not in it.")
    ] = None,
    json: AsJson = False,
) -> int:
    """Run a bell: writers ring it after a commit, and readers of the database hear that.

    It receives no keys, values or names, only a hash of the database's address, and keeps nothing. Start
    it again at any time: clients find it again, and meanwhile look for news by themselves.
    """
    terminal = Terminal("bell", as_json=json)
    try:
        return _serve(terminal, host, port, token, certificate, key)
    except Error as error:
        return terminal.fail(error)
    except KeyboardInterrupt:
        return Exit.OK
    except BrokenPipeError:
        let_go_of_stdout()
        return Exit.OK


def _serve(
    terminal: Terminal, host: str, port: int, token: str | None, certificate: str | None, key: str | None
) -> int:
    needs("starlette", "bell")
    needs("uvicorn", "bell")
    from rxmps3.bells.server import serve

    if key is not None and certificate is None:
        raise InvalidOption("--key needs --certificate")
    if token == "":
        raise InvalidOption("--token is empty, which would let everybody in", remedy="leave it out for a new one")
    known = token if token is not None else "".join(new_id() for _ in range(3))[:_TOKEN_CHARACTERS]
    scheme = "https" if certificate is not None else "http"
    name = f"[{host}]" if ":" in host else host
    with _bound(host, port) as listening:
        place = f"{name}:{listening.getsockname()[1]}"

        def announce() -> None:
            if terminal.as_json:
                terminal.record({"url": f"{scheme}://{place}", "token": known})
            else:
                terminal.line(("a bell at ", ""), (f"{scheme}://{place}", "bold"))
                secret = f"{known}@" if token is None else ""
                terminal.line((f'connect(…, bell="{scheme}://{secret}{place}")', "dim"))

        asyncio.run(serve([listening], known, announce, certificate=certificate, key=key))
    return Exit.OK


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server((host, port), family=found[0][0], backlog=2048)
    except OSError as error:
        raise Unavailable(
            f"cannot listen there: {error.strerror or error}", operation="bell", object=f"{host}:{port}"
        ) from error
