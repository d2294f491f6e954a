"""`Ending`: the end of several things, as one small object."""

from __future__ import annotations

from collections.abc import Callable

from reactivex.abc import DisposableBase

__all__ = ["Ending"]


class Ending(DisposableBase):
    """Ends several things, in order, once.

    It has no lock, so it is used on one thread. A `reactivex.disposable.CompositeDisposable` of the same has several
    times as many objects, which every full garbage collection visits for each subscription.
    """

    __slots__ = ("_parts",)

    def __init__(self, *parts: DisposableBase | Callable[[], object]) -> None:
        self._parts = parts

    def dispose(self) -> None:
        parts, self._parts = self._parts, ()
        for part in parts:
            if isinstance(part, DisposableBase):
                part.dispose()
            else:
                part()
