"""What the checkers report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tests.causality.history import Operation

__all__ = ["Pattern", "Violation"]


class Pattern(StrEnum):
    """The ways to go wrong. Those of causality carry the names of the literature."""

    CYCLIC_CO = "CyclicCO"
    """A cycle in session order and reads-from: something was seen before it could be."""
    THIN_AIR_READ = "ThinAirRead"
    """A value was read that nobody wrote."""
    WRITE_CO_INIT_READ = "WriteCOInitRead"
    """A key is seen as never written, though a write of it is causally before the read."""
    WRITE_CO_READ = "WriteCORead"
    """A value is read, though another one that is causally after it is causally before the read."""
    CYCLIC_CF = "CyclicCF"
    """Reads disagree about the order of writes: replicas have not converged."""

    FRACTURED_READ = "FracturedRead"
    """One observation shows one key of a write and misses another key of it."""
    CYCLIC_ATOMIC = "CyclicAtomic"
    """Taking writes as wholes, there is no order of them that explains all reads."""

    NOT_A_PREFIX = "NotAPrefix"
    """No prefix of the log, with the session's pending writes on top, shows what was seen."""
    PREFIX_SHRANK = "PrefixShrank"
    """A session went back: what it saw belongs to a shorter prefix than what it saw before."""
    BACKDATED_WRITE = "BackdatedWrite"
    """A write stands in the log among what its session had read before making it."""
    REORDERED_WRITES = "ReorderedWrites"
    """Two writes of a session stand in the log in the wrong order, or the later one alone."""

    LOST_WRITE = "LostWrite"
    """An acknowledged write is not in the log."""
    DUPLICATE_WRITE = "DuplicateWrite"
    """A write is in the log more than once."""
    INVENTED_WRITE = "InventedWrite"
    """The log has a write that nobody made, or made otherwise."""


@dataclass(frozen=True)
class Violation:
    """One thing that went wrong.

    Attributes:
        pattern: what kind of thing.
        operations: who took part in it; of a cycle, all of it in order.
        explanation: what happened, for a human.
    """

    pattern: Pattern
    operations: tuple[Operation, ...]
    explanation: str

    def __str__(self) -> str:
        return f"{self.pattern}: {self.explanation}"
