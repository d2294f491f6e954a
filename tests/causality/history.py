"""What happened in a run: sessions, and in each of them what it wrote and what it saw, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

__all__ = ["INIT", "Deleted", "History", "Init", "Observed", "Operation", "Session", "Written"]


class Init(Enum):
    """The type of `INIT`."""

    INIT = "init"

    def __repr__(self) -> str:
        return "INIT"


INIT: Final = Init.INIT
"""Seen where a key was never written."""


@dataclass(frozen=True)
class Deleted:
    """What a delete writes: a tag that no other delete has, namely the id of its write."""

    write: str


Written = str | Deleted
"""What a write does to a key: puts a value that nobody else puts there, or deletes it."""

Observed = str | Deleted | Literal[Init.INIT] | None
"""What a read saw of a key. ``None`` is "no value": never written, or deleted by some write or other."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One step of a session, atomic: it reads, or writes, or (a transaction) reads and then writes.

    Attributes:
        session: the session's name.
        index: its place in the session, from 0.
        id: names a write in the log; of a mere read it is only a name.
        reads: what it saw, by key. Several keys are one observation, at one moment.
        writes: what it wrote, by key.
        prefix: how many versions of the log the reader says it has read, if it says so.
    """

    session: str
    index: int
    id: str
    reads: Mapping[str, Observed]
    writes: Mapping[str, Written]
    prefix: int | None = None

    def __str__(self) -> str:
        words = [f"{self.session}#{self.index}"]
        if self.reads:
            words.append("reads " + ", ".join(f"{key}={shown(value)}" for key, value in self.reads.items()))
        if self.writes:
            words.append("writes " + ", ".join(f"{key}={shown(value)}" for key, value in self.writes.items()))
        return " ".join(words)


def shown(value: Observed) -> str:
    """A value as explanations show it."""
    match value:
        case None:
            return "nothing"
        case Init.INIT:
            return "init"
        case Deleted(write):
            return f"deleted by {write}"
        case str():
            return repr(value)


class Session:
    """One observer of the database, whose operations have an order. Made by `History.session`.

    Attributes:
        name: its name.
        operations: what it did, in order.
        inherited: writes of earlier sessions that were pending when this one began, in an outbox it took over.
    """

    def __init__(self, history: History, name: str, inherited: tuple[Operation, ...]) -> None:
        self.name = name
        self.operations: list[Operation] = []
        self.inherited = inherited
        self._history = history

    def write(self, update: Mapping[str, str | None], *, id: str | None = None) -> Operation:
        """Record one atomic write: a value per key, or ``None`` to delete the key.

        Args:
            update: per key a value that no other write puts there.
            id: names the write in the log; no other write has it. By default a name is made up.

        Raises:
            ValueError: the id, or the value of a key, is taken by another write.
        """
        return self._record({}, update, id, None)

    def read(self, seen: Mapping[str, Observed], *, prefix: int | None = None) -> Operation:
        """Record one observation: a get, or one emission of a stream. All its keys were seen at one moment.

        Args:
            seen: what was seen of each key looked at; ``None`` for no value.
            prefix: how many versions of the log the reader says it has read, if it says so.
        """
        return self._record(seen, {}, None, prefix)

    def transact(
        self,
        seen: Mapping[str, Observed],
        update: Mapping[str, str | None],
        *,
        id: str | None = None,
        prefix: int | None = None,
    ) -> Operation:
        """Record a transaction: what it saw of the database (not of its own writes), then what it wrote."""
        return self._record(seen, update, id, prefix)

    def _record(
        self, seen: Mapping[str, Observed], update: Mapping[str, str | None], id: str | None, prefix: int | None
    ) -> Operation:
        index = len(self.operations)
        id = f"{self.name}#{index}" if id is None else id
        writes = {key: Deleted(id) if value is None else value for key, value in update.items()}
        operation = Operation(self.name, index, id, dict(seen), writes, prefix)
        self._history.admit(operation)
        self.operations.append(operation)
        return operation


class History:
    """What happened in a run, as its sessions saw it.

    Only the order within each session counts; sessions may be recorded one after the other or interleaved. What a
    session is: whatever promises never to go back. A process that restarts, a second client, a stream that may lag
    behind its neighbours: each is a session of its own.

    Leave out a write that was refused, and what was seen of it. Record a write whose outcome is unknown.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._writes: dict[str, Operation] = {}
        self._writers: dict[tuple[str, Written], Operation] = {}
        self._acknowledged: dict[str, Operation] = {}

    def session(self, name: str, *, inherited: Iterable[Operation] = ()) -> Session:
        """Begin a session.

        Args:
            name: unlike any other's.
            inherited: writes of earlier sessions, oldest first, that it found pending in an outbox it took over.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._sessions:
            raise ValueError(f"there is a session {name!r} already")
        session = self._sessions[name] = Session(self, name, tuple(inherited))
        return session

    def acknowledge(self, write: Operation) -> None:
        """Record that a write was reported as committed."""
        self._acknowledged[write.id] = write

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All sessions."""
        return tuple(self._sessions.values())

    @property
    def operations(self) -> Iterator[Operation]:
        """All operations, session after session."""
        for session in self._sessions.values():
            yield from session.operations

    @property
    def writes(self) -> Mapping[str, Operation]:
        """All operations that write, by id."""
        return self._writes

    @property
    def acknowledged(self) -> Mapping[str, Operation]:
        """The writes that were reported as committed, by id."""
        return self._acknowledged

    def writer(self, key: str, value: Written) -> Operation | None:
        """Who wrote this."""
        return self._writers.get((key, value))

    def admit(self, operation: Operation) -> None:
        """Called by the sessions: enter what an operation writes."""
        if not operation.writes:
            return
        if operation.id in self._writes:
            raise ValueError(f"there is a write {operation.id!r} already")
        for key, value in operation.writes.items():
            if (key, value) in self._writers:
                raise ValueError(f"{key}={shown(value)} is written twice: values must be unique")
        self._writes[operation.id] = operation
        for key, value in operation.writes.items():
            self._writers[key, value] = operation
