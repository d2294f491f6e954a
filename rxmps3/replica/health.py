"""A replica's status, and the failures it reports."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxmps3.errors import Error, Failure
from rxmps3.replica.options import Status
from rxmps3.runtime.backoff import Backoff
from rxmps3.runtime.clock import Clock
from rxmps3.runtime.worker import Retries

__all__ = ["Health"]

logger = logging.getLogger("rxmps3")

_MOST_EARLY = 100
"""How many failures wait for an observer; the logger has all of them."""


class Health:
    """Records answers and failures, and notifies the observers of status and errors. On the loop's thread.

    Args:
        name: the replica's name, for messages.
        clock: for ``since``.
        complete: fills in the members of a status that come from elsewhere.
        take_turn: notifies observers; their own puts are delivered afterwards.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        complete: Callable[[Status], Status],
        take_turn: Callable[[Callable[[], None]], None],
    ) -> None:
        self.statuses: Subject[Status] = Subject()
        self._name = name
        self._clock = clock
        self._complete = complete
        self._take_turn = take_turn
        self._status = Status()
        self._reported: dict[str, type[Error]] = {}
        self._failures: Subject[Failure] = Subject()
        self._early: deque[Failure] = deque(maxlen=_MOST_EARLY)
        self._on_recovery: list[Callable[[], None]] = []
        self._on_failure: list[Callable[[Error], None]] = []
        self._on_answer: dict[object, Callable[[], None]] = {}

    @property
    def status(self) -> Status:
        """The current status. Callable from any thread."""
        return self._complete(self._status)

    def on_recovery(self, action: Callable[[], None]) -> None:
        """Call back each time the storage answers again after a failure."""
        self._on_recovery.append(action)

    def on_answer(self, action: Callable[[], None]) -> Callable[[], None]:
        """Call back each time the storage has answered, until the returned function is called."""
        self._on_answer[key := object()] = action

        def forget() -> None:
            self._on_answer.pop(key, None)

        return forget

    def on_failure(self, action: Callable[[Error], None]) -> None:
        """Call back with each error of the storage or the log."""
        self._on_failure.append(action)

    @property
    def failures(self) -> Observable[Failure]:
        """Each failure, from the subscription on; the first observer also gets the early ones."""

        def subscribe(observer: ObserverBase[Failure], scheduler: SchedulerBase | None) -> DisposableBase:
            watching = self._failures.subscribe(observer, scheduler=scheduler)
            for failure in self.take_early():
                self._tell_of(failure)
            return watching

        return Observable(subscribe)

    def report(self, failure: Failure, *, early: bool = False) -> None:
        """Report a failure to the logger and to the observers of errors.

        Args:
            early: it concerns the remains of an earlier process and may come before errors can be observed; then it is
                kept for the first observer.
        """
        logger.warning("%s", failure)
        if early and not self._failures.observers:
            self._early.append(failure)
        else:
            self._tell_of(failure)

    def take_early(self) -> list[Failure]:
        """Return and clear the early failures that nobody has observed."""
        early = list(self._early)
        self._early.clear()
        return early

    def _tell_of(self, failure: Failure) -> None:
        self._take_turn(lambda: self._failures.on_next(failure))

    def answered(self) -> None:
        """Note that a request succeeded."""
        self._reported.clear()
        if self._status.online is not True:
            self._status = replace(self._status, online=True, since=self._clock.now(), last_error=None, next_try=None)
            self.tell()
            for action in self._on_recovery:
                action()
        for action in list(self._on_answer.values()):
            action()

    def failed(self, operation: str, error: Error, wait: float, *, heard: bool = False) -> None:
        """Note that the storage or the log failed, to be retried in ``wait`` seconds.

        It is reported unless a caller has already got it (``heard``), or the same kind of error was already reported
        for this operation.
        """
        if not heard and self._reported.get(operation) is not type(error):
            self._reported[operation] = type(error)
            self.report(Failure(operation, self._name, error, "it is tried again"))
        for action in self._on_failure:
            action(error)
        since = self._status.since if self._status.online is False else self._clock.now()
        self._status = replace(self._status, online=False, since=since, last_error=error, next_try=wait)
        self.tell()

    def retries(self, operation: str, backoff: Backoff) -> Retries:
        """Retries that report their failures here, and end their waits when the storage answers again."""
        return Retries(self._clock, backoff, lambda error, wait: self.failed(operation, error, wait), self.on_answer)

    def bell(self, *, up: bool | None) -> None:
        """Note that a bell works, or does not; None if nobody listens."""
        if self._status.bell is not up:
            self._status = replace(self._status, bell=up)
            self.tell()

    def tell(self) -> None:
        """Notify the observers of status."""
        if self.statuses.observers:
            self._take_turn(lambda: self.statuses.on_next(self.status))

    def complete(self) -> None:
        """Complete the status and error streams."""
        self._failures.on_completed()
        self.statuses.on_completed()
