"""The log as an onlooker at the bucket keeps it: every entry that ever was, and what the state is after each.

It shares no code with the log it watches: entries are read as plain JSON, folded into plain dicts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from rxmps3.testing.simulator.bucket import SimBucket

__all__ = ["Fold", "Item", "Ledger", "LoggedWrite"]

Complain = Callable[[str, str], None]
"""Takes the name of what does not hold, and how."""


class Item(NamedTuple):
    """What the log says of one key: the version that wrote it, and the SHA-256 of its value's text."""

    version: str
    sha256: str


@dataclass(frozen=True)
class LoggedWrite:
    """One write as an entry holds it; None deletes."""

    version: str
    number: int
    nonce: str
    update: Mapping[str, Item | None]


@dataclass(frozen=True)
class Fold:
    """The state after an entry."""

    items: Mapping[str, Item]
    marks: Mapping[str, tuple[int, str]]


class Ledger:
    """Reads each entry as it is created.

    Args:
        manifest: whose log it is.
        complain: is told what does not hold.
    """

    def __init__(self, manifest: str, complain: Complain) -> None:
        self.folds: list[Fold] = [Fold({}, {})]
        self.writes: list[tuple[LoggedWrite, ...]] = [()]
        self.places: dict[str, int] = {}
        self.born: list[float] = [0.0]
        self.incarnation = ""
        self.floor = 0
        self.bucket: SimBucket | None = None
        self.ghosts = 0
        self._checkpoint = 0
        self._collected: set[int] = set()
        self._root = f"{manifest}/"
        self._complain = complain
        self._chain = ""

    @property
    def length(self) -> int:
        """The number of the newest entry."""
        return len(self.folds) - 1

    def stored(self, name: str, body: bytes, now: float) -> None:
        """An object was written."""
        if name == f"{self._root}head":
            self._head(json.loads(body))
        elif self.incarnation and name.startswith(f"{self._root}{self.incarnation}/log/"):
            self._entry(int(name.rpartition("/")[2]), body, now)

    def deleted(self, name: str) -> None:
        """An object was removed."""
        if name == f"{self._root}head":
            self._complain("the head stays", "it was deleted")
        elif name.startswith(f"{self._root}{self.incarnation}/log/"):
            seq = int(name.rpartition("/")[2])
            self._collected.add(seq)
            if seq > self.floor:
                self._complain("only what is below the floor is deleted", f"entry {seq}, the floor is {self.floor}")

    def _head(self, head: dict[str, Any]) -> None:
        if not self.incarnation:
            self.incarnation = head["log"]
            self._chain = hashlib.sha256(self.incarnation.encode()).hexdigest()
        elif head["log"] != self.incarnation:
            self._complain("the head keeps its log", f"{head['log']} replaces {self.incarnation}")
        checkpoint = head.get("checkpoint")
        seq = checkpoint["seq"] if checkpoint else 0
        if head["floor"] < self.floor or seq < self._checkpoint:
            self._complain("floor and head only rise", f"{self.floor}, {self._checkpoint} -> {head['floor']}, {seq}")
        self.floor, self._checkpoint = head["floor"], seq

    def _entry(self, seq: int, body: bytes, now: float) -> None:
        if seq in self._collected:
            self.ghosts += 1  # a writer that slept through a collection; it must not believe in it
            return
        if seq <= self.length:
            self._complain("one content per number", f"entry {seq} was created a second time")
            return
        if seq != self.length + 1:
            self._complain("no holes", f"entry {seq} was created after entry {self.length}")
            return
        entry = cast("dict[str, Any]", json.loads(body))
        if entry["previous"] != self._chain:
            self._complain("the chain holds", f"entry {seq} does not follow the bytes of entry {seq - 1}")
        self._chain = hashlib.sha256(body).hexdigest()
        if entry["seq"] != seq:
            self._complain("the chain holds", f"entry {seq} claims to be {entry['seq']}")
        last = self.folds[-1]
        items, marks = dict(last.items), dict(last.marks)
        logged: list[LoggedWrite] = []
        for part in entry["writes"]:
            writer, number = part.get("writer", entry["writer"]), part["number"]
            write = LoggedWrite(
                f"{writer}-{number}",
                number,
                part["nonce"],
                {key: None if value is None else self._item(seq, key, value) for key, value in part["update"].items()},
            )
            logged.append(write)
            if write.version in self.places:
                place = self.places[write.version]
                self._complain("each write is in the log once", f"{write.version} is in entry {place} and in {seq}")
            self.places.setdefault(write.version, seq)
            if number <= marks.get(writer, (0, ""))[0]:
                continue
            marks[writer] = number, write.nonce
            for key, item in write.update.items():
                if item is None:
                    items.pop(key, None)
                else:
                    items[key] = item
        committing = {write.version.rpartition("-")[0] for write in logged}
        for writer in entry.get("expired", ()):
            if writer not in committing:
                marks.pop(writer, None)
        self.folds.append(Fold(items, marks))
        self.writes.append(tuple(logged))
        self.born.append(now)

    def _item(self, seq: int, key: str, value: dict[str, Any]) -> Item:
        if "object" not in value:
            text = json.dumps(value["value"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            return Item(value["version"], hashlib.sha256(text.encode()).hexdigest())
        name = self._root + value["object"]
        body = None if self.bucket is None else self.bucket.read(name)
        if body is None or hashlib.sha256(body).hexdigest() != value["sha256"]:
            self._complain("what the log names is there", f"entry {seq} names {name!r}, which is not there whole")
        return Item(value["version"], value["sha256"])
