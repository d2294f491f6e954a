"""Credentials that renew themselves: before they expire, and when a server refuses them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from rxmps3.runtime.clock import spawn

__all__ = ["Fetched", "LiveCredentials"]

logger = logging.getLogger("rxmps3")

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_CLOSE_WITHIN = 1.0
_NOT_SOONER = 10.0
"""Seconds between two fetches ahead of time: credentials that live for minutes only are always near their end."""


@dataclass(frozen=True)
class Fetched:
    """The current credentials.

    Attributes:
        frozen: the credentials that sign requests.
        ends_within: whether they expire within this many seconds; None means the client library's own margin.
    """

    frozen: Any
    ends_within: Callable[[float | None], bool]


class LiveCredentials:
    """One source of credentials, asked by one caller at a time, with back-off, and only when no valid credentials are
    cached.

    Args:
        fetch: asks the source, with a timeout of its own; its argument tells whether a server has refused the last
            credentials.
    """

    def __init__(self, fetch: Callable[[bool], Awaitable[Fetched]]) -> None:
        self._fetch = fetch
        self._known: Fetched | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._failures = 0
        self._not_before = 0.0
        self.generation = 0
        """How often they have changed."""

    async def frozen(self) -> Any:
        """The credentials to sign a request with.

        Raises:
            Exception: there are none; the error of the source when it was last asked.
        """
        known = self._known
        if known is None or known.ends_within(0):
            await self._fetched(refused=False)
            if self._error is not None:
                raise self._error.with_traceback(None)
        elif known.ends_within(None) and self._may_ask(ahead=True):
            self._begin(refused=False)
        return self._known.frozen if self._known is not None else None

    async def renewed(self, generation: int) -> bool:
        """Ask the source again after a server has refused its credentials; returns whether there are new ones.

        Args:
            generation: the `generation` of the refused credentials.
        """
        if self.generation == generation:
            await self._fetched(refused=True)
        return self.generation != generation

    async def close(self) -> None:
        """Stop asking; a source that takes no notice is left alone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSE_WITHIN)

    def _may_ask(self, *, ahead: bool = False) -> bool:
        now = asyncio.get_running_loop().time()
        return self._task is None and now >= self._not_before + (_NOT_SOONER if ahead and not self._failures else 0)

    async def _fetched(self, *, refused: bool) -> None:
        if self._may_ask():
            self._begin(refused=refused)
        if self._task is not None:
            await asyncio.wait([self._task])

    def _begin(self, *, refused: bool) -> None:
        self._task = spawn(self._ask(refused), "fetch credentials")

    async def _ask(self, refused: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            fetched = await self._fetch(refused)
        except Exception as error:
            self._error = error
            self._wait_longer(loop.time())
            if self._known is not None:
                logger.warning("the credentials could not be renewed: %s", error)
        else:
            if self._known is None or fetched.frozen != self._known.frozen:
                self.generation += 1
                self._failures, self._not_before = 0, loop.time()
            else:
                self._wait_longer(loop.time())
            self._known, self._error = fetched, None
        finally:
            self._task = None

    def _wait_longer(self, now: float) -> None:
        self._failures += 1
        self._not_before = now + min(_FIRST_WAIT * 2.0 ** (self._failures - 1), _LONGEST_WAIT)
