"""Databases to tamper with: the bytes of every object, and what was true after each log entry."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from reactivex import Subject

import rxmps3
from rxmps3.log import checkpoint_codec, codec
from rxmps3.model import jsontext
from rxmps3.model.names import Layout
from rxmps3.model.state import Entry, Inline, State, Write, WriteId
from rxmps3.storage import Found, MemoryStorage, Storage, list_all
from rxmps3.testing.virtual import EPOCH, SimClock, run_virtually

T = TypeVar("T")
Objects = dict[str, bytes]
MAIN, OTHER = Layout("main"), Layout("other")
DAY = 86_400.0


def large(text: str) -> str:
    """A value that gets an object of its own here."""
    return text * 300


@dataclass(frozen=True)
class Sample:
    """A bucket with two manifests, ``main`` and ``other``, of the same shape.

    Attributes:
        objects: every object.
        states: what ``main`` holds after each number, from 0.
        older: the objects of an earlier time, some of which have been rewritten since.
    """

    objects: Objects
    states: tuple[dict[str, Any], ...]
    older: Objects

    @property
    def state(self) -> dict[str, Any]:
        """What ``main`` holds."""
        return self.states[-1]

    def names(self, layout: Layout = MAIN) -> dict[str, str]:
        """The objects of a manifest by what they are: ``head``, ``entry 5``, ``checkpoint 4``, ``value big``."""
        roles: dict[str, str] = {}
        for name in sorted(self.objects):
            if not name.startswith(layout.root):
                continue
            last = name.rpartition("/")[2]
            if "/log/" in name:
                roles[f"entry {int(last)}"] = name
            elif "/checkpoint/" in name:
                roles[f"checkpoint {int(last.partition('-')[0])}"] = name
            elif name == layout.head:
                roles["head"] = name
            else:
                roles[f"value {last.partition('@')[0]}"] = name  # of several the newest, by the writer's number
        return roles

    @property
    def head(self) -> codec.Head:
        return codec.decode_head(self.objects[MAIN.head], MAIN.head)


class _Author:
    """Writes the same kind of history into both manifests and remembers what was true."""

    def __init__(self, storage: Storage, clock: SimClock) -> None:
        self.storage = storage
        self.clock = clock
        self.states: dict[str, list[dict[str, Any]]] = {}

    async def open(self, name: str, by: str) -> rxmps3.Database:
        self.states.setdefault(name, [{}])
        return await rxmps3.connect(self.storage, manifest=name, by=by, clock=self.clock, **OPTIONS)

    async def write(self, db: rxmps3.Database, values: dict[str, Any]) -> None:
        await db.put_all(values)
        state = dict(self.states[db.name][-1])
        for key, value in values.items():
            if value is rxmps3.MISSING:
                state.pop(key, None)
            else:
                state[key] = value
        self.states[db.name].append(state)


OPTIONS: dict[str, Any] = {"inline_limit": 200, "shared": False, "poll": Subject[None]()}


@cache
def samples() -> dict[str, Sample]:
    """``young``: 3 entries, no checkpoint. ``grown``: 7 entries, checkpoints after 2 and 4. ``collected``: 9
    entries of which 1 to 4 are gone, checkpoints after 4 and 7. Each goes on from the one before."""
    return run_virtually(_make())


async def _make() -> dict[str, Sample]:
    clock = SimClock("samples")
    storage = MemoryStorage(clock=clock)
    author = _Author(storage, clock)
    made: dict[str, Sample] = {}
    pairs = [(await author.open(name, "alice"), await author.open(name, "bob")) for name in ("main", "other")]

    async def keep(name: str, older: Objects) -> Objects:
        objects = await objects_of(storage)
        made[name] = Sample(objects, tuple(copy.deepcopy(author.states["main"])), older)
        return objects

    for alice, _ in pairs:
        sign = alice.name[0]
        await author.write(alice, {"a": 1, "doc": {"title": alice.name, "n": [1, 1.0, True, None]}, "gone": "x"})
        await author.write(alice, {"big": large(sign)})
    first = await objects_of(storage)
    for alice, _ in pairs:
        await author.write(alice, {"a": 2, "ä/ö": alice.name})
    young = await keep("young", first)
    for alice, bob in pairs:
        await alice.compact()
        await bob.refresh()
        await author.write(bob, {"gone": rxmps3.MISSING, "huge": [large("h"), alice.name]})
        await bob.compact()
        await author.write(bob, {"a": 3, "b": None})
        await alice.refresh()
        await author.write(alice, {"big": large(alice.name[0].upper())})
        await author.write(alice, {"a": 4})
    grown = await keep("grown", young)
    await clock.sleep(2 * DAY)
    for alice, _ in pairs:
        await alice.compact()
    await clock.sleep(3700)
    for alice, bob in pairs:
        await alice.compact()
        await author.write(alice, {"a": 5})
        await bob.refresh()
        await author.write(bob, {"a": 6, "c": "last"})
    await keep("collected", grown)
    for pair in pairs:
        for db in pair:
            await db.close()
    return made


async def objects_of(storage: Storage) -> Objects:
    """Every object of a storage."""
    objects: Objects = {}
    for listed in await list_all(storage, ""):
        found = await storage.get(listed.name)
        assert isinstance(found, Found)
        objects[listed.name] = found.body
    return objects


async def become(storage: Storage, objects: Objects) -> None:
    """Let a storage hold just these objects."""
    before = await objects_of(storage)
    for name in before.keys() - objects.keys():
        await storage.delete(name)
    for name, body in objects.items():
        if before.get(name) != body:
            await storage.put(name, body)


def virtually(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a scenario in virtual time."""
    samples()
    return run_virtually(scenario())


# -- what can be done to an object -------------------------------------------------------------------------------

HUGE = 100 << 20
LARGE = 17 << 20
"""More than any object here may have; see `test_100_mib_of_anything_are_not_read` for `HUGE`."""


@cache
def zeros(size: int) -> bytes:
    """So many zero bytes."""
    return bytes(size)


@cache
def packed(body: bytes) -> bytes:
    """gzip of it."""
    return gzip.compress(body, compresslevel=1, mtime=0)


def _truncated(sample: Sample, role: str, body: bytes) -> bytes:
    return body[: len(body) // 2]


def _one_byte_short(sample: Sample, role: str, body: bytes) -> bytes:
    return body[:-1]


def _flipped(sample: Sample, role: str, body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 0x80]) + body[middle + 1 :]


def _emptied(sample: Sample, role: str, body: bytes) -> bytes:
    return b""


def _null(sample: Sample, role: str, body: bytes) -> bytes:
    return gzip.compress(b"null") if role.startswith("checkpoint") else b"null"


def _doubled(sample: Sample, role: str, body: bytes) -> bytes:
    return body + b"\n" + body


def _html(sample: Sample, role: str, body: bytes) -> bytes:
    return b"<!DOCTYPE html><html><body>Sign in to this network</body></html>"


def _deep(sample: Sample, role: str, body: bytes) -> bytes:
    bomb = b'{"format":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return packed(bomb) if role.startswith("checkpoint") else bomb


def _long_number(sample: Sample, role: str, body: bytes) -> bytes:
    bomb = b'{"format":1,"seq":' + b"9" * 100_000 + b"}"
    return packed(bomb) if role.startswith("checkpoint") else bomb


def _bomb(sample: Sample, role: str, body: bytes) -> bytes:
    return packed(zeros(HUGE if role.startswith("checkpoint") else 1 << 20))


def _huge(sample: Sample, role: str, body: bytes) -> bytes:
    return zeros(LARGE)


def _deleted(sample: Sample, role: str, body: bytes) -> None:
    return None


def _of_the_other_manifest(sample: Sample, role: str, body: bytes) -> bytes:
    return sample.objects[sample.names(OTHER)[role]]


def _older(sample: Sample, role: str, body: bytes) -> bytes | None:
    """An earlier object of the same kind; the very same bytes if there is none."""
    kind, _, number = role.partition(" ")
    if kind == "head":
        return sample.older[MAIN.head]
    if kind == "value":
        prefix = f"{MAIN.values}{number}@"
        return next((body for name, body in sorted(sample.older.items()) if name.startswith(prefix)), body)
    before = sample.names().get(f"{kind} {int(number) - (1 if kind == 'entry' else 3)}")
    return body if before is None else sample.objects[before]


def _of_another_client(sample: Sample, role: str, body: bytes) -> bytes:
    """What somebody else could have stored under this name in good faith, had history gone another way."""
    kind, _, number = role.partition(" ")
    head = sample.head
    if kind == "head":
        return codec.encode_head(codec.Head("z" * 12, "n" * 12))
    if kind == "value":
        return body.replace(body[10:20], b"mallory...")
    if kind == "entry":
        original = codec.decode_entry(body, role)
        return an_entry(int(number), original.previous, {"a": "forged"})
    name = sample.names()[role]
    ref = next(ref for ref in (*head.kept, head.checkpoint) if ref is not None and name.endswith(ref.name))
    found = checkpoint_codec.decode_state(gzip.decompress(body), name)
    forged = State(
        found.state.entries.patched({"a": Entry("m-1", Inline('"forged"'))}), found.state.writers, found.state.version
    )
    return gzip.compress(checkpoint_codec.encode_state(forged, head.incarnation, ref.seq, found.chain), mtime=0)


def an_entry(
    seq: int, previous: str, values: dict[str, Any], *, writer: str = "mallory", number: int = 1, nonce: str = "nonce"
) -> bytes:
    """The bytes of a log entry as a client would write it."""
    update = {
        key: None if value is rxmps3.MISSING else Entry(f"{writer}-{number}", Inline(jsontext.encode(value)))
        for key, value in values.items()
    }
    text = codec.encode_write(Write(WriteId(writer, number), nonce, update), writer)
    return codec.encode_entry(seq, previous, writer, "mallory", EPOCH, [text])


Tampering = Callable[[Sample, str, bytes], bytes | None]
TAMPERINGS: dict[str, Tampering] = {
    function.__name__.strip("_").replace("_", " "): function
    for function in (
        _truncated,
        _one_byte_short,
        _flipped,
        _emptied,
        _null,
        _doubled,
        _html,
        _deep,
        _long_number,
        _bomb,
        _huge,
        _deleted,
        _of_the_other_manifest,
        _older,
        _of_another_client,
    )
}


def tampered(sample: Sample, role: str, tampering: str) -> tuple[Objects, bool]:
    """The objects with one of them tampered with, and whether that changed anything."""
    name = sample.names()[role]
    body = TAMPERINGS[tampering](sample, role, sample.objects[name])
    objects = {other: kept for other, kept in sample.objects.items() if other != name}
    if body is not None:
        objects[name] = body
    return objects, objects != sample.objects
