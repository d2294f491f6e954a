"""What the tests of compaction share: a bucket whose time a test owns, and what has to hold in it at any moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from rxmps3.log import codec
from rxmps3.log.checkpoint_codec import Checkpoint
from rxmps3.log.sequenced.checkpoints import load
from rxmps3.model.names import Layout
from rxmps3.model.state import ContentObject, Entry, State, fold
from rxmps3.storage import Found, Storage, list_all
from rxmps3.testing import Request, StorageWrapper

HOUR = 3600.0
DAY = 24 * HOUR
LAYOUT = Layout("main")


async def contents(bucket: Storage) -> dict[str, bytes]:
    """Every object's bytes."""
    bodies: dict[str, bytes] = {}
    for listed in await list_all(bucket, ""):
        found = await bucket.get(listed.name)
        assert isinstance(found, Found)
        bodies[listed.name] = found.body
    return bodies


def kind_of(name: str) -> str:
    """Which kind of object a name is."""
    if name == LAYOUT.head:
        return "head"
    return next((kind for kind in ("log", "checkpoint", "values", "probe") if f"{kind}/" in name), "other")


async def kinds(bucket: Storage) -> Counter[str]:
    """How many objects of each kind there are."""
    return Counter(kind_of(listed.name) for listed in await list_all(bucket, ""))


async def head_of(bucket: Storage) -> codec.Head:
    """The head."""
    found = await bucket.get(LAYOUT.head)
    assert isinstance(found, Found)
    return codec.decode_head(found.body, LAYOUT.head)


async def check(bucket: Storage) -> State:
    """Whatever a collector did, however it was interrupted: everything that may be needed is there.

    Returns:
        The state at the end of the log, computed from the oldest kept checkpoint (or the start) and from every other one.
    """
    head = await head_of(bucket)
    refs = [ref for ref in (*head.kept, head.checkpoint) if ref is not None]
    assert [ref.seq for ref in refs] == sorted(ref.seq for ref in refs)
    entries: dict[int, codec.LogEntry] = {}
    for listed in await list_all(bucket, LAYOUT.log(head.incarnation)):
        seq = LAYOUT.seq_of(head.incarnation, listed.name)
        found = await bucket.get(listed.name)
        assert seq is not None
        assert isinstance(found, Found)
        entries[seq] = codec.decode_entry(found.body, listed.name)
    last = max(entries, default=head.floor)
    assert all(seq in entries for seq in range(head.floor + 1, last + 1)), "a hole above the floor"
    needed: set[str] = set()
    for ref in head.tags.values():
        tagged = await load(bucket, LAYOUT, head.incarnation, ref)
        assert tagged is not None, "a tagged checkpoint is gone"
        needed |= _named(tagged.state.entries.values())
    ends: list[State] = []
    starts = [(ref.seq, await load(bucket, LAYOUT, head.incarnation, ref)) for ref in refs if ref.seq >= head.floor]
    if not head.floor:
        starts.insert(0, (0, Checkpoint(head.incarnation, 0, "", State())))
    else:
        assert head.floor in [ref.seq for ref in refs], "the floor is the number of a kept checkpoint"
    for seq, checkpoint in starts:
        assert checkpoint is not None, "the head names a checkpoint that is gone"
        state = checkpoint.state
        needed |= _named(state.entries.values())
        for number in range(seq + 1, last + 1):
            state = fold(state, entries[number].version)
        ends.append(state)
    assert all(_same(end, ends[0]) for end in ends), "two checkpoints lead to two states"
    for number in range(head.floor + 1, last + 1):
        for write in entries[number].version.writes:
            needed |= _named(write.update.values())
    there = {listed.name.removeprefix(LAYOUT.root) for listed in await list_all(bucket, LAYOUT.values)}
    assert needed <= there, f"in use and gone: {sorted(needed - there)[:3]}"
    return ends[0]


def _same(one: State, other: State) -> bool:
    return (dict(one.entries), dict(one.writers), one.version) == (
        dict(other.entries),
        dict(other.writers),
        other.version,
    )


def _named(entries: Any) -> set[str]:
    return {
        entry.content.name for entry in entries if isinstance(entry, Entry) and isinstance(entry.content, ContentObject)
    }


class Watched(StorageWrapper):
    """Checks at each rewrite of the head that nothing in it goes back, and remembers what was deleted."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.heads: list[codec.Head] = []
        self.deleted: list[str] = []

    async def around(self, request: Request, proceed: Callable[[], Awaitable[Any]]) -> Any:
        answer = await proceed()
        if request.verb == "delete":
            self.deleted.append(request.name)
        if request.verb == "put" and request.name == LAYOUT.head:
            head = await head_of(self.inner)
            if self.heads:
                last = self.heads[-1]
                assert head.incarnation == last.incarnation
                assert head.floor >= last.floor, "the floor fell"
                assert _seq(head) >= _seq(last), "the checkpoint fell"
            assert head.floor <= _seq(head), "the floor is above the checkpoint"
            self.heads.append(head)
        return answer


def _seq(head: codec.Head) -> int:
    return head.checkpoint.seq if head.checkpoint is not None else 0


class Machine:
    """A machine that can be put to sleep: nothing on it runs until it wakes."""

    dead = False

    def __init__(self) -> None:
        self.asleep_until = 0.0

    def awake(self, moment: float) -> float:
        return max(moment, self.asleep_until)
