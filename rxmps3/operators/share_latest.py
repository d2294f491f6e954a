"""One subscription to the source for many observers, and its current value for late ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count
from typing import Generic, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from rxmps3.operators.serial import Serial

__all__ = ["share_latest"]

T = TypeVar("T")
_log = logging.getLogger("rxmps3")


def share_latest() -> Callable[[Observable[T]], Observable[T]]:
    """Share one subscription to the source; a new observer gets the latest item first, if there is one.

    When the last observer leaves, or the source completes or fails, the latest item is dropped and the next observer
    subscribes to the source again; so nobody gets an outdated item, as could happen with ``replay`` and ``ref_count``.
    An observer that raises is detached and logged as a warning, without affecting the others.

    ::

        source  -a--b------c---d---e-|
        share_latest()
        first   -a--b-!
        second  -----(^b)--c!
        third   -------------^-d---e-|

    (``^`` subscribes, ``!`` disposes. The second comes before the first leaves and sees ``b``; the third comes when
    nobody is left, and does not see ``c``.)

    Items, subscriptions and disposals are handled one at a time: an item caused by an observer comes after the one
        being delivered, for all observers.
    """

    def shared(source: Observable[T]) -> Observable[T]:
        return Observable(_Shared(source).subscribe)

    return shared


class _Shared(Generic[T]):
    def __init__(self, source: Observable[T]) -> None:
        self._source = source
        self._serial = Serial()
        self._numbers = count()
        self._observers: dict[int, ObserverBase[T]] = {}
        self._latest: list[T] = []
        self._connection: SingleAssignmentDisposable | None = None

    def subscribe(self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None) -> DisposableBase:
        number = next(self._numbers)
        self._serial.run(lambda: self._join(number, observer, scheduler))
        return Disposable(lambda: self._serial.run(lambda: self._leave(number)))

    def _join(self, number: int, observer: ObserverBase[T], scheduler: SchedulerBase | None) -> None:
        self._observers[number] = observer
        for item in self._latest:
            self._send(number, lambda item=item: observer.on_next(item))
        if self._connection is None:
            self._connect(scheduler)

    def _leave(self, number: int) -> None:
        if self._observers.pop(number, None) is not None and not self._observers and self._connection is not None:
            connection = self._connection
            self._forget()
            connection.dispose()

    def _connect(self, scheduler: SchedulerBase | None) -> None:
        connection = self._connection = SingleAssignmentDisposable()

        def while_connected(action: Callable[[], None]) -> None:
            self._serial.run(lambda: action() if self._connection is connection else None)

        try:
            connection.disposable = self._source.subscribe(
                lambda item: while_connected(lambda: self._emit(item)),
                lambda error: while_connected(lambda: self._fail(error)),
                lambda: while_connected(lambda: self._end(lambda observer: observer.on_completed())),
                scheduler=scheduler,
            )
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._end(lambda observer: observer.on_error(error))

    def _emit(self, item: T) -> None:
        self._latest = [item]
        for number, observer in list(self._observers.items()):
            self._send(number, lambda to=observer: to.on_next(item))

    def _end(self, how: Callable[[ObserverBase[T]], None]) -> None:
        observers, self._observers = self._observers, {}
        self._forget()
        for number, observer in observers.items():
            self._send(number, lambda to=observer: how(to))

    def _forget(self) -> None:
        self._connection, self._latest = None, []

    def _send(self, number: int, action: Callable[[], None]) -> None:
        try:
            action()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            _log.warning("share_latest: an observer raised and was detached: %r", error, exc_info=error)
            self._leave(number)
