"""The only home of time, sleep, tasks, ids and chance.

Everything else receives a `Clock`. A test or a simulator passes its own and so owns time; the linter bans the
originals everywhere but here.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from random import Random
from typing import Any, Protocol

__all__ = ["ID_ALPHABET", "Clock", "Random", "SystemClock", "spawn"]

ID_ALPHABET = "0123456789abcdefghijklmnopqrstuv"


class Clock(Protocol):
    """Time, sleep, ids and chance for one replica."""

    @property
    def rng(self) -> Random:
        """Chance that decides nothing but waiting times: jitter, back-off."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    def now(self) -> datetime:
        """The wall clock, aware, in UTC. Informative only: no protocol decision rests on it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
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
        return "".join([ID_ALPHABET[byte & 31] for byte in secrets.token_bytes(characters)])


def spawn(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task that outlives the caller. Whoever calls this keeps the task and awaits it at the end."""
    return asyncio.get_running_loop().create_task(coroutine, name=name)
