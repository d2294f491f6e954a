"""A base class for objects that cannot leave their process."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["BoundToProcess"]


class BoundToProcess:
    """Refuses to be pickled or copied, with an error that says what to do instead: a copy would have no event loop."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} belongs to the process that created it and can be neither pickled nor copied; "
            "pass URLs, keys and values, and connect in the other process"
        )
