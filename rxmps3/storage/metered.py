"""A storage that counts requests and bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from rxmps3.storage.base import Found, Storage
from rxmps3.storage.wrapper import Request, StorageWrapper

__all__ = ["Meter", "MeteredStorage"]

T = TypeVar("T")


@dataclass
class Meter:
    """Requests made and bytes of bodies moved so far."""

    requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


class MeteredStorage(StorageWrapper):
    """Counts every request, answered or not."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.meter = Meter()

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        self.meter.requests += 1
        self.meter.bytes_up += request.bytes_up
        answer = await proceed()
        if isinstance(answer, Found):
            self.meter.bytes_down += len(answer.body)
        return answer
