"""A bell over HTTP: the server of ``rxmps3 bell``, by server-sent events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rxmps3.bells.lines import HANDSHAKE, SILENCE, Line, LineBell, Tell, new_id
from rxmps3.bells.protocol import Rung
from rxmps3.errors import AccessDenied, InvalidOption, Throttled, Unavailable
from rxmps3.storage.urls import without_secrets

__all__ = ["HttpBell"]


@dataclass(frozen=True)
class HttpBell(LineBell):
    """See `rxmps3.bells.http`."""

    url: str = field(repr=False)
    token: str = field(default="", repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidOption(f"the URL of a bell begins with http:// or https://, not {self.place!r}")

    @property
    def place(self) -> str:
        return without_secrets(self.url).rstrip("/")

    def _new_line(self) -> Line:
        return _HttpLine(self)


class _HttpLine(Line):
    def __init__(self, bell: HttpBell) -> None:
        self._bell = bell
        self._id = new_id()
        self._session: Any = None

    async def listen(self, topic: str, tell: Tell) -> None:
        # the server sends a comment in every silence: two missing ones mean that it is gone
        async with self._connected().get(self._address(topic), timeout=self._timeout(2 * SILENCE)) as answer:
            self._check(answer, "listen")
            async for line in answer.content:
                if line.startswith(b"data:"):
                    tell(Rung())
        raise Unavailable("the server closed the connection", operation="listen", object=str(self._bell))

    async def ring(self, topic: str) -> None:
        async with self._connected().post(self._address(topic), timeout=self._timeout(HANDSHAKE)) as answer:
            self._check(answer, "ring")

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _connected(self) -> Any:
        if self._session is None:
            import aiohttp

            headers = {"Rxmps3-Line": self._id}
            if self._bell.token:
                headers["Authorization"] = f"Bearer {self._bell.token}"
            self._session = aiohttp.ClientSession(headers=headers, trust_env=True)
        return self._session

    def _timeout(self, silence: float) -> Any:
        import aiohttp

        return aiohttp.ClientTimeout(sock_connect=HANDSHAKE, sock_read=silence)

    def _address(self, topic: str) -> str:
        return f"{self._bell.url.rstrip('/')}/{topic}"

    def _check(self, answer: Any, operation: str) -> None:
        status: int = answer.status
        if status in (200, 204):
            return
        where = str(self._bell)
        if status in (401, 403):
            raise AccessDenied("the server refuses this token", operation=operation, object=where)
        if status in (429, 503):
            raise Throttled(f"the server answers {status}", operation=operation, object=where)
        raise Unavailable(
            f"the server answers {status}: is this the address of an rxmps3 bell?", operation=operation, object=where
        )
