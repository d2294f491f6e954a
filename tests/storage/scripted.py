"""An HTTP server that says what a test tells it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DATE = "Sun, 22 Nov 2026 10:00:00 GMT"


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """One answer; ``cut`` closes the connection after that many bytes of the body, ``hang`` never ends it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cut: int | None = None
    hang: bool = False


def refusal(status: int, code: str, **headers: str) -> Answer:
    """An answer with S3's error document."""
    body = f"<Error><Code>{code}</Code><Message>the message</Message></Error>".encode()
    return Answer(status, body, {"Content-Type": "application/xml", **headers})


class ScriptedServer:
    """Gives the answers of a script, the last one again and again; None closes the connection without an answer."""

    def __init__(self, *script: Answer | Callable[[Asked], Answer] | None, tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script)
        self._tls = tls
        self.asked: list[Asked] = []
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> ScriptedServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        while self._writers:
            await asyncio.sleep(0.001)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        return self._server.sockets[0].getsockname()[1]

    @property
    def options(self) -> dict[str, Any]:
        return {
            "endpoint_url": f"http://127.0.0.1:{self.port}",
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
            "region_name": "eu-central-1",
        }

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.asked.append(Asked(method, path, headers, body))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if answer is None:
            return False
        if callable(answer):
            answer = answer(self.asked[-1])
        lines = {"Date": DATE, "Content-Length": str(len(answer.body)), **answer.headers}
        writer.write(f"HTTP/1.1 {answer.status} Status\r\n".encode())
        writer.write("".join(f"{name}: {value}\r\n" for name, value in lines.items() if value).encode() + b"\r\n")
        if answer.status != 304:
            writer.write(answer.body[: answer.cut])
        await writer.drain()
        if answer.hang:
            await reader.read(1)
        return answer.cut is None and not answer.hang
