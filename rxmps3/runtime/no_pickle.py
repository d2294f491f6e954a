"""What lives in the process that made it."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["BoundToProcess"]


class BoundToProcess:
    """Refuses to be pickled or copied, and says what to do instead: a copy would have no event loop to live on."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} lives in the process that made it, and can be neither pickled nor copied; "
            "pass URLs, keys and values, and connect in the other process"
        )
