"""A record of what clients asked a bucket for and what they heard, in the words of ``replay.pml``."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from rxmps3.errors import PreconditionFailed
from rxmps3.storage.base import Absent, Found, Matches, Missing, NotModified, Page, Precondition, Storage, Stored

__all__ = ["Call", "RecordingStorage", "Tape", "Unfit"]

T = TypeVar("T")

_CLIENTS, _LOGS, _SLOTS, _MANY, _FLIGHTS, _POINTS, _WRITES = 16, 2, 60, 2000, 24, 120, 31
"""What ``replay.pml`` has room for."""
_VERBS = {
    ("get", "entry"): 1,
    ("put", "entry"): 2,
    ("delete", "entry"): 3,
    ("get", "head"): 4,
    ("put", "head"): 5,
    ("get", "point"): 6,
    ("put", "point"): 7,
}
_CALL, _ANSWER, _START, _TOLD = 1, 2, 3, 4
_UNKNOWN, _UNCHANGED, _REFUSED, _DONE = -1, -2, 0, 1
_NAME = re.compile(
    r"(?P<log>[^/]+)/(?P<room>log|checkpoint)/(?P<number>\d+)(-[^.]*)?$"
)  # not the chunks of a checkpoint


class Unfit(Exception):
    """The record is larger than the model has room for."""


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        client: the process that made it.
        verb, name: what it was.
        body: what was put, or found.
        etag: the condition of it: the ETag of the head to be replaced or not to be sent again; "" for none.
        outcome: one of the four that ``replay.pml`` knows.
        answer_etag: of what was put or found.
        date, modified: what the answer said.
        ends: whether anything was heard at all, if only that there was no answer.
    """

    client: str
    verb: str
    name: str
    body: bytes | None = None
    etag: str = ""
    outcome: int = _UNKNOWN
    answer_etag: str = ""
    date: datetime | None = None
    modified: datetime | None = None
    ends: bool = False


@dataclass
class Tape:
    """What happened, in order.

    Attributes:
        manifest: the manifest that is looked at.
        calls: the requests.
        events: ``("call" | "answer", number of the request)``, ``("start", client)`` and ``("told", client, versions)``.
    """

    manifest: str = "main"
    calls: list[Call] = field(default_factory=list[Call])
    events: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    _started: set[str] = field(default_factory=set[str])
    _bodies: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])

    def told(self, client: str, *versions: str) -> None:
        """A client says that these writes, by their version ids, are committed."""
        self.events.append(("told", client, versions))

    async def record(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Carry out a request, and note when it was made and what was heard of it."""
        if call.client not in self._started:
            self._started.add(call.client)
            self.events.append(("start", call.client))
        number = len(self.calls)
        self.calls.append(call)
        self.events.append(("call", number))
        try:
            answer = await proceed()
        except Exception as error:
            refused = isinstance(error, PreconditionFailed)
            self.calls[number] = replace(call, outcome=_REFUSED if refused else _UNKNOWN, ends=True)
            self.events.append(("answer", number))
            raise
        known = self.calls[number] = self._told_by_its_etag(_answered(call, answer))
        if known.body is not None and known.answer_etag:
            self._bodies[known.name, known.answer_etag] = known.body
        self.events.append(("answer", number))
        return answer

    def _told_by_its_etag(self, call: Call) -> Call:
        """An entry that has not changed is found, as far as the model is concerned."""
        if call.outcome == _UNCHANGED and "/log/" in call.name:
            return replace(call, outcome=_DONE, body=self._bodies[call.name, call.etag], answer_etag=call.etag)
        return call

    # -- the text of it ----------------------------------------------------------------------------------------

    def text(self, copied: Iterable[str] = ()) -> str:
        """The record as numbers, for ``replay.pml``.

        Args:
            copied: the version ids of writes that several processes may send.

        Raises:
            Unfit: there is too much of it.
        """
        return _Text(self).text(copied)

    def save(self, path: Path, copied: Iterable[str] = ()) -> Path:
        """Write `text` into a file."""
        path.write_text(self.text(copied))
        return path


def _answered(call: Call, answer: object) -> Call:
    if isinstance(answer, Found):
        return replace(
            call,
            outcome=_DONE,
            body=answer.body,
            answer_etag=answer.etag,
            date=answer.date,
            modified=answer.modified,
            ends=True,
        )
    if isinstance(answer, NotModified):
        return replace(call, outcome=_UNCHANGED, date=answer.date, ends=True)
    if isinstance(answer, Missing):
        return replace(call, outcome=_REFUSED, date=answer.date, ends=True)
    if isinstance(answer, Stored):
        return replace(call, outcome=_DONE, answer_etag=answer.etag, date=answer.date, ends=True)
    return replace(call, outcome=_DONE, date=answer.date if isinstance(answer, Page) else None, ends=True)


class RecordingStorage:
    """A storage whose requests are put on a tape."""

    def __init__(self, inner: Storage, tape: Tape, client: str) -> None:
        self.inner = inner
        self.tape = tape
        self.client = client

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def name_limit(self) -> int:
        return self.inner.name_limit

    async def get(
        self, name: str, *, unless: str | None = None, version: str | None = None, limit: int | None = None
    ) -> Found | Missing | NotModified:
        call = Call(self.client, "get", name, etag=unless or "")
        return await self.tape.record(call, lambda: self.inner.get(name, unless=unless, version=version, limit=limit))

    async def put(
        self,
        name: str,
        body: bytes,
        *,
        when: Precondition | None = None,
        sha256: bytes | None = None,
        content_type: str = "application/json",
    ) -> Stored:
        etag = when.etag if isinstance(when, Matches) else "" if isinstance(when, Absent) else "none"
        call = Call(self.client, "put", name, body, etag)
        return await self.tape.record(
            call, lambda: self.inner.put(name, body, when=when, sha256=sha256, content_type=content_type)
        )

    async def list(self, prefix: str, *, after: str = "", cursor: str | None = None, limit: int = 1000) -> Page:
        call = Call(self.client, "list", prefix)
        return await self.tape.record(call, lambda: self.inner.list(prefix, after=after, cursor=cursor, limit=limit))

    async def delete(self, name: str, *, version: str | None = None) -> None:
        call = Call(self.client, "delete", name)
        return await self.tape.record(call, lambda: self.inner.delete(name, version=version))

    async def close(self) -> None:
        await self.inner.close()


class _Numbers(dict[Any, int]):
    """Things by number, from 1 on, as they come."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__()
        self._most = most
        self._what = what

    def __missing__(self, key: Any) -> int:
        self[key] = len(self) + 1
        if len(self) > self._most:
            raise Unfit(f"more than {self._most} {self._what}")
        return self[key]


class _Text:
    """One tape, read."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._root = f"{tape.manifest}/"
        self._logs = _Numbers(250, "logs")
        self._entries = _Numbers(_MANY - 1, "entries")
        self._heads = _Numbers(250, "heads")
        self._points = _Numbers(_POINTS, "checkpoints")
        self._entry_of: dict[int, dict[str, Any]] = {}
        self._head_of: dict[int, dict[str, Any]] = {}
        self._point_of: dict[int, dict[str, Any]] = {}
        self._head_by_etag: dict[str, int] = {}
        self._modified: dict[int, datetime] = {}
        self._first = min((call.date for call in tape.calls if call.date is not None), default=None)
        self._read()
        self._atoms = self._group()

    def _room(self, name: str) -> str:
        if name == f"{self._root}head":
            return "head"
        found = _NAME.match(name.removeprefix(self._root)) if name.startswith(self._root) else None
        return "" if found is None else {"log": "entry", "checkpoint": "point"}[found["room"]]

    def _read(self) -> None:
        """Number the logs, heads, entries and checkpoints that were put or found."""
        calls = self._tape.calls
        first = [call for call in calls if self._room(call.name) == "head" and call.verb == "get" and call.body]
        for call in [*first, *calls]:
            room, body = self._room(call.name), call.body
            if body is None:
                continue
            if room == "head":
                number = self._heads[body]
                head = self._head_of[number] = json.loads(body)
                self._logs[head["log"]]
                if call.answer_etag:
                    self._head_by_etag[call.answer_etag] = number
                if call.modified is not None:
                    self._modified[number] = call.modified
            elif room == "entry":
                self._entry_of[self._entries[body]] = json.loads(body)
            elif room == "point":
                self._point_of[self._points[call.name.removeprefix(self._root)]] = json.loads(gzip.decompress(body))
        self._by_hash = {hashlib.sha256(body).hexdigest(): number for body, number in self._entries.items()}
        self._by_hash |= {
            hashlib.sha256(log.encode()).hexdigest(): 10_000 + number for log, number in self._logs.items()
        }

        self._found = {
            (call.name, call.body) for call in calls if call.verb == "get" and self._room(call.name) == "entry"
        }

    def _is_void(self, call: Call) -> bool:
        """Whether a request of which nothing was heard cannot have had an effect that matters."""
        if call.outcome != _UNKNOWN or call.verb != "put":
            return False
        rival = any(name == call.name and body not in (None, call.body) for name, body in self._found)
        return self._room(call.name) == "point" or (self._room(call.name) == "entry" and rival)

    def _group(self) -> dict[tuple[str, int], int]:
        """One bit for the writes that are always in the same entries."""
        places: dict[tuple[str, int], set[int]] = defaultdict(set)
        for number, entry in self._entry_of.items():
            for write in entry["writes"]:
                places[write.get("writer", entry["writer"]), write["number"]].add(number)
        bits = _Numbers(_WRITES, "groups of writes")
        return {write: 1 << (bits[frozenset(entries)] - 1) for write, entries in places.items()}

    def _writes(self, entry: int) -> int:
        said = self._entry_of[entry]
        found = 0
        for write in said["writes"]:
            found |= self._atoms[write.get("writer", said["writer"]), write["number"]]
        return found

    def _total(self, entry: int) -> int:
        found = 0
        while 0 < entry < 10_000:
            found |= self._writes(entry)
            entry = self._by_hash.get(self._entry_of[entry]["previous"], 0)
        return found

    def _seen(self, point: int) -> int:
        """The writes that a checkpoint says are in it."""
        writers = self._point_of[point]["writers"]
        chain = self._by_hash.get(self._point_of[point]["chain"], 0)
        forgotten = {one for entry in self._entry_of.values() for one in entry.get("expired", ())}
        found = 0
        for (writer, number), bit in self._atoms.items():
            mark = writers.get(writer)
            gaps = mark.get("gaps", []) if mark else []
            if mark and number <= mark["number"] and not any(first <= number <= last for first, last in gaps):
                found |= bit
            elif not mark and writer in forgotten:
                found |= bit & self._total(chain)
        return found

    def _seconds(self, moment: datetime | str | None) -> int:
        if moment is None or self._first is None:
            return -1
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        return int((moment - self._first).total_seconds())

    def _raised(self, number: int) -> int:
        head = self._head_of[number]
        return self._seconds(head["raised_at"] or self._modified.get(number)) if head["floor"] else -1

    def text(self, copied: Iterable[str]) -> str:
        entries = [
            (self._writes(number), self._by_hash.get(entry["previous"], 0), self._total(number))
            for number, entry in sorted(self._entry_of.items())
        ]
        points = [
            (point["seq"], self._by_hash.get(point["chain"], 0), self._seen(number))
            for number, point in sorted(self._point_of.items())
        ]
        heads = [
            (
                self._logs[head["log"]],
                head["floor"],
                self._points[head["checkpoint"]["name"]] if head["checkpoint"] else 0,
                self._raised(number),
            )
            for number, head in sorted(self._head_of.items())
        ]
        requests, events = self._requests_and_events()
        names = {f"{writer}-{number}": bit for (writer, number), bit in self._atoms.items()}
        several = 0
        for version in copied:
            several |= names.get(version, 0)
        tables = (entries, points, heads, requests, events)
        if max(map(len, tables)) >= _MANY:
            raise Unfit(f"more than {_MANY} rows")
        lines = [" ".join(str(len(table)) for table in tables) + f" {several}"]
        lines += [" ".join(map(str, row)) for table in tables for row in table]
        return "\n".join(lines) + "\n"

    def _requests_and_events(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        clients = _Numbers(_CLIENTS, "clients")
        names = {f"{writer}-{number}": bit for (writer, number), bit in self._atoms.items()}
        requests: list[tuple[int, ...]] = []
        events: list[tuple[int, ...]] = []
        numbers: dict[int, int] = {}
        flights: dict[int, int] = {}
        now: dict[str, int] = defaultdict(lambda: -1)
        for event in self._tape.events:
            if event[0] == "start":
                events.append((_START, clients[event[1]] - 1, 0))
                continue
            if event[0] == "told":
                told = 0
                for version in event[2]:
                    if version not in names:
                        raise ValueError(f"no request holds {version}")
                    told |= names[version]
                events.append((_TOLD, clients[event[1]] - 1, told))
                continue
            index = event[1]
            call = self._tape.calls[index]
            if event[0] == "answer" and call.date is not None:
                now[call.client] = max(now[call.client], self._seconds(call.date))
            verb = _VERBS.get((call.verb, self._room(call.name)))
            heard = call.outcome != _UNKNOWN
            if verb is None or (call.verb == "get" and not heard):
                continue
            if event[0] == "call":
                flight = next(place for place in range(_FLIGHTS) if place not in flights.values())
                if self._is_void(call):
                    flight = _FLIGHTS - 1  # where nothing takes effect
                elif flight == _FLIGHTS - 1:
                    raise Unfit(f"more than {_FLIGHTS - 1} requests under way")
                else:
                    flights[index] = flight
                numbers[index] = len(requests) + 1
                what, log, number = self._about(call)
                matching = 0
                if call.etag:
                    matching = self._head_by_etag.get(call.etag, -1)
                date = self._seconds(call.date)
                requests.append(
                    (
                        clients[call.client] - 1,
                        verb,
                        log,
                        number,
                        what,
                        matching,
                        call.outcome,
                        date,
                        now[call.client],
                        flight,
                    )
                )
                events.append((_CALL, numbers[index], 0))
            elif index in numbers:
                if heard:
                    del flights[index]
                events.append((_ANSWER, numbers[index], 0))
        return requests, events

    def _about(self, call: Call) -> tuple[int, int, int]:
        """What is put or found, and which log and number it is."""
        room = self._room(call.name)
        if room == "head":
            return (self._heads[call.body] if call.body is not None else 0), 0, 0
        name = call.name.removeprefix(self._root)
        place = _NAME.match(name)
        assert place is not None
        log, number = self._logs[place["log"]], int(place["number"])
        if log > _LOGS:
            raise Unfit(f"more than {_LOGS} logs")
        if number > _SLOTS:
            raise Unfit(f"more than {_SLOTS} numbers")
        if room == "point":
            return (self._points[name] if call.body is not None else 0), log, number
        return (self._entries[call.body] if call.body is not None else 0), log, number
