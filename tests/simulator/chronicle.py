"""Logs whose order is not that of arrival, as an onlooker at the bucket keeps them.

Such a log may grow below its end, so there is no number that says how far a client has come. What is checked of a
client is therefore what it says it knows; how that moves on is left to the checkers of causality, and that nothing is
missing to the end of the run.

As in `tests.simulator.ledger`, no code is shared with the logs that are watched.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, cast

from rxmps3.errors import OutcomeUnknown, Rejected
from rxmps3.model import jsontext
from rxmps3.model.missing import MISSING
from rxmps3.model.state import Entry, State
from tests.simulator.bucket import MANIFEST, SimBucket
from tests.simulator.ledger import Fold, Item, LoggedWrite, fold_writes
from tests.simulator.recorder import Recorder, SessionRecord, WriteRecord

__all__ = ["Chronicle", "Mps3Chronicle", "VersionedChronicle"]

_COARSE = 10.0
"""Seconds by which server times and the moments of requests may differ."""
_SETTLED = 1200.0
_GRACE = 3600.0
_DAY = 86400.0
_LAG = 5000
_WINDOW = 12000
"""Milliseconds, as the mps3 log has them."""
_MOST_DOUBTS = 6
"""Of so many versions at most every combination is tried; beyond it a state is left to the other checks."""


class Chronicle:
    """What was written, by arrival; and what the log says at the end.

    Attributes:
        writes: what each version holds, by arrival, from 1.
        places: of each write in the log, which version brought it first.
        collected_keys, collected_values: of what was collected.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.writes: list[tuple[LoggedWrite, ...]] = [()]
        self.places: dict[str, int] = {}
        self.bucket: SimBucket | None = None
        self.ghosts = 0
        self.collected_keys: set[str] = set()
        self.collected_values: set[str] = set()
        self._recorder = recorder
        self._complain = recorder.complain

    @property
    def length(self) -> int:
        """How many versions there ever were."""
        return len(self.writes) - 1

    @property
    def moved(self) -> set[str]:
        """Writes that may have been seen in one place and then in another below it."""
        return set()

    @property
    def log(self) -> list[tuple[LoggedWrite, ...]]:
        """What each version holds, in the order of the log."""
        raise NotImplementedError

    def stored(self, name: str, body: bytes, who: str, version: str | None, now: float) -> None:
        """An object was written."""
        raise NotImplementedError

    def read(self, name: str) -> None:
        """An object is being given out."""

    def deleted(self, name: str, version: str | None, now: float) -> None:
        """An object was removed."""
        raise NotImplementedError

    def final_items(self) -> Mapping[str, Item]:
        """What the log says of each key."""
        raise NotImplementedError

    def contradiction(self, state: State) -> str:
        """What is wrong with a state that some client says is the log's; "" if nothing is."""
        raise NotImplementedError

    def id_of(self, key: str, entry: Entry) -> int | None:
        """The id of the write that made an entry."""
        record = self._recorder.by_version.get(entry.version)
        return None if record is None else record.id_of(key)

    def newest(self) -> str:
        """The newest version that anybody can see by now; "" if there is none."""
        raise NotImplementedError

    def reaches(self, state: State, id: str) -> bool:
        """Whether a state is of that version, or of a later one."""
        raise NotImplementedError

    def ids_after(self, count: int) -> set[str]:
        """The ids of the versions after the first ``count``, by arrival."""
        raise NotImplementedError

    def knows(self, id: str) -> bool:
        """Whether there is a version of this id."""
        raise NotImplementedError

    def final_places(self) -> Mapping[str, int]:
        """Of each write, where in the log it is."""
        places: dict[str, int] = {}
        for place, writes in enumerate(self.log):
            for write in writes:
                places.setdefault(write.version, place)
        return places

    def covers(self, write: WriteRecord) -> bool:
        """Whether a write is in the log."""
        return write.version in self.places

    def could_be_elsewhere(self, write: WriteRecord) -> bool:
        """Whether another version than the one that is taken for it may be what brought a write."""
        return False

    def check_end(self) -> None:
        """Every object that the final state names is there."""
        for key, item in self.final_items().items():
            name, _, version = item.object.partition("?")
            body = self._read(name, version or None)
            if body is None or _digest(body) != item.sha256:
                self._complain("what the log names is there", f"{item.object!r} of {key!r} is not there at the end")

    def _read(self, name: str, version: str | None = None) -> bytes | None:
        return None if self.bucket is None else self.bucket.read(name, version)

    def _add(self, writes: Sequence[LoggedWrite]) -> None:
        self.writes.append(tuple(writes))
        for write in writes:
            self.places.setdefault(write.version, self.length)


def _digest(body: bytes) -> str:
    """Of the canonical text of the value in a body."""
    return hashlib.sha256(jsontext.encode(json.loads(body)).encode()).hexdigest()


# -- the versioned log ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """A version of the manifest."""

    id: str
    follows: tuple[str, ...]
    writes: tuple[LoggedWrite, ...]
    expired: tuple[str, ...]
    born: float


class VersionedChronicle(Chronicle):
    """Reads each version of the manifest as it is made."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._said: dict[str, _Said] = {}
        self._present: set[str] = set()
        self._read_by_somebody: set[str] = set()
        self._doubtful: set[str] = set()  # deletions that repeat one: which operation holds them cannot be told
        self._copies: dict[str, int] = {}
        self._named: dict[tuple[str, str], str] = {}
        self._expired: set[str] = set()
        self._revived = False  # a writer went on that was forgotten: what a state knows of it cannot be told any more
        self._checkpoint = (0, "")

    def knows(self, id: str) -> bool:
        return id in self._said

    def ids_after(self, count: int) -> set[str]:
        return set(list(self._said)[count:])

    def newest(self) -> str:
        shown = [] if self.bucket is None else self.bucket.shown
        return next((id for id in reversed(shown) if id in self._present), "")

    def reaches(self, state: State, id: str) -> bool:
        return all(self._includes(state, write) for write in self._said[id].writes)

    def stored(self, name: str, body: bytes, who: str, version: str | None, now: float) -> None:
        if name != MANIFEST or version is None:
            return
        said = cast("dict[str, Any]", json.loads(body))
        writes: list[LoggedWrite] = []
        for part in said["writes"]:
            writer, number = part.get("writer", said["writer"]), part["number"]
            made_by = f"{writer}-{number}"
            if made_by not in self.places:  # else it counts already, and its values may be collected
                self._check_values(part["update"])
            update = {key: None if value is None else _item(value) for key, value in part["update"].items()}
            writes.append(LoggedWrite(made_by, number, part["nonce"], update))
        for write in writes:
            self._revived = self._revived or write.version.rpartition("-")[0] in self._expired
            self._copies[write.version] = self._copies.get(write.version, 0) + 1
        follows = tuple(id for id in (said["previous"], said["own"], *said.get("beside", ())) if id)
        self._expired.update(said.get("expired", ()))
        self._said[version] = _Said(version, follows, tuple(writes), tuple(said.get("expired", ())), now)
        self._present.add(version)
        self._add(writes)
        if said["checkpoint"] is not None:
            self._check_checkpoint(said["checkpoint"])

    def _check_values(self, update: Mapping[str, Any]) -> None:
        for key, value in update.items():
            if value is None:
                continue
            name, at = value["object"], value["at"]
            body = self._read(name, at)
            if body is None or hashlib.sha256(body).hexdigest() != value["sha256"]:
                self._complain("what the log names is there", f"a version names {name!r}, version {at!r}, of {key!r}")
            self._named[name, at] = key

    def _check_checkpoint(self, named: dict[str, Any]) -> None:
        """A checkpoint is the fold of the log up to a version, which nothing that comes to light later may change."""
        body = self._read(named["name"])
        if (named["count"], named["name"]) <= self._checkpoint or body is None:
            return  # it is as old as a known one, and may be collected
        self._checkpoint = named["count"], named["name"]
        held = cast("dict[str, Any]", json.loads(gzip.decompress(body)))
        order = self._resolved(self._in_order())
        at = next((at for at, said in enumerate(order, 1) if said.id == named["version"]), 0)
        items, _ = self._fold(order[:at])
        theirs = {key: (value["version"], value["sha256"]) for key, value in held["entries"].items()}
        if theirs != {key: item[:2] for key, item in items.items()} or named["count"] != at:
            self._complain("a checkpoint is the log's fold", f"{named['name']!r} is not the state after {at} versions")

    def deleted(self, name: str, version: str | None, now: float) -> None:
        if name == MANIFEST:
            self._version_deleted(version, now)
        elif name == self._checkpoint[1]:
            self._complain("what is named is not deleted", f"the newest checkpoint, {name!r}, was")
        elif version is not None and (name, version) in self._named:
            key = self._named[name, version]
            self.collected_keys.add(key)
            self.collected_values.add(name)
            item = self.final_items().get(key)
            if item is not None and item.object == f"{name}?{version}":
                self._complain("what is named is not deleted", f"the state names {item.object!r}")

    def _version_deleted(self, version: str | None, now: float) -> None:
        if version is None:
            self._complain("what is named is not deleted", "the manifest was")
            return
        if version not in self._present:
            return
        oldest = next(said.id for said in self._in_order() if said.id in self._present)
        age = now - self._said[version].born
        if version != oldest:
            self._complain("the oldest versions go first", f"{version!r} was deleted before {oldest!r}")
        if age < _SETTLED + _GRACE - _COARSE:
            self._complain("the grace is kept", f"version {version!r} was deleted {age:.0f} s after it was made")
        self._present.discard(version)

    @property
    def moved(self) -> set[str]:
        if self.bucket is None:
            return set()
        moved: set[str] = set()
        shown: dict[str, float] = {}
        for said in self._said.values():
            for write in said.writes:
                if shown.get(write.version, 0.0) > said.born:
                    moved.add(write.version)
                shown[write.version] = max(shown.get(write.version, 0.0), self.bucket.shown_at(said.id))
        return moved

    @property
    def log(self) -> list[tuple[LoggedWrite, ...]]:
        return [said.writes for said in self._resolved(self._in_order())]

    def final_items(self) -> Mapping[str, Item]:
        return self._fold(self._resolved(self._in_order()))[0]

    def contradiction(self, state: State) -> str:
        sure: set[str] = set()
        doubtful: list[str] = []
        for said in self._said.values():
            # of a writer that was forgotten by now a state need not tell
            telling = [write for write in said.writes if write.version.rpartition("-")[0] not in self._expired]
            single = [write for write in telling if self._copies[write.version] == 1]
            if not said.writes or any(self._includes(state, write) for write in single):
                sure.add(said.id)
            elif not single and all(self._includes(state, write) for write in said.writes):
                doubtful.append(said.id)
        if self._revived:
            return ""
        for said in map(self._said.__getitem__, sorted(sure)):
            causes = {id for id in said.follows if id in self._said} - sure - set(doubtful)
            if said.writes and causes:
                return f"it knows {said.id}, but not {', '.join(sorted(causes))}, which comes before that"
        if len(doubtful) > _MOST_DOUBTS:
            return ""
        mine = {key: (entry.version, entry.content.sha256) for key, entry in state.entries.items()}
        wrong = ""
        for chosen in product((False, True), repeat=len(doubtful)):
            known = {*sure, *(id for id, taken in zip(doubtful, chosen, strict=True) if taken)}
            items, _ = self._fold(self._resolved([said for said in self._in_order() if said.id in known]))
            theirs = {key: item[:2] for key, item in items.items() if state.kept is None or state.kept.has(key)}
            if mine == theirs:
                return ""
            keys = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
            wrong = ", ".join(f"{key}: {mine.get(key)} instead of {theirs.get(key)}" for key in keys)
        return wrong

    def _includes(self, state: State, write: LoggedWrite) -> bool:
        writer = write.version.rpartition("-")[0]
        mark = state.writers.get(writer)
        if mark is None:
            return writer in self._expired
        return write.number <= mark.number and not any(first <= write.number <= last for first, last in mark.gaps)

    def _in_order(self) -> list[_Said]:
        """As the server orders them."""
        if self.bucket is None:
            return []
        return [self._said[id] for id in self.bucket.order if id in self._said]

    def _resolved(self, listed: Sequence[_Said]) -> list[_Said]:
        """None before one that it follows."""
        present = {said.id for said in listed}
        done: set[str] = set()
        order: list[_Said] = []
        held: list[_Said] = []

        def place(said: _Said) -> None:
            order.append(said)
            done.add(said.id)
            for one in list(held):
                if one in held and said.id in one.follows and is_free(one):
                    held.remove(one)
                    place(one)

        def is_free(said: _Said) -> bool:
            return all(id in done or id not in present for id in said.follows)

        for said in listed:
            if is_free(said):
                place(said)
            else:
                held.append(said)
        return [*order, *held]

    def _fold(self, order: Iterable[_Said]) -> tuple[dict[str, Item], dict[str, tuple[int, str]]]:
        fold = Fold({}, {})
        counted: dict[str, set[int]] = {}
        for said in order:
            fold = fold_writes(fold, said.writes, said.expired, counted)
        return dict(fold.items), dict(fold.marks)


def _item(value: Mapping[str, Any]) -> Item:
    return Item(value["version"], value["sha256"], f"{value['object']}?{value['at']}")


# -- the mps3 log --------------------------------------------------------------------------------------------------

_OPERATION = re.compile(rf"{MANIFEST}@(([0-9a-v]{{9}})_[0-9a-z]+_[0-9a-z]{{2}})")


class _Operation(NamedTuple):
    """An operation that counts."""

    stamp: str
    time: int
    update: Mapping[str, Item | None]
    writes: tuple[LoggedWrite, ...]


def _kept_back(write: WriteRecord, given_up: tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    """With which errors a write is not sent."""
    return given_up if write.resurrected else (Rejected, *given_up)


class Mps3Chronicle(Chronicle):
    """Reads each operation as it is stored; what the log says is the fold of all that count, by their names.

    The format does not say which writes an operation holds: they are the oldest ones of its writer that no operation
    held before, as many as explain it. If a later one makes no sense without the last of those, it holds them instead.

    Attributes:
        collected_operations: how many that counted were deleted.
    """

    def __init__(self, recorder: Recorder, *, versioning: bool) -> None:
        super().__init__(recorder)
        self.collected_operations = 0
        self._versioning = versioning
        self._operations: dict[str, _Operation] = {}
        self._bases: list[tuple[float, frozenset[str]]] = []  # when an operation was stored, and the keys in its base
        self._present: set[str] = set()
        self._read_by_somebody: set[str] = set()
        self._doubtful: set[str] = set()  # deletions that repeat one: which operation holds them cannot be told
        self._ids: dict[tuple[str, str], int] = {}
        self._values: dict[str, float] = {}

    @property
    def moved(self) -> set[str]:
        # a state does not say which writes are in it: until their operations are found, they are shown on top of it
        return {write.version for write in self._recorder.writes if write.found_again}

    def knows(self, id: str) -> bool:
        return id in self._operations

    def ids_after(self, count: int) -> set[str]:
        return set(list(self._operations)[count:])

    def newest(self) -> str:
        return min(self._operations, default="")

    def reaches(self, state: State, id: str) -> bool:
        return bool(state.version) and state.version <= id

    def id_of(self, key: str, entry: Entry) -> int | None:
        id = super().id_of(key, entry)
        return self._ids.get((key, entry.version)) if id is None else id

    def stored(self, name: str, body: bytes, who: str, version: str | None, now: float) -> None:
        match = _OPERATION.fullmatch(name)
        if match is None:
            if not name.startswith(".rxmps3-probe/"):
                self._values.setdefault(name, now)
            return
        modified = None if self.bucket is None else self.bucket.modified(name)
        time = 2**42 - 1 - int(match[2], 32)
        if modified is None or abs(time - modified.timestamp() * 1000) >= _LAG:
            self.ghosts += 1
            if not self._is_known(match[1]):  # else whoever has seen it keeps it
                gone = self._operations.pop(match[1], None)  # stored once more, and too late: it has to be sent again
                for write in gone.writes if gone is not None else ():
                    self.places.pop(write.version, None)
                self._present.discard(match[1])
            return
        if match[1] in self._operations:
            return
        said = json.loads(body)
        self._bases.append((now, frozenset(file.partition("/")[2] for file in said["files"])))
        files = cast("dict[str, Any]", said["update"]["files"])
        found = {file.partition("/")[2]: self._value(file, value) for file, value in files.items()}
        writes = self._explained(who, {key: one if one is None else one[0] for key, one in found.items()})
        update = {key: None if one is None else one[1] for key, one in found.items()}
        self._operations[match[1]] = _Operation(match[1], time, update, writes)
        self._present.add(match[1])
        self._add(writes)

    def read(self, name: str) -> None:
        match = _OPERATION.fullmatch(name)
        if match is not None:
            self._read_by_somebody.add(match[1])

    def _is_known(self, stamp: str) -> bool:
        """Whether anybody knows that an operation counted: one of its readers, or its writer."""
        operation = self._operations.get(stamp)
        writes = () if operation is None else operation.writes
        records = [self._recorder.by_version.get(write.version) for write in writes]
        acknowledged = any(record is not None and record.settled and record.error is None for record in records)
        return stamp in self._read_by_somebody or acknowledged

    def _value(self, file: str, said: Any) -> tuple[int, Item] | None:
        """The id in a value, and where it is."""
        if said is None:
            return None
        key, version = file.partition("/")[2], said["version"]
        name, at = (key, version) if self._versioning else (f"{key}@{version}", None)
        body = self._read(name, at)
        if body is None:
            self._complain("what the log names is there", f"an operation names {name!r}, version {at!r}")
            return -1, Item("", "", name)
        id = int(json.loads(body)["id"])
        self._ids[key, version] = id
        made_by = self._recorder.writes[id - 1].version
        return id, Item(made_by, _digest(body), name if at is None else f"{name}?{at}")

    def _explained(self, who: str, update: Mapping[str, int | None]) -> tuple[LoggedWrite, ...]:
        """The writes of an operation, whose values' ids are given."""
        made = [write for session in self._recorder.sessions if session.name == who for write in self._kept_by(session)]
        lacking = [write for write in made if write.version and write.version not in self.places]
        # a deletion that somebody else has made may be sent, or found to be in the log already
        done = {write.version for write in lacking if self.covers(write)}
        elsewhere = {
            write.version for write in lacking if write.version in done and not write.values.keys() <= update.keys()
        }
        with_doubtful = [write for write in made if write in lacking or write.version in self._doubtful]
        for write in made:  # its process died right after it was taken back: the disk still had it
            taken_back = isinstance(write.error, Rejected) and write.session.name != who
            write.resurrected = write.resurrected or (taken_back and write.id in update.values())
        refusals = (), (OutcomeUnknown,)
        for candidates, given_up, left_out in product(
            (lacking, with_doubtful), refusals, (set[str](), elsewhere, done)
        ):
            waiting = [
                write
                for write in candidates
                if write.version not in left_out and not isinstance(write.error, _kept_back(write, given_up))
            ]
            merged: dict[str, int | None] = {}
            fits: list[int] = []
            for count, write in enumerate(waiting, 1):
                merged.update({key: write.id_of(key) for key in write.values})
                if merged == dict(update):
                    fits.append(count)
            if fits:
                self._doubtful.update(write.version for write in waiting[fits[0] : fits[-1]])
                return tuple(self._logged(write) for write in waiting[: fits[-1]])
        known = {self._recorder.writes[id - 1].version in self.places for id in update.values() if id}
        if True in known:
            self._complain("each write is in the log once", f"{who} stores {dict(update)}")
        if known != {True} and any(id is not None for id in update.values()):
            self._complain("nothing is invented", f"{who} stores {dict(update)}, which none of its writes explain")
        return ()

    def _kept_by(self, session: SessionRecord) -> Sequence[WriteRecord]:
        """What a process has written or found in its outbox, which it may send before `connect` has returned."""
        if session.writes:
            return session.writes
        return [
            write
            for write in self._recorder.writes
            if write.session.client == session.client and (write.stored or isinstance(write.error, Rejected))
        ]

    def _logged(self, write: WriteRecord) -> LoggedWrite:
        texts = {key: None if value is MISSING else jsontext.encode(value) for key, value in write.values.items()}
        update = {
            key: None if text is None else Item(write.version, hashlib.sha256(text.encode()).hexdigest())
            for key, text in texts.items()
        }
        return LoggedWrite(write.version, write.index, "", update)

    def deleted(self, name: str, version: str | None, now: float) -> None:
        match = _OPERATION.fullmatch(name)
        if match is not None:
            operation = self._operations.get(match[1])
            newest = max((one.time for one in self._operations.values()), default=0)
            if operation is None or match[1] not in self._present:
                return
            self.collected_operations += 1
            if operation.time >= newest - _WINDOW:
                self._complain("what is named is not deleted", f"operation {name!r}, within the window")
            if match[1] != max(self._present):
                self._complain("the oldest versions go first", f"{name!r} was deleted before {max(self._present)!r}")
            self._present.discard(match[1])
        elif name in self._values and not self._versioning:
            self.collected_keys.add(name.rpartition("@")[0])
            self.collected_values.add(name)
            age = now - self._values[name]
            if age < _DAY - _COARSE or name in {item.object for item in self.final_items().values()}:
                self._complain("what is named is not deleted", f"value {name!r}, {age:.0f} s old")

    def _is_deleted_later(self, write: WriteRecord, key: str) -> bool:
        """Whether its writer deleted the key later, by a mere deletion that is covered."""
        return any(
            all(value is MISSING for value in later.values.values()) and self.covers(later)
            for later in self._recorder.writes
            if later.session.client == write.session.client and later.index > write.index and key in later.values
        )

    def covers(self, write: WriteRecord) -> bool:
        """Also a mere deletion is that somebody else made: to a later process of its writer the two are one.

        So is one of keys that the base of an operation lacks which its process had perhaps not read, once there has been
        a collection: nothing says who deleted them. And so is a put before such a deletion, with which it would be sent.
        """
        if super().covers(write):
            return True
        if any(value is not MISSING for value in write.values.values()):
            return all(self._is_deleted_later(write, key) for key in write.values)
        deleted = {key for operation in self._operations.values() for key, item in operation.update.items() if not item}
        return write.values.keys() <= deleted or bool(
            self.collected_operations
            and any(
                at >= min(write.called_at, write.session.read_at) and keys.isdisjoint(write.values)
                for at, keys in self._bases
            )
        )

    def could_be_elsewhere(self, write: WriteRecord) -> bool:
        """Mere deletions may be, if several operations set or delete the keys; and what was given up, if a later one
        hides it."""
        if isinstance(write.error, OutcomeUnknown):
            return True
        if any(value is not MISSING for value in write.values.values()):
            return False
        touching = Counter(key for one in self._operations.values() for key in one.update)
        return all(touching[key] > 1 for key in write.values)

    def _in_order(self) -> list[_Operation]:
        return [self._operations[stamp] for stamp in sorted(self._operations, reverse=True)]

    @property
    def log(self) -> list[tuple[LoggedWrite, ...]]:
        return [operation.writes for operation in self._in_order()]

    def final_items(self) -> Mapping[str, Item]:
        items: dict[str, Item] = {}
        for operation in self._in_order():
            for key, item in operation.update.items():
                items.pop(key, None)
                if item is not None:
                    items[key] = item
        return items

    def contradiction(self, state: State) -> str:
        return "" if not state.version or state.version in self._operations else f"there is no {state.version!r}"
