"""Bells tell the readers of a database that there is news, so that they need not ask so often.

::

    from rxmps3 import bells, connect

    connect("s3://bucket/app", bell=bells.nats("nats://localhost:4222"))

A bell says only "look now"; what the news is, is read from the bucket. Within one process, and on ``file:``, there is
always one; ``bell=None`` does without any.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from rxmps3.bells.http_bell import HttpBell
from rxmps3.bells.nats_bell import NatsBell
from rxmps3.bells.protocol import Bell, HeldBell, Rung, topic_of
from rxmps3.bells.redis_bell import RedisBell
from rxmps3.bells.sqs_bell import SqsBell
from rxmps3.errors import InvalidOption
from rxmps3.storage.urls import without_secrets

__all__ = ["LOCAL", "Bell", "HeldBell", "Local", "Rung", "from_url", "http", "nats", "redis", "sqs", "topic_of"]


class Local:
    """The bells that need no server: within this process, and on ``file:`` those of the file system."""

    def __repr__(self) -> str:
        return "rxmps3.bells.LOCAL"


LOCAL = Local()
"""The default of ``connect(bell=…)``."""


def nats(url: str, *, name: str = "", **options: Any) -> Bell:
    """A bell over a NATS server, with the extra ``nats``. Its subjects are ``rxmps3.TOPIC``.

    Args:
        url: such as ``nats://localhost:4222``, ``tls://``, with a user and password or a token where needed.
        name: replaces the database's URL in the name of the topic.
        options: of ``nats.connect``, such as ``user_credentials`` or ``tls``.

    Raises:
        InvalidOption: the URL names no server, or nats-py is not installed.
    """
    _check_text(url)
    _check_server(url if "//" in url else f"nats://{url}")
    return NatsBell(url, name, options)


def redis(url: str, *, name: str = "", **options: Any) -> Bell:
    """A bell over a Redis or Valkey server, with the extra ``redis``. Its channels are ``rxmps3:TOPIC``.

    Args:
        url: such as ``redis://localhost:6379`` or ``rediss://USER:PASSWORD@HOST``.
        name: replaces the database's URL in the name of the topic.
        options: of ``redis.asyncio.Redis.from_url``, such as ``ssl_ca_certs``.

    Raises:
        InvalidOption: the URL names no server, or redis-py is not installed.
    """
    _check_server(url)
    return RedisBell(url, name, options)


def http(url: str, *, token: str = "", name: str = "") -> Bell:
    """A bell over the server that the command ``rxmps3 bell`` runs.

    Args:
        url: the server's address; a path before the topics is fine.
        token: the server's token. ``http://TOKEN@HOST`` in the URL says the same.
        name: replaces the database's URL in the name of the topic.

    Raises:
        InvalidOption: the URL is not an HTTP URL.
    """
    _check_server(url)
    parts = urlsplit(url)
    if parts.username is not None:
        token = token or unquote(parts.password or parts.username)
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return HttpBell(url, token, name)


def _check_text(url: object) -> None:
    if not isinstance(url, str):
        raise InvalidOption(f"the address of a bell is text, not {url!r:.80}", remedy="write SCHEME://HOST:PORT")


def _check_server(url: str) -> None:
    """Refuse what can never be reached: a bell that fails is tried again and again, without a word."""
    _check_text(url)
    if "," in url or url.lower().startswith("unix:"):
        return  # several servers, a path
    try:
        parts = urlsplit(url)
        is_fine = bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, or of brackets
        is_fine = False
    if not is_fine:
        raise InvalidOption(
            f"the URL of this bell names no server: {without_secrets(url)!r}", remedy="write SCHEME://HOST:PORT"
        )


def sqs(address: str, *, name: str = "", **options: Any) -> Bell:
    """A bell that the bucket itself rings, by its event notifications.

    A queue gives each message to one receiver: readers need a queue each. Given the ARN of an SNS topic to which the
    bucket publishes, each reader makes its own queue, and removes it at the end.

    Args:
        address: the URL of a queue that no other reader uses, or the ARN of an SNS topic.
        name: ring for every notification, whatever bucket and manifest it is about.
        options: with boto3's names, such as ``region_name``, ``profile_name``, ``endpoint_url``.

    Raises:
        InvalidOption: the address is neither.
    """
    _check_text(address)
    return SqsBell(address, name, options)


def from_url(url: str) -> Bell:
    """The bell at a URL: ``nats:``, ``tls:``, ``redis:``, ``rediss:``, ``http:``, ``https:`` or ``sqs:`` before the
    address of `sqs`.

    Raises:
        InvalidOption: there is no such bell, or its package is not installed.
    """
    _check_text(url)
    scheme, _, rest = url.partition(":")
    match scheme.lower():
        case "nats" | "tls" | "ws" | "wss":
            return nats(url)
        case "redis" | "rediss" | "unix":
            return redis(url)
        case "http" | "https":
            return http(url)
        case "sqs":
            return sqs(rest)
        case _:
            raise InvalidOption(
                f"this is not the URL of a bell: {without_secrets(url)!r}",
                remedy="accepted are nats:, redis:, http:, https: and sqs:ADDRESS",
            )
