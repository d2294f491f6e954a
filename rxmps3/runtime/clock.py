"""The only source of time, sleep, tasks, ids and randomness.

Everything else receives a `Clock`, so that tests and the simulator can control time. The linter bans the standard
functions everywhere else.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from random import Random
from typing import Any, Protocol, TypeVar

__all__ = ["ID_ALPHABET", "Clock", "Random", "SystemClock", "spawn"]

T = TypeVar("T")

ID_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_DIGIT_OF_BYTE = ID_ALPHABET.encode() * 8


class Clock(Protocol):
    """Time, sleep, ids and randomness for one replica."""

    @property
    def rng(self) -> Random:
        """Randomness for waiting times only: jitter and back-off."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    def now(self) -> datetime:
        """The wall clock, aware, in UTC. Informative only: no protocol decision rests on it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait this many seconds."""
        ...

    def new_id(self, characters: int = 12) -> str:
        """A fresh id of that many characters of ``0-9a-v``, five random bits each."""
        ...


class SystemClock:
    """The machine's own clock and its operating system's randomness."""

    def __init__(self) -> None:
        self.rng = Random()

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def new_id(self, characters: int = 12) -> str:
        return secrets.token_bytes(characters).translate(_DIGIT_OF_BYTE).decode()


async def give_way() -> None:
    """Let everything else that is ready run on the event loop, once."""
    await asyncio.sleep(0)


def spawn(coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task that outlives the caller. The caller has to keep a reference and await the task in the end."""
    return asyncio.get_running_loop().create_task(coroutine, name=name)
