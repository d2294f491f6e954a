"""How long a thread waits."""

from __future__ import annotations

import threading

from rxmps3.errors import InvalidOption

__all__ = ["checked_timeout"]


def checked_timeout(timeout: object, operation: str) -> float | None:
    """What a thread can wait: seconds, or None for as long as it takes, which infinity means, too.

    Raises:
        InvalidOption: it is no number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout:
        raise InvalidOption(f"timeout is a number of seconds or None, not {timeout!r:.80}", operation=operation)
    return None if timeout > threading.TIMEOUT_MAX else float(timeout)
