"""A bell over NATS (https://nats.io)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rxmps3.bells.lines import HANDSHAKE, SILENCE, Line, LineBell, Tell, needs
from rxmps3.bells.protocol import Rung
from rxmps3.errors import AccessDenied, Unavailable
from rxmps3.storage.urls import without_secrets

__all__ = ["NatsBell"]


@dataclass(frozen=True)
class NatsBell(LineBell):
    """See `rxmps3.bells.nats`."""

    url: str = field(repr=False)
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)

    def __post_init__(self) -> None:
        needs("nats", "nats")

    @property
    def place(self) -> str:
        return without_secrets(self.url)

    def _new_line(self) -> Line:
        return _NatsLine(self)


class _NatsLine(Line):
    def __init__(self, bell: NatsBell) -> None:
        self._bell = bell
        self._client: Any = None
        self._lost: asyncio.Future[None] | None = None
        self._opening = asyncio.Lock()

    async def listen(self, topic: str, tell: Tell) -> None:
        client, lost = await self._connected()

        async def take(_: Any) -> None:
            tell(Rung())

        subscription = await client.subscribe(_subject(topic), cb=take)
        try:
            await client.flush(timeout=HANDSHAKE)  # the server has the subscription
            tell(Rung())
            await asyncio.shield(lost)
        finally:
            if not client.is_closed:
                await subscription.unsubscribe()

    async def ring(self, topic: str) -> None:
        client, _ = await self._connected()
        await client.publish(_subject(topic), b"")
        await client.flush(timeout=HANDSHAKE)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self) -> tuple[Any, asyncio.Future[None]]:
        """The client, and what fails once it has lost its connection."""
        async with self._opening:
            if self._client is None or self._client.is_closed or self._lost is None or self._lost.done():
                await self.close()
                self._client, self._lost = await self._connect()
            return self._client, self._lost

    async def _connect(self) -> tuple[Any, asyncio.Future[None]]:
        from nats import errors
        from nats.aio.client import Client

        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lost.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody need wait for it
        refused = False

        async def fail() -> None:
            if not lost.done():
                lost.set_exception(
                    AccessDenied("the server refused", operation="listen", object=str(self._bell))
                    if refused
                    else Unavailable("the connection was lost", operation="listen", object=str(self._bell))
                )

        async def hear(error: Exception) -> None:
            nonlocal refused
            refused = refused or isinstance(error, errors.AuthorizationError) or "permissions violation" in str(error)
            if refused:
                await fail()

        settings: dict[str, Any] = {
            "allow_reconnect": False,
            "no_echo": True,
            "connect_timeout": HANDSHAKE,
            "ping_interval": SILENCE,
            "max_outstanding_pings": 1,
            "error_cb": hear,
            "disconnected_cb": fail,
            "closed_cb": fail,
            **self._bell.options,
        }
        client: Any = Client()
        try:
            await client.connect(self._bell.url, **settings)
        except BaseException as error:
            with suppress(Exception):
                await client.close()  # it leaves its socket open
            if refused or isinstance(error, errors.AuthorizationError) or "uthorization" in str(error):
                raise AccessDenied(
                    "the server refuses these credentials", operation="connect", object=str(self._bell)
                ) from error
            raise
        return client, lost


def _subject(topic: str) -> str:
    return f"rxmps3.{topic}"
