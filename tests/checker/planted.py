"""Buckets and sessions made by hand, for the tests of the checker itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.checker.raw import Listed
from tests.checker.trace import Call, Event, Seen, Session, tag_key, value_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Shelf:
    """Objects in memory, with versions."""

    bucket: str = "b"
    prefix: str = "p/"
    bodies: dict[str, bytes] = field(default_factory=dict[str, bytes])
    times: dict[str, datetime] = field(default_factory=dict[str, datetime])
    versioned: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])

    def names(self, under: str) -> list[Listed]:
        return [Listed(name, self.times.get(name, NOON)) for name in sorted(self.bodies) if name.startswith(under)]

    def versions(self, name: str) -> list[Listed]:
        return [Listed(name, NOON, version) for version in self.versioned.get(name, {})]

    def read(self, name: str, version: str = "") -> bytes | None:
        return self.versioned.get(name, {}).get(version) if version else self.bodies.get(name)

    def write(self, name: str, body: bytes) -> None:
        self.bodies[name] = body

    def wipe(self) -> None:
        self.bodies.clear()

    def close(self) -> None:
        """Nothing is held open."""


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def entry_of(shelf: Shelf, folder: str, key: str, id: str | None, version: str, *, always: bool = False) -> Any:
    """What an update says of a key; a large value becomes an object."""
    if id is None:
        return None
    value = value_of(id)
    body = canonical(value)
    if len(body) < 4096 and not always:
        return {"value": value, "version": version}
    name = key if always else f"values/{key}@{version}"
    entry = {
        "object": name,
        "sha256": hashlib.sha256(body).hexdigest(),
        "size": len(body),
        "type": "json",
        "version": version,
    }
    if always:
        shelf.versioned.setdefault(name, {})[version] = body
        return entry | {"at": version}
    shelf.bodies[folder + name] = body
    return entry


def sequenced(groups: Iterable[Iterable[Call]]) -> Shelf:
    """A bucket with one entry for each group of writes."""
    shelf = Shelf()
    log = "0p5enb0q9jgh"
    shelf.bodies["main/head"] = canonical(
        {
            "checkpoint": None,
            "floor": 0,
            "format": 1,
            "kept": [],
            "log": log,
            "nonce": "n",
            "raised_at": None,
            "requires": [],
        }
    )
    previous = hashlib.sha256(log.encode()).hexdigest()
    for seq, group in enumerate(groups, 1):
        calls = list(group)
        entry = {
            "by": "", "date": "2026-11-22T10:00:00Z", "format": 1, "previous": previous, "requires": [], "seq": seq,
            "time": "2026-11-22T10:00:00.000Z", "writer": calls[0].id.rpartition(".")[0],
            "writes": [write_of(shelf, "main/", call) for call in calls],
        }  # fmt: skip
        body = canonical(entry)
        shelf.bodies[f"main/{log}/log/{seq:020}"] = body
        previous = hashlib.sha256(body).hexdigest()
    return shelf


def write_of(shelf: Shelf, folder: str, call: Call, *, always: bool = False) -> dict[str, Any]:
    """A write of a call, as both younger logs of this package name it."""
    writer, _, number = call.id.rpartition(".")
    version = f"{writer}-{number}"
    update = {key: entry_of(shelf, folder, key, id, version, always=always) for key, id in call.update.items()}
    return {"nonce": f"n{number}", "number": int(number) + 1, "update": update, "writer": writer}


class Person:
    """Makes one session, one step a second."""

    def __init__(self, name: str, clock: list[float]) -> None:
        self.session = Session(name, f"{name}.0")
        self._clock = clock
        self._number = 0

    def _now(self) -> float:
        self._clock[0] += 1
        return self._clock[0]

    def call(self, *keys: str, deletes: Iterable[str] = ()) -> Call:
        """Ask for a write of some keys."""
        id = f"{self.session.client}.0.{self._number}"
        update: Seen = {tag_key(self.session.client, self._number): id}
        update |= dict.fromkeys(keys, id) | dict.fromkeys(deletes)
        self._number += 1
        call = Call(id, update, self._now())
        self.session.events.append(Event(call.at, call=call))
        return call

    def told(self, *calls: Call) -> None:
        """Hear that writes are committed."""
        for call in calls:
            call.stored = call.acknowledged = self._now()

    def sees(self, *calls: Call) -> None:
        """Be shown the keys of writes, in one emission."""
        seen: Seen = {}
        for call in calls:
            seen |= call.update
        self.session.events.append(Event(self._now(), seen=seen))

    def reads(self, key: str, id: str | None) -> None:
        """Get a key."""
        since = self._now()
        self.session.events.append(Event(self._now(), read={key: id}, since=since))

    def refreshes(self, key: str, id: str | None) -> None:
        """Get a key after a refresh."""
        since = self._now()
        self.session.events.append(Event(self._now(), fresh={key: id}, since=since))

    def ends(self, state: Seen) -> None:
        """Tell the whole state."""
        self.session.final = dict(state)


def mps3_name(milliseconds: int, session: str = "abc", count: str = "vv") -> str:
    """The name of an operation of so many milliseconds after noon."""
    number = 2**42 - 1 - (round(NOON.timestamp() * 1000) + milliseconds)
    digits = ""
    for _ in range(9):
        digits, number = "0123456789abcdefghijklmnopqrstuv"[number % 32] + digits, number // 32
    return f"manifest.json@{digits}_{session}_{count}"


def mps3(operations: Iterable[tuple[int, int, Iterable[Call]]]) -> Shelf:
    """A bucket with operations: their time and when they were stored, in milliseconds after noon, and what they do.
    Each writer knows all that come before its own."""
    shelf = Shelf()
    files: dict[str, Any] = {}
    for at, stored, calls in operations:
        update: dict[str, Any] = {}
        for call in calls:
            for key, id in call.update.items():
                update[f"b/p/{key}"] = None if id is None else {"version": f"v-{id}", "replication": ""}
                if id is not None:
                    shelf.bodies[f"{key}@v-{id}"] = json.dumps(value_of(id), indent=2).encode()
        name = mps3_name(at)
        shelf.bodies[name] = json.dumps({"files": files, "update": {"files": update}}, indent=2).encode()
        shelf.times[name] = NOON + timedelta(milliseconds=stored)
        files = {key: file for key, file in {**files, **update}.items() if file is not None}
    return shelf
