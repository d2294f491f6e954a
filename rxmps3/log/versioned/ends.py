"""The ends of the known history: versions that no other known version follows. Naming them implies all known
versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from rxmps3.log.versioned.body import Body
from rxmps3.log.versioned.order import History
from rxmps3.log.versioned.reading import SETTLED_AFTER

__all__ = ["Ends"]

_NAMED_FOR = 2 * SETTLED_AFTER
"""At this age of a version whoever follows the log has gone through a listing that shows it."""


class Ends:
    """The ends below the base, while they matter, and those above it."""

    def __init__(self) -> None:
        self._below: dict[str, datetime] = {}

    def settled(self, below: Sequence[Body], modified: Mapping[str, datetime], now: datetime) -> None:
        """Note that these versions, in order, are now below the base."""
        ends = self._below | {body.id: modified[body.id] for body in below if body.id in modified}
        for body in below:
            for id in body.follows:
                ends.pop(id, None)
        self._below = {id: made for id, made in ends.items() if now - made < _NAMED_FOR}

    def beside(self, history: History, named: Sequence[str]) -> tuple[str, ...]:
        """The ends other than these, which are named anyway."""
        followed = {id for body in history.placed for id in body.follows}
        ids = (*self._below, *(body.id for body in history.placed))
        return tuple(id for id in ids if id not in followed and id not in named)
