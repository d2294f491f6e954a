"""The log as an onlooker at the bucket keeps it: every entry that ever was, and what the state is after each.

It shares no code with the log it watches: entries are read as plain JSON, folded into plain dicts.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from rxmps3.model.names import parse_value_name
from rxmps3.model.state import Entry
from tests.simulator.bucket import SimBucket
from tests.simulator.recorder import Recorder, WriteRecord

__all__ = ["Fold", "Item", "Ledger", "LoggedWrite", "fold_writes"]

_GRACE = 3600.0
_COARSE = 10.0
"""Seconds by which server times and the moments of requests may differ."""


class Item(NamedTuple):
    """What the log says of one key: the version that wrote it, the SHA-256 of its value's text, its object, and where
    in that its value begins and ends if the object is a pack."""

    version: str
    sha256: str
    object: str = ""
    part: tuple[int, int] | None = None


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


def fold_writes(
    fold: Fold, writes: Iterable[LoggedWrite], expired: Iterable[str], counted: dict[str, set[int]]
) -> Fold:
    """The state after some writes, of which each counts once.

    Args:
        fold: the state before.
        writes: in order.
        expired: the writers whose numbers are forgotten with them.
        counted: by writer the numbers that have counted; it is kept up to date.
    """
    items, marks = dict(fold.items), dict(fold.marks)
    committing: set[str] = set()
    for write in writes:
        writer, number = write.version.rpartition("-")[0], write.number
        committing.add(writer)
        if number in counted.setdefault(writer, set()):
            continue
        counted[writer].add(number)
        if number > marks.get(writer, (0, ""))[0]:
            marks[writer] = number, write.nonce
        for key, item in write.update.items():
            if item is None:
                items.pop(key, None)
            else:
                items[key] = item
    for writer in expired:
        if writer not in committing:
            marks.pop(writer, None)
            counted.pop(writer, None)
    return Fold(items, marks)


class Ledger:
    """Reads each entry as it is created. ``collected_keys`` have lost a value of theirs to collection.

    Args:
        manifest: whose log it is.
        recorder: is told what does not hold.
        may_repeat: whether a write may be in the log more than once, since several processes have it.
    """

    def __init__(self, manifest: str, recorder: Recorder, may_repeat: Callable[[str], bool]) -> None:
        self.folds: list[Fold] = [Fold({}, {})]
        self.writes: list[tuple[LoggedWrite, ...]] = [()]
        self.places: dict[str, int] = {}
        self.born: list[float] = [0.0]
        self.incarnation = ""
        self.floor = 0
        self.bucket: SimBucket | None = None
        self.ghosts = 0
        self.collected_keys: set[str] = set()
        self.collected_values: set[str] = set()
        self._checkpoint = 0
        self._collected: set[int] = set()
        self._root = f"{manifest}/"
        self._recorder = recorder
        self._complain = recorder.complain
        self._counted: dict[str, set[int]] = {}
        self._may_repeat = may_repeat
        self._chains = [""]
        self._raised: list[tuple[float, int]] = []
        self._checkpoints: set[str] = set()
        self._chunks: dict[str, set[str]] = {}
        self._last_named: dict[str, int] = {}
        self._packed: dict[str, set[str]] = {}

    @property
    def length(self) -> int:
        """The number of the newest entry."""
        return len(self.folds) - 1

    @property
    def log(self) -> list[tuple[LoggedWrite, ...]]:
        """What each entry holds, in order."""
        return self.writes[1:]

    def id_of(self, key: str, entry: Entry) -> int | None:
        """The id of the write that made an entry."""
        return self._recorder.by_version[entry.version].id_of(key)

    def covers(self, write: WriteRecord) -> bool:
        """Whether a write is in the log."""
        return write.version in self.places

    def final_items(self) -> Mapping[str, Item]:
        """What the log says of each key."""
        return self.folds[-1].items

    def final_places(self) -> Mapping[str, int]:
        """Of each write, where in the log it is."""
        return self.places

    def stored(self, name: str, body: bytes, who: str, version: str | None, now: float) -> None:
        """An object was written."""
        if name == f"{self._root}head":
            self._head(json.loads(body), now)
        elif self.incarnation and name.startswith(f"{self._root}{self.incarnation}/log/"):
            self._entry(int(name.rpartition("/")[2]), body, now)

    def deleted(self, name: str, version: str | None, now: float) -> None:
        """An object was removed."""
        place = name.removeprefix(self._root)
        if place == "head":
            self._complain("what is named is not deleted", "the head was")
        elif place.startswith(f"{self.incarnation}/log/"):
            self._entry_deleted(int(place.rpartition("/")[2]), now)
        elif place.startswith(f"{self.incarnation}/checkpoint/"):
            if place in self._checkpoints:
                self._complain("what is named is not deleted", f"the head names {place!r}")
            self._recorder.counts["chunks deleted"] += "." in place
            for name in self._checkpoints:
                if place in self._chunks.get(name, ()):
                    self._complain("what is named is not deleted", f"{name!r} names {place!r}")
        elif place.startswith("values/"):
            self._value_deleted(place)

    def read(self, name: str) -> None:
        """An object is being given out."""

    def _value_deleted(self, place: str) -> None:
        if place.startswith("values/@"):
            self.collected_keys |= self._packed.get(place, set())
        else:
            self.collected_keys.add(parse_value_name(place)[0])
        self.collected_values.add(self._root + place)
        if self._last_named.get(place, -1) >= self.floor:
            at = self._last_named[place]
            self._complain("what is named is not deleted", f"the state after {at} names {place!r}; floor {self.floor}")

    def _entry_deleted(self, seq: int, now: float) -> None:
        self._collected.add(seq)
        raised_at = next((at for at, floor in self._raised if floor >= seq), None)
        if raised_at is None:
            self._complain("only what is below the floor is deleted", f"entry {seq}, the floor is {self.floor}")
        elif now - raised_at < _GRACE - _COARSE:
            self._complain("the grace is kept", f"entry {seq} was deleted {now - raised_at:.0f} s after the floor rose")

    def check_end(self) -> None:
        """Every object that the final state names is there."""
        for key, item in self.folds[-1].items.items():
            if not self._is_there(item):
                self._complain("what the log names is there", f"{item.object!r} of {key!r} is not there at the end")

    def _is_there(self, item: Item) -> bool:
        """Whether the object of a value, if it has one, holds it."""
        if not item.object:
            return True
        body = None if self.bucket is None else self.bucket.read(self._root + item.object)
        if body is not None and item.part is not None:
            body = body[slice(*item.part)]
        return body is not None and hashlib.sha256(body).hexdigest() == item.sha256

    def _head(self, head: dict[str, Any], now: float) -> None:
        if not self.incarnation:
            self.incarnation = head["log"]
            self._chains[0] = hashlib.sha256(self.incarnation.encode()).hexdigest()
        elif head["log"] != self.incarnation:
            self._complain("the head keeps its log", f"{head['log']} replaces {self.incarnation}")
        newest = head.get("checkpoint")
        refs = [ref for ref in (*head.get("kept", ()), newest) if ref]
        seq = newest["seq"] if newest else 0
        if head["floor"] < self.floor or seq < self._checkpoint:
            self._complain("floor and head only rise", f"{self.floor}, {self._checkpoint} -> {head['floor']}, {seq}")
        if head["floor"] > self.floor:
            self._raised.append((now, head["floor"]))
        for ref in refs:
            if ref["name"] not in self._checkpoints:
                self._check_checkpoint(ref)
        self.floor, self._checkpoint = head["floor"], seq
        self._checkpoints = {ref["name"] for ref in refs}
        if self.floor and self.floor not in [ref["seq"] for ref in refs]:
            self._complain("the floor is a kept checkpoint", f"{self.floor} is none of {refs}")

    def _check_checkpoint(self, ref: dict[str, Any]) -> None:
        """A checkpoint that the head begins to name is the fold of the log."""
        body = None if self.bucket is None else self.bucket.read(self._root + ref["name"])
        seq = int(ref["seq"])
        if body is None or seq > self.length:
            self._complain("a checkpoint is the log's fold", f"{ref['name']!r} is not there, or ahead of the log")
            return
        text = gzip.decompress(body)
        held = cast("dict[str, Any]", json.loads(text))
        fold = self.folds[seq]
        items = self._read_items(held) if "entries" in held else self._read_chunks(ref["name"], held["chunks"])
        marks = {writer: (mark["number"], mark["nonce"]) for writer, mark in held["writers"].items()}
        if (
            hashlib.sha256(text).hexdigest() != ref["sha256"]
            or (held["seq"], held["chain"]) != (seq, self._chains[seq])
            or items != fold.items
            or marks != fold.marks
        ):
            self._complain("a checkpoint is the log's fold", f"{ref['name']!r} is not the state after entry {seq}")

    def _read_items(self, held: dict[str, Any]) -> dict[str, Item]:
        packs = held.get("packs", ())
        return {key: self._read_item(value, packs, "") for key, value in held["entries"].items()}

    def _read_chunks(self, name: str, chunks: Sequence[dict[str, Any]]) -> dict[str, Item] | None:
        """What the chunks of a checkpoint hold; None if one is not there, or not what it should be."""
        own = f"{name}."
        self._recorder.counts["chunks written"] += sum(chunk["name"].startswith(own) for chunk in chunks)
        self._recorder.counts["chunks named again"] += sum(not chunk["name"].startswith(own) for chunk in chunks)
        self._chunks[name] = {chunk["name"] for chunk in chunks}
        items: dict[str, Item] = {}
        for chunk in chunks:
            body = None if self.bucket is None else self.bucket.read(self._root + chunk["name"])
            text = b"" if body is None else gzip.decompress(body)
            if hashlib.sha256(text).hexdigest() != chunk["sha256"]:
                return None
            held = self._read_items(json.loads(text))
            if min(held) != chunk["first"] or any(key >= min(held) for key in items):
                return None
            items |= held
        return items

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
        if entry["previous"] != self._chains[-1]:
            self._complain("the chain holds", f"entry {seq} does not follow the bytes of entry {seq - 1}")
        self._chains.append(hashlib.sha256(body).hexdigest())
        if entry["seq"] != seq:
            self._complain("the chain holds", f"entry {seq} claims to be {entry['seq']}")
        logged: list[LoggedWrite] = []
        for part in entry["writes"]:
            writer, number = part.get("writer", entry["writer"]), part["number"]
            write = LoggedWrite(
                f"{writer}-{number}",
                number,
                part["nonce"],
                {
                    key: None
                    if value is None
                    else self._item(seq, key, value, part.get("packs", ()), f"{writer}-{number}")
                    for key, value in part["update"].items()
                },
            )
            if write.version not in self.places:
                self._check_what_it_rests_on(seq, write, logged)
            logged.append(write)
            if write.version in self.places and not self._may_repeat(write.version):
                place = self.places[write.version]
                self._complain("each write is in the log once", f"{write.version} is in entry {place} and in {seq}")
            self.places.setdefault(write.version, seq)
        self.folds.append(fold_writes(self.folds[-1], logged, entry.get("expired", ()), self._counted))
        for key, item in self.folds[-1].items.items():
            if item.object:
                self._last_named[item.object] = seq
            if item.part is not None:
                self._packed.setdefault(item.object, set()).add(key)
        self.writes.append(tuple(logged))
        self.born.append(now)

    def _check_what_it_rests_on(self, seq: int, write: LoggedWrite, before: Iterable[LoggedWrite]) -> None:
        """A write that asks for a version of its key comes right after a state that has it."""
        record = self._recorder.by_version.get(write.version)
        if record is None or record.rests_on is None:
            return
        key, wanted = record.rests_on
        item = self.folds[-1].items.get(key)
        for earlier in before:
            if earlier.version not in self.places or self.places[earlier.version] == seq:
                item = earlier.update.get(key, item)
        found = item.version if item is not None else ""
        if found != wanted:
            what = f"{write.version} in entry {seq} asks for {wanted!r} of {key!r}, which is at {found!r}"
            self._complain("a condition holds where it is committed", what)

    def _item(self, seq: int, key: str, value: Any, packs: Sequence[str], version: str) -> Item:
        """What an entry says of a key; an object that it names must be there by now."""
        item = self._read_item(value, packs, version)
        if not self._is_there(item):
            self._complain("what the log names is there", f"entry {seq} names {item.object!r} of {key!r}")
        return item

    def _read_item(self, value: Any, packs: Sequence[str], version: str) -> Item:
        if isinstance(value, list):
            pack, offset, size, sha256, *own = cast("list[Any]", value)
            digest = base64.urlsafe_b64decode(sha256 + "=").hex()
            return Item(own[0] if own else version, digest, packs[pack], (offset, offset + size))
        if "object" in value:
            return Item(value["version"], value["sha256"], value["object"])
        text = json.dumps(value["value"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return Item(value["version"], hashlib.sha256(text.encode()).hexdigest())
