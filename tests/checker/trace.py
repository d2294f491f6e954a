"""What a client of a run records, and the values that it writes.

Every write has an id of its own, ``<client>.<life>.<number>``, and all its values are made from that id alone, so a value that
was shown, or that lies in the bucket, tells which write it is of, and whether it is whole.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TAGS = 64
"""Each write of a client sets one of so many keys of its own in turn, so it can be found again whatever else it does,
also where several writes were stored as one. No client has so many writes pending."""
COUNTER = "counter"
"""A key that is only ever incremented, from what is there."""
MISSING_VALUE = "missing"
"""Instead of the id of a write, where the object of its value is gone."""
SHARED = [f"shared/{number}" for number in range(8)]
"""Keys that all clients write."""


def value_of(id: str) -> dict[str, Any]:
    """The value that a write sets its keys to; some are too large for a log."""
    rng = random.Random(zlib.crc32(id.encode()))
    length = rng.randrange(5000, 9000) if rng.randrange(12) == 0 else rng.randrange(40)
    return {"w": id, "pad": "".join(rng.choices("abcdefgh é✓", k=length))}


def id_of(value: Any) -> str:
    """The id of the write that a value is of; of no write if the value is not what that write sets."""
    if isinstance(value, dict) and isinstance(value.get("w"), str):
        id = value["w"]
        if value == value_of(id) or (set(value) == {"w", "n"} and isinstance(value["n"], int)):
            return id
    return f"damaged: {json.dumps(value)[:100]}"


def tag_key(client: str, number: int, life: int = 0) -> str:
    """The key by which a write is found again: no later process of the client writes it."""
    return f"tag/{client}/{life}/{number % TAGS:02}"


Seen = dict[str, str | None]
"""By key the write whose value is there, None if there is none."""


@dataclass
class Call:
    """A write that a client was asked for.

    Attributes:
        id: its id.
        update: its keys and what they are set to: its id, or None where it deletes.
        at: the moment of the call, in seconds of the machine's monotonic clock.
        stored: when it was told that the write survives the process; None if never.
        acknowledged: when it was told that it is committed; None if never.
        failed: what it was told instead.
    """

    id: str
    update: Seen
    at: float
    stored: float | None = None
    acknowledged: float | None = None
    failed: str | None = None


@dataclass
class Event:
    """A step of a session: a call, or what was seen. In the order in which they happened.

    Attributes:
        at: when it was recorded.
        call: the call, if it is one.
        seen: what has changed in the whole state since the last such event, if it was an emission.
        read: what a single ``get`` returned. It may wait for a download, and then shows the moment at which it began to.
        fresh: what a ``get`` after a ``refresh`` returned.
        since: when these were called.
        done: the write that has ended badly here.
    """

    at: float
    call: Call | None = None
    seen: Seen | None = None
    read: Seen | None = None
    fresh: Seen | None = None
    since: float = 0.0
    failed: Call | None = None


@dataclass
class Session:
    """One life of one client, as it recorded it itself.

    Attributes:
        client: its name, which its later lives share.
        name: client and number of the life.
        events: what happened, in order.
        errors: failures that it was told of.
        final: the whole state at the end of the run, if it lived to see it.
        stopped: why it could not go on or finish.
    """

    client: str
    name: str
    events: list[Event] = field(default_factory=list[Event])
    errors: list[str] = field(default_factory=list[str])
    final: Seen | None = None
    stopped: str | None = None

    @property
    def calls(self) -> list[Call]:
        """The writes it was asked for, in order."""
        return [event.call for event in self.events if event.call is not None]


def read_session(path: Path) -> Session:
    """Read what a client recorded; the last line may be half a line, as it may have been killed."""
    client, _, life = path.stem.rpartition(".")
    session = Session(client, f"{client}.{life}")
    calls: dict[str, Call] = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = json.loads(line)
        at = record["t"]
        match record["e"]:
            case "call":
                call = calls[record["id"]] = Call(record["id"], record["update"], at)
                session.events.append(Event(at, call=call))
            case "stored":
                calls[record["id"]].stored = at
            case "ack":
                calls[record["id"]].acknowledged = at
            case "fail":
                call = calls[record["id"]]
                call.failed = record["why"]
                session.events.append(Event(at, failed=call))
            case "seen":
                session.events.append(Event(at, seen=record["keys"]))
            case "read":
                session.events.append(Event(at, read=record["keys"], since=record["since"]))
            case "fresh":
                session.events.append(Event(at, fresh=record["keys"], since=record["since"]))
            case "error":
                session.errors.append(record["why"])
            case "final":
                session.final = record["keys"]
            case "stopped":
                session.stopped = record["why"]
            case other:
                raise ValueError(f"{path}: {other!r} is no record")
    return session


def read_sessions(directory: Path) -> list[Session]:
    """All sessions of a run; those of one client in the order of its lives."""
    paths = sorted(directory.glob("*.jsonl"), key=lambda path: (path.stem.split(".")[0], int(path.stem.split(".")[1])))
    return [read_session(path) for path in paths]


def difference(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> Seen:
    """What has to be changed in one state to get the other."""
    gone: Seen = {key: None for key in before if key not in now}
    return gone | {key: id for key, id in now.items() if before.get(key) != id}
