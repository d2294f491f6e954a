"""The order of versions and the state that follows from it. Pure.

The storage lists the versions of the manifest object; its order is the order, except where it contradicts itself: a
version that names another one as its past comes after it wherever both are known (`resolve`). So every client that
has seen the same versions has the same order, and in it no effect comes before its cause, even where a server's
clocks run apart.

A version may come to light below known ones. Then the state goes back to the one before it and is computed anew
(`learn`): each state is the fold of *all* versions before it, never what some writer believed its past to be.

What is old enough never changes any more and becomes the `Base`.
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
    """Where knowledge begins. Nothing up to here changes any more.

    Attributes:
        state: after all versions up to here; its ``version`` is the last of them, also in the listing.
        count: how many versions that are.
        chain: a digest of their ids in order: two clients with the same one have the same past.
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
    """The versions that are known above the base.

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
        """After all of them."""
        return self.states[-1] if self.states else self.base.state

    @property
    def oldest(self) -> str:
        """The oldest version that is known to be there still, the base's own if there is one; "" if none is."""
        return self.base.id or (self.listed[0] if self.listed else "")

    def knows(self, id: str) -> bool:
        """Whether a version is among the listed ones or is the base's."""
        return id == self.base.id or id in self.listed


def resolve(bodies: Sequence[Body]) -> list[Body]:
    """The bodies in an order in which none comes before one that it follows.

    It is the given order but for those that are held back, each until the last of what it follows is placed. What is
    not among the bodies counts as placed. Bodies that wait for each other, which no client writes, come at the end.
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
    """What a body has to wait for."""
    return (id for id in body.follows if id in present and id not in placed)


def merged(known: Sequence[str], listed: Sequence[str]) -> list[str]:
    """The ids of a listing, oldest first, and the known ones that it lacks, each after the one it came after before.

    A listing that ends early lacks the oldest; one that forgets a version for a while must not take anybody back.
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
    """What is known after one more listing, and what to tell of it.

    Args:
        history: what was known before.
        listed: the ids above the base that a listing shows, oldest first, down to the base or to any known one.
        bodies: of those that were not known before; others may be among them.

    Returns:
        The history, and one `Committed` per version if all new ones came at the end, else one `Replayed`.

    Raises:
        Corrupt: two different writes carry one number.
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
    """Move the base up, as far as possible, over the oldest ``count`` listed versions, which are settled.

    The base must be a clean cut: none of the versions up to it is held back behind one above it, or a client that
    starts at the base would place it elsewhere.

    Returns:
        The history with the new base, and the bodies that are below it now, in order.
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
