"""Receipts: the stages of one write, to await, observe or ignore."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxmps3.errors import Error, failure_of_observer
from rxmps3.replica.stages import ObserverRaised, Stage, Teller
from rxmps3.runtime.event_loop import refuse_on_a_loop
from rxmps3.runtime.no_pickle import BoundToProcess
from rxmps3.runtime.rich_repr import bundle
from rxmps3.runtime.timeouts import checked_timeout

__all__ = ["Receipt", "Stage"]

logger = logging.getLogger("rxmps3")

Outcome = str | Error


def _log_raised(name: str, error: BaseException) -> None:
    logger.warning("%s", failure_of_observer(name, error, ends_program=False))


class _Milestone:
    """A one-time event with an outcome, awaitable any number of times on any loop and from any thread."""

    __slots__ = ("_callbacks", "_check", "_lock", "_outcome", "_trace", "looked_at")

    def __init__(self, lock: threading.RLock, check: Callable[[], None]) -> None:
        self._lock = lock
        self._check = check
        self._outcome: Outcome | None = None
        self._trace: TracebackType | None = None
        self._callbacks: list[Callable[[], None]] | None = None
        self.looked_at = False

    @property
    def outcome(self) -> Outcome | None:
        return self._outcome

    def reach(self, outcome: Outcome) -> None:
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = outcome
            if isinstance(outcome, Error):
                self._trace = outcome.__traceback__
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()

    def on_reached(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once it is reached, or at once if it already is; returns a function that cancels this."""
        with self._lock:
            if self._outcome is None:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(callback)
                return lambda: self._forget(callback)
        callback()
        return lambda: None

    def _forget(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if self._callbacks is not None and callback in self._callbacks:
                self._callbacks.remove(callback)

    def result(self) -> str:
        self.looked_at = True
        if isinstance(self._outcome, Error):
            raise self._outcome.with_traceback(self._trace)  # without the frames of earlier waiters
        return self._outcome or ""

    def __await__(self) -> Generator[Any, None, str]:
        self.looked_at = True
        if self._outcome is None:
            loop = asyncio.get_running_loop()
            reached = loop.create_future()
            thread = threading.get_ident()

            def wake() -> None:
                if loop.is_closed():
                    return
                if threading.get_ident() == thread:
                    loop.call_soon(settle)  # after what the same turn has put in line, such as rings of other handles
                else:
                    loop.call_soon_threadsafe(settle)

            def settle() -> None:
                if not reached.done():
                    reached.set_result(None)

            forget = self.on_reached(wake)
            try:
                yield from reached
            finally:
                forget()
        return self.result()

    def wait(self, timeout: float | None = None) -> str:
        """Block this thread until it is reached. Raises as `Receipt.wait`."""
        seconds = checked_timeout(timeout, "wait")
        if self._outcome is None:
            self._check()
        reached = threading.Event()
        forget = self.on_reached(reached.set)
        try:
            if not reached.wait(seconds):
                raise TimeoutError(f"not reached within {timeout} s; the write stays pending")
        finally:
            forget()
        return self.result()


class Receipt(BoundToProcess):
    """One write on its way: pending → stored → committed, or rejected.

    ``await receipt`` gives the version id once the write is committed. Awaiting it twice, or not at all, is fine,
    and cancelling a wait never cancels the write.

    Raises (when awaited):
        Rejected: the write was refused and rolled back; ``__cause__`` says why.
        Closed, NotSent: the database closed first.
        OutcomeUnknown: it can no longer be determined whether it was committed.
    """

    __slots__ = ("_cancel", "_committed", "_observer_raised", "_stored", "keys", "version")

    def __init__(
        self,
        version: str,
        keys: tuple[str, ...],
        cancel: Callable[[str], bool] = lambda version: False,
        check_may_block: Callable[[], None] = refuse_on_a_loop,
        observer_raised: ObserverRaised = _log_raised,
        lock: threading.RLock | None = None,
    ) -> None:
        lock = threading.RLock() if lock is None else lock
        self.version = version
        self.keys = keys
        self._cancel = cancel
        self._observer_raised = observer_raised
        self._stored = _Milestone(lock, check_may_block)
        self._committed = _Milestone(lock, check_may_block)

    @property
    def stage(self) -> Stage:
        """The current stage."""
        outcome = self._committed.outcome
        if outcome is not None:
            return "rejected" if isinstance(outcome, Error) else "committed"
        return "stored" if self._stored.outcome is not None else "pending"

    @property
    def stored(self) -> _Milestone:
        """Awaitable: resolves once the write survives this process: on disk with ``local=``, else when committed."""
        return self._stored

    @property
    def stages(self) -> Observable[Stage]:
        """The stages from the current one on; completes after the last, including rejected.

        The current one is emitted on the subscribing thread, the others on the database's event loop.
        """

        def subscribe(observer: ObserverBase[Stage], _: SchedulerBase | None) -> DisposableBase:
            teller = Teller(f"stages of write {self.version}", lambda: self.stage, observer, self._observer_raised)
            teller.tell()
            forgets = [milestone.on_reached(teller.tell) for milestone in (self._stored, self._committed)]

            def dispose() -> None:
                teller.close()
                for forget in forgets:
                    forget()

            return Disposable(dispose)

        return Observable(subscribe)

    def cancel(self) -> bool:
        """Cancel the write if it was never sent: it is rolled back and its receipt raises `Rejected`.

        Returns:
            Whether it was cancelled; False if it is or may come to be in the log.
        """
        taken_back = self._cancel(self.version)
        if taken_back:
            self._committed.looked_at = True  # who asked for it need not be told
        return taken_back

    def done(self) -> bool:
        """Whether it is committed or rejected."""
        return self._committed.outcome is not None

    def wait(self, timeout: float | None = None) -> str:
        """Block this thread until the write is committed and return its version id.

        Args:
            timeout: seconds; None waits forever.

        Raises:
            TimeoutError: it is still pending; it stays so.
            InvalidOption: ``timeout`` is no number.
            RuntimeError: called on a thread whose event loop it would block.
        """
        return self._committed.wait(timeout)

    def __await__(self) -> Generator[Any, None, str]:
        return self._committed.__await__()

    def __repr__(self) -> str:
        return f"<Receipt {self.version} {self.stage}: {', '.join(map(repr, self.keys[:3]))}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The notebook display: the state of the write."""
        outcome = self._committed.outcome
        why = {"why": str(outcome)} if isinstance(outcome, Error) else {}
        keys = ", ".join(map(repr, self.keys[:20])) + (
            f" and {len(self.keys) - 20} more" if len(self.keys) > 20 else ""
        )
        return bundle(repr(self), "write", {"version": self.version, "stage": self.stage, "keys": keys} | why)

    # -- for the replica -------------------------------------------------------------------------------------

    def mark_stored(self) -> None:
        """The write is durable."""
        self._stored.reach(self.version)

    def settle(self, error: Error | None) -> None:
        """The write is committed or rejected."""
        outcome: Outcome = self.version if error is None else error
        if error is None:
            self._stored.reach(outcome)
            self._committed.reach(outcome)
        else:
            self._committed.reach(error)
            self._stored.reach(error)

    @property
    def unseen_failure(self) -> Error | None:
        """The failure, if there is one and nobody has awaited it."""
        outcome = self._committed.outcome
        seen = self._committed.looked_at or self._stored.looked_at
        return outcome if isinstance(outcome, Error) and not seen else None
