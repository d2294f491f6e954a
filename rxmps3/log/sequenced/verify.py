"""Verify a manifest: recompute the state from the log and compare it with what is stored.

Read-only. Unlike a replica it does not stop at the first contradiction: it reports each bad object and continues as far
as possible.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rxmps3.errors import Corrupt, Unavailable, Unsupported
from rxmps3.log import checkpoint_codec, codec
from rxmps3.log.batching import MAX_ENTRY_BYTES
from rxmps3.log.checkpoint_codec import Checkpoint
from rxmps3.log.sequenced.checkpoints import Vanished, load
from rxmps3.model import valuetext
from rxmps3.model.entries import Cell
from rxmps3.model.names import Layout
from rxmps3.model.sortedmap import SortedMap
from rxmps3.model.state import ContentObject, Inline, State, fold
from rxmps3.model.writing import MAX_PACK_BYTES
from rxmps3.runtime.gather import together
from rxmps3.storage.base import Found, Storage, list_all, pages

__all__ = ["Problem", "Verification", "verify"]

_READS_AT_ONCE = 16
_TRIES = 5
_MAX_HEAD_BYTES = 1 << 20
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Problem:
    """One object that is missing or wrong."""

    object: str
    what: str


@dataclass
class Verification:
    """The result of `verify`.

    Attributes:
        problems: everything that is wrong; empty if all is well.
        head: the number of the last entry that could be verified.
        entries, checkpoints, values: how many objects were verified.
        keys: how many keys the state after ``head`` has.
    """

    problems: list[Problem] = field(default_factory=list[Problem])
    head: int = 0
    entries: int = 0
    checkpoints: int = 0
    values: int = 0
    keys: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


async def verify(
    storage: Storage, manifest: str, *, contents: bool = True, progress: Progress | None = None
) -> Verification:
    """Recompute a manifest's state from its log and compare it with its checkpoints and values.

    Args:
        storage: where it is.
        manifest: its name.
        contents: download every value that the state names and check its SHA-256; else only check that it exists.
        progress: called with the current step, how much of it is done, and the total.

    Raises:
        Unavailable, AccessDenied, BucketNotFound: the storage does not answer or refuses.
    """
    layout = Layout(manifest, storage.name_limit)
    for _ in range(_TRIES):
        verifier = _Verifier(storage, layout, contents, progress)
        found = await verifier.run()
        if found.ok or not await verifier.is_outdated():
            return found
    raise Unavailable("compacted by other clients at each attempt", object=f"head {layout.head!r}")


class _Verifier:
    def __init__(self, storage: Storage, layout: Layout, contents: bool, progress: Progress | None) -> None:
        self._storage = storage
        self._layout = layout
        self._contents = contents
        self._progress = progress
        self._found = Verification()
        self._read: codec.Head | None = None
        self._chunks: dict[str, SortedMap[Cell]] = {}
        self._in_chunks: dict[int, Checkpoint] = {}

    async def run(self) -> Verification:
        head = await self._head()
        if head is None:
            return self._found
        self._read = head
        refs = list(head.refs)
        await self._other_logs(head)
        base, checkpoints = await self._checkpoints(head, refs)
        if base is not None:
            state = await self._log(head, base, checkpoints)
            await self._values(state)
            self._found.keys = len(state)
        return self._found

    async def is_outdated(self) -> bool:
        """Whether the head is another one by now: then what was missing may have been collected meanwhile."""
        read, self._read = self._read, None
        return read is not None and await self._head() not in (None, read)

    def _wrong(self, object: str, what: str) -> None:
        self._found.problems.append(Problem(object, what))

    def _tell(self, what: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(what, done, total)

    async def _head(self) -> codec.Head | None:
        try:
            answer = await self._storage.get(self._layout.head, limit=_MAX_HEAD_BYTES)
        except Corrupt as error:
            self._wrong(self._layout.head, error.what)
            return None
        if isinstance(answer, Found):
            try:
                return codec.decode_head(answer.body, self._layout.head)
            except (Corrupt, Unsupported) as error:
                self._wrong(self._layout.head, error.what)
                return None
        page = await self._storage.list(self._layout.root, limit=1)
        if page.objects:
            self._wrong(self._layout.head, f"missing, though {page.objects[0].name!r} exists")
        return None

    async def _other_logs(self, head: codec.Head) -> None:
        """Check that the manifest's folder holds only one log."""
        strangers: dict[str, str] = {}
        async for page in pages(self._storage, self._layout.root):
            for listed in page.objects:
                owner = self._layout.log_of(listed.name)
                if owner and owner != head.incarnation:
                    strangers.setdefault(owner, listed.name)
        for name in strangers.values():
            self._wrong(self._layout.head, f"names log {head.incarnation}, but {name!r} exists")

    async def _checkpoints(
        self, head: codec.Head, refs: Sequence[codec.CheckpointRef]
    ) -> tuple[Checkpoint | None, dict[int, codec.CheckpointRef]]:
        """The checkpoint where replay starts, and the later ones to compare with."""
        loaded: dict[int, Checkpoint] = {}
        for done, ref in enumerate(refs):
            self._tell("checkpoints", done, len(refs))
            name = self._layout.root + ref.name
            try:
                checkpoint = await load(self._storage, self._layout, head.incarnation, ref, seen=self._chunks)
            except Vanished as gone:
                by = "the head" if gone.name == name else f"{name!r}"
                self._wrong(gone.name, f"missing, though {by} names it")
                continue
            except (Corrupt, Unsupported) as error:
                self._wrong(name, str(error) if ref.state else error.what)
                continue
            if ref.state and checkpoint_codec.digest_of_state(checkpoint) != ref.state:
                self._wrong(name, "its chunks are not those of the state that the head names")
                continue
            self._found.checkpoints += 1
            loaded[ref.seq] = checkpoint
            if ref.state:
                self._in_chunks[ref.seq] = checkpoint
        by_seq = {ref.seq: ref for ref in refs}
        if not head.floor:
            chain = codec.genesis(head.incarnation)
            return Checkpoint(head.incarnation, 0, chain, State()), by_seq
        base = next((loaded[seq] for seq in sorted(loaded) if seq >= head.floor), None)
        if base is None:
            self._wrong(self._layout.head, f"no readable checkpoint at or after its floor {head.floor}")
        return base, by_seq

    async def _log(self, head: codec.Head, base: Checkpoint, checkpoints: dict[int, codec.CheckpointRef]) -> State:
        """Replay the log after ``base``, comparing with checkpoints along the way."""
        state, seq, chain = base.state, base.seq, base.chain
        after = self._layout.entry(head.incarnation, seq)
        listed = await list_all(self._storage, self._layout.log(head.incarnation), after=after)
        numbers = [number for one in listed if (number := self._layout.seq_of(head.incarnation, one.name)) is not None]
        last = max(numbers, default=seq)
        if head.checkpoint is not None:
            last = max(last, head.checkpoint.seq)
        for start in range(seq + 1, last + 1, _READS_AT_ONCE):
            self._tell("entries", start - seq, last - seq)
            batch = range(start, min(start + _READS_AT_ONCE, last + 1))
            names = [self._layout.entry(head.incarnation, number) for number in batch]
            answers = await asyncio.gather(
                *(self._storage.get(name, limit=MAX_ENTRY_BYTES) for name in names), return_exceptions=True
            )
            for number, name, answer in zip(batch, names, answers, strict=True):
                if isinstance(answer, Corrupt):
                    self._wrong(name, answer.what)
                    return state
                if isinstance(answer, BaseException):
                    raise answer
                if not isinstance(answer, Found):
                    self._wrong(name, f"missing, though entry {last} or a checkpoint after it exists")
                    return state
                try:
                    state = fold(state, _checked(answer.body, name, number, chain).version)
                except (Corrupt, Unsupported) as error:
                    self._wrong(name, error.what)
                    return state
                chain = codec.digest(answer.body)
                self._found.entries += 1
                self._found.head = number
                self._compare(head, checkpoints.get(number), state, chain)
        self._found.head = max(self._found.head, base.seq)
        return state

    def _compare(self, head: codec.Head, ref: codec.CheckpointRef | None, state: State, chain: str) -> None:
        if ref is None:
            return
        if ref.state:
            stored = self._in_chunks.get(ref.seq)
            is_it = stored is None or (stored.chain == chain and stored.state.is_same(state))
        else:
            is_it = codec.digest(checkpoint_codec.encode_state(state, head.incarnation, ref.seq, chain)) == ref.sha256
        if not is_it:
            self._wrong(self._layout.root + ref.name, f"is not the state that the log gives after entry {ref.seq}")

    async def _values(self, state: State) -> None:
        """Check the values that the state holds or names."""
        for key, entry in state.items():
            if isinstance(entry.content, Inline):
                try:
                    valuetext.decode(entry.content.text)
                except Corrupt as error:
                    self._wrong(f"key {key!r}", f"its value in the log is {error.what}")
        contents = [entry.content for entry in state.values() if isinstance(entry.content, ContentObject)]
        if not self._contents:
            present = {one.name for one in await list_all(self._storage, self._layout.values)}
            for content in contents:
                name = self._layout.content(content.name)
                if name not in present:
                    self._wrong(name, "missing, though the state names it")
                else:
                    self._found.values += 1
            return
        objects: dict[str, list[ContentObject]] = {}
        for content in contents:
            objects.setdefault(content.name, []).append(content)
        for start in range(0, len(objects), _READS_AT_ONCE):
            self._tell("objects with values", start, len(objects))
            await together(map(self._object, list(objects.values())[start : start + _READS_AT_ONCE]))

    async def _object(self, contents: Sequence[ContentObject]) -> None:
        """Check an object, which holds one value or is a pack."""
        name = self._layout.content(contents[0].name)
        limit = contents[0].size if contents[0].offset is None else 2 * MAX_PACK_BYTES
        try:
            answer = await self._storage.get(name, limit=limit)
        except Corrupt as error:
            self._wrong(name, error.what)
            return
        if not isinstance(answer, Found):
            self._wrong(name, "missing, though the state names it")
            return
        for content in contents:
            start = content.offset
            body = answer.body if start is None else answer.body[start : start + content.size]
            if hashlib.sha256(body).hexdigest() == content.sha256:
                self._found.values += 1
            else:
                part = (
                    "its SHA-256 is"
                    if start is None
                    else f"the SHA-256 of its {content.size:,} bytes from {start:,} on is"
                )
                self._wrong(name, f"{part} not the one in the log")


def _checked(body: bytes, name: str, seq: int, chain: str) -> codec.LogEntry:
    entry = codec.decode_entry(body, name)
    if entry.seq != seq:
        raise Corrupt(f"claims to be number {entry.seq}")
    if entry.previous != chain:
        raise Corrupt(f"does not follow entry {seq - 1}: its hash chain differs")
    return entry
