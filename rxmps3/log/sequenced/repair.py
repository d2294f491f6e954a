"""Make a sequenced log readable again from what is left of it.

For a log whose head was deleted or damaged, and for one in which two histories are mixed: a client that had not noticed
that the bucket was put back to an earlier copy has left entries that follow nothing that is there. `examine` finds the
longest unbroken history and says what stands in its way, without writing; `carry_out` moves that aside, under
`SET_ASIDE`, and writes a head where the one there does not do. Nothing is deleted that has not been copied, and no
value is touched, unless no history is left: then everything is moved aside, so that the manifest can be made anew.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rxmps3.errors import Corrupt, InvalidOption, PreconditionFailed, Unavailable, Unsupported
from rxmps3.log import checkpoint_codec, codec
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.log.checkpoint import MAX_CHECKPOINT_BYTES
from rxmps3.log.checkpoint_codec import Checkpoint
from rxmps3.log.sequenced.checkpoints import Vanished, load
from rxmps3.log.set_aside import SET_ASIDE, copy_aside, set_aside
from rxmps3.model.entries import Cell
from rxmps3.model.names import Layout, is_chunk_name
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import State, fold
from rxmps3.storage.base import ABSENT, Found, Matches, Storage, pages

__all__ = ["SET_ASIDE", "Repair", "Stray", "carry_out", "examine"]

_MAX_HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Stray:
    """An object that no history can use.

    Attributes:
        name: of the object, below the storage's prefix.
        why: what is wrong with it.
        writes: the version ids of the writes in it, if it is a readable entry.
        keys: and their keys.
    """

    name: str
    why: str
    writes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repair:
    """What is to be done to a manifest.

    Attributes:
        manifest: its name.
        log: the id of the log that is kept, "" if there is none.
        last: the number of its last entry.
        keys: how many keys the state after it has.
        strays: what is to be moved aside.
        rest: the names of values and anything else that is to be moved aside, since nothing can name it any more.
        head: the head to write, None if the one there does.
        problem: what is wrong with the head there.
        etag: that of the head to be replaced, "" if there is none.
    """

    manifest: str
    log: str = ""
    last: int = 0
    keys: int = 0
    strays: tuple[Stray, ...] = ()
    rest: tuple[str, ...] = ()
    head: codec.Head | None = None
    problem: str = ""
    etag: str = ""

    @property
    def is_needed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.strays or self.rest or self.head is not None or self.problem)


@dataclass
class _Remains:
    """The objects of one log."""

    entries: dict[int, str] = field(default_factory=dict[int, str])
    checkpoints: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class _History:
    """An unbroken run of entries.

    Attributes:
        floor: where it begins: 0, or the number of the first checkpoint that it can be replayed from.
        refs: the checkpoints on it, oldest first.
        last: its last number.
        state: after that.
    """

    floor: int
    refs: tuple[codec.CheckpointRef, ...]
    last: int
    state: State


async def examine(storage: Storage, manifest: str, *, log: str = "", nonce: str) -> Repair:
    """Find out what is to be done. Writes nothing.

    Args:
        storage: where it is.
        manifest: its name.
        log: the id of the log to keep, where several are left and no head names one.
        nonce: for the head that may be necessary.

    Raises:
        InvalidOption: it does not say which of several logs is to be kept, or there is no such log.
        Unsupported: a newer version of this package has written it.
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    layout = Layout(manifest, storage.name_limit)
    head, problem, etag = await _head(storage, layout)
    remains, rest = await _remains(storage, layout)
    if head is not None and log and log != head.incarnation:
        raise InvalidOption(f"the head names log {head.incarnation}, not {log}", object=f"manifest {manifest!r}")
    histories = {owner: await _history(storage, layout, owner, one) for owner, one in remains.items()}
    chosen = head.incarnation if head is not None else _choose(histories, log, manifest)
    if not chosen:
        lost: list[Stray] = []
        for owner, one in remains.items():
            lost += await _strays(storage, layout, owner, one, 0)
        return Repair(manifest, strays=tuple(lost), rest=tuple(rest), problem=problem if etag else "", etag=etag)
    history = histories.get(chosen) or _History(0, (), 0, State())
    strays: list[Stray] = []
    for owner, one in remains.items():
        first = history.last + 1 if owner == chosen else 0
        strays += await _strays(storage, layout, owner, one, first)
    wanted = None
    if head is None or (problem := _what_is_wrong(head, history)):
        wanted = _new_head(chosen, nonce, history, head)
    return Repair(manifest, chosen, history.last, len(history.state), tuple(strays), (), wanted, problem, etag)


async def carry_out(storage: Storage, repair: Repair, folder: str) -> None:
    """Do it. May be interrupted and called again, with a new examination.

    Args:
        storage: where it is.
        repair: what `examine` found.
        folder: a name of its own below `SET_ASIDE`.

    Raises:
        Unavailable: the manifest has changed meanwhile, or the storage does not answer.
    """
    layout = Layout(repair.manifest, storage.name_limit)
    for name in (*(stray.name for stray in repair.strays), *repair.rest):
        await set_aside(storage, name, folder)
    try:
        if repair.head is not None:
            if repair.etag:
                await copy_aside(storage, layout.head, folder)
            when = Matches(repair.etag) if repair.etag else ABSENT
            await storage.put(layout.head, codec.encode_head(repair.head), when=when)
        elif repair.problem and repair.etag:
            await set_aside(storage, layout.head, folder)
    except PreconditionFailed as error:
        raise Unavailable(
            "somebody else has changed it meanwhile", object=f"head {layout.head!r}", remedy="examine it again"
        ) from error


async def _head(storage: Storage, layout: Layout) -> tuple[codec.Head | None, str, str]:
    """The head, what is wrong with it, and its ETag."""
    answer = await storage.get(layout.head, limit=_MAX_HEAD_BYTES)
    if not isinstance(answer, Found):
        return None, "missing", ""
    try:
        return codec.decode_head(answer.body, layout.head), "", answer.etag
    except Corrupt as error:
        return None, error.what, answer.etag


async def _remains(storage: Storage, layout: Layout) -> tuple[dict[str, _Remains], list[str]]:
    """The entries and checkpoints of each log in the manifest's folder, and what else is there beside the head."""
    found: dict[str, _Remains] = {}
    rest: list[str] = []
    async for page in pages(storage, layout.root):
        for listed in page.objects:
            if layout.is_of_another(listed.name) or listed.name == layout.head:
                continue
            owner = layout.log_of(listed.name)
            seq = layout.seq_of(owner, listed.name) if owner else None
            if seq is not None:
                found.setdefault(owner, _Remains()).entries[seq] = listed.name
            elif listed.name.startswith(f"{layout.root}{owner}/checkpoint/") and owner:
                found.setdefault(owner, _Remains()).checkpoints.append(listed.name)
            else:
                rest.append(listed.name)
    return found, rest


async def _history(storage: Storage, layout: Layout, log: str, remains: _Remains) -> _History | None:
    """The history of a log that reaches furthest, and begins first of those; None if nothing is readable."""
    starts: list[tuple[codec.CheckpointRef | None, Checkpoint]] = [
        (None, Checkpoint(log, 0, codec.genesis(log), State()))
    ]
    seen: dict[str, SortedMap[Cell]] = {}
    for name in remains.checkpoints:
        if is_chunk_name(name):
            continue
        loaded = await _checkpoint(storage, layout, log, name, seen)
        if loaded is not None:
            starts.append(loaded)
    starts.sort(key=lambda start: start[1].seq)
    best: _History | None = None
    passed: dict[int, Checkpoint] = {}  # what the log gives at each checkpoint on the way
    at = {start.seq for _, start in starts}
    for ref, start in starts:
        if best is not None and ref is not None and _is_state(ref, start, passed.get(start.seq)):
            best = replace(best, refs=(*best.refs, ref))
            continue
        if ref is None and 1 not in remains.entries:
            continue
        seq, chain, state = start.seq, start.chain, start.state
        here: dict[int, Checkpoint] = {}
        while (found := await _follow(storage, layout, log, seq + 1, chain, state)) is not None:
            seq, (chain, state) = seq + 1, found
            if seq in at:
                here[seq] = Checkpoint(log, seq, chain, state)
        if best is None or seq > best.last:
            best, passed = _History(start.seq, () if ref is None else (ref,), seq, state), here
    return best


async def _follow(
    storage: Storage, layout: Layout, log: str, seq: int, chain: str, state: State
) -> tuple[str, State] | None:
    """The hash of an entry and the state after it; None if it is missing, damaged, or does not follow this hash."""
    name = layout.entry(log, seq)
    answer = await storage.get(name, limit=MAX_ENTRY_BYTES)
    if not isinstance(answer, Found):
        return None
    try:
        entry = codec.decode_entry(answer.body, name)
        if entry.seq != seq or entry.previous != chain:
            return None
        return codec.digest(answer.body), fold(state, entry.version)
    except Corrupt:
        return None


def _is_state(ref: codec.CheckpointRef, stored: Checkpoint, wanted: Checkpoint | None) -> bool:
    """Whether a checkpoint is the state that the log gives there."""
    if wanted is None:
        return False
    if stored.chunks:
        return stored.chain == wanted.chain and stored.state.is_same(wanted.state)
    body = checkpoint_codec.encode_state(wanted.state, wanted.incarnation, wanted.seq, wanted.chain)
    return codec.digest(body) == ref.sha256


async def _checkpoint(
    storage: Storage, layout: Layout, log: str, name: str, seen: dict[str, SortedMap[Cell]]
) -> tuple[codec.CheckpointRef, Checkpoint] | None:
    """A checkpoint, and how a head would name it; None if it, or a chunk of it, is damaged or of another log."""
    answer = await storage.get(name, limit=MAX_CHECKPOINT_BYTES)
    if not isinstance(answer, Found):
        return None
    reader = zlib.decompressobj(wbits=31)
    try:
        body = reader.decompress(answer.body, MAX_CHECKPOINT_BYTES)
        checkpoint = checkpoint_codec.decode_state(body, name, in_chunks=None)
        short = name.removeprefix(layout.root)
        state = checkpoint_codec.digest_of_state(checkpoint) if checkpoint.chunks else ""
        ref = codec.CheckpointRef(checkpoint.seq, short, codec.digest(body), len(body), state)
        ours = checkpoint.incarnation == log and f"{log}/checkpoint/{checkpoint.seq:020d}-" in short
        if not (reader.eof and not reader.unused_data and ours and checkpoint.seq):
            return None
        return ref, await load(storage, layout, log, ref, seen=seen) if checkpoint.chunks else checkpoint
    except (zlib.error, Corrupt, Vanished):
        return None


def _choose(histories: dict[str, _History | None], log: str, manifest: str) -> str:
    """The log that a new head is to name; "" if none can be read."""
    readable = [owner for owner, history in histories.items() if history is not None]
    if log:
        if log not in readable:
            raise InvalidOption(
                f"there is no readable log {log}, but {', '.join(readable) or 'none'}", object=f"manifest {manifest!r}"
            )
        return log
    if len(readable) > 1:
        ends = ", ".join(f"{owner} up to entry {one.last}" for owner, one in histories.items() if one is not None)
        raise InvalidOption(
            f"several logs are left: {ends}",
            object=f"manifest {manifest!r}",
            remedy="say which is to be kept: --log ID; the others are moved aside",
        )
    return next(iter(readable), "")


def _new_head(log: str, nonce: str, history: _History, old: codec.Head | None) -> codec.Head:
    """A head that leads to a history. Its floor is no lower than that of the old one."""
    floor = history.floor
    if old is not None and old.floor > floor:
        floor = min((ref.seq for ref in history.refs if ref.seq >= old.floor), default=floor)
    refs = [ref for ref in history.refs if ref.seq >= floor]
    tags = {} if old is None else dict(old.tags)
    return codec.Head(log, nonce, refs[-1] if refs else None, tuple(refs[:-1]), floor, tags=tags)


def _what_is_wrong(head: codec.Head, history: _History) -> str:
    """Why a head does not lead to its log's history; "" if it does."""
    if head.checkpoint is None:
        return "" if not history.floor else "it does not name the checkpoint at which what is left begins"
    if head.checkpoint not in history.refs:
        return (
            f"its checkpoint {head.checkpoint.name!r} is not there, or not the state after entry {head.checkpoint.seq}"
        )
    lacking = [ref for ref in head.kept if ref not in history.refs and ref.seq >= head.floor]
    return f"its checkpoint {lacking[0].name!r} is not there, or not what it claims to be" if lacking else ""


async def _strays(storage: Storage, layout: Layout, owner: str, remains: _Remains, first: int) -> Sequence[Stray]:
    """The entries of a log from a number on; with 0, its checkpoints, too: it is not the one that is kept."""
    strays: list[Stray] = []
    why = f"it follows no entry of log {owner} that is there" if first else f"log {owner} is not the one that is kept"
    for seq, name in sorted(remains.entries.items()):
        if seq >= first:
            writes, keys = await _writes_in(storage, name)
            strays.append(Stray(name, why, writes, keys))
    if not first:
        strays += [Stray(name, why) for name in remains.checkpoints]
    return strays


async def _writes_in(storage: Storage, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    answer = await storage.get(name, limit=MAX_ENTRY_BYTES)
    try:
        version = codec.decode_entry(answer.body, name).version if isinstance(answer, Found) else None
    except (Corrupt, Unsupported):
        version = None
    if version is None:
        return (), ()
    return (
        tuple(write.id.version for write in version.writes),
        tuple(sorted({key for write in version.writes for key in write.update})),
    )
