"""Keys that are unique and sort by the time they were made."""

from __future__ import annotations

import threading

from rxmps3.model.sortedkeys import check_prefix
from rxmps3.runtime.clock import ID_ALPHABET, Clock

__all__ = ["KeyMaker"]

_TIME_CHARACTERS = 9
_CHANCE_CHARACTERS = 10


class KeyMaker:
    """Makes keys of 45 bits of milliseconds since 1970 and 50 bits of chance, in base 32 with ordered digits.

    Keys of one maker ascend strictly, even within a millisecond or when the clock is set back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0

    def make(self, prefix: str) -> str:
        """A new key under ``prefix``. Raises `InvalidOption` if that is no text."""
        check_prefix(prefix)
        with self._lock:
            self._last = max(int(self._clock.now().timestamp() * 1000), self._last + 1)
            return prefix + _base32(self._last) + self._clock.new_id(_CHANCE_CHARACTERS)


def _base32(number: int) -> str:
    digits = (ID_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(_TIME_CHARACTERS)))
    return "".join(digits)
