"""A proxy in front of an S3 server that a test can cut, heal, and tell to spoil requests."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.servers import HOST

Verdict = Literal["pass", "drop answer", "cut", "slow down", "deny", "too large", "bad"]
"""What happens to a request: carried out; carried out and its answer lost; the connection breaks before it arrives;
503 SlowDown; 403 AccessDenied; 400 EntityTooLarge; 400 InvalidRequest."""
_REFUSALS: dict[Verdict, tuple[str, str]] = {
    "slow down": ("503 Slow Down", "SlowDown"),
    "deny": ("403 Forbidden", "AccessDenied"),
    "too large": ("400 Bad Request", "EntityTooLarge"),
    "bad": ("400 Bad Request", "InvalidRequest"),
}


@dataclass(frozen=True)
class Seen:
    """A request as the proxy sees it; the size is that of its body, in bytes."""

    method: str
    path: str
    size: int = 0


Plan = Callable[[Seen], Verdict]
Alter = Callable[[Seen, bytes, bytes], tuple[bytes, bytes]]
"""Changes the head and the body of an answer on their way."""


def passing(seen: Seen) -> Verdict:
    """Everything goes through."""
    return "pass"


def deny_all(seen: Seen) -> Verdict:
    """The credentials are not good any more."""
    return "deny"


def storm(one_in: int, seed: int = 0) -> Plan:
    """One request in so many meets with one of: its answer is lost, its connection breaks, 503."""
    rng = random.Random(seed)
    lock = threading.Lock()

    def plan(seen: Seen) -> Verdict:
        with lock:
            return rng.choice(("drop answer", "cut", "slow down")) if rng.randrange(one_in) == 0 else "pass"

    return plan


class Proxy:
    """Listens on a port of its own, in a thread of its own, and forwards to one server.

    Args:
        target: the server's endpoint, ``http://host:port``.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._plan: Plan = passing
        self.retry_after: str | None = None
        """What a 503 names as ``Retry-After``."""
        self.alter: Alter | None = None
        self.kept: list[tuple[Seen, bytes]] = []
        """Requests that went through, to be delivered once more, while ``keeping``."""
        self.keeping = False
        self.verdicts: Counter[Verdict] = Counter()
        self.seen: list[Seen] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        with socket.socket() as free:
            free.bind((HOST, 0))
            self._port = free.getsockname()[1]

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def plan(self) -> Plan:
        """What happens to each request; may be set at any time."""
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self._plan = plan

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `heal`."""
        self._run(self._cut())

    def heal(self) -> None:
        """Take connections."""
        self._run(self._heal())

    def deliver_again(self, seen: Seen) -> None:
        """Deliver the kept requests that are like this one to the server once more."""
        for request in [request for kept, request in self.kept if kept == seen]:
            self._run(self._deliver(request))

    async def _deliver(self, request: bytes) -> None:
        answers, upstream = await asyncio.open_connection(*self._target, limit=1 << 20)
        upstream.write(request)
        await upstream.drain()
        await _read_head(answers)
        upstream.transport.abort()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _heal(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, HOST, self._port, limit=1 << 20)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(*self._target, limit=1 << 20)
            while await self._serve_one(reader, writer, answers, upstream):
                pass
        except (OSError, EOFError, asyncio.IncompleteReadError):
            pass
        finally:
            for stream in (writer, upstream):
                if stream is not None:
                    stream.transport.abort()

    async def _serve_one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> bool:
        head = await _read_head(reader)
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        seen = Seen(method, path, int(_header(head, b"content-length") or 0))
        verdict = self._plan(seen)
        self.verdicts[verdict] += 1
        self.seen.append(seen)
        if verdict == "cut":
            return False
        if _header(head, b"expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read_body(reader, head)
        if verdict in _REFUSALS:
            writer.write(self._refusal(verdict, method))
            await writer.drain()
            return True
        if self.keeping:
            self.kept.append((seen, head + body))
        upstream.write(head + body)
        await upstream.drain()
        answer = await _read_head(answers)
        while answer.split(b" ", 2)[1].startswith(b"1"):
            answer = await _read_head(answers)
        status = int(answer.split(b" ", 2)[1])
        content = b""
        if method != "HEAD" and status not in (204, 304):
            content = await _read_body(answers, answer)
        if self.alter is not None:
            answer, content = self.alter(seen, answer, content)
        answer += content
        if verdict == "drop answer":
            return False
        writer.write(answer)
        await writer.drain()
        return True

    def _refusal(self, verdict: Verdict, method: str) -> bytes:
        status, code = _REFUSALS[verdict]
        body = b"" if method == "HEAD" else f"<Error><Code>{code}</Code><Message>test</Message></Error>".encode()
        asked = (
            f"Retry-After: {self.retry_after}\r\n" if self.retry_after is not None and verdict == "slow down" else ""
        )
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n{asked}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body of a message, as it came."""
    if (_header(head, b"transfer-encoding") or b"").lower() == b"chunked":
        body = b""
        while True:
            line = await reader.readline()
            size = int(line.split(b";")[0], 16)
            chunk = await reader.readexactly(size + 2)
            body += line + chunk
            if size == 0:
                return body
    return await reader.readexactly(int(_header(head, b"content-length") or 0))
