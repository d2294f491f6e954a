"""One process of a client: when it stands still, and when it has died."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulator.plan import Stall

__all__ = ["Life"]


class Life:
    """A process. Dead, it sends nothing, hears nothing and never wakes up again; its memory is as good as gone.

    A crash is no cancellation: nothing of the process runs any more, no ``finally`` either. Since everything it
    could do to the world goes through its storage and its clock, it is enough that these fall silent.

    Args:
        name: of the client.
        number: which of its processes, from 0.
        stalls: when the client stands still; more may be added as time goes by.
    """

    def __init__(self, name: str, number: int, stalls: Sequence[Stall]) -> None:
        self.name = name
        self.number = number
        self.died_at: float | None = None
        self._stalls = stalls

    @property
    def dead(self) -> bool:
        """Whether it has crashed."""
        return self.died_at is not None

    def awake(self, moment: float) -> float:
        """The first moment, from this one on, at which the process runs."""
        while True:
            ends = [stall.end for stall in self._stalls if stall.start <= moment < stall.end]
            if not ends:
                return moment
            moment = max(ends)

    def is_dead_at(self, moment: float) -> bool:
        """Whether it had crashed by then."""
        return self.died_at is not None and self.died_at <= moment

    def __str__(self) -> str:
        return f"{self.name}.{self.number}"
