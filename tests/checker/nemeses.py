"""What happens to a run, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from tests.checker.proxy import Mischief

ALL = frozenset({"sequenced", "versioned", "mps3"})
NOTICED_WITHIN = 12.0
"""Seconds after which nobody may be told any more that a write is committed to a database that is not there."""
_UNTOUCHED = Mischief()


@dataclass(frozen=True)
class Nemesis:
    """One kind of trouble.

    Attributes:
        name: its name in the command.
        what: what it does.
        holds: the logs that are expected to keep all their promises under it.
        why: why the others are not.
        meddle: what the proxy of the client of a number does.
        least: a run with it takes so many seconds at least.
        every: between two acts of the run itself this many seconds pass at most; 0 if it has none.
        meant: the logs that it can be done to.
    """

    name: str
    what: str
    holds: frozenset[str] = ALL
    why: str = ""
    meddle: Callable[[Mischief, int], Mischief] = lambda mischief, number: mischief
    every: float = 0.0
    least: float = 8.0
    meant: frozenset[str] = ALL

    @property
    def needs_network(self) -> bool:
        """Whether a proxy does it."""
        return self.meddle(_UNTOUCHED, 0) != _UNTOUCHED


NEMESES = {
    nemesis.name: nemesis
    for nemesis in (
        Nemesis(
            "delay", "one request in three waits for up to half a second", meddle=lambda m, _: replace(m, delay=0.33)
        ),
        Nemesis(
            "lose",
            "for one request in ten the answer is lost, the connection breaks, or it is 503",
            meddle=lambda m, _: replace(m, lose=0.1),
        ),
        Nemesis(
            "repeat",
            "one PUT or DELETE in eight arrives once more, up to eight seconds later",
            meddle=lambda m, _: replace(m, repeat=0.125),
        ),
        Nemesis(
            "damage",
            "one answer with a body in fifteen has a flipped bit or lacks its end",
            meddle=lambda m, _: replace(m, damage=0.067),
        ),
        Nemesis("freeze", "a process stands still for up to six seconds", every=4.0),
        Nemesis("kill", "a process is killed and another takes over its directory", every=4.0),
        Nemesis(
            "shift",
            "the first client's answers are dated two days ahead; it compacts, and others stand still meanwhile",
            holds=frozenset({"sequenced", "versioned"}),
            why="The mps3 log assumes that Date and LastModified agree.",
            meddle=lambda m, number: replace(m, shift=timedelta(days=2)) if number == 0 else m,
            every=3.0,
        ),
        Nemesis(
            "wipe",
            f"everything is deleted once; {NOTICED_WITHIN:.0f} seconds later somebody calls the command repair, and half of the "
            "clients start anew",
            every=1.0,
            least=40.0,
        ),
        Nemesis(
            "restore",
            "the bucket is put back to what it was some seconds before; then as after wipe",
            holds=frozenset({"sequenced"}),
            why="A version or an operation that was deleted cannot be put back under its id or its time.",
            every=1.0,
            least=40.0,
            meant=frozenset({"sequenced"}),
        ),
    )
}
