"""The three logs, folded as ``docs/protocol.md``, ``docs/protocol-versioned.md`` and ``docs/protocol-mps3.md`` say.

Nothing here knows the package. A fold gives the writes that count, in their order, with the values that they set read
from where they lie, and every way in which what is stored contradicts its specification.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from tests.checker.raw import Listed, Objects
from tests.checker.trace import MISSING_VALUE, Seen, id_of

PROTOCOLS = ("sequenced", "versioned", "mps3")


@dataclass
class Item:
    """One write that counts; in the mps3 log, one operation, which may be several writes of one client.

    Attributes:
        where: its place in the bucket, for messages.
        update: its keys, and of which write the value is that each is set to; None deletes.
        counts: by key the number in an incremented value.
    """

    where: str
    update: Seen
    counts: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def ids(self) -> set[str]:
        """The writes whose values it sets."""
        return {id for id in self.update.values() if id is not None}


@dataclass
class Log:
    """What a bucket holds.

    Attributes:
        items: the writes that count, in order.
        state: the end of the fold: of each key the write whose value is there.
        problems: contradictions to the specification.
        complete: whether it was read from its beginning; otherwise `before` is the state at its first item.
        before: what was there before the first item.
    """

    items: list[Item]
    problems: list[str]
    state: Seen = field(default_factory=dict[str, str | None])
    before: Seen = field(default_factory=dict[str, str | None])
    complete: bool = True


def read_log(objects: Objects, protocol: str) -> Log:
    """Read the log of the default manifest."""
    return {"sequenced": read_sequenced, "versioned": read_versioned, "mps3": read_mps3}[protocol](objects)


def folded(items: list[Item], before: Mapping[str, str | None]) -> Seen:
    """The state after some items."""
    state = dict(before)
    for item in items:
        for key, id in item.update.items():
            if id is None:
                state.pop(key, None)
            else:
                state[key] = id
    return state


class _Once:
    """Which writes count: each once.

    Args:
        problems: gets what contradicts the specification.
        highest: of each writer the highest number before the first entry, and its nonce.
    """

    def __init__(self, problems: list[str], highest: Mapping[str, tuple[int, str]] | None = None) -> None:
        self._problems = problems
        self._before = dict(highest or {})
        self._seen: dict[tuple[str, int], str] = {
            (writer, number): nonce for writer, (number, nonce) in self._before.items()
        }

    def counts(self, writer: str, number: int, nonce: str, where: str) -> bool:
        known = self._seen.get((writer, number))
        if known is not None:
            if known != nonce:
                self._problems.append(f"{where}: {writer}-{number} is there with two nonces")
            return False
        if number < self._before.get(writer, (0, ""))[0]:
            return False
        self._seen[writer, number] = nonce
        return True

    def forget(self, writer: str) -> None:
        self._before.pop(writer, None)
        self._seen = {known: nonce for known, nonce in self._seen.items() if known[0] != writer}


# -- the sequenced log ----------------------------------------------------------------------------------------------


def read_sequenced(objects: Objects) -> Log:
    """Sections 3, 4, 5.1 and 5.7 of ``docs/protocol.md``."""
    problems: list[str] = []
    raw = objects.read("main/head")
    if raw is None:
        left = objects.names("main/")
        return Log([], [f"there is no head, but {left[0].name} and {len(left) - 1} more"] if left else [])
    head = json.loads(raw)
    id = head["log"]
    folder = f"main/{id}/log/"
    listed = {int(one.name.removeprefix(folder)): one for one in objects.names(folder)}
    strangers = [one.name for one in objects.names("main/") if not re.match(rf"main/({id}/|values/|head$)", one.name)]
    if strangers:
        problems.append(f"objects of another log: {strangers[0]} and {len(strangers) - 1} more")
    checkpoints = [*([head["checkpoint"]] if head["checkpoint"] else []), *head["kept"]]
    first = 1
    before: Seen = {}
    chain = hashlib.sha256(id.encode()).hexdigest()
    once = _Once(problems)
    if head["floor"] > 0 and 1 not in listed:
        at = min((one for one in checkpoints if one["seq"] >= head["floor"]), key=lambda one: one["seq"])
        start = _checkpoint(objects, at, id, problems)
        first, chain = at["seq"] + 1, start["chain"]
        before = {key: _of_entry(objects, "main/", entry, key, problems)[0] for key, entry in start["entries"].items()}
        once = _Once(problems, {writer: (one["number"], one["nonce"]) for writer, one in start["writers"].items()})
    numbers = [number for number in sorted(listed) if number >= first]
    if numbers != list(range(first, first + len(numbers))):
        missing = sorted(set(range(first, numbers[-1])) - set(numbers))
        problems.append(f"holes in the log: {missing[:5]}")
    bodies = _read_all(objects, [listed[number] for number in numbers])
    items: list[Item] = []
    states = {checkpoint["seq"]: checkpoint for checkpoint in checkpoints}
    state: dict[str, str] = {}
    for number, body in zip(numbers, bodies, strict=True):
        where = f"entry {number}"
        if body is None:
            problems.append(f"{where} is listed and not there")
            continue
        try:
            entry = json.loads(body)
        except ValueError:
            problems.append(f"{where} is no JSON")
            continue
        if entry.get("seq") != number or entry.get("format") != 1 or entry.get("requires") not in ([], ["packs"]):
            problems.append(f"{where} has another shape")
        if entry["previous"] != chain:
            problems.append(f"{where} does not follow the one before it")
        chain = hashlib.sha256(body).hexdigest()
        for writer in entry.get("expired", []):
            once.forget(writer)
        for write in entry["writes"]:
            if once.counts(write.get("writer", entry["writer"]), write["number"], write["nonce"], where):
                items.append(_item(objects, "main/", where, write, problems))
                own = f"{write.get('writer', entry['writer'])}-{write['number']}"
                for key, one in write["update"].items():
                    if one is None:
                        state.pop(key, None)
                    else:
                        state[key] = _version_of(one, own)
        if number in states and first == 1:
            made = _checkpoint(objects, states[number], id, problems)
            if {key: _version_of(one) for key, one in made.get("entries", {}).items()} != state:
                problems.append(f"the checkpoint at {number} is not the fold")
            if made.get("chain") != chain:
                problems.append(f"the checkpoint at {number} names another chain")
    return Log(items, problems, folded(items, before), before, first == 1)


def _checkpoint(objects: Objects, named: Mapping[str, Any], log: str, problems: list[str]) -> dict[str, Any]:
    body = objects.read(f"main/{named['name']}")
    if body is None:
        problems.append(f"the checkpoint {named['name']} is not there")
        return {"chain": "", "entries": {}, "writers": {}}
    text = gzip.decompress(body)
    if hashlib.sha256(text).hexdigest() != named["sha256"]:
        problems.append(f"the checkpoint {named['name']} has another hash")
    found = json.loads(text)
    if found["log"] != log or found["seq"] != named["seq"]:
        problems.append(f"the checkpoint {named['name']} is of another log or number")
    return found


def _version_of(entry: Any, own: str = "") -> str:
    """The version of an entry; of a packed one that of its write, if it names none."""
    if isinstance(entry, list):
        _pack, _offset, _size, _sha256, *rest = cast("list[Any]", entry)
        return rest[0] if rest and rest[0] else own
    return entry["version"]


def _item(objects: Objects, folder: str, where: str, write: Mapping[str, Any], problems: list[str]) -> Item:
    found: Seen = {}
    counts: dict[str, int] = {}
    for key, entry in write["update"].items():
        what = f"{where}, {key}"
        if entry is None:
            found[key], value = None, None
        elif isinstance(entry, list):
            found[key], value = _of_pack(
                objects, folder, cast("list[Any]", entry), write.get("packs", []), what, problems
            )
        else:
            found[key], value = _of_entry(objects, folder, entry, what, problems)
        if isinstance(value, dict) and "n" in value:
            counts[key] = value["n"]
    return Item(where, found, counts)


def _of_entry(
    objects: Objects, folder: str, entry: Mapping[str, Any], what: str, problems: list[str]
) -> tuple[str, Any]:
    """The write of which the value of an entry is, and the value."""
    if "value" in entry:
        return id_of(entry["value"]), entry["value"]
    body = objects.read(folder + entry["object"], entry.get("at", ""))
    if body is None:
        problems.append(f"{what}: {entry['object']} is not there")
        return MISSING_VALUE, None
    if len(body) != entry["size"] or hashlib.sha256(body).hexdigest() != entry["sha256"]:
        problems.append(f"{what}: {entry['object']} has another hash or size")
    value = json.loads(body)
    return id_of(value), value


def _of_pack(
    objects: Objects, folder: str, entry: list[Any], packs: list[str], what: str, problems: list[str]
) -> tuple[str, Any]:
    """The write of which a value in a pack is, and the value: ``docs/protocol.md``, section 3."""
    number, offset, size, sha256 = entry[:4]
    whole = objects.read(folder + packs[number])
    if whole is None:
        problems.append(f"{what}: {packs[number]} is not there")
        return MISSING_VALUE, None
    body = whole[offset : offset + size]
    if urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode() != sha256:
        problems.append(f"{what}: {packs[number]} has something else at {offset}")
    value = json.loads(body)
    return id_of(value), value


def _read_all(objects: Objects, listed: list[Listed]) -> list[bytes | None]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda one: objects.read(one.name, one.version), listed))


# -- the versioned log ----------------------------------------------------------------------------------------------


def read_versioned(objects: Objects) -> Log:
    """Sections 3 to 5 of ``docs/protocol-versioned.md``, for a log of which nothing was collected."""
    problems: list[str] = []
    listed = objects.versions("main")
    if not listed:
        return Log([], [])
    bodies: dict[str, Any] = {}
    for one, body in zip(listed, _read_all(objects, listed), strict=True):
        try:
            bodies[one.version] = json.loads(body or b"")
        except ValueError:
            problems.append(f"version {one.version} is no JSON")
    once = _Once(problems)
    items: list[Item] = []
    for version in _placed(bodies, problems):
        body = bodies[version]
        if body.get("format") != 1 or body.get("log") != "versioned" or body.get("requires") != []:
            problems.append(f"version {version} has another shape")
        for writer in body.get("expired", []):
            once.forget(writer)
        for write in body["writes"]:
            if once.counts(write.get("writer", body["writer"]), write["number"], write["nonce"], version):
                items.append(_item(objects, "", f"version {version}", write, problems))
    return Log(items, problems, folded(items, {}))


def _placed(bodies: Mapping[str, Any], problems: list[str]) -> list[str]:
    """Section 5: the order of the listing, but each after those that it follows."""
    follows = {
        id: {body["previous"], body["own"], *body.get("beside", [])} & bodies.keys() for id, body in bodies.items()
    }
    placed: dict[str, None] = {}
    held: list[str] = []
    for version in bodies:
        held.append(version)
        while (free := next((one for one in held if follows[one] <= placed.keys()), None)) is not None:
            placed[free] = None
            held.remove(free)
    if held:
        problems.append(f"versions wait for each other: {held[:3]}")
    return [*placed, *held]


# -- the mps3 log ---------------------------------------------------------------------------------------------------

_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_LAG = timedelta(seconds=5)
_WINDOW = timedelta(seconds=12)
_NAME = re.compile(r"@([0-9a-v]{9})_[0-9a-z]+_[0-9a-z]{2}$")


def time_of(name: str) -> datetime | None:
    """The time in an operation's name, None if it is no such name."""
    match = _NAME.search(name)
    if match is None:
        return None
    number = 0
    for digit in match[1]:
        number = 32 * number + _DIGITS.index(digit)
    return datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(milliseconds=2**42 - 1 - number)


def read_mps3(objects: Objects) -> Log:
    """Sections 3 to 5 of ``docs/protocol-mps3.md``, for a log of which nothing was collected."""
    problems: list[str] = []
    manifest = "manifest.json"
    operations: list[tuple[datetime, Listed]] = []
    for one in objects.names(f"{manifest}@"):
        at = time_of(one.name)
        if at is not None and abs(at - one.modified) < _LAG:
            operations.append((at, one))
    operations.reverse()  # names ascend from the newest
    bodies = _read_all(objects, [one for _, one in operations])
    start = f"{objects.bucket}/{objects.prefix}"
    files: dict[tuple[str, str], tuple[str, Any]] = {}

    def of_file(name: str, file: Mapping[str, Any]) -> tuple[str, Any]:
        known = files.get((name, file["version"]))
        if known is None:
            body = objects.read(f"{name.removeprefix(start)}@{file['version']}")
            if body is None:
                problems.append(f"the value {name}@{file['version']} is not there")
                known = (MISSING_VALUE, None)
            else:
                value = json.loads(body)
                known = (id_of(value), value)
            files[name, file["version"]] = known
        return known

    items: list[Item] = []
    parsed: list[Any] = []
    named: set[tuple[str, str]] = set()
    for (_, one), body in zip(operations, bodies, strict=True):
        try:
            operation = json.loads(body or b"")
        except ValueError:
            problems.append(f"{one.name} is no JSON")
            continue
        parsed.append(operation)
        update: Seen = {}
        for name, file in operation["update"]["files"].items():
            if not name.startswith(start):
                continue
            if file is not None and (name, file["version"]) in named:
                problems.append(f"{one.name}: {name}@{file['version']} was committed before")
            if file is not None:
                named.add((name, file["version"]))
            update[name.removeprefix(start)] = None if file is None else of_file(name, file)[0]
        items.append(Item(one.name, update))
    state: Seen = {}
    before: Seen = {}
    if operations:
        before = {
            name.removeprefix(start): of_file(name, file)[0]
            for name, file in parsed[0]["files"].items()
            if name.startswith(start)
        }
        latest = operations[-1][0]
        current = dict(parsed[-1]["files"])
        for (at, _), operation in zip(operations, parsed, strict=True):
            if latest - at <= _WINDOW:
                for name, file in operation["update"]["files"].items():
                    if file is None:
                        current.pop(name, None)
                    else:
                        current[name] = file
        state = {name.removeprefix(start): of_file(name, file)[0] for name, file in current.items()}
    return Log(items, problems, state, before)
