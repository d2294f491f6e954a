"""What lies between one client and its server: delays, loses, repeats and damages, and tells another time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

from tests.processes.proxy import Proxy, _header, _read_body, _read_head


@dataclass
class Mischief:
    """What a `Meddler` does; each chance is that of one request.

    Attributes:
        delay: a request waits for up to half a second before it goes on.
        lose: the answer is lost, the connection breaks before the request arrives, or it is 503.
        repeat: a PUT or DELETE arrives once more, up to `later` seconds after it was answered.
        damage: of the body of an answer one bit is another, or its end is missing.
        shift: each ``Date`` is so much later than it is.
    """

    delay: float = 0.0
    lose: float = 0.0
    repeat: float = 0.0
    later: float = 8.0
    damage: float = 0.0
    shift: timedelta = timedelta()


class Meddler(Proxy):
    """A proxy for one client.

    Args:
        target: the server's endpoint.
        seed: decides what is done to which request.
    """

    def __init__(self, target: str, seed: int) -> None:
        super().__init__(target)
        self.mischief = Mischief()
        self.done: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._repeats: set[asyncio.Task[None]] = set()

    async def _serve_one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> bool:
        now = self.mischief
        head = await _read_head(reader)
        method = head.split(b" ", 1)[0].decode()
        self.done["requests"] += 1
        if _header(head, b"expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read_body(reader, head)
        if self._happens(now.delay, "delayed"):
            await asyncio.sleep(self._rng.uniform(0, 0.5))
        lost = self._rng.choice(("answer lost", "cut", "503")) if self._rng.random() < now.lose else ""
        if lost:
            self.done[lost] += 1
        if lost == "cut":
            return False
        if lost == "503":
            writer.write(self._refusal("slow down", method))
            await writer.drain()
            return True
        if method in ("PUT", "DELETE") and self._happens(now.repeat, "repeated"):
            task = asyncio.create_task(self._again(head + body, self._rng.uniform(0.2, now.later)))
            self._repeats.add(task)
            task.add_done_callback(self._repeats.discard)
        upstream.write(head + body)
        await upstream.drain()
        answer, payload = await _answer(answers, method)
        if lost:
            return False
        if method == "GET" and answer.startswith(b"HTTP/1.1 200") and payload and self._happens(now.damage, "damaged"):
            return await self._damage(writer, answer, payload)
        writer.write(_shifted(answer, now.shift) + payload)
        await writer.drain()
        return True

    async def _cut(self) -> None:
        for task in list(self._repeats):
            task.cancel()
        await asyncio.gather(*self._repeats, return_exceptions=True)
        await super()._cut()

    def _happens(self, chance: float, what: str) -> bool:
        happens = self._rng.random() < chance
        if happens:
            self.done[what] += 1
        return happens

    async def _damage(self, writer: asyncio.StreamWriter, answer: bytes, payload: bytes) -> bool:
        """One bit flipped; cut short, with a length that fits, or with one that does not."""
        kind = self._rng.choice(("bit", "bit", "short", "broken off"))
        if _header(answer, b"content-length") is None:
            kind = "bit"
        if kind == "bit":
            at = self._rng.randrange(len(payload))
            payload = payload[:at] + bytes([payload[at] ^ 1 << self._rng.randrange(8)]) + payload[at + 1 :]
        else:
            payload = payload[: self._rng.randrange(len(payload))]
        if kind == "short":
            lines = [line for line in answer.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
            lines.insert(1, b"Content-Length: %d" % len(payload))
            answer = b"\r\n".join(lines)
        writer.write(answer + payload)
        await writer.drain()
        return kind != "broken off"

    async def _again(self, request: bytes, after: float) -> None:
        await asyncio.sleep(after)
        try:
            answers, upstream = await asyncio.open_connection(*self._target, limit=1 << 20)
        except OSError:
            return
        try:
            upstream.write(request)
            await upstream.drain()
            await _answer(answers, "PUT")
        except (OSError, EOFError):
            pass
        finally:
            upstream.transport.abort()


async def _answer(answers: asyncio.StreamReader, method: str) -> tuple[bytes, bytes]:
    head = await _read_head(answers)
    while head.split(b" ", 2)[1].startswith(b"1"):
        head = await _read_head(answers)
    if method == "HEAD" or int(head.split(b" ", 2)[1]) in (204, 304):
        return head, b""
    return head, await _read_body(answers, head)


def _shifted(head: bytes, by: timedelta) -> bytes:
    date = _header(head, b"date")
    if not by or date is None:
        return head
    other = format_datetime(parsedate_to_datetime(date.decode()) + by, usegmt=True).encode()
    lines = [b"Date: " + other if line.lower().startswith(b"date:") else line for line in head.split(b"\r\n")]
    return b"\r\n".join(lines)
