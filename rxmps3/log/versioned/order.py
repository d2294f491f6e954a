"""The order of versions, and the state that results from it. Pure.

Versions are ordered as the storage lists them, with one exception: a version comes after every known version that it
    names as its past (`resolve`). So all clients that have seen the same versions agree on the order, and no effect
    precedes its cause, even if the clocks of servers differ.

A version may appear below known ones. The state is then recomputed from there (`learn`): each state is the fold of
*all* versions before it, never of what some writer believed its past to be.

Versions that are old enough no longer change and become part of the `Base`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rxmps3.log.codec import digest, genesis
from rxmps3.log.versioned.body import PROTOCOL, Body
from rxmps3.model.state import Committed, Replayed, State, fold

__all__ = ["Base", "History", "learn", "merged", "resolve", "settle"]


@dataclass(frozen=True)
class Base:
    """The start of the known history. Nothing up to here can change.

    Attributes:
        state: after all versions up to here; its ``version`` is the last of them, and also the last in the listing.
        count: the number of these versions.
        chain: a digest of their ids in order; clients with equal digests have the same past.
    """

    state: State = field(default_factory=State)
    count: int = 0
    chain: str = genesis(PROTOCOL)

    @property
    def id(self) -> str:
        """The last version, "" before the first."""
        return self.state.version


@dataclass(frozen=True)
class History:
    """The known versions above the base.

    Attributes:
        listed: their ids, oldest first, as the storage orders them.
        placed: their bodies in resolved order.
        states: the state after each of ``placed``.
    """

    base: Base = field(default_factory=Base)
    listed: tuple[str, ...] = ()
    placed: tuple[Body, ...] = ()
    states: tuple[State, ...] = ()

    @property
    def state(self) -> State:
        """The state after all known versions."""
        return self.states[-1] if self.states else self.base.state

    @property
    def oldest(self) -> str:
        """The oldest version known to still exist: the base's own if there is one; "" if none is known."""
        return self.base.id or (self.listed[0] if self.listed else "")

    def knows(self, id: str) -> bool:
        """Whether a version is among the listed ones or is the base's."""
        return id == self.base.id or id in self.listed


def resolve(bodies: Sequence[Body]) -> list[Body]:
    """Sort the bodies so that none comes before one that it follows.

    The given order is kept, except that a body is held back until everything it follows has been placed. Versions not
    among the bodies count as placed. Bodies in a cycle, which no client writes, come at the end.
    """
    present = {body.id for body in bodies}
    placed: dict[str, Body] = {}
    waiting: dict[str, list[Body]] = {}
    for body in bodies:
        free = [body]
        while free:
            one = free.pop()
            missing = next(iter(_not_placed(one, present, placed)), None)
            if missing is not None:
                waiting.setdefault(missing, []).append(one)
            else:
                placed[one.id] = one
                free.extend(reversed(waiting.pop(one.id, [])))
    return [*placed.values(), *(body for body in bodies if body.id not in placed)]


def _not_placed(body: Body, present: set[str], placed: Mapping[str, Body]) -> Iterable[str]:
    """The versions that a body has to wait for."""
    return (id for id in body.follows if id in present and id not in placed)


def merged(known: Sequence[str], listed: Sequence[str]) -> list[str]:
    """The ids of a listing, oldest first, with missing known ids put back after their former predecessors.

    A listing that ends early lacks the oldest ids. A listing that omits a version for a while must not undo it.
    """
    present = set(listed)
    below = next((at for at, id in enumerate(known) if id in present), len(known))
    result = [*known[:below], *listed]
    for at in range(below, len(known)):
        if known[at] not in present:
            result.insert(result.index(known[at - 1]) + 1, known[at])
    return result


def learn(
    history: History, listed: Sequence[str], bodies: Mapping[str, Body]
) -> tuple[History, list[Committed | Replayed]]:
    """Update the history with one more listing, and return the events to emit.

    Args:
        history: what was known before.
        listed: the ids above the base in the listing, oldest first, down to the base or to any known id.
        bodies: those of the ids not known before; may contain others.

    Returns:
        The history, and one `Committed` per version if all new ones came at the end, else one `Replayed`.

    Raises:
        Corrupt: two different writes have the same number.
    """
    before = history.placed
    known = {body.id: body for body in before}
    order = merged(history.listed, listed)
    if tuple(order) == history.listed:
        return history, []
    placed = resolve([known.get(id) or bodies[id] for id in order])
    same = 0
    while same < min(len(before), len(placed)) and placed[same] is before[same]:
        same += 1
    states = list(history.states[:same])
    for body in placed[same:]:
        states.append(fold(states[-1] if states else history.base.state, body.version))
    after = History(history.base, tuple(order), tuple(placed), tuple(states))
    if same == len(before):
        return after, [Committed(body.version) for body in placed[same:]]
    new = tuple(body.version for body in placed if body.id not in known)
    keys = frozenset(
        key for body in (*before[same:], *placed[same:]) for write in body.version.writes for key in write.update
    )
    return after, [Replayed(after.state, new, keys)]


def settle(history: History, count: int) -> tuple[History, tuple[Body, ...]]:
    """Move the base up as far as possible over the oldest ``count`` listed versions, which are settled.

    The base must be a clean cut: no version up to it may be held back behind one above it, or a client that starts at
        the base would order it differently.

    Returns:
        The history with the new base, and the bodies that are now below it, in order.
    """
    cut, unpaired = 0, set[str]()
    for at in range(min(count, len(history.listed))):
        listed, placed = history.listed[at], history.placed[at].id
        unpaired ^= {listed} ^ {placed}
        if not unpaired and listed == placed:
            cut = at + 1
    if not cut:
        return history, ()
    chain = history.base.chain
    for body in history.placed[:cut]:
        chain = digest(f"{chain} {body.id}".encode())
    base = Base(history.states[cut - 1], history.base.count + cut, chain)
    return History(base, history.listed[cut:], history.placed[cut:], history.states[cut:]), history.placed[:cut]
