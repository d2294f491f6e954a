"""A storage that counts requests and bytes, by class and by what they were made for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal, TypeVar, get_args

from rxmps3.storage.base import Found, Storage
from rxmps3.storage.wrapper import Request, StorageWrapper

__all__ = ["NO_USAGE", "ROOMS", "MeteredStorage", "Room", "Tally", "Usage", "charged_to", "count_request"]

T = TypeVar("T")

Room = Literal["log", "values", "presence", "upkeep"]
"""What a request was made for."""
ROOMS: Final[tuple[Room, ...]] = get_args(Room)

_room: ContextVar[Room] = ContextVar("room", default="log")
_sent: ContextVar[list[int] | None] = ContextVar("sent", default=None)


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests by class, and bytes.

    Attributes:
        puts: PUT, COPY and POST requests.
        lists: LIST requests, which most providers charge like a PUT.
        gets: GET and all other requests.
        deletes: DELETE requests.
        bytes_up: bytes of the bodies sent.
        bytes_down: bytes of the objects received; listings are not included.
    """

    puts: int = 0
    lists: int = 0
    gets: int = 0
    deletes: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return self.puts + self.lists + self.gets + self.deletes

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.puts + other.puts,
            self.lists + other.lists,
            self.gets + other.gets,
            self.deletes + other.deletes,
            self.bytes_up + other.bytes_up,
            self.bytes_down + other.bytes_down,
        )


NO_USAGE: Final = Usage()


class Tally:
    """A sum of `Usage` that grows with each request."""

    __slots__ = ("_bytes_down", "_bytes_up", "_deletes", "_gets", "_lists", "_puts")

    def __init__(self) -> None:
        self._puts = self._lists = self._gets = self._deletes = self._bytes_up = self._bytes_down = 0

    def add(self, usage: Usage) -> None:
        """Add what was used."""
        self._puts += usage.puts
        self._lists += usage.lists
        self._gets += usage.gets
        self._deletes += usage.deletes
        self._bytes_up += usage.bytes_up
        self._bytes_down += usage.bytes_down

    @property
    def usage(self) -> Usage:
        """The sum."""
        return Usage(self._puts, self._lists, self._gets, self._deletes, self._bytes_up, self._bytes_down)


@contextmanager
def charged_to(room: Room) -> Generator[None]:
    """Charge the requests made in this block, and in tasks started in it, to a room."""
    token = _room.set(room)
    try:
        yield
    finally:
        _room.reset(token)


def count_request() -> None:
    """Called by a storage for each HTTP request it sends, since one operation may take several."""
    if (sent := _sent.get()) is not None:
        sent[0] += 1


class MeteredStorage(StorageWrapper):
    """Counts every request, answered or not.

    Args:
        charge: called for each request as it is sent, and for the bytes that came back.
        room: what all requests are made for; None for that of the surrounding `charged_to`, or else the log.
    """

    def __init__(
        self, inner: Storage, charge: Callable[[Room, Usage], None] | None = None, room: Room | None = None
    ) -> None:
        super().__init__(inner)
        self._tally = Tally()
        self._charge = charge
        self._for: Room | None = room

    @property
    def usage(self) -> Usage:
        """What has been used so far."""
        return self._tally.usage

    def for_room(self, room: Room) -> MeteredStorage:
        """The same storage, for requests of one room; this one counts them too."""
        return MeteredStorage(self.inner, self._add, room)

    async def around(self, request: Request, proceed: Callable[[], Awaitable[T]]) -> T:
        room = self._for or _room.get()
        kind = _CLASSES.get(request.verb, _PUT)
        one = Usage(kind.puts, kind.lists, kind.gets, kind.deletes, request.bytes_up) if request.bytes_up else kind
        self._add(room, one)
        token = _sent.set(sent := [0])
        try:
            answer = await proceed()
        finally:
            _sent.reset(token)
            for _ in range(sent[0] - 1):
                self._add(room, one)
        if isinstance(answer, Found):
            self._add(room, Usage(bytes_down=len(answer.body)))
        return answer

    def _add(self, room: Room, usage: Usage) -> None:
        self._tally.add(usage)
        if self._charge is not None:
            self._charge(room, usage)


_PUT: Final = Usage(puts=1)
_CLASSES: Final = {
    "get": Usage(gets=1),
    "list": Usage(lists=1),
    "list_versions": Usage(lists=1),
    "delete": Usage(deletes=1),
}
"""The class of each verb; any other one counts as a PUT, the dearest."""
