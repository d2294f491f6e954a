"""Writing what a user interface shows to a key."""

from __future__ import annotations

from typing import Any

from rxmps3.errors import Error, NotLoaded
from rxmps3.model import valuetext
from rxmps3.model.missing import MISSING
from rxmps3.streams.key import Key

__all__ = ["was_refused"]


def was_refused(key: Key[Any], value: Any) -> bool:
    """Whether a value that was just written by ``key.on_next`` was not: then the reason is on ``db.errors``.

    What the key's type makes of a value, such as 7.0 of 7, counts as that value.
    """
    try:
        there = key.value
        wanted = key.dumped(value)
        if wanted is MISSING:
            return False
        wanted = key.dumped(key.loaded(wanted))
        return valuetext.encode(wanted) != valuetext.encode(key.dumped(there))
    except NotLoaded:
        return False
    except Error:
        return True
