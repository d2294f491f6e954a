"""One process of a client: when it stands still, and when it has died."""

from __future__ import annotations

from collections.abc import Sequence

from rxmps3.testing.simulator.plan import Stall

__all__ = ["Life"]


class Life:
    """A process. Dead, it sends nothing, hears nothing and never wakes up again; its memory is as good as gone.

    A crash is no cancellation: nothing of the process runs any more, no ``finally`` either. Since everything it
    could do to the world goes through its storage and its clock, it is enough that these fall silent.

    Args:
        name: of the client.
        number: which of its processes, from 0.
        stalls: when the client stands still.
    """

    def __init__(self, name: str, number: int, stalls: Sequence[Stall]) -> None:
        self.name = name
        self.number = number
        self.died_at: float | None = None
        self._stalls = sorted(((stall.start, stall.end) for stall in stalls), key=lambda stall: stall[0])

    @property
    def dead(self) -> bool:
        """Whether it has crashed."""
        return self.died_at is not None

    def awake(self, moment: float) -> float:
        """The first moment, from this one on, at which the process runs."""
        for start, end in self._stalls:
            if start <= moment < end:
                moment = end
        return moment

    def is_dead_at(self, moment: float) -> bool:
        """Whether it had crashed by then."""
        return self.died_at is not None and self.died_at <= moment

    def __str__(self) -> str:
        return f"{self.name}.{self.number}"
