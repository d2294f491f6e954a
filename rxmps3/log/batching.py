"""The size limits of one entry, and when a new checkpoint is due. Pure."""

from __future__ import annotations

from collections import deque

from rxmps3.log.checkpoint import is_due

__all__ = ["MAX_ENTRY_BYTES", "MAX_GROUP_BYTES", "Tail"]

MAX_GROUP_BYTES = 1 << 20
"""Writes are grouped into one entry up to this size; a single larger write gets an entry of its own."""
MAX_ENTRY_BYTES = 16 << 20
"""No entry is larger; one that claims to be is not read."""


class Tail:
    """The count and size of log entries after the last known checkpoint."""

    def __init__(self) -> None:
        self._sizes: deque[tuple[int, int]] = deque()
        self._total = 0

    def grew(self, seq: int, size: int) -> None:
        """Count one more entry."""
        if self._sizes and self._sizes[-1][0] >= seq:
            return
        self._sizes.append((seq, size))
        self._total += size

    def checkpointed(self, seq: int) -> None:
        """Note a checkpoint of the state after entry ``seq``."""
        while self._sizes and self._sizes[0][0] <= seq:
            self._total -= self._sizes.popleft()[1]

    def is_due(self, last: int) -> bool:
        """Whether a checkpoint is due, the last one having had ``last`` bytes."""
        return is_due(len(self._sizes), self._total, last)
