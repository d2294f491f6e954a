"""A bell over the publish and subscribe of Redis, or of a server that speaks its protocol, such as Valkey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rxmps3.bells.lines import HANDSHAKE, SILENCE, Line, LineBell, Tell, needs, new_id
from rxmps3.bells.protocol import Rung
from rxmps3.errors import AccessDenied, Unavailable
from rxmps3.storage.urls import without_secrets

__all__ = ["RedisBell"]


@dataclass(frozen=True)
class RedisBell(LineBell):
    """See `rxmps3.bells.redis`."""

    url: str = field(repr=False)
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)

    def __post_init__(self) -> None:
        needs("redis", "redis")

    @property
    def place(self) -> str:
        return without_secrets(self.url)

    def _new_line(self) -> Line:
        return _RedisLine(self)


class _RedisLine(Line):
    def __init__(self, bell: RedisBell) -> None:
        self._bell = bell
        self._id = new_id().encode()
        self._client: Any = None

    async def listen(self, topic: str, tell: Tell) -> None:
        async with self._connected().pubsub() as subscription:
            try:
                await subscription.subscribe(_channel(topic))
                asked = False
                while True:
                    message = await subscription.get_message(timeout=SILENCE)
                    if message is None:
                        if asked:
                            raise Unavailable("it stopped answering", operation="listen", object=str(self._bell))
                        asked = True
                        await subscription.ping()
                        continue
                    asked = False
                    if message["type"] == "subscribe" or (message["type"] == "message" and message["data"] != self._id):
                        tell(Rung())
            except Exception as error:
                raise self._translated(error) from error

    async def ring(self, topic: str) -> None:
        try:
            await self._connected().publish(_channel(topic), self._id)
        except Exception as error:
            raise self._translated(error) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _connected(self) -> Any:
        if self._client is None:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            client: Any = Redis
            settings: dict[str, Any] = {
                "socket_connect_timeout": HANDSHAKE,
                "retry": Retry(NoBackoff(), 0),
                "decode_responses": False,
                **self._bell.options,
            }
            self._client = client.from_url(self._bell.url, **settings)
        return self._client

    def _translated(self, error: Exception) -> Exception:
        from redis import exceptions

        refusals = (exceptions.AuthenticationError, exceptions.NoPermissionError)
        if isinstance(error, refusals) or str(error).startswith(("NOAUTH", "WRONGPASS")):
            return AccessDenied("the server refuses these credentials", operation="connect", object=str(self._bell))
        return error


def _channel(topic: str) -> str:
    return f"rxmps3:{topic}"
